//! Two honest nodes, and a network that does what the input says until it stops.

use alloc::vec;
use core::time::Duration;

use bytes::Bytes;

use super::arguments::Arguments;
use super::forge::address;
use super::net::Net;
use crate::{Instant, JoinTarget, Machine, QueryParams};

/// How long the network may do what it likes, and pass no judgement.
const FAULTS: Duration = Duration::from_secs(120);

/// After the last fault two nodes agree within this time. What may have to happen, one after the other, by the configuration in
/// [`Net`]: the health of a prober, at worst eight intervals of 1 s; two longest suspicions, of 6 s each; forgetting
/// the dead, 10 s; an exchange and its stagger, 10 s; a reconnect, 5 s, or a seed, which is tried as often. Twice that sum.
const BOUND: Duration = Duration::from_secs(90);

/// A byte that says whether they have a key, and a program: let time pass on a network with given faults, stop a process for
/// a while, have a node want something. Datagrams are lost, delayed, doubled, put into another order, or damaged, if the
/// cluster is sealed; connections fail in all ways. Then faults stop, and they must agree.
pub fn fuzz_pair(input: &[u8]) {
    let Some((kind, program)) = input.split_first() else { return };
    let mut net = Net::new(2, kind & 1 == 1);
    let mut arguments = Arguments::new(program);
    while let Some(step) = arguments.next().filter(|_| net.now < Instant::ORIGIN + FAULTS) {
        disturb(&mut net, step, &mut arguments);
    }
    net.heal(BOUND);
}

/// One step of a program.
pub(super) fn disturb<'p>(net: &mut Net<'p>, step: u8, arguments: &mut Arguments<'p>) {
    match step % 4 {
        0 | 1 => {
            let span = Duration::from_millis(u64::from(arguments.byte()) * 100);
            net.fates = arguments.bytes();
            net.connections = arguments.bytes();
            net.run(span);
        }
        2 => {
            let host = usize::from(step >> 2) % net.hosts.len();
            net.put_to_sleep(host, Duration::from_millis(u64::from(arguments.byte()) * 100));
        }
        _ => want(net, step >> 2, arguments),
    }
}

fn want(net: &mut Net<'_>, what: u8, arguments: &mut Arguments<'_>) {
    // What is left of a step in a cluster says one of four; which of five is a byte of its own.
    let host = if net.hosts.len() > 4 { arguments.byte() } else { what >> 3 };
    let host = usize::from(host) % net.hosts.len();
    let bytes = arguments.bytes();
    let (now, others) = (net.now, net.hosts.len() as u8);
    let node = net.hosts[host].node_mut();
    // Refusals are part of the game.
    match what % 8 {
        0 => drop(node.set_tags(now, vec![(Bytes::from_static(b"role"), Bytes::copy_from_slice(bytes))])),
        1 => drop(node.user_event(now, b"event", bytes, false)),
        2 => drop(node.query(now, b"query", bytes, QueryParams::default().ack(true))),
        3 => drop(node.join(now, &[JoinTarget::from(address(bytes.len() as u8 % others))])),
        4 => drop(node.force_leave(now, &super::forge::name(bytes.len() as u8 % others), false)),
        5 => drop(node.force_leave(now, &super::forge::name(bytes.len() as u8 % others), true)),
        _ => {
            let other = super::forge::name(bytes.len() as u8 % others);
            if let Some(key) = node.find(&other).map(|member| member.key) {
                drop(node.ping(now, key));
            }
        }
    }
}
