//! Begins a life of the log: what a start, and a reopen after a failure, write.
//!
//! No life writes where an earlier one wrote, not even after a clean close: a place that looks blank does not prove that
//! nothing was submitted to it. So:
//!
//! ```text
//!   1. prepare a fresh segment            crash here: a spare, the old log is as it was
//!   2. rewrite the unvouched frames there crash here: still a spare, for its first frame is missing
//!   3. write its first frame, durably     from here on the new life counts; the frame claims the rewritten ones
//!   4. write a checkpoint                 crash up to here: what an older checkpoint or snapshot needs is as it was
//!   5. truncate the old last segment, turn unused files into spares
//!   6. serve
//! ```
//!
//! The checkpoint comes before anything is cut off or renamed, because until then the first frame alone speaks for the new
//! life. Should that one frame rot, a start goes back to an older snapshot, reads there what was rewritten, and finds the
//! segment that the older checkpoint names; with the new checkpoint it needs neither. Where a full disk has no room for a
//! checkpoint file the frame stays alone, and its damage is refused as a missing segment is: a repair helps.
//!
//! Rewritten frames get new numbers above all that were ever seen and keep their events' numbers, and what their key encrypted. What lies behind a hole
//! is not rewritten: acks come in order, so it was never acked.

use crate::broken;
use crate::directories::Directories;
use crate::environment::Environment;
use crate::error::OpenError;
use crate::format::checkpoint::Checkpoint;
use crate::format::codec::{self, Encoding};
use crate::format::frame::{self, FrameHeader, Seed};
use crate::format::record::{self, Life, SegmentSummary, Snapshot};
use crate::format::segment::FEATURE_ENCRYPTED;
use crate::numbers::{FrameNumber, Place, SegmentNumber};
use crate::options::Options;
use crate::recovery::{self, Recovered, Unvouched};
use crate::segment::file::{self, NewSegment, SegmentFile, path_of};
use crate::segment::window::read_full;
use crate::state::{Space, State};
use crate::storage::{AlignedBuf, Directory};

/// A life that has begun: its first segment is durable and nothing else was written yet.
#[derive(Debug)]
pub struct NewLife {
    /// The log's id.
    pub log_id: u128,
    /// The segment that is written.
    pub active: SegmentFile,
    /// Its summary so far.
    pub summary: SegmentSummary,
    /// Where the next frame goes.
    pub offset: u64,
    /// Number of the last frame; all up to it are synced.
    pub last_frame: FrameNumber,
    /// Header checksum of the last frame.
    pub last_crc: u32,
    /// The state behind it.
    pub state: State,
    /// Number of the next event.
    pub next_event: u64,
    /// What is known of sealed segments, oldest first.
    pub segments: Vec<SegmentSummary>,
    /// Numbers of the sealed segments that hold frames, known or not.
    pub live: Vec<SegmentNumber>,
    /// Spare files, by the number in their names.
    pub spares: Vec<SegmentNumber>,
    /// Highest number in any file name.
    pub highest_number: SegmentNumber,
    /// Sequence and file of the newest checkpoint.
    pub checkpoint: Option<(u64, usize)>,
}

