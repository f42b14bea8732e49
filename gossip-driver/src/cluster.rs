//! The handle of a running node.

use core::future::Future;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;
use std::collections::BTreeSet;
use std::sync::Arc;

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use gossip_proto::coordinate::Coordinate;
use gossip_proto::{
    Clocks, CommandError, Instant, JoinFailure, JoinTarget, KeyCommand, KeyReport, Machine, MemberKey,
    Membership, MergeMember, Name, Node, OperationId, Outcome, QueryParams, RequestId, Stats,
};

use crate::address::{Host, Target};
use crate::answers::Answers;
use crate::driver::Driver;
use crate::ending::{Ending, Nothing};
use crate::error::{EndReason, Error, JoinError, JoinErrorKind, JoinReport};
use crate::log;
use crate::notice::MemberInfo;
use crate::options::Options;
use crate::resolve::{self, Resolve, RuntimeResolver};
use crate::runtime::Runtime;
use crate::seeds;
use crate::snapshot::{self, Kept, SnapshotFile};
use crate::state::{Command, Core};
use crate::subscribe::Subscription;
use crate::transport::Transport;

/// Starts driving a machine: from now on it gossips in a task of the runtime, until [`Cluster::shutdown`] is called or
/// the last handle is dropped.
pub fn start<M, T, R>(machine: M, transport: T, runtime: R, options: Options) -> Cluster<M>
where
    M: Machine + Send + 'static,
    T: Transport,
    R: Runtime,
{
    launch(machine, transport, runtime, options, None)
}

/// As [`start`], for a node that keeps a snapshot file. What the file says must have gone into the node's configuration:
/// [`SnapshotFile::restore`]. The end of the node waits until the file is closed.
pub fn start_with_snapshot<T, R>(
    machine: Node,
    transport: T,
    runtime: R,
    options: Options,
    file: SnapshotFile,
) -> Cluster<Node>
where
    T: Transport,
    R: Runtime,
{
    launch(machine, transport, runtime, options, Some(file.of_node()))
}

pub(crate) fn launch<M, T, R>(
    machine: M,
    transport: T,
    runtime: R,
    options: Options,
    snapshot: Option<Kept<M>>,
) -> Cluster<M>
where
    M: Machine + Send + 'static,
    T: Transport,
    R: Runtime,
{
    let (sender, commands) = async_channel::bounded(options.command_buffer.max(1));
    let (done, ended) = async_channel::bounded(1);
    let ending = Arc::new(Ending::new(&machine));
    let cluster = Cluster {
        commands: sender,
        ended,
        ending,
        local_addr: transport.local_addr(),
        resolver: Arc::new(RuntimeResolver::new(runtime.clone(), options.resolve_timeout)),
        max_addresses: options.max_addresses.max(1),
        seeds: Arc::default(),
    };
    let mut driver = Driver::new(machine, transport, runtime.clone(), options, commands);
    if let Some(snapshot) = snapshot {
        let (news, feed) = driver.feed(snapshot.look);
        let first = feed.latest();
        let tell = cluster.commands.downgrade();
        let kept = snapshot::keep(runtime.clone(), snapshot.file, news, (feed, first), tell, done.clone());
        runtime.spawn(log::within_span(kept));
    }
    runtime.spawn(log::within_span(driver.run(cluster.ending.clone(), done)));
    cluster
}

/// A handle of a running node; cheap to clone. The node stops when the last one is dropped.
///
/// A command is carried out even if its future is dropped before it ends; only the answer is lost then.
pub struct Cluster<M> {
    commands: Sender<Command<M>>,
    ended: Receiver<Nothing>,
    ending: Arc<Ending>,
    local_addr: SocketAddr,
    resolver: Arc<dyn Resolve>,
    max_addresses: usize,
    /// Counts the lists of seeds given.
    seeds: Arc<AtomicU64>,
}

