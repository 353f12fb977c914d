//! The two orders of load balancing that are built in, with their back-off: of a group's sinks, and of a sink's hosts.
//!
//! ```text
//!   round_robin   all that do not rest, each time from one further on
//!   random        the same in an order thrown anew each time
//!   back-off      2 s, 4 s, … up to `maxTimeOut`; it starts over when the last failure was an hour longer ago than it lasted
//! ```

use std::time::{Duration, Instant};

use crate::processor::SinkSelector;

/// A failure so long after the end of the last one's back-off is the first of a new row.
const NEW_ROW: Duration = Duration::from_secs(3600);
/// Failures in a row that are counted.
const FAILURES_MAX: u32 = 16;

/// The longest rest, where no other is asked for.
pub const REST_MAX_DEFAULT: Duration = Duration::from_secs(30);

/// How long sinks rest after failures.
#[derive(Debug)]
pub struct BackOff {
    /// Whether they do at all.
    enabled: bool,
    longest: Duration,
    sinks: Vec<Failures>,
}

#[derive(Clone, Debug, Default)]
struct Failures {
    in_a_row: u32,
    last: Option<Instant>,
    until: Option<Instant>,
}

impl BackOff {
    /// Of so many sinks, each of which rests at most `longest` after a failure; never, unless `enabled`.
    pub fn new(sinks: usize, enabled: bool, longest: Duration) -> Self {
        Self { enabled, longest, sinks: vec![Failures::default(); sinks] }
    }

    fn length(&self, failures: u32) -> Duration {
        Duration::from_secs(1 << failures.min(FAILURES_MAX)).min(self.longest)
    }

    /// The sinks that do not rest.
    fn awake(&self, now: Instant) -> Vec<usize> {
        let awake = |&sink: &usize| self.sinks[sink].until.is_none_or(|until| until <= now);
        (0..self.sinks.len()).filter(awake).collect()
    }

    fn failed(&mut self, sink: usize, now: Instant) {
        if !self.enabled {
            return;
        }
        let Failures { in_a_row, last, .. } = self.sinks[sink];
        let same_row =
            last.is_some_and(|last| now.saturating_duration_since(last) < self.length(in_a_row) + NEW_ROW);
        let in_a_row = if same_row { (in_a_row + 1).min(FAILURES_MAX) } else { 1 };
        let until = now.checked_add(self.length(in_a_row));
        self.sinks[sink] = Failures { in_a_row, last: Some(now), until };
    }
}

/// The sinks take turns.
#[derive(Debug)]
pub struct RoundRobin {
    back_off: BackOff,
    next: usize,
}

impl RoundRobin {
    /// Of the sinks that the back-off has.
    pub fn new(back_off: BackOff) -> Self {
        Self { back_off, next: 0 }
    }
}

impl SinkSelector for RoundRobin {
    fn order(&mut self, now: Instant) -> Vec<usize> {
        let mut awake = self.back_off.awake(now);
        if self.next >= awake.len() {
            self.next = 0;
        }
        awake.rotate_left(self.next);
        self.next += 1;
        awake
    }

    fn failed(&mut self, sink: usize, now: Instant) {
        self.back_off.failed(sink, now);
    }
}

/// Who is first is thrown.
#[derive(Debug)]
pub struct Random {
    back_off: BackOff,
    random: fastrand::Rng,
}

impl Random {
    /// Of the sinks that the back-off has.
    pub fn new(back_off: BackOff) -> Self {
        Self { back_off, random: fastrand::Rng::new() }
    }
}

impl SinkSelector for Random {
    fn order(&mut self, now: Instant) -> Vec<usize> {
        let mut awake = self.back_off.awake(now);
        self.random.shuffle(&mut awake);
        awake
    }

    fn failed(&mut self, sink: usize, now: Instant) {
        self.back_off.failed(sink, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn round_robin_begins_one_further_each_time() {
        let mut order = RoundRobin::new(BackOff::new(3, false, 30 * SECOND));
        let now = Instant::now();
        let orders: Vec<_> = (0..4).map(|_| order.order(now)).collect();
        assert_eq!(orders, [vec![0, 1, 2], vec![1, 2, 0], vec![2, 0, 1], vec![0, 1, 2]]);
        order.failed(1, now);
        assert_eq!(order.order(now), [1, 2, 0], "without back-off a failed sink keeps its turns");
    }

    #[test]
    fn random_uses_all_sinks_about_as_often() {
        let mut order = Random::new(BackOff::new(3, false, 30 * SECOND));
        let mut first = [0; 3];
        for _ in 0..3000 {
            let mut one = order.order(Instant::now());
            first[one[0]] += 1;
            one.sort_unstable();
            assert_eq!(one, [0, 1, 2]);
        }
        assert!(first.iter().all(|count| (800..1200).contains(count)), "{first:?}");
    }

    #[test]
    fn a_sink_that_fails_rests_twice_as_long_each_time_up_to_the_longest() {
        let mut order = RoundRobin::new(BackOff::new(2, true, 10 * SECOND));
        let mut now = Instant::now();
        for seconds in [2, 4, 8, 10, 10] {
            order.failed(0, now);
            assert_eq!(order.order(now + seconds * SECOND - Duration::from_millis(1)), [1]);
            now += seconds * SECOND;
            assert_eq!(order.order(now).len(), 2);
        }
    }

    #[test]
    fn the_row_of_failures_ends_an_hour_after_the_last_back_off() {
        let mut order = RoundRobin::new(BackOff::new(2, true, 30 * SECOND));
        let now = Instant::now();
        order.failed(0, now);
        let later = now + NEW_ROW;
        order.failed(0, later);
        assert_eq!(order.order(later + 3 * SECOND), [1], "the second of a row: four seconds");
        let later = later + 4 * SECOND + NEW_ROW;
        order.failed(0, later);
        assert_eq!(order.order(later + 2 * SECOND).len(), 2, "the first of a row: two seconds");
    }

    #[test]
    fn when_all_rest_there_is_no_order() {
        let now = Instant::now();
        let (mut robin, mut random) = (
            RoundRobin::new(BackOff::new(2, true, 30 * SECOND)),
            Random::new(BackOff::new(2, true, 30 * SECOND)),
        );
        for order in [&mut robin as &mut dyn SinkSelector, &mut random] {
            order.failed(0, now);
            order.failed(1, now);
            assert_eq!(order.order(now), [0; 0]);
            assert_eq!(order.order(now + 2 * SECOND).len(), 2);
        }
    }
}
