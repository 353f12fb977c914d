//! The `multiport_syslogtcp` source: syslog messages over TCP on many ports, one a line, never answered.
//!
//! ```text
//!   port 10001  ISO-8859-1 ─┐
//!   port 10002  UTF-8 ──────┼─ a line ─> text ─> event: Priority, Facility, Severity, Version, timestamp, host, <portHeader>
//!   port 10003  UTF-8 ──────┘              └ bytes that are no text: Invalid, the body is the line
//! ```
//!
//! What lines become is in `sources/src/syslog`; bodies are in the port's character set, as they came. Blank lines
//! are skipped (in Flume one of them loses what arrived with it). While a channel has no room a client is not read, so that
//! it waits; Flume drops its messages. A port that cannot be listened on is said and tried again, while the others serve;
//! if none can, the source fails.

mod settings;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use encoding_rs::{Encoding, UTF_16BE, UTF_16LE};
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Key, Problems, join};
use flumen_api::source::Runs;
use flumen_api::{Batch, Headers, Source, SourceContext, SourceError};
use flumen_java::Charset;
use flumen_tls::{ServerKeys, ServerTls};
use tokio::task::JoinSet;

use crate::net::{Budget, ClientHeaders, Connection, Protocol, Reading, Server, bind_tcp, talk};
use crate::syslog::{Parsed, Splitter, Strict, Times, invalid};
use settings::MultiportSettings;

/// How often a port that cannot be listened on is tried again.
const AGAIN: Duration = Duration::from_secs(10);

const KEYS: &[Key] = &join::<{ MultiportSettings::KEYS.len() + ServerKeys::KEYS.len() }>(&[
    MultiportSettings::KEYS,
    ServerKeys::KEYS,
]);

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "multiport_syslogtcp",
        class_names: &["org.apache.flume.source.MultiportSyslogTCPSource"],
        keys: KEYS,
        doc: "Syslog messages over TCP on many ports, RFC 3164 and RFC 5424, one a line.",
        factory: Factory::Source(Runs::Task, build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Source>> {
    let settings = MultiportSettings::load(config, problems);
    let tls = ServerTls::load(config, problems);
    let (settings, tls) = (settings?, tls?);
    let ports = ports(&settings, config, problems);
    let charsets = Charsets::load(&settings, config, problems);
    let (ports, charsets) = (ports?, charsets?);
    let shared = Shared {
        clients: ClientHeaders::new(
            settings.client_ip_header.clone(),
            settings.client_hostname_header.clone(),
        ),
        parser: Strict { keep: settings.keep_fields, times: Times::of_process(false) },
        charsets,
        port_header: settings.port_header.clone(),
        event_size: settings.event_size,
        reading: Reading {
            events_max: settings.batch_size,
            buffer: settings.read_buffer_bytes,
            budget: Budget::new(),
        },
    };
    let batch_size = Some(("batchSize", settings.batch_size));
    let source = MultiportSource { settings, ports, tls, shared: Arc::new(shared) };
    Some(Built { component: Box::new(source), batch_size })
}

fn ports(
    settings: &MultiportSettings,
    config: &ComponentConfig,
    problems: &mut Problems,
) -> Option<Vec<u16>> {
    let mut ports = Vec::new();
    for word in &settings.ports.0 {
        match word.parse() {
            Ok(port) if ports.contains(&port) => {
                problems.warn(config, "ports", format!("names {port} twice"))
            }
            Ok(port) => ports.push(port),
            Err(_not_a_port) => {
                problems.error(
                    config,
                    "ports",
                    format!("`{word}` is not a port; ports are separated by blanks"),
                );
                return None;
            }
        }
    }
    if ports.is_empty() {
        problems.error(config, "ports", "names no port");
        return None;
    }
    Some(ports)
}

/// Which character set a port has.
struct Charsets {
    default: Charset,
    of_port: BTreeMap<u16, Charset>,
}

impl Charsets {
    fn load(settings: &MultiportSettings, config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let default = named("charset.default", &settings.charset, config, problems);
        let mut of_port = BTreeMap::new();
        let before = problems.errors();
        for (port, value) in &settings.port_charsets.0 {
            let key = format!("charset.port.{port}");
            match port.parse::<u16>() {
                Ok(port) => {
                    let charset = named(&key, &value.resolved, config, problems);
                    of_port.extend(charset.map(|charset| (port, charset)));
                }
                Err(_not_a_port) => problems.error(config, &key, format!("`{port}` is not a port")),
            }
        }
        (problems.errors() == before).then_some(Self { default: default?, of_port })
    }

    fn of(&self, port: u16) -> Charset {
        self.of_port.get(&port).copied().unwrap_or(self.default)
    }
}

fn named(key: &str, name: &str, config: &ComponentConfig, problems: &mut Problems) -> Option<Charset> {
    let charset = Charset::named(name);
    if charset.is_none() {
        problems.error(config, key, format!("`{name}` is no character set that is known here"));
    }
    charset
}

/// The text of `bytes`, if they are text.
fn text(charset: Charset, bytes: &[u8]) -> Option<Cow<'_, str>> {
    let exactly = |encoding: &'static Encoding, bytes| {
        encoding.decode_without_bom_handling_and_without_replacement(bytes)
    };
    match charset {
        Charset::Utf8 => std::str::from_utf8(bytes).ok().map(Cow::Borrowed),
        Charset::Ascii if !bytes.is_ascii() => None,
        Charset::Latin1 | Charset::Ascii => Some(charset.decode(bytes)),
        Charset::Utf16 { .. } => match charset.settled(bytes) {
            (Charset::Utf16 { little: true, .. }, mark) => exactly(UTF_16LE, &bytes[mark..]),
            (_, mark) => exactly(UTF_16BE, &bytes[mark..]),
        },
        Charset::Jis(encoding) => exactly(encoding, bytes).map(|_| charset.decode(bytes)),
        Charset::Other(encoding) => exactly(encoding, bytes),
    }
}

