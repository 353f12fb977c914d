//! One shard, read in order: pull, put, wait, checkpoint.
//!
//! ```text
//!   asked to leave (the group wants it)   the pull at hand is put to its end, the checkpoint set, the shard given up
//!   asked to stop (agent, or the group is lost)   what is on its way lands; the rest of the pull is read again
//! ```

use std::sync::Arc;
use std::time::Duration;

use flumen_api::SourceError;
use flumen_api::batch::Batch;
use flumen_api::channel::PutError;
use flumen_api::progress::{Position, Progress};
use flumen_api::source::{Backoff, InFlight, PutTicket, TICKETS_DEFAULT};
use flumen_sls::{Error, Pulled, Start};
use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::events::Maker;
use super::lag::Lag;
use super::place::Place;
use super::service::{Halt, Service};

/// Log groups that a pull asks for; the service gives no more.
const GROUPS: u32 = 1000;
/// How often damaged log groups are asked for before they are left out.
const TRIES: u32 = 3;
/// How long the last checkpoint may take at a stop.
const LAST_CALL: Duration = Duration::from_secs(5);

/// A pull, and the room in memory that it has.
type Held = (Pulled, OwnedSemaphorePermit);

/// See the [module](self).
pub(super) struct Shard {
    pub service: Arc<Service>,
    pub id: u32,
    /// Its progress key.
    pub key: String,
    /// Bounds how many pulls are in memory.
    pub pulls: Arc<Semaphore>,
    /// The group wants the shard back. Follows `stop`.
    pub leave: CancellationToken,
    /// The agent stops, or the shard is the group's already.
    pub stop: CancellationToken,
    pub lag: Arc<Lag>,
}

/// What is left when a shard is read no further.
pub(super) struct End {
    pub position: Option<Position>,
    pub result: Result<(), SourceError>,
}

impl Shard {
    /// Reads until it is asked to end, or cannot go on. `held` is what the channels have.
    pub async fn read(self, held: Option<Position>) -> End {
        let begun = self.begin(held.as_ref()).await;
        let (position, result) = match begun {
            Err(halt) => (held, Err(halt)),
            Ok(place) => {
                tracing::info!(source = %self.service.context.name, shard = self.id, cursor = %place.cursor,
                    events_to_skip = place.to - place.base, "reads a shard");
                let mut reading = Reading::new(&self, place);
                let result = reading.run().await;
                reading.finish(&result).await;
                (Some(reading.place.position()), result)
            }
        };
        self.service.trouble(&self.key, None);
        let source = &self.service.context.name;
        let result = match result {
            Ok(()) | Err(Halt::Asked | Halt::Again) => Ok(()),
            Err(Halt::Refused(error)) => {
                tracing::info!(%source, shard = self.id, %error, "no longer this member's");
                Ok(())
            }
            Err(Halt::Failed(error)) => Err(SourceError::new("a put failed", error)),
            Err(Halt::Fatal(error)) => Err(error),
        };
        End { position, result }
    }

    /// Where to begin. A group without a checkpoint gets one at once: where it begins must not move with the time.
    async fn begin(&self, held: Option<&Position>) -> Result<Place, Halt> {
        let Self { service, id, key, leave, .. } = self;
        let id = *id;
        if service.plan.settings.fetch_in_order {
            self.wait_for_parents().await?;
        }
        let checkpoints = service.insist(key, leave, || service.client.checkpoints(&service.group)).await?;
        let known = checkpoints.iter().find(|known| known.shard == id && !known.cursor.is_empty());
        if let Some(known) = known {
            return Ok(Place::at(&known.cursor, held));
        }
        let mut start = service.plan.start;
        if start == Start::End {
            // The group is not new to keys that were in another shard before: nothing of them may be left out.
            let shards = service.insist(key, leave, || service.client.shards()).await?;
            let own = shards.iter().find(|shard| shard.id == id);
            let read = |parent: u32| {
                checkpoints.iter().any(|known| known.shard == parent && !known.cursor.is_empty())
            };
            if own.is_some_and(|own| shards.iter().any(|shard| shard.is_parent_of(own) && read(shard.id))) {
                start = Start::Begin;
            }
        }
        let cursor = service.insist(key, leave, || service.client.cursor(id, start)).await?;
        self.set_checkpoint(&cursor, leave).await?;
        Ok(Place::at(&cursor, held))
    }

