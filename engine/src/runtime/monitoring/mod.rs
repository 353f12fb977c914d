//! The monitoring server, HTTP/1.1 over TCP.
//!
//! ```text
//!   GET /                     one line of HTML with a link, as Flume
//!   GET /metrics              Flume's JSON; with type `prometheus`, the same as /metrics/prometheus
//!   GET /metrics/prometheus   text exposition format 0.0.4
//!   GET /healthz              200 as long as the process serves at all
//!   GET /readyz               200, or 503 with each component that does not run and why
//!   TRACE, OPTIONS            403, as Flume; other paths 404; paths match in any case
//! ```
//!
//! Nothing is gathered between requests: an answer reads the counters, and the channels for their figures, when asked.

mod answer;
mod flume_json;
mod prometheus;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::supervise::{Backoff, Pauses, sleep_or_stop};

/// The port that Flume takes where none is given.
pub const PORT_DEFAULT: u16 = 41_414;
/// Connections served at a time: scrapers are few, and a crowd must not eat the agent's descriptors.
const CONNECTIONS_MAX: usize = 64;
/// A client that has not sent its request head by then is cut off.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest request head; a scraper's has some hundred bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// What `/metrics` answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Flume's JSON (`flume.monitoring.type=http`).
    FlumeJson,
    /// Prometheus text (`flume.monitoring.type=prometheus`).
    Prometheus,
}

/// Where metrics are served, and in which format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Monitoring {
    /// What `/metrics` is.
    pub format: Format,
    /// Where to listen; port 0 takes a free one.
    pub address: SocketAddr,
}

impl Monitoring {
    /// From `flume.monitoring.*`, looked up by `property`. `Ok(None)`: no monitoring is asked for. An error says what to
    /// write instead.
    pub fn from_properties(property: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let Some(kind) = property("flume.monitoring.type") else { return Ok(None) };
        let format = match kind.to_ascii_lowercase().as_str() {
            "http" | "org.apache.flume.instrumentation.http.httpmetricsserver" => Format::FlumeJson,
            "prometheus" | "org.apache.flume.instrumentation.http.prometheushttpmetricsserver" => {
                Format::Prometheus
            }
            "ganglia" | "org.apache.flume.instrumentation.ganglia" => {
                return Err(
                    "flume.monitoring.type=ganglia is not supported; use `prometheus` or `http` and let a \
                            gmond module or exporter read /metrics"
                        .into(),
                );
            }
            _ => {
                return Err(format!(
                    "flume.monitoring.type=`{kind}` is not known; `http` serves Flume's JSON, `prometheus` its text format"
                ));
            }
        };
        let port = match property("flume.monitoring.port") {
            None => PORT_DEFAULT,
            Some(text) => text
                .trim()
                .parse()
                .map_err(|error| format!("flume.monitoring.port=`{text}` is not a port: {error}"))?,
        };
        // Flume listens on all interfaces, and its users' scrapers come from other hosts.
        Ok(Some(Self { format, address: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port) }))
    }
}

/// A running server, or one that still tries to get its port.
pub(super) struct Server {
    stop: CancellationToken,
    address: Arc<Mutex<Option<SocketAddr>>>,
}

impl Server {
    /// Binds and serves. An occupied port is an error in the log, and is tried again; the agent runs without.
    pub async fn start(monitoring: Monitoring, board: Arc<Board>, pauses: Pauses) -> Self {
        let server = Self { stop: CancellationToken::new(), address: Arc::default() };
        let (stop, address) = (server.stop.clone(), server.address.clone());
        let first = bind(monitoring.address).await;
        if let Ok(listener) = &first {
            *address.lock() = listener.local_addr().ok();
        }
        tokio::spawn(async move {
            let mut attempt = first;
            let mut backoff = Backoff::new(pauses);
            let listener = loop {
                match attempt {
                    Ok(listener) => break listener,
                    Err(error) => {
                        let pause = backoff.failed(None);
                        tracing::error!(
                            "no monitoring: cannot listen on {}: {error}; set flume.monitoring.port to a free port, \
                             trying again in {pause:?}",
                            monitoring.address,
                        );
                        if sleep_or_stop(pause, &stop).await {
                            return;
                        }
                        attempt = bind(monitoring.address).await;
                    }
                }
            };
            *address.lock() = listener.local_addr().ok();
            tracing::info!("monitoring listens on {}", monitoring.address);
            tokio::select! {
                () = stop.cancelled() => {}
                () = serve(listener, monitoring.format, board, stop.clone()) => {}
            }
        });
        server
    }

    /// Where it listens.
    pub fn address(&self) -> Option<SocketAddr> {
        *self.address.lock()
    }

    /// Closes the port and all connections.
    pub fn stop(self) {
        self.stop.cancel();
    }
}

async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

async fn serve(listener: TcpListener, format: Format, board: Arc<Board>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _peer)) => stream,
            Err(error) => {
                // Out of descriptors, mostly: accepting again at once would spin.
                tracing::warn!(%error, "monitoring cannot accept a connection");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let (board, stop) = (board.clone(), stop.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let answer = answer::answer(&request, format, &board);
                std::future::ready(Ok::<_, std::convert::Infallible>(answer))
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(HEAD_BYTES_MAX)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                () = stop.cancelled() => {}
                served = connection => {
                    if let Err(error) = served {
                        tracing::debug!(%error, "monitoring connection ended");
                    }
                }
            }
            drop(place);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Option<Monitoring>, String> {
        Monitoring::from_properties(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_string())
        })
    }

    #[test]
    fn flumes_properties_name_the_format_and_the_port() {
        assert_eq!(parse(&[]), Ok(None));
        let http = parse(&[("flume.monitoring.type", "http")]).unwrap().expect("monitoring");
        assert_eq!((http.format, http.address.port()), (Format::FlumeJson, PORT_DEFAULT));
        let other = parse(&[("flume.monitoring.type", "Prometheus"), ("flume.monitoring.port", "9100")]);
        let other = other.unwrap().expect("monitoring");
        assert_eq!((other.format, other.address.port()), (Format::Prometheus, 9100));
    }

    #[test]
    fn ganglia_and_bad_ports_are_refused_with_advice() {
        assert!(parse(&[("flume.monitoring.type", "ganglia")]).unwrap_err().contains("prometheus"));
        let bad = parse(&[("flume.monitoring.type", "http"), ("flume.monitoring.port", "x")]);
        assert!(bad.unwrap_err().contains("flume.monitoring.port=`x`"));
    }
}
