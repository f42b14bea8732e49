use super::*;
use crate::wire::keyring::{Key, Keyring, Nonces};
use crate::wire::label::Label;
use crate::wire::layers::Compression;
use crate::wire::lzw::{Deflater, InflateError};
use crate::wire::message::{NodeState, PushPullHeader, UserHeader};
use crate::wire::msgpack::put_raw;
use crate::wire::seal::{OpenError, SealVersion};
use StreamReadError as E;
use proptest::prelude::*;
use std::string::ToString;
use std::vec;

const PING: &[u8] = b"\x00\x82\xa4Node\xa4self\xa5SeqNo\x07";
const ACK: &[u8] = b"\x02\x82\xa7Payload\xc0\xa5SeqNo\x07";
const NO_LIMIT: usize = usize::MAX / 2;

fn ring(key: u8) -> Option<Keyring> {
    Some(Keyring::new(Key::new(&[key; 16]).unwrap(), []).unwrap())
}

fn every_layering() -> Vec<Layers> {
    let mut all = Vec::new();
    for label in ["", "blah"] {
        for (keyring, seal_version) in
            [(None, SealVersion::Plain), (ring(1), SealVersion::Plain), (ring(1), SealVersion::Padded)]
        {
            for compression in [Compression::Off, Compression::Streams] {
                all.push(Layers {
                    label: Label::new(label).unwrap(),
                    keyring: keyring.clone(),
                    seal_version,
                    compression,
                    ..Layers::default()
                });
            }
        }
    }
    all
}

fn write(layers: &Layers, opener: bool, message: &[u8]) -> Vec<u8> {
    let mut out = b"kept".to_vec();
    let (first, second) = message.split_at(message.len() / 2);
    let parts = [first, second];
    write_stream(layers, opener, &parts, &mut Nonces::new([7; 32]), &mut Deflater::new(), &mut out).unwrap();
    out.split_off(4)
}

/// Feeds everything in pieces of `piece` bytes, then the end.
fn read(layers: &Layers, side: Side, wire: &[u8], piece: usize) -> Result<StreamReader, E> {
    let mut reader = StreamReader::new(side, StreamLimits::default());
    for piece in wire.chunks(piece) {
        assert_eq!(reader.feed(layers, piece, NO_LIMIT)?, piece.len());
    }
    reader.finish()?;
    settle(layers, &mut reader)?;
    Ok(reader)
}

fn settle(layers: &Layers, reader: &mut StreamReader) -> Result<(), E> {
    while reader.pending() == Pending::Work {
        reader.feed(layers, &[], NO_LIMIT)?;
    }
    Ok(())
}

fn accept(layers: &Layers, wire: &[u8]) -> Result<StreamReader, E> {
    let whole = read(layers, Side::Accepting, wire, usize::MAX);
    let dribbled = read(layers, Side::Accepting, wire, 1);
    assert_eq!(whole.as_ref().err(), dribbled.as_ref().err());
    if let (Ok(whole), Ok(dribbled)) = (&whole, &dribbled) {
        assert_eq!(whole.opened(), dribbled.opened());
    }
    whole
}

fn state(name: usize) -> Vec<u8> {
    let name = std::format!("node-{name}");
    let node = NodeState { name: name.as_bytes().into(), state: 1, ..NodeState::default() };
    let mut out = Vec::new();
    node.encode(&mut out).unwrap();
    out
}

fn push_pull(nodes: usize, user_state: &[u8]) -> Vec<u8> {
    let mut out = vec![6];
    PushPullHeader { nodes: nodes as i64, user_state_len: user_state.len() as i64, join: true }
        .encode(&mut out)
        .unwrap();
    (0..nodes).for_each(|node| out.extend(state(node)));
    out.extend_from_slice(user_state);
    out
}

fn user(payload: &[u8]) -> Vec<u8> {
    let mut out = vec![8];
    UserHeader { len: payload.len() as i64 }.encode(&mut out).unwrap();
    out.extend_from_slice(payload);
    out
}

fn compressed(data: &[u8]) -> Vec<u8> {
    let mut out = b"\x09\x82\xa4Algo\x00\xa3Buf".to_vec();
    put_raw(&mut out, data).unwrap();
    out
}

