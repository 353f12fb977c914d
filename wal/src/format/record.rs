//! A frame's body is a list of records.
//!
//! ```text
//! byte 0      1       2        4          8
//!      +------+-------+--------+----------+------------------+
//!      | kind | flags | zero   | length   | length bytes     |   repeated to the body's end
//!      | u8   | u8    | u16    | u32      |                  |
//!      +------+-------+--------+----------+------------------+
//!
//! kind 1 commit     events u32, zero u32, payload
//!      2 release    cursor u32, ranges u32, ranges × { first u64, end u64 }          events first..end are delivered
//!      3 progress   space u8, op u8, zero u16, owner, key, [generation u64, from u64, to u64, rest]   op 1 set, 2 retire, 3 mark
//!      4 snapshot   next event u64, cursors, owners with their keys, segment table   all state but the events
//!      5 life       last frame kept u64, first frame cut u64, last number seen u64   how the life before ended
//!      6 close      last frame u64                                                   everything up to it is synced
//! ```
//!
//! Texts and byte strings have a u32 length in front. Flag 1: a reader that does not know the kind may skip the record;
//! without it such a record refuses the log. A commit's progress, and a release's, stand in the same frame (or span) right
//! behind it: they hold together or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::FormatError;
use super::wire::{Input, Output};
use crate::numbers::{FrameNumber, NUMBER_MAX, SegmentNumber};
use crate::state::{Cursor, Owner, OwnerKey, ProgressOp, ProgressUpdate, ProgressValue, Space, State};

/// Length of a record's own header.
pub const HEADER_LEN: usize = 8;
/// Length of a commit's fixed part behind the record header.
pub const COMMIT_PREFIX_LEN: usize = 8;

/// Kind of a commit's record.
pub const KIND_COMMIT: u8 = 1;
const KIND_RELEASE: u8 = 2;
const KIND_PROGRESS: u8 = 3;
const KIND_SNAPSHOT: u8 = 4;
const KIND_LIFE: u8 = 5;
const KIND_CLOSE: u8 = 6;

/// A reader that does not know the kind may skip the record.
const FLAG_SKIP: u8 = 1;

const SPACE_SOURCE: u8 = 1;
const SPACE_SINK: u8 = 2;
const OP_SET: u8 = 1;
const OP_RETIRE: u8 = 2;
const OP_MARK: u8 = 3;

/// The one cursor there is.
pub const CURSOR_ID: u32 = 0;

/// One record of a body. Commits borrow their payload.
#[derive(Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// Events.
    Commit {
        /// How many.
        events: u32,
        /// Their bytes, opaque to the log.
        payload: &'a [u8],
    },
    /// Events delivered: ranges first..end.
    Release(Vec<(u64, u64)>),
    /// A source's or sink's progress.
    Progress(ProgressUpdate),
    /// The whole state but the events.
    Snapshot(Snapshot),
    /// How the life before ended.
    Life(Life),
    /// A clean end: everything up to this frame is synced.
    Close(FrameNumber),
}

/// The log's state at a segment's start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Number of the next event.
    pub next_event: u64,
    /// Cursor and progress.
    pub state: State,
    /// The latest segments below this one, oldest first, at most [`Snapshot::SEGMENTS_MAX`].
    pub segments: Vec<SegmentSummary>,
}

impl Snapshot {
    /// How many segments the table holds.
    pub const SEGMENTS_MAX: usize = 64;

    /// A snapshot without progress, or the reason why no log can have these numbers.
    pub(crate) fn checked(
        next_event: u64,
        low: u64,
        ranges: Vec<(u64, u64)>,
        segments: Vec<SegmentSummary>,
    ) -> Result<Self, &'static str> {
        if next_event.max(low) > NUMBER_MAX {
            return Err("snapshot with impossible numbers");
        }
        if segments.len() > Self::SEGMENTS_MAX {
            return Err("segment table too long");
        }
        let possible = segments.iter().all(|summary| summary.is_possible(next_event));
        if !possible || !segments.is_sorted_by(|a, b| a.segment < b.segment) {
            return Err("segment table with impossible numbers");
        }
        let mut cursor = Cursor::at(low);
        for (first, end) in ranges {
            if first >= end || first <= cursor.low || end > next_event {
                return Err("released range outside the log");
            }
            cursor.release(first, end);
        }
        Ok(Self { next_event, state: State { cursor, ..State::default() }, segments })
    }
}

/// What a snapshot says of a sealed segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Its number.
    pub segment: SegmentNumber,
    /// Its salt.
    pub salt: u64,
    /// Its first frame.
    pub first_frame: FrameNumber,
    /// Its last valid frame.
    pub last_frame: FrameNumber,
    /// Number of its first event.
    pub first_event: u64,
    /// Number of the event after its last.
    pub end_event: u64,
    /// Offset behind its last valid frame.
    pub end_offset: u64,
}

