//! Key material in messages (serf.md 8) gives way to pseudonyms of the same length, so that what is kept or shown of a
//! cluster's traffic does not open the rest of it.

use alloc::borrow::Cow;
use core::ops::Range;

use siphasher::sip::SipHasher24;
use siphasher::sip128;
use smallvec::SmallVec;

use crate::wire::message::{MessageType, UserHeader};
use crate::wire::msgpack::Reader;
use crate::wire::serf::{KeyRequest, KeyResponse, Query, QueryResponse, Relay, SerfType};

/// Replaces keys under a salt. One key has one pseudonym, whether it stands there raw or in base64.
#[derive(Debug)]
pub(crate) struct Scrub {
    salt: (u64, u64),
    /// User messages are Serf's: what claims to carry keys and cannot be read is blanked, as keys may lie in it.
    serf: bool,
}

impl Scrub {
    pub(crate) fn new(salt: [u8; 16], serf: bool) -> Self {
        let salt = u128::from_le_bytes(salt);
        Self { salt: (salt as u64, (salt >> 64) as u64), serf }
    }

    /// Replaces a raw key. In two steps, so that even who knows the salt has nothing to invert but a digest's digest.
    pub(crate) fn key(&self, key: &mut [u8]) {
        let digest = sip128::SipHasher24::new_with_keys(self.salt.0, self.salt.1).hash(key);
        for (index, block) in (0u64..).zip(key.chunks_mut(8)) {
            let bytes =
                SipHasher24::new_with_keys(digest.h1, digest.h2).hash(&index.to_le_bytes()).to_le_bytes();
            block.copy_from_slice(&bytes[..block.len()]);
        }
    }

    /// Replaces a key in base64 by its pseudonym in base64.
    fn key_text(&self, text: &mut [u8]) {
        let mut bytes = [0; MAX_KEY_TEXT / 4 * 3];
        if let Some(len) = decode_base64(text, &mut bytes) {
            self.key(&mut bytes[..len]);
            encode_base64(&bytes[..len], text);
        } else {
            self.key(text);
            text.iter_mut().for_each(|byte| *byte = ALPHABET[usize::from(*byte & 63)]);
        }
    }

    /// A message out of a packet, type byte first.
    pub(crate) fn packet_message(&self, message: &mut [u8]) {
        if let Some((kind, payload)) = message.split_first_mut()
            && *kind == MessageType::User.byte()
        {
            self.user_message(payload);
        }
    }

    /// A message out of a stream, type byte first.
    pub(crate) fn stream_message(&self, message: &mut [u8]) {
        if let Some((kind, body)) = message.split_first_mut()
            && *kind == MessageType::User.byte()
        {
            let header = UserHeader::decode(body).map_or(body.len(), |(_, used)| used);
            self.user_message(&mut body[header..]);
        }
    }

    /// What a user message carries.
    pub(crate) fn user_message(&self, mut message: &mut [u8]) {
        // A relay may wrap another one; each takes at least its type byte.
        while let Some((kind, body)) = message.split_first_mut() {
            match SerfType::from_byte(*kind) {
                Some(SerfType::Query) => return self.query(body),
                Some(SerfType::QueryResponse) => return self.response(body),
                Some(SerfType::Relay) => match Relay::decode(body).map(|relay| relay.inner.len()) {
                    Ok(inner) => {
                        let header = body.len() - inner;
                        message = &mut body[header..];
                    }
                    Err(_) => return self.blank(body),
                },
                _ => return,
            }
        }
    }

    fn query(&self, body: &mut [u8]) {
        let is_about_keys = match Query::decode(body) {
            Ok((query, _)) => {
                query.name.starts_with(b"_serf_") && query.name.windows(4).any(|part| part == b"-key")
            }
            Err(_) => return self.blank(body),
        };
        if is_about_keys {
            for value in values(body, QUERY, b"Payload") {
                rewrite(body, value, |payload| self.key_request(payload));
            }
        }
    }

    /// The type byte does not matter, upstream does not look at it.
    fn key_request(&self, payload: &mut [u8]) {
        let Some((_, body)) = payload.split_first_mut() else { return };
        let used = KeyRequest::decode(body).map_or(0, |(_, used)| used);
        body[used..].fill(0);
        for value in values(&body[..used], KEY_REQUEST, b"Key") {
            rewrite(body, value, |key| self.key(key));
        }
    }

    fn response(&self, body: &mut [u8]) {
        if QueryResponse::decode(body).is_err() {
            return self.blank(body);
        }
        for value in values(body, QUERY_RESPONSE, b"Payload") {
            rewrite(body, value, |payload| {
                // Answers to an application's queries may begin with any byte.
                if let Some((kind, body)) = payload.split_first_mut()
                    && *kind == SerfType::KeyResponse.byte()
                {
                    self.key_response(body);
                }
            });
        }
    }

