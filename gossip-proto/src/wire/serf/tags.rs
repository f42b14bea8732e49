//! Tags, which a node carries as its memberlist meta (serf 1.2).
use crate::wire::field::{Field, Text};
use crate::wire::msgpack::{DecodeError, Full, Reader, Sink, put_map_header, put_raw};
use alloc::borrow::Cow;

/// The byte that meta starts with from Serf version 3 on. Before that, and from nodes that do not run Serf, meta is the
/// bare value of the tag `role`.
pub const TAGS_PREFIX: u8 = 0xff;

/// The tags in a node's meta, name and value; the last of a name counts. After an error there are no more, and those
/// before it hold: upstream keeps a map that was filled in part.
#[derive(Clone, Debug)]
pub struct Tags<'a> {
    state: State<'a>,
}

impl<'a> Tags<'a> {
    /// Starts at the first tag of `meta`, which of version 2 is always the role, perhaps empty.
    #[must_use]
    pub fn of(meta: &'a [u8]) -> Self {
        let state = match meta.split_first() {
            Some((&TAGS_PREFIX, _)) => State::Start(Reader::new_at(meta, 1)),
            _ => State::Role(meta),
        };
        Self { state }
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = Result<(Text<'a>, Text<'a>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let State::Start(reader) = &mut self.state {
            match count(reader) {
                Ok(left) => self.state = State::Pairs(reader.clone(), left),
                Err(error) => {
                    self.state = State::End;
                    return Some(Err(error));
                }
            }
        }
        match &mut self.state {
            State::Role(role) => {
                let role = Cow::Borrowed(*role);
                self.state = State::End;
                Some(Ok((Cow::Borrowed(b"role"), role)))
            }
            State::Pairs(reader, left) if *left > 0 => {
                *left -= 1;
                let pair = Field::read(reader);
                if pair.is_err() {
                    self.state = State::End;
                }
                Some(pair)
            }
            _ => None,
        }
    }
}

/// Encodes meta of version 3 and later.
///
/// # Errors
/// No room in `sink`.
pub fn encode_tags<S: Sink, Name: AsRef<[u8]>, Value: AsRef<[u8]>>(
    sink: &mut S,
    tags: impl ExactSizeIterator<Item = (Name, Value)>,
) -> Result<(), Full> {
    sink.put(&[TAGS_PREFIX])?;
    put_map_header(sink, tags.len())?;
    for (name, value) in tags {
        put_raw(sink, name.as_ref())?;
        put_raw(sink, value.as_ref())?;
    }
    Ok(())
}

#[derive(Clone, Debug)]
enum State<'a> {
    Role(&'a [u8]),
    Start(Reader<'a>),
    Pairs(Reader<'a>, usize),
    End,
}

/// How many tags are announced. Not compared with the bytes that remain, unlike everywhere else: nothing is allocated
/// for them, and those that are there count even if most are not.
fn count(reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let at = reader.position();
    match reader.byte()? {
        short @ 0x80..=0x8f => Ok(usize::from(short & 0x0f)),
        0xc0 => Ok(0),
        0xde => Ok(big_endian(reader.take(2)?)),
        0xdf => Ok(big_endian(reader.take(4)?)),
        found => Err(DecodeError::Type { at, found }),
    }
}

fn big_endian(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |value, &byte| (value << 8) | usize::from(byte))
}
