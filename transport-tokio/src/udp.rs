//! Datagrams over one UDP socket: received in batches (`recvmmsg`, GRO), runs to one destination sent at once (GSO).

use core::array;
use core::net::{IpAddr, SocketAddr};
use core::task::{Context, Poll, ready};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::UdpSocket as StdUdpSocket;

use gossip_driver::gossip_proto::{Source, Transmit, TransmitFailure};
use gossip_driver::{ReceiveBatch, SendBatch, TransportEvent};
use quinn_udp::{BATCH_SIZE, RecvMeta, UdpSocketState};
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::backoff::Backoff;

/// The socket, and what became of datagrams.
#[derive(Debug)]
pub(crate) struct Udp {
    socket: UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    events: VecDeque<TransportEvent>,
    backoff: Backoff,
}

impl Udp {
    pub(crate) fn new(socket: StdUdpSocket) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let state = UdpSocketState::new((&socket).into())?;
        // `UdpSocketState` turns fragmentation off, as QUIC wants it. Peers of memberlist send datagrams of 1400 bytes and
        // rely on the network to carry them over any path; so does this node.
        allow_fragments(&socket, local.is_ipv6());
        let socket = UdpSocket::from_std(socket)?;
        Ok(Self { socket, state, local, events: VecDeque::new(), backoff: Backoff::default() })
    }

    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Room for a whole batch of the largest datagrams.
    pub(crate) fn receive_memory(&self) -> usize {
        BATCH_SIZE * LARGEST
    }

    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>, batch: &mut ReceiveBatch) -> Poll<()> {
        ready!(self.backoff.poll_ready(cx));
        let mut asked = false;
        loop {
            let received = match self.socket.poll_recv_ready(cx) {
                Poll::Ready(Ok(())) => {
                    self.socket.try_io(Interest::READABLE, || receive(&self.state, &self.socket, batch))
                }
                Poll::Ready(Err(error)) => Err(error),
                // The reactor has announced nothing, but it may be behind: after the process was stopped, timers come
                // before sockets, and nobody may be judged by a timer whose answer lies in the socket.
                Poll::Pending if !asked => receive(&self.state, &self.socket, batch),
                Poll::Pending => return Poll::Pending,
            };
            asked = true;
            match received {
                Ok(()) if batch.is_empty() => {}
                Ok(()) => {
                    self.backoff.succeed();
                    return Poll::Ready(());
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                // What a peer's host answers to an earlier datagram (Windows) is no failure of the socket.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::Interrupted) => {
                }
                Err(_) => {
                    self.backoff.fail();
                    ready!(self.backoff.poll_ready(cx));
                }
            }
        }
    }

    pub(crate) fn poll_send_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.socket.poll_send_ready(cx).map(drop)
    }

    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>, batch: &mut SendBatch) -> Poll<()> {
        let mut limit = self.state.max_gso_segments();
        while let Some((first, count, contents)) = batch.run(limit) {
            let Some(destination) = self.reachable(first.to) else {
                self.failed(*first, TransmitFailure::Unreachable);
                batch.advance(1);
                continue;
            };
            let transmit = quinn_udp::Transmit {
                destination,
                ecn: None,
                contents,
                segment_size: (count > 1).then_some(first.len),
                src_ip: None,
            };
            // A socket that cannot even be polled says so again, and more precisely, when it is used.
            let _ = ready!(self.socket.poll_send_ready(cx));
            let send = || self.state.try_send((&self.socket).into(), &transmit);
            match self.socket.try_io(Interest::WRITABLE, send) {
                Ok(()) => {
                    batch.advance(count);
                    limit = self.state.max_gso_segments();
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                // Segmentation may be what failed; and if not, each datagram has a right to its own verdict.
                Err(_) if count > 1 => limit = 1,
                Err(error) => {
                    self.failed(*first, failure(&error, destination));
                    batch.advance(1);
                }
            }
        }
        Poll::Ready(())
    }

    pub(crate) fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    pub(crate) fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    /// The destination as this socket must be given it; `None` if its kind of address cannot be reached from here.
    fn reachable(&self, to: SocketAddr) -> Option<SocketAddr> {
        match (self.local, to) {
            (SocketAddr::V6(_), SocketAddr::V4(to)) => {
                Some(SocketAddr::new(IpAddr::V6(to.ip().to_ipv6_mapped()), to.port()))
            }
            (SocketAddr::V4(_), SocketAddr::V6(_)) => None,
            _ => Some(to),
        }
    }

    fn failed(&mut self, transmit: Transmit, why: TransmitFailure) {
        self.events.push_back(TransportEvent::TransmitFailed { id: transmit.id, why });
    }
}

