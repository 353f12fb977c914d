//! `http`: posts each event's body to a URL, and does with the event what the answer's status says.
//!
//! ```text
//!   no answer              the event goes back, the sink rests
//!   status                 refuse.CODE?          it goes to the dead letter, or back
//!                          rollback.CODE?        it goes back
//!                          else                  it is released
//!                          backoff.CODE?         the sink rests
//!                          incrementMetrics.CODE?  the event counts as drained
//!   an empty body          is not sent; the event is released, and the sink rests
//! ```
//!
//! One event, one request, one release. With Flume's defaults, which are the defaults here, even a 200 gives the event
//! back: whoever does not set `rollback.2XX = false` is warned. An error status without a body keeps to its keys (in
//! Flume it goes back, whatever they say).

mod activity;
mod client;
mod codes;
mod endpoint;
mod settings;
#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use flumen_api::TakeLimit;
use flumen_api::chunk::Events;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems, Value};
use flumen_api::sink::{Sink, SinkContext, SinkError};
use flumen_tls::ClientTls;
use hyper::header::HeaderValue;
use tokio::time::Instant;

use client::{Client, Says};
use codes::Codes;
use endpoint::Endpoint;
pub use settings::HttpSettings;

/// How much longer each rest in a row is, and the longest: those of Flume's runner.
const REST_STEP: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(5);

