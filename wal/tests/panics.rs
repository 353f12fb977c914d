//! A thread that panics closes the log, and a queue that breaks ends it: nobody waits in vain, and the lock is free for the next
//! start when nothing can land any more.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use flumen_wal::storage::memory::MemoryDirectory;
use flumen_wal::storage::{Completion, Directory, Entry, File, Lock, Wake, Write, WriteQueue};
use flumen_wal::{
    Commit, Directories, Durability, Log, LogError, Options, ProgressOp, ProgressUpdate, Space, Ticket,
};

/// Where the next call panics.
#[derive(Debug, Default)]
struct Traps {
    write: AtomicBool,
    sync: AtomicBool,
    submit: AtomicBool,
    rename: AtomicBool,
    /// Not a panic: whether a change of a name goes on, and whether it may end.
    renames: AtomicBool,
    slow_rename: AtomicBool,
    /// Not a panic: the queue breaks, with the write on its way.
    ring: AtomicBool,
    /// Whether a write by a committer goes on, and whether it may end.
    writes: AtomicBool,
    slow: AtomicBool,
}

fn spring(trap: &AtomicBool) {
    assert!(!trap.swap(false, SeqCst), "on purpose");
}

#[derive(Debug)]
struct Trapped {
    beneath: MemoryDirectory,
    traps: Arc<Traps>,
}

#[derive(Debug)]
struct TrappedFile {
    beneath: Arc<dyn File>,
    traps: Arc<Traps>,
}

#[derive(Debug)]
struct TrappedQueue {
    beneath: Box<dyn WriteQueue>,
    traps: Arc<Traps>,
    /// Counts as failed, and lands as late as it can.
    late: Option<Write>,
    refused: Vec<Completion>,
}

impl Trapped {
    fn file(&self, beneath: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(TrappedFile { beneath, traps: self.traps.clone() })
    }
}

impl Directory for Trapped {
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
        Ok(self.file(self.beneath.create(name)?))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        Ok(self.file(self.beneath.open(name)?))
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.beneath.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        spring(&self.traps.rename);
        while self.traps.slow_rename.load(SeqCst) {
            self.traps.renames.store(true, SeqCst);
            thread::sleep(Duration::from_millis(1));
        }
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
        let beneath = self.beneath.write_queue(lock, depth)?;
        Ok(Box::new(TrappedQueue { beneath, traps: self.traps.clone(), late: None, refused: Vec::new() }))
    }
}

impl File for TrappedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.beneath.read_at(buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        spring(&self.traps.write);
        self.beneath.write_at(bytes, offset)
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        spring(&self.traps.write);
        self.traps.writes.store(true, SeqCst);
        while self.traps.slow.load(SeqCst) {
            thread::sleep(Duration::from_millis(1));
        }
        self.beneath.write_at(bytes, offset)?;
        self.traps.writes.store(false, SeqCst);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        spring(&self.traps.sync);
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

impl WriteQueue for TrappedQueue {
    fn submit(&mut self, write: Write) {
        spring(&self.traps.submit);
        if self.traps.ring.load(SeqCst) {
            self.refused.push(Completion { token: write.token, result: Err(broken()) });
            self.late = Some(write);
        } else {
            self.beneath.submit(write);
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Completion>) {
        done.append(&mut self.refused);
        let timeout = if done.is_empty() { timeout } else { Some(Duration::ZERO) };
        self.beneath.wait(timeout, done);
    }

    fn in_flight(&self) -> usize {
        self.beneath.in_flight() + self.refused.len()
    }

    fn broken(&self) -> Option<io::Error> {
        self.late.is_some().then(broken)
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.beneath.waker()
    }
}

fn broken() -> io::Error {
    io::Error::other("the ring is broken")
}

impl Drop for TrappedQueue {
    fn drop(&mut self) {
        if let Some(late) = self.late.take() {
            late.file.write_at(&late.buffer[late.from..late.from + late.len], late.offset).unwrap();
        }
    }
}

/// Far above what any step takes on a busy machine; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

struct Tried {
    dir: MemoryDirectory,
    traps: Arc<Traps>,
    log: Log,
}

fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        frame_bytes: 16 << 10,
        release_delay: Duration::ZERO,
        lock_wait: Duration::ZERO,
        ..Options::default()
    }
}

