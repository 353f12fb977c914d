//! Keeps one channel open.
//!
//! ```text
//!   opening ──ok──> open ──stop──> close
//!      │ ^
//!      │ └── pause ── failed (foreign files, no space …): reported with its reason, tried again
//!      └─── locked: tried again soon, reported as seldom as other failures
//! ```
//!
//! Sources and sinks hold a [`Handle`] and wait on it; they never see a channel that is not open. Opening may take as
//! long as recovery does, on a thread of the blocking pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flumen_api::channel::{Channel, OpenError};
use flumen_api::registry::{ChannelContext, Factory};
use flumen_api::settings::Kind;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::AgentOptions;
use super::board::{Entry, Meters, State};
use super::supervise::{Backoff, Running, catch_now, sleep_or_stop};
use crate::plan::ChannelPlan;

/// How long after a try a channel whose directory another process holds is tried again.
const LOCKED_PAUSE: Duration = Duration::from_millis(200);

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
    /// Whether another process holds its directory, as of the latest attempt.
    locked: Arc<AtomicBool>,
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
        let locked = Arc::new(AtomicBool::new(false));
        let keeper = Keeper {
            plan: plan.clone(),
            entry,
            options: options.clone(),
            locked: locked.clone(),
            stop: stop.clone(),
        };
        let running = Running::task(stop, keeper.keep(publish, attempted));
        Self { plan, handle, running, locked, first_attempt: Some(first_attempt) }
    }

    /// Whether it is not open for the sole reason that another process holds its directory.
    pub fn is_locked(&self) -> bool {
        self.locked.load(Ordering::Acquire)
    }

    /// Returns when the channel is open or has failed to open for the first time.
    pub async fn first_attempt(&mut self) {
        if let Some(attempt) = self.first_attempt.take() {
            // The keeper drops its end after the first attempt, which is all that is waited for.
            let _dropped = attempt.await;
        }
    }
}

struct Keeper {
    plan: ChannelPlan,
    entry: Arc<Entry>,
    options: AgentOptions,
    locked: Arc<AtomicBool>,
    stop: CancellationToken,
}

impl Keeper {
    async fn keep(self, publish: watch::Sender<Option<Arc<dyn Channel>>>, attempted: oneshot::Sender<()>) {
        let entry = &self.entry;
        let Some(channel) = self.open_at_last(attempted, &publish).await else {
            entry.set(State::Stopped);
            return;
        };
        self.stop.cancelled().await;
        channel.close().await;
        publish.send_replace(None);
        entry.set_channel(None);
        entry.set(State::Stopped);
        tracing::info!(channel = %entry.name, "channel is closed");
    }

    /// Tries until the channel is open, and hands it out; `None` if a stop came first. The end of the first attempt is
    /// told by dropping `attempted`.
    async fn open_at_last(
        &self,
        attempted: oneshot::Sender<()>,
        publish: &watch::Sender<Option<Arc<dyn Channel>>>,
    ) -> Option<Arc<dyn Channel>> {
        let entry = &self.entry;
        let mut attempted = Some(attempted);
        let mut backoff = Backoff::new(self.options.pauses);
        let mut quiet_until = None;
        loop {
            if quiet_until.is_none() {
                entry.set(State::Starting);
            }
            let opened = self.open().await;
            let is_locked = matches!(opened, Err(OpenError::Locked { .. }));
            self.locked.store(is_locked, Ordering::Release);
            let error = match opened {
                Ok(channel) => {
                    tracing::info!(channel = %entry.name, "channel is open");
                    entry.set_channel(Some(channel.clone()));
                    entry.set(State::Running);
                    publish.send_replace(Some(channel.clone()));
                    return Some(channel);
                }
                Err(error) => error,
            };
            // Whoever holds the directory may be a killed process whose last writes are about to end.
            let mut pause = LOCKED_PAUSE;
            if !is_locked || quiet_until.is_none_or(|until| until <= Instant::now()) {
                let next = backoff.failed(None);
                if !is_locked {
                    pause = next;
                }
                tracing::error!(channel = %entry.name, %error, "cannot open the channel, trying again in {pause:?}");
                entry.set(State::Failed { reason: error.to_string(), failures: backoff.failures });
                quiet_until = is_locked.then(|| Instant::now() + next);
            }
            drop(attempted.take());
            if sleep_or_stop(pause, &self.stop).await {
                return None;
            }
        }
    }

    async fn open(&self) -> Result<Arc<dyn Channel>, OpenError> {
        let ChannelPlan { config, spec } = &self.plan;
        let Factory::Channel { open, .. } = spec.factory else {
            return Err(OpenError::Config(format!("type `{}` is not a {}", spec.alias, Kind::Channel)));
        };
        let Meters::Channel(metrics) = self.entry.meters.clone() else {
            return Err(OpenError::Other("registered under another kind".into()));
        };
        let context = ChannelContext {
            agent: config.agent.clone(),
            memory_limit: self.options.memory_limit,
            ignore_flume_data: self.options.ignore_flume_data,
            storage: self.options.storage,
            metrics,
        };
        let config = config.clone();
        // The attempt is waited for even when a stop comes meanwhile: what it locked has to be let go of in order.
        match tokio::task::spawn_blocking(move || catch_now(|| open(&config, context))).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(OpenError::Other(panic)),
            Err(join) => Err(OpenError::Other(format!("could not be opened: {join}"))),
        }
    }
}
