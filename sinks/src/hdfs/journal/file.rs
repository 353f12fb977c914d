//! The journal of a sink whose channel keeps nothing: an append-only file.
//!
//! ```text
//! byte 0         4          8          9            17
//!      +---------+----------+----------+------------+-----------+
//!      | length  | CRC-32   | 1 or 2   | number u64 | names     |    little-endian; one such after the other
//!      +---------+----------+----------+------------+-----------+
//! ```
//!
//! 1 is a file that is begun, or made since, with its [names](super::record); 2 one that is finished, without. Length and checksum are of
//! what follows them. A begin is synced before it counts; an end that is lost makes the next life look for a file that is
//! there no more. What follows the first record that is not whole was never synced: it is cut off.
//!
//! The file is written anew, beside and then renamed, when most of it is of finished files. `<path>.lock` is locked for as
//! long as the journal is open: a second agent of the same names must not finish the files of the first.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flumen_api::channel::SinkProgress;
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};

use super::super::record::{self, Names};

const BEGUN: u8 = 1;
const FINISHED: u8 = 2;
/// Far above any record.
const RECORD_MAX: usize = 64 << 10;
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// Below this a journal is not written anew.
const COMPACT_BYTES: u64 = 256 << 10;

/// An open journal.
pub(in super::super) struct JournalFile {
    path: PathBuf,
    inner: Mutex<Inner>,
    _lock: File,
}

struct Inner {
    file: File,
    length: u64,
    names: BTreeMap<u64, Names>,
    /// A write has failed: what the file ends with is not known, and it is written anew first.
    is_torn: bool,
}

impl JournalFile {
    /// Opens or begins the journal at `path`, with the directories above it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        fs::create_dir_all(directory.unwrap_or(Path::new(".")))?;
        let lock = File::options().create(true).truncate(false).write(true).open(beside(path, ".lock"))?;
        take_lock(&lock)?;
        let names = match fs::read(path) {
            Ok(bytes) => read(&bytes),
            Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        let (file, length) = write_anew(path, &names)?;
        let inner = Inner { file, length, names, is_torn: false };
        Ok(Self { path: path.into(), inner: Mutex::new(inner), _lock: lock })
    }

    /// The files that are begun and not finished.
    pub fn names(&self) -> BTreeMap<u64, Names> {
        self.inner.lock().names.clone()
    }

    /// Notes files that are begun, durably, and files that are finished.
    pub fn record(&self, progress: &[SinkProgress]) -> io::Result<()> {
        let mut guard = self.inner.lock();
        let inner = &mut *guard;
        let mut bytes = Vec::new();
        let mut is_begun = false;
        for SinkProgress { key, position } in progress {
            let Some(number) = record::number(key) else { continue };
            match position {
                None => {
                    if inner.names.remove(&number).is_some() {
                        append(&mut bytes, FINISHED, number, &[]);
                    }
                }
                Some(position) => {
                    let names = Names::decode(&position.rest).map_err(io::Error::other)?;
                    if inner.names.get(&number) != Some(&names) {
                        append(&mut bytes, BEGUN, number, &position.rest);
                        inner.names.insert(number, names);
                        is_begun = true;
                    }
                }
            }
        }
        let live: u64 = inner.names.values().map(|names| 64 + names.encode().len() as u64).sum();
        let result = if inner.is_torn || (inner.length > COMPACT_BYTES && inner.length > 4 * live) {
            write_anew(&self.path, &inner.names).map(|(file, length)| {
                (inner.file, inner.length) = (file, length);
            })
        } else {
            inner.length += bytes.len() as u64;
            let written = inner.file.write_all(&bytes);
            if is_begun { written.and_then(|()| inner.file.sync_data()) } else { written }
        };
        inner.is_torn = result.is_err();
        result
    }
}

/// A sink that was stopped a moment ago, in this process, may not have let go of it yet.
fn take_lock(lock: &File) -> io::Result<()> {
    let deadline = Instant::now() + LOCK_WAIT;
    loop {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(io::Error::other("another agent has it")),
            Err(other) => return Err(other.into()),
        }
    }
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn append(out: &mut Vec<u8>, kind: u8, number: u64, names: &[u8]) {
    let mut record = vec![kind];
    record.extend(number.to_le_bytes());
    record.extend(names);
    out.extend((record.len() as u32).to_le_bytes());
    out.extend(crc32fast::hash(&record).to_le_bytes());
    out.extend(record);
}

