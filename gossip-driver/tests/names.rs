//! Targets by name: what a name server that does not answer holds up, and what not.

mod support;

use core::time::Duration;

use gossip_driver::Runtime as _;

use support::net::Net;
use support::{World, node};

#[test]
fn names_are_looked_up_at_the_same_time() {
    let (world, net) = (World::default(), Net::default());
    let (a, _b) = (node(&world, &net, 1), node(&world, &net, 2));
    let begun = world.now();
    let report = world.wait(a.join(&["slow.test:1", "slow.test:2", "b.test", "slow.test:3"])).unwrap();
    assert_eq!(world.now() - begun, Duration::from_secs(10), "one time for all of them");
    assert_eq!(report.contacted, 1);
    let failed: Vec<_> = report.failed.iter().map(|error| error.target.as_str()).collect();
    assert_eq!(failed, ["slow.test:1", "slow.test:2", "slow.test:3"]);
}

#[test]
fn seeds_by_address_do_not_wait_for_names() {
    let (world, net) = (World::default(), Net::default());
    let (a, _b) = (node(&world, &net, 1), node(&world, &net, 2));
    world.wait(a.set_seeds(&["slow.test", "10.0.0.2"])).unwrap();
    world.pass(Duration::from_secs(2));
    assert_eq!(world.wait(a.members()).len(), 2);
}

#[test]
fn a_seed_by_name_does_not_wait_for_another() {
    let (world, net) = (World::default(), Net::default());
    let (a, _b) = (node(&world, &net, 1), node(&world, &net, 2));
    world.wait(a.set_seeds(&["slow.test:1", "slow.test:2", "b.test"])).unwrap();
    world.pass(Duration::from_secs(12));
    assert_eq!(world.wait(a.members()).len(), 2);
}