impl<M: Machine + 'static> Cluster<M> {
    /// Joins the cluster through these nodes, each written as `[name/]host[:port]`; the default port is the one this
    /// node is bound to. Every address of every host is tried. Fails only if none could be joined, and then says of
    /// each why.
    pub async fn join<S: AsRef<str>>(&self, targets: &[S]) -> Result<JoinReport, Error> {
        self.join_with(targets, |machine, now, targets| machine.join(now, targets)).await
    }

    /// Has these nodes, written as for [`Cluster::join`], joined now and again whenever no alive member has their address:
    /// who was cut off from everybody finds back by itself. Names are looked up again each minute. Replaces the seeds that
    /// were there; with none it forgets them. Fails only if one is written wrongly, and then changes nothing.
    pub async fn set_seeds<S: AsRef<str>>(&self, targets: &[S]) -> Result<(), Error> {
        let parse = |text: &S| {
            Target::parse(text.as_ref(), self.local_addr.port()).map_err(|error| {
                let why = JoinErrorKind::Address(error);
                Error::Join(vec![JoinError { target: text.as_ref().into(), why }])
            })
        };
        let targets = targets.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        let turn = self.seeds.fetch_add(1, Ordering::AcqRel) + 1;
        let (commands, resolver) = (self.commands.downgrade(), self.resolver.clone());
        let turn = (turn, self.seeds.clone());
        self.resolver.spawn(Box::pin(seeds::follow(commands, resolver, targets, self.max_addresses, turn)));
        Ok(())
    }

    /// Leaves the cluster and waits until that was gossiped; says whether it was in time. The node goes on answering
    /// until it is shut down.
    pub async fn leave(&self) -> Result<bool, Error> {
        match self.operate(|machine, now| Ok(machine.leave(now)?)).await? {
            Outcome::Left { announced } => Ok(announced),
            _ => Ok(false),
        }
    }

    /// Stops the node without a farewell, and waits until its task has ended and its sockets are closed. To the others
    /// it has failed, unless it has left before. Messages that were sent have [`Options::close_timeout`] to get out.
    pub async fn shutdown(self) {
        let _ =
            self.commands.send(Box::new(|core: &mut Core<M>, _| core.stop = Some(EndReason::Shutdown))).await;
        let ended = self.ended.clone();
        drop(self);
        let _ = ended.recv().await;
    }

    /// The members: alive, suspect, and those failed or left that are still remembered. After the end, those last
    /// known.
    pub async fn members(&self) -> Vec<MemberInfo> {
        match self.call(|core, _| core.members()).await {
            Ok(members) => members,
            Err(_) => self.ending.last().members.clone(),
        }
    }

    /// The node itself, as it presents itself to others.
    pub async fn local(&self) -> MemberInfo {
        match self.call(|core, _| MemberInfo::from(&core.machine.local())).await {
            Ok(member) => member,
            Err(_) => self.ending.last().local.clone(),
        }
    }

    /// The members now, and everything that happens from then on, with no gap in between. Events of before are not told, not
    /// even the node's own: subscribe before [`Cluster::join`], which brings some. A subscriber that is slow holds up
    /// nothing: changes of members are folded together for it, of events it loses the oldest and is told.
    pub async fn subscribe(&self) -> Subscription {
        match self.call(|core, now| core.subscribe(now)).await {
            Ok(subscription) => subscription,
            Err(_) => Subscription::ended(self.ending.last().members.clone()),
        }
    }

    /// Measures the round trip time to a member, once; `None` if it did not answer within the probe timeout.
    pub async fn ping(&self, name: &Name) -> Result<Option<Duration>, Error> {
        let name = name.clone();
        match self.operate(move |machine, now| Ok(machine.ping(now, find(machine, &name)?)?)).await? {
            Outcome::Ping { rtt } => Ok(rtt),
            _ => Ok(None),
        }
    }

    /// Whom the merge in question would bring; nobody if the question is settled.
    pub async fn merge_members(&self, id: RequestId) -> Result<Vec<MergeMember>, Error> {
        self.inspect(move |machine, _| machine.merge_members(id).collect()).await
    }

    /// Accepts a merge; see [`crate::Notice::MergeRequested`].
    pub async fn accept(&self, id: RequestId) -> Result<(), Error> {
        self.command(move |machine, now| machine.accept(now, id)).await
    }

    /// Refuses a merge.
    pub async fn refuse(&self, id: RequestId) -> Result<(), Error> {
        self.command(move |machine, now| machine.refuse(now, id)).await
    }

    /// Adds a key to this node's keyring: what is sealed with it can be opened from now on.
    pub async fn install_key(&self, key: &[u8]) -> Result<(), Error> {
        let key = key.to_vec();
        self.command(move |machine, now| machine.install_key(now, &key)).await
    }

    /// Makes an installed key the primary one: what this node sends is sealed with it from now on.
    pub async fn use_key(&self, key: &[u8]) -> Result<(), Error> {
        let key = key.to_vec();
        self.command(move |machine, now| machine.use_key(now, &key)).await
    }

    /// Removes a key, which must not be the primary one.
    pub async fn remove_key(&self, key: &[u8]) -> Result<(), Error> {
        let key = key.to_vec();
        self.command(move |machine, now| machine.remove_key(now, &key)).await
    }

    /// The counters; after the end, the last ones.
    pub async fn stats(&self) -> Stats {
        match self.call(|core, _| core.machine.stats().clone()).await {
            Ok(stats) => stats,
            Err(_) => self.ending.last().stats.clone(),
        }
    }

    /// The local health score: 0 is healthy (Lifeguard). Fails if the node has ended.
    pub async fn health(&self) -> Result<u32, Error> {
        self.call(|core, _| core.machine.health()).await
    }

    /// Ends the recording with the state the node is in now, and waits until its file is closed; see
    /// [`crate::Options::recording`]. Nothing happens if none runs. There is none that starts one: a recording is played from
    /// a node's start.
    pub async fn stop_recording(&self) -> Result<(), Error> {
        let (done, closed) = async_channel::bounded(1);
        self.call(move |core, now| {
            core.machine.stop_recording(now);
            core.recorded.push(done);
        })
        .await?;
        let _ = closed.recv().await;
        Ok(())
    }

    /// Looks at the machine between two of its inputs: for getters that have no method here. Be brief: the node does
    /// nothing else meanwhile.
    pub async fn inspect<A: Send + 'static>(
        &self,
        look: impl FnOnce(&M, Instant) -> A + Send + 'static,
    ) -> Result<A, Error> {
        self.call(move |core, now| look(&core.machine, now)).await
    }

    /// The address that the transport is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Ends when the node has ended, and says why. Does not keep it running.
    pub fn closed(&self) -> impl Future<Output = EndReason> + Send + use<M> {
        let (ended, ending) = (self.ended.clone(), self.ending.clone());
        async move {
            let _ = ended.recv().await;
            ending.reason()
        }
    }

    async fn join_with<S, F>(&self, targets: &[S], join: F) -> Result<JoinReport, Error>
    where
        S: AsRef<str>,
        F: FnOnce(&mut M, Instant, &[JoinTarget]) -> Result<OperationId, CommandError> + Send + 'static,
    {
        let mut failed = Vec::new();
        let (written, addresses) = self.resolve(targets, &mut failed).await;
        if addresses.is_empty() {
            return Err(Error::Join(failed));
        }
        let outcome = self.operate(move |machine, now| Ok(join(machine, now, &addresses)?)).await?;
        let Outcome::Joined { contacted, failed: exchanges } = outcome else {
            return Err(Error::Join(failed));
        };
        let exchanges = self.explain(exchanges).await?;
        failed.extend(exchanges.into_iter().map(|(addr, why)| exchange_error(&written, addr, why)));
        if contacted == 0 { Err(Error::Join(failed)) } else { Ok(JoinReport { contacted, failed }) }
    }

    /// Where the transport knows better than the machine why an exchange failed, what it says.
    async fn explain(
        &self,
        exchanges: Vec<(SocketAddr, JoinFailure)>,
    ) -> Result<Vec<(SocketAddr, JoinErrorKind)>, Error> {
        let explained = move |core: &mut Core<M>, now| {
            let explain = |(addr, why)| match (&why, core.refusals.recent(now, addr)) {
                (JoinFailure::Stream(_), Some(refusal)) => {
                    (addr, JoinErrorKind::Refused { addr, why: refusal.to_owned() })
                }
                _ => (addr, JoinErrorKind::Exchange { addr, why }),
            };
            exchanges.into_iter().map(explain).collect()
        };
        self.call(explained).await
    }

    /// The addresses to try, each once, and for each what was written.
    async fn resolve<S: AsRef<str>>(
        &self,
        targets: &[S],
        failed: &mut Vec<JoinError>,
    ) -> (Vec<(SocketAddr, String)>, Vec<JoinTarget>) {
        let mut seen = BTreeSet::new();
        let (mut written, mut addresses) = (Vec::new(), Vec::new());
        // At once: one name server that does not answer is waited for once, and not for each of its names.
        let found = resolve::all(targets.iter().map(|text| self.look_up(text.as_ref()))).await;
        for (text, found) in targets.iter().zip(found) {
            let text = text.as_ref();
            match found {
                Ok((name, found)) => {
                    for addr in found.into_iter().take(self.max_addresses) {
                        if seen.insert((addr, name.clone())) {
                            written.push((addr, text.into()));
                            addresses.push(JoinTarget { addr, name: name.clone() });
                        }
                    }
                }
                Err(why) => failed.push(JoinError { target: text.into(), why }),
            }
        }
        (written, addresses)
    }

    /// The name in a target, if there is one, and the addresses of its host.
    async fn look_up(&self, text: &str) -> Result<(Option<Name>, Vec<SocketAddr>), JoinErrorKind> {
        let target = Target::parse(text, self.local_addr.port()).map_err(JoinErrorKind::Address)?;
        let Target { name, host, port } = target;
        let host = match host {
            Host::Literal(addr) => return Ok((name, vec![addr])),
            Host::Name(host) => host,
        };
        match self.resolver.resolve(&host).await {
            Ok(ips) if ips.is_empty() => Err(JoinErrorKind::Resolve("the host has no address".into())),
            Ok(ips) => {
                let addr = |ip: IpAddr| SocketAddr::new(ip.to_canonical(), port);
                Ok((name, ips.into_iter().map(addr).collect()))
            }
            Err(error) => Err(JoinErrorKind::Resolve(error.to_string())),
        }
    }

    async fn announce(
        &self,
        run: impl FnOnce(&mut M, Instant) -> Result<OperationId, CommandError> + Send + 'static,
    ) -> Result<bool, Error> {
        match self.operate(move |machine, now| Ok(run(machine, now)?)).await? {
            Outcome::Announced { in_time } => Ok(in_time),
            _ => Ok(false),
        }
    }

    async fn command(
        &self,
        run: impl FnOnce(&mut M, Instant) -> Result<(), CommandError> + Send + 'static,
    ) -> Result<(), Error> {
        Ok(self.call(move |core, now| run(&mut core.machine, now)).await??)
    }

    /// Begins an operation and waits for its end.
    async fn operate(
        &self,
        run: impl FnOnce(&mut M, Instant) -> Result<OperationId, Error> + Send + 'static,
    ) -> Result<Outcome, Error> {
        let (done, outcome) = async_channel::bounded(1);
        self.call(move |core, now| {
            let operation = run(&mut core.machine, now)?;
            core.expect(operation, done);
            Ok::<_, Error>(())
        })
        .await??;
        outcome.recv().await.map_err(|_| Error::Closed)
    }

    /// Runs in the loop.
    async fn call<A: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Core<M>, Instant) -> A + Send + 'static,
    ) -> Result<A, Error> {
        let (reply, answer) = async_channel::bounded(1);
        let command: Command<M> = Box::new(move |core, now| {
            // Fails only when nobody waits for the answer.
            let _ = reply.try_send(run(core, now));
        });
        self.commands.send(command).await.map_err(|_| Error::Closed)?;
        answer.recv().await.map_err(|_| Error::Closed)
    }
}

