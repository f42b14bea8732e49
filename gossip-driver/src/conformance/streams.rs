//! One stream at a time, and thousands.

use core::cell::Cell;
use core::future::poll_fn;
use core::task::Poll;
use core::time::Duration;

use super::crowd::Crowd;
use super::endpoint::{
    Bytes, accept, close, open, read_exact, read_some, read_to_end, try_read, try_write, write_all,
    write_some,
};
use super::lab::{Lab, REQUEST, beside, both};
use super::{Factory, Outcome, ensure};
use crate::transport::{Stream, Transport};

pub(super) async fn request_and_reply<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    for _ in 0..3 {
        lab.exchange(&mut a, &mut b).await?;
        lab.exchange(&mut b, &mut a).await?;
    }
    Ok(())
}

pub(super) async fn one_byte_at_a_time<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    let drip = async |stream: &mut <F::Transport as Transport>::Stream, key: u64| {
        for byte in Bytes::new(key).take(DRIPS) {
            write_all(stream, &[byte]).await?;
        }
        Ok::<_, String>(())
    };
    let drink = async |stream: &mut <F::Transport as Transport>::Stream, key: u64| {
        let mut bytes = Bytes::new(key);
        for _ in 0..DRIPS {
            let mut one = [0];
            read_exact(stream, &mut one).await?;
            bytes.verify(&one)?;
        }
        Ok::<_, String>(())
    };
    let mut stream = a.transport.open(b.addr, None);
    let ask = async {
        open(&mut stream).await?;
        drip(&mut stream, 1).await?;
        drink(&mut stream, 2).await?;
        close(&mut stream).await;
        Ok(())
    };
    let answer = async {
        let (mut stream, _) = accept(&mut b.transport).await;
        drink(&mut stream, 1).await?;
        drip(&mut stream, 2).await?;
        close(&mut stream).await;
        Ok(())
    };
    lab.within("single bytes do not get through", both(ask, answer)).await?
}

pub(super) async fn huge<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    let mut stream = a.transport.open(b.addr, None);
    let near = async {
        open(&mut stream).await?;
        pump(&mut stream, (1, HUGE), (2, HUGE)).await?;
        close(&mut stream).await;
        Ok(())
    };
    let far = async {
        let (mut stream, _) = accept(&mut b.transport).await;
        pump(&mut stream, (2, HUGE), (1, HUGE)).await?;
        close(&mut stream).await;
        Ok(())
    };
    lab.within("20 MiB in both directions stand still", both(near, far)).await?
}

pub(super) async fn stalled_reader<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    let mut stream = a.transport.open(b.addr, None);
    let begin = async {
        open(&mut stream).await?;
        write_all(&mut stream, &Bytes::new(9).take(8)).await
    };
    let begun = both(begin, async { Ok(accept(&mut b.transport).await) });
    let (mut accepted, _) = lab.within("a stream does not come about", begun).await??;
    read_exact(&mut accepted, &mut [0; 8]).await?;
    let mut bytes = Bytes::new(1);
    let taken = fill(lab, &mut stream, &mut bytes).await?;
    let more = 1 << 20;
    let go_on = async {
        let mut left = more;
        while left > 0 {
            let piece = bytes.take(left.min(CHUNK));
            write_all(&mut stream, &piece).await?;
            left -= piece.len();
        }
        close(&mut stream).await;
        Ok(())
    };
    let read = async {
        let read = read_to_end(&mut accepted, &mut Bytes::new(1)).await?;
        ensure!(read == taken + more, "{read} of {} bytes arrived", taken + more);
        close(&mut accepted).await;
        Ok(())
    };
    lab.within("a writer that had to wait does not go on", both(go_on, read)).await?
}

/// Writes until the stream takes nothing more; says how many bytes it took.
pub(super) async fn fill<F: Factory>(
    lab: &Lab<'_, F>,
    stream: &mut <F::Transport as Transport>::Stream,
    bytes: &mut Bytes,
) -> Outcome<usize> {
    let mut taken = 0;
    loop {
        let mark = *bytes;
        let piece = bytes.take(CHUNK);
        match lab.until(FULL, write_some(stream, &piece)).await {
            Some(len) => {
                let len = len?;
                *bytes = mark;
                bytes.take(len);
                taken += len;
            }
            None => {
                *bytes = mark;
                return Ok(taken);
            }
        }
        ensure!(
            taken <= lab.can.stream_buffer,
            "a stream whose peer does not read took {taken} bytes, more than {}",
            lab.can.stream_buffer
        );
    }
}

