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
//! A read error refuses the start. So do a newer format, a checkpoint of another log, and a checkpoint that is newer than
//! all of the log that is there (a data directory that is not mounted, a restored backup): an empty or older log in their
//! place would lose events without a word.

pub mod life;
mod scan;
mod span;
mod table;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

pub use scan::{FirstFrame, ScanError, read_snapshot_frame, scan};
pub use table::{Action, Found, decide};

use crate::directories::Directories;
use crate::error::{Damage, OpenError};
use crate::format::checkpoint::{self, Checkpoint, CheckpointError};
use crate::format::frame;
use crate::format::record::{Record, SegmentSummary};
use crate::numbers::{FrameNumber, Place, SegmentNumber};
use crate::segment::file::{self, Opened, SegmentFile, path_of};
use crate::segment::window::read_full;
use crate::state::{Cursor, State};
use crate::storage::{AlignedBuf, Directory};

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
    /// Spare files.
    pub spares: Vec<SegmentNumber>,
    /// Numbers of all segments that hold frames.
    pub live: Vec<SegmentNumber>,
    /// Sequence of the newest checkpoint, and which of the two files holds it.
    pub checkpoint: Option<(u64, usize)>,
    /// Highest number in any file name.
    pub highest_number: SegmentNumber,
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
    /// So were all events below this number: none of these numbers may be given again.
    pub synced_event: u64,
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
                false => own.is_none_or(|file| !file.has_place(checkpoint.place.offset)),
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
    walk(data, &mut recovered, start, above, known)?;
    // Within the table's reach, a file that it does not name was prepared by an earlier life and never used.
    let reach = recovered.segments.first().map_or(SegmentNumber(u64::MAX), |summary| summary.segment);
    for &number in &numbers {
        if recovered.empty.contains(&number) || recovered.live.contains(&number) {
            continue;
        }
        if number >= reach && !recovered.segments.iter().any(|summary| summary.segment == number) {
            recovered.empty.push(number);
        } else {
            recovered.live.push(number);
        }
    }
    recovered.live.sort_unstable();
    check_order(data, &recovered)?;
    check_low_end(data, &mut recovered);
    check_released(data, &recovered)?;
    Ok(recovered)
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
    let frame = left.map_or(checkpoint.frame, |header| header.frame);
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

