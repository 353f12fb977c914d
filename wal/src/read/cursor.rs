//! The consumer's side: taking synced events, releasing them, giving them back.
//!
//! ```text
//!   0        low           next              readable end     appended
//!   +---------+--------------+-----------------+----------------+
//!   | released| taken, or    | not taken yet   | not synced yet |
//!   |         | returned     |                 |                |
//!   +---------+--------------+-----------------+----------------+
//! ```
//!
//! A take comes from the cache while the consumer keeps up, else from the disk by sequential reads. Ranges that were given
//! back go out again before newer events. Every frame read from the disk is verified once.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use crate::error::ReadError;
use crate::format::record::{Record, Records};
use crate::options::DamagePolicy;
use crate::read::disk_reader::DiskReader;
use crate::read::give_up;
use crate::shared::{Inner, Shared, Status};
use crate::state::{self, ProgressUpdate};
use crate::sync::Mutex;

/// A handle on the log's consumer position.
#[derive(Clone, Debug)]
pub struct Cursor {
    shared: Arc<Shared>,
    reader: Arc<Mutex<Reader>>,
}

/// Consecutive events `first_event .. first_event + events`.
#[derive(Debug)]
pub struct Take {
    /// Number of the first one.
    pub first_event: u64,
    /// How many.
    pub events: u64,
    /// Where they are, in order.
    pub pieces: Vec<Piece>,
}

/// Some events of one commit.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The commit's whole payload.
    pub payload: Bytes,
    /// How many events of it come before these.
    pub skip: u32,
    /// How many events.
    pub events: u32,
}

/// Where reading stands; shared by all handles.
#[derive(Debug)]
pub struct Reader {
    /// The next event that nobody has taken.
    next: u64,
    /// Released ranges above the low mark that recovery found: they are not taken again.
    skip: state::Cursor,
    /// Ranges that were given back, first → end.
    returned: BTreeMap<u64, u64>,
    /// The commits of the frame or span read last.
    loaded: Vec<LoadedCommit>,
    disk: DiskReader,
}

/// A commit in memory.
#[derive(Clone, Debug)]
pub struct LoadedCommit {
    pub first_event: u64,
    pub events: u32,
    pub payload: Bytes,
}

impl LoadedCommit {
    fn end_event(&self) -> u64 {
        self.first_event + u64::from(self.events)
    }
}

/// The commits of a verified body whose first event is `first_event`.
pub fn commits_of(body: &Bytes, first_event: u64) -> Result<Vec<LoadedCommit>, crate::format::FormatError> {
    let mut commits = Vec::new();
    let mut next = first_event;
    for record in Records::new(body) {
        if let Record::Commit { events, payload } = record? {
            commits.push(LoadedCommit { first_event: next, events, payload: body.slice_ref(payload) });
            next += u64::from(events);
        }
    }
    Ok(commits)
}

impl Reader {
    pub fn new(cursor: &state::Cursor) -> Self {
        Self {
            next: cursor.low,
            skip: cursor.clone(),
            returned: BTreeMap::new(),
            loaded: Vec::new(),
            disk: DiskReader::default(),
        }
    }

    fn run(&self, readable_end: u64) -> Option<(u64, u64)> {
        if let Some((&first, &end)) = self.returned.first_key_value() {
            return Some((first, end));
        }
        let (first, end) = self.skip.unreleased_from(self.next);
        (first < readable_end).then(|| (first, end.min(readable_end)))
    }

    /// The next run of events to be taken. A reader that has none lets go of its file: one that was removed takes up its
    /// space for as long as somebody holds it, which on a full disk would keep out the events that would make him move on.
    fn next_run(&mut self, readable_end: u64) -> Option<(u64, u64)> {
        let run = self.run(readable_end);
        if run.is_none() {
            self.disk = DiskReader::default();
        }
        run
    }

    /// Marks `first..end` of the run that began at `first` as taken.
    fn advance(&mut self, first: u64, end: u64) {
        match self.returned.remove(&first) {
            Some(run_end) if end < run_end => drop(self.returned.insert(end, run_end)),
            Some(_) => {}
            None => self.next = end,
        }
    }

