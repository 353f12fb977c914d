//! What the code under test holds: directories, files, locks and queues of one life.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Fault;
use super::content::PAGE;
use super::disk::{Disk, InFlight, Inode, SUBMIT, gone};
use crate::storage::mailbox::Mailbox;
use crate::storage::{Completion, Directory, Entry, File, LOCK_FILE, Lock, Wake, Write, WriteQueue, aligned};

const ALIGNMENT: usize = PAGE as usize;

#[derive(Clone)]
struct Life {
    disk: Arc<Mutex<Disk>>,
    number: u64,
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "life {}", self.number)
    }
}

#[derive(Debug)]
pub(super) struct FaultyDirectory {
    life: Life,
    path: PathBuf,
}

impl FaultyDirectory {
    pub(super) fn new(disk: Arc<Mutex<Disk>>, number: u64, path: PathBuf) -> Self {
        Self { life: Life { disk, number }, path }
    }

    /// One operation that a fault simply refuses.
    fn operate<T>(
        &self,
        what: &'static str,
        target: String,
        act: impl FnOnce(&mut Disk) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut disk = self.life.disk.lock();
        let begun = disk.begin(self.life.number, what, target, 0, 0)?;
        let result = match begun.fault {
            Some(fault) => Err(fault.error()),
            None => act(&mut disk),
        };
        disk.end(begun, 0, result)
    }

    fn target(&self, name: &str) -> String {
        self.path.join(name).display().to_string()
    }

    fn handle(&self, disk: &mut Disk, inode: Inode, name: &str) -> Arc<dyn File> {
        disk.hold(inode);
        Arc::new(FaultyFile { life: self.life.clone(), inode, opened_as: self.target(name) })
    }
}

