//! Recovery: from the bytes on the disk to the log's state. Nothing is written here; see [`life`] for that.
//!
//! ```text
//!   list files -> newest segment whose first frame (a snapshot) is intact = base
//!   checkpoint newer than base?  -> start there instead, the other is evidence only
//!   scan from the start's place to the end of its segment, and whatever segments lie above
//!   evidence = highest frame that any claim, checkpoint or close mark says was synced
//!   walk the frame numbers, deciding each by the table
//! ```
//!
//! Segments below the start are not opened, but for the lowest one: the time does not depend on the backlog.
//!
//! A read error refuses the start. So do a key that is needed and not given, a newer format, a checkpoint of another log, and a checkpoint that is newer than
//! all of the log that is there (a data directory that is not mounted, a restored backup): an empty or older log in their
//! place would lose events without a word.

mod check;
mod keys;
pub mod life;
mod lost;
mod scan;
mod slots;
mod span;
mod table;
mod walk;

use std::io;

pub use scan::{FirstFrame, ScanError, read_snapshot_frame, scan};
pub use table::Found;
pub use walk::apply;

use check::{check_low_end, check_order, check_released};
use slots::read_checkpoints;
use walk::walk;

use crate::directories::Directories;
use crate::error::{Damage, OpenError};
use crate::format::checkpoint::Checkpoint;
use crate::format::frame;
use crate::format::record::{Record, SegmentSummary};
use crate::format::segment::KeyUse;
use crate::numbers::{FrameNumber, Place, SegmentNumber};
use crate::segment::file::{self, Opened, SegmentFile, path_of};
use crate::state::{Cursor, State};
use crate::storage::Directory;

/// An intact frame that nothing vouches for: it counts once the new life has written it again.
#[derive(Debug)]
pub struct Unvouched {
    /// Where it stands.
    pub file: SegmentFile,
    /// Offset in the file.
    pub offset: u64,
    /// Its header.
    pub header: frame::FrameHeader,
    /// Its records that are not events, in the last frame of a span those of the whole span.
    pub controls: Vec<Record<'static>>,
}

/// What the disk holds.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The log's id; `None` for a log that does not exist yet.
    pub log_id: Option<u128>,
    /// The state behind the last kept frame.
    pub state: State,
    /// Number of the event after the last kept frame's.
    pub next_event: u64,
    /// Events below this number were acked, says the process that reopens the log.
    pub acked_event: u64,
    /// The last frame that stays where it is.
    pub last_kept: FrameNumber,
    /// The highest frame number seen anywhere.
    pub last_seen: FrameNumber,
    /// Sealed segments with frames that are kept, oldest first, as far as the start's table knows them.
    pub segments: Vec<SegmentSummary>,
    /// The kept segment to be truncated behind its last kept frame.
    pub last_segment: Option<SegmentFile>,
    /// Frames to be written again.
    pub unvouched: Vec<Unvouched>,
    /// Damaged places.
    pub damage: Vec<Damage>,
    /// Frames cut off at the end.
    pub cut: u64,
    /// Events below this number are missing with their segments although they were not released.
    pub missing_below: Option<u64>,
    /// The first one of them.
    pub missing_from: u64,
    /// Files with a segment's name that hold nothing.
    pub empty: Vec<SegmentNumber>,
    /// Files that hold nothing but what is unvouched: as empty as these once that is written again, and not before.
    pub emptied: Vec<SegmentNumber>,
    /// Spare files.
    pub spares: Vec<SegmentNumber>,
    /// Numbers of all segments that hold frames.
    pub live: Vec<SegmentNumber>,
    /// Sequence of the newest checkpoint, and which of the two files holds it.
    pub checkpoint: Option<(u64, usize)>,
    /// Highest number in any file name.
    pub highest_number: SegmentNumber,
    /// Feature bits of the segments that were read.
    pub features: u32,
    /// Keys by which something may be encrypted that is not delivered, with the event after the last such one.
    pub keys: Vec<KeyUse>,
}

