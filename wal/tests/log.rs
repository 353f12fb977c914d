//! What callers of the log rely on, over storage in memory.

use std::sync::Arc;

use flumen_wal::storage::memory::MemoryDirectory;
use flumen_wal::{Commit, Cursor, Directories, Log, Options, ProgressOp, ProgressUpdate, Space, Ticket};

fn options() -> Options {
    Options {
        segment_bytes: 256 << 10,
        frame_bytes: 32 << 10,
        staged_bytes_max: 1 << 20,
        ..Options::default()
    }
}

fn directories() -> Directories {
    let data = Arc::new(MemoryDirectory::new("data"));
    let checkpoint = Arc::new(MemoryDirectory::new("checkpoint"));
    Directories { data, checkpoint }
}

fn payload(event: u64, len: usize) -> Vec<u8> {
    (0..len).map(|i| (event as u8).wrapping_mul(31).wrapping_add(i as u8)).collect()
}

fn append(log: &Log, event: u64, len: usize) -> Ticket {
    let payload = payload(event, len);
    loop {
        match log.try_reserve(len as u64) {
            Ok(room) => {
                return log.append(room, Commit { events: 1, payload: &payload, progress: vec![] }).unwrap();
            }
            Err(flumen_wal::LogError::Full { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

fn take_all(cursor: &Cursor) -> Vec<(u64, Vec<u8>)> {
    let mut all = Vec::new();
    while let Some(take) = cursor.try_take(7, 1 << 20).unwrap() {
        for (event, piece) in (take.first_event..).zip(take.pieces) {
            assert_eq!((piece.skip, piece.events), (0, 1));
            all.push((event, piece.payload.to_vec()));
        }
    }
    all
}

fn check(taken: &[(u64, Vec<u8>)], first: u64, len: impl Fn(u64) -> usize) {
    for (i, (event, bytes)) in taken.iter().enumerate() {
        assert_eq!(*event, first + i as u64);
        assert_eq!(*bytes, payload(*event, len(*event)), "event {event}");
    }
}

#[test]
fn acked_events_are_read_in_order_and_again_after_a_reopen() {
    let dirs = directories();
    let len = |event: u64| 1 + (event as usize * 37) % 3000;
    let log = Log::open(dirs.clone(), options()).unwrap();
    let tickets: Vec<_> = (0..2000).map(|event| append(&log, event, len(event))).collect();
    tickets.into_iter().for_each(|ticket| ticket.wait().unwrap());
    let taken = take_all(&log.cursor());
    assert_eq!(taken.len(), 2000);
    check(&taken, 0, len);
    log.close();
    drop(log);
    let log = Log::open(dirs, options()).unwrap();
    assert_eq!(log.recovery().backlog, 2000);
    let taken = take_all(&log.cursor());
    assert_eq!(taken.len(), 2000);
    check(&taken, 0, len);
}

#[test]
fn released_events_never_come_again_and_their_segments_go() {
    let dirs = directories();
    let log = Log::open(dirs.clone(), options()).unwrap();
    for event in 0..5000 {
        let ticket = append(&log, event, 1000);
        if event % 50 == 49 {
            ticket.wait().unwrap();
            let cursor = log.cursor();
            while let Some(take) = cursor.try_take(9, 1 << 20).unwrap() {
                cursor.release(take.first_event, take.events, vec![]);
            }
        }
    }
    log.close();
    assert!(log.stats().segments < 6, "{:?}", log.stats());
    drop(log);
    let log = Log::open(dirs, options()).unwrap();
    assert_eq!(log.recovery().backlog, 0);
    assert!(take_all(&log.cursor()).is_empty());
    assert_eq!(log.stats().first_event, 5000);
}

#[test]
fn a_commit_may_span_frames_and_exceed_a_segment() {
    let dirs = directories();
    let log = Log::open(dirs.clone(), options()).unwrap();
    let sizes = [10usize, 100_000, 3 << 20, 5, 32 << 10, (32 << 10) - 80, 700_000];
    for (event, &size) in sizes.iter().enumerate() {
        append(&log, event as u64, size).wait().unwrap();
    }
    let len = |event: u64| sizes[event as usize];
    check(&take_all(&log.cursor()), 0, len);
    log.close();
    drop(log);
    let log = Log::open(dirs, options()).unwrap();
    let taken = take_all(&log.cursor());
    assert_eq!(taken.len(), sizes.len());
    check(&taken, 0, len);
}

#[test]
fn returned_events_go_out_first_and_in_order() {
    let log = Log::open(directories(), options()).unwrap();
    (0..100).map(|event| append(&log, event, 10)).for_each(|ticket| ticket.wait().unwrap());
    let cursor = log.cursor();
    let first = cursor.try_take(10, 1 << 20).unwrap().unwrap();
    let second = cursor.try_take(10, 1 << 20).unwrap().unwrap();
    cursor.rollback(second.first_event, second.events);
    cursor.rollback(first.first_event, first.events);
    check(&take_all(&cursor), 0, |_| 10);
}

#[test]
fn progress_is_kept_with_the_events_and_survives() {
    let dirs = directories();
    let set = |key: &str, to| ProgressUpdate {
        space: Space::Source,
        owner: "r1".into(),
        key: key.into(),
        op: ProgressOp::Set { generation: 1, from: 7, to, rest: bytes::Bytes::from_static(b"/x") },
    };
    let log = Log::open(dirs.clone(), options()).unwrap();
    assert!(log.progress(Space::Source, "r1").is_none());
    let mark =
        ProgressUpdate { space: Space::Source, owner: "r1".into(), key: String::new(), op: ProgressOp::Mark };
    log.record(vec![mark]).unwrap().wait().unwrap();
    assert!(log.progress(Space::Source, "r1").unwrap().is_empty());
    for to in 1..500 {
        let room = log.try_reserve(4000).unwrap();
        let commit =
            Commit { events: 1, payload: &vec![7; 4000], progress: vec![set("a", to), set("b", to * 2)] };
        log.append(room, commit).unwrap().wait().unwrap();
    }
    let retire = ProgressUpdate { op: ProgressOp::Retire, ..set("b", 0) };
    log.record(vec![retire]).unwrap().wait().unwrap();
    log.close();
    drop(log);
    let log = Log::open(dirs, options()).unwrap();
    let keys = log.progress(Space::Source, "r1").unwrap();
    assert_eq!(keys.iter().map(|(k, v)| (k.as_str(), v.from, v.to)).collect::<Vec<_>>(), [("a", 7, 499)]);
}

#[test]
fn several_threads_append_and_each_keeps_its_order() {
    let log = Log::open(directories(), options()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            let log = &log;
            scope.spawn(move || {
                for i in 0..300u32 {
                    let mut bytes = vec![thread];
                    bytes.extend_from_slice(&i.to_le_bytes());
                    log.append_and_wait(Commit { events: 1, payload: &bytes, progress: vec![] }).unwrap();
                }
            });
        }
    });
    let mut next = [0u32; 4];
    for (_, bytes) in take_all(&log.cursor()) {
        let i = u32::from_le_bytes(bytes[1..].try_into().unwrap());
        assert_eq!(i, next[bytes[0] as usize]);
        next[bytes[0] as usize] += 1;
    }
    assert_eq!(next, [300; 4]);
}
