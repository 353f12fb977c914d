//! Drains a channel into one sink of a group at a time: takes, deliveries, flushes, releases.
//!
//! ```text
//!              take ──> deliver ──> window (delivered, not flushed)
//!                                     │ full by events, bytes or time; channel empty; stop: unless the sink holds it
//!                                     v
//!                                   flush ──> flights (at most window.flushes, oldest first)
//!                                               │ ready, in order
//!                                               v
//!                                             release, with the flush's progress
//! ```
//!
//! Invariants: takes are in the window or in a flight from delivery to release; events numbers rise from the oldest
//! flight to the window's end; all of them belong to one sink. An error lets older flights land, then rolls back all
//! that is left, newest first, so that a channel which puts what comes back at its head has the old order again.
//!
//! While the channel has events nothing here sleeps, sets a timer or reads the clock more than once a take. The whole
//! of it runs on an OS thread of its own.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use flumen_api::channel::{TakeError, Taken, Taker};
use flumen_api::processor::Processor;
use flumen_api::sink::SinkError;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::flights::{Flights, Landed};
use super::slot::Slot;
use super::supervise::sleep_or_stop;

/// How often an idle sink is told so, as the sink's protocol promises.
const IDLE_TICK: Duration = Duration::from_millis(500);
/// How much longer each failed take in a row makes the channel's rest, and the longest rest.
const CHANNEL_REST_STEP: Duration = Duration::from_secs(1);
const CHANNEL_REST_MAX: Duration = Duration::from_secs(5);

/// Takes that were delivered and not yet flushed.
struct Open {
    takes: Vec<Taken>,
    events: usize,
    bytes: usize,
    /// When the oldest was delivered.
    since: Instant,
    /// So many takes, the oldest, have no events in memory any more.
    forgotten: usize,
}

/// Why nothing went on.
enum Stuck {
    /// The present sink's start, delivery or flush.
    Sink(SinkError),
    /// The channel's take.
    Channel(TakeError),
}

impl From<SinkError> for Stuck {
    fn from(error: SinkError) -> Self {
        Self::Sink(error)
    }
}

/// A runner at work: see the [module](self).
pub(super) struct Runner<'a> {
    slots: &'a mut [Slot],
    processor: &'a mut dyn Processor,
    taker: Box<dyn Taker>,
    stop: CancellationToken,
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
    tick: Interval,
    /// The sink that window and flights belong to.
    at: usize,
    open: Open,
    flights: Flights,
    /// Emptied lists of takes, to be used again.
    spare: Vec<Vec<Taken>>,
    /// Takes that failed in a row.
    channel_failures: u32,
    /// When the sinks whose turn it is not were last told that they are idle.
    others_idle: Instant,
}

impl<'a> Runner<'a> {
    pub fn new(
        slots: &'a mut [Slot],
        processor: &'a mut dyn Processor,
        taker: Box<dyn Taker>,
        stop: CancellationToken,
    ) -> Self {
        let mut tick = tokio::time::interval(IDLE_TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            slots,
            processor,
            taker,
            stopped: Box::pin(stop.clone().cancelled_owned()),
            stop,
            tick,
            at: 0,
            open: Open { takes: Vec::new(), events: 0, bytes: 0, since: Instant::now(), forgotten: 0 },
            flights: Flights::default(),
            spare: Vec::new(),
            channel_failures: 0,
            others_idle: Instant::now(),
        }
    }

    /// Drains until the stop, then flushes and releases what has been delivered.
    pub async fn run(mut self) {
        while !self.stop.is_cancelled() {
            let now = Instant::now();
            let result = match self.processor.pick(now) {
                Ok(sink) => self.step(sink, now).await,
                Err(rest) => {
                    // Nothing is out meanwhile: the failure that led here rolled everything back.
                    sleep_or_stop(rest, &self.stop).await;
                    continue;
                }
            };
            match result {
                Ok(()) => {}
                Err(Stuck::Sink(error)) => self.sink_failed(error).await,
                Err(Stuck::Channel(error)) => self.channel_failed(error).await,
            }
        }
        if let Err(error) = self.settle().await {
            self.sink_failed(error).await;
        }
    }

