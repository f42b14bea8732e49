//! Key queries on one node: what is answered and when, and what is made of others' answers.

use alloc::vec;
use core::net::SocketAddr;
use core::time::Duration;

use super::*;
use crate::ServiceConfig;
use crate::keys::KeyFailure;
use crate::output::{Completion, Source};
use crate::service::tests::Bed;
use crate::swim::Upper;
use crate::wire::keyring::Keyring;
use crate::wire::serf::{Query, QueryResponse};

fn key(byte: u8) -> Key {
    Key::new(&[byte; 32]).unwrap()
}

fn text(byte: u8) -> String {
    STANDARD.encode([byte; 32])
}

/// A node with these keys, and a member "a".
fn bed(keys: &[u8]) -> Bed {
    bed_with(keys, |_| {})
}

fn bed_with(keys: &[u8], configure: impl FnOnce(&mut ServiceConfig)) -> Bed {
    let mut config = ServiceConfig::default();
    configure(&mut config);
    let ring = keys
        .split_first()
        .map(|(first, rest)| Keyring::new(key(*first), rest.iter().map(|byte| key(*byte))).unwrap());
    let mut bed = Bed::with_ring(config, ring);
    bed.alive("a", 1);
    bed
}

/// What Serf's nodes would hear.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    ok: bool,
    message: String,
    keys: Vec<String>,
    primary: String,
}

fn said(ok: bool, message: &str) -> Said {
    Said { ok, message: message.into(), keys: Vec::new(), primary: String::new() }
}

impl Bed {
    /// Whether the query is passed on.
    fn key_query_came(&mut self, kind: &str, payload: &[u8]) -> bool {
        let id = self.swim.rng.next_u32() >> 1;
        let query = Query {
            ltime: self.services.query_clock.time(),
            id,
            addr: (&[10, 0, 0, 11][..]).into(),
            port: 7946,
            source_node: (&b"a"[..]).into(),
            timeout: 5_000_000_000,
            name: format!("_serf_{kind}").into_bytes().into(),
            payload: payload.into(),
            ..Query::default()
        };
        self.services.query(&mut self.swim, None, &query)
    }

    fn answers(&mut self) -> Vec<Said> {
        let mut answers = Vec::new();
        for (to, message) in self.sent() {
            assert_eq!(to, SocketAddr::from(([10, 0, 0, 11], 7946)));
            let response = QueryResponse::decode(&message[1..]).unwrap().0;
            assert!(message.len() <= self.services.config.query_response_size_limit);
            let (kind, body) = response.payload.split_first().unwrap();
            assert_eq!((message[0], *kind), (5, 8));
            let answer = KeyResponse::decode(body).unwrap().0;
            let text = |text: &[u8]| String::from_utf8(text.to_vec()).unwrap();
            answers.push(Said {
                ok: answer.ok,
                message: text(&answer.message),
                keys: answer.keys.iter().map(|key| text(&key)).collect(),
                primary: text(&answer.primary_key),
            });
        }
        answers
    }

    fn asks(&mut self, kind: &str, payload: &[u8]) -> Said {
        assert!(self.key_query_came(kind, payload));
        let answers = self.answers();
        assert_eq!(answers.len(), 1, "{answers:?}");
        answers[0].clone()
    }

    fn ring(&self) -> Vec<u8> {
        self.swim
            .keyring()
            .map_or(Vec::new(), |ring| ring.keys().iter().map(|key| key.as_bytes()[0]).collect())
    }

    fn stores(&mut self, result: Result<(), &str>) {
        let Some(Completion::KeyringChanged { id, keyring }) = self.swim.poll_completion() else {
            panic!("no change")
        };
        assert_eq!(Some(&keyring), self.swim.keyring());
        self.swim.keyring_stored(&mut self.services, id, result.map_err(String::from)).unwrap();
    }
}

fn request(key: &[u8]) -> Vec<u8> {
    let mut payload = vec![7];
    KeyRequest { key: key.into() }.encode(&mut payload).unwrap();
    payload
}

fn of(byte: u8) -> Vec<u8> {
    request(&[byte; 32])
}

