//! Each check of the conformance suite finds what it is there to find: for each a transport that is sound but for one defect.

mod conformance {
    pub(crate) mod factory;
    pub(crate) mod faulty;
}

use std::collections::BTreeSet;

use conformance::faulty::{Defect, FaultyFactory};
use gossip_driver::conformance::{Check, check};

/// The check, a defect that it must find, and what it must say of it.
const TABLE: &[(Check, Defect, &str)] = &[
    (Check::DatagramsArriveWhole, Defect::TruncatesDatagrams, "arrived changed"),
    (Check::BatchesStayApart, Defect::DoublesDatagrams, "arrived twice"),
    (Check::OversizeDatagramIsReported, Defect::SaysNothingOfOversize, "too large is not reported"),
    (Check::DatagramFloodIsBounded, Defect::QueuesWithoutEnd, "bytes of datagrams waited"),
    (Check::DatagramsToNobody, Defect::DiesOfNobody, "the transport has failed"),
    (Check::SourcesSayWhoItIs, Defect::InventsIdentities, "says who the peer is"),
    (Check::StreamCarriesRequestAndReply, Defect::MistakesTheOpener, "is said to be from 10.9.9.9:1"),
    (Check::OneByteAtATime, Defect::WaitsForMoreToWrite, "single bytes do not get through"),
    (Check::HugeStream, Defect::EndsHugeStreams, "ended too early"),
    (Check::StalledReaderStopsWriter, Defect::BuffersWithoutEnd, "whose peer does not read took"),
    (Check::ResetInTheMiddleIsNoEnd, Defect::EndsInsteadOfReset, "looks as if it had ended well"),
    (Check::ResetReachesTheWriter, Defect::IgnoresReset, "that the peer has dropped"),
    (Check::CloseDeliversWhatWasWritten, Defect::CloseLosesBytes, "could not be read"),
    (Check::FinishEndsOneDirection, Defect::HalfCloseIsSeen, "`finish` is seen by the peer"),
    (Check::FinishEndsOneDirection, Defect::HalfCloseIsDropped, "`finish` leaves somebody waiting"),
    (Check::ThousandsOfStreams, Defect::LimitsStreams, "one of 2000 streams"),
    (Check::HalfOpenStreamsHoldUpNobody, Defect::ServesOneStreamAtATime, "silent streams keep another"),
    (
        Check::StalledStreamHoldsUpNobody,
        Defect::StallsDatagramsWithStreams,
        "no datagram of 64 bytes arrives",
    ),
    (Check::NobodyListens, Defect::OpensWithoutAsking, "opens to an address where nobody is"),
    (Check::DroppedWhileOpening, Defect::ForgetsUnusedStreams, "leaves the peer waiting"),
    (Check::StrangersHurtNobody, Defect::AdmitsStrangers, "not known was accepted"),
    (Check::StrangersHurtNobody, Defect::ChokesOnNonsense, "no datagram of 64 bytes arrives"),
    (Check::PeerMovesElsewhere, Defect::KnowsOnePeer, "no datagram of 64 bytes arrives"),
    (Check::PeerRestartsInPlace, Defect::KeepsDeadPeers, "no request is answered"),
    (Check::AddressChangesInUse, Defect::SaysItsOldAddress, "says that it is still at"),
    (Check::EachMethodCallsItsWaker, Defect::ForgetsTheWaker, "poll_receive does not call its waker"),
    (Check::EachStreamCallsItsWakers, Defect::KeepsTheFirstWaker, "poll_read of a stream does not call"),
    (Check::ShutdownLeavesNothing, Defect::LeaksTasks, "something is left"),
    (Check::AbruptDropLeavesNothing, Defect::LeaksSockets, "an address does not become free again"),
    (Check::RuntimeKeepsTime, Defect::HasEarlyTimers, "a timer went off at"),
    (Check::RuntimeRunsTasks, Defect::LosesTasks, "not every task"),
];

#[test]
fn each_check_finds_its_defect() {
    let mut blind = Vec::new();
    for (of, defect, says) in TABLE {
        match check(|| FaultyFactory::new(*defect), *of) {
            Ok(()) => blind.push(format!("{} does not find {defect:?}", of.name())),
            Err(violation) if !violation.what.contains(says) => {
                blind.push(format!("{} says of {defect:?}: {}", of.name(), violation.what));
            }
            Err(_) => {}
        }
    }
    assert!(blind.is_empty(), "{}", blind.join("\n"));
}

/// Or the defects would not be what is found.
#[test]
fn without_a_defect_all_is_well() {
    for of in Check::ALL {
        check(|| FaultyFactory::new(Defect::None), *of).unwrap();
    }
}

#[test]
fn no_check_is_without_a_defect() {
    let tried: BTreeSet<_> = TABLE.iter().map(|(of, ..)| *of).collect();
    assert_eq!(tried, Check::ALL.iter().copied().collect());
}
