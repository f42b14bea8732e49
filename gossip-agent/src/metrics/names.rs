//! Counts by the names of user events and queries. Whoever may fire an event may invent names: their number is bounded,
//! unlike in Serf (Q7).

use std::collections::BTreeMap;

use super::page::{self, Page};

/// How often each name was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// By the name of the metric: names that differ in what it cannot show count together.
    counts: BTreeMap<String, u64>,
    /// Events whose name was one too many, or too long.
    others: u64,
}

impl Names {
    pub(super) fn event(&mut self, name: &[u8]) {
        self.count("serf_events_", name);
    }

    pub(super) fn query(&mut self, name: &[u8]) {
        self.count("serf_queries_", name);
    }

    fn count(&mut self, prefix: &str, name: &[u8]) {
        if name.len() <= MAX_LENGTH {
            let metric = page::name(&[prefix, &String::from_utf8_lossy(name)]);
            if let Some(count) = self.counts.get_mut(&metric) {
                *count += 1;
                return;
            }
            if self.counts.len() < MAX_NAMES {
                self.counts.insert(metric, 1);
                return;
            }
        }
        self.others += 1;
    }

    pub(super) fn write(&self, page: &mut Page) {
        for (name, count) in &self.counts {
            page.counter(name, "Those of one name.", *count);
        }
        page.counter(
            "gossip_agent_names_dropped_total",
            "User events and queries not counted by name: too many names, or too long.",
            self.others,
        );
    }
}

const MAX_NAMES: usize = 256;
const MAX_LENGTH: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded() {
        let mut names = Names::default();
        names.event(&[b'x'; MAX_LENGTH + 1]);
        for index in 0..2 * MAX_NAMES {
            names.event(format!("n{index}").as_bytes());
        }
        names.event(b"n0");
        assert_eq!((names.counts.len(), names.others), (MAX_NAMES, 1 + MAX_NAMES as u64));
        assert_eq!(names.counts["serf_events_n0"], 2);
    }

    #[test]
    fn what_a_metric_cannot_be_called_is_replaced() {
        let mut names = Names::default();
        for name in [&b"a.b"[..], b"a b", b"a\nb", b"a\xffb"] {
            names.event(name);
        }
        names.query(b"a/b");
        assert_eq!(names.counts, [("serf_events_a_b".into(), 4), ("serf_queries_a_b".into(), 1)].into());
    }
}