    /// One take, delivered by `sink`; or, without one, a wait.
    async fn step(&mut self, sink: usize, now: Instant) -> Result<(), Stuck> {
        if sink != self.at {
            self.settle().await?;
            self.at = sink;
        }
        if self.slots.len() > 1 && now.duration_since(self.others_idle) >= IDLE_TICK {
            self.idle_others(now).await;
        }
        let slot = &mut self.slots[sink];
        if !slot.started {
            return Ok(slot.start().await?);
        }
        let metrics = &slot.context.metrics;
        let limit = slot.sink.take_limit();
        let taken = self.taker.try_take(limit).map_err(Stuck::Channel)?;
        if self.channel_failures > 0 {
            self.channel_failures = 0;
            slot.entry.recovered();
        }
        let Some(taken) = taken else {
            metrics.batch_empty.inc();
            return Ok(self.empty().await?);
        };
        let (events, bytes) = (taken.events().len(), taken.events().body_bytes());
        metrics.event_drain_attempt.add(events as u64);
        match events >= limit.events {
            true => metrics.batch_complete.inc(),
            false => metrics.batch_underflow.inc(),
        }
        let delivered = slot.deliver(taken.events(), &self.stop).await;
        if self.open.takes.is_empty() {
            self.open.since = now;
        }
        // Even when the delivery failed: then it goes back with the others, as the newest of them.
        self.open.takes.push(taken);
        delivered?;
        self.open.events += events;
        self.open.bytes += bytes;
        let window = slot.window;
        let full = self.open.events >= window.events
            || self.open.bytes >= window.bytes
            || now.duration_since(self.open.since) >= window.time;
        let was_held = self.open.forgotten > 0;
        let is_held = self.is_held();
        if !is_held && (full || was_held) {
            self.begin_flush().await?;
        } else if !self.flights.is_empty() {
            self.attend_flights().await?;
        }
        Ok(())
    }

    /// The channel is empty: flushes what is delivered; then waits for events, a flush, the time to roll, or the stop.
    async fn empty(&mut self) -> Result<(), SinkError> {
        if !self.open.takes.is_empty()
            && self.flights.len() < self.slots[self.at].window.flushes
            && !self.is_held()
        {
            return self.begin_flush().await;
        }
        let Self { taker, flights, tick, stopped, .. } = self;
        let mut ready = taker.ready();
        let is_tick = poll_fn(|cx| {
            flights.poll(cx);
            let is_over = flights.has_landed() || flights.has_failed();
            if is_over || ready.as_mut().poll(cx).is_ready() || stopped.as_mut().poll(cx).is_ready() {
                return Poll::Ready(false);
            }
            tick.poll_tick(cx).map(|_at| true)
        })
        .await;
        drop(ready);
        self.attend_flights().await?;
        match is_tick {
            true => self.slots[self.at].sink.idle().await,
            false => Ok(()),
        }
    }

    /// Whether the sink keeps what is delivered unreleased. Not where its channel has no room for more, and nothing on its way makes some:
    /// neither would ever go on.
    fn is_held(&mut self) -> bool {
        let slot = &mut self.slots[self.at];
        if !slot.sink.holds() {
            return false;
        }
        if self.flights.is_empty() && slot.context.channel_lacks_room() {
            if !std::mem::replace(&mut slot.cut_short, true) {
                tracing::warn!(
                    sink = %slot.context.name,
                    "the channel has no room left while {} events wait for the end of what the sink writes: it ends early, and so it will \
                     whenever the channel is full",
                    self.open.events
                );
            }
            return false;
        }
        for taken in self.open.takes.iter_mut().skip(self.open.forgotten) {
            taken.forget_events();
        }
        self.open.forgotten = self.open.takes.len();
        true
    }

    /// The sinks whose turn it is not have nothing delivered and not released, but files to roll and connections to keep.
    /// One that has failed is left alone until it is picked.
    async fn idle_others(&mut self, now: Instant) {
        self.others_idle = now;
        for at in (0..self.slots.len()).filter(|at| *at != self.at) {
            let slot = &mut self.slots[at];
            if slot.started
                && slot.failures == 0
                && let Err(error) = slot.sink.idle().await
            {
                slot.context.metrics.event_write_fail.inc();
                slot.failed(&error);
                self.processor.failed(at, now, error.retry_after);
            }
        }
    }

