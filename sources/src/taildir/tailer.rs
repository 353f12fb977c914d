//! The source's loop: rounds over all files, puts on their way, acks, and the position file.
//!
//! ```text
//!   start   decide where to begin; tell the channel (positions, what the position file will hold); write the file
//!   round   acks → directories → one turn for each file that has something (a chunk, or maxBatchCount puts)
//!           → idle, deleted and renamed files → position file; nothing at all: wait, up to 100 ms
//!   a put fails     every file goes back to its acked offset; the channels drop what they have
//!   a put refused   the same put again after 1 s, 2 s, 4 s, 5 s …; directories are watched meanwhile, so that files
//!                   which come and go are at least held open
//!   stop    wait for what is on its way; write the position file; say that the stop was clean
//! ```

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use flumen_api::channel::Ticket;
use flumen_api::source::{InFlight, TICKETS_DEFAULT};
use flumen_api::{Batch, Progress, PutError, SourceContext, SourceError};

use super::directories::{Directories, Found};
use super::group::Group;
use super::position_file::{self, Entry, Record};
use super::resume::{Resume, authority};
use super::settings::TaildirSettings;
use super::tail::{Tail, Turn};
use crate::complaints::Complaints;
use crate::files::buffers::Buffers;
use crate::files::{self, FileId, next_generation};

mod following;
mod lines;
mod record;
#[cfg(test)]
mod tests;

use lines::lines;
use record::RecordState;

/// How much is read at once: large enough that the calls for each read (the read, two looks at the file) do not show,
/// small enough to stay in a core's cache until it is put.
const CHUNK_BYTES: usize = 512 << 10;

/// With small batches more puts are on their way, so that a sync is shared by about so many lines.
const LINES_ON_THE_WAY: usize = 32 << 10;
/// Most puts on their way, however small.
const PUTS_MAX: usize = 512;

/// The first and the longest pause after a refused put, as in Flume.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);
const REFUSED_PAUSE_MAX: Duration = Duration::from_secs(5);
/// The first pause after a put that failed on its way, doubled likewise: a channel is reopened in far less.
const FAILED_PAUSE: Duration = Duration::from_millis(100);

/// The longest wait without looking at the files: a file system that reports no writes delays lines by this much.
const WAIT_MAX: Duration = Duration::from_millis(100);
/// While some files keep us busy, the others are looked at this often.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// Closed files are looked at, and idle ones found, this often.
const SWEEP_EVERY: Duration = Duration::from_millis(200);

/// Why a round ended early.
enum Halt {
    /// The source shall stop.
    Stopped,
    /// A put on its way failed.
    Failed(PutError),
    /// No put will ever work again in this life.
    Fatal(SourceError),
}

/// What a put on its way was for.
#[derive(Debug)]
enum Tag {
    /// Lines, or the retirement of a key.
    File { id: FileId, generation: u64, to: u64, retire: bool, events: usize },
    /// The position file may be replaced with these bytes.
    Record(Vec<u8>),
    /// Nothing that anybody waits for.
    Nothing,
}

/// What became of a put.
enum Outcome {
    OnItsWay(Ticket),
    TooLarge(PutError),
}

/// One life of the source.
pub(super) struct Tailer<'a> {
    context: SourceContext,
    settings: &'a TaildirSettings,
    groups: &'a [Group],
    directories: Directories,
    buffers: Buffers,
    files: HashMap<FileId, Tail>,
    /// The order of turns.
    order: Vec<FileId>,
    flight: InFlight<Tag>,
    /// Acked, and not yet taken note of.
    acked: Vec<Tag>,
    resume: Resume,
    /// Progress to be told before the next lines.
    announcements: Vec<Progress>,
    generation: u64,
    record: RecordState,
    complaints: Complaints,
    open_max: usize,
    looked_at: Instant,
    swept_at: Instant,
}

impl<'a> Tailer<'a> {
    /// Touches nothing but inotify.
    pub fn new(context: SourceContext, settings: &'a TaildirSettings, groups: &'a [Group]) -> Self {
        let puts = (LINES_ON_THE_WAY / settings.batch_size).clamp(TICKETS_DEFAULT, PUTS_MAX);
        // Others in this process need descriptors too.
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(65_536);
        let now = Instant::now();
        Self {
            directories: Directories::new(groups, !settings.cache_pattern_matching),
            buffers: Buffers::new(CHUNK_BYTES),
            files: HashMap::new(),
            order: Vec::new(),
            flight: InFlight::new(puts),
            acked: Vec::new(),
            resume: Resume::new(super::resume::Authority::Nobody, Default::default()),
            announcements: Vec::new(),
            generation: 0,
            record: RecordState::default(),
            complaints: Complaints::default(),
            open_max: (limit / 4).clamp(32, 8192) as usize,
            looked_at: now,
            swept_at: now,
            context,
            settings,
            groups,
        }
    }

