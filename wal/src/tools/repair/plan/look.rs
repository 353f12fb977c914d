//! What is there: every file is opened, and what cannot be used is made usable in the view, or hidden in it.

use super::super::headers::{self, Told};
use super::{Numbers, Planner};
use crate::error::OpenError;
use crate::format::checkpoint::FILE_NAMES;
use crate::format::record::SegmentSummary;
use crate::format::segment::SegmentHeader;
use crate::numbers::SegmentNumber;
use crate::segment::file::{self, Opened, path_of};
use crate::storage::Directory;
use crate::tools::Finding;
use crate::tools::survey::{SlotContent, look_at_slot};

impl Planner {
    /// Opens every file.
    pub(super) fn look(&mut self) -> Result<(), OpenError> {
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
}
