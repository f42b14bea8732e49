//! Machines and messages to test with.

use core::net::SocketAddr;
use gossip_proto::wire::compound::Parts;
use gossip_proto::wire::message::*;
use gossip_proto::*;
use std::borrow::Cow;

/// Versions of an ordinary member.
pub(crate) const VSN: [u8; 6] = [1, 5, 2, 0, 0, 0];
/// Versions of a member that speaks Serf.
pub(crate) const SERF_VSN: [u8; 6] = [1, 5, 2, 2, 5, 5];
/// Versions of one that takes no checksums, so that what it is sent can be read as it is.
pub(crate) const PLAIN: [u8; 6] = [1, 4, 2, 0, 0, 0];

/// The address of the `host`th node.
pub(crate) fn addr(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 7946))
}

/// LAN defaults.
pub(crate) fn config(name: &str, host: u8) -> Config {
    Config::lan(name, addr(host))
}

/// A membership machine with LAN defaults.
pub(crate) fn membership(name: &str, host: u8) -> Membership {
    membership_with(name, host, |_| {})
}

/// As [`membership`], after changes to its configuration.
pub(crate) fn membership_with(name: &str, host: u8, configure: impl FnOnce(&mut Config)) -> Membership {
    let mut config = config(name, host);
    configure(&mut config);
    machine(config, u64::from(host))
}

/// A membership machine.
pub(crate) fn machine(config: Config, seed: u64) -> Membership {
    Membership::new(Instant::ORIGIN, config, Seed::from_u64(seed), NonceSecret::new([seed as u8; 32]))
        .expect("a config")
}

/// One message: its type and what `encode` appends.
pub(crate) fn message<E: core::fmt::Debug>(
    kind: MessageType,
    encode: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Vec<u8> {
    let mut bytes = vec![kind.byte()];
    encode(&mut bytes).expect("a vector has room");
    bytes
}

/// An alive message.
#[derive(Clone, Debug)]
pub(crate) struct AliveOf<'a> {
    pub(crate) name: &'a str,
    pub(crate) incarnation: u32,
    pub(crate) addr: &'a [u8],
    pub(crate) port: u16,
    pub(crate) meta: &'a [u8],
    pub(crate) vsn: &'a [u8],
}

impl AliveOf<'_> {
    pub(crate) fn encode(&self) -> Vec<u8> {
        message(MessageType::Alive, |bytes| {
            Alive {
                incarnation: self.incarnation,
                node: Cow::Borrowed(self.name.as_bytes()),
                addr: self.addr.into(),
                port: self.port,
                meta: self.meta.into(),
                vsn: self.vsn.into(),
            }
            .encode(bytes)
        })
    }
}

/// The alive of the `host`th node.
pub(crate) fn alive(name: &str, host: u8, incarnation: u32) -> Vec<u8> {
    AliveOf { name, incarnation, addr: &[10, 0, 0, host], port: 7946, meta: b"", vsn: &VSN }.encode()
}

/// As [`alive`], for a node that takes no checksums.
pub(crate) fn plain_alive(name: &str, host: u8, incarnation: u32) -> Vec<u8> {
    AliveOf { name, incarnation, addr: &[10, 0, 0, host], port: 7946, meta: b"", vsn: &PLAIN }.encode()
}

/// As [`alive`], for a node with services.
pub(crate) fn serf_alive(name: &str, host: u8, incarnation: u32) -> Vec<u8> {
    AliveOf { name, incarnation, addr: &[10, 0, 0, host], port: 7946, meta: b"", vsn: &SERF_VSN }.encode()
}

fn accusation(kind: MessageType, node: &str, incarnation: u32, from: &str) -> Vec<u8> {
    let (node, from) = (Cow::Borrowed(node.as_bytes()), Cow::Borrowed(from.as_bytes()));
    message(kind, |bytes| Accusation { incarnation, node, from }.encode(bytes))
}

pub(crate) fn suspect(node: &str, incarnation: u32, from: &str) -> Vec<u8> {
    accusation(MessageType::Suspect, node, incarnation, from)
}