    /// Follows the files until a stop is asked for.
    pub async fn run(&mut self, skip_to_end: bool, started: &mut bool) -> Result<(), SourceError> {
        match self.start(skip_to_end).await {
            Ok(()) => *started = true,
            Err(Halt::Stopped) => return Ok(()),
            Err(Halt::Fatal(error)) => return Err(error),
            Err(Halt::Failed(error)) => {
                return Err(SourceError::new("the positions at the start could not be kept", error));
            }
        }
        let mut quiet_rounds = 0;
        let mut false_alarms = 0;
        let mut failed_pause = FAILED_PAUSE;
        while !self.context.shutdown.is_cancelled() {
            match self.round(quiet_rounds > 0).await {
                Ok(true) => {
                    (quiet_rounds, false_alarms) = (0, 0);
                    failed_pause = FAILED_PAUSE;
                }
                Ok(false) => {
                    let woken = self.wait(quiet_rounds, false_alarms);
                    quiet_rounds += 1;
                    false_alarms = if woken { false_alarms + 1 } else { 0 };
                }
                Err(Halt::Stopped) => break,
                Err(Halt::Fatal(error)) => return Err(error),
                Err(Halt::Failed(error)) => {
                    tracing::warn!(source = %self.context.name, %error, "a put failed, going back to what is acked");
                    self.note_acked();
                    self.files.values_mut().for_each(Tail::rewind);
                    self.record.on_its_way = false;
                    self.pause(failed_pause);
                    failed_pause = (failed_pause * 2).min(REFUSED_PAUSE_MAX);
                }
            }
        }
        Ok(())
    }

    /// Waits for what is on its way and leaves the position file as it is then.
    pub async fn finish(&mut self) {
        let acked = &mut self.acked;
        if let Err(error) = self.flight.drain(|tag| acked.push(tag)).await {
            tracing::warn!(source = %self.context.name, %error, "a put failed at the stop; its lines are sent again");
        }
        self.note_acked();
        if !self.record.begun {
            return;
        }
        let bytes = self.positions();
        if position_file::hash(&bytes) != self.record.on_disk {
            let kept = self.keep_record(&bytes, false).await;
            // Without a durable channel the file is all there is; with one, a file that it does not know of would look
            // like one that a person wrote.
            if kept || self.context.positions().is_none() {
                self.replace_position_file(&bytes);
            }
        }
        if position_file::hash(&bytes) == self.record.on_disk {
            self.keep_record(&bytes, true).await;
        }
    }

    async fn start(&mut self, skip_to_end: bool) -> Result<(), Halt> {
        let mut positions = self.context.positions().unwrap_or_default();
        let kept = positions.remove(Record::KEY);
        let record = kept.as_ref().and_then(|kept| Record::decode(&kept.rest));
        self.record.number = kept.map_or(0, |kept| kept.to);
        self.generation = positions.values().map(|one| one.generation).max().unwrap_or(0);
        let path = &self.settings.position_file;
        let found = match position_file::load(path) {
            Ok(found) => found,
            Err(error) if record.is_some() => position_file::Found::Unreadable(error.to_string()),
            // The positions are in it and nowhere else. With files as new, lines would come again, or be skipped.
            Err(error) => {
                let message = format!("cannot read the position file {}", path.display());
                return Err(Halt::Fatal(SourceError::new(message, error)));
            }
        };
        if let position_file::Found::Entries { hash, .. } = &found {
            self.record.on_disk = *hash;
        }
        let (authority, why) = authority(record, found);
        if let Some(why) = why {
            tracing::warn!(source = %self.context.name, file = %path.display(), "position file: {why}");
        }
        let by_channel = authority == super::resume::Authority::Channel;
        self.resume = Resume::new(authority, positions);
        self.directories.refresh(self.groups, Instant::now(), |_| false);
        self.complain_of_directories();
        let there: Vec<Found> = self.directories.found().cloned().collect();
        for found in there {
            self.follow(&found.path, Some(found.group), skip_to_end);
        }
        self.settle();
        if by_channel {
            self.follow_renamed();
        }
        if self.directories.complete() {
            for (id, position) in self.resume.take_lost() {
                self.announcements.push(Progress {
                    key: id.key(),
                    generation: position.generation,
                    from: position.to,
                    to: position.to,
                    rest: position.rest,
                    retire: true,
                });
            }
        }
        // Durable before the first line: else a crash now would let the position file, or its absence, decide again.
        let bytes = self.positions();
        let progress = self.record_progress(&bytes, false);
        self.announcements.push(progress);
        self.tell().await?;
        let acked = &mut self.acked;
        self.flight.drain(|tag| acked.push(tag)).await.map_err(Halt::Failed)?;
        self.note_acked();
        self.record.begun = true;
        if position_file::hash(&bytes) != self.record.on_disk {
            self.replace_position_file(&bytes);
        }
        self.record.due = Some(Instant::now() + self.write_interval());
        Ok(())
    }

