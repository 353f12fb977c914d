//! Where a source resumes: the oldest of the positions that its durable channels hold.
//!
//! ```text
//!   channel   knows the source   key "dev:inode"                         says
//!   c1        yes                generation 3, began 500, to 17800       17800
//!   c2        yes                generation 3, began 500, to 12000       12000   <- the source resumes here; c1 drops what it has
//!   c3        yes                -                                         500   lacks the key: stands where it began
//!   c4        yes                generation 2, to 90000                    500   has nothing of generation 3
//!   c5        no (new)                                                   no vote; is marked with the result before its first put
//! ```
//!
//! A generation need not begin at 0: a file may be followed from its end, or from where a person's position file says.
//! What lies before that was never meant for any channel.

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
        let newest = position.generation;
        let mut all_have_it = true;
        for voter in voters {
            match voter.get(key).filter(|held| held.generation == newest).cloned() {
                Some(held) => {
                    let began = held.began.min(position.began);
                    if held.to < position.to {
                        *position = held;
                    }
                    position.began = began;
                }
                None => all_have_it = false,
            }
        }
        // `rest` stays that of a channel which knows the key, for the source may need it to find the file.
        if !all_have_it {
            position.to = position.to.min(position.began);
        }
    }
    (!result.is_empty()).then_some(result)
}

/// `positions` as a new channel is marked with them: it stands where the source resumes, and knows where each key began,
/// for the channels that could say so may be gone at the next start.
pub(super) fn as_marks(positions: &Positions) -> Vec<Progress> {
    let mark = |(key, position): (&String, &Position)| Progress {
        key: key.clone(),
        generation: position.generation,
        from: position.began,
        to: position.to,
        rest: position.rest.clone(),
        retire: false,
    };
    positions.iter().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Key `k` of a generation that began at 50.
    fn at(generation: u64, to: u64) -> Positions {
        began_at(50, generation, to)
    }

    fn began_at(began: u64, generation: u64, to: u64) -> Positions {
        let position = Position { generation, began, to, rest: Default::default() };
        Positions::from([("k".to_string(), position)])
    }

    #[test]
    fn the_oldest_position_of_a_generation_wins() {
        assert_eq!(oldest(&[at(3, 17_800), at(3, 12_000)]), Some(at(3, 12_000)));
        assert_eq!(oldest(&[at(3, 12_000), at(3, 17_800)]), Some(at(3, 12_000)));
    }

    #[test]
    fn a_channel_without_the_newest_generation_stands_where_it_began() {
        assert_eq!(oldest(&[began_at(0, 2, 90_000), at(3, 100)]), Some(at(3, 50)));
        assert_eq!(oldest(&[at(3, 100), began_at(0, 2, 90_000)]), Some(at(3, 50)));
    }

    #[test]
    fn a_channel_that_lacks_a_key_stands_where_the_key_began() {
        assert_eq!(oldest(&[at(1, 100), Positions::new()]), Some(at(1, 50)));
        assert_eq!(oldest(&[Positions::new(), at(1, 100)]), Some(at(1, 50)));
    }

    #[test]
    fn a_key_began_where_the_first_channel_saw_it() {
        // The second channel lost sight of the key and was told of it again later.
        let voters = [began_at(50, 1, 900), began_at(400, 1, 500), Positions::new()];
        assert_eq!(oldest(&voters), Some(at(1, 50)));
        assert_eq!(oldest(&voters[..2]), Some(at(1, 500)));
    }

    #[test]
    fn channels_that_hold_nothing_leave_it_to_the_source() {
        assert_eq!(oldest(&[]), None);
        assert_eq!(oldest(&[Positions::new(), Positions::new()]), None);
    }

    #[test]
    fn a_mark_stands_where_the_source_resumes_and_knows_where_the_key_began() {
        let marks = as_marks(&at(3, 12_000));
        assert_eq!((marks[0].generation, marks[0].from, marks[0].to), (3, 50, 12_000));
    }
}
