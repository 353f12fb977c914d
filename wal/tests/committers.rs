//! Threads that append and wait: they write for themselves, share frames, and none waits in vain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flumen_wal::storage::Directory;
use flumen_wal::storage::faulty::{Fault, FaultyDisk};
use flumen_wal::storage::memory::MemoryDirectory;
use flumen_wal::{Commit, Directories, Driver, Key, Keys, Log, LogError, Options, Payload, System};

fn dirs(dir: Arc<dyn Directory>) -> Directories {
    Directories { data: dir.clone(), checkpoint: dir }
}

/// A log whose threads are turned by hand.
fn driven(dir: Arc<dyn Directory>) -> (Log, Driver) {
    let options = Options { segment_bytes: 64 << 10, frame_bytes: 16 << 10, ..Options::default() };
    let (log, mut driver) = Log::open_driven(dirs(dir), options, Arc::new(System::default())).unwrap();
    assert!(driver.settle(1000));
    (log, driver)
}

fn one(body: &Vec<u8>) -> Commit<'_> {
    Commit { events: 1, payload: body, progress: vec![] }
}

fn taken(log: &Log) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    while let Some(take) = log.cursor().try_take(1, 1 << 20).unwrap() {
        bodies.extend(take.pieces.iter().map(|piece| piece.payload.to_vec()));
    }
    bodies
}

/// Method: nobody turns the submitter.
#[test]
fn a_lone_committer_needs_no_other_thread() {
    let (log, _driver) = driven(Arc::new(MemoryDirectory::new("d")));
    for i in 0..10u8 {
        log.append_and_wait(one(&vec![i; 100])).unwrap();
    }
    assert_eq!(taken(&log), (0..10u8).map(|i| vec![i; 100]).collect::<Vec<_>>());
}

#[test]
fn a_committer_whose_own_write_fails_is_told_and_the_log_reopens() {
    let disk = FaultyDisk::new(1);
    let (log, mut driver) = driven(disk.directory("/d"));
    log.append_and_wait(one(&b"before".to_vec())).unwrap();
    disk.fail_at(disk.operations(), Fault::Io);
    let failed = log.append_and_wait(one(&b"unknown".to_vec()));
    assert!(matches!(failed, Err(LogError::Failed(_))), "{failed:?}");
    assert!(log.stats().failure.is_some());
    assert!(driver.settle(1000));
    assert_eq!((log.stats().failure, log.stats().reopens), (None, 1));
    log.append_and_wait(one(&b"after".to_vec())).unwrap();
    let bodies = taken(&log);
    assert_eq!(bodies.first().unwrap(), b"before");
    assert_eq!(bodies.last().unwrap(), b"after");
}

/// What a committer wrote for itself rides with releases, and is vouched for, as any other frame.
#[test]
fn what_committers_wrote_for_themselves_is_there_after_a_power_cut() {
    let disk = FaultyDisk::new(7);
    let (log, driver) = driven(disk.directory("/d"));
    for i in 0..5u8 {
        log.append_and_wait(one(&vec![i; 300])).unwrap();
    }
    let take = log.cursor().try_take(2, 1 << 20).unwrap().unwrap();
    log.cursor().release(take.first_event, take.events, vec![]);
    log.append_and_wait(one(&vec![5; 300])).unwrap();
    disk.power_cut_losing_all();
    drop((log, driver));
    let (log, _driver) = driven(disk.directory("/d"));
    assert_eq!(taken(&log), (2..6u8).map(|i| vec![i; 300]).collect::<Vec<_>>());
}

/// A frame waits for the committers of the one before. Method: some of them leave for good, and those who stay must not
/// notice more than a moment.
#[test]
fn committers_that_do_not_come_back_hold_nobody_up() {
    let log = Log::open(dirs(Arc::new(MemoryDirectory::new("d"))), Options::default()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8u8 {
            let log = &log;
            scope.spawn(move || {
                for _ in 0..40 * u32::from(thread + 1) {
                    log.append_and_wait(one(&vec![thread; 50])).unwrap();
                }
            });
        }
    });
    assert_eq!(log.stats().synced_event, (1..=8).map(|n| 40 * n).sum::<u64>());
    let start = Instant::now();
    log.append_and_wait(one(&vec![9; 50])).unwrap();
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    log.close();
}

