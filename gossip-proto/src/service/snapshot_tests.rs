use proptest::prelude::*;
use std::string::String;

use super::*;

fn name(text: &str) -> Name {
    Name::from(text)
}

fn at(number: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], number))
}

fn times(member: u64, event: u64, query: u64) -> Clocks {
    Clocks { member, event, query }
}

fn names(snapshot: &Snapshot) -> Vec<String> {
    snapshot.alive().map(|(name, addr)| format!("{name} {addr}")).collect()
}

// upstream: TestSnapshotter
#[test]
fn what_was_written_is_read_again() {
    let (mut snapshot, mut file) = (Snapshot::new(false), Vec::new());
    snapshot.joined(&name("foo"), at(5000), &mut file);
    snapshot.joined(&name("bar"), "[2001:db8::1]:5001".parse().unwrap(), &mut file);
    snapshot.joined(&name("foo"), at(5000), &mut file);
    snapshot.gone(&name("foo"), &mut file);
    snapshot.gone(&name("foo"), &mut file);
    snapshot.clocks(times(101, 43, 51), &mut file);
    snapshot.clocks(times(101, 43, 51), &mut file);
    let expected = "alive: foo 10.0.0.1:5000\nalive: bar [2001:db8::1]:5001\nnot-alive: foo\nclock: 100\nevent-clock: 42\n\
                    query-clock: 50\n";
    assert_eq!(String::from_utf8_lossy(&file), expected);
    let (read, whole) = Snapshot::replay(&file, false);
    assert_eq!((&read, whole), (&snapshot, file.len()));
    assert_eq!((read.last(), names(&read)), (times(100, 42, 50), ["bar [2001:db8::1]:5001".into()].into()));
    // The same node does not go looking for itself.
    assert_eq!(read.restore(&name("bar"), 0), Restore { last: times(100, 42, 50), ..Restore::default() });
    assert_eq!(read.restore(&name("foo"), 0).alive.len(), 1);
}

/// Every kind of line, and lines that are none (serf.md 7.1, 7.4).
#[test]
fn lines_of_every_kind() {
    let file = b"alive: a b c 1.2.3.4:7946\ncoordinate: {}\n# hello\nnonsense\n\nclock: 12\nclock: x\nclock: +3\nclock: 9\n\
                 event-clock: 3\nquery-clock: 18446744073709551616\nalive: lost\nalive: z here\nalive:  9.9.9.9:1\n\
                 not-alive: nobody\nalive: \xff\xfe [::1]:2\nleave it\nalive: torn 1.1.1.1";
    let (read, whole) = Snapshot::replay(file, false);
    assert_eq!(&file[whole..], b"alive: torn 1.1.1.1");
    assert_eq!(names(&read), ["a b c 1.2.3.4:7946", "\\xff\\xfe [::1]:2"]);
    assert_eq!(read.last(), times(9, 3, 0));
    assert_eq!(read.oddities(), (9, 0));
}

#[test]
fn another_file_is_told_from_a_torn_one() {
    let mut snapshot = Snapshot::new(false);
    let mut file = Vec::new();
    snapshot.joined(&name("a b"), at(1), &mut file);
    snapshot.clocks(times(2, 2, 2), &mut file);
    for len in 0..=file.len() {
        assert!(Snapshot::may_be_one(&file[..len]), "{:?}", &file[..len]);
        assert!(Snapshot::may_be_one(&[&b"\0\0\0x\n"[..], &file, &file[..len]].concat()));
    }
    for torn in [&b"\0\0\0"[..], b"leave\n", b"# learnt: 1", b"not-al"] {
        assert!(Snapshot::may_be_one(torn), "{torn:?}");
    }
    for other in
        [&b"[\n  \"c2JpZw==\"\n]"[..], b"{}", b"\n", b"# comment\n127.0.0.1 localhost\n", b"\x7fELF\0"]
    {
        assert!(!Snapshot::may_be_one(other), "{other:?}");
    }
}

// upstream: TestSnapshotter_leave
#[test]
fn a_farewell_makes_it_forget() {
    let (mut snapshot, mut file) = (Snapshot::new(false), Vec::new());
    snapshot.joined(&name("foo"), at(1), &mut file);
    snapshot.learnt([(&name("old"), at(2), Duration::from_secs(60))].into_iter(), 1000, &mut file);
    snapshot.clocks(times(11, 6, 7), &mut file);
    snapshot.leave(&mut file);
    snapshot.leave(&mut file);
    snapshot.joined(&name("bar"), at(1), &mut file);
    snapshot.gone(&name("foo"), &mut file);
    let (read, _) = Snapshot::replay(&file, false);
    assert_eq!(read.restore(&name("me"), 0), Restore::default());
    // The clock goes on being written, so that it is known after all (Q33).
    snapshot.clocks(times(13, 8, 8), &mut file);
    let (read, _) = Snapshot::replay(&file, false);
    assert_eq!(read.restore(&name("me"), 0), Restore { last: times(12, 0, 0), ..Restore::default() });
    assert!(file.ends_with(b"query-clock: 6\nleave\nclock: 12\n"), "{}", String::from_utf8_lossy(&file));
}

