//! Where a file channel's bytes are.
//!
//! ```text
//!   <dataDirs[i]>/flumen/     segments, or a piece of each, lock            mode 0700
//!   <checkpointDir>/flumen/   checkpoint slots, lock                        mode 0700
//! ```
//!
//! Several data directories are one to the log: `flumen_wal::storage::striped` lays each file over all of them, and says which
//! directory is which part. Directories that do not fit together are refused before anything is created.
//!
//! The directories themselves may be Flume's own. Flume's data in them is never read and never touched; a start beside
//! it is refused, for the operator may believe that what Flume left there will be delivered.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flumen_api::channel::OpenError;
use flumen_api::registry::Storage;
use flumen_wal::storage::striped::{self, LanesError, Named};
use flumen_wal::storage::{self, Backend, Directory};
use flumen_wal::{Directories, System, tools};

/// A directory, and a line that says how it is written.
type Opened = (Arc<dyn Directory>, String);

/// Our subfolder.
const SUBFOLDER: &str = "flumen";
/// Its mode: whoever may read a segment reads the events.
const MODE: u32 = 0o700;

/// Checks, creates and opens the directories of a channel. With them come lines for the agent's log, which say how they
/// are written.
pub(super) fn open(
    checkpoint_dir: &Path,
    data_dirs: &[PathBuf],
    ignore_flume_data: bool,
    storage: Storage,
) -> Result<(Directories, Vec<String>), OpenError> {
    if data_dirs.is_empty() {
        return Err(OpenError::Config("dataDirs names no directory".into()));
    }
    // All checks come first: a refused start changes nothing.
    if !ignore_flume_data {
        for dir in data_dirs.iter().map(PathBuf::as_path).chain([checkpoint_dir]) {
            refuse_flume_data(dir)?;
        }
    }
    let folders: Vec<_> = data_dirs.iter().map(|dir| dir.join(SUBFOLDER)).collect();
    refuse_twice(&folders, &checkpoint_dir.join(SUBFOLDER))?;
    arrange(&folders)?;
    let mut closed = Vec::new();
    for dir in data_dirs {
        create(dir, &mut closed)?;
    }
    let checkpoint_path = create(checkpoint_dir, &mut closed)?;
    refuse_twice(&folders, &checkpoint_path)?;
    let (lanes, mut lines): (Vec<_>, Vec<_>) = open_all(&folders, storage)?.into_iter().unzip();
    lines.append(&mut closed);
    let find = |path: &Path| Ok(open_alike(path, &lanes)?.0);
    let data = striped::open(&lanes, striped::UNIT, &System::default(), &find)
        .map_err(|error| lanes_error(&error))?;
    let first = lanes.iter().zip(&folders).find(|(lane, _)| lane.path() == data.path());
    let checkpoint = match first {
        Some((_, folder)) if same(folder, &checkpoint_path)? => data.clone(),
        _ => {
            let (checkpoint, line) = open_storage(&checkpoint_path, storage)?;
            if checkpoint.describe() != lanes[0].describe() {
                lines.push(line);
            }
            checkpoint
        }
    };
    Ok((Directories { data, checkpoint }, lines))
}

/// Opens all data directories with the same kind of queue, for one queue writes to all of them: threads if a ring cannot.
fn open_all(folders: &[PathBuf], storage: Storage) -> Result<Vec<Opened>, OpenError> {
    let open = |storage| -> Result<Vec<_>, OpenError> {
        folders.iter().map(|folder| open_storage(folder, storage)).collect()
    };
    let opened = open(storage)?;
    if opened.windows(2).any(|pair| pair[0].0.describe() != pair[1].0.describe()) {
        return open(Storage::Std);
    }
    Ok(opened)
}

/// Opens a directory as the others were.
fn open_alike(path: &Path, lanes: &[Arc<dyn Directory>]) -> io::Result<Opened> {
    let ring = lanes.iter().all(|lane| lane.describe().starts_with("uring"));
    storage::open(path, if ring { Backend::Uring } else { Backend::Std })
}

/// Refuses folders that do not belong together, as far as they exist.
fn arrange(folders: &[PathBuf]) -> Result<(), OpenError> {
    let mut looked_at = Vec::new();
    for folder in folders {
        looked_at.push(match tools::open_read_only(folder) {
            Ok(directory) => Some(directory),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                return Err(OpenError::Other(format!("cannot open {}: {error}", folder.display())));
            }
        });
    }
    let named: Vec<_> = folders
        .iter()
        .zip(&looked_at)
        .map(|(path, directory)| Named { path, directory: directory.as_deref() })
        .collect();
    striped::arrange(&named).map(drop).map_err(|error| lanes_error(&error))
}

fn lanes_error(error: &LanesError) -> OpenError {
    match error {
        LanesError::Io { .. } => OpenError::Other(error.to_string()),
        LanesError::Unfit { .. } | LanesError::Newer { .. } => OpenError::Foreign(error.to_string()),
    }
}