// upstream: TestAddLabelHeaderToStream, TestRemoveLabelHeaderFromStream, TestEncryptDecryptState
#[test]
fn every_layering_round_trips_in_both_directions_and_in_pieces_of_any_size() {
    let error = b"\x0d\x81\xa5Error\xa4nope";
    for layers in every_layering() {
        for (side, messages) in [
            (Side::Accepting, vec![PING.to_vec(), user(b"hello"), user(b""), push_pull(3, b"state")]),
            (Side::Opening, vec![ACK.to_vec(), error.to_vec(), push_pull(0, b""), push_pull(40, &[9; 300])]),
        ] {
            for message in messages {
                let wire = write(&layers, side == Side::Accepting, &message);
                for piece in [1, 2, 3, 7, 64, usize::MAX] {
                    let reader = read(&layers, side, &wire, piece).unwrap();
                    assert_eq!(reader.opened(), Some(&message[..]));
                }
                // Complete without the end of the stream: nobody half-closes.
                let mut reader = StreamReader::new(side, StreamLimits::default());
                reader.feed(&layers, &wire[..wire.len() - 1], NO_LIMIT).unwrap();
                assert!(reader.message().is_none() || layers.compression != Compression::Off);
                reader.feed(&layers, &wire[wire.len() - 1..], NO_LIMIT).unwrap();
                assert!(reader.message().is_some());
                assert_eq!(reader.feed(&layers, b"more", 0), Ok(4));
                assert_eq!(reader.opened(), Some(&message[..]));
            }
        }
    }
}

#[test]
fn messages_come_out_decoded() {
    let layers = Layers::default();
    let reader = accept(&layers, PING).unwrap();
    assert!(matches!(reader.message(), Some(StreamMessage::Ping(Ping { seq: 7, .. }))));
    let reader = accept(&layers, &user(b"hello")).unwrap();
    assert_eq!(reader.message(), Some(StreamMessage::User(b"hello")));
    let reader = read(&layers, Side::Opening, ACK, 1).unwrap();
    assert!(matches!(reader.message(), Some(StreamMessage::Ack(Ack { seq: 7, .. }))));
    let reader = read(&layers, Side::Opening, b"\x0d\x81\xa5Error\xa4nope", 1).unwrap();
    assert_eq!(reader.message(), Some(StreamMessage::Error(b"nope".into())));
}

#[test]
fn a_push_pull_is_walked_twice() {
    let mut reader = accept(&Layers::default(), &push_pull(5, b"state")).unwrap();
    assert_eq!(reader.message(), Some(StreamMessage::PushPull { join: true, nodes: 5 }));
    let mut exchange = reader.take_push_pull().unwrap();
    assert!(reader.take_push_pull().is_none() && reader.message().is_none() && reader.buffered() == 0);
    assert!(exchange.join() && exchange.nodes() == 5 && exchange.buffered() > 0);
    for _ in 0..2 {
        for node in 0..5 {
            assert_eq!(exchange.remaining(), 5 - node);
            let state = exchange.next_node().unwrap().unwrap();
            assert_eq!(state.name, std::format!("node-{node}").as_bytes());
        }
        assert!(exchange.next_node().is_none());
        exchange.rewind();
    }
    assert_eq!(exchange.user_state(), b"state");
}

#[test]
fn the_end_of_the_stream_within_a_message_is_silent() {
    for layers in every_layering() {
        for message in [PING.to_vec(), user(b"hello"), push_pull(2, b"state")] {
            let wire = write(&layers, true, &message);
            for cut in 0..wire.len() {
                match read(&layers, Side::Accepting, &wire[..cut], usize::MAX) {
                    Err(error @ (E::Closed | E::Truncated)) => assert!(!error.is_answered()),
                    // The end code is in the second last byte; nothing is lost with its padding.
                    other => panic!("{cut}: {:?}", other.map(|reader| reader.message().is_some())),
                }
            }
        }
    }
    let layers = Layers::default();
    assert_eq!(accept(&layers, b"").err(), Some(E::Closed));
}

