//! Errors of the contract. Each says by whose fault it is and whether state changed.

use core::fmt;

pub use crate::wire::keyring::KeyringError;
pub use crate::wire::packet::PacketError;

macro_rules! display {
    ($type:ident { $($variant:pat => $text:expr,)* }) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                #[allow(clippy::pattern_type_mismatch)]
                match self { $($variant => f.write_fmt($text),)* }
            }
        }
        impl core::error::Error for $type {}
    };
}

/// A configuration that cannot be run. The user's fault; nothing was started.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The node name is empty: such nodes cannot be told apart.
    EmptyName,
    /// Name longer than what fits a datagram together with its fixed overhead.
    NameTooLong {
        /// Its length in bytes.
        len: usize,
        /// The most that is allowed.
        max: usize,
    },
    /// Label longer than 255 bytes (spec 1.5).
    LabelTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Metadata over 512 bytes (spec 1.11); for a node this is the encoded tags.
    MetadataTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// A key that is not 16, 24 or 32 bytes long (spec 1.6).
    KeyLength {
        /// Its length in bytes.
        len: usize,
    },
    /// A protocol version outside the range this implementation speaks.
    ProtocolVersion {
        /// The version asked for.
        version: u8,
        /// The lowest.
        min: u8,
        /// The highest.
        max: u8,
    },
    /// A number outside its range.
    OutOfRange {
        /// The parameter.
        parameter: &'static str,
        /// What is allowed.
        allowed: &'static str,
    },
    /// The advertised address cannot be reached by anybody (unspecified, or port 0).
    AdvertiseAddress,
    /// The local node itself is excluded by the CIDR list (spec 4.2).
    ExcludedByCidrs,
    /// The local node itself breaks an admission rule.
    ExcludedByAdmission,
}

display! { ConfigError {
    Self::EmptyName => format_args!("the node name is empty; give each node a name of its own"),
    Self::NameTooLong { len, max } => format_args!("the node name has {len} bytes; at most {max} are possible"),
    Self::LabelTooLong { len } => format_args!("the label has {len} bytes; at most 255 are allowed"),
    Self::MetadataTooLong { len } => format_args!("Encoded length of tags exceeds limit of 512 bytes: {len} bytes; use fewer or shorter tags"),
    Self::KeyLength { len } => format_args!("key size must be 16, 24 or 32 bytes, not {len}"),
    Self::ProtocolVersion { version, min, max } => format_args!("protocol version {version} is not supported; must be in range: [{min}, {max}]"),
    Self::OutOfRange { parameter, allowed } => format_args!("{parameter} is out of range; allowed: {allowed}"),
    Self::AdvertiseAddress => format_args!("the advertised address is unspecified or has port 0; give one that other nodes can reach"),
    Self::ExcludedByCidrs => format_args!("the node's own address is not in the list of allowed networks; add it"),
    Self::ExcludedByAdmission => format_args!("the node's own tags break its admission rules"),
}}

/// What [`CommandError::TooBig`] calls the limit that no parameter sets.
pub(crate) const ONE_DATAGRAM: &str = "one datagram";

/// A command that cannot be carried out. The caller's fault; state did not change.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CommandError {
    /// The key names a member that was forgotten.
    UnknownMember,
    /// There is no address to join.
    NoTargets,
    /// The node is leaving or has left.
    Left,
    /// A leave is already in progress.
    LeaveInProgress,
    /// More operations are open than `Config::max_operations`.
    TooManyOperations,
    /// The outgoing queue is full; poll transmits first.
    Congested,
    /// A message, or what names it, is too long.
    TooBig {
        /// Its length, encoded where the limit is about that.
        len: usize,
        /// The most that is allowed now.
        max: usize,
        /// What sets that: the parameter of the configuration, or in words, such as "one datagram".
        limit: &'static str,
    },
    /// A value that breaks a limit of the configuration.
    Config(ConfigError),
    /// The local protocol version does not know this command.
    Unsupported,
    /// The question was already answered, or its deadline passed.
    UnknownRequest,
    /// The query was answered before.
    AlreadyAnswered,
    /// The query's asker does not listen any more.
    PastDeadline,
    /// Queries of that name are Serf's own.
    ReservedName,
    /// A tag expression that Serf nodes cannot read, or that is too long or too expensive.
    Expression,
    /// `RequireNodeNames` is set and the target has no name (spec 4.17).
    NameRequired,
    /// The keyring does not allow it.
    Keyring(KeyringError),
    /// A change of the keyring is on its way to the file; try again when it is there.
    KeyringBusy,
    /// There is no keyring: a cluster cannot change between sealed and plain while it runs (serf.md 8.4).
    NotSealed,
}

display! { CommandError {
    Self::UnknownMember => format_args!("no such member"),
    Self::NoTargets => format_args!("no address to join"),
    Self::Left => format_args!("the node has left the cluster"),
    Self::LeaveInProgress => format_args!("Leave already in progress"),
    Self::TooManyOperations => format_args!("too many operations are open"),
    Self::Congested => format_args!("the outgoing queue is full"),
    Self::TooBig { len, max, limit } => format_args!("message of {len} bytes exceeds limit of {max} bytes ({limit})"),
    Self::Config(error) => format_args!("{error}"),
    Self::Unsupported => format_args!("Feature not supported by this protocol version"),
    Self::UnknownRequest => format_args!("no such request"),
    Self::AlreadyAnswered => format_args!("response already sent"),
    Self::PastDeadline => format_args!("response is past the deadline"),
    Self::ReservedName => format_args!("Queries cannot contain the '_serf_' prefix"),
    Self::Expression => format_args!("a tag expression is invalid or too large; the syntax is Go's (RE2)"),
    Self::NameRequired => format_args!("node names are required: write the target as name/host:port"),
    Self::Keyring(error) => format_args!("{error}"),
    Self::KeyringBusy => format_args!("the last change of the keyring is still being stored"),
    Self::NotSealed => format_args!("No keyring to modify (encryption not enabled)"),
}}

impl From<ConfigError> for CommandError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

/// An inbound stream was not admitted; close it. Nobody's fault; only a counter changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// `Config::max_streams` are open.
    TooMany,
    /// The node has shut down.
    Closed,
}

display! { Refused {
    Self::TooMany => format_args!("too many inbound streams"),
    Self::Closed => format_args!("the node is closed"),
}}

/// The peer's bytes on a stream make no sense, or the id is unknown. The peer's fault (or a late call); the rest of the
/// cluster state did not change. Keep polling: an error reply may follow before `Close`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamError {
    /// The id names no open stream.
    Unknown,
    /// The bytes were refused.
    Refused,
}

display! { StreamError {
    Self::Unknown => format_args!("no such stream"),
    Self::Refused => format_args!("the stream's content was refused"),
}}
