//! Changes of the keyring on one node, and the file that follows it (serf.md 8.3, Q37).
use crate::support;

use gossip_proto::wire::keyring::{Key, Keyring};
use gossip_proto::*;
use support::node::*;

const OLD: &[u8] = &[1; 16];
const NEW: &[u8] = &[2; 32];
const OTHER: &[u8] = &[3; 24];

fn node() -> Membership {
    membership_with("self", 1, |config| {
        config.keyring(Some(Keyring::new(Key::new(OLD).unwrap(), []).unwrap()));
    })
}

/// The change that waits for the file: its number, and the keys.
fn changed(node: &mut Membership) -> Option<(RequestId, Vec<Vec<u8>>)> {
    match node.poll_completion()? {
        Completion::KeyringChanged { id, keyring } => {
            Some((id, keyring.keys().iter().map(|key| key.as_bytes().to_vec()).collect()))
        }
        other => panic!("{other:?}"),
    }
}

const NOW: Instant = Instant::ORIGIN;

#[test]
fn without_a_file_a_change_counts_at_once() {
    let mut node = node();
    for step in [Membership::install_key, Membership::use_key] {
        assert_eq!((step(&mut node, NOW, NEW), changed(&mut node)), (Ok(()), None));
    }
    assert_eq!(node.remove_key(NOW, OLD), Ok(()));
    assert_eq!(node.use_key(NOW, OLD), Err(CommandError::Keyring(error::KeyringError::NotPresent)));
}

#[test]
fn with_a_file_each_change_waits_for_it() {
    let mut node = node();
    node.persist_keyring(true);
    node.install_key(NOW, NEW).unwrap();
    let (id, keys) = changed(&mut node).unwrap();
    assert_eq!(keys, [OLD, NEW]);
    // One at a time: which one to take back would else depend on the order of the answers.
    assert_eq!(node.use_key(NOW, NEW), Err(CommandError::KeyringBusy));
    assert_eq!(node.keyring_stored(NOW, id, Ok(())), Ok(()));
    assert_eq!(node.keyring_stored(NOW, id, Ok(())), Err(CommandError::UnknownRequest));
    node.use_key(NOW, NEW).unwrap();
    let (id, keys) = changed(&mut node).unwrap();
    assert_eq!(keys, [NEW, OLD]);
    node.keyring_stored(NOW, id, Ok(())).unwrap();
    // What fails changes nothing and needs no file; what makes no difference mends one.
    assert_eq!(node.remove_key(NOW, NEW), Err(CommandError::Keyring(error::KeyringError::Primary)));
    assert_eq!(changed(&mut node), None);
    node.install_key(NOW, OLD).unwrap();
    assert_eq!(changed(&mut node).unwrap().1, [NEW, OLD]);
}

#[test]
fn a_failed_write_takes_the_change_back() {
    let mut node = node();
    node.persist_keyring(true);
    node.install_key(NOW, NEW).unwrap();
    let (id, _) = changed(&mut node).unwrap();
    node.keyring_stored(NOW, id, Err("disk full".into())).unwrap();
    assert_eq!(node.stats().keyring_unstored, 1);
    assert_eq!(node.use_key(NOW, NEW), Err(CommandError::Keyring(error::KeyringError::NotPresent)));
    node.install_key(NOW, OTHER).unwrap();
    assert_eq!(changed(&mut node).unwrap().1, [OLD, OTHER]);
}

#[test]
fn keys_are_not_shown() {
    let mut node = node();
    node.persist_keyring(true);
    node.install_key(NOW, &[0xab; 16]).unwrap();
    let change = node.poll_completion();
    let text = format!("{node:?} {change:?}");
    assert!(
        text.contains("KeyringChanged") && !text.contains("171, 171") && !text.contains("abab"),
        "{text}"
    );
}

/// A node that is alone, so that it answers its own queries about keys.
fn serf_node() -> Node {
    let mut config = config("self", 1);
    config.keyring(Some(Keyring::new(Key::new(OLD).unwrap(), []).unwrap()));
    let secret = NonceSecret::new([9; 32]);
    Node::new(NOW, config, ServiceConfig::default(), Seed::from_u64(1), secret).unwrap()
}

#[test]
fn neither_a_node_nor_a_recording_shows_the_keys_of_queries() {
    let mut node = serf_node();
    node.start_recording(NOW, 1 << 20, [7; 16]);
    let key = Key::new(NEW).unwrap();
    let commands = [
        KeyCommand::Install(key.clone()),
        KeyCommand::Use(key.clone()),
        KeyCommand::List,
        KeyCommand::Remove(key.clone()),
    ];
    let mut reports = Vec::new();
    for command in &commands {
        node.keys(NOW, command, 0).unwrap();
        let Some((_, Outcome::Keys(report))) = node.poll_completion().and_then(Completion::ended) else {
            panic!("{command:?} did not end")
        };
        reports.push(report);
    }
    assert_eq!(reports[2].keys, [(key.clone(), 1), (Key::new(OLD).unwrap(), 1)]);
    assert_eq!(reports[3].failure().unwrap().to_string(), "1/1 nodes reported failure");
    // What waits to be passed on has them in it.
    let text = format!("{node:?} {commands:?} {reports:?}");
    assert!(!text.contains("2, 2, 2") && !text.contains("AgICAgI"), "{text}");
    node.stop_recording(NOW);
    let recording = recorded(&mut node);
    for part in [OLD, &NEW[..16], b"AgICAgI"] {
        assert!(!recording.windows(part.len()).any(|bytes| bytes == part));
    }
    let mut replayed = serf_node();
    let (mut ended, mut last) = (0, None);
    for entry in Recording::entries(&recording) {
        let given = replayed.replay(entry).unwrap();
        ended += usize::from(matches!(given, Replayed::Completion(_)));
        last = Some(matches!(given, Replayed::Stopped { full: false }));
    }
    assert_eq!((ended, last), (4, Some(true)));
    assert_eq!(replayed.state_hash(), node.state_hash());
}

fn recorded(machine: &mut impl Machine) -> Vec<u8> {
    let (mut recording, mut buf) = (Vec::new(), vec![0; MAX_TAP_FRAME]);
    loop {
        match machine.poll_tap(&mut buf) {
            0 => return recording,
            len => recording.extend_from_slice(&buf[..len]),
        }
    }
}

#[test]
fn a_recording_has_changes_and_what_became_of_them() {
    let mut node = node();
    node.start_recording(NOW, 1 << 20, [7; 16]);
    node.persist_keyring(true);
    for result in [Err("full".to_owned()), Ok(())] {
        node.install_key(NOW, NEW).unwrap();
        let (id, _) = changed(&mut node).unwrap();
        node.keyring_stored(NOW, id, result).unwrap();
    }
    node.use_key(NOW, NEW).unwrap();
    node.stop_recording(NOW);
    let mut replayed = self::node();
    let recording = recorded(&mut node);
    for key in [OLD, &NEW[..16]] {
        assert!(!recording.windows(16).any(|bytes| bytes == key));
    }
    let mut last = None;
    for entry in Recording::entries(&recording) {
        last = Some(matches!(replayed.replay(entry).unwrap(), Replayed::Stopped { full: false }));
    }
    assert_eq!((last, replayed.stats().keyring_unstored), (Some(true), 1));
    assert_eq!(replayed.state_hash(), node.state_hash());
}
