//! A start of the log from one segment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use flumen_wal::format::checkpoint::{self, Checkpoint};
use flumen_wal::format::codec::{Compression, Compressor, Encoding, RAW_LEN_MAX};
use flumen_wal::format::frame::{self, FLAG_FIRST, FLAG_LATER, FLAG_MORE, FLAG_SPAN, FrameHeader, Seed};
use flumen_wal::format::record::{self, Life, Record, Records, Snapshot};
use flumen_wal::format::segment::{FEATURES, KeyTable, SegmentHeader};
use flumen_wal::storage::memory::MemoryDirectory;
use flumen_wal::storage::{AlignedBuf, Directory};
use flumen_wal::{Directories, Environment, FrameNumber, Keys, Log, Options, Place, SegmentNumber};

const ALIGNMENT: u32 = 4096;
const LOG_ID: u128 = 7;
const SALT: u64 = 0x5a17;
/// A segment with more frames shows nothing that one with these does not, and costs time.
const FRAMES_MAX: usize = 12;

/// A checkpoint file; and a start from it over a segment of three sound frames, which its numbers need not fit.
pub fn checkpoint(bytes: &[u8]) {
    check_checkpoint(bytes);
    let mut fixed = bytes.to_vec();
    if fixed.len() < checkpoint::HEADER_LEN {
        return;
    }
    let len = (fixed.len() - checkpoint::HEADER_LEN) as u32;
    fixed[..8].copy_from_slice(&checkpoint::MAGIC);
    fixed[12..14].copy_from_slice(&checkpoint::VERSION.to_le_bytes());
    fixed[24..28].copy_from_slice(&len.to_le_bytes());
    let crc = crc32fast::hash(&fixed[12..]);
    fixed[8..12].copy_from_slice(&crc.to_le_bytes());
    check_checkpoint(&fixed);
}

fn check_checkpoint(bytes: &[u8]) {
    let Ok((checkpoint, sequence)) = Checkpoint::decode(bytes, &Keys::default()) else { return };
    let encoded = checkpoint.encode(sequence);
    assert!(encoded.len() <= bytes.len(), "what is written is not longer than what was read");
    assert_eq!(Checkpoint::decode(&encoded, &Keys::default()), Ok((checkpoint, sequence)), "written again");
    let (mut file, mut next) = segment_start(Some(&Snapshot::default()));
    (0..3).for_each(|_| next.put(&mut file, &[0, 0, 0, 1, 0], &commit(b"event")));
    let data = MemoryDirectory::new("data");
    write(&data, &SegmentNumber(1).file_name(), &filled(file));
    write(&data, checkpoint::FILE_NAMES[0], &encoded);
    start_twice(&data);
}

/// A snapshot's content; as a record, as a checkpoint, and as what a log starts from.
pub fn snapshot(bytes: &[u8]) {
    let mut body = vec![KIND_SNAPSHOT, 0, 0, 0];
    body.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    body.extend_from_slice(bytes);
    let Some(Ok(Record::Snapshot(snapshot))) = Records::new(&body).next() else { return };
    let mut again = Vec::new();
    record::put_snapshot(&mut again, &snapshot);
    assert!(again.len() <= body.len(), "what is written is not longer than what was read");
    assert_eq!(Records::new(&again).next(), Some(Ok(Record::Snapshot(snapshot.clone()))), "written again");
    let place = Place { segment: SegmentNumber(1), offset: 3 * u64::from(ALIGNMENT) };
    let checkpoint = Checkpoint { log_id: LOG_ID, frame: FrameNumber(1), place, snapshot: snapshot.clone() };
    assert_eq!(
        Checkpoint::decode(&checkpoint.encode(1), &Keys::default()),
        Ok((checkpoint, 1)),
        "a checkpoint carries it"
    );
    let (mut file, mut next) = segment_start(Some(&snapshot));
    next.put(&mut file, &[0, 0, 0, 1, 0], &commit(b"event"));
    let data = MemoryDirectory::new("data");
    write(&data, &SegmentNumber(1).file_name(), &filled(file));
    start_twice(&data);
}

const KIND_SNAPSHOT: u8 = 4;

fn commit(payload: &[u8]) -> Vec<u8> {
    let mut body = vec![0; record::HEADER_LEN + record::COMMIT_PREFIX_LEN];
    record::write_commit_prefix(&mut body, 1, payload.len());
    body.extend_from_slice(payload);
    body
}

