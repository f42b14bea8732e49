//! Which members a query is for (serf.md 5.3).

use alloc::borrow::Cow;

use crate::roster::{LOCAL, Roster};
use crate::service::Services;
use crate::swim::Swim;
use crate::wire::field::{List, Raw, Text};
use crate::wire::serf::{Filter, Tags};

/// Tag filters that are evaluated; with more, a query is for nobody: each may cost a compilation.
const MAX_TAG_FILTERS: usize = 16;

impl Services {
    /// Whether a member is among those that a query is for. What is wrong with a filter is counted, and matches nobody.
    /// `foreign`: it is not this node that asks.
    pub(super) fn passes_filters(
        &mut self,
        swim: &mut Swim,
        slot: u32,
        filters: &List<'_, Raw<'_>>,
        foreign: bool,
    ) -> bool {
        let record = swim.roster.get(slot);
        let own = &self.config.tags;
        let value = |tag: &[u8]| match slot {
            LOCAL => own.iter().rfind(|(name, _)| **name == *tag).map(|(_, value)| Cow::Borrowed(&**value)),
            _ => tag_of(&swim.roster, slot, tag),
        };
        let patterns = &mut self.queries.patterns;
        let is_match = |expression: &[u8], value: &[u8]| match foreign {
            true => patterns.is_match_for_others(swim.now, expression, value),
            false => patterns.is_match(expression, value),
        };
        match passes(is_match, filters, record.name.as_bytes(), value) {
            Some(passes) => passes,
            None => {
                swim.stats.query_filters_refused += 1;
                false
            }
        }
    }
}

fn tag_of<'r>(roster: &'r Roster, slot: u32, tag: &[u8]) -> Option<Text<'r>> {
    let tags = Tags::of(&roster.get(slot).metadata).map_while(Result::ok);
    tags.filter(|(name, _)| **name == *tag).last().map(|(_, value)| value)
}

/// Whether all filters match; `None` if one cannot.
fn passes<'v>(
    mut is_match: impl FnMut(&[u8], &[u8]) -> Option<bool>,
    filters: &List<'_, Raw<'_>>,
    name: &[u8],
    value: impl Fn(&[u8]) -> Option<Text<'v>>,
) -> Option<bool> {
    let mut tag_filters = 0;
    for filter in filters.iter() {
        let matches = match Filter::decode(&filter).ok()? {
            Filter::Nodes(names) => names.iter().any(|listed| *listed == *name),
            Filter::Tag(filter) => {
                tag_filters += 1;
                if tag_filters > MAX_TAG_FILTERS {
                    return None;
                }
                // A tag that is not there is empty.
                let value = value(&filter.tag).unwrap_or_default();
                is_match(&filter.expr, &value)?
            }
        };
        if !matches {
            return Some(false);
        }
    }
    Some(true)
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