impl Directory for FaultyDirectory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn describe(&self) -> String {
        "simulated disk".to_owned()
    }

    fn alignment(&self) -> usize {
        ALIGNMENT
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.operate("create", self.target(name), |disk| {
            let inode = disk.create(self.path.join(name))?;
            Ok(self.handle(disk, inode, name))
        })
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.operate("open", self.target(name), |disk| {
            let inode = disk.find(&self.path.join(name))?;
            Ok(self.handle(disk, inode, name))
        })
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.operate("list", self.target(""), |disk| {
            Ok(disk.list(&self.path).into_iter().map(|(name, len)| Entry { name, len }).collect())
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let target = format!("{} to {to}", self.target(from));
        self.operate("rename", target, |disk| disk.rename(self.path.join(from), self.path.join(to)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.operate("remove", self.target(name), |disk| disk.remove(self.path.join(name)))
    }

    fn sync(&self) -> io::Result<()> {
        self.operate("sync", self.target(""), |disk| {
            disk.sync_directory(&self.path);
            Ok(())
        })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let disk = self.life.disk.lock();
        if disk.alive(self.life.number) { Ok(disk.free()) } else { Err(gone()) }
    }

    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        self.operate("lock", self.target(""), |disk| {
            let Some(number) = disk.lock(&self.path) else {
                return Err(io::Error::new(io::ErrorKind::WouldBlock, "the directory is locked"));
            };
            let file = self.path.join(LOCK_FILE);
            if disk.find(&file).is_err() {
                disk.create(file)?;
            }
            Ok(Box::new(FaultyLock { life: self.life.clone(), number }) as Box<dyn Lock>)
        })
    }

    fn write_queue(&self, lock: Box<dyn Lock>, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        let mut disk = self.life.disk.lock();
        if !disk.alive(self.life.number) {
            drop(disk);
            return Err(gone());
        }
        let number = disk.number();
        drop(disk);
        Ok(Box::new(FaultyQueue {
            life: self.life.clone(),
            number,
            depth,
            in_flight: Vec::with_capacity(depth),
            refused: Vec::new(),
            mailbox: Arc::default(),
            lock,
        }))
    }
}

#[derive(Debug)]
struct FaultyLock {
    life: Life,
    number: u64,
}

impl Lock for FaultyLock {
    fn keys(&self) -> Vec<u64> {
        vec![self.number]
    }
}

impl Drop for FaultyLock {
    /// A life that is over gives nothing back: its locks end with its writes.
    fn drop(&mut self) {
        let mut disk = self.life.disk.lock();
        if disk.alive(self.life.number) {
            disk.unlock(self.number);
        }
    }
}

#[derive(Debug)]
struct FaultyFile {
    life: Life,
    inode: Inode,
    opened_as: String,
}

impl FaultyFile {
    fn operate<T>(
        &self,
        what: &'static str,
        offset: u64,
        bytes: &[u8],
        act: impl FnOnce(&mut Disk, Option<Fault>) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut disk = self.life.disk.lock();
        let begun = disk.begin(self.life.number, what, &self.opened_as, offset, bytes.len() as u64)?;
        let result = act(&mut disk, begun.fault);
        disk.end(begun, u64::from(crc32fast::hash(bytes)), result)
    }
}

impl File for FaultyFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        aligned::check(ALIGNMENT, buffer, offset)?;
        let mut disk = self.life.disk.lock();
        let begun = disk.begin(self.life.number, "read_at", &self.opened_as, offset, buffer.len() as u64)?;
        let content = disk.node(self.inode);
        let result = match begun.fault {
            Some(fault @ (Fault::Io | Fault::NoSpace)) => Err(fault.error()),
            _ if content.is_bad(offset, buffer.len()) => Err(Fault::Io.error()),
            Some(Fault::Short) => {
                let half = buffer.len() / 2;
                Ok(content.read(&mut buffer[..half], offset))
            }
            None => Ok(content.read(buffer, offset)),
        };
        let detail = result.as_ref().map_or(0, |read| *read as u64);
        disk.end(begun, detail, result)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        aligned::check(ALIGNMENT, bytes, offset)?;
        self.operate("write_at", offset, bytes, |disk, fault| {
            disk.write(self.inode, bytes, offset, false, fault)
        })
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        aligned::check(ALIGNMENT, bytes, offset)?;
        self.operate("write_durable_at", offset, bytes, |disk, fault| {
            disk.write(self.inode, bytes, offset, true, fault)
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.operate("sync", 0, &[], |disk, fault| {
            if let Some(fault) = fault {
                disk.fail_sync(self.inode);
                return Err(fault.error());
            }
            disk.node(self.inode).sync();
            Ok(())
        })
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.operate("allocate", len, &[], |disk, fault| {
            if let Some(fault) = fault {
                return Err(fault.error());
            }
            let old = disk.node(self.inode).len();
            disk.check_space(old, len)?;
            disk.node(self.inode).set_len(old.max(len));
            Ok(())
        })
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.operate("truncate", len, &[], |disk, fault| {
            if let Some(fault) = fault {
                return Err(fault.error());
            }
            let old = disk.node(self.inode).len();
            disk.check_space(old, len)?;
            disk.node(self.inode).set_len(len);
            Ok(())
        })
    }

    fn len(&self) -> io::Result<u64> {
        let mut disk = self.life.disk.lock();
        if disk.alive(self.life.number) { Ok(disk.node(self.inode).len()) } else { Err(gone()) }
    }

    fn key(&self) -> Option<u64> {
        Some(self.inode)
    }
}

impl Drop for FaultyFile {
    fn drop(&mut self) {
        let mut disk = self.life.disk.lock();
        // The end of a life closed its handles.
        if disk.life == self.life.number {
            disk.let_go(self.inode);
        }
    }
}

/// The disk has the writes in flight, for they may outlive this queue; here are their tokens.
#[derive(Debug)]
struct FaultyQueue {
    life: Life,
    number: u64,
    depth: usize,
    in_flight: Vec<u64>,
    /// Refused at submission, for the next wait.
    refused: Vec<Completion>,
    mailbox: Arc<Mailbox>,
    lock: Box<dyn Lock>,
}

impl FaultyQueue {
    fn try_submit(&self, write: &Write) -> io::Result<()> {
        let bytes = aligned::bytes_of(ALIGNMENT, write)?;
        let inode = write.file.key().ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "the file is of another storage than the queue")
        })?;
        let mut disk = self.life.disk.lock();
        let target = format!("queue {}, file {inode}", self.number);
        let begun = disk.begin(self.life.number, SUBMIT, target, write.offset, write.len as u64)?;
        let result = match begun.fault {
            Some(fault) => Err(fault.error()),
            None => Ok(()),
        };
        if result.is_ok() {
            disk.in_flight.push(InFlight {
                queue: self.number,
                token: write.token,
                locks: self.lock.keys(),
                inode,
                bytes: bytes.to_vec(),
                offset: write.offset,
                durable: write.durable,
                ready_at: begun.done_at,
            });
        }
        disk.end(begun, u64::from(crc32fast::hash(bytes)), result)
    }

    /// This queue's writes that are done by the disk's clock.
    fn ready(&self, disk: &Disk) -> Vec<usize> {
        let own = disk.in_flight.iter().enumerate().filter(|(_index, write)| write.queue == self.number);
        own.filter(|(_index, write)| write.ready_at <= disk.clock).map(|(index, _write)| index).collect()
    }

    /// When the first of this queue's writes is done.
    fn first_ready(&self, disk: &Disk) -> Option<Duration> {
        let own = disk.in_flight.iter().filter(|write| write.queue == self.number);
        own.map(|write| write.ready_at).min()
    }

    /// Completes one of this queue's writes that are done. Picked at random, like everything here, or the process is gone.
    fn complete_one(&mut self, disk: &mut Disk) -> Completion {
        let own = self.ready(disk);
        let begun = match own.is_empty() {
            true => Err(gone()),
            false => disk.begin(self.life.number, "complete", format!("queue {}", self.number), 0, 0),
        };
        match begun {
            Err(gone) => {
                let token = self.in_flight.swap_remove(0);
                Completion { token, result: Err(gone) }
            }
            Ok(begun) => {
                let picked = own[disk.random.below(own.len())];
                let write = disk.in_flight.remove(picked);
                self.in_flight.retain(|token| *token != write.token);
                let result = disk.land(&write, begun.fault);
                Completion { token: write.token, result: disk.end(begun, write.token, result) }
            }
        }
    }
}