/// Where reading starts.
struct Start {
    frame: FrameNumber,
    evidence: FrameNumber,
    place: Place,
    next_event: u64,
    state: State,
    segments: Vec<SegmentSummary>,
    first_frame: FrameNumber,
    first_event: u64,
}

/// What a process that reopens its log knows of it: more than the disk may show.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known {
    /// All frames up to this one were synced.
    pub synced_frame: FrameNumber,
    /// So were all events below this number.
    pub synced_event: u64,
    /// Events below this number were acked: none of these numbers may be given again.
    pub acked_event: u64,
}

/// Reads the log in `dirs`. `known` is nothing at a start, and evidence beside the disk's own at a reopen.
pub fn recover(dirs: &Directories, known: Known) -> Result<Recovered, OpenError> {
    recover_from(dirs, known, false)
}

/// The same of a log that has neither a snapshot nor a checkpoint left: for a repair, which gives up what only they knew. The
/// state is what the frames themselves say, from the first one on that is there.
pub fn rebuild(dirs: &Directories, known: Known) -> Result<Recovered, OpenError> {
    recover_from(dirs, known, true)
}

fn recover_from(dirs: &Directories, known: Known, rebuild: bool) -> Result<Recovered, OpenError> {
    let data = &*dirs.data;
    let mut recovered = Recovered::default();
    let mut numbers = Vec::new();
    for entry in data.list().map_err(|source| io_error("list", data, "", source))? {
        let spare = SegmentNumber::parse_spare(&entry.name);
        if let Some(number) = SegmentNumber::parse(&entry.name) {
            numbers.push(number);
            recovered.highest_number = recovered.highest_number.max(number);
        } else if let Some(number) = spare {
            recovered.spares.push(number);
            recovered.highest_number = recovered.highest_number.max(number);
        }
    }
    numbers.sort_unstable();
    let checkpoint = read_checkpoints(&*dirs.checkpoint, &mut recovered)?;

    // From the top down to the newest intact snapshot. What lies above it is scanned for evidence.
    let mut above: Vec<SegmentFile> = Vec::new();
    let mut headerless = Vec::new();
    let mut start: Option<Start> = None;
    let mut log_id = None;
    for &number in numbers.iter().rev() {
        let name = number.file_name();
        let opened = file::open(data, number).map_err(|source| io_error("read", data, &name, source))?;
        let file = match opened {
            Opened::Segment(file) => file,
            Opened::Newer(reason) => return Err(OpenError::Newer { path: path_of(data, &name), reason }),
            Opened::Spare => {
                recovered.empty.push(number);
                continue;
            }
            Opened::Headerless => {
                headerless.push(number);
                continue;
            }
        };
        if *log_id.get_or_insert(file.header.log_id) != file.header.log_id {
            let reason = "its segments belong to different logs; put the foreign ones elsewhere".to_string();
            return Err(OpenError::Foreign { path: path_of(data, &name), reason, repairable: false });
        }
        let snapshot = read_snapshot_frame(&file).map_err(|error| scan_error(data, &name, error))?;
        recovered.features |= file.header.features;
        above.push(file.clone());
        if let Some(FirstFrame { header, snapshot, vouches_for }) = snapshot {
            let offset = file.header.data_offset() + header.padded_len(file.header.alignment);
            start = Some(Start {
                frame: header.frame,
                evidence: vouches_for,
                place: Place { segment: number, offset },
                next_event: snapshot.next_event,
                first_frame: header.frame,
                first_event: snapshot.next_event,
                state: snapshot.state,
                segments: snapshot.segments,
            });
            break;
        }
    }
    above.reverse();

    if let Some(checkpoint) = checkpoint {
        if log_id.is_some_and(|id| id != checkpoint.log_id) {
            let reason = format!(
                "the checkpoint belongs to another log than {}; give each channel its own directories",
                data.path().display()
            );
            let path = dirs.checkpoint.path().to_path_buf();
            return Err(OpenError::Foreign { path, reason, repairable: false });
        }
        recovered.last_seen = checkpoint.frame;
        if start.as_ref().is_none_or(|start| checkpoint.frame > start.frame) {
            let own = above.iter().find(|file| file.number() == checkpoint.place.segment);
            // A checkpoint without a place was written when the segment that it speaks of was about to be used again.
            let nowhere = checkpoint.place == Place::default();
            let lacks_all = !checkpoint.snapshot.segments.is_empty() && numbers.is_empty();
            let missing = match nowhere {
                true => lacks_all,
                false => match own {
                    Some(file) => !file.has_place(checkpoint.place.offset),
                    // An old one, whose segment was used again since: the newer frames show that this is no older log.
                    None => !holds_frames_above(data, &above, checkpoint.frame)?,
                },
            };
            if missing {
                let reason = format!(
                    "the checkpoint in {} is newer than all of the log that is here: {} is missing or too short. \
                     Mount the right data directory; only where the rest is lost for good, give it up by a repair, or by \
                     removing the checkpoint directory",
                    dirs.checkpoint.path().display(),
                    checkpoint.place.segment.file_name()
                );
                let path = data.path().to_path_buf();
                return Err(OpenError::Foreign { path, reason, repairable: !numbers.is_empty() });
            }
            let known = start.as_ref().filter(|start| start.place.segment == checkpoint.place.segment);
            let (first_frame, first_event) = match (known, own) {
                (Some(start), _) => (start.first_frame, start.first_event),
                (None, Some(own)) => segment_begins(data, own, &checkpoint)?,
                (None, None) => (checkpoint.frame, checkpoint.snapshot.next_event),
            };
            // A number above all files is about to be given to a new one.
            let mut segments = checkpoint.snapshot.segments;
            segments.retain(|summary| summary.segment <= recovered.highest_number);
            start = Some(Start {
                frame: checkpoint.frame,
                evidence: checkpoint.frame,
                place: checkpoint.place,
                next_event: checkpoint.snapshot.next_event,
                first_frame,
                first_event,
                state: checkpoint.snapshot.state,
                segments,
            });
        }
    }
    recovered.log_id = log_id;
    recovered.acked_event = known.acked_event;

    if rebuild && start.is_none() {
        start = first_frame_left(data, &above)?;
    }
    let Some(start) = start else {
        if rebuild {
            recovered.next_event = known.synced_event;
            recovered.last_seen = known.synced_frame;
            recovered.empty = above.iter().map(SegmentFile::number).collect();
            return Ok(recovered);
        }
        // No snapshot and no checkpoint: a log that was never completed, unless frames say that it once was one.
        for file in &above {
            let name = file.number().file_name();
            let found =
                scan(file, file.header.data_offset()).map_err(|error| scan_error(data, &name, error))?;
            if !found.frames.is_empty() {
                let reason =
                    "it holds frames, but no snapshot is intact and there is no checkpoint".to_string();
                return Err(OpenError::Foreign { path: path_of(data, &name), reason, repairable: true });
            }
            recovered.empty.push(file.number());
        }
        if let Some(number) = headerless.first() {
            let reason =
                "its header is damaged, and there is neither a snapshot nor a checkpoint".to_string();
            let path = path_of(data, &number.file_name());
            return Err(OpenError::Foreign { path, reason, repairable: true });
        }
        return Ok(recovered);
    };
    // A file gets a segment's name only when its header is durable: without one it is damaged, wherever it stands. It is
    // left alone, and its reader will say so.
    for number in headerless {
        if number > start.place.segment {
            let place = Place { segment: number, offset: 0 };
            let (first_frame, last_frame) = (start.frame.0 + 1, start.frame.0 + 1);
            let what = "segment header is damaged";
            recovered.damage.push(Damage { place, first_frame, last_frame, what });
        }
        recovered.live.push(number);
    }
    let headers: Vec<_> = above.iter().map(|file| file.header).collect();
    walk(data, &mut recovered, start, above, known)?;
    // Within the table's reach, a file that it does not name was prepared by an earlier life and never used.
    let reach = recovered.segments.first().map_or(SegmentNumber(u64::MAX), |summary| summary.segment);
    for &number in &numbers {
        if [&recovered.empty, &recovered.emptied, &recovered.live].iter().any(|known| known.contains(&number))
        {
            continue;
        }
        let unnamed = number >= reach && !recovered.segments.iter().any(|summary| summary.segment == number);
        // Without a header nobody knows what it holds: an earlier start may have left it alone, of which no table tells.
        if unnamed && has_header(data, number)? {
            recovered.empty.push(number);
        } else {
            recovered.live.push(number);
        }
    }
    recovered.live.sort_unstable();
    check_order(data, &recovered)?;
    check_low_end(data, &mut recovered);
    check_released(data, &recovered)?;
    keys::collect(&mut recovered, &headers);
    keys::check(data, &recovered)?;
    Ok(recovered)
}

