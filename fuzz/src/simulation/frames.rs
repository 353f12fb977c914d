//! What stands on the disk, read from its bytes: which frames there are, where, and with which events.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

use flumen_wal::SegmentNumber;
use flumen_wal::format::frame::{FrameHeader, HEADER_LEN, Seed};
use flumen_wal::format::segment::SegmentHeader;
use flumen_wal::storage::faulty::FaultyDisk;

use super::pieces::{self, CHECKPOINT, DATA};

/// What everything on the simulated disk is aligned to, and where a segment's second header stands.
pub const BLOCK: usize = 4096;

/// An intact frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// The segment's file.
    pub path: String,
    /// Where it stands.
    pub offset: u64,
    /// How far its checksums reach from there.
    pub len: usize,
    /// Where the next frame begins.
    pub end: u64,
    /// Its header.
    pub header: FrameHeader,
    /// Whether it is its segment's first, so that recovery may start from it.
    pub first: bool,
    /// The events that cannot be read without it: of a commit that spans frames all.
    pub events: Range<u64>,
}

/// All files of a log, and the frames in them.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// Segments and checkpoints by path, with their bytes.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Frames of the log, in the order of their numbers.
    pub frames: Vec<Frame>,
}

impl Survey {
    /// Reads a disk.
    pub fn of(disk: &FaultyDisk) -> io::Result<Self> {
        let mut survey = Self::default();
        for entry in disk.directory(CHECKPOINT).list()? {
            if entry.name.starts_with("checkpoint-") {
                let path = format!("{CHECKPOINT}/{}", entry.name);
                survey.files.insert(path.clone(), disk.contents(path)?);
            }
        }
        for path in pieces::list(disk)? {
            if let Some(number) = segment_of(&path) {
                let bytes = pieces::contents(disk, &path)?;
                survey.read_segment(&path, number, &bytes);
                survey.files.insert(path, bytes);
            }
        }
        survey.forget_stale();
        Ok(survey)
    }

    /// A frame whose events stand in a later one too is none of the log any more: a start wrote it again, or cut it off and
    /// gave its numbers to others, and ended before it had cut the file.
    fn forget_stale(&mut self) {
        self.frames.sort_by_key(|frame| frame.header.frame);
        let mut begins = u64::MAX;
        let mut keep: Vec<Frame> = Vec::new();
        for frame in self.frames.drain(..).rev() {
            // All frames of a commit have its events.
            let of_one_commit = frame.header.has_more()
                && keep.last().is_some_and(|next| next.header.frame == frame.header.frame.next());
            if frame.events.is_empty() || frame.events.end <= begins || of_one_commit {
                begins = begins.min(frame.events.start);
                keep.push(frame);
            }
        }
        keep.reverse();
        self.frames = keep;
    }

    /// Segments, by path.
    pub fn segments(&self) -> impl Iterator<Item = (&String, SegmentNumber)> {
        self.files.keys().filter_map(|path| Some((path, segment_of(path)?)))
    }

    fn read_segment(&mut self, path: &str, number: SegmentNumber, bytes: &[u8]) {
        let Some(salt) = header_copies(bytes, number).into_iter().flatten().map(|header| header.salt).next()
        else {
            return;
        };
        let mut at = 2 * BLOCK;
        let mut span = Vec::new();
        while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= BLOCK) {
            let seed = Seed::new(salt, number, at as u64);
            let decoded = FrameHeader::decode(rest, seed).ok().map(|(header, _)| header);
            let len = decoded.map_or(0, |header| HEADER_LEN + header.stored_len as usize);
            let header = decoded
                .filter(|header| rest.get(HEADER_LEN..len).is_some_and(|body| header.verify(body, seed)));
            let Some(header) = header else {
                at += BLOCK;
                continue;
            };
            let (offset, end) = (at as u64, at as u64 + header.padded_len(BLOCK as u32));
            let (first, events) = (at == 2 * BLOCK, header.first_event..header.end_event());
            let path = path.to_owned();
            if header.is_span() {
                span.push(self.frames.len());
            }
            self.frames.push(Frame { path, offset, len, end, header, first, events });
            if header.is_span() && !header.has_more() {
                let last = header.end_event();
                span.drain(..).for_each(|i: usize| self.frames[i].events.end = last);
            }
            at = end as usize;
        }
    }
}

/// Which segment this file is.
fn segment_of(path: &str) -> Option<SegmentNumber> {
    SegmentNumber::parse(path.strip_prefix(DATA)?.strip_prefix('/')?)
}

/// Both copies of a segment's header, where they verify. That of another segment, which a write that went astray left here,
/// is none.
pub fn header_copies(bytes: &[u8], number: SegmentNumber) -> [Option<SegmentHeader>; 2] {
    let copy = |at| SegmentHeader::decode(bytes.get(at..).unwrap_or_default()).ok();
    [0, BLOCK].map(|at| copy(at).filter(|header| header.segment == number))
}