/// Half of its bytes, then a panic.
struct Breaks;

impl Payload for Breaks {
    fn len(&self) -> usize {
        100
    }

    fn write_to(&self, out: &mut [u8]) {
        out[..50].fill(1);
        panic!("on purpose");
    }
}

#[test]
fn a_payload_that_panics_is_never_written_and_the_log_goes_on() {
    let (log, mut driver) = driven(Arc::new(MemoryDirectory::new("d")));
    log.append_and_wait(one(&vec![1; 100])).unwrap();
    let before = vec![2; 100];
    let room = log.try_reserve(100).unwrap();
    let shares_its_frame = log.append(room, one(&before)).unwrap();
    let room = log.try_reserve(100).unwrap();
    let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        log.append(room, Commit { events: 1, payload: &Breaks, progress: vec![] })
    }));
    assert!(broken.is_err());
    assert!(driver.settle(1000));
    assert!(matches!(shares_its_frame.try_wait(), Some(Err(LogError::Failed(_)))));
    log.append_and_wait(one(&vec![3; 100])).unwrap();
    assert_eq!(taken(&log), vec![vec![1; 100], vec![3; 100]]);
}

/// Goal: a commit never waits for a frame that nobody waits for. Method: a frame of releases alone is on its way to a slow disk
/// when a commit comes.
#[test]
fn a_control_frame_in_flight_holds_no_commit_up() {
    let disk = FaultyDisk::new(1);
    let dirs = dirs(disk.directory("d"));
    let never = Duration::from_secs(1000);
    let options = Options { release_delay: Duration::ZERO, idle_delay: never, ..Options::default() };
    let (log, mut driver) = Log::open_driven(dirs, options, Arc::new(System::default())).unwrap();
    assert!(driver.settle(1000));
    let append = |body: &Vec<u8>| log.append(log.try_reserve(body.len() as u64).unwrap(), one(body)).unwrap();
    let first = append(&b"first".to_vec());
    assert!(driver.settle(1000) && matches!(first.try_wait(), Some(Ok(()))));
    let take = log.cursor().try_take(1, 100).unwrap().expect("the first");
    disk.set_latency(Duration::from_secs(1));
    log.cursor().release(take.first_event, take.events, vec![]);
    driver.turn();
    assert_eq!((log.stats().control_frames, disk.writes_in_flight()), (1, 1));
    let second = append(&b"second".to_vec());
    driver.turn();
    assert_eq!(disk.writes_in_flight(), 2, "the commit goes out beside the releases");
    disk.advance(Duration::from_secs(2));
    assert!(driver.settle(1000) && matches!(second.try_wait(), Some(Ok(()))));
}

/// Goal: what an envelope adds to a frame counts where a committer asks whether it fits in the segment. Method: payloads that
/// fill their block with and without it, over several segments each.
#[test]
fn an_encrypted_commit_that_fills_the_segments_end_is_left_to_the_next_one() {
    let key = Key::new("k1", b"0123456789abcdef0123456789abcdef").unwrap();
    let keys = Keys::new(vec![key], Some("k1")).unwrap();
    let options = Options { segment_bytes: 64 << 10, frame_bytes: 16 << 10, keys, ..Options::default() };
    let dirs = dirs(Arc::new(MemoryDirectory::new("d")));
    let (log, mut driver) = Log::open_driven(dirs, options, Arc::new(System::default())).unwrap();
    assert!(driver.settle(1000));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // What no committer may do for itself.
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                driver.settle(1000);
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        let written = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for bytes in 3900..4100 {
                let body = vec![bytes as u8; bytes];
                for _ in 0..40 {
                    log.append_and_wait(one(&body)).unwrap();
                    let take = log.cursor().try_take(1, 1 << 20).unwrap().unwrap();
                    assert!(take.pieces[0].payload[..] == body[..]);
                    log.cursor().release(take.first_event, take.events, vec![]);
                }
            }
        }));
        done.store(true, Ordering::Relaxed);
        written.unwrap();
    });
}
