//! How a link behaves, in one direction.

use core::time::Duration;

use crate::rng::{Rng, probability};

/// How a link behaves, in one direction.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Conditions {
    /// The time that a packet takes.
    pub latency: Latency,
    /// How packets are lost. A stream sends a lost segment again after 200 milliseconds.
    pub loss: Loss,
    /// Probability that a datagram arrives twice.
    pub duplicate: f64,
    /// Probability that a datagram is held back, so that later ones overtake it, and how much longer it then takes.
    pub reorder: (f64, Duration),
    /// What the link carries at a time; `None` is without end.
    pub rate: Option<Rate>,
    /// Datagrams of more bytes than this get lost without a word, as on a path whose routers drop what they would have to
    /// fragment and whose error messages are filtered. `None` is without limit. Where the sender's own socket refuses,
    /// which it does when it knows the path, use [`crate::net::Network::set_path`].
    pub mtu: Option<usize>,
}

/// How long packets take. Each packet draws for itself, so that all but the constant one reorder datagrams; streams stay
/// in order. None takes longer than an hour.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Latency {
    /// All the same.
    Constant(Duration),
    /// Uniformly from the least to that plus the spread.
    Uniform {
        /// The least.
        least: Duration,
        /// Up to this much more.
        spread: Duration,
    },
    /// A normal distribution, of which what is below `least` is drawn again.
    Normal {
        /// The mean, before anything is cut off.
        mean: Duration,
        /// The standard deviation, before anything is cut off.
        deviation: Duration,
        /// The least.
        least: Duration,
    },
    /// A fixed part and one whose logarithm is normally distributed, as queues of routers make it.
    LogNormal {
        /// The fixed part.
        least: Duration,
        /// The median of what comes on top.
        median: Duration,
        /// The standard deviation of its natural logarithm, 0 or more.
        sigma: f64,
    },
    /// A heavy tail: the probability to take longer than `x` is `(least / x)` to the power of `shape`.
    Pareto {
        /// The least.
        least: Duration,
        /// Above 0; the mean is finite above 1, and `least * shape / (shape - 1)`.
        shape: f64,
    },
}

/// How packets are lost.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Loss {
    /// Each for itself, with that probability.
    Bernoulli(f64),
    /// In bursts, as Gilbert and Elliott have it: a link is in a good or a bad state, and may change it with each packet
    /// that it is given. Each direction of each link has a state of its own and begins in the good one.
    GilbertElliott {
        /// Probability to go from the good state to the bad one.
        to_bad: f64,
        /// Probability to go back.
        to_good: f64,
        /// Loss in the good state.
        good: f64,
        /// Loss in the bad state.
        bad: f64,
    },
}

impl Loss {
    /// Loses that share in all, in bursts of that many packets on average.
    ///
    /// # Panics
    /// If the share is not from 0 to below 1, bursts are shorter than a packet, or no such bursts can make up the share: it
    /// takes `share / (1 - share) <= mean_burst`.
    pub fn bursts(share: f64, mean_burst: f64) -> Self {
        assert!((0.0..1.0).contains(&share), "the share lost must be from 0 to below 1, not {share}");
        assert!(mean_burst >= 1.0, "a burst has at least one packet, not {mean_burst}");
        let to_good = 1.0 / mean_burst;
        let to_bad = share * to_good / (1.0 - share);
        assert!(to_bad <= 1.0, "bursts of {mean_burst} packets are too short to lose {share} of all");
        Self::GilbertElliott { to_bad, to_good, good: 0.0, bad: 1.0 }
    }
}

/// What a link, or a node's own line, carries at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Bytes of payload in a second, at least 1.
    pub bytes_per_second: u64,
    /// How many bytes may wait for their turn. A datagram that finds no room is lost (drop-tail); an idle link takes one of
    /// any size. What a stream sends waits for its turn however long the queue is: its sender would hold it back itself.
    pub buffer: usize,
}

