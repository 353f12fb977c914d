//! Which directory is which: decided from what stands in them before anything is changed, and refused where it does not fit.
//!
//! | what stands in a directory that is named | then it is |
//! | --- | --- |
//! | a descriptor as lane 0, or no descriptor and a log, or nothing anywhere and it is named first | lane 0 |
//! | a descriptor of lane 0's set with a lane below its count | that lane |
//! | nothing, or a descriptor of that set with a lane beyond its count (an addition that did not come to its end) | a new lane |
//! | a descriptor of another set, or a log of its own | another channel's: refused |
//!
//! Lane 0's descriptor says how many there are; one that says nothing is alone. Each lane that it counts must be there: a
//! directory that is not mounted looks empty, and to go on without it would be to write over the log. Only those added last
//! may be left out. They are looked for where they were, and serve until nothing in them is needed any more.

use std::io;
use std::path::{Path, PathBuf};

use super::descriptor::{Descriptor, Found, kept};
use super::names::{self, LANES_MAX};
use crate::storage::Directory;

/// A directory that shall hold a part of the log.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a> {
    /// Where it is.
    pub path: &'a Path,
    /// `None` if it does not exist yet.
    pub directory: Option<&'a dyn Directory>,
}

/// Why directories cannot serve together. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LanesError {
    /// A directory cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The error beneath.
        source: io::Error,
    },
    /// They do not fit, or one is missing.
    #[error("{path}: {reason}")]
    Unfit {
        /// The directory.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A newer version wrote a descriptor.
    #[error("{path} was written by a newer version ({reason}); start that version, or drain the log with it")]
    Newer {
        /// The directory.
        path: PathBuf,
        /// What says so.
        reason: String,
    },
}

/// A lane's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The directory that was named as this one, counted from 0.
    Named(usize),
    /// Not named any more; where it was.
    Left(PathBuf),
}

/// What is decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrangement {
    /// In the order of the lanes.
    pub places: Vec<Place>,
    /// What the set is called, and its unit, if there is one already.
    pub(super) set: Option<(u128, u64)>,
    /// How many lanes there were.
    pub(super) known: usize,
}

impl Arrangement {
    /// How many pieces a new file has: one in each directory that is named.
    pub fn width(&self) -> usize {
        self.places.iter().filter(|place| matches!(place, Place::Named(_))).count()
    }
}

/// What stands in one of those that are named.
struct Seen<'a> {
    index: usize,
    path: &'a Path,
    descriptor: Option<Descriptor>,
    log: bool,
}

fn unfit<T>(path: &Path, reason: impl Into<String>) -> Result<T, LanesError> {
    Err(LanesError::Unfit { path: path.to_path_buf(), reason: reason.into() })
}

/// Decides which of the directories is which.
pub fn arrange(named: &[Named<'_>]) -> Result<Arrangement, LanesError> {
    let Some(first) = named.first() else { return unfit(Path::new(""), "no directory is named") };
    if named.len() > LANES_MAX {
        return unfit(first.path, format!("no more than {LANES_MAX} directories may be named"));
    }
    let mut seen: Vec<Seen<'_>> =
        named.iter().enumerate().map(|(index, named)| look(index, *named)).collect::<Result<_, _>>()?;
    let zero = seen.remove(find_zero(&seen)?);
    let mut places = vec![Place::Named(zero.index)];
    let known = zero.descriptor.as_ref().map_or(1, |descriptor| descriptor.count);
    let mut left: Vec<PathBuf> = Vec::new();
    for lane in 1..known {
        let descriptor = zero.descriptor.as_ref().expect("counts more than one");
        let is_it = |seen: &Seen<'_>| {
            seen.descriptor.as_ref().is_some_and(|own| own.set == descriptor.set && own.lane == lane)
        };
        let was = &descriptor.paths[lane];
        if let Some(at) = seen.iter().position(is_it) {
            places.push(Place::Named(seen.remove(at).index));
            if let Some(missing) = left.first() {
                return unfit(missing, left_out(zero.path));
            }
            continue;
        }
        if let Some(empty) = seen.iter().find(|seen| seen.descriptor.is_none() && kept(seen.path) == *was) {
            let reason = format!(
                "nothing of a log is here, but it holds part {} of {known} of the log that begins in {}: mount it, or \
                 bring its files back. Nothing can be read without them",
                lane + 1,
                zero.path.display()
            );
            return unfit(empty.path, reason);
        }
        left.push(was.clone());
    }
    for other in &seen {
        if let Some(own) = &other.descriptor {
            match &zero.descriptor {
                Some(descriptor) if own.set == descriptor.set && own.lane >= known => {}
                Some(descriptor) if own.set == descriptor.set => {
                    let reason = format!("it is a copy: another directory is part {} as well", own.lane + 1);
                    return unfit(other.path, reason);
                }
                _ => return unfit(other.path, foreign(own, zero.path)),
            }
        } else if other.log {
            let reason = format!(
                "it holds a log of its own, as {} does: each channel needs directories of its own; drain one of the two \
                 alone, then name an empty directory",
                zero.path.display()
            );
            return unfit(other.path, reason);
        }
        if let Some(missing) = left.first() {
            let reason = format!(
                "it is not named, but holds a part of the log that begins in {}: name it (or mount it) before others are \
                 added",
                zero.path.display()
            );
            return unfit(missing, reason);
        }
        places.push(Place::Named(other.index));
    }
    places.extend(left.into_iter().map(Place::Left));
    let set = zero.descriptor.map(|descriptor| (descriptor.set, descriptor.unit));
    Ok(Arrangement { places, set, known })
}