    /// Waits until the group has read all of the shards that had this one's keys before. The service itself hands a shard out after
    /// its parents in an ordered group; this holds also where it does not.
    async fn wait_for_parents(&self) -> Result<(), Halt> {
        let Self { service, id, key, leave, .. } = self;
        let mut backoff = service.backoff();
        loop {
            let shards = service.insist(key, leave, || service.client.shards()).await?;
            let own = shards.iter().find(|shard| shard.id == *id);
            let parents: Vec<u32> = shards
                .iter()
                .filter(|shard| own.is_some_and(|own| shard.is_parent_of(own)))
                .map(|shard| shard.id)
                .collect();
            let mut unread = None;
            if !parents.is_empty() {
                let checkpoints =
                    service.insist(key, leave, || service.client.checkpoints(&service.group)).await?;
                for parent in parents {
                    let known = checkpoints
                        .iter()
                        .find(|known| known.shard == parent)
                        .map(|known| known.cursor.as_str());
                    if !self.is_read(parent, known.unwrap_or_default()).await? {
                        unread = Some(parent);
                        break;
                    }
                }
            }
            let Some(parent) = unread else { return Ok(()) };
            tracing::debug!(source = %service.context.name, shard = id, parent, "waits for a parent shard");
            if leave.run_until_cancelled(sleep(backoff.pause())).await.is_none() {
                return Err(Halt::Asked);
            }
        }
    }

    /// Whether nothing is in a closed shard behind the cursor.
    async fn is_read(&self, shard: u32, cursor: &str) -> Result<bool, Halt> {
        if cursor.is_empty() {
            return Ok(false);
        }
        let call = || self.service.client.pull(shard, cursor, 1);
        match self.service.insist(&self.key, &self.leave, call).await {
            Ok(pulled) => Ok(pulled.logs == 0 && pulled.next == cursor),
            Err(Halt::Refused(error)) => Ok(error.is_shard_gone()),
            Err(halt) => Err(halt),
        }
    }

    async fn set_checkpoint(&self, cursor: &str, stop: &CancellationToken) -> Result<(), Halt> {
        let Self { service, id, key, .. } = self;
        let call = || service.client.set_checkpoint(&service.group, &service.consumer, (*id, cursor), false);
        service.insist(key, stop, call).await
    }
}

/// A shard at work.
struct Reading<'a> {
    shard: &'a Shard,
    place: Place,
    /// All before this position is on its way.
    put: u64,
    flight: InFlight<u64>,
    /// The pull behind the one at hand.
    ahead: Option<AbortOnDropHandle<Result<Held, Error>>>,
    /// Most log groups of a pull.
    groups: u32,
    /// Up to this position, puts have no more events than this.
    smaller: Option<(usize, u64)>,
    /// Where the next pull begins, while the checkpoint does not stand there. What the channels have is told from the old place
    /// until it does.
    untold: Option<Place>,
}

impl<'a> Reading<'a> {
    fn new(shard: &'a Shard, place: Place) -> Self {
        Self {
            shard,
            put: place.to,
            place,
            flight: InFlight::new(TICKETS_DEFAULT),
            ahead: None,
            groups: GROUPS,
            smaller: None,
            untold: None,
        }
    }

