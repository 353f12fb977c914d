//! TLS and deflate over a connection, in the order in which the peer nests them.
//!
//! ```text
//!   Flume 1.9 and before    TLS outside, zlib inside      the first byte on the wire is 16, a TLS record
//!   Flume 1.10 and later    zlib outside, TLS inside      the first byte on the wire is 78, a zlib header
//! ```
//!
//! Only a connection with both has two ways. Whoever listens looks at the first byte; whoever connects tries the way of
//! today's Flume first, then the other, and keeps to what the peer understood.

use std::io;
use std::time::Duration;

use flumen_tls::{TlsAcceptor, TlsConnector};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::caller::Caller;
use crate::deflate::Deflated;

/// Level of what a listening end sends, as in Flume.
const LEVEL: u32 = 6;
/// How long the first way may take where both are possible and none is known to be right.
const GUESS_MAX: Duration = Duration::from_secs(3);
/// The first byte of a TLS record that begins a handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// A connection's bytes, through whatever layers.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A connection with its layers.
pub type Stream = Box<dyn Duplex>;

/// The listening end's layers over `stream`. Returns once the client's handshake is done.
pub async fn accept(stream: TcpStream, tls: Option<&TlsAcceptor>, deflate: bool) -> io::Result<Stream> {
    let Some(tls) = tls else {
        return Ok(if deflate { Box::new(Deflated::new(stream, LEVEL)) } else { Box::new(stream) });
    };
    if !deflate {
        return Ok(Box::new(tls.accept(stream).await?));
    }
    let mut first = [0];
    if stream.peek(&mut first).await? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match first {
        [TLS_HANDSHAKE] => Ok(Box::new(Deflated::new(tls.accept(stream).await?, LEVEL))),
        _ => Ok(Box::new(tls.accept(Deflated::new(stream, LEVEL)).await?)),
    }
}

/// Whom to connect to, and how.
#[derive(Clone)]
pub struct Target {
    /// A name, or an address; that of IPv6 may be in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// TLS, if it is spoken.
    pub tls: Option<TlsConnector>,
    /// The level of deflate, if that is spoken.
    pub deflate: Option<u32>,
    /// How long connecting may take, handshakes included.
    pub connect_timeout: Duration,
    /// How long an answer may take.
    pub request_timeout: Duration,
}

/// Connects to a [`Target`], again and again.
pub struct Connector {
    target: Target,
    /// With TLS and deflate: TLS is outside.
    tls_outside: bool,
    /// The peer has understood that.
    is_sure: bool,
}

impl Connector {
    /// For this target.
    pub fn new(target: Target) -> Self {
        Self { target, tls_outside: false, is_sure: false }
    }

    /// `host:port`, for people.
    pub fn name(&self) -> String {
        format!("{}:{}", self.target.host, self.target.port)
    }

    /// A new connection on which both ends know each other. The error names the peer.
    pub async fn connect(&mut self) -> Result<Caller, String> {
        let name = self.name();
        let whole = self.target.connect_timeout;
        let has_two_ways = self.target.tls.is_some() && self.target.deflate.is_some();
        let is_guess = has_two_ways && !self.is_sure;
        let first = match self.try_once(if is_guess { whole.min(GUESS_MAX) } else { whole }).await {
            Err(error) if has_two_ways && error.may_be_the_nesting => error,
            other => {
                self.is_sure |= other.is_ok();
                return other.map_err(|error| format!("cannot connect to {name}: {}", error.why));
            }
        };
        // Where both fail the next time begins with the other one, so that each has all the time at least once.
        self.tls_outside = !self.tls_outside;
        let second = self.try_once(whole).await;
        self.is_sure = second.is_ok();
        second.map_err(|_second| format!("cannot connect to {name}: {}", first.why))
    }

    async fn try_once(&self, patience: Duration) -> Result<Caller, Failed> {
        match timeout(patience, self.open()).await {
            Ok(done) => done,
            // Flume 1.9 waits for more of what it takes for the beginning of a TLS record.
            Err(_elapsed) => Err(Failed {
                why: format!("not done within {} ms", patience.as_millis()),
                may_be_the_nesting: true,
            }),
        }
    }

    async fn open(&self) -> Result<Caller, Failed> {
        let plain = |error: io::Error| Failed { why: error.to_string(), may_be_the_nesting: false };
        let host = self.target.host.trim_start_matches('[').trim_end_matches(']');
        let stream = TcpStream::connect((host, self.target.port)).await.map_err(plain)?;
        // A call is a message and its answer: it shall not wait for the one before.
        stream.set_nodelay(true).map_err(plain)?;
        let stream = self.layers(host, stream).await?;
        let name = format!("{host}:{}", self.target.port);
        Caller::greet(stream, name, self.target.request_timeout)
            .await
            .map_err(|error| Failed { why: error, may_be_the_nesting: true })
    }

    async fn layers(&self, host: &str, stream: TcpStream) -> Result<Stream, Failed> {
        let Some(tls) = &self.target.tls else {
            return Ok(match self.target.deflate {
                Some(level) => Box::new(Deflated::new(stream, level)),
                None => Box::new(stream),
            });
        };
        let name = ServerName::try_from(host.to_string()).map_err(|error| Failed {
            why: format!("`{host}` can be in no certificate: {error}"),
            may_be_the_nesting: false,
        })?;
        // A certificate that is not believed has come through the right layers.
        let failed = |error: io::Error| Failed {
            may_be_the_nesting: !error.to_string().contains("certificate"),
            why: format!("TLS: {error}"),
        };
        Ok(match self.target.deflate {
            None => Box::new(tls.connect(name, stream).await.map_err(failed)?),
            Some(level) if self.tls_outside => {
                Box::new(Deflated::new(tls.connect(name, stream).await.map_err(failed)?, level))
            }
            Some(level) => Box::new(tls.connect(name, Deflated::new(stream, level)).await.map_err(failed)?),
        })
    }
}

/// Why there is no connection.
struct Failed {
    why: String,
    /// The peer may nest TLS and deflate the other way round.
    may_be_the_nesting: bool,
}
