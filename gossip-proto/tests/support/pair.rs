//! Machines joined by memory, under a virtual clock: drives them by the rules of the contract.

use core::net::SocketAddr;
use core::time::Duration;
use gossip_proto::*;
use std::collections::VecDeque;

/// What a driver would hand to the application, by value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Note {
    Change {
        name: String,
        kind: ChangeKind,
        cause: Cause,
    },
    Done {
        operation: OperationId,
        outcome: Outcome,
    },
    Message {
        from: SocketAddr,
        reliable: bool,
        payload: Vec<u8>,
    },
    UserState {
        join: bool,
        state: Vec<u8>,
    },
    Conflict {
        name: String,
        known: SocketAddr,
        claimed: SocketAddr,
    },
    MergeRequested {
        id: RequestId,
        members: usize,
        deadline: Instant,
    },
    /// What names the query, and all of it.
    Query(RequestId, String),
    Stalled(Duration),
    RosterFull,
    Lagged(u64),
    Other(String),
}

/// A machine and what came out of it.
#[derive(Debug)]
pub(crate) struct Host<M> {
    pub(crate) machine: M,
    pub(crate) addr: SocketAddr,
    pub(crate) notes: Vec<Note>,
    /// A host that is down neither sends nor receives, nor do its timers fire.
    pub(crate) down: bool,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    host: usize,
    id: StreamId,
}

#[derive(Debug)]
struct Pipe {
    ends: [End; 2],
    /// Bytes on the way to each end; what the reader did not take stays in front.
    data: [VecDeque<u8>; 2],
    /// No more will be written towards that end: `(fin said, fin handed over)`.
    fin: [(bool, bool); 2],
    open: [bool; 2],
}

#[derive(Debug)]
struct Flight {
    at: Instant,
    serial: u64,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

/// What became of a datagram when it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Deliver,
    Lose,
}

type Rule = Box<dyn FnMut(SocketAddr, SocketAddr, &[u8]) -> Fate>;

/// The virtual network.
pub(crate) struct Net<M> {
    pub(crate) now: Instant,
    pub(crate) hosts: Vec<Host<M>>,
    /// One way, for datagrams.
    pub(crate) latency: Duration,
    /// Connections to these are refused.
    pub(crate) no_streams: Vec<SocketAddr>,
    /// Connections to these are accepted by nobody and never answered.
    pub(crate) black_holes: Vec<SocketAddr>,
    /// Largest piece in which stream bytes are handed over.
    pub(crate) chunk: usize,
    /// Every datagram sent: from, to, bytes.
    pub(crate) log: Vec<(Instant, SocketAddr, SocketAddr, Vec<u8>)>,
    /// Every piece written to a stream: by whom, its id there, bytes, and whether nothing follows.
    pub(crate) stream_log: Vec<(SocketAddr, StreamId, Vec<u8>, bool)>,
    fate: Option<Rule>,
    flights: Vec<Flight>,
    serial: u64,
    pipes: Vec<Pipe>,
}

impl<M: Machine> Net<M> {
    pub(crate) fn new(machines: impl IntoIterator<Item = M>) -> Self {
        let hosts = machines.into_iter().map(|machine| {
            let addr = machine.local().addr;
            Host { machine, addr, notes: Vec::new(), down: false }
        });
        Self {
            now: Instant::ORIGIN,
            hosts: hosts.collect(),
            latency: Duration::from_millis(1),
            no_streams: Vec::new(),
            black_holes: Vec::new(),
            chunk: 64 * 1024,
            log: Vec::new(),
            stream_log: Vec::new(),
            fate: None,
            flights: Vec::new(),
            serial: 0,
            pipes: Vec::new(),
        }
    }

    /// Decides over every datagram from now on.
    pub(crate) fn fate(&mut self, rule: impl FnMut(SocketAddr, SocketAddr, &[u8]) -> Fate + 'static) {
        self.fate = Some(Box::new(rule));
    }

    pub(crate) fn host(&mut self, index: usize) -> &mut Host<M> {
        &mut self.hosts[index]
    }

    /// Puts a datagram on the wire, from anywhere.
    pub(crate) fn inject(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.serial += 1;
        let at = self.now + self.latency;
        self.flights.push(Flight { at, serial: self.serial, from, to, bytes });
    }

    /// Runs until `until`, everything that is due then included.
    pub(crate) fn run_until(&mut self, until: Instant) {
        self.settle();
        while let Some(at) = self.next().filter(|&at| at <= until) {
            self.now = at.max(self.now);
            self.deliver();
            self.settle();
            self.fire();
            self.settle();
        }
        self.now = until;
    }

    pub(crate) fn run_for(&mut self, span: Duration) {
        self.run_until(self.now + span);
    }

    pub(crate) fn run_ms(&mut self, millis: u64) {
        self.run_for(Duration::from_millis(millis));
    }

