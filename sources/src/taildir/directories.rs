//! The watched directories: what is in them, and that something has changed.
//!
//! Listing is the truth; inotify only says when to list, and wakes a source that has nothing to do. Where inotify is
//! not to be had (a network file system, no watches left) a directory is listed when its time of change has moved, and
//! every [`LIST_AGAIN`] in any case.
//!
//! ```text
//!   app.log is made ──► IN_CREATE ──► list: open it
//!   app.log is made, written, renamed to app.log.1 within one round ──► IN_MOVED_FROM app.log, IN_MOVED_TO app.log.1
//!       no listing ever shows app.log, and app.log.1 may match no group: the pair of events names the file ("adopted")
//! ```
//!
//! Names and writes are watched through two queues: a flood of writes may overflow its own, never that of the names.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};

use super::group::Group;
use crate::files::{FileId, Status, status_at};

/// A directory is listed this often even if nothing seems to have changed.
const LIST_AGAIN: Duration = Duration::from_secs(2);

/// A time of change this fresh proves nothing: the kernel's clock for files stands still for some milliseconds, so a
/// later change may carry the same time.
const FRESH_NS: u64 = 50_000_000;

/// A listing may use this fraction of the time at most (one part in so many).
const LISTING_SHARE: u32 = 5;

/// Renamed files that wait to be found, at most: more of them come from a queue that overflowed, and listings find those.
const ADOPTED_MAX: usize = 1024;

const NAMES: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MOVE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// A file whose name matches a group.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its path.
    pub path: PathBuf,
    /// Index of the first group that has it.
    pub group: usize,
    /// As it was at the listing.
    pub status: Status,
}

/// One directory and what its last listing showed.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    groups: Vec<usize>,
    watches: [Option<i32>; 2],
    dirty: bool,
    /// Time of change at the last listing, and whether it was old enough then to be trusted.
    modified: Option<(u64, bool)>,
    listed_at: Option<Instant>,
    /// What went wrong at the last listing.
    failure: Option<String>,
    found: Vec<Found>,
    /// Names that match no group, by inode, for files that were renamed.
    others: HashMap<FileId, PathBuf>,
}

/// All directories of a source's groups.
#[derive(Debug)]
pub struct Directories {
    all: Vec<Directory>,
    names: Option<OwnedFd>,
    writes: Option<OwnedFd>,
    always_list: bool,
    list_not_before: Instant,
    /// Paths of files that had a group's name and were renamed.
    adopted: Vec<PathBuf>,
    /// Those that were asked for since the queue of names was read: what the queue holds since may say that another file stood
    /// there by the time somebody looked.
    taken: Vec<PathBuf>,
    moved_from: Option<(u32, PathBuf)>,
}

