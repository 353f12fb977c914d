//! Finds a channel's log from any of the directories that an operator may name.
//!
//! ```text
//!   DIR                          segments, or checkpoint files, themselves
//!   DIR/flumen                   DIR is one of the channel's dataDirs, or its checkpointDir
//!   DIR/data/flumen, DIR/data    DIR holds both, as Flume's default has it: ~/.flume/file-channel
//! ```
//!
//! The checkpoint directory, unless it is named, is looked for in the same places and beside the data directory. Of several
//! data directories any one leads to the others.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ToolError, read_only};
use crate::directories::Directories;
use crate::environment::System;
use crate::format::checkpoint;
use crate::storage::{Directory, striped};

const SUBFOLDER: &str = "flumen";

/// Opens a directory.
pub type Opener<'a> = dyn Fn(&Path) -> io::Result<Arc<dyn Directory>> + 'a;

/// The log's directories, for looking at them, from a directory of its channel.
pub fn locate(dir: &Path, checkpoint: Option<&Path>) -> Result<Directories, ToolError> {
    locate_with(dir, checkpoint, &|path| read_only::open(path))
}

/// The same, opened by `open`.
pub fn locate_with(
    dir: &Path,
    checkpoint: Option<&Path>,
    open: &Opener<'_>,
) -> Result<Directories, ToolError> {
    let data_places =
        [dir.to_path_buf(), dir.join(SUBFOLDER), dir.join("data").join(SUBFOLDER), dir.join("data")];
    let found = first_with(&data_places, striped::is_of_log)?;
    let opened = found.as_deref().map(|found| all_lanes(found, open)).transpose()?;
    let data = opened.as_ref().map(|data| data.path().to_path_buf());
    let checkpoint = match checkpoint {
        Some(named) => {
            let places = [named.to_path_buf(), named.join(SUBFOLDER)];
            Some(first_with(&places, is_checkpoint)?.unwrap_or_else(|| named.to_path_buf()))
        }
        None => {
            let mut places = data_places.to_vec();
            let beside = |data: &PathBuf| match data.ends_with(SUBFOLDER) {
                true => data.parent()?.parent().map(Path::to_path_buf),
                false => data.parent().map(Path::to_path_buf),
            };
            let bases = data.iter().chain(&found).filter_map(beside);
            for base in std::iter::once(dir.to_path_buf()).chain(bases) {
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
    let opened = match opened {
        Some(opened) => opened,
        None => named(&data, open)?,
    };
    let checkpoint = if checkpoint == data { opened.clone() } else { named(&checkpoint, open)? };
    Ok(Directories { data: opened, checkpoint })
}

fn named(path: &Path, open: &Opener<'_>) -> Result<Arc<dyn Directory>, ToolError> {
    open(path).map_err(|source| ToolError::Io { path: path.to_path_buf(), source })
}

/// The data directory of which `part` is one, or all.
fn all_lanes(part: &Path, open: &Opener<'_>) -> Result<Arc<dyn Directory>, ToolError> {
    let part = named(part, open)?;
    let Some(paths) = striped::paths(&*part)? else { return Ok(part) };
    // What the first one says counts.
    let zero = named(&paths[0], open)?;
    let paths = striped::paths(&*zero)?.unwrap_or(paths);
    let lanes: Vec<_> = paths.iter().map(|path| named(path, open)).collect::<Result<_, _>>()?;
    Ok(striped::open(&lanes, striped::UNIT, &System::default(), open)?)
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
    use crate::numbers::SegmentNumber;
    use crate::storage;

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
    fn any_of_several_data_directories_leads_to_the_others() {
        let temp = tempfile::tempdir().unwrap();
        let paths = ["disk1/data/flumen", "disk2/data/flumen", "disk1/checkpoint/flumen"];
        let [one, other, checkpoint] = paths.map(|path| temp.path().join(path));
        for path in [&one, &other, &checkpoint] {
            std::fs::create_dir_all(path).unwrap();
        }
        let writable = |path: &Path| storage::open(path, storage::Backend::Std).map(|(opened, _)| opened);
        let lanes = [writable(&one).unwrap(), writable(&other).unwrap()];
        let data = striped::open(&lanes, striped::UNIT, &System::default(), &writable).unwrap();
        let name = SegmentNumber(3).file_name();
        data.create(&name).unwrap().allocate(1 << 20).unwrap();
        std::fs::write(checkpoint.join("checkpoint-0"), b"").unwrap();
        for dir in [&one, &other, &temp.path().join("disk2/data"), &temp.path().join("disk1")] {
            let found = locate(dir, None).unwrap();
            assert_eq!(
                (found.data.path(), found.checkpoint.path()),
                (&*one, &*checkpoint),
                "{}",
                dir.display()
            );
            assert_eq!(found.data.open(&name).unwrap().len().unwrap(), 1 << 20);
        }
        std::fs::rename(&other, temp.path().join("elsewhere")).unwrap();
        let error = locate(&one, None).unwrap_err();
        assert!(error.to_string().contains(&*other.to_string_lossy()), "{error}");
    }

    #[test]
    fn a_directory_without_a_log_is_an_error_that_names_it() {
        let temp = tempfile::tempdir().unwrap();
        let error = locate(temp.path(), None).unwrap_err();
        assert!(error.to_string().contains(&*temp.path().to_string_lossy()), "{error}");
    }
}
