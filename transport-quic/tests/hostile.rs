//! Hostile peers and strangers: memory stays in its bounds, and the members notice nothing.
//!
//! The node that they go for is a process of its own, so that its memory can be told from that of its tormentors. This test
//! program starts itself again for it.
#![cfg(all(feature = "runtime-tokio", target_os = "linux"))]

mod common;

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use common::*;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, TransportConfig, VarInt};
use transport_quic::gossip_proto::wire::layers::Compression;
use transport_quic::{
    Authorities, Authority, Bind, ChangeKind, Cluster, Credentials, Identity, Limits, Node, Notice,
    start_node,
};

const VARIABLE: &str = "QUIC_TEST_VICTIM";
const MIB: u64 = 1 << 20;

/// Not a test: what the process of the victim runs.
#[test]
fn victim() {
    let Ok(directory) = std::env::var(VARIABLE) else { return };
    let file = |name: &str| Path::new(&directory).join(name);
    let identity = Identity::from_pem_files(&file("victim.pem"), &file("victim.pem")).unwrap();
    let credentials = Credentials::new(identity, Authorities::file(file("authority.pem")).unwrap());
    on_tokio(async {
        let configure = |advertise| {
            let (mut config, services) = quick("victim", advertise);
            // What is sent is as long as what there is.
            config.compression(Compression::Off);
            (config, services)
        };
        let node = start_node(Bind::at(loopback(), credentials), configure).await.unwrap();
        // Events that every exchange carries.
        for number in 0..400 {
            node.post_user_event(format!("event {number}"), vec![b'x'; 400], false).await.unwrap();
        }
        println!("victim at {}", node.local_addr());
        let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
        let _ = end.await;
        std::process::exit(0);
    });
}

/// A node in a process of its own, and two members beside it that watch it.
struct Scene {
    authority: Authority,
    victim: Child,
    addr: SocketAddr,
    members: [Cluster<Node>; 2],
    changes: Arc<Mutex<Vec<String>>>,
}

impl Scene {
    async fn new() -> Self {
        let authority = Authority::new("test").unwrap();
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("authority.pem"), authority.certificate_pem()).unwrap();
        authority.issue("victim").unwrap().save(&directory.path().join("victim.pem")).unwrap();
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim", "--nocapture"])
            .env(VARIABLE, directory.path())
            // What counts is what the node holds. With an arena for each thread the allocator keeps up to half as much again, and by
            // chance more or less of it.
            .env("MALLOC_ARENA_MAX", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(victim.stdout.take().unwrap()).lines();
        let addr: SocketAddr = said
            .map(Result::unwrap)
            .find_map(|line| line.split_once("victim at ").map(|(_, addr)| addr.parse().unwrap()))
            .expect("the victim says where it is");
        let members = ["one", "two"].map(|name| node(name, member(&authority, name)));
        let [one, two] = members;
        let members = [one.await, two.await];
        let changes: Arc<Mutex<Vec<String>>> = Arc::default();
        for member in &members {
            member.join(&[addr.to_string()]).await.unwrap();
            let (mut news, seen) = (member.subscribe().await, changes.clone());
            tokio::spawn(async move {
                while let Some(notice) = news.recv().await {
                    if let Notice::Change { member, kind, .. } = notice
                        && [ChangeKind::Suspected, ChangeKind::Failed].contains(&kind)
                    {
                        seen.lock().unwrap().push(format!("{}: {kind:?}", member.name));
                    }
                }
            });
        }
        for member in &members {
            until("all three", async || alive(member).await == 3).await;
        }
        Self { authority, victim, addr, members, changes }
    }

    /// A number of kilobytes that the system keeps about the victim, in bytes.
    fn memory(&self, what: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.victim.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(what)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
    }

    /// What the victim's memory was at most beyond that.
    fn peak_above(&self, before: u64) -> u64 {
        self.memory("VmHWM:").saturating_sub(before)
    }

    /// Somebody with a certificate that is let in, on a socket of its own.
    fn peer(&self, transport: TransportConfig) -> Endpoint {
        endpoint(&self.authority, transport)
    }

    async fn connect(&self, endpoint: &Endpoint) -> Connection {
        endpoint.connect(self.addr, "0.0.0.0").unwrap().await.unwrap()
    }

