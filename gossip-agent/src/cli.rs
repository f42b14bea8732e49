//! The command line.

use core::time::Duration;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use transport_tokio::RecordingOptions;

use crate::argv;
use crate::client;
use crate::config::{Layer, Problem, parse_duration};

/// Gossip membership, failure detection and events, compatible with HashiCorp Serf and memberlist.
///
/// Flags may be written as Go programs take them: -node x, -node=x, --node x and --node=x are the same.
#[derive(Debug, Parser)]
#[command(name = "gossip", version, propagate_version = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node of a cluster until it is told to leave.
    Agent(Box<AgentArgs>),
    /// Watch a small cluster live through a day: joining, an event, a crash, a return, a farewell.
    Demo(DemoArgs),
    #[command(flatten)]
    Client(client::Command),
    /// Make a key for --encrypt: 32 random bytes in base64.
    Keygen,
    /// Print the version, and the Serf protocols that are understood.
    Version,
}

/// What `gossip agent` can be told; the names are Serf's.
#[derive(Args, Clone, Debug, Default)]
// As with Go, the last value of a flag counts.
#[command(after_long_help = AGENT_HELP, args_override_self = true)]
pub(crate) struct AgentArgs {
    /// Name of this node, unique in the cluster [default: the host name]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Address to listen on, UDP and TCP; port 0 takes a free one [default: 0.0.0.0:7946]
    #[arg(long, value_name = "HOST[:PORT]")]
    bind: Option<String>,
    /// Network interface to listen on: its first address that is not link-local; --bind may name another one of its
    /// addresses
    #[arg(long, value_name = "NAME")]
    iface: Option<String>,
    /// Address that others are told to use [default: the bound one; for 0.0.0.0 a private one of this machine]
    #[arg(long, value_name = "HOST[:PORT]")]
    advertise: Option<String>,
    /// Member to join at the start; if none can be joined, the agent ends (repeatable). Its port is this node's own where
    /// none is written
    #[arg(long, value_name = "[NAME/]HOST[:PORT]")]
    join: Vec<String>,
    /// Member to join in the background, tried again until it works (repeatable)
    #[arg(long, value_name = "[NAME/]HOST[:PORT]")]
    retry_join: Vec<String>,
    /// Time between attempts of --retry-join, such as 30s or 1m30s; at least 1s [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    retry_interval: Option<Duration>,
    /// End after this many further attempts of --retry-join; 0 is never [default: 0]
    #[arg(long, value_name = "N")]
    retry_max: Option<u32>,
    /// Find the members of the cluster of this name on the local network by multicast DNS, and join them
    #[arg(long, value_name = "NAME")]
    discover: Option<String>,
    /// Network interface for --discover [default: that of --iface, else all]
    #[arg(long, value_name = "NAME")]
    mdns_iface: Option<String>,
    /// Do not use IPv4 for --discover
    #[arg(long)]
    mdns_disable_ipv4: bool,
    /// Do not use IPv6 for --discover
    #[arg(long)]
    mdns_disable_ipv6: bool,
    /// Also deliver the user events that happened before the join
    #[arg(long)]
    replay: bool,
    /// Tag that members see of this node (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    tag: Vec<String>,
    /// Keep the tags in this file, so that they survive a restart: what is set at run time, too. The agent's user
    /// must be able to write to its directory, and the file must not be mounted by itself. Not together with --tag
    #[arg(long, value_name = "FILE")]
    tags_file: Option<String>,
    /// Keep whom this node knows and what it has seen in this file, and go on from there after a restart; Serf's own
    /// format
    #[arg(long, value_name = "FILE")]
    snapshot: Option<String>,
    /// Rejoin from the snapshot also after this node had left
    #[arg(long)]
    rejoin: bool,
    /// Record everything this node is told in this file, to be played again (gossip_proto::Playback): no keys, but
    /// names, tags and payloads. One that is there is kept as FILE.old
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<String>,
    /// End the recording when the file has this many bytes, such as 500M or 2G; at least 64K [default: 256M]
    #[arg(long, value_name = "BYTES", value_parser = size, requires = "record")]
    pub(crate) record_limit: Option<u64>,
    /// Deprecated: --tag role=ROLE
    #[arg(long, hide = true)]
    role: Option<String>,
    /// Encrypt with this base64 key of 16, 24 or 32 bytes; see `gossip keygen`
    #[arg(long, value_name = "KEY")]
    encrypt: Option<String>,
    /// Encrypt with the keys in this file: a JSON array of base64 strings, the primary first. It follows when keys are
    /// installed, used and removed, for which the agent's user must be able to write to its directory, and the file must not
    /// be mounted by itself
    #[arg(long, value_name = "FILE")]
    keyring_file: Option<String>,
    /// What carries the gossip: udp (with TCP for streams), or quic, which encrypts and authenticates everything and needs
    /// --tls-cert, --tls-key and --tls-ca. All nodes of a cluster use the same [default: udp]
    #[arg(long, value_name = "WHICH")]
    transport: Option<String>,
    /// This node's certificate, a PEM file. With --transport udp it puts TLS on TCP, which hides and authenticates streams
    /// only: datagrams need a key. All nodes of a cluster have it, or none. SIGHUP reads the files again
    #[arg(long, value_name = "FILE")]
    tls_cert: Option<String>,
    /// The certificate's private key, a PEM file
    #[arg(long, value_name = "FILE")]
    tls_key: Option<String>,
    /// Certificates of the authorities that sign the members' certificates, a PEM file
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<String>,
    /// Label of the cluster: packets with another one are dropped; at most 255 bytes
    #[arg(long, value_name = "TEXT")]
    label: Option<String>,
    /// Timing for a network: lan, wan or local [default: lan]
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// Serf protocol version, 2 to 5 [default: 5]
    #[arg(long, value_name = "N")]
    protocol: Option<u8>,
    /// What is compressed when sent: off, streams or all [default: streams]
    #[arg(long, value_name = "WHAT")]
    compression: Option<String>,
    /// The same as --compression off
    #[arg(long, hide = true)]
    disable_compression: bool,
    /// How long an event or a farewell may take to get out [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    broadcast_timeout: Option<Duration>,
    /// Run this script for each event that passes the filter, see below (repeatable)
    #[arg(long, value_name = "[FILTER=]SCRIPT")]
    event_handler: Vec<String>,
    /// After this time a script is ended, with all processes of its group [default: 5m]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    event_handler_timeout: Option<Duration>,
    /// Answer HTTP requests for /metrics at this address with figures for Prometheus; the port is 9373 where none is
    /// written. Whoever reaches it can read them
    #[arg(long, value_name = "HOST[:PORT]")]
    metrics: Option<String>,
    /// TRACE, DEBUG, INFO, WARN or ERR [default: INFO]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Address where commands such as `gossip members` reach this agent; off for none [default: 127.0.0.1:7373]
    #[arg(long, value_name = "HOST[:PORT]")]
    rpc_addr: Option<String>,
    /// JSON file with Serf's configuration keys, or a directory of .json files; the command line goes over it
    /// (repeatable, later ones go over earlier ones)
    #[arg(long, value_name = "PATH", alias = "config-dir")]
    pub(crate) config_file: Vec<PathBuf>,
    /// Print what happens to standard output, one JSON object per line
    #[arg(long, value_name = "FORMAT")]
    pub(crate) events: Option<EventFormat>,
    /// Take commands from standard input, one JSON object per line
    #[arg(long)]
    pub(crate) stdin: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EventFormat {
    Json,
}

/// What `gossip demo` can be told.
#[derive(Args, Clone, Debug)]
pub(crate) struct DemoArgs {
    /// How many nodes take part
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(3..=50))]
    pub(crate) nodes: u8,
    /// How fast time goes: 2 halves every timer and pause, 0.5 doubles them
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = speed)]
    pub(crate) speed: f64,
    /// What carries the gossip; quic makes an authority and certificates for the occasion
    #[arg(long, value_name = "WHICH", default_value = "udp")]
    pub(crate) transport: DemoTransport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DemoTransport {
    Udp,
    Quic,
}