impl Cluster<Node> {
    /// Sends a user event to all members; returns once it was handed to enough of them, with `false` if that took
    /// longer than the broadcast timeout.
    pub async fn user_event(
        &self,
        name: impl AsRef<[u8]>,
        payload: impl AsRef<[u8]>,
        coalesce: bool,
    ) -> Result<bool, Error> {
        let (name, payload) = (name.as_ref().to_vec(), payload.as_ref().to_vec());
        self.announce(move |node, now| node.user_event(now, &name, &payload, coalesce)).await
    }

    /// The same without waiting: returns once the node has taken the event on.
    pub async fn post_user_event(
        &self,
        name: impl AsRef<[u8]>,
        payload: impl AsRef<[u8]>,
        coalesce: bool,
    ) -> Result<(), Error> {
        let (name, payload) = (name.as_ref().to_vec(), payload.as_ref().to_vec());
        self.call(move |core, now| Ok(core.machine.user_event(now, &name, &payload, coalesce).map(drop)?))
            .await?
    }

    /// Replaces this node's tags.
    pub async fn set_tags(&self, tags: Vec<(Bytes, Bytes)>) -> Result<bool, Error> {
        self.announce(move |node, now| node.set_tags(now, tags)).await
    }

    /// Makes a failed member leave, and with `prune` has it forgotten at once.
    pub async fn force_leave(&self, name: impl AsRef<[u8]>, prune: bool) -> Result<bool, Error> {
        let name = name.as_ref().to_vec();
        self.announce(move |node, now| node.force_leave(now, &name, prune)).await
    }

