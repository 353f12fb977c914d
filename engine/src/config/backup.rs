//! `-b DIR`: the last configuration that was read, kept as `DIR/.<agent>.properties` for a start at which the files
//! cannot be read.
//!
//! It holds the merged properties before substitution, passwords included: its mode is 0600, whatever stood there before. It
//! is written to a new file beside its place and renamed, so that a crash leaves the old one or the new one, and nothing is
//! written through a link that somebody else put there.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::files::{ConfigFile, FileContent, ReadError};
use super::merged::Properties;

/// Writes the backup of `agent` and returns its path.
pub fn write_backup(directory: &Path, agent: &str, properties: &Properties) -> io::Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    let path = backup_path(directory, agent);
    // A name that nobody can expect, and a file that was not there: an existing one keeps its mode and its readers.
    let random = getrandom::u64().map_err(|error| io::Error::other(error.to_string()))?;
    let beside = path.with_extension(format!("properties.{random:016x}.new"));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = write_over(&mut file, properties.to_text().as_bytes(), &beside, &path);
    if written.is_err() {
        std::fs::remove_file(&beside).ok();
    }
    written.map(|()| path)
}

fn write_over(file: &mut File, bytes: &[u8], beside: &Path, path: &Path) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(beside, path)
}

/// Reads the backup of `agent`.
pub fn read_backup(directory: &Path, agent: &str) -> Result<FileContent, ReadError> {
    let path = backup_path(directory, agent);
    ConfigFile { name: path.display().to_string().into(), path }.read()
}

fn backup_path(directory: &Path, agent: &str) -> PathBuf {
    directory.join(format!(".{}.properties", agent.replace('/', "_")))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::config::Environment;

    fn properties(text: &str) -> Properties {
        let content = FileContent { name: "f".into(), bytes: text.into() };
        Properties::merge(&[content], &Environment::default())
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_backup_that_others_may_read_or_a_link_in_its_place_is_replaced_and_not_written_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".a1.properties");
        let other = directory.path().join("other");
        std::fs::write(&other, "other").unwrap();
        for beside in ["properties", "properties.new"] {
            symlink(&other, path.with_extension(beside)).unwrap();
        }
        assert_eq!(write_backup(directory.path(), "a1", &properties("a1.sources = r1\n")).unwrap(), path);
        assert_eq!(std::fs::read(&other).unwrap(), b"other");
        assert!(std::fs::symlink_metadata(&path).unwrap().is_file() && mode(&path) == 0o600);

        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        let mut reader = File::open(&path).unwrap();
        write_backup(directory.path(), "a1", &properties("a1.password = secret\n")).unwrap();
        let mut seen = String::new();
        io::Read::read_to_string(&mut reader, &mut seen).unwrap();
        assert!(!seen.contains("secret") && mode(&path) == 0o600, "{seen}");
    }

    #[test]
    fn a_backup_that_cannot_be_written_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        // Nothing is renamed over a directory.
        std::fs::create_dir(directory.path().join(".a1.properties")).unwrap();
        write_backup(directory.path(), "a1", &properties("a1.sources = r1\n")).unwrap_err();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_backup_reads_back_as_the_same_properties_and_only_its_owner_may_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let text = "a1.sources = r1\na1.sources.r1.command = tail -F ${env:HOME}/x | grep '\\\\d#'\n";
        let content = FileContent { name: "f".into(), bytes: text.into() };
        let environment = Environment::default();
        let properties = Properties::merge(&[content], &environment);
        let path = write_backup(directory.path(), "a1", &properties).unwrap();
        assert_eq!(path.file_name().unwrap(), ".a1.properties");
        assert_eq!(mode(&path), 0o600);

        let again = Properties::merge(&[read_backup(directory.path(), "a1").unwrap()], &environment);
        let raw = |properties: &Properties| {
            properties.values.iter().map(|(key, value)| (key.clone(), value.raw.clone())).collect::<Vec<_>>()
        };
        assert_eq!(raw(&again), raw(&properties));
        assert_eq!(again.problems.len(), properties.problems.len());
    }
}
