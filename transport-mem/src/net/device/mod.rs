//! What stands in the way of everything that is sent: devices that look at it, and change it.
//!
//! A device sees every datagram and every segment of a stream when it leaves its sender, before the link decides what
//! becomes of it, and says whether it goes on as it is. [`TextTrace`] writes lines, [`Pcap`] a capture file,
//! [`FaultInjection`] does harm at random; write your own for anything else:
//!
//! ```
//! use core::time::Duration;
//! use transport_mem::net::{Device, Kind, Packet, Verdict};
//!
//! /// Holds up what is larger than a page.
//! struct Lazy;
//!
//! impl Device for Lazy {
//!     fn pass(&mut self, packet: &Packet<'_>) -> Verdict {
//!         match packet.kind {
//!             Kind::Datagram if packet.bytes.len() > 1024 => Verdict::Delay(Duration::from_millis(5)),
//!             _ => Verdict::Pass,
//!         }
//!     }
//! }
//! ```

mod bounded;
mod inject;
mod pcap;
mod text;

use core::cell::RefCell;
use core::fmt;
use core::net::SocketAddr;
use core::time::Duration;
use std::borrow::Cow;
use std::rc::Rc;

use gossip_proto::{Instant, Machine};

pub use self::inject::{FaultInjection, Injected};
pub use self::pcap::Pcap;
pub use self::text::TextTrace;
use crate::net::{Network, NodeId};

/// Something on its way, as a device sees it.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Packet<'a> {
    /// When it was sent, or, in [`Device::ended`], when it ended.
    pub at: Instant,
    /// Who sent it.
    pub from: NodeId,
    /// Whom it is for; `None` if no node ever was at the address.
    pub to: Option<NodeId>,
    /// The address it comes from. Who opened a stream sends from a port that tells its streams apart.
    pub source: SocketAddr,
    /// The address it goes to.
    pub destination: SocketAddr,
    /// What it is.
    pub kind: Kind,
    /// The stream that it belongs to, counted from 1 over the whole run; 0 for datagrams.
    pub stream: u64,
    /// Its bytes, as they are on the wire; none for what opens and ends streams.
    pub bytes: &'a [u8],
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A datagram.
    Datagram,
    /// Asks for a stream.
    Open,
    /// Answers: there is one.
    Accept,
    /// Answers: nobody listens.
    Refuse,
    /// Bytes of a stream.
    Data,
    /// Nothing follows on the stream in this direction.
    Finish,
    /// The stream is broken off.
    Reset,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It is lost. What belongs to a stream is sent again after 200 milliseconds, as a lost segment is.
    Drop,
    /// It goes on that much later. A stream stays in order, so that what follows comes no earlier.
    Delay(Duration),
    /// Other bytes go on in its place, of a length that may differ. What has no bytes goes on as it is.
    Replace(Vec<u8>),
    /// It goes on, and once more after that time. Of a stream nothing arrives twice.
    Duplicate(Duration),
}

/// What became of a datagram in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// It is in the socket of the node it was for.
    Arrived,
    /// A link lost it: by chance, for want of room, or because of a cut or a partition.
    Lost,
    /// A device dropped it.
    Dropped,
    /// No process listens there.
    Nobody,
    /// The socket's buffer was full.
    Overflow,
}

/// Sees everything that is sent, and may change it; see [`Network::attach`].
///
/// A shared device, `Rc<RefCell<D>>`, is one as well: keep a clone to ask it for what it has seen.
pub trait Device {
    /// A packet leaves its sender. What the socket refuses (a datagram beyond the path's limit) has not been sent and is
    /// not shown.
    fn pass(&mut self, packet: &Packet<'_>) -> Verdict;

    /// A datagram, or a copy of one, has come to its end. Those still under way when the run ends never do.
    fn ended(&mut self, packet: &Packet<'_>, how: Delivery) {
        let _ = (packet, how);
    }
}

impl<D: Device + ?Sized> Device for Box<D> {
    fn pass(&mut self, packet: &Packet<'_>) -> Verdict {
        (**self).pass(packet)
    }

    fn ended(&mut self, packet: &Packet<'_>, how: Delivery) {
        (**self).ended(packet, how);
    }
}

impl<D: Device + ?Sized> Device for Rc<RefCell<D>> {
    fn pass(&mut self, packet: &Packet<'_>) -> Verdict {
        self.borrow_mut().pass(packet)
    }

    fn ended(&mut self, packet: &Packet<'_>, how: Delivery) {
        self.borrow_mut().ended(packet, how);
    }
}

/// Names an attached device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceId(u32);

impl<M: Machine> Network<M> {
    /// Puts a device in the way of everything that is sent from now on, behind those that are there: it sees what they
    /// made of it. A copy that a device ordered is not shown to those behind it.
    ///
    /// ```
    /// # use gossip_proto::{Membership, Seed};
    /// use std::{cell::RefCell, rc::Rc};
    /// use transport_mem::net::{FaultInjection, Network};
    ///
    /// let seed = Seed::from_u64(1);
    /// let mut net = Network::<Membership>::new(seed.clone());
    /// let harm = Rc::new(RefCell::new(FaultInjection::new(&seed).corrupt(0.01)));
    /// net.attach(harm.clone());
    /// // ... run, then:
    /// println!("{} datagrams had a bit turned", harm.borrow().injected().corrupted);
    /// ```
    pub fn attach(&mut self, device: impl Device + 'static) -> DeviceId {
        self.world.devices.attach(Box::new(device))
    }

