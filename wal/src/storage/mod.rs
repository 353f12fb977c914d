//! The storage seam: everything that the log does to a disk goes through these traits.
//!
//! [`Directory`] and [`File`] are small enough for a test to write its own; [`WriteQueue`] is how several durable writes
//! are in flight at once. One suite runs over all implementations:
//!
//! | | |
//! | --- | --- |
//! | [`open`] | real disks: a ring (`uring`), or threads (`std`) where io_uring or direct I/O is refused |
//! | [`memory`] | a directory that nothing befalls, for tests |
//! | [`faulty`] | the simulated disk, with power cuts, kills and every fault |
//! | [`striped`] | one directory over several others: each file in pieces that lie in all of them |
//! | [`recording`], [`metered`] | decorators: a list of operations; counts, bytes and latencies |
//!
//! What is durable when:
//!
//! | call | durable when it returns (or completes) |
//! | --- | --- |
//! | [`File::write_at`] | nothing; any subset of its sectors may survive a crash, in any order |
//! | [`File::sync`] | all bytes written to this file before, and its length |
//! | [`File::write_durable_at`], a durable [`Write`] | these bytes, provided that the file's length and blocks were durable before |
//! | [`Directory::create`], [`rename`](Directory::rename), [`remove`](Directory::remove) | nothing until [`Directory::sync`] |
//!
//! Offsets, lengths and buffers of file I/O are multiples of [`Directory::alignment`]; implementations may refuse others.

use std::fmt::Debug;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::format::keys::Keys;

mod aligned;
mod buffer;
mod disk;
pub mod faulty;
mod keyed;
mod mailbox;
pub mod memory;
pub mod metered;
pub mod recording;
pub mod striped;
#[cfg(test)]
mod suite;

pub use buffer::AlignedBuf;
pub use disk::{Backend, open};
#[cfg(all(test, feature = "shuttle"))]
pub(crate) use disk::{ThreadQueue, Word};
pub(crate) use keyed::Keyed;
#[cfg(all(test, feature = "shuttle"))]
pub(crate) use mailbox::Mailbox;

/// The file that [`Directory::lock`] locks. It is listed like any other and is never removed.
pub const LOCK_FILE: &str = "lock";

/// A file's name and length, as listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name within the directory; names that are not UTF-8 are not ours and are not listed.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
}

/// Exclusive use of a directory, held until it is dropped *and* no write that was submitted under it can still land.
pub trait Lock: Send + Debug {
    /// The descriptors that carry the lock, for a queue that must hold them as long as its writes are in flight.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        Vec::new()
    }

    /// What the same implementation's queue knows the lock by where there are no descriptors.
    fn keys(&self) -> Vec<u64> {
        Vec::new()
    }
}

/// A flat directory of files.
pub trait Directory: Send + Sync + Debug {
    /// Its path, for messages.
    fn path(&self) -> &Path;

    /// Which implementation this is and how it writes, for the line at start: `uring, O_DIRECT + RWF_DSYNC`.
    fn describe(&self) -> String;

    /// I/O must be aligned to this many bytes, in the file and in memory: at least 4096.
    fn alignment(&self) -> usize;

    /// What opens the encrypted bytes in it; none where nobody gave any. Files themselves are as they stand.
    fn keys(&self) -> Keys {
        Keys::default()
    }

    /// Creates an empty file that did not exist, for reading and writing.
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file for reading and writing.
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>>;

    /// All files. Order is not defined.
    fn list(&self) -> io::Result<Vec<Entry>>;

    /// Renames a file over whatever has the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes creations, renames and removals durable.
    fn sync(&self) -> io::Result<()>;

    /// Bytes that ordinary users may still allocate here.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Takes the directory's lock (a file named `lock`), or fails with [`io::ErrorKind::WouldBlock`] if another process,
    /// or a dead one whose writes are still in flight, holds it.
    fn lock(&self) -> io::Result<Box<dyn Lock>>;

    /// A queue of at most `depth` writes at a time to files of this directory. It holds `lock` from now on.
    fn write_queue(&self, lock: Box<dyn Lock>, depth: usize) -> io::Result<Box<dyn WriteQueue>>;
}

