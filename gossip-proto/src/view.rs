//! What an application sees of a member.

use alloc::borrow::Cow;
use core::net::SocketAddr;

use bytes::Bytes;

use crate::roster::{LOCAL, Roster};
use crate::wire::serf::Tags;
use crate::{Instant, MemberKey, Name, Status};

/// A member as this node sees it now.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Member<'a> {
    /// Its handle.
    pub key: MemberKey,
    /// Its name.
    pub name: &'a Name,
    /// Its address for datagrams and streams, IPv4-mapped forms unmapped.
    pub addr: SocketAddr,
    /// Its metadata: raw bytes; on a [`crate::Node`] the encoded tags, see [`Member::tags`].
    pub metadata: &'a [u8],
    /// What this node believes of it.
    pub status: Status,
    /// The highest incarnation accepted.
    pub incarnation: u32,
    /// pmin, pmax, pcur, dmin, dmax, dcur (spec 3.1).
    pub versions: [u8; 6],
    /// When its state last changed.
    pub since: Instant,
    /// Whether it is the node itself.
    pub local: bool,
}

impl<'a> Member<'a> {
    pub(crate) fn new(roster: &'a Roster, slot: u32) -> Self {
        let record = roster.get(slot);
        Self {
            key: roster.key(slot),
            name: &record.name,
            addr: record.socket(),
            metadata: &record.metadata,
            status: record.status(),
            incarnation: record.incarnation,
            versions: record.versions,
            since: record.changed,
            local: slot == LOCAL,
        }
    }

    /// The Serf tags in the metadata (serf.md 1.2), names and values as raw bytes. Metadata in another form shows as the
    /// one tag `role`, as Serf has it; what follows a damaged entry is missing.
    pub fn tags(&self) -> impl Iterator<Item = (Cow<'a, [u8]>, Cow<'a, [u8]>)> + use<'a> {
        Tags::of(self.metadata).map_while(Result::ok)
    }
}

/// A member that a merge would bring, as the peer that asks describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MergeMember {
    /// Its name.
    pub name: Name,
    /// Its address, IPv4-mapped forms unmapped.
    pub addr: SocketAddr,
    /// Its metadata, not checked in any way.
    pub metadata: Bytes,
    /// What the peer believes of it.
    pub status: Status,
}

impl MergeMember {
    /// The Serf tags in the metadata, as [`Member::tags`] shows them.
    pub fn tags(&self) -> impl Iterator<Item = (Cow<'_, [u8]>, Cow<'_, [u8]>)> {
        Tags::of(&self.metadata).map_while(Result::ok)
    }
}

/// A member that a node is told to know, see [`crate::Machine::know`]: what an alive message would say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownMember {
    /// Its name.
    pub name: Name,
    /// Its address for datagrams and streams.
    pub addr: SocketAddr,
    /// Its metadata: raw bytes, at most 512; of a [`crate::Node`] the encoded tags.
    pub metadata: Bytes,
    /// Its incarnation.
    pub incarnation: u32,
    /// pmin, pmax, pcur, dmin, dmax, dcur (spec 3.1).
    pub versions: [u8; 6],
}

impl From<Member<'_>> for KnownMember {
    fn from(member: Member<'_>) -> Self {
        Self {
            name: member.name.clone(),
            addr: member.addr,
            metadata: Bytes::copy_from_slice(member.metadata),
            incarnation: member.incarnation,
            versions: member.versions,
        }
    }
}

/// Iterator over members, in slot order.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    roster: &'a Roster,
    next: u32,
}

impl<'a> Members<'a> {
    pub(crate) fn new(roster: &'a Roster) -> Self {
        Self { roster, next: 0 }
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        while self.next < self.roster.slots() {
            let slot = self.next;
            self.next += 1;
            if self.roster.used(slot).is_some_and(|record| self.roster.lists(record)) {
                return Some(Member::new(self.roster, slot));
            }
        }
        None
    }
}
