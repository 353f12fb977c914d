//! Sink processors: which sink of a group gets the next take.
//!
//! ```text
//!   loop  pick(now) ── sink i ──> start if need be, deliver, flush ──┬─ released ──> succeeded(i)
//!             │                                                      └─ error ─────> all unreleased takes roll back,
//!             └── nobody for d ──> sleep d, at most until a stop                     failed(i)
//! ```
//!
//! A processor holds no sink and no take: it answers from what it was told. The runner flushes and releases what one
//! sink has before it turns to another, so a group keeps the order of its channel. After a failure the events that came
//! back are the next take, so picking another sink hands it the very same events.

use std::time::{Duration, Instant};

/// Chooses among the sinks of one runner, which are numbered in the order in which the group lists them.
pub trait Processor: Send {
    /// The sink that gets the next take, or how long there is none. Called before every take: it has to be cheap. A sink
    /// that is picked again and again flushes when its window is full; turning to another costs a flush.
    fn pick(&mut self, now: Instant) -> Result<usize, Duration>;

    /// What `sink` was given has been flushed and released.
    fn succeeded(&mut self, sink: usize);

    /// `sink` did not start, or a delivery or a flush failed; it wants `retry_after` of rest, if it says so.
    fn failed(&mut self, sink: usize, now: Instant, retry_after: Option<Duration>);
}

/// Says in which order the sinks of a `load_balance` group are tried.
pub trait SinkSelector: Send {
    /// The sinks to try for the next turn, most wanted first. The first that delivers has the turn; after an empty list,
    /// and after one whose sinks have all failed, the group rests for a while.
    fn order(&mut self, now: Instant) -> Vec<usize>;

    /// `sink` has failed.
    fn failed(&mut self, sink: usize, now: Instant) {
        let _ = (sink, now);
    }
}
