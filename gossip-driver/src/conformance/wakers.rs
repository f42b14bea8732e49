//! That each method calls its own waker. A driver polls only what was woken: a waker that is forgotten, or taken for another,
//! is a node that hangs until something else happens.

use core::future::poll_fn;
use core::sync::atomic::{AtomicBool, Ordering};
use core::task::{Context, Poll, Waker};
use std::sync::Arc;
use std::task::Wake;

use atomic_waker::AtomicWaker;

use super::endpoint::{Bytes, accept, open, read_exact, write_all};
use super::lab::{Lab, both};
use super::streams::fill;
use super::{Factory, Outcome, ensure};
use crate::transport::{Stream, Transport};

/// A waker that says whether it was called.
#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        self.task.wake();
    }
}

impl Bell {
    /// Polls with this bell, until that is pending.
    fn silence<A>(self: &Arc<Self>, mut poll: impl FnMut(&mut Context<'_>) -> Poll<A>) -> usize {
        let waker = Waker::from(self.clone());
        let mut ready = 0;
        loop {
            self.rung.store(false, Ordering::SeqCst);
            if poll(&mut Context::from_waker(&waker)).is_pending() {
                return ready;
            }
            ready += 1;
        }
    }

    /// Waits for the bell; after each ring it is looked whether there is something, since it may ring for nothing.
    async fn rung_for<A>(self: &Arc<Self>, mut poll: impl FnMut(&mut Context<'_>) -> Poll<A>) -> A {
        let waker = Waker::from(self.clone());
        poll_fn(|cx| {
            self.task.register(cx.waker());
            if self.rung.swap(false, Ordering::SeqCst) {
                return poll(&mut Context::from_waker(&waker));
            }
            Poll::Pending
        })
        .await
    }
}

pub(super) async fn of_the_transport<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    lab.all_is_well(&mut a, &mut b).await?;
    let (stale, receive, accept_bell, event) = (
        Arc::new(Bell::default()),
        Arc::new(Bell::default()),
        Arc::new(Bell::default()),
        Arc::new(Bell::default()),
    );
    for _ in 0..3 {
        stale.silence(|cx| b.poll_receive(cx));
        receive.silence(|cx| b.poll_receive(cx));
        accept_bell.silence(|cx| b.transport.poll_accept(cx));
        event.silence(|cx| b.transport.poll_event(cx));
        let resend = async {
            loop {
                let datagram = a.datagram(20);
                a.send(b.addr, &datagram).await?;
                if lab
                    .until(core::time::Duration::from_millis(200), receive.rung_for(|cx| b.poll_receive(cx)))
                    .await
                    .is_some()
                {
                    return Ok::<_, String>(());
                }
            }
        };
        lab.within("poll_receive does not call its waker, the latest", resend).await??;

        let mut stream = a.transport.open(b.addr, None);
        let begin = async {
            open(&mut stream).await?;
            write_all(&mut stream, &[1; 8]).await
        };
        let accepted =
            both(begin, async { Ok(accept_bell.rung_for(|cx| b.transport.poll_accept(cx)).await) });
        lab.within("poll_accept does not call its waker", accepted).await??;
    }
    if let Some(size) = lab.can.oversize {
        // Of the endpoint that sends: nobody polls anything but sending after the bell was hung up.
        let large = a.datagram(size);
        event.silence(|cx| a.transport.poll_event(cx));
        let mut batch = crate::transport::SendBatch::new(size, 1);
        batch.compose(|buffer| {
            buffer[..size].copy_from_slice(&large);
            let id = gossip_proto::TransmitId::from_u64(1);
            Some(gossip_proto::Transmit {
                id,
                to: b.addr,
                peer: None,
                kind: gossip_proto::DatagramKind::Gossip,
                len: size,
            })
        });
        let send = poll_fn(|cx| {
            if a.transport.poll_send_ready(cx).is_pending() {
                return Poll::Pending;
            }
            a.transport.poll_send(cx, &mut batch)
        });
        lab.within("a datagram is never taken", send).await?;
        let heard = event.rung_for(|cx| a.transport.poll_event(cx));
        lab.within("poll_event does not call its waker", heard).await?;
    }
    Ok(())
}

pub(super) async fn of_a_stream<F: Factory>(lab: &Lab<'_, F>) -> Outcome {
    let (mut a, mut b) = lab.pair()?;
    let mut near = a.transport.open(b.addr, None);
    let opening = Arc::new(Bell::default());
    let waker = Waker::from(opening.clone());
    let mut opened = near.poll_open(&mut Context::from_waker(&waker));
    let begin = async {
        while opened.is_pending() {
            opened = opening
                .rung_for(|cx| match near.poll_open(cx) {
                    Poll::Pending => Poll::Pending,
                    ready => Poll::Ready(ready),
                })
                .await;
        }
        ensure!(matches!(opened, Poll::Ready(Ok(()))), "a stream could not be opened");
        write_all(&mut near, &[1; 8]).await
    };
    let begun = both(begin, async { Ok(accept(&mut b.transport).await) });
    let (mut far, _) = lab.within("poll_open does not call its waker", begun).await??;
    read_exact(&mut far, &mut [0; 8]).await?;

    let (stale, read, write) =
        (Arc::new(Bell::default()), Arc::new(Bell::default()), Arc::new(Bell::default()));
    let mut buf = [0; 64];
    stale.silence(|cx| near.poll_read(cx, &mut buf));
    read.silence(|cx| near.poll_read(cx, &mut buf));
    write_all(&mut far, &[2; 8]).await?;
    let heard = read.rung_for(|cx| near.poll_read(cx, &mut buf));
    let heard = lab.within("poll_read of a stream does not call its waker, the latest", heard).await?;
    ensure!(matches!(heard, Ok(1..)), "a stream could not be read: {heard:?}");

    // Both directions wait, each with its own waker, and the peer makes room only.
    let mut bytes = Bytes::new(1);
    let taken = fill(lab, &mut near, &mut bytes).await?;
    read.silence(|cx| near.poll_read(cx, &mut buf));
    let piece = [3; 1000];
    let more = write.silence(|cx| near.poll_write(cx, &piece));
    let make_room = async {
        let mut scratch = vec![0; 64 << 10];
        let mut left = taken;
        while left > 0 {
            let want = left.min(scratch.len());
            read_exact(&mut far, &mut scratch[..want]).await?;
            left -= want;
        }
        Ok(())
    };
    let room = both(make_room, async { Ok(write.rung_for(|cx| near.poll_write(cx, &piece)).await) });
    let room =
        lab.within("poll_write of a stream does not call its waker when there is room", room).await??;
    ensure!(matches!(room, Ok(1..)), "a stream could not be written after {more} pieces: {room:?}");
    Ok(())
}
