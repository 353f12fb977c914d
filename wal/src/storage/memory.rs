//! A directory in memory. It keeps everything it is told and forgets everything with its last handle, so it is for tests
//! of what does not crash; for what does, see [`faulty`](super::faulty).
//!
//! Cloning the [`MemoryDirectory`] gives the same directory again, as a second process would see it: the lock conflicts.
//! Queued writes are carried out when their owner waits (or at once, see [`MemoryDirectory::writing_at_submit`]), in the
//! order of submission. With a capacity, what would exceed it fails with `ENOSPC`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::mailbox::Mailbox;
use super::{Completion, Directory, Entry, File, LOCK_FILE, Lock, Wake, Write, WriteQueue, aligned};

const ALIGNMENT: usize = 4096;

/// A directory in memory.
#[derive(Clone, Debug)]
pub struct MemoryDirectory {
    path: PathBuf,
    files: Arc<Mutex<BTreeMap<String, Arc<MemoryFile>>>>,
    space: Arc<Space>,
    locked: Arc<AtomicBool>,
    at_submit: bool,
}

impl MemoryDirectory {
    /// An empty directory that calls itself `path`. Nothing of that name is touched.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::with_capacity(path, u64::MAX)
    }

    /// An empty directory that holds at most `capacity` bytes of files.
    pub fn with_capacity(path: impl Into<PathBuf>, capacity: u64) -> Self {
        Self {
            path: path.into(),
            files: Arc::default(),
            space: Arc::new(Space { capacity: AtomicU64::new(capacity), used: AtomicU64::new(0) }),
            locked: Arc::default(),
            at_submit: false,
        }
    }

    /// The same directory, with queues that write in `submit` instead of in `wait`.
    pub fn writing_at_submit(mut self) -> Self {
        self.at_submit = true;
        self
    }

    /// Changes how many bytes the directory may hold.
    pub fn set_capacity(&self, capacity: u64) {
        self.space.capacity.store(capacity, Ordering::Relaxed);
    }

    fn new_file(&self) -> Arc<MemoryFile> {
        Arc::new(MemoryFile { bytes: RwLock::default(), space: self.space.clone() })
    }

    fn find(&self, name: &str) -> io::Result<Arc<MemoryFile>> {
        self.files.lock().get(name).cloned().ok_or_else(|| not_found(name))
    }
}

fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("no file {name}"))
}

impl Directory for MemoryDirectory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn describe(&self) -> String {
        "memory, nothing survives this process".to_owned()
    }

    fn alignment(&self) -> usize {
        ALIGNMENT
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut files = self.files.lock();
        if files.contains_key(name) {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("file {name} exists")));
        }
        let file = self.new_file();
        files.insert(name.to_owned(), file.clone());
        Ok(file)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.find(name)?)
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        let files = self.files.lock();
        Ok(files.iter().map(|(name, file)| Entry { name: name.clone(), len: file.length() }).collect())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files.lock();
        let file = files.remove(from).ok_or_else(|| not_found(from))?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.files.lock().remove(name).map(drop).ok_or_else(|| not_found(name))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.space.free())
    }

    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        if self.locked.swap(true, Ordering::Acquire) {
            return Err(io::Error::new(io::ErrorKind::WouldBlock, "the directory is locked"));
        }
        // Listed, as on a real disk, so that a caller that cannot bear the sight of it fails here too.
        self.files.lock().entry(LOCK_FILE.to_owned()).or_insert_with(|| self.new_file());
        Ok(Box::new(MemoryLock { locked: self.locked.clone() }))
    }

    fn write_queue(&self, lock: Box<dyn Lock>, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        Ok(Box::new(MemoryQueue {
            pending: Vec::with_capacity(depth),
            finished: 0,
            mailbox: Arc::default(),
            at_submit: self.at_submit,
            depth,
            _lock: lock,
        }))
    }
}

#[derive(Debug)]
struct Space {
    capacity: AtomicU64,
    used: AtomicU64,
}

impl Space {
    fn free(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed).saturating_sub(self.used.load(Ordering::Relaxed))
    }

    fn take(&self, bytes: u64) -> io::Result<()> {
        let capacity = self.capacity.load(Ordering::Relaxed);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|used| *used <= capacity)
            })
            .map(drop)
            .map_err(|_used| io::Error::from_raw_os_error(libc::ENOSPC))
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct MemoryLock {
    locked: Arc<AtomicBool>,
}

impl Lock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.locked.store(false, Ordering::Release);
    }
}

struct MemoryFile {
    bytes: RwLock<Vec<u8>>,
    space: Arc<Space>,
}

impl std::fmt::Debug for MemoryFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MemoryFile({} bytes)", self.length())
    }
}

impl MemoryFile {
    fn length(&self) -> u64 {
        self.bytes.read().len() as u64
    }

    fn grow(&self, bytes: &mut Vec<u8>, len: u64) -> io::Result<()> {
        let old = bytes.len() as u64;
        if len > old {
            let index = usize::try_from(len).map_err(|_large| io::Error::from_raw_os_error(libc::EFBIG))?;
            self.space.take(len - old)?;
            bytes.resize(index, 0);
        }
        Ok(())
    }
}

impl File for MemoryFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        aligned::check(ALIGNMENT, buffer, offset)?;
        let bytes = self.bytes.read();
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let read = buffer.len().min(bytes.len() - from);
        buffer[..read].copy_from_slice(&bytes[from..from + read]);
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        aligned::check(ALIGNMENT, bytes, offset)?;
        let end = offset
            .checked_add(bytes.len() as u64)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EFBIG))?;
        let mut all = self.bytes.write();
        if !bytes.is_empty() {
            self.grow(&mut all, end)?;
            // `grow` proved that `end`, and so `offset`, is within the address space.
            let from = offset as usize;
            all[from..from + bytes.len()].copy_from_slice(bytes);
        }
        Ok(())
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.grow(&mut self.bytes.write(), len)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut bytes = self.bytes.write();
        self.grow(&mut bytes, len)?;
        let given_back = bytes.len() as u64 - len;
        // Not longer than the file, hence within the address space.
        bytes.truncate(len as usize);
        self.space.give_back(given_back);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.length())
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        self.space.give_back(self.length());
    }
}

#[derive(Debug)]
struct MemoryQueue {
    pending: Vec<Write>,
    /// Written, and posted to the mailbox, but not yet collected.
    finished: usize,
    mailbox: Arc<Mailbox>,
    at_submit: bool,
    depth: usize,
    _lock: Box<dyn Lock>,
}

impl MemoryQueue {
    fn carry_out(&mut self) {
        for write in self.pending.drain(..) {
            let result = write.carry_out(ALIGNMENT);
            self.mailbox.post(Completion { token: write.token, result });
            self.finished += 1;
        }
    }
}

impl WriteQueue for MemoryQueue {
    fn submit(&mut self, write: Write) {
        assert!(self.in_flight() < self.depth, "more than {} writes in flight", self.depth);
        self.pending.push(write);
        if self.at_submit {
            self.carry_out();
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) {
        self.carry_out();
        self.finished -= self.mailbox.collect(timeout, done);
    }

    fn in_flight(&self) -> usize {
        self.pending.len() + self.finished
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.mailbox.clone()
    }
}

impl Drop for MemoryQueue {
    /// Submitted writes land, as they would on a disk, before the lock is given back.
    fn drop(&mut self) {
        self.carry_out();
    }
}
