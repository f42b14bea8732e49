//! Streams without a network: what is written at one end can be read at the other after [`LATENCY`].

use std::io;

use gossip_bench::peers::cluster::LATENCY;
use memberlist_core::proto::{ProtoReader, ProtoWriter};
use memberlist_core::transport::Connection;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep_until};

/// One end.
pub struct Stream(Reader, Writer);

/// What the other end has written.
pub struct Reader {
    segments: UnboundedReceiver<Segment>,
    bytes: Vec<u8>,
    read: usize,
}

/// What the other end can read; nothing is, once it is closed.
pub struct Writer(Option<UnboundedSender<Segment>>);

/// Bytes, and when they are there.
type Segment = (Instant, Vec<u8>);

/// Both ends of a stream.
pub fn ends() -> (Stream, Stream) {
    let (near, there) = unbounded_channel();
    let (far, here) = unbounded_channel();
    let reader = |segments| Reader { segments, bytes: Vec::new(), read: 0 };
    (Stream(reader(here), Writer(Some(near))), Stream(reader(there), Writer(Some(far))))
}

impl Stream {
    /// All that the other end writes until it closes.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        while self.0.fill().await {}
        self.0.bytes.split_off(self.0.read)
    }
}

impl Reader {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.read..]
    }

    /// Waits for more; says whether there is any.
    async fn fill(&mut self) -> bool {
        let Some((due, bytes)) = self.segments.recv().await else { return false };
        sleep_until(due).await;
        self.bytes.drain(..self.read);
        self.read = 0;
        self.bytes.extend(bytes);
        true
    }
}

impl ProtoReader for Reader {
    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.peek(buf).await?;
        self.read += read;
        Ok(read)
    }

    async fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.peek_exact(buf).await?;
        self.read += buf.len();
        Ok(())
    }

    async fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.rest().is_empty() && self.fill().await {}
        let len = self.rest().len().min(buf.len());
        buf[..len].copy_from_slice(&self.rest()[..len]);
        Ok(len)
    }

    async fn peek_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        while self.rest().len() < buf.len() {
            if !self.fill().await {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        buf.copy_from_slice(&self.rest()[..buf.len()]);
        Ok(())
    }
}

impl ProtoWriter for Writer {
    async fn close(&mut self) -> io::Result<()> {
        self.0 = None;
        Ok(())
    }

    async fn write_all(&mut self, payload: &[u8]) -> io::Result<()> {
        let segment = (Instant::now() + LATENCY, payload.to_vec());
        let sent = self.0.as_ref().is_some_and(|segments| segments.send(segment).is_ok());
        if sent { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Connection for Stream {
    type Reader = Reader;
    type Writer = Writer;

    fn split(self) -> (Reader, Writer) {
        (self.0, self.1)
    }

    async fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf).await
    }

    async fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.0.read_exact(buf).await
    }

    async fn peek(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.peek(buf).await
    }

    async fn peek_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        self.0.peek_exact(buf).await
    }

    async fn write_all(&mut self, payload: &[u8]) -> io::Result<()> {
        self.1.write_all(payload).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        self.1.flush().await
    }

    async fn close(&mut self) -> io::Result<()> {
        self.1.close().await
    }
}
