//! What a member costs in memory, as the allocator counts it: the table alone, with services, with the coordinates of all;
//! and what an exchange takes beside that.

use core::time::Duration;

use gossip_proto::coordinate::Vivaldi;
use gossip_proto::wire::layers::Compression;
use gossip_proto::wire::message::{MessageType, Ping};
use gossip_proto::wire::msgpack::SliceSink;
use gossip_proto::wire::serf::PingPayload;
use gossip_proto::{
    Config, Instant, KnownMember, Machine, Membership, Node, NonceSecret, Seed, ServiceConfig, Source,
};

use crate::bed::member;
use crate::exchange::Exchange;
use crate::heap::Heap;
use crate::packets::{Forge, address, name};

/// Prints it for clusters of these sizes.
pub(crate) fn report(sizes: &[usize]) {
    for &members in sizes {
        let known: Vec<_> = (1..members).map(|number| member(number, &[])).collect();
        let table = per_member(&known, membership);
        let services = per_member(&known, |known| node(known, false));
        let coordinates = per_member(&known, |known| {
            let mut node = node(known, true);
            learn_coordinates(&mut node, known.len());
            node
        });
        println!(
            "{members:6} members: bytes per member beyond its name: {table:.0}, with services {services:.0}, \
             with coordinates {coordinates:.0}"
        );
        for compression in [Compression::Off, Compression::Streams] {
            exchange(members, &known, compression);
        }
    }
}

/// What a machine holds for each of those it knows.
fn per_member<M>(known: &[KnownMember], make: impl Fn(&[KnownMember]) -> M) -> f64 {
    let heap = Heap::now();
    let alone = make(&[]);
    let least = heap.held();
    drop(alone);
    let heap = Heap::now();
    let machine = make(known);
    let held = heap.held() - least;
    drop(machine);
    let names: usize = known.iter().map(|member| member.name.as_bytes().len()).sum();
    held.saturating_sub(names) as f64 / known.len() as f64
}

/// What one push/pull takes beyond what is held before and after, and its bytes.
fn exchange(members: usize, known: &[KnownMember], compression: Compression) {
    let machine = |number: usize| {
        let others: Vec<_> = known.iter().filter(|other| other.addr != address(number)).cloned().collect();
        let mut config = config(number);
        config.compression(compression);
        let (seed, nonces) = (Seed::from_u64(1), NonceSecret::new([1; 32]));
        let mut machine =
            Membership::new(Instant::ORIGIN, config, seed, nonces).expect("a valid configuration");
        machine.know(Instant::ORIGIN, &[member(0, &[])]);
        machine.know(Instant::ORIGIN, &others);
        assert_eq!(machine.num_alive(), members);
        machine
    };
    let mut exchange = Exchange::record(machine(1), address(0));
    let mut machine = machine(0);
    let mut output = vec![0; 65_536];
    let heap = Heap::now();
    exchange.measured(&mut machine, Instant::ORIGIN, &mut output);
    println!(
        "{members:6} members: an exchange, compression {compression:?}, has {} bytes each way and takes {} bytes at most",
        exchange.bytes(),
        heap.peak(),
    );
}

fn config(number: usize) -> Config {
    let mut config = Config::lan(name(number).as_str(), address(number));
    config.push_pull_interval(Duration::ZERO).gossip_nodes(0).probe_interval(Duration::from_millis(1));
    config
}

fn membership(known: &[KnownMember]) -> Membership {
    let (seed, nonces) = (Seed::from_u64(1), NonceSecret::new([1; 32]));
    let mut machine =
        Membership::new(Instant::ORIGIN, config(0), seed, nonces).expect("a valid configuration");
    assert_eq!(machine.know(Instant::ORIGIN, known), known.len());
    machine
}

fn node(known: &[KnownMember], coordinates: bool) -> Node {
    let (seed, nonces) = (Seed::from_u64(1), NonceSecret::new([1; 32]));
    let mut services = ServiceConfig::default();
    services.coordinates(coordinates);
    let mut node =
        Node::new(Instant::ORIGIN, config(0), services, seed, nonces).expect("a valid configuration");
    assert_eq!(node.know(Instant::ORIGIN, known), known.len());
    while node.poll_membership().is_some() {}
    node
}

/// Every member is probed, and answers with where it is.
fn learn_coordinates(node: &mut Node, members: usize) {
    let mut forge = Forge::new(None, Compression::Off);
    let mut payload = [0; 256];
    let mut sink = SliceSink::new(&mut payload);
    PingPayload { coordinate: Vivaldi::default().coordinate().clone() }.encode(&mut sink).expect("it fits");
    let len = sink.len();
    let (mut now, mut output, mut answer) = (Instant::ORIGIN, vec![0; 65_536], Vec::new());
    let wanted = members as u64 * 3;
    while node.stats().coordinates_updated < wanted {
        now = now.max(node.poll_timeout().expect("it goes on probing"));
        node.handle_timeout(now);
        while let Some(transmit) = node.poll_transmit(now, &mut output) {
            let body = gossip_proto::wire::packet::open(&forge.layers, &mut output[..transmit.len])
                .expect("a packet");
            if body[0] != MessageType::Ping.byte() {
                continue;
            }
            let seq = Ping::decode(&body[1..]).expect("a ping").0.seq;
            now += Duration::from_micros(500);
            forge.ack(&mut answer, seq, &payload[..len]);
            let source = Source::unauthenticated(transmit.to);
            node.handle_datagram(now, source, &mut answer).expect("a packet");
        }
        while node.poll_event().is_some() {}
    }
}
