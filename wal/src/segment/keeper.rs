//! The thread that does what must not hold up a write: preparing segments, recycling released ones, writing checkpoints.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use crate::append::reopen::Guard;
use crate::append::unsynced::{SyncEnd, SyncJob};
use crate::append::writer::Writer;
use crate::broken;
use crate::format::checkpoint::Checkpoint;
use crate::numbers::SegmentNumber;
use crate::recovery::life::write_checkpoint;
use crate::recovery::read_snapshot_frame;
use crate::segment::file::{self, NewSegment, Opened};
use crate::shared::{PrepareFailure, Shared, Status};
use crate::storage::Directory;
use crate::sync::Mutex;

/// One unit of work at a time, decided under the log's lock, done outside it.
#[derive(Debug)]
pub struct Keeper {
    shared: Arc<Shared>,
    closed: bool,
    /// When to look again at a segment none of whose neighbours could be read.
    learn_at: Duration,
    /// Without a keeper nothing rolls, and nothing is synced that was only written: the log ends with it.
    _guard: Guard,
}

/// What to do next.
enum Job {
    Sync(SyncJob),
    Checkpoint(Checkpoint),
    Recycle(SegmentNumber),
    /// Learn where a segment's events end.
    Learn(SegmentNumber),
    Prepare,
}

/// How long after a failure to prepare a segment the next attempt comes: a full disk may have space again.
const RETRY: Duration = Duration::from_millis(500);

/// How many neighbours are asked where a segment's events end, before the active one is: each is a read or two.
const NEIGHBOURS_MAX: usize = 8;

impl Keeper {
    pub fn new(shared: Arc<Shared>, writer: Arc<Mutex<Writer>>) -> Self {
        Self { shared, closed: false, learn_at: Duration::ZERO, _guard: Guard::new(writer) }
    }

    /// Works until the log is closed.
    pub fn run(&mut self) {
        while !self.closed {
            if self.turn() {
                continue;
            }
            let mut inner = self.shared.inner.lock();
            let idle = !matches!(inner.status, Status::Closed) && self.job_of(&inner).is_none();
            if !self.closed && idle {
                let retry = inner.prepare_failed.is_some() || !inner.segments.stuck.is_empty();
                let wait = if retry { RETRY } else { Duration::from_secs(3600) };
                self.shared.keeper.wait_for(&mut inner, wait);
            }
        }
    }

    /// Does one job if there is one.
    pub fn turn(&mut self) -> bool {
        if self.closed {
            return false;
        }
        // Held while the job runs: a reopen must not read what is half done.
        let shared = Arc::clone(&self.shared);
        let files = shared.files.lock();
        let mut inner = shared.inner.lock();
        let ends = matches!(inner.status, Status::Closed);
        let Some(job) = self.job_of(&inner) else {
            self.closed = ends;
            return false;
        };
        match job {
            Job::Sync(_) => inner.sync_due = None,
            Job::Checkpoint(_) => inner.checkpoint_due = None,
            _ => {}
        }
        drop(inner);
        match job {
            Job::Sync(job) => self.sync(&job),
            Job::Checkpoint(checkpoint) => self.write_checkpoint(&checkpoint),
            Job::Recycle(number) => self.recycle(number),
            Job::Learn(number) => self.learn(number),
            Job::Prepare => self.prepare(),
        }
        drop(files);
        true
    }

    /// A failed log is being read, a closed one is somebody else's: neither is touched.
    fn job_of(&self, inner: &crate::shared::Inner) -> Option<Job> {
        if !matches!(inner.status, Status::Open | Status::Closing) {
            return None;
        }
        if let Some(job) = &inner.sync_due {
            return Some(Job::Sync(job.clone()));
        }
        if let Some(checkpoint) = &inner.checkpoint_due {
            return Some(Job::Checkpoint(checkpoint.clone()));
        }
        if let Some(number) = inner.segments.releasable(inner.synced_low) {
            return Some(Job::Recycle(number));
        }
        let segments = &inner.segments;
        let now = self.shared.now();
        if let Some((number, _)) = segments.stuck.iter().find(|(_, at)| *at <= now) {
            return Some(Job::Recycle(*number));
        }
        let wants_more = segments.prepared.len() < self.shared.options.prepared_segments;
        let wants_larger = segments.wanted_bytes > 0
            && segments.prepared.front().is_some_and(|p| p.len < segments.wanted_bytes);
        let rested = inner.prepare_failed.as_ref().is_none_or(|failure| now >= failure.at + RETRY);
        if (wants_more || wants_larger) && rested {
            return Some(Job::Prepare);
        }
        let learns = inner.synced_low > 0 && now >= self.learn_at;
        segments.unknown().filter(|_| learns).map(Job::Learn)
    }

