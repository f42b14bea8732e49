//! A whole node against the recorded behaviour of memberlist: packets in, streams in, messages one after another.
use crate::support;

use core::net::SocketAddr;
use core::time::Duration;
use gossip_proto::wire::keyring::{Key, Keyring};
use gossip_proto::wire::label::Label;
use gossip_proto::wire::layers::{Compression, Layers};
use gossip_proto::wire::lzw::Deflater;
use gossip_proto::wire::message::*;
use gossip_proto::wire::packet::{self, Envelope, Scratch, UnpackLimits};
use gossip_proto::wire::stream::{Side, StreamLimits, StreamReader, write_stream_with};
use gossip_proto::*;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use support::node::{AliveOf, PLAIN, VSN, machine, message, messages};
use support::{Case, Tally, hex, memberlist_cases, unhex};

const SELF: &str = "127.0.0.1:7946";
/// Where the packets of the section `packet_cases` come from.
const SENDER: &str = "127.0.0.9:9999";
/// A member that the recording does not have, for looking into the node from outside.
const OBSERVER: &str = "~observer";

/// With every address that the packet makes the node write to known as a member's: of the one that a ping says it is from.
#[test]
fn packet_cases() {
    let mut tally = Tally::new("packet_cases");
    for case in memberlist_cases("packet_cases") {
        let mut node = Node::new(&case.value["config"]);
        for (index, sent) in recorded_sends(&case).iter().enumerate() {
            let named = node.claims_to_be(&case.bytes("hex"), sent.0);
            node.admit(&named.unwrap_or_else(|| node.name_of(sent, index)), sent.0);
        }
        node.admit("sender", SENDER.parse().expect("an address"));
        node.drain(SENDER.parse().expect("an address"));
        let originates = node.asks_to_relay(&case.bytes("hex"));
        let recorded = recorded_sends(&case);
        let ours = node.takes(&case.bytes("hex"), recorded.len());
        let exact = same_sends(&node, &ours, &recorded, false);
        let code = match &exact {
            Err(_) if same_sends(&node, &ours, &recorded, true).is_ok() => "random sequence number",
            _ => "",
        };
        tally.judge(&case, &[("originates", if originates { "ping" } else { "nothing" })], code, exact);
    }
    tally.finish();
}

/// With nobody known.
#[test]
fn packet_cases_of_strangers() {
    let mut tally = Tally::new("packet_cases.strangers");
    for case in memberlist_cases("packet_cases") {
        let mut node = Node::new(&case.value["config"]);
        let source: SocketAddr = SENDER.parse().expect("an address");
        let acks: Vec<_> = recorded_sends(&case)
            .into_iter()
            .filter(|(_, bytes)| {
                node.opened(bytes).iter().any(|message| message[0] == MessageType::Ack.byte())
            })
            .collect();
        let asks = if node.asks_to_relay(&case.bytes("hex")) {
            "an indirect ping"
        } else if acks.len() > 1 {
            "several acks"
        } else if acks.iter().any(|(to, _)| *to != source) {
            "an ack to another address"
        } else {
            "an ack at most"
        };
        let recorded = recorded_sends(&case);
        let ours = node.takes(&case.bytes("hex"), recorded.len());
        let (code, expected) = match asks {
            "an indirect ping" => ("not relayed", acks),
            "several acks" => ("one ack", vec![(source, acks[0].1.clone())]),
            "an ack to another address" => ("to the sender", vec![(source, acks[0].1.clone())]),
            _ => ("", recorded.clone()),
        };
        let code = if same_sends(&node, &ours, &expected, false).is_ok() { code } else { "other" };
        let matches = same_sends(&node, &ours, &recorded, false);
        tally.judge(&case, &[("asks", asks)], code, matches);
    }
    tally.finish();
}

/// Each stream is given in one piece and byte by byte.
#[test]
fn stream_cases() {
    let mut tally = Tally::new("stream_cases");
    for case in memberlist_cases("stream_cases") {
        let (request, recorded) = (case.bytes("in_hex"), case.bytes("out_hex"));
        let whole = Node::new(&case.value["config"]).answers(&request, request.len().max(1));
        let pieces = Node::new(&case.value["config"]).answers(&request, 1);
        let layers = layers(&case.value["config"]);
        let matches = match (whole, pieces) {
            (Some(whole), Some(pieces)) => {
                same_reply(&layers, &whole, &recorded).and_then(|()| same_reply(&layers, &pieces, &recorded))
            }
            _ => Err("never closed".into()),
        };
        tally.judge(&case, &[], "", matches);
    }
    tally.finish();
}

