//! Network coordinates (serf.md 6): a point per node, so that the distance of two points estimates the round trip time
//! between two nodes that have never talked to each other.
//!
//! The algorithm is Vivaldi as Serf computes it, equal to the last bit: nodes of one cluster pull at each other's
//! coordinates for ever, and rounding of our own would show. So square roots come from `libm`, nothing is fused, sums run
//! in the order of the text, and times pass through whole nanoseconds where upstream's do.
//!
//! Other than upstream (Q9), a coordinate that no network has is refused, and no sample moves this one further than
//! [`MAX_STEP`]: there a single peer that claims 10²⁰⁰ makes a node forget its place twenty times in a row.

use core::fmt;
use core::time::Duration;

use smallvec::SmallVec;

pub use crate::wire::serf::Coordinate;

use crate::Seed;
use crate::rng::Rng;
use crate::time::nanos;
use crate::wire::serf::{MAX_DIMENSIONS, Vector};

/// Dimensions of the coordinates in every Serf cluster.
pub const DIMENSIONS: usize = 8;

/// No round trip longer than this is believed (serf.md 6.6).
pub const MAX_ROUND_TRIP: Duration = Duration::from_secs(10);

/// Largest part of a coordinate that is believed, in seconds: ten times the longest round trip. A distance that is at
/// odds with all samples is a lie or a fault, never a network.
pub const LIMIT: f64 = 100.0;

/// The furthest that one force moves a coordinate in its space, and its height, in seconds: what the longest round trip
/// calls for between nodes at one place. A sample has two forces, the other node's and gravity's.
pub const MAX_STEP: f64 = CC * MAX_SAMPLE;

/// What the round trip time between two nodes should be; `None` if one of the two is no coordinate of a Serf node, or
/// they are of different spaces.
///
/// ```
/// use core::time::Duration;
/// use gossip_proto::coordinate::{Vivaldi, distance};
///
/// let (a, b) = (Vivaldi::default(), Vivaldi::default());
/// // Both still at the origin, each the least height above it.
/// assert_eq!(distance(a.coordinate(), b.coordinate()), Some(Duration::from_micros(20)));
/// ```
pub fn distance(a: &Coordinate, b: &Coordinate) -> Option<Duration> {
    (check(a, a.vec.len()).is_ok() && check(b, a.vec.len()).is_ok())
        .then(|| Duration::from_nanos(distance_nanos(a, b)))
}

/// Why a sample was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// A coordinate of another number of dimensions.
    Dimensions,
    /// Not finite, beyond [`LIMIT`], or with a negative height or error.
    Invalid,
    /// Longer than [`MAX_ROUND_TRIP`].
    RoundTrip(Duration),
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dimensions => f.write_str("dimensions aren't compatible"),
            Self::Invalid => f.write_str("coordinate is invalid"),
            Self::RoundTrip(rtt) => write!(
                f,
                "round trip time not in valid range, duration {rtt:?} is not a positive value less than {MAX_ROUND_TRIP:?}"
            ),
        }
    }
}

impl core::error::Error for Rejected {}

/// The last round trips to one node; their median is a sample (serf.md 6.5). Kept by the caller, one for each node, and
/// dropped with it.
///
/// There may be tens of thousands, so that of three round trips the last two are kept, in 32 bits each: to the nanosecond up to two
/// seconds, and to eight of them up to [`MAX_ROUND_TRIP`].
#[derive(Clone, Copy, Debug)]
pub struct LatencyFilter {
    /// The older one first; [`NO_SAMPLE`] where there is none.
    last: [u32; FILTER_SIZE - 1],
}

impl Default for LatencyFilter {
    fn default() -> Self {
        Self { last: [NO_SAMPLE; FILTER_SIZE - 1] }
    }
}

impl LatencyFilter {
    /// Takes in one more, in seconds, and gives the median; of two that is the larger.
    pub fn push(&mut self, latest: f64) -> f64 {
        let kept = |sample: u32| seconds(unpacked(sample));
        let median = match self.last {
            [_, NO_SAMPLE] => latest,
            [NO_SAMPLE, before] => kept(before).max(latest),
            [first, second] => {
                let (low, high) = (kept(first.min(second)), kept(first.max(second)));
                latest.clamp(low, high)
            }
        };
        self.last = [self.last[1], packed((latest * 1e9 + 0.5) as u64)];
        median
    }

    /// Whether there was none yet.
    pub fn is_empty(&self) -> bool {
        self.last[1] == NO_SAMPLE
    }
}

/// Nanoseconds of a sample, in 32 bits.
fn packed(nanos: u64) -> u32 {
    let sample = if nanos < LONG { nanos } else { LONG + nanos / LONG_UNIT };
    sample.min(u64::from(NO_SAMPLE - 1)) as u32
}

