//! The node's tags: those of the configuration and those set at run time, and the file that outlives the process
//! (serf.md 9.2, 9.3).

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::Mutex;
use transport_tokio::gossip_driver::replace_file;
use transport_tokio::gossip_proto::Bytes;
use transport_tokio::{Cluster, Node};

use crate::config::{Problem, check_tags};

/// A node's tags by name.
pub(crate) type TagMap = BTreeMap<String, String>;

/// The tags of the running node; cheap to clone. Changes are made one after the other, each from what the last one left.
#[derive(Clone)]
pub(crate) struct Tags {
    cluster: Cluster<Node>,
    file: Option<Arc<Path>>,
    state: Arc<Mutex<State>>,
}

struct State {
    configured: TagMap,
    current: TagMap,
}

impl Tags {
    /// `current` is what the node was started with: the configured tags, or those of the file.
    pub(crate) fn new(
        cluster: Cluster<Node>,
        file: Option<PathBuf>,
        configured: TagMap,
        current: TagMap,
    ) -> Self {
        let state = Arc::new(Mutex::new(State { configured, current }));
        Self { cluster, file: file.map(Into::into), state }
    }

    /// Has these tags and no others; says whether that was gossiped in time.
    pub(crate) async fn replace(&self, tags: TagMap) -> Result<bool, String> {
        let mut state = self.state.lock().await;
        self.apply(&mut state, tags).await
    }

    /// Takes some away, then sets some.
    pub(crate) async fn change(&self, delete: &[String], set: TagMap) -> Result<bool, String> {
        let mut state = self.state.lock().await;
        let mut tags = state.current.clone();
        tags.retain(|key, _| !delete.contains(key));
        tags.extend(set);
        self.apply(&mut state, tags).await
    }

    /// The configuration was read again. What it changes is changed; what was set at run time stays (Q25).
    pub(crate) async fn reload(&self, configured: TagMap) -> Result<bool, String> {
        let mut state = self.state.lock().await;
        let tags = merge(&state.configured, &configured, &state.current);
        let announced = tags == state.current || self.apply(&mut state, tags).await?;
        // Not before: what could not be set is tried again at the next reading.
        state.configured = configured;
        Ok(announced)
    }

    /// Stored first and gossiped then: what others know of survives a restart. What the node refuses must not stay in the
    /// file: the next start would fail of it.
    async fn apply(&self, state: &mut State, tags: TagMap) -> Result<bool, String> {
        check_tags(&tags).map_err(|problem| problem.to_string())?;
        let mut stored = None;
        if let Some(file) = self.file.clone() {
            let tags = tags.clone();
            stored = Some(blocking(move || Stored::write(file, &tags)).await?);
        }
        match self.cluster.set_tags(wire(&tags)).await {
            Ok(announced) => {
                state.current = tags;
                Ok(announced)
            }
            Err(error) => {
                if let Some(stored) = stored {
                    blocking(move || stored.undo()).await.map_err(|why| format!("{error}; {why}"))?;
                }
                Err(error.to_string())
            }
        }
    }
}

/// A tags file that was written, and what it held before.
struct Stored {
    file: Arc<Path>,
    before: Option<Vec<u8>>,
}

impl Stored {
    fn write(file: Arc<Path>, tags: &TagMap) -> Result<Self, String> {
        let before = match fs::read(&file) {
            Ok(before) => Some(before),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(format!("the tags file {} cannot be read: {error}", file.display())),
        };
        save(&file, tags)?;
        Ok(Self { file, before })
    }

    fn undo(self) -> Result<(), String> {
        let undone = match &self.before {
            Some(before) => replace_file(&self.file, before),
            None => fs::remove_file(&self.file),
        };
        undone.map_err(|error| {
            let file = self.file.display();
            format!("the tags file {file} still has the refused tags: {error}; mend it before the next start")
        })
    }
}

/// Away from the node, which must not wait for a disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())?
}

/// What was configured differently before changes to what is configured now; the rest stays.
fn merge(before: &TagMap, after: &TagMap, current: &TagMap) -> TagMap {
    let mut tags = current.clone();
    tags.retain(|key, value| after.contains_key(key) || before.get(key) != Some(value));
    for (key, value) in after.iter().filter(|(key, value)| before.get(*key) != Some(*value)) {
        tags.insert(key.clone(), value.clone());
    }
    tags
}

/// As the node takes them.
pub(crate) fn wire(tags: &TagMap) -> Vec<(Bytes, Bytes)> {
    tags.iter().map(|(key, value)| (key.clone().into(), value.clone().into())).collect()
}

/// Reads a tags file; `None` if there is none yet.
pub(crate) fn load(path: &Path) -> Result<Option<TagMap>, Problem> {
    let place = path.display();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Problem::new(format!("{place}: cannot be read: {error}"))),
    };
    parse(&text).map(Some).map_err(|problem| problem.within(place))
}