/// Each step is one case. A step is given over the wire and its effect is read from the wire: the table from a
/// push/pull, the dissemination queue from what rides on acks.
#[test]
fn state_scenarios() {
    let mut tally = Tally::new("state_scenarios");
    for scenario in memberlist_cases("state_scenarios") {
        let mut run = Scenario::new(&scenario.value["config"]);
        let steps = scenario.value["steps"].as_array().expect("steps");
        for (index, recorded) in steps.iter().enumerate() {
            run.sleep(&scenario.value["config"], index, steps.len());
            let case = Case { name: format!("{}/{index}", scenario.name), ..scenario.clone() };
            let ours = run.step(&recorded["op"]);
            let mut deviations = Deviations::default();
            let expected = run.expected(recorded, &mut deviations);
            run.before = ours.clone();
            let matches =
                if ours == expected { Ok(()) } else { Err(format!("\n  ours {ours}\n  not  {expected}")) };
            let facts: Vec<_> = deviations.0.iter().map(|(fact, _)| (*fact, "yes")).collect();
            let codes: Vec<_> = deviations.0.iter().map(|(_, code)| *code).collect();
            tally.judge_all(&case, &facts, &codes, matches);
        }
    }
    tally.finish();
}

/// What was sent to whom.
type Sends = Vec<(SocketAddr, Vec<u8>)>;

fn recorded_sends(case: &Case) -> Sends {
    let sent = case.value["sent"].as_array().expect("sent");
    let text = |value: &Value| value.as_str().expect("a string").to_owned();
    sent.iter()
        .map(|sent| (text(&sent["to"]).parse().expect("an address"), unhex(&text(&sent["hex"]))))
        .collect()
}

/// Sealed packets are compared opened, since their nonces are random. `any_seq`: numbers of pings are not compared.
fn same_sends(node: &Node, ours: &Sends, recorded: &Sends, any_seq: bool) -> Result<(), String> {
    let sealed = node.layers.sealing_key().is_some();
    let plain = |(to, bytes): &(SocketAddr, Vec<u8>)| {
        if !sealed && !any_seq {
            return (*to, vec![bytes.clone()]);
        }
        let mut messages = node.opened(bytes);
        for message in &mut messages {
            if any_seq && message[0] == MessageType::Ping.byte() {
                let ping = Ping::decode(&message[1..]).expect("a ping").0;
                let mut masked = vec![MessageType::Ping.byte()];
                Ping { seq: 0, ..ping }.encode(&mut masked).expect("a vector has room");
                *message = masked;
            }
        }
        (*to, messages)
    };
    let (a, b): (Vec<_>, Vec<_>) = (ours.iter().map(plain).collect(), recorded.iter().map(plain).collect());
    if a == b {
        return Ok(());
    }
    let show = |sends: &Sends| {
        sends.iter().map(|(to, bytes)| format!("{to} {}", hex(bytes))).collect::<Vec<_>>().join(", ")
    };
    Err(format!("sent [{}], not [{}]", show(ours), show(recorded)))
}

fn same_reply(layers: &Layers, ours: &[u8], recorded: &[u8]) -> Result<(), String> {
    let opened = |bytes: &[u8]| {
        let mut reader = StreamReader::new(Side::Opening, StreamLimits::default());
        reader.feed(layers, bytes, 1 << 20).ok()?;
        reader.opened().map(<[u8]>::to_vec)
    };
    let same = match layers.sealing_key() {
        Some(_) => ours.len() == recorded.len() && opened(ours) == opened(recorded),
        None => ours == recorded,
    };
    if same { Ok(()) } else { Err(format!("answers {}, not {}", hex(ours), hex(recorded))) }
}

fn layers(config: &Value) -> Layers {
    let flag = |key: &str, default: bool| config[key].as_bool().unwrap_or(default);
    Layers {
        label: Label::new(config["Label"].as_str().unwrap_or_default()).expect("a label"),
        keyring: keyring(config),
        skip_inbound_label_check: flag("SkipInboundLabelCheck", false),
        verify_incoming: flag("GossipVerifyIncoming", true),
        verify_outgoing: flag("GossipVerifyOutgoing", true),
        ..Layers::default()
    }
}

fn keyring(config: &Value) -> Option<Keyring> {
    let key = Key::new(&unhex(config["key"].as_str()?)).expect("a key");
    Some(Keyring::new(key, []).expect("a ring"))
}

/// The node "self" of the recordings.
struct Node {
    machine: Membership,
    layers: Layers,
    now: Instant,
}