    async fn run(&mut self) -> Result<(), Halt> {
        let settings = &self.shard.service.plan.settings;
        let (step, max) = (u64::from(settings.backoff_increment), u64::from(settings.backoff_max));
        let mut empty = 0;
        let mut damaged = 0;
        loop {
            let begun = Instant::now();
            let (pulled, room) = match self.pull().await {
                Err(Halt::Refused(error)) if error.is_cursor_gone() => {
                    self.begin_anew(&error).await?;
                    self.rest(Duration::from_millis(step.min(max))).await?;
                    continue;
                }
                pulled => pulled?,
            };
            if let Some(why) = &pulled.damage {
                // Fewer at a time, until the damaged group is alone.
                let is_alone = self.groups == 1;
                self.groups = (self.groups / 2).max(1);
                damaged += u32::from(is_alone);
                let is_left_out = damaged >= TRIES && pulled.next != self.place.cursor;
                self.tell_damage(&pulled.next, why, is_left_out);
                if !is_left_out {
                    self.rest(Duration::from_millis(step.min(max))).await?;
                    continue;
                }
            }
            damaged = 0;
            if pulled.next == self.place.cursor && pulled.logs == 0 {
                self.shard.lag.at_end();
                drop(room);
                empty += 1;
                self.rest(Duration::from_millis((step * empty).min(max))).await?;
                continue;
            }
            empty = 0;
            let is_full = pulled.logs >= settings.batch_size as u64;
            if is_full {
                self.look_ahead(&pulled.next);
            }
            self.take(&pulled).await?;
            self.groups = (self.groups * 2).min(GROUPS);
            drop(room);
            self.go_on(pulled).await?;
            if !is_full {
                let due = begun + Duration::from_millis(settings.batch_duration.into());
                self.until(due).await?;
            }
        }
    }

    /// The next pull, which may be there already.
    async fn pull(&mut self) -> Result<Held, Halt> {
        let Shard { service, id, key, leave, pulls, .. } = self.shard;
        if leave.is_cancelled() {
            return Err(Halt::Asked);
        }
        if let Some(ahead) = self.ahead.take()
            && let Some(Ok(Ok(held))) = leave.run_until_cancelled(ahead).await
            && held.0.damage.is_none()
        {
            return Ok(held);
        }
        loop {
            let room = leave.run_until_cancelled(pulls.clone().acquire_owned()).await;
            let Some(Ok(room)) = room else { return Err(Halt::Asked) };
            let call = async || match service.client.pull(*id, &self.place.cursor, self.groups).await {
                Err(error) if error.is_about_the_answer() => Ok(Err(error)),
                answer => answer.map(Ok),
            };
            match service.insist(key, leave, call).await? {
                Err(error) => {
                    tracing::error!(source = %service.context.name, %error, "asked again, for fewer log groups");
                    service.trouble(key, Some(error.to_string()));
                    self.groups = (self.groups / 2).max(1);
                    drop(room);
                    self.rest(service.backoff().pause()).await?;
                }
                Ok(pulled) => return Ok((pulled, room)),
            }
        }
    }

    /// Asks for the pull behind this one, if memory allows it.
    fn look_ahead(&mut self, cursor: &str) {
        let Shard { service, id, pulls, .. } = self.shard;
        let Ok(room) = pulls.clone().try_acquire_owned() else { return };
        let (service, id, cursor) = (service.clone(), *id, cursor.to_string());
        let pull = async move { Ok((service.client.pull(id, &cursor, GROUPS).await?, room)) };
        self.ahead = Some(AbortOnDropHandle::new(tokio::spawn(pull)));
    }

    /// Puts a pull, and what failed again, until all of it is in the channels.
    async fn take(&mut self, pulled: &Pulled) -> Result<(), Halt> {
        let received = Timestamp::now().as_millisecond();
        let mut backoff = self.shard.service.backoff();
        loop {
            match self.put_all(pulled, received, &mut backoff).await {
                Ok(()) => return Ok(()),
                Err(Halt::Again) => {}
                Err(Halt::Failed(error)) => {
                    let source = &self.shard.service.context.name;
                    tracing::warn!(%source, shard = self.shard.id, %error, "a put failed, going back to what is acked");
                    self.land().await;
                    self.put = self.place.to;
                    let rest = sleep(backoff.pause());
                    self.shard.stop.run_until_cancelled(rest).await.ok_or(Halt::Asked)?;
                }
                Err(halt) => return Err(halt),
            }
        }
    }