    /// One round; whether anything was done.
    async fn round(&mut self, look: bool) -> Result<bool, Halt> {
        let now = Instant::now();
        self.acked_now()?;
        self.watch_directories(now);
        self.tell().await?;
        if look || now.duration_since(self.looked_at) >= LOOK_EVERY {
            self.looked_at = now;
            self.look(now);
        }
        let mut done = false;
        let mut i = 0;
        while i < self.order.len() {
            let id = self.order[i];
            i += 1;
            if self.files.get(&id).is_some_and(|tail| tail.hot) {
                done |= self.turn(id).await?;
                if self.context.shutdown.is_cancelled() {
                    return Err(Halt::Stopped);
                }
                self.watch_directories(Instant::now());
            }
        }
        if now.duration_since(self.swept_at) >= SWEEP_EVERY.min(self.idle_timeout()) {
            self.swept_at = now;
            self.sweep(now).await?;
        }
        self.write_positions(now).await?;
        Ok(done)
    }

    fn look(&mut self, now: Instant) {
        for tail in self.files.values_mut() {
            if let Err(error) = tail.look(now) {
                self.complaints.warn(&tail.path, "cannot be looked at", &error);
                tail.give_up();
            }
        }
    }

    /// One file's turn; whether anything was done.
    async fn turn(&mut self, id: FileId) -> Result<bool, Halt> {
        let now = Instant::now();
        let idle = self.idle_timeout();
        let Some(tail) = self.files.get_mut(&id) else { return Ok(false) };
        let finish = now.duration_since(tail.changed_at) >= idle;
        let turn = match tail.turn(&self.buffers, finish, now) {
            Ok(turn) => turn,
            Err(error) => {
                self.context.metrics.event_read_fail.inc();
                self.complaints.warn(&tail.path, "cannot be read", &error);
                tail.give_up();
                return Ok(false);
            }
        };
        match turn {
            Turn::Quiet => Ok(false),
            Turn::Searching => Ok(true),
            Turn::Lines { base, end } => self.put_lines(id, base, end).await.map(|()| true),
            Turn::Unfinished(base) => {
                let end = base.len();
                self.put_lines(id, base, end).await.map(|()| true)
            }
            Turn::TooLong(length) => {
                self.skip(id, length, "is longer than a line may be").await?;
                Ok(true)
            }
            Turn::Restarted(why) => {
                tracing::info!(file = %tail.path.display(), position = tail.put, "{why}: read from its beginning");
                let generation = next_generation(&mut self.generation, tail.generation);
                if let Err(error) = tail.restart(generation) {
                    self.complaints.warn(&tail.path, "cannot be read", &error);
                    tail.give_up();
                }
                Ok(true)
            }
        }
    }

    /// Puts the lines of `base[..end]`, which begins at the file's position.
    async fn put_lines(&mut self, id: FileId, base: Bytes, end: usize) -> Result<(), Halt> {
        let batches_max = u64::try_from(self.settings.max_batch_count).ok().filter(|n| *n > 0);
        let (mut at, mut batches) = (0, 0);
        while at < end && batches_max.is_none_or(|most| batches < most) {
            let Some(tail) = self.files.get_mut(&id) else { return Ok(()) };
            let mut limit = self.settings.batch_size;
            match tail.smaller_puts {
                Some((fewer, until)) if tail.put < until => limit = limit.min(fewer),
                _ => tail.smaller_puts = None,
            }
            let batch = lines(tail, &base, at..end, limit, self.settings.byte_offset_header);
            let (generation, to, events) = (tail.generation, batch.progress()[0].to, batch.len());
            self.context.metrics.append_batch_received.inc();
            match self.put(batch).await? {
                Outcome::OnItsWay(ticket) => {
                    let Some(tail) = self.files.get_mut(&id) else { return Ok(()) };
                    at += (to - tail.put) as usize;
                    tail.advance(to);
                    self.push(ticket, Tag::File { id, generation, to, retire: false, events }).await?;
                    batches += 1;
                }
                Outcome::TooLarge(error) if events > 1 => {
                    tracing::debug!(%error, events, "put in halves");
                    let Some(tail) = self.files.get_mut(&id) else { return Ok(()) };
                    tail.smaller_puts =
                        Some((events / 2, to.max(tail.smaller_puts.map_or(0, |(_, until)| until))));
                }
                Outcome::TooLarge(error) => {
                    let Some(tail) = self.files.get_mut(&id) else { return Ok(()) };
                    let length = to - tail.put;
                    self.skip(id, length, &error.to_string()).await?;
                    at += length as usize;
                }
            }
        }
        Ok(())
    }

