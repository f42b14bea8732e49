//! What an agent is given to do: datagrams from a member that is this program.

use core::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use core::time::Duration;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::thread;
use std::time::Instant;

use gossip_proto::wire::compound::Packer;
use gossip_proto::wire::field::Raw;
use gossip_proto::wire::layers::Layers;
use gossip_proto::wire::message::{Ack, MessageType, Ping};
use gossip_proto::wire::packet::{Scratch, UnpackLimits, open, unpack};
use gossip_proto::wire::serf::{SerfType, UserEvent};

use super::program::{Agent, Process, TARGET};
use super::rpc::Client;
use crate::messages;

/// Work, and what it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    /// Datagrams in and out, or events.
    pub(super) done: u64,
    /// How long it took.
    pub(super) time: Duration,
    /// What the agent used of processors.
    pub(super) cpu: Duration,
}

impl Rate {
    /// How many in a second of a processor.
    pub(super) fn per_cpu_second(&self) -> f64 {
        self.done as f64 / self.cpu.as_secs_f64()
    }
}

/// A socket, and what was said so far.
#[derive(Debug)]
pub(super) struct Load {
    socket: UdpSocket,
    own: SocketAddrV4,
    target: SocketAddr,
    seq: u32,
    /// Lamport time of the last event.
    ltime: u64,
    scratch: Box<Scratch>,
    buf: Vec<u8>,
}

const NAME: &str = "load";
/// As Serf's agent announces them.
const VERSIONS: [u8; 6] = [1, 5, 2, 2, 5, 4];
/// The tag `role` of Serf, as metadata.
const METADATA: &[u8] = b"\xff\x81\xa4role\xa3web";
/// Events in one datagram, and datagrams that are sent at once. Two such bursts are under way, so that neither side waits for the
/// other: 128 events fit the smallest queue on their way.
const EVENTS: u64 = 8;
const BURST: u64 = 8;
/// Their payload, in bytes.
pub(super) const PAYLOAD: usize = 64;

