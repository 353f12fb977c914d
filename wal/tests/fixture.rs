//! The bytes of version 1, kept as files: a log that this program once wrote must be readable for ever.
//!
//! `fixtures/log-v1` is the log that [`write_log`] makes, each file without its trailing blocks of zeroes. Where the bytes of a
//! fresh one differ, the format has changed, or what a life writes. The first needs a new version and a decision; the
//! second only new files, by `cargo test -p flumen-wal --test fixture -- --ignored`.
//!
//! `fixtures/log-v1-lz4` is the same log, compressed in its first life and not in its second. A fresh one may have other bytes:
//! which of the blocks that mean the same a compressor makes is its own affair.
//!
//! `fixtures/log-v1-aes` is the log again, encrypted by [`key`] in its first life and not in its second.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flumen_wal::storage::memory::MemoryDirectory;
use flumen_wal::storage::{AlignedBuf, Directory};
use flumen_wal::{
    Commit, Compression, Directories, Driver, Environment, Key, Keys, Log, Options, ProgressOp,
    ProgressUpdate, Space, tools,
};

/// Folder, and checksum of all names and bytes in it.
const PLAIN: (&str, u32) = ("log-v1", 1_946_668_037);
const LZ4: (&str, u32) = ("log-v1-lz4", 2_158_457_727);
const AES: (&str, u32) = ("log-v1-aes", 3_594_517_038);

#[derive(Debug, Default)]
struct Fixed(AtomicU64);

impl Environment for Fixed {
    fn now(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }

    fn random(&self) -> u64 {
        0x0123_4567_89ab_cdef
    }
}

fn options() -> Options {
    Options { segment_bytes: 64 << 10, frame_bytes: 16 << 10, ..Options::default() }
}

fn directories() -> Directories {
    Directories {
        data: Arc::new(MemoryDirectory::new("data")),
        checkpoint: Arc::new(MemoryDirectory::new("checkpoint")),
    }
}

/// Commits of one event each: small, of several frames, and enough for a second segment.
const SIZES: [usize; 7] = [5, 100, 20_000, 12_000, 15_000, 14_000, 3];

fn payload(event: usize) -> Vec<u8> {
    (0..SIZES[event]).map(|i| b"fixture "[(event + i) % 8]).collect()
}

fn progress(event: usize) -> ProgressUpdate {
    let op = ProgressOp::Set {
        generation: 1,
        from: event as u64,
        to: event as u64 + 1,
        rest: bytes::Bytes::from_static(b"/var/log/x"),
    };
    ProgressUpdate { space: Space::Source, owner: "r1".into(), key: "8:77".into(), op }
}

/// One life of the log: appends `events`, releases up to `released`, and closes.
fn live(dirs: &Directories, options: Options, events: std::ops::Range<usize>, released: u64) {
    let environment = Arc::new(Fixed::default());
    let (log, mut driver) = Log::open_driven(dirs.clone(), options, environment.clone()).unwrap();
    let rest = |driver: &mut Driver| {
        for _ in 0..50 {
            environment.0.fetch_add(1000, Ordering::Relaxed);
            driver.turn();
        }
    };
    rest(&mut driver);
    for event in events {
        let payload = payload(event);
        let room = log.try_reserve(payload.len() as u64).unwrap();
        let commit = Commit { events: 1, payload: &payload, progress: vec![progress(event)] };
        let ticket = log.append(room, commit).unwrap();
        rest(&mut driver);
        ticket.try_wait().expect("it rests").unwrap();
    }
    let cursor = log.cursor();
    while log.stats().first_event < released {
        let take = cursor.try_take(1, 1).unwrap().unwrap();
        cursor.release(take.first_event, take.events, vec![]);
    }
    rest(&mut driver);
    log.begin_close();
    rest(&mut driver);
}

/// The fixture's key, by which the log is written or not.
fn key(active: bool) -> Keys {
    let key = Key::new("k1", b"0123456789abcdef0123456789abcdef").unwrap();
    Keys::new(vec![key], active.then_some("k1")).unwrap()
}

fn write_log(first_life: Options) -> Directories {
    let dirs = directories();
    live(&dirs, first_life, 0..5, 1);
    live(&dirs, Options { keys: key(false), ..options() }, 5..7, 2);
    dirs
}

fn first_life(folder: &str) -> Options {
    match folder {
        "log-v1-lz4" => Options { compression: Compression::Lz4, ..options() },
        "log-v1-aes" => Options { keys: key(true), ..options() },
        _ => options(),
    }
}

/// Path below the fixture → bytes without trailing blocks of zeroes.
fn files_of(dirs: &Directories) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for dir in [&dirs.data, &dirs.checkpoint] {
        for entry in dir.list().unwrap().into_iter().filter(|entry| entry.name != "lock") {
            let mut bytes = AlignedBuf::zeroed((entry.len as usize).next_multiple_of(4096));
            let read = dir.open(&entry.name).unwrap().read_at(&mut bytes, 0).unwrap();
            let end = bytes[..read]
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |last| (last + 1).next_multiple_of(4096));
            files.insert(dir.path().join(entry.name), bytes[..end].to_vec());
        }
    }
    files
}

