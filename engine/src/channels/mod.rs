//! Channels: in memory, on the log, and in memory with the log behind it.
//!
//! Both keep a put's events as one chunk and hand out slices of it. What they share: a [gate](self) in front that hands
//! out room in the order of asking, and counts that come from positions. One [conformance suite](conformance) holds both,
//! and any channel of somebody else's, to what [`flumen_api::channel`] promises.

pub mod conformance;
pub mod file;
mod gate;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod memory;
mod progress;
mod pseudo;
pub mod spillable;
#[cfg(feature = "sql-channel")]
mod sql;

use std::time::Duration;

use flumen_api::registry::Spec;
use flumen_api::settings::{Problems, Severity};

/// The channel types of this crate.
pub fn specs() -> Vec<Spec> {
    vec![
        memory::spec(),
        file::spec(),
        #[cfg(feature = "kafka")]
        kafka::spec(),
        spillable::spec(),
        #[cfg(feature = "sql-channel")]
        sql::spec(),
        pseudo::spec(),
    ]
}

/// The errors among `problems`, in one line.
fn errors(problems: &Problems) -> String {
    let errors = problems.0.iter().filter(|problem| problem.severity == Severity::Error);
    errors.map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn over_transaction_capacity(events: usize, transaction_capacity: usize) -> String {
    format!("{events} events in one put; transactionCapacity is {transaction_capacity}")
}

/// ` after 3 s of keep-alive`, or nothing if there was no wait.
fn after(waited: Duration) -> String {
    match waited.is_zero() {
        true => String::new(),
        false => format!(" after {} s of keep-alive", waited.as_secs()),
    }
}