/// An open file.
pub trait File: Send + Sync + Debug {
    /// Reads at `offset` until `buffer` is full or the file ends; returns how many bytes were read.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, durably.
    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written, and the length, durable.
    fn sync(&self) -> io::Result<()>;

    /// Allocates blocks for the first `len` bytes and extends the length to `len` if it is less. New bytes read as zero.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Sets the length, giving back the blocks beyond it.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// The length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// The descriptor beneath, for a queue that submits to the kernel itself.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// What the same implementation's queue knows the file by where there is no descriptor.
    fn key(&self) -> Option<u64> {
        None
    }

    /// The file beneath a decorator's, for the decorator's queue to hand to the queue beneath.
    fn beneath(&self) -> Option<Arc<dyn File>> {
        None
    }

    /// Where `len` bytes at `offset` lie, in order, if the file is laid over several others.
    fn parts(&self, _offset: u64, _len: usize) -> Option<Vec<Part>> {
        None
    }
}

/// A part of a range of a file, in a file beneath it.
#[derive(Debug)]
pub struct Part {
    /// Which file.
    pub file: Arc<dyn File>,
    /// Offset in that file.
    pub offset: u64,
    /// How many bytes.
    pub len: usize,
}

/// One write for a [`WriteQueue`]: `buffer[from..from + len]` at `offset`.
#[derive(Debug)]
pub struct Write {
    /// Comes back with the completion.
    pub token: u64,
    /// Where to.
    pub file: Arc<dyn File>,
    /// The bytes; the queue keeps them alive until the write completes.
    pub buffer: Arc<AlignedBuf>,
    /// Where in the buffer they begin.
    pub from: usize,
    /// How many there are.
    pub len: usize,
    /// Offset in the file.
    pub offset: u64,
    /// As [`File::write_durable_at`]; else as [`File::write_at`], to be made durable by a [`File::sync`] later.
    pub durable: bool,
}

impl Write {
    /// Carries the write out on this thread.
    fn carry_out(&self, alignment: usize) -> io::Result<()> {
        let bytes = aligned::bytes_of(alignment, self)?;
        match self.durable {
            true => self.file.write_durable_at(bytes, self.offset),
            false => self.file.write_at(bytes, self.offset),
        }
    }
}

/// A write that completed: all of its bytes are written, durably if that was asked for, or it failed and any part of it may
/// be on the disk.
#[derive(Debug)]
pub struct Completion {
    /// The write's token.
    pub token: u64,
    /// How it went. Short writes are finished by the queue, not reported.
    pub result: io::Result<()>,
}

/// Writes in flight. Used by one thread, from the first submission or wait to the drop, which waits until no write
/// can land any more; before the first use it may be given to another thread.
pub trait WriteQueue: Send + Debug {
    /// Starts a write, at the latest in the next [`wait`](Self::wait): a write on its own is one system call, made there.
    /// Fewer than `depth` writes are in flight, and none with the same token. A write that is refused completes with an error.
    fn submit(&mut self, write: Write);

    /// Starts what was submitted, for a caller that has other work before it waits.
    fn start(&mut self) {}

    /// Waits until a write completed, [`Wake::wake`] was called, or `timeout` (`None`: for ever) is over, and appends all
    /// completions to `done`. Returns at once if there is something. A wake between two calls is not lost.
    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>);

    /// How many writes are in flight.
    fn in_flight(&self) -> usize;

    /// Why the queue is of no use any more, if it is not. Its writes completed with errors and may land nevertheless, until it
    /// is dropped and its lock is free: nothing may be read or written in the place that they were meant for before.
    fn broken(&self) -> Option<io::Error> {
        None
    }

    /// Ends a [`wait`](Self::wait) from another thread.
    fn waker(&self) -> Arc<dyn Wake>;
}

/// Ends a [`WriteQueue::wait`].
pub trait Wake: Send + Sync + Debug {
    /// Ends the wait that is going on, or the next one. Cheap when it was called before without a wait between.
    fn wake(&self);
}