// spec 1.5
// upstream: TestRemoveLabelHeaderFromStream
#[test]
fn labels_are_checked_by_the_accepting_side_only() {
    let plain = Layers::default();
    let blah = Layers { label: Label::new("blah").unwrap(), ..Layers::default() };
    let skip = Layers { skip_inbound_label_check: true, ..blah.clone() };
    let labeled = write(&blah, true, PING);
    assert_eq!(labeled, [b"\xf4\x04blah", PING].concat());
    assert!(accept(&blah, &labeled).is_ok());
    assert!(accept(&skip, PING).is_ok());
    for (layers, wire, error) in [
        (&plain, &labeled[..], E::LabelMismatch),
        (&blah, PING, E::LabelMismatch),
        (&skip, &labeled, E::LabelUnexpected),
        (&plain, b"\xf4\0", E::LabelEmpty),
        (&blah, b"\xf4\x04bla", E::Truncated),
    ] {
        assert_eq!(accept(layers, wire).err(), Some(error));
        assert!(!error.is_answered());
    }
    // the reply has none, and none is taken away.
    assert_eq!(write(&blah, false, ACK), ACK);
    assert!(read(&blah, Side::Opening, ACK, 1).is_ok());
    assert_eq!(read(&blah, Side::Opening, &labeled, 1).err(), Some(E::UnexpectedType(244)));
}

//
#[test]
fn the_label_is_authenticated_in_both_directions() {
    let blah = Layers { label: Label::new("blah").unwrap(), keyring: ring(1), ..Layers::default() };
    let blub = Layers { label: Label::new("blub").unwrap(), ..blah.clone() };
    let reply = write(&blah, false, ACK);
    assert!(read(&blah, Side::Opening, &reply, 1).is_ok());
    assert_eq!(read(&blub, Side::Opening, &reply, 1).err(), Some(E::Seal(OpenError::NoKey)));
}

#[test]
fn damage_to_a_sealed_stream_is_noticed() {
    let layers = Layers { keyring: ring(1), ..Layers::default() };
    let wire = write(&layers, true, PING);
    for at in 0..wire.len() {
        let mut bad = wire.clone();
        bad[at] ^= 1;
        assert!(read(&layers, Side::Accepting, &bad, usize::MAX).is_err(), "{at}");
    }
}

// spec 1.4 and the error texts of its appendix
#[test]
fn errors_of_the_layers_are_answered_with_the_upstream_texts() {
    let plain = Layers::default();
    let sealed = Layers { keyring: ring(1), ..Layers::default() };
    let other = Layers { keyring: ring(2), ..Layers::default() };
    let large = vec![0xc4; 5];
    for (layers, wire, text) in [
        (&plain, write(&sealed, true, PING), "remote state is encrypted and encryption is not configured"),
        (&sealed, PING.to_vec(), "encryption is configured but remote state is not encrypted"),
        (&other, write(&sealed, true, PING), "no installed keys could decrypt the message"),
        (&sealed, b"\x0a\x01\x40\x00\x01".to_vec(), "remote node state is larger than limit (20971521)"),
        (&sealed, b"\x0a\0\0\0\x02\x02\x02".to_vec(), "unsupported encryption version 2"),
        (&sealed, b"\x0a\0\0\0\x02\x01\x02".to_vec(), "payload is too small to decrypt: 2"),
        (&plain, b"\x09\x82\xa4Algo\x01\xa3Buf\xa1\x01".to_vec(), "cannot decompress unknown algorithm 1"),
        (&plain, compressed(&[0, 3, 2]), "decompressed message is empty"),
        (&plain, compressed(&[0]), "unexpected EOF"),
        (&plain, compressed(&[]), "unexpected EOF"),
        (&plain, compressed(&[0xff; 5]), "lzw: invalid code"),
        (&plain, [b"\x09".to_vec(), large].concat(), "unexpected value 0xc4 at offset 0"),
    ] {
        let error = accept(layers, &wire).unwrap_err();
        assert!(error.is_answered(), "{error:?}");
        assert_eq!(error.to_string(), text);
    }
    assert_eq!(E::Inflate(InflateError::TooLarge { limit: 41_943_040 }).to_string(), {
        "decompressed message is larger than limit (41943040)"
    });
}