fn open(options: Options) -> Tried {
    let dir = MemoryDirectory::new("d");
    let traps = Arc::<Traps>::default();
    let trapped = Arc::new(Trapped { beneath: dir.clone(), traps: traps.clone() });
    let dirs = Directories { data: trapped.clone(), checkpoint: trapped };
    let log = Log::open(dirs, options).unwrap();
    append(&log, 1).wait().unwrap();
    Tried { dir, traps, log }
}

fn append(log: &Log, byte: u8) -> Ticket {
    let room = log.try_reserve(100).unwrap();
    log.append(room, Commit { events: 1, payload: &vec![byte; 100], progress: vec![] }).unwrap()
}

fn of_a_sink() -> Vec<ProgressUpdate> {
    let op = ProgressOp::Set { generation: 1, from: 0, to: 1, rest: Vec::new().into() };
    vec![ProgressUpdate { space: Space::Sink, owner: "s".into(), key: "k".into(), op }]
}

/// Does it on a thread of its own, for it may not come back.
fn soon<T: Send + 'static>(what: &str, it: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || done.send(it()));
    match ended.recv_timeout(PATIENCE) {
        Ok(it) => it,
        Err(error) => panic!("{what}: {error}"),
    }
}

impl Tried {
    /// The log is closed, says why, and the next start has the lock.
    fn ends(self) {
        let Self { dir, log, .. } = self;
        let start = Instant::now();
        while log.stats().failure.is_none() && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(log.stats().failure.is_some_and(|why| why.contains("panicked")));
        assert!(matches!(log.try_reserve(1), Err(LogError::Closed)));
        let again = options();
        soon("the next start", move || {
            let dirs = || Directories { data: Arc::new(dir.clone()), checkpoint: Arc::new(dir.clone()) };
            while let Err(error) = Log::open(dirs(), again.clone()) {
                assert!(error.to_string().contains("locked"), "{error}");
                thread::sleep(Duration::from_millis(1));
            }
        });
        soon("the end", move || log.close());
    }
}

#[test]
fn a_committer_that_panics_leaves_no_lock_behind() {
    let tried = open(options());
    tried.traps.write.store(true, SeqCst);
    let log = tried.log.clone();
    let committer = thread::spawn(move || {
        log.append_and_wait(Commit { events: 1, payload: &vec![2; 100], progress: vec![] })
    });
    assert!(committer.join().is_err(), "it panics");
    tried.ends();
}

#[test]
fn the_lock_stays_until_other_committers_writes_have_ended() {
    // Beside a committer's write goes out what has enough bytes.
    let tried = open(Options { eager_bytes: 64, ..options() });
    tried.traps.slow.store(true, SeqCst);
    let log = tried.log.clone();
    let slow = thread::spawn(move || {
        log.append_and_wait(Commit { events: 1, payload: &vec![2; 100], progress: vec![] })
    });
    while !tried.traps.writes.load(SeqCst) {
        thread::sleep(Duration::from_millis(1));
    }
    tried.traps.submit.store(true, SeqCst);
    let appended = append(&tried.log, 3);
    assert!(soon("the append", move || appended.wait()).is_err());
    thread::sleep(Duration::from_millis(50));
    let directories =
        Directories { data: Arc::new(tried.dir.clone()), checkpoint: Arc::new(tried.dir.clone()) };
    assert!(Log::open(directories, options()).is_err(), "a write is in the air");
    tried.traps.slow.store(false, SeqCst);
    assert!(slow.join().unwrap().is_err());
    tried.ends();
}

