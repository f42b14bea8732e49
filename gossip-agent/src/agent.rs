//! `gossip agent`: one node, from its configuration to its farewell.

use core::time::Duration;
use std::process::ExitCode;

use serde_json::{Value, json};
use tokio::sync::mpsc::{self, Receiver};
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use transport_tokio::{EndReason, Subscription};

use crate::cli::{self, AgentArgs};
use crate::config::{self, Problem, Settings, Transport};
use crate::feed::Feed;
use crate::handlers::{Handlers, Spec};
use crate::joining;
use crate::journal::Journal;
use crate::local::Local;
use crate::output::{self, Output};
use crate::server::{self, Door, Leave};
use crate::signals::{Signal, Signals};
use crate::stdin::{self, Command, Request};
use crate::tags::Tags;
use crate::tally::Tally;
use crate::{commands, events, log, metrics, replaceable, start};

/// Runs until the node has left or was told to end; everything that is wrong with the configuration is found before
/// anything is started.
pub(crate) fn run(arguments: AgentArgs) -> ExitCode {
    let settings = match configure(&arguments).and_then(|settings| {
        joining::check_names(&settings)?;
        Ok(settings)
    }) {
        Ok(settings) => settings,
        Err(problem) => return cli::fail(&problem),
    };
    let door = match settings.rpc_addr.map(Door::open).transpose() {
        Ok(door) => door,
        Err(problem) => return cli::fail(&problem),
    };
    let journal = Journal::default();
    let log = match log::init(settings.log_level, door.is_some().then(|| journal.clone())) {
        Ok(log) => log,
        Err(error) => return cli::fail(&format!("cannot start logging: {error}")),
    };
    for warning in settings.warnings.iter().chain(&replaceable::warnings(&settings)) {
        tracing::warn!("agent: {warning}");
    }
    // The node is one task; the second thread is for what blocks the first.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return cli::fail(&format!("cannot start the runtime: {error}")),
    };
    let (output, writing) = output::start();
    let rpc = door.map(|door| (door, journal));
    let code = runtime.block_on(serve(&arguments, settings, log.clone(), output, rpc));
    // Name look-ups that hang must not hold the process.
    runtime.shutdown_background();
    writing.finish(PATIENCE);
    log.finish(PATIENCE);
    code
}

fn configure(arguments: &AgentArgs) -> Result<Settings, Problem> {
    let mut layer = config::read_files(&arguments.config_file)?;
    layer.merge(arguments.layer()?);
    Settings::from_layer(layer)
}

