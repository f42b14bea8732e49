//! What travels: bytes and messages by kind, and how one rumor spreads.

use core::fmt;
use std::collections::BTreeMap;

use gossip_proto::wire::keyring::Keyring;
use gossip_proto::wire::label::Label;
use gossip_proto::wire::layers::Layers;
use gossip_proto::wire::message::{Accusation, IndirectPing, MessageType, Ping};
use gossip_proto::wire::packet::{Scratch, UnpackLimits, open, unpack};
use gossip_proto::wire::serf::{SerfType, UserEvent};
use gossip_proto::wire::stream::{Side, StreamLimits, StreamMessage, StreamReader};
use gossip_proto::{Bytes, ChangeKind, Instant, Machine};

use crate::net::record::{Change, News};
use crate::net::{Network, NodeId, Observer, StreamPath};

/// Opens datagrams as their senders' peers would. A machine does not give away its keys, so they must be given.
#[derive(Default)]
pub(super) struct Opener {
    pub(super) keyring: Option<Keyring>,
    layers: BTreeMap<NodeId, Layers>,
    scratch: Scratch,
    copy: Vec<u8>,
}

impl Opener {
    pub(super) fn meet<M: Machine>(&mut self, net: &Network<M>, node: NodeId) {
        let Some(machine) = net.machine(node) else { return };
        let values = machine.config().values();
        let layers = Layers {
            label: Label::new(&values.label[..]).unwrap_or_default(),
            keyring: self.keyring.clone(),
            verify_incoming: *values.verify_outgoing,
            ..Layers::default()
        };
        self.layers.insert(node, layers);
    }

    /// The messages in a datagram, type byte first; whether it could be opened.
    pub(super) fn messages(&mut self, from: NodeId, datagram: &[u8], visit: &mut dyn FnMut(&[u8])) -> bool {
        let Some(layers) = self.layers.get(&from) else { return false };
        self.copy.clear();
        self.copy.extend_from_slice(datagram);
        let Ok(body) = open(layers, &mut self.copy) else { return false };
        // A sealed body that no key was given for begins with the version of its seal, which are the types of pings.
        let sealed = layers.keyring.is_none()
            && match body {
                [0, ping @ ..] => Ping::decode(ping).is_err(),
                [1, request @ ..] => IndirectPing::decode(request).is_err(),
                _ => false,
            };
        if sealed {
            return false;
        }
        unpack(body, &mut self.scratch, &UnpackLimits::default(), visit);
        true
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident $name:literal,)*) => {
        /// What bytes on the wire are for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$kind),*];

            /// A name for tables.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }
        }
    };
}

kinds! {
    /// Pings, direct and for others.
    Ping "ping",
    /// Requests to ping another node.
    IndirectPing "ping-req",
    /// Acknowledgements, coordinates included.
    Ack "ack",
    /// Negative acknowledgements.
    Nack "nack",
    /// Suspicions.
    Suspect "suspect",
    /// Joins, updates and refutations.
    Alive "alive",
    /// Deaths and farewells.
    Dead "dead",
    /// User messages of memberlist, and messages of Serf that are none of the next three.
    User "user",
    /// Serf's join and leave intents.
    Intent "intent",
    /// Serf's user events.
    UserEvent "user event",
    /// Serf's queries and the answers to them, relayed ones included.
    Query "query",
    /// Push/pull exchanges, by stream.
    Exchange "push/pull",
    /// Pings and their acknowledgements by stream.
    StreamPing "stream ping",
    /// User messages by stream, and errors.
    StreamOther "stream other",
    /// What encloses messages in datagrams: compound headers, labels, seals, checksums. It has no messages.
    Framing "framing",
    /// What could not be opened, and streams that ended before their message did.
    Opaque "opaque",
}

impl Kind {
    fn of(message: &[u8], serf: bool) -> Self {
        match message.first().and_then(|byte| MessageType::from_byte(*byte)) {
            Some(MessageType::Ping) => Self::Ping,
            Some(MessageType::IndirectPing) => Self::IndirectPing,
            Some(MessageType::Ack) => Self::Ack,
            Some(MessageType::Nack) => Self::Nack,
            Some(MessageType::Suspect) => Self::Suspect,
            Some(MessageType::Alive) => Self::Alive,
            Some(MessageType::Dead) => Self::Dead,
            Some(MessageType::User) if serf => match message.get(1) {
                Some(&kind) if kind == SerfType::Leave as u8 || kind == SerfType::Join as u8 => Self::Intent,
                Some(&kind) if kind == SerfType::UserEvent as u8 => Self::UserEvent,
                Some(&kind)
                    if [SerfType::Query, SerfType::QueryResponse, SerfType::Relay]
                        .iter()
                        .any(|of| *of as u8 == kind) =>
                {
                    Self::Query
                }
                _ => Self::User,
            },
            Some(MessageType::User) => Self::User,
            _ => Self::Opaque,
        }
    }
}

