//! What a bench says when it cannot measure.

use std::fmt::Display;

/// A measurement that could not be made, in one sentence with path or process.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

/// Adds to an error what was being done.
pub trait Context<T> {
    /// Wraps the error as `what: error`.
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Failure>;
}

impl<T, E: Display> Context<T> for Result<T, E> {
    fn context(self, what: impl FnOnce() -> String) -> Result<T, Failure> {
        self.map_err(|error| Failure(format!("{}: {error}", what())))
    }
}
