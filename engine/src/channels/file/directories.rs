//! Where a file channel's bytes are.
//!
//! ```text
//!   <dataDirs[0]>/flumen/     segments, lock            mode 0700
//!   <checkpointDir>/flumen/   checkpoint slots, lock    mode 0700
//! ```
//!
//! The directories themselves may be Flume's own. Flume's data in them is never read and never touched; a start beside
//! it is refused, for the operator may believe that what Flume left there will be delivered.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flumen_api::channel::OpenError;
use flumen_api::registry::Storage;
use flumen_wal::Directories;
use flumen_wal::storage::{self, Backend, Directory};

/// Our subfolder.
const SUBFOLDER: &str = "flumen";

/// Checks, creates and opens the directories of a channel. With them comes a line for the agent's log, which says how they
/// are written; two if they are written in different ways.
pub(super) fn open(
    checkpoint_dir: &Path,
    data_dirs: &[PathBuf],
    ignore_flume_data: bool,
    storage: Storage,
) -> Result<(Directories, Vec<String>), OpenError> {
    let Some((data_dir, others)) = data_dirs.split_first() else {
        return Err(OpenError::Config("dataDirs names no directory".into()));
    };
    // All checks come first: a refused start changes nothing.
    if !ignore_flume_data {
        for dir in data_dirs.iter().map(PathBuf::as_path).chain([checkpoint_dir]) {
            refuse_flume_data(dir)?;
        }
    }
    for other in others {
        refuse_log_in(other, data_dir)?;
    }
    let data_path = create(data_dir)?;
    let checkpoint_path = create(checkpoint_dir)?;
    let (data, line) = open_storage(&data_path, storage)?;
    let mut lines = vec![line];
    let checkpoint = if same(&data_path, &checkpoint_path)? {
        data.clone()
    } else {
        let (checkpoint, line) = open_storage(&checkpoint_path, storage)?;
        if checkpoint.describe() != data.describe() {
            lines.push(line);
        }
        checkpoint
    };
    Ok((Directories { data, checkpoint }, lines))
}

fn refuse_flume_data(dir: &Path) -> Result<(), OpenError> {
    let Some(found) = names(dir)?.into_iter().find(|name| is_flume_data(name)) else { return Ok(()) };
    Err(OpenError::Foreign(format!(
        "{} holds data of Apache Flume's file channel ({found}), which is not read here. Let Flume deliver it (stop the \
         sources, run Flume until its channel is empty) and move the files away; or name new directories in checkpointDir \
         and dataDirs; or, if the data is not needed, start once with --ignore-flume-data",
        dir.display()
    )))
}

/// Whether a file of this name is data that Flume's file channel keeps. Its `in_use.lock` alone is not.
fn is_flume_data(name: &str) -> bool {
    let log = name.strip_prefix("log-").map(|rest| rest.strip_suffix(".meta").unwrap_or(rest));
    let is_log = log.is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()));
    const CHECKPOINT: &[&str] =
        &["checkpoint", "checkpoint.meta", "inflightputs", "inflighttakes", "queueset"];
    is_log || CHECKPOINT.contains(&name)
}

/// The log lies in the first of `dataDirs`: a log in a later one was the first before, and its events would be left behind.
fn refuse_log_in(other: &Path, first: &Path) -> Result<(), OpenError> {
    let folder = other.join(SUBFOLDER);
    let (Ok(other_path), first_path) = (folder.canonicalize(), first.join(SUBFOLDER).canonicalize()) else {
        return Ok(());
    };
    if first_path.is_ok_and(|first_path| first_path == other_path) {
        return Ok(());
    }
    match names(&folder)?.into_iter().any(|name| name != storage::LOCK_FILE) {
        false => Ok(()),
        true => Err(OpenError::Config(format!(
            "{} holds a log, but dataDirs names {} first, and only the first directory is used: name {} first, or move \
             its folder `{SUBFOLDER}` to {}",
            other.display(),
            first.display(),
            other.display(),
            first.display()
        ))),
    }
}

/// Names in a directory; none if it does not exist.
fn names(dir: &Path) -> Result<Vec<String>, OpenError> {
    let named = |error: io::Error| OpenError::Other(format!("cannot list {}: {error}", dir.display()));
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(named(error)),
    };
    entries.map(|entry| Ok(entry.map_err(named)?.file_name().to_string_lossy().into_owned())).collect()
}

/// Creates the directory and our subfolder in it, durably; returns the subfolder's path.
fn create(dir: &Path) -> Result<PathBuf, OpenError> {
    let folder = dir.join(SUBFOLDER);
    create_durably(&folder, 0o700)
        .map_err(|error| OpenError::Other(format!("cannot create {}: {error}", folder.display())))?;
    Ok(folder)
}

/// Makes `path`, with `mode`, and the directories above it that are missing. A log whose directory is gone after a power
/// cut would be as lost as its bytes, so each new entry is synced.
fn create_durably(path: &Path, mode: u32) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_durably(parent, 0o777)?;
    match DirBuilder::new().mode(mode).create(path) {
        // Another channel or process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        created => created?,
    }
    File::open(parent)?.sync_all()
}

