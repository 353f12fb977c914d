//! Which files wait to be read, in which order, and which ones were set aside.
//!
//! ```text
//!   name begins with a dot            not ours
//!   name ends with fileSuffix         read to its end
//!   name ends with errorSuffix[.n]    set aside
//!   matches ignorePattern             not ours; nor what is below a directory whose name does
//!   does not match includePattern     not ours
//!   marked below trackerDir           read to its end, or set aside (trackingPolicy = tracker_dir)
//! ```
//!
//! Symbolic links to files are followed, links to directories are not, as Flume's walk does it.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use flumen_java::JavaRegex;

use crate::files::{Status, status_at};

/// Which of two files is read first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Oldest,
    Youngest,
    Random,
}

/// What is looked for, and where.
#[derive(Debug)]
pub(super) struct Rules {
    pub directory: PathBuf,
    pub recursive: bool,
    pub include: JavaRegex,
    pub ignore: JavaRegex,
    pub done_suffix: String,
    pub error_suffix: String,
    pub order: Order,
    /// Where files are marked, if they are not renamed.
    pub marks: Option<PathBuf>,
}

/// A file that waits to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Below the spooling directory.
    pub relative: PathBuf,
    pub path: PathBuf,
    pub status: Status,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// In the order in which they are to be read.
    pub candidates: Vec<Candidate>,
    /// Files that were set aside, or their marks.
    pub aside: Vec<PathBuf>,
    /// Directories and files that could not be looked at.
    pub failures: Vec<(PathBuf, io::Error)>,
}

impl Rules {
    /// Looks through the directory.
    pub fn list(&self) -> Listing {
        let mut listing = Listing::default();
        let marks = self.marks(&mut listing);
        let mut left = vec![PathBuf::new()];
        while let Some(relative) = left.pop() {
            let directory = self.directory.join(&relative);
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                // A directory below may have been removed since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound && !relative.as_os_str().is_empty() => {
                    continue;
                }
                Err(error) => {
                    listing.failures.push((directory, error));
                    continue;
                }
            };
            for entry in entries {
                let (name, kind) = match entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?))) {
                    Ok(found) => found,
                    Err(error) => {
                        listing.failures.push((directory.clone(), error));
                        continue;
                    }
                };
                if kind.is_dir() {
                    let hidden = name.as_bytes().starts_with(b".");
                    if self.recursive && !hidden && !matches(&self.ignore, &name) {
                        left.push(relative.join(name));
                    }
                } else {
                    self.take(&relative, name, &marks, &mut listing);
                }
            }
        }
        listing.candidates.sort_by(|one, other| self.compare(one, other));
        listing
    }

    fn take(&self, directory: &Path, name: OsString, marks: &HashSet<PathBuf>, listing: &mut Listing) {
        if is_set_aside(&name, &self.error_suffix) {
            listing.aside.push(self.directory.join(directory).join(name));
            return;
        }
        if !self.wants(&name) {
            return;
        }
        let relative = directory.join(name);
        if !marks.is_empty() {
            let marked = |suffix: &str| marks.contains(&with_suffix(&relative, suffix));
            if marked(&self.done_suffix) || marked(&self.error_suffix) {
                return;
            }
        }
        let path = self.directory.join(&relative);
        match status_at(&path) {
            Ok(status) if status.regular => listing.candidates.push(Candidate { relative, path, status }),
            // A pipe or a link to a directory has no end.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => listing.failures.push((path, error)),
        }
    }

    /// Whether a file of this name is to be read.
    fn wants(&self, name: &OsStr) -> bool {
        let bytes = name.as_bytes();
        !bytes.starts_with(b".")
            && !bytes.ends_with(self.done_suffix.as_bytes())
            && matches(&self.include, name)
            && !matches(&self.ignore, name)
    }

    /// The marks' paths below the directory of marks. Those of files that were set aside are noted in `listing`.
    fn marks(&self, listing: &mut Listing) -> HashSet<PathBuf> {
        let mut marks = HashSet::new();
        let Some(root) = &self.marks else { return marks };
        let mut left = vec![PathBuf::new()];
        while let Some(relative) = left.pop() {
            let directory = root.join(&relative);
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(error) => {
                    listing.failures.push((directory, error));
                    continue;
                }
            };
            for entry in entries {
                let (name, kind) = match entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?))) {
                    Ok(found) => found,
                    Err(error) => {
                        listing.failures.push((directory.clone(), error));
                        continue;
                    }
                };
                if kind.is_dir() {
                    left.push(relative.join(name));
                } else if name.as_bytes().ends_with(self.done_suffix.as_bytes()) {
                    marks.insert(relative.join(name));
                } else if name.as_bytes().ends_with(self.error_suffix.as_bytes()) {
                    listing.aside.push(directory.join(&name));
                    marks.insert(relative.join(name));
                }
            }
        }
        marks
    }

    /// Times in milliseconds, as Java reads them: two files of one such moment go by name.
    fn compare(&self, one: &Candidate, other: &Candidate) -> Ordering {
        let time = |candidate: &Candidate| candidate.status.modified_ns / 1_000_000;
        let by_time = time(one).cmp(&time(other));
        let by_name = one.relative.file_name().cmp(&other.relative.file_name());
        match self.order {
            Order::Oldest => by_time.then(by_name),
            Order::Youngest => by_time.reverse().then(by_name),
            Order::Random => Ordering::Equal,
        }
    }
}

