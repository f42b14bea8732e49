use super::*;
use crate::output::{IdentityId, MemberKey, Source, StreamFailure, TransmitFailure};
use crate::wire::stream::Pending;
use crate::{Bytes, JoinTarget, KnownMember};
use alloc::{format, vec};

const NOW: Instant = Instant::from_nanos(u64::MAX - 7);

fn tap(limit: usize) -> Tap {
    Tap::new(limit, [7; 16], true)
}

fn all(tap: &mut Tap) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut buf = [0; MAX_TAP_FRAME];
    loop {
        let len = tap.poll(&mut buf);
        if len == 0 {
            return bytes;
        }
        bytes.extend_from_slice(&buf[..len]);
    }
}

fn inputs() -> Vec<Input<'static>> {
    let (now, to) = (NOW, MemberKey { slot: 1, epoch: u32::MAX });
    let v4 = Source { addr: "10.0.0.1:7946".parse().unwrap(), identity: Some(IdentityId(1 << 63)) };
    let v6 = Source { addr: "[fe80::1%3]:1".parse().unwrap(), identity: None };
    let known = KnownMember {
        name: "n".into(),
        addr: v4.addr,
        metadata: Bytes::from_static(b"m"),
        incarnation: u32::MAX,
        versions: [1, 5, 2, 2, 5, 4],
    };
    let targets = vec![JoinTarget { addr: v6.addr, name: Some("n".into()) }, v4.addr.into()];
    vec![
        Input::Datagram { now, source: v4 },
        Input::AcceptStream { now, source: v6 },
        Input::TransmitFailed { now, id: u64::MAX, why: TransmitFailure::TooBig(1200) },
        Input::TransmitFailed { now, id: 0, why: TransmitFailure::Unreachable },
        Input::TransmitFailed { now, id: 0, why: TransmitFailure::Local },
        Input::Path { now, to: v6.addr, max_datagram: 65_507 },
        Input::StreamFailed { now, id: 300, why: StreamFailure::TimedOut },
        Input::StreamData { now, id: 300, len: usize::MAX, fin: true },
        Input::Join { now, targets: targets.clone().into() },
        Input::JoinIgnoringOld { now, targets: targets.into() },
        Input::Know { now, members: vec![known].into() },
        Input::Send { now, to, payload: Payload(b"hello") },
        Input::SetUserState { state: &[] },
        Input::SetTags { now, tags: vec![(Bytes::from_static(b"role"), Bytes::new())].into() },
        Input::UserEvent { now, name: b"deploy", payload: &[0; 300], coalesce: true },
        Input::PollStream {},
        Input::Stop { now, state: 9, outputs: 10 },
    ]
}

#[test]
fn entries_read_as_they_were_written() {
    let mut tap = tap(1 << 20);
    let fed = |taken| Fed { taken, pending: Pending::Budget, held: 70_000 };
    let trail = [
        Trail::Message(b"\x00ping"),
        Trail::Fed(fed(Ok(5)), Some(b"\x06state")),
        Trail::Fed(fed(Err(Fault::Answered("no".into()))), None),
        Trail::Fed(fed(Err(Fault::Closed)), None),
        Trail::Fed(fed(Err(Fault::Cut)), None),
        Trail::Fed(fed(Err(Fault::Odd)), None),
    ];
    for input in inputs() {
        tap.begin(&input);
        trail.iter().for_each(|item| tap.add(item));
    }
    let (bytes, mut replay) = (all(&mut tap), Replay::default());
    // As text, because lists make the entry's lifetime one of its own.
    let mut expected = inputs().into_iter().map(|input| format!("{input:?}"));
    for frame in Recording::entries(&bytes) {
        let body = replay.take(frame).unwrap().unwrap();
        let entry = Entry::read(&body).unwrap();
        assert_eq!(
            (Some(format!("{:?}", entry.input)), entry.trail.as_slice()),
            (expected.next(), &trail[..])
        );
        for len in 0..body.len() {
            // Cut off at the end of the trail it is still an entry, but never the same.
            assert!(Entry::read(&body[..len]).is_none_or(|entry| entry.trail.len() < trail.len()));
        }
    }
    assert_eq!(expected.next(), None);
}

#[test]
fn long_entries_go_on_in_further_frames() {
    let mut tap = tap(1 << 20);
    let state = vec![5; 3 * MAX_TAP_FRAME];
    tap.begin(&Input::SetUserState { state: &state });
    tap.begin(&Input::PollEvent {});
    let bytes = all(&mut tap);
    let frames: Vec<_> = Recording::entries(&bytes).collect();
    assert_eq!(frames.len(), 5);
    assert!(frames.iter().all(|frame| frame.len() <= MAX_TAP_FRAME));
    let mut replay = Replay::default();
    for frame in &frames[..3] {
        assert_eq!(replay.take(frame), Ok(None));
        assert_eq!(replay.take(frame), Err(ReplayError::Damaged), "a frame counts once");
    }
    let body = replay.take(frames[3]).unwrap().unwrap();
    assert_eq!(Entry::read(&body).unwrap().input, Input::SetUserState { state: &state });
    assert!(replay.take(frames[4]).unwrap().is_some());
}