/// Begins a life after what was recovered.
pub fn begin(
    dirs: &Directories,
    options: &Options,
    environment: &dyn Environment,
    mut recovered: Recovered,
) -> Result<NewLife, OpenError> {
    if let Some(life) = broken::continued_life(&recovered) {
        return Ok(life);
    }
    let data = &*dirs.data;
    // Unvouched frames without events need no place of their own: the first frame's snapshot takes them in.
    let with_events = recovered.unvouched.iter().position(|u| u.header.event_count > 0 || u.header.is_span());
    for folded in recovered.unvouched.drain(..with_events.unwrap_or(recovered.unvouched.len())) {
        recovery::apply(&mut recovered.state, &folded.controls);
    }
    if broken::forgets_progress() {
        recovered.state.owners.retain(|(space, _), _| *space != Space::Source);
    }
    let log_id = recovered
        .log_id
        .unwrap_or_else(|| u128::from(environment.random()) << 64 | u128::from(environment.random()));
    let alignment = data.alignment();
    let first_frame = recovered.last_seen.next();
    let life = Life {
        last_kept: recovered.last_kept,
        last_seen: recovered.last_seen,
        rewritten: recovered.unvouched.len() as u64,
    };
    let table = recovered.segments.len().saturating_sub(Snapshot::SEGMENTS_MAX);
    let snapshot = Snapshot {
        next_event: recovered.next_event,
        state: recovered.state.clone(),
        segments: recovered.segments[table..].to_vec(),
    };
    let keys = data.keys();
    let mut random = || environment.random();
    let mut body = Vec::new();
    record::put_life(&mut body, &life);
    record::put_snapshot(&mut body, &snapshot);

    let rewritten_bytes: u64 =
        recovered.unvouched.iter().map(|u| u.header.padded_len(alignment as u32)).sum();
    let stored_len = body.len() + keys.overhead();
    let body_bytes = (frame::HEADER_LEN + stored_len).next_multiple_of(alignment) as u64;
    // Some blocks more, so that a start on a full disk has room for control frames.
    let least = (2 + CONTROL_BLOCKS) * alignment as u64 + body_bytes + rewritten_bytes;

    let number = recovered.highest_number.next();
    let key_table = recovery::keys::table(data, &recovered);
    let encrypted = if key_table.is_empty() { 0 } else { FEATURE_ENCRYPTED };
    let features =
        options.compression.features() | features_in_use(&recovered) & !FEATURE_ENCRYPTED | encrypted;
    let mut spares = recovered.spares;
    let mut empty = recovered.empty;
    let mut live = recovered.live;
    let mut segments = recovered.segments;
    let mut last_segment = recovered.last_segment;
    let mut checkpoint_slot = recovered.checkpoint;
    let io = |action, name: &str| {
        let path = path_of(data, name);
        move |source| OpenError::Io { action, path, source }
    };
    let name = number.file_name();
    let salt = environment.random();
    let new = |size| NewSegment { number, size, log_id, salt, features, keys: key_table };
    // A spare serves at its own length; only a new file costs space.
    let mut reused = None;
    while reused.is_none() {
        let Some(from) =
            spares.pop().map(SegmentNumber::spare_name).or_else(|| empty.pop().map(SegmentNumber::file_name))
        else {
            break;
        };
        match file::prepare(data, Some(&from), &new(least)) {
            // Its blocks were never allocated, or it was cut short: of no use on a full disk.
            Err(error) if is_full(&error) => {
                data.remove(&number.spare_name()).map_err(io("remove", &from))?
            }
            prepared => reused = Some(prepared.map_err(io("prepare", &name))?),
        }
    }
    let size = options.segment_bytes.max(least + options.frame_bytes as u64);
    let prepared = match reused {
        Some(reused) => Ok(reused),
        None => file::prepare(data, None, &new(size)),
    };
    let active = match prepared {
        Err(error) if is_full(&error) => {
            // The reserve is used up. A last segment without events can serve again, once a checkpoint that needs no
            // segment holds its state.
            let eventless = segments.last().filter(|s| s.first_event == s.end_event).copied();
            let (Some(summary), true) = (eventless, recovered.unvouched.is_empty()) else {
                return Err(io("prepare", &name)(error));
            };
            segments.pop();
            live.retain(|live| *live != summary.segment);
            last_segment = None;
            let checkpoint = Checkpoint {
                log_id,
                frame: recovered.last_seen,
                place: Place::default(),
                // Those without events are spares, or gone, when the next start looks for what this names.
                snapshot: Snapshot {
                    segments: segments.iter().filter(|s| s.first_event < s.end_event).copied().collect(),
                    ..snapshot.clone()
                },
            };
            checkpoint_slot =
                Some(write_checkpoint(&*dirs.checkpoint, &checkpoint, checkpoint_slot, environment)?);
            let again = summary.segment.file_name();
            file::prepare(data, Some(&again), &new(least)).map_err(io("prepare", &name))?
        }
        prepared => prepared.map_err(io("prepare", &name))?,
    };

    // The first frame is sealed before the others, for they name its checksum, and written after them.
    let first_offset = active.header.data_offset();
    let mut first = AlignedBuf::zeroed(body_bytes as usize);
    let last_frame = FrameNumber(first_frame.0 + life.rewritten);
    let header = FrameHeader {
        body_crc: 0,
        stored_len: stored_len as u32,
        raw_len: body.len() as u32,
        encoding: Encoding::Plain,
        encrypted: keys.active().is_some(),
        flags: 0,
        frame: first_frame,
        first_event: recovered.next_event,
        event_count: 0,
        previous_crc: 0,
        // It cannot claim itself or what is behind it in its own header; the life record says how many were rewritten. Nor what
        // was cut: where this frame lands in part, its header counts and cuts nothing, and the next start would call that damaged.
        synced_frame: recovered.last_kept,
    };
    match keys.active() {
        Some(key) => codec::encrypt(key, &header, &body, &mut random, &mut first[frame::HEADER_LEN..]),
        None => first[frame::HEADER_LEN..frame::HEADER_LEN + body.len()].copy_from_slice(&body),
    }
    let mut last_crc = header.seal(&mut first, Seed::new(active.header.salt, number, first_offset));
    let mut offset = first_offset + body_bytes;
    let mut state = recovered.state;
    let mut next_event = recovered.next_event;
    let mut frame_number = first_frame;
    if broken::writes_the_first_frame_first() {
        active.file.write_durable_at(&first, first_offset).map_err(io("write", &name))?;
    }
    for unvouched in &recovered.unvouched {
        frame_number = frame_number.next();
        let mut buffer = read_frame(data, unvouched)?;
        let header = FrameHeader {
            frame: frame_number,
            previous_crc: last_crc,
            synced_frame: recovered.last_kept,
            ..unvouched.header
        };
        last_crc = header.seal(&mut buffer, Seed::new(active.header.salt, number, offset));
        active.file.write_durable_at(&buffer, offset).map_err(io("write", &name))?;
        offset += buffer.len() as u64;
        recovery::apply(&mut state, &unvouched.controls);
        next_event = header.end_event();
    }
    active.file.write_durable_at(&first, first_offset).map_err(io("write", &name))?;
    // Acked, never synced, and gone: their numbers stay theirs, and who asks for them is told.
    next_event = next_event.max(recovered.acked_event);

    let summary = SegmentSummary {
        segment: number,
        salt: active.header.salt,
        first_frame,
        last_frame,
        first_event: recovered.next_event,
        end_event: next_event,
        end_offset: offset,
    };
    let checkpoint = Checkpoint {
        log_id,
        frame: last_frame,
        place: Place { segment: number, offset },
        snapshot: Snapshot { next_event, state: state.clone(), segments: snapshot.segments },
    };
    let mut life = NewLife {
        log_id,
        active,
        summary,
        offset,
        last_frame,
        last_crc,
        state,
        next_event,
        segments,
        live,
        spares,
        highest_number: number,
        checkpoint: checkpoint_slot,
    };
    // Both files of a new log at once: later a full disk must not lack the second.
    let files = if life.checkpoint.is_none() { 2 } else { 1 };
    let written = (0..files).try_for_each(|_| {
        match write_checkpoint(&*dirs.checkpoint, &checkpoint, life.checkpoint, environment) {
            Ok(written) => life.checkpoint = Some(written),
            // Derived: the log goes on without one.
            Err(OpenError::Io { source, .. }) if is_full(&source) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    });
    // What was unvouched there stands in the new life.
    empty.append(&mut recovered.emptied);
    // Also where the checkpoint failed and the start with it: attempts that leave a segment each would eat the disk.
    tidy(data, &mut life, last_segment.as_ref(), empty)?;
    written.map(|()| life)
}

/// Cuts off what the old last segment has behind its frames, and makes spares of segments that hold nothing.
fn tidy(
    data: &dyn Directory,
    life: &mut NewLife,
    last_segment: Option<&SegmentFile>,
    mut empty: Vec<SegmentNumber>,
) -> Result<(), OpenError> {
    let io = |action, name: &str| {
        let path = path_of(data, name);
        move |source| OpenError::Io { action, path, source }
    };
    if let Some(old) = last_segment {
        // One without events is about to be a spare, for which its length is all that counts.
        let of_old = |s: &&SegmentSummary| s.segment == old.number() && s.first_event < s.end_event;
        if let Some(summary) = life.segments.iter().find(of_old).filter(|s| s.end_offset < old.len) {
            let name = old.number().file_name();
            old.file.truncate(summary.end_offset).map_err(io("truncate", &name))?;
            old.file.sync().map_err(io("sync", &name))?;
        }
    }
    // Segments without events are spares now that a newer snapshot stands: a restart loop must not eat the disk.
    life.segments.retain(|summary| {
        let there = life.live.contains(&summary.segment);
        let eventless = summary.first_event == summary.end_event;
        if eventless && there {
            life.live.retain(|number| *number != summary.segment);
            empty.push(summary.segment);
        }
        there && !eventless
    });
    for unused in empty {
        let (from, to) = (unused.file_name(), unused.spare_name());
        data.rename(&from, &to).map_err(io("rename", &from))?;
        life.spares.push(unused);
    }
    data.sync().map_err(io("sync", ""))
}

/// The features of what is to be delivered still: the newest segment says for those below it what a program must know.
fn features_in_use(recovered: &Recovered) -> u32 {
    let delivered = |number: &SegmentNumber| {
        let known = recovered.segments.iter().find(|summary| summary.segment == *number);
        known.is_some_and(|summary| summary.end_event <= recovered.state.cursor.low)
    };
    let all_delivered = recovered.unvouched.is_empty() && recovered.live.iter().all(delivered);
    if all_delivered { 0 } else { recovered.features }
}

/// The whole frame, padded, as it stands.
fn read_frame(data: &dyn Directory, unvouched: &Unvouched) -> Result<AlignedBuf, OpenError> {
    let padded = unvouched.header.padded_len(unvouched.file.header.alignment) as usize;
    let mut buffer = AlignedBuf::zeroed(padded.next_multiple_of(data.alignment()));
    let name = unvouched.file.number().file_name();
    let read = read_full(&*unvouched.file.file, &mut buffer, unvouched.offset);
    let read = read.map_err(|source| OpenError::Io { action: "read", path: path_of(data, &name), source })?;
    let end = frame::HEADER_LEN + unvouched.header.stored_len as usize;
    // Verified a moment ago by the scan; bytes that changed since are a disk that cannot be trusted with the rest.
    let seed = Seed::new(unvouched.file.header.salt, unvouched.file.number(), unvouched.offset);
    let sound = read >= end
        && FrameHeader::decode(&buffer, seed)
            .is_ok_and(|(header, _)| header.verify(&buffer[frame::HEADER_LEN..end], seed));
    if !sound {
        let source = crate::format::FormatError { what: "frame changed between two reads", at: 0 };
        return Err(OpenError::Format { path: path_of(data, &name), offset: unvouched.offset, source });
    }
    // What was padding stays zero whatever the file had behind the body.
    buffer[end..].fill(0);
    Ok(buffer)
}

/// Overwrites the older checkpoint file, durably; returns the new sequence and file.
pub fn write_checkpoint(
    dir: &dyn Directory,
    checkpoint: &Checkpoint,
    newest: Option<(u64, usize)>,
    environment: &dyn Environment,
) -> Result<(u64, usize), OpenError> {
    let (sequence, slot) = newest.map_or((1, 0), |(sequence, slot)| (sequence + 1, 1 - slot));
    let name = crate::format::checkpoint::FILE_NAMES[slot];
    let io = |action| {
        let path = path_of(dir, name);
        move |source| OpenError::Io { action, path, source }
    };
    let bytes = match dir.keys().active() {
        Some(key) => checkpoint.encrypt(sequence, key, &mut || environment.random()),
        None => checkpoint.encode(sequence),
    };
    let bytes = AlignedBuf::padded(&bytes, dir.alignment());
    let (file, new) = match dir.open(name) {
        Ok(file) => (file, false),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            (dir.create(name).map_err(io("create"))?, true)
        }
        Err(error) => return Err(io("open")(error)),
    };
    // Written at full size from the start, so that a full disk does not stop checkpoints of an ordinary size.
    let size = (bytes.len() as u64).max(CHECKPOINT_FILE_BYTES);
    if file.len().map_err(io("read"))? < size {
        file.allocate(size).map_err(io("allocate"))?;
    }
    file.write_at(&bytes, 0).map_err(io("write"))?;
    file.sync().map_err(io("sync"))?;
    if new {
        dir.sync().map_err(io("sync"))?;
    }
    Ok((sequence, slot))
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

/// Blocks for control frames in a life's first segment, beside what is rewritten there.
const CONTROL_BLOCKS: u64 = 4;

/// Room in a checkpoint file for the state of some thousand sources' keys.
const CHECKPOINT_FILE_BYTES: u64 = 256 << 10;
