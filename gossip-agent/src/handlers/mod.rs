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
use transport_tokio::{Batch, Cluster, Node, Notice};

use crate::config::Settings;
use crate::feed::{Feed, Listener};
use crate::filter::Filter;
use crate::tally::Tally;
use describe::{environment, input};
use invoke::{Ended, Run, Script};

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
                // First: a handler that is gone runs nothing more, whatever still waits.
                biased;
                changed = self.limit.changed() => if changed.is_err() {
                    return;
                },
                batch = events.recv() => match batch {
                    Some(batch) => self.invoke(&batch).await,
                    None => return,
                },
            }
        }
    }

    async fn invoke(&self, batch: &Batch) {
        let query = match batch {
            Batch::Single(Notice::Query { id, deadline, .. }) => {
                let deadline = *deadline;
                // Nobody waits for the answer any more: it stood in the queue for too long.
                if self.cluster.inspect(move |_, now| now >= deadline).await.unwrap_or(true) {
                    tracing::warn!("agent: Script {:?} not run: the query has ended meanwhile", self.script);
                    return;
                }
                Some(*id)
            }
            _ => None,
        };
        let local = self.cluster.local().await;
        let Some(environment) = environment(batch, &local) else { return };
        let limit = *self.limit.borrow();
        let script = Script { text: &self.script, environment, input: input(batch), limit };
        let begun = Instant::now();
        let run = script.run().await;
        self.tally.invoked(&self.script, begun.elapsed());
        match run {
            Ok(run) => {
                self.report(&run, limit);
                if let Some(id) = query
                    && matches!(run.ended, Ended::Well)
                    && !run.output.is_empty()
                    && let Err(error) = self.cluster.respond(id, run.output).await
                {
                    tracing::warn!("agent: Failed to respond to query: {error}");
                }
            }
            Err(error) => tracing::error!("agent: Error invoking script {:?}: {error}", self.script),
        }
    }

    fn report(&self, run: &Run, limit: Duration) {
        let text = self.script.as_str();
        if run.lost > 0 {
            tracing::warn!(
                "agent: Script {text:?} generated {} bytes of output, truncated to the last {}",
                run.lost + run.output.len() as u64,
                run.output.len()
            );
        }
        let output = String::from_utf8_lossy(&run.output);
        tracing::debug!("agent: Event script {text:?} output: {output}");
        let errors = String::from_utf8_lossy(&run.errors);
        match run.ended {
            Ended::Well if errors.is_empty() => {}
            Ended::Well => tracing::debug!("agent: Event script {text:?} errors: {errors}"),
            Ended::Badly(status) => {
                tracing::error!("agent: Error invoking script {text:?}: {status}: {errors}");
            }
            Ended::Overdue => {
                tracing::error!("agent: Script {text:?} ran longer than {limit:?} and was ended");
            }
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
    // upstream: TestScriptQueryEventHandler
    #[cfg(unix)]
    #[tokio::test]
    async fn what_a_script_prints_answers_a_query() {
        use transport_tokio::{Answer, Bind, Config, QueryParams, ServiceConfig, start_node};

        let bind = Bind::from(core::net::SocketAddr::from(([127, 0, 0, 1], 0)));
        let configure = |addr| (Config::local("me", addr), ServiceConfig::default());
        let cluster = start_node(bind, configure).await.unwrap();
        let feed = Feed::start(&cluster).await;
        let scripts = [
            "query:load=cat; echo \"$SERF_QUERY_NAME $SERF_QUERY_LTIME\"; echo noise >&2",
            "query:load=echo wrong; exit 1",
            "query:quiet=true",
        ];
        let specs: Vec<_> = scripts.iter().map(|text| Spec::parse(text).unwrap()).collect();
        let mut handlers =
            Handlers { cluster: cluster.clone(), feed, tally: Tally::default(), running: Vec::new() };
        for spec in specs {
            let running = handlers.handler(spec, Duration::from_secs(60));
            handlers.running.push(running);
        }
        let ask = async |name: &str| {
            let mut params = QueryParams::default();
            params.timeout(Some(Duration::from_secs(2)));
            let mut answers = cluster.query(name, "all", params).await.unwrap();
            let mut payloads = Vec::new();
            while let Some(answer) = answers.recv().await {
                if let Answer::Response { payload, .. } = answer {
                    payloads.push(String::from_utf8(payload.to_vec()).unwrap());
                }
            }
            payloads
        };
        assert_eq!(ask("load").await, ["all\nload 1\n"]);
        assert_eq!(ask("quiet").await, [""; 0]);
    }
}
