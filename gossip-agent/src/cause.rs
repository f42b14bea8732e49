//! Why a member's state changed, in words and in fields: what an operator asks at 3 a.m.

use core::time::Duration;

use serde_json::{Map, Value, json};
use transport_tokio::{Cause, Name};

/// One clause in plain words, to follow "because" or stand alone.
pub(crate) fn text(cause: &Cause) -> String {
    match cause {
        Cause::Local => "this node did it itself".into(),
        Cause::Alive { incarnation } => format!("it says that it is alive (incarnation {incarnation})"),
        Cause::Exchange { with } => format!("learnt in an exchange with {with}"),
        Cause::Probe { waited, helpers, nacks, stream } => {
            let mut text = format!("no answer to a ping within {}", short(*waited));
            match (*helpers, *nacks) {
                (0, _) => {}
                (1, 0) => text.push_str("; 1 helper pinged it too"),
                (1, _) => text.push_str("; 1 helper pinged it too and got no answer either"),
                (helpers, 0) => text.push_str(&format!("; {helpers} helpers pinged it too")),
                (helpers, nacks) if helpers == nacks => {
                    text.push_str(&format!("; {helpers} helpers pinged it too and got no answer either"));
                }
                (helpers, nacks) => {
                    text.push_str(&format!(
                        "; {helpers} helpers pinged it too, {nacks} of them got no answer either"
                    ));
                }
            }
            if *stream {
                text.push_str("; TCP failed as well");
            }
            text
        }
        Cause::Accused { by, .. } => format!("{by} suspects it"),
        Cause::Expired { accusers, after } => {
            format!("no word from it for {}; suspected by {}", short(*after), list(accusers))
        }
        Cause::Declared { by } => format!("{by} declared it dead"),
        Cause::Farewell => "it said good-bye".into(),
        Cause::Forced => "an operator forced it out".into(),
        Cause::Aged => "it has been gone long enough to be forgotten".into(),
        _ => "for a reason that this version has no words for".into(),
    }
}

/// The same for programs: `kind`, `text`, and the fields of that kind. Durations are in milliseconds.
pub(crate) fn json(cause: &Cause) -> Value {
    let (kind, fields) = match cause {
        Cause::Local => ("local", json!({})),
        Cause::Alive { incarnation } => ("alive", json!({ "incarnation": incarnation })),
        Cause::Exchange { with } => ("exchange", json!({ "with": with.to_string() })),
        Cause::Probe { waited, helpers, nacks, stream } => (
            "probe",
            json!({ "waited_ms": millis(*waited), "helpers": helpers, "nacks": nacks, "stream": stream }),
        ),
        Cause::Accused { by, incarnation } => {
            ("accused", json!({ "by": by.to_string(), "incarnation": incarnation }))
        }
        Cause::Expired { accusers, after } => {
            let accusers: Vec<_> = accusers.iter().map(ToString::to_string).collect();
            ("expired", json!({ "after_ms": millis(*after), "accusers": accusers }))
        }
        Cause::Declared { by } => ("declared", json!({ "by": by.to_string() })),
        Cause::Farewell => ("farewell", json!({})),
        Cause::Forced => ("forced", json!({})),
        Cause::Aged => ("aged", json!({})),
        _ => ("other", json!({})),
    };
    let mut object = Map::new();
    object.insert("kind".into(), kind.into());
    object.insert("text".into(), text(cause).into());
    if let Value::Object(fields) = fields {
        object.extend(fields);
    }
    Value::Object(object)
}

/// A duration as people say it: `12 ms`, `1.25 s`, `2 min 5 s`.
pub(crate) fn short(duration: Duration) -> String {
    let millis = duration.as_secs_f64() * 1000.0;
    if millis < 10.0 {
        format!("{millis:.1} ms")
    } else if millis < 1000.0 {
        format!("{millis:.0} ms")
    } else if millis < 100_000.0 {
        format!("{:.2} s", millis / 1000.0)
    } else {
        format!("{} min {} s", duration.as_secs() / 60, duration.as_secs() % 60)
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn list(names: &[Name]) -> String {
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    match names.as_slice() {
        [] => "nobody".into(),
        [name] => name.clone(),
        [names @ .., last] => format!("{} and {last}", names.join(", ")),
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    duration.as_millis().try_into().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_is_told_in_full() {
        let probe = |helpers, nacks, stream| {
            text(&Cause::Probe { waited: Duration::from_millis(500), helpers, nacks, stream })
        };
        assert_eq!(probe(0, 0, false), "no answer to a ping within 500 ms");
        assert_eq!(
            probe(3, 2, true),
            "no answer to a ping within 500 ms; 3 helpers pinged it too, 2 of them got no answer either; TCP failed \
             as well"
        );
        assert!(probe(1, 1, false).ends_with("1 helper pinged it too and got no answer either"));
    }

    #[test]
    fn a_verdict_names_its_accusers() {
        let accusers = ["a", "b", "c"].into_iter().map(Name::from).collect();
        let cause = Cause::Expired { accusers, after: Duration::from_millis(4250) };
        assert_eq!(text(&cause), "no word from it for 4.25 s; suspected by a, b and c");
        let object = json(&cause);
        assert_eq!(object["kind"], "expired");
        assert_eq!(object["after_ms"], 4250);
        assert_eq!(object["accusers"], json!(["a", "b", "c"]));
    }

    #[test]
    fn durations_keep_three_figures() {
        for (nanos, text) in [
            (350_000, "0.3 ms"),
            (9_940_000, "9.9 ms"),
            (12_400_000, "12 ms"),
            (999_000_000, "999 ms"),
            (1_250_000_000, "1.25 s"),
            (125_000_000_000, "2 min 5 s"),
        ] {
            assert_eq!(short(Duration::from_nanos(nanos)), text);
        }
    }
}