fn holds_frames_above(
    data: &dyn Directory,
    files: &[SegmentFile],
    frame: FrameNumber,
) -> Result<bool, OpenError> {
    for file in files.iter().rev() {
        let name = file.number().file_name();
        let found = scan(file, file.header.data_offset()).map_err(|error| scan_error(data, &name, error))?;
        if found.frames.iter().any(|found| found.header.frame > frame) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_header(data: &dyn Directory, number: SegmentNumber) -> Result<bool, OpenError> {
    let name = number.file_name();
    let opened = file::open(data, number).map_err(|source| io_error("read", data, &name, source))?;
    Ok(!matches!(opened, Opened::Headerless))
}

/// First frame and first event of the checkpoint's own segment, whose snapshot is damaged. It holds what the checkpoint has
/// seen synced in it: taken for one without events it would be used again.
fn segment_begins(
    data: &dyn Directory,
    own: &SegmentFile,
    checkpoint: &Checkpoint,
) -> Result<(FrameNumber, u64), OpenError> {
    let name = own.number().file_name();
    let found = scan(own, own.header.data_offset()).map_err(|error| scan_error(data, &name, error))?;
    let left = found.frames.first().map(|frame| frame.header);
    // What is left may stand behind the checkpoint's place, and frames from that place on may be lost.
    let frame = left.map_or(checkpoint.frame, |header| header.frame.min(checkpoint.frame));
    // The segment below ends where this one begins. Without one, all that is not delivered is here or above.
    let event = match checkpoint.snapshot.segments.last() {
        Some(below) => below.end_event,
        None => checkpoint.snapshot.state.cursor.low.min(left.map_or(u64::MAX, |header| header.first_event)),
    };
    Ok((frame, event.min(checkpoint.snapshot.next_event)))
}

/// The place before the first frame of `files` whose header verifies, with the state that it names.
fn first_frame_left(data: &dyn Directory, files: &[SegmentFile]) -> Result<Option<Start>, OpenError> {
    for file in files {
        let offset = file.header.data_offset();
        let name = file.number().file_name();
        let found = scan(file, offset).map_err(|error| scan_error(data, &name, error))?;
        let Some(first) = found.frames.first().map(|frame| frame.header) else { continue };
        let before = FrameNumber(first.frame.0.saturating_sub(1));
        return Ok(Some(Start {
            frame: before,
            evidence: before,
            place: Place { segment: file.number(), offset },
            next_event: first.first_event,
            state: State { cursor: Cursor::at(first.first_event), ..State::default() },
            segments: Vec::new(),
            first_frame: first.frame,
            first_event: first.first_event,
        }));
    }
    Ok(None)
}

fn io_error(action: &'static str, dir: &dyn Directory, name: &str, source: io::Error) -> OpenError {
    OpenError::Io { action, path: path_of(dir, name), source }
}

/// A scan's error with the file's path.
pub fn scan_error(dir: &dyn Directory, name: &str, error: ScanError) -> OpenError {
    let path = path_of(dir, name);
    match error {
        ScanError::Io(source) => OpenError::Io { action: "read", path, source },
        ScanError::Format(offset, source) => OpenError::Format { path, offset, source },
    }
}
