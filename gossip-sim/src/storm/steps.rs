//! One step of a storm: what may stand in its fields, so that it is legal, does something, and is over in time.

use core::time::Duration;

use crate::scenario::Action;
use crate::storm::draw::{Plan, Way};
use crate::storm::random::{Random, time};

/// A step as it stands in a scenario's file.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) action: Action,
    fields: Vec<(&'static str, String)>,
    groups: Vec<String>,
    back: Duration,
    backlog: Duration,
}

impl Piece {
    fn new(action: Action) -> Self {
        Self { action, fields: Vec::new(), groups: Vec::new(), back: Duration::ZERO, backlog: Duration::ZERO }
    }

    fn with(mut self, field: &'static str, value: impl ToString) -> Self {
        self.fields.push((field, value.to_string()));
        self
    }

    fn text_field(self, field: &'static str, value: &str) -> Self {
        self.with(field, format!("{value:?}"))
    }

    /// Names nodes in a field.
    fn whom(mut self, field: &'static str, name: &str) -> Self {
        self.groups.push(name.to_owned());
        self.text_field(field, name)
    }

    /// Whether it has something to do with a group of that name.
    pub(super) fn names(&self, group: &str) -> bool {
        self.groups.iter().any(|named| named == group)
    }

    /// How far it sets a clock back.
    pub(super) fn set_back(&self) -> Duration {
        self.back
    }

    /// How long what waits when it is over still takes.
    pub(super) fn backlog(&self) -> Duration {
        self.backlog
    }

    /// As it stands in the file.
    pub(super) fn text(&self) -> String {
        let mut text = format!("[[step]]\ndo = \"{}\"\n", self.action);
        for (field, value) in &self.fields {
            text.push_str(&format!("{field} = {value}\n"));
        }
        text
    }
}

/// A step of that kind, and what belongs to it; none where it makes no sense.
pub(super) fn draw(random: &Random, plan: &Plan, action: Action) -> Vec<Piece> {
    let piece = Piece::new(action);
    // Where only the mortals may go down, they may not also say good-bye: nobody looks for who left.
    let stays = plan.way == Way::Disks;
    let piece = match action {
        Action::Crash | Action::Vanish => return vec![outage(random, plan, piece)],
        Action::Restart => {
            let piece = returning(random, plan, at(random, plan, piece, 100));
            return vec![over(random, plan, piece)];
        }
        Action::Churn => {
            if stays {
                return Vec::new();
            }
            // Up to one in twenty each second, so that most are there.
            let rate = plan.nodes as f64 * random.between(2..=50) as f64 / 1000.0;
            let piece = lasting(random, plan, piece, 1000).with("rate", format!("{rate:.3}"));
            let piece = piece.with("away", millis(random.spread(500..=20_000)));
            return vec![returning(random, plan, piece).with("graceful", share(random, 100))];
        }
        Action::Leave => {
            if stays {
                return Vec::new();
            }
            return leave(random, plan, piece);
        }
        Action::Pause | Action::StopIo | Action::RefuseStreams => nodes(random, plan, piece),
        Action::FailDisk => {
            // A disk that failed may have nothing that its node could come back by.
            if stays || !plan.disks {
                return Vec::new();
            }
            nodes(random, plan, piece)
        }
        Action::Loss => {
            let piece = nodes(random, plan, piece);
            match random.below(3) {
                0 => piece.with("in", share(random, 100)),
                1 => piece.with("out", share(random, 100)),
                _ => piece.with("in", share(random, 100)).with("out", share(random, 100)),
            }
        }
        Action::Slow => nodes(random, plan, piece).with("per_call", millis(random.spread(1..=50))),
        Action::Bursts => {
            let least = random.spread(1..=2000);
            let piece = nodes(random, plan, piece).with("awake", millis(random.spread(1..=2000)));
            piece.with("least", millis(least)).with("most", millis(least + random.spread(1..=4000)))
        }
        Action::SkewClock => {
            // From what crystals do to what broken virtual machines do.
            let ppm = random.spread(10..=200_000) as i64;
            nodes(random, plan, piece).with("ppm", if random.chance(50) { ppm } else { -ppm })
        }
        Action::SetClock => {
            let by = random.spread(10..=60_000);
            let piece = nodes(random, plan, at(random, plan, piece, 100));
            return vec![match random.chance(50) {
                true => piece.with("forward", millis(by)),
                false => Piece { back: Duration::from_millis(by), ..piece.with("back", millis(by)) },
            }];
        }
        Action::SlowReader => nodes(random, plan, piece).with("bytes", random.spread(10..=100_000)),
        Action::Line => {
            let piece = nodes(random, plan, piece);
            let (up, down) = (random.spread(4000..=1_000_000), random.spread(4000..=1_000_000));
            let buffer = random.spread(4096..=65_536);
            // A full buffer, and as much again of streams, which wait however long the queue is.
            let backlog = Duration::from_secs(2 * buffer / up.min(down) + 1);
            let piece = match random.below(3) {
                0 => piece.with("up", up),
                1 => piece.with("down", down),
                _ => piece.with("up", up).with("down", down),
            };
            Piece { backlog, ..piece.with("buffer", buffer) }
        }
        Action::Link => conditions(random, links(random, plan, piece)),
        Action::Cut | Action::BlockDatagrams | Action::StallStreams | Action::BlockConnects => {
            links(random, plan, piece)
        }
        Action::BreakStreams => links(random, plan, piece)
            .with("bytes", if random.chance(20) { 0 } else { random.spread(1..=20_000) }),
        Action::LimitPath => links(random, plan, piece).with("bytes", random.spread(64..=1400)),
        Action::Corrupt => {
            let piece = nodes(random, plan, piece);
            let piece = if plan.sealed { piece.with("streams", random.chance(50)) } else { piece };
            match random.below(3) {
                0 => piece.with("flip", share(random, 50)),
                1 => piece.with("truncate", share(random, 50)),
                _ => piece.with("flip", share(random, 50)).with("truncate", share(random, 50)),
            }
        }
        Action::Partition => {
            let mut names: Vec<&str> = plan.groups.iter().map(String::as_str).collect();
            while names.len() > 1 && random.chance(60) {
                names.remove(random.below(names.len() as u64) as usize);
            }
            let piece = Piece { groups: names.iter().map(|name| (*name).to_owned()).collect(), ..piece };
            piece.with("groups", format!("{names:?}"))
        }
        Action::Heal => return vec![at(random, plan, piece, 100)],
        Action::Join => {
            let piece = nodes(random, plan, at(random, plan, piece, 100));
            let via = whom(random, plan);
            return vec![over(random, plan, piece).whom("via", &via)];
        }
        Action::UserEvent => {
            let piece = repeated(random, plan, nodes(random, plan, piece));
            return vec![piece.with("size", random.below(64))];
        }
        Action::Query => {
            if !plan.serf {
                return Vec::new();
            }
            let piece = repeated(random, plan, one(random, plan, piece));
            return vec![piece.with("size", random.below(64))];
        }
        Action::SetTag => {
            let piece = nodes(random, plan, at(random, plan, piece, 100));
            let name = random.pick(&["role", "zone", "a"]);
            let piece = piece.text_field("name", name);
            return vec![piece.with("value", random.below(1000))];
        }
    };
    vec![lasting(random, plan, piece, 500)]
}