impl Node {
    fn new(recorded: &Value) -> Self {
        let mut config = Config::lan("self", SELF.parse().expect("an address"));
        config
            .compression(Compression::Off)
            .probe_interval(Duration::ZERO)
            .gossip_interval(Duration::ZERO)
            .push_pull_interval(Duration::ZERO);
        for (key, value) in recorded.as_object().expect("a config") {
            let flag = value.as_bool();
            match (key.as_str(), flag, value.as_str(), value.as_u64()) {
                ("Label", _, Some(label), _) => config.label(label.as_bytes().to_vec().into()),
                ("SkipInboundLabelCheck", Some(flag), ..) => config.skip_inbound_label_check(flag),
                ("GossipVerifyIncoming", Some(flag), ..) => config.verify_incoming(flag),
                ("GossipVerifyOutgoing", Some(flag), ..) => config.verify_outgoing(flag),
                ("EnableCompression", Some(flag), ..) => {
                    config.compression(if flag { Compression::All } else { Compression::Off })
                }
                ("RequireNodeNames", Some(flag), ..) => config.require_node_names(flag),
                ("ProtocolVersion", _, _, Some(version)) => config.protocol_version(version as u8),
                ("DeadNodeReclaimTime_ms", _, _, Some(ms)) => {
                    config.dead_node_reclaim(Duration::from_millis(ms))
                }
                ("key", _, Some(_), _) => config.keyring(keyring(recorded)),
                ("note", ..) => &mut config,
                other => panic!("no such parameter: {other:?}"),
            };
        }
        let mut node = Self { machine: machine(config, 1), layers: layers(recorded), now: Instant::ORIGIN };
        while node.machine.poll_membership().is_some() {}
        node
    }

    /// The messages in a packet, as a receiver with the same layers finds them.
    fn opened(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut bytes = bytes.to_vec();
        let label = self.layers.label.clone();
        let has_label = bytes.first() == Some(&MessageType::Label.byte());
        let mut lenient =
            Layers { skip_inbound_label_check: false, verify_incoming: false, ..self.layers.clone() };
        lenient.label = if has_label { label } else { Label::default() };
        let mut found = Vec::new();
        if let Ok(body) = packet::open(&lenient, &mut bytes) {
            packet::unpack(body, &mut Scratch::new(), &UnpackLimits::default(), &mut |message| {
                found.push(message.to_vec())
            });
        }
        found
    }

    /// Whether a packet, as this node finds it, has an indirect ping.
    fn asks_to_relay(&self, bytes: &[u8]) -> bool {
        let mut asks = false;
        if let Ok(body) = packet::open(&self.layers, &mut bytes.to_vec()) {
            packet::unpack(body, &mut Scratch::new(), &UnpackLimits::default(), &mut |message| {
                asks |= message[0] == MessageType::IndirectPing.byte()
                    && IndirectPing::decode(&message[1..]).is_ok();
            });
        }
        asks
    }

    /// Who a ping in the packet says it is from, at that address.
    fn claims_to_be(&self, bytes: &[u8], at: SocketAddr) -> Option<String> {
        let from = |message: Vec<u8>| {
            let ping = Ping::decode(message.strip_prefix(&[MessageType::Ping.byte()])?).ok()?.0;
            let ip = <[u8; 4]>::try_from(&*ping.source_addr).ok()?;
            let claimed = SocketAddr::from((ip, ping.source_port));
            (claimed == at).then(|| String::from_utf8_lossy(&ping.source_node).into_owned())
        };
        self.opened(bytes).into_iter().find_map(from)
    }

    /// The name that a recorded packet gives its receiver.
    fn name_of(&self, (_, bytes): &(SocketAddr, Vec<u8>), index: usize) -> String {
        let pings = self.opened(bytes).into_iter().find(|message| message[0] == MessageType::Ping.byte());
        let name = pings.and_then(|ping| {
            Some(String::from_utf8_lossy(&Ping::decode(&ping[1..]).ok()?.0.node).into_owned())
        });
        name.filter(|name| !name.is_empty()).unwrap_or_else(|| format!("member{index}"))
    }

    /// Puts a packet into the layers that the node expects.
    fn sealed(&self, body: &[u8]) -> Vec<u8> {
        let mut buf = vec![0; 65_536];
        let mut layers = self.layers.clone();
        layers.verify_outgoing = true;
        let mut envelope = Envelope::new(&layers, &mut buf, 65_000, false).expect("room");
        envelope.body()[..body.len()].copy_from_slice(body);
        let len = envelope.finish_with(body.len(), &[9; 12], &mut Deflater::new()).expect("room");
        let skipped = if layers.skip_inbound_label_check { layers.label.header_len() } else { 0 };
        buf[skipped..len].to_vec()
    }