/// The files that the records leave; what follows the first that is not whole is not looked at.
fn read(mut bytes: &[u8]) -> BTreeMap<u64, Names> {
    let mut names = BTreeMap::new();
    while let Some((record, rest)) = one(bytes) {
        match record {
            (number, Some(begun)) => names.insert(number, begun),
            (number, None) => names.remove(&number),
        };
        bytes = rest;
    }
    names
}

/// The first record, and what follows it.
type One<'a> = ((u64, Option<Names>), &'a [u8]);

fn one(bytes: &[u8]) -> Option<One<'_>> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let length = u32::from_le_bytes(*length) as usize;
    if length > RECORD_MAX {
        return None;
    }
    let (record, rest) = rest.split_at_checked(length)?;
    if crc32fast::hash(record) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (kind, record) = record.split_first()?;
    let (number, names) = record.split_first_chunk::<8>()?;
    let number = u64::from_le_bytes(*number);
    match *kind {
        BEGUN => Some(((number, Some(Names::decode(names).ok()?)), rest)),
        FINISHED => Some(((number, None), rest)),
        _ => None,
    }
}

/// Writes a journal of these files in the place of the one there, and opens it for appending.
fn write_anew(path: &Path, names: &BTreeMap<u64, Names>) -> io::Result<(File, u64)> {
    let mut bytes = Vec::new();
    for (number, names) in names {
        append(&mut bytes, BEGUN, *number, &names.encode());
    }
    let new = beside(path, ".new");
    let mut file = File::options().create(true).write(true).truncate(true).open(&new)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        File::open(directory)?.sync_all()?;
    }
    Ok((file, bytes.len() as u64))
}

#[cfg(test)]
mod tests {
    use flumen_api::Position;

    use super::*;

    fn names(name: &str) -> Names {
        let names = Names::new(format!("/d/{name}.tmp"), format!("/d/{name}"));
        Names { mark: "m".into(), ..names }
    }

    fn begun(number: u64, name: &str) -> SinkProgress {
        let position = Position { generation: 0, began: 0, to: 0, rest: names(name).encode() };
        SinkProgress { key: record::key(number), position: Some(position) }
    }

    fn finished(number: u64) -> SinkProgress {
        SinkProgress { key: record::key(number), position: None }
    }

    #[test]
    fn files_that_are_begun_are_there_in_the_next_life_until_they_are_finished() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a/b/k1.journal");
        let journal = JournalFile::open(&path).expect("opened");
        journal.record(&[begun(1, "one"), begun(2, "two")]).expect("recorded");
        journal.record(&[finished(1), begun(2, "other")]).expect("recorded");
        drop(journal);
        assert_eq!(JournalFile::open(&path).expect("opened").names(), [(2, names("other"))].into());
    }

    #[test]
    fn a_second_agent_of_the_same_names_does_not_get_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("k1.journal");
        let journal = JournalFile::open(&path).expect("opened");
        assert!(JournalFile::open(&path).is_err_and(|error| error.to_string().contains("another agent")));
        drop(journal);
        JournalFile::open(&path).expect("free again");
    }

    #[test]
    fn what_follows_a_record_that_is_not_whole_does_not_count() {
        let mut bytes = Vec::new();
        append(&mut bytes, BEGUN, 7, &names("seven").encode());
        let one = bytes.len();
        append(&mut bytes, BEGUN, 8, &names("eight").encode());
        for cut in one..bytes.len() {
            assert_eq!(read(&bytes[..cut]), [(7, names("seven"))].into(), "cut at {cut}");
        }
        for at in one..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x40;
            assert_eq!(read(&bad), [(7, names("seven"))].into(), "byte {at}");
        }
    }

    #[test]
    fn a_journal_of_finished_files_does_not_grow() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("k1.journal");
        let journal = JournalFile::open(&path).expect("opened");
        journal.record(&[begun(0, "stays")]).expect("recorded");
        let mut longest = 0;
        let long = "x".repeat(2000);
        for number in 1..400 {
            journal.record(&[begun(number, &long)]).expect("recorded");
            journal.record(&[finished(number)]).expect("recorded");
            longest = longest.max(path.metadata().expect("there").len());
        }
        assert!(longest < 2 * COMPACT_BYTES, "{longest}");
        drop(journal);
        assert_eq!(JournalFile::open(&path).expect("opened").names(), [(0, names("stays"))].into());
    }
}