impl Rate {
    /// Panics if it is none.
    pub(crate) fn check(&self) {
        assert!(self.bytes_per_second > 0, "a rate is at least 1 byte a second");
    }
}

impl Conditions {
    /// Nothing is lost, and packets arrive at the very instant they are sent.
    pub const PERFECT: Self = Self {
        latency: Latency::Constant(Duration::ZERO),
        loss: Loss::Bernoulli(0.0),
        duplicate: 0.0,
        reorder: (0.0, Duration::ZERO),
        rate: None,
        mtu: None,
    };

    /// A quiet local network: half a millisecond, give or take, and no loss.
    pub const LAN: Self = Self::PERFECT.delay(Duration::from_micros(300), Duration::from_micros(400));

    /// A link between data centres: 40 to 60 milliseconds, no loss.
    pub const WAN: Self = Self::PERFECT.delay(Duration::from_millis(40), Duration::from_millis(20));

    /// The same with another probability of loss, each packet for itself.
    #[must_use]
    pub const fn loss(self, loss: f64) -> Self {
        Self { loss: Loss::Bernoulli(loss), ..self }
    }

    /// The same with another way of losing packets.
    #[must_use]
    pub const fn losing(self, loss: Loss) -> Self {
        Self { loss, ..self }
    }

    /// The same with another probability of duplication.
    #[must_use]
    pub const fn duplicate(self, duplicate: f64) -> Self {
        Self { duplicate, ..self }
    }

    /// The same with delays from the first to the sum of both, uniformly.
    #[must_use]
    pub const fn delay(self, latency: Duration, jitter: Duration) -> Self {
        Self { latency: Latency::Uniform { least: latency, spread: jitter }, ..self }
    }

    /// The same with other delays.
    #[must_use]
    pub const fn latency(self, latency: Latency) -> Self {
        Self { latency, ..self }
    }

    /// The same, but datagrams are held back that much longer with that probability.
    #[must_use]
    pub const fn reorder(self, probability: f64, by: Duration) -> Self {
        Self { reorder: (probability, by), ..self }
    }

    /// The same with a rate and a buffer; see [`Rate`].
    #[must_use]
    pub const fn rate(self, bytes_per_second: u64, buffer: usize) -> Self {
        Self { rate: Some(Rate { bytes_per_second, buffer }), ..self }
    }

    /// The same, but larger datagrams get lost.
    #[must_use]
    pub const fn mtu(self, bytes: usize) -> Self {
        Self { mtu: Some(bytes), ..self }
    }

    /// Panics with what is wrong and what would be right.
    pub(crate) fn check(&self) {
        let bursts = match self.loss {
            Loss::Bernoulli(loss) => [loss; 4],
            Loss::GilbertElliott { to_bad, to_good, good, bad } => [to_bad, to_good, good, bad],
        };
        for loss in bursts {
            probability("loss", loss);
        }
        probability("duplicate", self.duplicate);
        probability("reorder", self.reorder.0);
        match self.latency {
            Latency::LogNormal { sigma, .. } => {
                assert!(sigma >= 0.0 && sigma.is_finite(), "sigma must be 0 or more, not {sigma}");
            }
            Latency::Pareto { shape, .. } => {
                assert!(shape > 0.0 && shape.is_finite(), "shape must be above 0, not {shape}");
            }
            _ => {}
        }
        self.rate.iter().for_each(Rate::check);
    }
}

impl Default for Conditions {
    fn default() -> Self {
        Self::LAN
    }
}

impl Latency {
    pub(crate) fn draw(self, random: &mut Rng) -> Duration {
        let seconds = match self {
            Self::Constant(latency) => return latency,
            Self::Uniform { least, spread } => return least + random.duration_below(spread),
            Self::Normal { mean, deviation, least } => {
                let draws =
                    (0..REDRAWS).map(|_| mean.as_secs_f64() + deviation.as_secs_f64() * normal(random));
                draws.into_iter().find(|drawn| *drawn >= least.as_secs_f64()).unwrap_or(least.as_secs_f64())
            }
            Self::LogNormal { least, median, sigma } => {
                least.as_secs_f64() + median.as_secs_f64() * libm::exp(sigma * normal(random))
            }
            Self::Pareto { least, shape } => least.as_secs_f64() * libm::pow(open(random), -1.0 / shape),
        };
        Duration::from_nanos((seconds.clamp(0.0, MOST) * 1e9) as u64)
    }
}

