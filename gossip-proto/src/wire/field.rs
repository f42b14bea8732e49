//! What the fields of messages are made of, and how a message is put together from them.
use super::msgpack::{
    self, Ahead, Count, DecodeError, Full, Reader, Sink, put_array_header, put_map_header, put_nil, put_raw,
};
use alloc::borrow::Cow;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;

/// A string on the wire: a name, a key, a text. Go strings need not be UTF-8, so neither do these.
pub type Text<'a> = Cow<'a, [u8]>;

/// A value that a message may carry in a field. `Default` is what a missing field means.
pub trait Field<'a>: Sized {
    /// Decodes the value that `reader` is at.
    ///
    /// # Errors
    /// Bytes that are no such value.
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;

    /// The value if it comes just as it is sent from here; `None` says nothing about the input, and `ahead` is then anywhere.
    fn read_sent(ahead: &mut Ahead<'a>) -> Option<Self> {
        let mut reader = ahead.reader();
        let value = Self::read(&mut reader).ok()?;
        ahead.go_on(&reader);
        Some(value)
    }

    /// Encodes the value as current upstream does.
    ///
    /// # Errors
    /// No room in `sink`.
    fn write<S: Sink>(&self, sink: &mut S) -> Result<(), Full>;

    /// Whether upstream leaves the field out where it is marked so.
    fn is_zero(&self) -> bool {
        false
    }
}

/// The two ways to read a message: what one accepts, the other accepts as well, and as the same.
pub(crate) trait Record<'a>: Sized {
    /// The message if it came just as it is sent from here, which is how current upstream sends it: one straight run,
    /// without a look-up of each field. `None` says nothing about the input.
    fn read_as_sent(ahead: &mut Ahead<'a>) -> Option<Self>;

    /// The message in any form that upstream accepts.
    fn read_any(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
}

/// A value that can be the element of a [`List`].
pub trait Element<'a>: Field<'a> {
    /// Pairs make a map, anything else an array.
    const PAIR: bool = false;
}

macro_rules! scalar {
    ($($ty:ty: $read:ident, $([$sent:ident],)? $put:ident($($as:ty)?), $zero:literal;)*) => {$(
        impl<'a> Field<'a> for $ty {
            #[inline]
            fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
                reader.$read()
            }

            $(
                #[inline(always)]
                fn read_sent(ahead: &mut Ahead<'a>) -> Option<Self> {
                    ahead.$sent()
                }
            )?

            #[inline]
            fn write<S: Sink>(&self, sink: &mut S) -> Result<(), Full> {
                msgpack::$put(sink, $(<$as>::from)?(*self))
            }

            #[inline]
            fn is_zero(&self) -> bool {
                *self == $zero
            }
        }
    )*};
}

scalar! {
    u8: u8, [unsigned], put_uint(u64), 0;
    u16: u16, [unsigned], put_uint(u64), 0;
    u32: u32, [unsigned], put_uint(u64), 0;
    u64: u64, put_uint(), 0;
    i64: i64, put_int(), 0;
    f64: f64, put_f64(), 0.0;
    bool: bool, put_bool(), false;
}

impl<'a> Field<'a> for Text<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.text()
    }

    #[inline(always)]
    fn read_sent(ahead: &mut Ahead<'a>) -> Option<Self> {
        ahead.raw().map(Cow::Borrowed)
    }

    #[inline]
    fn write<S: Sink>(&self, sink: &mut S) -> Result<(), Full> {
        put_raw(sink, self)
    }

    #[inline]
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}

impl<'a> Element<'a> for Text<'a> {}

/// A byte string that, as a Go slice, is either nil or has bytes, perhaps none. The two empty kinds differ on the wire
/// and nowhere else: they compare equal, and an empty slice converts to nil.
#[derive(Clone, Default)]
pub struct Raw<'a>(Option<Text<'a>>);

impl<'a> Raw<'a> {
    /// No bytes, sent as `nil`.
    pub const NIL: Self = Self(None);

    /// No bytes, sent as an empty string.
    pub const EMPTY: Self = Self(Some(Cow::Borrowed(&[])));

    /// Whether this is the nil kind of empty.
    #[must_use]
    pub fn is_nil(&self) -> bool {
        self.0.is_none()
    }

    /// The bytes, with the lifetime of the message they came from.
    #[must_use]
    pub fn into_text(self) -> Text<'a> {
        self.0.unwrap_or_default()
    }
}

