//! What a repair will do, from reading everything and changing nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::headers::{self, Told};
use super::view::View;
use crate::directories::Directories;
use crate::error::OpenError;
use crate::format::checkpoint::{Checkpoint, FILE_NAMES};
use crate::format::record::SegmentSummary;
use crate::format::segment::SegmentHeader;
use crate::numbers::{FrameNumber, SegmentNumber};
use crate::quarantine::Note;
use crate::read::extents::{BadPlace, Bounds, Extents, extents};
use crate::recovery::{self, FirstFrame, Found, Known, Recovered, read_snapshot_frame, scan};
use crate::segment::file::{self, Opened, SegmentFile, path_of};
use crate::state::Space;
use crate::storage::Directory;
use crate::tools::Finding;
use crate::tools::survey::{SlotContent, look_at_slot};

/// Who writes the notes.
const BY: &str = "repair";

/// Something that is wrong, and what is done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remedy {
    /// What is wrong, and where.
    pub finding: Finding,
    /// What is done.
    pub action: String,
}

/// Bytes that are copied before anything is changed.
#[derive(Debug)]
pub struct Copied {
    /// Of the checkpoint directory instead of that of the segments.
    pub checkpoint: bool,
    /// What is copied, and the text for it.
    pub note: Note,
}

/// What a repair will do.
#[derive(Debug)]
pub struct Plan {
    /// What is wrong.
    pub remedies: Vec<Remedy>,
    /// What is set aside.
    pub copies: Vec<Copied>,
    /// Headers to be written again.
    pub headers: Vec<SegmentHeader>,
    /// Segment files that nothing can be read from.
    pub useless: Vec<SegmentNumber>,
    /// Checkpoint files that the disk cannot read.
    pub useless_slots: Vec<&'static str>,
    /// Events that are given up: ranges, rising.
    pub lost: Vec<(u64, u64)>,
    /// What the new life begins with. Its files are those of the view.
    pub recovered: Recovered,
}

/// Makes the plan. An error is what no repair can help with.
pub fn plan(dirs: &Directories) -> Result<(Plan, Views), OpenError> {
    let refusal = match recovery::recover(dirs, Known::default()) {
        Ok(_) => None,
        Err(error) if error.repair_helps() => Some(error),
        Err(error) => return Err(error),
    };
    let data = Arc::new(View::new(Arc::clone(&dirs.data)));
    let same = dirs.data.path() == dirs.checkpoint.path();
    let checkpoint = if same { Arc::clone(&data) } else { Arc::new(View::new(Arc::clone(&dirs.checkpoint))) };
    let mut planner = Planner {
        data,
        checkpoint,
        plan: Plan {
            remedies: Vec::new(),
            copies: Vec::new(),
            headers: Vec::new(),
            useless: Vec::new(),
            useless_slots: Vec::new(),
            lost: Vec::new(),
            recovered: Recovered::default(),
        },
        numbers: BTreeSet::new(),
        highest: SegmentNumber(0),
        tables: BTreeMap::new(),
        checkpoints: Vec::new(),
        log_id: None,
    };
    planner.look()?;
    planner.recover()?;
    planner.judge(refusal)?;
    Ok((planner.plan, Views { data: planner.data, checkpoint: planner.checkpoint }))
}

/// Both directories as the plan saw them.
#[derive(Debug)]
pub struct Views {
    pub data: Arc<View>,
    pub checkpoint: Arc<View>,
}

struct Planner {
    data: Arc<View>,
    checkpoint: Arc<View>,
    plan: Plan,
    /// All files with a segment's name.
    numbers: BTreeSet<SegmentNumber>,
    /// Highest number in any name.
    highest: SegmentNumber,
    /// What any snapshot or checkpoint says of a segment; of several the one that saw more of it.
    tables: BTreeMap<SegmentNumber, SegmentSummary>,
    /// Sound checkpoints with their sequence and slot, newest first.
    checkpoints: Vec<(Checkpoint, u64, usize)>,
    log_id: Option<u128>,
}

impl Planner {
    fn path(&self, number: SegmentNumber) -> PathBuf {
        path_of(&*self.data, &number.file_name())
    }

