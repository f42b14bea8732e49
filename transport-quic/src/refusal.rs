//! Why a connection ended, in words of this side.

use gossip_driver::gossip_proto::StreamFailure;
use gossip_tls::explain_alert;
use quinn::{ConnectionError, TransportErrorCode};

/// What two peers disagree about, if that is why the connection ended; and whether it is this side that refused.
pub(crate) fn refusal(error: &ConnectionError) -> Option<String> {
    match error {
        ConnectionError::TransportError(error) => {
            let alert = tls_alert(error.code)?;
            Some(match alert {
                48 => "this node does not know the authority that signed the peer's certificate".into(),
                116 => "the peer presented no certificate".into(),
                120 => "the peer belongs to another cluster: its label differs".into(),
                _ => format!("this node does not accept the peer's certificate: {}", error.reason),
            })
        }
        ConnectionError::ConnectionClosed(close) => {
            let alert = tls_alert(close.error_code)?;
            Some(match explain_alert(alert) {
                Some(why) => why.into(),
                None => format!("the peer ended the handshake (TLS alert {alert})"),
            })
        }
        ConnectionError::ApplicationClosed(close) if close.error_code == UNTRUSTED.into() => {
            Some("the peer does not let this node's key in any more".into())
        }
        ConnectionError::VersionMismatch => {
            Some("the peer speaks no version of QUIC that this node speaks".into())
        }
        _ => None,
    }
}

/// A TLS alert is sent as one of 256 codes of its own (RFC 9001, section 4.8).
fn tls_alert(code: TransportErrorCode) -> Option<u8> {
    let code = u64::from(code);
    (0x100..0x200).contains(&code).then_some(code as u8)
}

/// Why a stream of a connection failed.
pub(crate) fn stream_failure(error: &ConnectionError) -> StreamFailure {
    match error {
        ConnectionError::LocallyClosed | ConnectionError::CidsExhausted => StreamFailure::Local,
        ConnectionError::TimedOut => StreamFailure::TimedOut,
        error if refusal(error).is_some() => StreamFailure::Unreachable,
        _ => StreamFailure::Reset,
    }
}

// Why this side closes a connection. Peers need no more of it than what is said of each.

/// The node shuts down.
pub(crate) const SHUTDOWN: u32 = 0;
/// Both sides opened one at the same time; the other one stays.
pub(crate) const DUPLICATE: u32 = 1;
/// It was used least recently, and there were too many.
pub(crate) const CROWDED: u32 = 2;
/// The certificate is no longer good.
pub(crate) const UNTRUSTED: u32 = 3;
/// Nothing came any more.
pub(crate) const SILENT: u32 = 4;
/// The certificate that opened it has run out, or its authority is gone. The peer may have another by now, and shows it when it
/// connects again: nothing is said about its key.
pub(crate) const OUTDATED: u32 = 5;