fn unpacked(sample: u32) -> u64 {
    let sample = u64::from(sample);
    if sample < LONG { sample } else { (sample - LONG) * LONG_UNIT }
}

/// The coordinate of one node, as it moves with each round trip that was measured.
#[derive(Clone, Debug)]
pub struct Vivaldi {
    coordinate: Coordinate,
    /// What samples and coordinates disagreed by, of late.
    residuals: [f64; WINDOW],
    next: usize,
    resets: u64,
    rng: Rng,
}

impl Vivaldi {
    /// A node at the origin of a space of that many dimensions; `None` if there are none, or more than
    /// [`MAX_DIMENSIONS`]. The seed decides in which direction nodes at one place part.
    pub fn new(dimensions: usize, seed: &Seed) -> Option<Self> {
        (1..=MAX_DIMENSIONS).contains(&dimensions).then(|| Self::at_origin(dimensions, seed))
    }

    /// Takes in a round trip to another node, which was at `other` then. `filter` is that node's.
    ///
    /// # Errors
    /// What cannot be believed; nothing has changed then.
    pub fn update(
        &mut self,
        filter: &mut LatencyFilter,
        other: &Coordinate,
        rtt: Duration,
    ) -> Result<(), Rejected> {
        check(other, self.coordinate.vec.len())?;
        if rtt > MAX_ROUND_TRIP {
            return Err(Rejected::RoundTrip(rtt));
        }
        let sample = filter.push(seconds(nanos(rtt)));
        self.attract(other, sample);
        self.adjust(other, sample);
        self.gravitate();
        if check(&self.coordinate, self.coordinate.vec.len()).is_err() {
            // With the residuals: the one that spoilt it would spoil what follows (Q9).
            self.resets += 1;
            self.coordinate = origin(self.coordinate.vec.len());
            self.residuals = [0.0; WINDOW];
        }
        Ok(())
    }

    /// Puts the node somewhere else.
    ///
    /// # Errors
    /// A place that is none.
    pub fn set(&mut self, coordinate: Coordinate) -> Result<(), Rejected> {
        check(&coordinate, self.coordinate.vec.len())?;
        self.coordinate = coordinate;
        Ok(())
    }

    /// Where the node is.
    pub fn coordinate(&self) -> &Coordinate {
        &self.coordinate
    }

    /// How often the node had to start over at the origin.
    pub fn resets(&self) -> u64 {
        self.resets
    }

    fn at_origin(dimensions: usize, seed: &Seed) -> Self {
        Self {
            coordinate: origin(dimensions),
            residuals: [0.0; WINDOW],
            next: 0,
            resets: 0,
            rng: Rng::from_seed(seed, RNG_STREAM),
        }
    }

    /// The spring between the two nodes: pulls or pushes by the part of the error that is this node's.
    fn attract(&mut self, other: &Coordinate, sample: f64) {
        let own = &mut self.coordinate;
        let distance = seconds(distance_nanos(own, other));
        let rtt = at_least(sample, ZERO);
        let wrongness = libm::fabs(distance - rtt) / rtt;
        let total = at_least(own.error + other.error, ZERO);
        let weight = own.error / total;
        own.error = CE * weight * wrongness + own.error * (1.0 - CE * weight);
        if own.error > ERROR_MAX {
            own.error = ERROR_MAX;
        }
        let force = CC * weight * (rtt - distance);
        self.apply(force, &other.vec, other.height);
    }

    /// What the space cannot express goes into one number (serf.md 6.6 step 5).
    fn adjust(&mut self, other: &Coordinate, sample: f64) {
        let residual = sample - raw_distance(&self.coordinate, other);
        self.residuals[self.next] = residual.clamp(-MAX_SAMPLE, MAX_SAMPLE);
        self.next = (self.next + 1) % WINDOW;
        let sum = self.residuals.iter().fold(0.0, |sum, residual| sum + residual);
        self.coordinate.adjustment = sum / (2.0 * WINDOW as f64);
    }

    /// Keeps the cluster near the origin; without it the whole would drift (serf.md 6.6 step 6).
    fn gravitate(&mut self) {
        let origin = origin(self.coordinate.vec.len());
        let distance = seconds(distance_nanos(&origin, &self.coordinate));
        let pull = distance / GRAVITY_RHO;
        self.apply(-(pull * pull), &origin.vec, origin.height);
    }

    /// Moves away from `vec`, or towards it if the force is negative (serf.md 6.4), each way by [`MAX_STEP`] at most.
    fn apply(&mut self, force: f64, vec: &[f64], height: f64) {
        let force = force.clamp(-MAX_STEP, MAX_STEP);
        let (unit, magnitude) = self.unit_from(vec);
        let own = &mut self.coordinate;
        for (part, unit) in own.vec.iter_mut().zip(unit) {
            *part += unit * force;
        }
        if magnitude > ZERO {
            // Nodes close in space would throw each other's heights anywhere.
            let rise = ((own.height + height) * force / magnitude).clamp(-MAX_STEP, MAX_STEP);
            own.height = at_least(rise + own.height, HEIGHT_MIN);
        }
    }

