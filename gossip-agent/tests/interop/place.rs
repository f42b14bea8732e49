//! Where agents run: loopback addresses that nobody else uses, and pairs of network namespaces.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use core::time::Duration;
use std::net::TcpListener;
use std::process::{self, Command};
use std::sync::OnceLock;

use crate::wait::wait_until;

/// An address to bind to and, if it is not reachable from here, how to get there.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) addr: SocketAddr,
    pub(crate) rpc: SocketAddr,
    namespace: Option<String>,
}

impl Place {
    /// A loopback address of its own, so that every agent keeps Serf's default ports.
    pub(crate) fn loopback() -> Self {
        static BLOCK: OnceLock<(u8, TcpListener)> = OnceLock::new();
        static NEXT: AtomicU8 = AtomicU8::new(1);
        // A listener that stays open marks the block as taken for other runs of these tests.
        let (block, _) = BLOCK.get_or_init(|| {
            let first = process::id() % 250;
            (0..250)
                .map(|step| ((first + step) % 250) as u8)
                .find_map(|block| Some((block, TcpListener::bind((ip(block, 254), LOCK_PORT)).ok()?)))
                .expect("a block of loopback addresses that no other run uses")
        });
        let host = NEXT.fetch_add(1, Ordering::Relaxed);
        assert!(host < 254, "out of loopback addresses");
        let ip = IpAddr::V4(ip(*block, host));
        Self { addr: SocketAddr::new(ip, SERF_PORT), rpc: SocketAddr::new(ip, RPC_PORT), namespace: None }
    }

    /// A port on the IPv6 loopback address: there is only one, so the ports must differ.
    pub(crate) fn loopback_v6() -> Self {
        // Held together, so that they are two.
        let free =
            [0; 2].map(|port| TcpListener::bind((Ipv6Addr::LOCALHOST, port)).expect("a free port on ::1"));
        let [addr, rpc] = free.map(|listener| listener.local_addr().expect("the address of a listener"));
        Self { addr, rpc, namespace: None }
    }

    /// The words to put before a program so that it runs here.
    pub(crate) fn prefix(&self) -> Vec<&str> {
        match &self.namespace {
            Some(namespace) => vec!["ip", "netns", "exec", namespace],
            None => Vec::new(),
        }
    }
}

/// Two network namespaces with a cable between them, removed on drop.
pub(crate) struct Cable {
    left: String,
    right: String,
    /// The names of its ends.
    pub(crate) ends: [String; 2],
    ports: AtomicU16,
}

impl Cable {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU8 = AtomicU8::new(0);
        // Several tests may have one at a time.
        let id = format!("{}x{}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let cable = Self {
            left: format!("gossip{id}l"),
            right: format!("gossip{id}r"),
            ends: [format!("gl{id}"), format!("gr{id}")],
            ports: AtomicU16::new(SERF_PORT),
        };
        let (left, right) = (cable.left.as_str(), cable.right.as_str());
        let [end, other_end] = &cable.ends;
        run(&["ip", "netns", "add", left]);
        run(&["ip", "netns", "add", right]);
        run(&[
            "ip", "link", "add", end, "netns", left, "type", "veth", "peer", "name", other_end, "netns",
            right,
        ]);
        for (namespace, device, address) in [(left, end, LEFT_IP), (right, other_end, RIGHT_IP)] {
            run(&["ip", "-n", namespace, "address", "add", &format!("{address}/24"), "dev", device]);
            run(&["ip", "-n", namespace, "link", "set", device, "up"]);
            run(&["ip", "-n", namespace, "link", "set", "lo", "up"]);
        }
        cable
    }

    /// Makes it the way to everywhere, and waits until IPv6 may be used: Go joins a group only on an interface that has a
    /// route to it, and an address that may be a duplicate cannot be sent from.
    pub(crate) fn leads_everywhere(&self) {
        for (namespace, end) in [(&self.left, &self.ends[0]), (&self.right, &self.ends[1])] {
            run(&["ip", "-n", namespace, "route", "add", "default", "dev", end]);
            wait_until("addresses that are no duplicates", Duration::from_secs(10), || {
                let tentative =
                    run(&["ip", "-n", namespace, "-6", "address", "show", "dev", end, "tentative"]);
                if tentative.trim().is_empty() { Ok(()) } else { Err(tentative) }
            });
        }
    }

    pub(crate) fn left(&self) -> Place {
        self.place(&self.left, LEFT_IP)
    }

    pub(crate) fn right(&self) -> Place {
        self.place(&self.right, RIGHT_IP)
    }

    fn place(&self, namespace: &str, ip: Ipv4Addr) -> Place {
        let port = self.ports.fetch_add(1, Ordering::Relaxed);
        Place {
            addr: SocketAddr::new(ip.into(), port),
            rpc: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port + 1000),
            namespace: Some(namespace.to_owned()),
        }
    }

    /// Drops what arrives at either end with this protocol (`udp` or `tcp`). Loopback inside a namespace stays open.
    pub(crate) fn cut(&self, protocol: &str) {
        for namespace in [&self.left, &self.right] {
            let rules = format!(
                "add table inet cut_{protocol}\n\
                 add chain inet cut_{protocol} input {{ type filter hook input priority 0; policy accept; }}\n\
                 add rule inet cut_{protocol} input iif != lo meta l4proto {protocol} counter drop"
            );
            run(&["ip", "netns", "exec", namespace, "nft", &rules]);
        }
    }

    /// Ends the cut of this protocol.
    pub(crate) fn mend(&self, protocol: &str) {
        for namespace in [&self.left, &self.right] {
            run(&[
                "ip",
                "netns",
                "exec",
                namespace,
                "nft",
                "delete",
                "table",
                "inet",
                &format!("cut_{protocol}"),
            ]);
        }
    }

    /// How many packets of this protocol the two ends have dropped since the cut.
    pub(crate) fn dropped(&self, protocol: &str) -> u64 {
        let count = |namespace: &str| {
            let table = format!("cut_{protocol}");
            let listing = run(&["ip", "netns", "exec", namespace, "nft", "list", "table", "inet", &table]);
            let words: Vec<&str> = listing.split_whitespace().collect();
            words
                .windows(2)
                .find_map(|pair| if pair[0] == "packets" { pair[1].parse().ok() } else { None })
                .unwrap_or(0)
        };
        count(&self.left) + count(&self.right)
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for namespace in [&self.left, &self.right] {
            let _ = Command::new("ip").args(["netns", "delete", namespace]).output();
        }
    }
}

fn run(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("{words:?}: {error}"));
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn ip(block: u8, host: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 77, block, host)
}

const LEFT_IP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const RIGHT_IP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 2);
const SERF_PORT: u16 = 7946;
const RPC_PORT: u16 = 7373;
const LOCK_PORT: u16 = 7000;