/// A process that ends for a while, or for good.
fn outage(random: &Random, plan: &Plan, piece: Piece) -> Piece {
    // Who does not come back may only be some, or nothing would be left to look at.
    if plan.way != Way::Disks && random.chance(15) {
        let node = mortal(random, plan);
        return at(random, plan, piece, 100).whom("nodes", &node);
    }
    returning(random, plan, lasting(random, plan, piece, 500))
}

/// Who goes down and comes back, with what, and how it finds the others.
fn returning(random: &Random, plan: &Plan, piece: Piece) -> Piece {
    if plan.way == Way::Disks {
        return piece.whom("nodes", "mortals").with("state", true);
    }
    let whom = mortals(random, plan);
    let piece = piece.whom("nodes", &whom);
    let piece = if plan.disks { piece.with("state", random.chance(60)) } else { piece };
    piece.whom("via", &via(plan))
}

/// Nodes that say good-bye, and come back or do not.
fn leave(random: &Random, plan: &Plan, piece: Piece) -> Vec<Piece> {
    if random.chance(30) {
        let node = mortal(random, plan);
        return vec![at(random, plan, piece, 100).whom("nodes", &node)];
    }
    let (whom, gone) = (mortals(random, plan), random.below(90));
    let leave = over(random, plan, at(random, plan, piece, gone).whom("nodes", &whom));
    let back = Piece::new(Action::Restart).with("at", instant(random, plan, gone, 100)).whom("nodes", &whom);
    let back = if plan.disks { back.with("state", random.chance(60)) } else { back };
    vec![leave, over(random, plan, back).whom("via", &via(plan))]
}

fn conditions(random: &Random, piece: Piece) -> Piece {
    let mut given = vec![format!("preset = \"{}\"", random.pick(&["lan", "wan", "loopback", "perfect"]))];
    if random.chance(30) {
        given.push(format!("latency = {}", millis(random.spread(1..=2000))));
    }
    if random.chance(30) {
        given.push(format!("jitter = {}", millis(random.spread(1..=2000))));
    }
    if random.chance(40) {
        let loss = random.between(1..=95);
        given.push(format!("loss = \"{loss}%\""));
        if random.chance(40) {
            // No shorter bursts can make up that share.
            given.push(format!("burst = {}.0", loss / (100 - loss) + random.between(2..=20)));
        }
    }
    if random.chance(20) {
        given.push(format!("duplicate = {}", share(random, 50)));
    }
    if random.chance(20) {
        given.push(format!("reorder = {}", share(random, 50)));
        given.push(format!("reorder_by = {}", millis(random.spread(1..=1000))));
    }
    if random.chance(20) {
        given.push(format!("mtu = {}", random.spread(100..=1400)));
    }
    let mut backlog = Duration::ZERO;
    if random.chance(20) {
        let (rate, buffer) = (random.spread(1000..=1_000_000), random.spread(4096..=65_536));
        given.push(format!("rate = {rate}"));
        given.push(format!("buffer = {buffer}"));
        backlog = Duration::from_secs(2 * buffer / rate + 1);
    }
    Piece { backlog, ..piece.with("conditions", format!("{{ {} }}", given.join(", "))) }
}

