//! What is there: files, headers, first frames, checkpoints, and what a start would make of them.

use std::collections::BTreeMap;
use std::io;

use super::ToolError;
use crate::directories::Directories;
use crate::error::OpenError;
use crate::format::checkpoint::{self, Checkpoint, CheckpointError};
use crate::format::frame::{FrameHeader, Seed};
use crate::format::keys::MissingKey;
use crate::format::record::SegmentSummary;
use crate::format::segment::{ALIGNMENT_MAX, ALIGNMENT_MIN, HEADER_LEN, SegmentHeader};
use crate::numbers::{FrameNumber, SegmentNumber};
use crate::read::extents::Blocks;
use crate::recovery::{self, Recovered, ScanError, read_snapshot_frame};
use crate::segment::file::{self, Opened, SegmentFile};
use crate::storage::{AlignedBuf, Directory, Entry};

/// A file with a segment's name.
#[derive(Debug)]
pub struct Surveyed {
    pub number: SegmentNumber,
    pub len: u64,
    pub seen: Seen,
    /// How many of the header's two copies verify.
    pub copies: u8,
    /// Frame number and first event of its first frame, if that is intact and holds a snapshot.
    pub first: Option<(FrameNumber, u64)>,
    /// The first frame is encrypted by a key that is not given.
    pub locked: Option<MissingKey>,
}

/// What the file turned out to be.
#[derive(Debug)]
pub enum Seen {
    Segment(SegmentFile),
    /// Header and name disagree: it holds nothing.
    Mismatch,
    Headerless,
    Newer(String),
    Unreadable(io::Error),
}

/// One of the two checkpoint files.
#[derive(Debug)]
pub enum SlotContent {
    Missing,
    Empty,
    Unreadable(io::Error),
    Bad(CheckpointError),
    Sound(Box<Checkpoint>, u64),
}

/// The log as it stood when it was looked at.
#[derive(Debug)]
pub struct Survey {
    /// By number, rising.
    pub segments: Vec<Surveyed>,
    pub spares: Vec<Entry>,
    pub slots: [SlotContent; 2],
    /// What the newest snapshot that knows it says of each sealed segment.
    pub summaries: BTreeMap<SegmentNumber, SegmentSummary>,
    /// First frame of the newest life that a segment begins with: its snapshot holds what the frames before it left.
    pub life: FrameNumber,
    /// The newest segment whose first frame is intact.
    pub top: Option<SegmentNumber>,
    /// What a start would find.
    pub recovered: Result<Recovered, OpenError>,
    /// All frames up to this one are synced.
    pub claim: FrameNumber,
}

/// A running log changes files between two looks: so often what does not fit is looked at again.
const LOOKS: usize = 5;

impl Survey {
    pub fn of(dirs: &Directories) -> Result<Self, ToolError> {
        let data = &*dirs.data;
        // Before the files are listed: what a running log claims must not stand in files that the list lacks.
        let recovered = recover(dirs);
        let entries =
            data.list().map_err(|source| ToolError::Io { path: data.path().to_path_buf(), source })?;
        let mut survey = Self {
            segments: Vec::new(),
            spares: Vec::new(),
            slots: [SlotContent::Missing, SlotContent::Missing],
            summaries: BTreeMap::new(),
            life: FrameNumber(0),
            top: None,
            recovered,
            claim: FrameNumber(0),
        };
        for entry in entries {
            if let Some(number) = SegmentNumber::parse(&entry.name) {
                let Survey { summaries, life, .. } = &mut survey;
                let looked_at = look_at(data, number, summaries, life);
                survey.segments.extend(looked_at);
            } else if SegmentNumber::parse_spare(&entry.name).is_some() {
                survey.spares.push(entry);
            }
        }
        survey.segments.sort_by_key(|segment| segment.number);
        survey.spares.sort_by(|a, b| a.name.cmp(&b.name));
        survey.top = survey.segments.iter().rfind(|segment| segment.first.is_some()).map(|top| top.number);
        for (slot, name) in survey.slots.iter_mut().zip(checkpoint::FILE_NAMES) {
            *slot = look_at_slot(&*dirs.checkpoint, name);
        }
        survey.claim = survey.highest_claim();
        Ok(survey)
    }

    /// The log's id, by its newest segment, else by a checkpoint.
    pub fn log_id(&self) -> Option<u128> {
        let of_segment = self.segments.iter().rev().find_map(|segment| match &segment.seen {
            Seen::Segment(file) => Some(file.header.log_id),
            _ => None,
        });
        of_segment.or_else(|| {
            self.slots.iter().find_map(|slot| match slot {
                SlotContent::Sound(checkpoint, _) => Some(checkpoint.log_id),
                _ => None,
            })
        })
    }

    /// Summary of a segment in its present use.
    pub fn summary(&self, file: &SegmentFile) -> Option<&SegmentSummary> {
        self.summaries.get(&file.number()).filter(|summary| summary.salt == file.header.salt)
    }

    /// Whether a segment and the next one may both have held some events: frames were lost around the next one's begin.
    pub fn overlaps_the_next(&self, summary: &SegmentSummary) -> bool {
        let next = self.summaries.range(summary.segment.next()..).next();
        next.is_some_and(|(_, next)| next.first_event < summary.end_event)
    }

