//! What of a segment can be read, as far as its own bytes say: which events, and which places hold what cannot.
//!
//! The same steps as the [reader's](super::disk_reader): a frame whose header verifies says where the next one is, whatever
//! became of its body; where no header verifies, the next one is looked for block by block. So what stands here as readable
//! is what a take gets, and what lies between is what it must pass over.
//!
//! A commit that spans several frames is readable with all of them or not at all. Behind a gap the frame says whether it begins
//! its span, or the room before it does: see [`FrameHeader::begins_span`].

use std::io;
use std::sync::Arc;

use crate::format::codec::{self, Unread};
use crate::format::frame::{FrameHeader, Seed};
use crate::format::record::{Record, Records, SegmentSummary};
use crate::segment::file::SegmentFile;
use crate::segment::window::{WINDOW_BYTES, Window, read_full};
use crate::storage::{AlignedBuf, File};

/// A place that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPlace {
    /// Where it begins.
    pub offset: u64,
    /// Where it ends: of a commit over several frames all of them belong to it.
    pub end: u64,
    /// What is wrong.
    pub what: String,
    /// First and last frame number in it, as far as its neighbours tell.
    pub frames: Option<(u64, u64)>,
    /// Its first event and the event after its last one, if any are lost with it.
    pub events: Option<(u64, u64)>,
}

/// What a segment holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents {
    /// Ranges of events that can be read, rising, none of them empty.
    pub readable: Vec<(u64, u64)>,
    /// What cannot, in file order.
    pub bad: Vec<BadPlace>,
    /// The first event that any frame names, intact or not.
    pub first_event: Option<u64>,
}

/// What is known of a segment from elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// The table's entry, if there is one: where the frames end and what they hold.
    pub summary: Option<SegmentSummary>,
    /// Its first event, if there is no table's entry to tell it.
    pub begins: Option<u64>,
    /// The events from here on are in later segments.
    pub ceiling: u64,
}

/// Reads a whole segment. What the medium does not give is zero in `file`, or an error: to be given up it must have been tried
/// more than once.
pub fn extents(file: &SegmentFile, bounds: Bounds) -> io::Result<Extents> {
    let end = bounds.summary.map_or(file.len, |summary| summary.end_offset.min(file.len));
    let begin = file.header.data_offset();
    let mut reading = Reading {
        bounds,
        found: Extents::default(),
        expected_frame: bounds.summary.map(|summary| summary.first_frame.0),
        expected_event: bounds.summary.map(|summary| summary.first_event).or(bounds.begins),
        bad: None,
        span: None,
    };
    let alignment = u64::from(file.header.alignment);
    let mut blocks = Blocks::new(file);
    let mut offset = begin;
    while offset + alignment <= end {
        let seed = Seed::new(file.header.salt, file.number(), offset);
        let header = match FrameHeader::decode(blocks.get(offset, alignment as usize)?, seed) {
            Ok((header, _)) => header,
            Err(error) => {
                reading.no_header(offset, error.what.to_string());
                offset += alignment;
                continue;
            }
        };
        // Cut off by a later life, whose own frames hold these events.
        if header.event_count > 0 && header.first_event >= bounds.ceiling {
            break;
        }
        if bounds.summary.is_some_and(|summary| header.frame > summary.last_frame) {
            break;
        }
        let padded = header.padded_len(file.header.alignment);
        let body = match offset + padded <= file.len.next_multiple_of(alignment) {
            true => blocks.get(offset, padded as usize)?,
            false => &[],
        };
        let body = match codec::read(&header, seed, body, &file.keys) {
            Ok(body) => Ok(body),
            Err(Unread::Bad(error)) => Err(error.what.to_string()),
            // It stands there whole: who would give it up for bad would lose it.
            Err(Unread::Locked(missing)) => return Err(missing.into()),
        };
        let body = body.as_deref().map_err(Clone::clone);
        reading.frame(offset, &header, alignment as u32, body);
        offset += padded;
    }
    reading.ended(offset.min(end).max(begin), end);
    Ok(reading.found)
}

/// Whether a list of records holds as many events as its header says.
pub fn holds(body: &[u8], event_count: u32) -> bool {
    let mut events = 0;
    for record in Records::new(body) {
        match record {
            Ok(Record::Commit { events: more, .. }) => events += u64::from(more),
            Ok(_) => {}
            Err(_) => return false,
        }
    }
    events == u64::from(event_count)
}

struct Reading {
    bounds: Bounds,
    found: Extents,
    /// Number of the next frame, where it is known.
    expected_frame: Option<u64>,
    /// Number of the next event, where it is known.
    expected_event: Option<u64>,
    /// A place in which the chain of frames is broken: reading goes on behind it.
    bad: Option<Open>,
    span: Option<OpenSpan>,
}

