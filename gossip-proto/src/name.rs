//! Node names: opaque bytes, because Go strings are not guaranteed to be UTF-8 (spec 2.2).

use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

use alloc::boxed::Box;

/// A node's name as it appears on the wire: any bytes, compared byte by byte.
///
/// Names up to 22 bytes are stored inline, so that handling them on the packet path allocates nothing.
#[derive(Clone)]
pub struct Name(Bytes);

/// 24 bytes in all: with ten thousand members each byte of a name that is not one counts.
#[derive(Clone)]
enum Bytes {
    Inline { len: u8, bytes: [u8; INLINE] },
    Heap(Box<[u8]>),
}

const INLINE: usize = 22;

impl Name {
    /// The name with these bytes.
    pub fn new(bytes: impl AsRef<[u8]>) -> Self {
        let name = bytes.as_ref();
        let mut bytes = [0; INLINE];
        match bytes.get_mut(..name.len()) {
            Some(start) => {
                start.copy_from_slice(name);
                Self(Bytes::Inline { len: name.len() as u8, bytes })
            }
            None => Self(Bytes::Heap(name.into())),
        }
    }

    /// The bytes as they travel.
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Inline { len, bytes } => bytes.get(..usize::from(*len)).unwrap_or_default(),
            Bytes::Heap(bytes) => bytes,
        }
    }

    /// Whether the name has no bytes; such a node cannot be told apart from another one.
    pub fn is_empty(&self) -> bool {
        self.as_bytes().is_empty()
    }

    /// Bytes held outside the value itself, for accounting.
    pub(crate) fn heap_bytes(&self) -> usize {
        match &self.0 {
            Bytes::Inline { .. } => 0,
            Bytes::Heap(bytes) => bytes.len(),
        }
    }
}

impl Default for Name {
    fn default() -> Self {
        Self::new([])
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for Name {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.as_bytes().hash(hasher);
    }
}

impl From<&str> for Name {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<&[u8]> for Name {
    fn from(bytes: &[u8]) -> Self {
        Self::new(bytes)
    }
}

impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq<[u8]> for Name {
    fn eq(&self, other: &[u8]) -> bool {
        self.as_bytes() == other
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

/// Invalid UTF-8 and control characters are escaped, so that a hostile name cannot forge a line of a log (Q8).
impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.as_bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                if c.is_control() {
                    write!(f, "{}", c.escape_default())?
                } else {
                    fmt::Write::write_char(f, c)?
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn where_the_bytes_lie_makes_no_difference() {
        for len in [0, 1, INLINE - 1, INLINE, INLINE + 1, 200] {
            let bytes = vec![b'x'; len];
            let name = Name::new(&bytes);
            assert_eq!((name.as_bytes(), name.is_empty()), (&*bytes, len == 0));
            assert_eq!(name.heap_bytes(), if len > INLINE { len } else { 0 });
            let longer = Name::new([&*bytes, &[0]].concat());
            assert!(name == name.clone() && name != longer && name < longer);
        }
        assert_eq!(Name::new("b").cmp(&Name::new([b'a'; 100])), Ordering::Greater);
        assert_eq!(size_of::<Name>(), 24);
    }
}
