//! What the nodes hold, looked at again and again.

use std::collections::BTreeSet;

use gossip_proto::Machine;
use transport_mem::net::Network;

use crate::measure::meter::Meter;
use crate::measure::series::{self, Longest, View};

/// Of what [`Machine::depths`] tells, the first are rumors, lane by lane.
const RUMORS: usize = 6;

impl Meter {
    /// Looks at what the nodes hold: views, queues, memory.
    pub(crate) fn look<M: Machine>(&mut self, net: &Network<M>) {
        let mut sizes = BTreeSet::new();
        let (mut min, mut max, mut sum, mut running) = (usize::MAX, 0, 0, 0);
        let (mut queued, mut queued_max, mut memory, mut memory_max) = (0, 0, 0, 0);
        for machine in net.running().filter_map(|node| net.machine(node)) {
            let size = machine.num_alive();
            sizes.insert(size);
            (min, max) = (min.min(size), max.max(size));
            sum += size;
            running += 1;
            let depths = machine.depths();
            let waits = depths[..RUMORS].iter().map(|depth| depth.len).sum::<usize>();
            queued += waits;
            queued_max = queued_max.max(waits);
            if let Some(series) = &mut self.series {
                let bytes = machine.memory();
                memory += bytes;
                memory_max = memory_max.max(bytes);
                series.longest.resize_with(depths.len(), || Longest { what: String::new(), most: 0, cap: 0 });
                for (longest, depth) in series.longest.iter_mut().zip(depths) {
                    if longest.what.is_empty() {
                        *longest = Longest { what: depth.what.to_owned(), most: 0, cap: depth.cap };
                    }
                    longest.most = longest.most.max(depth.len);
                }
            }
        }
        if running == 0 {
            return;
        }
        self.queued.0 += queued as u64;
        self.queued.1 += running as u64;
        self.queued.2 = self.queued.2.max(queued_max);
        let mean = |sum: usize| sum as f64 / running as f64;
        let view = View {
            at: self.seconds(net.now()),
            min,
            mean: mean(sum),
            max,
            sizes: sizes.len(),
            running,
            queued: mean(queued),
            queued_max,
            memory: mean(memory),
            memory_max,
        };
        self.sizes.extend(sizes);
        if let Some(series) = &mut self.series {
            series.views.push(view);
            if series.views.len() >= 2 * series::VIEWS {
                // Every other one, so that long runs keep their whole length.
                let mut number = 0;
                series.views.retain(|_| {
                    number += 1;
                    number % 2 == 1
                });
            }
        }
    }
}
