use super::*;
use crate::testing::plain_lzw;
use proptest::prelude::*;
use std::vec;

fn deflate(data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Deflater::new().append(&[data], &mut out);
    out
}

fn inflate(data: &[u8], limit: usize) -> Result<Vec<u8>, InflateError> {
    let mut out = Vec::new();
    Inflater::new().inflate(data, &mut out, limit).map(|()| out)
}

/// The decoder of spec 1.8 in its plainest form.
fn model(data: &[u8]) -> Result<Vec<u8>, InflateError> {
    let (out, end) = plain_lzw(data, usize::MAX);
    end.map(|()| out)
}

fn noise(len: usize) -> Vec<u8> {
    let mut x = 1u32;
    core::iter::repeat_with(|| {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (x >> 24) as u8
    })
    .take(len)
    .collect()
}

#[test]
fn output_is_what_the_plain_decoder_says() {
    for data in [vec![], b"a".to_vec(), vec![b'a'; 5000], noise(255), noise(257), noise(600), noise(60_000)] {
        let packed = deflate(&data);
        assert_eq!(model(&packed).as_ref(), Ok(&data));
        assert_eq!(inflate(&packed, data.len()), Ok(data));
    }
    assert_eq!(deflate(b""), [0x00, 0x03, 0x02]);
}

#[test]
fn a_missing_end_code_is_an_error_at_every_cut() {
    let packed = deflate(b"the end code is the only sign that nothing was lost");
    for cut in 0..packed.len() - 1 {
        assert_eq!(inflate(&packed[..cut], 1000), Err(InflateError::MissingEnd), "{cut}");
    }
}

#[test]
fn bytes_after_the_end_and_a_missing_clear_code_are_tolerated() {
    let mut packed = deflate(b"abc");
    packed.extend_from_slice(b"anything");
    assert_eq!(inflate(&packed, 3).unwrap(), b"abc");
    // 'a' and the end code, nine bits each, without a clear code in front.
    let bare = [b'a', 0x02, 0x02];
    assert_eq!(model(&bare).unwrap(), b"a");
    assert_eq!(inflate(&bare, 10).unwrap(), b"a");
}

/// So many clear codes, what is in `codes`, and the end.
fn clears(count: usize, codes: &[u32]) -> Vec<u8> {
    let (mut data, mut at) = (vec![0u8; (count + codes.len()) * 9 / 8 + 4], 0);
    for code in core::iter::repeat_n(256, count).chain(codes.iter().copied()).chain([257]) {
        for bit in 0..9 {
            data[at / 8] |= u8::from(code >> bit & 1 == 1) << (at % 8);
            at += 1;
        }
    }
    data
}

#[test]
fn several_clear_codes_may_follow_one_another() {
    for count in 0..40 {
        let data = clears(count, &[u32::from(b'a')]);
        assert_eq!(inflate(&data, 1).unwrap(), b"a", "{count}");
        assert_eq!(model(&data).unwrap(), b"a");
    }
}

#[test]
fn data_that_comes_to_nothing_ends_early() {
    let data = clears(1_000_000, &[u32::from(b'a')]);
    assert_eq!(model(&data).unwrap(), b"a");
    assert_eq!(inflate(&data, 1), Err(InflateError::InvalidCode));
    // Neither in slices nor beyond the limit of what comes out is there more to be had.
    let (mut inflater, mut out) = (Inflater::new(), Vec::new());
    let ends = data.chunks(9).position(|slice| inflater.step(slice, &mut out, 8).is_err());
    assert!(ends.is_some_and(|slices| slices < 100), "{ends:?}");
    assert!(out.is_empty());
    inflater.reset();
    assert_eq!(inflater.expect_end(&data, 0), Err(InflateError::InvalidCode));
}

// upstream: TestDecompressPayload_Limit
#[test]
fn the_limit_is_exact() {
    for data in [vec![b'x'; 100_000], noise(40_000)] {
        let packed = deflate(&data);
        assert_eq!(inflate(&packed, data.len()).unwrap(), data);
        assert_eq!(inflate(&packed, data.len() + 1).unwrap(), data);
        let limit = data.len() - 1;
        assert_eq!(inflate(&packed, limit), Err(InflateError::TooLarge { limit }));
        assert_eq!(inflate(&packed, 0), Err(InflateError::TooLarge { limit: 0 }));
    }
    assert_eq!(inflate(&deflate(b""), 0).unwrap(), b"");
}