// Whom.

/// A group, or one node, or all.
fn whom(random: &Random, plan: &Plan) -> String {
    match random.below(10) {
        0 => "all".into(),
        1..4 => format!("node-{}", random.below(plan.nodes as u64)),
        _ => plan.groups[random.below(plan.groups.len() as u64) as usize].clone(),
    }
}

/// Who may go down.
fn mortals(random: &Random, plan: &Plan) -> String {
    match (plan.way, random.chance(30)) {
        (Way::Harbour(_), true) => mortal(random, plan),
        (Way::Harbour(_), false) => plan.groups[random.below(plan.groups.len() as u64) as usize].clone(),
        _ => whom(random, plan),
    }
}

/// One of them.
fn mortal(random: &Random, plan: &Plan) -> String {
    let node = random.below(plan.nodes as u64) as usize;
    match plan.way {
        Way::Harbour(harbour) if node == harbour => format!("node-{}", (node + 1) % plan.nodes),
        _ => format!("node-{node}"),
    }
}

/// Through whom they come back.
fn via(plan: &Plan) -> String {
    match plan.way {
        Way::Harbour(harbour) => format!("node-{harbour}"),
        // The first who runs.
        _ => "all".into(),
    }
}

/// What is left to the operator when the storm is over, if anything.
pub(super) fn rescue(plan: &Plan) -> Option<Piece> {
    let over = plan.over.as_millis() as u64;
    let join = Piece::new(Action::Join).with("at", millis(over)).whom("nodes", "all").whom("via", "all");
    (plan.way == Way::Rescue).then_some(join)
}

fn nodes(random: &Random, plan: &Plan, piece: Piece) -> Piece {
    let whom = whom(random, plan);
    piece.whom("nodes", &whom)
}

fn one(random: &Random, plan: &Plan, piece: Piece) -> Piece {
    let node = random.below(plan.nodes as u64);
    piece.whom("nodes", &format!("node-{node}"))
}

fn links(random: &Random, plan: &Plan, piece: Piece) -> Piece {
    let (from, to) = (whom(random, plan), whom(random, plan));
    piece.whom("from", &from).whom("to", &to).with("both_ways", random.chance(50))
}

// When.

fn millis(millis: u64) -> String {
    time(Duration::from_millis(millis))
}

/// An instant between two percentages of the storm, and its end at the latest.
fn instant(random: &Random, plan: &Plan, from: u64, to: u64) -> String {
    let over = plan.over.as_millis() as u64;
    millis(random.between(over * from / 100..=over * to / 100))
}

/// At an instant in the first so many percent of the storm.
fn at(random: &Random, plan: &Plan, piece: Piece, to: u64) -> Piece {
    let at = instant(random, plan, 0, to);
    piece.with("at", at)
}

/// One node after the other, sometimes, within a minute.
fn over(random: &Random, plan: &Plan, piece: Piece) -> Piece {
    let most = (plan.over.as_millis() as u64 / 5).min(60_000);
    if random.chance(40) { piece.with("over", millis(random.spread(10..=most))) } else { piece }
}

/// From an instant on for a while, once or again and again, until the storm is over at the latest.
fn lasting(random: &Random, plan: &Plan, piece: Piece, least: u64) -> Piece {
    let over = plan.over.as_millis() as u64;
    let at = random.below(over * 9 / 10);
    let left = over - at;
    let lasts = if random.chance(15) { left } else { random.spread(least..=left.max(least)).min(left) };
    let piece = piece.with("at", millis(at)).with("for", millis(lasts));
    let off = random.spread(100..=30_000);
    let times = (left + off) / (lasts + off);
    if times < 2 || random.chance(70) {
        return piece;
    }
    piece.with("off", millis(off)).with("times", random.between(2..=times.min(20)))
}

/// At an instant, and again.
fn repeated(random: &Random, plan: &Plan, piece: Piece) -> Piece {
    let over = plan.over.as_millis() as u64;
    let at = random.below(over);
    let every = random.spread(50..=20_000);
    let times = random.between(1..=30).min((over - at) / every + 1);
    let piece = piece.with("at", millis(at));
    if times < 2 { piece } else { piece.with("every", millis(every)).with("times", times) }
}

fn share(random: &Random, most: u64) -> String {
    format!("\"{}%\"", random.between(1..=most))
}
