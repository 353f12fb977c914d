//! The simulated disk: a directory that loses what real ones lose, in one process, from a seed.
//!
//! # The fault model
//!
//! The unit of everything is the sector of 512 bytes: written whole or not at all.
//!
//! | what happens | what is left |
//! | --- | --- |
//! | [power cut](FaultyDisk::power_cut) | synced bytes; of each unsynced sector its old content or any unsynced write's, in any order, also of writes in flight; of the unsynced length changes a prefix; of the unsynced creations, renames and removals of a directory a prefix, or any subset that makes sense in order |
//! | [kill](FaultyDisk::kill) | everything that was handed over; writes in flight land later, when the test says so or while the successor waits for the lock, which is held until then |
//! | failed sync of a file | each unsynced page reached the disk, or is read as if it had and is gone after a power cut, whatever syncs succeed in between |
//! | failed sync of a directory | its changes stay as durable as they were |
//! | failed write | any subset of its sectors, unsynced |
//! | short write | its first sectors up to any one, unsynced; then `EIO`, for the seam has no short writes |
//! | short read | half of what was asked for, though the file is longer |
//! | any other operation that fails | nothing is done |
//! | slow operation | nothing else: it ends [later](FaultyDisk::delay_at), by the disk's own clock |
//! | full disk | `ENOSPC` from [a capacity](FaultyDisk::set_capacity), or as any failure |
//! | at rest: bit rot, misdirected write, bad place | what [`flip_bit`](FaultyDisk::flip_bit), [`misdirect`](FaultyDisk::misdirect), [`fail_reads`](FaultyDisk::fail_reads) say |
//!
//! `EIO`, `ENOSPC` and short transfers come [at any operation](FaultyDisk::fail_at) or at [the next of a
//! kind](FaultyDisk::fail_next). Bytes that were acknowledged as synced stay, unless the test damages them: a disk that lies
//! about its syncs is not in the model.
//!
//! **Lives.** A [`Directory`] belongs to the life in which [`FaultyDisk::directory`] made it. A power cut, a kill or reaching
//! [`crash_at`](FaultyDisk::crash_at) ends the life: all its handles fail from then on and change nothing.
//!
//! **Operations** are numbered from 0 in the order in which they arrive, over all directories and lives. Each method of
//! `Directory` and `File` is one, and so are the submission and the completion of a queued write; asking for a length, the
//! free space or a queue is none, and never fails while the life lasts. A sweep counts a scenario's operations once, then
//! fails or crashes at each in turn.
//!
//! **Order.** Each wait of a queue completes at least one of the writes in flight that are done, if there are any, picked by
//! the seed; others stay for later waits. Without one it returns at once, as if its time were over; no thread or real clock is
//! involved (see [`FaultyDisk::sleep_when_idle`]). The same seed and the same calls give the same [trace](FaultyDisk::trace).
//!
//! **Time.** The disk has [a clock](FaultyDisk::now) that stands still but for what operations take and what the test
//! [adds](FaultyDisk::advance). Without latencies nothing takes any time. A queued write takes its time from its submission:
//! a wait that may last so long moves the clock to the first one that is done.

mod content;
mod disk;
mod handles;
mod random;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use self::content::Survival;
use self::disk::Disk;
use self::handles::FaultyDirectory;
use self::random::Random;
use super::Directory;

/// What goes wrong at an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// `EIO`. Of a write any part is done; of a sync see the fault model; of anything else nothing.
    Io,
    /// `ENOSPC`. Otherwise as `Io`.
    NoSpace,
    /// A read returns half of what was asked for; of a write the beginning is done; anything else fails as with `Io`.
    Short,
}

/// One operation, as [`FaultyDisk::recent`] tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its number.
    pub index: u64,
    /// Which one, by the method's name; `complete` for the completion of a queued write.
    pub what: &'static str,
    /// The file's or directory's path; of a renamed file both.
    pub target: String,
    /// Offset, or new length, or 0.
    pub offset: u64,
    /// Bytes, or 0.
    pub len: u64,
    /// Whether it succeeded.
    pub ok: bool,
}

