//! Event handler scripts (serf.md 9.5): each handler runs its script once for every event that its filter lets through,
//! one after the other. A script that hangs is ended; one that is slow holds up its own handler only; events that it does
//! not keep up with are dropped, with a warning.

mod describe;
mod invoke;

use core::fmt;
use core::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use transport_tokio::{Batch, Cluster, Node};

use crate::config::Settings;
use crate::feed::{Feed, Listener};
use crate::filter::Filter;
use crate::tally::Tally;
use describe::{environment, input};
use invoke::{Ended, Script};

/// `[filter=]script`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) filter: Filter,
    pub(crate) script: String,
}

impl Spec {
    /// Reads it, split at the first equals sign; a script with one in it needs a filter.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (filter, script) = text.split_once('=').unwrap_or(("*", text));
        if script.is_empty() {
            return Err("there is no script in it; write [filter=]script".into());
        }
        let filter = Filter::parse(filter).map_err(|why| {
            format!("{why}; a script that has an equals sign needs a filter before it, such as *={text}")
        })?;
        Ok(Self { filter, script: script.into() })
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.filter, self.script)
    }
}

/// The handlers at work.
pub(crate) struct Handlers {
    cluster: Cluster<Node>,
    feed: Feed,
    tally: Tally,
    running: Vec<Running>,
}

struct Running {
    spec: Spec,
    limit: watch::Sender<Duration>,
    task: JoinHandle<()>,
}

impl Handlers {
    /// Starts those of the settings.
    pub(crate) fn start(cluster: Cluster<Node>, feed: Feed, tally: Tally, settings: &Settings) -> Self {
        let mut handlers = Self { cluster, feed, tally, running: Vec::new() };
        handlers.set(settings);
        handlers
    }

    /// Has those of the settings and no others from now on. Those that stay lose nothing; of those that go, a script that
    /// runs goes on.
    pub(crate) fn set(&mut self, settings: &Settings) {
        let limit = settings.event_handler_timeout;
        let mut before = core::mem::take(&mut self.running);
        for spec in &settings.event_handlers {
            match before.iter().position(|running| running.spec == *spec) {
                Some(index) => {
                    let running = before.swap_remove(index);
                    running.limit.send_replace(limit);
                    self.running.push(running);
                }
                None => self.running.push(self.handler(spec.clone(), limit)),
            }
        }
    }

    /// Waits for scripts that run; the node has ended. What still runs then is left alone, as in Serf.
    pub(crate) async fn finish(self, patience: Duration) {
        let finished = async {
            for running in self.running {
                let _ = running.task.await;
            }
        };
        let _ = timeout(patience, finished).await;
    }

    fn handler(&self, spec: Spec, limit: Duration) -> Running {
        let (sender, limit) = watch::channel(limit);
        let events = self.feed.listen(format!("the event handler {:?}", spec.script), spec.filter.clone());
        let (cluster, tally) = (self.cluster.clone(), self.tally.clone());
        let handler = Handler { script: spec.script.clone(), cluster, tally, limit };
        Running { spec, limit: sender, task: tokio::spawn(handler.run(events)) }
    }
}

struct Handler {
    script: String,
    cluster: Cluster<Node>,
    tally: Tally,
    /// How long the script may run; closed when the handler is to end.
    limit: watch::Receiver<Duration>,
}

impl Handler {
    async fn run(mut self, mut events: Listener) {
        loop {
            tokio::select! {
                batch = events.recv() => match batch {
                    Some(batch) => self.invoke(&batch).await,
                    None => return,
                },
                changed = self.limit.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }

    async fn invoke(&self, batch: &Batch) {
        let local = self.cluster.local().await;
        let Some(environment) = environment(batch, &local) else { return };
        let limit = *self.limit.borrow();
        let script = Script { text: &self.script, environment, input: input(batch), limit };
        let text = self.script.as_str();
        let begun = Instant::now();
        let run = script.run().await;
        self.tally.invoked(text, begun.elapsed());
        match run {
            Ok(run) => {
                if run.lost > 0 {
                    tracing::warn!(
                        "agent: Script {text:?} generated {} bytes of output, truncated to the last {}",
                        run.lost + run.output.len() as u64,
                        run.output.len()
                    );
                }
                let output = String::from_utf8_lossy(&run.output);
                tracing::debug!("agent: Event script {text:?} output: {output}");
                match run.ended {
                    Ended::Well => {}
                    Ended::Badly(status) => {
                        let errors = String::from_utf8_lossy(&run.errors);
                        tracing::error!("agent: Error invoking script {text:?}: {status}: {errors}");
                    }
                    Ended::Overdue => {
                        tracing::error!("agent: Script {text:?} ran longer than {limit:?} and was ended");
                    }
                }
            }
            Err(error) => tracing::error!("agent: Error invoking script {text:?}: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // upstream: TestParseEventScript
    #[test]
    fn a_handler_is_a_filter_and_a_script() {
        for (text, filter, script) in [
            ("script.sh", "*", "script.sh"),
            ("member-join=script.sh", "member-join", "script.sh"),
            ("user:deploy,query=a=b c", "user:deploy,query", "a=b c"),
            ("=script.sh", "*", "script.sh"),
        ] {
            let spec = Spec::parse(text).unwrap();
            assert_eq!((spec.filter.to_string().as_str(), spec.script.as_str()), (filter, script), "{text}");
        }
        for (text, part) in [
            ("FOO=bar script.sh", "*=FOO=bar script.sh"),
            ("member-join=", "no script"),
            ("", "no script"),
            ("member-join, user=x", "no event"),
        ] {
            let error = Spec::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