    fn hear(&mut self, from: SocketAddr, body: &[u8]) {
        let mut datagram = self.sealed(body);
        self.machine
            .handle_datagram(self.now, Source::unauthenticated(from), &mut datagram)
            .expect("a packet");
    }

    fn admit(&mut self, name: &str, addr: SocketAddr) {
        let SocketAddr::V4(v4) = addr else { panic!("IPv4") };
        let addr = v4.ip().octets();
        let alive = AliveOf { name, incarnation: 1, addr: &addr, port: v4.port(), meta: b"", vsn: &PLAIN };
        self.hear(v4.into(), &alive.encode());
    }

    /// Empties the dissemination queue into acks to a member; returns the rumors in the order of sending.
    fn drain(&mut self, member: SocketAddr) -> Vec<Vec<u8>> {
        let mut rumors = Vec::new();
        loop {
            let ping = message(MessageType::Ping, |bytes| Ping { seq: 1, ..Ping::default() }.encode(bytes));
            self.hear(member, &ping);
            let sent = self.sent();
            let [(to, packet)] = &sent[..] else { panic!("{} acks", sent.len()) };
            assert_eq!(*to, member);
            let messages = if self.layers.sealing_key().is_some() {
                self.opened(packet)
            } else {
                let label = packet.iter().position(|_| packet[0] != MessageType::Label.byte());
                messages(&packet[label.unwrap_or_else(|| self.layers.label.header_len())..])
            };
            if messages.len() == 1 {
                return rumors;
            }
            for rumor in messages.into_iter().skip(1).filter(|rumor| rumor[0] != MessageType::Ack.byte()) {
                if !rumors.contains(&rumor) {
                    rumors.push(rumor);
                }
            }
        }
    }

    fn sent(&mut self) -> Sends {
        let mut buf = [0; 1400];
        let mut sends = Vec::new();
        while let Some(transmit) = self.machine.poll_transmit(self.now, &mut buf) {
            sends.push((transmit.to, buf[..transmit.len].to_vec()));
        }
        sends
    }

    /// What the node sends because of a packet; where a recording has more than the immediate answers, timers run.
    fn takes(&mut self, datagram: &[u8], expected: usize) -> Sends {
        let source = Source::unauthenticated(SENDER.parse().expect("an address"));
        let _ = self.machine.handle_datagram(self.now, source, &mut datagram.to_vec());
        let mut sends = self.sent();
        if sends.len() < expected {
            self.now += Duration::from_secs(1);
            while self.machine.poll_timeout().is_some_and(|at| at <= self.now) {
                self.machine.handle_timeout(self.now);
            }
            sends.extend(self.sent());
        }
        sends
    }

    /// What the node writes on a stream before it closes it; the peer finishes its side when nothing more happens.
    /// `None` if it is never closed.
    fn answers(&mut self, request: &[u8], piece: usize) -> Option<Vec<u8>> {
        let id = self
            .machine
            .accept_stream(self.now, Source::unauthenticated(SENDER.parse().expect("an address")))
            .ok()?;
        let mut reply = Vec::new();
        let mut closed = false;
        for piece in request.chunks(piece) {
            let _ = self.machine.handle_stream_data(self.now, id, piece, false);
            closed |= self.writes(id, &mut reply);
        }
        if !closed {
            let _ = self.machine.handle_stream_data(self.now, id, &[], true);
            closed |= self.writes(id, &mut reply);
        }
        closed.then_some(reply)
    }

    fn writes(&mut self, id: StreamId, reply: &mut Vec<u8>) -> bool {
        let mut buf = [0; 700];
        while let Some(action) = self.machine.poll_stream() {
            match action {
                StreamAction::Close { id: closed } if closed == id => return true,
                StreamAction::Writable { .. } => loop {
                    let written = self.machine.poll_stream_data(self.now, id, &mut buf);
                    reply.extend(&buf[..written.len]);
                    if written.len == 0 || written.fin {
                        break;
                    }
                },
                other => panic!("{other:?}"),
            }
        }
        false
    }

