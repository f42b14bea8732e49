//! What rides on a ping's ack: the sender's network coordinate (serf 6.7).
use crate::wire::field::{Field, record};
use crate::wire::msgpack::{DecodeError, Full, Reader, Sink, put_array_header, put_f64};
use core::ops::{Deref, DerefMut};
use smallvec::SmallVec;

/// The only version of the payload of acks.
pub const PING_VERSION: u8 = 1;

/// A coordinate of more dimensions is refused: upstream has 8, and no node could use another number.
pub const MAX_DIMENSIONS: usize = 16;

record! {
    /// A position in the latency space.
    pub struct Coordinate {
        /// Euclidean part, in seconds.
        b"Vec" => vec: Vector,
        /// How far off the sender believes to be, without a unit.
        b"Error" => error: f64,
        /// Correction of estimates, in seconds.
        b"Adjustment" => adjustment: f64,
        /// Distance from the space itself, in seconds.
        b"Height" => height: f64,
    }
    emits { b"Adjustment" => adjustment, b"Error" => error, b"Height" => height, b"Vec" => vec, }
}

/// The Euclidean part of a [`Coordinate`]: at most [`MAX_DIMENSIONS`] when it was received.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Vector(pub SmallVec<[f64; 8]>);

impl Deref for Vector {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        &self.0
    }
}

impl DerefMut for Vector {
    fn deref_mut(&mut self) -> &mut [f64] {
        &mut self.0
    }
}

impl<'a> Field<'a> for Vector {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let at = reader.position();
        let dimensions = reader.list()?.unwrap_or_default();
        if dimensions > MAX_DIMENSIONS {
            return Err(DecodeError::Range { at });
        }
        let mut vector = SmallVec::new();
        for _ in 0..dimensions {
            vector.push(reader.f64()?);
        }
        Ok(Self(vector))
    }

    fn write<S: Sink>(&self, sink: &mut S) -> Result<(), Full> {
        put_array_header(sink, self.0.len())?;
        self.0.iter().try_for_each(|part| put_f64(sink, *part))
    }
}

/// The payload of an ack: a version byte, then the coordinate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PingPayload {
    /// Where the sender is.
    pub coordinate: Coordinate,
}

impl PingPayload {
    /// Decodes a whole payload; bytes after it are left alone.
    ///
    /// # Errors
    /// An empty payload, another version than [`PING_VERSION`], or bytes that are no coordinate.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(payload);
        match reader.byte()? {
            PING_VERSION => Ok(Self { coordinate: Field::read(&mut reader)? }),
            found => Err(DecodeError::Type { at: 0, found }),
        }
    }

    /// Encodes the whole payload.
    ///
    /// # Errors
    /// No room in `sink`.
    pub fn encode<S: Sink>(&self, sink: &mut S) -> Result<(), Full> {
        sink.put(&[PING_VERSION])?;
        self.coordinate.write(sink)
    }
}
