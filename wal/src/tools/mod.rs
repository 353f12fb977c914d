//! Looking at a log without opening it: [`inspect`], [`verify`] and [`dump`]; and making one that opens of a damaged one:
//! [`repair`], of which [`examine`] is the rehearsal.
//!
//! The first three change nothing and take no lock, so they work on a log that is running. Of such a log they judge what was
//! synced when they began, up to the highest *claim*: frames above it may be on their way. A segment that the running log
//! recycles under a reader's eyes is recognised by its salt and left out.
//!
//! Directories [with keys](crate::Directories::with_keys) are read as far as these go. Of a log to which one is missing [`inspect`]
//! says what stands in clear, and the others refuse: a frame that they cannot open is not damaged.
//!
//! | | reads | for |
//! | --- | --- | --- |
//! | [`inspect`] | headers, snapshots, checkpoint files, and what a start would read | what is there, and what a start would do |
//! | [`verify`] | everything | whether every synced frame is intact, and if not, what is lost and where |
//! | [`dump`] | everything | each frame and record |
//! | [`examine`], [`repair`] | everything, under the log's lock | giving up what cannot be read |

mod dump;
mod inspect;
mod locate;
mod read_only;
mod repair;
mod survey;
mod verify;
mod walk;

pub use crate::quarantine::FOLDER as QUARANTINE;
pub use dump::{DumpedRecord, Line, dump};
pub use inspect::{
    Content, Inspection, Outlook, OwnerInfo, SegmentInfo, Slot, SlotInfo, UnvouchedFrame, inspect,
};
pub use locate::{Opener, locate, locate_with};
pub use read_only::open as open_read_only;
pub use repair::{Remedy, Repair, examine, repair};
pub use verify::{Verification, verify};
pub use walk::Finding;

use std::io;
use std::path::PathBuf;

use crate::format::keys::MissingKey;

/// Why a log cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum ToolError {
    /// A directory or file cannot be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// The error beneath.
        source: io::Error,
    },
    /// Its data directories do not fit together.
    #[error(transparent)]
    Lanes(#[from] crate::storage::striped::LanesError),
    /// There is no log.
    #[error("{path} holds no log: neither it nor its subfolder `flumen` has segments or checkpoints")]
    NoLog {
        /// Where one was looked for.
        path: PathBuf,
    },
    /// A key to it is not given.
    #[error("{path} cannot be read: {missing}; give that key")]
    Locked {
        /// The file or directory.
        path: PathBuf,
        /// Which key.
        missing: MissingKey,
    },
    /// A newer version wrote it.
    #[error("{path} was written by a newer version: {reason}; look at it with that version")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Version or feature bits.
        reason: String,
    },
}