/// Scans from `start` on, decides every frame number, and applies what is kept.
fn walk(
    data: &dyn Directory,
    recovered: &mut Recovered,
    start: Start,
    files: Vec<SegmentFile>,
    known: Known,
) -> Result<(), OpenError> {
    let mut found = Vec::new();
    let mut evidence = start.evidence.max(known.synced_frame);
    let nowhere = start.place == Place::default();
    for file in files.iter().filter(|file| !nowhere && file.number() >= start.place.segment) {
        let own = file.number() == start.place.segment;
        let offset = if own { start.place.offset } else { file.header.data_offset() };
        let name = file.number().file_name();
        let scan = scan(file, offset).map_err(|error| scan_error(data, &name, error))?;
        evidence = evidence.max(scan.highest_claim);
        found.extend(scan.frames.into_iter().map(|frame| (file.clone(), frame)));
    }
    found.retain(|(_, frame)| frame.header.frame > start.frame);
    found.sort_by_key(|(_, frame)| frame.header.frame);
    let whole = span::find_whole(&found, evidence);
    // A span is kept or rewritten as one: evidence that ends inside it counts only up to its start.
    let mut span_start = None;
    for (i, (_, frame)) in found.iter().enumerate() {
        let header = &frame.header;
        if !header.is_span() {
            span_start = None;
            continue;
        }
        let first = *span_start.get_or_insert(header.frame);
        if whole[i] && header.frame == evidence && header.has_more() {
            evidence = FrameNumber(first.0 - 1);
            break;
        }
        if !header.has_more() {
            span_start = None;
        }
    }

    let start_segment = start.place.segment;
    recovered.state = start.state;
    recovered.next_event = start.next_event;
    recovered.last_kept = start.frame;
    recovered.last_seen = recovered.last_seen.max(start.frame);
    let mut summaries: BTreeMap<SegmentNumber, SegmentSummary> =
        start.segments.into_iter().map(|summary| (summary.segment, summary)).collect();
    let own = files.iter().find(|file| file.number() == start.place.segment);
    if let Some(own) = own {
        let summary = SegmentSummary {
            segment: start.place.segment,
            salt: own.header.salt,
            first_frame: start.first_frame,
            last_frame: start.frame,
            first_event: start.first_event,
            end_event: start.next_event,
            end_offset: start.place.offset,
        };
        summaries.insert(start.place.segment, summary);
    }
    let mut expected = start.frame.next();
    let mut end = start.place;
    let mut hole = false;
    let mut spans = span::Passed::behind(start.frame);
    let mut kept_files: Vec<SegmentFile> = own.cloned().into_iter().collect();
    let mut cut_at = None;
    for (i, (file, frame)) in found.into_iter().enumerate() {
        let header = frame.header;
        recovered.last_seen = recovered.last_seen.max(header.frame);
        if expected < header.frame {
            missing(recovered, end, expected, FrameNumber(header.frame.0 - 1), evidence, &mut hole);
        }
        expected = header.frame.next();
        let place = Place { segment: file.number(), offset: frame.offset };
        let behind = frame.offset + header.padded_len(file.header.alignment);
        end = Place { offset: behind, ..place };
        spans.pass(&frame);
        match decide(frame.found, header.frame <= evidence, hole, whole[i] || !header.is_span()) {
            action @ (Action::Keep | Action::Damage) => {
                hold_lost(recovered, &mut summaries, header.first_event, place);
                if action == Action::Damage {
                    recovered.damage.push(Damage {
                        place,
                        first_frame: header.frame.0,
                        last_frame: header.frame.0,
                        what: "frame body fails its checksum",
                    });
                } else {
                    let controls = spans.controls(data, &file, frame)?;
                    apply(&mut recovered.state, &controls);
                }
                recovered.next_event = recovered.next_event.max(header.end_event());
                recovered.last_kept = header.frame;
                let summary = summaries.entry(file.number()).or_insert_with(|| SegmentSummary {
                    segment: file.number(),
                    salt: file.header.salt,
                    first_frame: header.frame,
                    first_event: header.first_event,
                    ..SegmentSummary::default()
                });
                summary.last_frame = header.frame;
                summary.end_event = recovered.next_event;
                summary.end_offset = behind;
                if kept_files.last().is_none_or(|last| last.number() != file.number()) {
                    kept_files.push(file);
                }
            }
            Action::Rewrite => {
                if recovered.unvouched.is_empty() {
                    hold_lost(recovered, &mut summaries, header.first_event, place);
                }
                let offset = frame.offset;
                let controls = spans.controls(data, &file, frame)?;
                recovered.unvouched.push(Unvouched { file, offset, header, controls });
            }
            Action::Cut => {
                // What is left of a commit that was acked and is damaged says nothing of the frames behind it.
                hole |= header.frame > evidence;
                recovered.cut += 1;
                cut_at.get_or_insert(place);
            }
            Action::Refuse => unreachable!("a read error ended the scan"),
        }
    }
    if expected <= evidence {
        missing(recovered, end, expected, evidence, evidence, &mut hole);
    }
    recovered.last_seen = recovered.last_seen.max(evidence);
    if let Some(last) = kept_files.last() {
        let rest = Place { segment: last.number(), offset: last.len };
        let until = cut_at.filter(|at: &Place| at.segment == rest.segment).unwrap_or(rest);
        hold_lost(recovered, &mut summaries, known.synced_event, until);
    }
    recovered.next_event = recovered.next_event.max(known.synced_event);
    // A segment has its blocks before it has its name, and only a later life cuts its rest off: what is shorter now, and has no
    // frames above it, was cut by somebody else, perhaps with frames that nothing is left to speak of.
    let newest = kept_files.last().map_or(start_segment, SegmentFile::number);
    for file in files.iter().filter(|file| file.number() >= newest && file.len < file.header.size) {
        recovered.damage.push(Damage {
            place: Place { segment: file.number(), offset: file.len },
            first_frame: recovered.last_seen.next().0,
            last_frame: recovered.last_seen.next().0,
            what: "the file is shorter than it was made",
        });
    }
    recovered.empty.extend(files.iter().map(SegmentFile::number).filter(|n| !summaries.contains_key(n)));
    // Behind a damaged first frame the first one that is left may be one that is written again, or cut: a table that names it
    // and not the last kept one before it is refused by the next start.
    let ends_behind_its_begin = |summary: SegmentSummary| SegmentSummary {
        first_frame: summary.first_frame.min(summary.last_frame),
        ..summary
    };
    recovered.segments = summaries.into_values().map(ends_behind_its_begin).collect();
    recovered.last_segment = kept_files.pop();
    Ok(())
}

