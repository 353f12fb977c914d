//! A decorator that keeps a list of what was done, for tests that assert an order: this sync before that rename.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::{Completion, Directory, Entry, File, Lock, Wake, Write, WriteQueue};

/// What was done. `file` is the name by which the file was created or opened; `ok` is whether it succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the arguments of the methods of the same names")]
pub enum Operation {
    Create { file: String, ok: bool },
    Open { file: String, ok: bool },
    List { ok: bool },
    Rename { from: String, to: String, ok: bool },
    Remove { file: String, ok: bool },
    SyncDirectory { ok: bool },
    FreeBytes { ok: bool },
    Lock { ok: bool },
    WriteQueue { depth: usize, ok: bool },
    ReadAt { file: String, offset: u64, len: usize, ok: bool },
    WriteAt { file: String, offset: u64, len: usize, ok: bool },
    WriteDurableAt { file: String, offset: u64, len: usize, ok: bool },
    Sync { file: String, ok: bool },
    Allocate { file: String, len: u64, ok: bool },
    Truncate { file: String, len: u64, ok: bool },
    Submit { token: u64, offset: u64, len: usize },
    Complete { token: u64, ok: bool },
}

/// The operations so far, in the order in which they ended. Clones are the same list.
#[derive(Clone, Debug, Default)]
pub struct Recording {
    operations: Arc<Mutex<Vec<Operation>>>,
}

impl Recording {
    /// `directory`, with everything that is done through it added to this list.
    pub fn of(&self, directory: Arc<dyn Directory>) -> Arc<dyn Directory> {
        Arc::new(RecordingDirectory { inner: directory, recording: self.clone() })
    }

    /// What was done so far.
    pub fn operations(&self) -> Vec<Operation> {
        self.operations.lock().clone()
    }

    /// What was done since the last call.
    pub fn take(&self) -> Vec<Operation> {
        std::mem::take(&mut self.operations.lock())
    }

    fn note<T>(&self, result: io::Result<T>, operation: impl FnOnce(bool) -> Operation) -> io::Result<T> {
        self.operations.lock().push(operation(result.is_ok()));
        result
    }
}

#[derive(Debug)]
struct RecordingDirectory {
    inner: Arc<dyn Directory>,
    recording: Recording,
}

impl RecordingDirectory {
    fn file(&self, name: &str, file: io::Result<Arc<dyn File>>) -> io::Result<Arc<dyn File>> {
        let (name, recording) = (name.to_owned(), self.recording.clone());
        Ok(Arc::new(RecordingFile { inner: file?, name, recording }))
    }
}

impl Directory for RecordingDirectory {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn describe(&self) -> String {
        format!("{}, recorded", self.inner.describe())
    }

