//! One connection to the endpoint, kept open between requests.
//!
//! A server may close a kept connection at any time, also while the next request is on its way to it. Such a request, of
//! which no answer came at all, is sent once more on a new connection, as Java's client does; it may then come twice.
//! Redirections are not followed: Java's client makes a GET of the POST, and takes that one's answer for the event's.

use std::time::Duration;

use bytes::Bytes;
use flumen_api::metrics::SinkMetrics;
use flumen_tls::TlsConnector;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::endpoint::Endpoint;

/// Most of an answer's body that is read, to use its connection again; beyond, the connection is closed.
const ANSWER_MAX: usize = 64 << 10;

/// What every request says.
#[derive(Clone, Debug)]
pub(super) struct Says {
    pub content_type: HeaderValue,
    pub accept: HeaderValue,
    pub host: HeaderValue,
}

/// Posts to one endpoint.
pub(super) struct Client {
    endpoint: Endpoint,
    says: Says,
    connect_timeout: Duration,
    request_timeout: Duration,
    metrics: SinkMetrics,
    tls: Option<TlsConnector>,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// Why a connection brought no answer, and whether nothing at all of one came.
struct Failed {
    why: String,
    unanswered: bool,
}

impl Client {
    pub fn new(
        endpoint: Endpoint,
        says: Says,
        connect_timeout: Duration,
        request_timeout: Duration,
        metrics: SinkMetrics,
        tls: Option<TlsConnector>,
    ) -> Self {
        Self { endpoint, says, connect_timeout, request_timeout, metrics, tls, connection: None }
    }

    /// The status of the answer to a POST of `body`.
    pub async fn post(&mut self, body: Bytes) -> Result<u16, String> {
        if let Some(kept) = self.connection.take().filter(|kept| !kept.is_closed()) {
            match self.post_on(kept, body.clone()).await {
                Err(Failed { unanswered: true, .. }) => {}
                result => return result.map_err(|failed| failed.why),
            }
        }
        let connection = match timeout(self.connect_timeout, self.connect()).await {
            Ok(Ok(connection)) => connection,
            failed => {
                self.metrics.connection_failed.inc();
                let why = match failed {
                    Ok(Err(why)) => why,
                    _ => format!("no connection within {} ms", self.connect_timeout.as_millis()),
                };
                return Err(format!("cannot connect to {}: {why}", self.endpoint.authority));
            }
        };
        self.metrics.connection_created.inc();
        self.post_on(connection, body).await.map_err(|failed| failed.why)
    }

    /// Closes the connection.
    pub fn close(&mut self) {
        self.connection = None;
    }

    async fn post_on(
        &mut self,
        mut connection: SendRequest<Full<Bytes>>,
        body: Bytes,
    ) -> Result<u16, Failed> {
        let failed = |why: String, unanswered| Failed {
            why: format!("POST to {}: {why}", self.endpoint.authority),
            unanswered,
        };
        let request = Request::post(&self.endpoint.path)
            .header(HOST, &self.says.host)
            .header(USER_AGENT, concat!("Flumen/", env!("CARGO_PKG_VERSION")))
            .header(CONTENT_TYPE, &self.says.content_type)
            .header(ACCEPT, &self.says.accept)
            .body(Full::new(body))
            .map_err(|error| failed(error.to_string(), false))?;
        let exchange = async {
            let sent = async {
                connection.ready().await?;
                connection.send_request(request).await
            };
            match sent.await {
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    Ok((status, read_to_end(answer).await))
                }
                Err(error) => {
                    let unanswered =
                        error.is_canceled() || error.is_closed() || error.is_incomplete_message();
                    Err((with_cause(&error), unanswered))
                }
            }
        };
        match timeout(self.request_timeout, exchange).await {
            Ok(Ok((status, whole))) => {
                if whole {
                    self.connection = Some(connection);
                } else {
                    self.metrics.connection_closed.inc();
                }
                Ok(status)
            }
            Ok(Err((why, unanswered))) => {
                self.metrics.connection_closed.inc();
                Err(failed(why, unanswered))
            }
            Err(_elapsed) => {
                self.metrics.connection_closed.inc();
                Err(failed(format!("no answer within {} ms", self.request_timeout.as_millis()), false))
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, String> {
        let Endpoint { host, port, .. } = &self.endpoint;
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| error.to_string())?;
        // A request is one small write: it shall not wait for the answer to the one before.
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        match &self.tls {
            None => handshake(stream).await,
            Some(connector) => {
                let name = ServerName::try_from(host.clone()).map_err(|error| error.to_string())?;
                let stream =
                    connector.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?;
                handshake(stream).await
            }
        }
    }
}

async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>, String> {
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Ends when the sender is dropped or the server closes; requests are told of errors themselves.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// Whether the answer's body was read to its end, so that the connection can be used again.
async fn read_to_end(answer: Response<Incoming>) -> bool {
    let mut body = answer.into_body();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        length += frame.data_ref().map_or(0, Bytes::len);
        if length > ANSWER_MAX {
            return false;
        }
    }
    true
}

fn with_cause(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