fn receive(state: &UdpSocketState, socket: &UdpSocket, batch: &mut ReceiveBatch) -> io::Result<()> {
    let mut meta = [RecvMeta::default(); BATCH_SIZE];
    let mut chunks = batch.memory().chunks_exact_mut(LARGEST);
    let mut buffers: [_; BATCH_SIZE] = array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
    let count = state.recv(socket.into(), &mut buffers, &mut meta)?;
    for (index, meta) in meta.iter().enumerate().take(count) {
        let addr = SocketAddr::new(meta.addr.ip().to_canonical(), meta.addr.port());
        let source = Source::unauthenticated(canonical(meta.addr, addr));
        let (start, end) = (index * LARGEST, index * LARGEST + meta.len.min(LARGEST));
        for from in (start..end).step_by(meta.stride.max(1)) {
            batch.push(source, from..end.min(from + meta.stride));
        }
    }
    Ok(())
}

/// Scopes matter for link-local addresses alone; elsewhere they would make one peer look like two.
fn canonical(received: SocketAddr, unmapped: SocketAddr) -> SocketAddr {
    match received {
        SocketAddr::V6(mut addr) if addr.ip().is_unicast_link_local() => {
            addr.set_flowinfo(0);
            addr.into()
        }
        _ => unmapped,
    }
}

fn failure(error: &io::Error, destination: SocketAddr) -> TransmitFailure {
    if quinn_udp::is_msg_size_err(error) {
        return TransmitFailure::TooBig(if destination.is_ipv4() { LARGEST_V4 } else { LARGEST_V6 });
    }
    match error.kind() {
        ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::ConnectionRefused
        | ErrorKind::InvalidInput
        | ErrorKind::AddrNotAvailable => TransmitFailure::Unreachable,
        _ => TransmitFailure::Local,
    }
}

#[cfg(unix)]
fn allow_fragments(socket: &StdUdpSocket, v6: bool) {
    use std::os::fd::AsRawFd;

    let fd = socket.as_raw_fd();
    let set = |level: libc::c_int, option: libc::c_int, value: libc::c_int| {
        let length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: the descriptor is open as long as `socket` is borrowed, and the value is an integer of that length.
        // Failure leaves the option as it was: then large datagrams need a path that carries them whole.
        let _ = unsafe { libc::setsockopt(fd, level, option, (&raw const value).cast(), length) };
    };
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        set(libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_WANT);
        if v6 {
            set(libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_WANT);
        }
    }
    #[cfg(any(target_os = "freebsd", target_vendor = "apple"))]
    if !v6 {
        set(libc::IPPROTO_IP, libc::IP_DONTFRAG, 0);
    }
    if v6 {
        set(libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 0);
    }
}

#[cfg(not(unix))]
fn allow_fragments(_: &StdUdpSocket, _: bool) {}

/// Any datagram fits, and so does any train of them that the kernel merges.
const LARGEST: usize = 65_536;
/// What the length fields allow: that of IPv4 counts its own header, that of IPv6 does not.
const LARGEST_V4: usize = 65_535 - 20 - 8;
const LARGEST_V6: usize = 65_535 - 8;
