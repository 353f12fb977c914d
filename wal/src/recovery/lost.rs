//! Where events have their place that were synced and whose frames are lost.
//!
//! Their numbers are used and must not be given again, and the segment in which they stood must neither be cut nor used again:
//! the bytes may be put right. The header of the next frame that is left tells how far the numbers go. In which segment they
//! stood it tells only within one. Around a segment's begin, and where a file between two segments has no frame at all, nobody
//! can say; then every segment that has room for them holds their place, and readers look in all of these.

use std::collections::BTreeMap;

use super::Recovered;
use super::scan::ScannedFrame;
use crate::format::record::SegmentSummary;
use crate::numbers::{FrameNumber, Place, SegmentNumber};
use crate::segment::file::SegmentFile;

/// The first frame, and the first event, that no frame before a place holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lost {
    pub first_frame: FrameNumber,
    pub first_event: u64,
}

impl Lost {
    /// A table's entry that begins with it.
    pub(super) fn summary(self, file: &SegmentFile) -> SegmentSummary {
        SegmentSummary {
            segment: file.number(),
            salt: file.header.salt,
            first_frame: self.first_frame,
            first_event: self.first_event,
            ..SegmentSummary::default()
        }
    }
}

/// Holds the place of events below the first one of `frame` that no frame before it has. `files` are those that were scanned.
pub(super) fn hold_lost(
    recovered: &mut Recovered,
    summaries: &mut BTreeMap<SegmentNumber, SegmentSummary>,
    files: &[SegmentFile],
    (file, frame): (&SegmentFile, &ScannedFrame),
    lost: Lost,
) {
    let event = frame.header.first_event;
    if event <= recovered.next_event {
        return;
    }
    recovered.next_event = event;
    let last_frame = FrameNumber(frame.header.frame.0.saturating_sub(1));
    let Some(last) = summaries.values_mut().next_back() else { return };
    if last.segment == file.number() {
        (last.end_event, last.last_frame) = (event, last_frame);
        last.end_offset = last.end_offset.max(frame.offset);
        return;
    }
    let below = last.segment;
    let len = files.iter().find(|file| file.number() == below).map_or(last.end_offset, |file| file.len);
    let has_room = last.end_offset + u64::from(file.header.alignment) <= len;
    // Without room below and with its own first frame, a segment in between is missing: the one below speaks for it.
    if has_room || !begins_lost(file, frame) {
        (last.end_event, last.last_frame) = (event, last_frame);
        last.end_offset = last.end_offset.max(len);
    }
    for between in files.iter().filter(|between| below < between.number() && between.number() < file.number())
    {
        let (end_event, end_offset) = (event, between.len);
        let summary = SegmentSummary { last_frame, end_event, end_offset, ..lost.summary(between) };
        summaries.insert(between.number(), summary);
    }
}

/// Holds the segment of a frame that does not stay there, where synced frames before it are lost and may have stood in it too.
pub(super) fn hold_segment(
    summaries: &mut BTreeMap<SegmentNumber, SegmentSummary>,
    kept_files: &mut Vec<SegmentFile>,
    (file, frame): (&SegmentFile, &ScannedFrame),
    lost: Lost,
) {
    let header = &frame.header;
    let holds_some = begins_lost(file, frame) && lost.first_event < header.first_event;
    if !holds_some || summaries.contains_key(&file.number()) {
        return;
    }
    let last_frame = FrameNumber(header.frame.0.saturating_sub(1));
    let (end_event, end_offset) = (header.first_event, frame.offset);
    let summary = SegmentSummary { last_frame, end_event, end_offset, ..lost.summary(file) };
    summaries.insert(file.number(), summary);
    kept_files.push(file.clone());
}

/// Whether something stood before the first frame that is left of a segment.
pub(super) fn begins_lost(file: &SegmentFile, first_left: &ScannedFrame) -> bool {
    first_left.offset > file.header.data_offset()
}

/// Events below `event`, in frames up to `frame`, were synced before the log was reopened, and no frame that is left is above
/// them: the last segment holds their place, up to `until`.
pub(super) fn hold_known(
    recovered: &mut Recovered,
    summaries: &mut BTreeMap<SegmentNumber, SegmentSummary>,
    (frame, event): (FrameNumber, u64),
    until: Place,
) {
    if event <= recovered.next_event {
        return;
    }
    recovered.next_event = event;
    if let Some(last) = summaries.values_mut().next_back() {
        (last.end_event, last.last_frame) = (event, frame);
        if last.segment == until.segment {
            last.end_offset = last.end_offset.max(until.offset);
        }
    }
}
