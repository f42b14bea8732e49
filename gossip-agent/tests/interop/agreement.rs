//! Three serf agents and three of our nodes, joined in both directions, agree on who is there.

use core::time::Duration;
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::needs;
use crate::ours::Ours;
use crate::place::Place;
use crate::serf::Serf;
use crate::view::{Agent, assert_no_complaints, has_status, wait_for_agreement};
use crate::wait::HEARSAY;

/// How the cluster talks.
struct Variant {
    name: &'static str,
    serf: &'static [&'static str],
    ours: &'static [&'static str],
    key: Option<usize>,
}

#[test]
fn six_members_plain() {
    if needs::available(&["serf", "setpriv"]) {
        let variant = Variant {
            name: "plain",
            serf: &["-disable-compression"],
            ours: &["--compression", "off"],
            key: None,
        };
        six_members(&variant);
    }
}

#[test]
fn six_members_sealed() {
    if needs::available(&["serf", "setpriv"]) {
        let variant = Variant {
            name: "sealed",
            serf: &["-disable-compression"],
            ours: &["--compression", "off"],
            key: Some(32),
        };
        six_members(&variant);
    }
}

#[test]
fn six_members_sealed_and_compressed() {
    if needs::available(&["serf", "setpriv"]) {
        let variant = Variant {
            name: "sealed and compressed",
            serf: &[],
            ours: &["--compression", "all"],
            key: Some(32),
        };
        six_members(&variant);
    }
}

/// AES-128, AES-192 and AES-256.
#[test]
fn key_lengths() {
    if !needs::available(&["serf", "setpriv"]) {
        return;
    }
    for bytes in [16, 24, 32] {
        let key = key(bytes);
        let encrypt = ["-encrypt", &key];
        let mut serf = Serf::start("serf-1", &Place::loopback(), &encrypt);
        let mut ours = Ours::start("ours-1", &Place::loopback(), &["--encrypt", &key, "--join", &at(&serf)]);
        let took = wait_for_agreement(&mut [&mut serf, &mut ours], HEARSAY);
        println!("key of {bytes} bytes: agreement after {took:.2?}");
    }
}

/// Addresses of 16 bytes.
#[test]
fn ipv6() {
    if !needs::available(&["serf", "setpriv"]) {
        return;
    }
    // Two pairs that become one cluster.
    let mut serf_1 = Serf::start("serf-1", &Place::loopback_v6(), &[]);
    let mut ours_1 = Ours::start("ours-1", &Place::loopback_v6(), &["--join", &at(&serf_1)]);
    let mut ours_2 = Ours::start("ours-2", &Place::loopback_v6(), &[]);
    let mut serf_2 = Serf::start("serf-2", &Place::loopback_v6(), &["-join", &at(&ours_2)]);
    ours_2.join(ours_1.addr());
    let mut all: [&mut dyn Agent; 4] = [&mut serf_1, &mut serf_2, &mut ours_1, &mut ours_2];
    let took = wait_for_agreement(&mut all, HEARSAY);
    println!("IPv6: agreement of four after {took:.2?}");
    thread::sleep(Duration::from_secs(2));
    assert_no_complaints(&mut all);
}

/// A wrong key must keep a node out, or the sealed variants would prove nothing.
#[test]
fn wrong_key_stays_out() {
    if !needs::available(&["serf", "setpriv"]) {
        return;
    }
    let mut serf = Serf::start("serf-1", &Place::loopback(), &["-encrypt", &key(32)]);
    let place = Place::loopback();
    let mut ours = Ours::start("ours-1", &place, &["--encrypt", &key(32), "--retry-join", &at(&serf)]);
    thread::sleep(Duration::from_secs(3));
    assert!(
        has_status(&mut [&mut serf], "ours-1", "alive").is_err(),
        "serf admitted a node with another key"
    );
    assert!(
        has_status(&mut [&mut ours], "serf-1", "alive").is_err(),
        "our node admitted an agent with another key"
    );
}

fn six_members(variant: &Variant) {
    let mut took: [Duration; 3] = core::array::from_fn(|_| one_run(variant));
    took.sort();
    println!(
        "six members, {}: all six agree {:.2?} after the last start (median of {took:.2?})",
        variant.name, took[1]
    );
    assert!(took[1] <= MEDIAN, "it takes longer than {MEDIAN:?} as a rule");
}

fn one_run(variant: &Variant) -> Duration {
    let key = variant.key.map(key);
    let start_serf = |name: &str, join: Option<String>| {
        let mut options = variant.serf.to_vec();
        options.extend(key.iter().flat_map(|key| ["-encrypt", key]));
        options.extend(join.iter().flat_map(|join| ["-join", join]));
        Serf::start(name, &Place::loopback(), &options)
    };
    let start_ours = |name: &str, join: Option<String>| {
        let mut options = variant.ours.to_vec();
        options.extend(key.iter().flat_map(|key| ["--encrypt", key]));
        options.extend(join.iter().flat_map(|join| ["--join", join]));
        Ours::start(name, &Place::loopback(), &options)
    };
    // Each kind joins the other, and each its own.
    let mut serf_1 = start_serf("serf-1", None);
    let mut ours_1 = start_ours("ours-1", Some(at(&serf_1)));
    let mut serf_2 = start_serf("serf-2", Some(at(&ours_1)));
    let mut ours_2 = start_ours("ours-2", Some(at(&ours_1)));
    let mut serf_3 = start_serf("serf-3", None);
    serf_3.join(serf_2.addr());
    let mut ours_3 = start_ours("ours-3", None);
    ours_3.join(serf_3.addr());
    let mut all: [&mut dyn Agent; 6] =
        [&mut serf_1, &mut serf_2, &mut serf_3, &mut ours_1, &mut ours_2, &mut ours_3];
    let took = wait_for_agreement(&mut all, HEARSAY);
    // Long enough for every pair to have probed each other.
    thread::sleep(Duration::from_secs(2));
    assert_no_complaints(&mut all);
    took
}

fn at(agent: &dyn Agent) -> String {
    agent.addr().to_string()
}

/// A new key, as `-encrypt` takes it.
pub(crate) fn key(bytes: usize) -> String {
    let mut key = vec![0; bytes];
    getrandom::fill(&mut key).expect("randomness of the system");
    STANDARD.encode(key)
}

/// Within how long all must agree, as a rule.
const MEDIAN: Duration = Duration::from_secs(40);
