//! The end of the range of incarnations (memberlist#358): one message must not put a name where nothing that is said of it is
//! believed any more.

use super::*;
use gossip_proto::wire::layers::{Compression, Layers};
use gossip_proto::wire::lzw::Deflater;
use gossip_proto::wire::message::*;
use gossip_proto::wire::stream::write_stream_with;
use std::borrow::Cow;

/// How one message may speak of a member.
#[derive(Clone, Copy, Debug)]
enum Said {
    Alive,
    Suspect,
    Dead,
    Left,
    /// In a push/pull, with this state.
    Exchanged(i64),
}

const ALL: [Said; 8] = [
    Said::Alive,
    Said::Suspect,
    Said::Dead,
    Said::Left,
    Said::Exchanged(0),
    Said::Exchanged(1),
    Said::Exchanged(2),
    Said::Exchanged(3),
];

fn exchange(name: &str, host: u8, incarnation: u32, state: i64) -> Vec<u8> {
    let header = PushPullHeader { nodes: 1, user_state_len: 0, join: false };
    let mut body = message(MessageType::PushPull, |bytes| header.encode(bytes));
    let ip = [10, 0, 0, host];
    let state = NodeState {
        name: Cow::Borrowed(name.as_bytes()),
        addr: ip.as_slice().into(),
        port: 7946,
        incarnation,
        state,
        vsn: VSN.as_slice().into(),
        ..NodeState::default()
    };
    state.encode(&mut body).expect("a vector has room");
    let mut bytes = Vec::new();
    let layers = Layers { compression: Compression::Off, ..Layers::default() };
    write_stream_with(&layers, true, &[&body], &[0; 12], &mut Deflater::new(), &mut bytes)
        .expect("short enough");
    bytes
}

/// Says it to host 0.
fn say(net: &mut Net<Membership>, said: Said, name: &str, host: u8, incarnation: u32) {
    let datagram = match said {
        Said::Alive => alive(name, host, incarnation),
        Said::Suspect => suspect(name, incarnation, "c"),
        Said::Dead => dead(name, incarnation, "c"),
        Said::Left => dead(name, incarnation, name),
        Said::Exchanged(state) => {
            let (now, from) = (net.now, Source::unauthenticated(addr(99)));
            let machine = &mut net.host(0).machine;
            let id = machine.accept_stream(now, from).expect("a place");
            machine
                .handle_stream_data(now, id, &exchange(name, host, incarnation, state), true)
                .expect("a state");
            return;
        }
    };
    net.inject(addr(99), addr(1), datagram);
}

fn three() -> Net<Membership> {
    three_with(|_| {})
}

fn three_with(configure: impl Fn(&mut Config)) -> Net<Membership> {
    let hosts = ["a", "b", "c"].into_iter().zip(1..);
    let mut net = Net::new(hosts.map(|(name, host)| membership_with(name, host, &configure)));
    net.join(1, 0);
    net.join(2, 0);
    net.run_for(2 * SECOND);
    net
}

fn all_see(net: &Net<Membership>, name: &str, status: Status) -> bool {
    (0..3).filter(|&host| !net.hosts[host].down).all(|host| net.status(host, name) == Some(status))
}

/// After each of them the members are seen alive by all, though the one that was spoken of may first have to refute; and
/// one that then crashes is found out.
#[test]
fn no_single_message_takes_a_living_member_away_or_hides_a_crash() {
    let last_sixteen = (0..16).map(|below| u32::MAX - below);
    for incarnation in last_sixteen {
        for said in ALL {
            for (name, host) in [("b", 2), ("a", 1)] {
                let mut net = three();
                say(&mut net, said, name, host, incarnation);
                net.run_for(5 * SECOND);
                let what = format!("{said:?} of {name} at {incarnation}");
                for member in ["a", "b", "c"] {
                    assert!(all_see(&net, member, Status::Alive), "{what}: {member} is not seen alive");
                }
                // It still can be accused, and answers.
                let known = net.hosts[2].machine.find(name.as_bytes()).expect("a member").incarnation;
                net.inject(addr(99), addr(3), suspect(name, known, "a"));
                net.run_for(5 * SECOND);
                assert!(all_see(&net, name, Status::Alive), "{what}: it cannot refute");
                net.host(usize::from(host) - 1).down = true;
                net.run_while(60 * SECOND, |net| !all_see(net, name, Status::Failed));
            }
        }
    }
}

