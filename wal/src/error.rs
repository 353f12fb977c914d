//! What can go wrong, for the caller of each side.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::format::FormatError;
use crate::numbers::Place;
use crate::read::tolerant::is_of_medium;

/// Why a log cannot be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it, or a dead one's last writes are still in flight after the wait.
    #[error("{path} is locked by another process")]
    Locked {
        /// The directory.
        path: PathBuf,
    },
    /// A file or directory operation failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The error beneath.
        source: io::Error,
    },
    /// A newer Flumen wrote it.
    #[error("{path} was written by a newer version: {reason}; start that version, or drain the log with it")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Version or feature bits.
        reason: String,
    },
    /// The directories do not belong together, or a part is missing: starting would lose events silently.
    #[error("{path}: {reason}")]
    Foreign {
        /// The directory or file.
        path: PathBuf,
        /// What does not fit, and what to do.
        reason: String,
        /// A repair may give up what is missing and start with the rest.
        repairable: bool,
    },
    /// A frame that passes its checksum says something impossible.
    #[error("{path}: at offset {offset}: {source}")]
    Format {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What.
        source: FormatError,
    },
}

impl OpenError {
    /// Whether [`repair`](crate::tools::repair) can make a log of what is left.
    pub fn repair_helps(&self) -> bool {
        match self {
            Self::Foreign { repairable, .. } => *repairable,
            Self::Io { action, source, .. } => *action == "read" && is_of_medium(source),
            Self::Locked { .. } | Self::Newer { .. } | Self::Format { .. } => false,
        }
    }
}

/// Why the log cannot do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LogError {
    /// A write or sync failed. Commits that were on their way are unknown: they may or may not be in the log. It is being
    /// reopened; until then nothing is accepted.
    #[error("{0}")]
    Failed(Arc<Failure>),
    /// More bytes than a commit may have.
    #[error("commit of {bytes} bytes; the largest allowed has {max}")]
    TooLarge {
        /// Bytes asked for.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// No room now; waiting may help.
    #[error("no room in the log: {reason}")]
    Full {
        /// Which kind of room, and what frees it.
        reason: std::borrow::Cow<'static, str>,
    },
    /// The log is closed.
    #[error("the log is closed")]
    Closed,
}

/// The first error of a failed log.
#[derive(Debug, thiserror::Error)]
#[error("log failed: cannot {stage} {path} at offset {offset}: {source}")]
pub struct Failure {
    /// What failed: `write`, `sync`, `gather`. With `use the write queue of` the log is not reopened: the process must be
    /// restarted.
    pub stage: &'static str,
    /// The file.
    pub path: PathBuf,
    /// Where in it.
    pub offset: u64,
    /// The error beneath, with its errno.
    pub source: io::Error,
}

/// Why events cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// Bytes that were acked are bad. Takes stop here; puts go on.
    #[error("{path}: offset {offset}: {what}; event {event} and perhaps more are unreadable")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What was found.
        what: String,
        /// The first event that cannot be read.
        event: u64,
    },
    /// The disk reports an error.
    #[error("cannot read {path} at offset {offset}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// The error beneath.
        source: Arc<io::Error>,
    },
    /// The log failed and is being reopened.
    #[error("{0}")]
    Failed(Arc<Failure>),
    /// The log is closed.
    #[error("the log is closed")]
    Closed,
}

/// A place that was damaged when the log was opened: found between frames that were acked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it begins.
    pub place: Place,
    /// First frame number that is missing.
    pub first_frame: u64,
    /// Last frame number that is missing.
    pub last_frame: u64,
    /// What was found there.
    pub what: &'static str,
}