    /// Takes a device away again; `None` if it is gone already.
    pub fn detach(&mut self, id: DeviceId) -> Option<Box<dyn Device>> {
        self.world.devices.detach(id)
    }
}

/// All devices of a network, in their order.
#[derive(Default)]
pub(crate) struct Devices {
    list: Vec<(DeviceId, Box<dyn Device>)>,
    next: u32,
}

/// What the devices made of a packet.
#[derive(Debug)]
pub(crate) struct Passed<'a> {
    pub(crate) bytes: Cow<'a, [u8]>,
    /// How much later it goes on; `None` if it was dropped.
    pub(crate) delay: Option<Duration>,
    /// The further copies that go on, and how much later than now.
    pub(crate) copies: Vec<Duration>,
}

impl<'a> Passed<'a> {
    /// What becomes of it where there are no devices.
    pub(crate) fn unchanged(bytes: &'a [u8]) -> Self {
        Self { bytes: Cow::Borrowed(bytes), delay: Some(Duration::ZERO), copies: Vec::new() }
    }
}

impl Devices {
    fn attach(&mut self, device: Box<dyn Device>) -> DeviceId {
        let id = DeviceId(self.next);
        self.next += 1;
        self.list.push((id, device));
        id
    }

    fn detach(&mut self, id: DeviceId) -> Option<Box<dyn Device>> {
        let at = self.list.iter().position(|(other, _)| *other == id)?;
        Some(self.list.remove(at).1)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn pass<'a>(&mut self, packet: &Packet<'a>) -> Passed<'a> {
        let mut passed = Passed::unchanged(packet.bytes);
        for (_, device) in &mut self.list {
            let Some(delay) = &mut passed.delay else { break };
            match device.pass(&Packet { bytes: &passed.bytes, ..*packet }) {
                Verdict::Pass => {}
                Verdict::Drop => passed.delay = None,
                Verdict::Delay(by) => *delay = delay.saturating_add(by),
                Verdict::Replace(bytes) if packet.bytes.is_empty() => drop(bytes),
                Verdict::Replace(bytes) => passed.bytes = Cow::Owned(bytes),
                Verdict::Duplicate(after) => passed.copies.push(delay.saturating_add(after)),
            }
        }
        passed
    }

    pub(crate) fn ended(&mut self, packet: &Packet<'_>, how: Delivery) {
        for (_, device) in &mut self.list {
            device.ended(packet, how);
        }
    }
}

impl fmt::Debug for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list.iter().map(|(id, _)| id)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn packet(bytes: &[u8]) -> Packet<'_> {
        Packet {
            at: Instant::ORIGIN,
            from: NodeId(0),
            to: Some(NodeId(1)),
            source: "10.0.0.1:7946".parse().unwrap(),
            destination: "10.0.0.2:7946".parse().unwrap(),
            kind: Kind::Datagram,
            stream: 0,
            bytes,
        }
    }

    /// Says the same of everything, and keeps what it saw.
    struct Says(Verdict, Vec<Vec<u8>>);

    impl Device for Says {
        fn pass(&mut self, packet: &Packet<'_>) -> Verdict {
            self.1.push(packet.bytes.to_vec());
            self.0.clone()
        }
    }

    #[test]
    fn each_device_sees_what_those_before_it_made_of_a_packet() {
        let ms = Duration::from_millis;
        let mut devices = Devices::default();
        let says = |verdict| Box::new(Says(verdict, Vec::new()));
        devices.attach(says(Verdict::Delay(ms(2))));
        devices.attach(says(Verdict::Replace(b"other".to_vec())));
        devices.attach(says(Verdict::Duplicate(ms(5))));
        devices.attach(says(Verdict::Delay(ms(1))));
        let last = Rc::new(RefCell::new(Says(Verdict::Pass, Vec::new())));
        devices.attach(Box::new(last.clone()));
        let passed = devices.pass(&packet(b"one"));
        assert_eq!((&*passed.bytes, passed.delay), (&b"other"[..], Some(ms(3))));
        assert_eq!(passed.copies, [ms(7)]);
        assert_eq!(last.borrow().1, [b"other"]);
        assert_eq!(&*devices.pass(&packet(b"")).bytes, b"", "what has no bytes gets none");
    }

    #[test]
    fn what_is_dropped_is_shown_to_nobody_else_and_a_device_can_be_taken_away() {
        let mut devices = Devices::default();
        let dropper = devices.attach(Box::new(Says(Verdict::Drop, Vec::new())));
        let last = Rc::new(RefCell::new(Says(Verdict::Pass, Vec::new())));
        devices.attach(Box::new(last.clone()));
        assert_eq!(devices.pass(&packet(b"x")).delay, None);
        assert_eq!(last.borrow().1.len(), 0);
        assert!(devices.detach(dropper).is_some() && devices.detach(dropper).is_none());
        assert_eq!(devices.pass(&packet(b"x")).delay, Some(Duration::ZERO));
        assert_eq!(last.borrow().1.len(), 1);
    }
}
