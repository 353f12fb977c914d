//! Letting sinks empty the channels that keep nothing, before what takes from them is stopped.
//!
//! What a durable channel holds is delivered after the next start; what another holds was acknowledged all the same, and is
//! gone with the channel. So once the sources have stopped, and no event comes to it any more, the sinks go on for a while.

use std::sync::Arc;
use std::time::Duration;

use flumen_api::settings::Kind;
use tokio::time::Instant;

use super::super::board::State;
use super::Agent;

/// How often a stop looks whether the sinks are done.
const TICK: Duration = Duration::from_millis(5);

impl Agent {
    /// Waits until those of the channels that `stops` names and that keep nothing are empty, or `deadline` has come.
    pub(super) async fn drain(&self, stops: impl Fn(&Arc<str>) -> bool, deadline: Instant) {
        while Instant::now() < deadline && self.would_lose_events(&stops) {
            tokio::time::sleep(TICK).await;
        }
    }

    /// Whether such a channel has events that a sink would take: one that fails is not waited for.
    fn would_lose_events(&self, stops: impl Fn(&Arc<str>) -> bool) -> bool {
        let health = self.health();
        let works = |name: &str| {
            let mut sinks = health.components.iter().filter(|one| one.kind == Kind::Sink);
            sinks.any(|sink| *sink.name == *name && sink.state == State::Running)
        };
        self.runners.values().any(|unit| {
            let channel = unit.plan.channel();
            stops(channel)
                && self.volatile_events(channel) > 0
                && unit.plan.sinks.iter().any(|sink| works(&sink.config.name))
        })
    }

    /// Events in a channel that keeps nothing; 0 for one that is durable, not open or not there.
    pub(super) fn volatile_events(&self, channel: &Arc<str>) -> u64 {
        let open = self.channels.get(channel).and_then(|unit| unit.handle.now());
        open.filter(|open| !open.limits().durable).map_or(0, |open| open.status().events)
    }
}