/// Messages and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages; of what is opaque, datagrams.
    pub messages: u64,
    /// Bytes on the wire.
    pub bytes: u64,
}

type Tallies = [Tally; Kind::ALL.len()];

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    sent: Tallies,
    received: Tallies,
}

/// Counts messages and bytes per node and kind, sent and received.
///
/// A message counts for what it takes in its datagram, its type byte included; what is left of the datagram is
/// [`Kind::Framing`], so that the bytes of all kinds together are those of the datagrams. In a compressed datagram each
/// message counts for its share. Sealed datagrams and streams are opened with the keys of
/// [`Load::keyring`]; what those do not open is [`Kind::Opaque`]. Bytes of streams are those written, without what TCP adds.
/// UDP and IP headers do not count either.
pub struct Load {
    serf: bool,
    opener: Opener,
    nodes: BTreeMap<NodeId, Account>,
    streams: BTreeMap<(u64, bool), Flow>,
}

struct Flow {
    reader: StreamReader,
    kind: Option<Kind>,
    written: u64,
    read: u64,
}

impl Load {
    /// For clusters of [`gossip_proto::Membership`].
    pub fn new() -> Self {
        Self { serf: false, opener: Opener::default(), nodes: BTreeMap::new(), streams: BTreeMap::new() }
    }

    /// For clusters of [`gossip_proto::Node`], whose user messages are Serf's.
    pub fn serf() -> Self {
        Self { serf: true, ..Self::new() }
    }

    /// Keys that sealed traffic is opened with; give them before it is attached.
    pub fn keyring(mut self, keyring: Keyring) -> Self {
        self.opener.keyring = Some(keyring);
        self
    }

    /// What a node sent of a kind.
    pub fn sent(&self, node: NodeId, kind: Kind) -> Tally {
        self.nodes.get(&node).map_or_else(Tally::default, |account| account.sent[kind as usize])
    }

    /// What a node received of a kind: what its process was handed, not what got lost before.
    pub fn received(&self, node: NodeId, kind: Kind) -> Tally {
        self.nodes.get(&node).map_or_else(Tally::default, |account| account.received[kind as usize])
    }

    /// What all nodes sent of a kind.
    pub fn total(&self, kind: Kind) -> Tally {
        let mut total = Tally::default();
        for account in self.nodes.values() {
            total.messages += account.sent[kind as usize].messages;
            total.bytes += account.sent[kind as usize].bytes;
        }
        total
    }

    /// What a node sent in all.
    pub fn sent_by(&self, node: NodeId) -> Tally {
        Kind::ALL.iter().fold(Tally::default(), |sum, kind| {
            let tally = self.sent(node, *kind);
            Tally { messages: sum.messages + tally.messages, bytes: sum.bytes + tally.bytes }
        })
    }

    /// Starts counting anew.
    pub fn clear(&mut self) {
        self.nodes.clear();
    }

    fn datagram(&mut self, from: NodeId, datagram: &[u8]) -> Tallies {
        let mut tallies = Tallies::default();
        let (serf, mut sum) = (self.serf, 0);
        let opened = self.opener.messages(from, datagram, &mut |message| {
            let tally = &mut tallies[Kind::of(message, serf) as usize];
            tally.messages += 1;
            tally.bytes += message.len() as u64;
            sum += message.len() as u64;
        });
        let len = datagram.len() as u64;
        if !opened {
            tallies[Kind::Opaque as usize] = Tally { messages: 1, bytes: len };
            return tallies;
        }
        if sum > len {
            for tally in &mut tallies {
                tally.bytes = tally.bytes * len / sum;
            }
            sum = tallies.iter().map(|tally| tally.bytes).sum();
        }
        tallies[Kind::Framing as usize].bytes += len - sum;
        tallies
    }
}

fn add(to: &mut Tallies, what: &Tallies) {
    for (to, what) in to.iter_mut().zip(what) {
        to.messages += what.messages;
        to.bytes += what.bytes;
    }
}

impl<M: Machine> Observer<M> for Load {
    fn started(&mut self, net: &Network<M>, node: NodeId) {
        self.opener.meet(net, node);
    }

    fn sent(&mut self, _: Instant, from: NodeId, _: Option<NodeId>, datagram: &[u8]) {
        let tallies = self.datagram(from, datagram);
        add(&mut self.nodes.entry(from).or_default().sent, &tallies);
    }

    fn received(&mut self, _: Instant, from: NodeId, to: NodeId, datagram: &[u8]) {
        let tallies = self.datagram(from, datagram);
        add(&mut self.nodes.entry(to).or_default().received, &tallies);
    }

