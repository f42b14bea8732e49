//! Devices in a network of real machines: what they are shown, and what their verdicts do.

use core::cell::RefCell;
use core::time::Duration;
use std::collections::BTreeMap;
use std::env;
use std::process::Command;
use std::rc::Rc;

use gossip_proto::{Config, Machine, Membership, Seed};
use transport_mem::Conditions;
use transport_mem::net::{
    Delivery, Device, FaultInjection, Kind, Network, NodeId, Packet, Pcap, TextTrace, Verdict,
};

const SECOND: Duration = Duration::from_secs(1);

fn network(nodes: usize) -> (Network<Membership>, Vec<NodeId>) {
    let mut net = Network::new(Seed::from_u64(5));
    net.set_conditions(Conditions::LAN.loss(0.05));
    let nodes = (0..nodes)
        .map(|number| {
            net.add_node(move |start| {
                let config = Config::lan(format!("n{number}").as_str(), start.addr);
                Membership::new(start.now, config, start.seed, start.nonces).unwrap()
            })
        })
        .collect();
    (net, nodes)
}

fn run(net: &mut Network<Membership>, nodes: &[NodeId]) {
    for &node in &nodes[1..] {
        net.join(node, &nodes[..1]);
    }
    net.run_for(21 * SECOND);
}

/// Counts, and lets everything pass.
#[derive(Default)]
struct Counter {
    sent: BTreeMap<Kind, (u64, u64)>,
    ended: BTreeMap<Delivery, u64>,
}

impl Device for Counter {
    fn pass(&mut self, packet: &Packet<'_>) -> Verdict {
        let (packets, bytes) = self.sent.entry(packet.kind).or_default();
        *packets += 1;
        *bytes += packet.bytes.len() as u64;
        Verdict::Pass
    }

    fn ended(&mut self, _: &Packet<'_>, how: Delivery) {
        *self.ended.entry(how).or_default() += 1;
    }
}

#[test]
fn devices_see_all_of_it_and_change_nothing_by_looking() {
    let (mut plain, nodes) = network(8);
    run(&mut plain, &nodes);

    let (mut net, nodes) = network(8);
    let counter = Rc::new(RefCell::new(Counter::default()));
    let text = Rc::new(RefCell::new(TextTrace::new(Vec::new(), 1 << 30)));
    net.attach(counter.clone());
    net.attach(text.clone());
    run(&mut net, &nodes);
    assert_eq!(net.trace().hash(), plain.trace().hash());

    let (counter, traffic) = (counter.borrow(), net.traffic());
    assert_eq!(counter.sent[&Kind::Datagram], (traffic.datagrams, traffic.datagram_bytes));
    assert_eq!(counter.sent[&Kind::Open].0, traffic.streams);
    assert_eq!(counter.sent[&Kind::Accept].0, traffic.streams);
    assert_eq!(counter.sent[&Kind::Data].1, traffic.stream_bytes);
    assert_eq!(counter.sent[&Kind::Finish].0, 2 * traffic.streams);
    assert_eq!(counter.ended[&Delivery::Lost], traffic.datagrams_lost);
    let under_way = net.in_flight().1 as u64;
    assert_eq!(counter.ended.values().sum::<u64>() + under_way, traffic.datagrams);

    let text = text.borrow();
    let text = core::str::from_utf8(text.writer()).unwrap();
    let lines = |with: &str| text.lines().filter(|line| line.contains(with)).count() as u64;
    assert_eq!(lines(" lost"), traffic.datagrams_lost);
    assert_eq!(lines(" open on "), traffic.streams);
}

#[test]
fn what_no_process_hears_and_what_does_not_fit_is_told() {
    let (mut net, nodes) = network(3);
    run(&mut net, &nodes);
    let counter = Rc::new(RefCell::new(Counter::default()));
    net.attach(counter.clone());
    net.crash(nodes[1]);
    net.set_socket_buffer(100);
    net.pause(nodes[2]);
    net.run_for(SECOND * 3);
    let counter = counter.borrow();
    assert!(counter.ended[&Delivery::Nobody] > 0 && counter.ended[&Delivery::Overflow] > 0);
    assert_eq!(counter.ended[&Delivery::Overflow], net.traffic().datagrams_overflowed);
}

/// Does the same to every datagram, or to every packet.
struct All(Verdict, bool);

impl Device for All {
    fn pass(&mut self, packet: &Packet<'_>) -> Verdict {
        if self.1 || packet.kind == Kind::Datagram { self.0.clone() } else { Verdict::Pass }
    }
}

#[test]
fn datagrams_dropped_by_a_device_make_members_fail_until_it_is_taken_away() {
    let (mut net, nodes) = network(4);
    run(&mut net, &nodes);
    assert!(net.agrees());
    let counter = Rc::new(RefCell::new(Counter::default()));
    let first = net.attach(All(Verdict::Drop, false));
    net.attach(counter.clone());
    net.run_for(2 * SECOND);
    assert!(net.traffic().datagrams_lost > 10);
    assert_eq!(counter.borrow().sent.get(&Kind::Datagram), None);
    assert_eq!(counter.borrow().ended[&Delivery::Dropped], counter.borrow().ended.values().sum::<u64>());
    assert!(net.detach(first).is_some());
    assert!(net.run_until(30 * SECOND, |net| net.agrees()).is_some(), "{}", net.table());
}