    fn io(&self, action: &'static str, name: &str) -> impl FnOnce(io::Error) -> OpenError + use<> {
        let path = path_of(&*self.data, name);
        move |source| OpenError::Io { action, path, source }
    }

    fn remedy(&mut self, finding: Finding, action: impl Into<String>) {
        self.plan.remedies.push(Remedy { finding, action: action.into() });
    }

    fn copy(&mut self, number: SegmentNumber, place: (u64, u64), what: &str, of: Numbers) {
        let note = Note {
            file: number.file_name(),
            offset: place.0,
            bytes: place.1.saturating_sub(place.0),
            what: what.to_string(),
            frames: of.frames,
            events: of.events,
            log_id: self.log_id,
            by: BY,
        };
        self.plan.copies.push(Copied { checkpoint: false, note });
    }

    /// Opens every file; what cannot be used is made usable in the view, or hidden in it.
    fn look(&mut self) -> Result<(), OpenError> {
        self.look_at_checkpoints()?;
        for entry in self.data.list().map_err(self.io("list", ""))? {
            let number = SegmentNumber::parse(&entry.name);
            self.numbers.extend(number);
            let spare = SegmentNumber::parse_spare(&entry.name);
            self.highest = self.highest.max(number.or(spare).unwrap_or_default());
        }
        let mut told = Told::default();
        let mut unusable = Vec::new();
        for number in self.numbers.clone() {
            let name = number.file_name();
            let file = match file::open(&*self.data, number).map_err(self.io("read", &name))? {
                Opened::Segment(file) => file,
                Opened::Newer(reason) => return Err(OpenError::Newer { path: self.path(number), reason }),
                Opened::Spare => {
                    unusable.push((number, false));
                    continue;
                }
                Opened::Headerless => {
                    unusable.push((number, true));
                    continue;
                }
            };
            // A header of which one copy verifies and the other cannot be read: no reader gets as far as the sound one.
            if self.data.unreadable(&name).iter().any(|block| *block < file.header.data_offset()) {
                self.write_again(file.header, "a copy of the header cannot be read");
            }
            if *self.log_id.get_or_insert(file.header.log_id) != file.header.log_id {
                let reason =
                    "its segments belong to different logs; put the foreign ones elsewhere".to_string();
                return Err(OpenError::Foreign { path: self.path(number), reason, repairable: false });
            }
            told.alignments.push(file.header.alignment);
            let first = self.first_frame(&file)?;
            for summary in first.into_iter().flat_map(|first| first.snapshot.segments) {
                self.table(summary);
            }
        }
        self.log_id = self.log_id.or(self.checkpoints.first().map(|(newest, ..)| newest.log_id));
        told.log_id = self.log_id;
        for (number, summary) in &self.tables {
            told.salts.entry(*number).or_default().push(summary.salt);
        }
        unusable.into_iter().try_for_each(|(number, headerless)| self.retell(number, headerless, &told))
    }

    fn look_at_checkpoints(&mut self) -> Result<(), OpenError> {
        for (slot, name) in FILE_NAMES.into_iter().enumerate() {
            let content = look_at_slot(&*self.checkpoint, name);
            if let SlotContent::Sound(found, sequence) = &content {
                self.checkpoints.push(((**found).clone(), *sequence, slot));
            }
            if let SlotContent::Unreadable(source) = content {
                let path = path_of(&*self.checkpoint, name);
                return Err(OpenError::Io { action: "open", path, source });
            }
            if self.checkpoint.unreadable(name).is_empty() {
                continue;
            }
            self.checkpoint.hide(name);
            self.checkpoints.retain(|(.., sound)| *sound != slot);
            self.plan.useless_slots.push(name);
            let what = "the checkpoint cannot be read".to_string();
            let path = path_of(&*self.checkpoint, name);
            self.remedy(
                Finding { path, offset: 0, what, frames: None, events: None },
                "removed: the log does not need it",
            );
        }
        self.checkpoints.sort_by_key(|(_, sequence, _)| std::cmp::Reverse(*sequence));
        let named: Vec<_> =
            self.checkpoints.iter().flat_map(|(found, ..)| found.snapshot.segments.clone()).collect();
        named.into_iter().for_each(|summary| self.table(summary));
        Ok(())
    }