    /// Runs until `done` says so, at most for a span; fails the test otherwise.
    pub(crate) fn run_while(&mut self, at_most: Duration, mut goes_on: impl FnMut(&mut Self) -> bool) {
        let end = self.now + at_most;
        self.settle();
        while goes_on(self) {
            let next = self.next().filter(|&at| at <= end);
            let at = next.unwrap_or_else(|| panic!("not within {at_most:?}"));
            self.run_until(at.max(self.now));
        }
    }

    /// Takes what a host has told its application.
    pub(crate) fn notes(&mut self, host: usize) -> Vec<Note> {
        core::mem::take(&mut self.hosts[host].notes)
    }

    /// Kinds of changes of one member that a host has told since the notes were taken last.
    pub(crate) fn changes(&mut self, host: usize, of: &str) -> Vec<ChangeKind> {
        let told = |note: Note| match note {
            Note::Change { name, kind, .. } if name == of => Some(kind),
            _ => None,
        };
        self.notes(host).into_iter().filter_map(told).collect()
    }

    /// How an operation ended, if it has.
    pub(crate) fn outcome(&self, host: usize, of: OperationId) -> Option<&Outcome> {
        self.hosts[host].notes.iter().find_map(|note| match note {
            Note::Done { operation, outcome } if *operation == of => Some(outcome),
            _ => None,
        })
    }

    /// Status of a member as a host sees it.
    pub(crate) fn status(&self, host: usize, of: &str) -> Option<Status> {
        self.hosts[host].machine.find(of.as_bytes()).map(|member| member.status)
    }

    /// Joins `host` through `through` and runs until that is over.
    pub(crate) fn join(&mut self, host: usize, through: usize) -> Outcome {
        let (now, to) = (self.now, self.hosts[through].addr);
        let operation = self.hosts[host].machine.join(now, &[to.into()]).expect("a join");
        self.run_while(Duration::from_secs(60), |net| net.outcome(host, operation).is_none());
        self.outcome(host, operation).expect("an outcome").clone()
    }

    /// When something happens next.
    fn next(&self) -> Option<Instant> {
        let timers =
            self.hosts.iter().filter(|host| !host.down).filter_map(|host| host.machine.poll_timeout());
        timers.chain(self.flights.iter().map(|flight| flight.at)).min()
    }

    fn deliver(&mut self) {
        // In order of arrival, then of sending.
        self.flights.sort_by_key(|flight| (flight.at, flight.serial));
        let due = self.flights.partition_point(|flight| flight.at <= self.now);
        for mut flight in self.flights.drain(..due).collect::<Vec<_>>() {
            let Some(host) = self.hosts.iter_mut().find(|host| host.addr == flight.to && !host.down) else {
                continue;
            };
            let source = Source::unauthenticated(flight.from);
            let _ = host.machine.handle_datagram(self.now, source, &mut flight.bytes);
        }
    }

    fn fire(&mut self) {
        for host in self.hosts.iter_mut().filter(|host| !host.down) {
            let mut calls = 0;
            while host.machine.poll_timeout().is_some_and(|at| at <= self.now) {
                host.machine.handle_timeout(self.now);
                calls += 1;
                assert!(calls < 100_000, "never settles");
            }
        }
    }

    /// Drains all machines until nothing is left to do at this instant.
    pub(crate) fn settle(&mut self) {
        let mut rounds = 0;
        loop {
            let mut busy = false;
            for host in 0..self.hosts.len() {
                busy |= self.transmits(host);
                busy |= self.streams(host);
                self.outputs(host);
            }
            busy |= self.pump();
            if !busy {
                return;
            }
            rounds += 1;
            assert!(rounds < 100_000, "never settles");
        }
    }

    fn transmits(&mut self, index: usize) -> bool {
        let mut buf = [0; 65_536];
        let mut any = false;
        loop {
            let host = &mut self.hosts[index];
            let size = host.machine.config().datagram_size();
            let Some(transmit) = host.machine.poll_transmit(self.now, &mut buf[..size]) else { return any };
            any = true;
            assert!((1..=size).contains(&transmit.len), "a datagram of {} bytes", transmit.len);
            let (from, to, bytes) = (host.addr, transmit.to, buf[..transmit.len].to_vec());
            if host.down {
                continue;
            }
            self.log.push((self.now, from, to, bytes.clone()));
            match self.fate.as_mut().map_or(Fate::Deliver, |rule| rule(from, to, &bytes)) {
                Fate::Deliver => self.inject(from, to, bytes),
                Fate::Lose => {}
            }
        }
    }

    fn streams(&mut self, index: usize) -> bool {
        let mut any = false;
        while let Some(action) = self.hosts[index].machine.poll_stream() {
            any = true;
            match action {
                StreamAction::Open { id, to, .. } => self.connect(index, id, to),
                StreamAction::Writable { id } => self.write(End { host: index, id }),
                StreamAction::Close { id } => self.close(End { host: index, id }),
            }
        }
        any
    }