/// Reads the text of a tags file.
pub(crate) fn parse(text: &str) -> Result<TagMap, Problem> {
    let tags: TagMap = serde_json::from_str(text).map_err(|error| {
        Problem::new(format!("not a JSON object of strings: {error}; mend it or remove it"))
    })?;
    check_tags(&tags)?;
    Ok(tags)
}

/// Writes it whole or not at all: another file beside it takes its place once it is on the disk (Q36).
fn save(path: &Path, tags: &TagMap) -> Result<(), String> {
    let text = serde_json::to_string_pretty(tags).map_err(|error| error.to_string())?;
    replace_file(path, text.as_bytes())
        .map_err(|error| format!("the tags file {} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(pairs: &[(&str, &str)]) -> TagMap {
        pairs.iter().map(|&(key, value)| (key.into(), value.into())).collect()
    }

    /// A node of which a fixed tag takes 80 bytes, as on QUIC, with its tags in that file.
    async fn started(file: &Path) -> Tags {
        use transport_tokio::{Bind, Config, ServiceConfig, start_node};

        let bind = Bind::from(core::net::SocketAddr::from(([127, 0, 0, 1], 0)));
        let configure = |addr| {
            let mut services = ServiceConfig::default();
            services.fixed_tags(vec![("fingerprint".into(), "f".repeat(64).into())]);
            (Config::local("me", addr), services)
        };
        let cluster = start_node(bind, configure).await.unwrap();
        Tags::new(cluster, Some(file.into()), TagMap::new(), TagMap::new())
    }

    #[tokio::test]
    async fn what_the_node_refuses_does_not_stay_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tags.json");
        let node = started(&path).await;
        let long = tags(&[("k", &"v".repeat(450))]);
        let error = node.replace(long.clone()).await.unwrap_err();
        assert!(error.contains("512"), "{error}");
        assert!(!path.exists());
        node.replace(tags(&[("role", "web")])).await.unwrap();
        node.change(&[], long).await.unwrap_err();
        assert_eq!(load(&path).unwrap(), Some(tags(&[("role", "web")])));
        node.change(&[], tags(&[("dc", "east")])).await.unwrap();
        assert_eq!(load(&path).unwrap(), Some(tags(&[("dc", "east"), ("role", "web")])));
    }

    #[tokio::test]
    async fn a_reload_that_failed_is_not_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let node = started(&directory.path().join("tags.json")).await;
        let long = tags(&[("k", &"v".repeat(450))]);
        for _ in 0..2 {
            node.reload(long.clone()).await.unwrap_err();
        }
        node.reload(tags(&[("k", "v")])).await.unwrap();
        let local = node.cluster.local().await;
        assert_eq!(local.tag("k").map(|value| &value[..]), Some(&b"v"[..]));
    }

    // upstream: TestAgent_MarshalTags, TestAgent_UnmarshalTags, TestAgent_UnmarshalTagsError
    #[test]
    fn the_file_is_serfs() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tags.json");
        assert_eq!(load(&path).unwrap(), None);
        let stored = tags(&[("role", "web"), ("dc", "east \"1\"")]);
        save(&path, &stored).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\n  \"dc\": \"east \\\"1\\\"\",\n  \"role\": \"web\"\n}");
        assert_eq!(load(&path).unwrap(), Some(stored));
        save(&path, &TagMap::new()).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else is left behind");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        for text in ["", "[]", "{\"a\": 1}", "{\"\": \"x\"}"] {
            fs::write(&path, text).unwrap();
            let error = load(&path).unwrap_err().to_string();
            assert!(error.starts_with(&path.display().to_string()), "{error}");
        }
        let nowhere = directory.path().join("none/tags.json");
        assert!(save(&nowhere, &TagMap::new()).unwrap_err().contains("none/tags.json"));
    }

    #[cfg(unix)]
    #[test]
    fn a_linked_file_stays_linked() {
        let directory = tempfile::tempdir().unwrap();
        let (real, link) = (directory.path().join("real"), directory.path().join("link"));
        fs::write(&real, "{}").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        save(&link, &tags(&[("a", "b")])).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(load(&real).unwrap(), Some(tags(&[("a", "b")])));
    }

    #[test]
    fn a_reload_changes_what_the_configuration_changed() {
        let before = tags(&[
            ("same", "1"),
            ("changed", "1"),
            ("gone", "1"),
            ("gone-but-set", "1"),
            ("overridden", "1"),
        ]);
        let after = tags(&[("same", "1"), ("changed", "2"), ("overridden", "1"), ("new", "1")]);
        let current = tags(&[
            ("same", "1"),
            ("changed", "set"),
            ("gone", "1"),
            ("gone-but-set", "set"),
            ("overridden", "set"),
            ("set", "1"),
        ]);
        let expected = tags(&[
            ("same", "1"),
            ("changed", "2"),
            ("gone-but-set", "set"),
            ("overridden", "set"),
            ("new", "1"),
            ("set", "1"),
        ]);
        assert_eq!(merge(&before, &after, &current), expected);
        // Deleted at run time, and not asked for anew.
        assert_eq!(merge(&before, &before, &TagMap::new()), TagMap::new());
    }
}
