//! `-b DIR`: the last configuration that was read, kept as `DIR/.<agent>.properties` for a start at which the files
//! cannot be read.
//!
//! It holds the merged properties before substitution, passwords included: its mode is 0600. It is written beside its
//! place and renamed, so that a crash leaves the old one or the new one.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::files::{ConfigFile, FileContent, ReadError};
use super::merged::Properties;

/// Writes the backup of `agent` and returns its path.
pub fn write_backup(directory: &Path, agent: &str, properties: &Properties) -> io::Result<PathBuf> {
    std::fs::create_dir_all(directory)?;
    let path = backup_path(directory, agent);
    let beside = path.with_extension("properties.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(properties.to_text().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&beside, &path)?;
    Ok(path)
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
    use super::*;
    use crate::config::Environment;

    #[test]
    fn a_backup_reads_back_as_the_same_properties_and_only_its_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt;

        let directory = tempfile::tempdir().unwrap();
        let text = "a1.sources = r1\na1.sources.r1.command = tail -F ${env:HOME}/x | grep '\\\\d#'\n";
        let content = FileContent { name: "f".into(), bytes: text.into() };
        let environment = Environment::default();
        let properties = Properties::merge(&[content], &environment);
        let path = write_backup(directory.path(), "a1", &properties).unwrap();
        assert_eq!(path.file_name().unwrap(), ".a1.properties");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let again = Properties::merge(&[read_backup(directory.path(), "a1").unwrap()], &environment);
        let raw = |properties: &Properties| {
            properties.values.iter().map(|(key, value)| (key.clone(), value.raw.clone())).collect::<Vec<_>>()
        };
        assert_eq!(raw(&again), raw(&properties));
        assert_eq!(again.problems.len(), properties.problems.len());
    }
}