    fn table(&mut self, summary: SegmentSummary) {
        let known = self.tables.entry(summary.segment).or_insert(summary);
        if known.last_frame < summary.last_frame {
            *known = summary;
        }
    }

    fn write_again(&mut self, header: SegmentHeader, what: &str) {
        let path = self.path(header.segment);
        self.data.show_header(&header.segment.file_name(), header.encode());
        self.plan.headers.push(header);
        self.copy(header.segment, (0, header.data_offset()), what, Numbers::default());
        let finding = Finding { path, offset: 0, what: what.to_string(), frames: None, events: None };
        self.remedy(finding, "the header is written again; the frames behind it count");
    }

    /// A file without a usable header: its frames may prove what the header was.
    fn retell(&mut self, number: SegmentNumber, headerless: bool, told: &Told) -> Result<(), OpenError> {
        let name = number.file_name();
        let summary = self.tables.get(&number).copied();
        // A sound header of another number is a spare's, unless a table knows the file as a segment with events.
        if !headerless && summary.is_none_or(|summary| summary.first_event == summary.end_event) {
            return Ok(());
        }
        let file = self.data.open(&name).map_err(self.io("open", &name))?;
        let len = file.len().map_err(self.io("read", &name))?;
        let told =
            headers::retell(&*self.data, &file, number, told, headerless).map_err(self.io("read", &name))?;
        if let Some(header) = told {
            self.write_again(header, "neither copy of the segment's header verifies");
            return Ok(());
        }
        if !headerless {
            return Ok(());
        }
        self.data.hide(&name);
        self.plan.useless.push(number);
        let what = "neither copy of the segment's header verifies, and no frame proves what it was";
        let of = Numbers {
            frames: summary.map(|summary| (summary.first_frame.0, summary.last_frame.0)),
            events: summary.map(|summary| (summary.first_event, summary.end_event)),
        };
        self.copy(number, (0, len), what, of);
        let finding = Finding {
            path: self.path(number),
            offset: 0,
            what: what.to_string(),
            frames: of.frames,
            events: of.events.map(|(first, end)| (first, Some(end))),
        };
        self.remedy(finding, "set aside and removed");
        Ok(())
    }

    /// What a start would find in the view, with what only this operator can allow.
    fn recover(&mut self) -> Result<(), OpenError> {
        let dirs = Directories { data: self.data.clone(), checkpoint: self.checkpoint.clone() };
        let newest = self.checkpoints.first().map(|(newest, ..)| newest.clone());
        let mut known = Known::default();
        let mut given_up = None;
        let mut recovered = match recovery::recover(&dirs, known) {
            Err(error @ OpenError::Foreign { .. }) if error.repair_helps() || self.nothing_is_left() => {
                // What the checkpoint vouches for and is not there was synced: none of its numbers may be given again.
                given_up = newest.filter(|newest| self.log_id == Some(newest.log_id));
                if let Some(checkpoint) = &given_up {
                    known.synced_frame = checkpoint.frame;
                    known.synced_event = checkpoint.snapshot.next_event;
                    self.give_up_checkpoints(&error);
                }
                recovery::rebuild(&dirs, known)?
            }
            recovered => recovered?,
        };
        // An intact frame behind a place that the disk cannot read may have been acked, and so may what stood there.
        let beyond = self.highest_beyond_unreadable()?;
        if beyond > recovered.last_kept {
            known.synced_frame = known.synced_frame.max(beyond);
            recovered = recovery::rebuild(&dirs, known)?;
        }
        if let Some(checkpoint) = &given_up {
            // Delivered is delivered, and with it holds what the sinks know. What sources have put and is not here is for
            // them to put again, if they can.
            let state = checkpoint.snapshot.state.clone();
            let cursor = &mut recovered.state.cursor;
            if state.cursor.low < cursor.low && recovered.missing_below.is_none() {
                (recovered.missing_from, recovered.missing_below) = (state.cursor.low, Some(cursor.low));
            }
            cursor.raise(state.cursor.low);
            state.cursor.above().for_each(|(first, end)| cursor.release(first, end));
            recovered.state.owners.retain(|(space, _), _| *space == Space::Source);
            recovered
                .state
                .owners
                .extend(state.owners.into_iter().filter(|((space, _), _)| *space == Space::Sink));
        }
        recovered.log_id = self.log_id;
        recovered.highest_number = self.highest;
        recovered.checkpoint = self.checkpoints.first().map(|(_, sequence, slot)| (*sequence, *slot));
        let missing = |summary: &SegmentSummary| !recovered.live.contains(&summary.segment);
        let missing: BTreeSet<_> =
            recovered.segments.iter().filter(|summary| missing(summary)).map(|s| s.segment).collect();
        recovered.segments.retain(|summary| !missing.contains(&summary.segment));
        self.plan.recovered = recovered;
        Ok(())
    }

