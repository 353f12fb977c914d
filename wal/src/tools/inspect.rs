//! What a log consists of, and what a start would make of it.

use std::path::PathBuf;

use super::ToolError;
use super::survey::{Seen, SlotContent, Survey, Surveyed};
use crate::directories::Directories;
use crate::error::Damage;
use crate::format::checkpoint::FILE_NAMES;
use crate::format::keys::MissingKey;
use crate::format::segment::SegmentHeader;
use crate::numbers::Place;
use crate::recovery::{self, Recovered};
use crate::segment::file::SegmentFile;
use crate::state::Space;

/// A log, as it was when it was looked at.
#[derive(Debug)]
pub struct Inspection {
    /// The directory of its segments.
    pub data: PathBuf,
    /// The directory of its checkpoint files.
    pub checkpoint: PathBuf,
    /// The log's id.
    pub log_id: Option<u128>,
    /// All files with a segment's name, oldest first.
    pub segments: Vec<SegmentInfo>,
    /// Name and length of the spare files.
    pub spares: Vec<(String, u64)>,
    /// Both checkpoint files.
    pub slots: [SlotInfo; 2],
    /// What a start would find, or why it would be refused.
    pub outlook: Result<Outlook, String>,
}

/// A file with a segment's name.
#[derive(Debug)]
pub struct SegmentInfo {
    /// The file's name.
    pub file: String,
    /// The file's length.
    pub len: u64,
    /// The header, if one of its copies verifies.
    pub header: Option<SegmentHeader>,
    /// How many of the two copies verify.
    pub header_copies: u8,
    /// What the file is.
    pub content: Content,
}

/// What a file with a segment's name is.
#[derive(Debug)]
pub enum Content {
    /// A segment with frames.
    Frames {
        /// First and last frame number; the last is not known of a segment that no table names.
        frames: (u64, Option<u64>),
        /// First event, and the event after the last.
        events: (u64, Option<u64>),
        /// Where its frames end.
        end_offset: Option<u64>,
        /// It is the one that is written, or was written last.
        newest: bool,
    },
    /// Prepared for its use, without a frame that counts.
    Prepared,
    /// Header and name disagree: it was being prepared, and holds nothing.
    Spare,
    /// Its first frame is damaged although others need it.
    FirstFrameBad,
    /// What it holds is encrypted by a key that is not given.
    Locked(MissingKey),
    /// Neither copy of the header verifies.
    HeaderBad,
    /// A newer version wrote it.
    Newer(String),
    /// The disk cannot read it.
    Unreadable(String),
}

/// One of the two checkpoint files.
#[derive(Debug)]
pub struct SlotInfo {
    /// Its name.
    pub file: &'static str,
    /// What it holds.
    pub slot: Slot,
}

/// What a checkpoint file holds.
#[derive(Debug)]
pub enum Slot {
    /// There is no such file.
    Missing,
    /// Nothing was written into it yet.
    Empty,
    /// It fails its checksum, is none, or cannot be read: the log does not need it.
    Bad(String),
    /// A checkpoint.
    Sound {
        /// The higher one of the two counts.
        sequence: u64,
        /// The log that it belongs to.
        log_id: u128,
        /// All frames up to this one are in it.
        frame: u64,
        /// Where the next frame stands; `None` if the segment that it spoke of was used again.
        place: Option<Place>,
        /// Number of the next event.
        next_event: u64,
        /// The cursor.
        first_event: u64,
    },
}

/// What a start would find, in the terms of recovery.
#[derive(Debug)]
pub struct Outlook {
    /// First event that is not released.
    pub first_event: u64,
    /// Number of the next event.
    pub next_event: u64,
    /// Released ranges above `first_event`.
    pub released_above: Vec<(u64, u64)>,
    /// Events that are not released.
    pub backlog: u64,
    /// Progress by owner.
    pub owners: Vec<OwnerInfo>,
    /// The last frame that is vouched for and stays where it is.
    pub last_kept: u64,
    /// The highest frame number seen anywhere.
    pub last_seen: u64,
    /// Where the kept frames end.
    pub end: Option<Place>,
    /// Intact frames that nothing vouches for: a start writes them again.
    pub unvouched: Vec<UnvouchedFrame>,
    /// Frames that were never acked: a start cuts them.
    pub cut: u64,
    /// Damaged places in what a start reads.
    pub damage: Vec<Damage>,
    /// Events below this number were not released and are missing with their segments.
    pub missing_below: Option<u64>,
}

/// An intact frame that nothing vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnvouchedFrame {
    /// Its number.
    pub frame: u64,
    /// Where it stands.
    pub place: Place,
    /// How many events end in it.
    pub events: u32,
}

/// A source's or sink's progress.
#[derive(Debug)]
pub struct OwnerInfo {
    /// Whose.
    pub space: Space,
    /// Its name.
    pub name: String,
    /// Key, generation, position and the rest of each key.
    pub keys: Vec<(String, u64, u64, Vec<u8>)>,
}

