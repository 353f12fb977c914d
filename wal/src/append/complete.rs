//! The writer's completions: acks in order, for the unbroken prefix of durable frames only (of written ones, where that is
//! asked for: see [`super::unsynced`]).

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;

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
        let mut to_copy = Vec::new();
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
                    let first = sent.header.first_event;
                    let raw_len = sent.header.raw_len as usize;
                    let body = inner.cache.insert(body, raw_len, first, end, &self.shared.pool);
                    to_copy.extend(body.map(|body| (first, body)));
                }
                note_age(&mut inner.ages, end, now);
            } else {
                self.shared.recycle(sent.buffer);
            }
            inner.segments.snapshot_synced |= sent.snapshot;
            if let Some(checkpoint) = sent.checkpoint {
                self.checkpoint_frame = checkpoint.frame;
                inner.checkpoint_due = Some(checkpoint);
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
            || inner.segments.unknown().is_some()
            || inner.checkpoint_due.is_some();
        drop(inner);
        if keep {
            self.shared.keeper.notify_all();
        }
        for (first, body) in to_copy {
            let copy = Bytes::copy_from_slice(&body);
            self.shared.inner.lock().cache.replace(first, copy);
        }
        wakers
    }
}

/// Resolution of the age of the oldest event, while few are held.
const AGE_STEP: Duration = Duration::from_millis(100);

/// With more ages than this the old ones melt together, until they are wrong by this part: a consumer may stand still for months.
const AGES_MAX: usize = 1024;
const AGE_ERROR: u32 = 32;

/// Events up to `end` became readable at `now`.
fn note_age(ages: &mut VecDeque<(u64, Duration)>, end: u64, now: Duration) {
    match ages.back_mut() {
        Some(last) if now - last.1 < AGE_STEP => last.0 = end,
        _ => ages.push_back((end, now)),
    }
    if ages.len() > AGES_MAX {
        // The older, the coarser. Of neighbours the later end, and the earlier time: an age is never told as less than it is.
        let mut all = std::mem::take(ages).into_iter().peekable();
        while let Some((end, since)) = all.next() {
            let until = all.peek().map_or(now, |(_, next)| *next);
            match ages.back_mut() {
                Some(last) if until - last.1 <= (now - until) / AGE_ERROR => last.0 = end,
                _ => ages.push_back((end, since)),
            }
        }
    }
}

impl Shared {
    pub(super) fn recycle(&self, buffer: Arc<AlignedBuf>) {
        self.pool.put(buffer);
    }
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;

    /// Goal: a consumer that stands still costs no memory, and the age of its oldest event stays about right, also when it goes on.
    /// Method: a month of one commit a second.
    #[test]
    fn ages_are_few_however_long_nothing_is_released() {
        const MONTH: u64 = 30 * 86_400;
        let mut ages = VecDeque::new();
        for second in 0..MONTH {
            note_age(&mut ages, second + 1, Duration::from_secs(second));
            assert!(ages.len() <= AGES_MAX);
        }
        for event in (0..MONTH).step_by(61) {
            let (_, since) = ages.iter().find(|(end, _)| *end > event).unwrap();
            let (age, told) = (MONTH - event, MONTH - since.as_secs());
            assert!((age..=age + age / 32 + 1).contains(&told), "{age} s old, it is said: {told}");
        }
    }
}