    /// Events `first..end` are not to be had any more.
    fn pass(&mut self, first: u64, end: u64) {
        // Behind what was released before this life: that is where the take stood which met them.
        let (next, _) = self.skip.unreleased_from(self.next);
        if (first..end).contains(&next) {
            self.next = end;
        }
        let touched: Vec<(u64, u64)> = self
            .returned
            .range(..end)
            .map(|(first, end)| (*first, *end))
            .filter(|(_, last)| *last > first)
            .collect();
        for (returned, last) in touched {
            self.returned.remove(&returned);
            if returned < first {
                self.returned.insert(returned, first);
            }
            if end < last {
                self.returned.insert(end, last);
            }
        }
    }

    fn give_back(&mut self, first: u64, end: u64) {
        self.returned.insert(first, end);
    }

    /// The commit that holds `event`, which is synced.
    fn load(&mut self, shared: &Shared, event: u64) -> Result<&LoadedCommit, ReadError> {
        let at = |loaded: &[LoadedCommit]| {
            let at = loaded.partition_point(|commit| commit.end_event() <= event);
            loaded.get(at).is_some_and(|commit| commit.first_event <= event).then_some(at)
        };
        if let Some(i) = at(&self.loaded) {
            return Ok(&self.loaded[i]);
        }
        let cached = shared.inner.lock().cache.find(event).cloned();
        self.loaded = match cached {
            Some(frame) => commits_of(&frame.body, frame.first_event).expect("a body that was sealed here"),
            None => self.disk.load(shared, event)?,
        };
        let i = at(&self.loaded).expect("the frame of an event holds the event");
        Ok(&self.loaded[i])
    }
}

impl Cursor {
    pub(crate) fn new(shared: Arc<Shared>, reader: Arc<Mutex<Reader>>) -> Self {
        Self { shared, reader }
    }

    /// The next synced events that nobody has taken, returned ones first; `None` if there are none now.
    ///
    /// At most `events`, and about `bytes` (judged by each commit's mean event size), but at least one event. May read
    /// the disk. On an error nothing is taken; [`ReadError::Damaged`] stays until the log is repaired, unless the
    /// [policy](crate::DamagePolicy) is to set damage aside.
    pub fn try_take(&self, events: usize, bytes: usize) -> Result<Option<Take>, ReadError> {
        loop {
            let epoch = self.epoch()?;
            match self.take_what_is_there(events, bytes) {
                // A reopen moves frames. What was met while one was under way, or by a table from before it, is no damage.
                Err(_stale) if self.epoch()? != epoch => {}
                Err(ReadError::Damaged { event, .. }) if self.give_up(event, epoch)? => {}
                taken => return taken,
            }
        }
    }

    /// How many events were damaged, set aside and passed over, in this process.
    pub fn given_up_events(&self) -> u64 {
        self.shared.inner.lock().counters.given_up
    }

    /// How often the log was reopened, if it can be read now. Between two equal answers no reopen touched a file: the log is
    /// failed before one begins, and counts it before it is open again.
    fn epoch(&self) -> Result<u64, ReadError> {
        epoch_of(&self.shared.inner.lock())
    }

    /// Sets aside what `event`, damaged in this epoch, stood in, if that is the policy. Returns whether a take may find more
    /// now.
    fn give_up(&self, event: u64, epoch: u64) -> Result<bool, ReadError> {
        let DamagePolicy::Quarantine(quarantine) = &self.shared.options.damage else { return Ok(false) };
        // Nobody moves frames, or uses a segment again, while they are looked at.
        let files = self.shared.files.lock();
        let (now, released) = {
            let inner = self.shared.inner.lock();
            (epoch_of(&inner)?, inner.visible.cursor.unreleased_from(event).0)
        };
        if now != epoch {
            return Ok(true);
        }
        let end = if released > event {
            // By another handle that met the same place.
            released
        } else {
            let Some(given_up) = give_up::give_up(&self.shared, quarantine, event)? else { return Ok(false) };
            let now = self.shared.now();
            let mut inner = self.shared.inner.lock();
            // One that failed meanwhile is read again by a reopen, which may find what this table did not show.
            if epoch_of(&inner)? != epoch {
                return Ok(true);
            }
            inner.counters.given_up += given_up.end - event;
            inner.counters.set_aside += given_up.copies;
            let wake = release(&mut inner, [(event, given_up.end - event)], Vec::new(), now);
            drop(inner);
            if wake {
                self.shared.wake.wake();
            }
            given_up.end
        };
        drop(files);
        self.reader.lock().pass(event, end);
        Ok(end > event)
    }

