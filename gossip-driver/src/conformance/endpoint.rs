//! An endpoint under test, what is done with it and with its streams, and bytes that show what became of them.

use core::future::poll_fn;
use core::net::SocketAddr;
use core::task::{Context, Poll};

use gossip_proto::{DatagramKind, Source, StreamFailure, Transmit, TransmitFailure, TransmitId};

use super::{Outcome, ensure};
use crate::transport::{ReceiveBatch, SendBatch, Stream, Transport, TransportEvent};

/// Bytes of which each place has its own, so that what is lost, moved or repeated shows.
#[derive(Clone, Copy)]
pub(super) struct Bytes {
    key: u64,
    at: u64,
}

impl Bytes {
    pub(super) fn new(key: u64) -> Self {
        Self { key, at: 0 }
    }

    pub(super) fn take(&mut self, len: usize) -> Vec<u8> {
        let key = self.key;
        let bytes = (self.at..self.at + len as u64).map(|at| byte(key, at)).collect();
        self.at += len as u64;
        bytes
    }

    /// Whether these come next.
    pub(super) fn verify(&mut self, received: &[u8]) -> Outcome {
        for &found in received {
            ensure!(
                found == byte(self.key, self.at),
                "byte {} of a stream is not the one that was written",
                self.at
            );
            self.at += 1;
        }
        Ok(())
    }

