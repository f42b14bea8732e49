//! The short name of a key.

use core::fmt;
use core::str::FromStr;

/// The SHA-256 of a certificate's public key (its SubjectPublicKeyInfo, as DER): it stays the same when a certificate
/// is renewed for the same key, and changes with the key.
///
/// Written as `sha256:` and 64 hexadecimal digits. What
/// `openssl x509 -in cert.pem -noout -pubkey | openssl pkey -pubin -outform der | sha256sum` prints can be read as well,
/// as can upper case and colons between bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a public key, as DER.
    pub(crate) fn of(public_key: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, public_key);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidFingerprint;

    fn from_str(text: &str) -> Result<Self, InvalidFingerprint> {
        let digits = match text.get(..PREFIX.len()) {
            Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => &text[PREFIX.len()..],
            _ => text,
        };
        let mut bytes = [0; 32];
        let mut count = 0;
        for digit in digits.chars().filter(|&c| c != ':') {
            let value = digit.to_digit(16).ok_or(InvalidFingerprint)?;
            let byte = bytes.get_mut(count / 2).ok_or(InvalidFingerprint)?;
            // A digit is below 16.
            *byte = *byte << 4 | value as u8;
            count += 1;
        }
        if count == 64 { Ok(Self(bytes)) } else { Err(InvalidFingerprint) }
    }
}

/// A text that is no fingerprint. Whoever wrote it is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidFingerprint;

impl fmt::Display for InvalidFingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fingerprint is sha256: and 64 hexadecimal digits")
    }
}

impl core::error::Error for InvalidFingerprint {}

const PREFIX: &str = "sha256:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_usual_ways_to_write_one_are_read() {
        let fingerprint = Fingerprint::of(b"a key");
        let text = fingerprint.to_string();
        assert_eq!(text.len(), 71);
        let digits = &text[7..];
        let colons: Vec<&str> = (0..32).map(|i| &digits[2 * i..2 * i + 2]).collect();
        let shouted = text.to_uppercase();
        for written in [&text, digits, &shouted, &colons.join(":"), &format!("sha256:{}", colons.join(":"))] {
            assert_eq!(written.parse(), Ok(fingerprint), "{written}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let text = Fingerprint::of(b"a key").to_string();
        let (short, long) = (&text[..70], format!("{text}0"));
        let foreign = format!("sha256:{}", "g".repeat(64));
        for written in ["", "sha256:", short, &long, &foreign, "sha1:00", "ä"] {
            assert_eq!(written.parse::<Fingerprint>(), Err(InvalidFingerprint), "{written}");
        }
    }
}
