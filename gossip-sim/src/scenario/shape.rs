//! Where nodes are, where their distances matter.

use core::time::Duration;

use serde::Deserialize;

/// Where nodes are: the round trips between them, in units of `spacing`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// In a row: to the next one it is 1.
    Line,
    /// In the fewest rows of a square that takes all: to the next one in a row or column it is 1.
    Grid,
    /// Node 0 behind a link of its own, 2 from everybody; the others on a circle around of radius 1.
    Circle,
}

impl Shape {
    /// The round trip between two different nodes of so many.
    pub(crate) fn round_trip(self, spacing: Duration, a: usize, b: usize, nodes: usize) -> Duration {
        let units = match self {
            Self::Line => a.abs_diff(b) as f64,
            Self::Grid => {
                let row = (1..).find(|row| row * row >= nodes).unwrap_or(1);
                let (x, y) = ((a % row).abs_diff(b % row), (a / row).abs_diff(b / row));
                ((x * x + y * y) as f64).sqrt()
            }
            Self::Circle if a == 0 || b == 0 => 2.0,
            // The chord.
            Self::Circle => 2.0 * (core::f64::consts::PI * a.abs_diff(b) as f64 / nodes as f64).sin(),
        };
        // To the microsecond, so that it is the same on every machine.
        Duration::from_micros((spacing.as_secs_f64() * 1e6 * units).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips_are_those_of_the_places() {
        let ms = Duration::from_millis;
        let trip = |shape: Shape, a, b| shape.round_trip(ms(10), a, b, 25);
        assert_eq!(trip(Shape::Line, 3, 7), ms(40));
        // Rows of five: 7 is at (2, 1), 19 at (4, 3).
        assert_eq!(trip(Shape::Grid, 7, 12), ms(10));
        assert_eq!(trip(Shape::Grid, 7, 19), Duration::from_micros(28_284));
        assert_eq!((trip(Shape::Circle, 0, 9), trip(Shape::Circle, 9, 0)), (ms(20), ms(20)));
        // A sixth of the way around is as far as the middle is.
        assert_eq!(Shape::Circle.round_trip(ms(10), 1, 5, 24), ms(10));
        for shape in [Shape::Line, Shape::Grid, Shape::Circle] {
            for (a, b) in (0..25).flat_map(|a| (0..a).map(move |b| (a, b))) {
                assert_eq!(trip(shape, a, b), trip(shape, b, a), "{shape:?} {a} {b}");
                assert!(!trip(shape, a, b).is_zero());
            }
        }
    }
}
