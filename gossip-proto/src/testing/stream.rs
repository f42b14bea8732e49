//! Streams: read in pieces of any size, and written again.

use alloc::vec::Vec;

use super::layers::{layers, nonces};
use crate::wire::field::Record;
use crate::wire::label::{Found, Label};
use crate::wire::layers::Layers;
use crate::wire::lzw::Deflater;
use crate::wire::message::*;
use crate::wire::msgpack::Reader;
use crate::wire::stream::{
    Pending, Side, StreamLimits, StreamMessage, StreamReadError, StreamReader, write_stream,
};

/// Small, so that a fuzzer reaches them.
const LIMITS: StreamLimits = StreamLimits {
    received: 64 * 1024,
    inflated: 64 * 1024,
    nodes: 512,
    user_state: 4096,
    user_message: 4096,
};

/// More than a reader can ever need within the limits: of bytes in a piece, of memory to grow by, and of work.
const ALL: usize = 1 << 20;

/// Calls after which a reader that says it has work to do must have done it, a byte read or written in each, or a node.
const PATIENCE: usize = 2 * (LIMITS.received + LIMITS.inflated);

/// A byte that selects the layers, one that selects the side that reads, one that selects how the bytes arrive and how much
/// may be done at once, then what arrives on the stream. The size of the pieces, little memory and little work must not
/// change what is read; and what was read can be written, by the same layers, and is read as itself.
pub fn fuzz_stream(input: &[u8]) {
    let [selector, side, pieces, data @ ..] = input else { return };
    let layers = layers(*selector);
    let side = if side & 1 == 0 { Side::Accepting } else { Side::Opening };
    // Longer inputs only run into the limit, and that at different places.
    let data = &data[..data.len().min(LIMITS.received)];
    let at_once = read(&layers, side, data, &mut || ALL);
    let mut state = usize::from(*pieces);
    let in_pieces = read(&layers, side, data, &mut || {
        state = (state * 75 + 74) % 65_537;
        1 + state % (1 + usize::from(*pieces))
    });
    match (&at_once, &in_pieces) {
        // Which error comes first may depend on how much is there; that there is one may not.
        (Err(_), Err(_)) => {}
        (Ok(message), Err(StreamReadError::Dribble)) => {
            assert!(!is_as_sent(message) || !layers_are_as_sent(data), "few pieces are too many");
        }
        _ => assert_eq!(at_once, in_pieces, "the size of the pieces matters"),
    }
    if let Ok(message) = &at_once
        && !layers.skip_inbound_label_check
    {
        let mut out = Vec::new();
        let opener = side == Side::Accepting;
        if write_stream(&layers, opener, &[message], &mut nonces(), &mut Deflater::new(), &mut out).is_ok()
            && out.len() <= LIMITS.received
        {
            let again = read(&layers, side, &out, &mut || ALL);
            assert_eq!(again.as_ref(), Ok(message), "what is written is not what is read");
        }
    }
}

/// Whether a message has its fields as they are sent: only other keys, or the same ones over and over, take many attempts.
fn is_as_sent(message: &[u8]) -> bool {
    let Some((kind, body)) = message.split_first() else { return false };
    let mut ahead = Reader::new(body).ahead();
    match MessageType::from_byte(*kind) {
        Some(MessageType::Ping) => Ping::read_as_sent(&mut ahead).is_some(),
        Some(MessageType::Ack) => Ack::read_as_sent(&mut ahead).is_some(),
        Some(MessageType::Error) => ErrorReply::read_as_sent(&mut ahead).is_some(),
        Some(MessageType::User) => UserHeader::read_as_sent(&mut ahead).is_some(),
        Some(MessageType::Compressed) => Compressed::read_as_sent(&mut ahead).is_some(),
        Some(MessageType::PushPull) => PushPullHeader::read_as_sent(&mut ahead)
            .is_some_and(|header| (0..header.nodes).all(|_| NodeState::read_as_sent(&mut ahead).is_some())),
        _ => false,
    }
}

/// The same of what is around it. A sealed frame is waited for as a whole, so that what is in it does not come in pieces.
fn layers_are_as_sent(data: &[u8]) -> bool {
    let label = if let Ok(Found::Header(label)) = Label::find(data) { 2 + label.len() } else { 0 };
    data.get(label) != Some(&MessageType::Compressed.byte()) || is_as_sent(&data[label..])
}

/// Reads a stream to its end and returns the message without its layers. How many bytes there are in a piece, and how much
/// memory and work for it, is asked each time.
fn read(
    layers: &Layers,
    side: Side,
    mut data: &[u8],
    most: &mut dyn FnMut() -> usize,
) -> Result<Vec<u8>, StreamReadError> {
    let mut reader = StreamReader::new(side, LIMITS);
    while !data.is_empty() {
        let len = most().min(data.len());
        let taken = reader.feed_within(layers, &data[..len], most(), &mut most())?;
        assert!(taken > 0 && taken <= len, "a reader with room takes what it is given");
        data = &data[taken..];
        settle(layers, &mut reader, most)?;
    }
    reader.finish()?;
    settle(layers, &mut reader, most)?;
    let message = reader.message().expect("a stream that ended well had a message");
    let nodes = if let StreamMessage::PushPull { nodes, .. } = message { Some(nodes) } else { None };
    let opened = reader.opened().expect("a message has bytes").to_vec();
    if let Some(nodes) = nodes {
        let mut state = reader.take_push_pull().expect("a push/pull is there to be taken");
        assert!(
            state.nodes() == nodes && nodes <= LIMITS.nodes && state.user_state().len() <= LIMITS.user_state
        );
        for left in (0..nodes).rev() {
            assert!(
                state.next_node().is_some_and(|node| node.is_ok()),
                "a node state that was checked is bad"
            );
            assert_eq!(state.remaining(), left);
        }
        assert!(state.next_node().is_none());
    }
    Ok(opened)
}

/// Lets a reader finish the work that it has sliced.
fn settle(
    layers: &Layers,
    reader: &mut StreamReader,
    most: &mut dyn FnMut() -> usize,
) -> Result<(), StreamReadError> {
    for _ in 0..PATIENCE {
        // Room is doubled when a buffer grows, and a compressed message is held beside what it expands to.
        let room = 4 * (LIMITS.received + LIMITS.inflated) + 64 * 1024;
        assert!(reader.buffered() <= room, "holds {} bytes", reader.buffered());
        if reader.pending() == Pending::Nothing {
            return Ok(());
        }
        reader.feed_within(layers, &[], most(), &mut most())?;
    }
    panic!("a reader has work to do and never does it")
}
