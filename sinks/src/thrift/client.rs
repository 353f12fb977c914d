//! A connection to a thrift source: one call at a time, each within its time.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use flumen_thrift::call::read_reply;
use flumen_thrift::{Protocol, Status, frame};
use flumen_tls::TlsConnector;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest reply. Flume's have some thirty bytes; an exception's text may be a page.
const REPLY_MAX: usize = 1 << 20;

/// Bytes in both directions.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Where to connect to, and how.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub host: String,
    pub port: u16,
    pub protocol: Protocol,
    pub connect_timeout: Duration,
    pub request_timeout: Duration,
}

impl Target {
    /// `host:port`, for people.
    pub fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// Why a call did not go well.
#[derive(Debug)]
pub(super) enum Failed {
    /// The other end says so, and listens on: it has taken nothing in.
    Refused(String),
    /// The connection is of no use any more. The other end may have taken the events in.
    Lost(String),
}

/// A connection.
pub(super) struct Client {
    stream: Box<dyn Duplex>,
    target: Target,
}

impl Client {
    /// Connects, and shakes hands if TLS is spoken.
    pub async fn connect(target: &Target, tls: Option<&TlsConnector>) -> Result<Self, String> {
        let Target { host, port, connect_timeout, .. } = target;
        let connected = timeout(*connect_timeout, open(host, *port, tls)).await;
        let connected = connected
            .unwrap_or_else(|_elapsed| Err(format!("not done within {} ms", connect_timeout.as_millis())));
        match connected {
            Ok(stream) => Ok(Self { stream, target: target.clone() }),
            Err(why) => Err(format!("cannot connect to {}: {why}", target.name())),
        }
    }

    /// Sends a call, which is a frame, and returns when it is answered with OK.
    pub async fn call(&mut self, serial: i32, frame: &[u8]) -> Result<(), Failed> {
        let Target { protocol, request_timeout, .. } = self.target;
        let peer = self.target.name();
        let exchanged = timeout(request_timeout, exchange(&mut *self.stream, frame));
        let message = match exchanged.await {
            Ok(Ok(message)) => message,
            Ok(Err(error)) => return Err(Failed::Lost(format!("the connection to {peer} is lost: {error}"))),
            Err(_elapsed) => {
                return Err(Failed::Lost(format!(
                    "no answer from {peer} within {} ms",
                    request_timeout.as_millis()
                )));
            }
        };
        match read_reply(protocol, serial, &message) {
            Ok(Ok(Status::Ok)) => Ok(()),
            Ok(Ok(status)) => Err(Failed::Refused(format!("{peer} answered {}", word(status)))),
            // Who throws may close behind it.
            Ok(Err(text)) => Err(Failed::Lost(format!("{peer} answered with an exception: {text}"))),
            Err(malformed) => Err(Failed::Lost(format!("{peer} gave an answer that is none: {malformed}"))),
        }
    }

    /// Says good-bye, if that is possible at once.
    pub async fn close(mut self) {
        // Whoever does not listen is gone already.
        drop(timeout(Duration::from_millis(100), self.stream.shutdown()).await);
    }
}

fn word(status: Status) -> &'static str {
    match status {
        Status::Ok => "OK",
        Status::Failed => "FAILED: its channel is full or does not work",
        Status::Error => "ERROR",
        Status::Unknown => "UNKNOWN",
    }
}

async fn open(host: &str, port: u16, tls: Option<&TlsConnector>) -> Result<Box<dyn Duplex>, String> {
    // `[::1]:4353` is how an address of IPv6 stands in front of a port.
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    // The last piece of a call shall not wait for the answer to the one before.
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let Some(tls) = tls else { return Ok(Box::new(stream)) };
    let name = ServerName::try_from(host.to_string()).map_err(|error| error.to_string())?;
    let stream = tls.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?;
    Ok(Box::new(stream))
}

/// Sends the frame and receives one.
async fn exchange(stream: &mut (dyn Duplex + '_), frame: &[u8]) -> io::Result<BytesMut> {
    stream.write_all(frame).await?;
    stream.flush().await?;
    let mut head = [0; frame::HEAD_BYTES];
    stream.read_exact(&mut head).await?;
    let length = frame::length(head, REPLY_MAX).map_err(io::Error::other)?;
    let mut message = BytesMut::new();
    while message.len() < length {
        let left = (length - message.len()) as u64;
        if (&mut *stream).take(left).read_buf(&mut message).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(message)
}
