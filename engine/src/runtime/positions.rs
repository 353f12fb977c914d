//! Where a source resumes: the oldest of the positions that its durable channels hold.
//!
//! ```text
//!   channel   knows the source   key "dev:inode"            says
//!   c1        yes                generation 3, to 17800     17800
//!   c2        yes                generation 3, to 12000     12000   <- the source resumes here; c1 drops what it has
//!   c3        yes                -                              0   lacks the key: stands where the generation began
//!   c4        yes                generation 2, to 90000         0   has nothing of generation 3
//!   c5        no (new)                                      no vote; is marked with the result before its first put
//! ```
//!
//! A generation begins at 0 as far as a position tells. Where it began further on, a channel that lacks it gets some
//! events from before; the others drop them.

use flumen_api::progress::{Position, Positions, Progress};

/// The oldest position per key of `voters`, which are the positions of all channels that know the source. `None`: none
/// of them holds any position, so the source decides for itself.
pub(super) fn oldest(voters: &[Positions]) -> Option<Positions> {
    let mut result = Positions::new();
    for (key, position) in voters.iter().flatten() {
        match result.get(key) {
            Some(newest) if newest.generation >= position.generation => {}
            _ => {
                result.insert(key.clone(), position.clone());
            }
        }
    }
    for (key, position) in &mut result {
        for voter in voters {
            match voter.get(key) {
                Some(held) if held.generation == position.generation => {
                    if held.to < position.to {
                        *position = held.clone();
                    }
                }
                // Nothing of this generation: `rest` stays that of a channel which knows the key, for the source may
                // need it to find the file.
                _ => position.to = 0,
            }
        }
    }
    (!result.is_empty()).then_some(result)
}

/// `positions` as a new channel is marked with them: it stands where the source resumes.
pub(super) fn as_marks(positions: &Positions) -> Vec<Progress> {
    let mark = |(key, position): (&String, &Position)| Progress {
        key: key.clone(),
        generation: position.generation,
        from: position.to,
        to: position.to,
        rest: position.rest.clone(),
        retire: false,
    };
    positions.iter().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(key: &str, generation: u64, to: u64) -> Positions {
        Positions::from([(key.to_string(), Position { generation, to, rest: Default::default() })])
    }

    #[test]
    fn the_oldest_position_of_a_generation_wins() {
        assert_eq!(oldest(&[at("k", 3, 17_800), at("k", 3, 12_000)]), Some(at("k", 3, 12_000)));
        assert_eq!(oldest(&[at("k", 3, 12_000), at("k", 3, 17_800)]), Some(at("k", 3, 12_000)));
    }

    #[test]
    fn a_channel_without_the_newest_generation_stands_where_it_began() {
        assert_eq!(oldest(&[at("k", 2, 90_000), at("k", 3, 100)]), Some(at("k", 3, 0)));
        assert_eq!(oldest(&[at("k", 3, 100), at("k", 2, 90_000)]), Some(at("k", 3, 0)));
    }

    #[test]
    fn a_channel_that_lacks_a_key_stands_where_the_key_began() {
        assert_eq!(oldest(&[at("k", 1, 100), Positions::new()]), Some(at("k", 1, 0)));
    }

    #[test]
    fn channels_that_hold_nothing_leave_it_to_the_source() {
        assert_eq!(oldest(&[]), None);
        assert_eq!(oldest(&[Positions::new(), Positions::new()]), None);
    }

    #[test]
    fn a_mark_stands_where_the_source_resumes() {
        let marks = as_marks(&at("k", 3, 12_000));
        assert_eq!((marks[0].generation, marks[0].from, marks[0].to), (3, 12_000, 12_000));
    }
}
