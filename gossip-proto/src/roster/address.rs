//! Addresses: the bytes that came over the wire, and what is reached by them.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An IP address in the form it was received in. memberlist compares these bytes, so that `10.0.0.1` in 4 bytes and
/// in 16 bytes are different addresses for the same name; both forms are kept and re-sent as they came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct WireAddr {
    bytes: [u8; 16],
    len: u8,
}

impl WireAddr {
    /// `None` unless there are 4 or 16 bytes.
    pub(crate) fn new(raw: &[u8]) -> Option<Self> {
        if raw.len() != 4 && raw.len() != 16 {
            return None;
        }
        let mut bytes = [0; 16];
        bytes[..raw.len()].copy_from_slice(raw);
        Some(Self { bytes, len: raw.len() as u8 })
    }

    /// The form we send of our own address: 4 bytes for IPv4.
    pub(crate) fn from_ip(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::new(&ip.octets()),
            IpAddr::V6(ip) => Self::new(&ip.octets()),
        }
        .unwrap_or(Self { bytes: [0; 16], len: 4 })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    pub(crate) fn ip(&self) -> IpAddr {
        if self.len == 4 {
            let [a, b, c, d, ..] = self.bytes;
            return IpAddr::V4(Ipv4Addr::new(a, b, c, d));
        }
        IpAddr::V6(Ipv6Addr::from(self.bytes)).to_canonical()
    }

    pub(crate) fn socket(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(), port)
    }

    /// Whether [`socket`](Self::socket) is that, which is asked for each packet.
    #[inline]
    pub(crate) fn is(&self, port: u16, addr: SocketAddr) -> bool {
        match addr {
            SocketAddr::V4(v4) if self.len == 4 => port == v4.port() && self.bytes[..4] == v4.ip().octets(),
            _ => self.socket(port) == addr,
        }
    }
}

impl fmt::Debug for WireAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip(), self.len)
    }
}

/// The form used for comparison and sending: IPv4-mapped unmapped, no flow label; the scope only where it matters,
/// on link-local addresses.
#[inline]
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(_) => addr,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), v6.port()),
            None => {
                let scope = if v6.ip().is_unicast_link_local() { v6.scope_id() } else { 0 };
                SocketAddr::V6(core::net::SocketAddrV6::new(*v6.ip(), v6.port(), 0, scope))
            }
        },
    }
}
