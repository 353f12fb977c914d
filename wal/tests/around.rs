//! The log over a directory of the test's own: one with large blocks, and one in which something happens between two of a
//! reader's steps, or in the middle of a reopen.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use flumen_wal::storage::faulty::{Fault, FaultyDisk};
use flumen_wal::storage::memory::MemoryDirectory;
use flumen_wal::storage::{Directory, Entry, File, Lock, WriteQueue};
use flumen_wal::{Commit, Directories, Driver, Log, LogError, Options, System};
use parking_lot::Mutex;

type Before = Box<dyn FnOnce() + Send>;

/// A directory with an alignment, and with something to do before a file of this name is opened, or all are listed.
#[derive(Clone)]
struct Around {
    inner: Arc<dyn Directory>,
    alignment: usize,
    before_open: Arc<Mutex<Option<(String, Before)>>>,
    before_list: Arc<Mutex<Option<Before>>>,
}

impl std::fmt::Debug for Around {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl Around {
    fn new(alignment: usize) -> Self {
        Self::over(Arc::new(MemoryDirectory::new("d")), alignment)
    }

    fn over(inner: Arc<dyn Directory>, alignment: usize) -> Self {
        Self { inner, alignment, before_open: Arc::default(), before_list: Arc::default() }
    }
}

impl Directory for Around {
    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn alignment(&self) -> usize {
        self.alignment
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.inner.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let planned = self.before_open.lock().take_if(|(wanted, _)| wanted == name);
        if let Some((_, act)) = planned {
            act();
        }
        self.inner.open(name)
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        if let Some(act) = self.before_list.lock().take() {
            act();
        }
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
        self.inner.free_bytes()
    }

    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        self.inner.lock()
    }

    fn write_queue(&self, lock: Box<dyn Lock>, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        self.inner.write_queue(lock, depth)
    }
}

fn open(dir: &Around, options: Options) -> (Log, Driver) {
    let dirs = Directories { data: Arc::new(dir.clone()), checkpoint: Arc::new(dir.clone()) };
    let (log, mut driver) = Log::open_driven(dirs, options, Arc::new(System::default())).unwrap();
    assert!(driver.settle(1000));
    (log, driver)
}

fn payload(event: u64, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| event as u8 ^ i as u8).collect()
}

fn append(log: &Log, driver: &mut Driver, event: u64, bytes: usize) {
    let payload = payload(event, bytes);
    let room = log.try_reserve(bytes as u64).unwrap();
    let ticket = log.append(room, Commit { events: 1, payload: &payload, progress: vec![] }).unwrap();
    assert!(driver.settle(1000));
    assert!(matches!(ticket.try_wait(), Some(Ok(()))), "{:?}", log.stats());
}

/// Goal: blocks larger than the frames and segments that were asked for do no harm. Method: the smallest sizes on the largest
/// blocks, small commits and such as span frames, and a start.
#[test]
fn large_blocks_make_large_frames_and_segments() {
    for alignment in [4096, 16 << 10, 64 << 10] {
        for (segment_bytes, frame_bytes) in [(64 << 10, 16 << 10), (1 << 20, 20_000), (300_000, 4 << 20)] {
            let dir = Around::new(alignment);
            let options = || Options { segment_bytes, frame_bytes, ..Options::default() };
            let (log, mut driver) = open(&dir, options());
            let sizes = |event: u64| [10, 5000, 70_000, 300_000][event as usize % 4];
            for event in 0..24 {
                append(&log, &mut driver, event, sizes(event));
            }
            log.begin_close();
            driver.settle(1000);
            drop((log, driver));
            let (log, _driver) = open(&dir, options());
            assert_eq!((log.recovery().backlog, &log.recovery().damage[..]), (24, &[][..]));
            for event in 0..24 {
                let take = log.cursor().try_take(1, 1).unwrap().unwrap();
                assert_eq!(take.first_event, event);
                assert!(take.pieces[0].payload[..] == payload(event, sizes(event)));
            }
        }
    }
}

/// Goal: a segment that is recycled under a reader's hands is no damage. Method: a reader goes from the first segment to the
/// last; when it is about to open one between, all events before are released and the keeper makes spares of their segments.
#[test]
fn a_segment_that_is_recycled_while_a_reader_comes_to_it_is_no_damage() {
    let options =
        || Options { segment_bytes: 64 << 10, frame_bytes: 16 << 10, cache_bytes: 0, ..Options::default() };
    for target in 1..4 {
        let dir = Around::new(4096);
        let (log, mut driver) = open(&dir, options());
        for event in 0..40 {
            append(&log, &mut driver, event, 5000);
        }
        let cursor = log.cursor();
        let take = |event| {
            let take =
                cursor.try_take(1, 1).unwrap_or_else(|error| panic!("event {event}: {error}")).unwrap();
            assert_eq!((take.first_event, &take.pieces[0].payload[..]), (event, &payload(event, 5000)[..]));
        };
        (0..39).for_each(take);
        // The reader goes back to the first segment, and from there to the last one.
        cursor.rollback(0, 1);
        take(0);
        cursor.release(0, 39, vec![]);
        std::thread::sleep(2 * options().release_delay);
        let mut names: Vec<_> = dir.list().unwrap().into_iter().map(|entry| entry.name).collect();
        names.retain(|name| name.starts_with("segment-"));
        names.sort();
        let recycled = Arc::new(AtomicBool::new(false));
        let (inner, name, flag) = (dir.inner.clone(), names[target].clone(), Arc::clone(&recycled));
        let act: Before = Box::new(move || {
            assert!(driver.settle(1000));
            flag.store(inner.open(&name).is_err(), Ordering::Relaxed);
        });
        *dir.before_open.lock() = Some((names[target].clone(), act));
        take(39);
        assert!(recycled.load(Ordering::Relaxed), "the reader never came to {}", names[target]);
    }
}

/// Goal: a close that meets a reopen which succeeds ends the log all the same. Method: it comes in the middle of the recovery.
#[test]
fn a_close_in_the_middle_of_a_reopen_that_succeeds_is_not_forgotten() {
    let disk = FaultyDisk::new(1);
    let dir = Around::over(disk.directory("d"), 4096);
    let options = || Options { lock_wait: std::time::Duration::ZERO, ..Options::default() };
    let (log, mut driver) = open(&dir, options());
    append(&log, &mut driver, 0, 100);
    disk.fail_at(disk.operations(), Fault::Io);
    let body = payload(1, 100);
    let failed = log.append_and_wait(Commit { events: 1, payload: &body, progress: vec![] });
    assert!(matches!(failed, Err(LogError::Failed(_))), "{failed:?}");
    let closing = log.clone();
    *dir.before_list.lock() = Some(Box::new(move || closing.begin_close()));
    // The last checkpoint is written behind the end.
    let turns = (0..100).filter(|_| driver.turn()).count();
    assert!(turns > 0);
    assert!(dir.before_list.lock().is_none(), "the reopen listed the directory");
    let stats = log.stats();
    assert_eq!((stats.reopens, stats.failure), (1, None));
    assert!(matches!(log.try_reserve(1), Err(LogError::Closed)));
    drop(driver);
    let (again, _driver) = open(&dir, options());
    assert_eq!((again.recovery().rewritten, again.recovery().cut), (0, 0), "it was closed properly");
    assert!((1..=2).contains(&again.recovery().backlog));
}