/// Normally distributed, mean 0 and deviation 1, by Box and Muller. The logarithm of the standard library is not the same
/// on every machine.
fn normal(random: &mut Rng) -> f64 {
    let radius = libm::sqrt(-2.0 * libm::log(open(random)));
    radius * libm::cos(core::f64::consts::TAU * open(random))
}

/// Uniform above 0, up to 1.
fn open(random: &mut Rng) -> f64 {
    ((random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
}

/// Longest latency, in seconds: a tail that is heavier than this says nothing about networks.
const MOST: f64 = 3600.0;
/// How often a latency below the least is drawn again before it is the least.
const REDRAWS: usize = 64;

#[cfg(test)]
mod tests {
    use gossip_proto::Seed;

    use super::*;
    use crate::rng::Purpose;

    const MS: Duration = Duration::from_millis(1);

    /// Twenty thousand draws in milliseconds, sorted.
    fn draws(latency: Latency) -> Vec<f64> {
        let mut random = Rng::new(&Seed::from_u64(4), Purpose::Latency, 0);
        let mut draws: Vec<_> = (0..20_000).map(|_| latency.draw(&mut random).as_secs_f64() * 1e3).collect();
        draws.sort_by(f64::total_cmp);
        draws
    }

    fn near(value: f64, expected: f64, share: f64) {
        assert!((value - expected).abs() <= expected * share, "{value} is not near {expected}");
    }

    fn mean(draws: &[f64]) -> f64 {
        draws.iter().sum::<f64>() / draws.len() as f64
    }

    #[test]
    fn a_normal_latency_has_its_mean_and_quantiles_and_is_cut_off() {
        let latency = |least| Latency::Normal { mean: MS * 50, deviation: MS * 10, least };
        let whole = draws(latency(Duration::ZERO));
        near(mean(&whole), 50.0, 0.01);
        near(whole[10_000], 50.0, 0.01);
        near(whole[16_827], 60.0, 0.01); // 84.13 %: one deviation above
        near(whole[454], 30.0, 0.03); // 2.27 %: two below
        let half = draws(latency(MS * 50));
        assert!(half[0] >= 50.0);
        near(mean(&half), 50.0 + 10.0 * 0.7979, 0.01); // a half-normal's mean is sqrt(2/pi) deviations
    }

    #[test]
    fn a_log_normal_latency_has_its_median_mean_and_tail() {
        let draws = draws(Latency::LogNormal { least: MS * 5, median: MS * 10, sigma: 0.5 });
        assert!(draws[0] > 5.0);
        near(draws[10_000], 15.0, 0.01);
        near(mean(&draws), 5.0 + 10.0 * 1.1331, 0.01); // exp(sigma^2 / 2)
        near(draws[19_000], 5.0 + 10.0 * 2.2761, 0.03); // exp(1.6449 sigma)
    }

    #[test]
    fn a_pareto_latency_has_its_quantiles_and_mean() {
        let draws = draws(Latency::Pareto { least: MS * 10, shape: 3.0 });
        assert!(draws[0] >= 10.0);
        near(draws[10_000], 10.0 * 1.2599, 0.01); // 2^(1/3)
        near(draws[19_800], 10.0 * 4.6416, 0.06); // 100^(1/3)
        near(mean(&draws), 15.0, 0.02);
        let endless = Latency::Pareto { least: MS, shape: 1e-6 };
        let longest = endless.draw(&mut Rng::new(&Seed::from_u64(4), Purpose::Latency, 0));
        assert_eq!(longest, Duration::from_secs(3600));
    }
}