    fn connect(&mut self, index: usize, id: StreamId, to: SocketAddr) {
        if self.black_holes.contains(&to) {
            return;
        }
        let now = self.now;
        let source = Source::unauthenticated(self.hosts[index].addr);
        let peer = self.hosts.iter().position(|host| host.addr == to && !host.down);
        let peer = peer.filter(|_| !self.no_streams.contains(&to));
        let accepted =
            peer.and_then(|peer| Some((peer, self.hosts[peer].machine.accept_stream(now, source).ok()?)));
        let Some((peer, accepted)) = accepted else {
            return self.hosts[index].machine.handle_stream_failed(now, id, StreamFailure::Unreachable);
        };
        self.pipes.push(Pipe {
            ends: [End { host: index, id }, End { host: peer, id: accepted }],
            data: Default::default(),
            fin: Default::default(),
            open: [true; 2],
        });
        self.hosts[index].machine.handle_stream_opened(now, id);
    }

    fn write(&mut self, end: End) {
        let mut buf = [0; 4096];
        loop {
            let written = self.hosts[end.host].machine.poll_stream_data(self.now, end.id, &mut buf);
            let piece = buf[..written.len].to_vec();
            self.stream_log.push((self.hosts[end.host].addr, end.id, piece, written.fin));
            let Some((pipe, side)) = self.pipe(end) else { return };
            let other = 1 - side;
            pipe.data[other].extend(&buf[..written.len]);
            pipe.fin[other].0 |= written.fin;
            if written.len == 0 || written.fin {
                return;
            }
        }
    }

    fn close(&mut self, end: End) {
        if let Some((pipe, side)) = self.pipe(end) {
            pipe.open[side] = false;
            pipe.fin[1 - side].0 = true;
        }
    }

    fn pipe(&mut self, end: End) -> Option<(&mut Pipe, usize)> {
        self.pipes.iter_mut().find_map(|pipe| {
            let side = pipe.ends.iter().position(|&other| other == end)?;
            pipe.open[side].then_some((pipe, side))
        })
    }

    /// Moves stream bytes, one piece per connection and direction.
    fn pump(&mut self) -> bool {
        let mut any = false;
        for index in 0..self.pipes.len() {
            for side in 0..2 {
                let pipe = &mut self.pipes[index];
                let len = pipe.data[side].len().min(self.chunk);
                let fin = pipe.fin[side].0 && len == pipe.data[side].len();
                if !pipe.open[side] || (len == 0 && (!fin || pipe.fin[side].1)) {
                    continue;
                }
                let piece: Vec<u8> = pipe.data[side].iter().copied().take(len).collect();
                let end = pipe.ends[side];
                if self.hosts[end.host].down {
                    continue;
                }
                let taken = self.hosts[end.host].machine.handle_stream_data(self.now, end.id, &piece, fin);
                let pipe = &mut self.pipes[index];
                match taken {
                    Ok(taken) => {
                        pipe.data[side].drain(..taken);
                        pipe.fin[side].1 |= fin && taken == len;
                        any |= taken > 0 || fin && taken == len;
                    }
                    Err(_) => {
                        pipe.data[side].clear();
                        pipe.fin[side].1 = true;
                        any = true;
                    }
                }
            }
        }
        self.pipes.retain(|pipe| pipe.open != [false; 2]);
        any
    }

    fn outputs(&mut self, index: usize) {
        let Host { machine, notes, .. } = &mut self.hosts[index];
        while let Some(MembershipChange { key, kind, cause, .. }) = machine.poll_membership() {
            let member = machine.member(key).expect("a member that changed can be looked at");
            notes.push(Note::Change { name: member.name.to_string(), kind, cause });
        }
        while let Some((operation, outcome)) = machine.poll_completion().and_then(Completion::ended) {
            notes.push(Note::Done { operation, outcome });
        }
        while let Some(event) = machine.poll_event() {
            notes.push(match event {
                Event::Message { from, reliable, payload } => {
                    Note::Message { from: from.addr, reliable, payload: payload.to_vec() }
                }
                Event::UserState { join, state, .. } => Note::UserState { join, state: state.to_vec() },
                Event::Conflict { name, known, claimed } => {
                    Note::Conflict { name: String::from_utf8_lossy(name).into_owned(), known, claimed }
                }
                Event::MergeRequested { id, members, deadline, .. } => {
                    Note::MergeRequested { id, members, deadline }
                }
                ref query @ Event::Query { id, .. } => Note::Query(id, format!("{query:?}")),
                Event::Stalled { late } => Note::Stalled(late),
                Event::RosterFull => Note::RosterFull,
                Event::Lagged { lost } => Note::Lagged(lost),
                other => Note::Other(format!("{other:?}")),
            });
        }
    }
}
