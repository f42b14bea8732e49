//! The sockets of one set of interfaces: one for each group, which hears everybody's questions, and one for each interface
//! and family to ask from.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use if_addrs::{IfAddr, IfOperStatus};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// A network interface, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interface {
    index: u32,
    v4: Vec<(Ipv4Addr, Ipv4Addr)>,
    v6: Vec<(Ipv6Addr, Ipv6Addr)>,
}

/// The interfaces to use: the one of that name, or all that are up and lead somewhere.
pub(super) fn interfaces(wanted: Option<&str>, families: Families) -> io::Result<Vec<Interface>> {
    let mut found: BTreeMap<String, Interface> = BTreeMap::new();
    for interface in if_addrs::get_if_addrs()? {
        let up = matches!(interface.oper_status, IfOperStatus::Up | IfOperStatus::Unknown);
        let use_it = match wanted {
            Some(name) => interface.name == name,
            None => up && !interface.is_loopback(),
        };
        if !use_it || (found.len() == MAX_INTERFACES && !found.contains_key(&interface.name)) {
            continue;
        }
        let index = interface.index.unwrap_or(0);
        let entry =
            found.entry(interface.name).or_insert(Interface { index, v4: Vec::new(), v6: Vec::new() });
        match interface.addr {
            IfAddr::V4(addr) if families.v4 => entry.v4.push((addr.ip, addr.netmask)),
            IfAddr::V6(addr) if families.v6 => entry.v6.push((addr.ip, addr.netmask)),
            _ => {}
        }
    }
    Ok(found.into_values().filter(|interface| !interface.v4.is_empty() || !interface.v6.is_empty()).collect())
}

/// Which families of addresses are used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Families {
    pub(super) v4: bool,
    pub(super) v6: bool,
}

/// A datagram that came.
pub(super) struct Heard {
    pub(super) packet: Vec<u8>,
    pub(super) from: SocketAddr,
    /// Whom to answer by, if it came to a group.
    pub(super) group: Option<Arc<UdpSocket>>,
}

/// Open sockets; they close when it is dropped.
pub(super) struct Sockets {
    interfaces: Vec<Interface>,
    probes: Vec<(Arc<UdpSocket>, SocketAddr)>,
    heard: Receiver<Heard>,
    /// What could not be opened.
    pub(super) problems: Vec<String>,
    _readers: JoinSet<()>,
}

impl Sockets {
    /// Opens what can be opened. Fails if nothing can.
    pub(super) fn open(interfaces: Vec<Interface>) -> io::Result<Self> {
        let (sender, heard) = channel(WAITING);
        let mut sockets =
            Self { interfaces, probes: Vec::new(), heard, problems: Vec::new(), _readers: JoinSet::new() };
        let interfaces = sockets.interfaces.clone();
        let (mut groups, mut last) = (0, None);
        for (v6, group) in [(false, group_v4 as fn(&[Interface]) -> _), (true, group_v6)] {
            if interfaces.iter().any(|interface| interface.has(v6)) {
                match group(&interfaces) {
                    Ok(socket) => {
                        groups += 1;
                        sockets.read(socket, true, &sender);
                    }
                    Err(error) => sockets.problem(v6, error, &mut last),
                }
            }
        }
        for interface in &interfaces {
            for v6 in [false, true] {
                match interface.probe(v6) {
                    Some(Ok((socket, to))) => {
                        let socket = sockets.read(socket, false, &sender);
                        sockets.probes.push((socket, to));
                    }
                    Some(Err(error)) => sockets.problem(v6, error, &mut last),
                    None => {}
                }
            }
        }
        match last {
            Some(error) if groups == 0 || sockets.probes.is_empty() => Err(error),
            None if sockets.probes.is_empty() => Err(io::Error::other("no network interface can be used")),
            _ => Ok(sockets),
        }
    }

    pub(super) fn interfaces(&self) -> &[Interface] {
        &self.interfaces
    }

    /// Sends to the groups, from each interface.
    pub(super) async fn ask(&self, question: &[u8]) {
        for (socket, to) in &self.probes {
            if let Err(error) = socket.send_to(question, to).await {
                tracing::debug!("agent: mdns: cannot ask {to}: {error}");
            }
        }
    }

    /// The next datagram. Safe to cancel.
    pub(super) async fn recv(&mut self) -> Option<Heard> {
        self.heard.recv().await
    }

    /// Whether an address is in a network of one of the interfaces: who is not there cannot have asked by multicast, and
    /// is the victim of whoever forged its address (RFC 6762, section 11).
    pub(super) fn is_near(&self, ip: IpAddr) -> bool {
        self.interfaces.iter().any(|interface| match ip.to_canonical() {
            IpAddr::V4(ip) => interface
                .v4
                .iter()
                .any(|(own, mask)| own.to_bits() & mask.to_bits() == ip.to_bits() & mask.to_bits()),
            IpAddr::V6(ip) => interface
                .v6
                .iter()
                .any(|(own, mask)| own.to_bits() & mask.to_bits() == ip.to_bits() & mask.to_bits()),
        })
    }

