//! The data: of two values of one key the later one wins, whatever way and in whatever order they come. That is what
//! gossip needs of an application, since a message may come late, twice, or not at all.

use std::collections::BTreeMap;

/// Keys, and what is known of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Map {
    entries: BTreeMap<String, Entry>,
}

/// A value, and what orders it: who writes a key counts on from the version it knows, and of two that did so at once the
/// greater name wins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    version: u64,
    writer: String,
    value: String,
}

impl Map {
    /// Sets a key here; what to tell the others.
    pub(crate) fn set(&mut self, key: &str, value: &str, writer: &str) -> String {
        let version = self.entries.get(key).map_or(0, |entry| entry.version) + 1;
        let entry = Entry { version, writer: writer.into(), value: value.into() };
        let line = entry.line(key);
        self.entries.insert(key.into(), entry);
        line
    }

    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.entries.get(key).map(|entry| entry.value.as_str())
    }

    /// Everything, for a peer that knows nothing.
    pub(crate) fn encode(&self) -> String {
        self.entries.iter().map(|(key, entry)| entry.line(key)).collect()
    }

    /// Takes in what another node tells. Returns what was news, as key and line: that is worth passing on, the rest was
    /// passed on before. What cannot be read is left out; it came from the network.
    pub(crate) fn merge(&mut self, told: &[u8]) -> Vec<(String, String)> {
        let mut news = Vec::new();
        for line in String::from_utf8_lossy(told).lines() {
            let mut fields = line.splitn(4, '\t');
            let (Some(version), Some(writer), Some(key), Some(value)) = (
                fields.next().and_then(|text| text.parse().ok()),
                fields.next(),
                fields.next(),
                fields.next(),
            ) else {
                continue;
            };
            let entry = Entry { version, writer: writer.into(), value: value.into() };
            if self.entries.get(key).is_none_or(|known| *known < entry) {
                news.push((key.to_owned(), entry.line(key)));
                self.entries.insert(key.into(), entry);
            }
        }
        news
    }
}

impl Entry {
    fn line(&self, key: &str) -> String {
        format!("{}\t{}\t{key}\t{}\n", self.version, self.writer, self.value)
    }
}
