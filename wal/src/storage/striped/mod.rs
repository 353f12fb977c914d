//! One directory over several others, the *lanes*: each file lies in pieces in all of them, so that writes in flight, and
//! the parts of a large one, are carried out by several disks at once.
//!
//! A file is cut into units of [`UNIT`] bytes, which are dealt to its pieces in turn (`geometry`). To the log it is one
//! file: a frame of which one part reached its disk and another did not is torn like any other, and found by its checksum.
//!
//! ```text
//!   lane 0   segment-0000000000000007.log.of-2   units 0 2 4 ..    lock   lanes
//!   lane 1   segment-0000000000000007.log.of-2   units 1 3 5 ..    lock   lanes
//! ```
//!
//! # Names
//!
//! **A file is there if its piece in lane 0 is.** How many pieces it has is part of the pieces' name (`names`); files keep
//! what they were made with when a lane is added, and one without the mark has a single piece, in lane 0. The pieces of a file
//! cannot be renamed at once, so the order decides what a crash leaves, and each step is durable before the next begins:
//!
//! | | steps | a crash between them leaves |
//! | --- | --- | --- |
//! | a spare becomes a segment | pieces in lanes 1.., syncs; then lane 0 | a spare some of whose pieces have another name |
//! | a segment becomes a spare | lane 0, sync; then lanes 1.. | the same |
//! | a file is removed | lane 0, sync; then lanes 1.. | pieces of no file |
//! | a file is made | pieces in lanes 1..; then lane 0 | pieces of no file |
//!
//! So a segment never lacks a piece. What a crash left is put in order before the first change that is made through the
//! directory, which is after a start has read the log and found nothing to refuse (`tidy`): a spare gets any pieces that
//! belong to no file, for it holds nothing; without such ones, it and what is left of them are removed.
//!
//! A spare with another number of pieces than new files have is made over when it is renamed, if there is room for that: its
//! pieces get the new lengths when its old name has gone for good, for by that name it may be a segment again after a crash.
//!
//! A rename over a file that exists removes that first. The log makes none but between spares and segments.
//!
//! # Which directories
//!
//! A descriptor in each says so (`descriptor`); they are arranged by it, in whatever order they are named (`arrange`). It is
//! written before the first file is made: first one in lane 0 that counts the lanes as they were, then those of new lanes, at
//! last that of lane 0 with the new count. Until then the new lanes hold nothing.
//!
//! # Locks and space
//!
//! The lock is that of all lanes, and a queue holds all of them. Free space is that of the lane that has the least.

mod arrange;
mod descriptor;
mod directory;
mod file;
mod geometry;
mod names;
mod queue;
mod tidy;

#[cfg(test)]
mod tests;

pub use arrange::{Arrangement, LanesError, Named, Place, arrange};
pub use names::LANES_MAX;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::descriptor::{Descriptor, Found};
use self::directory::StripedDirectory;
use super::Directory;
use crate::environment::Environment;

/// Bytes of a unit. So large that a lone commit is one write, and that the parts of a large frame are each as long as a disk
/// needs to run at its speed; so small that the frames of a busy log, of which four are in flight, are on all disks at once.
pub const UNIT: u64 = 256 << 10;

/// Finds a directory that is not named any more.
pub type Finder<'a> = dyn Fn(&Path) -> io::Result<Arc<dyn Directory>> + 'a;

/// One directory over all that are named, in any order. A single one that was never part of several is returned as it is.
/// Nothing is changed until the first change is made through the directory.
///
/// `unit` is for a new set, a power of two and a multiple of all alignments. `find` opens a directory that was left out, where
/// it was.
pub fn open(
    named: &[Arc<dyn Directory>],
    unit: u64,
    environment: &dyn Environment,
    find: &Finder<'_>,
) -> Result<Arc<dyn Directory>, LanesError> {
    let looked_at: Vec<_> =
        named.iter().map(|lane| Named { path: lane.path(), directory: Some(&**lane) }).collect();
    let arrangement = arrange(&looked_at)?;
    if let ([alone], 1) = (named, arrangement.known) {
        return Ok(alone.clone());
    }
    let width = arrangement.width();
    let (set, unit) = arrangement
        .set
        .unwrap_or_else(|| (u128::from(environment.random()) << 64 | u128::from(environment.random()), unit));
    let mut lanes: Vec<Arc<dyn Directory>> = Vec::new();
    let mut missing: Option<PathBuf> = None;
    for (lane, place) in arrangement.places.iter().enumerate() {
        match place {
            Place::Named(index) => lanes.push(named[*index].clone()),
            Place::Left(path) => match find(path).ok().filter(|found| is_lane(&**found, set, lane)) {
                Some(found) if missing.is_none() => lanes.push(found),
                _ => {
                    missing.get_or_insert_with(|| path.clone());
                }
            },
        }
    }
    let needed = needed(&*lanes[0])?;
    if let Some(path) = missing.filter(|_| needed > lanes.len()) {
        let reason = format!(
            "it is not named, cannot be opened as part {} of the log that begins in {}, and parts of segments are in it: \
             mount it, or name the directory to which it was moved",
            lanes.len() + 1,
            lanes[0].path().display()
        );
        return Err(LanesError::Unfit { path, reason });
    }
    let alignment = lanes.iter().map(|lane| lane.alignment()).max().unwrap_or(1);
    if !unit.is_multiple_of(alignment as u64) {
        let path = lanes[0].path().to_path_buf();
        let reason = format!(
            "its unit of {unit} bytes is no multiple of {alignment}, which one of the disks asks for"
        );
        return Err(LanesError::Unfit { path, reason });
    }
    let mut described = Vec::new();
    for lane in &lanes {
        described.push(match Descriptor::read(&**lane) {
            Ok(Found::Sound(descriptor)) => Some(descriptor),
            Ok(_) => None,
            Err(source) => return Err(LanesError::Io { path: lane.path().to_path_buf(), source }),
        });
    }
    Ok(Arc::new(StripedDirectory::new(lanes, width, unit, set, described)))
}

/// The directories of the log of which `directory` is a part, in order, as it says; `None` if it is alone.
pub fn paths(directory: &dyn Directory) -> Result<Option<Vec<PathBuf>>, LanesError> {
    let arrangement_of = |source| LanesError::Io { path: directory.path().to_path_buf(), source };
    match Descriptor::read(directory).map_err(arrangement_of)? {
        Found::Sound(descriptor) if descriptor.count > 1 => Ok(Some(descriptor.paths)),
        Found::Sound(_) | Found::Nothing => Ok(None),
        Found::Newer(reason) => Err(LanesError::Newer { path: directory.path().to_path_buf(), reason }),
        // Whoever opens it says so.
        Found::Damaged => Ok(None),
    }
}

/// Whether a file of this name is a log's, or a piece of one.
pub fn is_of_log(name: &str) -> bool {
    names::is_of_log(name) || name == descriptor::FILE_NAME
}

fn is_lane(directory: &dyn Directory, set: u128, lane: usize) -> bool {
    matches!(Descriptor::read(directory), Ok(Found::Sound(own)) if own.set == set && own.lane == lane)
}

/// How many lanes the widest segment lies in.
fn needed(zero: &dyn Directory) -> Result<usize, LanesError> {
    let entries = zero.list().map_err(|source| LanesError::Io { path: zero.path().to_path_buf(), source })?;
    Ok(tidy::widest(&entries))
}
