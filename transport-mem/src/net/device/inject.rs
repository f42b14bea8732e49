//! A device that does harm at random.

use core::time::Duration;

use gossip_proto::Seed;

use crate::net::device::{Device, Kind, Packet, Verdict};
use crate::rng::{Purpose, Rng, probability};

/// Corrupts, truncates, drops, delays and duplicates, each with a probability of its own and from a seed: what bad
/// hardware and hostile middleboxes do, which the links of a [`crate::net::Network`] do not.
///
/// At most one of these befalls a packet; the probabilities are looked at in that order. Datagrams only, unless
/// [`FaultInjection::streams`] is on.
#[derive(Clone, Debug)]
pub struct FaultInjection {
    corrupt: f64,
    truncate: f64,
    drop: f64,
    delay: (f64, Duration),
    duplicate: f64,
    streams: bool,
    random: Rng,
    injected: Injected,
}

/// What a [`FaultInjection`] has done so far, in packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    /// Seen, whatever became of them.
    pub seen: u64,
    /// One of their bits was turned.
    pub corrupted: u64,
    /// Cut short.
    pub truncated: u64,
    /// Dropped.
    pub dropped: u64,
    /// Held up.
    pub delayed: u64,
    /// Sent twice.
    pub duplicated: u64,
}

impl FaultInjection {
    /// Does nothing yet. The seed may be the network's: its streams of random numbers are not touched.
    pub fn new(seed: &Seed) -> Self {
        Self {
            corrupt: 0.0,
            truncate: 0.0,
            drop: 0.0,
            delay: (0.0, Duration::ZERO),
            duplicate: 0.0,
            streams: false,
            random: Rng::new(seed, Purpose::Inject, 0),
            injected: Injected::default(),
        }
    }

    /// Turns one bit, at a place that is drawn.
    ///
    /// # Panics
    /// As all of these: if it is not a probability, from 0 to 1.
    #[must_use]
    pub fn corrupt(self, probability_: f64) -> Self {
        Self { corrupt: probability("corrupt", probability_), ..self }
    }

    /// Cuts off the end, from a byte that is drawn; none to all of it may be left.
    #[must_use]
    pub fn truncate(self, probability_: f64) -> Self {
        Self { truncate: probability("truncate", probability_), ..self }
    }

    /// Loses it.
    #[must_use]
    pub fn drop(self, probability_: f64) -> Self {
        Self { drop: probability("drop", probability_), ..self }
    }

    /// Holds it up, for a time that is drawn below `most`.
    #[must_use]
    pub fn delay(self, probability_: f64, most: Duration) -> Self {
        Self { delay: (probability("delay", probability_), most), ..self }
    }

    /// Sends it twice.
    #[must_use]
    pub fn duplicate(self, probability_: f64) -> Self {
        Self { duplicate: probability("duplicate", probability_), ..self }
    }

    /// Whether the bytes of streams suffer as well, as they do where checksums fail to notice. Default off.
    #[must_use]
    pub fn streams(self, on: bool) -> Self {
        Self { streams: on, ..self }
    }

    /// What it has done so far.
    pub fn injected(&self) -> Injected {
        self.injected
    }
}

impl Device for FaultInjection {
    fn pass(&mut self, packet: &Packet<'_>) -> Verdict {
        if packet.kind != Kind::Datagram && !self.streams {
            return Verdict::Pass;
        }
        self.injected.seen += 1;
        let len = packet.bytes.len() as u64;
        if len > 0 && self.random.chance(self.corrupt) {
            self.injected.corrupted += 1;
            let mut bytes = packet.bytes.to_vec();
            let bit = self.random.below(len * 8);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
            return Verdict::Replace(bytes);
        }
        if len > 0 && self.random.chance(self.truncate) {
            self.injected.truncated += 1;
            return Verdict::Replace(packet.bytes[..self.random.below(len) as usize].to_vec());
        }
        if self.random.chance(self.drop) {
            self.injected.dropped += 1;
            return Verdict::Drop;
        }
        if self.random.chance(self.delay.0) {
            self.injected.delayed += 1;
            return Verdict::Delay(self.random.duration_below(self.delay.1));
        }
        if self.random.chance(self.duplicate) {
            self.injected.duplicated += 1;
            return Verdict::Duplicate(Duration::ZERO);
        }
        Verdict::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::device::tests::packet;

    fn run(mut device: FaultInjection, times: usize) -> (Vec<Verdict>, Injected) {
        let verdicts = (0..times).map(|_| device.pass(&packet(&[0; 100]))).collect();
        (verdicts, device.injected())
    }

    #[test]
    fn harm_is_as_frequent_as_asked_for_and_repeats_from_the_seed() {
        let device = || {
            FaultInjection::new(&Seed::from_u64(3))
                .corrupt(0.1)
                .truncate(0.1)
                .drop(0.1)
                .delay(0.1, Duration::from_millis(9))
                .duplicate(0.1)
        };
        let (verdicts, injected) = run(device(), 20_000);
        assert_eq!((&verdicts, injected), (&run(device(), 20_000).0, injected));
        // Each is looked at where those before it did nothing; three standard deviations are about 130.
        let near = |count: u64, share: f64| (count as f64 - 20_000.0 * share).abs() < 130.0;
        assert!(near(injected.corrupted, 0.1), "{injected:?}");
        assert!(near(injected.truncated, 0.09), "{injected:?}");
        assert!(near(injected.dropped, 0.081), "{injected:?}");
        assert!(near(injected.delayed, 0.0729), "{injected:?}");
        assert!(near(injected.duplicated, 0.0656), "{injected:?}");
        let one_bit = |bytes: &[u8]| bytes.iter().map(|byte| byte.count_ones()).sum::<u32>() == 1;
        let corrupted = verdicts.iter().filter(
            |verdict| matches!(verdict, Verdict::Replace(bytes) if bytes.len() == 100 && one_bit(bytes)),
        );
        assert_eq!(corrupted.count() as u64, injected.corrupted);
        let longest = verdicts.iter().filter_map(|verdict| match verdict {
            Verdict::Delay(by) => Some(*by),
            _ => None,
        });
        let longest = longest.max().unwrap();
        assert!((Duration::from_millis(8)..Duration::from_millis(9)).contains(&longest), "{longest:?}");
    }

    #[test]
    fn streams_are_left_alone_unless_asked_for() {
        let mut device = FaultInjection::new(&Seed::from_u64(3)).drop(1.0);
        let segment = Packet { kind: Kind::Data, stream: 1, ..packet(b"abc") };
        assert_eq!(device.pass(&segment), Verdict::Pass);
        assert_eq!(device.clone().streams(true).pass(&segment), Verdict::Drop);
        assert_eq!(device.pass(&packet(b"abc")), Verdict::Drop);
    }

    #[test]
    #[should_panic(expected = "corrupt must be a probability, from 0 to 1, not 1.5")]
    fn what_is_no_probability_is_refused() {
        let _ = FaultInjection::new(&Seed::from_u64(3)).corrupt(1.5);
    }
}
