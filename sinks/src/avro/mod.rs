//! `avro`: sends events to the avro source of another agent, by Flume's Avro RPC, and releases them when that says OK.
//!
//! ```text
//!   take = one call ──> written at once ──> up to `pipeline` calls on their way ──> OK, in order: released
//!                                                   │
//!                                                   └ FAILED, late, lost: all that has no OK goes back; the next call
//!                                                     goes alone, once nothing of the old ones is on its way
//! ```
//!
//! A source of Flume's may take calls in in another order than that in which they are sent; to it one is on its way at a
//! time. What was sent and not answered may have been taken in: it comes twice then, at most `pipeline` batches. A connection is
//! made anew after it was lost or timed out, and as often as `reset-connection-interval` says. With several hosts (`choice`)
//! the one that failed is not the next that is tried. A batch that is not taken in alone either comes again in smaller ones
//! (`portions`).

mod choice;
mod destination;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flumen_api::TakeLimit;
use flumen_api::chunk::Events;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Key, Problems, join};
use flumen_api::sink::{FlushFuture, Sink, SinkContext, SinkError, Window};
use flumen_avro_rpc::caller::{CallError, Caller, Pending};
use flumen_avro_rpc::connect::Connector;
use flumen_avro_rpc::events::EVENTS_MAX;
use flumen_tls::ClientKeys;
use parking_lot::Mutex;

use choice::Choice;
pub use destination::Destination;
pub use settings::AvroSinkSettings;

use crate::farewell::until_stop;
use crate::portions::{Calls, NotTaken, Portions};

const KEYS: &[Key] = &join::<{ AvroSinkSettings::KEYS.len() + ClientKeys::KEYS.len() }>(&[
    AvroSinkSettings::KEYS,
    ClientKeys::KEYS,
]);

