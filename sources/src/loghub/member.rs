//! The member of the consumer group: says that it lives, and reads the shards that the service hands to it.
//!
//! ```text
//!   heartbeat  held [0, 2]  ──>  answer [0, 3]     3 is begun; 2 is left, and said to be held until it is put and told
//!   no answer for three intervals                  others may have the shards: all are dropped at once
//! ```

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use flumen_api::batch::Batch;
use flumen_api::progress::{Positions, Progress};
use flumen_api::{SourceContext, SourceError};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::Plan;
use super::lag::Lag;
use super::service::Service;
use super::shard::{End, Shard};

/// How many pulls are in memory at once, of at most some 10 MiB each.
const PULLS: usize = 12;
/// Heartbeats that may be missed.
const MISSED: u32 = 3;
/// How often lags are shown anew.
const LAGS: Duration = Duration::from_secs(1);
/// The shortest time that a heartbeat's answer is waited for.
const ANSWER_MIN: Duration = Duration::from_secs(5);

/// A shard that is read.
struct Held {
    leave: CancellationToken,
    stop: CancellationToken,
    lag: Arc<Lag>,
}

/// See the [module](self).
pub(super) struct Member {
    context: SourceContext,
    plan: Arc<Plan>,
    /// Before each progress key.
    prefix: String,
    /// Where the channels stand along shards that are not read now.
    positions: Positions,
    shards: BTreeMap<u32, Held>,
    tasks: JoinSet<(u32, End)>,
    pulls: Arc<Semaphore>,
    /// The last answer to a heartbeat.
    heard: Instant,
    beat_at: Instant,
}

impl Member {
    pub fn new(context: SourceContext, plan: Arc<Plan>) -> Self {
        let settings = &plan.settings;
        let prefix = format!("{}/{}/{}/", settings.project, settings.logstore, settings.consumer_group);
        let now = Instant::now();
        Self {
            positions: context.positions().unwrap_or_default(),
            context,
            plan,
            prefix,
            shards: BTreeMap::new(),
            tasks: JoinSet::new(),
            pulls: Arc::new(Semaphore::new(PULLS)),
            heard: now,
            beat_at: now,
        }
    }

    /// Reads until the stop.
    pub async fn run(mut self) -> Result<(), SourceError> {
        let shutdown = self.context.shutdown.clone();
        let Some(consumer) = shutdown.run_until_cancelled(self.name()).await else { return Ok(()) };
        let service = Arc::new(Service::new(self.plan.clone(), consumer, self.context.clone()));
        let Some(made) = shutdown.run_until_cancelled(self.ensure_group(&service)).await else {
            return Ok(());
        };
        made?;
        tracing::info!(source = %self.context.name, group = %service.group, consumer = %service.consumer, "joins");
        let result = self.live(&service).await;
        for held in self.shards.values() {
            held.stop.cancel();
        }
        while let Some(ended) = self.tasks.join_next().await {
            if let Ok((id, End { result: Err(error), .. })) = ended {
                tracing::warn!(source = %self.context.name, shard = id, %error, "failed at the stop; read again later");
            }
        }
        for id in std::mem::take(&mut self.shards).into_keys() {
            self.context.lag(&id.to_string(), None);
        }
        result
    }

