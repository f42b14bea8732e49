//! What every transport and every runtime must keep to, as tests that a transport of your own can run as well.
//!
//! Implement [`Factory`] for the transport, in a test file of its own, and have the tests made:
//!
//! ```
//! use core::future::Future;
//! use core::net::SocketAddr;
//! use std::io;
//!
//! use gossip_driver::conformance::{Capabilities, Factory};
//! use transport_mem::{Bus, MemTransport, VirtualRuntime};
//!
//! struct InMemory {
//!     runtime: VirtualRuntime,
//!     bus: Bus,
//! }
//!
//! impl InMemory {
//!     fn new() -> Self {
//!         Self { runtime: VirtualRuntime::new(), bus: Bus::new() }
//!     }
//! }
//!
//! impl Factory for InMemory {
//!     type Transport = MemTransport;
//!     type Runtime = VirtualRuntime;
//!
//!     fn block_on<A>(&self, future: impl Future<Output = A>) -> A {
//!         self.runtime.block_on(future)
//!     }
//!
//!     fn runtime(&self) -> VirtualRuntime {
//!         self.runtime.clone()
//!     }
//!
//!     fn endpoint(&self, at: Option<SocketAddr>) -> io::Result<MemTransport> {
//!         self.bus.bind(at.unwrap_or_else(|| ([10, 0, 0, 1], 0).into()))
//!     }
//!
//!     fn capabilities(&self) -> Capabilities {
//!         Capabilities::new(65_507).oversize(65_508)
//!     }
//! }
//!
//! // One `#[test]` for each check, in a module of that name.
//! gossip_driver::transport_conformance!(in_memory, InMemory::new());
//!
//! // Or a single one, where another harness calls it.
//! # fn main() {
//! use gossip_driver::conformance::{Check, check};
//! check(InMemory::new, Check::OneByteAtATime).unwrap();
//! # }
//! ```
//!
//! Nothing here depends on an async runtime: a check is a future that [`Factory::block_on`] runs, and it polls transports and
//! streams itself. It measures no time. Deadlines are there only so that a check fails instead of hanging; they run on the
//! transport's own runtime, so on a virtual one even that takes no time.
//!
//! [`Check::ShutdownLeavesNothing`] and [`Check::AbruptDropLeavesNothing`] count the files that the process has open, so the
//! suite wants a test file without other tests. The checks of one process keep out of each other's way by themselves.

mod addresses;
mod crowd;
mod datagrams;
mod ending;
mod endpoint;
mod lab;
mod peers;
mod runtime;
mod strangers;
mod streams;
mod wakers;

use core::any::Any;
use core::fmt;
use core::future::Future;
use core::net::SocketAddr;
use core::time::Duration;
use std::io;
use std::sync::{PoisonError, RwLock};

use lab::Lab;
pub use strangers::{Mischief, tcp_stranger, udp_stranger};

use crate::runtime::Runtime;
use crate::transport::Transport;

/// Makes the endpoints that the suite tests, and says what can be expected of them.
///
/// Each check has a factory of its own. Endpoints of one factory can reach each other, and admit each other if the transport
/// asks for that.
pub trait Factory {
    /// What is tested.
    type Transport: Transport;
    /// The runtime that it runs on.
    type Runtime: Runtime;

    /// Runs a future to its end, and whatever the runtime has to do meanwhile.
    fn block_on<A>(&self, future: impl Future<Output = A>) -> A;

    /// The runtime. Called once, within [`Factory::block_on`].
    fn runtime(&self) -> Self::Runtime;

    /// An endpoint at that address, or at any that is free. It must be reachable at the address it says it has: so not at a
    /// wildcard. Called within [`Factory::block_on`].
    fn endpoint(&self, at: Option<SocketAddr>) -> io::Result<Self::Transport>;

    /// What can be expected of this transport.
    fn capabilities(&self) -> Capabilities;

    /// Somebody who reaches that endpoint below the transport, where it has a below, and does not behave: what it returns is
    /// kept while the others are tested. [`tcp_stranger`] and [`udp_stranger`] are such. `None` if this transport has none
    /// that does this. Called within [`Factory::block_on`]; may block for a moment.
    fn stranger(&self, to: SocketAddr, mischief: Mischief) -> io::Result<Option<Box<dyn Any>>> {
        let _ = (to, mischief);
        Ok(None)
    }