    fn problem(&mut self, v6: bool, error: io::Error, last: &mut Option<io::Error>) {
        self.problems.push(format!("{}: {error}", if v6 { "IPv6" } else { "IPv4" }));
        *last = Some(error);
    }

    fn read(&mut self, socket: UdpSocket, group: bool, heard: &Sender<Heard>) -> Arc<UdpSocket> {
        let socket = Arc::new(socket);
        self._readers.spawn(read(socket.clone(), group, heard.clone()));
        socket
    }
}

async fn read(socket: Arc<UdpSocket>, group: bool, heard: Sender<Heard>) {
    let mut buffer = vec![0; MAX_PACKET];
    while !heard.is_closed() {
        match socket.recv_from(&mut buffer).await {
            Ok((len, from)) => {
                let group = group.then(|| socket.clone());
                // One that finds no room is lost, as datagrams are.
                let _ = heard.try_send(Heard { packet: buffer[..len].to_vec(), from, group });
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

impl Interface {
    fn has(&self, v6: bool) -> bool {
        if v6 { !self.v6.is_empty() } else { !self.v4.is_empty() }
    }

    /// A socket to ask from, and where to.
    fn probe(&self, v6: bool) -> Option<io::Result<(UdpSocket, SocketAddr)>> {
        if !self.has(v6) {
            return None;
        }
        Some(if v6 { self.probe_v6() } else { self.probe_v4(self.v4[0].0) })
    }

    fn probe_v4(&self, own: Ipv4Addr) -> io::Result<(UdpSocket, SocketAddr)> {
        let socket = udp(Domain::IPV4)?;
        socket.set_multicast_if_v4(&own)?;
        socket.set_multicast_ttl_v4(HOPS)?;
        socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)).into())?;
        Ok((tokio(socket)?, (GROUP_V4, PORT).into()))
    }

    fn probe_v6(&self) -> io::Result<(UdpSocket, SocketAddr)> {
        let socket = udp(Domain::IPV6)?;
        socket.set_only_v6(true)?;
        socket.set_multicast_if_v6(self.index)?;
        socket.set_multicast_hops_v6(HOPS)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())?;
        Ok((tokio(socket)?, SocketAddrV6::new(GROUP_V6, PORT, 0, self.index).into()))
    }
}

fn group_v4(interfaces: &[Interface]) -> io::Result<UdpSocket> {
    let socket = udp(Domain::IPV4)?;
    share(&socket)?;
    // Bound to the group, so that datagrams to the machine itself stay with its own mDNS responder.
    let own = if cfg!(unix) { GROUP_V4 } else { Ipv4Addr::UNSPECIFIED };
    socket.bind(&SocketAddr::from((own, PORT)).into())?;
    let members = interfaces.iter().filter_map(|interface| interface.v4.first());
    join(members.map(|(own, _)| socket.join_multicast_v4(&GROUP_V4, own)))?;
    tokio(socket)
}

fn group_v6(interfaces: &[Interface]) -> io::Result<UdpSocket> {
    let socket = udp(Domain::IPV6)?;
    share(&socket)?;
    socket.set_only_v6(true)?;
    socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)).into())?;
    let members = interfaces.iter().filter(|interface| !interface.v6.is_empty());
    join(members.map(|interface| socket.join_multicast_v6(&GROUP_V6, interface.index)))?;
    tokio(socket)
}

/// One interface that can be joined is enough.
fn join(results: impl Iterator<Item = io::Result<()>>) -> io::Result<()> {
    let mut last = Err(io::ErrorKind::AddrNotAvailable.into());
    for result in results {
        if result.is_ok() || last.is_err() {
            last = result;
        }
    }
    last
}

fn udp(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The port is everybody's.
fn share(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_address(true)?;
    #[cfg(all(unix, not(target_os = "linux")))]
    socket.set_reuse_port(true)?;
    Ok(())
}

fn tokio(socket: Socket) -> io::Result<UdpSocket> {
    UdpSocket::from_std(socket.into())
}

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
const PORT: u16 = 5353;
const HOPS: u32 = 255;
/// Longest message (RFC 6762, section 17).
const MAX_PACKET: usize = 9000;
/// Datagrams that may wait.
const WAITING: usize = 64;
const MAX_INTERFACES: usize = 16;
const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_neighbours_are_answered() {
        let interface = Interface {
            index: 1,
            v4: vec![("10.1.2.3".parse().unwrap(), "255.255.255.0".parse().unwrap())],
            v6: vec![("fd00::1".parse().unwrap(), "ffff:ffff:ffff:ffff::".parse().unwrap())],
        };
        let sockets = Sockets {
            interfaces: vec![interface],
            probes: Vec::new(),
            heard: channel(1).1,
            problems: Vec::new(),
            _readers: JoinSet::new(),
        };
        for (ip, near) in [
            ("10.1.2.77", true),
            ("::ffff:10.1.2.77", true),
            ("10.1.3.1", false),
            ("192.0.2.1", false),
            ("fd00::77", true),
            ("fd00:0:0:1::1", false),
        ] {
            assert_eq!(sockets.is_near(ip.parse().unwrap()), near, "{ip}");
        }
    }
}