#[test]
fn who_waits_for_control_records_is_told_of_a_panic() {
    let tried = open(options());
    tried.traps.submit.store(true, SeqCst);
    let recorded = tried.log.record(of_a_sink()).unwrap();
    let told = soon("the record", move || recorded.wait());
    assert!(matches!(told, Err(LogError::Closed)), "{told:?}");
    tried.ends();
}

#[test]
fn a_keeper_that_panics_in_a_sync_ends_the_log() {
    let durability = Durability::Written { interval: Duration::from_secs(3600), bytes: 1 << 30 };
    let tried = open(Options { durability, ..options() });
    append(&tried.log, 2).wait().unwrap();
    tried.traps.sync.store(true, SeqCst);
    // The close mark needs the sync.
    let log = tried.log.clone();
    soon("the close", move || log.close());
    tried.ends();
}

#[test]
fn who_waits_for_a_segment_is_told_that_the_keeper_panicked() {
    let tried = open(options());
    tried.traps.rename.store(true, SeqCst);
    let log = tried.log.clone();
    let error = soon("the appends", move || {
        loop {
            let append = |byte| {
                log.append_and_wait(Commit { events: 1, payload: &vec![byte; 9000], progress: vec![] })
            };
            if let Err(error) = append(3) {
                return error;
            }
        }
    });
    assert!(matches!(error, LogError::Closed), "{error}");
    tried.ends();
}

#[test]
fn a_log_whose_queue_broke_touches_no_file_until_it_is_closed() {
    let tried = open(options());
    let names = || {
        let mut names: Vec<_> = tried.dir.list().unwrap().into_iter().map(|entry| entry.name).collect();
        names.sort();
        names
    };
    // The keeper prepares its segments.
    let (mut before, wanted) = (Vec::new(), options().prepared_segments as u64);
    while tried.log.stats().reserve_segments < wanted || before != names() {
        before = names();
        thread::sleep(Duration::from_millis(100));
    }
    tried.traps.ring.store(true, SeqCst);
    let recorded = tried.log.record(of_a_sink()).unwrap();
    assert!(matches!(soon("the record", move || recorded.wait()), Err(LogError::Failed(_))));
    thread::sleep(Duration::from_millis(300));
    let stats = tried.log.stats();
    let why = stats.failure.unwrap();
    assert!(why.contains("the ring is broken") && why.contains("restart the process"), "{why}");
    assert_eq!((stats.reopens, names()), (0, before), "a late write may meet what a reopen wrote");
    assert!(matches!(tried.log.try_reserve(1), Err(LogError::Failed(_))));
    let Tried { dir, log, .. } = tried;
    soon("the close", move || log.close());
    let dirs = Directories { data: Arc::new(dir.clone()), checkpoint: Arc::new(dir) };
    let again = Log::open(dirs, options()).unwrap();
    assert_eq!(again.recovery().backlog, 1);
    append(&again, 3).wait().unwrap();
}

#[test]
fn the_lock_stays_until_the_keepers_job_has_ended() {
    let tried = open(options());
    tried.traps.slow_rename.store(true, SeqCst);
    // Rolls take a prepared segment, and the keeper prepares another one.
    while !tried.traps.renames.load(SeqCst) {
        // Not waited for: it may be the one that needs the segment.
        if let Ok(room) = tried.log.try_reserve(9000) {
            let commit = Commit { events: 1, payload: &vec![3; 9000], progress: vec![] };
            drop(tried.log.append(room, commit).unwrap());
        }
        thread::sleep(Duration::from_millis(1));
    }
    tried.traps.submit.store(true, SeqCst);
    let recorded = tried.log.record(of_a_sink()).unwrap();
    assert!(soon("the record", move || recorded.wait()).is_err());
    thread::sleep(Duration::from_millis(50));
    let dirs = Directories { data: Arc::new(tried.dir.clone()), checkpoint: Arc::new(tried.dir.clone()) };
    assert!(Log::open(dirs, options()).is_err(), "a file is being given another name");
    tried.traps.slow_rename.store(false, SeqCst);
    tried.ends();
}