    fn highest_claim(&self) -> FrameNumber {
        if let Ok(recovered) = &self.recovered {
            let damaged = recovered.damage.iter().map(|damage| FrameNumber(damage.last_frame));
            return damaged.fold(recovered.last_kept, FrameNumber::max);
        }
        // A start would be refused; the claims stand in the files all the same.
        let mut claim = FrameNumber(0);
        for slot in &self.slots {
            if let SlotContent::Sound(checkpoint, _) = slot
                && self.log_id() == Some(checkpoint.log_id)
            {
                claim = claim.max(checkpoint.frame);
            }
        }
        for segment in self.segments.iter().filter(|segment| Some(segment.number) >= self.top) {
            let Seen::Segment(file) = &segment.seen else { continue };
            if let Some((frame, _)) = segment.first {
                claim = claim.max(frame);
            }
            let mut blocks = Blocks::new(file);
            let alignment = u64::from(file.header.alignment);
            let mut offset = file.header.data_offset();
            while offset + alignment <= file.len {
                let seed = Seed::new(file.header.salt, file.number(), offset);
                match blocks.get(offset, alignment as usize).map(|block| FrameHeader::decode(block, seed)) {
                    Ok(Ok((header, _))) => {
                        claim = claim.max(header.synced_frame);
                        offset += header.padded_len(file.header.alignment);
                    }
                    _ => offset += alignment,
                }
            }
        }
        claim
    }
}

/// What a start would find. What only one of several looks finds was on its way meanwhile.
fn recover(dirs: &Directories) -> Result<Recovered, OpenError> {
    let mut found = recovery::recover(dirs, recovery::Known::default());
    for _ in 1..LOOKS {
        match &found {
            Ok(recovered) if recovered.damage.is_empty() => break,
            Err(OpenError::Newer { .. }) => break,
            Err(OpenError::Io { source, .. }) if MissingKey::of(source).is_some() => break,
            _ => {}
        }
        let again = recovery::recover(dirs, recovery::Known::default());
        let same = match (&found, &again) {
            (Ok(found), Ok(again)) => found.damage == again.damage,
            (Err(found), Err(again)) => found.to_string() == again.to_string(),
            _ => false,
        };
        found = again;
        if same {
            break;
        }
    }
    found
}

/// Looks at one file; `None` if it is gone by now.
fn look_at(
    data: &dyn Directory,
    number: SegmentNumber,
    summaries: &mut BTreeMap<SegmentNumber, SegmentSummary>,
    life: &mut FrameNumber,
) -> Option<Surveyed> {
    let mut surveyed =
        Surveyed { number, len: 0, seen: Seen::Headerless, copies: 0, first: None, locked: None };
    let file = match file::open(data, number) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => {
            surveyed.seen = Seen::Unreadable(error);
            return Some(surveyed);
        }
        Ok(opened) => {
            let (len, copies) = copies_of(data, number).unwrap_or_default();
            surveyed.len = len;
            surveyed.copies = copies;
            match opened {
                Opened::Segment(file) => file,
                Opened::Spare => {
                    surveyed.seen = Seen::Mismatch;
                    return Some(surveyed);
                }
                Opened::Headerless => return Some(surveyed),
                Opened::Newer(reason) => {
                    surveyed.seen = Seen::Newer(reason);
                    return Some(surveyed);
                }
            }
        }
    };
    surveyed.len = file.len;
    match read_snapshot_frame(&file) {
        Ok(Some(first)) => {
            surveyed.first = Some((first.header.frame, first.snapshot.next_event));
            if first.header.previous_crc == 0 {
                *life = (*life).max(first.header.frame);
            }
            for summary in first.snapshot.segments {
                let known = summaries.entry(summary.segment).or_insert(summary);
                if known.last_frame < summary.last_frame {
                    *known = summary;
                }
            }
        }
        Err(ScanError::Io(error)) => surveyed.locked = MissingKey::of(&error).cloned(),
        // The walk will meet it and say where.
        Ok(None) | Err(ScanError::Format(..)) => {}
    }
    surveyed.seen = Seen::Segment(file);
    Some(surveyed)
}

/// Length of the file, and how many copies of its header verify.
fn copies_of(data: &dyn Directory, number: SegmentNumber) -> io::Result<(u64, u8)> {
    let file = data.open(&number.file_name())?;
    let mut blocks = AlignedBuf::zeroed((2 * ALIGNMENT_MAX).next_multiple_of(data.alignment()));
    let read = file.read_at(&mut blocks, 0)?;
    let sound = |at: usize| {
        blocks
            .get(at..at + HEADER_LEN)
            .filter(|_| at + HEADER_LEN <= read)
            .and_then(|b| SegmentHeader::decode(b).ok())
    };
    let first = u8::from(sound(0).is_some());
    let places =
        std::iter::successors(Some(ALIGNMENT_MIN), |at| Some(at * 2)).take_while(|at| *at <= ALIGNMENT_MAX);
    let second =
        places.filter(|at| sound(*at).is_some_and(|header| header.alignment as usize == *at)).count();
    Ok((file.len()?, first + u8::from(second > 0)))
}

pub fn look_at_slot(dir: &dyn Directory, name: &str) -> SlotContent {
    let keys = dir.keys();
    let mut content = SlotContent::Missing;
    for _ in 0..LOOKS {
        let read = dir.open(name).and_then(|file| {
            let mut buffer =
                AlignedBuf::zeroed((file.len()?.max(1) as usize).next_multiple_of(dir.alignment()));
            let read = file.read_at(&mut buffer, 0)?;
            Ok(buffer[..read].to_vec())
        });
        content = match read {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return SlotContent::Missing,
            Err(error) => return SlotContent::Unreadable(error),
            Ok(bytes) if bytes.iter().all(|byte| *byte == 0) => return SlotContent::Empty,
            Ok(bytes) => match Checkpoint::decode(&bytes, &keys) {
                Ok((checkpoint, sequence)) => return SlotContent::Sound(Box::new(checkpoint), sequence),
                Err(error) => SlotContent::Bad(error),
            },
        };
    }
    content
}
