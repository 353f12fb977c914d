//! The `seq` source: events whose bodies are `0`, `1`, `2`, … for trying out an agent.
//!
//! A put that is refused or fails is put again with the same numbers. The count begins at 0 with each start of the agent,
//! as in Flume; a restart of the source alone goes on.

mod settings;

use std::time::Duration;

use async_trait::async_trait;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_api::source::{Backoff, InFlight, PutRefused, Runs, TICKETS_DEFAULT};
use flumen_api::{Batch, PutError, Source, SourceContext, SourceError};

pub use settings::SeqSettings;

/// The pauses after puts that were refused or failed.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

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
        let mut backoff = BACKOFF;
        while !context.shutdown.is_cancelled() {
            let failure = if next < self.settings.total_events {
                let end =
                    self.settings.total_events.min(next.saturating_add(self.settings.batch_size as u64));
                match context.put_until_stopped(numbers(next, end), BACKOFF).await {
                    Ok(None) => break,
                    Ok(Some(ticket)) => {
                        next = end;
                        flight.push(ticket, end, |to| self.acked = to).await.err()
                    }
                    Err(PutRefused { error, .. }) => match error {
                        PutError::Full { .. } | PutError::Failed { .. } => {
                            // Numbers further on must not get ahead of earlier ones that are lost.
                            Some(flight.drain(|to| self.acked = to).await.err().unwrap_or(error))
                        }
                        PutError::TooLarge { .. } => {
                            return Err(SourceError::new("batchSize is more than the channel takes", error));
                        }
                        PutError::Closed { .. } if context.shutdown.is_cancelled() => break,
                        PutError::Closed { .. } => {
                            return Err(SourceError::new("a put is impossible", error));
                        }
                    },
                }
            } else {
                match flight.drain(|to| self.acked = to).await {
                    Ok(()) => return Ok(()),
                    Err(error) => Some(error),
                }
            };
            match failure {
                None if flight.len() < TICKETS_DEFAULT => {}
                None => backoff.reset(),
                Some(error) => {
                    tracing::warn!(source = %context.name, %error, from = self.acked, "put again");
                    next = self.acked;
                    context.sleep(backoff.pause()).await;
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

fn numbers(from: u64, to: u64) -> Batch {
    use std::fmt::Write;
    let mut batch = Batch::new();
    let mut digits = String::new();
    for number in from..to {
        digits.clear();
        write!(digits, "{number}").expect("a String takes all");
        batch.push(digits.as_bytes());
    }
    batch
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
    fn while_there_is_no_room_pauses_double() {
        let engine = FakeEngine::new();
        engine.state().fates = [Fate::Full; 3].into();
        let running = Running::start(&spec(), &engine, &[("batchSize", "2"), ("totalEvents", "2")]);
        running.join();
        let pauses: Vec<_> = engine.state().pauses.iter().map(Duration::as_millis).collect();
        assert_eq!(pauses, [100, 200, 400]);
        assert_eq!(engine.bodies(), ["0", "1"]);
    }

    #[test]
    fn numbers_refused_by_a_failed_channel_do_not_get_ahead_of_lost_ones() {
        let engine = FakeEngine::new();
        engine.state().fates = [Fate::Lost, Fate::Failing].into();
        let running = Running::start(&spec(), &engine, &[("batchSize", "2"), ("totalEvents", "6")]);
        running.join();
        assert_eq!(engine.bodies(), ["0", "1", "2", "3", "4", "5"]);
        assert_eq!(engine.state().refusals, 1);
    }

    #[test]
    fn numbers_refused_by_a_failed_channel_are_put_again_alone_if_nothing_was_lost() {
        let engine = FakeEngine::new();
        engine.state().fates = [Fate::KeptAndAcked, Fate::Failing].into();
        let running = Running::start(&spec(), &engine, &[("batchSize", "2"), ("totalEvents", "4")]);
        running.join();
        assert_eq!(engine.bodies(), ["0", "1", "2", "3"]);
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
