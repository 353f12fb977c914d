//! The stress source: the same event as fast as the channels take it, or as often as is asked for.
//!
//! A put that is refused or fails counts as tried and is not put again, as in Flume; the source pauses and goes on. Flume
//! idles when the limit is reached, here the source has finished.

mod settings;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_api::source::{InFlight, PutRefused, Runs, TICKETS_DEFAULT};
use flumen_api::{Batch, PutError, Source, SourceContext, SourceError};
use tokio::time::Instant;

pub use settings::StressSettings;

/// After a quiet time so much is caught up with at once, as Guava's limiter lets it.
const BURST: Duration = Duration::from_secs(1);

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "stress",
        class_names: &["org.apache.flume.source.StressSource"],
        keys: StressSettings::KEYS,
        doc: "Makes the same event again and again, for measuring an agent.",
        factory: Factory::Source(Runs::Task, build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Source>> {
    let settings = StressSettings::load(config, problems)?;
    if settings.size as u64 * settings.batch_size as u64 > u64::from(u32::MAX) {
        problems.error(
            config,
            "batchSize",
            "batchSize times size is more than the 4 GiB that a put may have",
        );
        return None;
    }
    let batch_size = Some(("batchSize", settings.batch_size));
    Some(Built { component: Box::new(StressSource { settings, tried: 0, acked: 0 }), batch_size })
}

/// Makes events.
#[derive(Debug)]
pub struct StressSource {
    settings: StressSettings,
    /// Events put, refused ones included.
    tried: u64,
    /// Events in the channels.
    acked: u64,
}

#[async_trait]
impl Source for StressSource {
    async fn run(&mut self, context: SourceContext) -> Result<(), SourceError> {
        let mut flight = InFlight::new(TICKETS_DEFAULT);
        let body = Bytes::from(vec![0x7f; self.settings.size]);
        let mut refusals = 0;
        let mut pace = Pace::new(self.settings.max_events_per_second);
        while !context.shutdown.is_cancelled() {
            let failure = match self.next(flight.len()) {
                0 if flight.is_empty() => return Ok(()),
                0 => flight.next().await.map(|count: u64| self.acked += count).err(),
                count => {
                    if pace.wait(&context, count).await {
                        break;
                    }
                    self.tried += count;
                    match context.shutdown.run_until_cancelled(context.put(events(&body, count))).await {
                        None => break,
                        Some(Ok(ticket)) => {
                            flight.push(ticket, count, |count| self.acked += count).await.err()
                        }
                        Some(Err(PutRefused { error, .. })) => match error {
                            PutError::TooLarge { .. } => {
                                return Err(SourceError::new(
                                    "batchSize is more than the channel takes",
                                    error,
                                ));
                            }
                            PutError::Closed { .. } if context.shutdown.is_cancelled() => break,
                            PutError::Closed { .. } => {
                                return Err(SourceError::new("a put is impossible", error));
                            }
                            error => Some(error),
                        },
                    }
                }
            };
            match failure {
                None => refusals = 0,
                Some(error) => {
                    refusals += 1;
                    let pause = self.pause(refusals);
                    tracing::debug!(source = %context.name, %error, ?pause, "events were not taken");
                    context.sleep(pause).await;
                }
            }
            // Nothing else here waits when the channel is quick: others want this thread too.
            tokio::task::yield_now().await;
        }
        if let Err(error) = flight.drain(|count| self.acked += count).await {
            tracing::debug!(source = %context.name, %error, "events were not taken");
        }
        Ok(())
    }
}

impl StressSource {
    /// How many events the next put has; none if the limit is reached, or while `puts` are on their way whose end decides
    /// whether it is: a failure takes the later ones along, so who counts what was taken has one at a time.
    fn next(&self, puts: usize) -> u64 {
        let batch = self.settings.batch_size as u64;
        let left = match u64::try_from(self.settings.max_total_events) {
            Ok(most) => most.saturating_sub(self.tried),
            Err(_no_limit) => batch,
        };
        match u64::try_from(self.settings.max_successful_events) {
            Ok(most) if puts > 0 || self.acked >= most => 0,
            _ => left.min(batch),
        }
    }

    fn pause(&self, refusals: u64) -> Duration {
        let pause = self.settings.backoff_sleep_increment_ms.saturating_mul(refusals);
        Duration::from_millis(pause.min(self.settings.max_backoff_sleep_ms))
    }
}

/// Spreads events over time.
struct Pace {
    a_second: Option<f64>,
    /// When the next put may be made.
    due: Instant,
}

impl Pace {
    fn new(a_second: i64) -> Self {
        Self { a_second: (a_second > 0).then_some(a_second as f64), due: Instant::now() }
    }

    /// Waits until `count` more events may be put; returns whether a stop was asked for. Like Guava's limiter it lets
    /// these go at once and makes the next ones wait.
    async fn wait(&mut self, context: &SourceContext, count: u64) -> bool {
        let Some(a_second) = self.a_second else { return false };
        let now = Instant::now();
        let pause = self.due.saturating_duration_since(now);
        let from = now.checked_sub(BURST).map_or(self.due, |earliest| self.due.max(earliest));
        self.due = from + Duration::from_secs_f64(count as f64 / a_second);
        !pause.is_zero() && context.sleep(pause).await
    }
}

/// Events that share one body's bytes.
fn events(body: &Bytes, count: u64) -> Batch {
    let mut batch = Batch::over(body.clone());
    for _ in 0..count {
        batch.push_slice(0, body.len());
    }
    batch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeEngine, Fate, Running, build, eventually, problems};

    fn puts(fates: &[Fate], keys: &[(&str, &str)]) -> Vec<usize> {
        let engine = FakeEngine::new();
        engine.state().fates = fates.iter().copied().collect();
        Running::start(&spec(), &engine, keys).join();
        engine.state().puts.clone()
    }

    #[test]
    fn bodies_are_of_the_size_and_all_the_same_byte() {
        let engine = FakeEngine::new();
        Running::start(&spec(), &engine, &[("maxTotalEvents", "3"), ("size", "7")]).join();
        assert_eq!(engine.bodies(), ["\u{7f}".repeat(7), "\u{7f}".repeat(7), "\u{7f}".repeat(7)]);
        let engine = FakeEngine::new();
        Running::start(&spec(), &engine, &[("maxTotalEvents", "1")]).join();
        assert_eq!(engine.bodies()[0].len(), 500);
    }

    #[test]
    fn events_that_were_refused_count_as_tried_and_not_as_taken() {
        let total = [("batchSize", "4"), ("maxTotalEvents", "10")];
        assert_eq!(puts(&[], &total), [4, 4, 2]);
        assert_eq!(puts(&[Fate::Full], &total), [4, 2]);
        assert_eq!(puts(&[Fate::Lost], &total), [4, 2]);
        let successful = [("batchSize", "4"), ("maxSuccessfulEvents", "10")];
        for fates in [&[][..], &[Fate::Full], &[Fate::Lost], &[Fate::KeptAndAcked, Fate::Lost, Fate::Full]] {
            assert_eq!(puts(fates, &successful), [4, 4, 4], "{fates:?}");
        }
        assert_eq!(puts(&[], &[("maxTotalEvents", "0")]), [0; 0]);
    }

    #[test]
    fn pauses_grow_with_each_refusal_in_a_row() {
        let engine = FakeEngine::new();
        engine.state().fates = [Fate::Full; 4].into();
        let keys = [("maxSuccessfulEvents", "1"), ("backoffSleepIncrement", "30"), ("maxBackoffSleep", "70")];
        Running::start(&spec(), &engine, &keys).join();
        let pauses: Vec<_> = engine.state().pauses.iter().map(Duration::as_millis).collect();
        assert_eq!(pauses, [30, 60, 70, 70]);
    }

    #[test]
    fn so_many_events_are_made_in_a_second_and_no_more() {
        let engine = FakeEngine::new();
        let keys = [("maxEventsPerSecond", "10"), ("batchSize", "5"), ("maxTotalEvents", "20")];
        Running::start(&spec(), &engine, &keys).join();
        // No time passes in the test's pauses: the debt grows by half a second with each put.
        let pauses: Vec<f64> = engine.state().pauses.iter().map(Duration::as_secs_f64).collect();
        assert_eq!(pauses.len(), 3);
        for (pause, expected) in pauses.iter().zip([0.5, 1.0, 1.5]) {
            assert!((pause - expected).abs() < 0.2, "{pauses:?}");
        }
    }

    #[test]
    fn without_a_limit_it_runs_until_it_is_stopped() {
        let engine = FakeEngine::new();
        let running = Running::start(&spec(), &engine, &[]);
        eventually(|| "some".into(), || engine.state().events.len() > 100);
        running.stop();
    }

    #[test]
    fn keys_that_are_wrong_are_refused_by_name() {
        assert!(problems(&spec(), &[("batchSize", "0")])[0].contains("batchSize"));
        assert!(problems(&spec(), &[("size", "-1")])[0].contains("size"));
        assert!(problems(&spec(), &[("size", "1000000"), ("batchSize", "10000")])[0].contains("4 GiB"));
        assert_eq!(build(&spec(), &[("batchSize", "9")]).batch_size, Some(("batchSize", 9)));
    }
}