    fn alignment(&self) -> usize {
        self.inner.alignment()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let created = self.inner.create(name);
        self.file(name, self.recording.note(created, |ok| Operation::Create { file: name.to_owned(), ok }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let opened = self.inner.open(name);
        self.file(name, self.recording.note(opened, |ok| Operation::Open { file: name.to_owned(), ok }))
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.recording.note(self.inner.list(), |ok| Operation::List { ok })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let operation = |ok| Operation::Rename { from: from.to_owned(), to: to.to_owned(), ok };
        self.recording.note(self.inner.rename(from, to), operation)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.recording.note(self.inner.remove(name), |ok| Operation::Remove { file: name.to_owned(), ok })
    }

    fn sync(&self) -> io::Result<()> {
        self.recording.note(self.inner.sync(), |ok| Operation::SyncDirectory { ok })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.recording.note(self.inner.free_bytes(), |ok| Operation::FreeBytes { ok })
    }

    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        self.recording.note(self.inner.lock(), |ok| Operation::Lock { ok })
    }

    fn write_queue(&self, lock: Box<dyn Lock>, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        let queue = self.inner.write_queue(lock, depth);
        let inner = self.recording.note(queue, |ok| Operation::WriteQueue { depth, ok })?;
        Ok(Box::new(RecordingQueue { inner, recording: self.recording.clone() }))
    }
}

#[derive(Debug)]
struct RecordingFile {
    inner: Arc<dyn File>,
    name: String,
    recording: Recording,
}

impl File for RecordingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (file, len) = (self.name.clone(), buffer.len());
        self.recording.note(self.inner.read_at(buffer, offset), |ok| Operation::ReadAt {
            file,
            offset,
            len,
            ok,
        })
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (file, len) = (self.name.clone(), bytes.len());
        self.recording.note(self.inner.write_at(bytes, offset), |ok| Operation::WriteAt {
            file,
            offset,
            len,
            ok,
        })
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (file, len) = (self.name.clone(), bytes.len());
        let operation = |ok| Operation::WriteDurableAt { file, offset, len, ok };
        self.recording.note(self.inner.write_durable_at(bytes, offset), operation)
    }

    fn sync(&self) -> io::Result<()> {
        self.recording.note(self.inner.sync(), |ok| Operation::Sync { file: self.name.clone(), ok })
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.recording.note(self.inner.allocate(len), |ok| Operation::Allocate {
            file: self.name.clone(),
            len,
            ok,
        })
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.recording.note(self.inner.truncate(len), |ok| Operation::Truncate {
            file: self.name.clone(),
            len,
            ok,
        })
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inner.descriptor()
    }

    fn key(&self) -> Option<u64> {
        self.inner.key()
    }

    fn beneath(&self) -> Option<Arc<dyn File>> {
        Some(self.inner.clone())
    }
}

#[derive(Debug)]
struct RecordingQueue {
    inner: Box<dyn WriteQueue>,
    recording: Recording,
}

impl WriteQueue for RecordingQueue {
    fn submit(&mut self, mut write: Write) {
        let Write { token, offset, len, .. } = write;
        self.recording.operations.lock().push(Operation::Submit { token, offset, len });
        if let Some(beneath) = write.file.beneath() {
            write.file = beneath;
        }
        self.inner.submit(write);
    }

    fn start(&mut self) {
        self.inner.start();
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) {
        let before = done.len();
        self.inner.wait(timeout, done);
        let mut operations = self.recording.operations.lock();
        for completion in &done[before..] {
            operations.push(Operation::Complete { token: completion.token, ok: completion.result.is_ok() });
        }
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight()
    }

    fn broken(&self) -> Option<io::Error> {
        self.inner.broken()
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.inner.waker()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::AlignedBuf;
    use crate::storage::memory::MemoryDirectory;

    #[test]
    fn operations_are_listed_in_order_with_their_results() {
        let recording = Recording::default();
        let directory = recording.of(Arc::new(MemoryDirectory::new("/memory")));
        let file = directory.create("a").expect("create");
        directory.create("a").map(drop).expect_err("create again");
        let buffer = Arc::new(AlignedBuf::zeroed(4096));
        let lock = directory.lock().expect("lock");
        let mut queue = directory.write_queue(lock, 2).expect("queue");
        queue.submit(Write {
            token: 5,
            file: file.clone(),
            buffer,
            from: 0,
            len: 4096,
            offset: 4096,
            durable: true,
        });
        let mut done = Vec::new();
        queue.wait(None, &mut done);
        directory.rename("a", "b").expect("rename");
        directory.sync().expect("sync");
        let a = || "a".to_owned();
        let expected = [
            Operation::Create { file: a(), ok: true },
            Operation::Create { file: a(), ok: false },
            Operation::Lock { ok: true },
            Operation::WriteQueue { depth: 2, ok: true },
            Operation::Submit { token: 5, offset: 4096, len: 4096 },
            Operation::Complete { token: 5, ok: true },
            Operation::Rename { from: a(), to: "b".to_owned(), ok: true },
            Operation::SyncDirectory { ok: true },
        ];
        assert_eq!(recording.take(), expected);
        assert_eq!(recording.operations(), []);
    }
}
