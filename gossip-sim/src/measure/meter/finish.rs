//! What a run's metrics are, from what the meter kept.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use gossip_proto::{Instant, Machine, Status};
use transport_mem::net::Network;

use crate::measure::meter::{Meter, Samples};
use crate::measure::series::{self, Curve, Series};
use crate::run::kind::Kind;

impl Meter {
    /// Ends the measuring, and gives what came out.
    pub(crate) fn finish<K: Kind>(
        mut self,
        net: &mut Network<K>,
        probe_interval: Duration,
    ) -> (Samples, Option<Series>) {
        self.finish_outages(probe_interval);
        let rumors = self.rumors.len();
        self.finish_rumors();
        self.finish_views(net);
        let seconds = core::mem::take(&mut self.traffic).finish(
            net,
            probe_interval,
            rumors,
            &mut self.samples,
            &mut self.series,
        );
        if let Some(opened) = self.opened.take() {
            opened.finish(net, seconds, &mut self.samples, &mut self.series);
        }
        self.finish_costs(net);
        for metric in [
            "false_positives",
            "false_positives_healthy",
            "false_suspicions",
            "false_suspicions_healthy",
            "flaps",
        ] {
            let count = self.counts.get(metric).copied().unwrap_or(0);
            self.sample(metric, count as f64);
        }
        (self.samples, self.series)
    }

    fn finish_outages(&mut self, probe_interval: Duration) {
        let outages = core::mem::take(&mut self.outages);
        let (faults, leaves): (Vec<_>, Vec<_>) = outages.iter().partition(|outage| !outage.leaves);
        self.sample("outages", faults.len() as f64);
        self.sample("detected", faults.iter().filter(|outage| outage.first.is_some()).count() as f64);
        self.sample("fully_detected", faults.iter().filter(|outage| outage.full.is_some()).count() as f64);
        let periods = |seconds: f64| seconds / probe_interval.as_secs_f64();
        for outage in &faults {
            let since = |at: Instant| at.saturating_duration_since(outage.since).as_secs_f64();
            if let Some(at) = outage.first_suspicion {
                self.sample("first_suspicion", since(at));
                if !probe_interval.is_zero() {
                    self.sample("first_suspicion_periods", periods(since(at)));
                    self.sample("first_suspicion_whole_periods", periods(since(at)).floor());
                }
            }
            let Some(first) = outage.first else { continue };
            self.sample("first_detection", since(first));
            if !probe_interval.is_zero() {
                self.sample("first_detection_periods", periods(since(first)));
            }
            for at in outage.known.values() {
                self.sample("spread", at.saturating_duration_since(first).as_secs_f64());
            }
            if let Some(full) = outage.full {
                self.sample("full_detection", since(full));
            }
        }
        self.sample("leaves", leaves.len() as f64);
        for leave in &leaves {
            let required = self.required(leave.subject).max(1) as f64;
            self.sample("left_as_failed", leave.as_failed.len() as f64 / required);
            if let Some(full) = leave.full {
                self.sample("leave_spread", full.saturating_duration_since(leave.since).as_secs_f64());
            }
        }
        for outage in
            outages.iter().filter(|outage| outage.first.is_some() || outage.leaves).take(series::CURVES)
        {
            let sorted = |times: &BTreeMap<usize, Instant>| {
                let mut at: Vec<_> = times.values().map(|at| self.seconds(*at)).collect();
                at.sort_by(f64::total_cmp);
                thin(at)
            };
            let curve = Curve {
                what: format!("{} of node-{}", outage.what, outage.subject),
                since: self.seconds(outage.since),
                of: self.required(outage.subject),
                suspected: sorted(&outage.suspected),
                at: sorted(&outage.known),
            };
            if let Some(series) = &mut self.series {
                series.infection.push(curve);
            }
        }
    }

