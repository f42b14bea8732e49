//! Agents that find each other by multicast DNS, whichever of them asks.

use core::time::Duration;

use crate::needs;
use crate::ours::Ours;
use crate::place::Cable;
use crate::serf::Serf;
use crate::view::{Agent as _, wait_for_agreement};

// upstream: TestCommandRun_mDNS
#[test]
fn multicast_discovery() {
    if !needs::available(&["serf", "setpriv", "ip"]) || !needs::may_make_namespaces() {
        return;
    }
    let cable = Cable::new();
    cable.leads_everywhere();
    let [_, far] = &cable.ends;
    // The one that is there first has nobody to find, and is found.
    let mut serf = Serf::start("serf", &cable.right(), &["-discover", "blue", "-iface", far]);
    let mut ours = Ours::start("ours", &cable.left(), &["--discover", "blue"]);
    let took = wait_for_agreement(&mut [&mut serf, &mut ours], AGREEMENT);
    println!("discovery: ours found serf within {took:.1?}");
    assert!(ours.process.count("agent.mdns: Joining") > 0, "it was not ours that asked");
    assert_eq!(serf.process.count(&joins(&ours)), 0);

    // Another cluster on the same cable.
    let mut first = Ours::start("first", &cable.left(), &["--discover", "green"]);
    let mut late = Serf::start("late", &cable.right(), &["-discover", "green", "-iface", far]);
    let took = wait_for_agreement(&mut [&mut first, &mut late], AGREEMENT);
    println!("discovery: serf found ours within {took:.1?}");
    assert!(late.process.count(&joins(&first)) > 0, "it was not serf that asked");
    assert_eq!(first.process.count("agent.mdns: Joining"), 0);

    // And among ourselves, over IPv6 alone.
    let options = ["--discover", "red", "--mdns-disable-ipv4"];
    let mut third = Ours::start("third", &cable.left(), &options);
    let mut fourth = Ours::start("fourth", &cable.right(), &options);
    let took = wait_for_agreement(&mut [&mut third, &mut fourth], AGREEMENT);
    println!("discovery: ours found ours by IPv6 within {took:.1?}");
}

/// What serf logs when it joins a node whose name it does not know. It always joins itself, too.
fn joins(node: &Ours) -> String {
    format!("Initiating push/pull sync with:  {}", node.addr())
}

/// A minute more than it should take: a question that is lost is repeated then.
const AGREEMENT: Duration = Duration::from_secs(75);