#[test]
fn errors_behind_the_layers_are_not_answered() {
    let layers = Layers::default();
    for kind in (0..=255u8).filter(|kind| ![0, 6, 8, 9, 10, 244].contains(kind)) {
        assert_eq!(accept(&layers, &[kind, 0x80]).err(), Some(E::UnexpectedType(kind)));
    }
    for kind in (0..=255u8).filter(|kind| ![2, 6, 9, 10, 13].contains(kind)) {
        let error = read(&layers, Side::Opening, &[kind, 0x80], 1).err();
        assert_eq!(error, Some(E::UnexpectedType(kind)));
    }
    let twice =
        write(&Layers { compression: Compression::Streams, ..Layers::default() }, true, &compressed(b""));
    assert_eq!(accept(&layers, &twice).err(), Some(E::UnexpectedType(9)));
    let header = |nodes: i64, user_state_len: i64| {
        let mut out = vec![6];
        PushPullHeader { nodes, user_state_len, join: false }.encode(&mut out).unwrap();
        out
    };
    let user = |len| {
        let mut out = vec![8];
        UserHeader { len }.encode(&mut out).unwrap();
        out
    };
    for (wire, error) in [
        (header(1_048_577, 0), E::Nodes(1_048_577)),
        (header(-1, 0), E::Nodes(-1)),
        (header(0, 20_971_521), E::UserState(20_971_521)),
        (header(0, -1), E::UserState(-1)),
        (user(20_971_521), E::UserMessage(20_971_521)),
        (user(-1), E::UserMessage(-1)),
        (header(1_048_576, 20_971_520), E::Truncated),
        (user(20_971_520), E::Truncated),
    ] {
        assert_eq!(accept(&layers, &wire).err(), Some(error));
        assert!(!error.is_answered());
    }
    let mut bad = push_pull(3, b"");
    let last = bad.len() - state(2).len();
    bad[last] = 0xc4;
    assert!(matches!(accept(&layers, &bad).err(), Some(E::Malformed(_))));
}

// W-5
#[test]
fn an_empty_sealed_frame_is_an_error() {
    let layers = Layers { keyring: ring(1), ..Layers::default() };
    let mut wire = b"\x0a\0\0\0\x1d".to_vec();
    wire.resize(5 + 29, 0);
    let key = layers.sealing_key().unwrap();
    let (header, sealed) = wire.split_at_mut(5);
    crate::wire::seal::seal(key, SealVersion::Plain, &[9; 12], header, sealed, 0).unwrap();
    let error = accept(&layers, &wire).unwrap_err();
    assert!(error == E::SealedEmpty && error.is_answered());
}

//
#[test]
fn an_empty_message_is_never_written() {
    for layers in every_layering() {
        assert_eq!(write(&layers, true, b""), b"");
    }
}

#[test]
fn plain_streams_pass_only_while_incoming_seals_are_not_required() {
    let mut layers = Layers { keyring: ring(1), ..Layers::default() };
    let sealed = write(&layers, true, PING);
    layers.verify_incoming = false;
    assert!(accept(&layers, PING).is_ok());
    assert!(accept(&layers, &sealed).is_ok());
    layers.verify_outgoing = false;
    assert_eq!(write(&layers, true, PING), PING);
    assert!(!needs_sealing(&layers) && !needs_compression(&layers));
    layers.compression = Compression::Streams;
    assert!(!needs_sealing(&layers) && needs_compression(&layers));
}

#[test]
fn what_cannot_be_received_is_not_sealed() {
    let layers = Layers { keyring: ring(1), ..Layers::default() };
    let write = |len: usize| {
        let (mut nonces, mut deflater, mut out) = (Nonces::new([1; 32]), Deflater::new(), vec![1]);
        let result = write_stream(&layers, true, &[&vec![0; len]], &mut nonces, &mut deflater, &mut out);
        (result, out.len())
    };
    assert_eq!(write(20_971_520 - 29), (Ok(()), 1 + 5 + 20_971_520));
    assert_eq!(write(20_971_520 - 28), (Err(FrameTooLong { len: 20_971_521 }), 1));
}

