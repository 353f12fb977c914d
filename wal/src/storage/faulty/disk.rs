//! The state of the simulated disk and of the kernel above it: names, files, locks, writes in flight.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::content::{Content, Survival};
use super::random::Random;
use super::{Fault, Step};

const RECENT: usize = 256;

pub(super) const SUBMIT: &str = "submit";

/// The number of a file, for as long as the disk exists.
pub(super) type Inode = u64;

#[derive(Clone, Debug)]
struct Node {
    content: Content,
    /// Open handles: a removed file takes space until the last is closed.
    handles: usize,
}

/// A change of names that is not durable yet.
#[derive(Clone, Debug)]
enum Change {
    Create(PathBuf, Inode),
    Rename(PathBuf, PathBuf),
    Remove(PathBuf),
}

impl Change {
    fn directory(&self) -> Option<&Path> {
        match self {
            Self::Create(path, _) | Self::Rename(path, _) | Self::Remove(path) => path.parent(),
        }
    }

    /// Does it to `names`, if it makes sense there.
    fn apply(&self, names: &mut BTreeMap<PathBuf, Inode>) {
        match self {
            Self::Create(path, inode) => {
                names.insert(path.clone(), *inode);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
            Self::Remove(path) => {
                names.remove(path);
            }
        }
    }
}

/// A queued write that was submitted and has not completed.
#[derive(Clone, Debug)]
pub(super) struct InFlight {
    pub(super) queue: u64,
    pub(super) token: u64,
    pub(super) locks: Vec<u64>,
    pub(super) inode: Inode,
    pub(super) bytes: Vec<u8>,
    pub(super) offset: u64,
    pub(super) durable: bool,
    /// When it may complete, by the disk's clock.
    pub(super) ready_at: Duration,
}

#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) life: u64,
    pub(super) crashed: bool,
    pub(super) crash_at: Option<u64>,
    pub(super) faults: BTreeMap<u64, Fault>,
    /// For the next operation of this name.
    pub(super) next_faults: Vec<(&'static str, Fault)>,
    pub(super) delays: BTreeMap<u64, Duration>,
    /// No operation takes longer, but for those with a delay of their own.
    pub(super) latency_max: Duration,
    /// Simulated time.
    pub(super) clock: Duration,
    pub(super) operations: u64,
    pub(super) trace: u64,
    pub(super) recent: VecDeque<Step>,
    pub(super) capacity: u64,
    pub(super) land_while_locking: bool,
    pub(super) sleep_when_idle: bool,
    pub(super) random: Random,
    /// Of the current life.
    pub(super) in_flight: Vec<InFlight>,
    /// Of killed processes.
    pub(super) late: Vec<InFlight>,
    nodes: BTreeMap<Inode, Node>,
    names: BTreeMap<PathBuf, Inode>,
    durable_names: BTreeMap<PathBuf, Inode>,
    changes: Vec<Change>,
    /// Lock numbers by directory.
    locks: BTreeMap<PathBuf, u64>,
    numbers: u64,
    /// Locks up to this number belong to lives that are over.
    dead_below: u64,
}

/// An operation that may go on, and what is to go wrong with it.
#[derive(Debug)]
pub(super) struct Begun {
    index: u64,
    what: &'static str,
    target: String,
    offset: u64,
    len: u64,
    pub(super) fault: Option<Fault>,
    /// When it is done, by the disk's clock.
    pub(super) done_at: Duration,
}

impl Fault {
    pub(super) fn error(self) -> io::Error {
        io::Error::from_raw_os_error(match self {
            Self::Io | Self::Short => libc::EIO,
            Self::NoSpace => libc::ENOSPC,
        })
    }
}

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            life: 0,
            crashed: false,
            crash_at: None,
            faults: BTreeMap::new(),
            next_faults: Vec::new(),
            delays: BTreeMap::new(),
            latency_max: Duration::ZERO,
            clock: Duration::ZERO,
            operations: 0,
            trace: 0xcbf2_9ce4_8422_2325,
            recent: VecDeque::new(),
            capacity: u64::MAX,
            land_while_locking: true,
            sleep_when_idle: false,
            random: Random::new(seed),
            in_flight: Vec::new(),
            late: Vec::new(),
            nodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            locks: BTreeMap::new(),
            numbers: 0,
            dead_below: 0,
        }
    }

    /// A number that nothing else on this disk has.
    pub(super) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(super) fn alive(&self, life: u64) -> bool {
        life == self.life && !self.crashed
    }

    /// Starts an operation: counts it and looks up its fault, unless the life is over or ends here.
    pub(super) fn begin(
        &mut self,
        life: u64,
        what: &'static str,
        target: impl Into<String>,
        offset: u64,
        len: u64,
    ) -> io::Result<Begun> {
        if life == self.life && self.crash_at.is_some_and(|at| self.operations >= at) {
            self.crashed = true;
        }
        if !self.alive(life) {
            return Err(gone());
        }
        let index = self.operations;
        self.operations += 1;
        let planned = self.next_faults.iter().position(|(name, _fault)| *name == what);
        let fault = self.faults.remove(&index).or_else(|| Some(self.next_faults.remove(planned?).1));
        let done_at = self.clock + self.latency(index);
        // A submission only starts the write; whoever does anything else waits for it.
        if what != SUBMIT {
            self.clock = done_at;
        }
        Ok(Begun { index, what, target: target.into(), offset, len, fault, done_at })
    }

    fn latency(&mut self, operation: u64) -> Duration {
        let own = self.delays.remove(&operation);
        let most = self.latency_max.as_micros() as u64;
        own.unwrap_or_else(|| match most {
            0 => Duration::ZERO,
            _ => Duration::from_micros(self.random.next() % (most + 1)),
        })
    }

    /// Ends an operation: writes it into the trace, with `detail` of its result.
    pub(super) fn end<T>(&mut self, begun: Begun, detail: u64, result: io::Result<T>) -> io::Result<T> {
        let ok = result.is_ok();
        let Begun { index, what, target, offset, len, done_at, .. } = begun;
        for number in [index, offset, len, detail, u64::from(ok), done_at.as_micros() as u64] {
            self.note(&number.to_le_bytes());
        }
        self.note(what.as_bytes());
        self.note(target.as_bytes());
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(Step { index, what, target, offset, len, ok });
        result
    }

    /// FNV-1a.
    fn note(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.trace = (self.trace ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    pub(super) fn content(&mut self, path: &Path) -> io::Result<&mut Content> {
        let inode = self.find(path)?;
        Ok(self.node(inode))
    }

    pub(super) fn node(&mut self, inode: Inode) -> &mut Content {
        &mut self.nodes.get_mut(&inode).expect("files with handles, names or writes in flight exist").content
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<Inode> {
        self.names
            .get(path)
            .copied()
            .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("no file {}", path.display())))
    }

    pub(super) fn hold(&mut self, inode: Inode) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.handles += 1;
        }
    }

    pub(super) fn let_go(&mut self, inode: Inode) {
        if let Some(node) = self.nodes.get_mut(&inode) {
            node.handles -= 1;
        }
        self.forget_unreachable();
    }

    pub(super) fn create(&mut self, path: PathBuf) -> io::Result<Inode> {
        if self.names.contains_key(&path) {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("file {} exists", path.display()),
            ));
        }
        let inode = self.number();
        self.nodes.insert(inode, Node { content: Content::default(), handles: 0 });
        self.change(Change::Create(path, inode));
        Ok(inode)
    }

    pub(super) fn rename(&mut self, from: PathBuf, to: PathBuf) -> io::Result<()> {
        self.find(&from)?;
        self.change(Change::Rename(from, to));
        Ok(())
    }

    pub(super) fn remove(&mut self, path: PathBuf) -> io::Result<()> {
        self.find(&path)?;
        self.change(Change::Remove(path));
        Ok(())
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    pub(super) fn list(&self, directory: &Path) -> Vec<(String, u64)> {
        let inside = self.names.iter().filter(|(path, _inode)| path.parent() == Some(directory));
        inside
            .filter_map(|(path, inode)| {
                Some((path.file_name()?.to_str()?.to_owned(), self.nodes[inode].content.len()))
            })
            .collect()
    }

    pub(super) fn sync_directory(&mut self, directory: &Path) {
        let (synced, kept) = std::mem::take(&mut self.changes)
            .into_iter()
            .partition::<Vec<_>, _>(|change| change.directory() == Some(directory));
        self.changes = kept;
        for change in synced {
            change.apply(&mut self.durable_names);
        }
        self.forget_unreachable();
    }

    /// Room for a file that grows from `old` to `new` bytes.
    pub(super) fn check_space(&self, old: u64, new: u64) -> io::Result<()> {
        if new > old && new - old > self.free() {
            return Err(io::Error::from_raw_os_error(libc::ENOSPC));
        }
        Ok(())
    }

    pub(super) fn free(&self) -> u64 {
        let named: BTreeSet<Inode> = self.names.values().copied().collect();
        let used = self.nodes.iter().filter(|(inode, node)| node.handles > 0 || named.contains(inode));
        self.capacity.saturating_sub(used.map(|(_inode, node)| node.content.len()).sum())
    }

    /// Locks a directory; `None` if it is locked.
    pub(super) fn lock(&mut self, directory: &Path) -> Option<u64> {
        if self.locks.contains_key(directory) {
            if self.land_while_locking {
                self.land_one();
            }
            return None;
        }
        let number = self.number();
        self.locks.insert(directory.to_owned(), number);
        Some(number)
    }

    pub(super) fn unlock(&mut self, number: u64) {
        self.locks.retain(|_directory, lock| *lock != number);
    }

    /// Whether a queued write has landed entirely, durably if the file allows that, or what fault kept it from that.
    pub(super) fn land(&mut self, write: &InFlight, fault: Option<Fault>) -> io::Result<()> {
        self.write(write.inode, &write.bytes, write.offset, write.durable, fault)
    }

    /// A write to a file, with its fault.
    pub(super) fn write(
        &mut self,
        inode: Inode,
        bytes: &[u8],
        offset: u64,
        durably: bool,
        fault: Option<Fault>,
    ) -> io::Result<()> {
        let end = offset
            .checked_add(bytes.len() as u64)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EFBIG))?;
        let len = self.node(inode).len();
        self.check_space(len, end)?;
        let Some(fault) = fault else {
            self.node(inode).write(bytes, offset, durably);
            return Ok(());
        };
        let mut random = self.random.clone();
        match fault {
            Fault::Short => self.node(inode).write_short(bytes, offset, &mut random),
            Fault::Io | Fault::NoSpace => self.node(inode).write_torn(bytes, offset, &mut random),
        }
        self.random = random;
        Err(fault.error())
    }

    pub(super) fn fail_sync(&mut self, inode: Inode) {
        let mut random = self.random.clone();
        self.node(inode).fail_sync(&mut random);
        self.random = random;
    }

    pub(super) fn kill(&mut self, locks_wait: bool) {
        self.end_life();
        self.late.append(&mut self.in_flight);
        if locks_wait {
            self.free_locks_of_landed();
        } else {
            self.locks.clear();
        }
    }

    /// Lands a write of a killed process, and frees its lock if that was the last.
    pub(super) fn land_one(&mut self) -> bool {
        if self.late.is_empty() {
            return false;
        }
        let picked = self.random.below(self.late.len());
        let write = self.late.swap_remove(picked);
        // Nobody is left to hear of a failure.
        let landed = self.land(&write, None).is_ok();
        self.note(&[2, u8::from(landed)]);
        self.note(&write.offset.to_le_bytes());
        self.free_locks_of_landed();
        self.forget_unreachable();
        true
    }

    /// Frees all locks but those of late writes: when a life ends, and as they land. Locks of the current life stay.
    fn free_locks_of_landed(&mut self) {
        let late: BTreeSet<u64> = self.late.iter().flat_map(|write| write.locks.iter().copied()).collect();
        let dead = self.dead_below;
        self.locks.retain(|_directory, lock| *lock > dead || late.contains(lock));
    }

    pub(super) fn power_cut(&mut self, survival: Survival, random: &mut Random) {
        self.end_life();
        self.locks.clear();
        let mut unfinished: Vec<InFlight> = std::mem::take(&mut self.in_flight);
        unfinished.append(&mut self.late);
        for write in unfinished {
            let end = write.offset.saturating_add(write.bytes.len() as u64);
            let len = self.node(write.inode).len();
            if self.check_space(len, end).is_ok() {
                self.node(write.inode).write(&write.bytes, write.offset, false);
            }
        }
        let changes = std::mem::take(&mut self.changes);
        let kept: Vec<&Change> = match survival.eighths {
            0 => Vec::new(),
            8 => changes.iter().collect(),
            _ if random.chance(4) => changes[..random.below(changes.len() + 1)].iter().collect(),
            eighths => changes.iter().filter(|_change| random.chance(eighths)).collect(),
        };
        for change in kept {
            change.apply(&mut self.durable_names);
        }
        self.names = self.durable_names.clone();
        for node in self.nodes.values_mut() {
            node.content.power_cut(survival, random);
        }
        self.forget_unreachable();
    }

    fn end_life(&mut self) {
        self.note(&[1]);
        self.life += 1;
        self.crashed = false;
        self.crash_at = None;
        self.dead_below = self.numbers;
        for node in self.nodes.values_mut() {
            node.handles = 0;
        }
    }

    fn forget_unreachable(&mut self) {
        let mut reachable: BTreeSet<Inode> =
            self.names.values().chain(self.durable_names.values()).copied().collect();
        reachable.extend(self.in_flight.iter().chain(&self.late).map(|write| write.inode));
        for change in &self.changes {
            if let Change::Create(_, inode) = change {
                reachable.insert(*inode);
            }
        }
        self.nodes.retain(|inode, node| node.handles > 0 || reachable.contains(inode));
    }
}

pub(super) fn gone() -> io::Error {
    io::Error::other("the process that this handle belonged to is gone")
}
