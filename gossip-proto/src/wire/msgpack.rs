//! The MessagePack dialect of memberlist and Serf (memberlist 2, serf 0): what is written is one fixed form, what is
//! read is everything that either generation of the Go codec accepts.
use alloc::borrow::Cow;
use alloc::vec::Vec;
use core::fmt;

mod emit;

pub use emit::{
    Count, Full, Sink, SliceSink, put_array_header, put_bool, put_f64, put_int, put_map_header, put_nil,
    put_raw, put_uint,
};

/// Why bytes are not the message they should be. Always the sender's fault or the network's, and never a change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The input ends too early. `need` is how many bytes, counted from the start of the input, are required at the
    /// least: a stream waits for them, a packet is dropped. Saturates; a reader must compare it with its own limit.
    Truncated {
        /// Least length of the input that can be complete.
        need: usize,
    },
    /// A value of a kind that the field cannot hold.
    Type {
        /// Offset of the value.
        at: usize,
        /// Its first byte.
        found: u8,
    },
    /// A number or a count outside what the field can hold.
    Range {
        /// Offset of the value.
        at: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Truncated { need } => write!(f, "input ends early: at least {need} bytes are needed"),
            Self::Type { at, found } => write!(f, "unexpected value 0x{found:02x} at offset {at}"),
            Self::Range { at } => write!(f, "value out of range at offset {at}"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Reads values out of untrusted bytes. Every length is compared with what remains before it is used, and nothing
/// is allocated except for a byte string that arrives as an array of integers.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    /// Values that lists and maps may still announce.
    values: usize,
}

/// The most values that the lists and maps of one message may announce, nested ones and those that nobody reads included. Each
/// takes some nanoseconds to pass over, and a stream can bring twenty millions. Senders stay far below; the lists of a state,
/// which can be longer, are gone through in slices instead.
const MAX_VALUES: usize = 1 << 16;

impl<'a> Reader<'a> {
    /// Starts at the beginning of `input`. Lists and maps, nested ones included, may announce 65,536 values in all.
    #[must_use]
    pub fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0, values: MAX_VALUES }
    }

    /// Starts at offset `at` of `input`, at its end if that is beyond; offsets in errors count from the start of `input`.
    #[must_use]
    pub fn new_at(input: &'a [u8], at: usize) -> Self {
        Self { input, at: at.min(input.len()), values: MAX_VALUES }
    }

    /// Reads what is no message of the protocol, and bounded in another way: lists and maps may announce any number of values.
    #[must_use]
    pub fn unlimited(self) -> Self {
        Self { values: usize::MAX, ..self }
    }

    /// Lets the next value announce as many values as a message may.
    pub(crate) fn renew(&mut self) {
        self.values = self.values.max(MAX_VALUES);
    }

    /// The start of a list, or of a map if it holds pairs, of any length: whoever calls this goes through it in slices.
    ///
    /// # Errors
    /// Anything else.
    pub(crate) fn long(&mut self, pairs: bool) -> Result<Option<usize>, DecodeError> {
        let values = core::mem::replace(&mut self.values, usize::MAX);
        let count = if pairs { self.map() } else { self.list() };
        self.values = values;
        count
    }

    /// Bytes consumed so far.
    #[must_use]
    pub fn position(&self) -> usize {
        self.at
    }

    /// Looks ahead for what comes in the form in which it is sent from here.
    #[inline]
    pub(crate) fn ahead(&self) -> Ahead<'a> {
        Ahead { input: self.input, rest: self.rest() }
    }

    /// Consumes what `ahead` has read of the same input.
    #[inline]
    pub(crate) fn catch_up(&mut self, ahead: &Ahead<'a>) {
        self.at = ahead.position();
    }

    /// Everything not consumed yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.input.get(self.at..).unwrap_or_default()
    }

    /// Consumes one byte as it is.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] at the end.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.input.get(self.at).ok_or(DecodeError::Truncated { need: self.at + 1 })?;
        self.at += 1;
        Ok(byte)
    }

    /// Consumes `len` bytes as they are.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if fewer remain.
    #[inline]
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.saturating_add(len);
        let bytes = self.input.get(self.at..end).ok_or(DecodeError::Truncated { need: end })?;
        self.at = end;
        Ok(bytes)
    }

    /// Consumes `nil` if that is what comes next.
    #[inline]
    pub fn take_nil(&mut self) -> bool {
        let nil = self.input.get(self.at) == Some(&0xc0);
        self.at += usize::from(nil);
        nil
    }

    /// An unsigned field; `nil` is 0, and any width or signedness will do if the value fits.
    ///
    /// # Errors
    /// Another kind of value, or one that does not fit.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.narrow()
    }

    /// As [`u8`](Self::u8).
    ///
    /// # Errors
    /// As [`u8`](Self::u8).
    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.narrow()
    }

    /// As [`u8`](Self::u8).
    ///
    /// # Errors
    /// As [`u8`](Self::u8).
    #[inline]
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.narrow()
    }

    /// As [`u8`](Self::u8).
    ///
    /// # Errors
    /// As [`u8`](Self::u8).
    #[inline]
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        // What a sender of this dialect writes nearly always, without the detour of a general value.
        match *self.rest() {
            [small @ ..=0x7f, ..] => {
                self.at += 1;
                Ok(u64::from(small))
            }
            [0xcd, a, b, ..] => {
                self.at += 3;
                Ok(u64::from(u16::from_be_bytes([a, b])))
            }
            [0xce, a, b, c, d, ..] => {
                self.at += 5;
                Ok(u64::from(u32::from_be_bytes([a, b, c, d])))
            }
            _ => self.any_u64(),
        }
    }

    #[inline(never)]
    fn any_u64(&mut self) -> Result<u64, DecodeError> {
        let at = self.at;
        match self.head()? {
            Head::Nil => Ok(0),
            Head::Unsigned(value) => Ok(value),
            Head::Negative(_) => Err(DecodeError::Range { at }),
            _ => Err(self.unexpected(at)),
        }
    }

    /// A signed field; `nil` is 0. An unsigned value above `i64::MAX` wraps, as it does upstream (serf 0.3).
    ///
    /// # Errors
    /// Anything but an integer.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        let at = self.at;
        match self.head()? {
            Head::Nil => Ok(0),
            Head::Unsigned(value) => Ok(value.cast_signed()),
            Head::Negative(value) => Ok(value),
            _ => Err(self.unexpected(at)),
        }
    }

    /// A float field; integers and the 4-byte form are converted, `nil` is 0.
    ///
    /// # Errors
    /// Anything but a number.
    pub fn f64(&mut self) -> Result<f64, DecodeError> {
        let at = self.at;
        match self.head()? {
            Head::Nil => Ok(0.0),
            Head::Float(value) => Ok(value),
            Head::Unsigned(value) => Ok(value.cast_signed() as f64),
            Head::Negative(value) => Ok(value as f64),
            _ => Err(self.unexpected(at)),
        }
    }

    /// A boolean field; the one-byte integers 0 and 1 will do, `nil` is false.
    ///
    /// # Errors
    /// Anything else.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        let at = self.at;
        match self.byte()? {
            0xc0 | 0xc2 | 0x00 => Ok(false),
            0xc3 | 0x01 => Ok(true),
            _ => Err(self.unexpected(at)),
        }
    }

    /// A string field, which need not be UTF-8; `nil` is empty.
    ///
    /// # Errors
    /// Anything but a string, a byte string or an array of integers below 256.
    #[inline]
    pub fn text(&mut self) -> Result<Cow<'a, [u8]>, DecodeError> {
        let mut ahead = self.ahead();
        let Some(bytes) = ahead.raw() else { return self.any_text() };
        self.catch_up(&ahead);
        Ok(Cow::Borrowed(bytes))
    }

    #[inline(never)]
    fn any_text(&mut self) -> Result<Cow<'a, [u8]>, DecodeError> {
        let at = self.at;
        match self.head()? {
            Head::Raw(len) => Ok(Cow::Borrowed(self.take(len)?)),
            Head::Nil => Ok(Cow::Borrowed(&[])),
            Head::Array(items) => self.integers(items).map(Cow::Owned),
            _ => Err(self.unexpected(at)),
        }
    }

    /// A byte-string field, `None` for `nil`. Unlike a string it may also be a map, read as its keys and values in
    /// turn: the Go codec fills any slice from a map.
    ///
    /// # Errors
    /// As [`text`](Self::text).
    #[inline]
    pub fn bytes(&mut self) -> Result<Option<Cow<'a, [u8]>>, DecodeError> {
        let mut ahead = self.ahead();
        let bytes = ahead.raw();
        if bytes.is_none() && !ahead.nil() {
            return self.any_bytes();
        }
        self.catch_up(&ahead);
        Ok(bytes.map(Cow::Borrowed))
    }

    #[inline(never)]
    fn any_bytes(&mut self) -> Result<Option<Cow<'a, [u8]>>, DecodeError> {
        let at = self.at;
        match self.head()? {
            Head::Raw(len) => Ok(Some(Cow::Borrowed(self.take(len)?))),
            Head::Nil => Ok(None),
            Head::Array(items) => self.integers(items).map(|bytes| Some(Cow::Owned(bytes))),
            Head::Map(pairs) => self.integers(pairs.saturating_mul(2)).map(|bytes| Some(Cow::Owned(bytes))),
            _ => Err(self.unexpected(at)),
        }
    }

    /// The start of a list: how many values follow. A map counts twice, for the reason given at [`bytes`](Self::bytes);
    /// `None` is `nil`. There are at least as many bytes left as values announced.
    ///
    /// # Errors
    /// Anything else.
    pub fn list(&mut self) -> Result<Option<usize>, DecodeError> {
        let at = self.at;
        match self.head()? {
            Head::Array(items) => Ok(Some(items)),
            Head::Map(pairs) => Ok(Some(pairs.saturating_mul(2))),
            Head::Nil => Ok(None),
            _ => Err(self.unexpected(at)),
        }
    }

    /// The start of a map with keys of any value: how many pairs follow; `None` is `nil`. There are at least two bytes
    /// left for each.
    ///
    /// # Errors
    /// Anything else.
    pub fn map(&mut self) -> Result<Option<usize>, DecodeError> {
        let at = self.at;
        match self.head()? {
            Head::Map(pairs) => Ok(Some(pairs)),
            Head::Nil => Ok(None),
            _ => Err(self.unexpected(at)),
        }
    }

    /// The start of a struct, whose fields are then taken one by one with [`Fields::next`].
    ///
    /// # Errors
    /// Anything but a map, an array or `nil`.
    #[inline]
    pub fn fields(&mut self) -> Result<Fields, DecodeError> {
        let at = self.at;
        match self.head()? {
            Head::Map(left) => Ok(Fields { left, place: None }),
            Head::Array(left) => Ok(Fields { left, place: Some(0) }),
            Head::Nil => Ok(Fields { left: 0, place: None }),
            _ => Err(self.unexpected(at)),
        }
    }

    /// Passes over one value of any kind, however deeply nested: values still owed are counted, not stacked, and each
    /// owes at least one byte.
    ///
    /// # Errors
    /// A value that ends early, or the one byte that MessagePack never assigned.
    pub fn skip_value(&mut self) -> Result<(), DecodeError> {
        let mut owed: usize = 1;
        while owed > 0 {
            owed -= 1;
            let inside = match self.head()? {
                Head::Raw(len) | Head::Ext(len) => {
                    self.take(len)?;
                    0
                }
                Head::Array(items) => items,
                Head::Map(pairs) => pairs.saturating_mul(2),
                _ => 0,
            };
            owed = owed.saturating_add(inside);
            self.require(owed)?;
        }
        Ok(())
    }

    #[inline]
    fn narrow<T: TryFrom<u64>>(&mut self) -> Result<T, DecodeError> {
        let at = self.at;
        T::try_from(self.u64()?).map_err(|_| DecodeError::Range { at })
    }

    #[cold]
    fn integers(&mut self, count: usize) -> Result<Vec<u8>, DecodeError> {
        self.require(count)?;
        let mut bytes = Vec::with_capacity(count);
        for _ in 0..count {
            bytes.push(self.u8()?);
        }
        Ok(bytes)
    }

    fn require(&self, bytes: usize) -> Result<(), DecodeError> {
        if bytes > self.input.len() - self.at {
            return Err(DecodeError::Truncated { need: self.at.saturating_add(bytes) });
        }
        Ok(())
    }

    #[cold]
    fn unexpected(&self, at: usize) -> DecodeError {
        DecodeError::Type { at, found: self.input.get(at).copied().unwrap_or_default() }
    }

    #[inline]
    fn head(&mut self) -> Result<Head, DecodeError> {
        let at = self.at;
        let first = self.byte()?;
        Ok(match first {
            0x00..=0x7f => Head::Unsigned(u64::from(first)),
            0x80..=0x8f => self.map_head(usize::from(first & 0x0f))?,
            0x90..=0x9f => self.array_head(usize::from(first & 0x0f))?,
            0xa0..=0xbf => Head::Raw(usize::from(first & 0x1f)),
            0xc0 => Head::Nil,
            0xc1 => return Err(self.unexpected(at)),
            0xc2 | 0xc3 => Head::Bool,
            0xc4 | 0xd9 => Head::Raw(self.length::<1>()?),
            0xc5 | 0xda => Head::Raw(self.length::<2>()?),
            0xc6 | 0xdb => Head::Raw(self.length::<4>()?),
            0xc7 => Head::Ext(self.length::<1>()?.saturating_add(1)),
            0xc8 => Head::Ext(self.length::<2>()?.saturating_add(1)),
            0xc9 => Head::Ext(self.length::<4>()?.saturating_add(1)),
            0xca => Head::Float(f64::from(f32::from_be_bytes(self.array()?))),
            0xcb => Head::Float(f64::from_be_bytes(self.array()?)),
            0xcc => Head::Unsigned(u64::from(self.byte()?)),
            0xcd => Head::Unsigned(u64::from(u16::from_be_bytes(self.array()?))),
            0xce => Head::Unsigned(u64::from(u32::from_be_bytes(self.array()?))),
            0xcf => Head::Unsigned(u64::from_be_bytes(self.array()?)),
            0xd0 => signed(i64::from(i8::from_be_bytes(self.array()?))),
            0xd1 => signed(i64::from(i16::from_be_bytes(self.array()?))),
            0xd2 => signed(i64::from(i32::from_be_bytes(self.array()?))),
            0xd3 => signed(i64::from_be_bytes(self.array()?)),
            0xd4..=0xd8 => Head::Ext((1usize << (first - 0xd4)) + 1),
            0xdc => {
                let items = self.length::<2>()?;
                self.array_head(items)?
            }
            0xdd => {
                let items = self.length::<4>()?;
                self.array_head(items)?
            }
            0xde => {
                let pairs = self.length::<2>()?;
                self.map_head(pairs)?
            }
            0xdf => {
                let pairs = self.length::<4>()?;
                self.map_head(pairs)?
            }
            0xe0..=0xff => Head::Negative(i64::from(first.cast_signed())),
        })
    }

    #[inline]
    fn map_head(&mut self, pairs: usize) -> Result<Head, DecodeError> {
        self.announced(pairs.saturating_mul(2))?;
        Ok(Head::Map(pairs))
    }

    #[inline]
    fn array_head(&mut self, items: usize) -> Result<Head, DecodeError> {
        self.announced(items)?;
        Ok(Head::Array(items))
    }

    #[inline]
    fn announced(&mut self, values: usize) -> Result<(), DecodeError> {
        // Before it is said that more bytes are needed: nobody shall wait for what will be refused.
        self.values = self.values.checked_sub(values).ok_or(DecodeError::Range { at: self.at })?;
        self.require(values)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let need = self.at.saturating_add(N);
        let bytes = self.rest().first_chunk::<N>().ok_or(DecodeError::Truncated { need })?;
        self.at = need;
        Ok(*bytes)
    }

    #[inline]
    fn length<const N: usize>(&mut self) -> Result<usize, DecodeError> {
        Ok(self.array::<N>()?.iter().fold(0, |len, &byte| (len << 8) | usize::from(byte)))
    }
}

