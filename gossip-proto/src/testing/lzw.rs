//! Compression, against the plainest decoder there is.

use alloc::vec;
use alloc::vec::Vec;

use super::arguments::Arguments;
use crate::wire::lzw::{ALGO_LZW, Deflater, FREE_CLEARS, InflateError, Inflater, Stop};
use crate::wire::message::{Compressed, MessageType};

/// Longer inputs show nothing new: the table of codes is full long before.
const MAX_INPUT: usize = 8 * 1024;

/// A limit of two bytes, the size of the pieces in which it is decompressed, and data: it is decompressed as it is, in one
/// piece and in several; and it is compressed and comes out again.
pub fn fuzz_lzw(input: &[u8]) {
    let mut arguments = Arguments::new(input);
    let limit = usize::from(u16::from_be_bytes(arguments.array()));
    let pieces = usize::from(arguments.byte()) + 1;
    let data = arguments.rest();
    let data = &data[..data.len().min(MAX_INPUT)];
    expand(data, limit, pieces);
    compress(data);
}

fn expand(data: &[u8], limit: usize, pieces: usize) {
    let mut out = b"before".to_vec();
    let result = Inflater::new().inflate(data, &mut out, limit);
    let out = out.strip_prefix(b"before").expect("what was there stays");
    assert!(out.len() <= limit, "{} bytes, and {limit} are allowed", out.len());
    let (mut plain, mut clears) = (Vec::new(), 0);
    let end = plain_counting(data, limit, &mut plain, &mut clears);
    // Data that clears its table again and again may be refused, and how soon depends on the pieces.
    if clears > FREE_CLEARS && result == Err(InflateError::InvalidCode) {
        return;
    }
    assert_eq!(result, end, "the plain decoder disagrees");
    // What came before an error may be more in one of them.
    if result.is_ok() {
        assert_eq!(out, plain, "the plain decoder has other bytes");
    }
    match expand_in_pieces(data, limit, pieces) {
        Ok(in_pieces) => {
            assert_eq!((Ok(()), out), (result, &in_pieces[..]), "the size of the pieces matters")
        }
        Err(InflateError::InvalidCode) if clears > FREE_CLEARS => {}
        Err(_) => assert!(result.is_err(), "in pieces it fails"),
    }
}

/// As a stream does it: input and output in pieces.
fn expand_in_pieces(mut data: &[u8], limit: usize, pieces: usize) -> Result<Vec<u8>, InflateError> {
    let (mut inflater, mut out, mut idle) = (Inflater::new(), Vec::new(), 0);
    loop {
        let room = (limit - out.len()).min(pieces);
        let given = &data[..data.len().min(pieces)];
        let (before, all) = (out.len(), given.len() == data.len());
        let step = inflater.step(given, &mut out, room)?;
        assert!(out.len() - before <= room && step.consumed <= given.len(), "more than there was room for");
        data = &data[step.consumed..];
        match step.stop {
            Stop::Ended => return Ok(out),
            Stop::Starved if all => return Err(InflateError::MissingEnd),
            Stop::Filled if out.len() == limit => {
                return inflater.expect_end(data, limit).map(|()| out);
            }
            Stop::Starved | Stop::Filled => {}
        }
        idle = if step.consumed == 0 && out.len() == before { idle + 1 } else { 0 };
        assert!(idle < 100, "it does not get on");
    }
}

fn compress(data: &[u8]) {
    let mut deflater = Deflater::new();
    let mut packed = Vec::new();
    deflater.append(&[data], &mut packed);
    assert_eq!(plain_lzw(&packed, data.len()), (data.to_vec(), Ok(())), "the plain decoder cannot read it");
    expand(&packed, data.len(), 1 + data.len() % 100);
    if let Some(short) = data.len().checked_sub(1) {
        let result = Inflater::new().inflate(&packed, &mut Vec::new(), short);
        assert_eq!(result, Err(InflateError::TooLarge { limit: short }), "one byte over the limit");
    }

    // In parts it is the same as in one.
    let (first, second) = data.split_at(data.len() / 3);
    let mut message = Vec::new();
    deflater.append_message(&[first, second], &mut message);
    assert_eq!(unwrapped(&message), data, "a message has changed");

    let mut packet = data.to_vec();
    let len = deflater.shrink(&mut packet, data.len());
    if len < data.len() {
        assert_eq!(unwrapped(&packet[..len]), data, "a packet has changed");
    } else {
        assert_eq!(packet, data, "what does not get smaller stays as it is");
    }
}

fn unwrapped(message: &[u8]) -> Vec<u8> {
    let (kind, body) = message.split_first().expect("a message");
    assert_eq!(*kind, MessageType::Compressed.byte());
    let (compressed, consumed) = Compressed::decode(body).expect("its own message");
    assert_eq!((compressed.algo, consumed), (ALGO_LZW, body.len()));
    let mut out = Vec::new();
    Inflater::new().inflate(&compressed.buf, &mut out, MAX_INPUT).expect("its own data");
    out
}

/// The decoder of spec 1.8 in its plainest form: how it ends, and what comes out until then.
pub(crate) fn plain_lzw(data: &[u8], limit: usize) -> (Vec<u8>, Result<(), InflateError>) {
    let mut out = Vec::new();
    let end = plain_counting(data, limit, &mut out, &mut 0);
    (out, end)
}

/// Also counts how often the table is cleared.
fn plain_counting(
    data: &[u8],
    limit: usize,
    out: &mut Vec<u8>,
    clears: &mut usize,
) -> Result<(), InflateError> {
    let mut bits = (0..data.len() * 8).map(|at| u16::from(data[at / 8] >> (at % 8) & 1));
    let mut table: Vec<Vec<u8>> = Vec::new();
    let (mut width, mut previous) = (9, None::<Vec<u8>>);
    loop {
        let mut code = 0u16;
        for bit in 0..width {
            code |= bits.next().ok_or(InflateError::MissingEnd)? << bit;
        }
        let word = match code {
            256 => {
                *clears += 1;
                (width, previous) = (9, None);
                table.clear();
                continue;
            }
            257 => return Ok(()),
            0..256 => vec![code as u8],
            _ => match (table.get(usize::from(code) - 258), &previous) {
                (Some(word), Some(_)) => word.clone(),
                (None, Some(previous))
                    if usize::from(code) - 258 == table.len() && table.len() < 4096 - 258 =>
                {
                    let mut word = previous.clone();
                    word.push(previous[0]);
                    word
                }
                _ => return Err(InflateError::InvalidCode),
            },
        };
        if out.len() + word.len() > limit {
            return Err(InflateError::TooLarge { limit });
        }
        out.extend_from_slice(&word);
        if let Some(mut entry) = previous.replace(word.clone())
            && table.len() < 4096 - 258
        {
            entry.push(word[0]);
            table.push(entry);
        }
        // Codes since the clear, this one included: one more than there are entries, as the first added none.
        let codes = if table.len() < 4096 - 258 { table.len() + 1 } else { 4096 };
        if 257 + codes >= 1 << width && width < 12 {
            width += 1;
        }
    }
}