    async fn live(&mut self, service: &Arc<Service>) -> Result<(), SourceError> {
        let shutdown = self.context.shutdown.clone();
        let mut lags = interval(LAGS);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                Some(ended) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    let (id, end) = ended.map_err(|error| SourceError::new("reading a shard ended", error))?;
                    self.ended(id, end)?;
                }
                () = sleep_until(self.beat_at) => {
                    if shutdown.run_until_cancelled(self.beat(service)).await.is_none() {
                        return Ok(());
                    }
                }
                _ = lags.tick() => self.show_lags(),
            }
        }
    }

    /// This member's name. Who has the same channels is the same member: after a kill its shards are still its own.
    async fn name(&mut self) -> String {
        if let Some(name) = &self.plan.settings.consumer {
            return name.clone();
        }
        let key = format!("{}member", self.prefix);
        let kept = self.positions.get(&key).and_then(|kept| String::from_utf8(kept.rest.to_vec()).ok());
        if let Some(kept) = kept {
            return kept;
        }
        let name = format!("flumen-{:016x}", RandomState::new().build_hasher().finish());
        let mut batch = Batch::new();
        let rest = name.clone().into_bytes().into();
        batch.add_progress(Progress { key, generation: 1, from: 0, to: 0, rest, retire: false });
        match self.context.put(batch).await {
            Ok(ticket) => drop(ticket.await),
            // The next start draws another one, and waits until this one is given up.
            Err(refused) => tracing::debug!(error = %refused.error, "the member's name is not kept"),
        }
        name
    }

    async fn ensure_group(&self, service: &Service) -> Result<(), SourceError> {
        let order = self.plan.settings.fetch_in_order;
        let timeout = self.timeout().as_millis().div_ceil(1000);
        let made = service
            .client
            .ensure_group(&service.group, u64::try_from(timeout).unwrap_or(u64::MAX), order)
            .await;
        made.map_err(|error| SourceError::plain(error.to_string()))
    }

    /// After so long without a heartbeat the service gives the shards to others.
    fn timeout(&self) -> Duration {
        self.interval() * MISSED
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.plan.settings.heartbeat_interval.into())
    }

    async fn beat(&mut self, service: &Arc<Service>) {
        self.beat_at = Instant::now() + self.interval();
        let held: Vec<u32> = self.shards.keys().copied().collect();
        let call = service.client.heartbeat(&service.group, &service.consumer, &held);
        let error = match timeout(self.interval().max(ANSWER_MIN), call).await {
            Ok(Ok(wanted)) => {
                self.heard = Instant::now();
                service.trouble("heartbeat", None);
                self.follow(&wanted, service);
                return;
            }
            Ok(Err(error)) => {
                if error.is_group_gone() {
                    tracing::warn!(source = %self.context.name, "the consumer group is gone, and made again");
                    if let Err(error) = self.ensure_group(service).await {
                        tracing::warn!(source = %self.context.name, %error, "the consumer group was not made");
                    }
                }
                error.to_string()
            }
            Err(_late) => "no answer to a heartbeat".to_string(),
        };
        tracing::warn!(source = %self.context.name, error, "heartbeat failed");
        service.trouble("heartbeat", Some(error));
        if self.heard.elapsed() >= self.timeout()
            && self.shards.values().any(|held| !held.stop.is_cancelled())
        {
            tracing::warn!(source = %self.context.name, "others may have the shards by now: all are dropped");
            self.shards.values().for_each(|held| held.stop.cancel());
        }
    }

    /// Begins and leaves shards as the service wants it.
    fn follow(&mut self, wanted: &[u32], service: &Arc<Service>) {
        for (id, held) in
            self.shards.iter().filter(|(id, held)| !wanted.contains(id) && !held.leave.is_cancelled())
        {
            tracing::info!(source = %self.context.name, shard = id, "the group wants a shard back");
            held.leave.cancel();
        }
        for &id in wanted {
            if self.shards.contains_key(&id) {
                continue;
            }
            let stop = self.context.shutdown.child_token();
            let leave = stop.child_token();
            let lag = Arc::new(Lag::new());
            let key = format!("{}{id}", self.prefix);
            let position = self.positions.remove(&key);
            let shard = Shard {
                service: service.clone(),
                id,
                key,
                pulls: self.pulls.clone(),
                leave: leave.clone(),
                stop: stop.clone(),
                lag: lag.clone(),
            };
            self.tasks.spawn(async move { (id, shard.read(position).await) });
            self.shards.insert(id, Held { leave, stop, lag });
        }
    }

    fn ended(&mut self, id: u32, end: End) -> Result<(), SourceError> {
        self.context.lag(&id.to_string(), None);
        if let Some(position) = end.position {
            self.positions.insert(format!("{}{id}", self.prefix), position);
        }
        let was_asked = self.shards.remove(&id).is_some_and(|held| held.leave.is_cancelled());
        if was_asked && self.heard.elapsed() < self.timeout() {
            // Whoever is to have it waits for this.
            self.beat_at = Instant::now();
        }
        end.result
    }

    fn show_lags(&self) {
        for (id, held) in &self.shards {
            self.context.lag(&id.to_string(), held.lag.seconds());
        }
    }
}