    /// The victim answers the members, and they have never missed it.
    async fn members_notice_nothing(&self) {
        for member in &self.members {
            // A machine that is busy with this very test may be late once.
            until("the victim answers", async || member.ping(&"victim".into()).await.unwrap().is_some())
                .await;
            assert_eq!(alive(member).await, 3);
        }
        let changes = self.changes.lock().unwrap();
        assert!(changes.is_empty(), "the members noticed: {changes:?}");
    }

    /// The victim gives a member its whole state.
    async fn exchange(&self) {
        self.members[0].join(&[self.addr.to_string()]).await.expect("an exchange with the victim");
    }

    async fn all_is_well(&self) {
        self.members_notice_nothing().await;
        self.exchange().await;
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

fn endpoint(authority: &Authority, transport: TransportConfig) -> Endpoint {
    let tls = member(authority, "peer").client_config(protocol()).unwrap();
    let mut client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    client.transport_config(Arc::new(transport));
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let runtime = Arc::new(quinn::TokioRuntime);
    let mut endpoint = Endpoint::new(EndpointConfig::default(), None, socket, runtime).unwrap();
    endpoint.set_default_client_config(client);
    endpoint
}

fn protocol() -> Vec<u8> {
    gossip_tls::protocol("quic", b"")
}

/// The request of an exchange, without any members: what comes back is the whole state.
fn request() -> Vec<u8> {
    let mut bytes = vec![6, 0x83, 0xa5];
    bytes.extend(b"Nodes\0");
    bytes.push(0xac);
    bytes.extend(b"UserStateLen\0");
    bytes.push(0xa4);
    bytes.extend(b"Join\xc2");
    bytes
}

/// What one connection may take, by its limits.
fn connection_bound() -> u64 {
    let limits = Limits::default();
    u64::from(limits.receive_window) + u64::from(limits.send_window) + 2 * limits.datagram_buffer as u64
}

/// Peers that ask for the whole state on all streams that they may have, and read nothing.
async fn never_read(peers: u64) {
    let scene = Scene::new().await;
    // Who reads gets the state, so the request is one.
    let reader = scene.peer(TransportConfig::default());
    let (mut send, mut receive) = scene.connect(&reader).await.open_bi().await.unwrap();
    send.write_all(&request()).await.unwrap();
    let state = receive.read_to_end(1 << 20).await.unwrap();
    assert!(state.len() > 100_000, "the state is {} bytes", state.len());
    drop((reader, send, receive));

    let before = scene.memory("VmRSS:");
    let mut held = Vec::new();
    for _ in 0..peers {
        let mut transport = TransportConfig::default();
        // Room for what is read: nothing is.
        transport.stream_receive_window(VarInt::from_u32(1));
        let endpoint = scene.peer(transport);
        let connection = scene.connect(&endpoint).await;
        for _ in 0..Limits::default().streams_per_connection {
            let (mut send, receive) = connection.open_bi().await.unwrap();
            send.write_all(&request()).await.unwrap();
            held.push((endpoint.clone(), send, receive));
        }
    }
    for _ in 0..8 {
        pause(1000).await;
        scene.members_notice_nothing().await;
        // A node serves 127 exchanges at once: one peer cannot have them all, twenty together can for a while.
        if peers == 1 {
            scene.exchange().await;
        }
    }
    let grown = scene.peak_above(before);
    println!("{} streams that nobody reads: {} KB more at most", held.len(), grown >> 10);
    // The windows, and as much again for the state that is sent and what streams take themselves.
    let bound = peers * connection_bound() + 8 * MIB;
    assert!(grown <= bound, "{grown} bytes more, over {bound}");
}

#[test]
fn a_peer_that_never_reads() {
    on_tokio(never_read(1));
}

#[test]
fn twenty_peers_that_never_read() {
    on_tokio(never_read(20));
}

/// Ten thousand streams of one peer, dropped as soon as they have said a byte, and as many held as it may hold.
#[test]
fn a_peer_that_opens_ten_thousand_streams() {
    on_tokio(async {
        let scene = Scene::new().await;
        let before = scene.memory("VmRSS:");
        let endpoint = scene.peer(TransportConfig::default());
        let connection = scene.connect(&endpoint).await;
        let mut held = Vec::new();
        for number in 0..10_000 {
            let (mut send, receive) = connection.open_bi().await.expect("the connection stays");
            send.write_all(&[6]).await.unwrap();
            if held.len() < 32 {
                held.push((send, receive));
            }
            if number % 2000 == 0 {
                scene.all_is_well().await;
            }
        }
        scene.all_is_well().await;
        let grown = scene.peak_above(before);
        println!("10,000 streams of one peer: {} KB more at most", grown >> 10);
        let bound = connection_bound() + 8 * MIB;
        assert!(grown <= bound, "{grown} bytes more, over {bound}");
    });
}

/// The first packet of ten thousand connections, from one address that does not go on.
#[test]
fn first_packets_of_ten_thousand_connections() {
    on_tokio(async {
        const FIRST: usize = 10_000;
        let scene = Scene::new().await;
        let before = scene.memory("VmRSS:");
        // Connections are begun towards a socket that takes their first packets and passes them on, from one address.
        let sink = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = sink.local_addr().unwrap();
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let endpoint = scene.peer(TransportConfig::default());
        let (mut seen, mut buf) = (BTreeSet::new(), [0; 2048]);
        while seen.len() < FIRST {
            let connecting = endpoint.connect(to, "0.0.0.0").unwrap();
            loop {
                let (len, _) = sink.recv_from(&mut buf).await.unwrap();
                let id = buf[6..6 + usize::from(buf[5])].to_vec();
                if seen.insert(id) {
                    stranger.send_to(&buf[..len], scene.addr).unwrap();
                    break;
                }
            }
            drop(connecting);
            if seen.len().is_multiple_of(2000) {
                scene.all_is_well().await;
            }
        }
        scene.all_is_well().await;
        let grown = scene.peak_above(before);
        println!("first packets of {FIRST} connections: {} KB more at most", grown >> 10);
        assert!(grown <= 16 * MIB, "{grown} bytes more");
        // Whoever is honest and comes from the same machine is let in.
        let honest = scene.peer(TransportConfig::default());
        scene.connect(&honest).await;
    });
}

/// What a connection takes that does nothing.
#[test]
fn memory_of_idle_connections() {
    on_tokio(async {
        const CONNECTIONS: u64 = 300;
        let scene = Scene::new().await;
        let before = scene.memory("VmRSS:");
        let mut held = Vec::new();
        for _ in 0..CONNECTIONS {
            let endpoint = scene.peer(TransportConfig::default());
            let connection = scene.connect(&endpoint).await;
            held.push((endpoint, connection));
        }
        pause(1000).await;
        assert!(held.iter().all(|(_, connection)| connection.close_reason().is_none()));
        let each = scene.memory("VmRSS:").saturating_sub(before) / CONNECTIONS;
        println!("an idle connection: {each} bytes");
        assert!(each <= 96 << 10, "{each} bytes for a connection that does nothing");
        scene.all_is_well().await;
    });
}

/// Handshakes that do not go on hold all places; whoever is honest takes one.
#[test]
fn stalled_handshakes_keep_nobody_out() {
    on_tokio(async {
        let authority = Authority::new("test").unwrap();
        let limits = Limits {
            handshakes: 2,
            validate_from: 2,
            open_timeout: Duration::from_secs(600),
            ..Limits::default()
        };
        let bind = Bind { limits, ..Bind::at(loopback(), member(&authority, "a")) };
        let a = start_node(bind, |advertise| quick("a", advertise)).await.unwrap();
        // First packets, which are caught on their way, and nothing after them.
        let sink = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
        let endpoint = endpoint(&authority, TransportConfig::default());
        let (mut seen, mut held) = (BTreeSet::new(), Vec::new());
        while held.len() < 2 {
            held.push(endpoint.connect(sink.local_addr().unwrap(), "0.0.0.0").unwrap());
            while seen.len() < held.len() {
                let mut buf = [0; 2048];
                let (len, _) = sink.recv_from(&mut buf).await.unwrap();
                if seen.insert(buf[6..6 + usize::from(buf[5])].to_vec()) {
                    stranger.send_to(&buf[..len], a.local_addr()).unwrap();
                }
            }
        }
        pause(1500).await;
        let b = node("b", member(&authority, "b")).await;
        b.join(&[a.local_addr().to_string()]).await.unwrap();
    });
}