impl AgentArgs {
    /// What the command line sets, to go over the files.
    pub(crate) fn layer(&self) -> Result<Layer, Problem> {
        let given = self.clone();
        let mut layer = Layer {
            node_name: given.node,
            role: given.role,
            bind: given.bind,
            advertise: given.advertise,
            encrypt_key: given.encrypt,
            keyring_file: given.keyring_file,
            transport: given.transport,
            tls_cert: given.tls_cert,
            tls_key: given.tls_key,
            tls_ca: given.tls_ca,
            tags_file: given.tags_file,
            snapshot_path: given.snapshot,
            rejoin_after_leave: given.rejoin,
            label: given.label,
            log_level: given.log_level,
            rpc_addr: given.rpc_addr,
            interface: given.iface,
            discover: given.discover,
            mdns_interface: given.mdns_iface,
            mdns_disable_ipv4: given.mdns_disable_ipv4,
            mdns_disable_ipv6: given.mdns_disable_ipv6,
            metrics_addr: given.metrics,
            profile: given.profile,
            compression: given.compression,
            protocol: given.protocol,
            retry_max_attempts: given.retry_max,
            retry_interval: given.retry_interval,
            broadcast_timeout: given.broadcast_timeout,
            start_join: given.join,
            retry_join: given.retry_join,
            event_handlers: given.event_handler,
            event_handler_timeout: given.event_handler_timeout,
            replay_on_join: given.replay,
            ..Layer::default()
        };
        if given.disable_compression {
            layer.compression = Some("off".into());
        }
        for tag in &given.tag {
            let (key, value) = parse_tag(tag)?;
            layer.tags.insert(key, value);
        }
        Ok(layer)
    }
}

