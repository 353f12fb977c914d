//! Lines on their way to the channels. They can be had but once, so each batch is kept until it is acked.
//!
//! ```text
//!   kept  [ on its way | on its way | refused … ]     a failure: all of them again, in order, after a pause
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use flumen_api::source::{Backoff, InFlight, PutRefused};
use flumen_api::{Batch, PutError, SourceContext, SourceError};

/// The pauses after puts that were refused or failed.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(5));
/// With small batches more puts are on their way, so that a sync is shared by about so many lines.
const LINES_ON_THE_WAY: usize = 32 << 10;
/// Most puts on their way, however small.
const PUTS_MAX: usize = 512;

/// The batches that are not acked.
pub(super) struct Puts {
    context: SourceContext,
    kept: VecDeque<Batch>,
    /// How many of them are on their way.
    sent: usize,
    flight: InFlight<()>,
    backoff: Backoff,
}

impl Puts {
    pub fn new(context: SourceContext, batch_size: usize) -> Self {
        let puts = (LINES_ON_THE_WAY / batch_size).clamp(8, PUTS_MAX);
        Self { context, kept: VecDeque::new(), sent: 0, flight: InFlight::new(puts), backoff: BACKOFF }
    }

    /// Whether anything is on its way.
    pub fn waits(&self) -> bool {
        !self.flight.is_empty()
    }

    /// Puts `batch`, trying again for as long as it takes. Returns early, with the batch kept, when a stop is asked for.
    pub async fn put(&mut self, batch: Batch) -> Result<(), SourceError> {
        self.kept.push_back(batch);
        self.send().await
    }

    /// Waits for the oldest put, whose result [`note`](Self::note) wants. To be called only while something
    /// [waits](Self::waits).
    pub async fn oldest(&mut self) -> Result<(), PutError> {
        self.flight.next().await
    }

    /// Takes note of the oldest put's result: if it failed, all are put again.
    pub async fn note(&mut self, result: Result<(), PutError>) -> Result<(), SourceError> {
        match result {
            Ok(()) => {
                self.acked(1);
                Ok(())
            }
            Err(error) => {
                self.go_back(&error).await;
                self.send().await
            }
        }
    }

    /// Waits until all is acked, without any more pauses; returns how many lines are lost.
    pub async fn finish(mut self) -> usize {
        for attempt in 0..2 {
            let mut acked = 0;
            let result = self.flight.drain(|()| acked += 1).await;
            self.acked(acked);
            if result.is_err() {
                self.sent = 0;
            }
            if self.kept.is_empty() || attempt == 1 {
                break;
            }
            while let Some(batch) = self.kept.get(self.sent) {
                let Ok(ticket) = self.context.put(batch.clone()).await else { break };
                let mut acked = 0;
                let result = self.flight.push(ticket, (), |()| acked += 1).await;
                self.sent += 1;
                self.acked(acked);
                if result.is_err() {
                    self.sent = 0;
                    break;
                }
            }
        }
        self.kept.iter().map(Batch::len).sum()
    }

    async fn send(&mut self) -> Result<(), SourceError> {
        while let Some(batch) = self.kept.get(self.sent) {
            let error = match self.context.put_until_stopped(batch.clone(), BACKOFF).await {
                Ok(None) => return Ok(()),
                Ok(Some(ticket)) => {
                    let mut acked = 0;
                    let result = self.flight.push(ticket, (), |()| acked += 1).await;
                    self.sent += 1;
                    self.acked(acked);
                    match result {
                        Ok(()) => continue,
                        Err(error) => error,
                    }
                }
                Err(PutRefused { error, .. }) => match error {
                    PutError::TooLarge { .. } => {
                        self.split(&error);
                        continue;
                    }
                    PutError::Full { .. } | PutError::Failed { .. } => error,
                    PutError::Closed { .. } if self.context.shutdown.is_cancelled() => return Ok(()),
                    PutError::Closed { .. } => return Err(SourceError::new("a put is impossible", error)),
                },
            };
            self.go_back(&error).await;
            if self.context.shutdown.is_cancelled() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// All that is not acked is to be put again.
    async fn go_back(&mut self, error: &PutError) {
        let mut acked = 0;
        // Its error, if there is one, is no news.
        let _failed = self.flight.drain(|()| acked += 1).await;
        self.acked(acked);
        self.sent = 0;
        let lines: usize = self.kept.iter().map(Batch::len).sum();
        tracing::warn!(source = %self.context.name, %error, lines, "a put failed, its lines are put again");
        self.context.sleep(self.backoff.pause()).await;
    }

    fn acked(&mut self, batches: usize) {
        if batches > 0 {
            self.backoff.reset();
        }
        self.kept.drain(..batches.min(self.kept.len()));
        self.sent = self.sent.saturating_sub(batches);
    }

    /// Replaces the batch at hand, which is too large for a channel, by its halves; a line alone is left out, for it will
    /// never fit.
    fn split(&mut self, error: &PutError) {
        let Some(batch) = self.kept.remove(self.sent) else { return };
        if batch.len() < 2 {
            tracing::error!(source = %self.context.name, bytes = batch.body_bytes(), %error, "line left out");
            self.context.metrics.event_read_fail.inc();
            return;
        }
        let half = batch.len() / 2;
        let mut second = batch.clone();
        second.retain(|i, _| i >= half);
        let mut first = batch;
        first.retain(|i, _| i < half);
        self.kept.insert(self.sent, second);
        self.kept.insert(self.sent, first);
    }
}
