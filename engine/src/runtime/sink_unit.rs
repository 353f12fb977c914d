//! Keeps the sinks of one group, or one sink on its own, running on a thread.
//!
//! The thread waits for the channel, starts the sinks, and lets a [`Runner`] drain. A sink that does not start does not
//! hold up the others of its group: the processor counts it as failed, and the runner tries again when it is picked. A
//! panic ends the runner, which rolls back; all sinks of the group are started anew after a pause.

use std::sync::Arc;
use std::time::Instant;

use flumen_api::processor::Processor;
use flumen_api::registry::Factory;
use flumen_api::settings::Problems;
use flumen_api::sink::{Sink, SinkContext};
use tokio_util::sync::CancellationToken;

use super::AgentOptions;
use super::board::{Entry, Meters, State};
use super::channel_unit::Handle;
use super::dead_letter::DeadLetter;
use super::runner::Runner;
use super::slot::Slot;
use super::source_unit::{state_before, text};
use super::supervise::{Backoff, Running, catch, sleep_or_stop};
use crate::plan::{DeadLetterPlan, GroupPlan, SinkPlan};
use crate::processors::default::Alone;

/// What runs on one thread: the sinks of a group, or one sink.
#[derive(Clone)]
pub(super) struct RunnerPlan {
    pub group: Option<GroupPlan>,
    /// In the group's order; never empty.
    pub sinks: Vec<SinkPlan>,
}

impl RunnerPlan {
    /// The channel that its sinks share.
    pub fn channel(&self) -> &Arc<str> {
        &self.sinks[0].channel
    }

    /// Every channel on which one of its sinks hangs, each once, the one that they share first.
    pub fn channels(&self) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = Vec::new();
        for name in self.sinks.iter().flat_map(SinkPlan::channels) {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    fn thread_name(&self) -> String {
        match &self.group {
            Some(group) => format!("sinkgroup-{}", group.name),
            None => format!("sink-{}", self.sinks[0].config.name),
        }
    }
}

/// A group or a sink with its keeper.
pub(super) struct RunnerUnit {
    pub plan: RunnerPlan,
    pub running: Running,
}

/// Sinks that have been built and not yet started.
pub(super) struct Prepared {
    plan: RunnerPlan,
    sinks: Vec<Box<dyn Sink>>,
    processor: Box<dyn Processor>,
}

/// Builds the sinks and their processor; nothing outside is touched.
pub(super) fn prepare(plan: RunnerPlan) -> Result<Prepared, String> {
    let mut sinks = Vec::with_capacity(plan.sinks.len());
    for sink in &plan.sinks {
        let mut problems = Problems::default();
        let Factory::Sink(build) = sink.spec.factory else {
            return Err(format!("type `{}` is not a sink", sink.spec.alias));
        };
        sinks.push(build(&sink.config, &mut problems).ok_or_else(|| text(&problems))?.component);
        if sink.channel != *plan.channel() {
            let (name, first) = (&sink.config.name, &plan.sinks[0].config.name);
            return Err(format!("sinks {first} and {name} of one group have different channels"));
        }
    }
    let processor = match &plan.group {
        Some(group) => processor(group)?,
        None => Box::new(Alone::default()),
    };
    Ok(Prepared { plan, sinks, processor })
}

fn processor(group: &GroupPlan) -> Result<Box<dyn Processor>, String> {
    let (spec, config) = &group.processor;
    let Factory::Processor(build) = spec.factory else {
        return Err(format!("type `{}` is not a sink processor", spec.alias));
    };
    let sinks: Vec<String> = group.sinks.iter().map(ToString::to_string).collect();
    let mut problems = Problems::default();
    build(config, &sinks, &mut problems).ok_or_else(|| text(&problems))
}

impl RunnerUnit {
    /// Starts the keeper; `handles` are those of [`RunnerPlan::channels`], and `entries` the sinks', both in the plan's
    /// order.
    pub fn start(
        prepared: Prepared,
        handles: Vec<Handle>,
        entries: Vec<Arc<Entry>>,
        options: &AgentOptions,
    ) -> std::io::Result<Self> {
        let Prepared { plan, sinks, processor } = prepared;
        for entry in &entries {
            entry.set(state_before(handles.iter()));
        }
        let stop = CancellationToken::new();
        let name = plan.thread_name();
        let keeper = Keeper { plan: plan.clone(), entries, options: options.clone(), stop: stop.clone() };
        let running = Running::thread(&name, stop, keeper.keep(sinks, processor, handles))?;
        Ok(Self { plan, running })
    }
}

struct Keeper {
    plan: RunnerPlan,
    entries: Vec<Arc<Entry>>,
    options: AgentOptions,
    stop: CancellationToken,
}

impl Keeper {
    async fn keep(self, sinks: Vec<Box<dyn Sink>>, processor: Box<dyn Processor>, handles: Vec<Handle>) {
        self.attend(sinks, processor, handles).await;
        for entry in &self.entries {
            entry.set(State::Stopped);
        }
    }

    async fn attend(
        &self,
        sinks: Vec<Box<dyn Sink>>,
        mut processor: Box<dyn Processor>,
        mut handles: Vec<Handle>,
    ) {
        let mut channels = Vec::with_capacity(handles.len());
        for handle in &mut handles {
            let opened = tokio::select! {
                () = self.stop.cancelled() => return,
                opened = handle.wait() => opened,
            };
            let Some(channel) = opened else { return };
            channels.push(channel);
        }
        let Some(channel) = channels.first().cloned() else { return };
        let mut slots = Vec::with_capacity(sinks.len());
        for ((sink, plan), entry) in sinks.into_iter().zip(&self.plan.sinks).zip(&self.entries) {
            let Meters::Sink(metrics) = entry.meters.clone() else { return };
            let context = SinkContext::new(
                plan.config.agent.clone(),
                plan.config.name.clone(),
                self.stop.clone(),
                metrics,
                channel.clone(),
            );
            let dead_letter = match &plan.dead_letter {
                None => None,
                Some(DeadLetterPlan::File(path)) => Some(DeadLetter::File(path.clone())),
                Some(DeadLetterPlan::Channel { name, beyond }) => channels
                    .iter()
                    .find(|channel| channel.name() == &**name)
                    .cloned()
                    .map(|channel| DeadLetter::Channel { channel, beyond: beyond.clone() }),
            };
            entry.set(State::Starting);
            slots.push(Slot::new(sink, context, entry.clone(), dead_letter));
        }

        let mut backoff = Backoff::new(self.options.pauses);
        loop {
            let started = Instant::now();
            let drained = catch(async {
                for (at, slot) in slots.iter_mut().enumerate() {
                    slot.start_first(at, processor.as_mut()).await;
                }
                Runner::new(&mut slots, processor.as_mut(), channel.taker(), self.stop.clone()).run().await;
            });
            match drained.await {
                Ok(()) => break,
                Err(panic) => {
                    let pause = backoff.failed(Some(started));
                    for slot in &mut slots {
                        let sink = &slot.entry.name;
                        tracing::error!(%sink, error = %panic, "sink failed, starting it again in {pause:?}");
                        slot.entry.set(State::Failed { reason: panic.clone(), failures: backoff.failures });
                        slot.context.metrics.event_write_fail.inc();
                        slot.started = false;
                    }
                    if sleep_or_stop(pause, &self.stop).await {
                        break;
                    }
                }
            }
        }
        for slot in slots.iter_mut().filter(|slot| slot.started) {
            if let Err(panic) = catch(slot.sink.stop()).await {
                tracing::error!(sink = %slot.entry.name, error = %panic, "sink failed while it stopped");
            }
        }
    }
}
