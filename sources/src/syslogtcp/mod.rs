//! The `syslogtcp` source: syslog messages over TCP, one a line, never answered.
//!
//! ```text
//!   client   <13>Oct 11 22:14:15 web1 su: failed\n<34>1 2003-10-11T22:14:15.003Z …\n
//!   events   headers Facility=1 Severity=5 priority=13 timestamp=… host=web1, body `su: failed`; …
//! ```
//!
//! What lines become is in `sources/src/syslog`. While a channel has no room a client is not read, so that it waits;
//! Flume drops its messages. A remainder without a line end is dropped and counted, as is a line that is no syslog message
//! counted (EventReadFail), though it comes as an event.

mod settings;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Key, Problems, join};
use flumen_api::source::Runs;
use flumen_api::{Batch, Headers, Source, SourceContext, SourceError};
use flumen_tls::{ServerKeys, ServerTls};

use crate::net::{Budget, ClientHeaders, Protocol, Reading, Server, bind_tcp, talk};
use crate::syslog::{FormatKeys, Legacy, Lines, Times};
use settings::SyslogTcpSettings;

/// Most events of one put: no channel's `transactionCapacity` is smaller by default.
const EVENTS_MAX: usize = 100;
/// Size of a client's first reads.
const READ_BYTES: usize = 2 << 10;

const KEYS: &[Key] = &join::<
    { SyslogTcpSettings::KEYS.len() + FormatKeys::KEYS.len() + ServerKeys::KEYS.len() },
>(&[SyslogTcpSettings::KEYS, FormatKeys::KEYS, ServerKeys::KEYS]);

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "syslogtcp",
        class_names: &["org.apache.flume.source.SyslogTcpSource"],
        keys: KEYS,
        doc: "Syslog messages over TCP, RFC 3164 and RFC 5424, one a line.",
        factory: Factory::Source(Runs::Task, build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Source>> {
    let settings = SyslogTcpSettings::load(config, problems);
    let custom = FormatKeys::load(config, problems).and_then(|keys| keys.build(config, problems));
    let tls = ServerTls::load(config, problems);
    let (settings, custom, tls) = (settings?, custom?, tls?);
    let times = Times::of_process(settings.flume_timestamps);
    let shared = Shared {
        clients: ClientHeaders::new(
            settings.client_ip_header.clone(),
            settings.client_hostname_header.clone(),
        ),
        parser: Legacy { keep: settings.keep_fields, times, custom },
        event_size: settings.event_size,
        reading: Reading { events_max: EVENTS_MAX, buffer: READ_BYTES, budget: Budget::new() },
    };
    let source = SyslogTcpSource { settings, tls, shared: Arc::new(shared) };
    Some(Built { component: Box::new(source), batch_size: None })
}

struct SyslogTcpSource {
    settings: SyslogTcpSettings,
    tls: ServerTls,
    shared: Arc<Shared>,
}

/// What all clients share.
struct Shared {
    clients: ClientHeaders,
    parser: Legacy,
    event_size: usize,
    reading: Reading,
}

#[async_trait]
impl Source for SyslogTcpSource {
    async fn run(&mut self, context: SourceContext) -> Result<(), SourceError> {
        let SyslogTcpSettings { host, port, max_connections, .. } = &self.settings;
        let tls = self.tls.acceptor().await.map_err(|error| SourceError::new("no TLS", error))?;
        let listener = bind_tcp(host.as_deref(), *port).await.map_err(|error| {
            SourceError::new(
                format!("syslogtcp cannot listen on {}:{port}", host.as_deref().unwrap_or("*")),
                error,
            )
        })?;
        let shared = self.shared.clone();
        let server = Server::new(context.clone(), tls, *max_connections);
        let client = move |connection: crate::net::Connection| {
            let (shared, context) = (shared.clone(), context.clone());
            async move {
                let client = shared.clients.of(connection.peer).await;
                let lines = Lines::new(shared.event_size);
                let messages = Messages { shared: &shared, context: &context, client, lines };
                talk(connection, context.clone(), &shared.reading, messages).await
            }
        };
        server.serve(listener, client).await;
        Ok(())
    }
}

/// One client's messages.
struct Messages<'a> {
    shared: &'a Shared,
    context: &'a SourceContext,
    client: Headers,
    lines: Lines,
}

impl Protocol for Messages<'_> {
    fn next(&mut self, input: &mut &[u8], batch: &mut Batch) -> bool {
        let Some(line) = self.lines.next(input) else { return false };
        match self.shared.parser.event(line) {
            Ok(event) => event.push(batch, &self.client, &self.context.metrics),
            Err(_unreadable) => self.context.metrics.event_read_fail.inc(),
        }
        true
    }

    fn unfinished(&self) -> usize {
        self.lines.unfinished()
    }
}