/// Reads values in the forms in which they are sent from here, and nothing else: a few comparisons each, in one straight run,
/// without a reason for what does not fit. Inlined always: apart they cost more than what they do.
#[derive(Clone, Debug)]
pub struct Ahead<'a> {
    input: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Ahead<'a> {
    #[inline(always)]
    fn position(&self) -> usize {
        self.input.len() - self.rest.len()
    }

    /// A reader that goes on from here.
    pub(crate) fn reader(&self) -> Reader<'a> {
        Reader { input: self.input, at: self.position(), values: MAX_VALUES }
    }

    /// Goes on where that reader is.
    pub(crate) fn go_on(&mut self, reader: &Reader<'a>) {
        self.rest = reader.rest();
    }

    /// The start of a map of up to 15 pairs.
    #[inline(always)]
    pub(crate) fn map(&mut self) -> Option<u8> {
        match *self.rest {
            [first @ 0x80..=0x8f, ref rest @ ..] => {
                self.rest = rest;
                Some(first & 0x0f)
            }
            _ => None,
        }
    }

    /// Consumes a key, given with its [header](with_header), if that is what comes next.
    #[inline(always)]
    pub(crate) fn key<const N: usize>(&mut self, key: &[u8; N]) -> bool {
        match self.rest.split_first_chunk::<N>() {
            Some((found, rest)) if found == key => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// An unsigned number of up to 32 bits.
    #[inline(always)]
    pub(crate) fn unsigned<T: TryFrom<u32>>(&mut self) -> Option<T> {
        let (value, rest) = match *self.rest {
            [small @ ..=0x7f, ref rest @ ..] => (u32::from(small), rest),
            [0xcd, a, b, ref rest @ ..] => (u32::from(u16::from_be_bytes([a, b])), rest),
            [0xce, a, b, c, d, ref rest @ ..] => (u32::from_be_bytes([a, b, c, d]), rest),
            [0xcc, a, ref rest @ ..] => (u32::from(a), rest),
            _ => return None,
        };
        self.rest = rest;
        T::try_from(value).ok()
    }

    /// A string of less than 64 KiB.
    #[inline(always)]
    pub(crate) fn raw(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = match *self.rest {
            [first @ 0xa0..=0xbf, ref rest @ ..] => (usize::from(first & 0x1f), rest),
            [0xda, a, b, ref rest @ ..] => (usize::from(u16::from_be_bytes([a, b])), rest),
            _ => return None,
        };
        let (bytes, rest) = rest.split_at_checked(len)?;
        self.rest = rest;
        Some(bytes)
    }

    /// Consumes `nil` if that is what comes next.
    #[inline(always)]
    pub(crate) fn nil(&mut self) -> bool {
        match *self.rest {
            [0xc0, ref rest @ ..] => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }
}

/// A key as it is sent, `M` bytes with its header.
pub(crate) const fn with_header<const N: usize, const M: usize>(key: &[u8; N]) -> [u8; M] {
    assert!(N < 32 && M == N + 1, "longer keys have another form");
    let mut sent = [0xa0 | N as u8; M];
    let mut at = 0;
    while at < N {
        sent[at + 1] = key[at];
        at += 1;
    }
    sent
}

/// What a value starts with. Lengths of strings and extensions still have to be taken; counts of containers have been
/// compared with the bytes that remain.
enum Head {
    Nil,
    Bool,
    Unsigned(u64),
    Negative(i64),
    Float(f64),
    Raw(usize),
    Array(usize),
    Map(usize),
    Ext(usize),
}

#[inline]
fn signed(value: i64) -> Head {
    u64::try_from(value).map_or(Head::Negative(value), Head::Unsigned)
}

/// The fields of a struct that are still to come, whether it was sent as a map or as an array in Go declaration order.
#[derive(Clone, Copy, Debug)]
pub struct Fields {
    left: usize,
    place: Option<usize>,
}

impl Fields {
    /// The name of the next field, whose value the reader is then at and must consume; `None` after the last.
    /// `declared` holds the names in Go declaration order. Elements of an array beyond it get the empty name.
    ///
    /// # Errors
    /// A key that is no string. `nil` is taken for an empty one, which the 0.5 codec does and the current one does not.
    #[inline]
    pub fn next<'a>(
        &mut self,
        reader: &mut Reader<'a>,
        declared: &[&'static [u8]],
    ) -> Result<Option<&'a [u8]>, DecodeError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        if let Some(place) = self.place {
            self.place = Some(place.saturating_add(1));
            return Ok(Some(declared.get(place).copied().unwrap_or_default()));
        }
        match reader.text()? {
            Cow::Borrowed(key) => Ok(Some(key)),
            Cow::Owned(key) => {
                Ok(Some(declared.iter().find(|name| **name == key).copied().unwrap_or_default()))
            }
        }
    }
}

#[cfg(test)]
#[path = "msgpack_tests.rs"]
mod tests;
