//! Finds a channel's log from any of the directories that an operator may name.
//!
//! ```text
//!   DIR                          segments, or checkpoint files, themselves
//!   DIR/flumen                   DIR is one of the channel's dataDirs, or its checkpointDir
//!   DIR/data/flumen, DIR/data    DIR holds both, as Flume's default has it: ~/.flume/file-channel
//! ```
//!
//! The checkpoint directory, unless it is named, is looked for in the same places and beside the data directory.

use std::path::{Path, PathBuf};

use super::{ToolError, read_only};
use crate::directories::Directories;
use crate::format::checkpoint;
use crate::numbers::SegmentNumber;

const SUBFOLDER: &str = "flumen";

/// The log's directories, for looking at them, from a directory of its channel.
pub fn locate(dir: &Path, checkpoint: Option<&Path>) -> Result<Directories, ToolError> {
    let data_places =
        [dir.to_path_buf(), dir.join(SUBFOLDER), dir.join("data").join(SUBFOLDER), dir.join("data")];
    let data = first_with(&data_places, is_data)?;
    let checkpoint = match checkpoint {
        Some(named) => {
            let places = [named.to_path_buf(), named.join(SUBFOLDER)];
            Some(first_with(&places, is_checkpoint)?.unwrap_or_else(|| named.to_path_buf()))
        }
        None => {
            let mut places = data_places.to_vec();
            let beside = data.as_deref().and_then(|data| match data.ends_with(SUBFOLDER) {
                true => data.parent()?.parent(),
                false => data.parent(),
            });
            for base in [Some(dir), beside].into_iter().flatten() {
                places.push(base.join("checkpoint").join(SUBFOLDER));
                places.push(base.join("checkpoint"));
            }
            first_with(&places, is_checkpoint)?
        }
    };
    let (data, checkpoint) = match (data, checkpoint) {
        (Some(data), Some(checkpoint)) => (data, checkpoint),
        // A log needs no checkpoint; a checkpoint alone is the sight of a lost log.
        (Some(data), None) => (data.clone(), data),
        (None, Some(checkpoint)) => (checkpoint.clone(), checkpoint),
        (None, None) => return Err(ToolError::NoLog { path: dir.to_path_buf() }),
    };
    let open = |path: &Path| {
        read_only::open(path).map_err(|source| ToolError::Io { path: path.to_path_buf(), source })
    };
    let opened = open(&data)?;
    let checkpoint = if checkpoint == data { opened.clone() } else { open(&checkpoint)? };
    Ok(Directories { data: opened, checkpoint })
}

fn is_data(name: &str) -> bool {
    SegmentNumber::parse(name).is_some() || SegmentNumber::parse_spare(name).is_some()
}

fn is_checkpoint(name: &str) -> bool {
    checkpoint::FILE_NAMES.contains(&name)
}

/// The first of `places` that has a file of that kind.
fn first_with(places: &[PathBuf], wanted: fn(&str) -> bool) -> Result<Option<PathBuf>, ToolError> {
    for place in places {
        let entries = match std::fs::read_dir(place) {
            Ok(entries) => entries,
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
                ) =>
            {
                continue;
            }
            Err(source) => return Err(ToolError::Io { path: place.clone(), source }),
        };
        for entry in entries {
            let entry = entry.map_err(|source| ToolError::Io { path: place.clone(), source })?;
            if entry.file_name().to_str().is_some_and(wanted) {
                return Ok(Some(place.clone()));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directory_of_a_channel_leads_to_its_log() {
        let temp = tempfile::tempdir().unwrap();
        let (data, checkpoint) = (temp.path().join("data/flumen"), temp.path().join("checkpoint/flumen"));
        for (dir, file) in [(&data, SegmentNumber(3).file_name()), (&checkpoint, "checkpoint-0".into())] {
            std::fs::create_dir_all(dir).unwrap();
            std::fs::write(dir.join(file), b"").unwrap();
        }
        for dir in [temp.path(), &temp.path().join("data"), &data] {
            let found = locate(dir, None).unwrap();
            assert_eq!(
                (found.data.path(), found.checkpoint.path()),
                (&*data, &*checkpoint),
                "{}",
                dir.display()
            );
        }
        let alone = locate(&checkpoint, None).unwrap();
        assert_eq!((alone.data.path(), alone.checkpoint.path()), (&*checkpoint, &*checkpoint));
        let named = locate(&data, Some(&temp.path().join("checkpoint"))).unwrap();
        assert_eq!(named.checkpoint.path(), checkpoint);
    }

    #[test]
    fn a_directory_without_a_log_is_an_error_that_names_it() {
        let temp = tempfile::tempdir().unwrap();
        let error = locate(temp.path(), None).unwrap_err();
        assert!(error.to_string().contains(&*temp.path().to_string_lossy()), "{error}");
    }
}