fn fixture(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(folder)
}

fn kept_files(folder: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for dir in ["data", "checkpoint"] {
        for entry in std::fs::read_dir(fixture(folder).join(dir)).unwrap() {
            let path = entry.unwrap().path();
            files.insert(Path::new(dir).join(path.file_name().unwrap()), std::fs::read(&path).unwrap());
        }
    }
    files
}

fn checksum(files: &BTreeMap<PathBuf, Vec<u8>>) -> u32 {
    let mut all = Vec::new();
    for (path, bytes) in files {
        all.extend_from_slice(path.to_str().unwrap().as_bytes());
        all.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        all.extend_from_slice(bytes);
    }
    crc32fast::hash(&all)
}

/// The kept files in memory, at their length when they were written.
fn kept_log(folder: &str) -> Directories {
    let dirs = directories();
    for (path, bytes) in kept_files(folder) {
        let dir: &dyn Directory = if path.starts_with("data") { &*dirs.data } else { &*dirs.checkpoint };
        let file = dir.create(path.file_name().unwrap().to_str().unwrap()).unwrap();
        file.allocate(64 << 10).unwrap();
        file.write_at(&AlignedBuf::padded(&bytes, 4096), 0).unwrap();
    }
    dirs
}

#[test]
#[ignore = "writes the fixture"]
fn write_the_fixtures() {
    let kept = [PLAIN, LZ4, AES].map(|(folder, _)| {
        for (path, bytes) in files_of(&write_log(first_life(folder))) {
            let path = fixture(folder).join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        (folder, checksum(&kept_files(folder)))
    });
    panic!("now pin {kept:?}");
}

#[test]
fn the_bytes_of_a_log_are_those_of_version_1() {
    for (folder, pinned) in [PLAIN, LZ4, AES] {
        assert_eq!(checksum(&kept_files(folder)), pinned, "the kept files of {folder} are what they were");
    }
    for (folder, _) in [PLAIN, AES] {
        let (fresh, kept) = (files_of(&write_log(first_life(folder))), kept_files(folder));
        assert_eq!(fresh.keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>());
        for (path, bytes) in &fresh {
            let differs = bytes.iter().zip(&kept[path]).position(|(a, b)| a != b);
            assert!(*bytes == kept[path], "{folder}/{} differs from byte {differs:?}", path.display());
        }
    }
}

#[test]
fn a_log_of_version_1_is_read() {
    assert_is_read(PLAIN.0, (0, 0));
}

#[test]
fn a_compressed_log_of_version_1_is_read() {
    assert_is_read(LZ4.0, (3, 0));
}

#[test]
fn an_encrypted_log_of_version_1_is_read() {
    assert_is_read(AES.0, (0, 16));
    let read = tools::verify(&kept_log(AES.0));
    assert!(matches!(read, Err(tools::ToolError::Locked { .. })), "it is: {read:?}");
}

fn assert_is_read(folder: &str, (compressed, encrypted): (u64, u64)) {
    let keys = key(false);
    let dirs = kept_log(folder).with_keys(&keys);
    let verified = tools::verify(&dirs).unwrap();
    assert_eq!((verified.compressed, verified.encrypted), (compressed, encrypted));
    assert_eq!((verified.damage, verified.notes), (vec![], vec![]));
    let full = tempfile::tempdir().unwrap();
    for (path, bytes) in kept_files(folder) {
        let path = full.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        std::fs::File::options().write(true).open(path).unwrap().set_len(64 << 10).unwrap();
    }
    let on_disk = tools::verify(&tools::locate(full.path(), None).unwrap().with_keys(&keys)).unwrap();
    assert_eq!((on_disk.damage, on_disk.frames), (vec![], verified.frames));
    let (log, _driver) =
        Log::open_driven(dirs, Options { keys, ..options() }, Arc::new(Fixed::default())).unwrap();
    assert_eq!((log.recovery().backlog, log.recovery().cut, &log.recovery().damage[..]), (5, 0, &[][..]));
    let keys = log.progress(Space::Source, "r1").unwrap();
    assert_eq!(
        (keys["8:77"].generation, keys["8:77"].to, &keys["8:77"].rest[..]),
        (1, 7, &b"/var/log/x"[..])
    );
    let cursor = log.cursor();
    for event in 2..7 {
        let take = cursor.try_take(1, 1).unwrap().unwrap();
        assert_eq!((take.first_event, &take.pieces[0].payload[..]), (event as u64, &payload(event)[..]));
    }
    assert!(cursor.try_take(1, 1).unwrap().is_none());
}