    fn take_what_is_there(&self, events: usize, bytes: usize) -> Result<Option<Take>, ReadError> {
        let mut reader = self.reader.lock();
        let Some((first, end)) = reader.next_run(self.shared.readable_end()) else { return Ok(None) };
        let end = end.min(first.saturating_add(events.max(1) as u64));
        let mut pieces = Vec::new();
        let mut at = first;
        let mut left = bytes as u64;
        while at < end {
            let commit = match reader.load(&self.shared, at) {
                Ok(commit) => commit,
                // What was read so far is good; the error comes again with the next take.
                Err(_later) if at > first => break,
                Err(error) => return Err(error),
            };
            let mean = (commit.payload.len() as u64 / u64::from(commit.events)).max(1);
            let fit = (left / mean).max(u64::from(at == first));
            let taken = (commit.end_event() - at).min(end - at).min(fit);
            if taken == 0 {
                break;
            }
            let skip = u32::try_from(at - commit.first_event).expect("less than the commit's events");
            let events = u32::try_from(taken).expect("no more than the commit's events");
            pieces.push(Piece { payload: commit.payload.clone(), skip, events });
            left = left.saturating_sub(mean * taken);
            at += taken;
        }
        reader.advance(first, at);
        Ok(Some(Take { first_event: first, events: at - first, pieces }))
    }

    /// Resolves when [`try_take`](Self::try_take) may return something else than `None`. May resolve without cause.
    pub async fn ready(&self) {
        poll_fn(|cx| {
            if self.reader.lock().next_run(self.shared.readable_end()).is_some() {
                return Poll::Ready(());
            }
            let mut inner = self.shared.inner.lock();
            if matches!(inner.status, Status::Closed | Status::Failed(_)) {
                return Poll::Ready(());
            }
            if !inner.readers.iter().any(|waker| waker.will_wake(cx.waker())) {
                inner.readers.push(cx.waker().clone());
            }
            drop(inner);
            // Published between the look and the registration?
            if self.reader.lock().run(self.shared.readable_end()).is_some() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Delivered: events `first_event .. first_event + events` of a take, or part of them. Rides the next frame, at
    /// latest after the release delay, together with `progress`.
    pub fn release(&self, first_event: u64, events: u64, progress: Vec<ProgressUpdate>) {
        self.release_all([(first_event, events)], progress);
    }

    /// The same for several ranges (first event, count): they and `progress` hold together or not at all.
    pub fn release_all(&self, ranges: impl IntoIterator<Item = (u64, u64)>, progress: Vec<ProgressUpdate>) {
        let now = self.shared.now();
        let mut inner = self.shared.inner.lock();
        if matches!(inner.status, Status::Closed) {
            return;
        }
        let wake = release(&mut inner, ranges, progress, now);
        drop(inner);
        if wake {
            self.shared.wake.wake();
        }
    }

    /// Not delivered: the events go out again, before newer ones.
    pub fn rollback(&self, first_event: u64, events: u64) {
        if events == 0 {
            return;
        }
        self.reader.lock().give_back(first_event, first_event + events);
        let wakers = std::mem::take(&mut self.shared.inner.lock().readers);
        wakers.into_iter().for_each(std::task::Waker::wake);
    }
}

fn epoch_of(inner: &Inner) -> Result<u64, ReadError> {
    match &inner.status {
        Status::Open | Status::Closing => Ok(inner.counters.reopens),
        Status::Failed(failure) => Err(ReadError::Failed(Arc::clone(failure))),
        Status::Closed => Err(ReadError::Closed),
    }
}

/// Releases ranges (first event, count) together with `progress`. Returns whether the submitter is to be woken.
#[must_use]
fn release(
    inner: &mut Inner,
    ranges: impl IntoIterator<Item = (u64, u64)>,
    progress: Vec<ProgressUpdate>,
    now: Duration,
) -> bool {
    // The submitter sleeps without a timeout while nothing is pending.
    let wake = inner.pending.is_empty() && inner.in_flight == 0;
    for (first_event, events) in ranges {
        if events > 0 {
            inner.visible.apply_release(first_event, first_event + events);
            inner.pending.release(first_event, first_event + events, now);
        }
    }
    let low = inner.visible.cursor.low;
    inner.cache.release(low);
    for update in progress {
        inner.visible.apply_progress(&update);
        inner.pending.update(update, now);
    }
    wake
}
