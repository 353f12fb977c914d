//! What can be set, with bounds and reasons.

use std::time::Duration;

use crate::format::codec::{Compression, RAW_LEN_MAX};
use crate::format::frame;
use crate::format::keys::Keys;
use crate::quarantine::Quarantine;

/// What becomes of events that were acked and cannot be read any more. Puts go on in any case.
#[derive(Clone, Debug, Default)]
pub enum DamagePolicy {
    /// Takes stop at the damaged place.
    #[default]
    Halt,
    /// The damaged bytes are copied there; the events are counted, released and passed over. Takes stop where the disk
    /// reports an error, or where the copy cannot be made.
    Quarantine(Quarantine),
}

/// When a commit is acked. In both cases nothing acked is lost with the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// When it is synced: it survives a power cut.
    #[default]
    Synced,
    /// When it is written: a power cut, or a crash of the kernel, may take the commits of the time since the last sync, the
    /// youngest ones first and never one from between.
    Written {
        /// The oldest commit that is not synced waits no longer than this for a sync to be asked for; it begins when the keeper
        /// has ended what it is at.
        interval: Duration,
        /// With as many bytes a sync begins at once. At most what a segment has room for beside the frames in flight: a start
        /// after a kill writes all of that again, into one segment, which on a full disk is the one that is held back for it.
        bytes: u64,
    },
}

/// How a log works. Everything has a default that suits a collector's channel.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of an ordinary segment; a commit that does not fit makes a larger one. Default 32 MiB: recovery reads one
    /// segment, so it bounds the time of a start. At least 64 KiB.
    pub segment_bytes: u64,
    /// Most payload bytes of one commit. Default 1 GiB; below 4 GiB.
    pub commit_bytes_max: u64,
    /// Size of the buffers that gather small commits, header included. Default 1 MiB: measured beyond it only memory
    /// grows. A multiple of 4096, at least 16 KiB, at most 4 MiB.
    pub frame_bytes: usize,
    /// Durable writes in flight. Default 4.
    pub in_flight: usize,
    /// A further write goes out while others are in flight only when this much waits. Default 256 KiB.
    pub eager_bytes: usize,
    /// Bytes reserved or appended and not yet synced, at most; a larger commit is let in alone. Default 8 MiB.
    pub staged_bytes_max: u64,
    /// Bytes of synced frames kept for readers that keep up. Default 8 MiB.
    pub cache_bytes: usize,
    /// Releases ride the next frame, but wait no longer than this. Default 20 ms.
    pub release_delay: Duration,
    /// A burst's end is vouched for by a housekeeping frame after this much idleness. Default 10 ms.
    pub idle_delay: Duration,
    /// Segments prepared ahead. Default 3, the least: two are the reserve that lets a full disk be drained and restarted.
    pub prepared_segments: usize,
    /// Emptied segments kept for use again, beyond the prepared ones. Default 2.
    pub spare_segments: usize,
    /// Fewer free bytes than this on the disk: no new files; puts wait. Default 0.
    pub free_bytes_min: u64,
    /// How often a checkpoint is written while the log is quiet. Default 30 s.
    pub checkpoint_interval: Duration,
    /// Write a checkpoint when the log is closed. Default true.
    pub checkpoint_on_close: bool,
    /// How long a start waits for the lock: a killed process's last writes hold it. Default 5 s.
    pub lock_wait: Duration,
    /// The longest pause between attempts to reopen a failed log. Default 5 s.
    pub reopen_delay_max: Duration,
    /// What becomes of damaged events. Default: takes stop.
    pub damage: DamagePolicy,
    /// When a commit is acked. Default: when it is synced.
    pub durability: Durability,
    /// How frames with events are stored. Default: plain. May be another one at each opening of the log.
    pub compression: Compression,
    /// Keys to what is encrypted, and by which one frames are encrypted from now on. Default: none, and plain. May be others at
    /// each opening of the log, as long as those are among them by which something is encrypted that is not delivered.
    pub keys: Keys,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 32 << 20,
            commit_bytes_max: 1 << 30,
            frame_bytes: 1 << 20,
            in_flight: 4,
            eager_bytes: 256 << 10,
            staged_bytes_max: 8 << 20,
            cache_bytes: 8 << 20,
            release_delay: Duration::from_millis(20),
            idle_delay: Duration::from_millis(10),
            prepared_segments: 3,
            spare_segments: 2,
            free_bytes_min: 0,
            checkpoint_interval: Duration::from_secs(30),
            checkpoint_on_close: true,
            lock_wait: Duration::from_secs(5),
            reopen_delay_max: Duration::from_secs(5),
            damage: DamagePolicy::Halt,
            durability: Durability::Synced,
            compression: Compression::None,
            keys: Keys::default(),
        }
    }
}

impl Options {
    /// Most bytes of a frame's body: with its header, and its envelope where it gets one, it fits in a frame.
    pub(crate) fn body_bytes_max(&self) -> usize {
        self.frame_bytes - frame::HEADER_LEN - self.keys.overhead()
    }

    /// The nearest options that keep all bounds.
    pub(crate) fn bounded(mut self, alignment: usize) -> Self {
        self.frame_bytes = self.frame_bytes.clamp(16 << 10, RAW_LEN_MAX).next_multiple_of(alignment);
        // A segment holds at least its header, a snapshot and two full frames.
        let least = (64 << 10).max(4 * self.frame_bytes as u64);
        self.segment_bytes = self.segment_bytes.max(64 << 10).next_multiple_of(alignment as u64);
        if self.segment_bytes < least {
            self.frame_bytes = ((self.segment_bytes / 4) as usize / alignment * alignment).max(4 * alignment);
        }
        self.in_flight = self.in_flight.clamp(1, 32);
        if let Durability::Written { bytes, .. } = &mut self.durability {
            // Header, snapshot and what else a start writes take no more than two frames.
            let others = (self.in_flight as u64 + 2) * self.frame_bytes as u64;
            let room = self.segment_bytes.saturating_sub(others);
            *bytes = (*bytes).min(room.max(self.frame_bytes as u64));
        }
        self.commit_bytes_max = self.commit_bytes_max.min(u64::from(u32::MAX) - (1 << 20));
        self.prepared_segments = self.prepared_segments.max(3);
        self
    }
}
