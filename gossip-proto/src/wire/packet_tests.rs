use super::*;
use crate::wire::compound::Packer;
use crate::wire::keyring::{Key, Keyring};
use crate::wire::seal::SealVersion;
use proptest::prelude::*;
use std::vec;

const PING: &[u8] = b"\x00\x82\xa4Node\xa4self\xa5SeqNo\x07";

fn ring(key: u8) -> Option<Keyring> {
    Some(Keyring::new(Key::new(&[key; 16]).unwrap(), []).unwrap())
}

fn every_layering() -> Vec<Layers> {
    let mut all = Vec::new();
    for label in ["", "blah"] {
        for (keyring, seal_version) in
            [(None, SealVersion::Plain), (ring(1), SealVersion::Plain), (ring(1), SealVersion::Padded)]
        {
            for compression in [Compression::Off, Compression::All] {
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

fn wrap(layers: &Layers, body: &[u8], max: usize, crc: bool) -> Result<Vec<u8>, Full> {
    let mut buf = vec![0xee; max + 10];
    let mut envelope = Envelope::new(layers, &mut buf, max, crc).ok_or(Full)?;
    envelope.body().get_mut(..body.len()).ok_or(Full)?.copy_from_slice(body);
    let len = envelope.finish(body.len(), &mut Nonces::new([7; 32]), &mut Deflater::new())?;
    assert!(buf[max..].iter().all(|byte| *byte == 0xee));
    buf.truncate(len);
    Ok(buf)
}

/// Everything that a datagram leads to.
fn read(layers: &Layers, datagram: &[u8]) -> (Result<(), PacketError>, Unpacked, Vec<Vec<u8>>) {
    let mut datagram = datagram.to_vec();
    let mut visited = Vec::new();
    let found = match open(layers, &mut datagram) {
        Ok(body) => unpack(body, &mut Scratch::new(), &UnpackLimits::default(), &mut |message| {
            visited.push(message.to_vec());
        }),
        Err(error) => return (Err(error), Unpacked::default(), visited),
    };
    (Ok(()), found, visited)
}

fn opened(body: &[u8]) -> (Unpacked, Vec<Vec<u8>>) {
    let (result, found, visited) = read(&Layers::default(), body);
    result.unwrap();
    (found, visited)
}

fn compress(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Deflater::new().append_message(&[message], &mut out);
    out
}

fn compound(parts: &[&[u8]]) -> Vec<u8> {
    let mut buf = vec![7, parts.len() as u8];
    for part in parts {
        buf.extend_from_slice(&(part.len() as u16).to_be_bytes());
    }
    buf.extend(parts.concat());
    buf
}

#[test]
fn every_layering_round_trips_at_every_length_and_within_the_limit() {
    for layers in every_layering() {
        for crc in [false, true] {
            let max = layers.packet_front(crc) + 120;
            let longest = layers.max_packet_body(max, crc);
            for len in 1..=longest {
                let body: Vec<u8> =
                    (0..len).map(|at| if at == 0 { 8 } else { b'a' + at as u8 % 3 }).collect();
                let wire = wrap(&layers, &body, max, crc).unwrap();
                assert!(wire.len() <= max);
                assert_eq!(read(&layers, &wire).2, [body]);
            }
            assert_eq!(wrap(&layers, &vec![8; longest + 1], max, crc), Err(Full));
            assert_eq!(wrap(&layers, &[], max, crc), Err(Full));
        }
    }
}

#[test]
fn the_longest_body_fills_the_datagram_exactly() {
    let mut layers = Layers { label: Label::new("blah").unwrap(), keyring: ring(1), ..Layers::default() };
    let body = vec![8; layers.max_packet_body(1400, true)];
    assert_eq!(wrap(&layers, &body, 1400, true).unwrap().len(), 1400);
    layers.seal_version = SealVersion::Padded;
    let body = vec![8; layers.max_packet_body(1400, true)];
    assert!((1385..=1400).contains(&wrap(&layers, &body, 1400, true).unwrap().len()));
}

// upstream: TestIngestPacket_CRC
#[test]
fn damage_to_any_byte_under_a_checksum_or_seal_visits_nothing() {
    for layers in every_layering() {
        let sealed = layers.keyring.is_some();
        for crc in [false, true] {
            if !sealed && !crc {
                continue;
            }
            let wire = wrap(&layers, &[PING, PING, PING].concat(), 1400, crc).unwrap();
            for at in 0..wire.len() {
                for bit in 0..8 {
                    let mut bad = wire.clone();
                    bad[at] ^= 1 << bit;
                    let version = sealed && at == layers.label.header_len();
                    if version && layers.seal_version == SealVersion::Padded && bit == 0 {
                        // W-1: from version 0 to 1 the padding becomes trailing bytes. Only a checksum shows
                        // it.
                        assert_eq!(read(&layers, &bad).0.is_err(), crc);
                        continue;
                    }
                    let (result, found, visited) = read(&layers, &bad);
                    // A type byte that is no longer that of a checksum is a type without a place here.
                    let disguised = !sealed && at == layers.label.header_len();
                    if disguised && bad[at] <= 11 {
                        continue;
                    }
                    assert!(result.is_err() || disguised && found.misplaced == 1, "{at} {bit}");
                    assert!(visited.is_empty());
                }
            }
        }
    }
}

#[test]
fn every_cut_of_a_sealed_packet_is_refused() {
    for layers in every_layering().iter().filter(|layers| layers.keyring.is_some()) {
        let wire = wrap(layers, PING, 1400, false).unwrap();
        for cut in 0..wire.len() {
            assert!(read(layers, &wire[..cut]).0.is_err());
        }
    }
}

// spec 1.5
// upstream: TestRemoveLabelHeaderFromPacket
#[test]
fn labels_are_checked_as_configured() {
    let plain = Layers::default();
    let blah = Layers { label: Label::new("blah").unwrap(), ..Layers::default() };
    let skip = Layers { skip_inbound_label_check: true, ..blah.clone() };
    let labeled = [b"\xf4\x04blah", PING].concat();
    let other = [b"\xf4\x04blub", PING].concat();
    let check = |layers: &Layers, wire: &[u8]| read(layers, wire).0;
    assert_eq!(check(&plain, PING), Ok(()));
    assert_eq!(check(&blah, &labeled), Ok(()));
    assert_eq!(check(&skip, PING), Ok(()));
    assert_eq!(check(&plain, &labeled), Err(PacketError::LabelMismatch));
    assert_eq!(check(&blah, PING), Err(PacketError::LabelMismatch));
    assert_eq!(check(&blah, &other), Err(PacketError::LabelMismatch));
    assert_eq!(check(&skip, &labeled), Err(PacketError::LabelUnexpected));
    assert_eq!(check(&plain, b"\xf4\0"), Err(PacketError::LabelEmpty));
    for cut in 1..6 {
        assert_eq!(check(&blah, &labeled[..cut]), Err(PacketError::LabelTruncated));
    }
    assert_eq!(check(&blah, &labeled[..6]), Err(PacketError::BodyEmpty));
    assert_eq!(check(&plain, b""), Err(PacketError::Empty));
}

#[test]
fn a_skipped_label_still_enters_the_seal() {
    let blah = Layers { label: Label::new("blah").unwrap(), keyring: ring(1), ..Layers::default() };
    let skip = Layers { skip_inbound_label_check: true, ..blah.clone() };
    let wire = wrap(&blah, PING, 1400, false).unwrap();
    assert_eq!(read(&skip, &wire[6..]).2, [PING]);
}

// spec 1.6, rolling in
#[test]
fn plain_packets_pass_only_while_incoming_seals_are_not_required() {
    let mut layers = Layers { keyring: ring(1), ..Layers::default() };
    assert!(matches!(read(&layers, PING).0, Err(PacketError::Seal(OpenError::TooShort(_)))));
    let foreign = wrap(&Layers { keyring: ring(2), ..Layers::default() }, PING, 1400, false).unwrap();
    assert_eq!(read(&layers, &foreign).0, Err(PacketError::Seal(OpenError::NoKey)));
    layers.verify_incoming = false;
    assert_eq!(read(&layers, PING).2, [PING]);
    // Long enough to be taken for a seal.
    let long = [b"\x08".as_slice(), &[1; 200]].concat();
    assert_eq!(read(&layers, &long).2, [long]);
    let sealed = wrap(&layers, PING, 1400, false).unwrap();
    assert_eq!(read(&layers, &sealed).2, [PING]);
    layers.verify_outgoing = false;
    assert_eq!(wrap(&layers, PING, 1400, false).unwrap(), PING);
}

// W-1
#[test]
fn an_authentic_text_with_forged_padding_is_dropped_even_where_plain_packets_pass() {
    let layers = Layers { keyring: ring(1), verify_incoming: false, ..Layers::default() };
    let mut wire = wrap(&layers, &[0x63; 48], 1400, false).unwrap();
    wire[0] = 0;
    assert_eq!(read(&layers, &wire).0, Err(PacketError::Seal(OpenError::Padding)));
}

#[test]
fn checksums_count_only_at_the_outside() {
    let crc = |body: &[u8]| [b"\x0c", &crc32fast::hash(body).to_be_bytes()[..], body].concat();
    assert_eq!(opened(&crc(PING)).1, [PING]);
    for hidden in [crc(&crc(PING)), compress(&crc(PING)), compound(&[&crc(PING)])] {
        let (found, visited) = opened(&hidden);
        assert!(found.misplaced == 1 && visited.is_empty());
    }
    assert_eq!(read(&Layers::default(), &crc(b"")).0, Err(PacketError::BodyEmpty));
    assert_eq!(opened(b"\x0c\0\0\0").0.misplaced, 1);
}

#[test]
fn only_types_that_belong_in_packets_are_visited() {
    for kind in (0..=255u8).filter(|kind| *kind != 244) {
        let (found, visited) = opened(&[kind, 0xff]);
        let leaf = [0, 1, 2, 3, 4, 5, 8, 11].contains(&kind);
        match kind {
            7 => assert_eq!(found.bad_compound, 1),
            9 => assert_eq!(found.bad_compressed, 1),
            _ => assert_eq!((found.messages, found.misplaced), if leaf { (1, 0) } else { (0, 1) }),
        }
        assert_eq!(visited.len(), usize::from(leaf));
    }
    assert_eq!(opened(&compound(&[b"\xf4\x01a", PING])).0.misplaced, 1);
}

#[test]
fn containers_nest_up_to_the_limit() {
    let (mut wire, mut deep) = (PING.to_vec(), 0);
    while deep < MAX_DEPTH {
        assert_eq!(opened(&wire).1, [PING], "{deep}");
        wire = if deep % 2 == 0 { compound(&[&wire]) } else { compress(&wire) };
        deep += 1;
    }
    assert_eq!(opened(&wire).1, [PING]);
    let (found, visited) = opened(&compound(&[PING, &wire, PING]));
    assert_eq!((found.too_deep, visited.len()), (1, 2));
    let wire = (0..MAX_DEPTH).fold(PING.to_vec(), |wire, _| compress(&wire));
    assert_eq!(opened(&wire).1, [PING]);
    assert_eq!(opened(&compress(&wire)).0.too_deep, 1);
}

#[test]
fn good_parts_take_effect_whatever_surrounds_them() {
    let (found, visited) = opened(&compound(&[b"", PING, b"\x09junk", b"\x07", b"\x0e", &compress(PING)]));
    assert_eq!(visited, [PING, PING]);
    assert_eq!(
        found,
        Unpacked {
            messages: 2,
            empty: 1,
            bad_compressed: 1,
            bad_compound: 1,
            misplaced: 1,
            ..Unpacked::default()
        }
    );
    let cut = compound(&[PING, PING, PING]);
    let (found, visited) = opened(&cut[..cut.len() - PING.len() - 1]);
    assert_eq!((found.truncated, visited.len()), (2, 1));
    assert_eq!(opened(&compress(b"")).0.bad_compressed, 1);
    assert_eq!(opened(b"\x09\x82\xa4Algo\x01\xa3Buf\xa1\x01").0.bad_compressed, 1);
}

// W-6
#[test]
fn decompression_bombs_are_bounded_in_total() {
    let mut scratch = Scratch::new();
    let limits = UnpackLimits { inflated: 10_000, messages: 1024 };
    let mut run = |wire: &[u8]| {
        let mut bytes = 0;
        let found = unpack(wire, &mut scratch, &limits, &mut |message| bytes += message.len());
        (found, bytes)
    };
    let user = |len: usize| [b"\x08".as_slice(), &vec![0; len - 1]].concat();
    assert_eq!(run(&compress(&user(10_000))).1, 10_000);
    assert_eq!(run(&compress(&user(10_001))).0.over_limit, 1);
    // Many siblings share the limit, and what was decompressed in vain counts.
    let part = compress(&user(3000));
    let mut broken = part.clone();
    let last = broken.len() - 2;
    broken[last] ^= 0xff;
    assert_eq!(run(&compound(&[&part, &part, &part, &part])).0.messages, 3);
    assert_eq!(run(&compound(&[&broken, &broken, &broken, &part, PING])), {
        let found = Unpacked { messages: 1, bad_compressed: 3, over_limit: 1, ..Unpacked::default() };
        (found, PING.len())
    });
    // A bomb in a bomb in a bomb.
    let bomb = compress(&compress(&compress(&user(1 << 20))));
    assert_eq!(run(&bomb).0.over_limit, 1);
    assert!(scratch.levels.iter().all(|level| level.capacity() <= KEPT_SCRATCH));
}

#[test]
fn the_number_of_messages_per_datagram_is_bounded() {
    let inner = compound(&[b"\x08".as_slice(); 255]);
    let (found, visited) = opened(&compound(&[inner.as_slice(); 5]));
    // Four compounds and all their parts are 1024 messages.
    assert_eq!(visited.len(), 4 * 255);
    assert_eq!(found.over_limit, 1);
}

#[test]
fn scratch_is_allocated_once() {
    let mut scratch = Scratch::new();
    let wire = compress(&compress(&[8; 5000]));
    let mut count = 0;
    let mut run = |scratch: &mut Scratch| {
        unpack(&wire, scratch, &UnpackLimits::default(), &mut |message| count += message.len());
        scratch.levels.each_ref().map(|level| (level.as_ptr(), level.capacity()))
    };
    let first = run(&mut scratch);
    assert!(first[0].1 > 0);
    for _ in 0..3 {
        assert_eq!(run(&mut scratch), first);
    }
    assert_eq!(count, 4 * 5000);
}

#[test]
fn a_packer_composes_straight_into_an_envelope() {
    let layers = Layers {
        label: Label::new("blah").unwrap(),
        keyring: ring(1),
        compression: Compression::All,
        ..Layers::default()
    };
    let mut buf = [0; 1400];
    let mut envelope = Envelope::new(&layers, &mut buf, 1400, true).unwrap();
    let mut packer = Packer::new(envelope.body());
    let mut count = 0;
    while packer.push(PING).is_ok() {
        count += 1;
    }
    let len = packer.finish();
    let len = envelope.finish(len, &mut Nonces::new([1; 32]), &mut Deflater::new()).unwrap();
    assert!(len < 1400 / 3);
    assert_eq!(read(&layers, &buf[..len]).2, vec![PING; count]);
}

proptest! {
    #[test]
    fn no_datagram_makes_it_fail_or_grow(mut wire in prop::collection::vec(any::<u8>(), 0..300), kind in 0usize..4) {
        if let (Some(first), Some(kind)) = (wire.first_mut(), [None, Some(7), Some(9), Some(0)][kind]) {
            *first = kind;
        }
        for layers in every_layering() {
            let _ = read(&layers, &wire);
        }
    }
}
