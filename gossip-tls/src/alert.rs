//! What a peer means by closing with a TLS alert.

/// What a peer said by a TLS alert (RFC 8446, section 6), from the point of view of the node that received it: what to
/// look at on this side. `None` for alerts that say nothing about certificates or clusters.
pub fn explain_alert(alert: u8) -> Option<&'static str> {
    Some(match alert {
        42 | 43 => {
            "the peer does not accept this node's certificate: it is malformed, or not made for both server and client use"
        }
        44 => "the peer does not accept this node's certificate: it was revoked",
        45 => "the peer does not accept this node's certificate: it has expired, or is not valid yet",
        46 | 49 => {
            "the peer does not let this node's key in: it is not in the peer's list, or listed for another name"
        }
        48 => "the peer does not know the authority that signed this node's certificate",
        51 => "the peer could not verify this node's signature",
        116 => "the peer wants a certificate, and this node presented none",
        120 => "the peer belongs to another cluster: its label differs",
        _ => return None,
    })
}
