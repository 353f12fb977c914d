//! The `netcat` source: text lines over TCP, each an event, each answered.
//!
//! ```text
//!   client   hello\n            one\ntwo\n             <line too long>\n
//!   source           OK\n                OK\nOK\n                       FAILED: Event exceeds the maximum length
//!                                                                       (512 chars, including newline)\n  <closes>
//! ```
//!
//! Answers are in the character set of the lines. `OK` is sent when the event is durable in all required channels, `FAILED: <why>` when a channel refused it; with
//! `ack-every-event=false` only failures are answered. The client may close its side first (half-close): what it sent
//! is answered, then the connection is closed. A remainder without line end is dropped, and counted. A `\r` stays in the body.
//!
//! Lines that arrive together are put together, with one answer each: all of them succeed or fail.

mod settings;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_api::source::Runs;
use flumen_api::{Batch, PutError, Source, SourceContext, SourceError};
use flumen_java::Charset;
use flumen_java::charset::Decoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::net::{Connection, ReadBuffer, Server, Stream, bind_tcp};
pub use settings::NetcatSettings;

/// Size of the first reads from a client.
const READ_BYTES: usize = 2 << 10;
/// Most bytes that a client which sends nothing holds between two lines.
const KEPT_BYTES_MAX: usize = 8 << 10;
/// How long a client may take to read an answer once the source shall stop.
const ANSWER_AT_STOP: Duration = Duration::from_secs(1);