    fn sync(&self, job: &SyncJob) {
        let result = if broken::skips_the_late_sync() { Ok(()) } else { job.file.sync() };
        self.shared.inner.lock().sync_end = Some(SyncEnd { frame: job.frame, result });
        self.shared.wake.wake();
    }

    fn write_checkpoint(&self, checkpoint: &Checkpoint) {
        let newest = self.shared.inner.lock().checkpoint;
        let shared = &*self.shared;
        let written = write_checkpoint(&*shared.dirs.checkpoint, checkpoint, newest, &*shared.environment);
        let mut inner = self.shared.inner.lock();
        match written {
            Ok(newest) => inner.checkpoint = Some(newest),
            // Derived: the log recovers without it. The count is a metric.
            Err(_) => inner.checkpoint_errors += 1,
        }
    }

    /// Makes a spare of a segment that nobody needs, or removes it if there are enough.
    fn recycle(&self, number: SegmentNumber) {
        let data = &*self.shared.dirs.data;
        let name = number.file_name();
        let normal = self.shared.options.segment_bytes;
        let spares = {
            let mut inner = self.shared.inner.lock();
            if inner.segments.sealed.remove(&number).is_some() {
                inner.counters.recycled += 1;
            }
            inner.segments.bounds.remove(&number);
            inner.segments.stuck.retain(|(stuck, _)| *stuck != number);
            let low = inner.synced_low;
            inner.cache.release(low);
            inner.segments.spares.len()
        };
        let len = data.open(&name).and_then(|file| file.len());
        let fit = len.as_ref().is_ok_and(|len| (normal..=2 * normal).contains(len));
        let keep = spares < self.shared.options.spare_segments && fit;
        let done = if keep { data.rename(&name, &number.spare_name()) } else { data.remove(&name) };
        // An attempt before this one that reported an error may have succeeded.
        let gone = done.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound);
        let listed = if gone { list_spares(data) } else { None };
        let mut inner = self.shared.inner.lock();
        match done {
            Ok(()) if keep => inner.segments.spares.push(number),
            Ok(()) => inner.segments.give_back(len.unwrap_or(normal)),
            Err(_) => match listed {
                Some(spares) => {
                    if !spares.contains(&number) {
                        inner.segments.give_back(normal);
                    }
                    inner.segments.spares = spares;
                }
                // Its blocks are worth another try. If all fail, it is found again at the next start.
                None => {
                    inner.segments.stuck.push((number, self.shared.now() + RETRY));
                    return;
                }
            },
        }
        // Whoever failed for lack of space need not wait any longer.
        if let Some(failure) = &mut inner.prepare_failed {
            failure.at = Duration::ZERO;
        }
    }

    /// Reads where the events of a segment end: in the table of the next one whose first frame can be read. Where that does not
    /// name it, they end below those that begin there.
    fn learn(&mut self, number: SegmentNumber) {
        let data = &*self.shared.dirs.data;
        let above: Vec<_> = {
            let inner = self.shared.inner.lock();
            let next = inner.segments.above(number).take(NEIGHBOURS_MAX);
            next.chain([inner.segments.active]).collect()
        };
        // What rotted and what the disk cannot read says nothing here; its reader will say so.
        let first = above.into_iter().find_map(|above| match file::open(data, above) {
            Ok(Opened::Segment(file)) => read_snapshot_frame(&file).ok().flatten(),
            Ok(Opened::Spare | Opened::Headerless | Opened::Newer(_)) | Err(_) => None,
        });
        let Some(first) = first else {
            self.learn_at = self.shared.now() + RETRY;
            return;
        };
        let snapshot = first.snapshot;
        let summary = snapshot.segments.into_iter().find(|summary| summary.segment == number);
        let mut inner = self.shared.inner.lock();
        let segments = &mut inner.segments;
        if let Some(known) = segments.sealed.get_mut(&number) {
            *known = summary;
            if summary.is_none() {
                segments.bounds.insert(number, snapshot.next_event);
            }
        }
    }

    fn prepare(&self) {
        let shared = &*self.shared;
        let data = &*shared.dirs.data;
        let (number, from, size, log_id, (features, keys), large) = {
            let mut inner = shared.inner.lock();
            let segments = &mut inner.segments;
            let normal = shared.options.segment_bytes;
            let front = segments.prepared.front().map_or(0, |front| front.len);
            let large = segments.wanted_bytes > normal && front < segments.wanted_bytes;
            let size = if large { segments.wanted_bytes } else { normal };
            // A large one is a new file: spares are the reserve, and growing one could fail and lose it.
            let from = if large { None } else { segments.spares.pop().map(SegmentNumber::spare_name) };
            (segments.highest.next(), from, size, inner.log_id, inner.features, large)
        };
        let fresh = from.is_none();
        let free = if fresh { data.free_bytes() } else { Ok(u64::MAX) };
        let enough = match free {
            _ if broken::ignores_no_space() => Ok(()),
            Ok(free) if free < shared.options.free_bytes_min.saturating_add(size) => {
                Err(std::io::Error::new(
                    std::io::ErrorKind::StorageFull,
                    format!(
                        "{free} bytes are free in {}; {} shall stay free",
                        data.path().display(),
                        shared.options.free_bytes_min
                    ),
                ))
            }
            _ => Ok(()),
        };
        let prepared = enough.and_then(|()| {
            let salt = shared.environment.random();
            let new = NewSegment { number, size, log_id, salt, features, keys };
            file::prepare(data, from.as_deref(), &new)
        });
        // A new file that failed is no spare: nothing of it is known to be durable.
        let listed = if prepared.is_err() && !fresh { list_spares(data) } else { None };
        let mut inner = shared.inner.lock();
        match prepared {
            Ok(file) => {
                if fresh {
                    inner.segments.disk_bytes += file.len;
                }
                inner.segments.highest = inner.segments.highest.max(number);
                // Numbers are used in rising order: those before a large one give way to it, and become spares.
                let passed: Vec<_> =
                    if large { inner.segments.prepared.drain(..).collect() } else { Vec::new() };
                inner.segments.prepared.push_back(file);
                inner.prepare_failed = None;
                let waiting = inner.room.closed;
                inner.room.closed = false;
                let next = if waiting { inner.room.wakers() } else { Vec::new() };
                drop(inner);
                next.into_iter().for_each(std::task::Waker::wake);
                for segment in passed {
                    let number = segment.number();
                    let renamed = data.rename(&number.file_name(), &number.spare_name());
                    let segments = &mut shared.inner.lock().segments;
                    match renamed {
                        Ok(()) => segments.spares.push(number),
                        // A segment's name without a frame: beyond a table's reach a start takes it for one with events.
                        Err(_) => segments.stuck.push((number, shared.now() + RETRY)),
                    }
                }
            }
            Err(error) => {
                // The blocks of a spare are too good to lose: whatever name it has now, it is found by it.
                if let Some(spares) = listed {
                    inner.segments.spares = spares;
                }
                let why = format!("cannot prepare a segment in {}: {error}", data.path().display());
                let lacks_space = matches!(
                    error.kind(),
                    std::io::ErrorKind::StorageFull
                        | std::io::ErrorKind::QuotaExceeded
                        | std::io::ErrorKind::FileTooLarge
                );
                inner.prepare_failed = Some(PrepareFailure { at: shared.now(), why, lacks_space });
                drop(inner);
            }
        }
        shared.wake.wake();
    }
}

/// Spare files as they are, if the directory can be listed.
fn list_spares(data: &dyn Directory) -> Option<Vec<SegmentNumber>> {
    let entries = data.list().ok()?;
    Some(entries.iter().filter_map(|entry| SegmentNumber::parse_spare(&entry.name)).collect())
}
