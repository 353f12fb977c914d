//! What the channel asks of a database, whichever it is: one change after the other, each whole and durable or not there at all.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flumen_wal::{ProgressOp, ProgressUpdate, ProgressValue, Space};

/// Version of the tables.
pub(super) const VERSION: i64 = 1;
/// How long a start waits for another agent to let go.
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Space and name of a source or sink.
pub(super) type OwnerKey = (Space, Arc<str>);
/// Progress by owner and key.
pub(super) type Owners = BTreeMap<OwnerKey, BTreeMap<String, ProgressValue>>;

/// A put as it is stored.
#[derive(Debug)]
pub(super) struct Row {
    pub first: u64,
    pub events: u64,
    pub chunk: Bytes,
}

/// What is delivered: all below `low`, and ranges above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Delivered {
    pub low: u64,
    pub above: BTreeMap<u64, u64>,
}

impl Delivered {
    /// Adds a range.
    pub fn add(&mut self, mut first: u64, mut end: u64) {
        let before = self.above.range(..=first).next_back().map(|(first, end)| (*first, *end));
        if let Some((earlier, until)) = before.filter(|(_, until)| *until >= first) {
            (first, end) = (earlier, end.max(until));
        }
        while let Some((next, until)) = self.above.range(first..).next().map(|(first, end)| (*first, *end))
            && next <= end
        {
            end = end.max(until);
            self.above.remove(&next);
        }
        self.above.insert(first, end);
        while let Some((first, end)) = self.above.first_key_value().map(|(first, end)| (*first, *end))
            && first <= self.low
        {
            self.low = self.low.max(end);
            self.above.remove(&first);
        }
    }

    /// How many are delivered above the lowest that is not.
    pub fn count_above(&self) -> u64 {
        self.above.iter().map(|(first, end)| end - first).sum()
    }
}

/// What one transaction does.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub rows: Vec<Row>,
    pub updates: Vec<ProgressUpdate>,
    /// What is delivered from now on, if that changed.
    pub delivered: Option<Delivered>,
    /// The next event's number.
    pub next: u64,
}

/// What is there.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub next: u64,
    pub delivered: Delivered,
    pub owners: Owners,
}

/// Why a database cannot be opened.
#[derive(Debug)]
pub(super) enum OpenFailed {
    /// Another process has it.
    Busy,
    /// It is not this channel's, or of a newer version.
    Foreign(String),
    /// Anything else.
    Other(String),
}

/// A database that this process has for itself.
pub(super) trait Database: Send {
    /// Carries a change out, durably, or not at all. After an error it may be there all the same: [`content`](Self::content) knows.
    fn commit(&mut self, change: &Change) -> Result<(), String>;

    /// Puts that hold any of the events `first..end`, in order, until their chunks have `bytes`.
    fn read(&mut self, first: u64, end: u64, bytes: usize) -> Result<Vec<Row>, String>;

    /// All but the events. What an earlier [`commit`](Self::commit) did is settled when this succeeds.
    fn content(&mut self) -> Result<Content, String>;
}

pub(super) fn number_of(space: Space) -> i64 {
    match space {
        Space::Source => 1,
        Space::Sink => 2,
    }
}

pub(super) fn owner_of(space: i64, owner: String) -> OwnerKey {
    (if space == 1 { Space::Source } else { Space::Sink }, owner.into())
}

/// What an update does, in memory.
pub(super) fn apply_in_memory(owners: &mut Owners, update: &ProgressUpdate) {
    let keys = owners.entry((update.space, update.owner.clone())).or_default();
    match &update.op {
        ProgressOp::Set { generation, from, to, rest } => {
            let value = ProgressValue { generation: *generation, from: *from, to: *to, rest: rest.clone() };
            keys.insert(update.key.clone(), value);
        }
        ProgressOp::Retire => drop(keys.remove(&update.key)),
        ProgressOp::Mark => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_join_and_the_low_mark_rises() {
        let mut delivered = Delivered::default();
        delivered.add(5, 7);
        delivered.add(9, 12);
        assert_eq!((delivered.low, delivered.count_above()), (0, 5));
        delivered.add(7, 9);
        assert_eq!(delivered.above, [(5, 12)].into());
        delivered.add(0, 3);
        assert_eq!(delivered.low, 3);
        delivered.add(3, 5);
        assert_eq!((delivered.low, delivered.above.len()), (12, 0));
        delivered.add(2, 11);
        assert_eq!((delivered.low, delivered.count_above()), (12, 0));
    }
}