    /// The table, as the node shows it to whom it joins; one that has left no longer joins, but still answers.
    fn table(&mut self) -> Vec<Value> {
        let observer: SocketAddr = "127.0.0.200:7946".parse().expect("an address");
        if self.machine.join(self.now, &[observer.into()]).is_err() {
            return self.exchange(&[]).expect("a state");
        }
        let Some(StreamAction::Open { id, .. }) = self.machine.poll_stream() else { panic!("no stream") };
        self.machine.handle_stream_opened(self.now, id);
        let mut request = Vec::new();
        assert!(!self.writes(id, &mut request));
        self.machine.handle_stream_failed(self.now, id, StreamFailure::Reset);
        assert_eq!(self.machine.poll_stream(), Some(StreamAction::Close { id }));
        shown_state(&self.layers, Side::Accepting, &request).expect("a state")
    }

    /// Exchanges states; the reply, or the error.
    fn exchange(&mut self, states: &[Value]) -> Result<Vec<Value>, String> {
        let header = PushPullHeader { nodes: states.len() as i64, user_state_len: 0, join: false };
        let mut body = message(MessageType::PushPull, |bytes| header.encode(bytes));
        for state in states {
            let bytes = |key: &str| unhex(state[key].as_str().expect("hex"));
            let number = |key: &str| state[key].as_u64().expect("a number");
            let (addr, meta, vsn) = (bytes("Addr"), bytes("Meta"), bytes("Vsn"));
            let state = NodeState {
                name: Cow::Borrowed(state["Name"].as_str().expect("a name").as_bytes()),
                addr: addr.as_slice().into(),
                port: number("Port") as u16,
                meta: meta.as_slice().into(),
                incarnation: number("Incarnation") as u32,
                state: number("State") as i64,
                vsn: vsn.as_slice().into(),
            };
            state.encode(&mut body).expect("a vector has room");
        }
        let mut request = Vec::new();
        write_stream_with(&self.layers, true, &[&body], &[8; 12], &mut Deflater::new(), &mut request)
            .expect("short");
        let reply = self.answers(&request, request.len()).ok_or("never closed")?;
        shown_state(&self.layers, Side::Opening, &reply)
    }
}

/// The node states of one direction of a push/pull.
fn shown_state(layers: &Layers, side: Side, bytes: &[u8]) -> Result<Vec<Value>, String> {
    let mut reader = StreamReader::new(side, StreamLimits::default());
    reader.feed(layers, bytes, 1 << 24).map_err(|error| error.to_string())?;
    let Some(mut state) = reader.take_push_pull() else { return Err(format!("{:?}", reader.message())) };
    let mut shown = Vec::new();
    while let Some(node) = state.next_node() {
        let node = node.map_err(|error| error.to_string())?;
        let standing = ["alive", "suspect", "dead", "left"][node.state as usize];
        shown.push(json!({
            "name": String::from_utf8_lossy(&node.name),
            "addr": hex(&node.addr),
            "port": node.port,
            "meta": hex(&node.meta),
            "incarnation": node.incarnation,
            "state": standing,
            "suspicion_timer": node.state == 1,
            "vsn": hex(&node.vsn),
        }));
    }
    Ok(shown)
}

/// Ways in which our outcome of a step is another: the fact about the step, and the code of our outcome.
#[derive(Default)]
struct Deviations(Vec<(&'static str, &'static str)>);

impl Deviations {
    fn add(&mut self, fact: &'static str, code: &'static str) {
        if !self.0.contains(&(fact, code)) {
            self.0.push((fact, code));
        }
    }
}

/// A scenario on its way.
struct Scenario {
    node: Node,
    observer: SocketAddr,
    /// Our outcome of the step before.
    before: Value,
    /// Members that the reference has and we have not, and why.
    hidden: BTreeMap<String, (&'static str, &'static str)>,
    /// Members of whom we have refused the last alive: our record.
    stale: BTreeMap<String, Value>,
    /// Members of whom we have refused the last claim, as out of reach: our record.
    unreached: BTreeMap<String, Value>,
    /// We have answered a claim about ourselves under another incarnation than the reference.
    answered: bool,
    /// How often the reference has refuted what is old to us since then.
    unrefuted: u64,
}

/// An alive that is refused for its versions (W-18).
const VERSIONS: (&str, &str) = ("bad_versions", "refused");
/// A claim with an incarnation that no single claim may reach (W-3).
const REACH: (&str, &str) = ("incarnation_out_of_reach", "refused");
/// The same about the node itself.
const ANSWER: (&str, &str) = ("own_incarnation_out_of_reach", "answered as far as one claim goes");
/// An alive of incarnation 0.
const GHOST: (&str, &str) = ("incarnation_zero", "no ghost");

