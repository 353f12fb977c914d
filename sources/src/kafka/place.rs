//! Where a partition is read from: the group's offset, or the channels' own progress.
//!
//! ```text
//!   group     offset 400, metadata "flumen 9c0f…"       what was committed last, and by whose count
//!   channels  to 500, rest "9c0f…"                      what they hold, durable together with the events
//! ```
//!
//! Both carry a *lineage*: a word drawn when somebody of ours begins with offsets that are not ours (a new group, an operator's
//! reset, another program's). Agents of one group hand it on. In one lineage positions only rise, so the later of the two is right:
//! the channels are ahead of the group after a crash, the group is ahead of these channels when another agent had the partition.
//! In two different ones the group's is right, even if it is earlier: somebody wants it so.
//!
//! Where the channels' progress does not go on from what they have, it goes on in a new generation, or they would take events for
//! ones they know.

use std::hash::{BuildHasher, Hasher, RandomState};

use flumen_api::progress::Position;

/// Before the lineage, in a group's metadata.
const OURS: &str = "flumen ";

/// The group's last commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Committed {
    pub offset: u64,
    pub metadata: String,
}

/// Where a partition stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub offset: u64,
    pub generation: u64,
    pub lineage: String,
    /// The group does not know of it: it is told before the first event is put.
    pub is_news: bool,
}

/// A word that nobody else draws.
pub(super) fn new_lineage() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}

/// The metadata that says so.
pub(super) fn metadata(lineage: &str) -> String {
    format!("{OURS}{lineage}")
}

/// Where to begin, or `None` where the group has no offset and `auto.offset.reset` decides.
pub(super) fn begin(held: Option<&Position>, committed: Option<&Committed>) -> Option<Place> {
    let committed = committed?;
    let lineage = committed.metadata.strip_prefix(OURS).filter(|word| !word.is_empty());
    let own = held.filter(|held| lineage.is_some_and(|word| held.rest == word.as_bytes()));
    Some(match (own, lineage) {
        (Some(own), Some(word)) if own.to >= committed.offset => {
            Place { offset: own.to, generation: own.generation, lineage: word.into(), is_news: false }
        }
        (_, Some(word)) => Place {
            offset: committed.offset,
            generation: next_generation(held),
            lineage: word.into(),
            is_news: false,
        },
        (_, None) => anew(held, committed.offset),
    })
}

/// A lineage that begins at `offset`.
pub(super) fn anew(held: Option<&Position>, offset: u64) -> Place {
    Place { offset, generation: next_generation(held), lineage: new_lineage(), is_news: true }
}

fn next_generation(held: Option<&Position>) -> u64 {
    held.map_or(1, |held| held.generation + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(lineage: &str, to: u64) -> Position {
        Position { generation: 3, began: 0, to, rest: lineage.as_bytes().to_vec().into() }
    }

    fn committed(metadata: &str, offset: u64) -> Committed {
        Committed { offset, metadata: metadata.into() }
    }

    fn place(held: Option<&Position>, committed: Committed) -> (u64, u64, bool) {
        let place = begin(held, Some(&committed)).expect("the group has an offset");
        (place.offset, place.generation, place.is_news)
    }

    #[test]
    fn in_one_lineage_the_later_position_is_right() {
        assert_eq!(place(Some(&held("abc", 500)), committed("flumen abc", 400)), (500, 3, false));
        assert_eq!(place(Some(&held("abc", 400)), committed("flumen abc", 400)), (400, 3, false));
        // Another agent went on: what these channels lack in between, it has.
        assert_eq!(place(Some(&held("abc", 300)), committed("flumen abc", 400)), (400, 4, false));
    }

    #[test]
    fn offsets_that_are_not_ours_count_even_if_they_are_earlier() {
        for metadata in ["", "flumen ", "another program's", "flumen xyz"] {
            let news = !metadata.ends_with("xyz");
            assert_eq!(place(Some(&held("abc", 500)), committed(metadata, 40)), (40, 4, news), "{metadata}");
        }
        assert_eq!(place(None, committed("", 40)), (40, 1, true));
        assert_eq!(place(None, committed("flumen abc", 40)), (40, 1, false));
    }

    #[test]
    fn a_group_without_an_offset_leaves_it_to_the_reset() {
        assert_eq!(begin(Some(&held("abc", 500)), None), None);
        assert_eq!(anew(Some(&held("abc", 500)), 7).generation, 4);
        assert_ne!(new_lineage(), new_lineage());
    }
}