// upstream: TestKeyManager_InstallKey, TestKeyManager_UseKey, TestKeyManager_RemoveKey, TestKeyManager_ListKeys
#[test]
fn keys_are_installed_used_removed_and_listed() {
    let mut bed = bed(&[1, 2]);
    assert_eq!(bed.asks("install-key", &of(3)), said(true, ""));
    assert_eq!(bed.asks("install-key", &of(3)), said(true, ""));
    assert_eq!(bed.ring(), [1, 2, 3]);
    assert_eq!(bed.asks("use-key", &of(3)), said(true, ""));
    assert_eq!(bed.asks("use-key", &of(9)), said(false, "requested key is not in the keyring"));
    assert_eq!(bed.asks("remove-key", &of(3)), said(false, "removing the primary key is not allowed"));
    assert_eq!(bed.asks("remove-key", &of(1)), said(true, ""));
    assert_eq!(bed.asks("remove-key", &of(1)), said(true, ""));
    assert_eq!(bed.ring(), [3, 2]);
    let all = Said { keys: vec![text(3), text(2)], primary: text(3), ..said(true, "") };
    assert_eq!(bed.asks("list-keys", &request(&[])), all);
    // A key of no size that AES has.
    assert_eq!(
        bed.asks("install-key", &request(&[1; 31])),
        said(false, "key size must be 16, 24 or 32 bytes")
    );
    assert_eq!(bed.asks("use-key", &request(&[1; 5])), said(false, "requested key is not in the keyring"));
    assert_eq!(bed.asks("remove-key", &request(&[])), said(true, ""));
    assert_eq!(bed.ring(), [3, 2]);
}

#[test]
fn without_keys_there_is_nothing_to_do() {
    let mut bed = bed(&[]);
    for kind in ["install-key", "use-key", "remove-key"] {
        assert_eq!(bed.asks(kind, &of(1)), said(false, "No keyring to modify (encryption not enabled)"));
    }
    assert_eq!(bed.asks("list-keys", &[7, 0x80]), said(false, "Keyring is empty (encryption not enabled)"));
    assert!(bed.ring().is_empty());
}

/// These crash upstream nodes (Q2): they are answered, but not passed on.
#[test]
fn a_query_without_a_key_is_refused_and_ends_here() {
    let mut bed = bed(&[1]);
    for kind in ["install-key", "use-key", "remove-key"] {
        assert!(!bed.key_query_came(kind, &[]));
        assert_eq!(bed.answers(), [said(false, "")]);
        assert_eq!(bed.asks(kind, &[7]), said(false, ""));
        assert_eq!(bed.asks(kind, &[7, 0xc1]), said(false, ""));
    }
    assert_eq!(bed.ring(), [1]);
}

// upstream: TestSerfQueries_keyListResponseWithCorrectSize
// upstream: TestSerfQueries_estimateMaxKeysInListKeyResponseFactor
#[test]
fn a_list_is_cut_to_what_an_answer_has_room_for() {
    let ring: Vec<u8> = (1..=30).collect();
    let list = |limit: usize, keys: usize| {
        let mut bed = bed_with(&ring[..keys], |config| {
            config.query_response_size_limit(limit);
        });
        assert!(bed.key_query_came("list-keys", &request(&[])));
        let answers = bed.answers();
        assert_eq!(bed.swim.stats.query_answers_unsent, u64::from(answers.is_empty()));
        answers.first().map(|said| (said.keys.len(), said.message.clone(), said.primary == text(1)))
    };
    let cut = |shown: usize, of: usize| {
        Some((shown, format!("truncated key list response, showing first {shown} of {of} keys"), true))
    };
    assert_eq!(list(1024, 1), Some((1, String::new(), true)));
    assert_eq!(list(1024, 18), Some((18, String::new(), true)));
    // Upstream's test has room for 18: its node has no name, and its ring no primary key.
    assert_eq!(list(1024, 30), cut(17, 30));
    assert_eq!(list(1024 + 47, 30), cut(18, 30));
    // Shorter lists than the bound.
    assert_eq!(list(300, 4), cut(2, 4));
    assert_eq!(list(210, 4), cut(0, 4));
    assert_eq!(list(100, 4), None);
}