    fn key_response(&self, body: &mut [u8]) {
        let Ok(used) = KeyResponse::decode(body).map(|(_, used)| used) else { return self.blank(body) };
        for value in values(&body[..used], KEY_RESPONSE, b"PrimaryKey") {
            rewrite(body, value, |text| self.key_text(text));
        }
        for list in values(&body[..used], KEY_RESPONSE, b"Keys") {
            for value in elements(body, list.start) {
                rewrite(body, value, |text| self.key_text(text));
            }
        }
        body[used..].fill(0);
    }

    fn blank(&self, body: &mut [u8]) {
        if self.serf {
            body.fill(0);
        }
    }
}

/// Where values lie in a body.
type Places = SmallVec<[Range<usize>; 4]>;

/// Where the values of a field lie in a struct. There may be several: the last counts, but the others are there too.
fn values(body: &[u8], declared: &[&'static [u8]], wanted: &[u8]) -> Places {
    let mut places = Places::new();
    let mut reader = Reader::new(body);
    let Ok(mut fields) = reader.fields() else { return places };
    while let Ok(Some(name)) = fields.next(&mut reader, declared) {
        let from = reader.position();
        if reader.skip_value().is_err() {
            break;
        }
        if name == wanted {
            places.push(from..reader.position());
        }
    }
    places
}

/// Where the elements of the list at `at` lie.
fn elements(body: &[u8], at: usize) -> Places {
    let mut places = Places::new();
    let mut reader = Reader::new_at(body, at);
    for _ in 0..reader.list().ok().flatten().unwrap_or(0) {
        let from = reader.position();
        if reader.skip_value().is_err() {
            break;
        }
        places.push(from..reader.position());
    }
    places
}

/// Changes the content of a byte string where it stands. One that came as a list of numbers keeps the width of each.
fn rewrite(body: &mut [u8], value: Range<usize>, change: impl FnOnce(&mut [u8])) {
    let content = match Reader::new_at(&body[..value.end], value.start).bytes() {
        Ok(Some(Cow::Borrowed(content))) => content.len(),
        Ok(Some(Cow::Owned(mut content))) => {
            change(&mut content);
            for (place, new) in elements(body, value.start).into_iter().zip(content) {
                let is_short = place.len() == 1;
                body[place.end - 1] = if is_short { new & 0x7f } else { new };
            }
            return;
        }
        Ok(None) | Err(_) => return,
    };
    change(&mut body[value.end - content..value.end]);
}

/// Characters of the longest key in base64 that is decoded; none that AES takes has more than 44.
const MAX_KEY_TEXT: usize = 64;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Decodes padded base64; `None` for anything that is not what an encoder writes.
fn decode_base64(text: &[u8], out: &mut [u8]) -> Option<usize> {
    if text.is_empty() || !text.len().is_multiple_of(4) || text.len() > MAX_KEY_TEXT {
        return None;
    }
    let padding = text.iter().rev().take_while(|&&byte| byte == b'=').count();
    let digits = text.get(..text.len().checked_sub(padding)?).filter(|_| padding <= 2)?;
    let (mut bits, mut held, mut len) = (0u32, 0, 0);
    for digit in digits {
        let value = ALPHABET.iter().position(|known| known == digit)? as u32;
        bits = bits << 6 | value;
        held += 6;
        if held >= 8 {
            held -= 8;
            *out.get_mut(len)? = (bits >> held) as u8;
            len += 1;
        }
    }
    (bits & ((1 << held) - 1) == 0).then_some(len)
}

/// Writes padded base64 over `text`, which has room for exactly that.
fn encode_base64(bytes: &[u8], text: &mut [u8]) {
    for (group, place) in bytes.chunks(3).zip(text.chunks_mut(4)) {
        let bits =
            group.iter().fold(0u32, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for (index, byte) in place.iter_mut().enumerate() {
            let digit = (bits >> (18 - 6 * index)) & 63;
            *byte = if index <= group.len() { ALPHABET[digit as usize] } else { b'=' };
        }
    }
}

// Fields in Go declaration order, in which a struct may arrive as an array (serf.md 0.3).
const QUERY: &[&[u8]] = &[
    b"LTime",
    b"ID",
    b"Addr",
    b"Port",
    b"SourceNode",
    b"Filters",
    b"Flags",
    b"RelayFactor",
    b"Timeout",
    b"Name",
    b"Payload",
];
const QUERY_RESPONSE: &[&[u8]] = &[b"LTime", b"ID", b"From", b"Flags", b"Payload"];
const KEY_REQUEST: &[&[u8]] = &[b"Key"];
const KEY_RESPONSE: &[&[u8]] = &[b"Result", b"Message", b"Keys", b"PrimaryKey"];

#[cfg(test)]
#[path = "scrub_tests.rs"]
mod tests;