fn left_out(zero: &Path) -> String {
    format!(
        "it is not named, but holds a part of the log that begins in {}, as do directories behind it: only those added \
         last may be left out",
        zero.display()
    )
}

fn foreign(own: &Descriptor, zero: &Path) -> String {
    format!(
        "it is part {} of the log that begins in {}, and does not belong to {}: name directories of one channel only",
        own.lane + 1,
        own.paths[0].display(),
        zero.display()
    )
}

fn look<'a>(index: usize, named: Named<'a>) -> Result<Seen<'a>, LanesError> {
    let path = named.path;
    let Some(directory) = named.directory else {
        return Ok(Seen { index, path, descriptor: None, log: false });
    };
    let io = |source| LanesError::Io { path: path.to_path_buf(), source };
    let descriptor = match Descriptor::read(directory).map_err(io)? {
        Found::Nothing => None,
        Found::Sound(descriptor) => Some(descriptor),
        Found::Newer(reason) => return Err(LanesError::Newer { path: path.to_path_buf(), reason }),
        Found::Damaged => {
            let reason = "both copies in its file `lanes`, which says which part of a log this is, are damaged: bring the \
                          file back from a backup";
            return unfit(path, reason);
        }
    };
    let log = directory.list().map_err(io)?.iter().any(|entry| names::is_of_log(&entry.name));
    Ok(Seen { index, path, descriptor, log })
}

/// Which of them is lane 0.
fn find_zero(seen: &[Seen<'_>]) -> Result<usize, LanesError> {
    let mut zeroes =
        (0..seen.len()).filter(|&at| seen[at].descriptor.as_ref().is_some_and(|own| own.lane == 0));
    if let Some(zero) = zeroes.next() {
        return match zeroes.next() {
            None => Ok(zero),
            Some(other) => {
                let own = seen[other].descriptor.as_ref().expect("is lane 0 of something");
                unfit(seen[other].path, foreign(own, seen[zero].path))
            }
        };
    }
    if let Some((part, own)) = seen.iter().find_map(|seen| Some((seen, seen.descriptor.as_ref()?))) {
        let reason = format!(
            "it is part {} of the log that begins in {}, which is not named or is empty: name or mount that",
            own.lane + 1,
            own.paths[0].display()
        );
        return unfit(part.path, reason);
    }
    let mut logs = (0..seen.len()).filter(|&at| seen[at].log);
    match (logs.next(), logs.next()) {
        (Some(one), Some(other)) => {
            let reason = format!(
                "it holds a log, as {} does: each channel needs directories of its own; drain one of the two alone, then \
                 name an empty directory",
                seen[one].path.display()
            );
            unfit(seen[other].path, reason)
        }
        (one, _) => Ok(one.unwrap_or(0)),
    }
}
