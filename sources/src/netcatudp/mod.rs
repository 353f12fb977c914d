//! The `netcatudp` source: one event a datagram, up to its first line end.
//!
//! ```text
//!   datagram   hello\nworld
//!   event      headers <remoteAddress>=/192.0.2.1:40000, body `hello`
//! ```
//!
//! Without `remoteAddress` there is no header; Flume sets one without a name then, at which some of its sinks fail.

mod settings;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_api::source::Runs;
use flumen_api::{Batch, Headers, Source, SourceContext, SourceError};
use flumen_java::host::address_text;

use crate::net::{Budget, Datagram, Delivery, Inbox, bind_udp};
use settings::NetcatUdpSettings;

/// Most events of one put: no channel's `transactionCapacity` is smaller by default.
const EVENTS_MAX: usize = 100;

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "netcatudp",
        class_names: &["org.apache.flume.source.NetcatUdpSource"],
        keys: NetcatUdpSettings::KEYS,
        doc: "Text over UDP, each datagram an event.",
        factory: Factory::Source(Runs::Task, build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Source>> {
    let settings = NetcatUdpSettings::load(config, problems)?;
    Some(Built { component: Box::new(NetcatUdpSource { settings }), batch_size: None })
}

struct NetcatUdpSource {
    settings: NetcatUdpSettings,
}

#[async_trait]
impl Source for NetcatUdpSource {
    async fn run(&mut self, context: SourceContext) -> Result<(), SourceError> {
        let NetcatUdpSettings { bind, port, remote_address } = &self.settings;
        let socket = bind_udp(bind.as_deref(), *port).await.map_err(|error| {
            SourceError::new(
                format!("netcatudp cannot receive at {}:{port}", bind.as_deref().unwrap_or("*")),
                error,
            )
        })?;
        let address = socket.local_addr().map_or_else(|_| "?".into(), |at| at.to_string());
        tracing::info!(source = %context.name, %address, "listening");
        let mut inbox = Inbox::new(socket, context.clone());
        let mut delivery = Delivery::new(context.clone(), &Budget::new());
        while let Some(datagrams) = inbox.next(EVENTS_MAX, &mut delivery).await {
            let mut batch = Batch::new();
            for Datagram { bytes, peer, .. } in &datagrams {
                let end = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
                let mut headers = Headers::new();
                if let Some(name) = remote_address {
                    headers.set(name, format!("/{}:{}", address_text(peer.ip()), peer.port()));
                }
                let headers = batch.add_headers(headers);
                batch.push_with(&bytes[..end], headers);
            }
            delivery.send(batch).await;
        }
        delivery.finish().await;
        Ok(())
    }
}
