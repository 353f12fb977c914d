//! Accepts clients on a port and gives each a task of its own.
//!
//! ```text
//!   accept ──> place free? ──> TLS handshake, if any, within 10 s ──> the source's own protocol
//!                  ^                                                               │
//!                  └──────────────────── place given back at the end ──────────────┘
//! ```
//!
//! With all places taken, one client waits here and further ones in the system's queue, until one leaves or is let go for
//! them (`guests`). At a stop the port is closed first; each client's task ends by itself once what it has in hand is put.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_api::SourceContext;
use flumen_api::metrics::Gauge;
use flumen_tls::TlsAcceptor;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::filter::Filter;
use super::guests::Guests;
use super::stream::Stream;

/// How long a client may take for the handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// The pause after a client that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often room is asked for while a client waits for a place.
const ROOM_PAUSE: Duration = Duration::from_millis(250);

/// A client.
pub(crate) struct Connection {
    pub stream: Stream,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// Whom a source enters it with if it may be let go between two calls.
    pub guests: Guests,
}

/// Serves clients, at most so many at a time over all its ports.
#[derive(Clone)]
pub(crate) struct Server {
    context: SourceContext,
    tls: Option<TlsAcceptor>,
    places: Arc<Semaphore>,
    guests: Guests,
    /// Whether the log names each client that comes and goes.
    names_clients: bool,
    /// Whether what goes over the connections is compressed.
    deflates: bool,
    filter: Option<Filter>,
}

/// Listens at `host`, or at all addresses if there is none.
pub(crate) async fn bind_tcp(host: Option<&str>, port: u16) -> io::Result<TcpListener> {
    match host {
        Some(host) => TcpListener::bind((host, port)).await,
        None => match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).await {
            Err(error) if lacks_ipv6(&error) => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await,
            bound => bound,
        },
    }
}

/// Receives at `host`, or at all addresses if there is none.
pub(crate) async fn bind_udp(host: Option<&str>, port: u16) -> io::Result<UdpSocket> {
    match host {
        Some(host) => UdpSocket::bind((host, port)).await,
        None => match UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).await {
            Err(error) if lacks_ipv6(&error) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).await,
            bound => bound,
        },
    }
}

fn lacks_ipv6(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable)
        || error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
}

impl Server {
    /// At most `clients` at a time.
    pub fn new(context: SourceContext, tls: Option<TlsAcceptor>, clients: usize) -> Self {
        Self {
            context,
            tls,
            places: Arc::new(Semaphore::new(clients)),
            guests: Guests::new(),
            names_clients: true,
            deflates: false,
            filter: None,
        }
    }

    /// Speaks through deflate, if so, inside or outside of TLS as the client has it.
    pub fn deflated(self, deflates: bool) -> Self {
        Self { deflates, ..self }
    }

    /// Serves only clients that the filter admits.
    pub fn only(self, filter: Option<Filter>) -> Self {
        Self { filter, ..self }
    }

    /// Says nothing of clients that come and go as they should: some come for one request.
    pub fn quietly(self) -> Self {
        Self { names_clients: false, ..self }
    }

