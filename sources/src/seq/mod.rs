//! The `seq` source: events whose bodies are `0`, `1`, `2`, … for trying out an agent.
//!
//! A put that is refused or fails is put again with the same numbers. The count begins at 0 with each start of the agent,
//! as in Flume; a restart of the source alone goes on.

mod settings;

use std::time::Duration;

use async_trait::async_trait;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_api::source::{InFlight, PutRefused, PutTicket, Runs, TICKETS_DEFAULT};
use flumen_api::{Batch, PutError, Source, SourceContext, SourceError};

pub use settings::SeqSettings;

/// The first and the longest pause after a put that was refused or failed.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "seq",
        class_names: &["org.apache.flume.source.SequenceGeneratorSource"],
        keys: SeqSettings::KEYS,
        doc: "Makes events that count from 0, for trying out an agent.",
        factory: Factory::Source(Runs::Task, build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Source>> {
    let settings = SeqSettings::load(config, problems)?;
    let batch_size = Some(("batchSize", settings.batch_size));
    Some(Built { component: Box::new(SeqSource { settings, acked: 0 }), batch_size })
}

/// Counts.
#[derive(Debug)]
pub struct SeqSource {
    settings: SeqSettings,
    /// All numbers below are acked.
    acked: u64,
}

#[async_trait]
impl Source for SeqSource {
    async fn run(&mut self, context: SourceContext) -> Result<(), SourceError> {
        let mut flight = InFlight::new(TICKETS_DEFAULT);
        let mut next = self.acked;
        let mut pause = PAUSE;
        while !context.shutdown.is_cancelled() {
            let failure = if next < self.settings.total_events {
                let end =
                    self.settings.total_events.min(next.saturating_add(self.settings.batch_size as u64));
                match self.put(&context, next, end).await? {
                    // Stopped while waiting for room.
                    None => break,
                    Some(ticket) => {
                        next = end;
                        flight.push(ticket, end, |to| self.acked = to).await.err()
                    }
                }
            } else {
                match flight.drain(|to| self.acked = to).await {
                    Ok(()) => return Ok(()),
                    Err(error) => Some(error),
                }
            };
            match failure {
                None if flight.len() < TICKETS_DEFAULT => {}
                None => pause = PAUSE,
                Some(error) => {
                    tracing::warn!(source = %context.name, %error, from = self.acked, "put again");
                    next = self.acked;
                    sleep(&context, pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
            // Nothing else here waits when the channel is quick: others want this thread too.
            tokio::task::yield_now().await;
        }
        if let Err(error) = flight.drain(|to| self.acked = to).await {
            tracing::warn!(source = %context.name, %error, from = self.acked, "numbers lost at the stop");
        }
        Ok(())
    }
}

impl SeqSource {
    async fn put(
        &self,
        context: &SourceContext,
        from: u64,
        to: u64,
    ) -> Result<Option<PutTicket>, SourceError> {
        let mut batch = Batch::new();
        let mut digits = String::new();
        for number in from..to {
            use std::fmt::Write;
            digits.clear();
            write!(digits, "{number}").expect("a String takes all");
            batch.push(digits.as_bytes());
        }
        let mut pause = PAUSE;
        loop {
            let result = tokio::select! {
                biased;
                result = context.put(batch) => result,
                () = context.shutdown.cancelled() => return Ok(None),
            };
            let PutRefused { batch: back, error } = match result {
                Ok(ticket) => return Ok(Some(ticket)),
                Err(refused) => refused,
            };
            if context.shutdown.is_cancelled() {
                return Ok(None);
            }
            match error {
                PutError::TooLarge { .. } => {
                    return Err(SourceError::new("batchSize is more than the channel takes", error));
                }
                error if !error.is_retriable() => return Err(SourceError::new("a put is impossible", error)),
                error => tracing::warn!(source = %context.name, %error, from, "put refused, tried again"),
            }
            batch = back;
            sleep(context, pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

async fn sleep(context: &SourceContext, time: Duration) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = context.shutdown.cancelled() => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeEngine, Fate, Running, eventually, problems};

    #[test]
    fn it_counts_to_the_total_and_has_finished() {
        let engine = FakeEngine::new();
        let running = Running::start(&spec(), &engine, &[("batchSize", "4"), ("totalEvents", "10")]);
        running.join();
        assert_eq!(engine.bodies(), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
        assert_eq!(engine.state().puts, [4, 4, 2]);
    }

    #[test]
    fn a_rejected_batch_is_sent_again_with_the_same_numbers() {
        for fate in [Fate::Full, Fate::Lost] {
            let engine = FakeEngine::new();
            engine.state().fates = [fate].into();
            let running = Running::start(&spec(), &engine, &[("batchSize", "2"), ("totalEvents", "2")]);
            running.join();
            assert_eq!(engine.bodies(), ["0", "1"], "{fate:?}");
        }
    }

    #[test]
    fn without_a_total_it_runs_until_it_is_stopped() {
        let engine = FakeEngine::new();
        let running = Running::start(&spec(), &engine, &[]);
        eventually(|| "some".into(), || engine.state().events.len() > 100);
        running.stop();
    }

    #[test]
    fn a_batch_size_of_zero_is_refused() {
        assert!(problems(&spec(), &[("batchSize", "0")])[0].contains("below the smallest"));
    }
}