/// The type for the registry.
pub fn spec() -> Spec {
    Spec {
        alias: "http",
        class_names: &["org.apache.flume.sink.http.HttpSink"],
        keys: HttpSettings::KEYS,
        doc: "Posts each event's body to a URL; headers are not sent. What becomes of the event is said by keys for the \
              answer's status. Set rollback.2XX = false, or a 200 is not enough.",
        factory: Factory::Sink(build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Sink>> {
    Some(Built { component: Box::new(HttpSink::from_config(config, problems)?), batch_size: None })
}

/// The sink.
struct HttpSink {
    endpoint: Endpoint,
    says: Says,
    /// For https.
    tls: Option<ClientTls>,
    connect_timeout: Duration,
    request_timeout: Duration,
    backoff: Codes,
    rollback: Codes,
    increment: Codes,
    refuse: Codes,
    running: Option<(SinkContext, Client)>,
    /// Rests in a row after events that were released.
    rests: u32,
    /// The rest's end.
    rest_until: Option<Instant>,
}

impl HttpSink {
    fn from_config(config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let settings = HttpSettings::load(config, problems)?;
        let before = problems.errors();
        let endpoint =
            Endpoint::parse(&settings.endpoint).map_err(|why| problems.error(config, "endpoint", why)).ok();
        let mut header = |key: &str, text: &str| {
            let value = HeaderValue::from_str(text);
            let refused = |_| problems.error(config, key, format!("{text:?} cannot be a header's value"));
            value.map_err(refused).ok()
        };
        let content_type = header("contentTypeHeader", &settings.content_type);
        let accept = header("acceptHeader", &settings.accept);
        let mut codes = |prefix, family, default| Codes::of(prefix, family, default, config, problems);
        let backoff = codes("backoff.", &settings.backoff, settings.default_backoff);
        let rollback = codes("rollback.", &settings.rollback, settings.default_rollback);
        let increment = codes("incrementMetrics.", &settings.increment, settings.default_increment);
        let refuse = codes("refuse.", &settings.refuse, false);
        if rollback.get(200) && !refuse.get(200) {
            let message = "even an answer of 200 gives the event back, to be sent again for ever: set `rollback.2XX = false`";
            problems.warn(config, "defaultRollback", message);
        }
        let endpoint = endpoint?;
        let tls = if endpoint.tls { Some(tls(config, problems)?) } else { None };
        let host = HeaderValue::from_str(&endpoint.authority).ok();
        if problems.errors() > before {
            return None;
        }
        Some(Self {
            says: Says { content_type: content_type?, accept: accept?, host: host? },
            endpoint,
            tls,
            connect_timeout: Duration::from_millis(settings.connect_timeout),
            request_timeout: Duration::from_millis(settings.request_timeout),
            backoff,
            rollback,
            increment,
            refuse,
            running: None,
            rests: 0,
            rest_until: None,
        })
    }

    /// Rests before the next event, longer each time in a row.
    fn rest(&mut self) {
        self.rests = self.rests.saturating_add(1);
        self.rest_until = Some(Instant::now() + REST_STEP.saturating_mul(self.rests).min(REST_MAX));
    }

    async fn send(&mut self, body: &[u8]) -> Result<(), SinkError> {
        let Some((context, client)) = &mut self.running else {
            return Err(SinkError::plain("the sink is not started"));
        };
        if let Some(until) = self.rest_until.take() {
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                () = context.shutdown.cancelled() => {
                    return Err(SinkError::plain("the sink stops while it rests"));
                }
            }
        }
        if body.is_empty() {
            tracing::warn!(sink = %context.name, "an event with an empty body is not sent");
            self.rest();
            return Ok(());
        }
        // A stop waits for the answer, too: without it the event would be sent twice. But not for one that comes and comes.
        let stopped_for_long = async {
            context.shutdown.cancelled().await;
            tokio::time::sleep(self.request_timeout).await;
        };
        let status = tokio::select! {
            biased;
            status = client.post(Bytes::copy_from_slice(body)) => status.map_err(SinkError::plain)?,
            () = stopped_for_long => {
                return Err(SinkError::plain("the sink stops, and an answer does not come to its end"));
            }
        };
        let backoff = self.backoff.get(status);
        if self.increment.get(status) {
            context.metrics.event_drain_success.inc();
        }
        // The runner's own rest, or none.
        let retry_after = if backoff { None } else { Some(Duration::ZERO) };
        if self.refuse.get(status) {
            let why = format!("{} answered {status}", self.endpoint.authority);
            return Err(SinkError { retry_after, ..context.refuse(why, vec![0]) });
        }
        if self.rollback.get(status) {
            let why = format!("{} answered {status}: the event goes back", self.endpoint.authority);
            return Err(SinkError { retry_after, ..SinkError::plain(why) });
        }
        if backoff {
            self.rest();
        } else {
            self.rests = 0;
        }
        Ok(())
    }
}

/// TLS as Java's client has it, without keys of the sink's own: the trust store is the process's
/// (`-Djavax.net.ssl.trustStore`) or the system's, and a server's name counts.
fn tls(config: &ComponentConfig, problems: &mut Problems) -> Option<ClientTls> {
    let endpoint = config.values.get("endpoint")?;
    let yes = Value { resolved: "true".into(), raw: "true".into(), ..endpoint.clone() };
    let keys = ["ssl", "verify-hostname"].map(|key| (key.to_string(), yes.clone()));
    ClientTls::load(&ComponentConfig { values: keys.into(), ..config.clone() }, problems)
}

#[async_trait]
impl Sink for HttpSink {
    fn take_limit(&self) -> TakeLimit {
        TakeLimit::events(1)
    }

    async fn start(&mut self, context: &SinkContext) -> Result<(), SinkError> {
        let tls = match &self.tls {
            Some(tls) => tls.connector().await.map_err(|error| SinkError::new(error.to_string(), error))?,
            None => None,
        };
        let client = Client::new(
            self.endpoint.clone(),
            self.says.clone(),
            self.connect_timeout,
            self.request_timeout,
            context.metrics.clone(),
            tls,
        );
        self.running = Some((context.clone(), client));
        Ok(())
    }

    async fn deliver(&mut self, events: &Events) -> Result<(), SinkError> {
        for event in events.iter() {
            self.send(event.body).await?;
        }
        Ok(())
    }

    fn is_counted_by_runner(&self) -> bool {
        false
    }

    async fn stop(&mut self) {
        if let Some((_, client)) = &mut self.running {
            client.close();
        }
        self.running = None;
    }
}
