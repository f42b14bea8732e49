//! Clusters on the virtual network, under faults. A failure prints the line that repeats it.

mod coordinates;
mod determinism;
mod failures;
mod forming;
mod healing;
mod influx;
mod joining;
mod keys;
mod messages;
mod partitions;
mod queries;
mod recording;
mod recycling;
mod services;
mod support;
