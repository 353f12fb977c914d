//! The tools and a start over a sound log to whose files anything was done.
//!
//! ```text
//! steps, to the input's end:
//! byte 0         1        2         3 …
//!      +---------+--------+---------+---------------------------------------------+
//!      | kind u8 | file u8| block u8| overwrite: at u16 (in the block), len u8, len bytes
//!      | modulo 8|        |         | copy, swap: file u8, block u8       rename: number u8
//!      +---------+--------+---------+---------------------------------------------+
//! kind 0 overwrite         3 copy a block here from another place   6 swap two blocks
//!      1 overwrite, reseal 4 cut the file off at the block          7 rename, as a segment (block even) or a spare
//!      2 zero to the end   5 remove the file
//! ```
//!
//! *Reseal* sets the checksum of the frame, segment header or checkpoint that begins at the block right, so that any
//! number in it reaches those who believe checksums. Files are those of the sound log in the order of their names.

use std::sync::{Arc, OnceLock};

use flumen_wal::format::checkpoint;
use flumen_wal::format::frame::{self, Seed};
use flumen_wal::format::segment::{self, SegmentHeader};
use flumen_wal::storage::memory::MemoryDirectory;
use flumen_wal::storage::{AlignedBuf, Directory};
use flumen_wal::{Commit, Log, ProgressOp, ProgressUpdate, Quarantine, SegmentNumber, Space, tools};

use super::segment::{Served, Still, directories, options, start_twice, write};

const BLOCK: usize = 4096;
/// More damage than this shows nothing that less does not.
const STEPS_MAX: usize = 16;

type Files = Vec<(String, Vec<u8>)>;

/// A log's directory after the steps that the bytes are.
pub fn image(bytes: &[u8]) {
    let sound = sound();
    let mut files = sound.files.clone();
    let mut input = Input(bytes);
    let mut forged = false;
    for _ in 0..STEPS_MAX {
        let Some(step) = Step::read(&mut input) else { break };
        forged |= step.kind == Kind::Reseal;
        step.apply(&mut files);
    }
    let data = directory_of(&files);
    look(&data);
    assert!(files_of(&data) == in_order(files.clone()), "looking changes nothing");
    let served = start_twice(&data);
    // What the new lives left is a log as well.
    look(&data);
    let data = directory_of(&files);
    let repaired = repair(&data);
    if !forged {
        // Damage may hide events; what is served is what was put.
        for piece in served.iter().chain(&repaired).flatten() {
            let (event, skip, commit) = piece;
            let put =
                sound.put.iter().any(|(first, put)| event - u64::from(*skip) == *first && *commit == **put);
            assert!(put, "event {event} was never put as it is served");
        }
    }
}

/// Repairs the log, and returns what it serves then; `None` if the repair is refused.
fn repair(data: &MemoryDirectory) -> Option<Vec<Served>> {
    let before = files_of(data);
    let dirs = directories(data);
    let examined = tools::examine(&dirs, &options(), &*Still::fresh());
    assert!(files_of(data) == before, "an examination changes nothing");
    let folder = MemoryDirectory::new("data/quarantine");
    let quarantine = {
        let folder = folder.clone();
        Quarantine::new(move || Ok(Arc::new(folder.clone())))
    };
    let repaired = tools::repair(&dirs, &quarantine, &options(), &*Still::fresh());
    assert_eq!(examined.is_ok(), repaired.is_ok(), "{examined:?} announces {repaired:?}");
    let (examined, repaired) = (examined.ok()?, repaired.ok()?);
    assert_eq!(
        (&examined.remedies, &examined.lost),
        (&repaired.remedies, &repaired.lost),
        "what is announced is done"
    );
    let again = tools::examine(&dirs, &options(), &*Still::fresh()).expect("a repaired log is not refused");
    assert_eq!(again.remedies, [], "a second repair finds nothing to do");
    Some(start_twice(data).expect("a repaired log opens"))
}

fn look(data: &MemoryDirectory) {
    let dirs = directories(data);
    let mut lines = 0_u64;
    // An error is an answer.
    let _inspection = tools::inspect(&dirs);
    let _verification = tools::verify(&dirs);
    let _end = tools::dump(&dirs, &mut |_line| lines += 1);
}

struct SoundLog {
    files: Files,
    /// First event and bytes of each commit.
    put: Vec<(u64, Vec<u8>)>,
}