#[test]
fn an_answer_leaves_when_the_file_has_the_change() {
    let mut bed = bed(&[1]);
    bed.swim.persist_keyring(true);
    assert!(bed.key_query_came("install-key", &of(2)));
    // In effect, but not yet told; a list needs no file; another change waits for its turn.
    assert_eq!((bed.ring(), bed.answers()), (vec![1, 2], vec![]));
    assert_eq!(bed.asks("list-keys", &request(&[])).keys, [text(1), text(2)]);
    assert!(bed.key_query_came("use-key", &of(2)) && bed.key_query_came("remove-key", &of(2)));
    assert_eq!((bed.ring(), bed.answers()), (vec![1, 2], vec![]));
    bed.stores(Ok(()));
    assert_eq!((bed.ring(), bed.answers()), (vec![2, 1], vec![said(true, "")]));
    // The one after it needs no file to fail.
    bed.stores(Ok(()));
    assert_eq!(bed.answers(), [said(true, ""), said(false, "removing the primary key is not allowed")]);
    assert_eq!(bed.swim.poll_completion(), None);
}

#[test]
fn a_change_that_cannot_be_stored_is_taken_back_and_answered_so() {
    let mut bed = bed(&[1, 2]);
    bed.swim.persist_keyring(true);
    assert!(bed.key_query_came("remove-key", &of(2)) && bed.key_query_came("use-key", &of(2)));
    bed.stores(Err("disk full"));
    assert_eq!(bed.answers(), [said(false, "disk full")]);
    // The next one finds the ring as it was.
    assert_eq!(bed.ring(), [2, 1]);
    bed.stores(Ok(()));
    assert_eq!((bed.ring(), bed.answers()), (vec![2, 1], vec![said(true, "")]));
}

#[test]
fn changes_that_wait_for_a_slow_file_are_bounded() {
    let mut bed = bed(&[1]);
    bed.swim.persist_keyring(true);
    for byte in 2..30 {
        assert!(bed.key_query_came("install-key", &of(byte)));
    }
    let refused = bed.answers();
    assert_eq!(refused.len(), 28 - 1 - MAX_WAITING);
    assert!(refused.iter().all(|said| !said.ok && said.message.contains("still being stored")));
    for _ in 0..=MAX_WAITING {
        bed.stores(Ok(()));
    }
    assert_eq!((bed.answers().len(), bed.ring().len()), (1 + MAX_WAITING, 2 + MAX_WAITING));
}

/// An answer that comes when nobody listens any more is not sent; the change stays.
#[test]
fn a_file_may_take_longer_than_the_query() {
    let mut bed = bed(&[1]);
    bed.swim.persist_keyring(true);
    assert!(bed.key_query_came("install-key", &of(2)));
    bed.swim.advance(crate::Instant::from_millis(6000));
    bed.stores(Ok(()));
    assert_eq!((bed.answers(), bed.ring(), bed.swim.stats.query_answers_unsent), (vec![], vec![1, 2], 1));
}

impl Bed {
    fn asked_keys(&mut self, command: &KeyCommand) -> OperationId {
        self.services.ask_keys(&mut self.swim, command, 0).unwrap()
    }

    fn node_says(&mut self, from: &str, payload: &[u8]) {
        let (ltime, id) = self.services.queries.last_asked().unwrap();
        let from_bytes = from.as_bytes().into();
        let response = QueryResponse { ltime, id, from: from_bytes, flags: 0, payload: payload.into() };
        let mut message = vec![SerfType::QueryResponse.byte()];
        response.encode(&mut message).unwrap();
        let source = Source::unauthenticated(([10, 0, 0, 99], 7946).into());
        self.services.message(&mut self.swim, source, false, &message);
    }

    fn report(&mut self) -> Option<KeyReport> {
        match self.swim.poll_completion()?.ended() {
            Some((_, Outcome::Keys(report))) => Some(report),
            other => panic!("{other:?}"),
        }
    }
}

fn answer(ok: bool, message: &str, keys: &[String]) -> Vec<u8> {
    let keys: Vec<Text<'_>> = keys.iter().map(|key| Cow::Borrowed(key.as_bytes())).collect();
    let primary_key = keys.first().cloned().unwrap_or_default();
    let mut payload = vec![8];
    KeyResponse { ok, message: message.as_bytes().into(), keys: List::Lent(&keys), primary_key }
        .encode(&mut payload)
        .unwrap();
    payload
}

