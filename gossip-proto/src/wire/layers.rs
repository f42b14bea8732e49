//! What a node wraps its traffic in: label, encryption, compression (spec 1.3, 1.4), and what that costs in
//! bytes.

use super::keyring::{Key, Keyring};
use super::label::{Found, Label};
use super::same;
use super::seal::SealVersion;

/// Bytes of a checksum in front of a packet: its type and the CRC-32.
pub const CRC_HEADER: usize = 5;

/// When messages are compressed before they are sent. Receiving always works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Never.
    #[default]
    Off,
    /// Streams always, packets never.
    Streams,
    /// Streams always, packets when it makes them smaller.
    All,
}

/// The configuration of all layers around a message.
#[derive(Clone, Debug)]
pub struct Layers {
    /// Sent in front of everything and expected in front of everything.
    pub label: Label,
    /// Something in front of this node has taken the label header away already: finding one is an error then.
    pub skip_inbound_label_check: bool,
    /// Keys. No ring and an empty ring both mean that encryption is off.
    pub keyring: Option<Keyring>,
    /// With encryption on: refuse what is not sealed. Off only while encryption is rolled out.
    pub verify_incoming: bool,
    /// With encryption on: seal what is sent. Off only while encryption is rolled out.
    pub verify_outgoing: bool,
    /// Admit version 0 seals, which nodes of protocol version 1 send. Their version byte is open to tampering
    /// (W-1), so clusters without such nodes are better off without.
    pub accept_padded: bool,
    /// Version of own seals.
    pub seal_version: SealVersion,
    /// What is compressed.
    pub compression: Compression,
}

impl Default for Layers {
    fn default() -> Self {
        Self {
            label: Label::default(),
            skip_inbound_label_check: false,
            keyring: None,
            verify_incoming: true,
            verify_outgoing: true,
            accept_padded: true,
            seal_version: SealVersion::default(),
            compression: Compression::default(),
        }
    }
}

impl Layers {
    /// The ring that inputs are opened with, if encryption is on.
    pub fn ring(&self) -> Option<&Keyring> {
        self.keyring.as_ref().filter(|ring| !ring.is_empty())
    }

    /// The key that outputs are sealed with, if they are sealed.
    pub fn sealing_key(&self) -> Option<&Key> {
        self.keyring.as_ref().filter(|_| self.verify_outgoing)?.primary()
    }

    /// Bytes in front of a packet body: label, seal header and checksum.
    pub fn packet_front(&self, crc: bool) -> usize {
        let seal = if self.sealing_key().is_some() { super::seal::SEAL_HEADER } else { 0 };
        self.label.header_len() + seal + if crc { CRC_HEADER } else { 0 }
    }

    /// Longest packet body whose datagram has at most `max_datagram` bytes, everything included (W-14). 0 if
    /// the layers leave no room at all.
    pub fn max_packet_body(&self, max_datagram: usize, crc: bool) -> usize {
        let inner = max_datagram.saturating_sub(self.label.header_len());
        let text = match self.sealing_key() {
            Some(_) => self.seal_version.max_text(inner).unwrap_or(0),
            None => inner,
        };
        text.saturating_sub(if crc { CRC_HEADER } else { 0 })
    }

    /// Whether the label that an input starts with is the right one (spec 1.5).
    pub(super) fn admit_label(&self, found: Found<'_>) -> Result<(), LabelRefused> {
        let label = match found {
            Found::None if self.skip_inbound_label_check => return Ok(()),
            Found::Header(_) if self.skip_inbound_label_check => return Err(LabelRefused::Unexpected),
            Found::None => &[],
            Found::Header(label) => label,
            Found::Partial => return Err(LabelRefused::Truncated),
        };
        if same(label, self.label.as_bytes()) { Ok(()) } else { Err(LabelRefused::Mismatch) }
    }
}

/// Why a label is not the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LabelRefused {
    Truncated,
    Mismatch,
    Unexpected,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> Option<Keyring> {
        Some(Keyring::new(Key::new(&[1; 16]).unwrap(), []).unwrap())
    }

    #[test]
    fn overheads_add_up() {
        let mut layers = Layers::default();
        assert_eq!((layers.packet_front(false), layers.max_packet_body(1400, false)), (0, 1400));
        layers.label = Label::new("blah").unwrap();
        assert_eq!((layers.packet_front(true), layers.max_packet_body(1400, true)), (11, 1389));
        layers.keyring = ring();
        assert_eq!((layers.packet_front(true), layers.max_packet_body(1400, true)), (24, 1400 - 6 - 29 - 5));
        layers.verify_outgoing = false;
        assert_eq!(layers.packet_front(true), 11);
    }

    #[test]
    fn too_small_a_datagram_leaves_no_body() {
        let layers = Layers { keyring: ring(), seal_version: SealVersion::Padded, ..Layers::default() };
        assert_eq!(layers.max_packet_body(45, false), 15);
        for max in 0..45 {
            assert_eq!(layers.max_packet_body(max, false), 0);
        }
    }

    #[test]
    fn an_empty_ring_is_no_encryption() {
        let layers = Layers { keyring: Some(Keyring::empty()), ..Layers::default() };
        assert!(layers.ring().is_none() && layers.sealing_key().is_none());
    }
}
