//! Recorded traffic, sent again: a seal does not keep that out.

use super::*;
use gossip_proto::wire::keyring::{Key, Keyring};

fn sealed(config: &mut Config, _: &mut ServiceConfig) {
    let key = Key::new(&[9; 16]).expect("16 bytes");
    config.keyring(Some(Keyring::new(key, []).expect("one key")));
}

fn user_events(notes: &[Note]) -> usize {
    notes.iter().filter(|note| matches!(note, Note::Other(text) if text.starts_with("UserEvent"))).count()
}

/// The recorded life of a cluster, in which members came, changed, left and crashed, is played to it, forward, backward, and
/// shuffled: nobody who lives is lost, and nothing happens twice. Who is gone and forgotten may be listed once more, until
/// probes find out.
#[test]
fn a_recording_sent_again_loses_nobody_and_repeats_no_event() {
    let mut net = cluster(&["a", "b", "c", "d", "e"], sealed);
    let now = net.now;
    net.host(1).machine.user_event(now, b"deploy", b"1", false).expect("an event");
    net.host(2).machine.set_tags(now, vec![(Bytes::from("role"), Bytes::from("web"))]).expect("tags");
    net.host(0).machine.query(now, b"uptime", b"", QueryParams::default().ack(true)).expect("a query");
    net.run_for(5 * SECOND);
    // One is suspected and refutes, one leaves, one crashes.
    let known = incarnation(&net, 0, "c");
    net.host(2).down = true;
    net.run_while(60 * SECOND, |net| net.status(0, "c") != Some(Status::Suspect));
    net.host(2).down = false;
    net.run_while(60 * SECOND, |net| !all_see(net, "c", Status::Alive));
    assert!(incarnation(&net, 0, "c") > known, "it was suspected");
    let known = incarnation(&net, 0, "c");
    let now = net.now;
    net.host(3).machine.leave(now).expect("a leave");
    net.run_for(10 * SECOND);
    net.host(3).down = true;
    net.host(4).down = true;
    net.run_while(60 * SECOND, |net| !all_see(net, "e", Status::Failed));
    net.run_for(20 * SECOND);
    let recorded: Vec<_> = net.log.iter().map(|(_, from, to, bytes)| (*from, *to, bytes.clone())).collect();
    assert!(recorded.len() > 200);
    let before: Vec<_> = (0..3).map(|host| net.notes(host)).collect();
    assert!(before.iter().all(|notes| user_events(notes) == 1));
    let mut backward = recorded.clone();
    backward.reverse();
    let mut shuffled = recorded.clone();
    let len = shuffled.len();
    (0..len).for_each(|i| shuffled.swap(i, i * 7919 % len));
    for (how, order) in [("forward", recorded), ("backward", backward), ("shuffled", shuffled)] {
        for (from, to, bytes) in order {
            // To whom it was sent, and to another one.
            net.inject(from, to, bytes.clone());
            net.inject(from, addr(1), bytes);
            net.run_ms(5);
        }
        net.run_for(SECOND);
        for name in ["a", "b", "c"] {
            assert!(all_see(&net, name, Status::Alive), "{how}: {name} is not alive to all");
        }
        let is_gone =
            |net: &Net<Node>, name| (0..3).all(|host| net.status(host, name) != Some(Status::Alive));
        net.run_while(60 * SECOND, |net| !is_gone(net, "d") || !is_gone(net, "e"));
        for host in 0..3 {
            let notes = net.notes(host);
            assert_eq!(user_events(&notes), 0, "{how}");
            let lost = notes.iter().find(|note| {
                matches!(note, Note::Change { name, kind: ChangeKind::Failed | ChangeKind::Left, .. } if "abc".contains(name.as_str()))
            });
            assert!(lost.is_none(), "{how}: {lost:?}");
            assert!(!notes.iter().any(|note| matches!(note, Note::Query(..))), "{how}: asked again");
        }
        // Each accusation in it is answered once at most.
        assert!(incarnation(&net, 0, "c") <= known + 4, "{how}");
    }
}

/// A node that starts anew has forgotten what it heard. One that takes over what its earlier life knew has not.
#[test]
fn a_restored_node_does_not_hear_of_the_past_again() {
    for restored in [false, true] {
        let mut net = cluster(&["a", "b"], sealed);
        let now = net.now;
        net.host(0).machine.user_event(now, b"deploy", b"1", false).expect("an event");
        net.run_for(2 * SECOND);
        assert_eq!(user_events(&net.notes(1)), 1);
        let clocks = net.hosts[1].machine.clocks();
        let recorded: Vec<_> = net.log.iter().filter(|(.., to, _)| *to == addr(2)).cloned().collect();
        let now = net.now;
        let restore = Restore { last: clocks, ..Restore::default() };
        let mut again = node("b", 2, |config, services| {
            sealed(config, services);
            services.restore(restored.then_some(restore));
        });
        again.handle_timeout(now);
        net.host(1).machine = again;
        for (_, from, to, bytes) in recorded {
            net.inject(from, to, bytes);
        }
        net.run_for(SECOND);
        assert_eq!(user_events(&net.notes(1)), usize::from(!restored), "restored: {restored}");
    }
}
