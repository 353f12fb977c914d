//! What the fuzz targets call: each function gives any bytes to one decoder.
//!
//! Nothing but a clear refusal may come of bytes that were never ours; what is accepted must be what is written again.
//! A function panics where that does not hold.
//!
//! Random bytes hardly ever have the right checksum, and a decoder that refuses them at its first check is not tested. So
//! where there is one, the bytes are tried as they are, then with magic and checksum set right.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flumen_api::chunk::Chunk;
use flumen_engine::config::properties;
use flumen_wal::format::checkpoint::{self, Checkpoint};
use flumen_wal::format::frame::{self, FLAG_MORE, FLAG_SPAN, FrameHeader, Seed};
use flumen_wal::format::record::{self, Life, Record, Records, Snapshot};
use flumen_wal::format::segment::{self, SegmentHeader};
use flumen_wal::storage::memory::MemoryDirectory;
use flumen_wal::storage::{AlignedBuf, Directory};
use flumen_wal::{Directories, Environment, FrameNumber, Log, Options, SegmentNumber};

/// A decoder under test.
pub type Decoder = fn(&[u8]);

/// All of them, by the name of their fuzz target and of their corpus.
pub const ALL: [(&str, Decoder); 7] = [
    ("checkpoint", checkpoint),
    ("chunk", chunk),
    ("frame_header", frame_header),
    ("properties", properties),
    ("records", records),
    ("segment", segment),
    ("segment_header", segment_header),
];

/// A checkpoint file.
pub fn checkpoint(bytes: &[u8]) {
    let check = |bytes: &[u8]| {
        if let Ok((checkpoint, sequence)) = Checkpoint::decode(bytes) {
            let again = Checkpoint::decode(&checkpoint.encode(sequence));
            assert_eq!(again.as_ref(), Ok(&(checkpoint, sequence)), "written again");
        }
    };
    check(bytes);
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
    check(&fixed);
}

/// An event chunk.
pub fn chunk(bytes: &[u8]) {
    let Ok(chunk) = Chunk::decode(Bytes::copy_from_slice(bytes)) else { return };
    let whole = chunk.slice(0, chunk.len());
    let (mut events, mut body_bytes) = (0, 0);
    for event in whole.iter() {
        events += 1;
        body_bytes += event.body.len();
        assert!(event.headers.iter().all(|(key, value)| key.len() + value.len() <= bytes.len()));
    }
    assert_eq!((events, body_bytes), (chunk.len(), whole.body_bytes()), "events and their bytes");
    assert!(whole.lines().is_none_or(|lines| lines.len() == body_bytes + events), "a newline for each");
    let half = chunk.len() / 2;
    let (head, tail) = (chunk.slice(0, half), chunk.slice(half, chunk.len() - half));
    assert!(
        whole.iter().map(|event| event.body).eq(head.iter().chain(tail.iter()).map(|event| event.body)),
        "two halves are the whole"
    );
}

/// A frame's header.
pub fn frame_header(bytes: &[u8]) {
    let seed = Seed::new(1, SegmentNumber(1), 8192);
    let check = |bytes: &[u8]| {
        let Ok((header, crc)) = FrameHeader::decode(bytes, seed) else { return };
        assert!(header.end_event() >= header.first_event && header.synced_frame < header.frame);
        assert!(header.padded_len(4096).is_multiple_of(4096));
        let verifies = header.verify(&bytes[frame::HEADER_LEN..], seed);
        assert!(!verifies || bytes.len() == frame::HEADER_LEN + header.stored_len as usize);
        if verifies {
            let mut again = bytes.to_vec();
            assert_eq!((header.seal(&mut again, seed), &*again), (crc, bytes), "written again");
        }
    };
    check(bytes);
    if bytes.len() < frame::HEADER_LEN {
        return;
    }
    let mut fixed = bytes.to_vec();
    let len = (fixed.len() - frame::HEADER_LEN) as u32;
    let body_crc = seed.crc(&fixed[frame::HEADER_LEN..]);
    fixed[..4].copy_from_slice(&frame::MAGIC.to_le_bytes());
    fixed[8..12].copy_from_slice(&body_crc.to_le_bytes());
    fixed[12..16].copy_from_slice(&len.to_le_bytes());
    fixed[16..20].copy_from_slice(&len.to_le_bytes());
    let crc = seed.crc(&fixed[8..frame::HEADER_LEN]);
    fixed[4..8].copy_from_slice(&crc.to_le_bytes());
    check(&fixed);
}

