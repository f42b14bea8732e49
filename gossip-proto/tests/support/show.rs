//! Decoded values as JSON, to be compared with what the vector files say about them.
use gossip_proto::wire::field::{Element, List, Raw, Text};
use serde_json::{Value, json};

use super::{hex, unhex};

/// How a file writes byte strings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// In hex.
    Hex,
    /// In base64, addresses in dots or colons.
    Go,
    /// As text, or `{"raw": hex}` if they are not text.
    Captured,
}

/// A decoded value as JSON. Bytes become `{"bytes": hex}`, so that [`same`] can compare them in any style.
pub(crate) trait Show {
    fn show(&self) -> Value;
}

macro_rules! show_number {
    ($($ty:ty)*) => {$(
        impl Show for $ty {
            fn show(&self) -> Value {
                json!(self)
            }
        }
    )*};
}

show_number!(u8 u16 u32 u64 i64 f64 bool);

impl Show for Text<'_> {
    fn show(&self) -> Value {
        json!({ "text": hex(self) })
    }
}

impl Show for Raw<'_> {
    fn show(&self) -> Value {
        if self.is_nil() { Value::Null } else { json!({ "bytes": hex(self) }) }
    }
}

impl<'a, T: Element<'a> + Clone + Show> Show for List<'a, T> {
    fn show(&self) -> Value {
        if matches!(self, List::Nil) { Value::Null } else { self.iter().map(|item| item.show()).collect() }
    }
}

/// Keys are shown as they are: those in the files are text.
impl<B: Show> Show for (Text<'_>, B) {
    fn show(&self) -> Value {
        json!({ "key": String::from_utf8_lossy(&self.0), "value": self.1.show() })
    }
}

/// An object from fields: `object!(message, "SeqNo": seq, "Node": node)`.
macro_rules! object {
    ($message:expr, $($key:literal: $field:ident),* $(,)?) => {
        serde_json::json!({ $($key: $crate::support::show::Show::show(&$message.$field)),* })
    };
}

pub(crate) use object;

/// An object from shown pairs; the last of a key counts.
pub(crate) fn map(pairs: impl Iterator<Item = Value>) -> Value {
    pairs.map(|pair| (pair["key"].as_str().unwrap_or_default().to_owned(), pair["value"].clone())).collect()
}

/// Whether `ours`, as shown, is what the file says. A key that the file does not give may have any value; one that it
/// gives and we do not know is a remark of the file if it is in lower case, which no field of a message is.
pub(crate) fn same(wanted: &Value, ours: &Value, style: Style) -> Result<(), String> {
    let differ = || Err(format!("wanted {wanted}, got {ours}"));
    match (wanted, ours) {
        (Value::Object(wanted), Value::Object(ours)) if !wanted.contains_key("raw") => {
            for (key, wanted) in wanted {
                if let Some(key) = key.strip_suffix("_bytes_hex") {
                    let ours = ours.get(key).unwrap_or(&Value::Null);
                    if ours["text"] != *wanted {
                        return Err(format!("{key}: wanted {wanted}, got {ours}"));
                    }
                    continue;
                }
                let ours = match ours.get(key) {
                    Some(ours) => ours,
                    None if key.starts_with(char::is_lowercase) => continue,
                    None => return Err(format!("nothing in {key}")),
                };
                same(wanted, ours, style).map_err(|difference| format!("{key}: {difference}"))?;
            }
            Ok(())
        }
        (Value::Array(wanted), Value::Array(ours)) if wanted.len() == ours.len() => {
            wanted.iter().zip(ours).try_for_each(|(wanted, ours)| same(wanted, ours, style))
        }
        (Value::Number(a), Value::Number(b))
            if a == b || a.as_f64() == b.as_f64() && !(a.is_u64() && b.is_u64()) =>
        {
            Ok(())
        }
        (Value::Null, Value::Array(ours)) if ours.is_empty() => Ok(()),
        (Value::Null, Value::Object(ours)) if ours.is_empty() => Ok(()),
        (Value::Array(wanted), Value::Null) if wanted.is_empty() => Ok(()),
        (Value::String(wanted), Value::Array(ours)) if wanted.ends_with(" slots, all nil") => {
            let count = wanted.split(' ').next().and_then(|count| count.parse().ok());
            if count == Some(ours.len()) && ours.iter().all(Value::is_null) { Ok(()) } else { differ() }
        }
        _ if wanted == ours => Ok(()),
        _ => match (ours["text"].as_str(), ours["bytes"].as_str()) {
            (Some(text), _) if wanted.as_str().is_some_and(|wanted| hex(wanted.as_bytes()) == text) => Ok(()),
            (_, Some(bytes)) if is_bytes(wanted, &unhex(bytes), style) => Ok(()),
            _ => differ(),
        },
    }
}

fn is_bytes(wanted: &Value, ours: &[u8], style: Style) -> bool {
    let text = wanted.as_str();
    match style {
        Style::Hex => text == Some(&hex(ours)),
        Style::Go => text.is_some_and(|text| text == base64(ours) || is_address(text, ours)),
        Style::Captured => wanted["raw"] == hex(ours) || text.is_some_and(|text| text.as_bytes() == ours),
    }
}

fn is_address(text: &str, bytes: &[u8]) -> bool {
    use core::net::{IpAddr, Ipv6Addr};
    let ours = match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).map(IpAddr::from).ok(),
        16 => <[u8; 16]>::try_from(bytes).map(|octets| Ipv6Addr::from(octets).to_canonical()).ok(),
        _ => None,
    };
    ours.is_some() && text.parse().ok() == ours
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let index = (word >> (18 - 6 * digit)) & 63;
            text.push(if digit > chunk.len() { '=' } else { char::from(DIGITS[index as usize]) });
        }
    }
    text
}
