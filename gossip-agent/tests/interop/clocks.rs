//! A mixed cluster goes through a leap of the event clock, as a member that has gone astray can cause it: who hears of it by
//! gossip alone does not believe it, but a cluster that has moved there stays there, and so ours go along (serf.md Q3).

use std::net::UdpSocket;

use transport_tokio::gossip_proto::wire::message::MessageType;
use transport_tokio::gossip_proto::wire::serf::{SerfType, UserEvent};

use crate::needs;
use crate::ours::Ours;
use crate::place::Place;
use crate::serf::Serf;
use crate::view::{Agent as _, wait_for_agreement};
use crate::wait::{HEARSAY, wait_until};

const LEAP: u64 = 1 << 40;

#[test]
fn a_leap_of_the_event_clock() {
    if !needs::available(&["serf", "setpriv"]) {
        return;
    }
    let serf_1 = Serf::start("serf-1", &Place::loopback(), &[]);
    let seed = serf_1.addr().to_string();
    let mut serf_2 = Serf::start("serf-2", &Place::loopback(), &["-join", &seed]);
    let mut ours_1 = Ours::start("ours-1", &Place::loopback(), &["--replay", "--join", &seed]);
    let mut ours_2 = Ours::start("ours-2", &Place::loopback(), &["--replay", "--join", &seed]);
    let mut serf_1 = serf_1;
    wait_for_agreement(&mut [&mut serf_1, &mut serf_2, &mut ours_1, &mut ours_2], HEARSAY);

    let mut packet = vec![MessageType::User.byte(), SerfType::UserEvent.byte()];
    let leap =
        UserEvent { ltime: LEAP, name: b"leap"[..].into(), payload: b"far"[..].into(), coalesce: false };
    leap.encode(&mut packet).expect("a vector takes it");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    socket.send_to(&packet, serf_1.addr()).expect("loopback takes it");

    let expected = format!("{LEAP} leap far");
    let has = |events: Vec<String>, wanted: &str| match events.iter().filter(|event| *event == wanted).count()
    {
        1 => Ok(()),
        times => Err(format!("{wanted:?} {times} times in {events:?}")),
    };
    wait_until("the serf agents to take the leap", HEARSAY, || {
        has(serf_1.user_events(), &expected)?;
        has(serf_2.user_events(), &expected)
    });
    wait_until("ours to be told of it by gossip, and not to believe it", HEARSAY, || {
        match ours_1.stat("ltime_refused") + ours_2.stat("ltime_refused") {
            0 => Err("nobody has refused anything".to_owned()),
            _ => Ok(()),
        }
    });

    // An exchange says where the cluster is.
    ours_1.join(serf_1.addr());
    ours_2.join(serf_2.addr());
    wait_until("ours to follow the cluster", HEARSAY, || {
        has(ours_1.user_events(), &expected)?;
        has(ours_2.user_events(), &expected)
    });
    serf_2.user_event("from-serf", "1");
    ours_1.user_event("from-ours", "1");
    wait_until("events to go on from there", HEARSAY, || {
        for events in [serf_1.user_events(), serf_2.user_events(), ours_1.user_events(), ours_2.user_events()]
        {
            for name in ["from-serf 1", "from-ours 1"] {
                let found =
                    events.iter().filter_map(|event| event.split_once(' ')).find(|(_, it)| *it == name);
                let ltime: u64 = found.and_then(|(ltime, _)| ltime.parse().ok()).unwrap_or(0);
                if ltime <= LEAP {
                    return Err(format!("{name} at {ltime} in {events:?}"));
                }
            }
        }
        Ok(())
    });
}