async fn serve(
    arguments: &AgentArgs,
    settings: Settings,
    log: log::Control,
    output: Output,
    rpc: Option<(Door, Journal)>,
) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return cli::fail(&format!("cannot listen to signals: {error}")),
    };
    let metrics = match settings.metrics_addr {
        None => None,
        Some(addr) => match metrics::Endpoint::bind(addr).await {
            Ok(endpoint) => Some(endpoint),
            Err(error) => {
                return cli::fail(&format!("metrics_addr (--metrics) {addr}: {error}; use another port"));
            }
        },
    };
    let cluster = match start::cluster(arguments, &settings).await {
        Ok(cluster) => cluster,
        Err(problem) => return cli::fail(&problem),
    };
    // Nobody subscribes who does not read: news is kept for each subscriber.
    let news = match arguments.events {
        Some(_) => Some(cluster.subscribe().await),
        None => None,
    };
    let feed = Feed::start(&cluster).await;
    let tally = Tally::default();
    let handlers = Handlers::start(cluster.clone(), feed.clone(), tally.clone(), &settings);
    let tags = Tags::new(
        cluster.clone(),
        settings.tags_file.clone(),
        settings.configured_tags.clone(),
        settings.tags.clone(),
    );
    let local = Local { cluster, feed, tags, tally, replay_on_join: settings.replay_on_join };
    let (leaving, asked_to_leave) = mpsc::channel(1);
    let (specs, handlers_shown) = watch::channel(settings.event_handlers.clone());
    let rpc_addr = rpc.as_ref().and_then(|(door, _)| door.addr());
    if let Some((door, journal)) = rpc {
        let shared = server::Shared {
            local: local.clone(),
            journal,
            secret: settings.rpc_auth.clone(),
            handlers: handlers_shown,
            encrypted: settings.keyring.is_some(),
            listing: Mutex::default(),
            leaving: leaving.clone(),
        };
        if let Err(error) = server::start(door, shared) {
            return cli::fail(&format!("cannot serve RPC clients: {error}"));
        }
    }
    if let Some(discovery) = settings.discovery.clone()
        && let Err(error) = discovery.start(local.cluster.clone(), settings.replay_on_join).await
    {
        return cli::fail(&format!(
            "discover (--discover): {error}; check --mdns-iface, or use --retry-join"
        ));
    }
    let metrics_addr = metrics.as_ref().map(metrics::Endpoint::addr);
    if let Some(endpoint) = metrics {
        tracing::info!("agent: Metrics at http://{}/metrics", endpoint.addr());
        tokio::spawn(endpoint.serve(local.cluster.clone(), local.feed.clone(), local.tally.clone()));
    }
    let mut printer = None;
    if let Some(news) = news {
        let mut ready = start::ready(&settings, &local.cluster, &news).await;
        if let Some(addr) = metrics_addr {
            ready.insert("metrics".into(), addr.to_string().into());
        }
        if let Some(addr) = rpc_addr {
            ready.insert("rpc".into(), addr.to_string().into());
        }
        output.send(ready).await;
        printer = Some(tokio::spawn(print(news, output.clone())));
    } else if !arguments.stdin {
        output.print(start::banner(&settings, &local.cluster, rpc_addr).await).await;
    }
    tracing::info!("agent: Gossip agent starting");

    let mut agent = Agent {
        arguments,
        settings,
        log,
        local,
        handlers,
        specs,
        output,
        signals: &mut signals,
        reloading: None,
        reload_again: false,
    };
    let end = agent.work(asked_to_leave).await;
    // Without RPC nobody else keeps it open.
    drop(leaving);
    agent.finish(end, printer).await
}

/// Why the agent ends.
enum End {
    Left,
    /// Another node has the name; as upstream, that is an end like any other.
    NameLost(String),
    /// Without a farewell, for the reason.
    Failed(String),
}

struct Agent<'a> {
    arguments: &'a AgentArgs,
    settings: Settings,
    log: log::Control,
    local: Local,
    handlers: Handlers,
    /// The handlers' specifications, for those who show them.
    specs: watch::Sender<Vec<Spec>>,
    output: Output,
    signals: &'a mut Signals,
    /// The configuration as it is being read again: that may take long, on a disk that does not answer.
    reloading: Option<JoinHandle<Result<Settings, Problem>>>,
    /// It may have changed since that began.
    reload_again: bool,
}

