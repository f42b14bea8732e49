//! `gossip agent`: one node, from its configuration to its farewell.

use core::net::SocketAddr;
use core::time::Duration;
use std::process::ExitCode;

use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use transport_tokio::gossip_proto::Bytes;
use transport_tokio::{Bind, Cluster, Config, EndReason, Node, ServiceConfig, Subscription, start_node};

use crate::cli::{self, AgentArgs};
use crate::config::{self, Problem, Profile, Settings};
use crate::joining;
use crate::output::{self, Output};
use crate::signals::{Signal, Signals};
use crate::stdin::{self, Command, Request};
use crate::{commands, events, log};

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
    let log = log::init(settings.log_level);
    for warning in &settings.warnings {
        tracing::warn!("agent: {warning}");
    }
    // The node is one task; the second thread is for what blocks the first.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return cli::fail(&format!("cannot start the runtime: {error}")),
    };
    let (output, writing) = output::start();
    let code = runtime.block_on(serve(&arguments, settings, log, output));
    // Name look-ups that hang must not hold the process.
    runtime.shutdown_background();
    writing.finish(PATIENCE);
    code
}

fn configure(arguments: &AgentArgs) -> Result<Settings, Problem> {
    let mut layer = config::read_files(&arguments.config_file)?;
    layer.merge(arguments.layer()?);
    Settings::from_layer(layer)
}

async fn serve(arguments: &AgentArgs, settings: Settings, log: log::Control, output: Output) -> ExitCode {
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return cli::fail(&format!("cannot listen to signals: {error}")),
    };
    let mut bind = Bind::from(settings.bind);
    bind.advertise = settings.advertise;
    let cluster = match start_node(bind, |advertise| configs(&settings, advertise)).await {
        Ok(cluster) => cluster,
        Err(error) => return cli::fail(&error),
    };
    let news = cluster.subscribe().await;
    let mut printer = None;
    if arguments.events.is_some() {
        output.send(ready(&settings, &cluster, &news).await).await;
        printer = Some(tokio::spawn(print(news, output.clone())));
    } else if !arguments.stdin {
        banner(&settings, &cluster).await;
    }
    tracing::info!("agent: Gossip agent starting");

    let mut agent = Agent { arguments, settings, log, cluster, output, signals: &mut signals };
    let end = agent.work().await;
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
    cluster: Cluster<Node>,
    output: Output,
    signals: &'a mut Signals,
}

