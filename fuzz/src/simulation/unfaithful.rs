//! Disks that do not do what the log is built on, so that each mode is seen to find a log that loses events: what the builds of
//! `broken-builds.sh` do at length, in an ordinary test.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flumen_wal::storage::{Completion, Directory, Entry, File, Lock, Wake, Write, WriteQueue};

use super::life::Decorate;
use super::setting::Settings;
use super::world::World;
use super::{Mode, WORLD_CYCLES};
use crate::violation::Broken;

/// What is wrong with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// Syncs of files do nothing.
    SkipsSyncs,
    /// Durable writes are ordinary ones.
    WritesLater,
    /// Writes that failed have succeeded.
    HidesErrors,
    /// There is always space, until something is written there.
    HidesNoSpace,
}

#[derive(Debug)]
struct Unfaithful<T: ?Sized> {
    fault: Fault,
    /// The length that a file was said to have.
    promised: AtomicU64,
    inner: Arc<T>,
}

fn decorate(fault: Fault) -> impl Fn(Arc<dyn Directory>) -> Arc<dyn Directory> {
    move |inner| Arc::new(Unfaithful { fault, promised: AtomicU64::new(0), inner })
}

impl Unfaithful<dyn Directory> {
    fn file(&self, inner: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(Unfaithful { fault: self.fault, promised: AtomicU64::new(0), inner })
    }
}

impl Directory for Unfaithful<dyn Directory> {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn describe(&self) -> String {
        format!("{}, but {:?}", self.inner.describe(), self.fault)
    }

    fn alignment(&self) -> usize {
        self.inner.alignment()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.file(self.inner.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.file(self.inner.open(name)?))
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.inner.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        if self.fault == Fault::HidesNoSpace { Ok(u64::MAX / 2) } else { self.inner.free_bytes() }
    }

    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        self.inner.lock()
    }

    fn write_queue(&self, lock: Box<dyn Lock>, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        Ok(Box::new(Queue { fault: self.fault, inner: self.inner.write_queue(lock, depth)? }))
    }
}

impl File for Unfaithful<dyn File> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.inner.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.inner.write_at(bytes, offset)
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.fault {
            Fault::WritesLater => self.inner.write_at(bytes, offset),
            _ => self.inner.write_durable_at(bytes, offset),
        }
    }

    fn sync(&self) -> io::Result<()> {
        if self.fault == Fault::SkipsSyncs { Ok(()) } else { self.inner.sync() }
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        match self.inner.allocate(len) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull && self.fault == Fault::HidesNoSpace => {
                self.promised.store(len, Ordering::Relaxed);
                Ok(())
            }
            result => result,
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.inner.truncate(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.inner.len()?.max(self.promised.load(Ordering::Relaxed)))
    }

    fn key(&self) -> Option<u64> {
        self.inner.key()
    }
}

#[derive(Debug)]
struct Queue {
    fault: Fault,
    inner: Box<dyn WriteQueue>,
}

impl WriteQueue for Queue {
    fn submit(&mut self, write: Write) {
        let durable = write.durable && self.fault != Fault::WritesLater;
        self.inner.submit(Write { durable, ..write });
    }

    fn start(&mut self) {
        self.inner.start();
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) {
        self.inner.wait(timeout, done);
        if self.fault == Fault::HidesErrors {
            done.iter_mut().for_each(|completion| completion.result = Ok(()));
        }
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.inner.waker()
    }
}

/// Whether one of some worlds of a mode finds what is wrong with its disk. A panic counts, as it does in the tool.
fn finds(mode: Mode, decorate: Decorate) -> bool {
    (0..40).any(|seed| {
        let cycles = move || -> Result<(), Broken> {
            let mut world = World::with(seed, Settings::of(mode, seed), decorate)?;
            (0..WORLD_CYCLES).try_for_each(|_| mode.cycle(&mut world))
        };
        !matches!(std::panic::catch_unwind(cycles), Ok(Ok(())))
    })
}

#[test]
fn each_mode_finds_a_disk_that_does_not_do_what_it_says() {
    assert!(finds(Mode::Power, |disk| decorate(Fault::SkipsSyncs)(disk)), "syncs that do nothing");
    assert!(finds(Mode::Power, |disk| decorate(Fault::WritesLater)(disk)), "writes that are not synced");
    assert!(finds(Mode::Eio, |disk| decorate(Fault::HidesErrors)(disk)), "errors that nobody hears of");
    assert!(finds(Mode::Enospc, |disk| decorate(Fault::HidesNoSpace)(disk)), "space that is not there");
}