    /// Asks a query of the members that it is for, this node included; what comes back streams out of the result until
    /// the query's time is over.
    pub async fn query(
        &self,
        name: impl AsRef<[u8]>,
        payload: impl AsRef<[u8]>,
        params: QueryParams,
    ) -> Result<Answers, Error> {
        let (name, payload) = (name.as_ref().to_vec(), payload.as_ref().to_vec());
        self.call(move |core, now| {
            let operation = core.machine.query(now, &name, &payload, &params)?;
            Ok(core.collect(operation))
        })
        .await?
    }

    /// Answers a query, once, before its deadline; see [`crate::Notice::Query`].
    pub async fn respond(&self, id: RequestId, payload: impl AsRef<[u8]>) -> Result<(), Error> {
        let payload = payload.as_ref().to_vec();
        self.command(move |node, now| node.respond(now, id, &payload)).await
    }

    /// Has all nodes change or tell their keyrings, and waits until all have answered or the time for answers is over.
    /// [`KeyReport::failure`] says whether the next step of a rotation may be taken: install the new key, use it, remove
    /// the old one. To ask once more does no harm.
    pub async fn keys(&self, command: KeyCommand) -> Result<KeyReport, Error> {
        match self.operate(move |node, now| Ok(node.keys(now, &command, 0)?)).await? {
            Outcome::Keys(report) => Ok(report),
            _ => Err(Error::Closed),
        }
    }