/// The simulated disk, by which a test governs it. Clones are the same disk.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    disk: Arc<Mutex<Disk>>,
}

impl FaultyDisk {
    /// An empty disk without limits and faults.
    pub fn new(seed: u64) -> Self {
        Self { disk: Arc::new(Mutex::new(Disk::new(seed))) }
    }

    /// A directory of this disk for the current life. It exists (durably) from now on, empty if it is new.
    pub fn directory(&self, path: impl Into<PathBuf>) -> Arc<dyn Directory> {
        let life = self.disk.lock().life;
        Arc::new(FaultyDirectory::new(self.disk.clone(), life, path.into()))
    }

    /// Cuts the power: ends the life, and decides by `seed` what survives of all that was not synced.
    pub fn power_cut(&self, seed: u64) {
        let mut random = Random::new(seed);
        let eighths = [0, 1, 4, 4, 7, 8][random.below(6)];
        self.disk.lock().power_cut(Survival { eighths }, &mut random);
    }

    /// Cuts the power with nothing surviving that was not synced.
    pub fn power_cut_losing_all(&self) {
        self.disk.lock().power_cut(Survival { eighths: 0 }, &mut Random::new(0));
    }

    /// Kills the process: ends the life. Its writes in flight land [later](Self::land_late_writes); until then the locks
    /// they were submitted under are held.
    pub fn kill(&self) {
        self.disk.lock().kill(true);
    }

    /// As [`kill`](Self::kill), on a disk whose locks do not wait for writes in flight.
    pub fn kill_freeing_locks(&self) {
        self.disk.lock().kill(false);
    }

    /// How many queued writes of the current life have not completed.
    pub fn writes_in_flight(&self) -> usize {
        self.disk.lock().in_flight.len()
    }

    /// How many writes of killed processes are still in flight.
    pub fn late_writes(&self) -> usize {
        self.disk.lock().late.len()
    }

    /// Lands one write of a killed process, picked by the seed. False if there is none.
    pub fn land_one_late_write(&self) -> bool {
        self.disk.lock().land_one()
    }

    /// Lands all writes of killed processes, in an order picked by the seed.
    pub fn land_late_writes(&self) {
        while self.land_one_late_write() {}
    }

    /// Whether each refused attempt to lock lands one late write, so that a start that tries again gets through (the
    /// default), or late writes land only when the test says so.
    pub fn land_while_locking(&self, land: bool) {
        self.disk.lock().land_while_locking = land;
    }

    /// Whether a queue without a write in flight really waits, for a wake or until the time is over, instead of returning
    /// at once. For tests with threads, where the default would keep a processor busy.
    pub fn sleep_when_idle(&self, sleep: bool) {
        self.disk.lock().sleep_when_idle = sleep;
    }

    /// How many operations there were. The next one has this number.
    pub fn operations(&self) -> u64 {
        self.disk.lock().operations
    }

    /// Lets the operation with this number fail.
    pub fn fail_at(&self, operation: u64, fault: Fault) {
        self.disk.lock().faults.insert(operation, fault);
    }

    /// Lets the next operation of this name fail, as [`Step::what`] says it: `sync`, `rename`.
    pub fn fail_next(&self, what: &'static str, fault: Fault) {
        self.disk.lock().next_faults.push((what, fault));
    }

    /// Lets the operation with this number take so long.
    pub fn delay_at(&self, operation: u64, delay: Duration) {
        self.disk.lock().delays.insert(operation, delay);
    }

    /// Lets every operation take some time up to `most`, by the seed. Zero at first.
    pub fn set_latency(&self, most: Duration) {
        self.disk.lock().latency_max = most;
    }

    /// The disk's clock: what its operations took, and what was added.
    pub fn now(&self) -> Duration {
        self.disk.lock().clock
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.disk.lock().clock += by;
    }