    fn finish_rumors(&mut self) {
        let rumors = core::mem::take(&mut self.rumors);
        for (number, rumor) in rumors.iter().enumerate() {
            let missed = rumor.of.saturating_sub(rumor.heard.len());
            self.sample("residue", missed as f64 / rumor.of.max(1) as f64);
            self.sample("incomplete", f64::from(u8::from(missed > 0)));
            let mut at: Vec<_> = rumor.heard.values().copied().collect();
            at.sort();
            // The first is who sent it.
            for at in at.iter().skip(1) {
                self.sample("delivery", at.saturating_duration_since(rumor.at).as_secs_f64());
            }
            if let Some(last) = at.last() {
                self.sample("last_delivery", last.saturating_duration_since(rumor.at).as_secs_f64());
            }
            let at = thin(at.into_iter().map(|at| self.seconds(at)).collect());
            let since = self.seconds(rumor.at);
            if let Some(series) = &mut self.series
                && number < series::CURVES
            {
                series.infection.push(Curve {
                    what: format!("event {}", rumor.name),
                    since,
                    of: rumor.of,
                    suspected: Vec::new(),
                    at,
                });
            }
        }
    }

    fn finish_views<M: Machine>(&mut self, net: &Network<M>) {
        let healthy: Vec<_> = net.running().filter(|node| self.is_healthy(node.number())).collect();
        let mut views = BTreeSet::new();
        let mut lost = BTreeSet::new();
        let mut kept = BTreeSet::new();
        let mut sizes = Vec::new();
        for machine in healthy.iter().filter_map(|node| net.machine(*node)) {
            let counted =
                machine.members().filter(|member| matches!(member.status, Status::Alive | Status::Suspect));
            let mut set: Vec<usize> =
                counted.filter_map(|member| self.numbers.get(member.name).copied()).collect();
            set.sort_unstable();
            sizes.push(machine.num_alive() as f64);
            if views.insert(set.clone()) {
                lost.extend(
                    healthy.iter().map(|node| node.number()).filter(|node| set.binary_search(node).is_err()),
                );
                kept.extend(set.into_iter().filter(|node| self.subjects[*node].faulty));
            }
        }
        if !sizes.is_empty() {
            self.sample("view_sizes", self.sizes.len() as f64);
            self.sample("views_at_end", views.len() as f64);
            self.sample("lost_members", lost.len() as f64);
            self.sample("kept_members", kept.len() as f64);
            self.sample("view_min", sizes.iter().copied().fold(f64::INFINITY, f64::min));
            self.sample("view_mean", sizes.iter().sum::<f64>() / sizes.len() as f64);
            self.sample("view_max", sizes.iter().copied().fold(0.0, f64::max));
        }
    }

    fn finish_costs<M: Machine>(&mut self, net: &Network<M>) {
        let machines: Vec<_> = net.running().filter_map(|node| net.machine(node)).collect();
        if machines.is_empty() {
            return;
        }
        let mean = |of: &dyn Fn(&M) -> f64| {
            machines.iter().map(|machine| of(machine)).sum::<f64>() / machines.len() as f64
        };
        let sum = |of: &dyn Fn(&M) -> u64| machines.iter().map(|machine| of(machine)).sum::<u64>() as f64;
        self.sample("memory", mean(&|machine| machine.memory() as f64));
        let (queued, looks, most) = self.queued;
        self.sample("queued", queued as f64 / looks.max(1) as f64);
        self.sample("queued_max", most as f64);
        self.sample("health", mean(&|machine| f64::from(machine.health())));
        self.sample("refutations", sum(&|machine| machine.stats().refutations));
        self.sample("stalls", sum(&|machine| machine.stats().stalls));
    }
}

/// Every so-many-th value of a long list, the last one included.
pub(in crate::measure) fn thin(values: Vec<f64>) -> Vec<f64> {
    if values.len() <= series::NODES {
        return values;
    }
    let last = values.len() - 1;
    (0..series::NODES).map(|i| values[i * last / (series::NODES - 1)]).collect()
}