/// Reads `key=value`, split at the first equals sign.
fn parse_tag(text: &str) -> Result<(String, String), Problem> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err(Problem::new(format!("Invalid tag: '{text}'; write --tag key=value"))),
    }
}

/// Reads the arguments. What it cannot read has been told to the user; the exit code is Serf's, 1.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Command, ExitCode> {
    let mut command = Cli::command();
    let arguments = argv::normalize(&command, arguments).map_err(|problem| fail(&problem))?;
    let parsed =
        command.try_get_matches_from_mut(arguments).and_then(|matches| Cli::from_arg_matches(&matches));
    match parsed {
        Ok(cli) => Ok(cli.command),
        Err(error) if error.kind() == ErrorKind::DisplayVersion => Err(version()),
        Err(error) => {
            let code = if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
            // Nothing can be told where nobody listens.
            let _ = error.print();
            Err(code)
        }
    }
}

/// Tells why the command cannot be carried out.
pub(crate) fn fail(problem: &dyn core::fmt::Display) -> ExitCode {
    let style = clap::builder::Styles::styled().get_error().to_owned();
    // Where nobody listens the exit code still tells.
    let _ = writeln!(anstream::stderr(), "{style}error:{style:#} {problem}");
    ExitCode::FAILURE
}

/// Prints a line. Where that cannot be done the process ends: silently if its reader has gone, such as `head`.
pub(crate) fn print(line: core::fmt::Arguments<'_>) {
    let mut stdout = anstream::stdout();
    if let Err(error) = writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        if error.kind() != std::io::ErrorKind::BrokenPipe {
            fail(&format!("standard output cannot be written: {error}"));
        }
        std::process::exit(1);
    }
}

/// Prints the version in the form of Serf's.
pub(crate) fn version() -> ExitCode {
    use transport_tokio::gossip_proto::config::SERF_PROTOCOLS;

    let (min, max) = SERF_PROTOCOLS;
    print(format_args!("gossip v{}", env!("CARGO_PKG_VERSION")));
    print(format_args!("Agent Protocol: {max} (Understands back to: {min})"));
    ExitCode::SUCCESS
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|why| format!("{why}; write it as 30s or 1h2m3.5s"))
}

/// Go's `strconv.ParseBool`.
pub(crate) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("write true or false".into()),
    }
}

/// Bytes, in units of 1,024 where a letter says so.
fn size(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let bytes = digits.parse().ok().and_then(|count: u64| count.checked_mul(1 << shift));
    match bytes {
        Some(bytes) if bytes >= RecordingOptions::MIN_LIMIT => Ok(bytes),
        Some(_) => Err("it must be 64K at the least".into()),
        None => Err("write a number of bytes, or one with K, M or G, such as 500M".into()),
    }
}

fn speed(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|_| String::from("it is not a number"))?;
    if (0.1..=4.0).contains(&factor) { Ok(factor) } else { Err("it must be from 0.1 to 4".into()) }
}

const AGENT_HELP: &str = "\
Signals:
  INT   leaves the cluster and ends with 0; with skip_leave_on_interrupt ends at once with 1
  TERM  ends at once with 1, a failure to the others; with leave_on_terminate leaves
  HUP   reads the configuration again: log level, event handlers and configured tags change;
        tags that were set at run time stay
  USR1  prints the figures that --metrics shows to standard error
  A second signal, or a farewell that takes more than twice the broadcast timeout, ends with 1.

Event handlers (--event-handler [FILTER=]SCRIPT): the script is run by /bin/sh -c, once for each
event, one after the other; other handlers and the node do not wait for it. FILTER is a list,
without spaces, of
  member-join member-leave member-failed member-update member-reap user user:<name>
  query query:<name> *
