//! Network coordinates against the recorded behaviour of Serf: the same samples, the same bits.
use crate::support;

use core::time::Duration;
use std::collections::BTreeMap;

use gossip_proto::coordinate::{Coordinate, DIMENSIONS, LatencyFilter, Rejected, Vivaldi, distance};
use gossip_proto::wire::serf::Vector;
use serde_json::{Value, json};
use support::{Case, Tally, hex, serf_cases};

#[test]
fn serf_coordinate() {
    let mut tally = Tally::new("serf.coordinate");
    let mut run = Run { client: Vivaldi::default(), filters: BTreeMap::new() };
    // The steps of a sequence build upon each other.
    for case in serf_cases("coordinate") {
        let kind = case.name.split('.').nth(1).unwrap_or_default();
        match kind {
            "sequence" => tally.judge(&case, &[], "", run.step(&case)),
            "errors" => tally.judge(&case, &[], "", errors(&case)),
            "rogue_resets" => {
                let (resets, refused) = rogue();
                let recorded = &case.value["fields"]["resets_after_each_update"];
                let outcome = if *recorded == json!(resets) { Ok(()) } else { Err(format!("{resets:?}")) };
                let ours =
                    if refused == Err(Rejected::Invalid) && resets == [0; 26] { "refused" } else { "" };
                tally.judge(&case, &[("sample", "huge")], ours, outcome);
            }
            "negative_height" => {
                let after = negative_height();
                let outcome = match after {
                    Ok(ref after) if bits(after) == case.text("hex") => Ok(()),
                    _ => Err(format!("{after:?}")),
                };
                let ours = if after == Err(Rejected::Invalid) { "refused" } else { "" };
                tally.judge(&case, &[("sample", "negative height")], ours, outcome);
            }
            _ => tally.judge(&case, &[], "", Err(format!("what is {kind}?"))),
        }
    }
    tally.finish();
}

struct Run {
    client: Vivaldi,
    filters: BTreeMap<String, LatencyFilter>,
}

impl Run {
    fn step(&mut self, case: &Case) -> Result<(), String> {
        let fields = &case.value["fields"];
        if case.name.ends_with(".start") {
            *self = Self { client: Vivaldi::default(), filters: BTreeMap::new() };
            self.client.set(parse(case.text("hex"))).map_err(|why| why.to_string())?;
        } else {
            let filter = self.filters.entry(text(fields, "node")).or_default();
            let other = parse(&text(fields, "other_hex"));
            let rtt = Duration::from_nanos(fields["rtt_ns"].as_u64().expect("a time"));
            self.client.update(filter, &other, rtt).map_err(|why| why.to_string())?;
            let estimate = distance(self.client.coordinate(), &other).map(|rtt| rtt.as_nanos());
            if estimate != fields["distance_to_other_after_ns"].as_u64().map(u128::from) {
                return Err(format!("{estimate:?} to the other one"));
            }
        }
        let after = bits(self.client.coordinate());
        if after == case.text("hex") { Ok(()) } else { Err(format!("at {after}")) }
    }
}

/// Each of the refusals, for the same reason.
fn errors(case: &Case) -> Result<(), String> {
    let fields = &case.value["fields"];
    let origin = Vivaldi::default().coordinate().clone();
    let nan = Coordinate { height: f64::NAN, ..origin.clone() };
    let seven = Coordinate { vec: Vector(origin.vec[..7].into()), ..origin.clone() };
    let soon = Duration::from_millis(10);
    let late = Duration::from_secs(10) + Duration::from_nanos(1);
    for (key, other, rtt) in
        [("nan_height", &nan, soon), ("seven_dims", &seven, soon), ("rtt_10s_plus_1ns", &origin, late)]
    {
        match Vivaldi::default().update(&mut LatencyFilter::default(), other, rtt) {
            Err(why) if why.to_string() == text(fields, key).trim_end() => {}
            other => return Err(format!("{key}: {other:?}")),
        }
    }
    // Cannot even be said.
    match u64::try_from(-1_i64).map(Duration::from_nanos) {
        Err(_) if fields["rtt_negative"].is_string() => Ok(()),
        _ => Err("a negative time".into()),
    }
}

/// One huge sample, then good ones: how often the node had started over after each.
fn rogue() -> (Vec<u64>, Result<(), Rejected>) {
    let mut client = Vivaldi::default();
    let origin = client.coordinate().clone();
    let huge = Coordinate { vec: Vector([1e200; DIMENSIONS].into()), ..origin.clone() };
    let (mut rogue, mut good) = (LatencyFilter::default(), LatencyFilter::default());
    let refused = client.update(&mut rogue, &huge, Duration::from_millis(10));
    let mut resets = vec![client.resets()];
    for _ in 0..25 {
        client.update(&mut good, &origin, Duration::from_millis(10)).expect("a good sample");
        resets.push(client.resets());
    }
    (resets, refused)
}

fn negative_height() -> Result<Coordinate, Rejected> {
    let mut client = Vivaldi::default();
    let mut other = client.coordinate().clone();
    (other.vec[0], other.height) = (0.05, -5.0);
    client.update(&mut LatencyFilter::default(), &other, Duration::from_millis(20))?;
    Ok(client.coordinate().clone())
}

/// Eleven doubles, as in the file.
fn parse(hex: &str) -> Coordinate {
    let bytes = support::unhex(hex);
    let (chunks, rest) = bytes.as_chunks::<8>();
    let values: Vec<f64> = chunks.iter().map(|bytes| f64::from_be_bytes(*bytes)).collect();
    assert!(rest.is_empty() && values.len() == DIMENSIONS + 3, "not a coordinate: {hex}");
    let (vec, rest) = values.split_at(DIMENSIONS);
    Coordinate { vec: Vector(vec.into()), error: rest[0], adjustment: rest[1], height: rest[2] }
}

fn bits(coordinate: &Coordinate) -> String {
    let rest = [coordinate.error, coordinate.adjustment, coordinate.height];
    coordinate.vec.iter().chain(&rest).map(|value| hex(&value.to_be_bytes())).collect()
}

fn text(fields: &Value, key: &str) -> String {
    fields[key].as_str().unwrap_or_else(|| panic!("no {key} in {fields}")).to_owned()
}
