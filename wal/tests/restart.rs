//! Starts, and looks from outside, on a real file system.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flumen_wal::storage::metered::Meters;
use flumen_wal::storage::{self, Backend};
use flumen_wal::tools::{self, Content, Slot};
use flumen_wal::{Commit, Directories, Log, OpenError, Options, Ticket};

const SEGMENT_BYTES: u64 = 1 << 20;
const EVENTS_PER_COMMIT: u32 = 200;
const EVENT_BYTES: usize = 50;

/// Far above what any step takes on a busy machine; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

fn options() -> Options {
    Options { segment_bytes: SEGMENT_BYTES, frame_bytes: 64 << 10, lock_wait: PATIENCE, ..Options::default() }
}

/// Opens `data` and `checkpoint` below `base`, counting what is done to the former.
fn directories(base: &Path, backend: Backend, meters: &Arc<Meters>) -> Directories {
    let open = |name: &str| {
        let path = base.join(name);
        std::fs::create_dir_all(&path).unwrap();
        storage::open(path, backend).unwrap().0
    };
    Directories { data: meters.of(open("data")), checkpoint: open("checkpoint") }
}

fn payload(first_event: u64) -> Vec<u8> {
    (0..EVENTS_PER_COMMIT as usize * EVENT_BYTES).map(|i| (first_event as usize + i) as u8).collect()
}

