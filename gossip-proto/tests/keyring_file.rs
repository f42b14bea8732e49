//! Changes of the keyring on one node, and the file that follows it (serf.md 8.3, Q37).
mod support;

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
    let (mut recording, mut buf) = (Vec::new(), vec![0; MAX_TAP_FRAME]);
    loop {
        match node.poll_tap(&mut buf) {
            0 => break,
            len => recording.extend_from_slice(&buf[..len]),
        }
    }
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
