//! Two boards with a serial cable between them and nothing else: no sockets, no addresses but names for the two ends, no standard
//! library. Datagrams of gossip are frames of at most 512 bytes, of which noise spoils some; streams run over a small reliable
//! channel of the program's own. The two nodes meet, an event goes over, one loses power and the other notices.
//!
//! Time is simulated, so that the program ends at once; on a real board `now` is a hardware timer, [`line::Line`] is the port,
//! and what sleeps until the earliest instant is the `wait for interrupt` instruction. Randomness is fixed here for the same
//! reason, and must come from the hardware there.
//!
//! Prints `serial ok` and exits with 0; anything else is a failure, whose exit code is the number of the step.
#![no_std]
#![no_main]

extern crate alloc;

mod board;
mod channel;
#[path = "../heap.rs"]
mod heap;
mod line;
#[path = "../platform.rs"]
mod platform;

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use gossip_proto::{
    ChangeKind, Config, Event, Instant, Machine, Node, NonceSecret, Seed, ServiceConfig, Status,
};

use board::Board;
use line::{BODY, Line};

/// How long each step may take, in simulated time.
const PATIENCE: Duration = Duration::from_secs(60);

/// What ends the program early; its number is the exit code.
#[derive(Clone, Copy)]
enum Failure {
    Create = 1,
    Command = 2,
    Meet = 3,
    Event = 4,
    Notice = 5,
}

/// The two boards, of which one may be without power, and the cable.
struct Bench {
    now: Instant,
    alder: Board,
    birch: Option<Board>,
    to_alder: Line,
    to_birch: Line,
}

impl Bench {
    /// Runs until `done` says so. It sees the nodes after each turn and polls the outputs it cares for.
    fn run_until(
        &mut self,
        failure: Failure,
        mut done: impl FnMut(&mut Node, Option<&mut Node>) -> bool,
    ) -> Result<(), Failure> {
        let give_up = self.now + PATIENCE;
        while self.now < give_up {
            let now = self.now;
            let mut next = self.alder.turn(now, &mut self.to_alder, &mut self.to_birch);
            if let Some(birch) = &mut self.birch {
                let due = birch.turn(now, &mut self.to_birch, &mut self.to_alder);
                next = next.into_iter().chain(due).min();
            } else {
                while self.to_birch.receive(now).is_some() {}
            }
            if done(&mut self.alder.node, self.birch.as_mut().map(|birch| &mut birch.node)) {
                return Ok(());
            }
            let lines = [self.to_alder.next(now), self.to_birch.next(now)].into_iter().flatten();
            // A board that stays due has more to do now.
            self.now = lines.chain(next).min().unwrap_or(give_up).max(now);
        }
        Err(failure)
    }
}

fn node(name: &str, addr: SocketAddr) -> Result<Node, Failure> {
    let mut config = Config::lan(name, addr);
    config.max_datagram(BODY);
    let last = name.len() as u8;
    let seed = Seed::from_u64(u64::from(name.as_bytes()[0]));
    Node::new(Instant::ORIGIN, config, ServiceConfig::default(), seed, NonceSecret::new([last; 32]))
        .map_err(|_| Failure::Create)
}

fn sees(node: &Node, name: &str, status: Status) -> bool {
    node.find(name.as_bytes()).is_some_and(|member| member.status == status)
}

fn run() -> Result<(), Failure> {
    // Nothing routes by these; each node must have one of its own, and the driver must know whose it is.
    let [one, two] = [1, 2].map(|end| SocketAddr::from((Ipv4Addr::new(10, 0, 0, end), 1)));
    let mut bench = Bench {
        now: Instant::ORIGIN,
        alder: Board::new(node("alder", one)?, two),
        birch: Some(Board::new(node("birch", two)?, one)),
        to_alder: Line::new(),
        to_birch: Line::new(),
    };

    bench.alder.node.join(bench.now, &[two.into()]).map_err(|_| Failure::Command)?;
    bench.run_until(Failure::Meet, |alder, birch| {
        sees(alder, "birch", Status::Alive) && birch.is_some_and(|birch| sees(birch, "alder", Status::Alive))
    })?;

    let birch = bench.birch.as_mut().ok_or(Failure::Command)?;
    birch.node.user_event(bench.now, b"deploy", b"42", false).map_err(|_| Failure::Command)?;
    bench.run_until(Failure::Event, |alder, _| {
        while let Some(event) = alder.poll_event() {
            if let Event::UserEvent { name: b"deploy", payload: b"42", .. } = event {
                return true;
            }
        }
        false
    })?;

    // Two minutes of quiet: a line that loses frames is no reason to hold anybody for dead.
    while bench.alder.node.poll_membership().is_some() {}
    let quiet = bench.now + PATIENCE * 2;
    for _ in 0..2 {
        let mut failed = false;
        let silence = bench.run_until(Failure::Notice, |alder, _| {
            while let Some(change) = alder.poll_membership() {
                failed |= change.kind == ChangeKind::Failed;
            }
            failed
        });
        if silence.is_ok() {
            return Err(Failure::Notice);
        }
    }
    if bench.now < quiet {
        return Err(Failure::Notice);
    }

    // Power off: no farewell.
    bench.birch = None;
    bench.run_until(Failure::Notice, |alder, _| {
        while let Some(change) = alder.poll_membership() {
            if change.kind == ChangeKind::Failed {
                return sees(alder, "birch", Status::Failed);
            }
        }
        false
    })
}

/// Where the C runtime starts the program.
#[unsafe(no_mangle)]
extern "C" fn main(_arguments: i32, _values: *const *const u8) -> i32 {
    match run() {
        Ok(()) => {
            platform::say(b"serial ok\n");
            0
        }
        Err(failure) => failure as i32,
    }
}