impl SegmentSummary {
    fn is_possible(&self, next_event: u64) -> bool {
        // A segment whose frames are all lost ends before it begins, by frames; never by events.
        self.segment.0.max(self.first_frame.0).max(self.last_frame.0).max(self.end_offset) <= NUMBER_MAX
            && self.first_event <= self.end_event
            && self.end_event <= next_event
    }
}

/// How the life before ended: what a reader of the old segments needs to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// The last frame of the old life that stays where it is.
    pub last_kept: FrameNumber,
    /// The highest frame number seen anywhere, cut frames included.
    pub last_seen: FrameNumber,
    /// How many frames of the old life were rewritten behind this one.
    pub rewritten: u64,
}

/// Appends a record header and returns where it stands, for [`finish`].
fn start(out: &mut Vec<u8>, kind: u8, flags: u8) -> usize {
    out.put_u8(kind);
    out.put_u8(flags);
    out.put_u16(0);
    out.put_u32(0);
    out.len()
}

fn finish(out: &mut [u8], start: usize) {
    let len = u32::try_from(out.len() - start).expect("record below 4 GiB");
    out[start - 4..start].copy_from_slice(&len.to_le_bytes());
}

/// Writes a commit's record header and prefix into `out`; the payload of `payload_len` bytes follows it.
pub fn write_commit_prefix(out: &mut [u8], events: u32, payload_len: usize) {
    let len = u32::try_from(COMMIT_PREFIX_LEN + payload_len).expect("commit below 4 GiB");
    out[0] = KIND_COMMIT;
    out[1..4].fill(0);
    out[4..8].copy_from_slice(&len.to_le_bytes());
    out[8..12].copy_from_slice(&events.to_le_bytes());
    out[12..16].fill(0);
}

/// Appends a release of ranges.
pub fn put_release(out: &mut Vec<u8>, ranges: &[(u64, u64)]) {
    let at = start(out, KIND_RELEASE, 0);
    out.put_u32(CURSOR_ID);
    put_ranges(out, ranges);
    finish(out, at);
}

fn put_ranges(out: &mut Vec<u8>, ranges: &[(u64, u64)]) {
    out.put_u32(ranges.len() as u32);
    for &(first, end) in ranges {
        out.put_u64(first);
        out.put_u64(end);
    }
}

/// Appends a progress update.
pub fn put_progress(out: &mut Vec<u8>, update: &ProgressUpdate) {
    let at = start(out, KIND_PROGRESS, 0);
    out.put_u8(space_byte(update.space));
    let op = match update.op {
        ProgressOp::Set { .. } => OP_SET,
        ProgressOp::Retire => OP_RETIRE,
        ProgressOp::Mark => OP_MARK,
    };
    out.put_u8(op);
    out.put_u16(0);
    out.put_counted(update.owner.as_bytes());
    out.put_counted(update.key.as_bytes());
    if let ProgressOp::Set { generation, from, to, rest } = &update.op {
        out.put_u64(*generation);
        out.put_u64(*from);
        out.put_u64(*to);
        out.put_counted(rest);
    }
    finish(out, at);
}

fn space_byte(space: Space) -> u8 {
    match space {
        Space::Source => SPACE_SOURCE,
        Space::Sink => SPACE_SINK,
    }
}

fn read_space(input: &mut Input<'_>) -> Result<Space, FormatError> {
    match input.u8()? {
        SPACE_SOURCE => Ok(Space::Source),
        SPACE_SINK => Ok(Space::Sink),
        _ => Err(input.error("unknown progress space")),
    }
}

/// Appends a snapshot.
pub fn put_snapshot(out: &mut Vec<u8>, snapshot: &Snapshot) {
    let at = start(out, KIND_SNAPSHOT, 0);
    out.put_u64(snapshot.next_event);
    out.put_u32(1);
    out.put_u32(CURSOR_ID);
    out.put_u64(snapshot.state.cursor.low);
    let above: Vec<_> = snapshot.state.cursor.above().collect();
    put_ranges(out, &above);
    out.put_u32(snapshot.state.owners.len() as u32);
    for ((space, name), owner) in &snapshot.state.owners {
        out.put_u8(space_byte(*space));
        out.put_counted(name.as_bytes());
        out.put_u32(owner.keys.len() as u32);
        for (key, value) in &owner.keys {
            out.put_counted(key.as_bytes());
            out.put_u64(value.generation);
            out.put_u64(value.from);
            out.put_u64(value.to);
            out.put_counted(&value.rest);
        }
    }
    out.put_u32(snapshot.segments.len() as u32);
    for summary in &snapshot.segments {
        for value in [
            summary.segment.0,
            summary.salt,
            summary.first_frame.0,
            summary.last_frame.0,
            summary.first_event,
            summary.end_event,
            summary.end_offset,
        ] {
            out.put_u64(value);
        }
    }
    finish(out, at);
}

