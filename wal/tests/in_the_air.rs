//! A committer's own write that is still in the air while the log fails: the reopen waits for it, for what lands behind a
//! recovery's back would be read by none and written over what the next life has acked.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use flumen_wal::storage::memory::MemoryDirectory;
use flumen_wal::storage::{Directory, Entry, File, Lock, WriteQueue};
use flumen_wal::{Commit, Directories, Log, LogError, Options, System};

/// What becomes of durable writes that hold these bytes.
const HELD: &[u8] = b"<to be held>";
const FAILING: &[u8] = b"<to fail>";

/// A directory in memory that holds back a write until told.
#[derive(Clone, Debug)]
struct Holding {
    beneath: MemoryDirectory,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug, Default)]
struct State {
    holds: bool,
    released: bool,
    failed: bool,
    /// How often it was listed: once or more by each recovery.
    listed: usize,
}

impl Holding {
    fn new() -> Self {
        Self { beneath: MemoryDirectory::new("d"), state: Arc::default() }
    }

    fn look<R>(&self, look: impl FnOnce(&mut State) -> R) -> R {
        let result = look(&mut self.state.0.lock().unwrap());
        self.state.1.notify_all();
        result
    }

    fn wait_until(&self, is_so: impl Fn(&State) -> bool) {
        let state = self.state.0.lock().unwrap();
        drop(self.state.1.wait_while(state, |state| !is_so(state)).unwrap());
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

impl Directory for Holding {
    fn path(&self) -> &Path {
        self.beneath.path()
    }

    fn describe(&self) -> String {
        self.beneath.describe()
    }

    fn alignment(&self) -> usize {
        self.beneath.alignment()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(HoldingFile { beneath: self.beneath.create(name)?, directory: self.clone() }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(HoldingFile { beneath: self.beneath.open(name)?, directory: self.clone() }))
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.look(|state| state.listed += 1);
        self.beneath.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.beneath.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.beneath.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        self.beneath.sync()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.beneath.free_bytes()
    }

    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        self.beneath.lock()
    }

    fn write_queue(&self, lock: Box<dyn Lock>, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        self.beneath.write_queue(lock, depth)
    }
}

#[derive(Debug)]
struct HoldingFile {
    beneath: Arc<dyn File>,
    directory: Holding,
}

impl File for HoldingFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.beneath.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.beneath.write_at(bytes, offset)
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if contains(bytes, HELD) {
            self.directory.look(|state| state.holds = true);
            self.directory.wait_until(|state| state.released);
        }
        if contains(bytes, FAILING)
            && !self.directory.look(|state| std::mem::replace(&mut state.failed, true))
        {
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        self.beneath.write_durable_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.beneath.sync()
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.beneath.allocate(len)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.beneath.truncate(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.beneath.len()
    }
}

fn append(log: &Log, body: &[u8]) -> Result<(), LogError> {
    log.append_and_wait(Commit { events: 1, payload: &body.to_vec(), progress: vec![] })
}

/// Method: one committer's write is held in the air, another's, behind it, fails. The submitter is turned by hand.
#[test]
fn a_reopen_waits_for_a_committers_own_write_that_is_still_in_the_air() {
    let directory = Holding::new();
    let dir: Arc<dyn Directory> = Arc::new(directory.clone());
    // Every frame goes at once, so that two are in flight.
    let options =
        Options { segment_bytes: 64 << 10, frame_bytes: 16 << 10, eager_bytes: 1, ..Options::default() };
    let dirs = Directories { data: dir.clone(), checkpoint: dir };
    let (log, mut driver) = Log::open_driven(dirs, options, Arc::new(System::default())).unwrap();
    assert!(driver.settle(1000));
    let recoveries = directory.look(|state| state.listed);

    std::thread::scope(|scope| {
        let held = scope.spawn(|| append(&log, HELD));
        directory.wait_until(|state| state.holds);
        let failed = append(&log, FAILING);
        assert!(matches!(failed, Err(LogError::Failed(_))), "{failed:?}");
        for _ in 0..100 {
            driver.turn();
        }
        let (listed, failure) = (directory.look(|state| state.listed), log.stats().failure);
        directory.look(|state| state.released = true);
        let unknown = held.join().unwrap();
        assert_eq!(listed, recoveries, "a recovery read what was still in the air");
        assert!(failure.is_some());
        assert!(matches!(unknown, Err(LogError::Failed(_))), "decided by the failure: {unknown:?}");
    });
    assert!(driver.settle(1000));
    assert_eq!((log.stats().failure, log.stats().reopens), (None, 1));
    append(&log, b"after").unwrap();
    let mut there = Vec::new();
    while let Some(take) = log.cursor().try_take(1, 1 << 20).unwrap() {
        there.extend(take.pieces.iter().map(|piece| piece.payload.to_vec()));
    }
    assert_eq!(there, [HELD.to_vec(), b"after".to_vec()], "what had landed is there, once");
}
