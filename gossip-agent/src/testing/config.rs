//! Texts that a user writes: configuration files, keyrings, tags, filters, durations.

use crate::config::{Layer, Settings, parse_duration, testing as parts};
use crate::filter::Filter;
use crate::handlers::Spec;

/// What [`fuzz_config`] takes its text for; the first byte of its input is the place in this list.
pub const TEXTS: &[&str] = &["file", "keyring", "key", "tags", "filter", "handler", "duration"];

/// A byte that selects the kind of text, and the text.
pub fn fuzz_config(input: &[u8]) {
    let Some((kind, text)) = input.split_first() else { return };
    let Ok(text) = core::str::from_utf8(text) else { return };
    match TEXTS[usize::from(*kind) % TEXTS.len()] {
        "file" => file(text),
        "keyring" => refused_without(text, parts::parse_ring(text).map(drop)),
        "key" => refused_without(text, crate::config::parse_key(text).map(drop)),
        "tags" => drop(crate::tags::parse(text)),
        "filter" => {
            if let Ok(filter) = Filter::parse(text) {
                assert_eq!(
                    Filter::parse(&filter.to_string()).as_ref(),
                    Ok(&filter),
                    "{filter} is another one"
                );
            }
        }
        "handler" => {
            if let Ok(spec) = Spec::parse(text) {
                assert_eq!(Spec::parse(&spec.to_string()).as_ref(), Ok(&spec), "{spec} is another one");
            }
        }
        _ => drop(parse_duration(text)),
    }
}

fn file(text: &str) {
    let layer = match parts::parse_file(text) {
        Ok(layer) => layer,
        Err(problem) => {
            assert!(!problem.to_string().is_empty(), "a problem that says nothing");
            return;
        }
    };
    // Nothing over it leaves it as it is, and over nothing it is itself, apart from what is zero.
    let mut merged = layer.clone();
    merged.merge(Layer::default());
    assert_eq!(merged, layer, "an empty file changes something");
    let mut normal = Layer::default();
    normal.merge(layer.clone());
    let mut again = Layer::default();
    again.merge(normal.clone());
    assert_eq!(again, normal, "what is set once more is something else");

    if let Err(problem) = Settings::from_layer(parts::without_surroundings(layer)) {
        assert!(!problem.to_string().is_empty(), "a problem that says nothing");
    }
}

/// A key, right or wrong, must not turn up in an error, since errors go to logs.
fn refused_without(text: &str, result: Result<(), crate::config::Problem>) {
    let Err(problem) = result else { return };
    let shown = problem.to_string();
    // Shorter pieces may be words of the error.
    let mut pieces = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|piece| piece.len() >= 16);
    assert!(pieces.all(|piece| !shown.contains(piece)), "an error shows a key: {shown}");
}
