//! Which part of the channel has the next event: the order of all puts, over both parts.
//!
//! ```text
//!   number      0          40     55                 100        130
//!               |  memory  |      overflow           |  memory  |      next put
//!   the part's  0          7      22                 40
//!   own number
//! ```
//!
//! Each part hands out its events in its own order. So it is enough to know of each run of puts in which part it is: what the
//! earliest run's part hands out next is the channel's next event. Runs that were taken are not here; what is given back is put in
//! again, by its number, and comes before all that is newer.

use std::collections::BTreeMap;

/// Where an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Memory,
    Overflow,
}

/// Consecutive events of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub part: Part,
    /// The first one's number in its part.
    pub first: u64,
    pub events: u64,
}

impl Run {
    fn end(self) -> u64 {
        self.first + self.events
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Runs that wait to be taken, by their first event's number in the channel.
    waiting: BTreeMap<u64, Run>,
    next: u64,
}

impl Order {
    /// Events were appended to a part: `first` and those behind it in the part's own numbers.
    pub fn appended(&mut self, run: Run) {
        // Numbers that the part gives a second time never became events: the log failed before they were synced.
        self.end_at(run.part, run.first);
        if run.events == 0 {
            return;
        }
        let number = self.next;
        self.next += run.events;
        if let Some(mut last) = self.waiting.last_entry() {
            let joins = *last.key() + last.get().events == number;
            if joins && last.get().part == run.part && last.get().end() == run.first {
                last.get_mut().events += run.events;
                return;
            }
        }
        self.waiting.insert(number, run);
    }

    /// The part has no events from this number on.
    pub fn end_at(&mut self, part: Part, end: u64) {
        let cut: Vec<u64> = self
            .waiting
            .iter()
            .rev()
            .take_while(|(_, run)| run.part != part || run.end() > end)
            .filter(|(_, run)| run.part == part)
            .map(|(number, _)| *number)
            .collect();
        for number in cut {
            if let Some(run) = self.waiting.get_mut(&number) {
                run.events = end.saturating_sub(run.first);
                if run.events == 0 {
                    self.waiting.remove(&number);
                }
            }
        }
    }

    /// What comes next.
    pub fn front(&self) -> Option<Run> {
        self.waiting.first_key_value().map(|(_, run)| *run)
    }

    /// The part has handed out these events. They are returned in runs, with the channel's number of the first of each. Events of
    /// the part below them were given up.
    pub fn taken(&mut self, part: Part, first: u64, events: u64) -> Vec<(u64, Run)> {
        let end = first + events;
        let mut out = Vec::new();
        let of_part = |(number, run): (&u64, &Run)| (run.part == part && run.first < end).then_some(*number);
        // The first run of the part is the first of all but where something was given up.
        while let Some(number) =
            self.waiting.iter().take_while(|(_, run)| run.part != part || run.first < end).find_map(of_part)
        {
            let Some(run) = self.waiting.remove(&number) else { break };
            let (from, to) = (run.first.max(first), run.end().min(end));
            if from < to {
                out.push((number + (from - run.first), Run { part, first: from, events: to - from }));
            }
            if run.end() > end {
                let rest = Run { part, first: end, events: run.end() - end };
                self.waiting.insert(number + (end - run.first), rest);
            }
        }
        out
    }

    /// Events that were taken wait again.
    pub fn give_back(&mut self, runs: Vec<(u64, Run)>) {
        self.waiting.extend(runs);
    }
}

#[cfg(test)]
mod tests {
    use Part::{Memory, Overflow};

    use super::*;

    fn run(part: Part, first: u64, events: u64) -> Run {
        Run { part, first, events }
    }

    /// Memory 0..5, overflow 70..73, memory 5..7.
    fn mixed() -> Order {
        let mut order = Order::default();
        order.appended(run(Memory, 0, 3));
        order.appended(run(Memory, 3, 2));
        order.appended(run(Overflow, 70, 3));
        order.appended(run(Memory, 5, 2));
        order
    }

    #[test]
    fn puts_come_out_in_their_order_whichever_part_they_are_in() {
        let mut order = mixed();
        let mut seen = Vec::new();
        let mut next = [0, 70];
        while let Some(front) = order.front() {
            let at = usize::from(front.part == Overflow);
            let events = front.events.min(2);
            for (number, run) in order.taken(front.part, next[at], events) {
                seen.push((number, run.part, run.events));
            }
            next[at] += events;
        }
        let expected = [
            (0, Memory, 2),
            (2, Memory, 2),
            (4, Memory, 1),
            (5, Overflow, 2),
            (7, Overflow, 1),
            (8, Memory, 2),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn what_is_given_back_comes_before_what_is_newer() {
        let mut order = mixed();
        let first = order.taken(Memory, 0, 5);
        let second = order.taken(Overflow, 70, 3);
        assert_eq!(order.front(), Some(run(Memory, 5, 2)));
        order.give_back(second);
        assert_eq!(order.front(), Some(run(Overflow, 70, 3)));
        order.give_back(first);
        assert_eq!(order.front(), Some(run(Memory, 0, 5)));
        assert_eq!(order.taken(Memory, 0, 1), [(0, run(Memory, 0, 1))]);
        assert_eq!(order.front(), Some(run(Memory, 1, 4)));
    }

    #[test]
    fn what_a_part_gave_up_is_passed_over() {
        let mut order = mixed();
        order.taken(Memory, 0, 5);
        assert_eq!(order.taken(Overflow, 71, 1), [(6, run(Overflow, 71, 1))]);
        assert_eq!(order.front(), Some(run(Overflow, 72, 1)));
    }

    #[test]
    fn numbers_that_never_became_events_hold_up_nobody() {
        let mut order = mixed();
        order.end_at(Overflow, 71);
        order.taken(Memory, 0, 5);
        assert_eq!(order.front(), Some(run(Overflow, 70, 1)));
        order.appended(run(Overflow, 70, 4));
        assert_eq!(order.front(), Some(run(Memory, 5, 2)), "70 was given a second time");
        order.taken(Memory, 5, 2);
        assert_eq!(order.taken(Overflow, 70, 4).len(), 1);
        assert_eq!(order.front(), None);
    }
}
