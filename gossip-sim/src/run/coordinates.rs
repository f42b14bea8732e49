//! How well network coordinates foretell round trips.

use core::time::Duration;

use gossip_proto::coordinate::distance;
use transport_mem::{Conditions, Latency};

use crate::run::kind::Kind;
use crate::run::{Sim, links};

/// All pairs of the first so many nodes are looked at: some thousands.
const NODES: usize = 64;

impl<K: Kind> Sim<'_, K> {
    /// Compares what the nodes' coordinates say with what their links take: by the shape, or by zones. Links of single pairs
    /// are not followed: where a step changed such, nothing is said.
    pub(super) fn sample_coordinates(&mut self) -> Result<(), String> {
        if self.pair_links {
            return Ok(());
        }
        let base = links::conditions(&self.task.scenario.network, &self.parameters)?;
        let takes = |from: u32, to: u32| mean(self.zone_links.get(&(from, to)).unwrap_or(&base));
        let mut errors = Vec::new();
        let first = &self.nodes[..self.nodes.len().min(NODES)];
        for (place, &a) in first.iter().enumerate() {
            for &b in &first[place + 1..] {
                let [here, there] = [a, b].map(|node| self.net.machine(node).and_then(K::coordinates));
                let (Some(here), Some(there)) = (here, there) else { continue };
                let (from, to) = (self.net.zone(a), self.net.zone(b));
                let placed = self.round_trip(a.number(), b.number())?;
                let zoned = || Some(takes(from, to)? + takes(to, from)?);
                let Some(truth) = placed.or_else(zoned).map(|truth| truth.as_secs_f64()) else { continue };
                if let Some(said) = distance(&here, &there).filter(|_| truth > 0.0) {
                    errors.push((said.as_secs_f64() - truth).abs() / truth);
                }
            }
        }
        for error in errors {
            self.meter.sample("coordinate_error", error);
        }
        Ok(())
    }
}

/// The mean time that a packet takes, of those latencies that scenarios can ask for.
fn mean(conditions: &Conditions) -> Option<Duration> {
    match conditions.latency {
        Latency::Constant(latency) => Some(latency),
        Latency::Uniform { least, spread } => Some(least + spread / 2),
        _ => None,
    }
}
