//! Frames that are acked and not yet synced: [`Durability::Written`].
//!
//! ```text
//!   frames written -> acked, readable                        unsynced: bytes, since when, the last of them
//!   enough bytes, or the oldest is old enough, or a roll, a checkpoint or the end needs it
//!                  -> the keeper syncs the segment           syncing: what the sync covers
//!   sync ended     -> claims and trims may rely on them      or the log has failed
//! ```
//!
//! Only the active segment has such frames: a roll waits until all before it is synced, for its snapshot vouches for that.
//! What a power cut takes is a tail of the log, never a hole in it: recovery cuts at the first frame that is not whole.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::writer::{REOPEN_DELAY_MIN, Writer};
use crate::numbers::FrameNumber;
use crate::options::Durability;
use crate::shared::Inner;
use crate::storage::File;

/// Written frames that no sync has covered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Unsynced {
    pub(super) bytes: u64,
    /// When the oldest was written; `None`: there is none.
    since: Option<Duration>,
    /// The last of them, and what holds behind it.
    frame: FrameNumber,
    behind: Behind,
}

/// What is durable with a frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Behind {
    /// Events below this number.
    pub(super) event: u64,
    /// The cursor's low mark.
    pub(super) low: u64,
}

/// A sync for the keeper to carry out.
#[derive(Clone, Debug)]
pub struct SyncJob {
    pub file: Arc<dyn File>,
    /// All frames up to this one are written.
    pub frame: FrameNumber,
}

/// How a sync ended.
#[derive(Debug)]
pub struct SyncEnd {
    pub frame: FrameNumber,
    pub result: io::Result<()>,
}

impl Writer {
    /// Whether frames are acked and not synced.
    pub(super) fn has_unsynced(&self) -> bool {
        self.unsynced.since.is_some() || self.syncing.is_some()
    }

    /// The frame is written, and so are all before it.
    pub(super) fn note_written(
        &mut self,
        inner: &mut Inner,
        frame: FrameNumber,
        behind: Behind,
        (durable, bytes): (bool, u64),
        now: Duration,
    ) {
        if durable && !self.has_unsynced() {
            return self.note_synced(inner, frame, behind);
        }
        self.unsynced.bytes += bytes;
        inner.unsynced_bytes += bytes;
        self.unsynced.since.get_or_insert(now);
        (self.unsynced.frame, self.unsynced.behind) = (frame, behind);
    }

    fn note_synced(&mut self, inner: &mut Inner, frame: FrameNumber, behind: Behind) {
        (self.synced_frame, self.synced_event) = (frame, behind.event);
        self.reopen_delay = REOPEN_DELAY_MIN;
        inner.synced_low = inner.synced_low.max(behind.low);
    }

    /// When the oldest unsynced frame is due.
    pub(super) fn sync_due(&self) -> Option<Duration> {
        let Durability::Written { interval, .. } = self.shared.options.durability else { return None };
        let since = self.unsynced.since.filter(|_| self.syncing.is_none())?;
        Some(since + interval)
    }

    /// Asks for a sync if it is time.
    pub(super) fn sync_in_time(&mut self, inner: &mut Inner, now: Duration) {
        let Durability::Written { bytes, .. } = self.shared.options.durability else { return };
        if self.unsynced.bytes >= bytes || self.sync_due().is_some_and(|due| due <= now) {
            self.ask_for_sync(inner);
        }
    }

    /// Asks for a sync of all that is written, if there is something and no sync is under way.
    pub(super) fn ask_for_sync(&mut self, inner: &mut Inner) {
        if self.syncing.is_some() || self.unsynced.since.is_none() {
            return;
        }
        let covered = std::mem::take(&mut self.unsynced);
        inner.sync_due = Some(SyncJob { file: Arc::clone(&self.active.file), frame: covered.frame });
        self.syncing = Some(covered);
        self.shared.keeper.notify_all();
    }

    /// Takes note of a sync that ended.
    pub(super) fn take_sync_end(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut inner = shared.inner.lock();
        let Some(end) = inner.sync_end.take() else { return };
        // One that was asked for before a failure is nobody's any more.
        let Some(covered) = self.syncing.take_if(|covered| covered.frame == end.frame) else { return };
        if let Err(source) = end.result {
            drop(inner);
            self.fail("sync", self.offset, source);
            return;
        }
        inner.unsynced_bytes -= covered.bytes;
        self.note_synced(&mut inner, covered.frame, covered.behind);
        if self.in_flight.is_empty() && !self.has_unsynced() {
            self.unclaimed_since = Some(self.shared.now());
        }
        let keep = inner.segments.releasable(inner.synced_low).is_some();
        drop(inner);
        if keep {
            self.shared.keeper.notify_all();
        }
    }

    /// The log has failed: recovery will say what is left.
    pub(super) fn forget_unsynced(&mut self, inner: &mut Inner) {
        self.unsynced = Unsynced::default();
        self.syncing = None;
        inner.sync_due = None;
        inner.sync_end = None;
        inner.unsynced_bytes = 0;
    }
}