/// Appends a life record.
pub fn put_life(out: &mut Vec<u8>, life: &Life) {
    let at = start(out, KIND_LIFE, 0);
    out.put_u64(life.last_kept.0);
    out.put_u64(life.last_seen.0);
    out.put_u64(life.rewritten);
    finish(out, at);
}

/// Appends a close mark.
pub fn put_close(out: &mut Vec<u8>, last: FrameNumber) {
    let at = start(out, KIND_CLOSE, 0);
    out.put_u64(last.0);
    finish(out, at);
}

/// Iterates over the records of a body.
pub struct Records<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    /// The records of `body`.
    pub fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }

    /// Offset in the body of the record that comes next.
    pub fn offset(&self) -> usize {
        self.at
    }

    fn read(&mut self) -> Result<Option<Record<'a>>, FormatError> {
        loop {
            let base = self.at;
            let shift = |e: FormatError| FormatError { at: e.at + base, ..e };
            let mut input = Input::new(&self.body[base..]);
            if input.is_empty() {
                return Ok(None);
            }
            let (kind, flags, zero) =
                (input.u8().map_err(shift)?, input.u8().map_err(shift)?, input.u16().map_err(shift)?);
            let content = input.counted().map_err(shift)?;
            self.at = base + input.at();
            if flags & !FLAG_SKIP != 0 || zero != 0 {
                return Err(FormatError { what: "record with unknown flags", at: base });
            }
            let shift = |e: FormatError| FormatError { at: e.at + base + HEADER_LEN, ..e };
            match decode(kind, content).map_err(shift)? {
                Some(record) => return Ok(Some(record)),
                None if flags & FLAG_SKIP != 0 => {}
                None => return Err(FormatError { what: "record of an unknown kind", at: base }),
            }
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.read().transpose();
        if matches!(next, Some(Err(_))) {
            self.at = self.body.len();
        }
        next
    }
}

fn decode(kind: u8, content: &[u8]) -> Result<Option<Record<'_>>, FormatError> {
    let mut input = Input::new(content);
    let record = match kind {
        KIND_COMMIT => {
            let events = input.u32()?;
            if input.u32()? != 0 {
                return Err(input.error("commit with reserved bytes set"));
            }
            return Ok(Some(Record::Commit { events, payload: &content[COMMIT_PREFIX_LEN..] }));
        }
        KIND_RELEASE => {
            if input.u32()? != CURSOR_ID {
                return Err(input.error("unknown cursor"));
            }
            Record::Release(read_ranges(&mut input)?)
        }
        KIND_PROGRESS => Record::Progress(read_progress(&mut input)?),
        KIND_SNAPSHOT => Record::Snapshot(read_snapshot(&mut input)?),
        KIND_LIFE => Record::Life(Life {
            last_kept: FrameNumber(read_number(&mut input)?),
            last_seen: FrameNumber(read_number(&mut input)?),
            rewritten: read_number(&mut input)?,
        }),
        KIND_CLOSE => Record::Close(FrameNumber(read_number(&mut input)?)),
        _ => return Ok(None),
    };
    if !input.is_empty() {
        return Err(input.error("bytes left over in a record"));
    }
    Ok(Some(record))
}

fn read_number(input: &mut Input<'_>) -> Result<u64, FormatError> {
    let number = input.u64()?;
    if number > NUMBER_MAX {
        return Err(input.error("impossible number"));
    }
    Ok(number)
}

fn read_ranges(input: &mut Input<'_>) -> Result<Vec<(u64, u64)>, FormatError> {
    let count = input.u32()?;
    let mut ranges = Vec::new();
    for _ in 0..count {
        let (first, end) = (read_number(input)?, read_number(input)?);
        if first >= end {
            return Err(input.error("empty range of events"));
        }
        ranges.push((first, end));
    }
    Ok(ranges)
}

fn read_progress(input: &mut Input<'_>) -> Result<ProgressUpdate, FormatError> {
    let space = read_space(input)?;
    let op = input.u8()?;
    if input.u16()? != 0 {
        return Err(input.error("progress with reserved bytes set"));
    }
    let owner: Arc<str> = input.text()?.into();
    let key = input.text()?.to_string();
    let op = match op {
        OP_SET => ProgressOp::Set {
            generation: input.u64()?,
            from: input.u64()?,
            to: input.u64()?,
            rest: Bytes::copy_from_slice(input.counted()?),
        },
        OP_RETIRE => ProgressOp::Retire,
        OP_MARK => ProgressOp::Mark,
        _ => return Err(input.error("unknown progress operation")),
    };
    Ok(ProgressUpdate { space, owner, key, op })
}