    /// The direction from `vec` to this node, and how far it is; a random direction, and 0, if they are at one place.
    fn unit_from(&mut self, vec: &[f64]) -> (Parts, f64) {
        let mut unit: Parts = self.coordinate.vec.iter().zip(vec).map(|(own, other)| own - other).collect();
        let distance = magnitude(&unit);
        if distance > ZERO {
            scale(&mut unit, 1.0 / distance);
            return (unit, distance);
        }
        for part in &mut unit {
            *part = (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
        }
        let length = magnitude(&unit);
        if length > ZERO {
            scale(&mut unit, 1.0 / length);
        } else {
            unit.fill(0.0);
            unit[0] = 1.0;
        }
        (unit, 0.0)
    }
}

/// In Serf's space, for calculations that leave nothing to chance: the same seed each time.
impl Default for Vivaldi {
    fn default() -> Self {
        Self::at_origin(DIMENSIONS, &Seed::from_u64(0))
    }
}

type Parts = SmallVec<[f64; 8]>;

/// A node that knows nothing: at the origin, and as unsure as can be.
fn origin(dimensions: usize) -> Coordinate {
    Coordinate {
        vec: Vector(SmallVec::from_elem(0.0, dimensions)),
        error: ERROR_MAX,
        adjustment: 0.0,
        height: HEIGHT_MIN,
    }
}

/// Whether it is a place in the space.
fn check(coordinate: &Coordinate, dimensions: usize) -> Result<(), Rejected> {
    if coordinate.vec.len() != dimensions || dimensions == 0 {
        return Err(Rejected::Dimensions);
    }
    // Comparisons with NaN are false, so that it is refused as well.
    let within = |value: f64| (-LIMIT..=LIMIT).contains(&value);
    let positive = |value: f64| (0.0..=LIMIT).contains(&value);
    let valid = coordinate.vec.iter().all(|&part| within(part))
        && within(coordinate.adjustment)
        && positive(coordinate.height)
        && positive(coordinate.error);
    if valid { Ok(()) } else { Err(Rejected::Invalid) }
}

/// serf.md 6.2. Of two that were checked it is finite, not negative, and far from the end of its type.
fn distance_nanos(a: &Coordinate, b: &Coordinate) -> u64 {
    let raw = raw_distance(a, b);
    let adjusted = raw + a.adjustment + b.adjustment;
    let distance = if adjusted > 0.0 { adjusted } else { raw };
    (distance * 1e9) as u64
}

fn raw_distance(a: &Coordinate, b: &Coordinate) -> f64 {
    let squares = a.vec.iter().zip(b.vec.iter()).fold(0.0, |sum, (a, b)| sum + (a - b) * (a - b));
    libm::sqrt(squares) + a.height + b.height
}

fn magnitude(vec: &[f64]) -> f64 {
    libm::sqrt(vec.iter().fold(0.0, |sum, part| sum + part * part))
}

fn scale(vec: &mut [f64], factor: f64) {
    for part in vec {
        *part *= factor;
    }
}

/// As Go converts a duration: seconds and the rest apart, which rounds differently from one division.
fn seconds(nanos: u64) -> f64 {
    (nanos / NANOS) as f64 + (nanos % NANOS) as f64 / 1e9
}

/// The larger one, and NaN if there is one, so that the check that follows sees it; `f64::max` would hide it.
fn at_least(value: f64, least: f64) -> f64 {
    if value < least { least } else { value }
}

const NANOS: u64 = 1_000_000_000;
/// Below this two points are one, and a time is none.
const ZERO: f64 = 1e-6;
const ERROR_MAX: f64 = 1.5;
const CE: f64 = 0.25;
const CC: f64 = 0.25;
const WINDOW: usize = 20;
const HEIGHT_MIN: f64 = 10e-6;
const FILTER_SIZE: usize = 3;
const NO_SAMPLE: u32 = u32::MAX;
/// What is less are nanoseconds; what is more, this much taken away, are units of so many.
const LONG: u64 = 1 << 31;
const LONG_UNIT: u64 = 8;
const GRAVITY_RHO: f64 = 150.0;
/// [`MAX_ROUND_TRIP`] in seconds.
const MAX_SAMPLE: f64 = 10.0;
/// Directions are drawn from a stream of the seed of their own.
const RNG_STREAM: u64 = 3;

#[cfg(test)]
#[path = "coordinate_tests.rs"]
mod tests;
