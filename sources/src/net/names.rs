//! Who a client is, as Java writes it ([`flumen_java::host`]): its address and its host name.
//!
//! A host name is asked for once a client, not once an event, and remembered for some minutes: a name server that does not
//! answer must not stand still what arrives.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_api::Headers;
use flumen_java::host::{address_text, canonical_name};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long a name is waited for; then the address stands in for it.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long an answer is remembered.
const REMEMBERED: Duration = Duration::from_secs(300);
/// How many answers are remembered; a flood of addresses must not fill the memory.
const REMEMBERED_MAX: usize = 4096;
/// Names that are asked for at a time: each takes a thread.
const ASKED_MAX: usize = 8;

/// The headers that name an event's client, where a source's keys ask for them.
#[derive(Clone, Debug)]
pub(crate) struct ClientHeaders {
    ip: Option<String>,
    host: Option<String>,
    names: Arc<Names>,
}

/// Names that were asked for.
#[derive(Debug)]
pub(super) struct Names {
    known: Mutex<HashMap<IpAddr, (Instant, String)>>,
    asked: Semaphore,
}

impl ClientHeaders {
    /// The names of the headers for address and host name.
    pub fn new(ip: Option<String>, host: Option<String>) -> Self {
        Self { ip, host, names: Arc::new(Names::new()) }
    }

    /// The headers of this client.
    pub async fn of(&self, peer: SocketAddr) -> Headers {
        let mut headers = Headers::new();
        if let Some(name) = &self.ip {
            headers.set(name, address_text(peer.ip()));
        }
        if let Some(name) = &self.host {
            headers.set(name, self.names.of(peer.ip().to_canonical()).await);
        }
        headers
    }
}

impl Names {
    pub fn new() -> Self {
        Self { known: Mutex::default(), asked: Semaphore::new(ASKED_MAX) }
    }

    /// The name of the host with this address, or the address.
    pub async fn of(&self, address: IpAddr) -> String {
        let known = self.known.lock().get(&address).cloned();
        if let Some((since, name)) = known
            && since.elapsed() < REMEMBERED
        {
            return name;
        }
        let asked = async {
            let _turn = self.asked.acquire().await.ok()?;
            tokio::task::spawn_blocking(move || canonical_name(address)).await.ok().flatten()
        };
        let name = timeout(PATIENCE, asked).await.ok().flatten().unwrap_or_else(|| address_text(address));
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(address, (Instant::now(), name.clone()));
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_client_has_the_headers_that_are_asked_for() {
        let peer = "127.0.0.1:9".parse().unwrap();
        assert!(ClientHeaders::new(None, None).of(peer).await.is_empty());
        let headers = ClientHeaders::new(Some("ip".into()), Some("name".into())).of(peer).await;
        assert_eq!(headers.get("ip"), Some("127.0.0.1"));
        let name = headers.get("name").unwrap();
        assert!(name.contains("localhost") || name == "127.0.0.1", "{name}");
    }
}