    /// Moves an endpoint to another address while it is in use, as a change of network does. `None` if this transport cannot
    /// survive that, so that the peers have to begin anew.
    fn relocate(&self, endpoint: &mut Self::Transport) -> Option<io::Result<()>> {
        let _ = endpoint;
        None
    }

    /// Tasks of the runtime that have not ended. `None` if it cannot tell.
    fn tasks(&self) -> Option<usize> {
        None
    }

    /// Files and sockets that the process has open. `None` where that cannot be told. Default: what Linux says.
    fn files(&self) -> Option<usize> {
        // The directory that is read is open as well, each time.
        std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count)
    }

    /// How long something may take before it is said to hang. Default 30 s.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }
}

/// What can be expected of a transport.
#[derive(Clone, Debug)]
pub struct Capabilities {
    max_datagram: usize,
    oversize: Option<usize>,
    half_close: bool,
    authenticates_datagrams: bool,
    authenticates_streams: bool,
    streams: usize,
    stream_buffer: usize,
    datagram_buffer: usize,
}

impl Capabilities {
    /// A transport that carries datagrams of up to that many bytes, at least 8, between the factory's endpoints.
    pub fn new(max_datagram: usize) -> Self {
        Self {
            max_datagram: max_datagram.max(8),
            oversize: None,
            half_close: false,
            authenticates_datagrams: false,
            authenticates_streams: false,
            streams: 2000,
            stream_buffer: 32 << 20,
            datagram_buffer: 8 << 20,
        }
    }

    /// A datagram of this many bytes cannot be sent. Default: none is known, and that is not tested.
    pub fn oversize(mut self, bytes: usize) -> Self {
        self.oversize = Some(bytes);
        self
    }

    /// `finish` tells the peer that nothing follows, and leaves the other direction open. Default `false`: the peer must see
    /// nothing of it.
    pub fn half_close(mut self, yes: bool) -> Self {
        self.half_close = yes;
        self
    }

    /// Datagrams, streams, of somebody who does not belong to the cluster are not received at all. Default: neither. A
    /// transport that authenticates both must say in each [`gossip_proto::Source`] who the peer is, others in none.
    pub fn authenticates(mut self, datagrams: bool, streams: bool) -> Self {
        (self.authenticates_datagrams, self.authenticates_streams) = (datagrams, streams);
        self
    }

    /// Streams that must work at once. Default 2,000. Sockets may need two files for each; keep below the process's limit.
    pub fn streams(mut self, count: usize) -> Self {
        self.streams = count;
        self
    }

    /// The most bytes that a stream takes whose peer does not read. Default 32 MiB: what Linux grants a TCP connection at
    /// most, both sides.
    pub fn stream_buffer(mut self, bytes: usize) -> Self {
        self.stream_buffer = bytes;
        self
    }

    /// The most bytes of datagrams that wait at an endpoint that does not receive. Default 8 MiB.
    pub fn datagram_buffer(mut self, bytes: usize) -> Self {
        self.datagram_buffer = bytes;
        self
    }
}

/// What a transport does not keep to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The check that found it.
    pub check: Check,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.check.name(), self.what)
    }
}

impl core::error::Error for Violation {}

/// Runs one check, with a factory of its own.
pub fn check<F: Factory>(make: impl FnOnce() -> F, check: Check) -> Result<(), Violation> {
    // Who counts open files must be alone; and a factory may open some, so it is made and dropped under the lock as well.
    let counts = matches!(check, Check::ShutdownLeavesNothing | Check::AbruptDropLeavesNothing);
    let _alone = counts.then(|| ALONE.write().unwrap_or_else(PoisonError::into_inner));
    let _beside = (!counts).then(|| ALONE.read().unwrap_or_else(PoisonError::into_inner));
    let factory = make();
    let run = async {
        let lab = Lab::new(&factory);
        check.run(&lab).await
    };
    factory.block_on(run).map_err(|what| Violation { check, what })
}