/// Several messages to one member, while the one that they speak of cannot hear of it, bring that member farther than the other
/// may answer at once. It answers as far as it may each time that it is told, and they meet again.
#[test]
fn who_was_brought_ahead_of_a_member_meets_it_again() {
    for (said, messages) in [(Said::Alive, 2), (Said::Alive, 10), (Said::Exchanged(0), 2)] {
        // Nobody is suspected meanwhile, which would be told to who is.
        let mut net = three_with(|config| {
            config.probe_interval(Duration::ZERO);
        });
        net.fate(|from, _, _| if from == addr(99) { Fate::Deliver } else { Fate::Lose });
        net.black_holes = (1..=3).map(addr).collect();
        for _ in 0..messages {
            say(&mut net, said, "b", 2, u32::MAX - 2);
        }
        net.run_for(2 * SECOND);
        let incarnation =
            |net: &Net<Membership>, host: usize| net.hosts[host].machine.find(b"b").map(|b| b.incarnation);
        let own = incarnation(&net, 1);
        assert!(incarnation(&net, 0) > Some((1 << 31) + (1 << 16) - 1), "{:?}", incarnation(&net, 0));
        assert!(own < Some(1 << 30), "{own:?}: it has not heard of it");
        net.fate(|_, _, _| Fate::Deliver);
        net.black_holes.clear();
        net.run_while(240 * SECOND, |net| (0..3).any(|host| incarnation(net, host) != incarnation(net, 1)));
        let follow_ups: u64 = net.hosts.iter().map(|host| host.machine.stats().follow_ups).sum();
        assert_eq!(follow_ups > 0, messages > 2, "while one is behind, one exchange follows another");
    }
}

/// A newcomer with such a number is taken in far below: at the end it could never be accused, and so never be got rid of.
#[test]
fn nobody_is_planted_at_the_end_of_the_range() {
    for incarnation in (0..16).map(|below| u32::MAX - below) {
        for said in ALL {
            let mut net = three();
            net.black_holes.push(addr(50));
            say(&mut net, said, "ghost", 50, incarnation);
            net.run_for(SECOND);
            let planted = net.hosts[0].machine.find(b"ghost").map(|ghost| ghost.incarnation);
            assert!(planted.is_none_or(|at| at < 1 << 31), "{said:?} at {incarnation}: {planted:?}");
            net.run_while(60 * SECOND, |net| net.status(0, "ghost") == Some(Status::Alive));
            assert_ne!(net.status(0, "ghost"), Some(Status::Alive), "{said:?} at {incarnation}");
        }
    }
}

/// What is promised is about one message. Whoever holds the key can send as many as it takes, and each takes the name one
/// step of 65,536 further, once it is in the upper half of the range.
#[test]
fn it_takes_tens_of_thousands_of_messages_to_use_up_the_range() {
    let mut script = Script::new(|config| {
        config.probe_interval(Duration::ZERO);
    });
    script.hear(&alive("b", 2, 1));
    let mut messages = 0;
    while script.incarnation("b") < u32::MAX - 1 {
        let before = script.incarnation("b");
        let next = before.saturating_add(1 << 16).clamp(1 << 31, u32::MAX - 1);
        script.hear(&alive("b", 2, next));
        assert!(script.incarnation("b") > before);
        messages += 1;
    }
    assert_eq!(messages, 1 + 32_768);
}
