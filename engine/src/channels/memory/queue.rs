//! The events of a memory channel, by number.
//!
//! ```text
//!            released        out (taken)      returned          untaken
//!   0 ......................|----------------|#####|-----------|###########################| appended
//! ```
//!
//! Chunks are cut into [`Piece`]s as they are taken; nothing is copied. Rolled-back pieces lie in `returned`, sorted by
//! number, and go out before the untaken ones. Every event has one number and is in exactly one of the four.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use flumen_api::channel::TakeLimit;
use flumen_api::chunk::Chunk;

/// Consecutive events of one chunk.
#[derive(Debug)]
pub(super) struct Piece {
    pub first_event: u64,
    pub chunk: Chunk,
    /// Events of the chunk before the piece.
    pub skip: usize,
    pub events: usize,
    /// The piece's share of the byte capacity.
    pub slots: u64,
    pub put_at: Instant,
}

impl Piece {
    /// The first `events` events as a piece of their own. Slots are shared out evenly, to the last one.
    fn split_front(&mut self, events: usize) -> Self {
        let slots = self.slots * events as u64 / self.events as u64;
        let front = Self {
            first_event: self.first_event,
            chunk: self.chunk.clone(),
            skip: self.skip,
            events,
            slots,
            put_at: self.put_at,
        };
        self.first_event += events as u64;
        self.skip += events;
        self.events -= events;
        self.slots -= slots;
        front
    }

