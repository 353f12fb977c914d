//! How far behind a shard is: nothing at its end, else the age of the last record that was read.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::Timestamp;

const AT_END: i64 = i64::MIN;
const UNKNOWN: i64 = i64::MAX;

/// One shard's lag, set by who reads it and read by who shows it.
#[derive(Debug)]
pub(super) struct Lag(AtomicI64);

impl Lag {
    pub fn new() -> Self {
        Self(AtomicI64::new(UNKNOWN))
    }

    /// Nothing more is there.
    pub fn at_end(&self) {
        self.0.store(AT_END, Ordering::Relaxed);
    }

    /// A record of this time (seconds since 1970) was put, and more may be there.
    pub fn read_to(&self, time: u32) {
        self.0.store(time.into(), Ordering::Relaxed);
    }

    /// In seconds; `None` before the first answer.
    pub fn seconds(&self) -> Option<u64> {
        match self.0.load(Ordering::Relaxed) {
            UNKNOWN => None,
            AT_END => Some(0),
            time => Some(u64::try_from(Timestamp::now().as_second() - time).unwrap_or(0)),
        }
    }
}
