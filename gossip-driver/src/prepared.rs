//! The start of a node apart from its transport, for adapters that bind sockets.

use core::fmt;
use core::net::SocketAddr;
use std::io;
use std::path::PathBuf;

use gossip_proto::{
    Config, ConfigError, Instant, Machine, Membership, Node, NonceSecret, Seed, ServiceConfig,
};

use crate::cluster::{Cluster, launch};
use crate::options::Options;
use crate::runtime::Runtime;
use crate::snapshot::{Kept, SnapshotFile};
use crate::sockets::{AdvertiseError, BindError};
use crate::transport::Transport;

/// A machine that is ready to be driven, with the files that it keeps.
///
/// Made once the sockets are bound: the files of a node that already runs at that address are not touched.
#[derive(Debug)]
pub struct Prepared<M> {
    machine: M,
    options: Options,
    snapshot: Option<Kept<M>>,
}

impl Prepared<Node> {
    /// A Serf node. `configure` is told the address that others will be told to use; then the keyring comes from
    /// [`Options::keyring_file`] and what an earlier life knew from [`Options::snapshot`], where they are. Without a seed random choices
    /// come from the operating system. `now` is the time of the runtime that will drive it. Blocks.
    ///
    /// # Errors
    /// Of [`StartError`] those about the configuration and the files.
    pub fn node(
        now: Instant,
        advertise: SocketAddr,
        seed: Option<Seed>,
        options: Options,
        configure: impl FnOnce(SocketAddr) -> (Config, ServiceConfig),
    ) -> Result<Self, StartError> {
        let file = match &options.snapshot {
            Some(snapshot) => {
                let failed = |error| StartError::Snapshot { path: snapshot.path.clone(), error };
                Some(SnapshotFile::open(snapshot).map_err(failed)?)
            }
            None => None,
        };
        let (mut config, mut services) = configure(advertise);
        restore_keyring(&options, &mut config)?;
        if let Some(file) = &file {
            services.restore(Some(file.restore(config.name())));
        }
        let machine = Node::new(now, config, services, or_random(seed)?, nonces()?)?;
        Ok(Self { machine, options, snapshot: file.map(SnapshotFile::of_node) })
    }
}

impl Prepared<Membership> {
    /// A memberlist node, as [`Prepared::node`] makes one of Serf.
    ///
    /// # Errors
    /// As there, and [`StartError::SnapshotOfMembership`].
    pub fn membership(
        now: Instant,
        advertise: SocketAddr,
        seed: Option<Seed>,
        options: Options,
        configure: impl FnOnce(SocketAddr) -> Config,
    ) -> Result<Self, StartError> {
        if options.snapshot.is_some() {
            return Err(StartError::SnapshotOfMembership);
        }
        let mut config = configure(advertise);
        restore_keyring(&options, &mut config)?;
        let machine = Membership::new(now, config, or_random(seed)?, nonces()?)?;
        Ok(Self { machine, options, snapshot: None })
    }
}

impl<M: Machine + Send + 'static> Prepared<M> {
    /// What the machine runs with: a transport may want to know the label.
    pub fn config(&self) -> &Config {
        self.machine.config()
    }

    /// Makes the file of [`Options::recording`] if one is asked for, and starts driving.
    ///
    /// # Errors
    /// [`StartError::Recording`].
    pub fn start<T: Transport, R: Runtime>(self, transport: T, runtime: R) -> Result<Cluster<M>, StartError> {
        let Self { machine, options, snapshot } = self;
        if let Some(recording) = &options.recording {
            let path = recording.path().to_owned();
            recording.open().map_err(|error| StartError::Recording { path, error })?;
        }
        Ok(launch(machine, transport, runtime, options, snapshot))
    }
}

fn restore_keyring(options: &Options, config: &mut Config) -> Result<(), StartError> {
    options.restore_keyring(config).map_err(|error| StartError::Keyring {
        path: options.keyring_file.clone().unwrap_or_default(),
        error,
    })
}

fn or_random(seed: Option<Seed>) -> Result<Seed, StartError> {
    match seed {
        Some(seed) => Ok(seed),
        None => Ok(Seed::new(entropy()?)),
    }
}

fn nonces() -> Result<NonceSecret, StartError> {
    Ok(NonceSecret::new(entropy()?))
}

/// Random bytes from the operating system.
///
/// # Errors
/// [`StartError::Entropy`].
pub fn entropy() -> Result<[u8; 32], StartError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(StartError::Entropy)?;
    Ok(bytes)
}

/// Why a node did not start. Nothing of it remains. The same for all adapters that bind sockets.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The address cannot be bound.
    Bind(BindError),
    /// There is no address to tell others.
    Advertise(AdvertiseError),
    /// The transport could not be set up on the sockets.
    Transport(io::Error),
    /// A limit of the transport's makes no sense; what would.
    Limits(&'static str),
    /// The configuration cannot be run.
    Config(ConfigError),
    /// The snapshot file cannot be opened.
    Snapshot {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// [`Options::snapshot`] is set for a memberlist node, which has none: `start_node` starts one that has.
    SnapshotOfMembership,
    /// The keyring file cannot be read, or holds something else.
    Keyring {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file for the recording cannot be made.
    Recording {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The operating system gave no random numbers.
    Entropy(getrandom::Error),
    /// It was called outside a tokio runtime, where the adapter knows no other. That the runtime has I/O and timers
    /// (`enable_all`) cannot be asked of it: without them tokio panics.
    NoRuntime,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => error.fmt(f),
            Self::Advertise(error) => error.fmt(f),
            Self::Transport(error) => write!(f, "cannot set up the transport: {error}"),
            Self::Limits(wrong) => write!(f, "limits: {wrong}"),
            Self::Config(error) => error.fmt(f),
            Self::Snapshot { path, error } => {
                write!(f, "cannot open the snapshot file {}: {error}", path.display())
            }
            Self::SnapshotOfMembership => f.write_str(
                "only a Serf node keeps a snapshot; leave the option away, or start with start_node",
            ),
            Self::Keyring { path, error } => {
                write!(f, "cannot use the keyring file {}: {error}", path.display())
            }
            Self::Recording { path, error } => {
                write!(f, "cannot record to {}: {error}", path.display())
            }
            Self::Entropy(error) => write!(f, "the operating system gives no random numbers: {error}"),
            Self::NoRuntime => f.write_str("not called within a tokio runtime; call it from a task of one"),
        }
    }
}

impl core::error::Error for StartError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Bind(error) => error.source(),
            Self::Advertise(error) => error.source(),
            Self::Transport(error) => Some(error),
            Self::Config(error) => Some(error),
            Self::Entropy(error) => Some(error),
            _ => None,
        }
    }
}

impl From<BindError> for StartError {
    fn from(error: BindError) -> Self {
        Self::Bind(error)
    }
}

impl From<AdvertiseError> for StartError {
    fn from(error: AdvertiseError) -> Self {
        Self::Advertise(error)
    }
}

impl From<ConfigError> for StartError {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}