fn read_snapshot(input: &mut Input<'_>) -> Result<Snapshot, FormatError> {
    let next_event = input.u64()?;
    if input.u32()? != 1 || input.u32()? != CURSOR_ID {
        return Err(input.error("unknown cursor"));
    }
    let low = input.u64()?;
    let ranges = read_ranges(input)?;
    let mut owners = BTreeMap::new();
    for _ in 0..input.u32()? {
        let key: OwnerKey = (read_space(input)?, input.text()?.into());
        let mut owner = Owner::default();
        for _ in 0..input.u32()? {
            let name = input.text()?.to_string();
            let value = ProgressValue {
                generation: input.u64()?,
                from: input.u64()?,
                to: input.u64()?,
                rest: Bytes::copy_from_slice(input.counted()?),
            };
            owner.keys.insert(name, value);
        }
        owners.insert(key, owner);
    }
    let mut segments = Vec::new();
    for _ in 0..input.u32()? {
        segments.push(SegmentSummary {
            segment: SegmentNumber(input.u64()?),
            salt: input.u64()?,
            first_frame: FrameNumber(input.u64()?),
            last_frame: FrameNumber(input.u64()?),
            first_event: input.u64()?,
            end_event: input.u64()?,
            end_offset: input.u64()?,
        });
    }
    let mut snapshot =
        Snapshot::checked(next_event, low, ranges, segments).map_err(|what| input.error(what))?;
    snapshot.state.owners = owners;
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(key: &str, op: ProgressOp) -> ProgressUpdate {
        ProgressUpdate { space: Space::Source, owner: "r1".into(), key: key.into(), op }
    }

    #[test]
    fn records_read_back_in_order() {
        let set = ProgressOp::Set { generation: 1, from: 4, to: 9, rest: Bytes::from_static(b"/var/log/x") };
        let mut state = State::default();
        state.apply_release(0, 5);
        state.apply_release(7, 9);
        state.apply_progress(&update("8:1", set.clone()));
        state.apply_progress(&ProgressUpdate {
            space: Space::Sink,
            owner: "k".into(),
            key: "".into(),
            op: ProgressOp::Mark,
        });
        let snapshot = Snapshot {
            next_event: 12,
            state,
            segments: vec![SegmentSummary { segment: SegmentNumber(3), end_event: 12, ..Default::default() }],
        };
        let life = Life { last_kept: FrameNumber(4), last_seen: FrameNumber(7), rewritten: 2 };
        let mut body = vec![0; HEADER_LEN + COMMIT_PREFIX_LEN];
        write_commit_prefix(&mut body, 2, 3);
        body.extend_from_slice(b"abc");
        put_release(&mut body, &[(3, 8), (10, 11)]);
        put_progress(&mut body, &update("8:1", set.clone()));
        put_progress(&mut body, &update("8:1", ProgressOp::Retire));
        put_snapshot(&mut body, &snapshot);
        put_life(&mut body, &life);
        put_close(&mut body, FrameNumber(99));
        let records: Vec<_> = Records::new(&body).map(Result::unwrap).collect();
        assert_eq!(
            records,
            [
                Record::Commit { events: 2, payload: b"abc" },
                Record::Release(vec![(3, 8), (10, 11)]),
                Record::Progress(update("8:1", set)),
                Record::Progress(update("8:1", ProgressOp::Retire)),
                Record::Snapshot(snapshot),
                Record::Life(life),
                Record::Close(FrameNumber(99)),
            ]
        );
    }

    #[test]
    fn an_unknown_kind_is_skipped_only_if_it_says_so() {
        let record = |flags| vec![200, flags, 0, 0, 2, 0, 0, 0, 1, 2];
        assert_eq!(Records::new(&record(FLAG_SKIP)).count(), 0);
        assert!(Records::new(&record(0)).next().unwrap().is_err());
    }

    #[test]
    fn records_cut_anywhere_are_errors_not_panics() {
        let mut body = Vec::new();
        put_snapshot(&mut body, &Snapshot { next_event: 3, ..Default::default() });
        put_progress(&mut body, &update("k", ProgressOp::Mark));
        for len in 1..body.len() {
            let all: Result<Vec<_>, _> = Records::new(&body[..len]).collect();
            let first_ends = HEADER_LEN + u32::from_le_bytes(body[4..8].try_into().unwrap()) as usize;
            assert!(all.is_err() || len == first_ends, "length {len}");
        }
    }
}