and * where it is missing; a script with an equals sign in it needs one.
  Environment     SERF_EVENT (such as member-join, user or query), SERF_SELF_NAME, SERF_SELF_ROLE,
                  SERF_TAG_<NAME> for each tag of this node; SERF_USER_EVENT, SERF_USER_LTIME;
                  SERF_QUERY_NAME, SERF_QUERY_LTIME
  Standard input  of member events a line per member, with tabs between: name, address, role,
                  tag=value,...; of user events and queries the payload
  What it writes to standard output answers a query, if it ends with 0. Of its output the last
  8 KiB are kept; what it writes to standard error goes to the log alone. Bursts are folded, as
  in Serf: members for up to 3 seconds, user events of one name too if they allow it. A handler
  that falls more than 512 events behind loses those that come then, with a warning.

Events (--events json): one object per line on standard output. Its `type` is one of
  ready        the node runs: name, addr, bind, encrypted, members, metrics and rpc (where
               they are)
  member       change: joined, updated, suspected, refuted, failed, left or reaped;
               event: Serf's name of it, where it has one;
               name, addr, tags, status, incarnation, local;
               cause: kind, text, and what belongs to the kind
  user         a user event: ltime, name, payload, coalesce
  query        a query: request (to respond to), ltime, name, payload, from
  conflict     two nodes use one name: name, known, claimed
  stalled      this process did not run for late_ms
  roster-full  a member was not admitted
  lagged       lost: how many events were not printed
  done, error, members, stats, ping, coordinate, rtt, keys, ack, response
               answers to commands
  end          the last line: reason
  Each has `time` (UTC). Bytes that are not UTF-8 stand in base64 under the name with
  `_base64` appended. New types and fields may be added.

Commands (--stdin): one object per line on standard input. An `id` in it is repeated in
the answer.
They run side by side: give one that shall follow another after the other's answer.
  {\"event\": \"name\", \"payload\": \"text\", \"coalesce\": true}
                                  sends a user event (or payload_base64)
  {\"query\": \"name\", \"payload\": \"text\", \"nodes\": [\"a\"], \"tags\": {\"role\": \"^web\"},
   \"ack\": true, \"relay_factor\": 0, \"timeout_ms\": 0, \"everybody_answers\": false}
                                  asks a query of those members; all fields but the first may
                                  be missing. Prints a line for each `ack` (from) and `response`
                                  (from, payload), and at the end how many. everybody_answers:
                                  who is silent is asked again
  {\"respond\": 17, \"payload\": \"text\"}
                                  answers the query with that `request`, once
  {\"tags\": {\"key\": \"value\"}}       replaces this node's tags
  {\"join\": [\"host:port\"]}         joins more members
  {\"force_leave\": \"name\", \"prune\": false}
                                  makes a failed member leave
  {\"ping\": \"name\"}                measures the round trip time
  {\"rtt\": [\"name\", \"other\"]}      estimates it, between any two members (or one and
                                  this node), from their network coordinates
  {\"coordinate\": \"name\"}          shows a member's network coordinate
  {\"keys\": \"list\"}                shows the keys of all members; or install, use or
                                  remove, with the key in base64 as `key`
  {\"members\": true}   {\"stats\": true}   {\"leave\": true}";

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(line: &str) -> AgentArgs {
        let arguments: Vec<OsString> = line.split(' ').map(Into::into).collect();
        match parse(&arguments) {
            Ok(Command::Agent(arguments)) => *arguments,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_parser_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_become_a_layer() {
        let layer = agent(
            "gossip agent -node m -node n -bind 127.0.0.1:0 -advertise=10.0.0.1 -join a -join b --retry-join c -tag role=web \
             -tag x=y=z -encrypt k -label blue -profile wan -protocol 4 -log-level debug -retry-interval 1m30s \
             -retry-max 2 -replay -compression all"
                .replace("  ", " ")
                .as_str(),
        )
        .layer()
        .unwrap();
        assert_eq!(layer.node_name.as_deref(), Some("n"));
        assert_eq!(layer.start_join, ["a", "b"]);
        assert_eq!(layer.retry_join, ["c"]);
        assert_eq!(layer.tags["role"], "web");
        assert_eq!(layer.tags["x"], "y=z");
        assert_eq!(layer.retry_interval, Some(Duration::from_secs(90)));
        assert_eq!(layer.retry_max_attempts, Some(2));
        assert_eq!(layer.protocol, Some(4));
        assert_eq!(layer.compression.as_deref(), Some("all"));
        assert!(layer.replay_on_join);
    }

    #[test]
    fn a_tag_needs_a_key_and_a_value() {
        for text in ["novalue", "=x", ""] {
            let problem = parse_tag(text).unwrap_err().to_string();
            assert!(problem.starts_with(&format!("Invalid tag: '{text}'; ")), "{problem}");
        }
        assert_eq!(parse_tag("k=").unwrap(), ("k".into(), String::new()));
    }
}