/// A segment on a disk, opened as a log: the scan, recovery, the new life, takes, and a second start.
///
/// ```text
/// byte 0          frame: 1          2        3             4              5               6       8
///      +----------+  +--------------+--------+-------------+--------------+---------------+-------+------+
///      | leading  |  | frame number | flags  | first event | event count  | synced frame  | length| body |
///      | u8       |  | step i8      | u8     | step i8     | u8           | below by u8   | u16   |      |
///      +----------+  +--------------+--------+-------------+--------------+---------------+-------+------+
/// ```
///
/// `leading` bit 0: a sound snapshot frame stands first. `flags` bits 0 to 3 are the frame's own, bit 7 leaves the frame with a
/// wrong checksum. Bit 4: the body is stored compressed, if it can be. Bit 5: it is taken for an lz4 block whose decompressed
/// length its last two bytes name, in units of 64. Steps are from what a sound log would have; so zeroes make a sound one.
pub fn segment(bytes: &[u8]) {
    let Some(file) = segment_file(bytes) else { return };
    let data = MemoryDirectory::new("data");
    write(&data, &SegmentNumber(1).file_name(), &file);
    start_twice(&data);
}

/// What one start serves, the next serves: nothing was released.
pub(super) fn start_twice(data: &MemoryDirectory) -> Option<Vec<Served>> {
    let events = open_and_read(data)?;
    let again = open_and_read(data);
    assert!(
        again.as_ref() == Some(&events),
        "a second start serves what the first did: {:?}, then {:?}",
        brief(&events),
        again.as_deref().map(brief)
    );
    Some(events)
}

/// Event numbers and lengths.
fn brief(served: &[Served]) -> Vec<(u64, u32, usize)> {
    served.iter().map(|(event, skip, commit)| (*event, *skip, commit.len())).collect()
}

/// Writes a file of its own, padded to whole blocks.
pub(super) fn write(data: &MemoryDirectory, name: &str, bytes: &[u8]) {
    let aligned = AlignedBuf::padded(bytes, ALIGNMENT as usize);
    data.create(name)
        .and_then(|file| file.write_at(&aligned, 0))
        .expect("a directory in memory takes a file");
}

/// A segment's header, and its first frame if it has a snapshot.
fn segment_start(snapshot: Option<&Snapshot>) -> (Vec<u8>, Sound) {
    let header = SegmentHeader {
        features: FEATURES,
        alignment: ALIGNMENT,
        log_id: LOG_ID,
        segment: SegmentNumber(1),
        salt: SALT,
        size: 1 << 20,
        keys: KeyTable::default(),
    };
    let mut file = header.encode();
    let mut next = Sound { frame: 1, event: 0, previous_crc: 0 };
    if let Some(snapshot) = snapshot {
        let mut body = Vec::new();
        let life = Life { last_kept: FrameNumber(0), last_seen: FrameNumber(0), rewritten: 0 };
        record::put_life(&mut body, &life);
        record::put_snapshot(&mut body, snapshot);
        next.event = snapshot.next_event;
        next.put(&mut file, &[0; 5], &body);
    }
    (file, next)
}

/// The file with a blank tail.
fn filled(mut file: Vec<u8>) -> Vec<u8> {
    file.resize((file.len() + ALIGNMENT as usize).max(64 << 10), 0);
    file
}

fn segment_file(bytes: &[u8]) -> Option<Vec<u8>> {
    let (&leading, mut rest) = bytes.split_first()?;
    let (mut file, mut next) = segment_start((leading & 1 != 0).then(Snapshot::default).as_ref());
    for _ in 0..FRAMES_MAX {
        let Some((fields, tail)) = rest.split_first_chunk::<7>() else { break };
        let len = usize::from(u16::from_le_bytes([fields[5], fields[6]])).min(tail.len());
        let (body, tail) = tail.split_at(len);
        next.put(&mut file, &fields[..5], body);
        rest = tail;
    }
    Some(filled(file))
}

/// What the next frame of a sound log would have.
struct Sound {
    frame: u64,
    event: u64,
    previous_crc: u32,
}