impl Deref for Raw<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<'a> From<&'a [u8]> for Raw<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Self {
        Self((!bytes.is_empty()).then_some(Cow::Borrowed(bytes)))
    }
}

impl PartialEq for Raw<'_> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Raw<'_> {}

impl fmt::Debug for Raw<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<'a> Field<'a> for Raw<'a> {
    #[inline]
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        reader.bytes().map(Self)
    }

    #[inline(always)]
    fn read_sent(ahead: &mut Ahead<'a>) -> Option<Self> {
        match ahead.raw() {
            Some(bytes) => Some(Self(Some(Cow::Borrowed(bytes)))),
            None => ahead.nil().then_some(Self::NIL),
        }
    }

    #[inline]
    fn write<S: Sink>(&self, sink: &mut S) -> Result<(), Full> {
        match &self.0 {
            Some(bytes) => put_raw(sink, bytes),
            None => put_nil(sink),
        }
    }

    #[inline]
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}

impl<'a> Element<'a> for Raw<'a> {}

impl<'a, A: Field<'a>, B: Field<'a>> Field<'a> for (A, B) {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok((A::read(reader)?, B::read(reader)?))
    }

    fn write<S: Sink>(&self, sink: &mut S) -> Result<(), Full> {
        self.0.write(sink)?;
        self.1.write(sink)
    }
}

impl<'a, A: Field<'a>, B: Field<'a>> Element<'a> for (A, B) {
    const PAIR: bool = true;
}

impl<'a, T: Field<'a>> Field<'a> for Option<T> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        if reader.take_nil() { Ok(None) } else { T::read(reader).map(Some) }
    }

    fn write<S: Sink>(&self, sink: &mut S) -> Result<(), Full> {
        match self {
            Some(value) => value.write(sink),
            None => put_nil(sink),
        }
    }
}

impl<'a, T: Field<'a>> Element<'a> for Option<T> {}

/// The elements of a received list or map, decoded one by one from the message. The whole list has been checked when
/// the message was decoded, so nothing is held besides a position. A map may name a key twice: the last one counts.
#[derive(Clone, Debug)]
pub struct Items<'a, T> {
    reader: Reader<'a>,
    left: usize,
    element: PhantomData<T>,
}

/// Where a list lies within its message, so that work on it can be interrupted and taken up again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    at: usize,
    left: usize,
}

impl Span {
    /// How many elements are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.left
    }

    /// Whether none is left.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// Where in the message it begins.
    #[must_use]
    pub fn start(&self) -> usize {
        self.at
    }

    /// The list that `reader` is at, not looked at yet.
    pub(crate) fn begin<'a, T: Element<'a>>(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let left = reader.long(T::PAIR)?.unwrap_or_default();
        Ok(Self { at: reader.position(), left })
    }

    /// Checks elements as far as `work` goes; then `reader` is behind them.
    pub(crate) fn check<'a, T: Element<'a>>(
        &mut self,
        reader: &mut Reader<'a>,
        work: &mut usize,
    ) -> Result<(), DecodeError> {
        while self.left > 0 && *work > 0 {
            reader.renew();
            T::read(reader)?;
            let used = reader.position() - self.at;
            (self.at, self.left) = (reader.position(), self.left - 1);
            *work = work.saturating_sub(1 + used / BYTES_OF_WORK);
        }
        Ok(())
    }
}

/// Bytes that count for as much work as an element.
pub(crate) const BYTES_OF_WORK: usize = 64;

impl<'a, T: Element<'a>> Items<'a, T> {
    /// Goes on at `span` of the same `body` that it was taken from. With another body the elements are meaningless
    /// and may end early.
    #[must_use]
    pub fn resume(body: &'a [u8], span: Span) -> Self {
        Self { reader: Reader::new_at(body, span.at), left: span.left, element: PhantomData }
    }

    /// Where the elements not taken yet lie.
    #[must_use]
    pub fn span(&self) -> Span {
        Span { at: self.reader.position(), left: self.left }
    }

    /// Checks the list that `reader` is at, and passes over it.
    pub(crate) fn read(reader: &mut Reader<'a>) -> Result<Option<Self>, DecodeError> {
        let Some(left) = (if T::PAIR { reader.map() } else { reader.list() })? else { return Ok(None) };
        let items = Self { reader: reader.clone(), left, element: PhantomData };
        for _ in 0..left {
            T::read(reader)?;
        }
        Ok(Some(items))
    }
}

