//! Sink processors: which sink of a group gets the next take.
//!
//! ```text
//! a1.sinkgroups.g1.processor.type = default | failover | load_balance
//! ```
//!
//! A sink in no group runs behind [`default`], which is where its back-off comes from. Each file here is one type;
//! [`specs`] is what the registry gets.

pub mod default;
pub mod failover;
pub mod load_balance;

use std::time::{Duration, Instant};

use flumen_api::registry::Spec;

/// The sink processors of this crate.
pub fn specs() -> Vec<Spec> {
    vec![default::SPEC, failover::SPEC, load_balance::SPEC]
}

/// What each failure in a row adds to a rest.
const STEP: Duration = Duration::from_secs(1);
/// The longest rest. Flume's runner has the same: a destination that came back is noticed within this time.
const REST_MAX: Duration = Duration::from_secs(5);

/// The rests of Flume's runner: a second more with each failure in a row, up to five.
#[derive(Debug, Default)]
struct Rest {
    failures: u32,
    until: Option<Instant>,
}

impl Rest {
    /// How much of it is left.
    fn left(&mut self, now: Instant) -> Option<Duration> {
        let left =
            self.until.and_then(|until| until.checked_duration_since(now)).filter(|left| !left.is_zero());
        if left.is_none() {
            self.until = None;
        }
        left
    }

    /// Begins one, as long as `wanted` if that is said.
    fn begin(&mut self, now: Instant, wanted: Option<Duration>) {
        self.failures = self.failures.saturating_add(1);
        let rest = wanted.unwrap_or_else(|| STEP.saturating_mul(self.failures).min(REST_MAX));
        self.until = now.checked_add(rest);
    }

    fn end(&mut self) {
        *self = Self::default();
    }
}