impl Scenario {
    fn new(config: &Value) -> Self {
        let observer = "127.0.0.200:7946".parse().expect("an address");
        let mut node = Node::new(config);
        node.admit(OBSERVER, observer);
        node.drain(observer);
        while node.machine.poll_membership().is_some() {}
        Self {
            node,
            observer,
            before: json!({ "nodes": [] }),
            hidden: BTreeMap::new(),
            stale: BTreeMap::new(),
            unreached: BTreeMap::new(),
            answered: false,
            unrefuted: 0,
        }
    }

    /// The pauses that a recording has made, as its note tells.
    fn sleep(&mut self, config: &Value, step: usize, steps: usize) {
        let words: Vec<&str> = config["note"].as_str().unwrap_or_default().split(' ').collect();
        let ["sleep", ms, "ms", "before", "the", "last", count, ..] = words[..] else { return };
        let count = match count {
            "one" | "step" => 1,
            "two" => 2,
            "three" => 3,
            other => panic!("{other}"),
        };
        if step + count == steps {
            self.node.now += Duration::from_millis(ms.parse().expect("a number"));
        }
    }

    /// Carries out one operation and looks at what it has done.
    fn step(&mut self, op: &Value) -> Value {
        let text = |value: &Value, key: &str| value[key].as_str().expect("a string").to_owned();
        let mut error = false;
        for (kind, value) in op.as_object().expect("an operation").iter().filter(|(key, _)| *key != "error") {
            let incarnation = value["Incarnation"].as_u64().unwrap_or_default() as u32;
            match kind.as_str() {
                "alive" => {
                    self.node.hear(self.observer, &encoded_alive(value));
                }
                "suspect" => {
                    let (node, from) = (text(value, "Node"), text(value, "From"));
                    self.node.hear(self.observer, &support::node::suspect(&node, incarnation, &from));
                }
                "dead" => {
                    let (node, from) = (text(value, "Node"), text(value, "From"));
                    self.node.hear(self.observer, &support::node::dead(&node, incarnation, &from));
                }
                "push_pull_merge" => error = self.node.exchange(value.as_array().expect("states")).is_err(),
                leave if leave.starts_with("leave") => {
                    let refused = self.node.machine.leave(self.node.now).is_err();
                    let own = by_name(&self.before["nodes"]).remove("self");
                    assert_eq!(
                        refused,
                        own.is_some_and(|own| own["state"] == "left"),
                        "a leave happens once"
                    );
                }
                other => panic!("no such operation: {other}"),
            }
        }
        let mut events = Vec::new();
        while let Some(change) = self.node.machine.poll_membership() {
            let name = self.node.machine.member(change.key).expect("a member").name.to_string();
            match change.kind {
                ChangeKind::Joined => events.push(json!(format!("join {name}"))),
                ChangeKind::Updated => events.push(json!(format!("update {name}"))),
                ChangeKind::Failed | ChangeKind::Left => events.push(json!(format!("leave {name}"))),
                _ => {}
            }
        }
        while let Some(event) = self.node.machine.poll_event() {
            if let Event::Conflict { name, known, claimed } = event {
                let name = String::from_utf8_lossy(name);
                events.push(json!(format!("conflict {name} existing={known} other={claimed}")));
            }
        }
        let rumors = self.node.drain(self.observer);
        let queued: Vec<Value> =
            rumors.iter().map(|rumor| json!({ "name": subject(rumor), "hex": hex(rumor) })).collect();
        let mut nodes = self.node.table();
        nodes.retain(|node| node["name"] != OBSERVER);
        nodes.sort_by_key(|node| node["name"].to_string());
        json!({ "nodes": nodes, "events": events, "queued": queued, "health": self.node.machine.health(), "error": error })
    }