/// Events below `event` were given to frames before `place`. Those that no frame has are lost, but their numbers are used, and
/// the last segment holds their place: taken for one without events it would be used again, and nobody would ever be told.
fn hold_lost(
    recovered: &mut Recovered,
    summaries: &mut BTreeMap<SegmentNumber, SegmentSummary>,
    event: u64,
    place: Place,
) {
    if event <= recovered.next_event {
        return;
    }
    recovered.next_event = event;
    if let Some(last) = summaries.values_mut().next_back() {
        last.end_event = event;
        if last.segment == place.segment {
            last.end_offset = last.end_offset.max(place.offset);
        }
    }
}

/// Frame numbers `first..=last` stand nowhere: damage as far as evidence reaches, a hole beyond it.
fn missing(
    recovered: &mut Recovered,
    place: Place,
    first: FrameNumber,
    last: FrameNumber,
    evidence: FrameNumber,
    hole: &mut bool,
) {
    if decide(Found::Nothing, first <= evidence, *hole, false) == Action::Damage {
        recovered.damage.push(Damage {
            place,
            first_frame: first.0,
            last_frame: last.min(evidence).0,
            what: "no frame where one was synced",
        });
    }
    if decide(Found::Nothing, last <= evidence, *hole, false) == Action::Cut {
        *hole = true;
    }
}