struct MultiportSource {
    settings: MultiportSettings,
    ports: Vec<u16>,
    tls: ServerTls,
    shared: Arc<Shared>,
}

/// What all clients share.
struct Shared {
    clients: ClientHeaders,
    parser: Strict,
    charsets: Charsets,
    port_header: Option<String>,
    event_size: usize,
    reading: Reading,
}

#[async_trait]
impl Source for MultiportSource {
    async fn run(&mut self, context: SourceContext) -> Result<(), SourceError> {
        let tls = self.tls.acceptor().await.map_err(|error| SourceError::new("no TLS", error))?;
        let server = Server::new(context.clone(), tls, self.settings.max_connections);
        let host = self.settings.host.clone();
        let mut listeners = Vec::new();
        let mut last = None;
        for &port in &self.ports {
            match bind_tcp(host.as_deref(), port).await {
                Ok(listener) => listeners.push((port, Some(listener))),
                Err(error) => {
                    tracing::error!(source = %context.name, port, %error, "cannot listen, trying again every {AGAIN:?}");
                    context.metrics.generic_processing_fail.inc();
                    listeners.push((port, None));
                    last = Some((port, error));
                }
            }
        }
        if let (Some((port, error)), true) = (last, listeners.iter().all(|(_, listener)| listener.is_none()))
        {
            let host = host.as_deref().unwrap_or("*");
            let message = format!(
                "multiport_syslogtcp cannot listen on any of its ports, the last one being {host}:{port}"
            );
            return Err(SourceError::new(message, error));
        }
        // Dropped with this future: nothing goes on behind a source that failed.
        let mut serving = JoinSet::new();
        for (port, listener) in listeners {
            let (server, shared, context, host) =
                (server.clone(), self.shared.clone(), context.clone(), host.clone());
            serving.spawn(async move {
                let mut listener = listener;
                while listener.is_none() {
                    if context.sleep(AGAIN).await {
                        return;
                    }
                    listener = bind_tcp(host.as_deref(), port).await.ok();
                }
                let Some(listener) = listener else { return };
                let client = move |connection| client(connection, shared.clone(), context.clone());
                server.serve(listener, client).await;
            });
        }
        while let Some(ended) = serving.join_next().await {
            ended.map_err(|error| SourceError::new("a port's task failed", error))?;
        }
        Ok(())
    }
}

async fn client(connection: Connection, shared: Arc<Shared>, context: SourceContext) -> std::io::Result<()> {
    let port = connection.local.port();
    let mut headers = Headers::new();
    if let Some(name) = &shared.port_header {
        headers.set(name, port.to_string());
    }
    for (name, value) in shared.clients.of(connection.peer).await.iter() {
        headers.set(name, value);
    }
    let messages = Messages {
        shared: &shared,
        context: &context,
        headers,
        charset: shared.charsets.of(port),
        lines: Splitter::new(shared.event_size),
    };
    talk(connection, context.clone(), &shared.reading, messages).await
}

/// One client's messages.
struct Messages<'a> {
    shared: &'a Shared,
    context: &'a SourceContext,
    headers: Headers,
    charset: Charset,
    lines: Splitter,
}

impl Protocol for Messages<'_> {
    fn next(&mut self, input: &mut &[u8], batch: &mut Batch) -> bool {
        let Some(piece) = self.lines.next(input) else { return false };
        if piece.bytes.is_empty() {
            return true;
        }
        let metrics = &self.context.metrics;
        match text(self.charset, piece.bytes) {
            None => invalid(piece.bytes).push(batch, &self.headers, metrics),
            Some(text) => {
                let Parsed { headers, body } = self.shared.parser.event(&text, piece.incomplete);
                let body = match self.charset {
                    Charset::Utf8 => body,
                    other => {
                        let body = String::from_utf8_lossy(&body);
                        other.encode(&body).into_owned().into()
                    }
                };
                Parsed { headers, body }.push(batch, &self.headers, metrics);
            }
        }
        true
    }

    fn unfinished(&self) -> usize {
        self.lines.unfinished()
    }
}
