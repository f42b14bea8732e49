//! What Serf can be told and this agent does not do, because others do it better: service managers log, and Prometheus
//! collects. To ignore it would be a lie: whoever configures it counts on it. So what changes behaviour is refused, and what
//! changes nothing here only warned about.

use serde_json::Value;

use super::Problem;

/// What is done about a setting of Serf that has no effect here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Refused; the text says what to do instead.
    Refused(&'static str),
    /// Only warned about; the text says why it does not matter.
    Harmless(&'static str),
}

/// The verdict on a configuration key, given in lower case.
pub(crate) fn key(name: &str) -> Option<Verdict> {
    SETTINGS.iter().find(|(key, _, _)| *key == name).map(|(_, _, verdict)| *verdict)
}

/// Names of the keys, to tell a misspelt one.
pub(crate) fn keys() -> impl Iterator<Item = &'static str> {
    SETTINGS.iter().map(|(key, _, _)| *key)
}

/// The error for a flag of Serf's agent that this one does not have; `None` for a flag that is nobody's.
pub(crate) fn refuse_flag(name: &str) -> Option<Problem> {
    let (_, flag, verdict) = SETTINGS.iter().find(|(_, flag, _)| *flag == name)?;
    let (Verdict::Refused(why) | Verdict::Harmless(why)) = verdict;
    Some(Problem::new(format!("--{flag} is not supported: {why}")))
}

/// Whether a value asks for nothing: Serf treats it like an absent one.
pub(crate) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.values().all(is_zero),
    }
}

/// Key, flag (empty where there is none), verdict.
const SETTINGS: &[(&str, &str, Verdict)] = &[
    (
        "enable_syslog",
        "syslog",
        Verdict::Refused("send standard error to the system log, as service managers do, and remove it"),
    ),
    ("statsite_addr", "", Verdict::Refused("have the metrics collected with --metrics, and remove it")),
    ("statsd_addr", "", Verdict::Refused("have the metrics collected with --metrics, and remove it")),
    ("syslog_facility", "", Verdict::Harmless("nothing is sent to the system log")),
    (
        "msgpackusenewtimeformat",
        "",
        Verdict::Harmless("no message here carries a time, and Serf's agent does not apply it either"),
    ),
];
