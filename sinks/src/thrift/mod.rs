//! `thrift`: sends takes to the thrift source of another agent, and releases what it answered with OK.
//!
//! ```text
//!   take ──> calls of appendBatch, each of at most 16 MB ──> OK: the next; after the last the take is released
//!                                                        └─> FAILED, an exception, nothing: all of the take goes back
//! ```
//!
//! 16,384,000 bytes are what Flume's own end takes in at once: where a take has more, it goes in several calls, as does in
//! Flume a take that is larger than the client's batch. An event beyond that goes alone. After anything but an answer the
//! connection is closed and the next take makes a new one. A take that went back comes again in smaller ones (`portions`).

mod client;
mod settings;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use flumen_api::TakeLimit;
use flumen_api::chunk::Events;
use flumen_api::event::EventRef;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Key, Problems, join};
use flumen_api::sink::{Sink, SinkContext, SinkError};
use flumen_thrift::call::put_append_batch;
use flumen_thrift::events::{self, EVENTS_MAX};
use flumen_thrift::{Protocol, frame};
use flumen_tls::{ClientKeys, ClientTls, TlsConnector};
use tokio::time::Instant;

use client::{Client, Failed, Target};
pub use settings::ThriftSinkSettings;

use crate::farewell::until_stop;
use crate::hosts;
use crate::portions::{Calls, NotTaken, Portions};

/// What Flume takes where a key is below its least.
const BATCH_DEFAULT: usize = 100;
const TIMEOUT_LEAST: i64 = 1000;
const TIMEOUT_DEFAULT: i64 = 20_000;
/// What a call has beside its events, at most.
const AROUND: usize = 64;
/// What the buffer keeps between calls.
const KEPT_BYTES: usize = 1 << 20;

const KEYS: &[Key] = &join::<{ ThriftSinkSettings::KEYS.len() + ClientKeys::KEYS.len() }>(&[
    ThriftSinkSettings::KEYS,
    ClientKeys::KEYS,
]);

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "thrift",
        class_names: &["org.apache.flume.sink.ThriftSink"],
        keys: KEYS,
        doc: "Sends events to the thrift source of another agent, and waits for its answer.",
        factory: Factory::Sink(|config, problems| {
            let sink = ThriftSink::from_config(config, problems)?;
            let batch_size = Some(("batch-size", sink.batch_size));
            Some(Built { component: Box::new(sink), batch_size })
        }),
    }
}

/// The sink.
struct ThriftSink {
    batch_size: usize,
    portions: Portions,
    peer: Peer,
}

/// Whom it sends to.
struct Peer {
    target: Target,
    /// After which a new connection is made.
    reset_after: Option<Duration>,
    tls: ClientTls,
    running: Option<Running>,
    connected: Option<(Client, Instant)>,
    serial: i32,
    frame: Vec<u8>,
}

struct Running {
    context: SinkContext,
    tls: Option<TlsConnector>,
}

impl ThriftSink {
    fn from_config(config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let settings = ThriftSinkSettings::load(config, problems);
        let tls = ClientTls::load(config, problems);
        let (settings, tls) = (settings?, tls?);
        if settings.kerberos {
            let message = "Kerberos is not spoken by the thrift sink here: use `ssl`, or Flume on this hop";
            problems.error(config, "kerberos", message);
            return None;
        }
        let (protocol, doubt) = Protocol::of_key(&settings.protocol);
        if let Some(doubt) = doubt {
            problems.warn(config, "protocol", doubt);
        }
        let batch_size = usize::try_from(settings.batch_size).ok().filter(|size| *size > 0);
        if batch_size.is_none() {
            problems.warn(config, "batch-size", format!("below 1: {BATCH_DEFAULT} is taken, as in Flume"));
        }
        let mut time = |key: &str, millis: i64| {
            if millis < TIMEOUT_LEAST {
                let message = format!("below {TIMEOUT_LEAST}: {TIMEOUT_DEFAULT} is taken, as in Flume");
                problems.warn(config, key, message);
            }
            let millis = if millis < TIMEOUT_LEAST { TIMEOUT_DEFAULT } else { millis };
            Duration::from_millis(millis.unsigned_abs())
        };
        let connect_timeout = time("connect-timeout", settings.connect_timeout);
        let request_timeout = time("request-timeout", settings.request_timeout);
        let own = (settings.hostname.clone(), settings.port);
        let (host, port) = hosts::first(&settings.hosts.0, own, config, problems)?;
        let reset_after = settings.reset_connection_interval;
        let batch_size = batch_size.unwrap_or(BATCH_DEFAULT);
        let peer = Peer {
            target: Target { host, port, protocol, connect_timeout, request_timeout },
            reset_after: (reset_after > 0).then(|| Duration::from_secs(reset_after.into())),
            tls,
            running: None,
            connected: None,
            serial: 0,
            frame: Vec::new(),
        };
        // A Flumen source refuses a call of more.
        Some(Self { batch_size, portions: Portions::new(batch_size.min(EVENTS_MAX)), peer })
    }
}

