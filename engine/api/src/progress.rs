//! How far a source has read, or a sink has written, kept by the channel together with the events.
//!
//! A put may carry its source's progress, a release its sink's. A durable channel makes both durable in the very frame
//! that holds the events or the release, and gives them back after a restart. So a source that can seek repeats nothing:
//!
//! ```text
//!   put    [ events | progress: key=dev:inode generation=3 from=0 to=17800 ]   one frame, one sync
//!   crash
//!   start  channel.progress("r1") -> { key -> generation 3, to 17800 } -> the source seeks there
//! ```
//!
//! A position only rises within a *generation*. Whatever may make it fall (a truncated file, an inode that was used
//! again, a position file that a person edited) begins a new generation, else the channel would take new data for data
//! it already has.

use bytes::Bytes;

/// A source's progress along one of the things that it reads (a file, a partition), carried by a put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is read: `dev:inode` of a file, `topic:partition`. At most 1024 bytes.
    pub key: String,
    /// Rises whenever the position may fall.
    pub generation: u64,
    /// Where this put's events begin. That of a generation's first put is where the generation begins.
    pub from: u64,
    /// Where this put's events end. All of the key's events up to here are in this put or in an earlier one.
    pub to: u64,
    /// Whatever else the source wants back (a path, for people). At most 64 KiB, opaque to the channel.
    pub rest: Bytes,
    /// The source is done with this key (file gone): the channel forgets it once this put is durable.
    pub retire: bool,
}

/// Where a channel stands along one key of a source or sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// As in [`Progress::generation`].
    pub generation: u64,
    /// Where the generation began: [`Progress::from`] of its first put. A channel that knows the source and lacks the key
    /// stands here. Of no use to a sink.
    pub began: u64,
    /// All of the key's events up to here are in the channel (a source's), or delivered (a sink's).
    pub to: u64,
    /// As in [`Progress::rest`].
    pub rest: Bytes,
}

/// A component's positions in a channel, by key.
pub type Positions = std::collections::BTreeMap<String, Position>;