    /// Like [`Cluster::join`], but user events from before are not delivered.
    pub async fn join_ignoring_old<S: AsRef<str>>(&self, targets: &[S]) -> Result<JoinReport, Error> {
        self.join_with(targets, |node, now, targets| node.join_ignoring_old(now, targets)).await
    }

    /// Where a member last said to be in the cluster's latency space, or this node is. `None` if it is not known, or
    /// coordinates are switched off here or there. [`gossip_proto::coordinate::distance`] of two estimates the round
    /// trip time between members that this node has never measured.
    pub async fn coordinate(&self, name: &Name) -> Option<Coordinate> {
        let name = name.clone();
        self.call(move |core, _| core.machine.coordinate_of(name.as_bytes())).await.ok().flatten()
    }

    /// The three Lamport clocks.
    pub async fn clocks(&self) -> Result<Clocks, Error> {
        self.call(|core, _| core.machine.clocks()).await
    }
}

impl Cluster<Membership> {
    /// Sends a user message to a member, in one datagram, best effort; there it is a [`crate::Notice::Message`]. Serf nodes have no
    /// such messages, they would take them for their own: between those, ask a query.
    pub async fn send(&self, to: &Name, payload: Bytes) -> Result<(), Error> {
        let to = to.clone();
        self.call(move |core, now| {
            let key = find(&core.machine, &to)?;
            Ok(core.machine.send(now, key, payload)?)
        })
        .await?
    }

