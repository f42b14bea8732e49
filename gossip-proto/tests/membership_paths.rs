//! Paths that have to be opened, as those of QUIC: what they carry, how many there may be, what may wait for one.
use crate::support;

use core::time::Duration;
use gossip_proto::*;
use support::node::*;

/// With members at hosts 2 to 41, gossip every 200 ms to three of them, and 8 paths.
fn crowd(max_paths: usize) -> Script {
    let mut script = Script::new(|config| {
        config
            .probe_interval(Duration::ZERO)
            .gossip_interval(Duration::from_millis(200))
            .max_paths(max_paths);
    });
    for host in 2..42 {
        script.hear(&plain_alive(&format!("member-{host}"), host, 1));
    }
    script.drain(addr(2));
    script
}

/// To whom gossip goes in 20 ticks.
fn targets(script: &mut Script) -> Vec<core::net::SocketAddr> {
    let mut targets = Vec::new();
    for tick in 0..20 {
        script.machine.broadcast(script.now, vec![tick].into()).unwrap();
        script.next();
        targets.extend(script.sent().into_iter().map(|sent| sent.to));
    }
    assert!(targets.len() >= 40, "{} packets of gossip", targets.len());
    targets
}

#[test]
fn above_the_cache_gossip_goes_to_those_who_are_connected() {
    let open: Vec<_> = (2..10).map(addr).collect();
    let mut script = crowd(8);
    for &to in &open {
        script.machine.handle_path(script.now, to, 1200);
    }
    assert!(targets(&mut script).iter().all(|to| open.contains(to)));
    // A path that closes is not preferred any more.
    for &to in &open[1..] {
        script.machine.handle_path(script.now, to, 0);
    }
    let seen = targets(&mut script);
    assert!(seen.contains(&open[0]) && seen.iter().any(|to| !open.contains(to)), "{seen:?}");
    // Each tick fills up with others, but hardly one leaves out the one that is open: by chance it would be in two of them.
    assert!(seen.iter().filter(|&&to| to == open[0]).count() >= 12, "{seen:?}");
}

#[test]
fn within_the_cache_and_without_one_gossip_goes_to_everybody() {
    for max_paths in [0, 41] {
        let mut script = crowd(max_paths);
        for host in 2..10 {
            script.machine.handle_path(script.now, addr(host), 1200);
        }
        let seen = targets(&mut script);
        assert!(seen.iter().any(|to| !(2..10).any(|host| *to == addr(host))), "{max_paths}: {seen:?}");
    }
}

#[test]
fn above_the_cache_probes_go_to_everybody_in_turn() {
    let mut script = with_members(&["b", "c", "d", "e"], |config| {
        config.max_paths(1);
    });
    script.machine.handle_path(script.now, addr(2), 1200);
    let mut probed = Vec::new();
    for _ in 0..4 {
        let sent = probes(&mut script);
        probed.push(sent.to);
        script.datagram(sent.to, &ack(sent.ping().seq)).unwrap();
    }
    probed.sort_unstable();
    assert_eq!(probed, [addr(2), addr(3), addr(4), addr(5)]);
}

#[test]
fn nothing_longer_than_every_path_carries_is_taken_for_gossip() {
    let mut script = with_members(&["b"], |config| {
        config.max_datagram(1400).unknown_path(1162);
    });
    let now = script.now;
    assert!(matches!(
        script.machine.broadcast(now, vec![0; 1200].into()),
        Err(CommandError::TooBig { len: 1200, max, .. }) if (1150..1162).contains(&max)
    ));
    let max = |script: &mut Script| match script.machine.send(now, script.key("b"), vec![0; 3000].into()) {
        Err(CommandError::TooBig { max, .. }) => max,
        other => panic!("{other:?}"),
    };
    let unknown = max(&mut script);
    assert!((1150..1162).contains(&unknown), "{unknown}");
    script.machine.handle_path(now, addr(2), 1414);
    assert_eq!(max(&mut script), unknown + 1400 - 1162);
    script.machine.handle_path(now, addr(2), 0);
    assert_eq!(max(&mut script), unknown);
}

#[test]
fn each_datagram_says_what_it_is_for() {
    let mut script = with_members(&["b", "c"], |config| {
        config.gossip_interval(Duration::from_millis(200));
    });
    let mut kinds = Vec::new();
    let mut buf = [0; 1400];
    let mut poll = |script: &mut Script| {
        while let Some(transmit) = script.machine.poll_transmit(script.now, &mut buf) {
            kinds.push(transmit.kind);
        }
    };
    script.datagram(addr(3), &ping(7, "self", "c", addr(3))).unwrap();
    poll(&mut script);
    script.machine.send(script.now, script.key("b"), vec![1].into()).unwrap();
    poll(&mut script);
    script.machine.broadcast(script.now, vec![2].into()).unwrap();
    script.machine.ping(script.now, script.key("b")).unwrap();
    poll(&mut script);
    script.next();
    poll(&mut script);
    use DatagramKind::*;
    assert_eq!(&kinds[..3], [Answer, Message, Ping]);
    assert!(kinds[3..].contains(&Gossip) && kinds[3..].iter().all(|kind| [Gossip, Ping].contains(kind)));
    assert!(Gossip < Message && Message < Answer && Answer < Ping, "the most dispensable first");
}