static ALONE: RwLock<()> = RwLock::new(());

/// How a check ends: with what is wrong, if something is.
type Outcome<A = ()> = Result<A, String>;

/// Fails the check unless it holds.
macro_rules! ensure {
    ($holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err(format!($($what)+));
        }
    };
}
use ensure;

macro_rules! checks {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal: $module:ident::$function:ident;)*) => {
        /// The checks.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Check {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Check {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The name of the test that [`crate::transport_conformance`] makes of it.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            async fn run<F: Factory>(self, lab: &Lab<'_, F>) -> Outcome {
                match self {
                    $(Self::$variant => $module::$function(lab).await,)*
                }
            }
        }
    };
}

checks! {
    /// Datagrams of all sizes up to the limit arrive unchanged, from the address of their sender.
    DatagramsArriveWhole = "datagrams_arrive_whole": datagrams::arrive_whole;
    /// Batches to several peers: each datagram arrives as it was, at most once, and only where it was sent.
    BatchesStayApart = "batches_stay_apart": datagrams::batches_stay_apart;
    /// A datagram that is too large is reported, with the limit, takes nothing else with it, and arrives nowhere.
    OversizeDatagramIsReported = "oversize_datagram_is_reported": datagrams::oversize_is_reported;
    /// Datagrams to a peer that does not receive: bounded memory, no hanging, and afterwards all is well.
    DatagramFloodIsBounded = "datagram_flood_is_bounded": datagrams::flood_is_bounded;
    /// Datagrams to an address where nobody is do not disturb the others.
    DatagramsToNobody = "datagrams_to_nobody": datagrams::to_nobody;
    /// Whether sources carry a proven identity, the same for datagrams and streams of one peer.
    SourcesSayWhoItIs = "sources_say_who_it_is": peers::sources_say_who_it_is;
    /// A request and its reply, from the address of the opener's host.
    StreamCarriesRequestAndReply = "stream_carries_request_and_reply": streams::request_and_reply;
    /// Bytes written and read one at a time.
    OneByteAtATime = "one_byte_at_a_time": streams::one_byte_at_a_time;
    /// 20 MiB in both directions at once.
    HugeStream = "huge_stream": streams::huge;
    /// A reader that does not read stops the writer before memory runs out, and lets it go on later; nothing is lost.
    StalledReaderStopsWriter = "stalled_reader_stops_writer": streams::stalled_reader;
    /// A stream that is dropped is seen as broken by its reader, not as ended.
    ResetInTheMiddleIsNoEnd = "reset_in_the_middle_is_no_end": streams::reset_in_the_middle;
    /// Who writes to a peer that has dropped the stream learns that.
    ResetReachesTheWriter = "reset_reaches_the_writer": streams::reset_reaches_writer;
    /// What was written before a stream was closed arrives, although the closer has not read everything (Q-30).
    CloseDeliversWhatWasWritten = "close_delivers_what_was_written": streams::close_delivers;
    /// `finish` ends one direction where the transport can, and is invisible where it cannot.
    FinishEndsOneDirection = "finish_ends_one_direction": streams::finish_ends_one_direction;
    /// Thousands of streams at once, each with its own bytes.
    ThousandsOfStreams = "thousands_of_streams": streams::thousands;
    /// Streams that say nothing and streams that nobody accepts hold up nobody else.
    HalfOpenStreamsHoldUpNobody = "half_open_streams_hold_up_nobody": peers::half_open;
    /// A stream that stands still holds up neither other streams nor datagrams.
    StalledStreamHoldsUpNobody = "stalled_stream_holds_up_nobody": peers::stalled;
    /// To open a stream to an address where nobody is does not succeed.
    NobodyListens = "nobody_listens": peers::nobody_listens;
    /// Streams that are dropped while they open leave the peer nothing to wait for.
    DroppedWhileOpening = "dropped_while_opening": peers::dropped_while_opening;
    /// Who connects and says nothing, or nonsense, hurts nobody, and is not let in where that is asked for.
    StrangersHurtNobody = "strangers_hurt_nobody": strangers::hurt_nobody;
    /// A peer that comes back at another address is heard and reached there.
    PeerMovesElsewhere = "peer_moves_elsewhere": addresses::elsewhere;
    /// A peer that crashed and comes back at its address is heard and reached again.
    PeerRestartsInPlace = "peer_restarts_in_place": addresses::in_place;
    /// An endpoint whose address changes while it is in use, where the transport survives that.
    AddressChangesInUse = "address_changes_in_use": addresses::in_use;
    /// Each method calls its own waker, the latest, without help from polling another.
    EachMethodCallsItsWaker = "each_method_calls_its_waker": wakers::of_the_transport;
    /// So do the methods of a stream.
    EachStreamCallsItsWakers = "each_stream_calls_its_wakers": wakers::of_a_stream;
    /// After closing in good order no task, socket or file is left, and the address is free.
    ShutdownLeavesNothing = "shutdown_leaves_nothing": ending::in_good_order;
    /// The same after an endpoint was just dropped.
    AbruptDropLeavesNothing = "abrupt_drop_leaves_nothing": ending::abruptly;
    /// The runtime's clock does not go back, and its timers go off when they should.
    RuntimeKeepsTime = "runtime_keeps_time": runtime::keeps_time;
    /// The runtime runs what it is given.
    RuntimeRunsTasks = "runtime_runs_tasks": runtime::runs_tasks;
}