    /// The recorded outcome, with what is another with us on purpose.
    fn expected(&mut self, recorded: &Value, deviations: &mut Deviations) -> Value {
        let op = &recorded["op"];
        let mut nodes: BTreeMap<String, Value> = by_name(&recorded["nodes"]);
        let before = by_name(&self.before["nodes"]);
        let mut events = recorded["events"].as_array().expect("events").clone();
        let mut queued: Vec<(String, String)> = recorded["queued"]
            .as_array()
            .expect("queued")
            .iter()
            .map(|rumor| {
                (rumor["name"].as_str().expect("a name").into(), rumor["hex"].as_str().expect("hex").into())
            })
            .collect();

        if let Some(alive) = op.get("alive") {
            let name = alive["Node"].as_str().expect("a name").to_owned();
            let refused = match alive["Incarnation"].as_u64() {
                _ if name == "self" => None,
                Some(0) if !before.contains_key(&name) && !self.hidden.contains_key(&name) => Some(GHOST),
                _ => (!admissible(&unhex(alive["Vsn"].as_str().expect("hex")))).then_some(VERSIONS),
            };
            if let Some(record) = before.get(&name).filter(|record| another_form(record, alive)) {
                deviations.add("another_form", "the same address");
                let mut record = record.clone();
                for (field, from) in
                    [("addr", "Addr"), ("incarnation", "Incarnation"), ("meta", "Meta"), ("vsn", "Vsn")]
                {
                    record[field] = alive[from].clone();
                }
                nodes.insert(name.clone(), record);
                events.retain(|event| !event.as_str().expect("an event").starts_with("conflict "));
                queued.push((name.clone(), hex(&encoded_alive(alive))));
            }
            let taken = nodes.get(&name).is_some_and(|node| node["incarnation"] == alive["Incarnation"]);
            match refused {
                Some(why) => {
                    deviations.add(why.0, why.1);
                    match before.get(&name) {
                        Some(record) => drop(self.stale.insert(name.clone(), record.clone())),
                        None => drop(self.hidden.insert(name.clone(), why)),
                    }
                    events.retain(|event| !event.as_str().expect("an event").ends_with(&format!(" {name}")));
                    queued.retain(|(subject, _)| *subject != name);
                }
                None if taken => {
                    self.stale.remove(&name);
                    if let Some(why) = self.hidden.remove(&name)
                        && events.is_empty()
                    {
                        deviations.add(why.0, why.1);
                        events.push(json!(format!("join {name}")));
                    }
                }
                None => {}
            }
        }
        for (name, why) in &self.hidden {
            nodes.remove(name);
            deviations.add(why.0, why.1);
        }
        for (name, record) in &self.stale {
            nodes.insert(name.clone(), record.clone());
            deviations.add(VERSIONS.0, VERSIONS.1);
        }

        let mut own = before.get("self").map(|own| own["incarnation"].as_u64().expect("a number"));
        if let Some((name, said, farthest)) = claimed(op, &before) {
            self.unreached.remove(&name);
            if name == "self" {
                self.answered |= said > farthest;
                let is_old = own.is_some_and(|own| said < own);
                if self.answered && is_old {
                    queued.retain(|(_, rumor)| subject(&unhex(rumor)) != name);
                    self.unrefuted += 1;
                } else if self.answered {
                    own = Some(said.min(farthest) + 1);
                }
            } else if said > farthest {
                events.retain(|event| !event.as_str().expect("an event").ends_with(&format!(" {name}")));
                queued.retain(|(_, rumor)| subject(&unhex(rumor)) != name);
                self.unreached.insert(name.clone(), before.get(&name).cloned().unwrap_or_default());
            }
        }
        if self.answered {
            deviations.add(ANSWER.0, ANSWER.1);
            let record = nodes.get_mut("self").expect("its own record");
            record["incarnation"] = json!(own);
            for (_, rumor) in queued.iter_mut().filter(|(_, rumor)| subject(&unhex(rumor)) == "self") {
                *rumor = hex(&encoded_alive(&json!({
                    "Addr": record["addr"], "Incarnation": own, "Meta": record["meta"],
                    "Node": "self", "Port": record["port"], "Vsn": record["vsn"],
                })));
            }
        }
        for (name, record) in &self.unreached {
            deviations.add(REACH.0, REACH.1);
            match record {
                Value::Null => nodes.remove(name),
                record => nodes.insert(name.clone(), record.clone()),
            };
        }
        let health = recorded["health"].as_u64().expect("a score") - self.unrefuted;

        let mut error = op.get("push_pull_merge").is_some() && op["error"] != "";
        if error && op["push_pull_merge"].as_array().is_some_and(|states| states.iter().all(fits)) {
            // Nothing but the dead is to blame for the error; what they say of unknown members has no effect.
            deviations.add("dead_versions", "merged");
            error = false;
        }

        for (name, rumor) in &mut queued {
            let subject = subject(&unhex(rumor));
            if *name != subject {
                deviations.add("refutation", "under the node's name");
                *name = subject;
            }
        }
        let by_lane = {
            let mut sorted = queued.clone();
            sorted.sort_by_key(|(name, rumor)| (name != "self", rumor.starts_with("04")));
            sorted
        };
        if by_lane != queued {
            deviations.add("several_kinds_queued", "by lane");
            queued = by_lane;
        }
        let queued: Vec<Value> =
            queued.into_iter().map(|(name, hex)| json!({ "name": name, "hex": hex })).collect();
        let nodes: Vec<Value> = nodes.into_values().collect();
        json!({ "nodes": nodes, "events": events, "queued": queued, "health": health, "error": error })
    }
}