/// The type for the registry.
pub fn spec() -> Spec {
    Spec {
        alias: "avro",
        class_names: &["org.apache.flume.sink.AvroSink"],
        keys: KEYS,
        doc: "Sends events to the avro source of another agent, Flume's or Flumen's, and releases them when that has \
              answered OK.",
        factory: Factory::Sink(build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Sink>> {
    let sink = AvroSink::from_config(config, problems)?;
    let batch_size = Some(("batch-size", sink.destination.settings.batch_size));
    Some(Built { component: Box::new(sink), batch_size })
}

/// The sink.
struct AvroSink {
    destination: Destination,
    portions: Portions,
    running: Option<Running>,
}

/// A sink that was started.
struct Running {
    context: SinkContext,
    hosts: Vec<Host>,
    choice: Choice,
    /// Calls whose answers the next flush waits for, with their hosts.
    sent: Vec<(usize, Pending)>,
    failed: Arc<Mutex<Failed>>,
}

/// One whom the sink may talk to.
struct Host {
    connector: Connector,
    connection: Option<Connection>,
}

struct Connection {
    caller: Caller,
    since: Instant,
}

/// What the answers that were waited for have said.
#[derive(Default)]
struct Failed {
    /// A call failed: the next one goes alone.
    is_alone: bool,
    /// Whose calls they were.
    hosts: Vec<usize>,
}

impl AvroSink {
    fn from_config(config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let destination = Destination::load(config, problems)?;
        // A Flumen source refuses a call of more.
        let portions = Portions::new(destination.settings.batch_size.min(EVENTS_MAX));
        Some(Self { destination, portions, running: None })
    }

    fn running(&mut self) -> Result<&mut Running, SinkError> {
        self.running.as_mut().ok_or_else(not_started)
    }

    async fn send(&mut self, events: &Events) -> Result<(), SinkError> {
        let reset = Duration::from_secs(self.destination.settings.reset_connection_interval);
        let Self { portions, running: Some(running), .. } = self else { return Err(not_started()) };
        let context = running.context.clone();
        if let Some(delivered) = portions.deliver(events, &context, running).await {
            return delivered;
        }
        match running.send(events, reset, false).await {
            Ok(()) => {
                portions.went();
                Ok(())
            }
            Err(NotTaken { is_called: false, error }) => Err(error),
            Err(NotTaken { error, .. }) => Err(portions.not_taken(events.len(), error)),
        }
    }
}

impl Running {
    fn disconnect(&mut self, host: usize, why: &str) {
        let Host { connector, connection } = &mut self.hosts[host];
        if connection.take().is_some() {
            self.context.metrics.connection_closed.inc();
            tracing::info!(sink = %self.context.name, peer = %connector.name(), why, "disconnected");
        }
    }

    /// Lets go of connections that are lost.
    fn forget_lost(&mut self, now: Instant) {
        for host in 0..self.hosts.len() {
            let connection = self.hosts[host].connection.as_ref();
            if let Some(error) = connection.and_then(|connection| connection.caller.broken()) {
                self.choice.lost(host, now);
                self.disconnect(host, &error.to_string());
            }
        }
    }

    /// Lets go of connections that have had their time; what is on its way on them is answered first.
    async fn reset(&mut self, after: Duration) {
        for host in 0..self.hosts.len() {
            let connection = self.hosts[host].connection.as_ref();
            if let Some(old) = connection.filter(|connection| connection.since.elapsed() >= after) {
                old.caller.settled().await;
                self.disconnect(host, "reset-connection-interval");
                self.choice.restart();
            }
        }
    }

    /// A connection that works, as far as is known.
    async fn connection(&mut self, host: usize) -> Result<&mut Caller, SinkError> {
        let Host { connector, connection } = &mut self.hosts[host];
        let connection = match connection.take() {
            Some(connection) => connection,
            None => {
                let metrics = &self.context.metrics;
                let stop = self.context.shutdown.clone();
                let caller = match stop.run_until_cancelled(connector.connect()).await {
                    Some(Ok(caller)) => caller,
                    Some(Err(why)) => {
                        metrics.connection_failed.inc();
                        return Err(SinkError::plain(why));
                    }
                    None => return Err(SinkError::plain("the sink stops while it connects")),
                };
                metrics.connection_created.inc();
                tracing::info!(sink = %self.context.name, peer = %connector.name(), "connected");
                Connection { caller, since: Instant::now() }
            }
        };
        Ok(&mut self.hosts[host].connection.insert(connection).caller)
    }

    /// Sends a call to the hosts of the choice's order, until one of them takes it in, or lets it be on its way. The error says
    /// whether one was asked by this call alone.
    async fn send(&mut self, events: &Events, reset: Duration, is_trial: bool) -> Result<(), NotTaken> {
        let now = Instant::now();
        let Failed { is_alone, hosts } = std::mem::take(&mut *self.failed.lock());
        let is_alone = is_alone || is_trial;
        hosts.into_iter().for_each(|host| self.choice.failed(host, now));
        self.forget_lost(now);
        if !reset.is_zero() {
            self.reset(reset).await;
        }
        if is_alone {
            // What went back is not overtaken by itself, and nothing by what is sent behind it.
            let connections = self.hosts.iter().filter_map(|host| host.connection.as_ref());
            for settled in connections.map(|old| old.caller.settled()).collect::<Vec<_>>() {
                settled.await;
            }
            self.sent.clear();
        }
        let (order, mut calls, mut unreachable) = (self.choice.order(now), self.choice.calls(), 0);
        let mut was_called = false;
        let mut last = SinkError::plain("all hosts rest after they failed");
        for host in order {
            let NotTaken { is_called, error } = match self.send_to(host, events, is_alone).await {
                Ok(()) => return Ok(()),
                Err(not_taken) => not_taken,
            };
            last = error;
            was_called |= is_called;
            if !is_trial {
                self.choice.failed(host, Instant::now());
            }
            self.forget_lost(Instant::now());
            if is_called && !is_alone {
                // What was sent before may be going back as well, and comes first.
                self.failed.lock().is_alone = true;
                return Err(NotTaken::uncalled(last));
            }
            match is_called {
                true => (calls, unreachable) = (calls - 1, 0),
                false => unreachable += 1,
            }
            if calls == 0 || unreachable == self.hosts.len() || self.context.shutdown.is_cancelled() {
                break;
            }
            tracing::warn!(sink = %self.context.name, error = %last, "the next host is tried");
        }
        self.choice.restart();
        self.failed.lock().is_alone = true;
        Err(NotTaken { is_called: was_called, error: last })
    }

    async fn send_to(&mut self, host: usize, events: &Events, is_alone: bool) -> Result<(), NotTaken> {
        let caller = self.connection(host).await.map_err(NotTaken::uncalled)?;
        if !caller.is_ordered() {
            caller.settled().await;
        }
        let call = caller
            .append_batch(events.len(), events.iter())
            .await
            .map_err(|error| NotTaken::called(failure(error)))?;
        match is_alone {
            false => self.sent.push((host, call)),
            true => call.await.map_err(|error| NotTaken::called(failure(error)))?,
        }
        Ok(())
    }
}

impl Calls for Running {
    async fn call(&mut self, events: &Events) -> Result<(), NotTaken> {
        self.send(events, Duration::ZERO, true).await
    }
}

fn not_started() -> SinkError {
    SinkError::plain("the sink is not started")
}

fn failure(error: CallError) -> SinkError {
    SinkError::plain(error.to_string())
}

#[async_trait]
impl Sink for AvroSink {
    fn take_limit(&self) -> TakeLimit {
        self.portions.take_limit()
    }

    fn window(&self) -> Window {
        Window { flushes: self.destination.settings.pipeline, ..Window::EACH_TAKE }
    }

    async fn start(&mut self, context: &SinkContext) -> Result<(), SinkError> {
        let connectors = self
            .destination
            .connectors()
            .await
            .map_err(|error| SinkError::new("TLS cannot be set up", error))?;
        let hosts = connectors.into_iter().map(|connector| Host { connector, connection: None });
        let mut running = Running {
            context: context.clone(),
            hosts: hosts.collect(),
            choice: self.destination.choice(),
            sent: Vec::new(),
            failed: Arc::default(),
        };
        // As in Flume: who is not there yet may be when there is something to send.
        if let Err(error) = running.connection(0).await {
            tracing::warn!(sink = %context.name, %error, "tried again when there is something to send");
        }
        self.portions.start(context);
        self.running = Some(running);
        Ok(())
    }

    async fn deliver(&mut self, events: &Events) -> Result<(), SinkError> {
        let stop = self.running()?.context.shutdown.clone();
        until_stop(&stop, self.send(events)).await?
    }

    fn flush(&mut self) -> FlushFuture {
        let Some(running) = &mut self.running else { return Box::pin(std::future::ready(Ok(Vec::new()))) };
        let (sent, failed) = (std::mem::take(&mut running.sent), running.failed.clone());
        let stop = running.context.shutdown.clone();
        Box::pin(async move {
            for (host, call) in sent {
                let answer = until_stop(&stop, call).await;
                if let Err(error) = answer.and_then(|answer| answer.map_err(failure)) {
                    let mut failed = failed.lock();
                    failed.is_alone = true;
                    failed.hosts.push(host);
                    return Err(error);
                }
            }
            Ok(Vec::new())
        })
    }

    async fn idle(&mut self) -> Result<(), SinkError> {
        // Nothing is lost: the next batch finds a new connection.
        self.running()?.forget_lost(Instant::now());
        Ok(())
    }

    async fn stop(&mut self) {
        let Some(Running { context, hosts, .. }) = self.running.take() else { return };
        for Host { connector, connection } in hosts {
            if let Some(Connection { caller, .. }) = connection {
                caller.close().await;
                context.metrics.connection_closed.inc();
                tracing::info!(sink = %context.name, peer = %connector.name(), "disconnected");
            }
        }
    }
}
