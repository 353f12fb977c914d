//! The source's loop: which file is read next, puts on their way, acks, and files that are settled.
//!
//! ```text
//!   open      [ settled next | … | being read ]     in the order of their events; some files are read ahead while the
//!                                                    puts of the first are on their way
//!   a put fails     every open file goes back to its acked position; the channels drop what they have
//!   a put refused   the same put again after 250 ms, 500 ms, … maxBackoff
//!   a file settled  its progress is retired, once its new name is durable
//!   stop            wait for what is on its way, settle what is read, leave a tracker file
//! ```

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_api::channel::Ticket;
use flumen_api::progress::Positions;
use flumen_api::source::{Backoff, InFlight, PutRefused, TICKETS_DEFAULT};
use flumen_api::{Batch, Headers, Position, Progress, PutError, SourceContext, SourceError};

use super::Setup;
use super::deserializer::{Input, Trouble};
use super::listing::{Candidate, with_suffix};
use super::memo::Memo;
use super::reading::{Reading, Verdict};
use super::settle::{Settled, settle};
use super::tracker::Tracker;
use crate::complaints::Complaints;
use crate::files::{self, FileId, next_generation, status_at};

mod opening;
mod troubles;

/// With small batches more puts are on their way, so that a sync is shared by about so many events.
const EVENTS_ON_THE_WAY: usize = 32 << 10;
/// Most puts on their way, however small.
const PUTS_MAX: usize = 512;
/// So many files are open at most: small ones share a sync as small batches do.
const OPEN_MAX: usize = 64;
/// The first pause after a put that was refused or failed, as in Flume.
const PAUSE: Duration = Duration::from_millis(250);
/// A file that could not be opened, read or renamed is tried again after this time.
const AGAIN: Duration = Duration::from_secs(2);

/// Why a step ended early.
enum Halt {
    /// The source shall stop.
    Stopped,
    /// A put failed.
    Failed(PutError),
    /// No put will ever work again in this life.
    Fatal(SourceError),
}

/// What a put on its way was for.
struct Tag {
    id: FileId,
    generation: u64,
    to: u64,
    events: usize,
}

/// One life of the source.
pub(super) struct Spooler<'a> {
    context: SourceContext,
    setup: &'a Setup,
    /// Files that wait, by the last listing.
    queue: VecDeque<Candidate>,
    list_at: Instant,
    open: VecDeque<Reading>,
    /// The one of `open` that is read.
    at: usize,
    flight: InFlight<Option<Tag>>,
    acked: Vec<Tag>,
    /// What the channel holds of files that were not opened yet.
    known: HashMap<FileId, Position>,
    /// Files that are gone were looked for.
    missed: bool,
    generation: u64,
    tracker: Tracker,
    /// Files that are let alone until their time has come, with what they wait for.
    resting: Vec<Resting>,
    /// Progress to be told, most of it that it is over; and directories to be synced before.
    tell: Vec<Progress>,
    changed: Vec<PathBuf>,
    /// Files that were settled since the last listing, which still shows them.
    settled: HashSet<FileId>,
    /// Why files were set aside in this life, by what says that they were.
    reasons: BTreeMap<PathBuf, String>,
    /// What was set aside and is still there, by the last listing.
    aside: Vec<PathBuf>,
    /// What could not be listed.
    unlisted: Option<String>,
    complaints: Complaints,
}

/// A file that could not be opened, read or settled.
struct Resting {
    id: FileId,
    path: PathBuf,
    why: String,
    until: Instant,
    /// `None`: it is opened again from the listing.
    reading: Option<Reading>,
}

