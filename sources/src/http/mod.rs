//! The `http` source: requests with events, each answered when all of its events are durable.
//!
//! | answer | when |
//! | --- | --- |
//! | 200 | all events of the request are durable in all required channels |
//! | 400 | not what the handler wants |
//! | 403 | TRACE, OPTIONS; 405 PUT, DELETE; 501 any other method but POST, GET and HEAD |
//! | 408 | the client is silent for 30 s within a request |
//! | 413 | the body is above `maxRequestBytes`, or has more events than the channel takes at once |
//! | 500 | what Flume fails at (an empty request, an event that is null, another character set) |
//! | 503 | a channel has no room or does not work: send it again later |
//!
//! GET and HEAD are handled as POST; any path will do. A request's events are put together: all of them or none. What all
//! requests together hold in memory is bounded, and beyond that they are answered with 503.

mod blob;
mod body;
mod charset;
mod json;
mod request;
mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Key, Problems, join};
use flumen_api::source::Runs;
use flumen_api::{Source, SourceContext, SourceError};
use flumen_tls::{ServerKeys, ServerTls};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};

use crate::net::{Connection, Server, bind_tcp};
use body::Room;
use request::{Handler, Requests};
use settings::HttpSettings;

/// A client that is silent for so long within a request, or between two, is cut off; Jetty's default.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// The longest request head.
const HEAD_BYTES_MAX: usize = 64 << 10;

const KEYS: &[Key] =
    &join::<{ HttpSettings::KEYS.len() + ServerKeys::KEYS.len() }>(&[HttpSettings::KEYS, ServerKeys::KEYS]);

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "http",
        class_names: &["org.apache.flume.source.http.HTTPSource"],
        keys: KEYS,
        doc: "Events in HTTP requests, as JSON or as they are, answered when they are durable.",
        factory: Factory::Source(Runs::Task, build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Source>> {
    let settings = HttpSettings::load(config, problems);
    let tls = ServerTls::load(config, problems);
    let (settings, tls) = (settings?, tls?);
    if config.get("SslContextFactory.needClientAuth").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
        let message = "clients are not asked for certificates here: anybody could send";
        problems.error(config, "SslContextFactory.needClientAuth", message);
        return None;
    }
    let handler = match settings.handler.as_str() {
        "org.apache.flume.source.http.JSONHandler" => Handler::Json,
        "org.apache.flume.source.http.BLOBHandler" => {
            Handler::Blob { wanted: settings.mandatory_parameters.0.clone() }
        }
        "org.apache.flume.sink.solr.morphline.BlobHandler" => {
            Handler::Typed { longest: settings.max_blob_length }
        }
        other => {
            let message = format!(
                "`{other}` is no handler that is known here; known are org.apache.flume.source.http.JSONHandler, \
                 org.apache.flume.source.http.BLOBHandler and org.apache.flume.sink.solr.morphline.BlobHandler"
            );
            problems.error(config, "handler", message);
            return None;
        }
    };
    let room = Room::new(settings.max_request_bytes);
    let source = HttpSource { settings, tls, handler: Arc::new(handler), room };
    Some(Built { component: Box::new(source), batch_size: None })
}

struct HttpSource {
    settings: HttpSettings,
    tls: ServerTls,
    handler: Arc<Handler>,
    room: Room,
}

#[async_trait]
impl Source for HttpSource {
    async fn run(&mut self, context: SourceContext) -> Result<(), SourceError> {
        let HttpSettings { bind, port, max_connections, .. } = &self.settings;
        let tls = self.tls.acceptor().await.map_err(|error| SourceError::new("no TLS", error))?;
        let listener = bind_tcp(Some(bind), *port)
            .await
            .map_err(|error| SourceError::new(format!("http cannot listen on {bind}:{port}"), error))?;
        let server = Server::new(context.clone(), tls, *max_connections).quietly();
        let (handler, room) = (self.handler.clone(), self.room.clone());
        let client = move |connection: Connection| {
            let requests = Requests {
                context: context.clone(),
                handler: handler.clone(),
                room: room.clone(),
                peer: connection.peer,
            };
            client(connection, requests)
        };
        server.serve(listener, client).await;
        Ok(())
    }
}

async fn client(connection: Connection, requests: Requests) -> std::io::Result<()> {
    let shutdown = requests.context.shutdown.clone();
    let requests = Arc::new(requests);
    let service = service_fn(move |request| {
        let requests = requests.clone();
        async move { Ok::<_, std::convert::Infallible>(requests.answer(request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        // Who has sent all may say so and wait for the answer.
        .half_close(true)
        .serve_connection(TokioIo::new(connection.stream), service);
    let mut served = std::pin::pin!(served);
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        // What is in hand is answered first.
        () = shutdown.cancelled() => {
            served.as_mut().graceful_shutdown();
            tokio::time::timeout(SILENCE_MAX, served).await.unwrap_or(Ok(()))
        }
    };
    ended.map_err(std::io::Error::other)
}
