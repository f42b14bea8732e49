//! The work that each contender is given: the same names, addresses, updates and draws.
//!
//! A contender that is not written in Rust does the same by itself; what has to agree is said at each item.

use core::net::{Ipv4Addr, SocketAddrV4};

/// Updates in one datagram.
pub const UPDATES: usize = 10;

/// What all draws start from.
pub const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// A member's name, `node-00042`; number 0 is the node that is measured.
pub fn name(number: usize) -> String {
    format!("node-{number:05}")
}

/// A member's address, 10.0.0.42:7946.
pub fn address(number: usize) -> SocketAddrV4 {
    let [_, _, a, b] = u32::try_from(number).expect("few members").to_be_bytes();
    SocketAddrV4::new(Ipv4Addr::new(10, 0, a, b), 7946)
}

/// The number of the member at that address.
pub fn number(address: SocketAddrV4) -> usize {
    let [_, _, a, b] = address.ip().octets();
    usize::from(a) << 8 | usize::from(b)
}

/// Numbers that are drawn: splitmix64, as a contender in another language draws them.
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Default for Draw {
    fn default() -> Self {
        Self(SEED)
    }
}

impl Draw {
    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }

    /// One of the other members.
    pub fn member(&mut self, members: usize) -> usize {
        1 + self.below(members - 1)
    }
}

/// A member says, or somebody says of it, that it is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// Which member.
    pub member: usize,
    /// Its incarnation.
    pub incarnation: u32,
}

/// A datagram, and the number of the member that it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagram {
    /// The sender.
    pub from: usize,
    /// What it sent.
    pub bytes: Vec<u8>,
}

/// Draws updates, and remembers what it has said of each member. All members start with incarnation 1.
#[derive(Clone, Debug)]
pub struct Rumours {
    draw: Draw,
    incarnations: Vec<u32>,
}

impl Rumours {
    /// For a cluster of that size.
    pub fn new(members: usize) -> Self {
        Self { draw: Draw::default(), incarnations: vec![1; members] }
    }

    /// A member that sends.
    pub fn sender(&mut self) -> usize {
        self.draw.member(self.incarnations.len())
    }

    /// Ten updates that are known.
    pub fn known(&mut self) -> [Update; UPDATES] {
        core::array::from_fn(|_| {
            let member = self.sender();
            Update { member, incarnation: self.incarnations[member] }
        })
    }

    /// Ten updates that are news, if they are told in this order.
    pub fn news(&mut self) -> [Update; UPDATES] {
        core::array::from_fn(|_| {
            let member = self.sender();
            self.incarnations[member] += 1;
            Update { member, incarnation: self.incarnations[member] }
        })
    }

    /// News about each other member, ten at a time.
    pub fn news_of_all(&mut self) -> Vec<Vec<Update>> {
        let numbers: Vec<usize> = (1..self.incarnations.len()).collect();
        let mut update = |&member: &usize| {
            self.incarnations[member] += 1;
            Update { member, incarnation: self.incarnations[member] }
        };
        numbers.chunks(UPDATES).map(|some| some.iter().map(&mut update).collect()).collect()
    }

    /// What was last said of a member.
    pub fn incarnation(&self, member: usize) -> u32 {
        self.incarnations[member]
    }
}