    fn wrote(&mut self, _: Instant, stream: StreamPath, bytes: &[u8]) {
        let side = if stream.by_opener { Side::Accepting } else { Side::Opening };
        let flow = self.streams.entry((stream.number, stream.by_opener)).or_insert_with(|| Flow {
            reader: StreamReader::new(side, StreamLimits::default()),
            kind: None,
            written: 0,
            read: 0,
        });
        flow.written += bytes.len() as u64;
        let sent = &mut self.nodes.entry(stream.from).or_default().sent;
        sent[flow.kind.unwrap_or(Kind::Opaque) as usize].bytes += bytes.len() as u64;
        let (None, Some(layers)) = (flow.kind, self.opener.layers.get(&stream.from)) else { return };
        let mut fed = flow.reader.feed(layers, bytes, usize::MAX).is_ok();
        while fed && flow.reader.pending() == gossip_proto::wire::stream::Pending::Work {
            fed = flow.reader.feed(layers, &[], usize::MAX).is_ok();
        }
        let kind = match flow.reader.message() {
            Some(StreamMessage::PushPull { .. }) => Kind::Exchange,
            Some(StreamMessage::Ping(_) | StreamMessage::Ack(_)) => Kind::StreamPing,
            Some(StreamMessage::User(_) | StreamMessage::Error(_)) => Kind::StreamOther,
            None => return,
        };
        // What was not known until now is.
        flow.kind = Some(kind);
        flow.reader = StreamReader::new(side, StreamLimits::default());
        sent[Kind::Opaque as usize].bytes -= flow.written.min(sent[Kind::Opaque as usize].bytes);
        sent[kind as usize].bytes += flow.written;
        sent[kind as usize].messages += 1;
        let received = &mut self.nodes.entry(stream.to).or_default().received;
        received[Kind::Opaque as usize].bytes -= flow.read.min(received[Kind::Opaque as usize].bytes);
        received[kind as usize].bytes += flow.read;
        received[kind as usize].messages += 1;
    }

    fn read(&mut self, _: Instant, stream: StreamPath, bytes: &[u8]) {
        let Some(flow) = self.streams.get_mut(&(stream.number, stream.by_opener)) else { return };
        flow.read += bytes.len() as u64;
        let kind = flow.kind.unwrap_or(Kind::Opaque);
        self.nodes.entry(stream.to).or_default().received[kind as usize].bytes += bytes.len() as u64;
        if flow.kind.is_some() && flow.read >= flow.written {
            self.streams.remove(&(stream.number, stream.by_opener));
        }
    }
}

impl Default for Load {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load").field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

/// Follows one rumor: how many copies were received, by whom first, and over how many hops.
///
/// Hops are read off the datagrams that processes were handed. The first node that sends the rumor is the origin, at hop 0;
/// a node's hop is one more than that of who sent it the first copy. Streams are not looked into: a node that says it
/// has the rumor without ever having got it in a datagram learnt it in an exchange, is counted in
/// [`Spread::by_exchange`], and has no hop, nor has what it passes on first.
pub struct Spread {
    opener: Opener,
    matches: Matcher,
    said: Said,
    origin: Option<NodeId>,
    begun: Option<Instant>,
    copies: u64,
    first: BTreeMap<NodeId, (Instant, NodeId, Option<u32>)>,
    by_exchange: BTreeMap<NodeId, Instant>,
}

/// Whether a message, type byte first, is the rumor.
type Matcher = Box<dyn Fn(&[u8]) -> bool>;

/// By what a node says that it has a rumor.
enum Said {
    Nothing,
    UserEvent { name: Bytes, payload: Bytes },
    Failed { name: Bytes },
}

impl Spread {
    /// Follows the messages, type byte first, for which this holds.
    pub fn of(matches: impl Fn(&[u8]) -> bool + 'static) -> Self {
        Self::new(Box::new(matches), Said::Nothing)
    }

    /// Follows a user event of Serf's.
    pub fn of_event(name: impl Into<Bytes>, payload: impl Into<Bytes>) -> Self {
        let (name, payload) = (name.into(), payload.into());
        let said = Said::UserEvent { name: name.clone(), payload: payload.clone() };
        let matches = move |message: &[u8]| match message {
            [user, event, body @ ..]
                if *user == MessageType::User.byte() && *event == SerfType::UserEvent as u8 =>
            {
                UserEvent::decode(body)
                    .is_ok_and(|(event, _)| *event.name == *name && *event.payload == *payload)
            }
            _ => false,
        };
        Self::new(Box::new(matches), said)
    }