/// A log of two lives: several segments, a commit that spans frames, releases out of order, progress, both checkpoints.
fn sound() -> &'static SoundLog {
    static SOUND: OnceLock<SoundLog> = OnceLock::new();
    SOUND.get_or_init(|| {
        let data = MemoryDirectory::new("data");
        let (mut put, mut next_event) = (Vec::new(), 0);
        for life in 0..2_u8 {
            let (log, mut driver) =
                Log::open_driven(directories(&data), options(), Still::new()).expect("a log in memory opens");
            for commit in 0..12_u8 {
                let len = if commit == 5 { 40_000 } else { 100 + 900 * usize::from(commit) };
                let payload = vec![life * 16 + commit; len];
                let op = ProgressOp::Set {
                    generation: 1,
                    from: 0,
                    to: u64::from(commit),
                    rest: Vec::new().into(),
                };
                let progress =
                    vec![ProgressUpdate { space: Space::Source, owner: "r1".into(), key: "key".into(), op }];
                let room = log.try_reserve(len as u64).expect("there is room");
                let events = u32::from(commit % 3) + 1;
                let commit = Commit { events, payload: &payload, progress };
                let _ticket = log.append(room, commit).expect("a log in memory appends");
                driver.settle(100);
                put.push((next_event, payload));
                next_event += u64::from(events);
            }
            let cursor = log.cursor();
            cursor.release(u64::from(life) * 10 + 2, 3, Vec::new());
            cursor.release(u64::from(life) * 10, 1, Vec::new());
            driver.settle(100);
            // The second life ends without a word.
            if life == 0 {
                log.begin_close();
                driver.settle(100);
            }
        }
        SoundLog { files: files_of(&data), put }
    })
}

/// The files that hold something, each up to its last block that does.
fn files_of(data: &MemoryDirectory) -> Files {
    let mut files = Vec::new();
    for entry in data.list().expect("a directory in memory lists") {
        let mut bytes = AlignedBuf::zeroed((entry.len as usize).next_multiple_of(BLOCK).max(BLOCK));
        let read = data.open(&entry.name).and_then(|file| file.read_at(&mut bytes, 0));
        files.push((entry.name, bytes[..read.expect("a file in memory reads")].to_vec()));
    }
    in_order(files)
}

fn in_order(mut files: Files) -> Files {
    files.retain(|(_, bytes)| !bytes.is_empty());
    for (_, bytes) in &mut files {
        bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    }
    files.sort();
    files
}

fn directory_of(files: &Files) -> MemoryDirectory {
    let data = MemoryDirectory::new("data");
    for (name, bytes) in files {
        write(&data, name, bytes);
    }
    data
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Overwrite,
    Reseal,
    Zero,
    Copy,
    Cut,
    Remove,
    Swap,
    Rename,
}

struct Step<'a> {
    kind: Kind,
    file: u8,
    block: u8,
    at: usize,
    bytes: &'a [u8],
    other: (u8, u8),
}

impl<'a> Step<'a> {
    fn read(input: &mut Input<'a>) -> Option<Self> {
        let [kind, file, block] = *input.take(3)? else { return None };
        let kind = [
            Kind::Overwrite,
            Kind::Reseal,
            Kind::Zero,
            Kind::Copy,
            Kind::Cut,
            Kind::Remove,
            Kind::Swap,
            Kind::Rename,
        ][usize::from(kind % 8)];
        let mut step = Self { kind, file, block, at: 0, bytes: &[], other: (0, 0) };
        match kind {
            Kind::Overwrite | Kind::Reseal => {
                let [low, high, len] = *input.take(3)? else { return None };
                step.at = usize::from(u16::from_le_bytes([low, high])) % BLOCK;
                step.bytes = input.take(usize::from(len).min(input.0.len()))?;
            }
            Kind::Copy | Kind::Swap => {
                let [file, block] = *input.take(2)? else { return None };
                step.other = (file, block);
            }
            Kind::Rename => step.other.0 = input.take(1)?[0],
            Kind::Zero | Kind::Cut | Kind::Remove => {}
        }
        Some(step)
    }