#[test]
fn a_delay_holds_up_datagrams_and_each_step_of_a_stream() {
    let slow = Duration::from_millis(70);
    let joined = [false, true].map(|delayed| {
        let (mut net, nodes) = network(2);
        net.set_conditions(Conditions::PERFECT);
        if delayed {
            net.attach(All(Verdict::Delay(slow), true));
        }
        net.join(nodes[1], &nodes[..1]);
        net.run_for(5 * SECOND);
        let (at, _) = &net.log(nodes[1]).completions[0];
        at.saturating_duration_since(gossip_proto::Instant::ORIGIN)
    });
    // Request, answer, the state there and the state back.
    assert_eq!(joined, [Duration::ZERO, slow * 4]);
}

#[test]
fn duplicates_and_lost_segments_harm_no_stream() {
    for verdict in [Verdict::Duplicate(Duration::from_millis(1)), Verdict::Drop] {
        let (mut net, nodes) = network(2);
        net.attach(All(Verdict::Duplicate(Duration::ZERO), false));
        let streams = Rc::new(RefCell::new(All(verdict, true)));
        let id = net.attach(streams);
        net.join(nodes[1], &nodes[..1]);
        net.run_for(5 * SECOND);
        assert_eq!(net.view(nodes[1]).len(), 2);
        net.detach(id);
        net.run_for(20 * SECOND);
        assert!(net.agrees());
    }
}

#[test]
fn garbage_is_counted_by_the_machines_and_they_recover() {
    let (mut net, nodes) = network(6);
    run(&mut net, &nodes);
    let harm = FaultInjection::new(&Seed::from_u64(9)).corrupt(0.3).truncate(0.2).duplicate(0.2);
    let harm = Rc::new(RefCell::new(harm.streams(true)));
    let id = net.attach(harm.clone());
    net.run_for(60 * SECOND);
    let injected = harm.borrow().injected();
    assert!(injected.corrupted > 100 && injected.truncated > 100 && injected.duplicated > 100);
    let invalid: u64 = nodes.iter().map(|node| net.machine(*node).unwrap().stats().dropped_malformed).sum();
    assert!(invalid > 0);
    net.detach(id);
    assert!(net.run_until(60 * SECOND, |net| net.agrees()).is_some(), "{}", net.table());
}

/// What Wireshark makes of a capture.
#[test]
fn wireshark_reads_a_capture_and_finds_nothing_wrong() {
    if Command::new("tshark").arg("--version").output().is_err() {
        assert!(env::var_os("CI").is_none(), "tshark is missing; CI must have it");
        eprintln!("skipped: tshark is not installed");
        return;
    }
    let (mut net, nodes) = network(6);
    let six = net.add_node_at("[2001:db8::1]:7946".parse().unwrap(), |start| {
        let config = Config::lan("six", start.addr);
        Membership::new(start.now, config, start.seed, start.nonces).unwrap()
    });
    let file = tempfile::NamedTempFile::new().unwrap();
    let pcap = Rc::new(RefCell::new(Pcap::new(file.reopen().unwrap(), 1 << 30)));
    let counter = Rc::new(RefCell::new(Counter::default()));
    net.attach(pcap.clone());
    net.attach(counter.clone());
    net.join(six, &nodes[..1]);
    net.crash(nodes[5]);
    net.join(nodes[4], &nodes[5..]);
    run(&mut net, &nodes[..5]);
    assert!(pcap.borrow().error().is_none() && !pcap.borrow().is_full());

    let fields = ["_ws.expert.severity", "udp.length", "tcp.stream", "tcp.len", "ipv6.src"];
    let mut tshark = Command::new("tshark");
    tshark.arg("-r").arg(file.path()).args(["-T", "fields"]);
    for layer in ["ip", "udp", "tcp"] {
        tshark.args(["-o", &format!("{layer}.check_checksum:TRUE")]);
    }
    for field in fields {
        tshark.args(["-e", field]);
    }
    let output = tshark.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();

    let counter = counter.borrow();
    let of = |column: usize| {
        let numbers = rows.iter().filter_map(move |row| row[column].parse::<u64>().ok());
        numbers.collect::<Vec<_>>()
    };
    let (datagrams, bytes) = counter.sent[&Kind::Datagram];
    let udp = of(1);
    assert_eq!((udp.len() as u64, udp.iter().sum::<u64>()), (datagrams, bytes + 8 * datagrams));
    let streams = of(2).into_iter().max().unwrap() + 1;
    assert_eq!((streams, of(3).iter().sum()), (counter.sent[&Kind::Open].0, counter.sent[&Kind::Data].1));
    assert!(rows.iter().any(|row| row[4] == "2001:db8::1"));
    // Severities: a chat is 2097152, a note 4194304, a warning 6291456, an error 8388608. The opening of a connection, its
    // end and its refusal are worth a chat or a warning to Wireshark.
    let grave = rows.iter().filter(|row| row[0].split(',').any(|grade| grade == "8388608")).count();
    assert_eq!(grave, 0, "{text}");
    let warned = rows.iter().filter(|row| row[0].split(',').any(|grade| grade == "6291456")).count();
    assert_eq!(warned as u64, counter.sent[&Kind::Refuse].0, "{text}");
}