/// Whom an operation makes a claim about, its incarnation, and how far up one claim may take a member:
/// the newcomer, the node itself and any answer to half of the range; alive claims by 2^16 beyond, accusations by half of that.
fn claimed(op: &Value, before: &BTreeMap<String, Value>) -> Option<(String, u64, u64)> {
    let claim = ["alive", "suspect", "dead"].into_iter().find_map(|kind| op.get(kind))?;
    let name = claim["Node"].as_str().expect("a name");
    let own = name == "self";
    let known = before.get(name).map(|record| record["incarnation"].as_u64().expect("a number"));
    let known = if own { known.or(Some(1)) } else { known };
    let alive = op.get("alive").is_some();
    let reach = match known {
        Some(known) if alive => (known + (1 << 16)).max(1 << 31),
        Some(known) if own => (known + (1 << 15)).max(u64::from(u32::MAX / 2)),
        Some(known) => known + (1 << 15),
        None => u64::from(u32::MAX / 2),
    };
    let highest = u64::from(u32::MAX) - if alive { 1 } else { 2 };
    let farthest = if known.is_some() || alive { reach.min(highest) } else { u64::MAX };
    Some((name.into(), claim["Incarnation"].as_u64()?, farthest))
}

fn encoded_alive(value: &Value) -> Vec<u8> {
    let bytes = |key: &str| unhex(value[key].as_str().expect("hex"));
    let (addr, meta, vsn) = (bytes("Addr"), bytes("Meta"), bytes("Vsn"));
    AliveOf {
        name: value["Node"].as_str().expect("a name"),
        incarnation: value["Incarnation"].as_u64().expect("a number") as u32,
        addr: &addr,
        port: value["Port"].as_u64().expect("a port") as u16,
        meta: &meta,
        vsn: &vsn,
    }
    .encode()
}

/// Whether a claim is newer than a record and has its address in another form.
fn another_form(record: &Value, alive: &Value) -> bool {
    let addr = |value: &Value| unhex(value.as_str().expect("hex"));
    let (known, claimed) = (addr(&record["addr"]), addr(&alive["Addr"]));
    let ip = |bytes: &[u8]| bytes[bytes.len() - 4..].to_vec();
    known.len() != claimed.len()
        && ip(&known) == ip(&claimed)
        && record["port"] == alive["Port"]
        && alive["Incarnation"].as_u64() > record["incarnation"].as_u64()
}

fn by_name(nodes: &Value) -> BTreeMap<String, Value> {
    let nodes = nodes.as_array().expect("nodes");
    nodes.iter().map(|node| (node["name"].as_str().expect("a name").to_owned(), node.clone())).collect()
}

/// Whom a rumor is about.
fn subject(rumor: &[u8]) -> String {
    let node = match MessageType::from_byte(rumor[0]) {
        Some(MessageType::Alive) => Alive::decode(&rumor[1..]).expect("an alive").0.node.to_vec(),
        _ => Accusation::decode(&rumor[1..]).expect("an accusation").0.node.to_vec(),
    };
    String::from_utf8(node).expect("UTF-8")
}

/// In order, and such that we and the member understand each other.
fn admissible(vsn: &[u8]) -> bool {
    let [pmin, pmax, pcur, dmin, dmax, dcur] = vsn[..] else { return false };
    let [our_pmin, our_pmax, our_pcur, our_dmin, our_dmax, our_dcur] = VSN;
    let protocol = pmin.max(our_pmin)..=pmax.min(our_pmax);
    let delegate = dmin.max(our_dmin)..=dmax.min(our_dmax);
    let all =
        |range: core::ops::RangeInclusive<u8>, versions: [u8; 2]| versions.iter().all(|v| range.contains(v));
    pmin > 0
        && (pmin..=pmax).contains(&pcur)
        && (dmin..=dmax).contains(&dcur)
        && all(protocol, [pcur, our_pcur])
        && all(delegate, [dcur, our_dcur])
}

/// Whether what an entry of a push/pull says lives can speak with us.
fn fits(state: &Value) -> bool {
    let vsn = unhex(state["Vsn"].as_str().expect("hex"));
    state["State"].as_u64() > Some(1)
        || vsn.len() == 6 && (1..=5).contains(&vsn[2]) && vsn[0] <= VSN[2] && vsn[1] >= VSN[2]
}
