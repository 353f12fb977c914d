//! What becomes of a file once all that was read of it is acked: renamed, deleted or marked; or set aside.
//!
//! ```text
//!                  trackingPolicy = rename        trackingPolicy = tracker_dir
//!   read          <file><fileSuffix>              empty  <trackerDir>/<relative path><fileSuffix>
//!   set aside     <file><errorSuffix>[.n]         <trackerDir>/<relative path><errorSuffix>, the reason in it
//! ```
//!
//! No name is ever taken from a file that has it: whose name was used before is set aside, although all of it is put.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use super::listing::{Rules, with_suffix};
use super::reading::{Reading, Verdict};
use crate::files::{Status, status_at};

/// What becomes of files that were read to their end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Rename,
    Delete,
    Mark,
}

/// What became of one.
#[derive(Debug)]
pub(super) enum Settled {
    /// It is read, and known to be.
    Done,
    /// It was set aside: what now says so, and why.
    Aside(PathBuf, String),
    /// It has left the directory.
    Gone,
}

/// Settles `reading`. Directories that have to be synced before anybody may rely on it are added to `changed`. An error
/// left all as it was.
pub(super) fn settle(
    reading: &mut Reading,
    rules: &Rules,
    fate: Fate,
    changed: &mut Vec<PathBuf>,
) -> io::Result<Settled> {
    let Some(status) = find(reading, rules)? else { return Ok(Settled::Gone) };
    let why = match &reading.verdict {
        Some(Verdict::Aside(why)) => Some(why.clone()),
        _ => reading.memo.change(&status),
    };
    if let Some(why) = why {
        return set_aside(reading, rules, why, changed);
    }
    let directory = parent(&reading.path);
    match fate {
        Fate::Delete => {
            fs::remove_file(&reading.path)?;
            changed.push(directory);
        }
        Fate::Rename => {
            let to = with_suffix(&reading.path, &rules.done_suffix);
            match rename(&reading.path, &to) {
                Ok(()) => changed.push(directory),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return set_aside(reading, rules, used_before(&to), changed);
                }
                Err(error) => return Err(error),
            }
        }
        Fate::Mark => {
            let Some(marks) = &rules.marks else { return Ok(Settled::Done) };
            let mark = with_suffix(&marks.join(&reading.relative), &rules.done_suffix);
            match make(&mark, b"", changed) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    return set_aside(reading, rules, used_before(&mark), changed);
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(Settled::Done)
}

fn used_before(taken: &Path) -> String {
    format!("its name was used before: {} is there; all of it is in the channel", taken.display())
}

/// The file's status, under the name that it has now; `None` if it has none in the directory any more.
fn find(reading: &mut Reading, rules: &Rules) -> io::Result<Option<Status>> {
    match status_at(&reading.path) {
        Ok(status) if status.id == reading.id => return Ok(Some(status)),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut candidates = rules.list().candidates.into_iter();
    let Some(found) = candidates.find(|candidate| candidate.status.id == reading.id) else { return Ok(None) };
    tracing::info!(from = %reading.path.display(), to = %found.path.display(), "file renamed while it was read");
    reading.path = found.path;
    reading.relative = found.relative;
    Ok(Some(found.status))
}

fn set_aside(
    reading: &Reading,
    rules: &Rules,
    why: String,
    changed: &mut Vec<PathBuf>,
) -> io::Result<Settled> {
    if let Some(marks) = &rules.marks {
        let mark = with_suffix(&marks.join(&reading.relative), &rules.error_suffix);
        match make(&mark, format!("{why}\n").as_bytes(), changed) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => return Ok(Settled::Aside(mark, why)),
        }
    }
    let first = with_suffix(&reading.path, &rules.error_suffix);
    let mut to = first.clone();
    for number in 2_u64.. {
        match rename(&reading.path, &to) {
            Ok(()) => break,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                to = with_suffix(&first, &format!(".{number}"));
            }
            Err(error) => return Err(error),
        }
    }
    changed.push(parent(&to));
    Ok(Settled::Aside(to, why))
}

/// Renames, unless there is a file of the new name.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that cannot do both in one step.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            if to.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        result => Ok(result?),
    }
}

/// Makes a file that is not there yet, with its directories.
fn make(path: &Path, content: &[u8], changed: &mut Vec<PathBuf>) -> io::Result<()> {
    let directory = parent(path);
    fs::create_dir_all(&directory)?;
    let mut file = File::create_new(path)?;
    file.write_all(content)?;
    file.sync_all()?;
    changed.push(directory);
    Ok(())
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("/")).to_path_buf()
}