pub(crate) fn dead(node: &str, incarnation: u32, from: &str) -> Vec<u8> {
    accusation(MessageType::Dead, node, incarnation, from)
}

pub(crate) fn ping(seq: u32, node: &str, from: &str, source: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(v4) = source else { panic!("IPv4") };
    let octets = v4.ip().octets();
    message(MessageType::Ping, |bytes| {
        Ping {
            seq,
            node: Cow::Borrowed(node.as_bytes()),
            source_addr: octets.as_slice().into(),
            source_port: v4.port(),
            source_node: Cow::Borrowed(from.as_bytes()),
        }
        .encode(bytes)
    })
}

pub(crate) fn ack(seq: u32) -> Vec<u8> {
    message(MessageType::Ack, |bytes| Ack { seq, payload: Default::default() }.encode(bytes))
}

pub(crate) fn nack(seq: u32) -> Vec<u8> {
    message(MessageType::Nack, |bytes| Nack { seq }.encode(bytes))
}

/// The messages of a packet without seal and compression; a checksum is passed over.
pub(crate) fn messages(packet: &[u8]) -> Vec<Vec<u8>> {
    let body = if packet.first() == Some(&MessageType::Checksum.byte()) { &packet[5..] } else { packet };
    if body.first() != Some(&MessageType::Compound.byte()) {
        return vec![body.to_vec()];
    }
    let parts = Parts::new(&body[1..]).expect("a compound");
    assert_eq!(parts.truncated(), 0);
    parts.map(<[u8]>::to_vec).collect()
}

/// A machine alone with a script: what it is given, and what comes out.
pub(crate) struct Script {
    pub(crate) machine: Membership,
    pub(crate) now: Instant,
}

/// A datagram that came out, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) id: TransmitId,
    pub(crate) to: SocketAddr,
    pub(crate) messages: Vec<Vec<u8>>,
}

impl Sent {
    /// Types of the messages.
    pub(crate) fn kinds(&self) -> Vec<MessageType> {
        self.messages.iter().map(|message| MessageType::from_byte(message[0]).expect("a type")).collect()
    }

    /// The first message, as a ping.
    pub(crate) fn ping(&self) -> Ping<'_> {
        assert_eq!(self.messages[0][0], MessageType::Ping.byte(), "{:?}", self.kinds());
        Ping::decode(&self.messages[0][1..]).expect("a ping").0
    }

    /// The first message, as an indirect ping.
    pub(crate) fn indirect(&self) -> IndirectPing<'_> {
        assert_eq!(self.messages[0][0], MessageType::IndirectPing.byte(), "{:?}", self.kinds());
        IndirectPing::decode(&self.messages[0][1..]).expect("an indirect ping").0
    }
}

impl Script {
    /// A node "self" at the address of host 1, its timers off where `configure` does not turn them on.
    pub(crate) fn new(configure: impl FnOnce(&mut Config)) -> Self {
        let mut config = config("self", 1);
        config.gossip_interval(core::time::Duration::ZERO).push_pull_interval(core::time::Duration::ZERO);
        configure(&mut config);
        let mut script = Self { machine: machine(config, 7), now: Instant::ORIGIN };
        script.changes();
        script
    }

    /// Hands over a datagram from `from`.
    pub(crate) fn datagram(&mut self, from: SocketAddr, bytes: &[u8]) -> Result<(), PacketError> {
        self.machine.handle_datagram(self.now, Source::unauthenticated(from), &mut bytes.to_vec())
    }

