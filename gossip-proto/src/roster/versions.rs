//! The version ranges of all members at once (spec 3.1), as counted multisets, so that nothing scans the table.

/// Version numbers of the alive members, counted.
#[derive(Debug)]
pub(crate) struct VersionRanges {
    counts: [[u32; 256]; 6],
}

/// What is left when every member's range is intersected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Common {
    /// Highest pmin and lowest pmax.
    pub(crate) protocol: (u8, u8),
    /// Highest dmin and lowest dmax.
    pub(crate) delegate: (u8, u8),
}

impl VersionRanges {
    pub(crate) fn new() -> Self {
        Self { counts: [[0; 256]; 6] }
    }

    pub(crate) fn add(&mut self, versions: [u8; 6]) {
        for (counts, version) in self.counts.iter_mut().zip(versions) {
            counts[usize::from(version)] += 1;
        }
    }

    pub(crate) fn remove(&mut self, versions: [u8; 6]) {
        for (counts, version) in self.counts.iter_mut().zip(versions) {
            counts[usize::from(version)] = counts[usize::from(version)].saturating_sub(1);
        }
    }

    fn lowest(&self, field: usize) -> Option<u8> {
        self.counts[field].iter().position(|&n| n > 0).map(|i| i as u8)
    }

    fn highest(&self, field: usize) -> Option<u8> {
        self.counts[field].iter().rposition(|&n| n > 0).map(|i| i as u8)
    }

    /// The common range of the alive members; with none, everything.
    pub(crate) fn common(&self) -> Common {
        Common {
            protocol: (self.highest(0).unwrap_or(0), self.lowest(1).unwrap_or(u8::MAX)),
            delegate: (self.highest(3).unwrap_or(0), self.lowest(4).unwrap_or(u8::MAX)),
        }
    }

    /// Whether every alive member speaks within `common`.
    pub(crate) fn all_speak(&self, common: &Common) -> bool {
        let within = |field, (low, high): (u8, u8)| {
            self.lowest(field).is_none_or(|v| v >= low) && self.highest(field).is_none_or(|v| v <= high)
        };
        within(2, common.protocol) && within(5, common.delegate)
    }
}

impl Common {
    /// Narrows the range by one more member.
    pub(crate) fn fold(&mut self, versions: [u8; 6]) {
        let [pmin, pmax, _, dmin, dmax, _] = versions;
        self.protocol = (self.protocol.0.max(pmin), self.protocol.1.min(pmax));
        self.delegate = (self.delegate.0.max(dmin), self.delegate.1.min(dmax));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // upstream: TestVerifyProtocol
    #[test]
    fn ranges_intersect() {
        // Sets of [min, max, current], first ours, then theirs; protocol and delegate alike.
        type Set<'a> = &'a [[u8; 3]];
        let cases: &[(Set<'_>, Set<'_>, bool)] = &[
            (&[[0, 0, 0]], &[[0, 0, 0]], true),
            (&[[0, 0, 0]], &[[0, 1, 0]], true),
            (&[[0, 0, 0]], &[[1, 1, 1]], false),
            (&[[0, 1, 0], [0, 2, 1]], &[[1, 3, 1]], false),
            (&[[0, 3, 2], [0, 2, 0]], &[[0, 2, 1], [0, 5, 0]], true),
        ];
        for &(ours, theirs, expected) in cases {
            for delegate in [false, true] {
                for (ours, theirs) in [(ours, theirs), (theirs, ours)] {
                    let full = |[min, max, cur]: [u8; 3]| {
                        if delegate { [0, 9, 5, min, max, cur] } else { [min, max, cur, 0, 9, 5] }
                    };
                    let mut ranges = VersionRanges::new();
                    ours.iter().for_each(|&set| ranges.add(full(set)));
                    let mut common = ranges.common();
                    theirs.iter().for_each(|&set| common.fold(full(set)));
                    let mut all = VersionRanges::new();
                    ours.iter().chain(theirs).for_each(|&set| all.add(full(set)));
                    let ok = all.all_speak(&common);
                    assert_eq!(ok, expected, "{ours:?} {theirs:?}");
                }
            }
        }
    }

    #[test]
    fn what_was_removed_no_longer_counts() {
        let mut ranges = VersionRanges::new();
        ranges.add([1, 5, 2, 0, 0, 0]);
        ranges.add([3, 4, 3, 0, 0, 0]);
        assert_eq!(ranges.common().protocol, (3, 4));
        ranges.remove([3, 4, 3, 0, 0, 0]);
        assert_eq!(ranges.common().protocol, (1, 5));
    }
}
