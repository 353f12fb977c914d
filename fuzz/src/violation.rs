//! What is wrong when a promise is broken, and where to look.

use std::path::PathBuf;

use serde::Serialize;

/// Which promise is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// What was acked did not arrive.
    Lost,
    /// What arrived is not what was written.
    Changed,
    /// What arrived was never written.
    NeverWritten,
    /// It arrived in another order.
    Order,
    /// It arrived again although it should not.
    Repeated,
    /// Nothing moves: no event after a restart, or no end.
    Stuck,
    /// The program ended, refused to start or panicked.
    Failed,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{what}")]
pub struct Broken {
    /// Which one.
    pub kind: Kind,
    /// With names and numbers.
    pub what: String,
}

impl Broken {
    /// A promise broken in the way that `what` tells.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into() }
    }
}

/// A broken promise, and how to come back to it.
#[derive(Clone, Debug, Serialize, thiserror::Error)]
#[error("seed {seed}, cycle {cycle}: {broken}")]
pub struct Violation {
    /// The seed to start with.
    pub seed: u64,
    /// The cycle in which it was found.
    pub cycle: u64,
    /// What is broken.
    #[serde(flatten)]
    pub broken: Broken,
    /// Input, output, the channel's files, logs: as they were found.
    pub directory: PathBuf,
    /// The command that does the same again. In kill mode it does the same things, but not at the same instants.
    pub replay: String,
}

/// Why a run did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A promise is broken.
    #[error(transparent)]
    Violation(Box<Violation>),
    /// It was told to end.
    #[error("interrupted")]
    Interrupted,
    /// It could not be tried: nothing is known of Flumen.
    #[error("cannot {action}: {source}")]
    Setup {
        /// What was tried.
        action: String,
        /// The error beneath.
        source: std::io::Error,
    },
}

/// Says what was tried, beside the operating system's error.
pub trait Context<T> {
    /// Turns an I/O error into [`Failure::Setup`].
    fn context(self, action: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T> Context<T> for std::io::Result<T> {
    fn context(self, action: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|source| Failure::Setup { action: action(), source })
    }
}