    /// Serves with `client` until a stop is asked for, then waits for the clients at hand.
    pub async fn serve<C, F>(&self, listener: TcpListener, client: C)
    where
        C: Fn(Connection) -> F + Send + Sync + 'static,
        F: Future<Output = io::Result<()>> + Send + 'static,
    {
        let name = &self.context.name;
        let address = listener.local_addr().map_or_else(|_| "?".into(), |at| at.to_string());
        tracing::info!(source = %name, %address, tls = self.tls.is_some(), "listening");
        let client = Arc::new(client);
        let mut clients = JoinSet::new();
        // A client that was accepted and has no place.
        let mut waiting: Option<(TcpStream, SocketAddr)> = None;
        let mut is_full = false;
        loop {
            if let Some((stream, peer)) = waiting.take() {
                match self.places.clone().try_acquire_owned() {
                    Ok(place) => {
                        let (server, client) = (self.clone(), client.clone());
                        clients.spawn(async move {
                            server.one(stream, peer, &*client).await;
                            drop(place);
                        });
                    }
                    Err(_none) => {
                        if !is_full {
                            tracing::warn!(source = %name, %address, "as many clients as it may have; further ones wait");
                        }
                        is_full = true;
                        self.guests.make_room(Instant::now());
                        waiting = Some((stream, peer));
                    }
                }
            }
            tokio::select! {
                () = self.context.shutdown.cancelled() => break,
                // Ended clients are let go of as they end, not at the stop.
                Some(ended) = clients.join_next(), if !clients.is_empty() => self.ended(ended),
                () = tokio::time::sleep(ROOM_PAUSE), if waiting.is_some() => {}
                accepted = listener.accept(), if waiting.is_none() => match accepted {
                    Ok(accepted) => {
                        is_full &= self.places.available_permits() == 0;
                        waiting = Some(accepted);
                    }
                    Err(error) => {
                        // Out of descriptors, or a client that is gone again: the next one may do better.
                        tracing::warn!(source = %name, %address, %error, "cannot accept a client");
                        self.context.metrics.generic_processing_fail.inc();
                        if self.context.sleep(ACCEPT_PAUSE).await {
                            break;
                        }
                    }
                },
            }
        }
        drop(listener);
        while let Some(ended) = clients.join_next().await {
            self.ended(ended);
        }
    }

    fn ended(&self, ended: Result<(), tokio::task::JoinError>) {
        if let Err(error) = ended {
            self.context.metrics.generic_processing_fail.inc();
            tracing::error!(source = %self.context.name, %error, "a client's task failed");
        }
    }

    async fn one<F>(&self, stream: TcpStream, peer: SocketAddr, client: &impl Fn(Connection) -> F)
    where
        F: Future<Output = io::Result<()>>,
    {
        let name = &self.context.name;
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        if self.names_clients {
            tracing::info!(source = %name, %peer, "connected");
        }
        let _open = Open::new(&self.context.metrics.open_connections);
        // Of a client that vanished without a word nothing would ever be heard again.
        let kept = rustix::net::sockopt::set_socket_keepalive(&stream, true);
        let local = kept.map_err(io::Error::from).and_then(|()| stream.local_addr());
        if let (Some(filter), Ok(local)) = (&self.filter, &local)
            && !filter.admits(peer, *local).await
        {
            tracing::warn!(source = %name, %peer, "disconnected: a rule denies it");
            return;
        }
        let guests = self.guests.clone();
        let ended = match local {
            Err(error) => Err(error),
            Ok(local) if self.tls.is_none() && !self.deflates => {
                client(Connection { stream: Stream::Plain(stream), peer, local, guests }).await
            }
            Ok(local) => match self.layers(stream, peer).await {
                None => return,
                Some(stream) => client(Connection { stream, peer, local, guests }).await,
            },
        };
        match ended {
            Ok(()) if self.names_clients => tracing::info!(source = %name, %peer, "disconnected"),
            Ok(()) => {}
            Err(error) if !self.names_clients => {
                tracing::debug!(source = %name, %peer, %error, "connection lost")
            }
            Err(error) => tracing::info!(source = %name, %peer, %error, "connection lost"),
        }
    }

    async fn layers(&self, stream: TcpStream, peer: SocketAddr) -> Option<Stream> {
        let layers = async {
            match &self.tls {
                Some(tls) if !self.deflates => Ok(Stream::Tls(Box::new(tls.accept(stream).await?))),
                tls => flumen_avro_rpc::connect::accept(stream, tls.as_ref(), self.deflates)
                    .await
                    .map(Stream::Layered),
            }
        };
        let layers = self.context.shutdown.run_until_cancelled(timeout(HANDSHAKE_MAX, layers));
        let error = match layers.await? {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => error,
            Err(_elapsed) => io::Error::new(io::ErrorKind::TimedOut, "the client takes too long"),
        };
        self.context.metrics.generic_processing_fail.inc();
        tracing::warn!(source = %self.context.name, %peer, %error, "no TLS with a client");
        None
    }
}

/// Counts a connection as closed even if its task is cancelled or panics.
struct Open(Gauge);

impl Open {
    fn new(gauge: &Gauge) -> Self {
        gauge.add(1);
        Self(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.sub(1);
    }
}

#[cfg(test)]
mod tests;