impl<'a, T: Element<'a>> Iterator for Items<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left = self.left.checked_sub(1)?;
        self.reader.renew();
        let element = T::read(&mut self.reader).ok();
        if element.is_none() {
            self.left = 0;
        }
        element
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a, T: Element<'a>> ExactSizeIterator for Items<'a, T> {}

/// A list or, of pairs, a map: nil, as it was received, or lent by whoever composes a message. As with [`Raw`], nil and
/// empty differ on the wire only.
#[derive(Clone, Default)]
pub enum List<'a, T> {
    /// No elements, sent as `nil`.
    #[default]
    Nil,
    /// Out of a message.
    Received(Items<'a, T>),
    /// To be sent.
    Lent(&'a [T]),
}

impl<'a, T: Element<'a> + Clone> List<'a, T> {
    /// The elements in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = T> + use<'a, T> {
        match self {
            Self::Nil => Elements::Lent(&[]),
            Self::Received(items) => Elements::Received(items.clone()),
            Self::Lent(items) => Elements::Lent(items),
        }
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Nil => 0,
            Self::Received(items) => items.left,
            Self::Lent(items) => items.len(),
        }
    }

    /// Whether there are none, of either kind.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<'a, T: Element<'a> + Clone + fmt::Debug> fmt::Debug for List<'a, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'a, T: Element<'a> + Clone + PartialEq> PartialEq for List<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<'a, T: Element<'a> + Clone> Field<'a> for List<'a, T> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Items::read(reader)?.map_or(Self::Nil, Self::Received))
    }

    fn write<S: Sink>(&self, sink: &mut S) -> Result<(), Full> {
        if matches!(self, Self::Nil) { put_nil(sink) } else { put_all(sink, self.iter()) }
    }
}

/// Emits a list or map of elements.
pub(crate) fn put_all<'a, S: Sink, T: Element<'a>>(
    sink: &mut S,
    items: impl ExactSizeIterator<Item = T>,
) -> Result<(), Full> {
    if T::PAIR {
        put_map_header(sink, items.len())?
    } else {
        put_array_header(sink, items.len())?
    }
    for item in items {
        item.write(sink)?;
    }
    Ok(())
}

enum Elements<'a, T> {
    Received(Items<'a, T>),
    Lent(&'a [T]),
}

impl<'a, T: Element<'a> + Clone> Iterator for Elements<'a, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match self {
            Self::Received(items) => items.next(),
            Self::Lent(items) => {
                let (first, rest) = items.split_first()?;
                *items = rest;
                Some(first.clone())
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match self {
            Self::Received(items) => items.left,
            Self::Lent(items) => items.len(),
        };
        (left, Some(left))
    }
}

impl<'a, T: Element<'a> + Clone> ExactSizeIterator for Elements<'a, T> {}

/// How many bytes `value` takes.
#[inline]
pub(crate) fn measure<'a, T: Field<'a>>(value: &T) -> usize {
    let mut count = Count::default();
    match value.write(&mut count) {
        Ok(()) => count.0,
        // Only a length beyond what MessagePack can say; no buffer has room for it either.
        Err(Full) => usize::MAX,
    }
}

