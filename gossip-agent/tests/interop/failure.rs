//! Leaving is not failing, failing is noticed, and who is back is back: in both directions.

use core::time::Duration;
use std::time::Instant;

use crate::needs;
use crate::ours::Ours;
use crate::place::Place;
use crate::process::{Process, Signal};
use crate::serf::Serf;
use crate::view::{Agent, has_status, wait_for_agreement, wait_for_status};
use crate::wait::{HEARSAY, holds_for, wait_until};

/// A leave is heard at once; a failure takes a probe and a suspicion, at most 24 s where few can confirm it.
const LEAVE: Duration = Duration::from_secs(10);
const FAILURE: Duration = Duration::from_secs(45);

#[test]
fn leave_and_return() {
    if !needs::available(&["serf", "setpriv"]) {
        return;
    }
    let mut serf_1 = Serf::start("serf-1", &Place::loopback(), &[]);
    let seed = serf_1.addr().to_string();
    let place_of_serf_2 = Place::loopback();
    let mut serf_2 = Serf::start("serf-2", &place_of_serf_2, &["-join", &seed]);
    let mut ours_1 = Ours::start("ours-1", &Place::loopback(), &["--join", &seed]);
    let place_of_ours_2 = Place::loopback();
    let mut ours_2 = Ours::start("ours-2", &place_of_ours_2, &["--join", &seed]);
    wait_for_agreement(&mut [&mut serf_1, &mut serf_2, &mut ours_1, &mut ours_2], HEARSAY);

    ours_2.leave();
    let took = wait_for_status(&mut [&mut serf_1, &mut serf_2, &mut ours_1], "ours-2", "left", LEAVE);
    println!("leave: our node is `left` everywhere {took:.2?} after it ended");
    serf_2.leave();
    let took = wait_for_status(&mut [&mut serf_1, &mut ours_1], "serf-2", "left", LEAVE);
    println!("leave: serf's agent (`serf leave`) is `left` everywhere {took:.2?} after it ended");

    // Back under the old names and addresses. They start at incarnation 1 again and must outbid their own farewell.
    let mut ours_2 = Ours::start("ours-2", &place_of_ours_2, &["--join", &ours_1.addr().to_string()]);
    let mut serf_2 = Serf::start("serf-2", &place_of_serf_2, &["-join", &ours_1.addr().to_string()]);
    let took = wait_for_agreement(&mut [&mut serf_1, &mut serf_2, &mut ours_1, &mut ours_2], HEARSAY);
    println!("return: both that had left are alive again everywhere after {took:.2?}");

    // By signal.
    ours_2.process.signal(Signal::Interrupt);
    let status = ours_2.process.wait_for_exit(LEAVE);
    assert!(status.success(), "ours-2 ended with {status} after SIGINT");
    serf_2.interrupt();
    wait_for_status(&mut [&mut serf_1, &mut ours_1], "ours-2", "left", LEAVE);
    wait_for_status(&mut [&mut serf_1, &mut ours_1], "serf-2", "left", LEAVE);

    // Who has left may come back from another address, and everybody must talk to it there.
    let mut ours_2 = Ours::start("ours-2", &Place::loopback(), &["--join", &seed]);
    let mut serf_2 = Serf::start("serf-2", &Place::loopback(), &["-join", &ours_1.addr().to_string()]);
    let took = wait_for_agreement(&mut [&mut serf_1, &mut serf_2, &mut ours_1, &mut ours_2], HEARSAY);
    println!("return: both are alive at new addresses everywhere after {took:.2?}");
    holds_for("nobody loses who moved", Duration::from_secs(6), || {
        has_status(&mut [&mut serf_1, &mut ours_1, &mut serf_2], "ours-2", "alive")?;
        has_status(&mut [&mut serf_1, &mut ours_1, &mut ours_2], "serf-2", "alive")
    });
    let failed = [ours_1.changes("ours-2", "failed"), ours_1.changes("serf-2", "failed")].concat();
    assert!(failed.is_empty(), "who leaves has not failed: {failed:?}");
    assert_eq!(serf_1.process.count("EventMemberFailed"), 0, "serf took a leave for a failure");
}