/// A properties file.
pub fn properties(bytes: &[u8]) {
    let parsed = properties::parse(bytes);
    let mut text = String::new();
    parsed.entries.iter().for_each(|entry| properties::write(&mut text, &entry.key, &entry.value));
    let again = properties::parse(text.as_bytes());
    assert_eq!(again.malformed, [], "what was written is readable");
    let pairs = |parsed: &properties::Parsed| -> Vec<_> {
        parsed.entries.iter().map(|entry| (entry.key.clone(), entry.value.clone())).collect()
    };
    assert_eq!(pairs(&parsed), pairs(&again), "written again");
}

/// A frame's body.
pub fn records(bytes: &[u8]) {
    let mut records = Records::new(bytes);
    let mut last = 0;
    while let Some(Ok(record)) = records.next() {
        assert!(records.offset() > last && records.offset() <= bytes.len(), "it gets on");
        last = records.offset();
        let mut again = Vec::new();
        match &record {
            Record::Commit { payload, .. } => {
                assert!(payload.len() < bytes.len());
                continue;
            }
            Record::Release(ranges) => record::put_release(&mut again, ranges),
            Record::Progress(update) => record::put_progress(&mut again, update),
            Record::Snapshot(snapshot) => record::put_snapshot(&mut again, snapshot),
            Record::Life(life) => record::put_life(&mut again, life),
            Record::Close(last) => record::put_close(&mut again, *last),
        }
        let read = Records::new(&again).next();
        assert_eq!(read, Some(Ok(record)), "written again");
    }
}

/// A segment's header.
pub fn segment_header(bytes: &[u8]) {
    let check = |bytes: &[u8]| {
        if let Ok(header) = SegmentHeader::decode(bytes) {
            let again = header.encode();
            assert_eq!(SegmentHeader::decode(&again), Ok(header), "written again");
            assert_eq!(again.len() as u64, header.data_offset());
        }
    };
    check(bytes);
    if bytes.len() < segment::HEADER_LEN {
        return;
    }
    let mut fixed = bytes.to_vec();
    fixed[..8].copy_from_slice(&segment::MAGIC);
    let crc = crc32fast::hash(&fixed[12..segment::HEADER_LEN]);
    fixed[8..12].copy_from_slice(&crc.to_le_bytes());
    check(&fixed);
}

const ALIGNMENT: u32 = 4096;
const SALT: u64 = 0x5a17;
/// A segment with more frames shows nothing that one with these does not, and costs time.
const FRAMES_MAX: usize = 12;

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
/// `leading` bit 0: a sound snapshot frame stands first. `flags` bits 0 and 1 are the frame's own, bit 7 leaves the frame
/// with a wrong checksum. Steps are from what a sound log would have; so zeroes make a sound one.
pub fn segment(bytes: &[u8]) {
    let Some(file) = segment_file(bytes) else { return };
    let data = MemoryDirectory::new("data");
    write(&data, &file);
    let Some(events) = open_and_read(&data) else { return };
    // What one start served, the next serves: nothing was released.
    assert_eq!(open_and_read(&data), Some(events), "a second start serves what the first did");
}

fn write(data: &MemoryDirectory, file: &[u8]) {
    let aligned = AlignedBuf::padded(file, ALIGNMENT as usize);
    data.create(&SegmentNumber(1).file_name())
        .and_then(|segment| segment.write_at(&aligned, 0))
        .expect("a directory in memory takes a file");
}

