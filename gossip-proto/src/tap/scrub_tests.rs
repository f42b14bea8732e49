use super::*;
use crate::wire::msgpack::{Sink, put_array_header, put_map_header, put_raw, put_uint};
use crate::wire::serf::RelayHeader;
use alloc::vec;
use alloc::vec::Vec;

const KEY: &[u8; 16] = b"sixteen byte key";
const TEXT: &[u8; 24] = b"c2l4dGVlbiBieXRlIGtleQ==";

fn scrub() -> Scrub {
    Scrub::new([9; 16], true)
}

fn pseudonym() -> [u8; 16] {
    let mut key = *KEY;
    scrub().key(&mut key);
    key
}

fn pseudonym_text() -> [u8; 24] {
    let mut text = *TEXT;
    scrub().key_text(&mut text);
    text
}

fn scrubbed(message: &[u8]) -> Vec<u8> {
    let mut scrubbed = message.to_vec();
    scrub().user_message(&mut scrubbed);
    assert_eq!(scrubbed.len(), message.len());
    scrubbed
}

fn request() -> Vec<u8> {
    let mut payload = vec![SerfType::KeyRequest.byte()];
    KeyRequest { key: KEY[..].into() }.encode(&mut payload).unwrap();
    payload
}

fn query(name: &'static [u8], payload: &[u8]) -> Vec<u8> {
    let mut message = vec![SerfType::Query.byte()];
    let query = Query { ltime: 300, id: 7, name: name.into(), payload: payload.into(), ..Query::default() };
    query.encode(&mut message).unwrap();
    message
}

