//! Faults that a running log must get through, each driven by hand over storage in memory or on the simulated disk.

use std::sync::Arc;
use std::time::Duration;

use flumen_wal::storage::faulty::{Fault, FaultyDisk};
use flumen_wal::storage::memory::MemoryDirectory;
use flumen_wal::{
    Commit, Directories, Driver, Log, Options, ProgressOp, ProgressUpdate, ReadError, Space, System,
};

fn options() -> Options {
    Options { segment_bytes: 64 << 10, frame_bytes: 16 << 10, ..Options::default() }
}

fn open(dir: Arc<dyn flumen_wal::storage::Directory>) -> (Log, Driver) {
    let dirs = Directories { data: dir.clone(), checkpoint: dir };
    let (log, mut driver) = Log::open_driven(dirs, options(), Arc::new(System::default())).unwrap();
    assert!(driver.settle(1000));
    (log, driver)
}

fn set(to: u64) -> ProgressUpdate {
    let op = ProgressOp::Set { generation: 1, from: 0, to, rest: bytes::Bytes::new() };
    ProgressUpdate { space: Space::Source, owner: "r1".into(), key: "k".into(), op }
}

/// Goal: a frame never outgrows the segment's rest. Method: commits that fill their block but for a few bytes, each with a
/// release waiting to ride along, over many segments.
#[test]
fn releases_that_ride_along_do_not_push_a_frame_out_of_its_segment() {
    for slack in [10, 40, 200] {
        let (log, mut driver) = open(Arc::new(MemoryDirectory::new("d")));
        let body = vec![7u8; 4096 - 64 - 16 - slack];
        for _ in 0..60 {
            let room = log.try_reserve(body.len() as u64).unwrap();
            let ticket = log.append(room, Commit { events: 1, payload: &body, progress: vec![] }).unwrap();
            if let Some(take) = log.cursor().try_take(1, 1 << 20).unwrap() {
                log.cursor().release(take.first_event, take.events, vec![]);
            }
            assert!(driver.settle(1000));
            assert!(matches!(ticket.try_wait(), Some(Ok(()))));
        }
    }
}

/// Goal: a source never stands past a put that was lost. Method: a put fails; progress alone was said behind it.
#[test]
fn progress_said_behind_a_lost_put_is_lost_with_it() {
    let disk = FaultyDisk::new(1);
    let (log, mut driver) = open(disk.directory("/d"));
    let body = b"lines of the put that fails".to_vec();
    let room = log.try_reserve(body.len() as u64).unwrap();
    let put = log.append(room, Commit { events: 1, payload: &body, progress: vec![set(100)] }).unwrap();
    let behind = log.record(vec![set(200)]).unwrap();
    let next = disk.operations();
    (0..3).for_each(|i| disk.fail_at(next + i, Fault::Io));
    for _ in 0..200 {
        driver.turn();
        if put.try_wait().is_some() && behind.try_wait().is_some() {
            break;
        }
    }
    assert!(put.try_wait().unwrap().is_err() && behind.try_wait().unwrap().is_err());
    disk.clear_faults();
    let until = std::time::Instant::now() + Duration::from_secs(60);
    while log.stats().reopens == 0 {
        assert!(std::time::Instant::now() < until, "never reopened: {:?}", log.stats());
        driver.turn();
    }
    let stands = log.progress_of(Space::Source, &"r1".into(), "k").map(|value| value.to);
    let events = log.cursor().try_take(10, 1000).unwrap().map_or(0, |take| take.events);
    assert_eq!(stands.unwrap_or(0), 100 * events, "stands at {stands:?} with {events} events");
}

/// Goal: progress alone keeps its place behind commits that wait. Method: the disk has no room for the commit; progress that
/// was said after it must not become durable before it.
#[test]
fn progress_alone_does_not_overtake_commits_that_wait() {
    let dir = Arc::new(MemoryDirectory::new("d"));
    let (log, mut driver) = open(dir.clone());
    dir.set_capacity(0);
    let body = vec![1u8; 12 << 10];
    let mut last = None;
    for i in 0..40 {
        let room = log.try_reserve(body.len() as u64);
        let Ok(room) = room else { break };
        let commit = Commit { events: 1, payload: &body, progress: vec![set(i)] };
        last = Some((i, log.append(room, commit).unwrap()));
        driver.settle(1000);
    }
    let (stuck, ticket) = last.unwrap();
    assert!(ticket.try_wait().is_none(), "the disk was to be full: {:?}", log.stats());
    let behind = log.record(vec![set(stuck + 100)]).unwrap();
    std::thread::sleep(Duration::from_millis(40));
    driver.settle(1000);
    assert!(behind.try_wait().is_none(), "durable before the commit that it follows");
}

