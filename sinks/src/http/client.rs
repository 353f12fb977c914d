//! One connection to the endpoint, kept open between requests.
//!
//! A server may close a kept connection at any time, also while the next request is on its way to it. Such a request, of
//! which no answer came at all, is sent once more on a new connection, as Java's client does; it may then come twice.
//! Redirections are not followed: Java's client makes a GET of the POST, and takes that one's answer for the event's.
//!
//! An exchange may take any time as long as bytes move; it has failed when none did for `requestTimeout`.

use std::sync::Arc;
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

use super::activity::{Activity, Watched};
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
    connection: Option<Connection>,
}

/// An open connection.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    activity: Arc<Activity>,
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
        if let Some(kept) = self.connection.take().filter(|kept| !kept.sender.is_closed()) {
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

    async fn post_on(&mut self, mut connection: Connection, body: Bytes) -> Result<u16, Failed> {
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
        let Connection { sender, activity } = &mut connection;
        activity.touch();
        let exchange = async {
            let sent = async {
                sender.ready().await?;
                sender.send_request(request).await
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
        let result = tokio::select! {
            biased;
            result = exchange => Some(result),
            () = activity.rested(self.request_timeout) => None,
        };
        match result {
            Some(Ok((status, whole))) => {
                if whole {
                    self.connection = Some(connection);
                } else {
                    self.metrics.connection_closed.inc();
                }
                Ok(status)
            }
            Some(Err((why, unanswered))) => {
                self.metrics.connection_closed.inc();
                Err(failed(why, unanswered))
            }
            None => {
                self.metrics.connection_closed.inc();
                let limit = self.request_timeout.as_millis();
                Err(failed(format!("no answer within {limit} ms of the last byte that moved"), false))
            }
        }
    }

    async fn connect(&self) -> Result<Connection, String> {
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
) -> Result<Connection, String> {
    let activity = Activity::new();
    let stream = Watched { stream, activity: activity.clone() };
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Ends when the sender is dropped or the server closes; requests are told of errors themselves.
    tokio::spawn(async move { drop(connection.await) });
    Ok(Connection { sender, activity })
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{Instant, sleep};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// What a POST over a line that holds a kilobyte brings, and how long it took.
    async fn post<F: Future<Output = ()> + Send + 'static>(
        body: usize,
        server: impl FnOnce(DuplexStream) -> F,
    ) -> (Result<u16, String>, Duration) {
        let text = HeaderValue::from_static("text/plain");
        let says = Says { content_type: text.clone(), accept: text.clone(), host: text };
        let endpoint = Endpoint::parse("http://h/").expect("a URL");
        let mut client = Client::new(endpoint, says, LIMIT, LIMIT, SinkMetrics::default(), None);
        let (ours, theirs) = duplex(1024);
        tokio::spawn(server(theirs));
        let connection = handshake(ours).await.expect("connected");
        let started = Instant::now();
        let result = client.post_on(connection, vec![b'x'; body].into()).await;
        (result.map_err(|failed| failed.why), started.elapsed())
    }

    /// Reads the request's end, at most a kilobyte each time that `pause` has passed.
    async fn read_slowly(stream: &mut DuplexStream, body: usize, pause: Duration) {
        let (mut bytes, mut body_read) = (Vec::new(), 0);
        while body_read < body {
            sleep(pause).await;
            let mut piece = [0; 1024];
            let count = stream.read(&mut piece).await.expect("a piece");
            assert!(count > 0, "the request ends early");
            bytes.extend_from_slice(&piece[..count]);
            let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
            body_read = head.map_or(0, |head| bytes.len() - head);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_body_takes_its_time_as_long_as_bytes_move() {
        let (status, took) = post(20 << 10, |mut stream| async move {
            read_slowly(&mut stream, 20 << 10, Duration::from_secs(4)).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.expect("answered");
        })
        .await;
        assert_eq!(status, Ok(200));
        assert!(took > 10 * LIMIT, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_in_pieces_takes_its_time_as_long_as_they_come() {
        let (status, took) = post(1, |mut stream| async move {
            read_slowly(&mut stream, 1, Duration::ZERO).await;
            for byte in *b"HTTP/1.1 202 OK\r\nContent-Length: 3\r\n\r\nabc" {
                sleep(Duration::from_secs(4)).await;
                stream.write_all(&[byte]).await.expect("answered");
            }
        })
        .await;
        assert_eq!(status, Ok(202));
        assert!(took > 10 * LIMIT, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_stops_reading_or_writing_is_given_up_after_the_limit() {
        let (halfway, took) = post(20 << 10, |mut stream| async move {
            read_slowly(&mut stream, 10 << 10, Duration::ZERO).await;
            std::future::pending().await
        })
        .await;
        assert!(halfway.expect_err("no answer").contains("within 5000 ms"));
        assert!((LIMIT..2 * LIMIT).contains(&took), "{took:?}");
        let (cut, took) = post(1, |mut stream| async move {
            read_slowly(&mut stream, 1, Duration::ZERO).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na").await.expect("answered");
            std::future::pending().await
        })
        .await;
        assert!(cut.expect_err("half an answer").contains("within 5000 ms"));
        assert!((LIMIT..2 * LIMIT).contains(&took), "{took:?}");
    }
}