/// Makes a `#[test]` of each check of the [`conformance`](crate::conformance) suite, in a module of the name given first. The
/// second argument is an expression that makes a [`Factory`](crate::conformance::Factory); each test has its own.
#[macro_export]
macro_rules! transport_conformance {
    ($suite:ident, $factory:expr) => {
        $crate::transport_conformance! {
            @tests $suite, $factory;
            datagrams_arrive_whole DatagramsArriveWhole
            batches_stay_apart BatchesStayApart
            oversize_datagram_is_reported OversizeDatagramIsReported
            datagram_flood_is_bounded DatagramFloodIsBounded
            datagrams_to_nobody DatagramsToNobody
            sources_say_who_it_is SourcesSayWhoItIs
            stream_carries_request_and_reply StreamCarriesRequestAndReply
            one_byte_at_a_time OneByteAtATime
            huge_stream HugeStream
            stalled_reader_stops_writer StalledReaderStopsWriter
            reset_in_the_middle_is_no_end ResetInTheMiddleIsNoEnd
            reset_reaches_the_writer ResetReachesTheWriter
            close_delivers_what_was_written CloseDeliversWhatWasWritten
            finish_ends_one_direction FinishEndsOneDirection
            thousands_of_streams ThousandsOfStreams
            half_open_streams_hold_up_nobody HalfOpenStreamsHoldUpNobody
            stalled_stream_holds_up_nobody StalledStreamHoldsUpNobody
            nobody_listens NobodyListens
            dropped_while_opening DroppedWhileOpening
            strangers_hurt_nobody StrangersHurtNobody
            peer_moves_elsewhere PeerMovesElsewhere
            peer_restarts_in_place PeerRestartsInPlace
            address_changes_in_use AddressChangesInUse
            each_method_calls_its_waker EachMethodCallsItsWaker
            each_stream_calls_its_wakers EachStreamCallsItsWakers
            shutdown_leaves_nothing ShutdownLeavesNothing
            abrupt_drop_leaves_nothing AbruptDropLeavesNothing
            runtime_keeps_time RuntimeKeepsTime
            runtime_runs_tasks RuntimeRunsTasks
        }
    };
    (@tests $suite:ident, $factory:expr; $($name:ident $check:ident)*) => {
        mod $suite {
            #[allow(unused_imports, reason = "what the factory's expression names")]
            use super::*;

            const TESTS: &[$crate::conformance::Check] = &[$($crate::conformance::Check::$check),*];
            const _: () = assert!(TESTS.len() == $crate::conformance::Check::ALL.len(), "a check has no test");

            $(
                #[test]
                fn $name() {
                    if let Err(violation) =
                        $crate::conformance::check(|| $factory, $crate::conformance::Check::$check)
                    {
                        panic!("{violation}");
                    }
                }
            )*
        }
    };
}
