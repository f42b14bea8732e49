//! Streams: read in pieces of any size, and written again.

use alloc::vec::Vec;

use super::layers::{layers, nonces};
use crate::wire::layers::Layers;
use crate::wire::lzw::Deflater;
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

/// What a reader may grow by in one call: more than it can ever need within the limits.
const BUDGET: usize = 1 << 20;

/// Calls after which a reader that says it has work to do must have done it.
const PATIENCE: usize = 1000;

/// A byte that selects the layers, one that selects the side that reads, one that selects how the bytes arrive, then what
/// arrives on the stream. The size of the pieces must not change what is read; and what was read can be written, by the
/// same layers, and is read as itself.
pub fn fuzz_stream(input: &[u8]) {
    let [selector, side, pieces, data @ ..] = input else { return };
    let layers = layers(*selector);
    let side = if side & 1 == 0 { Side::Accepting } else { Side::Opening };
    // Longer inputs only run into the limit, and that at different places.
    let data = &data[..data.len().min(LIMITS.received)];
    let at_once = read(&layers, side, data, &mut |left| left);
    let mut state = usize::from(*pieces);
    let in_pieces = read(&layers, side, data, &mut |_| {
        state = (state * 75 + 74) % 65_537;
        1 + state % (1 + usize::from(*pieces))
    });
    match (&at_once, &in_pieces) {
        // Which error comes first may depend on how much is there; that there is one may not.
        (Err(_), Err(_)) | (_, Err(StreamReadError::Dribble)) => {}
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
            let again = read(&layers, side, &out, &mut |left| left);
            assert_eq!(again.as_ref(), Ok(message), "what is written is not what is read");
        }
    }
}

/// Reads a stream to its end and returns the message without its layers.
fn read(
    layers: &Layers,
    side: Side,
    mut data: &[u8],
    piece: &mut dyn FnMut(usize) -> usize,
) -> Result<Vec<u8>, StreamReadError> {
    let mut reader = StreamReader::new(side, LIMITS);
    while !data.is_empty() {
        let len = piece(data.len()).min(data.len());
        let taken = reader.feed(layers, &data[..len], BUDGET)?;
        assert!(taken > 0 && taken <= len, "a reader with room takes what it is given");
        data = &data[taken..];
        settle(layers, &mut reader)?;
    }
    reader.finish()?;
    settle(layers, &mut reader)?;
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
fn settle(layers: &Layers, reader: &mut StreamReader) -> Result<(), StreamReadError> {
    for _ in 0..PATIENCE {
        // Room is doubled when a buffer grows, and a compressed message is held beside what it expands to.
        let most = 4 * (LIMITS.received + LIMITS.inflated) + 64 * 1024;
        assert!(reader.buffered() <= most, "holds {} bytes", reader.buffered());
        if reader.pending() == Pending::Nothing {
            return Ok(());
        }
        reader.feed(layers, &[], BUDGET)?;
    }
    panic!("a reader has work to do and never does it")
}
