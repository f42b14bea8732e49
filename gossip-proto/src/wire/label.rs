//! Labels: the clear-text header that keeps clusters sharing a network apart (spec 1.5).

use core::fmt;
use smallvec::SmallVec;

/// First byte of a label header; outside the range of message types and of seal versions.
const LABEL_TYPE: u8 = super::message::MessageType::Label.byte();

/// Longest label: its length travels in one byte.
pub const MAX_LABEL: usize = 255;

/// A cluster label: arbitrary bytes, empty when the cluster has none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Label(SmallVec<[u8; 32]>);

impl Label {
    /// The label with these bytes, unless they are too many to be sent.
    pub fn new(bytes: impl AsRef<[u8]>) -> Result<Self, LabelTooLong> {
        let bytes = bytes.as_ref();
        if bytes.len() > MAX_LABEL {
            return Err(LabelTooLong { len: bytes.len() });
        }
        Ok(Self(SmallVec::from_slice(bytes)))
    }

    /// The bytes as they travel and as they enter the authenticated data of a seal.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether no label is configured, in which case no header is written either.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes that the header takes on the wire.
    pub fn header_len(&self) -> usize {
        if self.0.is_empty() { 0 } else { 2 + self.0.len() }
    }

    /// Writes the header to the front of `out`; `None` if it does not fit.
    pub fn write_header(&self, out: &mut [u8]) -> Option<usize> {
        let len = self.header_len();
        let out = out.get_mut(..len)?;
        if let [kind, size, text @ ..] = out {
            *kind = LABEL_TYPE;
            *size = u8::try_from(self.0.len()).ok()?;
            text.copy_from_slice(&self.0);
        }
        Some(len)
    }

    /// What an input starts with. `Partial` matters to streams only: a datagram that ends there is malformed.
    pub fn find(input: &[u8]) -> Result<Found<'_>, LabelEmpty> {
        match input {
            [LABEL_TYPE] => Ok(Found::Partial),
            [LABEL_TYPE, 0, ..] => Err(LabelEmpty),
            [LABEL_TYPE, len, rest @ ..] => Ok(match rest.get(..usize::from(*len)) {
                Some(label) => Found::Header(label),
                None => Found::Partial,
            }),
            _ => Ok(Found::None),
        }
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Label({})", self.0.escape_ascii())
    }
}

/// Outcome of looking for a label header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// The input does not start with a header.
    None,
    /// A complete header with this label, which takes two bytes more than the label.
    Header(&'a [u8]),
    /// A header that is cut short.
    Partial,
}

/// A header announces a label of no bytes; no sender writes that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelEmpty;

/// A configured label is longer than [`MAX_LABEL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LabelTooLong {
    /// Its length in bytes.
    pub len: usize,
}

impl fmt::Display for LabelTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "label is {} bytes long, the limit is {MAX_LABEL}", self.len)
    }
}

impl core::error::Error for LabelTooLong {}

#[cfg(test)]
mod tests {
    use super::*;

    // upstream: TestAddLabelHeaderToPacket, TestRemoveLabelHeaderFromPacket
    #[test]
    fn header_round_trips_at_both_ends_of_the_length_range() {
        for len in [1, 2, 33, 254, 255] {
            let label = Label::new(std::vec![0xf4; len]).unwrap();
            let mut wire = [0u8; 300];
            let header = label.write_header(&mut wire).unwrap();
            assert_eq!(header, label.header_len());
            assert_eq!(Label::find(&wire[..header]), Ok(Found::Header(label.as_bytes())));
            for cut in 1..header {
                assert_eq!(Label::find(&wire[..cut]), Ok(Found::Partial));
            }
            assert_eq!(label.write_header(&mut wire[..header - 1]), None);
        }
    }

    // upstream: TestLabelOverhead
    #[test]
    fn no_label_writes_no_header() {
        let overhead = |label: &str| Label::new(label).unwrap().header_len();
        assert_eq!([overhead(""), overhead("a"), overhead("abcdefg")], [0, 3, 9]);
        assert_eq!(Label::default().write_header(&mut []), Some(0));
        assert_eq!(Label::find(&[]), Ok(Found::None));
        assert_eq!(Label::find(&[0xf3, 1, 1]), Ok(Found::None));
    }

    // upstream: TestAddLabelHeaderToPacket, TestRemoveLabelHeaderFromPacket
    #[test]
    fn empty_and_oversized_labels_are_refused() {
        assert_eq!(Label::find(&[0xf4, 0]), Err(LabelEmpty));
        assert_eq!(Label::new([0; 256]), Err(LabelTooLong { len: 256 }));
    }
}
