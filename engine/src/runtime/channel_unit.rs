//! Keeps one channel open.
//!
//! ```text
//!   opening ──ok──> open ──stop──> close
//!      │ ^
//!      │ └── pause ── failed (locked, foreign files, no space …): reported with its reason, tried again
//! ```
//!
//! Sources and sinks hold a [`Handle`] and wait on it; they never see a channel that is not open. Opening may take as
//! long as recovery does, on a thread of the blocking pool.

use std::sync::Arc;

use flumen_api::channel::Channel;
use flumen_api::registry::{ChannelContext, Factory};
use flumen_api::settings::Kind;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::AgentOptions;
use super::board::{Entry, Meters, State};
use super::supervise::{Backoff, Running, catch_now, sleep_or_stop};
use crate::plan::ChannelPlan;

/// A channel as those see it that hang on it.
#[derive(Clone)]
pub(super) struct Handle {
    pub name: Arc<str>,
    open: watch::Receiver<Option<Arc<dyn Channel>>>,
}

impl Handle {
    /// The channel, once it is open; `None` when it never will be, for it was told to stop.
    pub async fn wait(&mut self) -> Option<Arc<dyn Channel>> {
        self.open.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// The channel, if it is open.
    pub fn now(&self) -> Option<Arc<dyn Channel>> {
        self.open.borrow().clone()
    }
}

/// A channel with its keeper.
pub(super) struct ChannelUnit {
    pub plan: ChannelPlan,
    pub handle: Handle,
    pub running: Running,
    first_attempt: Option<oneshot::Receiver<()>>,
}

impl ChannelUnit {
    /// Begins to open the channel.
    pub fn start(plan: ChannelPlan, entry: Arc<Entry>, options: &AgentOptions) -> Self {
        let stop = CancellationToken::new();
        let (publish, open) = watch::channel(None);
        let (attempted, first_attempt) = oneshot::channel();
        let handle = Handle { name: plan.config.name.clone(), open };
        entry.set(State::Starting);
        let keeper = keep(plan.clone(), entry, options.clone(), publish, attempted, stop.clone());
        let running = Running::task(stop, keeper);
        Self { plan, handle, running, first_attempt: Some(first_attempt) }
    }

    /// Returns when the channel is open or has failed to open for the first time.
    pub async fn first_attempt(&mut self) {
        if let Some(attempt) = self.first_attempt.take() {
            // The keeper drops its end after the first attempt, which is all that is waited for.
            let _dropped = attempt.await;
        }
    }
}

async fn keep(
    plan: ChannelPlan,
    entry: Arc<Entry>,
    options: AgentOptions,
    publish: watch::Sender<Option<Arc<dyn Channel>>>,
    attempted: oneshot::Sender<()>,
    stop: CancellationToken,
) {
    let mut attempted = Some(attempted);
    let mut backoff = Backoff::new(options.pauses);
    let channel = loop {
        entry.set(State::Starting);
        let error = match open(&plan, &entry, &options).await {
            Ok(channel) => break channel,
            Err(error) => error,
        };
        let pause = backoff.failed(None);
        tracing::error!(channel = %entry.name, %error, "cannot open the channel, trying again in {pause:?}");
        entry.set(State::Failed { reason: error, failures: backoff.failures });
        attempted = None;
        if sleep_or_stop(pause, &stop).await {
            entry.set(State::Stopped);
            return;
        }
    };
    tracing::info!(channel = %entry.name, "channel is open");
    entry.set_channel(Some(channel.clone()));
    entry.set(State::Running);
    publish.send_replace(Some(channel.clone()));
    drop(attempted);
    stop.cancelled().await;
    channel.close().await;
    publish.send_replace(None);
    entry.set_channel(None);
    entry.set(State::Stopped);
    tracing::info!(channel = %entry.name, "channel is closed");
}

async fn open(plan: &ChannelPlan, entry: &Entry, options: &AgentOptions) -> Result<Arc<dyn Channel>, String> {
    let Factory::Channel { open, .. } = plan.spec.factory else {
        return Err(format!("type `{}` is not a {}", plan.spec.alias, Kind::Channel));
    };
    let Meters::Channel(metrics) = entry.meters.clone() else {
        return Err("registered under another kind".into());
    };
    let context = ChannelContext {
        agent: plan.config.agent.clone(),
        memory_limit: options.memory_limit,
        ignore_flume_data: options.ignore_flume_data,
        storage: options.storage,
        metrics,
    };
    let config = plan.config.clone();
    // The attempt is waited for even when a stop comes meanwhile: what it locked has to be let go of in order.
    let opened = tokio::task::spawn_blocking(move || catch_now(|| open(&config, context)));
    match opened.await {
        Ok(result) => result.flatten(),
        Err(join) => Err(format!("could not be opened: {join}")),
    }
}
