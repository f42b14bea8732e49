//! What a run is asked: times of detection, false positives, views, deliveries, traffic.

mod kinds;
mod meter;
pub mod metrics;
pub mod series;
mod tellers;
mod traffic;

pub(crate) use meter::Meter;
pub(crate) use tellers::Tellers;
