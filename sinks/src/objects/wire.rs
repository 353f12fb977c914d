//! HTTP to a store: connections that are kept, TLS with the system's certificates, one limit for a whole exchange.
//!
//! The tasks run on a runtime of the caller's choice, for a sink's own thread runs nothing while it waits elsewhere. Answers
//! are read to their end before they are handed on: a sink reads nothing larger than a part.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpService,
};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

/// How long a store may take to accept a connection, and for one exchange.
const CONNECT: Duration = Duration::from_secs(5);
const EXCHANGE: Duration = Duration::from_secs(120);
/// Far above anything that is read.
const ANSWER_MAX: usize = 1 << 30;

/// Speaks HTTP.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    client: Client<HttpsConnector<HttpConnector>, HttpRequestBody>,
    runtime: Handle,
}

/// Why an exchange failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("no answer within {} s", EXCHANGE.as_secs())]
    Slow,
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("{0}")]
    Cut(String),
}

impl Wire {
    /// Whose tasks run on `runtime`.
    pub fn new(runtime: &Handle) -> Result<Self, String> {
        let provider = rustls::crypto::ring::default_provider();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT));
        let builder = HttpsConnectorBuilder::new()
            .with_provider_and_native_roots(provider)
            .map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let connector = builder.https_or_http().enable_http1().wrap_connector(tcp);
        let client =
            Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(20)).build(connector);
        Ok(Self { client, runtime: runtime.clone() })
    }

    /// Asks, and reads the answer.
    pub async fn ask(&self, request: HttpRequest) -> Result<hyper::Response<Bytes>, WireError> {
        let client = self.client.clone();
        let exchange = async move {
            let (head, body) = client.request(request).await.map_err(|error| told(&error))?.into_parts();
            let read = Limited::new(body, ANSWER_MAX).collect().await;
            let bytes = read.map_err(|error| WireError::Cut(format!("the answer broke off: {error}")))?;
            Ok(hyper::Response::from_parts(head, bytes.to_bytes()))
        };
        // Dropped with its caller.
        let task = AbortOnDropHandle::new(self.runtime.spawn(tokio::time::timeout(EXCHANGE, exchange)));
        match task.await {
            Ok(Ok(result)) => result,
            Ok(Err(_elapsed)) => Err(WireError::Slow),
            Err(ended) => Err(WireError::Cut(ended.to_string())),
        }
    }
}

fn told(error: &hyper_util::client::legacy::Error) -> WireError {
    // Each error says less than the one beneath it.
    let mut why = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(beneath) = cause {
        why = beneath.to_string();
        cause = beneath.source();
    }
    if error.is_connect() { WireError::Connect(why) } else { WireError::Cut(why) }
}

#[async_trait]
impl HttpService for Wire {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let answer = self.ask(request).await.map_err(|error| {
            let kind = match error {
                WireError::Slow => HttpErrorKind::Timeout,
                WireError::Connect(_) => HttpErrorKind::Connect,
                // Also where the answer was lost: a sink's calls bear to be repeated.
                WireError::Cut(_) => HttpErrorKind::Interrupted,
            };
            HttpError::new(kind, error)
        })?;
        Ok(answer.map(Into::into))
    }
}

impl object_store::client::HttpConnector for Wire {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}
