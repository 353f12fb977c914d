//! Commits over several frames, as recovery meets them: whole, without their end, or with a damaged part.

use super::scan::{ScanError, ScannedFrame, read_controls};
use super::scan_error;
use super::table::Found;
use crate::error::OpenError;
use crate::format::codec::{self, Unread};
use crate::format::frame::{FrameHeader, Seed};
use crate::format::record::Record;
use crate::numbers::FrameNumber;
use crate::segment::file::SegmentFile;
use crate::segment::window::read_full;
use crate::storage::{AlignedBuf, Directory};

/// For each frame: whether its span has its end: every number is there up to the last frame, and all are intact, or the
/// last one is vouched for, so that a bad or missing one among them is damage. Frames outside spans are whole.
pub(super) fn find_whole(found: &[(SegmentFile, ScannedFrame)], evidence: FrameNumber) -> Vec<bool> {
    let mut whole = vec![true; found.len()];
    let mut i = 0;
    while i < found.len() {
        if !found[i].1.header.is_span() {
            i += 1;
            continue;
        }
        let first = i;
        // All frames of a span have its first event, also behind one of which nothing is left.
        let event = found[first].1.header.first_event;
        while found[i].1.header.has_more()
            && found
                .get(i + 1)
                .is_some_and(|(_, next)| next.header.is_span() && next.header.first_event == event)
        {
            i += 1;
        }
        let last = found[i].1.header;
        let span = &found[first..=i];
        let unbroken = span.windows(2).all(|pair| pair[0].1.header.frame.next() == pair[1].1.header.frame);
        let intact = unbroken && span.iter().all(|(_, frame)| frame.found() == Found::Intact);
        if last.has_more() || !(intact || last.frame <= evidence) {
            whole[first..=i].fill(false);
        }
        i += 1;
    }
    whole
}

/// The evidence, moved to the edge of a span that it ends in: a span is kept or written again as one. Where all is intact that
/// was not synced for certain, and what was synced is damaged, the commit may have been acked and is lost: the evidence then
/// goes up to the span's end, so that its events keep their numbers and its frames stay. Else it goes down to the span's start.
pub(super) fn settle(found: &[(SegmentFile, ScannedFrame)], evidence: FrameNumber) -> FrameNumber {
    let in_span = |frame: &ScannedFrame, event| frame.header.is_span() && frame.header.first_event == event;
    let Some(at) = found.iter().rposition(|(_, frame)| frame.header.frame <= evidence) else {
        return evidence;
    };
    let edge = &found[at].1.header;
    if !edge.is_span() || !edge.has_more() {
        return evidence;
    }
    let event = edge.first_event;
    let behind = found[at + 1..].iter().take_while(|(_, frame)| in_span(frame, event));
    let mut end = evidence;
    let mut ends = false;
    for (_, frame) in behind {
        if frame.header.frame != end.next() || frame.found() != Found::Intact {
            return evidence;
        }
        (end, ends) = (frame.header.frame, !frame.header.has_more());
        // What follows with the same events is a copy that a start made which did not come to its end.
        if ends {
            break;
        }
    }
    if !ends {
        return evidence;
    }
    let before =
        |(_, frame): &(SegmentFile, ScannedFrame)| !in_span(frame, event) || !frame.header.has_more();
    let first = found[..at].iter().rposition(before).map_or(0, |before| before + 1);
    let synced = &found[first..=at];
    let unbroken = synced.windows(2).all(|pair| pair[0].1.header.frame.next() == pair[1].1.header.frame)
        && edge.frame == evidence;
    match unbroken && synced.iter().all(|(_, frame)| frame.found() == Found::Intact) {
        true => FrameNumber(found[first].1.header.frame.0.saturating_sub(1)),
        false => end,
    }
}

/// The span that the walk is in, or has just passed.
pub(super) struct Passed {
    parts: Vec<(u64, FrameHeader)>,
    last: FrameNumber,
    /// More frames of the span follow the last one.
    open: bool,
    /// All frames of the span so far are there and intact.
    sound: bool,
}

impl Passed {
    /// Behind this frame no span is open.
    pub(super) fn behind(last: FrameNumber) -> Self {
        Self { parts: Vec::new(), last, open: false, sound: true }
    }

    /// Takes the next frame.
    pub(super) fn pass(&mut self, frame: &ScannedFrame) {
        let header = &frame.header;
        let follows = self.last.next() == header.frame;
        if !self.open || !follows {
            self.parts.clear();
            // Behind a gap nobody can say whether this is a span's first frame.
            self.sound = follows;
        }
        self.sound &= frame.found() == Found::Intact;
        self.parts.push((frame.offset, *header));
        self.last = header.frame;
        self.open = header.has_more();
    }

    /// The records that are not events of the frame that was passed last: its own, or at a span's last frame those of the
    /// span. A span that is damaged has none that could be told from its events.
    pub(super) fn controls(
        &self,
        data: &dyn Directory,
        file: &SegmentFile,
        frame: ScannedFrame,
    ) -> Result<Vec<Record<'static>>, OpenError> {
        if !frame.header.is_span() {
            return Ok(frame.controls);
        }
        if frame.header.has_more() || !self.sound {
            return Ok(Vec::new());
        }
        let name = file.number().file_name();
        read_span_tail(file, &self.parts).map_err(|error| scan_error(data, &name, error))
    }
}

/// Reads what follows the commit in a span: of the commit no more than the frame that says how long it is, and the one in
/// which it ends.
fn read_span_tail(
    file: &SegmentFile,
    span: &[(u64, FrameHeader)],
) -> Result<Vec<Record<'static>>, ScanError> {
    let read = |offset: u64, header: &FrameHeader| -> Result<Vec<u8>, ScanError> {
        let mut buffer = AlignedBuf::zeroed(header.padded_len(file.header.alignment) as usize);
        let got = read_full(&*file.file, &mut buffer, offset).map_err(ScanError::Io)?;
        let seed = Seed::new(file.header.salt, file.number(), offset);
        match codec::read(header, seed, &buffer[..got], &file.keys) {
            Ok(body) => Ok(body.into_owned()),
            Err(Unread::Bad(error)) => Err(ScanError::Format(offset, error)),
            Err(Unread::Locked(missing)) => Err(ScanError::Io(missing.into())),
        }
    };
    let short =
        |offset| ScanError::Format(offset, crate::format::FormatError { what: "span cut short", at: 0 });
    let (first_offset, first) = span[0];
    let head = read(first_offset, &first)?;
    let commit_len = head.get(4..8).ok_or_else(|| short(first_offset))?;
    let commit_len = u32::from_le_bytes(commit_len.try_into().expect("four bytes")) as usize;
    let is_commit = head[0] == crate::format::record::KIND_COMMIT;
    let mut skip = if is_commit { crate::format::record::HEADER_LEN + commit_len } else { 0 };
    let mut tail = Vec::new();
    for (offset, header) in span {
        let (offset, len) = (*offset, header.raw_len as usize);
        if skip >= len {
            skip -= len;
            continue;
        }
        tail.extend_from_slice(read(offset, header)?.get(skip..).ok_or_else(|| short(offset))?);
        skip = 0;
    }
    read_controls(&tail).map_err(|error| ScanError::Format(first_offset, error))
}
