//! What a repair will do, from reading everything and changing nothing.

mod judge;
mod look;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::view::View;
use crate::directories::Directories;
use crate::error::OpenError;
use crate::format::checkpoint::{Checkpoint, FILE_NAMES};
use crate::format::record::SegmentSummary;
use crate::format::segment::SegmentHeader;
use crate::numbers::{FrameNumber, SegmentNumber};
use crate::quarantine::Note;
use crate::recovery::{self, FirstFrame, Found, Known, Recovered, read_snapshot_frame, scan};
use crate::segment::file::{self, Opened, SegmentFile, path_of};
use crate::state::Space;
use crate::storage::Directory;
use crate::tools::Finding;

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
                found.frames.iter().filter(|frame| frame.offset > first && frame.found() == Found::Intact);
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

    fn first_frame(&self, file: &SegmentFile) -> Result<Option<FirstFrame>, OpenError> {
        let first = read_snapshot_frame(file);
        first.map_err(|error| recovery::scan_error(&*self.data, &file.number().file_name(), error))
    }
}

/// Numbers of what a place held.
#[derive(Clone, Copy, Default)]
struct Numbers {
    frames: Option<(u64, u64)>,
    events: Option<(u64, u64)>,
}
