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
//!
//! A sink in no group runs behind [`default`], which is where its back-off comes from. Each file here is one type.

pub mod default;

use std::time::{Duration, Instant};

/// Chooses among the sinks of one runner, which are numbered in the order in which the group lists them.
pub trait Processor: Send {
    /// The sink that gets the next take, or how long there is none. Called before every take: it has to be cheap.
    fn pick(&mut self, now: Instant) -> Result<usize, Duration>;

    /// What `sink` was given has been flushed and released.
    fn succeeded(&mut self, sink: usize);

    /// `sink` did not start, or a delivery or a flush failed; it wants `retry_after` of rest, if it says so.
    fn failed(&mut self, sink: usize, now: Instant, retry_after: Option<Duration>);
}

/// The processor of `type_name` over `sinks` sinks, if there is such a type.
pub fn build(type_name: &str, sinks: usize) -> Result<Box<dyn Processor>, String> {
    if !type_name.eq_ignore_ascii_case("default") {
        return Err(format!("sink processor `{type_name}` is not built in"));
    }
    match sinks {
        1 => Ok(Box::new(default::Alone::default())),
        n => Err(format!("the default sink processor serves one sink, the group has {n}")),
    }
}
