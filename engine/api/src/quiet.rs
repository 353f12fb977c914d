//! Lines of the log while something is out of order: the first at once, then at most one in [`PAUSE`], which says how many were
//! left out.
//!
//! ```text
//!   failures   x x x   x       x           x       works again   x   works again   x …
//!   lines      1               +3          +0      1             1   1             …
//! ```
//!
//! An outage has its first line at once, unless there were many of late: a destination that comes and goes every other second
//! would fill the log all the same.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The shortest time between two lines of an outage.
pub const PAUSE: Duration = Duration::from_secs(10);

/// How many outages in a row have their first line at once, and how long it takes until one more has: it has two lines, for one
/// says that it is over.
const AT_ONCE: u32 = 3;
const ONE_MORE: Duration = Duration::from_secs(20);

/// What a component says of its failures, together with its tasks.
#[derive(Debug, Default)]
pub struct Quiet(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    said: Option<Instant>,
    left_out: u64,
    /// A failure was said, and its end was not.
    is_open: bool,
    /// There was a failure, and no end of it since.
    fails: bool,
    /// How many outages had their first line at once of late, counted down from then on.
    begun: Option<(u32, Instant)>,
}

/// Goes behind a line's text: how many lines were left out before it, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut(u64);

impl fmt::Display for LeftOut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            1 => write!(out, " (1 more failure since the last such line)"),
            more => write!(out, " ({more} more failures since the last such line)"),
        }
    }
}

impl Quiet {
    /// A failure happened: `Some` if a line may say so now; else it is counted.
    pub fn failed(&self, now: Instant) -> Option<LeftOut> {
        let mut state = self.state();
        let may_say = match std::mem::replace(&mut state.fails, true) {
            false => state.begin(now),
            true => state.said.is_none_or(|said| now.duration_since(said) >= PAUSE),
        };
        if !may_say {
            state.left_out += 1;
            return None;
        }
        (state.said, state.is_open) = (Some(now), true);
        Some(LeftOut(std::mem::take(&mut state.left_out)))
    }

    /// All is in order again: `Some` if a line shall say so, because one said that it was not.
    pub fn recovered(&self) -> Option<LeftOut> {
        let mut state = self.state();
        state.fails = false;
        std::mem::take(&mut state.is_open).then(|| LeftOut(std::mem::take(&mut state.left_out)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the first line of an outage may be written at once.
    fn begin(&mut self, now: Instant) -> bool {
        let (mut begun, mut since) = self.begun.unwrap_or((0, now));
        while begun > 0 && now.duration_since(since) >= ONE_MORE {
            (begun, since) = (begun - 1, since + ONE_MORE);
        }
        if begun == 0 {
            since = now;
        }
        let may_say = begun < AT_ONCE;
        self.begun = Some((begun + u32::from(may_say), since));
        may_say
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_said_at_once_and_then_one_in_ten_seconds_says_how_many_were_not() {
        let quiet = Quiet::default();
        let begun = Instant::now();
        let at = |milliseconds| quiet.failed(begun + Duration::from_millis(milliseconds));
        assert_eq!(at(0), Some(LeftOut(0)));
        assert_eq!((at(0), at(1), at(9_999)), (None, None, None));
        let said = at(10_000).expect("ten seconds are over");
        assert_eq!(said.to_string(), " (3 more failures since the last such line)");
        assert_eq!(at(19_999), None);
        assert_eq!(at(25_000), Some(LeftOut(1)));
        assert_eq!(at(34_999), None, "ten seconds from the line, and not from when it might have been");
        assert_eq!(at(35_000).expect("a line").to_string(), " (1 more failure since the last such line)");
    }

    #[test]
    fn an_end_is_said_where_the_failure_was_and_one_that_comes_and_goes_fills_no_log() {
        let quiet = Quiet::default();
        let begun = Instant::now();
        assert_eq!(quiet.recovered(), None);
        let mut lines = Vec::new();
        for second in 0..600 {
            if quiet.failed(begun + Duration::from_secs(second)).is_some() {
                lines.push(second);
            }
            lines.extend(quiet.recovered().map(|_| second));
        }
        assert_eq!(lines[..8], [0, 0, 1, 1, 2, 2, 20, 20], "the first ones at once");
        assert_eq!(lines.len(), 6 + 2 * 29, "then a failure and its end in twenty seconds");
    }
}
