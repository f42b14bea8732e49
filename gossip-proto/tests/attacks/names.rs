//! Names: forged farewells, names taken over, names that come back elsewhere, and addresses that change hands.

use super::*;
use gossip_proto::wire::keyring::{Key, Keyring};
use gossip_proto::wire::message::MessageType;
use gossip_proto::wire::serf::{LeaveIntent, SerfType};
use std::borrow::Cow;

fn leave_intent(name: &str, ltime: u64) -> Vec<u8> {
    message(MessageType::User, |bytes| {
        bytes.push(SerfType::Leave.byte());
        LeaveIntent { ltime, node: Cow::Borrowed(name.as_bytes()), prune: false }.encode(bytes)
    })
}

/// Whoever holds the key can say that somebody leaves. Who has not left objects, and is back within seconds, with the number
/// one higher and no more.
#[test]
fn a_forged_farewell_lasts_until_its_victim_hears_of_it() {
    let mut net = cluster(&["a", "b", "c", "d"], |_, _| {});
    let known = incarnation(&net, 0, "b");
    let forged = compound(&[leave_intent("b", 100), dead("b", known, "b")]);
    for host in [1, 3, 4] {
        net.inject(addr(99), addr(host), forged.clone());
    }
    net.run_ms(10);
    for host in [0, 2, 3] {
        assert_eq!(net.status(host, "b"), Some(Status::Left));
    }
    net.run_for(5 * SECOND);
    assert!(all_see(&net, "b", Status::Alive));
    assert_eq!(incarnation(&net, 0, "b"), known + 1);
    let told = net.changes(0, "b");
    assert_eq!(told.first(), Some(&ChangeKind::Left), "the application hears of it: {told:?}");
    assert_eq!(told.last(), Some(&ChangeKind::Joined), "{told:?}");
}

/// Two packets take a name over: a forged farewell, and the name at another address. Without identities nothing tells that
/// from a member that has moved. What is promised is that it is noticed: the others' applications are told, and if somebody
/// answers there, so is the victim, which asks the others whose the name is. If nobody does, the name comes back by itself.
#[test]
fn a_name_taken_over_with_two_packets_is_noticed_or_comes_back() {
    for answers in [true, false] {
        let mut net = cluster(&["a", "b", "c", "d"], |_, _| {});
        if answers {
            let (now, mut thief) = (net.now, node("b", 66, |_, _| {}));
            thief.handle_timeout(now);
            net.hosts.push(Host { machine: thief, addr: addr(66), notes: Vec::new(), down: false });
        }
        net.black_holes.push(addr(66));
        let known = incarnation(&net, 0, "b");
        let forged = compound(&[dead("b", known, "b"), alive_serf("b", 66, 1)]);
        for host in [1, 3, 4] {
            net.inject(addr(99), addr(host), forged.clone());
        }
        net.run_ms(10);
        let at = |net: &Net<Node>, host: usize| net.hosts[host].machine.find(b"b").map(|member| member.addr);
        assert_eq!([0, 2, 3].map(|host| at(&net, host)), [Some(addr(66)); 3]);
        let told = net.changes(0, "b");
        assert!([ChangeKind::Failed, ChangeKind::Left].contains(&told[0]), "{told:?}");
        if answers {
            net.run_for(60 * SECOND);
            let notes = net.notes(1);
            let conflict = Note::Conflict { name: "b".into(), known: addr(2), claimed: addr(66) };
            assert!(notes.contains(&conflict), "{notes:?}");
            assert!(net.hosts[1].machine.stats().name_conflicts > 0);
            assert_eq!(at(&net, 0), Some(addr(66)), "the name is lost, as long as the thief answers to it");
        } else {
            net.run_while(180 * SECOND, |net| {
                !all_see(net, "b", Status::Alive) || [0, 2, 3].map(|host| at(net, host)) != [Some(addr(2)); 3]
            });
        }
    }
}

fn alive_serf(name: &str, host: u8, incarnation: u32) -> Vec<u8> {
    AliveOf { name, incarnation, addr: &[10, 0, 0, host], port: 7946, meta: b"", vsn: &SERF_VSN }.encode()
}