impl Sound {
    fn put(&mut self, file: &mut Vec<u8>, fields: &[u8], body: &[u8]) {
        let mut compressor = Compressor::new(Compression::Lz4);
        // The least alignment there can be: small bodies shall be compressed as well.
        let compressed = compressor.as_mut().and_then(|compressor| compressor.compress(body, 64));
        let (encoding, stored, raw_len) = match (fields[1] & 0x30, compressed, body.split_last_chunk::<2>()) {
            (0x10, Some(compressed), _) => (Encoding::Lz4, compressed, body.len()),
            (0x20, _, Some((block, units))) => {
                let raw_len = (64 * usize::from(u16::from_le_bytes(*units))).min(RAW_LEN_MAX);
                (Encoding::Lz4, block, raw_len.max(block.len() + 1))
            }
            _ => (Encoding::Plain, body, body.len()),
        };
        let step = |value: u64, by: u8| value.saturating_add_signed(i64::from(by as i8));
        let frame = step(self.frame, fields[0]).max(1);
        let header = FrameHeader {
            body_crc: 0,
            stored_len: stored.len() as u32,
            raw_len: raw_len as u32,
            encoding,
            encrypted: false,
            flags: fields[1] & (FLAG_SPAN | FLAG_MORE | FLAG_FIRST | FLAG_LATER),
            frame: FrameNumber(frame),
            first_event: step(self.event, fields[2]),
            event_count: u32::from(fields[3]),
            previous_crc: self.previous_crc,
            synced_frame: FrameNumber((frame - 1).saturating_sub(u64::from(fields[4]))),
        };
        let begin = file.len();
        file.resize(begin + frame::HEADER_LEN, 0);
        file.extend_from_slice(stored);
        let seed = Seed::new(SALT, SegmentNumber(1), begin as u64);
        self.previous_crc = header.seal(&mut file[begin..], seed);
        if fields[1] & 0x80 != 0 {
            file[begin + 4] ^= 1;
        }
        file.resize(file.len().next_multiple_of(ALIGNMENT as usize), 0);
        self.frame = frame + 1;
        self.event = header.end_event();
    }
}

/// Time stands still; salts are numbers in their order.
#[derive(Debug)]
pub(super) struct Still(parking_lot::Mutex<u64>);

impl Still {
    /// The same numbers each time: for what is made to be damaged.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(parking_lot::Mutex::new(SALT)))
    }

    /// Numbers that were not used before: with the salt of an earlier segment of its number, a file that is used again would
    /// bring back that segment's frames.
    pub(super) fn fresh() -> Arc<Self> {
        static STARTS: AtomicU64 = AtomicU64::new(1);
        let start = STARTS.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self(parking_lot::Mutex::new(SALT.wrapping_add(start << 16))))
    }
}

impl Environment for Still {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn random(&self) -> u64 {
        let mut random = self.0.lock();
        *random += 1;
        *random
    }
}

/// Number of a piece's first event, how many events of its commit come before that, and the commit.
pub(super) type Served = (u64, u32, Bytes);

/// Segments and checkpoints in one directory.
pub(super) fn directories(data: &MemoryDirectory) -> Directories {
    let directory: Arc<dyn Directory> = Arc::new(data.clone());
    Directories { data: Arc::clone(&directory), checkpoint: directory }
}

pub(super) fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        frame_bytes: 16 << 10,
        cache_bytes: 16 << 10,
        lock_wait: Duration::ZERO,
        ..Options::default()
    }
}

/// Opens the log, and returns the events that it serves up to the first that cannot be read; `None` if it is refused.
fn open_and_read(data: &MemoryDirectory) -> Option<Vec<Served>> {
    let (log, mut driver) = Log::open_driven(directories(data), options(), Still::fresh()).ok()?;
    driver.settle(100);
    let mut events = Vec::new();
    let cursor = log.cursor();
    while let Ok(Some(take)) = cursor.try_take(100, 1 << 20) {
        let mut at = take.first_event;
        for piece in take.pieces {
            events.push((at, piece.skip, piece.payload));
            at += u64::from(piece.events);
        }
    }
    Some(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_may_be_compressed() {
        let body = commit(&[b'x'; 3000]);
        let frame = [&[0, 0x10, 0, 1, 0][..], &(body.len() as u16).to_le_bytes(), &body].concat();
        let file = segment_file(&[&[1], &frame[..]].concat()).unwrap();
        let data = MemoryDirectory::new("data");
        write(&data, &SegmentNumber(1).file_name(), &file);
        let begin = 3 * ALIGNMENT as usize;
        let seed = Seed::new(SALT, SegmentNumber(1), begin as u64);
        let (header, _) = FrameHeader::decode(&file[begin..], seed).unwrap();
        assert!(header.encoding == Encoding::Lz4 && header.stored_len < 100, "{header:?}");
        assert_eq!(open_and_read(&data), Some(vec![(0, 0, Bytes::from(vec![b'x'; 3000]))]));
    }

    #[test]
    fn an_input_of_zeroes_and_commits_is_a_sound_segment() {
        let body = commit(b"event");
        let frame = [&[0, 0, 0, 1, 0][..], &(body.len() as u16).to_le_bytes(), &body].concat();
        let file = segment_file(&[&[1], &frame[..], &frame[..]].concat()).unwrap();
        let data = MemoryDirectory::new("data");
        write(&data, &SegmentNumber(1).file_name(), &file);
        let event = Bytes::from_static(b"event");
        assert_eq!(open_and_read(&data), Some(vec![(0, 0, event.clone()), (1, 0, event)]));
    }
}
