//! Who a client is, as Java writes it: `192.0.2.1`, `2001:db8:0:0:0:0:0:1`, and its host name.
//!
//! A host name is asked for once a client, not once an event, and remembered for some minutes: a name server that does not
//! answer must not stand still what arrives. A name counts only if it leads back to the address, as in Java: who owns
//! the address may give it any name.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_api::Headers;
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

/// The address as Java's `getHostAddress` writes it.
pub(crate) fn java_ip(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => {
            let groups: Vec<String> = v6.segments().iter().map(|group| format!("{group:x}")).collect();
            groups.join(":")
        }
    }
}

/// The headers that name an event's client, where a source's keys ask for them.
#[derive(Clone, Debug)]
pub(crate) struct ClientHeaders {
    ip: Option<String>,
    host: Option<String>,
    names: Arc<Names>,
}

#[derive(Debug)]
struct Names {
    known: Mutex<HashMap<IpAddr, (Instant, String)>>,
    asked: Semaphore,
}

impl ClientHeaders {
    /// The names of the headers for address and host name.
    pub fn new(ip: Option<String>, host: Option<String>) -> Self {
        Self {
            ip,
            host,
            names: Arc::new(Names { known: Mutex::default(), asked: Semaphore::new(ASKED_MAX) }),
        }
    }

    /// The headers of this client.
    pub async fn of(&self, peer: SocketAddr) -> Headers {
        let mut headers = Headers::new();
        if let Some(name) = &self.ip {
            headers.set(name, java_ip(peer.ip()));
        }
        if let Some(name) = &self.host {
            headers.set(name, self.names.of(peer.ip().to_canonical()).await);
        }
        headers
    }
}

impl Names {
    async fn of(&self, address: IpAddr) -> String {
        let known = self.known.lock().get(&address).cloned();
        if let Some((since, name)) = known
            && since.elapsed() < REMEMBERED
        {
            return name;
        }
        let asked = async {
            let _turn = self.asked.acquire().await.ok()?;
            tokio::task::spawn_blocking(move || ask(address)).await.ok().flatten()
        };
        let name = timeout(PATIENCE, asked).await.ok().flatten().unwrap_or_else(|| java_ip(address));
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(address, (Instant::now(), name.clone()));
        name
    }
}

fn ask(address: IpAddr) -> Option<String> {
    let name = dns_lookup::lookup_addr(&address).ok()?;
    let mut back = dns_lookup::lookup_host(&name).ok()?;
    back.any(|found| found.to_canonical() == address).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_java_writes_them() {
        for (address, text) in [
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("::1", "0:0:0:0:0:0:0:1"),
            ("2001:db8::a", "2001:db8:0:0:0:0:0:a"),
        ] {
            assert_eq!(java_ip(address.parse().unwrap()), text);
        }
    }

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
