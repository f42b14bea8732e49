//! Which address of this machine to tell others when it listens on all of them (spec 4.2).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::io;
use std::net::UdpSocket;

use if_addrs::IfOperStatus;

/// A private address of an interface that is up, that of the default route first; IPv4 before IPv6, which is considered
/// only if `v6`.
pub fn private_address(v6: bool) -> io::Result<Option<IpAddr>> {
    let up = |interface: &if_addrs::Interface| {
        // Virtual interfaces often do not report whether they are up.
        matches!(interface.oper_status, IfOperStatus::Up | IfOperStatus::Unknown) && !interface.is_loopback()
    };
    let found: Vec<IpAddr> =
        if_addrs::get_if_addrs()?.into_iter().filter(up).map(|interface| interface.ip()).collect();
    Ok(choose(&found, v6, default_route))
}

fn choose(found: &[IpAddr], v6: bool, default_route: impl Fn(bool) -> Option<IpAddr>) -> Option<IpAddr> {
    let of_family = |v6: bool| {
        let private: Vec<IpAddr> =
            found.iter().copied().filter(|ip| ip.is_ipv6() == v6 && is_private(*ip)).collect();
        default_route(v6).filter(|ip| private.contains(ip)).or_else(|| private.first().copied())
    };
    of_family(false).or_else(|| if v6 { of_family(true) } else { None })
}

/// Addresses that RFC 6890 reserves and that routers nevertheless forward.
fn is_private(ip: IpAddr) -> bool {
    let v4 = |network: Ipv4Addr, prefix: u32, ip: Ipv4Addr| {
        (ip.to_bits() ^ network.to_bits()).checked_shr(32 - prefix).unwrap_or(0) == 0
    };
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_private()
                || v4(Ipv4Addr::new(100, 64, 0, 0), 10, ip)
                || v4(Ipv4Addr::new(198, 18, 0, 0), 15, ip)
        }
        IpAddr::V6(ip) => is_unique_local(ip),
    }
}

fn is_unique_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xfe00 == 0xfc00
}

/// The address of the route that most traffic takes, if the machine has one.
fn default_route(v6: bool) -> Option<IpAddr> {
    let (any, far): (SocketAddr, SocketAddr) = if v6 {
        (([0u16; 8], 0).into(), ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9).into())
    } else {
        (([0u8; 4], 0).into(), ([192, 0, 2, 1], 9).into())
    };
    // Connecting a datagram socket sends nothing; it only makes the system choose a source address.
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(far).ok()?;
    socket.local_addr().ok().map(|addr| addr.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn knows_private_addresses() {
        for ip in
            ips(&["10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "100.127.255.255"])
        {
            assert!(is_private(ip), "{ip}");
        }
        for ip in ips(&["198.18.0.1", "198.19.255.255", "fc00::1", "fdff::1", "::ffff:10.0.0.1"]) {
            assert!(is_private(ip), "{ip}");
        }
        for ip in ips(&[
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "198.20.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "0.0.0.0",
        ]) {
            assert!(!is_private(ip), "{ip}");
        }
        for ip in ips(&["2001:db8::1", "fe80::1", "::1", "::", "fe00::1"]) {
            assert!(!is_private(ip), "{ip}");
        }
    }

    #[test]
    fn prefers_the_default_route_and_ipv4() {
        let found = ips(&["fd00::1", "1.2.3.4", "10.0.0.1", "192.168.1.1"]);
        let route = |ip: &'static str| move |v6: bool| (!v6).then(|| ip.parse().unwrap());
        assert_eq!(choose(&found, false, route("192.168.1.1")), Some(found[3]));
        assert_eq!(
            choose(&found, false, route("1.2.3.4")),
            Some(found[2]),
            "a public default route is not private"
        );
        assert_eq!(choose(&found, true, |_| None), Some(found[2]));
        assert_eq!(choose(&found[..2], true, |_| None), Some(found[0]));
        assert_eq!(choose(&found[..2], false, |_| None), None, "an IPv4 socket is not reached over IPv6");
    }
}