pub(super) async fn reset_in_the_middle<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    // Also when the reader has read all there was: then only how the stream ends tells a whole message from half of one.
    for read_first in [10_000, 100_000] {
        let (mut a, mut b) = lab.pair()?;
        let mut stream = a.transport.open(b.addr, None);
        let write = async {
            open(&mut stream).await?;
            write_all(&mut stream, &Bytes::new(5).take(100_000)).await
        };
        let mut bytes = Bytes::new(5);
        let read = async {
            let (mut stream, _) = accept(&mut b.transport).await;
            let mut first = vec![0; read_first];
            read_exact(&mut stream, &mut first).await?;
            bytes.verify(&first)?;
            Ok(stream)
        };
        // Whether it has taken all of it by then is the transport's affair.
        let mut accepted = lab.within("a stream does not come about", beside(write, read)).await??;
        drop(stream);
        let rest = async {
            let mut buf = [0; 4096];
            loop {
                match try_read(&mut accepted, &mut buf).await {
                    Ok(0) => {
                        return Err(String::from(
                            "a stream that was broken off looks as if it had ended well",
                        ));
                    }
                    Ok(len) => bytes.verify(&buf[..len])?,
                    Err(_) => return Ok(()),
                }
            }
        };
        lab.within("a reader waits for a stream that was broken off", rest).await??;
    }
    Ok(())
}

pub(super) async fn reset_reaches_writer<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    let mut stream = a.transport.open(b.addr, None);
    let write = async {
        open(&mut stream).await?;
        write_all(&mut stream, &[1; 1000]).await
    };
    let read = async {
        let (mut stream, _) = accept(&mut b.transport).await;
        read_exact(&mut stream, &mut [0; 10]).await
    };
    lab.within("a stream does not come about", both(write, read)).await??;
    let piece = vec![1; CHUNK];
    let mut taken = 0;
    let write_on = async {
        while let Ok(len) = try_write(&mut stream, &piece).await {
            taken += len;
            ensure!(
                taken <= lab.can.stream_buffer,
                "{taken} bytes were taken by a stream that the peer has dropped"
            );
            lab.pause(Duration::from_millis(1)).await;
        }
        Ok(())
    };
    lab.within("a writer waits for a peer that has dropped the stream", write_on).await?
}

pub(super) async fn close_delivers<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    let mut stream = a.transport.open(b.addr, None);
    let near = async {
        open(&mut stream).await?;
        write_all(&mut stream, &[7; 50_000]).await?;
        let read = read_to_end(&mut stream, &mut Bytes::new(3)).await?;
        ensure!(
            read == REPLY,
            "{read} of the {REPLY} bytes arrived that were written before the stream was closed"
        );
        let mut buf = [0; 16];
        // One look: what ended has ended. Whether it says so once more or fails is its own affair.
        let again = poll_fn(|cx| Poll::Ready(stream.poll_read(cx, &mut buf))).await;
        ensure!(!matches!(again, Poll::Ready(Ok(1..))), "bytes came after the end of a stream");
        close(&mut stream).await;
        Ok(())
    };
    let far = async {
        let (mut stream, _) = accept(&mut b.transport).await;
        // Most of the request stays unread.
        read_exact(&mut stream, &mut [0; 10]).await?;
        write_all(&mut stream, &Bytes::new(3).take(REPLY)).await?;
        close(&mut stream).await;
        Ok(())
    };
    lab.within("a stream is not closed in good order", both(near, far)).await?
}

pub(super) async fn finish_ends_one_direction<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    let mut stream = a.transport.open(b.addr, None);
    let near = async {
        open(&mut stream).await?;
        write_all(&mut stream, &Bytes::new(1).take(REQUEST)).await?;
        stream.finish();
        let read = read_to_end(&mut stream, &mut Bytes::new(2)).await?;
        ensure!(read == REPLY, "{read} of {REPLY} bytes arrived after the other direction had ended");
        close(&mut stream).await;
        Ok(())
    };
    let far = async {
        let (mut stream, _) = accept(&mut b.transport).await;
        let mut request = [0; REQUEST];
        read_exact(&mut stream, &mut request).await?;
        Bytes::new(1).verify(&request)?;
        if lab.can.half_close {
            let more = read_some(&mut stream, &mut request).await?;
            ensure!(more == 0, "bytes came after `finish`");
        } else {
            let more = lab.until(FULL, try_read(&mut stream, &mut request)).await;
            ensure!(
                more.is_none(),
                "`finish` is seen by the peer ({more:?}), which cannot tell it from an end"
            );
        }
        write_all(&mut stream, &Bytes::new(2).take(REPLY)).await?;
        close(&mut stream).await;
        Ok(())
    };
    lab.within("`finish` leaves somebody waiting", both(near, far)).await?
}

