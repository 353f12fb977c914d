//! Reads events that are no longer in memory: finds their segment, then goes through its frames in order.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::ReadError;
use crate::format::codec::{self, Unread};
use crate::format::frame::{self, FrameHeader, Seed};
use crate::numbers::SegmentNumber;
use crate::read::ahead::AheadWindow;
use crate::read::cursor::{LoadedCommit, commits_of};
use crate::recovery::{read_snapshot_frame, scan};
use crate::segment::file::{self, Opened, SegmentFile, path_of};
use crate::shared::Shared;
use crate::storage::AlignedBuf;

/// Sequential place in the log's files.
#[derive(Debug, Default)]
pub struct DiskReader {
    at: Option<At>,
}

#[derive(Debug)]
struct At {
    file: SegmentFile,
    offset: u64,
    /// Number of the event after those already passed.
    event: u64,
    window: AheadWindow,
    /// What the disk said where no header could be read: not the same as one that does not verify.
    unreadable: Option<ReadError>,
}

/// A frame's body lent out of a window.
struct Body {
    buffer: Arc<AlignedBuf>,
    range: std::ops::Range<usize>,
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[self.range.clone()]
    }
}

impl DiskReader {
    /// The commits of the frame, or span, that holds `event`.
    pub fn load(&mut self, shared: &Shared, event: u64) -> Result<Vec<LoadedCommit>, ReadError> {
        let loaded = self.try_load(shared, event);
        if loaded.is_err() {
            // A place that could not be read is looked for anew: it may have been repaired or moved meanwhile.
            self.at = None;
        }
        loaded
    }

    fn try_load(&mut self, shared: &Shared, event: u64) -> Result<Vec<LoadedCommit>, ReadError> {
        let known = self.at.take().filter(|at| at.event <= event && is_live(shared, at.file.number()));
        let mut at = match known {
            Some(at) => at,
            None => find(shared, event)?,
        };
        loop {
            let (header, seed) = match at.header(shared) {
                Some(found) => found,
                None => {
                    at = at.pass_gap(shared, event, None)?;
                    continue;
                }
            };
            if header.first_event > event {
                return Err(at.damaged(shared, "the frame that held the event is missing", event));
            }
            let alignment = at.file.header.alignment;
            if header.is_span() && header.first_event <= event {
                let Some(frames) = at.pass_span(shared, header) else {
                    at = at.pass_gap(shared, event, Some(header.first_event))?;
                    continue;
                };
                // Of a span that is only passed the bodies do not matter: it is released, damaged or not.
                if at.event > event {
                    let body = at.join_span(shared, &frames, event)?;
                    let commits = commits_of(&body, header.first_event)
                        .map_err(|error| at.damaged(shared, &error.to_string(), event))?;
                    at.check_sum(shared, &commits, event)?;
                    self.at = Some(at);
                    return Ok(commits);
                }
                continue;
            }
            let padded = header.padded_len(alignment);
            if header.end_event() <= event {
                at.offset += padded;
                at.event = header.end_event();
                continue;
            }
            let body = at.body(shared, &header, seed, event)?;
            let commits = commits_of(&body, header.first_event)
                .map_err(|error| at.damaged(shared, &error.to_string(), event))?;
            at.event = header.end_event();
            at.check_sum(shared, &commits, event)?;
            at.offset += padded;
            self.at = Some(at);
            return Ok(commits);
        }
    }
}

impl At {
    fn path(&self, shared: &Shared) -> std::path::PathBuf {
        path_of(&*shared.dirs.data, &self.file.number().file_name())
    }

    fn damaged(&self, shared: &Shared, what: &str, event: u64) -> ReadError {
        ReadError::Damaged { path: self.path(shared), offset: self.offset, what: what.to_string(), event }
    }

    fn io(&self, shared: &Shared, error: std::io::Error) -> ReadError {
        ReadError::Io { path: self.path(shared), offset: self.offset, source: Arc::new(error) }
    }

    /// `len` bytes at the present place, or fewer where the file ends.
    fn bytes(&mut self, len: usize) -> std::io::Result<(Arc<AlignedBuf>, std::ops::Range<usize>)> {
        let file = &self.file;
        self.window.get(&file.file, self.offset, len, |bytes, start| next_window(file, bytes, start))
    }

