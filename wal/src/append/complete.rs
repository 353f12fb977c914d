//! The writer's completions: acks in order, for the unbroken prefix of durable frames only (of written ones, where that is
//! asked for: see [`super::unsynced`]).

use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use super::unsynced::Behind;
use super::writer::Writer;
use crate::broken;
use crate::shared::Shared;
use crate::storage::{AlignedBuf, Completion};

impl Writer {
    /// Takes completions; acks the unbroken prefix. Returns who is to be woken.
    #[must_use]
    pub(super) fn complete(&mut self, done: impl IntoIterator<Item = Completion>) -> Vec<Waker> {
        for completion in done {
            let sent = self.in_flight.iter_mut().find(|sent| sent.token == completion.token);
            // A committer's failed write has decided the fate of all that was in flight.
            let Some(sent) = sent else { continue };
            match completion.result {
                Ok(()) => sent.done = true,
                Err(_) if broken::ignores_a_write_error() => sent.done = true,
                Err(source) => {
                    let offset = sent.offset;
                    self.fail("write", offset, source);
                    return Vec::new();
                }
            }
        }
        if !self.in_flight.front().is_some_and(|sent| sent.done) {
            return Vec::new();
        }
        let mut wakers = Vec::new();
        let now = self.shared.now();
        let shared = Arc::clone(&self.shared);
        let mut inner = shared.inner.lock();
        let mut readable = false;
        let gathered = inner.open.as_ref().and_then(|open| open.committers).unwrap_or(0);
        inner.gathering.expect(gathered + self.in_flight.iter().map(|sent| sent.committers).sum::<u32>());
        while self.in_flight.front().is_some_and(|sent| sent.done)
            && let Some(sent) = self.in_flight.pop_front()
        {
            let bytes = sent.header.padded_len(self.active.header.alignment);
            let behind = Behind { event: sent.header.end_event(), low: sent.low };
            self.note_written(&mut inner, sent.header.frame, behind, (sent.durable, bytes), now);
            inner.counters.frames += 1;
            inner.counters.frame_bytes += bytes;
            if sent.header.event_count > 0 || sent.header.is_span() {
                inner.counters.stored_bytes += u64::from(sent.header.stored_len);
                inner.counters.raw_bytes += u64::from(sent.header.raw_len);
            }
            wakers.extend(inner.room.give(sent.reserved));
            for stage in sent.stage.iter().chain(&sent.controls.stage) {
                wakers.extend(stage.decide(Ok(())));
            }
            if sent.header.event_count > 0 {
                readable = true;
                let end = sent.header.end_event();
                self.acked_event = end;
                if sent.header.is_span() {
                    self.shared.recycle(sent.buffer);
                } else {
                    let body = match sent.body {
                        Some(body) => {
                            self.shared.recycle(sent.buffer);
                            body
                        }
                        None => sent.buffer,
                    };
                    inner.cache.insert(
                        body,
                        sent.header.raw_len as usize,
                        sent.header.first_event,
                        end,
                        &self.shared.pool,
                    );
                }
                if inner.ages.back().is_none_or(|(_, since)| now - *since >= AGE_STEP) {
                    inner.ages.push_back((end, now));
                } else if let Some(last) = inner.ages.back_mut() {
                    last.0 = end;
                }
            } else {
                self.shared.recycle(sent.buffer);
            }
            if let Some(checkpoint) = sent.checkpoint {
                inner.segments.snapshot_synced = true;
                // The snapshot itself bounds recovery: a checkpoint at each roll of a fast log would only cost syncs.
                if now - self.last_checkpoint >= ROLL_CHECKPOINT_INTERVAL {
                    self.checkpoint_frame = checkpoint.frame;
                    inner.checkpoint_due = Some(checkpoint);
                    self.last_checkpoint = now;
                }
            }
            // A close mark, or a frame that only vouched for others, needs nobody to vouch for it.
            let has_content = sent.stage.is_some() || !sent.controls.is_empty();
            if has_content && self.in_flight.is_empty() && !sent.closes && !self.has_unsynced() {
                self.unclaimed_since = Some(now);
            }
        }
        self.sync_in_time(&mut inner, now);
        self.slot_freed = true;
        inner.in_flight = self.in_flight.len();
        inner.commits_in_flight = self.commits_in_flight();
        if readable {
            wakers.extend(self.shared.publish(&mut inner, self.acked_event));
        }
        let low = inner.visible.cursor.low;
        while inner.ages.front().is_some_and(|(end, _)| *end <= low) {
            inner.ages.pop_front();
        }
        let keep = inner.segments.releasable(inner.synced_low).is_some()
            || inner.segments.unknown_oldest().is_some()
            || inner.checkpoint_due.is_some();
        drop(inner);
        if keep {
            self.shared.keeper.notify_all();
        }
        wakers
    }
}

/// Checkpoints at rolls come no more often than this.
const ROLL_CHECKPOINT_INTERVAL: Duration = Duration::from_millis(250);

/// Resolution of the age of the oldest event.
const AGE_STEP: Duration = Duration::from_millis(100);

impl Shared {
    pub(super) fn recycle(&self, buffer: Arc<AlignedBuf>) {
        self.pool.put(buffer);
    }
}
