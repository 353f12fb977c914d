//! What is lost: the events that no reader gets any more, what stands in their place, and what goes with it.

use std::collections::BTreeMap;

use super::{Numbers, Planner};
use crate::error::OpenError;
use crate::format::record::SegmentSummary;
use crate::numbers::SegmentNumber;
use crate::read::extents::{BadPlace, Bounds, Extents, extents};
use crate::segment::file::SegmentFile;
use crate::storage::Directory;
use crate::tools::Finding;

impl Planner {
    /// Finds the events that cannot be read, and what stands in their place.
    pub(super) fn judge(&mut self, refusal: Option<OpenError>) -> Result<(), OpenError> {
        let opened = self.plan.recovered.live.iter().map(|number| self.open(*number));
        let files: Vec<SegmentFile> = opened.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        let found = self.extents(&files)?;
        let recovered = &self.plan.recovered;
        let cursor = &recovered.state.cursor;
        let mut readable = cursor.clone();
        for (first, end) in found.values().flat_map(|found| found.readable.iter().copied()) {
            readable.release(first, end);
        }
        let mut lost = Vec::new();
        let (mut first, mut end) = readable.unreleased_from(0);
        while first < recovered.next_event {
            lost.push((first, end.min(recovered.next_event)));
            (first, end) = readable.unreleased_from(end);
        }
        if let Some(below) = recovered.missing_below {
            let events = (recovered.missing_from, below);
            lost.insert(0, events);
            let what = "the oldest segments are missing; these events were not all delivered".to_string();
            let path = self.data.path().to_path_buf();
            let events = Some((events.0, Some(events.1)));
            self.remedy(Finding { path, offset: 0, what, frames: None, events }, "given up");
        }
        let mut uncovered = crate::state::Cursor::default();
        for (number, place) in
            found.iter().flat_map(|(number, found)| found.bad.iter().map(move |bad| (*number, bad)))
        {
            self.bad_place(number, place, &found[&number], &lost, &mut uncovered);
        }
        self.tail();
        self.missing_segments(&lost, &mut uncovered);
        for remedy in &self.plan.remedies {
            if let Some((first, Some(end))) = remedy.finding.events {
                uncovered.release(first, end);
            }
        }
        for &(first, end) in &lost {
            let (first, run_end) = uncovered.unreleased_from(first);
            if first < end {
                let what = "no frame holds these events".to_string();
                let events = Some((first, Some(end.min(run_end))));
                let path = self.data.path().to_path_buf();
                self.remedy(Finding { path, offset: 0, what, frames: None, events }, "given up");
            }
        }
        for &(first, end) in &lost {
            self.plan.recovered.state.cursor.release(first, end);
        }
        self.plan.lost = lost;
        if let Some(refusal) = refusal.filter(|_| self.plan.remedies.is_empty()) {
            self.refused_still(&refusal);
        }
        if !self.plan.remedies.is_empty() {
            self.copy_what_goes();
        }
        Ok(())
    }

    fn summary(&self, file: &SegmentFile) -> Option<SegmentSummary> {
        let of_start = self.plan.recovered.segments.iter().find(|summary| summary.segment == file.number());
        of_start.copied()
    }

    fn extents(&self, files: &[SegmentFile]) -> Result<BTreeMap<SegmentNumber, Extents>, OpenError> {
        let read = |file: &SegmentFile, bounds| {
            extents(file, bounds).map_err(self.io("read", &file.number().file_name()))
        };
        let mut ceilings = Vec::new();
        let mut ceiling = self.plan.recovered.next_event;
        for file in files.iter().rev() {
            // Where frames were lost around a segment's begin the table has their events in both segments.
            let own_end = self.summary(file).map_or(0, |summary| summary.end_event);
            ceilings.push(ceiling.max(own_end));
            let first = match self.summary(file) {
                Some(summary) => Some(summary.first_event),
                None => match self.first_frame(file)? {
                    Some(first) => Some(first.snapshot.next_event),
                    None => {
                        read(file, Bounds { summary: None, begins: None, ceiling: u64::MAX })?.first_event
                    }
                },
            };
            ceiling = ceiling.min(first.unwrap_or(ceiling));
        }
        let mut found = BTreeMap::new();
        let mut begins = None;
        for (file, ceiling) in files.iter().zip(ceilings.into_iter().rev()) {
            found.insert(file.number(), read(file, Bounds { summary: self.summary(file), begins, ceiling })?);
            begins = Some(ceiling);
        }
        Ok(found)
    }

