//! Storms: random scenarios without end, each drawn from a seed and judged by what the protocol promises.
//!
//! A storm is a cluster of 3 to 50 nodes with a random configuration, to which anything happens that a scenario can say, several
//! things at a time, for up to some minutes. Then all faults stop, and it must settle in the time that its parameters allow
//! ([`crate::scenario::Check::settled`]). All the while the invariants of every run are watched. Some of the storms are run
//! twice, and must be the same to the last byte.

mod draw;
mod random;
mod run;
mod steps;
mod tally;

pub use draw::{Drawn, draw};
pub use run::{Storms, shrink, storms};
pub use tally::{Broken, Part, Tally};
