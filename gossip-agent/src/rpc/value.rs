//! The MessagePack of Serf's RPC (serf.md 0.2): as gossip speaks it, and byte strings and short strings in the types of
//! the newer format. What is read is everything that either generation of the Go codec accepts (serf.md 0.3).

use core::fmt;
use std::collections::BTreeMap;

use transport_tokio::gossip_proto::wire::msgpack::{
    DecodeError, Reader, put_array_header, put_bool, put_f64, put_int, put_map_header, put_raw, put_uint,
};

/// Something that has a form on the wire. Reading is total, and no allocation is sized by a length that was not compared
/// with the bytes that are there.
pub(crate) trait Value: Sized {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
    /// Appends it: a vector takes everything, so that what the writers of single values return is of no interest.
    fn write(&self, out: &mut Vec<u8>);

    /// Reads it from the front of `bytes`; what follows is not looked at, as upstream does not.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(bytes).unlimited())
    }
}

/// A string. Go's need not be UTF-8, and a member's name must come out as it went in.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Text(Vec<u8>);

impl Text {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a string for JSON: what is not UTF-8 is replaced.
    pub(crate) fn to_string_lossy(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// On one line and without control characters: a member chooses its own name, and must not move the cursor with it.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(self.0.len());
        for c in String::from_utf8_lossy(&self.0).chars() {
            if c.is_control() { text.extend(c.escape_default()) } else { text.push(c) }
        }
        f.pad(&text)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

impl<T: AsRef<[u8]> + ?Sized> From<&T> for Text {
    fn from(bytes: &T) -> Self {
        Self(bytes.as_ref().into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into_bytes())
    }
}

/// A byte string; `None` is nil.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Blob(pub(crate) Option<Vec<u8>>);

impl Blob {
    /// One that is nil if it is empty, as an absent payload is in Go.
    pub(crate) fn payload(bytes: &[u8]) -> Self {
        Self(if bytes.is_empty() { None } else { Some(bytes.into()) })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

/// A Go map with strings for keys, in the order of arrival; `None` is nil. Of equal keys the last counts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Map<T>(pub(crate) Option<Vec<(Text, T)>>);

impl<T> Map<T> {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(Text, T)> {
        self.0.iter().flatten()
    }

    pub(crate) fn sorted(&self) -> BTreeMap<&Text, &T> {
        self.iter().map(|(key, value)| (key, value)).collect()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&T> {
        self.0.as_ref()?.iter().rev().find(|(known, _)| known.as_bytes() == key.as_bytes()).map(|(_, v)| v)
    }
}

impl<T> Default for Map<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<K: Into<Text>, T> FromIterator<(K, T)> for Map<T> {
    fn from_iter<I: IntoIterator<Item = (K, T)>>(pairs: I) -> Self {
        Self(Some(pairs.into_iter().map(|(key, value)| (key.into(), value)).collect()))
    }
}

/// No body.
impl Value for () {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.skip_value()
    }

    fn write(&self, _: &mut Vec<u8>) {}
}

impl Value for bool {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.bool()
    }

    fn write(&self, out: &mut Vec<u8>) {
        let _ = put_bool(out, *self);
    }
}

macro_rules! unsigned {
    ($($ty:ident)*) => {$(
        impl Value for $ty {
            fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                reader.$ty()
            }

            fn write(&self, out: &mut Vec<u8>) {
                let _ = put_uint(out, u64::from(*self));
            }
        }
    )*};
}

unsigned!(u8 u16 u64);

impl Value for i64 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.i64()
    }

    fn write(&self, out: &mut Vec<u8>) {
        let _ = put_int(out, *self);
    }
}

impl Value for i32 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let at = reader.position();
        Self::try_from(reader.i64()?).map_err(|_| DecodeError::Range { at })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let _ = put_int(out, i64::from(*self));
    }
}

impl Value for f64 {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.f64()
    }

    fn write(&self, out: &mut Vec<u8>) {
        let _ = put_f64(out, *self);
    }
}

impl Value for Text {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(reader.text()?.into_owned()))
    }

    fn write(&self, out: &mut Vec<u8>) {
        match u8::try_from(self.0.len()) {
            Ok(len) if len >= 32 => {
                out.extend([0xd9, len]);
                out.extend(&self.0);
            }
            _ => {
                let _ = put_raw(out, &self.0);
            }
        }
    }
}

