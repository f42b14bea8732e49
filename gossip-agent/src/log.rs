//! Logging in Serf's form on standard error: `2026/01/31 12:00:00 [INFO] agent: text`.

use core::fmt::{self, Write as _};
use core::time::Duration;
use std::io::{self, IsTerminal as _, stderr};

use anstyle::{AnsiColor, Style};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::journal::Journal;
use crate::stderr::Lines;

/// Serf's log levels, the most talkative first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Err,
}

impl Level {
    pub(crate) const NAMES: [&'static str; 5] = ["TRACE", "DEBUG", "INFO", "WARN", "ERR"];

    /// Reads a level in any case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_uppercase().as_str() {
            "TRACE" => Self::Trace,
            "DEBUG" => Self::Debug,
            "INFO" => Self::Info,
            "WARN" => Self::Warn,
            "ERR" => Self::Err,
            _ => return None,
        })
    }

    fn of(level: tracing::Level) -> Self {
        match level {
            tracing::Level::TRACE => Self::Trace,
            tracing::Level::DEBUG => Self::Debug,
            tracing::Level::INFO => Self::Info,
            tracing::Level::WARN => Self::Warn,
            tracing::Level::ERROR => Self::Err,
        }
    }

    fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }

    fn filter(self) -> LevelFilter {
        match self {
            Self::Trace => LevelFilter::TRACE,
            Self::Debug => LevelFilter::DEBUG,
            Self::Info => LevelFilter::INFO,
            Self::Warn => LevelFilter::WARN,
            Self::Err => LevelFilter::ERROR,
        }
    }
}

/// Changes the level of a running log, and ends it.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    level: reload::Handle<LevelFilter, Registry>,
    lines: Lines,
}

impl Control {
    pub(crate) fn set(&self, level: Level) {
        // Fails only when the subscriber is gone, and then nobody logs.
        let _ = self.level.reload(level.filter());
    }

    /// Waits until all is written, if somebody reads it.
    pub(crate) fn finish(&self, patience: Duration) {
        self.lines.finish(patience);
    }
}

/// Starts logging for the whole process. Lines of all levels go to the journal too, where there is one.
pub(crate) fn init(level: Level, journal: Option<Journal>) -> io::Result<Control> {
    let lines = Lines::start()?;
    let (filter, handle) = reload::Layer::new(level.filter());
    let color = stderr().is_terminal() && anstyle_allowed();
    let printed =
        tracing_subscriber::fmt::layer().with_ansi(color).with_writer(lines.clone()).event_format(SerfFormat);
    let kept = journal.map(kept);
    // Already set only if this is called twice.
    let _ = tracing_subscriber::registry().with(printed.with_filter(filter)).with(kept).try_init();
    Ok(Control { level: handle, lines })
}

/// Keeps what this project's crates say, of every level, since who asks for the log later says which. Of others only what is
/// serious: some have lines for each packet, which would cost time on every agent and leave no room for what `monitor` shows.
pub(crate) fn kept<S: Subscriber + for<'a> LookupSpan<'a>>(journal: Journal) -> impl Layer<S> {
    let own = OWN.map(|name| (name, LevelFilter::TRACE));
    Keep(journal).with_filter(Targets::new().with_default(LevelFilter::WARN).with_targets(own))
}

/// Puts lines into the journal.
struct Keep(Journal);

impl<S: Subscriber> Layer<S> for Keep {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = Level::of(*event.metadata().level());
        self.0.add(level, format!("{} [{}] {}", time(), level.name(), Text::of(event).line()));
    }
}

fn time() -> String {
    jiff::Zoned::now().strftime("%Y/%m/%d %H:%M:%S").to_string()
}

fn anstyle_allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

struct SerfFormat;

impl<S, N> FormatEvent<S, N> for SerfFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let (time, level) = (time(), Level::of(*event.metadata().level()));
        let name = level.name();
        let color = match level {
            Level::Trace | Level::Debug => AnsiColor::BrightBlack,
            Level::Info => AnsiColor::Green,
            Level::Warn => AnsiColor::Yellow,
            Level::Err => AnsiColor::Red,
        };
        if writer.has_ansi_escapes() {
            let style = Style::new().fg_color(Some(color.into()));
            write!(writer, "{time} {style}[{name}]{style:#} ")?;
        } else {
            write!(writer, "{time} [{name}] ")?;
        }
        writeln!(writer, "{}", Text::of(event).line())
    }
}

/// The message of an event, and then its other fields.
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn of(event: &Event<'_>) -> Self {
        let mut text = Self::default();
        event.record(&mut text);
        text
    }

    /// On one line: a control character in a peer's name must not forge a line, nor move the cursor.
    fn line(&self) -> String {
        let mut line = String::with_capacity(self.message.len() + self.fields.len());
        for c in self.message.chars().chain(self.fields.chars()) {
            if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
        }
        line
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// The crates whose lines are those of Serf's agent.
const OWN: [&str; 6] =
    ["gossip_agent", "gossip_driver", "gossip_proto", "gossip_tls", "transport_quic", "transport_tokio"];

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn of_others_only_what_is_serious_is_kept() {
        let journal = Journal::default();
        let _guard = tracing_subscriber::registry().with(kept(journal.clone())).set_default();
        tracing::trace!("agent: one");
        tracing::debug!(target: "gossip_driver::log", "serf: two");
        tracing::trace!(target: "transport_quic::endpoint", "three");
        tracing::trace!(target: "quinn_proto::connection", "got a frame");
        tracing::info!(target: "quinn::endpoint", "closed");
        tracing::warn!(target: "quinn_udp", "four");
        // What is not kept costs nothing either.
        assert!(!tracing::enabled!(target: "quinn_proto::connection", tracing::Level::TRACE));
        let (_, lines) = journal.read().next().await;
        let ends: Vec<_> = lines.iter().map(|line| line.text.rsplit(' ').next().unwrap()).collect();
        assert_eq!(ends, ["one", "two", "three", "four"]);
    }

    #[test]
    fn levels_are_read_in_any_case() {
        assert_eq!(Level::parse("warn"), Some(Level::Warn));
        assert_eq!(Level::parse("Err"), Some(Level::Err));
        assert_eq!(Level::parse("error"), None);
        assert!(Level::NAMES.iter().all(|name| Level::parse(name).is_some()));
    }

    #[test]
    fn one_event_is_one_line() {
        let text = Text { message: "serf: a\nb\u{1b}[2J".into(), fields: " x=1".into() };
        assert_eq!(text.line(), "serf: a\\nb\\u{1b}[2J x=1");
    }
}