impl<'a> Spooler<'a> {
    /// Looks whether the directory can be worked in.
    pub fn start(context: SourceContext, setup: &'a Setup) -> Result<Self, SourceError> {
        let directory = &setup.rules.directory;
        let wrong = |what: &str, path: &Path, error: io::Error| {
            SourceError::new(format!("{what} {}", path.display()), error)
        };
        let status =
            status_at(directory).map_err(|error| wrong("cannot look at spoolDir", directory, error))?;
        if !status.directory {
            return Err(SourceError::plain(format!("spoolDir {} is no directory", directory.display())));
        }
        if setup.rules.marks.is_none() {
            // Before anything is read: what cannot be renamed would be read again after each start.
            rustix::fs::access(directory, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK)
                .map_err(|error| wrong("files cannot be renamed in spoolDir", directory, error.into()))?;
        }
        let marks = &setup.tracker_dir;
        fs::create_dir_all(marks).map_err(|error| wrong("cannot make trackerDir", marks, error))?;
        let tracker = Tracker::open(marks)
            .map_err(|error| wrong("cannot read Flume's tracker file in", marks, error))?;
        let positions: Positions = context.positions().unwrap_or_default();
        let generation = positions.values().map(|one| one.generation).max().unwrap_or(0);
        let known = positions
            .into_iter()
            .filter_map(|(key, position)| Some((FileId::parse(&key)?, position)))
            .collect();
        let puts = (EVENTS_ON_THE_WAY / setup.batch_size).clamp(TICKETS_DEFAULT, PUTS_MAX);
        let now = Instant::now();
        Ok(Self {
            context,
            setup,
            queue: VecDeque::new(),
            list_at: now,
            open: VecDeque::new(),
            at: 0,
            flight: InFlight::new(puts),
            acked: Vec::new(),
            known,
            missed: false,
            generation,
            tracker,
            resting: Vec::new(),
            tell: Vec::new(),
            changed: Vec::new(),
            settled: HashSet::new(),
            reasons: BTreeMap::new(),
            aside: Vec::new(),
            unlisted: None,
            complaints: Complaints::default(),
        })
    }