#[test]
fn a_report_is_whole_when_all_have_answered() {
    let mut bed = bed(&[1, 2]);
    bed.alive("bb", 1);
    bed.asked_keys(&KeyCommand::List);
    assert_eq!(bed.report(), None);
    bed.node_says("a", &answer(true, "", &[text(1), text(2)]));
    bed.node_says("a", &answer(true, "", &[text(7)]));
    bed.node_says("nobody", &answer(true, "", &[text(7)]));
    bed.node_says("bb", &answer(true, "truncated", &[text(2), text(2), "no key".into()]));
    let report = bed.report().unwrap();
    assert_eq!((report.nodes, report.responses, report.errors, report.failure()), (3, 3, 0, None));
    assert_eq!(report.messages, [("bb".into(), "truncated".to_string())]);
    assert_eq!(report.keys, [(key(1), 2), (key(2), 3)]);
    assert_eq!(report.primary_keys, [(key(1), 2), (key(2), 1)]);
    assert!(!format!("{report:?}").contains(&text(1)[..8]));
}

/// The next step of a rotation would cut off who has not answered.
#[test]
fn who_comes_meanwhile_does_not_answer_for_who_has_not() {
    let mut bed = bed(&[1, 2]);
    bed.alive("bb", 1);
    bed.asked_keys(&KeyCommand::List);
    bed.alive("dddd", 1);
    bed.node_says("a", &answer(true, "", &[text(1)]));
    bed.node_says("dddd", &answer(true, "", &[text(1)]));
    assert_eq!(bed.report(), None, "bb is still asked");
    bed.node_says("bb", &answer(false, "its disk is full", &[]));
    let report = bed.report().unwrap();
    assert_eq!((report.nodes, report.responses, report.errors), (4, 4, 1));

    bed.asked_keys(&KeyCommand::List);
    bed.alive("eeeee", 1);
    for name in ["a", "dddd", "eeeee"] {
        bed.node_says(name, &answer(true, "", &[text(1)]));
    }
    bed.dead("bb", 1, "a");
    bed.run(Duration::from_secs(10));
    let report = bed.report().unwrap();
    assert_eq!(report.failure(), Some(KeyFailure::Missing { responses: 4, nodes: 5 }));
}

/// On the way to a sealed cluster anybody can ask, and would be told the key, or have one of his own put in for good.
#[test]
fn keys_are_neither_told_nor_changed_while_strangers_are_heard() {
    let mut bed = bed(&[1]);
    bed.swim.config.verify_incoming = false;
    bed.asked_keys(&KeyCommand::Install(key(5)));
    bed.node_says("a", &answer(true, "", &[]));
    let report = bed.report().unwrap();
    assert_eq!(
        report.messages,
        [("self".into(), "no key changes while what is not sealed is accepted".to_string())]
    );
    bed.swim.layers.verify_outgoing = false;
    bed.asked_keys(&KeyCommand::List);
    bed.node_says("a", &answer(true, "", &[]));
    let report = bed.report().unwrap();
    assert_eq!((report.errors, report.keys.len()), (1, 0));
}

#[test]
fn a_report_says_who_refused_and_how_many_were_silent() {
    let mut bed = bed(&[1]);
    bed.alive("bb", 1);
    bed.alive("ccc", 1);
    bed.asked_keys(&KeyCommand::Use(key(5)));
    bed.node_says("a", &answer(false, "no", &[]));
    bed.node_says("bb", &[5, 1, 2]);
    bed.node_says("ccc", &[8, 0xc1]);
    let report = bed.report().unwrap();
    assert_eq!((report.nodes, report.responses, report.errors), (4, 4, 4));
    assert_eq!(report.failure().unwrap().to_string(), "4/4 nodes reported failure");
    let said: Vec<_> = report.messages.iter().map(|(name, text)| format!("{name}: {text}")).collect();
    assert_eq!(
        said[..3],
        ["self: requested key is not in the keyring", "a: no", "bb: Invalid key query response type"]
    );
    assert!(said[3].starts_with("ccc: Failed to decode key query response: "));

    bed.asked_keys(&KeyCommand::Install(key(5)));
    bed.node_says("a", &answer(true, "", &[]));
    bed.run(Duration::from_secs(10));
    let report = bed.report().unwrap();
    assert_eq!(report.failure(), Some(KeyFailure::Missing { responses: 2, nodes: 4 }));
    assert_eq!(report.failure().unwrap().to_string(), "2/4 nodes reported success");
    assert!(bed.services.keys.reports.is_empty());
}

