//! Where a shard is read from: the service's checkpoint, or the channels' own progress.
//!
//! ```text
//!   pulls      |<─ cursor A ──────── pull ────────>|<─ cursor B ──…
//!   positions  500 (base)     573 (to)            900
//!   channels   to 573, rest "v1 500 A"      the event 573 lies 73 behind A
//! ```
//!
//! A position counts a shard's events since its generation began; a cursor is opaque. No event of a pull is put before the checkpoint
//! stands at the pull's cursor. So if the checkpoint is the very cursor that the channels name, they say how much of that pull they
//! have. If it is any other, it counts: this or another member went on from there, or a person moved it. The channels' progress
//! then goes on in a new generation, or they would take events for ones they know.

use bytes::Bytes;
use flumen_api::progress::Position;

/// Where a shard stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Where the pull begins.
    pub cursor: String,
    pub generation: u64,
    /// The position at the cursor.
    pub base: u64,
    /// All before this position is in the channels.
    pub to: u64,
}

impl Place {
    /// Where to go on, if the group's checkpoint is `cursor` and the channels hold `held`.
    pub fn at(cursor: &str, held: Option<&Position>) -> Self {
        let cursor = cursor.to_string();
        match held.and_then(|held| Some((held, decode(&held.rest)?))) {
            Some((held, (base, known))) if known == cursor && base <= held.to => {
                Self { cursor, generation: held.generation, base, to: held.to }
            }
            _ => Self { cursor, generation: next_generation(held), base: 0, to: 0 },
        }
    }

    /// A new generation that begins at `cursor`.
    pub fn anew(&self, cursor: String) -> Self {
        Self { cursor, generation: self.generation + 1, base: 0, to: 0 }
    }

    /// What the channels keep beside the position.
    pub fn rest(&self) -> Bytes {
        format!("v1 {} {}", self.base, self.cursor).into()
    }

    /// As the channels hold it.
    pub fn position(&self) -> Position {
        Position { generation: self.generation, began: 0, to: self.to, rest: self.rest() }
    }
}

fn next_generation(held: Option<&Position>) -> u64 {
    held.map_or(1, |held| held.generation + 1)
}

fn decode(rest: &[u8]) -> Option<(u64, &str)> {
    let text = std::str::from_utf8(rest).ok()?.strip_prefix("v1 ")?;
    let (base, cursor) = text.split_once(' ')?;
    Some((base.parse().ok()?, cursor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(base: u64, cursor: &str, to: u64) -> Position {
        let place = Place { cursor: cursor.into(), generation: 3, base, to };
        place.position()
    }

    fn at(cursor: &str, held: &Position) -> (u64, u64, u64) {
        let place = Place::at(cursor, Some(held));
        (place.generation, place.base, place.to)
    }

    #[test]
    fn the_channels_know_how_much_of_the_checkpoints_pull_they_have() {
        assert_eq!(at("A", &held(500, "A", 573)), (3, 500, 573));
        assert_eq!(at("A", &held(500, "A", 500)), (3, 500, 500));
    }

    #[test]
    fn another_checkpoint_counts_wherever_it_is() {
        assert_eq!(at("B", &held(500, "A", 900)), (4, 0, 0));
        // A channel that lacks the shard stands where the generation began, with the other channel's words.
        assert_eq!(at("A", &held(500, "A", 0)), (4, 0, 0));
        let foreign = Position { rest: Bytes::from_static(b"v2 ?"), ..held(0, "A", 5) };
        assert_eq!(at("A", &foreign), (4, 0, 0));
        assert_eq!(Place::at("A", None).generation, 1);
    }
}
