//! What a put changes of its source's progress, and which of its events the channel has already.
//!
//! ```text
//!   one key, one generation:         known (the channel's position)
//!   ---------------------------------|------------------------------>
//!     from |--- dropped -------------|--- taken in ---| to            the position becomes `to`
//!     from |--- dropped ---| to                                       nothing changes
//! ```
//!
//! Positions of another generation say nothing about these: such events are taken in. An older generation than the known
//! one does not move the position either, or the newer one's events would be taken in twice.

use std::sync::Arc;

use flumen_api::batch::{Batch, Span};
use flumen_api::channel::SinkProgress;
use flumen_api::progress::{Position, Positions, Progress};
use flumen_wal::{ProgressOp, ProgressUpdate, ProgressValue, Space};

/// Where the channel stands along a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub generation: u64,
    pub began: u64,
    pub to: u64,
}

impl From<ProgressValue> for Known {
    fn from(value: ProgressValue) -> Self {
        Self { generation: value.generation, began: value.from, to: value.to }
    }
}

/// The events of `selection` that are new, given what is known of each of the batch's progress records. `None`: all of
/// `selection` are.
pub(super) fn new_events(
    batch: &Batch,
    selection: Option<&[u32]>,
    known: &[Option<Known>],
) -> Option<Vec<u32>> {
    // Of a key that stands no further than the put begins, nothing can be known: the usual case, at no cost by event.
    let known_to: Vec<u64> = batch
        .progress()
        .iter()
        .zip(known)
        .map(|(made, known)| match known {
            Some(known) if known.generation == made.generation && known.to > made.from => known.to,
            _ => 0,
        })
        .collect();
    if known_to.iter().all(|to| *to == 0) {
        return None;
    }
    let is_new = |span: &Span| known_to.get(span.origin as usize).is_none_or(|to| span.position > *to);
    let spans = batch.spans();
    Some(match selection {
        None => (0..).zip(spans).filter(|(_, span)| is_new(span)).map(|(i, _)| i).collect(),
        Some(selection) => selection.iter().copied().filter(|&i| is_new(&spans[i as usize])).collect(),
    })
}

/// What the batch's progress changes, given what is known.
pub(super) fn updates(source: &Arc<str>, made: &[Progress], known: &[Option<Known>]) -> Vec<ProgressUpdate> {
    let changes = |made: &Progress, known: &Option<Known>| match *known {
        Some(known) if known.generation > made.generation => false,
        Some(known) if known.generation == made.generation => made.retire || made.to > known.to,
        _ => true,
    };
    made.iter()
        .zip(known)
        .filter(|(made, known)| changes(made, known))
        .map(|(made, known)| update(source, made, *known))
        .collect()
}

/// The change that one progress record of a source asks for. A generation that the channel knows began where it did.
pub(super) fn update(source: &Arc<str>, made: &Progress, known: Option<Known>) -> ProgressUpdate {
    let op = match (made.retire, known) {
        (true, _) => ProgressOp::Retire,
        (false, known) => {
            let began = known.filter(|known| known.generation == made.generation).map(|known| known.began);
            let (generation, to, rest) = (made.generation, made.to, made.rest.clone());
            ProgressOp::Set {
                generation,
                from: began.map_or(made.from, |began| began.min(made.from)),
                to,
                rest,
            }
        }
    };
    ProgressUpdate { space: Space::Source, owner: source.clone(), key: made.key.clone(), op }
}

/// The same for a sink.
pub(super) fn sink_updates(sink: &str, progress: Vec<SinkProgress>) -> Vec<ProgressUpdate> {
    if progress.is_empty() {
        return Vec::new();
    }
    let owner: Arc<str> = sink.into();
    let update = |SinkProgress { key, position }| {
        let op = match position {
            Some(Position { generation, began, to, rest }) => {
                ProgressOp::Set { generation, from: began, to, rest }
            }
            None => ProgressOp::Retire,
        };
        ProgressUpdate { space: Space::Sink, owner: owner.clone(), key, op }
    };
    progress.into_iter().map(update).collect()
}

/// The log's word for a position in the channels'.
pub(super) fn positions(keys: impl IntoIterator<Item = (String, ProgressValue)>) -> Positions {
    let position = |value: ProgressValue| {
        let ProgressValue { generation, from: began, to, rest } = value;
        Position { generation, began, to, rest }
    };
    keys.into_iter().map(|(key, value)| (key, position(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(generation: u64, from: u64, to: u64) -> Progress {
        Progress { key: "k".into(), generation, from, to, rest: Default::default(), retire: false }
    }

    fn known(generation: u64, to: u64) -> Option<Known> {
        Some(Known { generation, began: 0, to })
    }

    /// Events at the positions 11, 12, … 15 of generation 2, and one without origin.
    fn batch() -> Batch {
        let mut batch = Batch::new();
        let origin = batch.add_progress(made(2, 10, 15));
        for position in 11..=15 {
            batch.push(b"x");
            batch.locate_last(origin, position);
        }
        batch.push(b"from nowhere");
        batch
    }

    #[test]
    fn what_lies_at_or_below_the_known_position_is_dropped() {
        let batch = batch();
        assert_eq!(new_events(&batch, None, &[known(2, 10)]), None);
        assert_eq!(new_events(&batch, None, &[None]), None);
        assert_eq!(new_events(&batch, None, &[known(2, 13)]), Some(vec![3, 4, 5]));
        assert_eq!(new_events(&batch, Some(&[0, 2, 4, 5]), &[known(2, 13)]), Some(vec![4, 5]));
        assert_eq!(new_events(&batch, None, &[known(2, 99)]), Some(vec![5]));
    }

    #[test]
    fn another_generation_says_nothing_about_events() {
        assert_eq!(new_events(&batch(), None, &[known(1, 99)]), None);
        assert_eq!(new_events(&batch(), None, &[known(3, 99)]), None);
    }

    #[test]
    fn positions_move_forward_only() {
        let owner: Arc<str> = "r1".into();
        let count = |made: Progress, known| updates(&owner, &[made], &[known]).len();
        assert_eq!(count(made(2, 10, 15), None), 1);
        assert_eq!(count(made(2, 10, 15), known(2, 14)), 1);
        assert_eq!(count(made(2, 10, 15), known(2, 15)), 0);
        assert_eq!(count(made(2, 10, 15), known(1, 99)), 1);
        assert_eq!(count(made(2, 10, 15), known(3, 0)), 0);
        let retired = || Progress { retire: true, ..made(2, 15, 15) };
        assert_eq!(count(retired(), known(2, 15)), 1);
        assert_eq!(count(retired(), known(3, 1)), 0, "a newer generation lives on");
    }

    #[test]
    fn a_generation_began_where_its_first_put_did() {
        let owner: Arc<str> = "r1".into();
        let from = |made: Progress, known| match update(&owner, &made, known).op {
            ProgressOp::Set { from, .. } => from,
            other => panic!("{other:?}"),
        };
        let known = Some(Known { generation: 2, began: 7, to: 10 });
        assert_eq!(from(made(2, 10, 15), None), 10);
        assert_eq!(from(made(2, 10, 15), known), 7);
        assert_eq!(from(made(3, 10, 15), known), 10, "another generation has its own beginning");
    }
}