impl Agent<'_> {
    async fn work(&mut self, mut asked_to_leave: Receiver<Leave>) -> End {
        let (cluster, settings) = (self.local.cluster.clone(), self.settings.clone());
        let mut joining = Box::pin(joining::start_join(&cluster, &settings));
        let joined = loop {
            let signal = tokio::select! {
                // In this order, or with nobody to join a signal could still find the agent joining.
                biased;
                joined = &mut joining => break joined,
                fresh = read(&mut self.reloading) => {
                    self.reload(fresh);
                    continue;
                }
                Some(leave) = asked_to_leave.recv() => return self.leave_for_client(leave).await,
                signal = self.signals.next() => signal,
            };
            // Some may have let it in already: to them it must not have failed.
            if let Some(end) = self.handle_signal(signal).await {
                return end;
            }
        };
        if let Err(error) = joined {
            return End::Failed(format!(
                "start_join (--join) failed: {error}; check the addresses, or use --retry-join to go on trying"
            ));
        }
        drop(joining);
        let mut retry = tokio::spawn(joining::retry_join(cluster, settings));
        let mut requests = self.arguments.stdin.then(stdin::start);
        let (mut running, mut asking) = (JoinSet::new(), JoinSet::new());
        let closed = self.local.cluster.closed();
        tokio::pin!(closed);
        let mut retrying = true;
        loop {
            tokio::select! {
                signal = self.signals.next() => {
                    if let Some(end) = self.handle_signal(signal).await {
                        return end;
                    }
                }
                fresh = read(&mut self.reloading) => self.reload(fresh),
                reason = &mut closed => return ended(&reason),
                result = &mut retry, if retrying => {
                    retrying = false;
                    if let Ok(Err(error)) = result {
                        return End::Failed(format!("retry_join (--retry-join) failed: {error}; check the addresses"));
                    }
                }
                // Commands that wait for an answer go on while others run, up to a number.
                request = next(&mut requests), if running.len() < MAX_RUNNING => match request {
                    Some(Request { id, command: Ok(Command::Leave) }) => return self.leave_for(id).await,
                    // These take their time, and the node itself may be the one to answer.
                    Some(request @ Request { command: Ok(Command::Query { .. }), .. }) if asking.len() < MAX_ASKING => {
                        asking.spawn(commands::answer(request, self.local.clone(), self.output.clone()));
                    }
                    Some(request) => {
                        running.spawn(commands::answer(request, self.local.clone(), self.output.clone()));
                    }
                    None => requests = None,
                },
                Some(leave) = asked_to_leave.recv() => return self.leave_for_client(leave).await,
                Some(_) = running.join_next() => {}
                Some(_) = asking.join_next() => {}
            }
        }
    }

    async fn handle_signal(&mut self, signal: Signal) -> Option<End> {
        tracing::info!("agent: Caught signal: {}", signal.name());
        let graceful = match signal {
            Signal::Reload => {
                match self.reloading {
                    Some(_) => self.reload_again = true,
                    None => self.start_reload(),
                }
                return None;
            }
            Signal::Dump => {
                tokio::spawn(metrics::dump(self.local.clone()));
                return None;
            }
            Signal::Interrupt => !self.settings.skip_leave_on_interrupt,
            Signal::Terminate => self.settings.leave_on_terminate,
        };
        Some(match graceful {
            true => self.leave().await,
            false => End::Failed(format!("{} without a farewell", signal.name())),
        })
    }

    async fn leave(&mut self) -> End {
        tracing::info!("agent: Gracefully shutting down agent...");
        // The intent and the farewell may take that long each. Serf's 3 seconds in all are less than one, so that a leave
        // that goes well ends with an error there (Q31).
        let limit = 2 * self.settings.broadcast_timeout.unwrap_or(BROADCAST_TIMEOUT) + MARGIN;
        tokio::select! {
            left = timeout(limit, self.local.cluster.leave()) => match left {
                Ok(Ok(true)) => End::Left,
                Ok(Ok(false)) => End::Failed("the farewell was not gossiped in time".into()),
                Ok(Err(error)) => End::Failed(format!("leaving failed: {error}")),
                Err(_) => End::Failed(format!("leaving took more than {limit:?}")),
            },
            signal = self.signals.next_end() => End::Failed(format!("{} while leaving", signal.name())),
        }
    }

    async fn leave_for(&mut self, id: Option<Value>) -> End {
        let end = self.leave().await;
        let answer = match &end {
            End::Left => Ok(json!({})),
            End::NameLost(why) | End::Failed(why) => Err(why.clone()),
        };
        // Whoever asked may wait for the end and read no more, and no signal is heard any more.
        let _ = timeout(PATIENCE, commands::reply(&self.output, "leave", id, answer)).await;
        end
    }

    async fn leave_for_client(&mut self, leave: Leave) -> End {
        let end = self.leave().await;
        let answer = match &end {
            End::Left => Ok(()),
            End::NameLost(why) | End::Failed(why) => Err(why.clone()),
        };
        let _ = leave.done.send(answer);
        // The client may have gone.
        let _ = timeout(PATIENCE, leave.told).await;
        end
    }

    fn start_reload(&mut self) {
        let arguments = self.arguments.clone();
        self.reloading = Some(tokio::task::spawn_blocking(move || configure(&arguments)));
    }

    /// The configuration was read again. As in Serf the log level, the event handlers and the tags change; unlike in Serf,
    /// tags that were set at run time stay (Q25).
    fn reload(&mut self, fresh: Result<Settings, String>) {
        self.reloading = None;
        if core::mem::take(&mut self.reload_again) {
            self.start_reload();
        }
        let fresh = match fresh {
            Ok(fresh) => fresh,
            Err(problem) => return tracing::error!("agent: Failed to reload configs: {problem}"),
        };
        self.reload_certificates(&fresh);
        self.log.set(fresh.log_level);
        self.handlers.set(&fresh);
        self.specs.send_replace(fresh.event_handlers);
        let tags = self.local.tags.clone();
        tokio::spawn(async move {
            match tags.reload(fresh.configured_tags).await {
                Ok(_) => {
                    tracing::info!("agent: Reloaded configuration: log level, event handlers and tags");
                }
                Err(error) => tracing::error!("agent: Failed to set the tags: {error}"),
            }
        });
    }

    /// The files are those that the node was started with; their content counts from the next connection on.
    fn reload_certificates(&self, fresh: &Settings) {
        let files = |settings: &Settings| settings.tls.as_ref().map(|tls| tls.files.clone());
        if files(fresh) != files(&self.settings) {
            tracing::warn!(
                "agent: tls_cert, tls_key or tls_ca name other files now: that counts after a restart, and the content of \
                 the old ones until then"
            );
        }
        let Some(tls) = self.settings.tls.clone() else { return };
        let is_quic = self.settings.transport == Transport::Quic;
        let key = tls.credentials().fingerprint();
        tokio::task::spawn_blocking(move || match tls.reload() {
            // On QUIC the others know a node by its key.
            Ok(true) if is_quic && tls.credentials().fingerprint() != key => tracing::warn!(
                "agent: Reloaded certificates, with another key: members that know this node take it for a stranger at its \
                 address, and refuse what it says of itself; renew the certificate for the key that it had, or have the node \
                 leave and start it anew"
            ),
            Ok(true) => tracing::info!("agent: Reloaded certificates"),
            Ok(false) => {}
            Err(error) => tracing::error!("agent: Failed to reload certificates: {error}; the old ones stay"),
        });
    }

    async fn finish(self, end: End, printer: Option<JoinHandle<()>>) -> ExitCode {
        let (reason, code) = match &end {
            End::Left => ("left".to_owned(), ExitCode::SUCCESS),
            End::NameLost(why) => (why.clone(), ExitCode::SUCCESS),
            End::Failed(why) => (why.clone(), ExitCode::FAILURE),
        };
        match &end {
            End::Left => tracing::info!("agent: Graceful leave complete"),
            End::NameLost(_) => tracing::warn!("agent: Serf shutdown detected, quitting"),
            End::Failed(why) => tracing::error!("agent: {why}"),
        }
        let _ = timeout(PATIENCE, self.local.cluster.shutdown()).await;
        self.handlers.finish(PATIENCE).await;
        if let Some(printer) = printer {
            // It ends with the node, unless nobody reads what it prints.
            let _ = timeout(PATIENCE, printer).await;
            let _ =
                timeout(PATIENCE, self.output.send(events::line("end", json!({ "reason": reason })))).await;
        }
        code
    }
}