fn response(payload: &[u8]) -> Vec<u8> {
    let mut message = vec![SerfType::QueryResponse.byte()];
    QueryResponse { payload: payload.into(), ..QueryResponse::default() }.encode(&mut message).unwrap();
    message
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[test]
fn one_key_has_one_pseudonym_raw_and_in_base64() {
    let mut text = [0; 24];
    encode_base64(&pseudonym(), &mut text);
    assert_eq!(text, pseudonym_text());
    assert!(pseudonym() != *KEY && text != *TEXT);
    let mut other = *KEY;
    Scrub::new([8; 16], true).key(&mut other);
    assert_ne!(other, pseudonym(), "the salt counts");
    for len in [16, 24, 32] {
        let key = vec![1; len];
        let mut out = key.clone();
        scrub().key(&mut out);
        assert!(out.chunks(8).all(|block| block != [1; 8]), "{out:?}");
    }
}

#[test]
fn base64_is_that_of_rfc_4648() {
    for (bytes, text) in
        [("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")]
    {
        let (mut decoded, mut encoded) = ([0; 48], vec![0; text.len()]);
        assert_eq!(decode_base64(text.as_bytes(), &mut decoded), Some(bytes.len()));
        assert_eq!(&decoded[..bytes.len()], bytes.as_bytes());
        encode_base64(bytes.as_bytes(), &mut encoded);
        assert_eq!(encoded, text.as_bytes());
    }
    for text in ["", "Zg=", "Zg", "Zh==", "Z===", "====", "Zm8=Zm8=", "Zm9\n"] {
        assert_eq!(decode_base64(text.as_bytes(), &mut [0; 48]), None, "{text}");
    }
}

#[test]
fn keys_in_queries_are_replaced() {
    for name in [&b"_serf_install-key"[..], b"_serf_use-key", b"_serf_remove-key"] {
        let message = scrubbed(&query(name, &request()));
        let query = Query::decode(&message[1..]).unwrap().0;
        assert_eq!((query.ltime, query.id, &*query.name), (300, 7, name));
        assert_eq!(*KeyRequest::decode(&query.payload[1..]).unwrap().0.key, pseudonym());
    }
    // An application may ask what it wants.
    let message = query(b"deploy", &request());
    assert_eq!(scrubbed(&message), message);
}

#[test]
fn keys_in_answers_are_replaced() {
    let mut payload = vec![SerfType::KeyResponse.byte()];
    let keys = [TEXT[..].into(), b"not base64!".into()];
    let answer = KeyResponse {
        ok: true,
        message: b"truncated"[..].into(),
        keys: crate::wire::field::List::Lent(&keys),
        primary_key: TEXT[..].into(),
    };
    answer.encode(&mut payload).unwrap();
    let mut relay = vec![SerfType::Relay.byte()];
    Relay { header: RelayHeader::default(), inner: &response(&payload) }.encode(&mut relay).unwrap();
    let mut twice = vec![SerfType::Relay.byte()];
    Relay { header: RelayHeader::default(), inner: &relay }.encode(&mut twice).unwrap();
    for (message, wraps) in [(response(&payload), 0), (relay, 1), (twice, 2)] {
        let mut inner = scrubbed(&message);
        assert!(!holds(&inner, TEXT) && !holds(&inner, b"not base64!"));
        for _ in 0..wraps {
            inner = Relay::decode(&inner[1..]).unwrap().inner.to_vec();
        }
        let response = QueryResponse::decode(&inner[1..]).unwrap().0;
        let answer = KeyResponse::decode(&response.payload[1..]).unwrap().0;
        assert_eq!(
            (answer.ok, &*answer.message, &*answer.primary_key),
            (true, &b"truncated"[..], &pseudonym_text()[..])
        );
        let keys: Vec<_> = answer.keys.iter().collect();
        assert_eq!((&*keys[0], keys[1].len()), (&pseudonym_text()[..], 11));
    }
    let message = response(b"\x01an answer");
    assert_eq!(scrubbed(&message), message);
}

#[test]
fn what_cannot_be_read_is_blanked_only_where_serf_wrote_it() {
    let mut cut = query(b"_serf_install-key", &request());
    cut.truncate(cut.len() - 3);
    let odd = query(b"_serf_install-key", b"\x07sixteen byte key");
    for message in [&cut, &odd] {
        assert!(!holds(&scrubbed(message), &KEY[..4]));
    }
    let mut relay = vec![SerfType::Relay.byte(), 0xc1];
    relay.extend_from_slice(KEY);
    assert!(!holds(&scrubbed(&relay), KEY));
    // A message of memberlist's user that happens to begin with the same byte.
    let mut message = cut.clone();
    Scrub::new([9; 16], false).user_message(&mut message);
    assert_eq!(message, cut);
    // Both kinds fail to decode afterwards as they did before.
    assert!(Query::decode(&scrubbed(&cut)[1..]).is_err());
    let blanked = scrubbed(&odd);
    let payload = Query::decode(&blanked[1..]).unwrap().0.payload;
    assert!(KeyRequest::decode(&payload[1..]).is_err());
}

#[test]
fn other_shapes_of_the_same_message_hide_nothing() {
    // A field given twice: the first one does not count, but is there.
    let mut twice = vec![SerfType::Query.byte()];
    put_map_header(&mut twice, 3).unwrap();
    for (name, value) in
        [(&b"Payload"[..], &request()[..]), (b"Payload", &request()), (b"Name", b"_serf_use-key")]
    {
        put_raw(&mut twice, name).unwrap();
        put_raw(&mut twice, value).unwrap();
    }
    // A struct as an array, its payload as an array of numbers.
    let mut array = vec![SerfType::Query.byte()];
    put_array_header(&mut array, 11).unwrap();
    for _ in 0..2 {
        put_uint(&mut array, 1).unwrap();
    }
    array.put(&[0xc0, 0, 0xa0, 0xc0, 0, 0, 0]).unwrap();
    put_raw(&mut array, b"_serf_use-key").unwrap();
    put_array_header(&mut array, request().len()).unwrap();
    request().iter().for_each(|&byte| put_uint(&mut array, byte.into()).unwrap());
    for message in [twice, array] {
        let before = Query::decode(&message[1..]).unwrap().0;
        assert_eq!(*before.payload, request());
        let after = scrubbed(&message);
        let key = Query::decode(&after[1..]).unwrap().0.payload[1..].to_vec();
        let key = KeyRequest::decode(&key).unwrap().0.key.to_vec();
        assert!(key.len() == KEY.len() && key != KEY && !holds(&after, KEY));
    }
}

#[test]
fn messages_of_packets_and_streams_are_looked_into() {
    let inner = query(b"_serf_install-key", &request());
    let mut packet = vec![MessageType::User.byte()];
    packet.extend_from_slice(&inner);
    scrub().packet_message(&mut packet);
    assert_eq!(packet[1..], scrubbed(&inner));
    let mut stream = vec![MessageType::User.byte()];
    UserHeader { len: inner.len() as i64 }.encode(&mut stream).unwrap();
    let at = stream.len();
    stream.extend_from_slice(&inner);
    scrub().stream_message(&mut stream);
    assert_eq!(stream[at..], scrubbed(&inner));
    let mut ping = vec![MessageType::Ping.byte(), 4, 4, 4];
    scrub().packet_message(&mut ping);
    assert_eq!(ping, [MessageType::Ping.byte(), 4, 4, 4]);
}