/// Most lines of one put: no channel's `transactionCapacity` is smaller by default, and answers stay prompt.
const LINES_MAX: usize = 100;

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "netcat",
        class_names: &["org.apache.flume.source.NetcatSource"],
        keys: NetcatSettings::KEYS,
        doc: "Text lines over TCP, each an event, each answered.",
        factory: Factory::Source(Runs::Task, build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Source>> {
    let settings = NetcatSettings::load(config, problems)?;
    let Some(charset) = Charset::named(&settings.encoding) else {
        problems.error(
            config,
            "encoding",
            format!("`{}` is no character set that is known here", settings.encoding),
        );
        return None;
    };
    Some(Built { component: Box::new(NetcatSource { settings, charset }), batch_size: None })
}

/// Listens, and serves each client in a task of its own.
#[derive(Debug)]
pub struct NetcatSource {
    settings: NetcatSettings,
    charset: Charset,
}

#[async_trait]
impl Source for NetcatSource {
    async fn run(&mut self, context: SourceContext) -> Result<(), SourceError> {
        let NetcatSettings { bind, port, .. } = &self.settings;
        let listener = bind_tcp(Some(bind), *port)
            .await
            .map_err(|error| SourceError::new(format!("netcat cannot listen on {bind}:{port}"), error))?;
        let server = Server::new(context.clone(), None, self.settings.max_connections);
        let (settings, charset) = (self.settings.clone(), self.charset);
        let client = move |connection| Client::new(connection, context.clone(), &settings, charset).talk();
        server.serve(listener, client).await;
        Ok(())
    }
}

/// One connection.
struct Client {
    stream: Stream,
    peer: SocketAddr,
    context: SourceContext,
    line_max: usize,
    ack: bool,
    /// Of the next answer.
    charset: Charset,
    decoder: Decoder,
    /// Received, decoded, and not yet put.
    text: String,
    /// There is no line end before here in `text`.
    searched: usize,
}

/// Whether a connection goes on.
enum Next {
    Go,
    Close,
}

impl Client {
    fn new(
        Connection { stream, peer, .. }: Connection,
        context: SourceContext,
        settings: &NetcatSettings,
        charset: Charset,
    ) -> Self {
        let (line_max, ack) = (settings.max_line_length, settings.ack_every_event);
        let decoder = charset.decoder();
        Self { stream, peer, context, line_max, ack, charset, decoder, text: String::new(), searched: 0 }
    }

    async fn talk(mut self) -> io::Result<()> {
        let mut buffer = ReadBuffer::new(READ_BYTES);
        let ended = loop {
            let read = tokio::select! {
                biased;
                () = self.context.shutdown.cancelled() => break Ok(()),
                read = buffer.read(&mut self.stream) => read,
            };
            match read {
                Ok([]) => break Ok(()),
                Ok(bytes) => self.decoder.decode(bytes, &mut self.text),
                Err(error) => break Err(error),
            }
            if let Next::Close = self.lines().await? {
                // What is unread would make the close a reset, which may take the answer with it.
                self.stream.shutdown().await?;
                self.discard().await;
                return Ok(());
            }
        };
        if !self.text.is_empty() {
            self.context.metrics.event_read_fail.inc();
            let (name, peer, bytes) = (&self.context.name, self.peer, self.text.len());
            tracing::warn!(source = %name, %peer, bytes, "dropped a line without an end");
        }
        ended
    }

    /// Puts and answers the whole lines received.
    async fn lines(&mut self) -> io::Result<Next> {
        let mut start = 0;
        let mut too_long = false;
        while !too_long {
            let mut lines = Vec::new();
            let mut next = start;
            while lines.len() < LINES_MAX {
                let from = next.max(self.searched);
                let end = memchr::memchr(b'\n', &self.text.as_bytes()[from..]).map(|i| from + i);
                // The start of a line may be too long already.
                too_long = is_too_long(&self.text[next..end.unwrap_or(self.text.len())], self.line_max);
                let Some(end) = end.filter(|_| !too_long) else { break };
                lines.push(next..end);
                next = end + 1;
            }
            if lines.is_empty() {
                break;
            }
            self.put(&lines).await?;
            start = next;
        }
        self.text.drain(..start);
        if self.text.is_empty() && self.text.capacity() > KEPT_BYTES_MAX {
            self.text = String::new();
        }
        self.searched = self.text.len();
        if !too_long {
            return Ok(Next::Go);
        }
        let max = self.line_max;
        self.context.metrics.event_read_fail.inc();
        tracing::warn!(source = %self.context.name, peer = %self.peer, max, "line too long, closing");
        self.answer(&format!("FAILED: Event exceeds the maximum length ({max} chars, including newline)\n"))
            .await?;
        Ok(Next::Close)
    }

    /// Puts the lines of `text` that lie at `ranges`, and answers each.
    async fn put(&mut self, ranges: &[Range<usize>]) -> io::Result<()> {
        // A put that is too large for the channel is put in halves: which lines came together is chance.
        let mut halves = vec![ranges];
        while let Some(ranges) = halves.pop() {
            let mut batch = Batch::new();
            for range in ranges {
                batch.push(&self.text.as_bytes()[range.clone()]);
            }
            let result = match self.context.put(batch).await {
                Ok(ticket) => ticket.await,
                Err(refused) => Err(refused.error),
            };
            let answer = match result {
                Ok(()) if self.ack => "OK\n".to_string(),
                Ok(()) => continue,
                Err(PutError::TooLarge { .. }) if ranges.len() > 1 => {
                    let (first, second) = ranges.split_at(ranges.len() / 2);
                    halves.extend([second, first]);
                    continue;
                }
                Err(error) => {
                    tracing::warn!(source = %self.context.name, peer = %self.peer, %error, "lines refused");
                    format!("FAILED: {}\n", error.to_string().replace(['\n', '\r'], " "))
                }
            };
            self.answer(&answer.repeat(ranges.len())).await?;
        }
        Ok(())
    }

    /// Sends an answer; a client that does not read it cannot hold up a stop.
    async fn answer(&mut self, text: &str) -> io::Result<()> {
        let bytes = self.charset.encode(text);
        // A byte order mark stands before the first answer alone.
        self.charset = self.charset.settled(&bytes).0;
        let stopped = async {
            self.context.shutdown.cancelled().await;
            tokio::time::sleep(ANSWER_AT_STOP).await;
        };
        tokio::select! {
            biased;
            written = self.stream.write_all(&bytes) => written,
            () = stopped => Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answers")),
        }
    }

    /// Reads on for a moment, so that the client gets the answer before the connection is gone.
    async fn discard(&mut self) {
        let mut waste = [0; READ_BYTES];
        let read_on = async { while matches!(self.stream.read(&mut waste).await, Ok(n) if n > 0) {} };
        tokio::select! {
            () = read_on => {}
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
            () = self.context.shutdown.cancelled() => {}
        }
    }
}

/// Whether a line without its end leaves no room for it among `max` characters, counted as Java does.
fn is_too_long(line: &str, max: usize) -> bool {
    line.len() >= max && line.encode_utf16().count() >= max
}