    /// The header at the present place; `None` where none verifies, the disk cannot read it, or the segment ends.
    fn header(&mut self, shared: &Shared) -> Option<(FrameHeader, Seed)> {
        let alignment = self.file.header.alignment as usize;
        if self.offset + alignment as u64 > self.end(shared) {
            return None;
        }
        let seed = Seed::new(self.file.header.salt, self.file.number(), self.offset);
        for fresh in [false, true] {
            // The window may hold what stood here before the frame was written.
            if fresh {
                self.window.clear();
            }
            let (buffer, range) = match self.bytes(alignment) {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.unreadable = Some(self.io(shared, error));
                    continue;
                }
            };
            self.unreadable = None;
            if let Ok((header, _)) = FrameHeader::decode(&buffer[range], seed) {
                return Some((header, seed));
            }
        }
        None
    }

    /// Goes on from a place where no header verifies: to the next segment if that has the event, else to the next frame
    /// of this one. What is lost between may hold no event, as a snapshot or a housekeeping frame does, or events that were
    /// delivered or given up. An error of the disk counts only where the event may stand.
    ///
    /// `begun` is the first event of a span whose first frames were passed: its rest is no frame to go on from.
    fn pass_gap(mut self, shared: &Shared, event: u64, begun: Option<u64>) -> Result<Self, ReadError> {
        let successor = shared.inner.lock().segments.successor(self.file.number());
        let next_first = match successor {
            Some(next) => first_event(shared, next),
            None => None,
        };
        if next_first.is_some_and(|first| first <= event) {
            return next_segment(shared, self, event);
        }
        let gap = self.offset;
        let alignment = u64::from(self.file.header.alignment);
        let end = self.end(shared);
        let mut found = None;
        let mut unreadable = self.unreadable.take();
        while found.is_none() && self.offset + alignment <= end {
            let seed = Seed::new(self.file.header.salt, self.file.number(), self.offset);
            let got = self.bytes(alignment as usize);
            let (buffer, range) = match got {
                Ok(got) => got,
                Err(error) => {
                    let error = self.io(shared, error);
                    unreadable.get_or_insert(error);
                    self.offset += alignment;
                    continue;
                }
            };
            let decoded = FrameHeader::decode(&buffer[range], seed);
            match decoded {
                Ok((header, _))
                    if header.is_span()
                        && begun != Some(header.first_event)
                        && header.begins_span(self.offset - gap, alignment as u32) =>
                {
                    found = Some(header.first_event);
                }
                // What is left of a commit over several frames is no commit; only what is behind it may be read.
                Ok((header, _)) if header.is_span() && header.has_more() => {
                    self.offset += header.padded_len(alignment as u32);
                }
                Ok((header, _)) if header.is_span() && header.end_event() <= event => {
                    self.offset += header.padded_len(alignment as u32);
                    found = Some(header.end_event());
                }
                // The event was in the span whose end this is.
                Ok((header, _)) if header.is_span() => found = Some(u64::MAX),
                Ok((header, _)) => found = Some(header.first_event),
                Err(_) => self.offset += alignment,
            }
        }
        match found {
            Some(first) if first <= event => {
                self.event = first;
                Ok(self)
            }
            // The next segment's first frame is damaged as well: its frames will say where they begin.
            None if unreadable.is_none() && successor.is_some() && next_first.is_none() => {
                next_segment(shared, self, event)
            }
            _ => {
                self.offset = gap;
                Err(unreadable
                    .unwrap_or_else(|| self.damaged(shared, "no frame where one was synced", event)))
            }
        }
    }

    /// Where the segment's frames end, as far as that is known.
    fn end(&self, shared: &Shared) -> u64 {
        // Behind a sealed segment's last frame may stand frames that an earlier life wrote and recovery cut off.
        let sealed = shared.inner.lock().segments.sealed.get(&self.file.number()).copied().flatten();
        sealed.map_or(self.file.len, |summary| summary.end_offset.min(self.file.len))
    }

    /// Whether commits that were just read end where the header says: a sound checksum over nonsense is damage too.
    fn check_sum(&self, shared: &Shared, commits: &[LoadedCommit], event: u64) -> Result<(), ReadError> {
        if commits.last().is_some_and(|last| last.first_event + u64::from(last.events) == self.event) {
            return Ok(());
        }
        Err(self.damaged(shared, "the frame's commits do not add up to its events", event))
    }

    /// A frame's body, verified: lent out of the window, or decrypted and decompressed.
    fn body(
        &mut self,
        shared: &Shared,
        header: &FrameHeader,
        seed: Seed,
        event: u64,
    ) -> Result<Bytes, ReadError> {
        let padded = header.padded_len(self.file.header.alignment) as usize;
        let mut wrong = "";
        for fresh in [false, true] {
            if fresh {
                self.window.clear();
            }
            let got = self.bytes(padded);
            let (buffer, range) = match got {
                Ok(got) => got,
                Err(error) => return Err(self.io(shared, error)),
            };
            let begin = range.start + frame::HEADER_LEN;
            match codec::read(header, seed, &buffer[range], &self.file.keys) {
                Ok(Cow::Borrowed(body)) => {
                    let range = begin..begin + body.len();
                    return Ok(Bytes::from_owner(Body { buffer, range }));
                }
                Ok(Cow::Owned(body)) => return Ok(body.into()),
                Err(Unread::Bad(error)) => wrong = error.what,
                // Nothing is wrong with it: it may not be given up.
                Err(Unread::Locked(missing)) => return Err(self.io(shared, missing.into())),
            }
        }
        Err(self.damaged(shared, wrong, event))
    }

    /// Goes through a span from its first frame, by the headers alone; returns its frames with their offsets, and ends
    /// behind it. `None` if its end is not there: it ends where the next frame should stand.
    fn pass_span(&mut self, shared: &Shared, first: FrameHeader) -> Option<Vec<(u64, FrameHeader)>> {
        let mut frames = vec![(self.offset, first)];
        loop {
            let (_, header) = frames[frames.len() - 1];
            self.offset += header.padded_len(self.file.header.alignment);
            if !header.has_more() {
                self.event = header.end_event();
                return Some(frames);
            }
            let (next, _) = self.header(shared)?;
            if !next.is_span() || next.first_event != first.first_event {
                return None;
            }
            frames.push((self.offset, next));
        }
    }

    /// The joined bodies of a span's frames, verified; ends behind it.
    fn join_span(
        &mut self,
        shared: &Shared,
        frames: &[(u64, FrameHeader)],
        event: u64,
    ) -> Result<Bytes, ReadError> {
        let mut joined = Vec::with_capacity(frames.iter().map(|(_, header)| header.raw_len as usize).sum());
        for (offset, header) in frames {
            self.offset = *offset;
            let seed = Seed::new(self.file.header.salt, self.file.number(), self.offset);
            joined.extend_from_slice(&self.body(shared, header, seed, event)?);
            self.offset += header.padded_len(self.file.header.alignment);
        }
        Ok(joined.into())
    }
}