/// Each of several directories is a disk of its own, and one lock is held in each.
fn refuse_twice(folders: &[PathBuf], checkpoint: &Path) -> Result<(), OpenError> {
    for (at, folder) in folders.iter().enumerate() {
        if let Some(other) = folders[..at].iter().find(|other| is_same(folder, other)) {
            let (one, other) = (folder.display(), other.display());
            return Err(OpenError::Config(format!("dataDirs names one directory twice: {other} and {one}")));
        }
    }
    if folders.len() > 1 && folders.iter().any(|folder| is_same(folder, checkpoint)) {
        return Err(OpenError::Config(format!(
            "{} is checkpointDir and one of several dataDirs: name another checkpointDir",
            checkpoint.display()
        )));
    }
    Ok(())
}

/// Whether both are the same path, or lead to the same directory where they exist.
fn is_same(one: &Path, other: &Path) -> bool {
    one == other || same(one, other).unwrap_or(false)
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

/// Creates the directory and our subfolder in it, durably; returns the subfolder's path. A subfolder that others may enter is
/// closed to them, with a line; where that is not permitted, the channel runs all the same and a warning says so.
fn create(dir: &Path, lines: &mut Vec<String>) -> Result<PathBuf, OpenError> {
    let folder = dir.join(SUBFOLDER);
    let failed = |error| OpenError::Other(format!("cannot create {}: {error}", folder.display()));
    create_durably(&folder, MODE).map_err(failed)?;
    let mode = fs::metadata(&folder).map_err(failed)?.permissions().mode() & 0o777;
    if mode & !MODE != 0 {
        let open = format!("{} had mode {mode:04o}, and what it holds are the events", folder.display());
        match fs::set_permissions(&folder, PermissionsExt::from_mode(MODE)) {
            Ok(()) => lines.push(format!("{open}: it is 0700 now")),
            Err(error) => tracing::warn!("{open}: it could not be made 0700: {error}"),
        }
    }
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

fn open_storage(path: &Path, storage: Storage) -> Result<Opened, OpenError> {
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
    fn a_folder_that_others_may_enter_is_closed_to_them_with_a_line() {
        let temp = tempfile::tempdir().expect("a directory");
        let (checkpoint, data) = (temp.path().join("c"), temp.path().join("d"));
        let folders = [&checkpoint, &data].map(|dir| dir.join("flumen"));
        let open = || open(&checkpoint, std::slice::from_ref(&data), false, Storage::Std).expect("opened").1;
        let about = |lines: &[String]| lines.iter().filter(|line| line.contains("0700")).count();
        assert_eq!(about(&open()), 0);
        for folder in &folders {
            fs::set_permissions(folder, PermissionsExt::from_mode(0o755)).expect("ours");
        }
        let lines = open();
        assert_eq!(about(&lines), 2, "{lines:?}");
        for folder in &folders {
            assert_eq!(fs::metadata(folder).expect("there").permissions().mode() & 0o777, 0o700);
            assert!(
                lines.iter().any(|line| line.contains(&*folder.to_string_lossy()) && line.contains("0755"))
            );
        }
        assert_eq!(about(&open()), 0);
    }

    #[test]
    fn directories_that_do_not_belong_together_are_refused_before_anything_is_made() {
        let temp = tempfile::tempdir().expect("a directory");
        let [checkpoint, one, other, new] = ["c", "1", "2", "3"].map(|name| temp.path().join(name));
        for dir in [&one, &other] {
            fs::create_dir_all(dir.join("flumen")).expect("made");
            fs::write(dir.join("flumen/segment-0000000000000001.log"), b"").expect("written");
        }
        let refused = |dirs: &[&PathBuf]| {
            let dirs: Vec<_> = dirs.iter().map(|dir| (*dir).clone()).collect();
            let error = open(&checkpoint, &dirs, false, Storage::Auto).expect_err("refused");
            assert!(!checkpoint.exists() && !new.exists());
            error.to_string()
        };
        assert!(refused(&[&new, &one, &other]).contains("2/flumen: it holds a log"));
        assert!(refused(&[&one, &new, &one]).contains("names one directory twice"));
        let error = open(&new, &[one, new.clone()], false, Storage::Auto).expect_err("refused");
        assert!(error.to_string().contains("name another checkpointDir") && !new.exists(), "{error}");
    }

    #[test]
    fn several_directories_are_one_whatever_their_order() {
        let temp = tempfile::tempdir().expect("a directory");
        let [checkpoint, one, other] = ["c", "1", "2"].map(|name| temp.path().join(name));
        for dirs in [[&one, &other], [&other, &one]] {
            let dirs = dirs.map(Clone::clone);
            let (directories, lines) = open(&checkpoint, &dirs, false, Storage::Std).expect("opened");
            assert_eq!(directories.data.path(), one.join("flumen"));
            assert!(directories.data.describe().ends_with("over 2 directories"), "{directories:?}");
            assert_eq!(lines.len(), 2, "{lines:?}");
            // A lock is no change: by the first one the directories are arranged for good.
            let file = directories.data.create("spare-0000000000000001.log").expect("made");
            file.allocate(1 << 20).expect("room");
            directories.data.remove("spare-0000000000000001.log").expect("removed");
        }
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