#[test]
fn a_full_tap_ends_with_whole_entries_within_its_limit() {
    for limit in 0..400 {
        let mut tap = tap(limit);
        let mut written = 0;
        loop {
            tap.begin(&Input::UserEvent { now: NOW, name: b"name", payload: &[1; 20], coalesce: false });
            tap.add(&Trail::Message(&[2; 10]));
            assert!(tap.memory() <= 2 * limit.max(64), "{} bytes held of {limit}", tap.memory());
            if tap.end_if_full() {
                break;
            }
            written += 1;
        }
        assert!(!tap.end_if_full() && !tap.is_running(), "it ends once");
        tap.begin(&Input::PollEvent {});
        let bytes = all(&mut tap);
        assert!(bytes.len() <= limit && tap.is_spent());
        let mut replay = Replay::default();
        let mut last = None;
        for frame in Recording::entries(&bytes) {
            last = replay.take(frame).unwrap();
        }
        if limit >= LAST {
            assert_eq!(Recording::entries(&bytes).count(), written + 1);
            assert_eq!(Entry::read(&last.unwrap()).unwrap().input, Input::Full {});
        }
    }
}

#[test]
fn a_total_bounds_what_is_polled_and_nothing_else_does() {
    for total in 0..400 {
        let (mut tap, mut bytes) = (tap(1 << 10), Vec::new());
        tap.begin(&Input::SetUserState { state: &[1; 100] });
        tap.set_total(total);
        let mut written = 0;
        while !tap.end_if_full() {
            bytes.extend(all(&mut tap));
            tap.begin(&Input::UserEvent { now: NOW, name: b"name", payload: &[1; 20], coalesce: false });
            written += 1;
        }
        bytes.extend(all(&mut tap));
        assert!(bytes.len() as u64 <= total && tap.is_spent(), "{} bytes of {total}", bytes.len());
        let mut replay = Replay::default();
        let last = Recording::entries(&bytes).map(|frame| replay.take(frame).unwrap().unwrap()).last();
        match last {
            // No room for the first entry, or for two.
            None => assert!(total < 200),
            Some(last) => assert_eq!(Entry::read(&last).unwrap().input, Input::Full {}),
        }
        assert_eq!(Recording::entries(&bytes).count(), if bytes.is_empty() { 0 } else { written + 1 });
    }
}

#[test]
fn a_small_buffer_takes_one_entry_at_a_time() {
    let mut tap = tap(1 << 20);
    for _ in 0..3 {
        tap.begin(&Input::SetUserState { state: &[1; 100] });
    }
    let mut buf = [0; 200];
    assert_eq!(tap.poll(&mut buf[..50]), 0);
    for _ in 0..3 {
        let len = tap.poll(&mut buf);
        assert_eq!(Recording::entries(&buf[..len]).count(), 1);
    }
    assert_eq!(tap.poll(&mut buf), 0);
}

#[test]
fn another_format_is_refused_as_such() {
    let config = Config::lan("a", "10.0.0.1:1".parse().unwrap());
    let settings = write_settings(&config, None);
    let start = |format| Input::Start {
        format,
        version: b"9",
        now: NOW,
        seed: [3; 32],
        created: Instant::ORIGIN,
        settings: &settings,
        config: 0,
        state: 0,
        keys: vec![Key(&[1; 16])].into(),
    };
    let written = |input| {
        let mut tap = tap(1 << 20);
        tap.begin(&input);
        all(&mut tap)
    };
    let recording = Recording::read(&written(start(FORMAT))).unwrap();
    assert_eq!((recording.seed, recording.started, recording.keys[0].len()), (Seed::new([3; 32]), NOW, 16));
    assert_ne!(recording.keys[0], [1; 16]);
    assert_eq!(Recording::read(&written(start(FORMAT + 1))).map(drop), Err(ReplayError::Format(FORMAT + 1)));
    assert_eq!(Recording::read(&written(Input::PollEvent {})).map(drop), Err(ReplayError::NotStarted));
    assert_eq!(Recording::read(&[]).map(drop), Err(ReplayError::Damaged));
}

#[test]
fn no_bytes_are_too_strange_to_read() {
    let mut rng = crate::rng::Rng::from_seed(&Seed::from_u64(1), 0);
    for code in 0..=u8::MAX {
        for _ in 0..200 {
            let mut body = vec![code];
            (0..rng.below(60)).for_each(|_| body.push(rng.next_u32() as u8));
            let _ = Entry::read(&body);
            let _ = Recording::read(&body);
            let _ = Recording::entries(&body).count();
        }
    }
    // A list of 2^63 items is not made room for.
    let body = [30, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    assert!(Entry::read(&body).is_none());
}
