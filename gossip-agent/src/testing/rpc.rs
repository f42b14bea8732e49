//! RPC: objects are told apart however they arrive, and each is read as what it was written as.

use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use std::io;

use tokio::io::{AsyncRead, ReadBuf};

use crate::rpc::*;

/// Decodes an object, encodes the value, and checks that this decodes to the same bytes again. Values are compared by their
/// encodings, since a coordinate may hold a NaN.
fn settles<T: Value>(kind: &str, bytes: &[u8]) {
    let mut reader = Reader::new(bytes).unlimited();
    let Ok(value) = T::read(&mut reader) else { return };
    assert!(reader.position() <= bytes.len(), "{kind}: consumed more than there is");
    let mut first = Vec::new();
    value.write(&mut first);
    let mut reader = Reader::new(&first).unlimited();
    let again =
        T::read(&mut reader).unwrap_or_else(|error| panic!("{kind}: cannot be decoded again: {error}"));
    assert_eq!(reader.position(), first.len(), "{kind}: its own encoding is not taken whole");
    let mut second = Vec::new();
    again.write(&mut second);
    assert_eq!(first, second, "{kind}: changes with each encoding");
}

macro_rules! objects {
    ($($object:ident)*) => {
        /// What [`fuzz_rpc`] knows; the second byte of its input is the place in this list.
        pub const OBJECTS: &[&str] = &[$(stringify!($object)),*];

        fn check(kind: &str, bytes: &[u8]) {
            match kind {
                $(stringify!($object) => settles::<$object>(kind, bytes),)*
                _ => unreachable!("the kind comes from the list"),
            }
        }
    };
}

objects! {
    RequestHeader ResponseHeader HandshakeRequest AuthRequest EventRequest ForceLeaveRequest JoinRequest JoinResponse
    MembersFilteredRequest MembersResponse TagsRequest StreamRequest MonitorRequest StopRequest QueryRequest RespondRequest
    KeyRequest KeyResponse CoordinateRequest CoordinateResponse MemberRecord UserRecord QueryRecord AnswerRecord LogRecord
    Stats
}

/// A byte for how the bytes arrive, one that says as what the objects are read, and what arrives on a connection.
pub fn fuzz_rpc(input: &[u8]) {
    let [pieces, kind, data @ ..] = input else { return };
    // Longer ones run into the limit.
    let data = &data[..data.len().min(LIMIT)];
    let kind = OBJECTS[usize::from(*kind) % OBJECTS.len()];
    let (found, end) = arrive(Pieces { data, state: (*pieces).into(), most: (*pieces).into() });
    let mut reader = Reader::new(data).unlimited();
    for object in &found {
        let start = reader.position();
        assert!(reader.skip_value().is_ok(), "an object that the reader does not know");
        assert_eq!(object, &data[start..reader.position()], "objects are parted elsewhere");
        check(kind, object);
        if let Ok(header) = RequestHeader::decode(object) {
            let command = Command::parse(header.command.as_bytes());
            assert!(command.is_none_or(|command| command.name().as_bytes() == header.command.as_bytes()));
        }
    }
    let rest = reader.rest();
    match end {
        Ok(()) => assert!(rest.is_empty(), "bytes were left out"),
        Err(ReadError::Io(error)) => panic!("the connection does not fail: {error}"),
        Err(ReadError::Truncated | ReadError::TooLong | ReadError::Malformed(_)) => {
            assert!(reader.skip_value().is_err(), "a whole object is refused");
        }
    }
}

/// Reads objects until none follows.
fn arrive(pieces: Pieces<'_>) -> (Vec<Vec<u8>>, Result<(), ReadError>) {
    let mut objects = Objects::new(pieces, LIMIT);
    let mut found = Vec::new();
    loop {
        let mut context = Context::from_waker(Waker::noop());
        let next = pin!(objects.next()).poll(&mut context);
        match next {
            Poll::Ready(Ok(Some(object))) => found.push(object),
            Poll::Ready(Ok(None)) => return (found, Ok(())),
            Poll::Ready(Err(error)) => return (found, Err(error)),
            Poll::Pending => panic!("it waits, and everything is there"),
        }
    }
}

/// A connection on which bytes arrive in pieces of pseudo-random sizes.
struct Pieces<'d> {
    data: &'d [u8],
    state: usize,
    most: usize,
}

impl AsyncRead for Pieces<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.state = (self.state * 75 + 74) % 65_537;
        let len = (1 + self.state % (self.most + 1)).min(self.data.len()).min(buf.remaining());
        let (now, later) = self.data.split_at(len);
        buf.put_slice(now);
        self.data = later;
        Poll::Ready(Ok(()))
    }
}

/// Bytes of one object; a client's are allowed more.
const LIMIT: usize = 4096;
