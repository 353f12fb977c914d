//! What a take meets while the log is being reopened is no damage; and what is damaged is given up once.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use flumen_wal::storage::faulty::Fault;
use flumen_wal::storage::memory::MemoryDirectory;
use flumen_wal::storage::{Directory, Entry, File, Lock, WriteQueue};
use flumen_wal::{Cursor, DamagePolicy, Directories, Durability, Log, Quarantine, ReadError};

use crate::world::{World, payload};

/// Holds a reader at the opening of a file until a reopen has moved the file's frames, and the reopen until the reader is done.
#[derive(Debug)]
struct Stalling {
    beneath: Arc<dyn Directory>,
    armed: AtomicBool,
    stalls: AtomicBool,
    moved: AtomicBool,
    read: AtomicBool,
    syncs: AtomicUsize,
}

/// Far above what any step takes on a busy machine; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

fn until(mut what: impl FnMut() -> bool) {
    let start = Instant::now();
    while !what() && start.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(1));
    }
}

impl Directory for Stalling {
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
        self.beneath.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        if self.armed.swap(false, SeqCst) {
            self.stalls.store(true, SeqCst);
            until(|| self.moved.load(SeqCst));
        }
        self.beneath.open(name)
    }

    fn list(&self) -> io::Result<Vec<Entry>> {
        self.beneath.list()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.beneath.rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.beneath.remove(name)
    }

    fn sync(&self) -> io::Result<()> {
        // The first one of a reopen is that of its own segment, the second one that of what it tidied up.
        if self.stalls.load(SeqCst) && self.syncs.fetch_add(1, SeqCst) == 1 {
            self.moved.store(true, SeqCst);
            until(|| self.read.load(SeqCst));
        }
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

/// A take that stalls while a reopen moves the ten acked events that it is about to read.
fn take_during_a_reopen(damage: DamagePolicy) {
    let mut world = World::closed();
    world.options.durability = Durability::Written { interval: Duration::from_secs(3600), bytes: 1 << 30 };
    world.options.damage = damage;
    let stalling = Arc::new(Stalling {
        beneath: world.disk.directory("data"),
        armed: false.into(),
        stalls: false.into(),
        moved: false.into(),
        read: false.into(),
        syncs: 0.into(),
    });
    let dirs = Directories { data: stalling.clone(), checkpoint: world.disk.directory("checkpoint") };
    let opened = Log::open_driven(dirs, world.options.clone(), world.environment.clone());
    world.running = Some(opened.unwrap());
    world.append_all(0..10);
    stalling.armed.store(true, SeqCst);
    let reader = {
        let (cursor, stalling) = (world.log().cursor(), stalling.clone());
        thread::spawn(move || {
            let taken = cursor.try_take(1, 1 << 20);
            stalling.read.store(true, SeqCst);
            taken
        })
    };
    until(|| stalling.stalls.load(SeqCst));
    world.disk.fail_next("complete", Fault::Io);
    let ticket = world.append_bytes(&payload(10));
    until(|| {
        world.turn();
        world.log().stats().reopens == 1
    });
    assert!(ticket.try_wait().is_some_and(|result| result.is_err()));
    assert!(stalling.moved.load(SeqCst), "the reopen moved what the reader looked for");
    let during = reader.join().unwrap();
    let first = match during {
        Err(ReadError::Failed(_)) => 0,
        Ok(Some(take)) => {
            assert_eq!((take.first_event, &take.pieces[0].payload[..]), (0, &payload(0)[..]));
            1
        }
        other => panic!("no damage: {other:?}"),
    };
    assert_eq!(world.log().stats().given_up_events, 0);
    let cursor = world.log().cursor();
    for event in first..10 {
        let take = cursor.try_take(1, 1 << 20).unwrap().unwrap();
        assert_eq!((take.first_event, &take.pieces[0].payload[..]), (event, &payload(event)[..]));
    }
}

fn quarantine() -> Quarantine {
    Quarantine::new(|| Ok(Arc::new(MemoryDirectory::new("quarantine"))))
}

#[test]
fn a_take_during_a_reopen_gives_nothing_up() {
    take_during_a_reopen(DamagePolicy::Quarantine(quarantine()));
}

#[test]
fn a_take_during_a_reopen_reports_no_damage() {
    take_during_a_reopen(DamagePolicy::Halt);
}

/// Thirty events of which one is damaged; the quarantine runs `first` when it is opened for the first time.
fn damaged(first: impl FnOnce(Cursor) + Send + 'static) -> (World, u64) {
    let mut world = World::with_events(30);
    world.close();
    let frame = world.frame_of(20);
    world.disk.flip_bit(format!("data/{}", frame.file), frame.offset + 70, 3).unwrap();
    type First = Box<dyn FnOnce(Cursor) + Send>;
    let hook = parking_lot::Mutex::new(Some(Box::new(first) as First));
    let cursor = Arc::new(parking_lot::Mutex::new(None::<Cursor>));
    let given = cursor.clone();
    world.options.damage = DamagePolicy::Quarantine(Quarantine::new(move || {
        let cursor = cursor.lock().clone();
        if let (Some(first), Some(cursor)) = (hook.lock().take(), cursor) {
            first(cursor);
        }
        Ok(Arc::new(MemoryDirectory::new("quarantine")))
    }));
    world.open().unwrap();
    *given.lock() = Some(world.log().cursor());
    for event in 0..20 {
        assert_eq!(world.log().cursor().try_take(1, 1 << 20).unwrap().unwrap().first_event, event);
    }
    (world, 20)
}

#[test]
fn what_two_readers_meet_at_once_is_given_up_once() {
    let other: Arc<parking_lot::Mutex<Option<JoinHandle<u64>>>> = Arc::default();
    let slot = other.clone();
    let (world, event) = damaged(move |cursor| {
        let take = move || cursor.try_take(1, 1 << 20).unwrap().unwrap().first_event;
        *slot.lock() = Some(thread::spawn(take));
        thread::sleep(Duration::from_millis(200));
    });
    let one = world.log().cursor().try_take(1, 1 << 20).unwrap().unwrap().first_event;
    let other = other.lock().take().expect("it met the damage").join().unwrap();
    assert_eq!([one.min(other), one.max(other)], [event + 1, event + 2]);
    let stats = world.log().stats();
    assert_eq!((stats.given_up_events, stats.set_aside_places), (1, 1));
}

#[test]
fn a_log_that_fails_while_damage_is_set_aside_gives_nothing_up() {
    let ready = Arc::new(AtomicBool::new(false));
    let failed = Arc::new(AtomicBool::new(false));
    let (mut world, event) = {
        let (ready, failed) = (ready.clone(), failed.clone());
        damaged(move |_| {
            ready.store(true, SeqCst);
            until(|| failed.load(SeqCst));
        })
    };
    let cursor = world.log().cursor();
    let reader = thread::spawn(move || cursor.try_take(1, 1 << 20));
    until(|| ready.load(SeqCst));
    world.disk.fail_next("complete", Fault::Io);
    let ticket = world.append_bytes(&payload(30));
    let log = world.log().clone();
    let watch = thread::spawn(move || {
        until(|| log.stats().failure.is_some());
        failed.store(true, SeqCst);
    });
    until(|| {
        world.turn();
        ticket.try_wait().is_some() && world.log().stats().failure.is_none()
    });
    watch.join().unwrap();
    let taken = reader.join().unwrap();
    assert!(matches!(taken, Err(ReadError::Failed(_))), "{taken:?}");
    assert_eq!(world.log().stats().given_up_events, 0);
    let take = world.log().cursor().try_take(1, 1 << 20).unwrap().unwrap();
    assert_eq!((take.first_event, world.log().stats().given_up_events), (event + 1, 1));
}