/// As upstream, whose lock is shared by lists and not by changes (serf.md 8.2 step 1).
#[test]
fn operations_of_one_node_do_not_disturb_each_other() {
    let mut bed = bed(&[1]);
    let commands = [
        KeyCommand::Install(key(2)),
        KeyCommand::Use(key(2)),
        KeyCommand::List,
        KeyCommand::List,
        KeyCommand::Remove(key(1)),
    ];
    for command in &commands {
        bed.asked_keys(command);
    }
    assert_eq!((bed.ring(), bed.services.keys.running.len()), (vec![1, 2], 1));
    bed.node_says("a", &answer(true, "", &[]));
    assert_eq!((bed.ring(), bed.services.keys.running.len()), (vec![2, 1], 1));
    // One of the others is silent: its time ends the step.
    assert_eq!(bed.report().unwrap().failure(), None);
    bed.run(Duration::from_secs(4));
    assert_eq!(bed.report().unwrap().responses, 1);
    assert_eq!((bed.ring(), bed.services.keys.running.len()), (vec![2, 1], 2));
    bed.node_says("a", &answer(true, "", &[text(2), text(1)]));
    // It is suspected meanwhile, since it answers no probes either, and objects.
    bed.alive("a", 2);
    bed.run(Duration::from_secs(4));
    assert_eq!([bed.report(), bed.report()].map(|report| report.unwrap().responses), [2, 1]);
    assert_eq!((bed.ring(), bed.services.keys.running.len()), (vec![2], 1));
    // Nothing is asked any more once the node leaves, and those who wait are told.
    let last = bed.asked_keys(&KeyCommand::Install(key(3)));
    bed.services.leave(&mut bed.swim).unwrap();
    assert_eq!(bed.services.ask_keys(&mut bed.swim, &KeyCommand::List, 0), Err(CommandError::Left));
    bed.run(Duration::from_secs(30));
    let ended: Vec<_> = core::iter::from_fn(|| bed.swim.poll_completion()?.ended()).collect();
    assert!(ended.iter().any(|(of, outcome)| {
        *of == last && matches!(outcome, Outcome::Keys(report) if report.responses == 0)
    }));
    assert!(bed.services.keys.running.is_empty() && bed.ring() == [2]);
}

#[test]
fn a_node_that_is_alone_answers_itself() {
    let mut bed = Bed::with_ring(ServiceConfig::default(), Some(Keyring::new(key(1), []).unwrap()));
    bed.asked_keys(&KeyCommand::Install(key(2)));
    assert_eq!(bed.report().unwrap().failure(), None);
    // With a file it is done when that is.
    bed.swim.persist_keyring(true);
    bed.asked_keys(&KeyCommand::Use(key(2)));
    bed.stores(Ok(()));
    assert_eq!((bed.report().unwrap().failure(), bed.ring()), (None, vec![2, 1]));
    assert!(bed.services.keys.reports.is_empty() && bed.services.keys.storing.is_none());
}

/// Somebody who makes keys up fills a report and no more.
#[test]
fn a_report_has_room_for_so_many_keys() {
    let mut counts = Vec::new();
    for byte in 0..100_u8 {
        let keys = (0..4_u8).map(|n| Key::new(&[byte, n].repeat(8)).unwrap());
        assert_eq!(KeyReport::count(&mut counts, keys), byte < 64);
    }
    assert_eq!(counts.len(), 256);
    assert!(KeyReport::count(&mut counts, core::iter::once(Key::new(&[0, 1].repeat(8)).unwrap())));
    assert_eq!(counts[1].1, 2);
}

/// The answer that ends an operation has the next one asked at once, and its query takes the room of old ones.
#[test]
fn an_operation_that_follows_may_move_the_queries() {
    let mut bed = bed_with(&[1], |config| {
        config.max_open_queries(3);
    });
    bed.swim.persist_keyring(true);
    for id in [8, 9] {
        bed.services.query(&mut bed.swim, None, &Query { ltime: 1, id, timeout: 1, ..Query::default() });
    }
    bed.asked_keys(&KeyCommand::Install(key(2)));
    bed.asked_keys(&KeyCommand::Use(key(2)));
    bed.node_says("a", &answer(true, "", &[]));
    bed.swim.advance(crate::Instant::from_millis(1000));
    bed.stores(Ok(()));
    assert_eq!(bed.report().unwrap().failure(), None);
    assert_eq!(bed.ring(), [2, 1]);
    bed.stores(Ok(()));
    assert_eq!(bed.report(), None);
    bed.node_says("a", &answer(true, "", &[]));
    let report = bed.report().unwrap();
    assert_eq!((report.responses, report.failure()), (2, None));
}