/// Goal: what sources say while the disk is full costs no more memory than a budget, and what is refused is not said. Method: a
/// hundred thousand records of one key on a disk at its capacity; then space, and one more.
#[test]
fn progress_alone_is_refused_when_too_much_of_it_waits_for_space() {
    const BUDGET: u64 = 64 << 10;
    let disk = FaultyDisk::new(1);
    let clock = Arc::new(Moved::default());
    let advance = |ms| clock.0.fetch_add(ms, std::sync::atomic::Ordering::Relaxed);
    let dirs = Directories { data: disk.directory("d"), checkpoint: disk.directory("c") };
    let options = Options { staged_bytes_max: BUDGET, ..options() };
    let (log, mut driver) = Log::open_driven(dirs, options, clock.clone()).unwrap();
    assert!(driver.settle(1000));
    disk.set_capacity(0);
    let body = vec![1u8; 9000];
    while log.stats().full.is_none() {
        if let Ok(room) = log.try_reserve(9000) {
            drop(log.append(room, Commit { events: 1, payload: &body, progress: vec![] }).unwrap());
        }
        advance(1);
        driver.settle(1000);
    }
    let (mut accepted, mut refused) = (0, 0);
    for to in 1..=100_000 {
        match log.record(vec![set(to)]) {
            Ok(_unwaited) => accepted = to,
            Err(flumen_wal::LogError::Full { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
        if to % 1000 == 0 {
            advance(100);
            driver.settle(1000);
        }
    }
    let stands = || log.progress_of(Space::Source, &"r1".into(), "k").map(|value| value.to);
    assert_eq!(stands(), Some(accepted));
    let stats = log.stats();
    assert!(refused > 0 && stats.staged_bytes <= 2 * BUDGET, "{refused} refused, {stats:?}");
    disk.set_capacity(u64::MAX);
    let ticket = loop {
        advance(600);
        driver.settle(1000);
        match log.record(vec![set(100_001)]) {
            Ok(ticket) => break ticket,
            Err(error) => assert!(clock.0.load(std::sync::atomic::Ordering::Relaxed) < 100_000, "{error}"),
        }
    };
    (0..10).for_each(|_| {
        advance(600);
        driver.settle(1000);
    });
    assert!(matches!(ticket.try_wait(), Some(Ok(()))), "{:?}", log.stats());
    assert_eq!((stands(), log.stats().staged_bytes), (Some(100_001), 0));
}

/// Goal: a commit that finds no space leaves the reserve alone, and the log comes to rest. Method: a commit far larger than
/// the space, then time for many attempts, then a small release must still be written.
#[test]
fn a_commit_that_finds_no_space_does_not_eat_the_reserve() {
    let dir = Arc::new(MemoryDirectory::with_capacity("d", 1 << 20));
    let (log, mut driver) = open(dir);
    let small = vec![1u8; 100];
    let room = log.try_reserve(100).unwrap();
    let first = log.append(room, Commit { events: 1, payload: &small, progress: vec![] }).unwrap();
    assert!(driver.settle(1000) && first.try_wait().is_some());
    let reserve = log.stats().reserve_segments;
    let large = vec![2u8; 4 << 20];
    let room = log.try_reserve(large.len() as u64).unwrap();
    let _stuck = log.append(room, Commit { events: 1, payload: &large, progress: vec![] }).unwrap();
    for _ in 0..3 {
        assert!(driver.settle(1000), "spins");
        std::thread::sleep(Duration::from_millis(510));
    }
    assert_eq!(log.stats().reserve_segments, reserve);
    let take = log.cursor().try_take(1, 1000).unwrap().unwrap();
    log.cursor().release(take.first_event, take.events, vec![]);
    let said = log.record(vec![ProgressUpdate { space: Space::Sink, ..set(1) }]).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    driver.settle(1000);
    assert!(matches!(said.try_wait(), Some(Ok(()))), "{:?}", log.stats());
}

/// A clock that the test moves.
#[derive(Debug, Default)]
struct Moved(std::sync::atomic::AtomicU64);

impl flumen_wal::Environment for Moved {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }

    fn random(&self) -> u64 {
        4
    }
}

/// Goal: a log closes on a full disk whose control segment is used up too, and loses nothing that was said. Method: fill the
/// disk with events, then say progress until no frame has room for it, then close and open again.
#[test]
fn a_log_closes_on_a_disk_that_has_no_room_for_its_last_words() {
    let clock = Arc::new(Moved::default());
    let advance = |ms| clock.0.fetch_add(ms, std::sync::atomic::Ordering::Relaxed);
    let dir = Arc::new(MemoryDirectory::new("d"));
    let open = || {
        let dirs = Directories { data: dir.clone(), checkpoint: dir.clone() };
        Log::open_driven(dirs, options(), clock.clone()).unwrap()
    };
    let (log, mut driver) = open();
    assert!(driver.settle(1000));
    dir.set_capacity(0);
    let body = vec![1u8; 9000];
    while log.stats().full.is_none() {
        if let Ok(room) = log.try_reserve(9000) {
            drop(log.append(room, Commit { events: 1, payload: &body, progress: vec![] }).unwrap());
        }
        advance(1);
        driver.settle(1000);
    }
    let mut said = 0;
    loop {
        said += 1;
        let op = ProgressOp::Set { generation: 1, from: 0, to: said, rest: vec![0u8; 8000].into() };
        let update = ProgressUpdate { space: Space::Sink, owner: "k1".into(), key: "k".into(), op };
        let ticket = log.record(vec![update]).unwrap();
        (0..3).for_each(|_| {
            advance(1100);
            driver.settle(1000);
        });
        if ticket.try_wait().is_none() {
            break;
        }
        assert!(said < 100, "never out of room: {:?}", log.stats());
    }
    log.begin_close();
    for _ in 0..5 {
        advance(1100);
        driver.settle(1000);
    }
    assert!(matches!(log.try_reserve(1), Err(flumen_wal::LogError::Closed)));
    assert_eq!(log.stats().checkpoint_errors, 0);
    drop((log, driver));
    let (log, _driver) = open();
    let stands = log.progress_of(Space::Sink, &"k1".into(), "k").map(|value| value.to);
    assert_eq!(stands, Some(said));
}

/// A full disk is waited for; a disk that cannot make files needs somebody to look at it. Method: every allocation fails
/// until the log has used what it had prepared.
#[test]
fn segments_that_cannot_be_made_are_told_with_their_cause() {
    let disk = FaultyDisk::new(3);
    let (log, mut driver) = open(disk.directory("/d"));
    (0..1000).for_each(|_| disk.fail_next("allocate", Fault::Io));
    let body = vec![1u8; 8000];
    let mut refused = None;
    for _ in 0..100 {
        match log.try_reserve(body.len() as u64) {
            Ok(room) => {
                drop(log.append(room, Commit { events: 1, payload: &body, progress: vec![] }).unwrap())
            }
            Err(error) => refused = Some(error.to_string()),
        }
        driver.settle(20);
    }
    let why = refused.expect("what is prepared is used up");
    assert!(why.contains("cannot prepare a segment in /d"), "{why}");
    assert!(log.stats().cannot_grow.is_some_and(|why| why.contains("cannot prepare")));
}

/// How many segments are kept of a log whose consumer keeps up with commits of `bytes` that never cease.
fn segments_kept(bytes: usize) -> (u64, u64) {
    let options = Options { segment_bytes: 1 << 20, frame_bytes: 64 << 10, ..Options::default() };
    let options = Options { staged_bytes_max: 1 << 20, eager_bytes: 32 << 10, ..options };
    let dir: Arc<dyn flumen_wal::storage::Directory> = Arc::new(MemoryDirectory::new("d"));
    let dirs = Directories { data: dir.clone(), checkpoint: dir };
    let (log, mut driver) = Log::open_driven(dirs, options, Arc::new(System::default())).unwrap();
    assert!(driver.settle(1000));
    let body = vec![7u8; bytes];
    let mut put = 0;
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(500) || put < 20 << 20 {
        while let Ok(room) = log.try_reserve(bytes as u64) {
            put += bytes as u64;
            drop(log.append(room, Commit { events: 1, payload: &body, progress: vec![] }).unwrap());
        }
        driver.turn();
        while let Some(take) = log.cursor().try_take(10_000, 64 << 20).unwrap() {
            log.cursor().release(take.first_event, take.events, vec![]);
        }
    }
    (log.stats().segments, put >> 20)
}

/// Goal: what is delivered is given back while commits never cease. Method: commits that span frames, and small ones that fill
/// theirs to the last byte.
#[test]
fn releases_are_written_beside_commits_that_leave_no_room_for_them() {
    for bytes in [120 << 10, 100] {
        let (kept, put) = segments_kept(bytes);
        assert!(
            kept < 10 && put >= 20,
            "{kept} segments of 1 MiB are kept of {put} MiB in commits of {bytes}"
        );
    }
}

/// Goal: what the disk cannot read once may be read the next time, and is not given up. Method: each read of a cold backlog in
/// turn fails, and any of the six behind it, of frames alone and of commits that span several.
#[test]
fn a_read_error_is_never_taken_for_damage() {
    let options = || Options { cache_bytes: 0, ..options() };
    let disk = FaultyDisk::new(1);
    let dirs = || Directories { data: disk.directory("d"), checkpoint: disk.directory("c") };
    let (log, mut driver) = Log::open_driven(dirs(), options(), Arc::new(System::default())).unwrap();
    let mut bodies = Vec::new();
    for (number, bytes) in [100, 20_000, 300, 34_000, 50, 45_000, 70, 100, 20_000].into_iter().enumerate() {
        let body = vec![number as u8; bytes];
        let room = log.try_reserve(body.len() as u64).unwrap();
        let ticket = log.append(room, Commit { events: 1, payload: &body, progress: vec![] }).unwrap();
        assert!((0..1000).any(|_| driver.turn() && ticket.try_wait().is_some()));
        bodies.push(body);
    }
    let read = |log: &Log| {
        let (mut seen, mut errors) = (Vec::new(), 0);
        while errors < 20 {
            match log.cursor().try_take(1, 1 << 20) {
                Ok(Some(take)) => seen.extend(take.pieces.iter().map(|piece| piece.payload.to_vec())),
                Ok(None) => break,
                Err(ReadError::Io { .. }) => errors += 1,
                Err(error) => panic!("{error}"),
            }
        }
        (seen, errors)
    };
    let give_back = |log: &Log| log.cursor().rollback(0, bodies.len() as u64);
    let before = disk.operations();
    assert_eq!(read(&log), (bodies.clone(), 0));
    let operations = disk.operations() - before;
    assert!(operations > 10, "{operations} reads");
    let mut told = 0;
    for (at, pattern) in (0..operations).flat_map(|at| (1..128).step_by(2).map(move |bits| (at, bits))) {
        give_back(&log);
        let first = disk.operations() + at;
        let fails = (0..7).filter(|bit| pattern >> bit & 1 == 1);
        fails.for_each(|bit| disk.fail_at(first + bit, Fault::Io));
        let (seen, errors) = read(&log);
        let numbers = seen.iter().map(|body| body[0]).collect::<Vec<_>>();
        assert!(seen == bodies, "read {at}, {pattern:b}: {numbers:?}");
        told += errors;
        disk.clear_faults();
    }
    assert!(told > 0, "some of them are told");
    // Nothing can be read for a while, the neighbours of a segment neither.
    for (at, times) in (0..operations).flat_map(|at| [20, 60, 200].map(|times| (at, times))) {
        give_back(&log);
        let first = disk.operations() + at;
        (first..first + times).for_each(|operation| disk.fail_at(operation, Fault::Io));
        let (seen, _) = read(&log);
        let numbers = seen.iter().map(|body| body[0]).collect::<Vec<_>>();
        disk.clear_faults();
        let rest = read(&log).0;
        assert!([seen, rest].concat() == bodies, "read {at} and {times} behind it: {numbers:?}");
    }
}

#[test]
fn one_write_in_flight_is_enough_to_roll_and_to_close() {
    let options =
        Options { segment_bytes: 256 << 10, frame_bytes: 32 << 10, in_flight: 1, ..Options::default() };
    let dir: Arc<dyn flumen_wal::storage::Directory> = Arc::new(MemoryDirectory::new("d"));
    let log = Log::open(Directories { data: dir.clone(), checkpoint: dir }, options).unwrap();
    let body = vec![1u8; 1000];
    for _ in 0..300 {
        log.append_and_wait(Commit { events: 1, payload: &body, progress: vec![] }).unwrap();
    }
    log.close();
}
