//! Keys of a cluster on the virtual network: changed while it talks, and nothing is lost.

use core::time::Duration;

use gossip_proto::wire::keyring::{Key, Keyring};
use gossip_proto::{
    Completion, Config, Instant, KeyCommand, KeyReport, Machine, Node, Outcome, RequestId, Seed,
    ServiceConfig,
};
use transport_mem::Conditions;
use transport_mem::net::{Network, News, NodeId, Replay, seeds};

const SECOND: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(50);

fn key(byte: u8) -> Key {
    Key::new(&[byte; 32]).expect("a key")
}

/// A sealed cluster in which every second node has a keyring file, a slow one, and somebody fires an event every now and
/// then.
struct Sealed {
    net: Network<Node>,
    nodes: Vec<NodeId>,
    fired: usize,
    /// How many completions of each node were looked at.
    seen: Vec<usize>,
    writing: Vec<(Instant, NodeId, RequestId)>,
    /// Files as they were written last.
    files: Vec<Option<Keyring>>,
}

impl Sealed {
    fn new(replay: &Replay) -> Self {
        let mut net = Network::new(Seed::from_u64(replay.seed()));
        let nodes: Vec<_> = (0..replay.nodes())
            .map(|_| {
                net.add_node(|start| {
                    let mut config = Config::lan(format!("node-{:03}", start.number).as_str(), start.addr);
                    config.keyring(Some(Keyring::new(key(1), []).expect("a ring")));
                    let services = ServiceConfig::default();
                    let node = Node::new(start.now, config, services, start.seed, start.nonces);
                    let mut node = node.expect("a sound configuration");
                    node.persist_keyring(start.number % 2 == 1);
                    node
                })
            })
            .collect();
        for &node in &nodes[1..] {
            net.join(node, &nodes[..1]);
        }
        net.run_until(100 * SECOND, Network::agrees).expect("agreement");
        nodes.iter().for_each(|&node| net.clear_log(node));
        net.set_conditions(Conditions::LAN.loss(0.05));
        let count = nodes.len();
        Self { net, nodes, fired: 0, seen: vec![0; count], writing: Vec::new(), files: vec![None; count] }
    }

    fn run_for(&mut self, duration: Duration) {
        let end = self.net.now() + duration;
        while self.net.now() < end {
            self.step();
        }
    }

    fn step(&mut self) {
        self.net.run_for(TICK);
        self.step_files();
        if self.net.random(2) == 0 {
            let who = self.nodes[self.net.random(self.nodes.len() as u64) as usize];
            let payload = self.fired.to_string();
            let fire = |node: &mut Node, now| node.user_event(now, b"tick", payload.as_bytes(), false);
            self.net.with(who, fire).expect("room for an event");
            self.fired += 1;
        }
    }

    fn step_files(&mut self) {
        let now = self.net.now();
        for (index, &node) in self.nodes.iter().enumerate() {
            for (at, completion) in self.net.log(node).completions.iter().skip(self.seen[index]) {
                if let Completion::KeyringChanged { id, keyring } = completion {
                    self.files[index] = Some(keyring.clone());
                    self.writing.push((*at + Duration::from_millis(200), node, *id));
                }
            }
            self.seen[index] = self.net.log(node).completions.len();
        }
        for (at, node, id) in core::mem::take(&mut self.writing) {
            if at > now {
                self.writing.push((at, node, id));
                continue;
            }
            self.net.with(node, |node, now| node.keyring_stored(now, id, Ok(()))).expect("it waits for this");
        }
    }

    /// One step of a rotation, asked again until all have done it.
    fn step_of(&mut self, by: NodeId, command: &KeyCommand) {
        for _ in 0..5 {
            let report = self.ask(by, command);
            match report.failure() {
                None => return,
                Some(failure) => println!("{}: {failure}", self.net.now()),
            }
        }
        panic!("never done by all: {command:?}");
    }

    fn ask(&mut self, by: NodeId, command: &KeyCommand) -> KeyReport {
        let operation = self.net.with(by, |node, now| node.keys(now, command, 1)).expect("it can be asked");
        let end = self.net.now() + 30 * SECOND;
        while self.net.now() < end {
            self.step();
            let ended = self.net.log(by).completions.iter().find_map(|(_, completion)| match completion {
                Completion::Ended { operation: of, outcome: Outcome::Keys(report) } if *of == operation => {
                    Some(report)
                }
                _ => None,
            });
            if let Some(report) = ended {
                return report.clone();
            }
        }
        panic!("no end of {command:?}");
    }

    fn heard(&self, node: NodeId) -> Vec<usize> {
        let number = |news: &News| match news {
            News::UserEvent { payload, .. } => core::str::from_utf8(payload).ok()?.parse().ok(),
            _ => None,
        };
        let mut heard: Vec<_> =
            self.net.log(node).events.iter().filter_map(|(_, news)| number(news)).collect();
        heard.sort_unstable();
        heard
    }
}

// upstream: TestKeyManager_InstallKey, TestKeyManager_UseKey, TestKeyManager_RemoveKey, TestKeyManager_ListKeys
#[test]
fn a_key_is_replaced_under_a_stream_of_events_and_none_is_lost() {
    for (seed, nodes) in seeds(0..3).flat_map(|seed| [2, 6, 20].map(|nodes| (seed, nodes))) {
        let replay = Replay::new(
            env!("CARGO_PKG_NAME"),
            "cluster",
            "keys::a_key_is_replaced_under_a_stream_of_events_and_none_is_lost",
            seed,
            nodes,
        );
        let mut sealed = Sealed::new(&replay);
        let nodes = sealed.nodes.clone();
        sealed.run_for(2 * SECOND);
        for (old, new) in [(1, 2), (2, 3)] {
            // From another node each time.
            let by = |step: usize| nodes[(usize::from(new) + step) % nodes.len()];
            sealed.step_of(by(0), &KeyCommand::Install(key(new)));
            sealed.step_of(by(1), &KeyCommand::Use(key(new)));
            let refused = sealed.ask(by(2), &KeyCommand::Remove(key(new)));
            assert_eq!(refused.errors, refused.responses, "nobody takes its primary key away");
            sealed.step_of(by(2), &KeyCommand::Remove(key(old)));
        }
        let listed = sealed.ask(nodes[0], &KeyCommand::List);
        assert_eq!(listed.keys, [(key(3), listed.responses)]);
        assert_eq!(listed.primary_keys, listed.keys);
        sealed.run_for(2 * SECOND);
        // What gossip lost comes with an exchange.
        let fired = sealed.fired;
        for _ in 0..40 {
            sealed.net.run_for(5 * SECOND);
            if nodes.iter().all(|&node| sealed.heard(node).len() >= fired) {
                break;
            }
        }
        assert!(fired > 40, "{fired}");
        for (index, &node) in nodes.iter().enumerate() {
            assert_eq!(sealed.heard(node), (0..fired).collect::<Vec<_>>(), "{}", sealed.net.name(node));
            let stats = sealed.net.machine(node).expect("it runs").stats();
            // Nobody ever sent what another one could not open.
            assert_eq!((stats.dropped_seal, stats.streams_malformed, stats.keyring_unstored), (0, 0, 0));
            let file = sealed.files[index].as_ref().map(Keyring::keys);
            assert_eq!(file, (index % 2 == 1).then_some(&[key(3)][..]));
        }
    }
}
