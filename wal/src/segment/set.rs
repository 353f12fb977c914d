//! The segments of a running log: those that hold events, those prepared for the next ones, and spares.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::broken;
use crate::format::record::{SegmentSummary, Snapshot};
use crate::numbers::SegmentNumber;
use crate::segment::file::SegmentFile;

/// Guarded by the log's lock; changed by the submitter (rolls) and the keeper (everything else).
#[derive(Debug)]
pub struct Segments {
    /// Sealed segments with frames, oldest first; `None`: not read yet in this life.
    pub sealed: BTreeMap<SegmentNumber, Option<SegmentSummary>>,
    /// Of those of which no table could be read: all their events are below this one.
    pub bounds: BTreeMap<SegmentNumber, u64>,
    /// The one that is written.
    pub active: SegmentNumber,
    /// Header, name and directory entry are durable: the next ones to be written, in order.
    pub prepared: VecDeque<SegmentFile>,
    /// Files that hold nothing, by the number in their names.
    pub spares: Vec<SegmentNumber>,
    /// Released segments whose files could be neither renamed nor removed, and when to try again.
    pub stuck: Vec<(SegmentNumber, Duration)>,
    /// Highest number in any name.
    pub highest: SegmentNumber,
    /// A commit waits for a segment of this many bytes.
    pub wanted_bytes: u64,
    /// The active segment's snapshot is synced: older state is not needed to recover.
    pub snapshot_synced: bool,
    /// Bytes of all files, about.
    pub disk_bytes: u64,
}

impl Segments {
    /// Summaries for a snapshot, oldest first.
    pub fn table(&self) -> Vec<SegmentSummary> {
        // Without holes: what a table that reaches below a segment does not name is empty to a start.
        let mut table: Vec<_> =
            self.sealed.values().rev().take(Snapshot::SEGMENTS_MAX).map_while(|summary| *summary).collect();
        table.reverse();
        table
    }

    /// A sealed segment whose events are all released, or that has none: nothing needs it once the active segment's
    /// snapshot is synced.
    pub fn releasable(&self, synced_low: u64) -> Option<SegmentNumber> {
        if !self.snapshot_synced {
            return None;
        }
        let done = |summary: &SegmentSummary| {
            let end = if broken::trims_early() { summary.first_event + 1 } else { summary.end_event };
            end <= synced_low || summary.first_event == summary.end_event
        };
        let below = |number: &SegmentNumber| self.bounds.get(number).is_some_and(|end| *end <= synced_low);
        let ends = |(number, summary): &(&SegmentNumber, &Option<SegmentSummary>)| match summary {
            Some(summary) => done(summary),
            None => below(number),
        };
        self.sealed.iter().find(ends).map(|(number, _)| *number)
    }

    /// The first sealed segment of which nothing is known, if all before it are of no use to anybody or may be: behind one
    /// whose events are still to be delivered none can be given back.
    pub fn unknown(&self) -> Option<SegmentNumber> {
        let mut oldest = self.sealed.iter().take_while(|(_, summary)| summary.is_none());
        oldest.find(|(number, _)| !self.bounds.contains_key(number)).map(|(number, _)| *number)
    }

    /// The segments behind `number` that hold frames, the active one last.
    pub fn above(&self, number: SegmentNumber) -> impl Iterator<Item = SegmentNumber> {
        let sealed = self.sealed.range(number.next()..).map(|(number, _)| *number);
        sealed.chain([self.active])
    }

    /// The segment after `number` that holds frames: sealed, or the active one.
    pub fn successor(&self, number: SegmentNumber) -> Option<SegmentNumber> {
        let sealed = self.sealed.range(number.next()..).next().map(|(number, _)| *number);
        sealed.or_else(|| (number < self.active).then_some(self.active))
    }

    /// So many bytes of files are no more.
    pub fn give_back(&mut self, bytes: u64) {
        self.disk_bytes = self.disk_bytes.saturating_sub(bytes);
    }

    /// Prepared segments and spares: what a full disk still has for us.
    pub fn reserve(&self) -> usize {
        self.prepared.len() + self.spares.len()
    }
}