fn ended(reason: &EndReason) -> End {
    match reason {
        EndReason::Shutdown => End::Left,
        EndReason::NameLost { .. } => End::NameLost(reason.to_string()),
        other => End::Failed(other.to_string()),
    }
}

/// The next request; waits for ever when there are none to come.
async fn next(requests: &mut Option<Receiver<Request>>) -> Option<Request> {
    match requests {
        Some(requests) => requests.recv().await,
        None => core::future::pending().await,
    }
}

/// What reading the configuration came to; waits for ever when nobody reads it.
async fn read(reading: &mut Option<JoinHandle<Result<Settings, Problem>>>) -> Result<Settings, String> {
    match reading {
        Some(reading) => match reading.await {
            Ok(read) => read.map_err(|problem| problem.to_string()),
            Err(error) => Err(error.to_string()),
        },
        None => core::future::pending().await,
    }
}

async fn print(mut news: Subscription, output: Output) {
    while let Some(notice) = news.recv().await {
        if let Some(object) = events::notice(&notice)
            && !output.send(object).await
        {
            return;
        }
    }
}

/// Where none is configured (serf.md 10.1).
const BROADCAST_TIMEOUT: Duration = Duration::from_secs(5);
/// For the time in which a node that has left still answers, and some more.
const MARGIN: Duration = Duration::from_secs(2);
/// For what should take no time at the end.
const PATIENCE: Duration = Duration::from_secs(1);
/// Commands of standard input that run at once.
const MAX_RUNNING: usize = 32;
/// Queries of standard input whose answers are waited for at once; further ones count as running commands.
const MAX_ASKING: usize = 256;
