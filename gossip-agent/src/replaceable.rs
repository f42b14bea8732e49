//! Files that the agent replaces while it runs. Whether it can is found out at the start, or it would show only when a key
//! is rotated.

use std::fs;
use std::path::Path;

use crate::config::Settings;

/// What will fail, of each file by name, and the remedy. Blocks.
pub(crate) fn warnings(settings: &Settings) -> Vec<String> {
    let keys =
        ("keyring_file (--keyring-file)", &settings.keyring_file, "installing, using and removing keys");
    let tags = ("tags_file (--tags-file)", &settings.tags_file, "setting tags at run time");
    let mut warnings = Vec::new();
    for (option, path, what) in [keys, tags] {
        let Some(path) = path else { continue };
        if let Err(why) = check(path) {
            warnings.push(format!(
                "{option} {} cannot be replaced, so that {what} will fail: {why}; put it into a directory that the agent's \
                 user may write to, and mount that directory, not the file by itself",
                path.display()
            ));
        }
    }
    warnings
}

/// Does what `replace_file` does, short of the replacing.
fn check(path: &Path) -> Result<(), String> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Gone again at once.
    tempfile::Builder::new().prefix(".gossip-").tempfile_in(directory).map_err(|error| error.to_string())?;
    if is_mounted(&path, directory) {
        return Err("it is mounted by itself".into());
    }
    Ok(())
}

#[cfg(unix)]
fn is_mounted(path: &Path, directory: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;

    let device = |path| fs::metadata(path).ok().map(|of: fs::Metadata| of.dev());
    device(path).is_some_and(|own| Some(own) != device(directory))
}

#[cfg(not(unix))]
fn is_mounted(_: &Path, _: &Path) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layer;

    #[test]
    fn a_directory_that_cannot_be_written_is_found_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let with = |file: &Path| {
            let tags_file = Some(file.to_str().unwrap().to_owned());
            let layer = Layer { node_name: Some("n".into()), tags_file, ..Layer::default() };
            let mut settings = Settings::from_layer(layer).unwrap();
            settings.keyring_file = Some(file.into());
            warnings(&settings)
        };
        assert_eq!(with(&directory.path().join("file")), [""; 0]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left behind");
        let told = with(&directory.path().join("none/file"));
        assert_eq!(told.len(), 2, "{told:?}");
        for (told, option) in told.iter().zip(["keyring_file (--keyring-file)", "tags_file (--tags-file)"]) {
            for part in [option, "none/file", "will fail", "may write to"] {
                assert!(told.contains(part), "{part:?} is missing in {told}");
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_mount_of_its_own_is_seen() {
        assert!(is_mounted(Path::new("/proc"), Path::new("/")));
        assert!(!is_mounted(Path::new("/proc/version"), Path::new("/proc")));
    }
}