    /// A datagram that says its own number, if it is long enough. None is the beginning of a longer one, so that one that was cut
    /// off shows.
    fn datagram(number: u64, len: usize) -> Vec<u8> {
        let mut bytes = Self::new(number ^ (len as u64) << 40).take(len);
        if let Some(head) = bytes.get_mut(..8) {
            head.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    pub(super) fn verify_datagram(bytes: &[u8]) -> Outcome {
        let Some(head) = bytes.first_chunk() else { return Ok(()) };
        let number = u64::from_le_bytes(*head);
        ensure!(
            bytes == Self::datagram(number, bytes.len()),
            "a datagram of {} bytes arrived changed",
            bytes.len()
        );
        Ok(())
    }
}

fn byte(key: u64, at: u64) -> u8 {
    ((key.wrapping_add(at)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

pub(super) struct Endpoint<T> {
    pub(super) transport: T,
    pub(super) addr: SocketAddr,
    /// Where it was before it moved.
    before: Option<SocketAddr>,
    /// Datagrams that were said not to have been sent, and why.
    pub(super) failed: Vec<(TransmitId, TransmitFailure)>,
    received: ReceiveBatch,
    number: u64,
}

impl<T: Transport> Endpoint<T> {
    pub(super) fn new(transport: T) -> Self {
        let addr = transport.local_addr();
        let received = ReceiveBatch::new(transport.receive_memory());
        // Numbers of two endpoints differ, for as long as a check lasts.
        let number = u64::from(addr.port()) << 32;
        Self { transport, addr, before: None, failed: Vec::new(), received, number }
    }

    /// It has moved; where it was before.
    pub(super) fn moved(&mut self) -> SocketAddr {
        let before = core::mem::replace(&mut self.addr, self.transport.local_addr());
        self.before = Some(before);
        before
    }

    /// Whether that is what others may know it by: who has known it before it moved may go on calling it by that address.
    pub(super) fn is(&self, addr: SocketAddr) -> bool {
        addr == self.addr || self.before == Some(addr)
    }

    /// A number that nothing else of this check has.
    pub(super) fn mark(&mut self) -> u64 {
        self.number += 2;
        self.number
    }

    /// A datagram like no other.
    pub(super) fn datagram(&mut self, len: usize) -> Vec<u8> {
        Bytes::datagram(self.mark(), len)
    }

    pub(super) async fn send(&mut self, to: SocketAddr, datagram: &[u8]) -> Outcome<TransmitId> {
        Ok(self.send_all(&[(to, datagram)]).await?[0])
    }

    /// Sends them, in batches as large as a driver's.
    pub(super) async fn send_all<D: AsRef<[u8]>>(
        &mut self,
        datagrams: &[(SocketAddr, D)],
    ) -> Outcome<Vec<TransmitId>> {
        let largest = datagrams.iter().map(|(_, bytes)| bytes.as_ref().len()).max().unwrap_or(0);
        let mut batch = SendBatch::new(largest, BATCH);
        let mut ids = Vec::new();
        let mut rest = datagrams.iter();
        loop {
            while !batch.is_full()
                && let Some((to, bytes)) = rest.next()
            {
                let (id, bytes) = (TransmitId::from_u64(self.mark()), bytes.as_ref());
                ids.push(id);
                batch.compose(|buffer| {
                    buffer[..bytes.len()].copy_from_slice(bytes);
                    Some(Transmit { id, to: *to, peer: None, kind: DatagramKind::Gossip, len: bytes.len() })
                });
            }
            if batch.is_empty() {
                return Ok(ids);
            }
            let before = batch.len();
            poll_fn(|cx| {
                // As a driver does: it goes on hearing of what became of datagrams while the socket is full.
                if let Err(what) = self.poll_events(cx) {
                    return Poll::Ready(Err(what));
                }
                if self.transport.poll_send_ready(cx).is_pending() {
                    return Poll::Pending;
                }
                self.transport.poll_send(cx, &mut batch).map(Ok)
            })
            .await?;
            ensure!(batch.is_empty(), "poll_send was ready with {} of {before} datagrams left", batch.len());
        }
    }

    /// Takes what the transport reports.
    pub(super) fn poll_events(&mut self, cx: &mut Context<'_>) -> Outcome {
        while let Poll::Ready(event) = self.transport.poll_event(cx) {
            match event {
                TransportEvent::TransmitFailed { id, why } => self.failed.push((id, why)),
                TransportEvent::Failed { error } => return Err(format!("the transport has failed: {error}")),
                TransportEvent::PathMtu { .. }
                | TransportEvent::PathClosed { .. }
                | TransportEvent::PeerRefused { .. }
                | TransportEvent::TransmitDelayed { .. } => {}
            }
        }
        Ok(())
    }

    /// Waits until a datagram is said not to have been sent, and says why not.
    pub(super) async fn failure_of(&mut self, id: TransmitId) -> Outcome<TransmitFailure> {
        poll_fn(|cx| {
            self.poll_events(cx)?;
            match self.failed.iter().find(|(failed, _)| *failed == id) {
                Some((_, why)) => Poll::Ready(Ok(*why)),
                None => Poll::Pending,
            }
        })
        .await
    }

    pub(super) async fn receive(&mut self) -> (Source, Vec<u8>) {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<(Source, Vec<u8>)> {
        loop {
            if let Some((source, bytes)) = self.received.pop() {
                return Poll::Ready((source, bytes.to_vec()));
            }
            if self.transport.poll_receive(cx, &mut self.received).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

pub(super) async fn accept<T: Transport>(transport: &mut T) -> (T::Stream, Source) {
    let (mut stream, source) = poll_fn(|cx| transport.poll_accept(cx)).await;
    // An accepted stream is open; only its first use would tell if it were not.
    let _ = poll_fn(|cx| stream.poll_open(cx)).await;
    (stream, source)
}

pub(super) async fn open<S: Stream>(stream: &mut S) -> Outcome {
    poll_fn(|cx| stream.poll_open(cx)).await.map_err(|why| format!("a stream could not be opened: {why:?}"))
}

pub(super) async fn try_write<S: Stream>(stream: &mut S, bytes: &[u8]) -> Result<usize, StreamFailure> {
    poll_fn(|cx| stream.poll_write(cx, bytes)).await
}

pub(super) async fn write_some<S: Stream>(stream: &mut S, bytes: &[u8]) -> Outcome<usize> {
    let taken =
        try_write(stream, bytes).await.map_err(|why| format!("a stream could not be written: {why:?}"))?;
    ensure!(
        (1..=bytes.len()).contains(&taken),
        "a stream that was given {} bytes says that it has taken {taken}",
        bytes.len()
    );
    Ok(taken)
}

pub(super) async fn write_all<S: Stream>(stream: &mut S, mut bytes: &[u8]) -> Outcome {
    while !bytes.is_empty() {
        bytes = &bytes[write_some(stream, bytes).await?..];
    }
    Ok(())
}

pub(super) async fn try_read<S: Stream>(stream: &mut S, buf: &mut [u8]) -> Result<usize, StreamFailure> {
    poll_fn(|cx| stream.poll_read(cx, buf)).await
}

pub(super) async fn read_some<S: Stream>(stream: &mut S, buf: &mut [u8]) -> Outcome<usize> {
    let len = try_read(stream, buf).await.map_err(|why| format!("a stream could not be read: {why:?}"))?;
    ensure!(len <= buf.len(), "{len} bytes were read into {}", buf.len());
    Ok(len)
}

pub(super) async fn read_exact<S: Stream>(stream: &mut S, buf: &mut [u8]) -> Outcome {
    let mut filled = 0;
    while filled < buf.len() {
        let len = read_some(stream, &mut buf[filled..]).await?;
        ensure!(len > 0, "a stream ended after {filled} of {} bytes", buf.len());
        filled += len;
    }
    Ok(())
}

/// Reads and verifies to the end of the stream; says how many bytes came.
pub(super) async fn read_to_end<S: Stream>(stream: &mut S, bytes: &mut Bytes) -> Outcome<usize> {
    let mut buf = vec![0; 16 << 10];
    let mut total = 0;
    loop {
        let len = read_some(stream, &mut buf).await?;
        if len == 0 {
            return Ok(total);
        }
        bytes.verify(&buf[..len])?;
        total += len;
    }
}

pub(super) async fn close<S: Stream>(stream: &mut S) {
    poll_fn(|cx| stream.poll_close(cx)).await;
}

/// Datagrams handed over at once, as the driver does.
const BATCH: usize = 32;