    /// A place whose events are given up, or that a start stumbles over.
    fn bad_place(
        &mut self,
        number: SegmentNumber,
        place: &BadPlace,
        of: &Extents,
        lost: &[(u64, u64)],
        uncovered: &mut crate::state::Cursor,
    ) {
        let overlaps = |events: (u64, u64)| lost.iter().any(|lost| lost.0 < events.1 && events.0 < lost.1);
        // Where nothing says which events a place before the first frame held, those before that frame's are missing.
        let unknown = place.events.is_none()
            && of.first_event.is_some_and(|first| lost.iter().any(|lost| lost.0 < first && first <= lost.1))
            && of.bad.first() == Some(place);
        let costs = unknown || place.events.is_some_and(overlaps);
        let met = self.plan.recovered.damage.iter().any(|damage| {
            damage.place.segment == number && (place.offset..place.end).contains(&damage.place.offset)
        });
        if !costs && !met {
            return;
        }
        if let Some((first, end)) = place.events {
            uncovered.release(first, end);
        }
        let of = Numbers { frames: place.frames, events: place.events };
        self.copy(number, (place.offset, place.end), &place.what, of);
        let finding = Finding {
            path: self.path(number),
            offset: place.offset,
            what: place.what.clone(),
            frames: place.frames,
            events: place.events.map(|(first, end)| (first, Some(end))),
        };
        let action = if costs { "set aside; its events are given up" } else { "set aside; no event is lost" };
        self.remedy(finding, action);
    }

    /// What a start finds damaged behind the last frame that is left.
    fn tail(&mut self) {
        for damage in self.plan.recovered.damage.clone() {
            let path = self.path(damage.place.segment);
            let known = self.plan.remedies.iter().any(|remedy| {
                remedy.finding.path == path
                    && remedy
                        .finding
                        .frames
                        .is_none_or(|frames| frames.0 <= damage.last_frame && damage.first_frame <= frames.1)
            });
            if known {
                continue;
            }
            let frames = Some((damage.first_frame, damage.last_frame));
            let of = Numbers { frames, events: None };
            self.copy(damage.place.segment, (damage.place.offset, u64::MAX), damage.what, of);
            let what = damage.what.to_string();
            let finding = Finding { path, offset: damage.place.offset, what, frames, events: None };
            self.remedy(finding, "set aside");
        }
    }

    fn missing_segments(&mut self, lost: &[(u64, u64)], uncovered: &mut crate::state::Cursor) {
        let missing = self.tables.values().filter(|summary| !self.numbers.contains(&summary.segment));
        let missing: Vec<_> = missing
            .filter(|s| lost.iter().any(|lost| lost.0 < s.end_event && s.first_event < lost.1))
            .copied()
            .collect();
        for summary in missing {
            uncovered.release(summary.first_event, summary.end_event);
            let finding = Finding {
                path: self.path(summary.segment),
                offset: 0,
                what: "the segment is missing".to_string(),
                frames: Some((summary.first_frame.0, summary.last_frame.0)),
                events: Some((summary.first_event, Some(summary.end_event))),
            };
            self.remedy(finding, "its events are given up");
        }
    }

    /// A start is refused and no event is lost: what it needs to begin is, or the disk cannot read what means nothing.
    fn refused_still(&mut self, refusal: &OpenError) {
        if let OpenError::Foreign { path, reason, .. } = refusal {
            let (path, what) = (path.clone(), reason.clone());
            let finding = Finding { path, offset: 0, what, frames: None, events: None };
            self.remedy(finding, "the state is told from the frames");
        }
        for number in self.numbers.clone() {
            let unreadable = self.data.unreadable(&number.file_name());
            let (Some(&first), Some(&last)) = (unreadable.first(), unreadable.last()) else { continue };
            let end = last + self.data.alignment() as u64;
            self.copy(number, (first, end), "the disk cannot read it", Numbers::default());
            let what = refusal.to_string();
            let finding =
                Finding { path: self.path(number), offset: first, what, frames: None, events: None };
            self.remedy(finding, "set aside; no event is lost");
        }
    }

    /// What the new life cuts off or uses again, beside what was found damaged.
    fn copy_what_goes(&mut self) {
        if let Some(last) = self.plan.recovered.last_segment.clone() {
            let summary = self.summary(&last);
            let end = summary
                .filter(|s| s.first_event < s.end_event && s.end_offset < last.len)
                .map(|s| s.end_offset);
            if let Some(end) = end.filter(|end| !blank(&last, *end)) {
                let what = "behind the last frame that is kept";
                self.copy(last.number(), (end, last.len), what, Numbers::default());
            }
        }
        let recovered = &self.plan.recovered;
        for number in [&recovered.empty[..], &recovered.emptied].concat() {
            let named =
                self.tables.get(&number).is_some_and(|summary| summary.first_event < summary.end_event);
            if named || self.plan.recovered.live.is_empty() {
                self.copy(number, (0, u64::MAX), "no frame of the segment verifies", Numbers::default());
            }
        }
    }
}

/// Whether a segment's blocks from `offset` on are all zero.
fn blank(file: &SegmentFile, offset: u64) -> bool {
    let mut blocks = crate::read::extents::Blocks::new(file);
    let alignment = u64::from(file.header.alignment);
    (offset..file.len)
        .step_by(alignment as usize)
        .all(|at| blocks.get(at, alignment as usize).is_ok_and(|block| block.iter().all(|byte| *byte == 0)))
}