fn segment_file(bytes: &[u8]) -> Option<Vec<u8>> {
    let (&leading, mut rest) = bytes.split_first()?;
    let header = SegmentHeader {
        alignment: ALIGNMENT,
        log_id: 7,
        segment: SegmentNumber(1),
        salt: SALT,
        size: 1 << 20,
    };
    let mut file = header.encode();
    let mut next = Sound { frame: 1, event: 0, previous_crc: 0 };
    if leading & 1 != 0 {
        let mut body = Vec::new();
        let life = Life { last_kept: FrameNumber(0), last_seen: FrameNumber(0), rewritten: 0 };
        record::put_life(&mut body, &life);
        record::put_snapshot(&mut body, &Snapshot::default());
        next.put(&mut file, &[0; 5], &body);
    }
    for _ in 0..FRAMES_MAX {
        let Some((fields, tail)) = rest.split_first_chunk::<7>() else { break };
        let len = usize::from(u16::from_le_bytes([fields[5], fields[6]])).min(tail.len());
        let (body, tail) = tail.split_at(len);
        next.put(&mut file, &fields[..5], body);
        rest = tail;
    }
    file.resize((file.len() + ALIGNMENT as usize).max(64 << 10), 0);
    Some(file)
}

/// What the next frame of a sound log would have.
struct Sound {
    frame: u64,
    event: u64,
    previous_crc: u32,
}

impl Sound {
    fn put(&mut self, file: &mut Vec<u8>, fields: &[u8], body: &[u8]) {
        let step = |value: u64, by: u8| value.saturating_add_signed(i64::from(by as i8));
        let frame = step(self.frame, fields[0]).max(1);
        let header = FrameHeader {
            body_crc: 0,
            stored_len: body.len() as u32,
            flags: fields[1] & (FLAG_SPAN | FLAG_MORE),
            frame: FrameNumber(frame),
            first_event: step(self.event, fields[2]),
            event_count: u32::from(fields[3]),
            previous_crc: self.previous_crc,
            synced_frame: FrameNumber((frame - 1).saturating_sub(u64::from(fields[4]))),
        };
        let begin = file.len();
        file.resize(begin + frame::HEADER_LEN, 0);
        file.extend_from_slice(body);
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

/// Time stands still; salts are numbers that were not used before.
#[derive(Debug)]
struct Still(parking_lot::Mutex<u64>);

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

/// Opens the log, and returns the events that it serves up to the first that cannot be read; `None` if it is refused.
fn open_and_read(data: &MemoryDirectory) -> Option<Vec<(u64, u32, Bytes)>> {
    let directory: Arc<dyn Directory> = Arc::new(data.clone());
    let directories = Directories { data: Arc::clone(&directory), checkpoint: directory };
    let options = Options {
        segment_bytes: 64 << 10,
        frame_bytes: 16 << 10,
        cache_bytes: 16 << 10,
        lock_wait: Duration::ZERO,
        ..Options::default()
    };
    let salts = Arc::new(Still(parking_lot::Mutex::new(SALT)));
    let (log, mut driver) = Log::open_driven(directories, options, salts).ok()?;
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
    fn an_input_of_zeroes_and_commits_is_a_sound_segment() {
        let mut body = vec![0; record::HEADER_LEN + record::COMMIT_PREFIX_LEN];
        record::write_commit_prefix(&mut body, 1, 5);
        body.extend_from_slice(b"event");
        let frame = [&[0, 0, 0, 1, 0][..], &(body.len() as u16).to_le_bytes(), &body].concat();
        let file = segment_file(&[&[1], &frame[..], &frame[..]].concat()).unwrap();
        let data = MemoryDirectory::new("data");
        write(&data, &file);
        let event = Bytes::from_static(b"event");
        assert_eq!(open_and_read(&data), Some(vec![(0, 0, event.clone()), (1, 0, event)]));
    }
}
