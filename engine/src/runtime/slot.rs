//! One sink of a runner: its life, how it fares, and what becomes of events that its destination refuses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_api::chunk::Events;
use flumen_api::processor::Processor;
use flumen_api::sink::{Sink, SinkContext, SinkError, Window};
use tokio_util::sync::CancellationToken;

use super::board::{Entry, State};
use super::dead_letter::DeadLetter;
use super::source_unit::chain;
use super::supervise::sleep_or_stop;

/// How much longer each try in a row makes the rest before the dead letter is tried again, and the longest rest.
const REST_STEP: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(5);

/// See the [module](self).
pub(super) struct Slot {
    pub sink: Box<dyn Sink>,
    pub context: SinkContext,
    pub entry: Arc<Entry>,
    pub started: bool,
    /// Failures in a row; the board says so while there are any.
    pub failures: u32,
    dead_letter: Option<DeadLetter>,
    pub window: Window,
    /// It was said that the sink cannot hold as much as it wants to.
    pub cut_short: bool,
}

impl Slot {
    pub fn new(
        sink: Box<dyn Sink>,
        context: SinkContext,
        entry: Arc<Entry>,
        dead_letter: Option<DeadLetter>,
    ) -> Self {
        let mut window = sink.window();
        window.flushes = window.flushes.max(1);
        let context = context.with_dead_letter(dead_letter.is_some());
        Self { sink, context, entry, started: false, failures: 0, dead_letter, window, cut_short: false }
    }

    /// Delivers; what the destination refuses goes to the dead letter, and then the delivery counts.
    pub async fn deliver(&mut self, events: &Events, stop: &CancellationToken) -> Result<(), SinkError> {
        match self.sink.deliver(events).await {
            Err(error) if !error.refused.is_empty() => match self.dead_letter {
                Some(_) => self.bury(events, &error, stop).await,
                None => Err(error),
            },
            other => other,
        }
    }

    /// Hands refused events to the dead letter, and does not give up before the stop.
    async fn bury(
        &mut self,
        events: &Events,
        error: &SinkError,
        stop: &CancellationToken,
    ) -> Result<(), SinkError> {
        let Some(dead_letter) = &self.dead_letter else { return Ok(()) };
        let (name, reason, count) = (&self.context.name, chain(error), error.refused.len());
        let (mut left, mut tries) = (error.refused.as_slice(), 0_u32);
        while let Err(why) = dead_letter.take_in(events, &mut left, &reason, name).await {
            tries = tries.saturating_add(1);
            let rest = REST_STEP.saturating_mul(tries).min(REST_MAX);
            let waiting = left.len();
            tracing::error!(sink = %name, error = %why, "{waiting} events were refused, trying again in {rest:?}");
            self.entry.failing(format!("{waiting} events were refused ({reason}): {why}"), tries);
            if sleep_or_stop(rest, stop).await {
                return Err(SinkError::plain(format!("{waiting} events were refused, and {why}")));
            }
        }
        if tries > 0 && self.failures == 0 {
            self.entry.recovered();
        }
        tracing::warn!(sink = %name, %reason, "{count} events were refused and went to the dead letter");
        self.context.metrics.dead_lettered.add(count as u64);
        Ok(())
    }

    pub async fn start(&mut self) -> Result<(), SinkError> {
        self.entry.set(State::Starting);
        self.sink.start(&self.context).await?;
        self.started = true;
        self.entry.set(State::Running);
        tracing::info!(sink = %self.entry.name, "sink runs");
        Ok(())
    }

    /// The first start, before anything is taken; a failure is the processor's to judge.
    pub async fn start_first(&mut self, at: usize, processor: &mut dyn Processor) {
        if let Err(error) = self.start().await {
            self.failed(&error);
            processor.failed(at, Instant::now(), error.retry_after);
        }
    }

    pub fn failed(&mut self, error: &SinkError) {
        self.failures = self.failures.saturating_add(1);
        let reason = chain(error);
        if let Some(more) = self.context.quiet.failed(Instant::now()) {
            tracing::error!(sink = %self.entry.name, error = %reason, "sink failed, what is not released goes back{more}");
        }
        self.entry.failing(reason, self.failures);
    }

    pub fn succeeded(&mut self) {
        if self.failures > 0 {
            self.failures = 0;
            if let Some(more) = self.context.quiet.recovered() {
                tracing::info!(sink = %self.entry.name, "sink works again{more}");
            }
            self.entry.recovered();
        }
    }
}