impl Directories {
    /// The directories of `groups`; `always_list` lists at every look.
    pub fn new(groups: &[Group], always_list: bool) -> Self {
        let mut all: Vec<Directory> = Vec::new();
        for (i, group) in groups.iter().enumerate() {
            match all.iter_mut().find(|directory| directory.path == group.directory) {
                Some(directory) => directory.groups.push(i),
                None => all.push(Directory {
                    path: group.directory.clone(),
                    groups: vec![i],
                    watches: [None; 2],
                    dirty: true,
                    modified: None,
                    listed_at: None,
                    failure: None,
                    found: Vec::new(),
                    others: HashMap::new(),
                }),
            }
        }
        let queue = || match inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK) {
            Ok(queue) => Some(queue),
            Err(error) => {
                tracing::info!(%error, "no inotify: directories are looked at by the clock");
                None
            }
        };
        Self {
            all,
            names: queue(),
            writes: queue(),
            always_list,
            list_not_before: Instant::now(),
            adopted: Vec::new(),
            taken: Vec::new(),
            moved_from: None,
        }
    }

    /// Lists what has changed. Returns whether anything was listed.
    pub fn refresh(&mut self, groups: &[Group], now: Instant, is_tracked: impl Fn(&Path) -> bool) -> bool {
        self.read_names(groups, is_tracked);
        if now < self.list_not_before {
            return false;
        }
        let mut listed = false;
        for i in 0..self.all.len() {
            let directory = &self.all[i];
            let due = self.always_list
                || directory.dirty
                || directory.listed_at.is_none_or(|at| now.duration_since(at) >= LIST_AGAIN)
                || (directory.watches[0].is_none() && directory.has_changed());
            if due {
                self.watch(i);
                self.all[i].list(groups, now);
                listed = true;
            }
        }
        if listed {
            let done = Instant::now();
            self.list_not_before = done + done.duration_since(now) * LISTING_SHARE;
        }
        listed
    }

    /// The next listings may come at once, however long the last ones took.
    pub fn hurry(&mut self) {
        self.list_not_before = Instant::now();
    }

    /// Whether nothing has been made, renamed or removed since the listings.
    pub fn are_current(&mut self, groups: &[Group], is_tracked: impl Fn(&Path) -> bool) -> bool {
        self.read_names(groups, is_tracked);
        let is_current = |one: &Directory| !one.dirty && (one.watches[0].is_some() || !one.has_changed());
        self.all.iter().all(is_current)
    }

    /// All matching files of the last listings.
    pub fn found(&self) -> impl Iterator<Item = &Found> {
        self.all.iter().flat_map(|directory| &directory.found)
    }

    /// Where a file is that has no matching name.
    pub fn other_name(&self, id: FileId) -> Option<&Path> {
        self.all.iter().find_map(|directory| Some(directory.others.get(&id)?.as_path()))
    }

    /// Whether every directory could be listed.
    pub fn complete(&self) -> bool {
        self.all.iter().all(|directory| directory.failure.is_none() && directory.listed_at.is_some())
    }

    /// Directories that could not be listed, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.all.iter().filter_map(|one| Some((one.path.as_path(), one.failure.as_deref()?)))
    }

    /// Files that had a group's name before they were renamed, not asked for yet.
    pub fn take_adopted(&mut self) -> Vec<PathBuf> {
        let adopted = std::mem::take(&mut self.adopted);
        self.taken.clone_from(&adopted);
        adopted
    }

    /// A path of [`take_adopted`](Self::take_adopted) at which there is no file any more: a rename or removal that is still
    /// to be read will say what became of it.
    pub fn keep_adopted(&mut self, path: PathBuf) {
        if self.adopted.len() < ADOPTED_MAX {
            self.adopted.push(path);
        }
    }

    /// Waits until something in the directories changes, `limit` at most. Returns whether something did.
    pub fn wait(&mut self, limit: Duration) -> bool {
        let mut wanted: Vec<PollFd<'_>> = [&self.names, &self.writes]
            .into_iter()
            .flatten()
            .map(|queue| PollFd::new(queue, PollFlags::IN))
            .collect();
        let timeout = Timespec { tv_sec: limit.as_secs() as i64, tv_nsec: i64::from(limit.subsec_nanos()) };
        // An interrupted wait is a short one; the caller comes again.
        let woken = poll(&mut wanted, Some(&timeout)).is_ok_and(|ready| ready > 0);
        if woken {
            self.forget_writes();
        }
        woken
    }

    /// Empties the queue of writes: it only wakes.
    fn forget_writes(&mut self) {
        let Some(queue) = &self.writes else { return };
        let mut buffer = [MaybeUninit::<u8>::uninit(); 8192];
        let mut reader = Reader::new(queue, &mut buffer);
        // Bounded, so that a fast writer cannot keep us here.
        for _ in 0..4096 {
            if reader.next().is_err() {
                break;
            }
        }
    }

    fn read_names(&mut self, groups: &[Group], is_tracked: impl Fn(&Path) -> bool) {
        let Some(queue) = &self.names else { return };
        let mut buffer = [MaybeUninit::<u8>::uninit(); 16384];
        let mut reader = Reader::new(queue, &mut buffer);
        // An error is an empty queue; a queue that cannot be read leaves us with the clock.
        while let Ok(event) = reader.next() {
            let what = event.events();
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                self.all.iter_mut().for_each(|directory| directory.dirty = true);
                continue;
            }
            let Some(directory) = self.all.iter_mut().find(|one| one.watches[0] == Some(event.wd())) else {
                continue;
            };
            directory.dirty = true;
            if what.intersects(ReadFlags::IGNORED | ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF) {
                directory.watches = [None; 2];
            }
            let Some(name) = event.file_name() else { continue };
            let name = OsStr::from_bytes(name.to_bytes());
            let path = directory.path.join(name);
            if what.contains(ReadFlags::ISDIR) {
                continue;
            }
            if what.contains(ReadFlags::MOVED_FROM) {
                let ours = directory.groups.iter().any(|group| groups[*group].has(name));
                let pending = self.adopted.iter().position(|one| *one == path);
                if let Some(i) = pending {
                    self.adopted.swap_remove(i);
                }
                let taken = self.taken.contains(&path);
                self.taken.retain(|one| *one != path);
                self.moved_from =
                    (ours || pending.is_some() || taken || is_tracked(&path)).then(|| (event.cookie(), path));
                continue;
            }
            // Whatever else happens to a name, the file that was waiting under it is not there any more.
            self.adopted.retain(|one| *one != path);
            self.taken.retain(|one| *one != path);
            if what.contains(ReadFlags::MOVED_TO)
                && self.moved_from.take().is_some_and(|(cookie, _)| cookie == event.cookie())
            {
                self.adopted.push(path);
            }
        }
        self.taken.clear();
    }

    /// Watches directory `i`. Watching one that is watched already is harmless; one that took the place of another is
    /// watched anew.
    fn watch(&mut self, i: usize) {
        let directory = &mut self.all[i];
        let queues = [(&self.names, NAMES), (&self.writes, WatchFlags::MODIFY | WatchFlags::ONLYDIR)];
        for (slot, (queue, flags)) in queues.into_iter().enumerate() {
            let Some(queue) = queue else { continue };
            let watch = match inotify::add_watch(queue, &directory.path, flags) {
                Ok(watch) => Some(watch),
                Err(error) => {
                    tracing::debug!(directory = %directory.path.display(), %error, "cannot be watched");
                    None
                }
            };
            if let Some(old) = directory.watches[slot].filter(|old| Some(*old) != watch) {
                // The old directory may be gone and its watch with it.
                inotify::remove_watch(queue, old).ok();
            }
            directory.watches[slot] = watch;
        }
    }
}