// spec 1.8, W-6
#[test]
fn a_message_that_expands_beyond_the_limit_is_refused() {
    let streams = Layers { compression: Compression::Streams, ..Layers::default() };
    let layers = Layers::default();
    let limit = StreamLimits::default().inflated;
    let head = user(&[]).len();
    // The header of a user message may be followed by anything; the limit concerns all of it.
    for (len, fits) in [(limit, true), (limit + 1, false)] {
        let mut message = user(b"hello");
        assert!(message.len() > head);
        message.resize(len, 0);
        let wire = write(&streams, true, &message);
        assert!(wire.len() < limit / 100);
        let mut reader = StreamReader::new(Side::Accepting, StreamLimits::default());
        let (mut data, mut calls) = (&wire[..], 0);
        let result = loop {
            let before = reader.buffered();
            match reader.feed(&layers, data, NO_LIMIT) {
                Err(error) => break Err(error),
                Ok(_) if reader.pending() == Pending::Nothing => break Ok(()),
                Ok(_) => {}
            }
            (data, calls) = (&[], calls + 1);
            assert!(calls == 1 || reader.buffered() - before <= limit / 2);
            assert!(reader.buffered() < limit + wire.len() + 2 * INFLATER_BYTES);
        };
        // Sliced: no call does more than its share.
        assert!(calls + 1 >= limit / WORK_PER_CALL);
        match fits {
            true => assert_eq!(reader.message(), Some(StreamMessage::User(b"hello"))),
            false => assert_eq!(result, Err(E::Inflate(InflateError::TooLarge { limit }))),
        }
    }
}

#[test]
fn compressed_data_that_expands_to_nothing_ends_at_once() {
    // Clear codes of nine bits, nothing else.
    let data = [0x00, 0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80].repeat((2 << 20) / 9);
    let mut reader = StreamReader::new(Side::Accepting, StreamLimits::default());
    let error = reader.feed(&Layers::default(), &compressed(&data), NO_LIMIT).unwrap_err();
    assert_eq!(error, E::Inflate(InflateError::InvalidCode));
}

// W-12
#[test]
fn no_more_is_held_than_was_received_or_allowed() {
    let layers = Layers::default();
    let mut head = vec![6];
    PushPullHeader { nodes: 1 << 20, user_state_len: 0, join: false }.encode(&mut head).unwrap();
    let mut reader = StreamReader::new(Side::Accepting, StreamLimits::default());
    reader.feed(&layers, &head, NO_LIMIT).unwrap();
    assert!(reader.buffered() < 64);
    // A name of 4 GiB is refused at its announcement.
    let mut huge = b"\x81\xa4Name\xdb".to_vec();
    huge.extend_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(reader.feed(&layers, &huge, NO_LIMIT), Err(E::TooLong));
    assert_eq!(reader.buffered(), 0);
    assert_eq!(reader.feed(&layers, b"ignored", 0), Ok(7));
    let mut declared = b"\x09\x82\xa4Algo\x00\xa3Buf\xdb".to_vec();
    declared.extend_from_slice(&30_000_000u32.to_be_bytes());
    assert_eq!(accept(&layers, &declared).err(), Some(E::CompressedTooLong));
}

#[test]
fn the_total_is_capped_whatever_the_message_promises() {
    let layers = Layers::default();
    let mut head = vec![6];
    PushPullHeader { nodes: 1 << 20, user_state_len: 0, join: false }.encode(&mut head).unwrap();
    let mut reader = StreamReader::new(Side::Accepting, StreamLimits::default());
    reader.feed(&layers, &head, NO_LIMIT).unwrap();
    let node = {
        let mut out = Vec::new();
        NodeState { meta: [7u8; 512].as_slice().into(), ..NodeState::default() }.encode(&mut out).unwrap();
        out
    };
    let chunk = node.repeat(1000);
    let mut total = head.len();
    let error = loop {
        match reader.feed(&layers, &chunk, NO_LIMIT) {
            Ok(taken) => total += taken,
            Err(error) => break error,
        }
    };
    let limit = StreamLimits::default().received;
    assert_eq!(error, E::TooLong);
    assert!(total <= limit + 300 && total + chunk.len() > limit);
}

#[test]
fn over_budget_nothing_is_consumed_and_nothing_is_lost() {
    let layers = Layers { compression: Compression::Streams, ..Layers::default() };
    let message = push_pull(200, &[5; 3000]);
    let wire = write(&layers, true, &message);
    let mut reader = StreamReader::new(Side::Accepting, StreamLimits::default());
    assert_eq!(reader.feed(&layers, &wire, 0), Ok(0));
    let (mut at, mut starved) = (0, 0);
    while reader.message().is_none() {
        let before = reader.buffered();
        at += reader.feed(&layers, &wire[at..], 100).unwrap();
        let grown = reader.buffered().saturating_sub(before);
        // The tables of the decompressor come on top, once.
        assert!(grown <= 100 || grown <= 100 + INFLATER_BYTES && at == wire.len());
        starved += usize::from(reader.pending() == Pending::Budget);
    }
    assert!(starved > 10);
    assert_eq!(reader.opened(), Some(&message[..]));
}