impl Agent<'_> {
    async fn work(&mut self) -> End {
        let joined = tokio::select! {
            joined = joining::start_join(&self.cluster, &self.settings) => joined,
            signal = self.signals.next_end() => return End::Failed(format!("{} while joining", signal.name())),
        };
        if let Err(error) = joined {
            return End::Failed(format!(
                "start_join (--join) failed: {error}; check the addresses, or use --retry-join to go on trying"
            ));
        }
        let mut retry = tokio::spawn(joining::retry_join(self.cluster.clone(), self.settings.clone()));
        let mut requests = self.arguments.stdin.then(stdin::start);
        let mut running = JoinSet::new();
        let closed = self.cluster.closed();
        tokio::pin!(closed);
        let mut retrying = true;
        loop {
            tokio::select! {
                signal = self.signals.next() => {
                    if let Some(end) = self.handle_signal(signal).await {
                        return end;
                    }
                }
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
                    Some(request) => {
                        running.spawn(commands::answer(request, self.cluster.clone(), self.output.clone(),
                            self.settings.replay_on_join));
                    }
                    None => requests = None,
                },
                Some(_) = running.join_next() => {}
            }
        }
    }

    async fn handle_signal(&mut self, signal: Signal) -> Option<End> {
        tracing::info!("agent: Caught signal: {}", signal.name());
        let graceful = match signal {
            Signal::Reload => {
                self.reload().await;
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
        tokio::select! {
            left = timeout(GRACE, self.cluster.leave()) => match left {
                Ok(Ok(true)) => End::Left,
                Ok(Ok(false)) => End::Failed("the farewell was not gossiped in time".into()),
                Ok(Err(error)) => End::Failed(format!("leaving failed: {error}")),
                Err(_) => End::Failed(format!("leaving took more than {} seconds", GRACE.as_secs())),
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
        commands::reply(&self.output, "leave", id, answer).await;
        end
    }

    /// Reads the configuration again. As in Serf only the log level and the tags change, and tags that were set at run
    /// time are gone (serf.md 9.2).
    async fn reload(&mut self) {
        let arguments = self.arguments.clone();
        let fresh = match tokio::task::spawn_blocking(move || configure(&arguments)).await {
            Ok(Ok(fresh)) => fresh,
            Ok(Err(problem)) => return tracing::error!("agent: Failed to reload configs: {problem}"),
            Err(error) => return tracing::error!("agent: Failed to reload configs: {error}"),
        };
        self.log.set(fresh.log_level);
        let (cluster, tags) = (self.cluster.clone(), wire_tags(&fresh));
        tokio::spawn(async move {
            match cluster.set_tags(tags).await {
                Ok(_) => tracing::info!("agent: Reloaded configuration: log level and tags"),
                Err(error) => tracing::error!("agent: Failed to set the tags: {error}"),
            }
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
            End::NameLost(why) => tracing::warn!("agent: Serf shutdown detected, quitting: {why}"),
            End::Failed(why) => tracing::error!("agent: {why}"),
        }
        let _ = timeout(PATIENCE, self.cluster.shutdown()).await;
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

async fn print(mut news: Subscription, output: Output) {
    while let Some(notice) = news.recv().await {
        if let Some(object) = events::notice(&notice)
            && !output.send(object).await
        {
            return;
        }
    }
}

async fn ready(
    settings: &Settings,
    cluster: &Cluster<Node>,
    news: &Subscription,
) -> serde_json::Map<String, Value> {
    let mut object = events::line("ready", json!({ "name": settings.node_name }));
    object.insert("addr".into(), cluster.local().await.addr.to_string().into());
    object.insert("bind".into(), cluster.local_addr().to_string().into());
    object.insert("encrypted".into(), settings.keyring.is_some().into());
    object.insert("members".into(), events::members(&news.members));
    object
}

async fn banner(settings: &Settings, cluster: &Cluster<Node>) {
    anstream::println!("==> Gossip agent running!");
    anstream::println!("     Node name: '{}'", settings.node_name);
    anstream::println!("     Bind addr: '{}'", cluster.local_addr());
    anstream::println!("Advertise addr: '{}'", cluster.local().await.addr);
    anstream::println!("     Encrypted: {}", settings.keyring.is_some());
    anstream::println!("       Profile: {}", settings.profile.as_str());
    anstream::println!("\n==> Log data will now stream in as it occurs:\n");
}

fn configs(settings: &Settings, advertise: SocketAddr) -> (Config, ServiceConfig) {
    let name = settings.node_name.as_str();
    let mut config = match settings.profile {
        Profile::Lan => Config::lan(name, advertise),
        Profile::Wan => Config::wan(name, advertise),
        Profile::Local => Config::local(name, advertise),
    };
    config.label(settings.label.clone()).keyring(settings.keyring.clone()).compression(settings.compression);
    if let Some(limit) = settings.broadcast_timeout {
        config.broadcast_timeout(limit);
    }
    let mut services = ServiceConfig::default();
    services.tags(wire_tags(settings)).serf_protocol(settings.protocol);
    if let Some(limit) = settings.user_event_size_limit {
        services.user_event_size_limit(limit);
    }
    if let Some(interval) = settings.reconnect_interval {
        services.reconnect_interval(interval);
    }
    if let Some(limit) = settings.reconnect_timeout {
        services.reconnect_timeout(limit);
    }
    if let Some(limit) = settings.tombstone_timeout {
        services.tombstone_timeout(limit);
    }
    (config, services)
}

fn wire_tags(settings: &Settings) -> Vec<(Bytes, Bytes)> {
    settings.tags.iter().map(|(key, value)| (key.clone().into(), value.clone().into())).collect()
}

/// Serf gives a farewell this long.
const GRACE: Duration = Duration::from_secs(3);
/// For what should take no time at the end.
const PATIENCE: Duration = Duration::from_secs(1);
/// Commands of standard input that run at once.
const MAX_RUNNING: usize = 32;
