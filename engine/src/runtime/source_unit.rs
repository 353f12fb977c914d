//! Keeps one source running.
//!
//! ```text
//!   waiting for its channels ──> positions read ──> run ──┬─ Ok ────────────> finished
//!                                      ^                  ├─ stop ──────────> stopped
//!                                      └───── pause ──────┴─ error or panic
//! ```
//!
//! The same object runs again. A source that may block has a thread of its own; the others are tasks.

use std::sync::Arc;
use std::time::Instant;

use flumen_api::metrics::Counter;
use flumen_api::registry::{Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_api::source::{Runs, Source, SourceContext};
use tokio_util::sync::CancellationToken;

use super::AgentOptions;
use super::board::{Entry, Meters, State};
use super::channel_unit::Handle;
use super::put::{Link, Pipeline, SourcePut};
use super::supervise::{Backoff, Running, catch, sleep_or_stop};
use crate::plan::SourcePlan;

/// A source with its keeper.
pub(super) struct SourceUnit {
    pub plan: SourcePlan,
    pub running: Running,
}

/// A source that has been built and not yet started.
pub(super) struct Prepared {
    plan: SourcePlan,
    source: Box<dyn Source>,
    runs: Runs,
    pipeline: Pipeline,
}

/// Builds the source with its selector and interceptors; nothing outside is touched.
pub(super) fn prepare(plan: SourcePlan) -> Result<Prepared, String> {
    let mut problems = Problems::default();
    let Factory::Source(runs, build) = plan.spec.factory else {
        return Err(format!("type `{}` is not a source", plan.spec.alias));
    };
    let source = build(&plan.config, &mut problems).ok_or_else(|| text(&problems))?.component;
    let (spec, config) = &plan.selector;
    let Factory::Selector(build) = spec.factory else {
        return Err(format!("type `{}` is not a channel selector", spec.alias));
    };
    let channels: Vec<String> = plan.channels.iter().map(|name| name.to_string()).collect();
    let selector = build(config, &channels, &mut problems).ok_or_else(|| text(&problems))?;
    let mut interceptors = Vec::new();
    for (spec, config) in &plan.interceptors {
        let interceptor = interceptor(spec, config, &mut problems)?;
        interceptors.push(Link { name: config.name.clone(), interceptor, dropped: Counter::default() });
    }
    Ok(Prepared { plan, source, runs, pipeline: Pipeline { interceptors, selector } })
}

fn interceptor(
    spec: &Spec,
    config: &ComponentConfig,
    problems: &mut Problems,
) -> Result<Box<dyn flumen_api::interceptor::Interceptor>, String> {
    let Factory::Interceptor(build) = spec.factory else {
        return Err(format!("type `{}` is not an interceptor", spec.alias));
    };
    build(config, problems).ok_or_else(|| text(problems))
}

/// The problems of a component that could not be built, as one line.
pub(super) fn text(problems: &Problems) -> String {
    let lines: Vec<String> = problems.0.iter().map(ToString::to_string).collect();
    match lines.is_empty() {
        true => "could not be built".into(),
        false => lines.join("; "),
    }
}

impl SourceUnit {
    /// Starts the keeper. `channels` are the source's, in its order.
    pub fn start(
        prepared: Prepared,
        channels: Vec<Handle>,
        entry: Arc<Entry>,
        options: &AgentOptions,
    ) -> std::io::Result<Self> {
        let Prepared { plan, source, runs, pipeline } = prepared;
        entry.set(state_before(channels.iter()));
        let stop = CancellationToken::new();
        let keeper = Keeper { plan: plan.clone(), entry, options: options.clone(), stop: stop.clone() };
        let running = match runs {
            Runs::Task => Running::task(stop, keeper.keep(source, pipeline, channels)),
            Runs::Thread => {
                let name = format!("source-{}", plan.config.name);
                Running::thread(&name, stop, keeper.keep(source, pipeline, channels))?
            }
        };
        Ok(Self { plan, running })
    }
}

struct Keeper {
    plan: SourcePlan,
    entry: Arc<Entry>,
    options: AgentOptions,
    stop: CancellationToken,
}

impl Keeper {
    async fn keep(self, mut source: Box<dyn Source>, pipeline: Pipeline, channels: Vec<Handle>) {
        self.attend(source.as_mut(), pipeline, channels).await;
        // Closes files and ports before the stop is reported, so that a successor finds them free.
        drop(source);
        if self.entry.state() != State::Finished {
            self.entry.set(State::Stopped);
        }
    }

    async fn attend(&self, source: &mut dyn Source, mut pipeline: Pipeline, channels: Vec<Handle>) {
        let name = &self.plan.config.name;
        let mut open = Vec::with_capacity(channels.len());
        for mut channel in channels {
            self.entry.set(state_before(std::iter::once(&channel)));
            let opened = tokio::select! {
                () = self.stop.cancelled() => return,
                opened = channel.wait() => opened,
            };
            let Some(channel) = opened else { return };
            open.push(channel);
        }
        let Meters::Source(metrics) = self.entry.meters.clone() else { return };
        for link in &mut pipeline.interceptors {
            link.dropped = self.entry.dropped_by(&link.name);
            let started = tokio::select! {
                () = self.stop.cancelled() => return,
                started = catch(link.interceptor.start()) => started,
            };
            if let Err(panic) = started {
                tracing::error!(source = %name, interceptor = %link.name, error = %panic, "failed to start");
            }
        }
        let put = SourcePut::new(name.clone(), metrics.clone(), pipeline, open);
        let engine =
            Arc::new(put.with_trouble(self.entry.trouble().clone()).with_lags(self.entry.lags().clone()));
        let mut backoff = Backoff::new(self.options.pauses);
        loop {
            // A channel that has failed and does not recover must not hold a stop up.
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = engine.begin() => {}
            }
            let context = SourceContext::new(
                self.plan.config.agent.clone(),
                name.clone(),
                self.stop.clone(),
                metrics.clone(),
                engine.clone(),
            );
            self.entry.set(State::Running);
            tracing::info!(source = %name, "source runs");
            let started = Instant::now();
            let reason = match catch(source.run(context)).await {
                Ok(Ok(())) if self.stop.is_cancelled() => return,
                Ok(Ok(())) => {
                    tracing::info!(source = %name, "source has nothing more to do");
                    self.entry.set(State::Finished);
                    self.stop.cancelled().await;
                    return;
                }
                Ok(Err(error)) => chain(&error),
                Err(panic) => panic,
            };
            if self.stop.is_cancelled() {
                tracing::warn!(source = %name, error = %reason, "source failed while it stopped");
                return;
            }
            let pause = backoff.failed(Some(started));
            tracing::error!(source = %name, error = %reason, "source failed, running it again in {pause:?}");
            metrics.generic_processing_fail.inc();
            self.entry.set(State::Failed { reason, failures: backoff.failures });
            if sleep_or_stop(pause, &self.stop).await {
                return;
            }
        }
    }
}

/// What a component that hangs on `channels` is doing before it runs.
pub(super) fn state_before<'a>(mut channels: impl Iterator<Item = &'a Handle>) -> State {
    match channels.find(|channel| channel.now().is_none()) {
        Some(channel) => State::Waiting { reason: format!("channel {} is not open", channel.name) },
        None => State::Starting,
    }
}

/// An error with what is beneath it, as far as the error's own words do not say it already.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut beneath = error.source();
    while let Some(cause) = beneath {
        let words = cause.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        beneath = cause.source();
    }
    text
}