/// Where the first frame begins that `bytes`, from `start` of the segment on, do not hold whole. `None` if a header before it does
/// not verify: there the segment's frames end, or damage is looked at in its own time.
fn next_window(file: &SegmentFile, bytes: &[u8], start: u64) -> Option<u64> {
    let alignment = file.header.alignment;
    let mut at = 0;
    while at + alignment as usize <= bytes.len() {
        let seed = Seed::new(file.header.salt, file.number(), start + at as u64);
        let (header, _) = FrameHeader::decode(&bytes[at..], seed).ok()?;
        let padded = header.padded_len(alignment) as usize;
        if at + padded > bytes.len() {
            break;
        }
        at += padded;
    }
    let next = start + at as u64;
    (at > 0 && next < file.len).then_some(next)
}

fn is_live(shared: &Shared, number: SegmentNumber) -> bool {
    let inner = shared.inner.lock();
    inner.segments.active == number || inner.segments.sealed.contains_key(&number)
}

/// Opens a segment that holds frames.
fn open(shared: &Shared, number: SegmentNumber, event: u64) -> Result<SegmentFile, ReadError> {
    let data = &*shared.dirs.data;
    let path = path_of(data, &number.file_name());
    match file::open(data, number) {
        Ok(Opened::Segment(file)) => Ok(file),
        Ok(Opened::Spare | Opened::Headerless | Opened::Newer(_)) => {
            Err(ReadError::Damaged { path, offset: 0, what: "segment header is damaged".into(), event })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(ReadError::Damaged { path, offset: 0, what: "segment is missing".into(), event })
        }
        Err(error) => Err(ReadError::Io { path, offset: 0, source: Arc::new(error) }),
    }
}

