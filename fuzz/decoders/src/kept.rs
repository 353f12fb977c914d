//! What is kept beside events: which directories belong together, and what a source or a sink notes in the log.

use std::io;
use std::path::Path;
use std::sync::Arc;

use flumen_sinks::file_roll::record::Record;
use flumen_sources::taildir::{FileId, Memo};
use flumen_wal::SegmentNumber;
use flumen_wal::storage::memory::MemoryDirectory;
use flumen_wal::storage::striped::{self, LANES_MAX, UNIT};
use flumen_wal::storage::{AlignedBuf, Directory, File};

use super::segment::{Still, write};

const BLOCK: usize = 4096;
const LANES: &str = "lanes";
/// The line that ends the text, and how many digits are on it.
const CRC_LINE: &[u8] = b"\ncrc ";
const CRC_DIGITS: usize = 8;

/// The file `lanes` that says which part of a log a directory is: of one that is named alone or with an empty one, and of the
/// second of two that belong together.
pub fn lanes(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), with_crc(bytes)] {
        let alone = directory("/log/1");
        write_lanes(&alone, &bytes);
        serve(&[alone]);
        let [one, empty] = ["/log/1", "/log/2"].map(directory);
        write_lanes(&one, &bytes);
        serve(&[one, empty]);
        let [sound, second] = ["/log/1", "/log/2"].map(directory);
        drop(new_segment(&open(&[sound.clone(), second.clone()]).expect("two empty ones belong together")));
        second.remove(LANES).expect("each has one");
        write_lanes(&second, &bytes);
        if let Some(log) = open(&[sound, second]) {
            // Whatever it says now, it belongs to the other.
            read_segment(&log);
        }
    }
}

/// What directories take, if they are taken, they give back in any order, and each names all of them.
fn serve(named: &[MemoryDirectory]) {
    let Some(log) = open(named) else { return };
    new_segment(&log);
    drop(log);
    let reversed: Vec<_> = named.iter().rev().cloned().collect();
    read_segment(&open(&reversed).expect("what is theirs from now on opens again"));
    for directory in named {
        let paths = striped::paths(directory).expect("they were described").unwrap_or_default();
        assert!(named.len() == 1 || paths.len() == named.len(), "{paths:?}");
        assert!(paths.iter().all(|path| named.iter().any(|named| named.path() == path)), "{paths:?}");
    }
}

fn directory(path: &str) -> MemoryDirectory {
    MemoryDirectory::new(path)
}

/// `None` if they are refused.
fn open(named: &[MemoryDirectory]) -> Option<Arc<dyn Directory>> {
    for directory in named {
        if let Ok(Some(paths)) = striped::paths(directory) {
            assert!((2..=LANES_MAX).contains(&paths.len()), "{paths:?}");
        }
    }
    let lanes: Vec<_> = named.iter().map(|lane| Arc::new(lane.clone()) as Arc<dyn Directory>).collect();
    let nowhere = |_: &Path| Err(io::Error::from(io::ErrorKind::NotFound));
    let opened = striped::open(&lanes, UNIT, &*Still::new(), &nowhere);
    opened.map_err(|error| assert!(!error.to_string().is_empty())).ok()
}

/// The first change that is made, by which the directories say what they are.
fn new_segment(log: &Arc<dyn Directory>) -> Arc<dyn File> {
    let file = log.create(&SegmentNumber(1).file_name()).expect("there is none");
    file.write_at(&AlignedBuf::padded(&[7; BLOCK], BLOCK), 0).expect("memory takes it");
    file
}

fn read_segment(log: &Arc<dyn Directory>) {
    let mut read = AlignedBuf::zeroed(BLOCK);
    let file = log.open(&SegmentNumber(1).file_name()).expect("it was made");
    assert_eq!(file.read_at(&mut read, 0).ok(), Some(BLOCK));
    assert!(read.iter().all(|byte| *byte == 7), "what was written");
}

/// In two copies, each padded to whole blocks.
fn write_lanes(directory: &MemoryDirectory, text: &[u8]) {
    let mut bytes = text.to_vec();
    bytes.resize(bytes.len().next_multiple_of(BLOCK), b'\n');
    bytes.extend_from_within(..);
    write(directory, LANES, &bytes);
}

/// The text with the checksum that fits what stands before it.
fn with_crc(text: &[u8]) -> Vec<u8> {
    let end = text.windows(CRC_LINE.len()).position(|window| window == CRC_LINE).unwrap_or(text.len());
    let mut fixed = [&text[..end], b"\n"].concat();
    let crc = crc32fast::hash(&fixed);
    fixed.extend_from_slice(format!("crc {crc:08x}\n").as_bytes());
    fixed.extend_from_slice(text.get(end + CRC_LINE.len() + CRC_DIGITS..).unwrap_or_default());
    fixed
}

/// What a channel keeps for a `file_roll` sink.
pub fn sink_record(bytes: &[u8]) {
    match Record::decode(bytes) {
        Ok(record) => assert_eq!(record.encode(), bytes, "written again, to the byte"),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// What a channel keeps for a taildir source about a file: the key it is known by, or what stands under it.
pub fn source_record(bytes: &[u8]) {
    if let Some(memo) = Memo::decode(bytes) {
        assert_eq!(Memo::decode(&memo.encode()), Some(memo), "written again");
    }
    if let Some(id) = std::str::from_utf8(bytes).ok().and_then(FileId::parse) {
        assert_eq!(FileId::parse(&id.key()), Some(id), "written again");
    }
}