    async fn put_all(&mut self, pulled: &Pulled, received: i64, backoff: &mut Backoff) -> Result<(), Halt> {
        let settings = &self.shard.service.plan.settings;
        let mut maker = Maker::new(&pulled.data, settings.use_record_time, received);
        let damaged = |error| Halt::Fatal(SourceError::new("log groups that were whole", error));
        maker.walk.skip(self.put - self.place.base).map_err(damaged)?;
        loop {
            let limit = match self.smaller {
                Some((fewer, until)) if self.put < until => fewer,
                _ => settings.batch_size,
            };
            let mut batch = Batch::new();
            let origin = batch.add_progress(self.progress(self.put));
            let taken = maker.fill(&mut batch, limit, origin, self.put).map_err(damaged)?;
            if taken == 0 {
                break;
            }
            let to = self.put + taken;
            batch.progress_mut()[origin as usize].to = to;
            match self.put(batch).await {
                Ok(ticket) => {
                    self.put = to;
                    self.push(ticket).await?;
                }
                Err(error @ PutError::TooLarge { .. }) => return self.put_less(taken, error).await,
                Err(error) => return Err(self.halted_by(error)),
            }
            self.shard.lag.read_to(maker.last_time);
        }
        let place = &mut self.place;
        self.flight.drain(|to| place.to = to).await.map_err(Halt::Failed)?;
        backoff.reset();
        Ok(())
    }

    /// Of what comes behind `put`.
    fn progress(&self, to: u64) -> Progress {
        let (key, rest) = (self.shard.key.clone(), self.place.rest());
        Progress { key, generation: self.place.generation, from: self.put, to, rest, retire: false }
    }

    async fn put(&mut self, batch: Batch) -> Result<PutTicket, PutError> {
        let Shard { service, stop, .. } = self.shard;
        let put = service.context.put_until_stopped(batch, service.backoff());
        match stop.run_until_cancelled(put).await {
            Some(Ok(Some(ticket))) => Ok(ticket),
            Some(Err(refused)) => Err(refused.error),
            // Nothing was appended.
            None | Some(Ok(None)) => Err(PutError::Closed { channel: "asked to stop".into() }),
        }
    }

    fn halted_by(&self, error: PutError) -> Halt {
        match error {
            _ if self.shard.stop.is_cancelled() => Halt::Asked,
            error if error.is_retriable() => Halt::Failed(error),
            error => Halt::Fatal(SourceError::new("a put is impossible", error)),
        }
    }

    async fn push(&mut self, ticket: PutTicket) -> Result<(), Halt> {
        let place = &mut self.place;
        self.flight.push(ticket, self.put, |to| place.to = to).await.map_err(Halt::Failed)
    }

    /// A batch of `events` behind `put` was too large for a channel: smaller ones; an event that is too large by itself is left out,
    /// and stays at the service.
    async fn put_less(&mut self, events: u64, error: PutError) -> Result<(), Halt> {
        if events > 1 {
            tracing::debug!(%error, events, "put in halves");
            self.smaller = Some((usize::try_from(events / 2).unwrap_or(1), self.put + events));
            return Err(Halt::Again);
        }
        let service = &self.shard.service;
        service.context.metrics.event_read_fail.inc();
        tracing::error!(source = %service.context.name, shard = self.shard.id, cursor = %self.place.cursor,
            log = self.put - self.place.base, %error, "a log is left out, and stays at the service");
        let mut batch = Batch::new();
        batch.add_progress(self.progress(self.put + 1));
        let ticket = self.put(batch).await.map_err(|error| self.halted_by(error))?;
        self.put += 1;
        self.push(ticket).await?;
        Err(Halt::Again)
    }

    /// All of a pull is in the channels: the next one begins where it ended.
    async fn go_on(&mut self, pulled: Pulled) -> Result<(), Halt> {
        let base = self.place.base + pulled.logs;
        self.untold = Some(Place { cursor: pulled.next, base, ..self.place.clone() });
        self.tell(false).await
    }