#[test]
fn large_tables_are_checked_in_slices() {
    let layers = Layers::default();
    let message = push_pull(20_000, b"");
    let mut reader = StreamReader::new(Side::Accepting, StreamLimits::default());
    reader.feed(&layers, &message, NO_LIMIT).unwrap();
    assert!(reader.message().is_none() && reader.pending() == Pending::Work);
    reader.finish().unwrap();
    settle(&layers, &mut reader).unwrap();
    assert!(reader.message().is_some());
    // The same with its end missing: known only when the work is done.
    let mut reader = StreamReader::new(Side::Accepting, StreamLimits::default());
    reader.feed(&layers, &message[..message.len() - 1], NO_LIMIT).unwrap();
    reader.finish().unwrap();
    assert_eq!(settle(&layers, &mut reader), Err(E::Truncated));
}

#[test]
fn an_endless_structure_is_not_decoded_over_and_over() {
    let layers = Layers::default();
    let mut reader = StreamReader::new(Side::Accepting, StreamLimits::default());
    // A ping with 10,000 unknown fields, one byte at a time.
    reader.feed(&layers, b"\x00\xde\x27\x10", NO_LIMIT).unwrap();
    let mut fed = 0;
    let error = loop {
        match reader.feed(&layers, &[[0xa1, b'x', 0x01][fed % 3]], NO_LIMIT) {
            Ok(_) => fed += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error, E::Dribble);
    assert!(fed < 25_000, "{fed}");
}

#[test]
fn compressed_data_is_found_wherever_it_stands_in_its_structure() {
    let layers = Layers::default();
    let mut data = Vec::new();
    Deflater::new().append(&[PING], &mut data);
    let mut first = b"\x09\x82\xa3Buf".to_vec();
    put_raw(&mut first, &data).unwrap();
    first.extend_from_slice(b"\xa4Algo\x00");
    let mut numbers = b"\x09\x81\xa3Buf\xdc\x00".to_vec();
    numbers.push(data.len() as u8);
    data.iter().for_each(|byte| numbers.extend_from_slice(&[0xcc, *byte]));
    for wire in [first, numbers] {
        assert_eq!(accept(&layers, &wire).unwrap().opened(), Some(PING));
    }
}

#[test]
fn what_was_opened_replays_without_keys() {
    let layers = Layers { keyring: ring(1), compression: Compression::Streams, ..Layers::default() };
    for message in [PING.to_vec(), user(b"hello"), push_pull(20_000, b"state")] {
        let wire = write(&layers, true, &message);
        let reader = read(&layers, Side::Accepting, &wire, usize::MAX).unwrap();
        let mut replay = StreamReader::new(Side::Accepting, StreamLimits::default());
        replay.feed_opened(&Layers::default(), reader.opened().unwrap()).unwrap();
        settle(&Layers::default(), &mut replay).unwrap();
        assert_eq!(replay.message(), reader.message());
    }
    let mut replay = StreamReader::new(Side::Accepting, StreamLimits::default());
    assert_eq!(replay.feed_opened(&layers, &PING[..5]), Err(E::Truncated));
}

proptest! {
    #[test]
    fn no_stream_makes_it_fail(
        mut wire in prop::collection::vec(any::<u8>(), 0..300),
        kind in prop::option::of(prop::sample::select(&[0u8, 2, 6, 8, 9, 13][..])),
        piece in 1usize..40,
    ) {
        if let (Some(first), Some(kind)) = (wire.first_mut(), kind) {
            *first = kind;
        }
        for layers in every_layering() {
            for side in [Side::Accepting, Side::Opening] {
                let opened = |piece| {
                    let reader = read(&layers, side, &wire, piece);
                    reader.map(|reader| reader.opened().map(<[u8]>::to_vec))
                };
                prop_assert_eq!(opened(piece), opened(usize::MAX));
            }
        }
    }
}
