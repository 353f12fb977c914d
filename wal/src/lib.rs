//! A segmented, checksummed write-ahead log with aligned durable writes. Bytes in, bytes out.
//!
//! Nothing that was acked is lost: not by a killed process, not by a power cut on a medium that keeps what it acknowledged
//! as synced, not by a full disk. What damages acked bytes is found and named.
//!
//! Layers, from the disk up: [`storage`] (the seam, and every file operation) → [`mod@format`] (the bytes) → `segment` (the
//! files) → `recovery` (from bytes to state, and what a start writes) → `append` and `read` (a running log) → [`Log`].
//!
//! ```
//! use std::sync::Arc;
//! use flumen_wal::storage::memory::MemoryDirectory;
//! use flumen_wal::{Commit, Directories, Log, Options};
//!
//! let dir = Arc::new(MemoryDirectory::new("example"));
//! let log = Log::open(Directories { data: dir.clone(), checkpoint: dir }, Options::default())?;
//! log.append_and_wait(Commit { events: 2, payload: &b"two events"[..].to_vec(), progress: vec![] })?;
//! let take = log.cursor().try_take(100, 1 << 20)?.expect("two synced events");
//! assert_eq!((take.events, &take.pieces[0].payload[..]), (2, &b"two events"[..]));
//! log.cursor().release(take.first_event, take.events, vec![]);
//! log.close();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod append;
mod broken;
mod commit;
mod directories;
mod environment;
mod error;
pub mod format;
#[cfg(all(test, feature = "shuttle"))]
mod interleavings;
mod key_file;
mod log;
mod numbers;
mod options;
mod quarantine;
mod read;
mod recovery;
mod segment;
mod shared;
mod state;
pub mod storage;
mod sync;
pub mod tools;

pub use append::ticket::Ticket;
pub use broken::broken_on_purpose;
pub use commit::{Commit, Payload};
pub use directories::Directories;
pub use environment::{Environment, System};
pub use error::{Damage, Failure, LogError, OpenError, ReadError};
pub use format::codec::Compression;
pub use format::keys::{Key, KeyError, KeyId, Keys, MissingKey};
pub use key_file::{KeyFileError, read_key_file};
pub use log::{Driver, Log, Recovery, Reserve, Reserved, Stats};
pub use numbers::{FrameNumber, Place, SegmentNumber};
pub use options::{DamagePolicy, Durability, Options};
pub use quarantine::Quarantine;
pub use read::cursor::{Cursor, Piece, Take};
pub use state::{ProgressOp, ProgressUpdate, ProgressValue, Space};
