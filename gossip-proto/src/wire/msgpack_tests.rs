use super::*;
use alloc::vec;
use proptest::prelude::*;

fn emitted(put: impl FnOnce(&mut Vec<u8>) -> Result<(), Full>) -> Vec<u8> {
    let mut bytes = Vec::new();
    put(&mut bytes).expect("a vector has room");
    bytes
}

#[test]
fn signed_fields_use_signed_forms() {
    for (value, bytes) in [
        (0, vec![0x00]),
        (127, vec![0x7f]),
        (128, vec![0xd1, 0x00, 0x80]),
        (255, vec![0xd1, 0x00, 0xff]),
        (32_767, vec![0xd1, 0x7f, 0xff]),
        (32_768, vec![0xd2, 0x00, 0x00, 0x80, 0x00]),
        (0x7fff_ffff, vec![0xd2, 0x7f, 0xff, 0xff, 0xff]),
        (0x8000_0000, vec![0xd3, 0, 0, 0, 0, 0x80, 0, 0, 0]),
        (-1, vec![0xff]),
        (-32, vec![0xe0]),
        (-33, vec![0xd0, 0xdf]),
        (-128, vec![0xd0, 0x80]),
        (-129, vec![0xd1, 0xff, 0x7f]),
        (-32_769, vec![0xd2, 0xff, 0xff, 0x7f, 0xff]),
        (-0x8000_0001, vec![0xd3, 0xff, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]),
    ] {
        assert_eq!(emitted(|sink| put_int(sink, value)), bytes, "{value}");
    }
}

#[test]
fn strings_use_the_old_family_only() {
    for (len, header) in [
        (0, vec![0xa0]),
        (31, vec![0xbf]),
        (32, vec![0xda, 0x00, 0x20]),
        (255, vec![0xda, 0x00, 0xff]),
        (65_535, vec![0xda, 0xff, 0xff]),
        (65_536, vec![0xdb, 0x00, 0x01, 0x00, 0x00]),
    ] {
        let text = vec![b'x'; len];
        assert_eq!(emitted(|sink| put_raw(sink, &text)), [header, text].concat());
    }
}

#[test]
fn a_full_buffer_is_an_error_at_every_length() {
    let whole = emitted(|sink| put_raw(sink, &[7; 40]));
    for len in 0..whole.len() {
        let mut buf = vec![0; len];
        assert_eq!(put_raw(&mut SliceSink::new(&mut buf), &[7; 40]), Err(Full), "{len}");
    }
    let mut buf = vec![0; whole.len() + 2];
    let mut sink = SliceSink::new(&mut buf);
    put_raw(&mut sink, &[7; 40]).expect("room");
    assert_eq!((sink.len(), sink.room()), (whole.len(), 2));
    assert_eq!(buf[..whole.len()], whole);
}

/// The attack: a few bytes that announce gigabytes, hoping that somebody allocates or loops for them.
#[test]
fn announced_lengths_are_compared_with_what_is_there() {
    for header in [0xc6u8, 0xc9, 0xdb, 0xdd, 0xdf] {
        let input = [header, 0x7f, 0xff, 0xff, 0xff, 0x01, 0x02];
        for read in [
            |reader: &mut Reader<'_>| reader.skip_value(),
            |reader: &mut Reader<'_>| reader.bytes().map(drop),
            |reader: &mut Reader<'_>| reader.list().map(drop),
            |reader: &mut Reader<'_>| reader.fields().map(drop),
        ] {
            match read(&mut Reader::new(&input)) {
                Err(DecodeError::Truncated { need }) => assert!(need > 0x7fff_ffff, "{header:02x}: {need}"),
                Err(DecodeError::Type { at: 0, .. }) => {}
                // Nobody waits for so many.
                Err(DecodeError::Range { .. }) if header >= 0xdd => {}
                Ok(()) if [0xc6, 0xdb].contains(&header) => {}
                other => panic!("{header:02x}: {other:?}"),
            }
        }
    }
}