impl ThriftSink {
    async fn send(&mut self, events: &Events, context: &SinkContext) -> Result<(), SinkError> {
        let Self { portions, peer, .. } = self;
        if let Some(delivered) = portions.deliver(events, context, peer).await {
            return delivered;
        }
        match peer.call(events).await {
            Ok(()) => {
                portions.went();
                Ok(())
            }
            Err(NotTaken { is_called: false, error }) => Err(error),
            Err(NotTaken { error, .. }) => Err(portions.not_taken(events.len(), error)),
        }
    }
}

impl Peer {
    /// The connection, made now if there is none, or if the one there is has had its time.
    async fn client(&mut self) -> Result<&mut Client, SinkError> {
        let Some(Running { context, tls }) = &self.running else {
            return Err(not_started());
        };
        let client = match self.connected.take() {
            Some((client, since)) if self.reset_after.is_none_or(|after| since.elapsed() < after) => {
                (client, since)
            }
            other => {
                if let Some((old, _)) = other {
                    old.close().await;
                    disconnected(context, &self.target, "reset-connection-interval");
                }
                let connecting = Client::connect(&self.target, tls.as_ref());
                let client = match context.shutdown.run_until_cancelled(connecting).await {
                    Some(Ok(client)) => client,
                    Some(Err(why)) => {
                        context.metrics.connection_failed.inc();
                        return Err(SinkError::plain(why));
                    }
                    None => return Err(SinkError::plain("the sink stops while it connects")),
                };
                context.metrics.connection_created.inc();
                tracing::info!(sink = %context.name, peer = %self.target.name(), "connected");
                (client, Instant::now())
            }
        };
        Ok(&mut self.connected.insert(client).0)
    }

    async fn append_batch(&mut self, events: &[EventRef<'_>]) -> Result<(), NotTaken> {
        self.serial = self.serial.wrapping_add(1);
        let (serial, protocol) = (self.serial, self.target.protocol);
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        put_append_batch(protocol, serial, events.len(), events.iter().copied(), &mut frame);
        let called = match self.client().await {
            Ok(client) => client.call(serial, &frame).await,
            Err(error) => {
                self.frame = frame;
                return Err(NotTaken::uncalled(error));
            }
        };
        frame.clear();
        frame.shrink_to(KEPT_BYTES);
        self.frame = frame;
        let why = match called {
            Ok(()) => return Ok(()),
            Err(Failed::Refused(why)) => why,
            Err(Failed::Lost(why)) => {
                self.connected = None;
                if let Some(running) = &self.running {
                    disconnected(&running.context, &self.target, &why);
                }
                why
            }
        };
        Err(NotTaken::called(SinkError::plain(why)))
    }
}

impl Calls for Peer {
    async fn call(&mut self, events: &Events) -> Result<(), NotTaken> {
        let mut call: Vec<EventRef<'_>> = Vec::new();
        let mut bytes = AROUND;
        for event in events.iter() {
            let more = events::written_bytes(event);
            if !call.is_empty() && bytes + more > frame::FLUME_MAX {
                self.append_batch(&call).await?;
                call.clear();
                bytes = AROUND;
            }
            bytes += more;
            call.push(event);
        }
        if call.is_empty() {
            return Ok(());
        }
        self.append_batch(&call).await
    }
}

#[async_trait]
impl Sink for ThriftSink {
    fn take_limit(&self) -> TakeLimit {
        self.portions.take_limit()
    }

    async fn start(&mut self, context: &SinkContext) -> Result<(), SinkError> {
        let Self { portions, peer, .. } = self;
        let tls = peer.tls.connector().await.map_err(|error| SinkError::new("no TLS", error))?;
        peer.connected = None;
        portions.start(context);
        peer.running = Some(Running { context: context.clone(), tls });
        // A source that is not there yet is no reason not to start: each take tries again.
        if let Err(error) = peer.client().await {
            tracing::warn!(sink = %context.name, %error, "not connected yet");
        }
        Ok(())
    }

    async fn deliver(&mut self, events: &Events) -> Result<(), SinkError> {
        let running = self.peer.running.as_ref().ok_or_else(not_started)?;
        let context = running.context.clone();
        until_stop(&context.shutdown, self.send(events, &context)).await?
    }

    async fn stop(&mut self) {
        let Peer { connected, running, target, .. } = &mut self.peer;
        if let Some((client, _)) = connected.take() {
            client.close().await;
            if let Some(running) = running {
                disconnected(&running.context, target, "the sink stops");
            }
        }
    }
}

fn disconnected(context: &SinkContext, target: &Target, why: &str) {
    context.metrics.connection_closed.inc();
    tracing::info!(sink = %context.name, peer = %target.name(), why, "disconnected");
}

fn not_started() -> SinkError {
    SinkError::plain("the sink is not started")
}