pub(super) async fn thousands<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    let count = lab.can.streams;
    // Counted up to a number, so that this ends in any case; each stream has as many of them.
    let steps = &Cell::new(0);
    let step = move || steps.set(steps.get() + 1);
    let mut crowd = Crowd::new();
    for number in 0..count as u64 {
        let mut stream = a.transport.open(b.addr, None);
        crowd.push(async move {
            let failed = |what: String| format!("one of {count} streams: {what}");
            open(&mut stream).await.map_err(failed)?;
            step();
            let mut bytes = Bytes::new(number);
            let mut request = number.to_le_bytes().to_vec();
            request.extend(bytes.take(REQUEST));
            write_all(&mut stream, &request).await.map_err(failed)?;
            step();
            let read = read_to_end(&mut stream, &mut bytes).await.map_err(failed)?;
            step();
            ensure!(read == REQUEST, "one of {count} streams got {read} of {REQUEST} bytes");
            close(&mut stream).await;
            Ok(())
        });
    }
    let run = poll_fn(|cx| {
        // All are accepted before any is answered to its end, so that all are open at once.
        while let Poll::Ready((mut stream, _)) = b.transport.poll_accept(cx) {
            step();
            crowd.push(async move {
                let mut number = [0; 8];
                read_exact(&mut stream, &mut number).await?;
                step();
                let mut bytes = Bytes::new(u64::from_le_bytes(number));
                let mut request = [0; REQUEST];
                read_exact(&mut stream, &mut request).await?;
                bytes.verify(&request)?;
                write_all(&mut stream, &bytes.take(REQUEST)).await?;
                close(&mut stream).await;
                Ok(())
            });
        }
        crowd.poll(cx)
    });
    lab.within_each(&format!("some of {count} streams stand still"), steps, run).await??;
    lab.all_is_well(&mut a, &mut b).await
}

/// Writes and reads at the same time.
async fn pump<S: Stream>(stream: &mut S, write: (u64, usize), read: (u64, usize)) -> Outcome {
    let (mut out, mut unwritten) = (Bytes::new(write.0), write.1);
    let (mut into, mut unread) = (Bytes::new(read.0), read.1);
    let mut piece = Vec::new();
    let mut buf = vec![0; CHUNK];
    poll_fn(|cx| {
        loop {
            let mut moved = false;
            if piece.is_empty() {
                piece = out.take(unwritten.min(CHUNK));
            }
            if !piece.is_empty()
                && let Poll::Ready(taken) = stream.poll_write(cx, &piece)
            {
                let taken = taken.map_err(|why| format!("a huge stream could not be written: {why:?}"))?;
                ensure_poll(
                    taken > 0 && taken <= piece.len(),
                    "a stream takes more than it was given, or nothing",
                )?;
                piece.drain(..taken);
                unwritten -= taken;
                moved = true;
            }
            if unread > 0
                && let Poll::Ready(len) = stream.poll_read(cx, &mut buf)
            {
                let len = len.map_err(|why| format!("a huge stream could not be read: {why:?}"))?;
                ensure_poll(len > 0, "a huge stream ended too early")?;
                ensure_poll(len <= unread, "a huge stream is longer than what was written")?;
                into.verify(&buf[..len])?;
                unread -= len;
                moved = true;
            }
            if unwritten == 0 && unread == 0 {
                return Poll::Ready(Ok(()));
            }
            if !moved {
                return Poll::Pending;
            }
        }
    })
    .await
}

fn ensure_poll(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(what.into()) }
}

const CHUNK: usize = 64 << 10;
const DRIPS: usize = 3000;
/// As much as a machine takes in one exchange.
const HUGE: usize = 20 << 20;
const REPLY: usize = 100_000;
/// A stream that has taken nothing for this long is full.
const FULL: Duration = Duration::from_millis(100);