    /// Reads files until a stop is asked for.
    pub async fn run(&mut self) -> Result<(), SourceError> {
        let mut backoff = self.backoff();
        while !self.context.shutdown.is_cancelled() {
            match self.step().await {
                Ok(true) => backoff.reset(),
                Ok(false) => self.idle().await,
                Err(Halt::Stopped) => break,
                Err(Halt::Fatal(error)) => return Err(error),
                Err(Halt::Failed(error)) => {
                    tracing::warn!(source = %self.context.name, %error, "a put failed, going back to what is acked");
                    self.note_acked();
                    self.open.iter_mut().for_each(Reading::rewind);
                    self.at = 0;
                    self.context.sleep(backoff.pause()).await;
                }
            }
            // Nothing else here waits when the channel is quick: a stop has to be noticed.
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Waits for what is on its way, settles what is read, and leaves a tracker file.
    pub async fn finish(&mut self) {
        let acked = &mut self.acked;
        if let Err(error) = self.flight.drain(|tag| acked.extend(tag)).await {
            tracing::warn!(source = %self.context.name, %error, "a put failed at the stop; its events are sent again");
        }
        self.note_acked();
        self.settle();
        if let Some(batch) = self.retirement()
            && let Ok(ticket) = self.context.put(batch).await
            && let Err(error) = ticket.await
        {
            tracing::debug!(source = %self.context.name, %error, "files that are settled are still known");
        }
        self.write_tracker();
    }

    /// One step; whether anything was done.
    async fn step(&mut self) -> Result<bool, Halt> {
        self.acked_now()?;
        self.settle();
        if let Some(batch) = self.retirement() {
            let refused = self.put(batch, None).await?;
            if let Some(error) = refused {
                tracing::debug!(source = %self.context.name, %error, "files that are settled are still known");
            }
        }
        let now = Instant::now();
        if self.tracker.is_due(now) {
            self.write_tracker();
        }
        if self.list_at <= now {
            self.list();
        }
        while self.open.get(self.at).is_some_and(|reading| reading.verdict.is_some()) {
            self.at += 1;
        }
        if self.at < self.open.len() {
            self.read().await?;
            return Ok(true);
        }
        if self.open.len() < OPEN_MAX && self.open_next(now) {
            return Ok(true);
        }
        if self.flight.is_empty() {
            return Ok(false);
        }
        let next = tokio::select! {
            biased;
            next = self.flight.next() => next,
            () = self.context.shutdown.cancelled() => return Err(Halt::Stopped),
        };
        self.acked.extend(next.map_err(Halt::Failed)?);
        self.note_acked();
        Ok(true)
    }

    /// Reads and puts the next events of the file at hand.
    async fn read(&mut self) -> Result<(), Halt> {
        let reading = &mut self.open[self.at];
        let batch = match reading.read(self.setup.batch_size) {
            Ok(batch) if batch.is_empty() => {
                reading.verdict = Some(Verdict::Done);
                return Ok(());
            }
            Ok(batch) => batch,
            Err(trouble) => {
                self.context.metrics.event_read_fail.inc();
                reading.stop_for(trouble);
                return Ok(());
            }
        };
        let (events, to) = (batch.len(), batch.progress()[0].to);
        let tag = Tag { id: reading.id, generation: reading.generation, to, events };
        reading.told = true;
        self.context.metrics.append_batch_received.inc();
        match self.put(batch, Some(tag)).await? {
            None => {
                let reading = &mut self.open[self.at];
                reading.put = to;
                reading.events += events as u64;
            }
            Some(error) => {
                let reading = &mut self.open[self.at];
                if events > 1 {
                    tracing::debug!(%error, events, "put in halves");
                    let until = reading.smaller_puts.map_or(0, |(_, until)| until).max(to);
                    reading.smaller_puts = Some((events / 2, until));
                    reading.seek();
                } else {
                    let why = format!("its event behind position {} fits into no put: {error}", reading.put);
                    reading.verdict = Some(Verdict::Aside(why));
                }
            }
        }
        Ok(())
    }

    /// Puts a batch, waiting for room; an error that comes back says that it is too large for a channel.
    async fn put(&mut self, batch: Batch, tag: Option<Tag>) -> Result<Option<PutError>, Halt> {
        match self.context.put_until_stopped(batch, self.backoff()).await {
            Ok(None) => Err(Halt::Stopped),
            Ok(Some(ticket)) => self.push(ticket, tag).await.map(|()| None),
            Err(PutRefused { error, .. }) => match error {
                PutError::TooLarge { .. } => Ok(Some(error)),
                PutError::Full { .. } | PutError::Failed { .. } => {
                    // Events further on must not reach the channel while earlier ones have to go back.
                    let acked = &mut self.acked;
                    let earlier = self.flight.drain(|tag| acked.extend(tag)).await.err();
                    Err(Halt::Failed(earlier.unwrap_or(error)))
                }
                PutError::Closed { .. } if self.context.shutdown.is_cancelled() => Err(Halt::Stopped),
                PutError::Closed { .. } => Err(Halt::Fatal(SourceError::new("a put is impossible", error))),
            },
        }
    }

    async fn push(&mut self, ticket: Ticket, tag: Option<Tag>) -> Result<(), Halt> {
        let acked = &mut self.acked;
        let result = self.flight.push(ticket, tag, |tag| acked.extend(tag)).await;
        self.note_acked();
        result.map_err(Halt::Failed)
    }

    fn acked_now(&mut self) -> Result<(), Halt> {
        let acked = &mut self.acked;
        let result = self.flight.acked_now(|tag| acked.extend(tag));
        self.note_acked();
        result.map_err(Halt::Failed)
    }

    fn note_acked(&mut self) {
        for Tag { id, generation, to, events } in self.acked.drain(..) {
            if events > 0 {
                self.context.metrics.append_batch_accepted.inc();
            }
            let mut open = self.open.iter_mut();
            if let Some(reading) = open.find(|one| one.id == id && one.generation == generation) {
                reading.acked = reading.acked.max(to);
            }
        }
    }

    /// Settles the files that are read and acked, in their order.
    fn settle(&mut self) {
        let now = Instant::now();
        for i in (0..self.resting.len()).rev() {
            let ready = self.resting[i].until <= now && self.resting[i].reading.is_some();
            if ready && let Some(reading) = self.resting.swap_remove(i).reading {
                self.settle_one(reading);
            }
        }
        while self.open.front().is_some_and(Reading::is_ripe) {
            let Some(reading) = self.open.pop_front() else { break };
            self.at = self.at.saturating_sub(1);
            self.settle_one(reading);
        }
    }

    fn settle_one(&mut self, mut reading: Reading) {
        if let Some(Verdict::Later(error)) = &reading.verdict {
            let why = format!("cannot be read: {error}");
            self.complaints.warn(&reading.path, "cannot be read, tried again", error);
            // The channel knows how far it was read; so does a memory channel's source, by what is kept here.
            self.rest_unread(reading, why);
            return;
        }
        let rules = &self.setup.rules;
        match settle(&mut reading, rules, self.setup.fate, &mut self.changed) {
            Ok(settled) => self.note_settled(reading, settled),
            Err(error) => {
                self.context.metrics.generic_processing_fail.inc();
                self.complaints.warn(
                    &reading.path,
                    "is read and cannot be renamed or marked, tried again",
                    &error,
                );
                let why = format!("is read and cannot be renamed or marked: {error}");
                let (id, path) = (reading.id, reading.path.clone());
                self.resting.push(Resting {
                    id,
                    path,
                    why,
                    until: Instant::now() + AGAIN,
                    reading: Some(reading),
                });
                self.report();
            }
        }
    }

    fn note_settled(&mut self, reading: Reading, settled: Settled) {
        let file = reading.path.display();
        let (position, events) = (reading.put, reading.events);
        match settled {
            Settled::Done => tracing::info!(file = %file, events, "file read to its end"),
            Settled::Gone => {
                tracing::warn!(file = %file, events, "the file has left the directory while it was read");
            }
            Settled::Aside(sign, why) => {
                tracing::error!(file = %file, position, sign = %sign.display(), "file set aside: {why}");
                self.context.metrics.generic_processing_fail.inc();
                self.aside.push(sign.clone());
                self.reasons.insert(sign, why);
                self.report();
            }
        }
        if let Err(error) = self.tracker.forget(&reading.path) {
            self.complaints.warn(&self.setup.tracker_dir, "tracker file cannot be removed", &error);
        }
        self.settled.insert(reading.id);
        if reading.told {
            self.tell.push(Progress { retire: true, ..reading.progress() });
        }
    }

    /// Makes the settled files' new names durable; returns a batch that retires their progress.
    fn retirement(&mut self) -> Option<Batch> {
        self.changed.sort();
        self.changed.dedup();
        for directory in self.changed.drain(..) {
            if let Err(error) = File::open(&directory).and_then(|opened| opened.sync_all()) {
                self.complaints.warn(&directory, "directory cannot be synced", &error);
            }
        }
        let mut batch = Batch::new();
        for progress in self.tell.drain(..) {
            batch.add_progress(progress);
        }
        (!batch.progress().is_empty()).then_some(batch)
    }

    /// Leaves word for Flume, and for our next life with a channel in memory.
    fn write_tracker(&mut self) {
        let Some(reading) = self.open.front_mut().filter(|reading| reading.acked > 0) else { return };
        let Some(deserializer) = &mut reading.deserializer else { return };
        let written = match deserializer.to_tracker(reading.acked) {
            Ok(offset) => self.tracker.write(&reading.path, offset),
            Err(Trouble::Io(error)) => Err(error),
            // The file changed beneath us, which is found when it is settled.
            Err(Trouble::Bad(_)) => return,
        };
        if let Err(error) = written {
            self.complaints.warn(&self.setup.tracker_dir, "tracker file cannot be written", &error);
        }
    }

    /// Waits for the next look at the directory, or for a stop.
    async fn idle(&mut self) {
        let pause = self.list_at.saturating_duration_since(Instant::now());
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.context.shutdown.cancelled() => {}
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(PAUSE, self.setup.max_backoff)
    }
}
