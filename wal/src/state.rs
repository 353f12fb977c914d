//! What the log knows beside the events: how far they were delivered, and the progress of sources and sinks.
//!
//! Releases and progress ride in frames; a snapshot holds the whole [`State`]. Applying a frame's records in order gives the
//! state behind that frame, in this process and in recovery alike.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

/// Whose progress it is: sources and sinks may have the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// A source's: how far its input is in the log.
    Source,
    /// A sink's: what holds at its destination.
    Sink,
}

/// A change of progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgressOp {
    /// The key stands at `to`.
    Set {
        /// Rises whenever the position may fall.
        generation: u64,
        /// Where the generation began, which is where a log stands that lacks the key. The same in each change of a
        /// generation: one that is written may stand for several.
        from: u64,
        /// The new position.
        to: u64,
        /// Opaque, at most 64 KiB.
        rest: Bytes,
    },
    /// Forget the key.
    Retire,
    /// No key: the log knows the owner from now on.
    Mark,
}

/// A change of one owner's progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressUpdate {
    /// Source or sink.
    pub space: Space,
    /// Its name.
    pub owner: Arc<str>,
    /// One of its keys; ignored by [`ProgressOp::Mark`].
    pub key: String,
    /// The change.
    pub op: ProgressOp,
}

impl ProgressUpdate {
    /// Whether it only makes the owner known.
    pub(crate) fn is_mark(&self) -> bool {
        matches!(self.op, ProgressOp::Mark)
    }

    /// Bytes that its record takes, about.
    pub(crate) fn encoded_len(&self) -> usize {
        let rest = match &self.op {
            ProgressOp::Set { rest, .. } => 28 + rest.len(),
            ProgressOp::Retire | ProgressOp::Mark => 0,
        };
        8 + 4 + 8 + self.owner.len() + self.key.len() + rest
    }
}

/// Where an owner stands along one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgressValue {
    /// As in [`ProgressOp::Set`].
    pub generation: u64,
    /// As in [`ProgressOp::Set`].
    pub from: u64,
    /// As in [`ProgressOp::Set`].
    pub to: u64,
    /// As in [`ProgressOp::Set`].
    pub rest: Bytes,
}

/// An owner's keys. An owner without keys is one that was marked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Its positions.
    pub keys: BTreeMap<String, ProgressValue>,
}

/// Space and name.
pub type OwnerKey = (Space, Arc<str>);

/// The consumer's position: everything below `low` is released, and so are the ranges above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Number of the first event that is not released.
    pub low: u64,
    /// first → end of released ranges above `low`; they neither touch nor overlap.
    above: BTreeMap<u64, u64>,
}

impl Cursor {
    /// A cursor with nothing released above `low`.
    pub fn at(low: u64) -> Self {
        Self { low, above: BTreeMap::new() }
    }

    /// Released ranges above `low`, rising.
    pub fn above(&self) -> impl Iterator<Item = (u64, u64)> {
        self.above.iter().map(|(&first, &end)| (first, end))
    }

    /// How many events above `low` are released.
    pub fn released_above(&self) -> u64 {
        self.above().map(|(first, end)| end - first).sum()
    }

    /// Releases `first..end`. Releasing twice is the same as once: a release may be repeated after a reopen.
    pub fn release(&mut self, first: u64, end: u64) {
        let (mut first, mut end) = (first.max(self.low), end);
        if first >= end {
            return;
        }
        // Ranges that touch or overlap first..end melt into it.
        while let Some((&near_first, &near_end)) = self.above.range(..=end).next_back() {
            if near_end < first {
                break;
            }
            self.above.remove(&near_first);
            first = first.min(near_first);
            end = end.max(near_end);
        }
        if first == self.low {
            self.low = end;
        } else {
            self.above.insert(first, end);
        }
    }

    /// The first event at or above `event` that is not released, and where the run of unreleased events from there ends
    /// (`u64::MAX` if it is open).
    pub fn unreleased_from(&self, event: u64) -> (u64, u64) {
        let mut event = event.max(self.low);
        if let Some((_, &end)) = self.above.range(..=event).next_back() {
            event = event.max(end);
        }
        let end = self.above.range(event..).next().map_or(u64::MAX, |(&first, _)| first);
        (event, end)
    }

    /// Everything below `low` is gone, released or not: the segments that held it are missing.
    pub fn raise(&mut self, low: u64) {
        self.release(self.low, low);
    }
}

/// What the log knows beside the events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The consumer's position.
    pub cursor: Cursor,
    /// Progress by owner.
    pub owners: BTreeMap<OwnerKey, Owner>,
}

impl State {
    /// Takes over a release.
    pub fn apply_release(&mut self, first: u64, end: u64) {
        self.cursor.release(first, end);
    }

    /// Takes over a change of progress.
    pub fn apply_progress(&mut self, update: &ProgressUpdate) {
        if let Some(owner) = self.owners.get_mut(&(update.space, Arc::clone(&update.owner)) as &OwnerKey) {
            owner.apply(update);
            return;
        }
        let mut owner = Owner::default();
        owner.apply(update);
        self.owners.insert((update.space, Arc::clone(&update.owner)), owner);
    }

    /// Where an owner stands; `None` if it was never marked and never set.
    pub fn owner(&self, space: Space, name: &str) -> Option<&Owner> {
        self.owners.get(&(space, Arc::from(name)))
    }
}

impl Owner {
    fn apply(&mut self, update: &ProgressUpdate) {
        match &update.op {
            ProgressOp::Set { generation, from, to, rest } => {
                let value =
                    ProgressValue { generation: *generation, from: *from, to: *to, rest: rest.clone() };
                match self.keys.get_mut(&update.key) {
                    Some(known) => *known = value,
                    None => drop(self.keys.insert(update.key.clone(), value)),
                }
            }
            ProgressOp::Retire => drop(self.keys.remove(&update.key)),
            ProgressOp::Mark => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_in_any_order_end_at_one_low_mark() {
        let mut orders =
            vec![vec![(0, 3), (3, 5), (5, 9)], vec![(5, 9), (3, 5), (0, 3)], vec![(3, 5), (0, 3), (5, 9)]];
        orders.push(vec![(2, 6), (0, 4), (6, 9), (1, 2)]);
        for order in orders {
            let mut cursor = Cursor::default();
            for &(first, end) in &order {
                cursor.release(first, end);
            }
            assert_eq!(cursor, Cursor { low: 9, above: BTreeMap::new() }, "{order:?}");
        }
    }

    #[test]
    fn a_gap_keeps_the_low_mark_down() {
        let mut cursor = Cursor::default();
        cursor.release(4, 6);
        cursor.release(8, 9);
        cursor.release(6, 7);
        assert_eq!((cursor.low, cursor.above().collect::<Vec<_>>()), (0, vec![(4, 7), (8, 9)]));
        assert_eq!(cursor.released_above(), 4);
        assert_eq!(cursor.unreleased_from(0), (0, 4));
        assert_eq!(cursor.unreleased_from(5), (7, 8));
        assert_eq!(cursor.unreleased_from(8), (9, u64::MAX));
    }
}