    /// Mean bytes of an event of the chunk, tables included.
    fn event_bytes(&self) -> usize {
        (self.chunk.data().len() / self.chunk.len()).max(1)
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Queue {
    untaken: VecDeque<Piece>,
    returned: BTreeMap<u64, Piece>,
    /// When the first event of each take was put, by its number.
    out: BTreeMap<u64, Instant>,
    /// Events ever appended: the next one's number.
    appended: u64,
    released: u64,
    slots_appended: u64,
    slots_released: u64,
}

impl Queue {
    /// Adds a chunk of at least one event at the end.
    pub fn append(&mut self, chunk: Chunk, slots: u64, put_at: Instant) {
        let events = chunk.len();
        let first_event = self.appended;
        self.untaken.push_back(Piece { first_event, chunk, skip: 0, events, slots, put_at });
        self.appended += events as u64;
        self.slots_appended += slots;
    }

    /// Whether a take would find something.
    pub fn has_events(&self) -> bool {
        !self.returned.is_empty() || !self.untaken.is_empty()
    }

    /// The next events, in consecutive pieces; empty if there are none.
    pub fn take(&mut self, limit: TakeLimit) -> Vec<Piece> {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut events = limit.events.max(1);
        let mut bytes = limit.bytes;
        while events > 0 {
            let returned = self.returned.first_entry();
            let Some(next) = returned.as_ref().map(|entry| entry.get()).or(self.untaken.front()) else {
                break;
            };
            if pieces.last().is_some_and(|last| last.first_event + last.events as u64 != next.first_event) {
                break;
            }
            let event_bytes = next.event_bytes();
            let fitting = (bytes / event_bytes).max(usize::from(pieces.is_empty()));
            let count = next.events.min(events).min(fitting);
            if count == 0 {
                break;
            }
            let whole = count == next.events;
            let piece = match (returned, whole) {
                (Some(entry), true) => Some(entry.remove()),
                (Some(entry), false) => {
                    let mut rest = entry.remove();
                    let front = rest.split_front(count);
                    self.returned.insert(rest.first_event, rest);
                    Some(front)
                }
                (None, true) => self.untaken.pop_front(),
                (None, false) => self.untaken.front_mut().map(|front| front.split_front(count)),
            };
            events -= count;
            bytes = bytes.saturating_sub(count * event_bytes);
            pieces.extend(piece);
        }
        if let Some(first) = pieces.first() {
            self.out.insert(first.first_event, first.put_at);
        }
        pieces
    }

    /// Forgets a take's events. The caller drops them when the queue is unlocked again.
    pub fn release(&mut self, pieces: &[Piece]) {
        let Some(first) = pieces.first() else { return };
        self.out.remove(&first.first_event);
        self.released += pieces.iter().map(|piece| piece.events as u64).sum::<u64>();
        self.slots_released += pieces.iter().map(|piece| piece.slots).sum::<u64>();
    }

    /// Gives a take's events back: they go out before all newer ones.
    pub fn give_back(&mut self, pieces: Vec<Piece>) {
        let Some(first) = pieces.first() else { return };
        self.out.remove(&first.first_event);
        self.returned.extend(pieces.into_iter().map(|piece| (piece.first_event, piece)));
    }

    /// Events ever appended: the next one's number.
    pub fn appended(&self) -> u64 {
        self.appended
    }

    /// Appended and not released.
    pub fn events(&self) -> u64 {
        self.appended - self.released
    }

    /// The same in slots of the byte capacity.
    pub fn slots(&self) -> u64 {
        self.slots_appended - self.slots_released
    }

    /// When the oldest event that is not released was put.
    pub fn oldest(&self) -> Option<Instant> {
        let returned = self.returned.first_key_value().map(|(number, piece)| (*number, piece.put_at));
        let out = self.out.first_key_value().map(|(number, put_at)| (*number, *put_at));
        let untaken = self.untaken.front().map(|piece| (piece.first_event, piece.put_at));
        [returned, out, untaken].into_iter().flatten().min_by_key(|(number, _)| *number).map(|(_, at)| at)
    }
}

#[cfg(test)]
mod tests {
    use flumen_api::batch::Batch;
    use flumen_api::chunk::ChunkWriter;

    use super::*;

    fn chunk(events: usize, body: usize) -> Chunk {
        let mut batch = Batch::new();
        (0..events).for_each(|_| batch.push(&vec![b'x'; body]));
        Chunk::decode(ChunkWriter::new(&batch, None).to_bytes()).expect("a chunk just written")
    }

    fn numbers(pieces: &[Piece]) -> Vec<(u64, usize)> {
        pieces.iter().map(|piece| (piece.first_event, piece.events)).collect()
    }

    #[test]
    fn rolled_back_pieces_go_out_in_order_and_join_the_rest() {
        let mut queue = Queue::default();
        queue.append(chunk(10, 1), 10, Instant::now());
        let limit = TakeLimit::events(3);
        let (a, b) = (queue.take(limit), queue.take(limit));
        queue.give_back(b);
        queue.give_back(a);
        let again = queue.take(TakeLimit::events(8));
        assert_eq!(numbers(&again), [(0, 3), (3, 3), (6, 2)]);
    }

    #[test]
    fn a_take_never_spans_events_that_someone_else_has() {
        let mut queue = Queue::default();
        queue.append(chunk(6, 1), 6, Instant::now());
        let limit = TakeLimit::events(2);
        let (first, _second) = (queue.take(limit), queue.take(limit));
        queue.give_back(first);
        assert_eq!(numbers(&queue.take(TakeLimit::events(6))), [(0, 2)]);
        assert_eq!(numbers(&queue.take(TakeLimit::events(6))), [(4, 2)]);
    }

    #[test]
    fn bytes_end_a_take_but_not_before_its_first_event() {
        let mut queue = Queue::default();
        queue.append(chunk(4, 1000), 40, Instant::now());
        assert_eq!(numbers(&queue.take(TakeLimit { events: 9, bytes: 1 })), [(0, 1)]);
        assert_eq!(numbers(&queue.take(TakeLimit { events: 9, bytes: 2100 })), [(1, 2)]);
    }

    #[test]
    fn slots_are_given_back_to_the_last_one() {
        let mut queue = Queue::default();
        queue.append(chunk(3, 1), 10, Instant::now());
        for _ in 0..3 {
            let taken = queue.take(TakeLimit::events(1));
            queue.release(&taken);
        }
        assert_eq!((queue.events(), queue.slots()), (0, 0));
        assert!(!queue.has_events() && queue.oldest().is_none());
    }

    #[test]
    fn the_oldest_event_counts_wherever_it_is() {
        let mut queue = Queue::default();
        let old = Instant::now();
        let young = old + std::time::Duration::from_secs(1);
        queue.append(chunk(1, 1), 1, old);
        queue.append(chunk(1, 1), 1, young);
        let (first, second) = (queue.take(TakeLimit::events(1)), queue.take(TakeLimit::events(1)));
        queue.give_back(second);
        assert_eq!(queue.oldest(), Some(old));
        queue.release(&first);
        assert_eq!(queue.oldest(), Some(young));
    }
}