/// Without a farewell a name at another address is a conflict, whatever its number: the member keeps its name.
#[test]
fn a_living_members_name_is_not_to_be_had() {
    let mut net = cluster(&["a", "b", "c"], |_, _| {});
    for incarnation in [1, 2, 1000, 60_000, u32::MAX / 2, u32::MAX - 1, u32::MAX] {
        for host in 1..=3 {
            net.inject(addr(66), addr(host), alive_serf("b", 66, incarnation));
        }
        net.run_for(2 * SECOND);
        for host in 0..3 {
            let member = net.hosts[host].machine.find(b"b").expect("a member");
            assert_eq!((member.addr, member.status), (addr(2), Status::Alive), "{incarnation}");
        }
    }
    assert_eq!(net.hosts[0].machine.stats().conflicts, 7);
}

/// A node that comes back under its name at another address, as in a container that was scheduled elsewhere (cortex#2130).
/// One that left is back at once; one that crashed when `dead_node_reclaim` has passed, by default when its death is
/// forgotten.
#[test]
fn a_name_comes_back_from_a_new_address() {
    for (left, reclaim, within) in [(true, 0, 1), (false, 1, 4), (false, 0, 95)] {
        let mut net = cluster(&["a", "b", "c"], |config, _| {
            config.dead_node_reclaim(reclaim * SECOND);
        });
        if left {
            let now = net.now;
            net.host(1).machine.leave(now).expect("a leave");
            net.run_for(10 * SECOND);
        }
        net.host(1).down = true;
        let gone = if left { Status::Left } else { Status::Failed };
        net.run_while(30 * SECOND, |net| !all_see(net, "b", gone));
        net.run_for(2 * SECOND);
        let (now, mut back) = (net.now, node("b", 40, |_, _| {}));
        back.handle_timeout(now);
        net.hosts.push(Host { machine: back, addr: addr(40), notes: Vec::new(), down: false });
        net.join(3, 0);
        net.run_while(within * SECOND, |net| {
            let there =
                |host: usize| net.hosts[host].machine.find(b"b").map(|member| (member.addr, member.status));
            [0, 2].map(there) != [Some((addr(40), Status::Alive)); 2]
        });
    }
}

/// A node of one cluster gets the address that a node of the other had until a moment ago (mimir#6187). With a label or a key
/// of their own the two stay apart, and it is counted.
#[test]
fn clusters_that_come_to_share_an_address_stay_apart() {
    for keys in [false, true] {
        let ours = |cluster: u8| {
            move |config: &mut Config, services: &mut ServiceConfig| {
                services.reconnect_interval(SECOND);
                if keys {
                    let key = Key::new(&[cluster; 16]).expect("16 bytes");
                    config.keyring(Some(Keyring::new(key, []).expect("one key")));
                } else {
                    config.label(vec![b'x', cluster].into());
                }
            }
        };
        let (first, second) = (ours(1), ours(2));
        let mut net = Net::new(
            [("a1", 1), ("a2", 2), ("a3", 3)]
                .map(|(name, host)| node(name, host, first))
                .into_iter()
                .chain([("b1", 11), ("b2", 12)].map(|(name, host)| node(name, host, second))),
        );
        net.join(1, 0);
        net.join(2, 0);
        net.join(4, 3);
        net.run_for(5 * SECOND);
        // The third node of the first cluster is gone, and a new one of the second has its address.
        net.host(2).down = true;
        let (now, mut heir) = (net.now, node("b3", 3, second));
        heir.handle_timeout(now);
        net.hosts.push(Host { machine: heir, addr: addr(3), notes: Vec::new(), down: false });
        net.join(5, 3);
        net.run_for(180 * SECOND);
        let names = |host: usize| {
            let members = net.hosts[host].machine.members();
            let alive = members.filter(|member| member.status == Status::Alive);
            let mut names: Vec<_> = alive.map(|member| member.name.to_string()).collect();
            names.sort();
            names
        };
        assert_eq!([0, 1].map(names), [["a1", "a2"]; 2].map(|names| names.map(String::from).to_vec()));
        let theirs = ["b1", "b2", "b3"].map(String::from).to_vec();
        assert_eq!([3, 4, 5].map(names), [theirs.clone(), theirs.clone(), theirs]);
        let stats = net.hosts[5].machine.stats();
        let dropped = if keys { stats.dropped_seal } else { stats.dropped_label };
        assert!(dropped > 0 && stats.alive_accepted == 2, "{stats:?}");
    }
}
