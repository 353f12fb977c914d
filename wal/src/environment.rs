//! Time and chance, so that a simulated log has its own and replays from a seed.

use std::fmt::Debug;
use std::time::Duration;

use crate::sync::Instant;

/// Where a log gets the time and its random numbers.
pub trait Environment: Send + Sync + Debug {
    /// Monotonic time since some fixed point.
    fn now(&self) -> Duration;

    /// A number that nobody can expect: salts and log ids.
    fn random(&self) -> u64;
}

/// The machine's clock and random numbers.
#[derive(Debug)]
pub struct System(Instant);

impl Default for System {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Environment for System {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn random(&self) -> u64 {
        getrandom::u64().expect("the kernel gives random numbers")
    }
}
