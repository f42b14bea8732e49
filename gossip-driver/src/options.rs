//! What the driver lets users set.

use core::time::Duration;
use std::path::PathBuf;

use crate::recording::RecordingOptions;
use crate::snapshot::SnapshotOptions;

/// Limits of the driver. The machine's own are in [`gossip_proto::Config`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Commands that may wait for the loop; further callers wait until there is room. At least 1.
    pub command_buffer: usize,
    /// Streams held at once, both directions, those included that are being closed. When it is reached no further
    /// stream is accepted, and streams that the machine wants to open fail; inbound ones alone are kept to three
    /// quarters of it, so that strangers cannot take away the node's own.
    pub max_streams: usize,
    /// How long a stream may take to close in good order once all that it had to say is out, and at the end of the node first
    /// all streams, then the transport.
    pub close_timeout: Duration,
    /// Events that wait for one subscriber; then the oldest go and [`crate::Notice::Lagged`] says how many.
    pub event_buffer: usize,
    /// Bytes that they may take.
    pub event_bytes: usize,
    /// The file that follows the keyring: a JSON array of keys in base64, the primary first, as Serf has it. A change of
    /// the keyring counts, and is answered, only when it is safely there. Adapters take the keyring from it when they start a
    /// node, and the configured one only while there is no such file; who starts a machine by hand calls
    /// [`Options::restore_keyring`]. Default none: the ring is as it was configured after a restart.
    pub keyring_file: Option<PathBuf>,
    /// The file in which a node keeps what its next life takes over; see [`SnapshotOptions`]. Adapters open it; who starts a
    /// node by hand does that with [`crate::start_with_snapshot`]. Default none.
    pub snapshot: Option<SnapshotOptions>,
    /// The file that takes everything this node is told, to be played again; see [`RecordingOptions`]. Default none.
    pub recording: Option<RecordingOptions>,
    /// How long looking up one host name may take.
    pub resolve_timeout: Duration,
    /// Most addresses of one host name that are tried.
    pub max_addresses: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            command_buffer: 64,
            max_streams: 256,
            close_timeout: Duration::from_secs(1),
            event_buffer: 1024,
            event_bytes: 4 << 20,
            keyring_file: None,
            snapshot: None,
            recording: None,
            resolve_timeout: Duration::from_secs(10),
            max_addresses: 64,
        }
    }
}
