//! HTTP/1.1 over kept connections.
//!
//! A server may close a kept connection at any time, also while the next request is on its way to it: that request is sent once more
//! on a new connection. All calls of this crate may be made twice.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use flumen_tls::{ClientTls, TlsConnector};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use crate::endpoint::Endpoint;
use crate::error::What;

/// How long connecting may take, with TLS.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the service may be silent while it owes an answer or a part of one.
const SILENCE: Duration = Duration::from_secs(30);
/// How many connections wait for their next request, and how long.
const IDLE_MAX: usize = 16;
const IDLE: Duration = Duration::from_secs(50);

type Sender = SendRequest<Full<Bytes>>;

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// A header's text; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Connections to one endpoint.
pub(crate) struct Transport {
    pub endpoint: Endpoint,
    tls: Option<ClientTls>,
    connector: OnceCell<Option<TlsConnector>>,
    idle: Mutex<Vec<(Sender, Instant)>>,
}

impl Transport {
    pub fn new(endpoint: Endpoint, tls: Option<ClientTls>) -> Self {
        Self { endpoint, tls, connector: OnceCell::new(), idle: Mutex::default() }
    }

    /// Sends a request, of whose answer at most `body_max` bytes are taken in.
    pub async fn exchange(&self, request: &Request<Full<Bytes>>, body_max: usize) -> Result<Answer, What> {
        if let Some(kept) = self.kept() {
            match self.exchange_on(kept, request.clone(), body_max).await {
                Err(What::Transport(_)) => {}
                result => return result,
            }
        }
        let connected = timeout(CONNECT, self.connect()).await;
        let connected = connected.unwrap_or_else(|_late| Err(format!("no connection within {CONNECT:?}")));
        let failed = |why| What::Transport(format!("cannot connect to {}: {why}", self.endpoint.authority));
        self.exchange_on(connected.map_err(failed)?, request.clone(), body_max).await
    }

    fn kept(&self) -> Option<Sender> {
        let mut idle = self.idle.lock();
        loop {
            let (sender, since) = idle.pop()?;
            if !sender.is_closed() && since.elapsed() < IDLE {
                return Some(sender);
            }
        }
    }

    fn keep(&self, sender: Sender) {
        let mut idle = self.idle.lock();
        idle.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE);
        if idle.len() < IDLE_MAX {
            idle.push((sender, Instant::now()));
        }
    }

    async fn exchange_on(
        &self,
        mut sender: Sender,
        request: Request<Full<Bytes>>,
        body_max: usize,
    ) -> Result<Answer, What> {
        let failed =
            |error: &hyper::Error| What::Transport(format!("{}: {}", self.endpoint.authority, chain(error)));
        let silent = || What::Transport(format!("{}: silent for {SILENCE:?}", self.endpoint.authority));
        let sent = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        let answer =
            timeout(SILENCE, sent).await.map_err(|_late| silent())?.map_err(|error| failed(&error))?;
        let (parts, mut body) = Response::into_parts(answer);
        let body = read(&mut body, body_max, failed, silent).await?;
        self.keep(sender);
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    async fn connect(&self) -> Result<Sender, String> {
        let Endpoint { host, port, .. } = &self.endpoint;
        let connector = self.connector.get_or_try_init(|| async {
            match &self.tls {
                Some(tls) => tls.connector().await.map_err(|error| error.to_string()),
                None => Ok(None),
            }
        });
        let connector = connector.await?;
        let stream = TcpStream::connect((host.as_str(), *port)).await.map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        match connector {
            None => handshake(stream).await,
            Some(connector) => {
                let name = ServerName::try_from(host.clone()).map_err(|error| error.to_string())?;
                handshake(connector.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?)
                    .await
            }
        }
    }
}

async fn handshake(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Sender, String> {
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // Ends when the sender is dropped or the server closes; requests are told of errors themselves.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

async fn read(
    body: &mut Incoming,
    max: usize,
    failed: impl Fn(&hyper::Error) -> What,
    silent: impl Fn() -> What,
) -> Result<Bytes, What> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > max {
        return Err(What::TooLarge(max));
    }
    let mut whole = BytesMut::with_capacity(announced);
    while let Some(frame) = timeout(SILENCE, body.frame()).await.map_err(|_late| silent())? {
        let frame = frame.map_err(|error| failed(&error))?;
        let Some(data) = frame.data_ref() else { continue };
        if whole.len() + data.len() > max {
            return Err(What::TooLarge(max));
        }
        whole.extend_from_slice(data);
    }
    Ok(whole.freeze())
}

fn chain(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
