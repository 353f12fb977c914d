//! One request: its method, its body, its events, its answer.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use flumen_api::channel::PutError;
use flumen_api::source::PutRefused;
use flumen_api::{Batch, SourceContext};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};

use super::body::{Held, Room, Unread};
use super::charset::Charset;
use super::{blob, json};

/// Bodies above this are taken apart on a thread that may take its time.
const LARGE: usize = 256 << 10;

/// What requests are.
#[derive(Debug)]
pub(super) enum Handler {
    /// An array of events.
    Json,
    /// The body is an event, the parameters are its headers; these have to be there.
    Blob { wanted: Vec<String> },
    /// The same, with the content type as a header, in pieces.
    Typed { longest: usize },
}

/// One client's requests.
pub(super) struct Requests {
    pub context: SourceContext,
    pub handler: Arc<Handler>,
    pub room: Room,
    pub peer: SocketAddr,
}

/// An answer other than 200.
struct Refusal {
    status: StatusCode,
    why: String,
}

type Answer = Response<Full<Bytes>>;

impl Requests {
    /// Answers a request.
    pub async fn answer(&self, request: Request<Incoming>) -> Answer {
        match *request.method() {
            Method::POST | Method::GET | Method::HEAD => {}
            Method::TRACE | Method::OPTIONS => {
                return text(StatusCode::FORBIDDEN, "this method is not served");
            }
            Method::PUT | Method::DELETE => {
                let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "events are sent with POST");
                answer.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, GET, HEAD"));
                return answer;
            }
            _ => return text(StatusCode::NOT_IMPLEMENTED, "events are sent with POST"),
        }
        let (parts, body) = request.into_parts();
        let metrics = &self.context.metrics;
        let result = match self.room.read(body, &self.context.shutdown).await {
            Err(unread) => {
                metrics.event_read_fail.inc();
                Err(unread.into())
            }
            Ok(held) => match self.events(parts, &held).await {
                Err(refusal) => {
                    metrics.event_read_fail.inc();
                    Err(refusal)
                }
                Ok(batch) => self.put(batch).await,
            },
        };
        match result {
            Ok(()) => Answer::default(),
            Err(Refusal { status, why }) => {
                tracing::warn!(source = %self.context.name, peer = %self.peer, status = status.as_u16(), %why, "request refused");
                let mut answer = text(status, &why);
                match status {
                    StatusCode::SERVICE_UNAVAILABLE => {
                        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
                    }
                    // What is left of the body is not read.
                    StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT => {
                        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                    }
                    _ => {}
                }
                answer
            }
        }
    }

    async fn events(&self, parts: Parts, held: &Held) -> Result<Batch, Refusal> {
        let (handler, body) = (self.handler.clone(), held.bytes.clone());
        if body.len() <= LARGE {
            return handler.events(&parts, body);
        }
        let taken_apart = tokio::task::spawn_blocking(move || handler.events(&parts, body)).await;
        taken_apart.unwrap_or_else(|error| Err(refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())))
    }

    async fn put(&self, batch: Batch) -> Result<(), Refusal> {
        let metrics = &self.context.metrics;
        metrics.append_batch_received.inc();
        if !batch.is_empty() {
            let durable = match self.context.put(batch).await {
                Ok(ticket) => ticket.await,
                Err(PutRefused { error, .. }) => Err(error),
            };
            durable.map_err(|error| {
                let status = match error {
                    PutError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
                    _ => StatusCode::SERVICE_UNAVAILABLE,
                };
                refusal(status, error.to_string())
            })?;
        }
        metrics.append_batch_accepted.inc();
        Ok(())
    }
}

impl Handler {
    /// The events of a request.
    fn events(&self, parts: &Parts, body: Bytes) -> Result<Batch, Refusal> {
        let content_type =
            parts.headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let parameters = || blob::parameters(parts.uri.query().unwrap_or_default());
        match self {
            Self::Json => {
                let charset = Charset::of(content_type.as_deref()).map_err(|name| {
                    let why = format!("the character set {name} is none of UTF-8, UTF-16 and UTF-32");
                    refusal(StatusCode::INTERNAL_SERVER_ERROR, why)
                })?;
                Ok(json::events(&charset.decode(&body), charset)?)
            }
            Self::Blob { wanted } => {
                let headers = parameters();
                match wanted.iter().find(|name| headers.get(name).is_none()) {
                    Some(name) => {
                        Err(refusal(StatusCode::BAD_REQUEST, format!("the parameter {name} is missing")))
                    }
                    None => Ok(blob::events(headers, body, usize::MAX)),
                }
            }
            Self::Typed { longest } => {
                let content_type = content_type.map(|value| ("Content-Type", value.into_owned()));
                let mut headers = flumen_api::Headers::from_iter(content_type);
                parameters().iter().for_each(|(name, value)| headers.set(name, value));
                Ok(blob::events(headers, body, *longest))
            }
        }
    }
}

fn refusal(status: StatusCode, why: String) -> Refusal {
    Refusal { status, why }
}

impl From<json::Refusal> for Refusal {
    fn from(why: json::Refusal) -> Self {
        match why {
            json::Refusal::Malformed(why) => refusal(StatusCode::BAD_REQUEST, why),
            json::Refusal::Null(why) => refusal(StatusCode::INTERNAL_SERVER_ERROR, why.into()),
            json::Refusal::TooMany => {
                refusal(StatusCode::PAYLOAD_TOO_LARGE, "there are too many events in it".into())
            }
        }
    }
}

impl From<Unread> for Refusal {
    fn from(unread: Unread) -> Self {
        let (status, why) = match unread {
            Unread::TooLong => (StatusCode::PAYLOAD_TOO_LARGE, "the body is above maxRequestBytes".into()),
            Unread::NoRoom => (StatusCode::SERVICE_UNAVAILABLE, "other requests take all the memory".into()),
            Unread::Silent => (StatusCode::REQUEST_TIMEOUT, "the rest of the request does not come".into()),
            Unread::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "the agent stops".into()),
            Unread::Lost(error) => (StatusCode::BAD_REQUEST, error.to_string()),
        };
        refusal(status, why)
    }
}

fn text(status: StatusCode, why: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(format!("{why}\n"))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