/// `path` with `suffix` behind its name.
pub(super) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_os_string();
    path.push(suffix);
    path.into()
}

/// A name that is not UTF-8 is matched with its bad bytes replaced; an expression that gives up does not match.
fn matches(regex: &JavaRegex, name: &OsStr) -> bool {
    regex.is_match(&name.to_string_lossy()).unwrap_or(false)
}

/// Whether a name ends with the suffix, or with the suffix, a dot and a number.
fn is_set_aside(name: &OsStr, suffix: &str) -> bool {
    let name = name.as_bytes();
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let without = name[..name.len() - digits].strip_suffix(b".").filter(|_| digits > 0);
    [Some(name), without].into_iter().flatten().any(|name| name.ends_with(suffix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::*;

    struct Room {
        room: tempfile::TempDir,
        rules: Rules,
    }

    impl Room {
        /// Files with these names, each a second younger than the one before.
        fn new(names: &[&str]) -> Self {
            let room = tempfile::tempdir().unwrap();
            let start = SystemTime::now() - Duration::from_secs(1000);
            for (name, second) in names.iter().zip(0..) {
                let path = room.path().join("spool").join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                File::create(path).unwrap().set_modified(start + Duration::from_secs(second)).unwrap();
            }
            let rules = Rules {
                directory: room.path().join("spool"),
                recursive: true,
                include: JavaRegex::whole("^.*$").unwrap(),
                ignore: JavaRegex::whole("^$").unwrap(),
                done_suffix: ".COMPLETED".into(),
                error_suffix: ".REJECTED".into(),
                order: Order::Oldest,
                marks: None,
            };
            Self { room, rules }
        }

        fn found(&self) -> Vec<String> {
            let listing = self.rules.list();
            assert!(listing.failures.is_empty(), "{:?}", listing.failures);
            listing.candidates.iter().map(|one| one.relative.to_str().unwrap().to_string()).collect()
        }
    }

    #[test]
    fn names_say_which_files_wait() {
        let mut room = Room::new(&[
            "b",
            ".hidden",
            "a.COMPLETED",
            "c.REJECTED",
            "d.REJECTED.2",
            "e.tmp",
            "sub/f",
            ".x/g",
        ]);
        room.rules.ignore = JavaRegex::whole(r"([^ ]*\.tmp)").unwrap();
        std::os::unix::fs::symlink(room.room.path().join("spool"), room.room.path().join("spool/loop"))
            .unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, room.room.path().join("spool/pipe"), 0o644.into()).unwrap();
        assert_eq!(room.found(), ["b", "sub/f"]);
        let mut aside: Vec<_> =
            room.rules.list().aside.iter().map(|path| path.file_name().unwrap().to_owned()).collect();
        aside.sort();
        assert_eq!(aside, ["c.REJECTED", "d.REJECTED.2"]);
        room.rules.recursive = false;
        assert_eq!(room.found(), ["b"]);
        room.rules.recursive = true;
        room.rules.ignore = JavaRegex::whole("sub").unwrap();
        room.rules.include = JavaRegex::whole(r"\w").unwrap();
        assert_eq!(room.found(), ["b"]);
    }

    #[test]
    fn the_order_is_by_last_write_then_by_name() {
        let mut room = Room::new(&["c", "a", "b"]);
        assert_eq!(room.found(), ["c", "a", "b"]);
        room.rules.order = Order::Youngest;
        assert_eq!(room.found(), ["b", "a", "c"]);
        let now = SystemTime::now();
        for name in ["a", "b", "c"] {
            File::options()
                .write(true)
                .open(room.rules.directory.join(name))
                .unwrap()
                .set_modified(now)
                .unwrap();
        }
        assert_eq!(room.found(), ["a", "b", "c"]);
        room.rules.order = Order::Oldest;
        assert_eq!(room.found(), ["a", "b", "c"]);
        room.rules.order = Order::Random;
        let mut any = room.found();
        any.sort();
        assert_eq!(any, ["a", "b", "c"]);
    }

    #[test]
    fn marked_files_do_not_wait() {
        let mut room = Room::new(&["a", "b", "sub/a", "sub/c"]);
        let marks = room.room.path().join("marks");
        fs::create_dir_all(marks.join("sub")).unwrap();
        for mark in ["a.COMPLETED", "sub/c.REJECTED"] {
            File::create(marks.join(mark)).unwrap();
        }
        room.rules.marks = Some(marks.clone());
        assert_eq!(room.found(), ["b", "sub/a"]);
        assert_eq!(room.rules.list().aside, [marks.join("sub/c.REJECTED")]);
    }

    #[test]
    fn a_directory_that_cannot_be_listed_is_named() {
        let mut room = Room::new(&[]);
        room.rules.directory = room.room.path().join("none");
        let failures = room.rules.list().failures;
        assert_eq!(failures.len(), 1);
        assert_eq!(failures[0].0, room.rules.directory);
    }
}
