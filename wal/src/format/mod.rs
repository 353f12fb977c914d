//! The bytes on the disk. All integers are little-endian; all reserved bytes are zero and checked.
//!
//! A log is a directory of segments. A segment is two copies of a [header](segment), then [frames](frame), each aligned
//! to the segment's alignment and written by one durable write:
//!
//! ```text
//! 0         align      2×align
//! +---------+----------+----------------------+---------+-----+----------------------+- - -
//! | header  | header   | frame: life/snapshot | frame   | pad | frame                | unwritten (zero or stale)
//! +---------+----------+----------------------+---------+-----+----------------------+- - -
//! ```
//!
//! A frame's body, which may be [compressed](codec) and [encrypted](keys), is a list of [records](record): commits, releases, progress,
//! snapshots. The first frame of each segment
//! holds the log's whole state but the events (a snapshot) and nothing else, so the log needs no other file. The
//! [`checkpoint`] is derived.

pub mod checkpoint;
pub mod codec;
pub mod frame;
pub mod keys;
pub mod record;
pub mod segment;
mod wire;

/// What is wrong with bytes that should be ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct FormatError {
    /// What is wrong.
    pub what: &'static str,
    /// Offset in the structure that was read.
    pub at: usize,
}