#[test]
fn coders_carry_nothing_over_from_one_message_to_the_next() {
    let (mut inflater, mut deflater) = (Inflater::new(), Deflater::new());
    for data in [noise(10_000), b"short".to_vec(), vec![], noise(300), b"short".to_vec()] {
        let mut packed = Vec::new();
        deflater.append(&[&data], &mut packed);
        assert_eq!(packed, deflate(&data));
        let mut out = Vec::new();
        inflater.inflate(&packed, &mut out, 20_000).unwrap();
        assert_eq!(out, data);
        // An input given up half way must not leak into the next either.
        out.clear();
        assert!(inflater.inflate(&packed[..packed.len() / 2], &mut out, 20_000).is_err());
    }
}

#[test]
fn slices_of_any_size_add_up_to_the_whole() {
    let data = [noise(3000), vec![b'z'; 9000], noise(3000)].concat();
    let packed = deflate(&data);
    for room in [1, 2, 3, 7, 100, 4095, 4096, 4097, 20_000] {
        let (mut inflater, mut out, mut at) = (Inflater::new(), Vec::new(), 0);
        inflater.reset();
        while !{
            let step = inflater.step(&packed[at..], &mut out, room).unwrap();
            at += step.consumed;
            assert_ne!(step.stop, Stop::Starved);
            step.stop == Stop::Ended
        } {}
        assert!(out == data, "{room}");
    }
}

#[test]
fn a_message_is_shrunk_only_if_that_makes_it_strictly_smaller() {
    let mut deflater = Deflater::new();
    for len in 0..200 {
        let plain: Vec<u8> = (0..len).map(|at| b"abc"[at % 3]).collect();
        let mut packed = Vec::new();
        deflater.append_message(&[&plain], &mut packed);
        let mut packet = plain.clone();
        let kept = deflater.shrink(&mut packet, len);
        if packed.len() < plain.len() {
            assert_eq!(packet[..kept], packed[..]);
        } else {
            assert_eq!(packet[..kept], plain[..]);
        }
    }
    let mut packet = noise(1400);
    assert_eq!(deflater.shrink(&mut packet, 1400), 1400);
    assert_eq!(packet, noise(1400));
}

// upstream: TestCompressDecompressPayload
#[test]
fn the_length_field_takes_its_shortest_form() {
    for len in [10, 40, 1000, 60_000, 120_000] {
        let (data, mut message) = (noise(len), b"in front".to_vec());
        let (first, second) = data.split_at(len / 3);
        Deflater::new().append_message(&[first, second], &mut message);
        let body = message.strip_prefix(b"in front\x09").unwrap();
        let (decoded, used) = crate::wire::message::Compressed::decode(body).unwrap();
        assert_eq!((used, decoded.algo), (body.len(), ALGO_LZW));
        assert_eq!(inflate(&decoded.buf, len).unwrap(), data);
        let mut again = Vec::new();
        decoded.encode(&mut again).unwrap();
        assert_eq!(again, body);
    }
}

proptest! {
    #[test]
    fn hostile_input_gives_what_the_plain_decoder_gives(data in prop::collection::vec(any::<u8>(), 0..600)) {
        prop_assert_eq!(inflate(&data, 1 << 20), model(&data));
    }

    #[test]
    fn hostile_codes_give_what_the_plain_decoder_gives(
        codes in prop::collection::vec(
            prop_oneof![8 => 0u16..256, 2 => Just(256), 1 => Just(257), 4 => 258u16..400, 1 => 400u16..512],
            0..300,
        ),
        width in 9usize..13,
    ) {
        let mut data = Vec::new();
        let (mut buffer, mut bits) = (0u64, 0);
        for code in codes {
            buffer |= u64::from(code) << bits;
            bits += width;
            while bits >= 8 {
                data.push(buffer as u8);
                buffer >>= 8;
                bits -= 8;
            }
        }
        data.push(buffer as u8);
        prop_assert_eq!(inflate(&data, 1 << 20), model(&data));
    }

    #[test]
    fn every_input_round_trips(data in prop::collection::vec(any::<u8>(), 0..20_000)) {
        prop_assert_eq!(inflate(&deflate(&data), data.len()).unwrap(), data);
    }

    #[test]
    fn in_slices_of_any_length_it_comes_out_the_same(
        data in prop::collection::vec(0u8..20, 0..20_000),
        lengths in prop::collection::vec(0usize..3_000, 1..20),
    ) {
        let (mut whole, mut deflation, mut rest) = (Vec::new(), Deflation::new(), &data[..]);
        Deflater::new().append_message(&[&data], &mut whole);
        for len in lengths {
            let (slice, behind) = rest.split_at(len.min(rest.len()));
            deflation.add(slice);
            rest = behind;
        }
        deflation.add(rest);
        prop_assert!(deflation.memory() >= 192 * 1024);
        prop_assert_eq!(deflation.finish(), whole);
    }
}