    /// Leaves out a line that no channel will ever take, rather than never to go on. It stays in the file.
    async fn skip(&mut self, id: FileId, length: u64, why: &str) -> Result<(), Halt> {
        let Some(tail) = self.files.get_mut(&id) else { return Ok(()) };
        tracing::error!(file = %tail.path.display(), offset = tail.put, length, "line left out: {why}");
        self.context.metrics.event_read_fail.inc();
        let (generation, to) = (tail.generation, tail.put + length);
        let progress = Progress { to, ..progress_of(tail) };
        tail.advance(to);
        self.put_progress(vec![progress], Tag::File { id, generation, to, retire: false, events: 0 }).await
    }

    /// Retires a file's key: nothing more will come of it.
    async fn retire(&mut self, id: FileId) -> Result<(), Halt> {
        let Some(tail) = self.files.get_mut(&id) else { return Ok(()) };
        tail.retiring = true;
        let (generation, to) = (tail.generation, tail.put);
        let progress = Progress { retire: true, ..progress_of(tail) };
        self.put_progress(vec![progress], Tag::File { id, generation, to, retire: true, events: 0 }).await
    }

    /// Idle files are closed, those that are gone are retired, closed ones that grew are opened again.
    async fn sweep(&mut self, now: Instant) -> Result<(), Halt> {
        let idle = self.idle_timeout();
        let mut retire = Vec::new();
        let mut resting: Vec<(Instant, FileId)> = Vec::new();
        let mut open = 0;
        for tail in self.files.values_mut() {
            if tail.retiring {
                continue;
            }
            let quiet = now.duration_since(tail.changed_at) >= idle;
            if !tail.is_open() {
                match files::status_at(&tail.path) {
                    Ok(status) if status.id == tail.id && tail.differs(&status) => {
                        match files::open(&tail.path) {
                            Ok(opened) if opened.1.id == tail.id => tail.reopen(opened),
                            // It is being replaced; the next listing shows by what.
                            Ok(_) => {}
                            Err(error) => self.complaints.warn(&tail.path, "cannot be opened", &error),
                        }
                    }
                    _ if tail.is_lost(now) => retire.push(tail.id),
                    _ => {}
                }
                continue;
            }
            open += 1;
            if quiet && !tail.is_read() {
                // The turn finds that the last line has waited long enough.
                tail.hot = true;
            } else if tail.is_read() {
                if quiet && (tail.is_lost(now) || tail.is_deleted()) {
                    retire.push(tail.id);
                } else if quiet && tail.acked == tail.put {
                    tracing::debug!(file = %tail.path.display(), position = tail.put, "idle, closed");
                    tail.close();
                } else {
                    resting.push((tail.changed_at, tail.id));
                }
            }
        }
        if open > self.open_max {
            resting.sort_unstable();
            for (_, id) in resting.into_iter().take(open - self.open_max) {
                let Some(tail) = self.files.get_mut(&id) else { continue };
                if tail.is_deleted() {
                    retire.push(id);
                } else if tail.acked == tail.put {
                    tail.close();
                }
            }
        }
        for id in retire {
            self.retire(id).await?;
        }
        Ok(())
    }

    /// Puts what has to be told before lines.
    async fn tell(&mut self) -> Result<(), Halt> {
        if self.announcements.is_empty() {
            return Ok(());
        }
        let progress = std::mem::take(&mut self.announcements);
        self.put_progress(progress, Tag::Nothing).await
    }