impl Directory {
    fn has_changed(&self) -> bool {
        match (self.modified, status_at(&self.path)) {
            (Some((seen, trusted)), Ok(status)) => !trusted || status.modified_ns != seen,
            // A directory that cannot be looked at is tried again by the clock.
            (_, Err(_)) => false,
            (None, Ok(_)) => true,
        }
    }

    fn list(&mut self, groups: &[Group], now: Instant) {
        self.dirty = false;
        self.listed_at = Some(now);
        match self.read(groups) {
            Ok((found, others)) => {
                self.found = found;
                self.others = others;
                self.failure = None;
            }
            Err(error) => {
                self.modified = None;
                self.failure = Some(error.to_string());
            }
        }
    }

    fn read(&mut self, groups: &[Group]) -> io::Result<(Vec<Found>, HashMap<FileId, PathBuf>)> {
        let status = status_at(&self.path)?;
        if !status.directory {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "not a directory"));
        }
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64);
        self.modified = Some((status.modified_ns, status.modified_ns.saturating_add(FRESH_NS) < clock));
        let mut found = Vec::new();
        let mut others = HashMap::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let path = entry.path();
            let Some(group) = self.groups.iter().find(|group| groups[**group].has(&name)) else {
                others.insert(FileId { device: status.id.device, inode: entry.ino() }, path);
                continue;
            };
            match status_at(&path) {
                Ok(status) if status.regular => found.push(Found { path, group: *group, status }),
                Ok(_) => {}
                // Removed between the listing and now, or a link to nowhere.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display())));
                }
            }
        }
        // Oldest first, as Flume does: rotated files before the one that is written.
        found.sort_by_key(|one| one.status.modified_ns);
        Ok((found, others))
    }
}