/// Defines a message: its fields in Go declaration order (in which it may arrive as an array), and the order and names
/// under which they are sent. `(optional)` fields are left out when empty or zero.
macro_rules! record {
    (
        $(#[$meta:meta])*
        pub struct $name:ident $(<$lt:lifetime>)? {
            $($(#[$field_meta:meta])* $key:literal => $field:ident: $ty:ty,)*
        }
        emits { $($out_key:literal => $out:ident $(($optional:ident))?,)* }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name $(<$lt>)? {
            $($(#[$field_meta])* pub $field: $ty,)*
        }

        impl $(<$lt>)? $name $(<$lt>)? {
            /// Decodes the message from its body, which starts after the type byte; bytes after it are left alone. Also
            /// returns how many bytes it took.
            ///
            /// # Errors
            /// Bytes that are no such message. Nothing of it may then be used.
            #[inline]
            pub fn decode(body: &$($lt)? [u8]) -> Result<(Self, usize), $crate::wire::msgpack::DecodeError> {
                let mut reader = $crate::wire::msgpack::Reader::new(body);
                let message = <Self as $crate::wire::field::Field<'_>>::read(&mut reader)?;
                Ok((message, reader.position()))
            }

            /// Encodes the body, without the type byte.
            ///
            /// # Errors
            /// No room in `sink`.
            #[inline]
            pub fn encode<S: $crate::wire::msgpack::Sink>(
                &self,
                sink: &mut S,
            ) -> Result<(), $crate::wire::msgpack::Full> {
                $crate::wire::field::Field::write(self, sink)
            }

            /// How many bytes the body takes, without the type byte.
            #[inline]
            #[must_use]
            pub fn encoded_len(&self) -> usize {
                $crate::wire::field::measure(self)
            }
        }

        impl<'a> $crate::wire::field::Record<'a> for $name $(<$lt>)? {
            #[inline]
            fn read_as_sent(ahead: &mut $crate::wire::msgpack::Ahead<'a>) -> Option<Self> {
                let mut message = Self::default();
                let mut left = ahead.map()?;
                $($crate::wire::field::record!(@take ahead, left, $out_key, message.$out $(, $optional)?);)*
                (left == 0).then_some(message)
            }

            #[inline(never)]
            fn read_any(
                reader: &mut $crate::wire::msgpack::Reader<'a>,
            ) -> Result<Self, $crate::wire::msgpack::DecodeError> {
                const DECLARED: &[&[u8]] = &[$($key),*];
                let mut message = Self::default();
                let mut fields = reader.fields()?;
                while let Some(key) = fields.next(reader, DECLARED)? {
                    match key {
                        $($key => message.$field = $crate::wire::field::Field::read(reader)?,)*
                        _ => reader.skip_value()?,
                    }
                }
                Ok(message)
            }
        }

        impl<'a> $crate::wire::field::Field<'a> for $name $(<$lt>)? {
            #[inline]
            fn read(
                reader: &mut $crate::wire::msgpack::Reader<'a>,
            ) -> Result<Self, $crate::wire::msgpack::DecodeError> {
                let mut ahead = reader.ahead();
                if let Some(message) = $crate::wire::field::Record::read_as_sent(&mut ahead) {
                    reader.catch_up(&ahead);
                    return Ok(message);
                }
                $crate::wire::field::Record::read_any(reader)
            }

            #[inline]
            fn write<S: $crate::wire::msgpack::Sink>(
                &self,
                sink: &mut S,
            ) -> Result<(), $crate::wire::msgpack::Full> {
                let present = 0 $(+ $crate::wire::field::record!(@count self.$out $(, $optional)?))*;
                $crate::wire::msgpack::put_map_header(sink, present)?;
                $($crate::wire::field::record!(@put sink, $out_key, self.$out $(, $optional)?);)*
                Ok(())
            }
        }
    };
    (@take $ahead:ident, $left:ident, $key:literal, $message:ident.$field:ident) => {
        if !$ahead.key($crate::wire::field::record!(@sent $key)) {
            return None;
        }
        $crate::wire::field::record!(@value $ahead, $left, $message.$field);
    };
    (@take $ahead:ident, $left:ident, $key:literal, $message:ident.$field:ident, optional) => {
        if $ahead.key($crate::wire::field::record!(@sent $key)) {
            $crate::wire::field::record!(@value $ahead, $left, $message.$field);
        }
    };
    (@sent $key:literal) => {
        const { &$crate::wire::msgpack::with_header::<{ $key.len() }, { $key.len() + 1 }>($key) }
    };
    (@value $ahead:ident, $left:ident, $message:ident.$field:ident) => {
        $left = $left.checked_sub(1)?;
        $message.$field = $crate::wire::field::Field::read_sent($ahead)?;
    };
    (@count $value:expr) => { 1 };
    (@count $value:expr, optional) => { usize::from(!$crate::wire::field::Field::is_zero(&$value)) };
    (@put $sink:ident, $key:literal, $value:expr) => {
        $sink.put($crate::wire::field::record!(@sent $key))?;
        $crate::wire::field::Field::write(&$value, $sink)?
    };
    (@put $sink:ident, $key:literal, $value:expr, optional) => {
        if !$crate::wire::field::Field::is_zero(&$value) {
            $crate::wire::field::record!(@put $sink, $key, $value);
        }
    };
}

pub(crate) use record;