    /// Flushes the window, once there is room for a flight, and waits for it where the sink wants that.
    async fn begin_flush(&mut self) -> Result<(), SinkError> {
        let flushes = self.slots[self.at].window.flushes;
        while self.flights.len() >= flushes {
            self.land_oldest().await?;
        }
        let flush = self.slots[self.at].sink.flush();
        let takes = std::mem::replace(&mut self.open.takes, self.spare.pop().unwrap_or_default());
        self.flights.push(flush, takes, self.open.events);
        self.open.events = 0;
        self.open.bytes = 0;
        self.open.forgotten = 0;
        match flushes {
            1 => self.land_oldest().await,
            // A future does nothing until it is polled: this sets the flush going.
            _ => self.attend_flights().await,
        }
    }

    /// Gives the flights a chance to go on, and releases those that are ready, without waiting; unless one has failed. Then nothing is
    /// delivered before all that is older has landed, and all else has gone back: a sink begins over at its first delivery after a
    /// failure, and what is delivered to it then must not go back with what was before.
    async fn attend_flights(&mut self) -> Result<(), SinkError> {
        poll_fn(|cx| {
            self.flights.poll(cx);
            Poll::Ready(())
        })
        .await;
        match self.flights.has_failed() {
            true => self.land_all().await,
            false => self.land_ready(),
        }
    }

    /// Waits for the oldest flight.
    async fn land_oldest(&mut self) -> Result<(), SinkError> {
        poll_fn(|cx| {
            self.flights.poll(cx);
            match self.flights.is_empty() || self.flights.has_landed() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
        self.land_ready()
    }

    async fn land_all(&mut self) -> Result<(), SinkError> {
        while !self.flights.is_empty() {
            self.land_oldest().await?;
        }
        Ok(())
    }

    /// Flushes and releases everything that has been delivered.
    async fn settle(&mut self) -> Result<(), SinkError> {
        if !self.open.takes.is_empty() {
            self.begin_flush().await?;
        }
        self.land_all().await
    }

    /// Releases the flights that are ready, oldest first, up to the first that is not.
    fn land_ready(&mut self) -> Result<(), SinkError> {
        while let Some(landed) = self.flights.land() {
            let Landed { mut takes, events, progress } = landed?;
            let sink = &self.slots[self.at].context.name;
            Taken::release_all(takes.drain(..), sink, progress);
            let slot = &mut self.slots[self.at];
            if slot.sink.is_counted_by_runner() {
                slot.context.metrics.event_drain_success.add(events as u64);
            }
            slot.succeeded();
            self.processor.succeeded(self.at);
            self.spare.push(takes);
        }
        Ok(())
    }

    /// Older flights land, everything else goes back, and the processor decides who is next and when.
    async fn sink_failed(&mut self, error: SinkError) {
        if let Err(second) = self.land_all().await {
            tracing::debug!(sink = %self.slots[self.at].entry.name, error = %second, "and a flush did not land");
        }
        self.roll_back();
        let slot = &mut self.slots[self.at];
        slot.context.metrics.event_write_fail.inc();
        slot.failed(&error);
        self.processor.failed(self.at, Instant::now(), error.retry_after);
    }

    /// What was delivered is none the worse for it and is released; then the channel has a rest.
    async fn channel_failed(&mut self, error: TakeError) {
        self.channel_failures = self.channel_failures.saturating_add(1);
        if let Err(error) = self.settle().await {
            self.sink_failed(error).await;
        }
        let slot = &mut self.slots[self.at];
        slot.context.metrics.channel_read_fail.inc();
        tracing::error!(sink = %slot.entry.name, %error, "cannot take from the channel");
        slot.entry.failing(error.to_string(), self.channel_failures);
        let rest = CHANNEL_REST_STEP.saturating_mul(self.channel_failures).min(CHANNEL_REST_MAX);
        let until = Instant::now() + rest;
        while Instant::now() < until && !sleep_or_stop(IDLE_TICK.min(rest), &self.stop).await {
            self.idle_others(Instant::now()).await;
            if let Err(error) = self.slots[self.at].sink.idle().await {
                return self.sink_failed(error).await;
            }
        }
    }

    fn roll_back(&mut self) {
        while self.open.takes.pop().is_some() {}
        self.flights.roll_back();
        self.open.events = 0;
        self.open.bytes = 0;
        self.open.forgotten = 0;
    }
}

/// A panic in a sink ends its runner here: what was out goes back, in the same order as after an error.
impl Drop for Runner<'_> {
    fn drop(&mut self) {
        self.roll_back();
    }
}