/// The first event of a segment: from the table, else from its snapshot. `None` if that is damaged or cannot be read: the
/// segment's other frames are asked then, and if they hold the event the error comes again.
pub fn first_event(shared: &Shared, number: SegmentNumber) -> Option<u64> {
    let known = shared.inner.lock().segments.sealed.get(&number).copied().flatten();
    if let Some(summary) = known {
        return Some(summary.first_event);
    }
    let Ok(Opened::Segment(file)) = file::open(&*shared.dirs.data, number) else { return None };
    let first = read_snapshot_frame(&file).ok().flatten()?;
    Some(first.snapshot.next_event)
}

/// The start of the segment that holds `event`, by binary search over first events.
fn find(shared: &Shared, event: u64) -> Result<At, ReadError> {
    let numbers: Vec<SegmentNumber> = {
        let inner = shared.inner.lock();
        inner.segments.sealed.keys().copied().chain([inner.segments.active]).collect()
    };
    let (mut low, mut high) = (0, numbers.len());
    // numbers[low] begins at or below the event (or is the lowest there is); numbers[high] begins above it.
    while high - low > 1 {
        let mut middle = low.midpoint(high);
        // A segment whose first frame is damaged says nothing: ask its neighbours below.
        let mut first = first_event(shared, numbers[middle]);
        while first.is_none() && middle > low + 1 {
            middle -= 1;
            first = first_event(shared, numbers[middle]);
        }
        match first {
            Some(first) if first <= event => low = middle,
            Some(_) => high = middle,
            // None of them says anything: those above may.
            None => match (low.midpoint(high) + 1..high)
                .find_map(|above| Some((above, first_event(shared, numbers[above])?)))
            {
                Some((above, first)) if first <= event => low = above,
                Some((above, _)) => high = above,
                None => break,
            },
        }
    }
    let mut file = open(shared, numbers[low], event)?;
    // Where frames were lost around a segment's begin, the table has their events in each segment that had room for them.
    while low > 0 && may_hold(shared, numbers[low - 1], event) && !names(&file, event) {
        low -= 1;
        file = open(shared, numbers[low], event)?;
    }
    let offset = file.header.data_offset();
    let window = AheadWindow::new(file.header.alignment as usize, shared.threaded);
    Ok(At { file, offset, event: 0, window, unreadable: None })
}

/// Whether the table says that a segment below the one that begins before `event` may hold it nevertheless.
fn may_hold(shared: &Shared, number: SegmentNumber, event: u64) -> bool {
    let known = shared.inner.lock().segments.sealed.get(&number).copied().flatten();
    known.is_some_and(|summary| event < summary.end_event)
}

/// Whether a frame of the segment says that it holds the event.
fn names(file: &SegmentFile, event: u64) -> bool {
    scan(file, file.header.data_offset()).is_ok_and(|found| {
        found.frames.iter().any(|frame| (frame.header.first_event..frame.header.end_event()).contains(&event))
    })
}

/// The segment after `at`, whose frames are all passed or do not verify any more.
fn next_segment(shared: &Shared, at: At, event: u64) -> Result<At, ReadError> {
    let number = at.file.number();
    let Some(next) = shared.inner.lock().segments.successor(number) else {
        return Err(at.damaged(shared, "no frame where one was synced", event));
    };
    match first_event(shared, next) {
        // Everything up to the next segment's first event was passed, or is released and of no interest.
        Some(first) if first <= event => {}
        // A damaged snapshot: its frames will say where they begin.
        None => {}
        Some(_) => return Err(at.damaged(shared, "no frame where one was synced", event)),
    }
    let file = match open(shared, next, event) {
        // Not a segment any more, or not again: a power cut brings back the name of one that was released.
        Err(unreadable @ ReadError::Damaged { .. }) => {
            let found = find(shared, event)?;
            return if found.file.number() > next { Ok(found) } else { Err(unreadable) };
        }
        opened => opened?,
    };
    let offset = file.header.data_offset();
    let window = at.window.cleared(file.header.alignment as usize);
    Ok(At { file, offset, event: at.event, window, unreadable: None })
}