    /// Another disk with all that is on this one, and its own fate from now on. Handles stay with this one; the life of the
    /// other goes on without any, so [kill](Self::kill) it or [cut its power](Self::power_cut).
    pub fn fork(&self) -> Self {
        Self { disk: Arc::new(Mutex::new(self.disk.lock().clone())) }
    }

    /// Lets the current life end before this operation: it and all later ones fail and do nothing. Then say with
    /// [`kill`](Self::kill) or [`power_cut`](Self::power_cut) what is left; that also forgets a crash not yet reached.
    pub fn crash_at(&self, operation: u64) {
        self.disk.lock().crash_at = Some(operation);
    }

    /// Whether [`crash_at`](Self::crash_at) was reached in this life.
    pub fn crashed(&self) -> bool {
        self.disk.lock().crashed
    }

    /// Forgets the faults, the delays and the crash that were not reached.
    pub fn clear_faults(&self) {
        let mut disk = self.disk.lock();
        disk.faults.clear();
        disk.next_faults.clear();
        disk.delays.clear();
        disk.crash_at = None;
    }

    /// Limits the bytes that files may have in all. What is there already stays.
    pub fn set_capacity(&self, bytes: u64) {
        self.disk.lock().capacity = bytes;
    }

    /// Bit rot: inverts bit `bit` (0 to 7) of the byte at `offset`, in what is read and in what is durable.
    pub fn flip_bit(&self, path: impl Into<PathBuf>, offset: u64, bit: u8) -> io::Result<()> {
        self.disk.lock().content(&path.into())?.change(offset, |byte| *byte ^= 1 << bit);
        Ok(())
    }

    /// Writes `bytes` at `offset` as if they had always been there, durably.
    pub fn overwrite(&self, path: impl Into<PathBuf>, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let content = disk.content(&path.into())?;
        for (at, new) in (offset..).zip(bytes) {
            content.change(at, |byte| *byte = *new);
        }
        Ok(())
    }

    /// A write that went astray: the `len` bytes at `from` are at `to` instead, and zeroes are where they should be.
    pub fn misdirect(&self, from: (&str, u64), to: (&str, u64), len: usize) -> io::Result<()> {
        let mut bytes = vec![0; len];
        let read = self.disk.lock().content(Path::new(from.0))?.read(&mut bytes, from.1);
        self.overwrite(from.0, from.1, &vec![0; read])?;
        self.overwrite(to.0, to.1, &bytes[..read])
    }

    /// Lets every read that touches these bytes fail with `EIO`, until [`heal`](Self::heal). Follows renames of the file.
    pub fn fail_reads(&self, path: impl Into<PathBuf>, offset: u64, len: u64) -> io::Result<()> {
        self.disk.lock().content(&path.into())?.set_bad(offset..offset.saturating_add(len));
        Ok(())
    }

    /// Makes all places of a file readable again.
    pub fn heal(&self, path: impl Into<PathBuf>) -> io::Result<()> {
        self.disk.lock().content(&path.into())?.heal();
        Ok(())
    }

    /// What a reader would see in a file, without it being an operation.
    pub fn contents(&self, path: impl Into<PathBuf>) -> io::Result<Vec<u8>> {
        let mut disk = self.disk.lock();
        let content = disk.content(&path.into())?;
        let len =
            usize::try_from(content.len()).map_err(|_large| io::Error::from_raw_os_error(libc::EFBIG))?;
        let mut bytes = vec![0; len];
        content.read(&mut bytes, 0);
        Ok(bytes)
    }

    /// A number made of all operations and their results up to now: the same for the same seed and calls.
    pub fn trace(&self) -> u64 {
        self.disk.lock().trace
    }

    /// The last 256 operations, the oldest first: what to print when a test fails.
    pub fn recent(&self) -> Vec<Step> {
        self.disk.lock().recent.iter().cloned().collect()
    }
}