    /// There are segments, and no header of any.
    fn nothing_is_left(&self) -> bool {
        !self.numbers.is_empty() && self.numbers.len() == self.plan.useless.len()
    }

    /// The checkpoint speaks of more than there is.
    fn give_up_checkpoints(&mut self, why: &OpenError) {
        for (_, _, slot) in self.checkpoints.clone() {
            let name = FILE_NAMES[slot];
            self.checkpoint.hide(name);
            let note = Note {
                file: name.to_string(),
                bytes: u64::MAX,
                what: "it speaks of more than the log has".to_string(),
                log_id: self.log_id,
                by: BY,
                ..Note::default()
            };
            self.plan.copies.push(Copied { checkpoint: true, note });
        }
        let path = self.checkpoint.path().to_path_buf();
        let finding = Finding { path, offset: 0, what: why.to_string(), frames: None, events: None };
        self.remedy(finding, "set aside; the log goes on with what is there, and gives no number again");
    }

    fn highest_beyond_unreadable(&self) -> Result<FrameNumber, OpenError> {
        let mut highest = FrameNumber(0);
        for &number in &self.numbers {
            let name = number.file_name();
            let Some(&first) = self.data.unreadable(&name).first() else { continue };
            let Some(file) = self.open(number)? else { continue };
            let found = scan(&file, file.header.data_offset());
            let found = found.map_err(|error| recovery::scan_error(&*self.data, &name, error))?;
            let intact =
                found.frames.iter().filter(|frame| frame.offset > first && frame.found == Found::Intact);
            highest = intact.fold(highest, |highest, frame| highest.max(frame.header.frame));
        }
        Ok(highest)
    }

    /// A segment in the view; `None` if it is not there or is none.
    fn open(&self, number: SegmentNumber) -> Result<Option<SegmentFile>, OpenError> {
        match file::open(&*self.data, number) {
            Ok(Opened::Segment(file)) => Ok(Some(file)),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.io("open", &number.file_name())(error)),
        }
    }

    /// Finds the events that cannot be read, and what stands in their place.
    fn judge(&mut self, refusal: Option<OpenError>) -> Result<(), OpenError> {
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
            ceilings.push(ceiling);
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

    fn first_frame(&self, file: &SegmentFile) -> Result<Option<FirstFrame>, OpenError> {
        let first = read_snapshot_frame(file);
        first.map_err(|error| recovery::scan_error(&*self.data, &file.number().file_name(), error))
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
        for number in self.plan.recovered.empty.clone() {
            let named =
                self.tables.get(&number).is_some_and(|summary| summary.first_event < summary.end_event);
            if named || self.plan.recovered.live.is_empty() {
                self.copy(number, (0, u64::MAX), "no frame of the segment verifies", Numbers::default());
            }
        }
    }
}

/// Numbers of what a place held.
#[derive(Clone, Copy, Default)]
struct Numbers {
    frames: Option<(u64, u64)>,
    events: Option<(u64, u64)>,
}

/// Whether a segment's blocks from `offset` on are all zero.
fn blank(file: &SegmentFile, offset: u64) -> bool {
    let mut blocks = crate::read::extents::Blocks::new(file);
    let alignment = u64::from(file.header.alignment);
    (offset..file.len)
        .step_by(alignment as usize)
        .all(|at| blocks.get(at, alignment as usize).is_ok_and(|block| block.iter().all(|byte| *byte == 0)))
}