fn append(log: &Log, first_event: u64) -> Ticket {
    let payload = payload(first_event);
    loop {
        match log.try_reserve(payload.len() as u64) {
            Ok(room) => {
                let commit = Commit { events: EVENTS_PER_COMMIT, payload: &payload, progress: vec![] };
                return log.append(room, commit).unwrap();
            }
            Err(flumen_wal::LogError::Full { .. }) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

fn append_all(log: &Log, events: std::ops::Range<u64>) {
    let tickets: Vec<_> =
        events.step_by(EVENTS_PER_COMMIT as usize).map(|first_event| append(log, first_event)).collect();
    tickets.into_iter().for_each(|ticket| ticket.wait().unwrap());
}

fn files(base: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for dir in ["data", "checkpoint"] {
        for entry in std::fs::read_dir(base.join(dir)).unwrap() {
            let path = entry.unwrap().path();
            files.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn a_start_reads_no_more_for_a_longer_backlog() {
    for backend in [Backend::Auto, Backend::Std] {
        for checkpoints in [true, false] {
            let mut read = Vec::new();
            for events in [50_000, 200_000] {
                let temp = tempfile::tempdir().unwrap();
                let log = Log::open(directories(temp.path(), backend, &Arc::default()), options()).unwrap();
                append_all(&log, 0..events);
                log.close();
                drop(log);
                if !checkpoints {
                    for name in ["checkpoint-0", "checkpoint-1"] {
                        std::fs::remove_file(temp.path().join("checkpoint").join(name)).unwrap();
                    }
                }
                let meters = Arc::<Meters>::default();
                let (log, driver) = Log::open_driven(
                    directories(temp.path(), backend, &meters),
                    options(),
                    Arc::new(flumen_wal::System::default()),
                )
                .unwrap();
                assert_eq!(log.recovery().backlog, events);
                read.push(meters.reads.bytes());
                drop(driver);
                let take = log.cursor().try_take(1, 1).unwrap().unwrap();
                assert_eq!(take.pieces[0].payload[..], payload(0)[..]);
            }
            // One segment, those prepared above it, and a look at the lowest one.
            let bound = 8 * SEGMENT_BYTES;
            assert!(
                read[1] <= read[0] + SEGMENT_BYTES && read[1] < bound,
                "{read:?}, checkpoints: {checkpoints}"
            );
            assert!(200_000 * EVENT_BYTES as u64 > bound, "the bound says something");
        }
    }
}

#[test]
fn a_second_start_waits_as_long_as_it_shall_and_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    for backend in [Backend::Auto, Backend::Std] {
        let log = Log::open(directories(temp.path(), backend, &Arc::default()), options()).unwrap();
        let start = Instant::now();
        let impatient = Options { lock_wait: Duration::from_millis(100), ..options() };
        let error = Log::open(directories(temp.path(), backend, &Arc::default()), impatient).unwrap_err();
        assert!(matches!(&error, OpenError::Locked { path } if path.ends_with("data")), "{error}");
        let waited = start.elapsed();
        assert!(waited >= Duration::from_millis(100) && waited < PATIENCE, "{waited:?}");
        log.close();
        drop(log);
        Log::open(directories(temp.path(), backend, &Arc::default()), options()).unwrap();
    }
}

#[test]
fn a_running_log_can_be_looked_at_and_is_never_called_damaged() {
    let temp = tempfile::tempdir().unwrap();
    let log = Log::open(directories(temp.path(), Backend::Auto, &Arc::default()), options()).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Whatever fails below, the writer must end.
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let _stop = Stop(&stop);
        let (log, stop) = (&log, &stop);
        scope.spawn(move || {
            let cursor = log.cursor();
            let mut first = 0;
            while !stop.load(Ordering::Relaxed) {
                let tickets: Vec<_> =
                    (0..20).map(|i| append(log, first + i * u64::from(EVENTS_PER_COMMIT))).collect();
                tickets.into_iter().for_each(|ticket| ticket.wait().unwrap());
                first += 20 * u64::from(EVENTS_PER_COMMIT);
                // Some MiB stay, all else is recycled under the reader's eyes.
                while first - log.stats().first_event > 60_000 {
                    let take = cursor.try_take(5000, 1 << 20).unwrap().unwrap();
                    cursor.release(take.first_event, take.events, vec![]);
                }
            }
        });
        let mut seen = 0;
        for _ in 0..25 {
            let dirs = tools::locate(temp.path(), None).unwrap();
            let inspection = tools::inspect(&dirs).unwrap();
            let outlook = inspection.outlook.expect("a start would not be refused");
            assert_eq!((&outlook.damage[..], outlook.missing_below), (&[][..], None));
            assert!(outlook.next_event >= seen, "what was synced stays");
            seen = outlook.next_event;
            let verified = tools::verify(&dirs).unwrap();
            assert_eq!(verified.damage, []);
        }
    });
    append_all(&log, 0..u64::from(EVENTS_PER_COMMIT));
    let stats = log.stats();
    log.close();
    let inspection = tools::inspect(&tools::locate(&temp.path().join("data"), None).unwrap()).unwrap();
    let outlook = inspection.outlook.unwrap();
    assert_eq!((outlook.first_event, outlook.next_event), (stats.first_event, stats.appended_event));
    assert_eq!((outlook.unvouched.len(), outlook.cut), (0, 0), "a close mark vouches for everything");
}

#[test]
fn looking_changes_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let log = Log::open(directories(temp.path(), Backend::Auto, &Arc::default()), options()).unwrap();
    append_all(&log, 0..60_000);
    log.close();
    drop(log);
    let before = files(temp.path());
    let dirs = tools::locate(temp.path(), None).unwrap();
    let inspection = tools::inspect(&dirs).unwrap();
    let verified = tools::verify(&dirs).unwrap();
    let mut lines = 0;
    tools::dump(&dirs, &mut |_line| lines += 1).unwrap();
    assert!(files(temp.path()) == before);

    assert!(lines > verified.frames && verified.frames > 30, "{lines} lines, {verified:?}");
    assert_eq!(
        (verified.events, &verified.damage[..], &verified.notes[..]),
        (Some((0, 60_000)), &[][..], &[][..])
    );
    let with_frames: Vec<_> = inspection
        .segments
        .iter()
        .filter_map(|segment| match &segment.content {
            Content::Frames { events, end_offset, newest, .. } => {
                assert!(end_offset.unwrap() <= segment.len, "{segment:?}");
                Some((events.0, events.1.unwrap(), *newest))
            }
            Content::Prepared => None,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(with_frames.len() as u64 == verified.segments && with_frames.len() > 2);
    assert!(with_frames.windows(2).all(|pair| pair[0].1 == pair[1].0), "{with_frames:?}");
    assert_eq!(
        (with_frames[0].0, with_frames.last().unwrap().1, with_frames.last().unwrap().2),
        (0, 60_000, true)
    );
    let sound = |slot: &tools::SlotInfo| matches!(slot.slot, Slot::Sound { .. });
    assert!(inspection.slots.iter().all(sound), "{:?}", inspection.slots);
}