impl Value for Blob {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self(reader.bytes()?.map(Into::into)))
    }

    fn write(&self, out: &mut Vec<u8>) {
        let Some(bytes) = &self.0 else { return out.push(NIL) };
        match bytes.len() {
            len @ 0..0x100 => out.extend([0xc4, len as u8]),
            len @ 0x100..0x1_0000 => {
                out.push(0xc5);
                out.extend((len as u16).to_be_bytes());
            }
            len => {
                out.push(0xc6);
                out.extend((len as u32).to_be_bytes());
            }
        }
        out.extend(bytes);
    }
}

/// A list; `None` is nil.
impl<T: Value> Value for Option<Vec<T>> {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let Some(items) = reader.list()? else { return Ok(None) };
        (0..items).map(|_| T::read(reader)).collect::<Result<_, _>>().map(Some)
    }

    fn write(&self, out: &mut Vec<u8>) {
        let Some(items) = self else { return out.push(NIL) };
        let _ = put_array_header(out, items.len());
        items.iter().for_each(|item| item.write(out));
    }
}

impl<T: Value> Value for Map<T> {
    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let Some(pairs) = reader.map()? else { return Ok(Self(None)) };
        let pairs: Result<_, _> = (0..pairs).map(|_| Ok((Text::read(reader)?, T::read(reader)?))).collect();
        pairs.map(|pairs| Self(Some(pairs)))
    }

    fn write(&self, out: &mut Vec<u8>) {
        let Some(pairs) = &self.0 else { return out.push(NIL) };
        let _ = put_map_header(out, pairs.len());
        for (key, value) in pairs {
            key.write(out);
            value.write(out);
        }
    }
}

const NIL: u8 = 0xc0;

#[cfg(test)]
mod tests {
    use super::*;

    fn written<T: Value>(value: &T) -> Vec<u8> {
        let mut out = Vec::new();
        value.write(&mut out);
        out
    }

    #[test]
    fn strings_take_the_types_of_the_newer_format() {
        for (len, head) in [
            (0, vec![0xa0]),
            (31, vec![0xbf]),
            (32, vec![0xd9, 32]),
            (255, vec![0xd9, 255]),
            (256, vec![0xda, 1, 0]),
            (0x1_0000, vec![0xdb, 0, 1, 0, 0]),
        ] {
            let text = Text(vec![b'x'; len]);
            let bytes = written(&text);
            assert_eq!(bytes[..bytes.len() - len], head, "{len}");
            assert_eq!(Text::decode(&bytes), Ok(text));
        }
        for (len, head) in [
            (0, vec![0xc4, 0]),
            (255, vec![0xc4, 255]),
            (256, vec![0xc5, 1, 0]),
            (0x1_0000, vec![0xc6, 0, 1, 0, 0]),
        ] {
            let blob = Blob(Some(vec![b'x'; len]));
            let bytes = written(&blob);
            assert_eq!(bytes[..bytes.len() - len], head, "{len}");
            assert_eq!(Blob::decode(&bytes), Ok(blob));
        }
        assert_eq!(written(&Blob(None)), [0xc0]);
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        assert_eq!(Text::from("a\n\u{1b}[2J\u{9b}").to_string(), "a\\n\\u{1b}[2J\\u{9b}");
        assert_eq!(format!("{:4}|", Text::from("é")), "é   |");
    }

    /// What bounds a message of gossip does not bound the list of a large cluster's members.
    #[test]
    fn a_list_may_be_longer_than_in_a_message_of_gossip() {
        let mut bytes = vec![0xdd, 0, 3, 0, 0];
        bytes.resize(bytes.len() + (3 << 16), 7);
        assert_eq!(Option::<Vec<u64>>::decode(&bytes).unwrap().map(|list| list.len()), Some(3 << 16));
    }

    #[test]
    fn the_last_of_equal_keys_counts() {
        let map: Map<u8> = Map::decode(b"\x82\xa1a\x01\xa1a\x02").unwrap();
        assert_eq!(map.get("a"), Some(&2));
        assert_eq!(map.sorted().into_iter().collect::<Vec<_>>(), [(&Text::from("a"), &2)]);
    }
}