    /// Follows the death of a member, of whatever incarnation and whoever declared it.
    pub fn of_death(member: impl Into<Bytes>) -> Self {
        let name = member.into();
        let said = Said::Failed { name: name.clone() };
        let matches = move |message: &[u8]| match message {
            [dead, body @ ..] if *dead == MessageType::Dead.byte() => {
                Accusation::decode(body).is_ok_and(|(dead, _)| *dead.node == *name)
            }
            _ => false,
        };
        Self::new(Box::new(matches), said)
    }

    fn new(matches: Matcher, said: Said) -> Self {
        Self {
            opener: Opener::default(),
            matches,
            said,
            origin: None,
            begun: None,
            copies: 0,
            first: BTreeMap::new(),
            by_exchange: BTreeMap::new(),
        }
    }

    /// Keys that sealed traffic is opened with; give them before it is attached.
    pub fn keyring(mut self, keyring: Keyring) -> Self {
        self.opener.keyring = Some(keyring);
        self
    }

    /// Who sent it first, and when.
    pub fn origin(&self) -> Option<(NodeId, Instant)> {
        self.origin.zip(self.begun)
    }

    /// Copies that processes were handed in datagrams; several in one datagram are several.
    pub fn copies(&self) -> u64 {
        self.copies
    }

    /// How many nodes have it, the origin included.
    pub fn reached(&self) -> usize {
        usize::from(self.origin.is_some()) + self.first.len() + self.by_exchange.len()
    }

    /// Who got it by datagram: when, from whom, and its hop, if that is known.
    pub fn first(&self) -> &BTreeMap<NodeId, (Instant, NodeId, Option<u32>)> {
        &self.first
    }

    /// Who learnt it in an exchange, and when.
    pub fn by_exchange(&self) -> &BTreeMap<NodeId, Instant> {
        &self.by_exchange
    }

    /// The relative message redundancy: copies received for each node that needed one, less one; 0 is perfect (Plumtree's
    /// RMR). `None` until somebody got it by datagram.
    pub fn redundancy(&self) -> Option<f64> {
        (!self.first.is_empty()).then(|| self.copies as f64 / self.first.len() as f64 - 1.0)
    }

    /// The last delivery hop: the most hops it took to any node.
    pub fn last_hop(&self) -> Option<u32> {
        self.first.values().filter_map(|(_, _, hop)| *hop).max()
    }

    fn hop(&self, node: NodeId) -> Option<u32> {
        if self.origin == Some(node) { Some(0) } else { self.first.get(&node)?.2 }
    }

    fn copies_in(&mut self, from: NodeId, datagram: &[u8]) -> u64 {
        let (mut copies, matches) = (0, &self.matches);
        self.opener.messages(from, datagram, &mut |message| copies += u64::from(matches(message)));
        copies
    }

    fn learnt(&mut self, node: NodeId, at: Instant) {
        // Who says it before anybody sent it is where it comes from.
        if self.origin.is_none() {
            (self.origin, self.begun) = (Some(node), Some(at));
        } else if self.origin != Some(node) && !self.first.contains_key(&node) {
            self.by_exchange.entry(node).or_insert(at);
        }
    }
}

impl<M: Machine> Observer<M> for Spread {
    fn started(&mut self, net: &Network<M>, node: NodeId) {
        self.opener.meet(net, node);
    }

    fn sent(&mut self, at: Instant, from: NodeId, _: Option<NodeId>, datagram: &[u8]) {
        if self.origin.is_none() && self.copies_in(from, datagram) > 0 {
            (self.origin, self.begun) = (Some(from), Some(at));
        }
    }

    fn received(&mut self, at: Instant, from: NodeId, to: NodeId, datagram: &[u8]) {
        let copies = self.copies_in(from, datagram);
        if copies == 0 {
            return;
        }
        self.copies += copies;
        if self.origin != Some(to) && !self.by_exchange.contains_key(&to) {
            let hop = self.hop(from).map(|hop| hop + 1);
            self.first.entry(to).or_insert((at, from, hop));
        }
    }

    fn changed(&mut self, node: NodeId, change: &Change) {
        if let Said::Failed { name } = &self.said
            && change.kind == ChangeKind::Failed
            && change.name.as_bytes() == &name[..]
        {
            self.learnt(node, change.at);
        }
    }

    fn heard(&mut self, at: Instant, node: NodeId, news: &News) {
        if let (Said::UserEvent { name, payload }, News::UserEvent { name: its, payload: said, .. }) =
            (&self.said, news)
            && name[..] == its[..]
            && payload[..] == said[..]
        {
            self.learnt(node, at);
        }
    }
}

impl fmt::Debug for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spread")
            .field("origin", &self.origin)
            .field("copies", &self.copies)
            .finish_non_exhaustive()
    }
}
