//! Two nodes meet, exchange a user event and part, in a program that links no standard library: proof that neither the
//! core nor anything it depends on needs one. If a dependency pulled std in, the panic handler below would be the second
//! one and the program would not link.
//!
//! Prints `no_std ok` and exits with 0; anything else is a failure, whose exit code is the number of the step.
#![no_std]
#![no_main]

extern crate alloc;

mod heap;
mod link;
mod platform;

use core::net::{Ipv4Addr, SocketAddr};
use core::time::Duration;

use gossip_proto::{
    Bytes, ChangeKind, Config, Event, Instant, JoinTarget, Machine, Node, NonceSecret, Outcome, Seed,
    ServiceConfig, Status,
};

use link::{Link, Side};

/// How long the nodes get for each step, in virtual time.
const PATIENCE: Duration = Duration::from_secs(30);

/// What ends the program early; its number is the exit code.
#[derive(Clone, Copy)]
enum Failure {
    Create = 1,
    Command = 2,
    Join = 3,
    See = 4,
    Event = 5,
    Leave = 6,
    SeenLeaving = 7,
}

fn node(name: &str, last_octet: u8) -> Result<Node, Failure> {
    let addr = SocketAddr::from((Ipv4Addr::new(10, 0, 0, last_octet), 7946));
    let mut services = ServiceConfig::default();
    services.tags([(Bytes::from_static(b"role"), Bytes::from_static(b"bare"))].into());
    Node::new(
        Instant::ORIGIN,
        Config::lan(name, addr),
        services,
        Seed::from_u64(last_octet.into()),
        NonceSecret::new([last_octet; 32]),
    )
    .map_err(|_| Failure::Create)
}

fn sees(node: &Node, name: &str, status: Status) -> bool {
    node.find(name.as_bytes()).is_some_and(|member| member.status == status)
}

fn run() -> Result<(), Failure> {
    let mut link = Link::new(node("alder", 1)?, node("birch", 2)?);

    let target = JoinTarget::from(link[Side::Right].local().addr);
    let now = link.now();
    let join = link[Side::Left].join(now, &[target]).map_err(|_| Failure::Command)?;
    let mut contacted = 0;
    link.run_until(PATIENCE, Failure::Join, |nodes| {
        while let Some(completion) = nodes[Side::Left.index()].poll_completion() {
            match completion.ended() {
                Some((operation, Outcome::Joined { contacted: count, .. })) if operation == join => {
                    contacted = count;
                }
                _ => {}
            }
        }
        contacted == 1
    })?;
    link.run_until(PATIENCE, Failure::See, |[alder, birch]| {
        sees(alder, "birch", Status::Alive) && sees(birch, "alder", Status::Alive)
    })?;

    let now = link.now();
    link[Side::Right].user_event(now, b"deploy", b"42", false).map_err(|_| Failure::Command)?;
    link.run_until(PATIENCE, Failure::Event, |[alder, _]| {
        while let Some(event) = alder.poll_event() {
            if let Event::UserEvent { name: b"deploy", payload: b"42", .. } = event {
                return true;
            }
        }
        false
    })?;

    let now = link.now();
    let leave = link[Side::Right].leave(now).map_err(|_| Failure::Command)?;
    link.run_until(PATIENCE, Failure::Leave, |[_, birch]| {
        while let Some(completion) = birch.poll_completion() {
            match completion.ended() {
                Some((operation, outcome)) if operation == leave => {
                    return outcome == Outcome::Left { announced: true };
                }
                _ => {}
            }
        }
        false
    })?;
    link.run_until(PATIENCE, Failure::SeenLeaving, |[alder, _]| {
        while let Some(change) = alder.poll_membership() {
            if change.kind == ChangeKind::Left {
                return sees(alder, "birch", Status::Left);
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
            platform::say(b"no_std ok\n");
            0
        }
        Err(failure) => failure as i32,
    }
}