    fn apply(&self, files: &mut Files) {
        let Some((file, begin)) = place(files, self.file, self.block) else { return };
        match self.kind {
            Kind::Overwrite | Kind::Reseal => {
                let (name, content) = &mut files[file];
                let at = begin + self.at;
                let end = (at + self.bytes.len()).min(content.len());
                content[at..end].copy_from_slice(&self.bytes[..end - at]);
                if self.kind == Kind::Reseal {
                    reseal(name, content, begin);
                }
            }
            Kind::Zero => files[file].1[begin..].fill(0),
            Kind::Copy | Kind::Swap => {
                let Some((other, from)) = place(files, self.other.0, self.other.1) else { return };
                let here = files[file].1[begin..begin + BLOCK].to_vec();
                let there = files[other].1[from..from + BLOCK].to_vec();
                files[file].1[begin..begin + BLOCK].copy_from_slice(&there);
                if self.kind == Kind::Swap {
                    files[other].1[from..from + BLOCK].copy_from_slice(&here);
                }
            }
            Kind::Cut => files[file].1.truncate(begin),
            Kind::Remove => drop(files.remove(file)),
            Kind::Rename => {
                let number = SegmentNumber(u64::from(self.other.0));
                let name =
                    if self.block.is_multiple_of(2) { number.file_name() } else { number.spare_name() };
                let renamed = files.remove(file).1;
                files.retain(|(other, _)| *other != name);
                files.push((name, renamed));
            }
        }
        // An empty file has no block that a later step could name.
        files.retain(|(_, content)| !content.is_empty());
        files.sort();
    }
}

/// Index of a file, and where a block of it begins.
fn place(files: &Files, file: u8, block: u8) -> Option<(usize, usize)> {
    let file = usize::from(file) % files.len().max(1);
    let blocks = files.get(file)?.1.len() / BLOCK;
    Some((file, usize::from(block) % blocks * BLOCK))
}

/// Sets the checksum right of what begins at `begin`, whatever it now says.
fn reseal(name: &str, content: &mut [u8], begin: usize) {
    if checkpoint::FILE_NAMES.contains(&name) {
        let field = |at: usize| u32::from_le_bytes(content[at..at + 4].try_into().expect("four bytes"));
        let end = (checkpoint::HEADER_LEN + field(24) as usize).min(content.len());
        let crc = crc32fast::hash(&content[12..end]);
        content[8..12].copy_from_slice(&crc.to_le_bytes());
        return;
    }
    let block = &mut content[begin..];
    if block.starts_with(&segment::MAGIC) {
        let crc = crc32fast::hash(&block[12..segment::HEADER_LEN]);
        block[8..12].copy_from_slice(&crc.to_le_bytes());
    } else if block.starts_with(&frame::MAGIC.to_le_bytes()) {
        let Some(number) = SegmentNumber::parse(name) else { return };
        let Ok(header) = SegmentHeader::decode(&content[..BLOCK]) else { return };
        let seed = Seed::new(header.salt, number, begin as u64);
        let block = &mut content[begin..];
        let stored = u32::from_le_bytes(block[12..16].try_into().expect("four bytes")) as usize;
        if let Some(body) = block[frame::HEADER_LEN..].get(..stored) {
            let crc = seed.crc(body);
            block[8..12].copy_from_slice(&crc.to_le_bytes());
        }
        let crc = seed.crc(&block[8..frame::HEADER_LEN]);
        block[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sound_log_is_sound_and_has_what_its_description_says() {
        let sound = sound();
        let data = directory_of(&sound.files);
        let report = tools::verify(&directories(&data)).unwrap();
        assert_eq!(report.damage, []);
        assert!(report.segments >= 3, "{} segments", report.segments);
        assert!(checkpoint::FILE_NAMES.iter().all(|name| sound.files.iter().any(|(file, _)| file == name)));
        let served = start_twice(&data).unwrap();
        assert!(served.iter().any(|(.., commit)| commit.len() == 40_000), "a commit that spans frames");
        assert!((15..24).contains(&served.len()), "{} of 24 commits are left", served.len());
    }

    #[test]
    fn a_resealed_frame_is_believed() {
        let mut files = sound().files.clone();
        let before = files.clone();
        let file = files.iter().position(|(name, _)| SegmentNumber::parse(name).is_some()).unwrap();
        let step =
            Step { kind: Kind::Reseal, file: file as u8, block: 2, at: 40, bytes: &[9], other: (0, 0) };
        step.apply(&mut files);
        assert_ne!(files, before);
        let header = SegmentHeader::decode(&files[file].1[..BLOCK]).unwrap();
        let seed = Seed::new(header.salt, header.segment, 2 * BLOCK as u64);
        let (frame, _) = frame::FrameHeader::decode(&files[file].1[2 * BLOCK..], seed).unwrap();
        assert_eq!(frame.event_count, 9);
    }
}
