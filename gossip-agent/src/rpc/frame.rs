//! Objects out of a byte stream. There is no framing: an object ends where MessagePack says so.

use core::fmt;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use transport_tokio::gossip_proto::wire::msgpack::{DecodeError, Reader};

/// Reads one object after the other, each at most as long as allowed.
#[derive(Debug)]
pub(crate) struct Objects<R> {
    input: R,
    buffer: Vec<u8>,
    scan: Scan,
    limit: usize,
}

impl<R: AsyncRead + Unpin> Objects<R> {
    pub(crate) fn new(input: R, limit: usize) -> Self {
        Self { input, buffer: Vec::new(), scan: Scan::default(), limit }
    }

    /// Waits until something of the next object is there; false at the end. Safe to cancel.
    pub(crate) async fn ready(&mut self) -> io::Result<bool> {
        while self.buffer.is_empty() {
            if self.input.read_buf(&mut self.buffer).await? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The next object; `None` if the stream ends before one begins. Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        if !self.ready().await? {
            return Ok(None);
        }
        loop {
            if let Some(len) = self.scan.advance(&self.buffer, self.limit)? {
                let rest = self.buffer.split_off(len);
                self.scan = Scan::default();
                return Ok(Some(core::mem::replace(&mut self.buffer, rest)));
            }
            if self.input.read_buf(&mut self.buffer).await? == 0 {
                return Err(ReadError::Truncated);
            }
        }
    }
}

/// How far into an object the bytes reach. It goes on where it stopped, so that a peer that sends single bytes costs no
/// more than one that sends them at once.
#[derive(Debug)]
struct Scan {
    at: usize,
    /// Values that are still to come.
    owed: usize,
    /// Nothing can be complete before there are this many bytes.
    need: usize,
}

impl Default for Scan {
    fn default() -> Self {
        Self { at: 0, owed: 1, need: 1 }
    }
}

impl Scan {
    /// The length of the object once it is complete.
    fn advance(&mut self, bytes: &[u8], limit: usize) -> Result<Option<usize>, ReadError> {
        while self.owed > 0 {
            if bytes.len() < self.need {
                return Ok(None);
            }
            let mut reader = Reader::new_at(bytes, self.at).unlimited();
            // The head of a container is one step, and what is in it are further ones.
            let inside = match reader.rest().first() {
                Some(0x80..=0x8f | 0xde | 0xdf) => {
                    reader.map().map(|pairs| pairs.unwrap_or_default().saturating_mul(2))
                }
                Some(0x90..=0x9f | 0xdc | 0xdd) => reader.list().map(Option::unwrap_or_default),
                _ => reader.skip_value().map(|()| 0),
            };
            match inside {
                Ok(inside) => {
                    self.at = reader.position();
                    self.owed = (self.owed - 1).saturating_add(inside);
                    self.need = self.at.saturating_add(self.owed);
                }
                Err(DecodeError::Truncated { need }) => self.need = self.need.max(need),
                Err(error) => return Err(ReadError::Malformed(error)),
            }
            if self.need > limit {
                return Err(ReadError::TooLong);
            }
        }
        Ok(Some(self.at))
    }
}

/// Why there is no further object.
#[derive(Debug)]
pub(crate) enum ReadError {
    Io(io::Error),
    /// The stream ended inside one.
    Truncated,
    TooLong,
    Malformed(DecodeError),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Truncated => f.write_str("the connection ended in the middle of a message"),
            Self::TooLong => f.write_str("a message is longer than allowed"),
            Self::Malformed(error) => write!(f, "a message makes no sense: {error}"),
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(input: &[u8], limit: usize) -> (Vec<Vec<u8>>, Option<ReadError>) {
        let mut objects = Objects::new(input, limit);
        let mut found = Vec::new();
        loop {
            match objects.next().await {
                Ok(Some(object)) => found.push(object),
                Ok(None) => return (found, None),
                Err(error) => return (found, Some(error)),
            }
        }
    }

    #[tokio::test]
    async fn objects_are_told_apart() {
        let one: &[u8] = b"\x82\xa1a\x93\x01\xc4\x02xy\x80\xa1b\xda\x00\x01z";
        let (found, error) = all(&[one, b"\x05", one, b"\xc0"].concat(), 64).await;
        assert_eq!(found, [one, b"\x05", one, b"\xc0"]);
        assert!(error.is_none());
        let (found, error) = all(&one[..one.len() - 1], 64).await;
        assert!(found.is_empty() && matches!(error, Some(ReadError::Truncated)), "{error:?}");
    }

    #[test]
    fn every_prefix_is_incomplete_and_every_byte_is_looked_at_once() {
        let one: &[u8] = b"\x82\xa1a\x93\x01\xc4\x02xy\x80\xa1b\xda\x00\x01z";
        let mut scan = Scan::default();
        for len in 0..one.len() {
            assert!(scan.advance(&one[..len], 64).unwrap().is_none(), "{len}");
        }
        assert_eq!(scan.advance(one, 64).unwrap(), Some(one.len()));
    }

    #[test]
    fn it_ends_where_the_reader_ends() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..50_000 {
            // Few kinds of bytes, so that containers and strings close now and then.
            let bytes: Vec<u8> = (0..random.usize(1..24))
                .map(|_| {
                    *random.choice(b"\x00\x01\x82\x91\x93\xa1\xc0\xc4\xca\xd9\xdc\xde\xff").unwrap_or(&0)
                })
                .collect();
            let mut reader = Reader::new(&bytes).unlimited();
            let wanted = reader.skip_value().ok().map(|()| reader.position());
            let mut scan = Scan::default();
            let found = (1..=bytes.len()).find_map(|len| scan.advance(&bytes[..len], 1 << 20).ok().flatten());
            assert_eq!(found, wanted, "{bytes:x?}");
        }
    }

    #[tokio::test]
    async fn what_is_too_long_is_refused_as_soon_as_that_is_known() {
        for input in [
            &b"\xdb\xff\xff\xff\xff"[..],
            b"\xc6\x00\x00\x00\x40",
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\x80\x00\x00\x00",
            b"\x92\xdc\x00\x3e",
        ] {
            let (found, error) = all(input, 64).await;
            assert!(found.is_empty() && matches!(error, Some(ReadError::TooLong)), "{input:x?}: {error:?}");
        }
        let nested = [vec![0x91; 64], vec![0xc0]].concat();
        assert!(matches!(all(&nested, 64).await.1, Some(ReadError::TooLong)));
        assert_eq!(all(&nested, 65).await.0.len(), 1);
        assert!(matches!(all(b"\xc1", 64).await.1, Some(ReadError::Malformed(_))));
    }
}