/// A bad place whose end is not known yet.
struct Open {
    offset: u64,
    /// Where the first block stands that has no header: what the room for a span's frame is measured from.
    gap: u64,
    what: String,
    first_frame: Option<u64>,
    first_event: Option<u64>,
}

struct OpenSpan {
    offset: u64,
    first_frame: u64,
    first_event: u64,
    body: Vec<u8>,
    bad: Option<String>,
}

impl Reading {
    fn no_header(&mut self, offset: u64, what: String) {
        if self.bad.is_some() {
            return;
        }
        self.bad = Some(match self.span.take() {
            Some(span) => Open {
                offset: span.offset,
                gap: offset,
                what,
                first_frame: Some(span.first_frame),
                first_event: Some(span.first_event),
            },
            None => Open {
                offset,
                gap: offset,
                what,
                first_frame: self.expected_frame,
                first_event: self.expected_event,
            },
        });
    }

    fn frame(&mut self, offset: u64, header: &FrameHeader, alignment: u32, body: Result<&[u8], String>) {
        let padded = header.padded_len(alignment);
        self.found.first_event.get_or_insert(header.first_event);
        if self.span.as_ref().is_some_and(|span| !header.is_span() || header.first_event != span.first_event)
        {
            self.no_header(offset, "a commit over several frames lacks its end".to_string());
        }
        if let Some(open) = &self.bad {
            let begins = !header.is_span() || header.begins_span(offset - open.gap, alignment);
            if !begins && header.has_more() {
                return;
            }
            if begins {
                self.close(offset, header.frame.0, header.first_event);
            } else {
                self.close(offset + padded, header.frame.0 + 1, header.end_event());
                self.expect(header);
                return;
            }
        }
        // Frames are dense and so are events: what is missing between two that are there is a bad place of no length.
        let jumps = self.expected_frame.is_some_and(|expected| expected < header.frame.0)
            || self.expected_event.is_some_and(|expected| expected < header.first_event);
        if jumps && self.span.is_none() {
            self.no_header(offset, "frames are missing".to_string());
            self.close(offset, header.frame.0, header.first_event);
        }
        self.expect(header);
        if header.is_span() {
            self.span(offset, padded, header, body);
            return;
        }
        let what = match body {
            Ok(body) if header.event_count == 0 || holds(body, header.event_count) => {
                self.readable(header.first_event, header.end_event());
                return;
            }
            Ok(_) => "the frame's commits do not add up to its events".to_string(),
            Err(what) => what,
        };
        let events = (header.event_count > 0).then(|| (header.first_event, header.end_event()));
        let frames = Some((header.frame.0, header.frame.0));
        self.found.bad.push(BadPlace { offset, end: offset + padded, what, frames, events });
    }

    fn span(&mut self, offset: u64, padded: u64, header: &FrameHeader, body: Result<&[u8], String>) {
        let span = self.span.get_or_insert_with(|| OpenSpan {
            offset,
            first_frame: header.frame.0,
            first_event: header.first_event,
            body: Vec::new(),
            bad: None,
        });
        match body {
            // Of one that is bad anyway the rest need not be kept.
            Ok(body) if span.bad.is_none() => span.body.extend_from_slice(body),
            Ok(_) => {}
            Err(what) => span.bad = span.bad.take().or(Some(what)),
        }
        if header.has_more() {
            return;
        }
        let Some(span) = self.span.take() else { return };
        let what = match span.bad {
            None if holds(&span.body, header.event_count) => {
                self.readable(header.first_event, header.end_event());
                return;
            }
            None => "the commit's records do not add up to its events".to_string(),
            Some(what) => what,
        };
        self.found.bad.push(BadPlace {
            offset: span.offset,
            end: offset + padded,
            what,
            frames: Some((span.first_frame, header.frame.0)),
            events: Some((header.first_event, header.end_event())),
        });
    }

    fn expect(&mut self, header: &FrameHeader) {
        self.expected_frame = Some(header.frame.0.saturating_add(1));
        self.expected_event = Some(header.end_event());
    }

    fn readable(&mut self, first: u64, end: u64) {
        let end = end.min(self.bounds.ceiling);
        match self.found.readable.last_mut() {
            Some((_, last)) if *last == first => *last = end.max(*last),
            _ if first < end => self.found.readable.push((first, end)),
            _ => {}
        }
    }

