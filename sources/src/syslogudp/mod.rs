//! The `syslogudp` source: syslog messages over UDP, one a datagram.
//!
//! ```text
//!   datagram   <13>Oct 11 22:14:15 web1 su: failed
//!   event      headers Facility=1 Severity=5 priority=13 timestamp=… host=web1, body `su: failed`
//! ```
//!
//! What follows a line end in a datagram is dropped, as in Flume. Datagrams may have 65,535 bytes; Flume cuts them at 2048.
//! What lines become is in `sources/src/syslog`.

mod settings;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Key, Problems, join};
use flumen_api::source::Runs;
use flumen_api::{Batch, Source, SourceContext, SourceError};

use crate::net::{Budget, ClientHeaders, Datagram, Delivery, Inbox, bind_udp};
use crate::syslog::{FormatKeys, Legacy, Lines, Parsed, Times};
use settings::SyslogUdpSettings;

/// Most events of one put: no channel's `transactionCapacity` is smaller by default.
const EVENTS_MAX: usize = 100;
/// No datagram is as long.
const LINE_MAX: usize = 1 << 16;

const KEYS: &[Key] = &join::<{ SyslogUdpSettings::KEYS.len() + FormatKeys::KEYS.len() }>(&[
    SyslogUdpSettings::KEYS,
    FormatKeys::KEYS,
]);

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "syslogudp",
        class_names: &["org.apache.flume.source.SyslogUDPSource"],
        keys: KEYS,
        doc: "Syslog messages over UDP, RFC 3164 and RFC 5424, one a datagram.",
        factory: Factory::Source(Runs::Task, build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Source>> {
    let settings = SyslogUdpSettings::load(config, problems);
    let custom = FormatKeys::load(config, problems).and_then(|keys| keys.build(config, problems));
    let (settings, custom) = (settings?, custom?);
    let times = Times::of_process(settings.flume_timestamps);
    let clients =
        ClientHeaders::new(settings.client_ip_header.clone(), settings.client_hostname_header.clone());
    let parser = Legacy { keep: settings.keep_fields, times, custom };
    let source = SyslogUdpSource { settings, clients, parser };
    Some(Built { component: Box::new(source), batch_size: None })
}

struct SyslogUdpSource {
    settings: SyslogUdpSettings,
    clients: ClientHeaders,
    parser: Legacy,
}

#[async_trait]
impl Source for SyslogUdpSource {
    async fn run(&mut self, context: SourceContext) -> Result<(), SourceError> {
        let SyslogUdpSettings { host, port, .. } = &self.settings;
        let socket = bind_udp(host.as_deref(), *port).await.map_err(|error| {
            SourceError::new(
                format!("syslogudp cannot receive at {}:{port}", host.as_deref().unwrap_or("*")),
                error,
            )
        })?;
        let address = socket.local_addr().map_or_else(|_| "?".into(), |at| at.to_string());
        tracing::info!(source = %context.name, %address, "listening");
        let mut inbox = Inbox::new(socket, context.clone());
        let mut delivery = Delivery::new(context.clone(), &Budget::new());
        while let Some(datagrams) = inbox.next(EVENTS_MAX, &mut delivery).await {
            let mut batch = Batch::new();
            for datagram in &datagrams {
                self.take_in(datagram, &context, &mut batch).await;
            }
            if !batch.is_empty() {
                delivery.send(batch).await;
            }
        }
        delivery.finish().await;
        Ok(())
    }
}

impl SyslogUdpSource {
    async fn take_in(&self, datagram: &Datagram, context: &SourceContext, batch: &mut Batch) {
        let mut lines = Lines::new(LINE_MAX);
        let mut input = datagram.bytes.as_slice();
        let line = match lines.next(&mut input) {
            Some(line) => self.parser.event(line).map(Parsed::into_owned),
            None => self.parser.event(lines.rest()).map(Parsed::into_owned),
        };
        let client = self.clients.of(datagram.peer).await;
        match line {
            Ok(event) => event.push(batch, &client, &context.metrics),
            Err(_unreadable) => context.metrics.event_read_fail.inc(),
        }
    }
}