/// The attack: nesting deep enough to overflow a stack that follows it.
#[test]
fn skipping_does_not_recurse() {
    let mut input = vec![0x91; MAX_VALUES];
    let need = MAX_VALUES + 1;
    assert_eq!(Reader::new(&input).skip_value(), Err(DecodeError::Truncated { need }));
    input.push(0xc0);
    let mut reader = Reader::new(&input);
    reader.skip_value().expect("a nested value");
    assert_eq!(reader.position(), input.len());
    input.insert(0, 0x91);
    assert_eq!(Reader::new(&input).skip_value(), Err(DecodeError::Range { at: MAX_VALUES + 1 }));
}

/// The attack: values that nobody reads, which a stream that brings them byte by byte has passed over again and again.
#[test]
fn what_a_message_announces_is_bounded_in_all() {
    let mut input = vec![0xdc, 0xff, 0xff];
    input.resize(3 + 0xffff, 0xc0);
    let mut reader = Reader::new(&input);
    reader.skip_value().expect("65,535 values");
    let mut twice = input.clone();
    twice.extend(&input);
    let mut reader = Reader::new(&twice);
    reader.skip_value().expect("65,535 values");
    assert!(matches!(reader.skip_value(), Err(DecodeError::Range { .. })));
    let mut reader = Reader::new_at(&twice, input.len());
    assert!(reader.bytes().is_ok_and(|bytes| bytes.is_some_and(|bytes| bytes.len() == 0xffff)));
}

#[test]
fn the_only_unassigned_byte_is_refused_even_when_skipped() {
    assert_eq!(Reader::new(&[0xc1]).skip_value(), Err(DecodeError::Type { at: 0, found: 0xc1 }));
}

#[test]
fn a_byte_field_takes_lists_and_maps_of_small_integers_but_a_string_no_maps() {
    let read = |input: &[u8]| Reader::new(input).bytes().map(|bytes| bytes.map(Cow::into_owned));
    assert_eq!(read(&[0x92, 0x01, 0xcc, 0xff]), Ok(Some(vec![1, 255])));
    assert_eq!(read(&[0x81, 0x01, 0x02]), Ok(Some(vec![1, 2])));
    assert_eq!(read(&[0x91, 0xcd, 0x01, 0x00]), Err(DecodeError::Range { at: 1 }));
    assert_eq!(Reader::new(&[0x81, 0x01, 0x02]).text(), Err(DecodeError::Type { at: 0, found: 0x81 }));
}

proptest! {
    #[test]
    fn integers_survive(unsigned: u64, signed: i64) {
        prop_assert_eq!(Reader::new(&emitted(|sink| put_uint(sink, unsigned))).u64(), Ok(unsigned));
        prop_assert_eq!(Reader::new(&emitted(|sink| put_int(sink, signed))).i64(), Ok(signed));
        prop_assert_eq!(Reader::new(&emitted(|sink| put_uint(sink, unsigned))).i64(), Ok(unsigned as i64));
    }

    /// What a stream reader relies on: waiting for `need` bytes makes progress and never asks for more than there will be.
    #[test]
    fn a_truncated_value_asks_for_bytes_that_belong_to_it(input in proptest::collection::vec(any::<u8>(), 0..64)) {
        let mut whole = Reader::new(&input);
        if whole.skip_value().is_ok() {
            for len in 0..whole.position() {
                match Reader::new(&input[..len]).skip_value() {
                    Err(DecodeError::Truncated { need }) => prop_assert!(need > len && need <= whole.position()),
                    other => prop_assert!(false, "cut to {}: {:?}", len, other),
                }
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(input in proptest::collection::vec(any::<u8>(), 0..64)) {
        let _ = Reader::new(&input).skip_value();
        let _ = Reader::new(&input).bytes();
        let _ = Reader::new(&input).text();
        let _ = Reader::new(&input).f64();
        let mut reader = Reader::new(&input);
        if let Ok(mut fields) = reader.fields() {
            while let Ok(Some(_)) = fields.next(&mut reader, &[b"A", b"B"]) {
                if reader.skip_value().is_err() {
                    break;
                }
            }
        }
    }
}