#[test]
fn failure_and_return() {
    if !needs::available(&["serf", "setpriv"]) {
        return;
    }
    let mut serf_1 = Serf::start("serf-1", &Place::loopback(), &[]);
    let seed = serf_1.addr().to_string();
    let place_of_serf_2 = Place::loopback();
    let mut serf_2 = Serf::start("serf-2", &place_of_serf_2, &["-join", &seed]);
    let mut ours_1 = Ours::start("ours-1", &Place::loopback(), &["--join", &seed]);
    let place_of_ours_2 = Place::loopback();
    let mut ours_2 = Ours::start("ours-2", &place_of_ours_2, &["--join", &seed]);
    let mut ours_3 = Ours::start("ours-3", &Place::loopback(), &["--join", &seed]);
    wait_for_agreement(&mut [&mut serf_1, &mut serf_2, &mut ours_1, &mut ours_2, &mut ours_3], HEARSAY);

    let killed = Instant::now();
    ours_2.process.kill();
    serf_2.process.kill();
    wait_for_status(&mut [&mut serf_1, &mut ours_1, &mut ours_3], "ours-2", "failed", FAILURE);
    println!("failure: our killed node is `failed` everywhere {:.2?} after SIGKILL", killed.elapsed());
    wait_for_status(&mut [&mut serf_1, &mut ours_1, &mut ours_3], "serf-2", "failed", FAILURE);
    println!("failure: serf's killed agent is `failed` everywhere {:.2?} after SIGKILL", killed.elapsed());
    for (member, change) in [("ours-2", "failed"), ("serf-2", "failed")] {
        let reports = ours_1.changes(member, change);
        assert_eq!(reports.len(), 1, "{member} {change}: {reports:?}");
    }

    let mut ours_2 = Ours::start("ours-2", &place_of_ours_2, &["--join", &ours_1.addr().to_string()]);
    let mut serf_2 = Serf::start("serf-2", &place_of_serf_2, &["-join", &ours_1.addr().to_string()]);
    let took =
        wait_for_agreement(&mut [&mut serf_1, &mut serf_2, &mut ours_1, &mut ours_2, &mut ours_3], HEARSAY);
    println!("return: both that had failed are alive again everywhere after {took:.2?}");

    // An operator may turn a failure into a leave, at either kind.
    ours_2.process.kill();
    serf_2.process.kill();
    wait_for_status(&mut [&mut serf_1, &mut ours_1, &mut ours_3], "ours-2", "failed", FAILURE);
    wait_for_status(&mut [&mut serf_1, &mut ours_1, &mut ours_3], "serf-2", "failed", FAILURE);
    serf_1.force_leave("ours-2");
    ours_1.force_leave("serf-2");
    let took = wait_for_status(&mut [&mut serf_1, &mut ours_1, &mut ours_3], "ours-2", "left", HEARSAY);
    wait_for_status(&mut [&mut serf_1, &mut ours_1, &mut ours_3], "serf-2", "left", HEARSAY);
    println!("force-leave: a failed member of either kind is `left` everywhere after {took:.2?}");
}

/// A node that stands still is suspected; when it goes on in time it says that it is alive, and is believed.
#[test]
fn refutation() {
    if !needs::available(&["serf", "setpriv"]) {
        return;
    }
    let mut serf_1 = Serf::start("serf-1", &Place::loopback(), &[]);
    let seed = serf_1.addr().to_string();
    let mut serf_2 = Serf::start("serf-2", &Place::loopback(), &["-join", &seed]);
    let mut ours_1 = Ours::start("ours-1", &Place::loopback(), &["--join", &seed]);
    let mut ours_2 = Ours::start("ours-2", &Place::loopback(), &["--join", &seed]);
    let mut ours_3 = Ours::start("ours-3", &Place::loopback(), &["--join", &seed]);
    let mut all: [&mut dyn Agent; 5] = [&mut serf_1, &mut serf_2, &mut ours_1, &mut ours_2, &mut ours_3];
    wait_for_agreement(&mut all, HEARSAY);

    stand_still(&ours_2.process, "ours-2", &ours_1);
    stand_still(&serf_2.process, "serf-2", &ours_1);
    // The longest suspicion that could still be running ends within this time.
    holds_for("nobody declares them failed", Duration::from_secs(26), || {
        if ours_2.stat("refutations") == 0 {
            return Err("ours-2 has not refuted".to_owned());
        }
        for member in ["ours-2", "serf-2"] {
            has_status(&mut [&mut serf_1], member, "alive")?;
            let failed = [ours_1.changes(member, "failed"), ours_3.changes(member, "failed")].concat();
            let failed_at_serf = serf_1.process.count(&format!("EventMemberFailed: {member}"));
            if !failed.is_empty() || failed_at_serf > 0 {
                return Err(format!(
                    "{member} failed at our nodes: {failed:?}; at serf: {failed_at_serf} times"
                ));
            }
        }
        Ok(())
    });
    wait_for_agreement(&mut [&mut serf_1, &mut serf_2, &mut ours_1, &mut ours_2, &mut ours_3], HEARSAY);
}

/// Stops `member` until `witness` suspects it, lets it go on, and waits until the witness believes that it is alive.
fn stand_still(process: &Process, member: &str, witness: &Ours) {
    let stopped = Instant::now();
    process.signal(Signal::Stop);
    let (suspected, _) = wait_until(&format!("{member} to be suspected"), FAILURE, || {
        witness.changes(member, "suspected").pop().ok_or_else(|| "no report".to_owned())
    });
    process.signal(Signal::Continue);
    let late = suspected.0.elapsed();
    assert!(
        late < Duration::from_secs(2),
        "the test itself was too slow: SIGCONT {late:.2?} after the suspicion"
    );
    println!(
        "refutation: {member} suspected {:.2?} after SIGSTOP: {}",
        suspected.0 - stopped,
        suspected.1["cause"]["text"]
    );
    let (refuted, _) = wait_until(&format!("{member} to refute"), Duration::from_secs(10), || {
        witness.changes(member, "refuted").pop().ok_or_else(|| "no report".to_owned())
    });
    println!("refutation: {member} believed {:.2?} after the suspicion", refuted.0 - suspected.0);
}
