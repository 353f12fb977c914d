//! `default`: one sink, which rests after a failure.
//!
//! The rest is as long as Flume's runner sleeps: one second more with each failure in a row, up to five; a sink that
//! says how long (`retry_after`) decides itself.

use std::time::{Duration, Instant};

use super::Processor;

/// What each failure in a row adds.
const STEP: Duration = Duration::from_secs(1);
/// The longest rest. Flume's runner has the same: a destination that came back is noticed within this time.
const REST_MAX: Duration = Duration::from_secs(5);

/// A sink on its own.
#[derive(Debug, Default)]
pub struct Alone {
    failures: u32,
    rests_until: Option<Instant>,
}

impl Processor for Alone {
    fn pick(&mut self, now: Instant) -> Result<usize, Duration> {
        match self.rests_until {
            Some(until) if now < until => Err(until - now),
            _ => {
                self.rests_until = None;
                Ok(0)
            }
        }
    }

    fn succeeded(&mut self, _: usize) {
        self.failures = 0;
    }

    fn failed(&mut self, _: usize, now: Instant, retry_after: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        let rest = retry_after.unwrap_or_else(|| STEP.saturating_mul(self.failures).min(REST_MAX));
        self.rests_until = Some(now + rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_grows_by_a_second_up_to_five_and_starts_over_after_a_success() {
        let now = Instant::now();
        let mut alone = Alone::default();
        assert_eq!(alone.pick(now), Ok(0));
        for seconds in [1, 2, 3, 4, 5, 5] {
            alone.failed(0, now, None);
            assert_eq!(alone.pick(now), Err(Duration::from_secs(seconds)));
        }
        assert_eq!(alone.pick(now + REST_MAX), Ok(0));
        alone.succeeded(0);
        alone.failed(0, now, None);
        assert_eq!(alone.pick(now), Err(STEP));
    }

    #[test]
    fn a_sink_that_says_how_long_it_rests_decides() {
        let now = Instant::now();
        let mut alone = Alone::default();
        alone.failed(0, now, Some(Duration::from_secs(60)));
        assert_eq!(alone.pick(now), Err(Duration::from_secs(60)));
    }
}