impl WriteQueue for FaultyQueue {
    fn submit(&mut self, write: Write) {
        assert!(self.in_flight() < self.depth, "more than {} writes in flight", self.depth);
        assert!(!self.in_flight.contains(&write.token), "token {} is in flight", write.token);
        match self.try_submit(&write) {
            Ok(()) => self.in_flight.push(write.token),
            Err(error) => self.refused.push(Completion { token: write.token, result: Err(error) }),
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) {
        let refused = !self.refused.is_empty();
        done.append(&mut self.refused);
        let shared = self.life.disk.clone();
        let mut disk = shared.lock();
        if self.in_flight.is_empty() {
            let sleep = disk.sleep_when_idle && done.is_empty();
            drop(disk);
            let timeout = if sleep { timeout } else { Some(Duration::ZERO) };
            self.mailbox.collect(timeout, done);
            return;
        }
        let woken = self.mailbox.take_wake();
        let alive = disk.alive(self.life.number);
        if let Some(first) = self.first_ready(&disk).filter(|first| alive && *first > disk.clock) {
            if woken || refused {
                return;
            }
            let end = timeout.map_or(first, |timeout| first.min(disk.clock + timeout));
            disk.clock = end;
            if end < first {
                return;
            }
        }
        let most = if alive { self.ready(&disk).len() } else { self.in_flight.len() };
        let count = match alive {
            false => most,
            // Woken before the first completion.
            true if woken && disk.random.chance(4) => 0,
            // Mostly one by one: more orders, longer delays.
            true if disk.random.chance(5) => 1,
            true => 1 + disk.random.below(most),
        };
        for _ in 0..count {
            let completion = self.complete_one(&mut disk);
            done.push(completion);
        }
    }

    fn in_flight(&self) -> usize {
        self.in_flight.len() + self.refused.len()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.mailbox.clone()
    }
}

impl Drop for FaultyQueue {
    /// Everything lands before the lock is given back; or nothing, if the life ends before.
    fn drop(&mut self) {
        let shared = self.life.disk.clone();
        let mut disk = shared.lock();
        while !self.in_flight.is_empty() {
            if let Some(first) = self.first_ready(&disk) {
                disk.clock = disk.clock.max(first);
            }
            self.complete_one(&mut disk);
        }
    }
}