    /// Sends a user message by stream, and waits until the stream has taken it over. `Ok` says that the connection stood, and
    /// that of the message at most the last 64 KiB were not yet handed to the system; what is left gets out within the stream's
    /// own time, and if the node is shut down at once, within [`Options::close_timeout`]. It does not say that the member
    /// has the message: a connection that breaks now takes along what was not delivered, and nobody is told.
    pub async fn send_reliable(&self, to: &Name, payload: Bytes) -> Result<(), Error> {
        let to = to.clone();
        match self
            .operate(move |machine, now| Ok(machine.send_reliable(now, find(machine, &to)?, payload)?))
            .await?
        {
            Outcome::Sent(Err(why)) => Err(Error::Send(why)),
            _ => Ok(()),
        }
    }

    /// Replaces this node's metadata, at most 512 bytes.
    pub async fn set_metadata(&self, metadata: Bytes) -> Result<bool, Error> {
        self.announce(move |node, now| node.set_metadata(now, metadata)).await
    }

    /// Gossips a user message to random members, as often as the size of the cluster asks for. In a large cluster that
    /// reaches only some: receivers to whom it is news must broadcast it again.
    pub async fn broadcast(&self, payload: Bytes) -> Result<bool, Error> {
        self.announce(move |node, now| node.broadcast(now, payload)).await
    }

    /// As [`Cluster::broadcast`]; what this node still has to send about the same subject is out of date, and displaced.
    pub async fn broadcast_about(&self, subject: impl AsRef<[u8]>, payload: Bytes) -> Result<bool, Error> {
        let subject = subject.as_ref().to_vec();
        self.announce(move |node, now| node.broadcast_about(now, &subject, payload)).await
    }

    /// Sets the user state that this node sends in each push/pull.
    pub async fn set_user_state(&self, state: Bytes) -> Result<(), Error> {
        self.command(move |machine, _| machine.set_user_state(state)).await
    }
}

impl<M> Clone for Cluster<M> {
    fn clone(&self) -> Self {
        Self {
            commands: self.commands.clone(),
            ended: self.ended.clone(),
            ending: self.ending.clone(),
            local_addr: self.local_addr,
            resolver: self.resolver.clone(),
            max_addresses: self.max_addresses,
            seeds: self.seeds.clone(),
        }
    }
}

impl<M> core::fmt::Debug for Cluster<M> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Cluster").field("local_addr", &self.local_addr).finish_non_exhaustive()
    }
}

fn find(machine: &impl Machine, name: &Name) -> Result<MemberKey, Error> {
    let member = machine.find(name.as_bytes());
    member.map(|member| member.key).ok_or_else(|| Error::UnknownMember(name.clone()))
}

fn exchange_error(written: &[(SocketAddr, String)], addr: SocketAddr, why: JoinErrorKind) -> JoinError {
    let target = written.iter().find(|(tried, _)| *tried == addr).map(|(_, text)| text.clone());
    JoinError { target: target.unwrap_or_else(|| addr.to_string()), why }
}
