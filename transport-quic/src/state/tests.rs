//! Links over loopback, on a clock that the test moves by hand. A link's packets are read by tasks of the test's one thread: while
//! it does not wait, nothing arrives.

use std::net::UdpSocket;

use gossip_tls::{Authority, Credentials};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, EndpointConfig, ServerConfig};

use super::*;

pub(crate) fn on_one_thread(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

pub(crate) fn endpoint(credentials: &Credentials) -> Endpoint {
    let protocol = || gossip_tls::protocol("quic", b"");
    let server = QuicServerConfig::try_from(credentials.server_config(protocol()).unwrap()).unwrap();
    let client = QuicClientConfig::try_from(credentials.client_config(protocol()).unwrap()).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let server = ServerConfig::with_crypto(Arc::new(server));
    let runtime = Arc::new(quinn::TokioRuntime);
    let mut endpoint = Endpoint::new(EndpointConfig::default(), Some(server), socket, runtime).unwrap();
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(client)));
    endpoint
}

/// A connection from one to the other: both ends.
pub(crate) async fn connect(one: &Endpoint, two: &Endpoint) -> (Connection, Connection) {
    let addr = two.local_addr().unwrap();
    let accept = async { two.accept().await.unwrap().await.unwrap() };
    let dial = async { one.connect(addr, "127.0.0.1").unwrap().await.unwrap() };
    tokio::join!(dial, accept)
}

/// Two endpoints that are connected, and a state that has the first one's end.
async fn linked() -> (State, u64, [Endpoint; 2], Connection) {
    let authority = Authority::new("test").unwrap();
    let [one, two] = ["one", "two"].map(|name| endpoint(&authority.member(name).unwrap()));
    let addr = two.local_addr().unwrap();
    let (connection, other) = connect(&one, &two).await;
    let mut state = State::new(Limits::default());
    let link = state.opened(connection, addr, IdentityId(1), [0; 32], true).unwrap();
    (state, link, [one, two], other)
}

fn is_open(state: &State, link: u64) -> bool {
    state.links.get(&link).is_some_and(|link| !link.gone)
}

#[test]
fn a_stall_of_this_process_is_not_the_peers_silence() {
    on_one_thread(async {
        let (mut state, link, _endpoints, _other) = linked().await;
        state.sweep();
        // Something was sent.
        state.links.get_mut(&link).unwrap().silent_since = Some(state.now);
        state.now += Duration::from_secs(60);
        state.sweep();
        assert!(is_open(&state, link), "what came meanwhile is not read yet");
        // Who is silent from then on is.
        for _ in 0..3 {
            assert!(is_open(&state, link));
            state.now += SWEEP;
            state.sweep();
        }
        assert!(!is_open(&state, link), "no answer for 3 s");
    });
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn addresses_of_one_network_share_its_places_for_handshakes() {
    let mut state = State::new(Limits::default());
    let first = state.handshake_begun(ip("2001:db8:0:1::1"));
    state.handshake_begun(ip("2001:db8:0:1:ffff::2"));
    state.handshake_begun(ip("::ffff:192.0.2.1"));
    assert_eq!(state.handshakes(ip("2001:db8:0:1::3")), (3, 2));
    assert_eq!(state.handshakes(ip("2001:db8:0:2::1")), (3, 0));
    assert_eq!(state.handshakes(ip("192.0.2.1")), (3, 1));
    assert_eq!(state.handshakes(ip("192.0.2.2")), (3, 0));
    state.handshake_ended(first);
    state.handshake_ended(first);
    assert_eq!(state.handshakes(ip("2001:db8:0:1::3")), (2, 1));
}

#[test]
fn the_oldest_handshake_of_who_has_most_gives_way() {
    let mut state = State::new(Limits::default());
    let old = state.handshake_begun(ip("192.0.2.1"));
    let first = state.handshake_begun(ip("192.0.2.2"));
    state.now += Duration::from_millis(600);
    let second = state.handshake_begun(ip("192.0.2.2"));
    assert!(!state.displace_handshake(), "none has had its time");
    state.now += Duration::from_millis(600);
    let is_there = |state: &State| [old, first, second].map(|id| state.handshakes.contains_key(&id));
    assert!(state.displace_handshake());
    assert_eq!(is_there(&state), [true, false, true]);
    assert!(state.displace_handshake());
    assert_eq!(is_there(&state), [false, false, true]);
    assert!(!state.displace_handshake());
}