/// Looks at a log without opening it.
pub fn inspect(dirs: &Directories) -> Result<Inspection, ToolError> {
    let survey = Survey::of(dirs)?;
    let segments = survey.segments.iter().map(|segment| segment_info(&survey, segment)).collect();
    let slots = [0, 1].map(|slot| SlotInfo { file: FILE_NAMES[slot], slot: slot_info(&survey.slots[slot]) });
    let log_id = survey.log_id();
    let outlook = match survey.recovered {
        Ok(recovered) => Ok(outlook(recovered)),
        Err(error) => Err(error.to_string()),
    };
    Ok(Inspection {
        data: dirs.data.path().to_path_buf(),
        checkpoint: dirs.checkpoint.path().to_path_buf(),
        log_id,
        segments,
        spares: survey.spares.into_iter().map(|entry| (entry.name, entry.len)).collect(),
        slots,
        outlook,
    })
}

fn segment_info(survey: &Survey, segment: &Surveyed) -> SegmentInfo {
    let (header, content) = match &segment.seen {
        Seen::Segment(file) => (Some(file.header), content(survey, segment, file)),
        Seen::Mismatch => (None, Content::Spare),
        Seen::Headerless => (None, Content::HeaderBad),
        Seen::Newer(reason) => (None, Content::Newer(reason.clone())),
        Seen::Unreadable(error) => (None, Content::Unreadable(error.to_string())),
    };
    SegmentInfo {
        file: segment.number.file_name(),
        len: segment.len,
        header,
        header_copies: segment.copies,
        content,
    }
}

fn content(survey: &Survey, segment: &Surveyed, file: &SegmentFile) -> Content {
    let newest = survey.top == Some(segment.number);
    if let Some(missing) = &segment.locked {
        return Content::Locked(missing.clone());
    }
    if let Some(summary) = survey.summary(file).filter(|_| !newest) {
        return Content::Frames {
            frames: (summary.first_frame.0, Some(summary.last_frame.0)),
            events: (summary.first_event, Some(summary.end_event)),
            end_offset: Some(summary.end_offset),
            newest,
        };
    }
    // What a start has found out of the segment that it reads.
    let found = survey.recovered.as_ref().ok().and_then(|recovered| {
        recovered.segments.iter().find(|s| s.segment == segment.number && s.salt == file.header.salt)
    });
    match (segment.first, found) {
        (_, Some(found)) => Content::Frames {
            frames: (found.first_frame.0, Some(found.last_frame.0)),
            events: (found.first_event, Some(found.end_event)),
            end_offset: Some(found.end_offset),
            newest,
        },
        (Some((frame, event)), None) => {
            Content::Frames { frames: (frame.0, None), events: (event, None), end_offset: None, newest }
        }
        (None, None) if Some(segment.number) > survey.top => Content::Prepared,
        (None, None) => Content::FirstFrameBad,
    }
}

fn slot_info(slot: &SlotContent) -> Slot {
    match slot {
        SlotContent::Missing => Slot::Missing,
        SlotContent::Empty => Slot::Empty,
        SlotContent::Unreadable(error) => Slot::Bad(error.to_string()),
        SlotContent::Bad(error) => Slot::Bad(error.to_string()),
        SlotContent::Sound(checkpoint, sequence) => Slot::Sound {
            sequence: *sequence,
            log_id: checkpoint.log_id,
            frame: checkpoint.frame.0,
            place: Some(checkpoint.place).filter(|place| *place != Place::default()),
            next_event: checkpoint.snapshot.next_event,
            first_event: checkpoint.snapshot.state.cursor.low,
        },
    }
}

fn outlook(recovered: Recovered) -> Outlook {
    let end = recovered.segments.last().map(|last| Place { segment: last.segment, offset: last.end_offset });
    let unvouched = recovered.unvouched.iter().map(|unvouched| UnvouchedFrame {
        frame: unvouched.header.frame.0,
        place: Place { segment: unvouched.file.number(), offset: unvouched.offset },
        events: unvouched.header.event_count,
    });
    let unvouched: Vec<_> = unvouched.collect();
    // A start takes these in; so does what it would find.
    let mut state = recovered.state;
    let mut next_event = recovered.next_event;
    for frame in &recovered.unvouched {
        recovery::apply(&mut state, &frame.controls);
        next_event = next_event.max(frame.header.end_event());
    }
    let owners = state.owners.into_iter().map(|((space, name), owner)| OwnerInfo {
        space,
        name: name.to_string(),
        keys: owner.keys.into_iter().map(|(key, v)| (key, v.generation, v.to, v.rest.to_vec())).collect(),
    });
    Outlook {
        first_event: state.cursor.low,
        next_event,
        released_above: state.cursor.above().collect(),
        backlog: next_event.saturating_sub(state.cursor.low + state.cursor.released_above()),
        owners: owners.collect(),
        last_kept: recovered.last_kept.0,
        last_seen: recovered.last_seen.0,
        end,
        unvouched,
        cut: recovered.cut,
        damage: recovered.damage,
        missing_below: recovered.missing_below,
    }
}
