//! The recorded traces of the reference's queue: the queue here, and two naive models of the reference, one with its
//! defect of re-used numbers (W-2) and one without.

use alloc::string::String;
use alloc::vec::Vec;
use std::println;

use serde_json::Value;

use crate::swim::rumors::{LANES, Lane, Rumors};

/// Section `section` of the vectors, and of the files that the environment variable `EXTRA_VECTORS` names.
fn section(section: &str) -> Vec<Value> {
    let mut contents = Vec::from([String::from(include_str!("../../../../vectors/memberlist-vectors.json"))]);
    if let Some(extra) = std::env::var_os("EXTRA_VECTORS") {
        let paths = std::env::split_paths(&extra).filter(|path| !path.as_os_str().is_empty());
        contents.extend(paths.map(|path| std::fs::read_to_string(path).expect("a file")));
    }
    let mut entries = Vec::new();
    for content in contents {
        let content: Value = serde_json::from_str(&content).expect("JSON");
        entries.extend(content[section].as_array().into_iter().flatten().cloned());
    }
    entries
}

/// The reference's queue as spec 4.11 writes it down.
#[derive(Default)]
struct Model {
    items: Vec<(u64, usize, u64, String)>,
    next: u64,
    /// Numbers start over whenever the tree is empty, also in the middle of a draw.
    starts_over: bool,
}

impl Model {
    fn put(&mut self, item: (u64, usize, u64, String)) {
        // Two items with one key are one item to a tree.
        self.items.retain(|other| (other.0, other.1, other.2) != (item.0, item.1, item.2));
        self.items.push(item);
    }

    fn queue(&mut self, name: &str, len: usize) {
        self.items.retain(|item| item.3 != name);
        self.check();
        self.next += 1;
        self.put((0, len, self.next, name.into()));
    }

    fn check(&mut self) {
        if self.starts_over && self.items.is_empty() {
            self.next = 0;
        }
    }

    fn draw(&mut self, overhead: usize, limit: usize, transmits: u64) -> Vec<String> {
        let (mut used, mut returned, mut aside) = (0, Vec::new(), Vec::new());
        let tiers = self.items.iter().map(|item| item.0);
        let (Some(first), Some(last)) = (tiers.clone().min(), tiers.max()) else { return returned };
        'all: for tier in first..=last {
            loop {
                let Some(free) = limit.checked_sub(used + overhead).filter(|&free| free > 0) else {
                    break 'all;
                };
                let fitting = self.items.iter().filter(|item| item.0 == tier && item.1 <= free);
                let Some(item) = fitting.max_by_key(|item| (item.1, item.2)).cloned() else { break };
                self.items.retain(|other| *other != item);
                self.check();
                used += overhead + item.1;
                returned.push(item.3.clone());
                if item.0 + 1 < transmits {
                    aside.push((item.0 + 1, item.1, item.2, item.3));
                }
            }
        }
        aside.into_iter().for_each(|item| self.put(item));
        returned
    }
}

fn number(value: &Value) -> usize {
    usize::try_from(value.as_u64().expect("a number")).expect("small")
}

fn names(value: &Value) -> Vec<String> {
    value.as_array().expect("names").iter().map(|name| name.as_str().expect("a name").into()).collect()
}

#[test]
fn every_trace_is_followed_or_shows_the_defect_of_the_reference() {
    let (mut cases, mut passed, mut deviated) = (0, 0, 0);
    for trace in section("queue_traces") {
        cases += 1;
        let transmits = trace["config"]["limit"].as_u64().expect("a limit");
        let mut defective = Model { starts_over: true, ..Model::default() };
        let mut sound = Model::default();
        let mut ours: Rumors<String> = Rumors::new(1000, 1);
        let mut slots: Vec<String> = Vec::new();
        let mut same = true;
        for step in trace["steps"].as_array().expect("steps") {
            if let Some(name) = step["queue"].as_str() {
                let slot = slots.iter().position(|known| known == name).unwrap_or_else(|| {
                    slots.push(name.into());
                    slots.len() - 1
                });
                let len = number(&step["len"]);
                ours.insert(Lane::Alive, Some(slot as u32), len, name.into(), None, 0);
                defective.queue(name, len);
                sound.queue(name, len);
            } else {
                let (overhead, limit) = (number(&step["get"]["overhead"]), number(&step["get"]["limit"]));
                ours.draw(limit, overhead, usize::MAX, &[transmits as u32; LANES]);
                let drawn: Vec<String> = ours.drawn().map(|(_, name, _)| name.clone()).collect();
                ours.commit();
                assert_eq!(
                    defective.draw(overhead, limit, transmits),
                    names(&step["returned"]),
                    "{} {step}",
                    trace["name"]
                );
                assert_eq!(sound.draw(overhead, limit, transmits), drawn, "{} {step}", trace["name"]);
                same &= drawn == names(&step["returned"]);
            }
            assert_eq!(defective.items.len(), number(&step["num_queued"]), "{} {step}", trace["name"]);
            assert_eq!(sound.items.len(), ours.len(), "{} {step}", trace["name"]);
            same &= ours.len() == number(&step["num_queued"]);
        }
        if same { passed += 1 } else { deviated += 1 }
    }
    let rules: toml::Table = include_str!("../../../../vectors/deviations.toml").parse().expect("TOML");
    let rule = rules["rule"]
        .as_array()
        .expect("rules")
        .iter()
        .find(|rule| rule["section"].as_str() == Some("queue_traces"));
    assert!(deviated == 0 || rule.is_some_and(|rule| rule["ours"].as_str() == Some("nothing lost")));
    println!("queue_traces: {cases} cases, {passed} passed, {deviated} deviated (W-2)");
    assert!(cases >= 3);
}

/// W-2 itself: the recipe with which the reference loses a rumor.
#[test]
fn the_models_differ_where_the_reference_loses_a_rumor() {
    for (starts_over, left) in [(true, 1), (false, 2)] {
        let mut model = Model { starts_over, ..Model::default() };
        model.queue("A", 50);
        model.draw(2, 1000, 4);
        model.queue("B", 50);
        model.draw(2, 52, 4);
        assert_eq!(model.items.len(), left);
    }
}
