//! Three to five honest nodes, faults between them, and a member that has the key and says whatever the input says.

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::arguments::Arguments;
use super::forge::{Forge, address};
use super::layers::{layers, nonces};
use super::net::Net;
use super::pair::disturb;
use crate::Instant;
use crate::wire::layers::Layers;
use crate::wire::lzw::Deflater;
use crate::wire::packet::Envelope;
use crate::wire::stream::write_stream;

/// How long faults and lies go on.
const FAULTS: Duration = Duration::from_secs(60);

/// As for two nodes; and a name that was taken to another address has to be found dead there and forgotten first, which takes
/// a second round of all that.
const BOUND: Duration = Duration::from_secs(240);

/// Of exchanges. Each lie may bring a member one step further beyond what another can answer at once, and that takes an
/// exchange to be told.
const INTERVAL: Duration = Duration::from_secs(30);

/// A byte that says how many nodes and whether they have a key, and a program: as for two nodes, and datagrams and streams
/// with well-formed messages, forged by somebody who has the key, from any address. Nobody may panic or hold more than
/// its limits; and once that ends, the honest ones must all see each other alive, as what they are.
pub fn fuzz_cluster(input: &[u8]) {
    let Some((kind, program)) = input.split_first() else { return };
    let sealed = kind & 1 == 1;
    let layers = layers(if sealed { 4 } else { 0 });
    let mut net = Net::new(3 + (kind >> 1) % 3, sealed);
    let mut arguments = Arguments::new(program);
    let mut forge = Forge::default();
    let mut bound = BOUND;
    while let Some(step) = arguments.next().filter(|_| net.now < Instant::ORIGIN + FAULTS) {
        match step % 2 {
            0 => {
                lie(&mut net, &layers, &mut forge, step >> 1, &mut arguments);
                bound += INTERVAL;
            }
            _ => disturb(&mut net, step >> 1, &mut arguments),
        }
    }
    net.heal(bound);
}

/// One message to one node, or to all.
fn lie(net: &mut Net<'_>, layers: &Layers, forge: &mut Forge, step: u8, arguments: &mut Arguments<'_>) {
    let from = address(arguments.byte());
    let victim = usize::from(step >> 3) % (net.hosts.len() + 1);
    let body = match step % 8 {
        0..3 => forge.claim(arguments),
        3 => forge.probe_traffic(arguments),
        4 | 5 => forge.serf_message(arguments),
        // What it says for Serf is the program's, or well-formed.
        6 if step & 64 == 0 => forge.push_pull(arguments),
        6 => Forge::stream_message(arguments),
        _ => arguments.bytes().to_vec(),
    };
    let victims: Vec<usize> = match victim.checked_sub(1) {
        Some(one) => vec![one],
        None => (0..net.hosts.len()).collect(),
    };
    for victim in victims {
        if step % 8 == 6 {
            let mut stream = Vec::new();
            let wrapped =
                write_stream(layers, true, &[&body], &mut nonces(), &mut Deflater::new(), &mut stream);
            if wrapped.is_ok() {
                net.connect(from, victim, &stream, true);
            }
        } else if let Some(datagram) = datagram(layers, &body) {
            net.inject(from, address(victim as u8), datagram);
        }
    }
    net.run(Duration::from_millis(2));
}

fn datagram(layers: &Layers, body: &[u8]) -> Option<Vec<u8>> {
    let mut buf = vec![0; body.len() + 100];
    let room = buf.len();
    let mut envelope = Envelope::new(layers, &mut buf, room, false)?;
    envelope.body()[..body.len()].copy_from_slice(body);
    let len = envelope.finish(body.len(), &mut nonces(), &mut Deflater::new()).ok()?;
    buf.truncate(len);
    Some(buf)
}