/// Applies records that are not events.
pub fn apply(state: &mut State, controls: &[Record<'static>]) {
    for control in controls {
        match control {
            Record::Release(ranges) => {
                ranges.iter().for_each(|&(first, end)| state.apply_release(first, end))
            }
            Record::Progress(update) => state.apply_progress(update),
            // A snapshot repeats the state that the frames before it built; behind damage it knows more.
            Record::Snapshot(snapshot) => *state = snapshot.state.clone(),
            Record::Commit { .. } | Record::Life(_) | Record::Close(_) => {}
        }
    }
}

/// What is to be written again goes on where the kept frames end: event numbers never fall.
fn check_order(data: &dyn Directory, recovered: &Recovered) -> Result<(), OpenError> {
    let mut next_event = recovered.next_event;
    for Unvouched { file, header, .. } in &recovered.unvouched {
        if header.first_event < next_event {
            let (frame, first) = (header.frame, header.first_event);
            let reason =
                format!("{frame} begins with event {first}, and those before it end with {next_event}");
            let path = path_of(data, &file.number().file_name());
            return Err(OpenError::Foreign { path, reason, repairable: false });
        }
        next_event = header.end_event();
    }
    Ok(())
}

/// The cursor as it is when what is unvouched is written again.
fn cursor_with_unvouched(recovered: &Recovered) -> Cursor {
    let mut cursor = recovered.state.cursor.clone();
    for control in recovered.unvouched.iter().flat_map(|unvouched| &unvouched.controls) {
        match control {
            Record::Release(ranges) => ranges.iter().for_each(|&(first, end)| cursor.release(first, end)),
            Record::Snapshot(snapshot) => cursor = snapshot.state.cursor.clone(),
            _ => {}
        }
    }
    cursor
}

/// No event is released that the log never held: a sound checksum over nonsense.
fn check_released(data: &dyn Directory, recovered: &Recovered) -> Result<(), OpenError> {
    let cursor = cursor_with_unvouched(recovered);
    let released = cursor.above().last().map_or(cursor.low, |(_, end)| end);
    let unvouched = recovered.unvouched.iter().map(|unvouched| unvouched.header.end_event());
    let end = unvouched.chain([recovered.next_event]).max().unwrap_or(recovered.next_event);
    if released > end {
        let reason =
            format!("it says that events up to {released} are delivered, and holds none from {end} on");
        return Err(OpenError::Foreign { path: data.path().to_path_buf(), reason, repairable: false });
    }
    Ok(())
}

/// Segments missing at the low end only: the cursor moves up to what is there.
fn check_low_end(data: &dyn Directory, recovered: &mut Recovered) {
    // A segment may be gone on the strength of a release that was synced and that nothing vouches for yet.
    let low = cursor_with_unvouched(recovered).low;
    let Some(&lowest) = recovered.live.first() else { return };
    let first_event = match recovered.segments.iter().find(|summary| summary.segment == lowest) {
        Some(summary) => summary.first_event,
        None => {
            // Nothing else is decided by these bytes: if they cannot be read, their reader will say so.
            let Ok(Opened::Segment(file)) = file::open(data, lowest) else { return };
            match read_snapshot_frame(&file) {
                Ok(Some(first)) => first.snapshot.next_event,
                Ok(None) | Err(ScanError::Io(..) | ScanError::Format(..)) => return,
            }
        }
    };
    if low < first_event {
        recovered.missing_below = Some(first_event);
        recovered.missing_from = low;
        recovered.state.cursor.raise(first_event);
    }
}

/// The newest checkpoint that verifies.
fn read_checkpoints(dir: &dyn Directory, recovered: &mut Recovered) -> Result<Option<Checkpoint>, OpenError> {
    let listed = dir.list().map_err(|source| io_error("list", dir, "", source))?;
    let mut newest: Option<(Checkpoint, u64, usize)> = None;
    for (slot, name) in checkpoint::FILE_NAMES.iter().enumerate() {
        let Some(entry) = listed.iter().find(|entry| entry.name == *name) else { continue };
        if entry.len == 0 {
            continue;
        }
        let read = |len| read_start(dir, name, len).map_err(|source| io_error("read", dir, name, source));
        let mut decoded = Checkpoint::decode(&read(entry.len.min(CHECKPOINT_BYTES_USUAL))?);
        if matches!(decoded, Err(CheckpointError::Bad(_))) && entry.len > CHECKPOINT_BYTES_USUAL {
            decoded = Checkpoint::decode(&read(entry.len)?);
        }
        match decoded {
            Ok((checkpoint, sequence)) if newest.as_ref().is_none_or(|(_, newer, _)| sequence > *newer) => {
                newest = Some((checkpoint, sequence, slot));
            }
            Ok(_) | Err(CheckpointError::Bad(_)) => {}
            Err(error @ CheckpointError::Newer { .. }) => {
                return Err(OpenError::Newer { path: path_of(dir, name), reason: error.to_string() });
            }
        }
    }
    Ok(newest.map(|(checkpoint, sequence, slot)| {
        recovered.checkpoint = Some((sequence, slot));
        checkpoint
    }))
}

/// Most checkpoints are no longer; their files are, so that a full disk does not stop them.
const CHECKPOINT_BYTES_USUAL: u64 = 16 << 10;

/// The first `len` bytes of a file that has them.
fn read_start(dir: &dyn Directory, name: &str, len: u64) -> io::Result<Arc<[u8]>> {
    let file = dir.open(name)?;
    let mut buffer = AlignedBuf::zeroed((len as usize).max(1).next_multiple_of(dir.alignment()));
    // Read in part it would count as damaged, and what it vouches for as torn.
    let read = read_full(&*file, &mut buffer, 0)?;
    Ok(buffer[..read].into())
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
