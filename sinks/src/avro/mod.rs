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
//! made anew after it was lost or timed out, and as often as `reset-connection-interval` says.

mod destination;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flumen_api::TakeLimit;
use flumen_api::chunk::Events;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Key, Problems, join};
use flumen_api::sink::{FlushFuture, Sink, SinkContext, SinkError, Window};
use flumen_avro_rpc::caller::{CallError, Caller, Pending};
use flumen_avro_rpc::connect::Connector;
use flumen_tls::ClientKeys;
use tokio_util::sync::CancellationToken;

pub use destination::Destination;
pub use settings::AvroSinkSettings;

/// How long a stop waits for answers: an agent that is asked to stop is not held up by one that does not answer.
const FAREWELL_MAX: Duration = Duration::from_secs(5);

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
    running: Option<Running>,
}

/// A sink that was started.
struct Running {
    context: SinkContext,
    connector: Connector,
    connection: Option<Connection>,
    /// Calls whose answers the next flush waits for.
    sent: Vec<Pending>,
    /// A call failed: the next one goes alone.
    failed: Arc<AtomicBool>,
}

struct Connection {
    caller: Caller,
    since: Instant,
}

impl AvroSink {
    fn from_config(config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        Some(Self { destination: Destination::load(config, problems)?, running: None })
    }

    fn running(&mut self) -> Result<&mut Running, SinkError> {
        self.running.as_mut().ok_or_else(|| SinkError::plain("the sink is not started"))
    }
}

impl Running {
    fn disconnect(&mut self, why: &str) {
        if self.connection.take().is_some() {
            self.context.metrics.connection_closed.inc();
            tracing::info!(sink = %self.context.name, peer = %self.connector.name(), why, "disconnected");
        }
    }

    /// A connection that works, as far as is known.
    async fn connection(&mut self, reset: Duration) -> Result<&mut Caller, SinkError> {
        if let Some(connection) = &self.connection {
            if let Some(error) = connection.caller.broken() {
                self.disconnect(&error.to_string());
            } else if !reset.is_zero() && connection.since.elapsed() >= reset {
                // What is on its way is answered on the old connection.
                connection.caller.settled().await;
                self.disconnect("reset-connection-interval");
            }
        }
        if self.connection.is_none() {
            let stop = self.context.shutdown.clone();
            let connected = stop.run_until_cancelled(self.connector.connect()).await;
            let metrics = &self.context.metrics;
            let caller = match connected {
                Some(Ok(caller)) => caller,
                Some(Err(why)) => {
                    metrics.connection_failed.inc();
                    return Err(SinkError::plain(why));
                }
                None => return Err(SinkError::plain("the sink stops while it connects")),
            };
            metrics.connection_created.inc();
            tracing::info!(sink = %self.context.name, peer = %self.connector.name(), "connected");
            self.connection = Some(Connection { caller, since: Instant::now() });
        }
        match &mut self.connection {
            Some(connection) => Ok(&mut connection.caller),
            None => Err(SinkError::plain("there is no connection")),
        }
    }

    async fn send(&mut self, events: &Events, reset: Duration) -> Result<(), SinkError> {
        let is_alone = self.failed.load(Ordering::Acquire);
        let stop = self.context.shutdown.clone();
        let caller = self.connection(reset).await?;
        if is_alone || !caller.is_ordered() {
            // What went back is not overtaken by itself, and nothing by what is sent behind it.
            caller.settled().await;
        }
        if is_alone {
            self.sent.clear();
        }
        let Some(Connection { caller, .. }) = &mut self.connection else {
            return Err(SinkError::plain("there is no connection"));
        };
        let call = caller.append_batch(events.len(), events.iter()).await.map_err(failure)?;
        match is_alone {
            false => self.sent.push(call),
            true => {
                answered(call, &stop).await?;
                self.failed.store(false, Ordering::Release);
            }
        }
        Ok(())
    }
}

fn failure(error: CallError) -> SinkError {
    SinkError::plain(error.to_string())
}

/// Waits for the answer; a stop ends the waiting after a while.
async fn answered(call: Pending, stop: &CancellationToken) -> Result<(), SinkError> {
    let patience = async {
        stop.cancelled().await;
        tokio::time::sleep(FAREWELL_MAX).await;
    };
    tokio::select! {
        biased;
        answer = call => answer.map_err(failure),
        () = patience => Err(SinkError::plain("the sink stops, and there is no answer")),
    }
}

#[async_trait]
impl Sink for AvroSink {
    fn take_limit(&self) -> TakeLimit {
        TakeLimit::events(self.destination.settings.batch_size)
    }

    fn window(&self) -> Window {
        Window { flushes: self.destination.settings.pipeline, ..Window::EACH_TAKE }
    }

    async fn start(&mut self, context: &SinkContext) -> Result<(), SinkError> {
        let connector = self
            .destination
            .connector()
            .await
            .map_err(|error| SinkError::new("TLS cannot be set up", error))?;
        let mut running = Running {
            context: context.clone(),
            connector,
            connection: None,
            sent: Vec::new(),
            failed: Arc::new(AtomicBool::new(false)),
        };
        // As in Flume: who is not there yet may be when there is something to send.
        if let Err(error) = running.connection(Duration::ZERO).await {
            tracing::warn!(sink = %context.name, %error, "tried again when there is something to send");
        }
        self.running = Some(running);
        Ok(())
    }

    async fn deliver(&mut self, events: &Events) -> Result<(), SinkError> {
        let reset = Duration::from_secs(self.destination.settings.reset_connection_interval);
        let running = self.running()?;
        let sent = running.send(events, reset).await;
        if let Err(error) = &sent {
            running.failed.store(true, Ordering::Release);
            let broken = running.connection.as_ref().and_then(|connection| connection.caller.broken());
            if broken.is_some() {
                running.disconnect(&error.to_string());
            }
        }
        sent
    }

    fn flush(&mut self) -> FlushFuture {
        let Some(running) = &mut self.running else { return Box::pin(std::future::ready(Ok(Vec::new()))) };
        let (sent, failed) = (std::mem::take(&mut running.sent), running.failed.clone());
        let stop = running.context.shutdown.clone();
        Box::pin(async move {
            for call in sent {
                if let Err(error) = answered(call, &stop).await {
                    failed.store(true, Ordering::Release);
                    return Err(error);
                }
            }
            Ok(Vec::new())
        })
    }

    async fn idle(&mut self) -> Result<(), SinkError> {
        let running = self.running()?;
        let broken = running.connection.as_ref().and_then(|connection| connection.caller.broken());
        if let Some(error) = broken {
            // Nothing is lost: the next batch finds a new connection.
            running.disconnect(&error.to_string());
        }
        Ok(())
    }

    async fn stop(&mut self) {
        if let Some(mut running) = self.running.take()
            && let Some(Connection { caller, .. }) = running.connection.take()
        {
            caller.close().await;
            running.context.metrics.connection_closed.inc();
            tracing::info!(sink = %running.context.name, peer = %running.connector.name(), "disconnected");
        }
    }
}
