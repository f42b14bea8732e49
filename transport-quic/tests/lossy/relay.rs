//! The network between nodes: an address for each, behind which what comes is held back for a while and handed on. Each
//! datagram draws its own delay, so that they overtake each other; streams stay in order.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::mpsc;

/// Each packet is held back for this long, and up to [`SPREAD`] longer.
pub(crate) const LEAST: Duration = Duration::from_millis(30);
pub(crate) const SPREAD: Duration = Duration::from_millis(40);

/// The address at which the others know a node.
pub(crate) struct Port {
    pub(crate) public: SocketAddr,
    listener: TcpListener,
    socket: UdpSocket,
}

impl Port {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let public = listener.local_addr().unwrap();
        let socket = UdpSocket::bind(public).await.unwrap();
        Self { public, listener, socket }
    }
}

/// Carries datagrams and streams to the nodes behind the ports until the runtime ends. What a node sends from its own
/// address comes from its port, as a network address translator does it.
pub(crate) fn run(ports: Vec<Port>, nodes: Vec<SocketAddr>) {
    let senders: HashMap<SocketAddr, usize> =
        nodes.iter().enumerate().map(|(at, &node)| (node, at)).collect();
    let senders = Arc::new(senders);
    let (listeners, sockets): (Vec<_>, Vec<_>) =
        ports.into_iter().map(|port| (port.listener, port.socket)).unzip();
    let sockets: Arc<[UdpSocket]> = sockets.into();
    for (number, (listener, node)) in listeners.into_iter().zip(nodes).enumerate() {
        tokio::spawn(streams(listener, node));
        tokio::spawn(datagrams(number, node, sockets.clone(), senders.clone()));
    }
}

async fn datagrams(
    number: usize,
    node: SocketAddr,
    sockets: Arc<[UdpSocket]>,
    senders: Arc<HashMap<SocketAddr, usize>>,
) {
    let mut draws = Draws(number as u64 + 1);
    let mut buffer = vec![0; 65_536];
    loop {
        let Ok((len, from)) = sockets[number].recv_from(&mut buffer).await else { continue };
        // Nobody else has a reason to send here.
        let Some(&sender) = senders.get(&from) else { continue };
        let (bytes, sockets, delay) = (buffer[..len].to_vec(), sockets.clone(), draws.delay());
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = sockets[sender].send_to(&bytes, node).await;
        });
    }
}

async fn streams(listener: TcpListener, node: SocketAddr) {
    while let Ok((near, _)) = listener.accept().await {
        tokio::spawn(async move {
            let Ok(far) = TcpStream::connect(node).await else { return };
            let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
            // What breaks in one direction breaks the other.
            let _ = tokio::try_join!(carry(near_read, far_write), carry(far_read, near_write));
        });
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) -> io::Result<()> {
    let (sender, mut held) = mpsc::channel::<(Instant, Vec<u8>)>(64);
    let read = async move {
        let mut buffer = vec![0; 16 << 10];
        loop {
            let len = from.read(&mut buffer).await?;
            let at = Instant::now() + LEAST + SPREAD / 2;
            if sender.send((at, buffer[..len].to_vec())).await.is_err() || len == 0 {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((at, bytes)) = held.recv().await {
            tokio::time::sleep_until(at.into()).await;
            match bytes.is_empty() {
                true => to.shutdown().await?,
                false => to.write_all(&bytes).await?,
            }
        }
        Ok(())
    };
    tokio::try_join!(read, write).map(|_: ((), ())| ())
}

/// A generator of delays (xorshift64).
struct Draws(u64);

impl Draws {
    fn delay(&mut self) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        LEAST + SPREAD * (self.0 >> 40) as u32 / (1 << 24)
    }
}