impl Load {
    /// For who listens there.
    pub(super) fn new(target: SocketAddr) -> Result<Self, String> {
        let prepare = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(target)?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            Ok((socket.local_addr()?, socket))
        };
        let (SocketAddr::V4(own), socket) = prepare().map_err(|error: std::io::Error| error.to_string())?
        else {
            unreachable!("it is bound to IPv4")
        };
        let (scratch, buf) = (Box::new(Scratch::new()), vec![0; 65_536]);
        Ok(Self { socket, own, target, seq: 0, ltime: 1, scratch, buf })
    }

    /// Becomes a member of the agent's cluster.
    pub(super) fn join(&mut self, agent: &mut Agent) -> Result<(), String> {
        self.send(&[alive(NAME, self.own)])?;
        self.known(2, agent)
    }

    /// Tells of that many others. At their addresses, which are of loopback, is nobody.
    pub(super) fn tell_of(&mut self, others: usize, agent: &mut Agent) -> Result<(), String> {
        let messages: Vec<Vec<u8>> = (1..=others)
            .map(|number| {
                let [_, _, a, b] = u32::try_from(number).expect("few members").to_be_bytes();
                alive(&format!("node-{number:05}"), SocketAddrV4::new(Ipv4Addr::new(127, 1, a, b), 7946))
            })
            .collect();
        for some in messages.chunks(10) {
            self.send(some)?;
            // Slowly enough for any buffer.
            thread::sleep(Duration::from_micros(500));
        }
        self.known(others + 1, agent)
    }

    /// Until pings are answered.
    pub(super) fn wait(&mut self) -> Result<(), String> {
        for _ in 0..1000 {
            // Refused until somebody listens.
            if self.ping(0).is_ok() && self.receive().is_ok_and(|acks| acks.is_some()) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Err(format!("{}: nobody answers", self.target))
    }

    fn known(&self, members: usize, agent: &mut Agent) -> Result<(), String> {
        let start = Instant::now();
        loop {
            let known = agent.rpc.members()?;
            if known == members {
                return Ok(());
            }
            if start.elapsed() > Duration::from_secs(5) {
                return Err(format!("it knows {known} of {members} members"));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Pings, that many at a time. Counted are pings and acks.
    pub(super) fn pings(&mut self, process: &Process, at_once: u64, time: Duration) -> Result<Rate, String> {
        self.timed(process, time, |load| {
            let first = load.seq + 1;
            for _ in 0..at_once {
                load.seq += 1;
                load.ping(load.seq)?;
            }
            let mut missing = at_once;
            while missing > 0 {
                let acks = load.receive()?.ok_or_else(|| format!("{missing} acks do not come"))?;
                missing -= acks.iter().filter(|&&seq| seq >= first).count() as u64;
            }
            Ok(2 * at_once)
        })
    }

    /// User events, which the agent tells its RPC client.
    pub(super) fn events(&mut self, agent: &mut Agent, time: Duration) -> Result<Rate, String> {
        let mut rpc = Client::connect(agent.rpc.addr()?)?;
        rpc.stream_events()?;
        self.socket.set_nonblocking(true).map_err(|error| error.to_string())?;
        self.burst()?;
        self.timed(&agent.process, time, |load| {
            load.burst()?;
            for _ in 0..BURST * EVENTS {
                let name = rpc.event()?;
                if name != "deploy" {
                    return Err(format!("it tells of {name}"));
                }
            }
            // It probes this member, and gossips.
            while load.receive()?.is_some() {}
            Ok(BURST * EVENTS)
        })
    }

    fn timed(
        &mut self,
        process: &Process,
        time: Duration,
        mut once: impl FnMut(&mut Self) -> Result<u64, String>,
    ) -> Result<Rate, String> {
        // Once for memory that has to grow.
        once(self)?;
        let (start, cpu) = (Instant::now(), process.cpu()?);
        let mut done = 0;
        while start.elapsed() < time {
            done += once(self)?;
        }
        Ok(Rate { done, time: start.elapsed(), cpu: process.cpu()? - cpu })
    }

    fn burst(&mut self) -> Result<(), String> {
        for _ in 0..BURST {
            let events: Vec<Vec<u8>> = (0..EVENTS).map(|_| self.event()).collect();
            self.send(&events)?;
        }
        Ok(())
    }

    fn ping(&self, seq: u32) -> Result<(), String> {
        self.send(&[messages::ping(seq, TARGET, NAME, self.own)])
    }

    fn event(&mut self) -> Vec<u8> {
        self.ltime += 1;
        let event = UserEvent {
            ltime: self.ltime,
            name: b"deploy"[..].into(),
            payload: Raw::from(&[7; PAYLOAD][..]),
            coalesce: false,
        };
        let mut message = vec![MessageType::User.byte(), SerfType::UserEvent.byte()];
        event.encode(&mut message).expect("a vector has room");
        message
    }

    fn send(&self, messages: &[Vec<u8>]) -> Result<(), String> {
        let mut datagram = [0; 1400];
        let sent = match messages {
            [one] => self.socket.send(one),
            _ => {
                let mut packer = Packer::new(&mut datagram);
                messages.iter().for_each(|message| packer.push(message).expect("they fit"));
                let len = packer.finish();
                self.socket.send(&datagram[..len])
            }
        };
        sent.map(drop).map_err(|error| format!("{}: {error}", self.target))
    }

    /// One datagram, whose pings are answered; the numbers of the acks in it. `None` if there is no datagram.
    fn receive(&mut self) -> Result<Option<Vec<u32>>, String> {
        let len = match self.socket.recv(&mut self.buf) {
            Ok(len) => len,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return Ok(None);
            }
            Err(error) => return Err(format!("{}: {error}", self.target)),
        };
        let body =
            open(&Layers::default(), &mut self.buf[..len]).map_err(|error| format!("it sends: {error}"))?;
        let (mut acks, mut answers) = (Vec::new(), Vec::new());
        unpack(body, &mut self.scratch, &UnpackLimits::default(), &mut |message| {
            let Some((&kind, fields)) = message.split_first() else { return };
            match MessageType::from_byte(kind) {
                Some(MessageType::Ack) => acks.extend(Ack::decode(fields).map(|(ack, _)| ack.seq)),
                Some(MessageType::Ping) => answers.extend(Ping::decode(fields).map(|(ping, _)| ping.seq)),
                _ => {}
            }
        });
        for seq in answers {
            self.send(&[messages::ack(seq)])?;
        }
        Ok(Some(acks))
    }
}

/// Answers pings until it is killed, and does nothing else: the least that a datagram costs.
///
/// # Errors
/// The address cannot be had.
pub(super) fn answer(addr: SocketAddr) -> Result<(), String> {
    let socket = UdpSocket::bind(addr).map_err(|error| format!("{addr}: {error}"))?;
    let mut buf = [0; 2048];
    loop {
        let (len, from) = socket.recv_from(&mut buf).map_err(|error| error.to_string())?;
        let Some((_, Ok((ping, _)))) =
            buf[..len].split_first().map(|(kind, body)| (kind, Ping::decode(body)))
        else {
            continue;
        };
        socket.send_to(&messages::ack(ping.seq), from).map_err(|error| error.to_string())?;
    }
}

fn alive(name: &str, addr: SocketAddrV4) -> Vec<u8> {
    messages::alive(name, addr, 1, Raw::from(METADATA), VERSIONS)
}