// upstream: TestSnapshotter_leave_rejoin
#[test]
fn with_rejoin_it_remembers() {
    let (mut snapshot, mut file) = (Snapshot::new(true), Vec::new());
    snapshot.joined(&name("foo"), at(1), &mut file);
    snapshot.clocks(times(11, 6, 7), &mut file);
    snapshot.leave(&mut file);
    snapshot.gone(&name("foo"), &mut file);
    for file in [file.clone(), {
        snapshot.rewrite(&mut file);
        file[file.len() - snapshot.len as usize..].to_vec()
    }] {
        let (read, _) = Snapshot::replay(&file, true);
        assert_eq!((read.last(), names(&read)), (times(10, 5, 6), ["foo 10.0.0.1:1".into()].into()));
    }
}

// upstream: TestSnapshotter_forceCompact
#[test]
fn it_is_rewritten_when_it_has_grown() {
    let (mut snapshot, mut file) = (Snapshot::new(false), Vec::new());
    snapshot.min_rewrite(1024);
    let (mut longest, mut rewrites) = (0, 0);
    for time in 1..1024 {
        snapshot.clocks(times(time + 1, time / 2, time / 3), &mut file);
        if snapshot.wants_rewrite() {
            longest = longest.max(file.len());
            file.clear();
            snapshot.rewrite(&mut file);
            rewrites += 1;
        }
    }
    assert!(longest < 1100 && rewrites > 10, "{longest} {rewrites}");
    assert_eq!(snapshot.len, file.len() as u64);
    assert_eq!(Snapshot::replay(&file, false).0.last(), times(1023, 510, 340));
    // What is needed never counts as too long.
    for number in 0..100 {
        snapshot.joined(&name(&format!("member-{number:03}")), at(number), &mut file);
    }
    snapshot.rewrite(&mut file);
    assert!(!snapshot.wants_rewrite());
}

/// Short files are left alone, and files of many members may be long: each rewrite is a file written and synced.
#[test]
fn it_is_not_rewritten_before_it_is_worth_it() {
    let (mut snapshot, mut file) = (Snapshot::new(false), Vec::new());
    for time in 1..8000 {
        snapshot.clocks(times(time, 0, 0), &mut file);
    }
    assert!(file.len() > 64 * 1024 && !snapshot.wants_rewrite(), "{} bytes", file.len());

    let (mut snapshot, mut file) = (Snapshot::new(false), Vec::new());
    snapshot.min_rewrite(1024);
    for number in 0..100 {
        snapshot.joined(&name(&format!("member-{number:03}")), at(number), &mut file);
    }
    for time in 1.. {
        if snapshot.wants_rewrite() {
            break;
        }
        snapshot.clocks(times(time, 0, 0), &mut file);
    }
    assert!((200 * 128..200 * 128 + 32).contains(&file.len()), "{} bytes", file.len());
}

/// A name with a line break would have every other node's file say whatever the attacker likes (Q8).
#[test]
fn hostile_names_write_no_lines() {
    let (mut snapshot, mut file) = (Snapshot::new(false), Vec::new());
    let hostile =
        ["a\nleave", "b\r\nleave\n", "\nalive: evil 6.6.6.6:1", "tab\there", "nul\0", "del\x7f", ""];
    for name in hostile.map(name) {
        snapshot.joined(&name, at(1), &mut file);
        snapshot.learnt([(&name, at(1), Duration::from_secs(60))].into_iter(), 1000, &mut file);
        snapshot.gone(&name, &mut file);
    }
    assert!(file.is_empty(), "{}", String::from_utf8_lossy(&file));
    assert_eq!(snapshot.oddities(), (0, 7));
    // Odd ones that do no harm are kept as they are.
    for odd in ["leave", "# learnt: 1 x", "not-alive: x", " ", "ünï"].map(name) {
        snapshot.joined(&odd, at(7), &mut file);
        let (read, _) = Snapshot::replay(&file, false);
        assert_eq!(read.alive, snapshot.alive);
    }
}

