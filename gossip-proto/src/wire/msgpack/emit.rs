//! The one form in which values are written (memberlist 2.1, serf 0.1).
use alloc::vec::Vec;
use core::fmt;

/// Where encoders write: a packet buffer, a growing vector, or only a count.
pub trait Sink {
    /// Appends `bytes` whole, or fails.
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full>;
}

/// The buffer is too small; what it holds afterwards is unspecified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the buffer is too small for the message")
    }
}

impl core::error::Error for Full {}

/// Writes into a lent buffer, from its start.
#[derive(Debug)]
pub struct SliceSink<'b> {
    buf: &'b mut [u8],
    len: usize,
}

impl<'b> SliceSink<'b> {
    /// Starts at the beginning of `buf`.
    pub fn new(buf: &'b mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been written yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that still fit.
    #[must_use]
    pub fn room(&self) -> usize {
        self.buf.len() - self.len
    }
}

impl Sink for SliceSink<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        let end = self.len.checked_add(bytes.len()).ok_or(Full)?;
        self.buf.get_mut(self.len..end).ok_or(Full)?.copy_from_slice(bytes);
        self.len = end;
        Ok(())
    }
}

impl Sink for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.extend_from_slice(bytes);
        Ok(())
    }
}

/// Measures an encoding without writing it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count(pub usize);

impl Sink for Count {
    #[inline]
    fn put(&mut self, bytes: &[u8]) -> Result<(), Full> {
        self.0 += bytes.len();
        Ok(())
    }
}

/// Emits `nil`.
#[inline]
pub fn put_nil<S: Sink>(sink: &mut S) -> Result<(), Full> {
    sink.put(&[0xc0])
}

/// Emits a boolean.
#[inline]
pub fn put_bool<S: Sink>(sink: &mut S, value: bool) -> Result<(), Full> {
    sink.put(&[0xc2 | u8::from(value)])
}

/// Emits an unsigned field in its shortest form.
#[inline]
pub fn put_uint<S: Sink>(sink: &mut S, value: u64) -> Result<(), Full> {
    match value {
        0..=0x7f => sink.put(&[value as u8]),
        0x80..=0xff => sink.put(&[0xcc, value as u8]),
        0x100..=0xffff => put_be(sink, 0xcd, (value as u16).to_be_bytes()),
        0x1_0000..=0xffff_ffff => put_be(sink, 0xce, (value as u32).to_be_bytes()),
        _ => put_be(sink, 0xcf, value.to_be_bytes()),
    }
}

/// Emits a signed field as current upstream does: signed forms even for positive values, and 128..=255 in two bytes
/// (memberlist 2.1, serf 0.1 rule 6).
#[inline]
pub fn put_int<S: Sink>(sink: &mut S, value: i64) -> Result<(), Full> {
    match value {
        -0x20..=0x7f => sink.put(&[value as u8]),
        -0x80..=-0x21 => sink.put(&[0xd0, value as u8]),
        -0x8000..=0x7fff => put_be(sink, 0xd1, (value as i16).to_be_bytes()),
        -0x8000_0000..=0x7fff_ffff => put_be(sink, 0xd2, (value as i32).to_be_bytes()),
        _ => put_be(sink, 0xd3, value.to_be_bytes()),
    }
}

/// Emits a float; the dialect knows only the 8-byte form.
#[inline]
pub fn put_f64<S: Sink>(sink: &mut S, value: f64) -> Result<(), Full> {
    put_be(sink, 0xcb, value.to_be_bytes())
}

/// Emits a string, key or byte string. Only the old raw family exists on the gossip wire: nodes with the 0.5 codec
/// reject a whole message over one `bin` where they expect a string.
///
/// # Errors
/// [`Full`] also for more than 4 GiB, which no form can carry.
#[inline]
pub fn put_raw<S: Sink>(sink: &mut S, bytes: &[u8]) -> Result<(), Full> {
    put_length(sink, bytes.len(), Forms { short: 0xa0, below: 32, two: 0xda, four: 0xdb })?;
    sink.put(bytes)
}

/// Emits the header of a map of `pairs` entries.
#[inline]
pub fn put_map_header<S: Sink>(sink: &mut S, pairs: usize) -> Result<(), Full> {
    put_length(sink, pairs, Forms { short: 0x80, below: 16, two: 0xde, four: 0xdf })
}

/// Emits the header of an array of `items` elements.
#[inline]
pub fn put_array_header<S: Sink>(sink: &mut S, items: usize) -> Result<(), Full> {
    put_length(sink, items, Forms { short: 0x90, below: 16, two: 0xdc, four: 0xdd })
}

#[inline]
fn put_length<S: Sink>(sink: &mut S, len: usize, forms: Forms) -> Result<(), Full> {
    if len < forms.below {
        sink.put(&[forms.short | len as u8])
    } else if let Ok(len) = u16::try_from(len) {
        put_be(sink, forms.two, len.to_be_bytes())
    } else {
        put_be(sink, forms.four, u32::try_from(len).map_err(|_| Full)?.to_be_bytes())
    }
}

/// First bytes of the forms that carry a length inside (if it is `below`), in two and in four bytes.
struct Forms {
    short: u8,
    below: usize,
    two: u8,
    four: u8,
}

#[inline]
fn put_be<S: Sink, const N: usize>(sink: &mut S, first: u8, value: [u8; N]) -> Result<(), Full> {
    // In one piece: each needs its own look at the room that is left.
    match value[..] {
        [a, b] => sink.put(&[first, a, b]),
        [a, b, c, d] => sink.put(&[first, a, b, c, d]),
        _ => {
            sink.put(&[first])?;
            sink.put(&value)
        }
    }
}
