//! Room for commits that are on their way: a budget of bytes, handed out in the order of asking.

use std::collections::VecDeque;
use std::task::Waker;

/// Bytes reserved or appended and not yet synced.
#[derive(Debug)]
pub struct Room {
    max: u64,
    used: u64,
    /// Those who wait, oldest first: a large one must not starve behind small ones.
    waiting: VecDeque<Waiting>,
    next_id: u64,
    /// The disk has no space for events: nothing is handed out.
    pub closed: bool,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    bytes: u64,
    waker: Waker,
}

impl Room {
    pub fn new(max: u64) -> Self {
        Self { max, used: 0, waiting: VecDeque::new(), next_id: 0, closed: false }
    }

    /// Bytes handed out.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Hands out `bytes` if nobody waits for them. A request beyond the whole budget is let in alone.
    pub fn try_take(&mut self, bytes: u64) -> bool {
        self.waiting.is_empty() && self.take(bytes)
    }

    fn take(&mut self, bytes: u64) -> bool {
        let fits = !self.closed && (self.used == 0 || self.used + bytes <= self.max);
        if fits {
            self.used += bytes;
        }
        fits
    }

    /// Hands out `bytes` for records that wait for nobody's leave: also while the disk is full, and past those who wait. As much
    /// as the budget once more, for what is refused is only written less often.
    pub fn take_beside(&mut self, bytes: u64) -> bool {
        let fits = self.used == 0 || self.used + bytes <= 2 * self.max;
        if fits {
            self.used += bytes;
        }
        fits
    }

    /// Gives bytes back; returns who to wake.
    #[must_use]
    pub fn give(&mut self, bytes: u64) -> Option<Waker> {
        self.used = self.used.checked_sub(bytes).expect("no more is given back than was taken");
        self.first_waker()
    }

    /// Who is next, to be woken when something changed.
    pub fn first_waker(&self) -> Option<Waker> {
        if self.closed {
            return None;
        }
        self.waiting.front().map(|first| first.waker.clone())
    }

    /// Asks again as `id`, or for the first time: true if the bytes are handed out, else remembers the waker.
    /// Returns also whom to wake next.
    pub fn poll(&mut self, id: &mut Option<u64>, bytes: u64, waker: &Waker) -> (bool, Option<Waker>) {
        let Some(own) = *id else {
            if self.try_take(bytes) {
                return (true, None);
            }
            *id = Some(self.next_id);
            self.waiting.push_back(Waiting { id: self.next_id, bytes, waker: waker.clone() });
            self.next_id += 1;
            return (false, None);
        };
        if self.waiting.front().is_some_and(|first| first.id == own) && self.take(bytes) {
            self.waiting.pop_front();
            *id = None;
            return (true, self.first_waker());
        }
        if let Some(waiting) = self.waiting.iter_mut().find(|waiting| waiting.id == own) {
            debug_assert_eq!(waiting.bytes, bytes);
            waiting.waker.clone_from(waker);
        }
        (false, None)
    }

    /// Stops waiting; returns whom to wake instead.
    pub fn forget(&mut self, id: u64) -> Option<Waker> {
        self.waiting.retain(|waiting| waiting.id != id);
        self.first_waker()
    }

    /// Everybody who waits.
    pub fn wakers(&self) -> Vec<Waker> {
        self.waiting.iter().map(|waiting| waiting.waker.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_request_does_not_starve_behind_small_ones() {
        let mut room = Room::new(10);
        let noop = Waker::noop();
        assert!(room.try_take(6));
        let mut large = None;
        assert!(!room.poll(&mut large, 9, noop).0);
        assert!(!room.try_take(1), "someone waits already");
        assert!(room.give(6).is_some());
        assert!(room.poll(&mut large, 9, noop).0);
    }

    #[test]
    fn a_request_beyond_the_budget_is_let_in_alone() {
        let mut room = Room::new(10);
        assert!(room.try_take(1));
        assert!(!room.try_take(50));
        assert!(room.give(1).is_none());
        assert!(room.try_take(50));
        assert!(!room.try_take(1));
    }
}