    /// Sets the checkpoint, and only then counts from there.
    async fn tell(&mut self, unless_asked_to_leave: bool) -> Result<(), Halt> {
        let Shard { leave, stop, .. } = self.shard;
        let Some(next) = self.untold.clone() else { return Ok(()) };
        let until = if unless_asked_to_leave { leave } else { stop };
        self.shard.set_checkpoint(&next.cursor, until).await?;
        (self.place, self.untold) = (next, None);
        Ok(())
    }

    /// What the cursor meant is gone: all that is left is read.
    async fn begin_anew(&mut self, error: &Error) -> Result<(), Halt> {
        let Shard { service, id, key, leave, .. } = self.shard;
        tracing::error!(source = %service.context.name, shard = id, %error,
            "records have expired unread; goes on with the oldest that is there");
        service.context.metrics.event_read_fail.inc();
        let cursor = service.insist(key, leave, || service.client.cursor(*id, Start::Begin)).await?;
        self.untold = Some(self.place.anew(cursor));
        self.tell(true).await?;
        self.put = 0;
        Ok(())
    }

    fn tell_damage(&self, next: &str, why: &str, is_left_out: bool) {
        let Shard { service, id, .. } = self.shard;
        service.context.metrics.event_read_fail.inc();
        let what = if is_left_out {
            "a damaged log group is left out"
        } else {
            "damaged log groups, asked for again"
        };
        tracing::error!(source = %service.context.name, shard = id, cursor = %self.place.cursor, next, why, "{what}");
    }

    /// Rests, unless the shard is to be given up.
    async fn rest(&mut self, time: Duration) -> Result<(), Halt> {
        self.until(Instant::now() + time).await
    }

    async fn until(&mut self, due: Instant) -> Result<(), Halt> {
        self.shard.leave.run_until_cancelled(sleep_until(due)).await.ok_or(Halt::Asked)
    }

    /// Waits for what is on its way.
    async fn land(&mut self) {
        let place = &mut self.place;
        if let Err(error) = self.flight.drain(|to| place.to = to).await {
            tracing::debug!(%error, "and another put failed");
        }
    }

    /// Lets the shard go: what is on its way lands. At a stop, what the service was not told yet it is told once more.
    async fn finish(&mut self, result: &Result<(), Halt>) {
        self.ahead = None;
        self.land().await;
        let Shard { service, id, leave, .. } = self.shard;
        let is_ours = !matches!(result, Err(Halt::Refused(_)));
        let is_landed = self.put == self.place.to;
        let next = self.untold.take().filter(|next| is_landed && next.to == next.base);
        if let (Some(next), true, true) = (next, is_ours, service.context.shutdown.is_cancelled()) {
            let (group, consumer) = (&service.group, &service.consumer);
            let call = service.client.set_checkpoint(group, consumer, (*id, &next.cursor), false);
            match timeout(LAST_CALL, call).await {
                Ok(Ok(())) => self.place = next,
                Ok(Err(error)) => {
                    tracing::warn!(source = %service.context.name, %error, "no checkpoint at the stop")
                }
                Err(_late) => {
                    tracing::warn!(source = %service.context.name, shard = id, "no checkpoint at the stop")
                }
            }
        }
        if is_landed && self.place.to == self.place.base {
            self.note_end().await;
        }
        let asked = if leave.is_cancelled() { "as asked" } else { "" };
        tracing::info!(source = %service.context.name, shard = id, cursor = %self.place.cursor, asked, "gives a shard up");
    }

    /// Tells the channels that nothing of the pull that they know of is missing: a checkpoint that is found at its cursor later was
    /// put there by a person.
    async fn note_end(&mut self) {
        let place = self.place.anew(self.place.cursor.clone());
        let mut batch = Batch::new();
        let (key, rest) = (self.shard.key.clone(), place.rest());
        let generation = place.generation;
        batch.add_progress(Progress { key, generation, from: 0, to: 0, rest, retire: false });
        // Without it, that checkpoint is read as one that did not move.
        if let Ok(Ok(ticket)) = timeout(LAST_CALL, self.shard.service.context.put(batch)).await
            && ticket.await.is_ok()
        {
            (self.place, self.put) = (place, 0);
        }
    }
}