    async fn put_progress(&mut self, progress: Vec<Progress>, tag: Tag) -> Result<(), Halt> {
        match self.put(only(progress)).await? {
            Outcome::OnItsWay(ticket) => self.push(ticket, tag).await,
            Outcome::TooLarge(error) => {
                Err(Halt::Fatal(SourceError::new("a channel has no room for the source's positions", error)))
            }
        }
    }

    async fn put(&mut self, mut batch: Batch) -> Result<Outcome, Halt> {
        let mut pause = REFUSED_PAUSE;
        loop {
            let result = tokio::select! {
                biased;
                result = self.context.put(batch) => result,
                () = self.context.shutdown.cancelled() => return Err(Halt::Stopped),
            };
            let refused = match result {
                Ok(ticket) => return Ok(Outcome::OnItsWay(ticket)),
                Err(refused) => refused,
            };
            match refused.error {
                error @ PutError::TooLarge { .. } => return Ok(Outcome::TooLarge(error)),
                error if !error.is_retriable() => {
                    if self.context.shutdown.is_cancelled() {
                        return Err(Halt::Stopped);
                    }
                    return Err(Halt::Fatal(SourceError::new("a put is impossible", error)));
                }
                // Lines that are further on must not reach the channel while earlier ones have to go back.
                error @ PutError::Failed { .. } => {
                    self.acked_now()?;
                    self.complaints.warn(Path::new(&*self.context.name), "put refused, tried again", &error);
                }
                error => {
                    self.complaints.warn(Path::new(&*self.context.name), "put refused, tried again", &error)
                }
            }
            batch = refused.batch;
            self.pause(pause);
            if self.context.shutdown.is_cancelled() {
                return Err(Halt::Stopped);
            }
            self.acked_now()?;
            pause = (pause * 2).min(REFUSED_PAUSE_MAX);
        }
    }

    async fn push(&mut self, ticket: Ticket, tag: Tag) -> Result<(), Halt> {
        let acked = &mut self.acked;
        let result = self.flight.push(ticket, tag, |tag| acked.push(tag)).await;
        self.note_acked();
        result.map_err(Halt::Failed)
    }

    fn acked_now(&mut self) -> Result<(), Halt> {
        let acked = &mut self.acked;
        let result = self.flight.acked_now(|tag| acked.push(tag));
        self.note_acked();
        result.map_err(Halt::Failed)
    }

    fn note_acked(&mut self) {
        let mut acked = std::mem::take(&mut self.acked);
        for tag in acked.drain(..) {
            match tag {
                Tag::Nothing => {}
                Tag::Record(bytes) => {
                    self.record.on_its_way = false;
                    self.replace_position_file(&bytes);
                }
                Tag::File { id, generation, to, retire, events } => {
                    if events > 0 {
                        self.context.metrics.append_batch_accepted.inc();
                    }
                    let Some(tail) = self.files.get_mut(&id).filter(|tail| tail.generation == generation)
                    else {
                        continue;
                    };
                    tail.acked = to;
                    if retire && tail.retiring {
                        tracing::info!(file = %tail.path.display(), position = to, "read to its end and gone");
                        self.files.remove(&id);
                        self.order.retain(|one| *one != id);
                    }
                }
            }
        }
        self.acked = acked;
    }

    /// Waits on this thread, watching the directories, until the time is over or a stop is asked for.
    fn pause(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while !self.context.shutdown.is_cancelled() {
            let now = Instant::now();
            if now >= until {
                return;
            }
            std::thread::sleep((until - now).min(Duration::from_millis(10)));
            self.watch_directories(now);
        }
    }

    /// Waits for news; returns whether some were announced.
    fn wait(&mut self, quiet_rounds: u32, false_alarms: u32) -> bool {
        let pause = Duration::from_millis(1 << quiet_rounds.min(7)).min(WAIT_MAX);
        // Other files' writes in the directory wake us for nothing: the more often, the less we listen.
        let deaf = Duration::from_millis(1 << false_alarms.min(5)).min(pause);
        std::thread::sleep(deaf);
        pause > deaf && self.directories.wait(pause - deaf)
    }

    fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.settings.idle_timeout_ms)
    }
}

/// The progress of a file that stands at `put` and makes none.
fn progress_of(tail: &Tail) -> Progress {
    Progress {
        key: tail.key.clone(),
        generation: tail.generation,
        from: tail.put,
        to: tail.put,
        rest: tail.rest.clone(),
        retire: false,
    }
}

fn only(progress: Vec<Progress>) -> Batch {
    let mut batch = Batch::new();
    for one in progress {
        batch.add_progress(one);
    }
    batch
}