    /// As [`Script::datagram`], from host 9, and it is no error.
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        self.datagram(addr(9), bytes).expect("a packet");
    }

    /// Lets time pass to the next deadline, which must be this, and fires it.
    pub(crate) fn fires_at_ms(&mut self, millis: u64) {
        let at = Instant::from_millis(millis);
        assert_eq!(self.machine.poll_timeout(), Some(at), "next deadline");
        self.at(at);
    }

    /// Lets time pass to `at`, every deadline on the way fired when it is due.
    pub(crate) fn at(&mut self, at: Instant) {
        while let Some(due) = self.machine.poll_timeout().filter(|&due| due <= at) {
            self.now = self.now.max(due);
            self.machine.handle_timeout(self.now);
        }
        self.now = at;
    }

    /// As [`Script::at`], but the process did not run in between.
    pub(crate) fn late(&mut self, at: Instant) {
        self.now = at;
        while self.machine.poll_timeout().is_some_and(|due| due <= at) {
            self.machine.handle_timeout(at);
        }
    }

    pub(crate) fn at_ms(&mut self, millis: u64) {
        self.at(Instant::from_millis(millis));
    }

    /// Lets time pass to the next deadline, whatever it is.
    pub(crate) fn next(&mut self) -> Instant {
        let at = self.machine.poll_timeout().expect("a deadline").max(self.now);
        self.at(at);
        at
    }

    /// All datagrams that are to be sent.
    pub(crate) fn sent(&mut self) -> Vec<Sent> {
        core::iter::from_fn(|| self.one()).collect()
    }

    /// The next datagram.
    pub(crate) fn one(&mut self) -> Option<Sent> {
        let mut buf = [0; 65_536];
        let size = self.machine.config().datagram_size();
        let transmit = self.machine.poll_transmit(self.now, &mut buf[..size])?;
        Some(Sent { id: transmit.id, to: transmit.to, messages: messages(&buf[..transmit.len]) })
    }

    /// Empties the dissemination queue, by answering pings of a stranger turned member.
    pub(crate) fn drain(&mut self, member: SocketAddr) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        let asker = self.machine.members().find(|known| known.addr == member).map(|known| known.name.clone());
        // One that is accused here hears of that with each answer, whatever the queue holds.
        let hint = |rumor: &Vec<u8>| match (rumor.split_first(), &asker) {
            (Some((&kind, body)), Some(name)) if kind == MessageType::Suspect.byte() => {
                Accusation::decode(body).is_ok_and(|(told, _)| *name == *told.node && *told.from == *b"self")
            }
            _ => false,
        };
        loop {
            self.datagram(
                member,
                &message(MessageType::Ping, |bytes| Ping { seq: 1, ..Ping::default() }.encode(bytes)),
            )
            .expect("a ping");
            let sent = self.sent();
            let rumors: Vec<_> = sent
                .iter()
                .flat_map(|sent| &sent.messages[1..])
                .filter(|rumor| !hint(rumor))
                .cloned()
                .collect();
            if rumors.is_empty() {
                return seen;
            }
            for rumor in rumors {
                if !seen.contains(&rumor) {
                    seen.push(rumor);
                }
            }
        }
    }

    /// Membership changes since the last call.
    pub(crate) fn changes(&mut self) -> Vec<(String, ChangeKind)> {
        let mut changes = Vec::new();
        while let Some(change) = self.machine.poll_membership() {
            changes.push((self.machine.member(change.key).expect("a member").name.to_string(), change.kind));
        }
        changes
    }

    pub(crate) fn status(&self, name: &str) -> Option<Status> {
        self.machine.find(name.as_bytes()).map(|member| member.status)
    }

    pub(crate) fn incarnation(&self, name: &str) -> u32 {
        self.machine.find(name.as_bytes()).expect("a member").incarnation
    }

    pub(crate) fn key(&self, name: &str) -> MemberKey {
        self.machine.find(name.as_bytes()).expect("a member").key
    }

    /// Events since the last call, as text.
    pub(crate) fn events(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        while let Some(event) = self.machine.poll_event() {
            events.push(format!("{event:?}"));
        }
        events
    }
}

/// A node with members b and so on at hosts 2 and so on, all news about them sent, its probe timer due.
pub(crate) fn with_members(names: &[&str], configure: impl FnOnce(&mut Config)) -> Script {
    let mut script = Script::new(configure);
    for (host, name) in (2..).zip(names) {
        script.hear(&plain_alive(name, host, 1));
    }
    script.drain(addr(2));
    script.changes();
    script
}

/// Runs to the next ping of a probe.
pub(crate) fn probes(script: &mut Script) -> Sent {
    for _ in 0..10 {
        script.next();
        if let Some(sent) = script.one() {
            return sent;
        }
    }
    panic!("no probe");
}