    /// The bad place ends at `end`, where frame `next_frame` stands or would stand, and event `next_event` begins.
    fn close(&mut self, end: u64, next_frame: u64, next_event: u64) {
        let Some(open) = self.bad.take() else { return };
        (self.expected_frame, self.expected_event) = (Some(next_frame), Some(next_event));
        let next_event = next_event.min(self.bounds.ceiling);
        let frames =
            open.first_frame.filter(|first| *first < next_frame).map(|first| (first, next_frame - 1));
        let events = open.first_event.filter(|first| *first < next_event).map(|first| (first, next_event));
        self.found.bad.push(BadPlace { offset: open.offset, end, what: open.what, frames, events });
    }

    /// No frame follows; the segment's valid part ends at `end`, and reading ended at `at`.
    fn ended(&mut self, at: u64, end: u64) {
        if self.span.is_some() {
            self.no_header(at, "a commit over several frames lacks its end".to_string());
        }
        let (frame, event) = match self.bounds.summary {
            Some(summary) => (Some(summary.last_frame.0.saturating_add(1)), summary.end_event),
            None => (None, self.bounds.ceiling),
        };
        let event = event.min(self.bounds.ceiling);
        let lacks_frames = frame.zip(self.expected_frame).is_some_and(|(frame, expected)| expected < frame);
        // Without a table nothing says where the frames end, only that the next segment begins with a later event.
        let lacks_events = self.expected_event.is_some_and(|expected| expected < event);
        if !lacks_frames && !lacks_events {
            self.bad = None;
            return;
        }
        self.no_header(at, "the file ends too early".to_string());
        let next_frame = frame.or(self.expected_frame).unwrap_or(0);
        self.close(end, next_frame, event);
    }
}

/// Reads a segment's blocks through a window, and one by one where the disk cannot read all of them.
pub struct Blocks<'a> {
    file: &'a SegmentFile,
    window: CarefulWindow,
    buffer: Arc<AlignedBuf>,
}

impl<'a> Blocks<'a> {
    pub fn new(file: &'a SegmentFile) -> Self {
        let alignment = file.header.alignment as usize;
        Self { file, window: CarefulWindow::new(alignment), buffer: Arc::new(AlignedBuf::zeroed(alignment)) }
    }

    /// `len` bytes at `offset`, or fewer where the file ends.
    pub fn get(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let (buffer, range) = self.window.get(&*self.file.file, offset, len)?;
        self.buffer = buffer;
        Ok(&self.buffer[range])
    }
}

/// A window that reads no more than it is asked for where the disk cannot read all that it would read ahead: one bad sector
/// must not cost its neighbours.
#[derive(Debug)]
pub struct CarefulWindow {
    window: Window,
    alignment: usize,
    /// Up to here nothing is read ahead.
    careful: u64,
}

impl CarefulWindow {
    /// An empty window for files of this alignment.
    pub fn new(alignment: usize) -> Self {
        Self { window: Window::new(alignment), alignment, careful: 0 }
    }

    /// Forgets what was read.
    pub fn clear(&mut self) {
        self.window.clear();
    }

    /// The same buffers for another file.
    #[must_use]
    pub fn cleared(self, alignment: usize) -> Self {
        Self { window: self.window.cleared(alignment), alignment, careful: 0 }
    }

    /// As [`Window::covers`].
    pub fn covers(&self, offset: u64, len: usize) -> bool {
        self.window.covers(offset, len)
    }

    /// As [`Window::bytes`].
    pub fn bytes(&self) -> Option<(&[u8], u64)> {
        self.window.bytes()
    }

    /// As [`Window::fill`].
    pub fn fill(&mut self, buffer: Arc<AlignedBuf>, start: u64, len: usize) {
        self.window.fill(buffer, start, len);
    }

    /// As [`Window::keep`].
    pub fn keep(&mut self, buffer: Arc<AlignedBuf>) {
        self.window.keep(buffer);
    }

    /// As [`Window::buffer`].
    pub fn buffer(&mut self, bytes: usize) -> Arc<AlignedBuf> {
        self.window.buffer(bytes)
    }

    /// As [`Window::get`].
    pub fn get(
        &mut self,
        file: &dyn File,
        offset: u64,
        len: usize,
    ) -> io::Result<(Arc<AlignedBuf>, std::ops::Range<usize>)> {
        if offset >= self.careful {
            if let Ok((buffer, range)) = self.window.get(file, offset, len) {
                return Ok((Arc::clone(buffer), range));
            }
            self.careful = offset + (WINDOW_BYTES as u64).max(len as u64);
        }
        let mut buffer = AlignedBuf::zeroed(len.next_multiple_of(self.alignment));
        let read = read_full(file, &mut buffer, offset)?;
        Ok((Arc::new(buffer), 0..read.min(len)))
    }
}