#[test]
fn learnt_addresses_outlive_a_restart_but_not_their_time() {
    let (mut snapshot, mut file) = (Snapshot::new(false), Vec::new());
    let (a, b, c) = (name("a"), name("b b"), name("c"));
    let hour = Duration::from_secs(3600);
    snapshot.joined(&c, at(3), &mut file);
    let all = [(&a, at(1), hour), (&b, at(2), hour * 2), (&c, at(3), hour)];
    snapshot.learnt(all.into_iter(), 1000, &mut file);
    let written = file.len();
    // Told again later they stand there already, with the time of their end.
    snapshot.learnt([(&a, at(1), hour - hour / 60), (&b, at(2), hour)].into_iter(), 1060, &mut file);
    assert_eq!(file.len(), written);
    let (read, _) = Snapshot::replay(&file, false);
    let left = |now| read.restore(&name("me"), now).learnt;
    assert_eq!(
        left(1600),
        [(a.clone(), at(1), Duration::from_secs(3000)), (b.clone(), at(2), Duration::from_secs(6600))]
    );
    assert_eq!(left(5000).len(), 1);
    snapshot.learnt([(&b, at(2), hour)].into_iter(), 1100, &mut file);
    snapshot.joined(&b, at(2), &mut file);
    assert!(file.ends_with(b"# forgotten: a\nalive: b b 10.0.0.1:2\n"));
    let (read, _) = Snapshot::replay(&file, false);
    assert_eq!(read.restore(&name("me"), 0).learnt, []);
    assert_eq!(read.oddities(), (0, 0));
}

proptest! {
    /// What is appended, what is read, and what is rewritten are the same state, however the file is torn.
    #[test]
    fn the_file_stands_for_the_state(
        ops in prop::collection::vec((0u8..6, "[a-c\n ]{1,3}", 1u16..4, 0u64..50), 0..60),
        rejoin in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let (mut snapshot, mut file) = (Snapshot::new(rejoin), Vec::new());
        let mut said = Vec::new();
        for (kind, text, port, time) in &ops {
            let name = name(text);
            match kind {
                0 | 1 => snapshot.joined(&name, at(*port), &mut file),
                2 => snapshot.gone(&name, &mut file),
                3 => snapshot.clocks(times(*time, time / 2, time * 2), &mut file),
                4 => snapshot.learnt([(&name, at(*port), Duration::from_secs(*time))].into_iter(), 9, &mut file),
                _ if *time == 0 => snapshot.leave(&mut file),
                _ => {}
            }
            said.push((file.len(), snapshot.clone()));
        }
        prop_assert_eq!(snapshot.len, file.len() as u64);
        let (read, whole) = Snapshot::replay(&file, rejoin);
        prop_assert_eq!(whole, file.len());
        prop_assert_eq!(read.oddities().0, 0);
        let restored = read.restore(&Name::from("me"), 0);
        let mut compact = Vec::new();
        let mut rewritten = snapshot.clone();
        rewritten.rewrite(&mut compact);
        prop_assert_eq!(&Snapshot::replay(&compact, rejoin).0.restore(&Name::from("me"), 0), &restored);
        prop_assert_eq!(&read.alive, &snapshot.alive);
        prop_assert_eq!(&read.learnt, &snapshot.learnt);
        // Torn anywhere, it stands for something that was the case, between two lines.
        let cut = cut.index(file.len() + 1);
        let (torn, whole) = Snapshot::replay(&file[..cut], rejoin);
        prop_assert!(whole <= cut && (whole == 0 || file[whole - 1] == b'\n'));
        if let Some((_, then)) = said.iter().find(|(len, _)| *len == cut) {
            prop_assert_eq!(&torn.alive, &then.alive);
        }
    }

    #[test]
    fn any_bytes_can_be_read(file in prop::collection::vec(any::<u8>(), 0..200), rejoin in any::<bool>()) {
        let (read, whole) = Snapshot::replay(&file, rejoin);
        prop_assert!(whole <= file.len());
        let _ = read.restore(&Name::from("me"), 5);
    }
}

/// Names are the members' own choice, and each rewrite is a file written and synced.
#[test]
fn long_names_do_not_have_each_line_written_anew() {
    let (mut snapshot, mut out) = (Snapshot::new(false), Vec::new());
    let long = |n: usize| Name::from(format!("{n:0500}").as_str());
    let addr = "10.0.0.1:7946".parse().unwrap();
    (0..1000).for_each(|n| snapshot.joined(&long(n), addr, &mut out));
    assert!(snapshot.wants_rewrite());
    out.clear();
    snapshot.rewrite(&mut out);
    let mut rewrites = 0;
    for n in (0..2000).map(|n| n % 1000) {
        snapshot.gone(&long(n), &mut out);
        snapshot.joined(&long(n), addr, &mut out);
        if snapshot.wants_rewrite() {
            out.clear();
            snapshot.rewrite(&mut out);
            rewrites += 1;
        }
    }
    assert!((1..=4).contains(&rewrites), "{rewrites} rewrites");
}