fn open_storage(path: &Path, storage: Storage) -> Result<(Arc<dyn Directory>, String), OpenError> {
    let (backend, asked) = match storage {
        Storage::Auto => (Backend::Auto, ""),
        Storage::Uring => (Backend::Uring, "; -Dflumen.storage=uring asks for it"),
        Storage::Std => (Backend::Std, "; -Dflumen.storage=std asks for it"),
    };
    match storage::open(path, backend) {
        Ok((directory, line)) => Ok((directory, line + asked)),
        Err(error) if storage == Storage::Uring && error.kind() == io::ErrorKind::Unsupported => {
            let remedy = "-Dflumen.storage=auto writes with threads instead";
            Err(OpenError::Other(format!("cannot open {error}; {remedy}")))
        }
        Err(error) => Err(OpenError::Other(format!("cannot open {error}"))),
    }
}

fn same(a: &Path, b: &Path) -> Result<bool, OpenError> {
    let resolved = |path: &Path| {
        path.canonicalize()
            .map_err(|error| OpenError::Other(format!("cannot resolve {}: {error}", path.display())))
    };
    Ok(resolved(a)? == resolved(b)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn flumes_files_are_recognised_and_others_are_not() {
        for name in [
            "log-1",
            "log-12.meta",
            "checkpoint",
            "checkpoint.meta",
            "inflightputs",
            "inflighttakes",
            "queueset",
        ] {
            assert!(is_flume_data(name), "{name}");
        }
        for name in [
            "flumen",
            "in_use.lock",
            "log-",
            "log-x",
            "log-1.bak",
            "log-.meta",
            "access-log-1",
            "backupComplete",
        ] {
            assert!(!is_flume_data(name), "{name}");
        }
    }

    #[test]
    fn a_start_beside_flumes_data_is_refused_and_changes_nothing() {
        let temp = tempfile::tempdir().expect("a directory");
        let (checkpoint, data) = (temp.path().join("c"), temp.path().join("d"));
        fs::create_dir(&data).expect("created");
        fs::write(data.join("log-3"), b"").expect("written");
        let error =
            open(&checkpoint, std::slice::from_ref(&data), false, Storage::Auto).expect_err("refused");
        let OpenError::Foreign(error) = error else { panic!("{error:?}") };
        for part in ["log-3", "--ignore-flume-data", "new directories", &*data.to_string_lossy()] {
            assert!(error.contains(part), "{error}");
        }
        assert!(!checkpoint.exists());
        assert_eq!(fs::read_dir(&data).expect("listed").count(), 1);
        open(&checkpoint, &[data], true, Storage::Auto).expect("the operator says so");
    }

    #[test]
    fn our_folders_are_private_and_missing_parents_are_made() {
        let temp = tempfile::tempdir().expect("a directory");
        let (checkpoint, data) = (temp.path().join("a/b/c"), temp.path().join("a/d"));
        open(&checkpoint, std::slice::from_ref(&data), false, Storage::Auto).expect("opened");
        for dir in [checkpoint, data] {
            let mode = fs::metadata(dir.join("flumen")).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o700);
        }
    }

    #[test]
    fn a_log_in_a_later_directory_is_not_left_behind() {
        let temp = tempfile::tempdir().expect("a directory");
        let (checkpoint, old, new) =
            (temp.path().join("c"), temp.path().join("old"), temp.path().join("new"));
        open(&checkpoint, &[old.clone(), new.clone()], false, Storage::Auto).expect("opened");
        fs::write(old.join("flumen/segment"), b"").expect("written");
        open(&checkpoint, &[old.clone(), new.clone()], false, Storage::Auto).expect("as before");
        let error = open(&checkpoint, &[new, old.clone()], false, Storage::Auto).expect_err("another order");
        let OpenError::Config(error) = error else { panic!("{error:?}") };
        assert!(error.contains(&*old.to_string_lossy()), "{error}");
    }

    #[test]
    fn checkpoint_and_data_may_share_a_directory() {
        let temp = tempfile::tempdir().expect("a directory");
        let dir = temp.path().join("both");
        let (directories, lines) =
            open(&dir, std::slice::from_ref(&dir), false, Storage::Auto).expect("opened");
        assert_eq!(directories.data.path(), directories.checkpoint.path());
        assert_eq!(lines.len(), 1);
    }

    #[test]
    fn the_storage_asked_for_is_the_one_that_runs_and_the_line_says_so() {
        let temp = tempfile::tempdir().expect("a directory");
        let (checkpoint, data) = (temp.path().join("c"), temp.path().join("d"));
        let opened = |storage| open(&checkpoint, std::slice::from_ref(&data), false, storage);
        let (directories, lines) = opened(Storage::Std).expect("threads work everywhere");
        assert!(directories.data.describe().starts_with("std "), "{directories:?}");
        assert!(directories.checkpoint.describe().starts_with("std "), "{directories:?}");
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert!(line.contains(": std ") && line.contains("-Dflumen.storage=std"), "{line}");
        match opened(Storage::Uring) {
            Ok((directories, _)) => assert!(directories.data.describe().starts_with("uring")),
            Err(error) => assert!(error.to_string().contains("-Dflumen.storage=auto"), "{error}"),
        }
    }
}
