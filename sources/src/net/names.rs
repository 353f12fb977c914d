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
/// How long it is remembered that there was none in time: rules may go by the name, and keep a client out without it.
const REMEMBERED_IN_VAIN: Duration = Duration::from_secs(10);
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
    /// With when each is to be asked for again.
    known: Mutex<HashMap<IpAddr, (Instant, String)>>,
    asked: Arc<Semaphore>,
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
        Self { known: Mutex::default(), asked: Arc::new(Semaphore::new(ASKED_MAX)) }
    }

    /// The name of the host with this address, or the address.
    pub async fn of(&self, address: IpAddr) -> String {
        let known = self.known.lock().get(&address).cloned();
        if let Some((until, name)) = known
            && Instant::now() < until
        {
            return name;
        }
        let asked = async {
            let turn = self.asked.clone().acquire_owned().await.ok()?;
            let ask = move || {
                // A thread goes on with what nobody waits for any more: its turn lasts as long.
                let _turn = turn;
                canonical_name(address)
            };
            tokio::task::spawn_blocking(ask).await.ok()
        };
        // Without a name the address is the answer; without an answer it stands in for one.
        let answer = timeout(PATIENCE, asked).await.ok().flatten();
        let remembered = if answer.is_some() { REMEMBERED } else { REMEMBERED_IN_VAIN };
        let name = answer.flatten().unwrap_or_else(|| address_text(address));
        let mut known = self.known.lock();
        if known.len() >= REMEMBERED_MAX {
            known.clear();
        }
        known.insert(address, (Instant::now() + remembered, name.clone()));
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
