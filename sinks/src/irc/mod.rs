//! `irc`: says each event's body in an IRC channel.
//!
//! Flume writes to the socket and takes that for delivered. Here a take is released once the server has answered a ping
//! that was sent behind its messages, so what a dying connection swallows comes again. Texts that are longer than a line
//! of the protocol are said in several, and a line end inside a message is a blank: in Flume what follows it is a command
//! to the server.
//!
//! A server that does not take a message does not say which. With a dead letter for it to go to, the take is said once more,
//! one event after the other; where none at all is taken it is not the events' fault.

mod connection;
mod message;
mod settings;
#[cfg(test)]
mod tests;

use std::ops::Range;

use async_trait::async_trait;
use flumen_api::TakeLimit;
use flumen_api::chunk::Events;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_api::sink::{Sink, SinkContext, SinkError};
use flumen_java::JavaRegex;

use connection::{Account, Connection};
pub use settings::IrcSettings;

/// Events of one take, which are said again if the server does not confirm them. Flume takes one.
const TAKE_EVENTS: usize = 10;

/// The type for the registry.
pub fn spec() -> Spec {
    Spec {
        alias: "irc",
        class_names: &["org.apache.flume.sink.irc.IRCSink"],
        keys: IrcSettings::KEYS,
        doc: "Says each event's body in an IRC channel. An event is released once the server has confirmed that it took \
              the message.",
        factory: Factory::Sink(build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Sink>> {
    Some(Built { component: Box::new(IrcSink::from_config(config, problems)?), batch_size: None })
}

/// The sink.
struct IrcSink {
    account: Account,
    split: bool,
    /// What stands between the lines of a body.
    separator: JavaRegex,
    running: Option<SinkContext>,
    connection: Option<Connection>,
}

impl IrcSink {
    fn from_config(config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let settings = IrcSettings::load(config, problems)?;
        let before = problems.errors();
        let word = |key: &str, text: &Option<String>, problems: &mut Problems| {
            if text.as_ref().is_some_and(|text| !message::is_word(text)) {
                problems.error(config, key, "this cannot stand in a line of the protocol as one word");
            }
        };
        word("nick", &Some(settings.nick.clone()), problems);
        word("user", &settings.user, problems);
        word("password", &settings.password, problems);
        word("chan", &Some(settings.chan.clone()), problems);
        if settings.chan.contains(',') {
            problems.error(config, "chan", "one channel, not a list of them");
        } else if settings.chan.starts_with('#') {
            let message = format!("a # is put before it: the channel is #{}", settings.chan);
            problems.warn(config, "chan", message);
        }
        let separator = JavaRegex::new(settings.split_chars.as_deref().unwrap_or("\n"));
        let separator = separator.map_err(|error| problems.error(config, "splitchars", error));
        if problems.errors() > before {
            return None;
        }
        let name = settings.name.unwrap_or_else(|| settings.nick.clone());
        Some(Self {
            account: Account {
                host: settings.hostname,
                port: settings.port,
                user: settings.user.unwrap_or_else(|| settings.nick.clone()),
                nick: settings.nick,
                password: settings.password,
                name: message::in_one_line(&name),
                channel: format!("#{}", settings.chan),
            },
            split: settings.split_lines,
            separator: separator.ok()?,
            running: None,
            connection: None,
        })
    }

    /// Says all; the error is what the server refused of it.
    async fn say(&mut self, events: &Events) -> Result<Result<(), SinkError>, String> {
        self.connect().await?;
        let said = self.say_range(events, 0..events.len()).await?;
        let (Some(why), Some(context)) = (said, &self.running) else { return Ok(Ok(())) };
        let context = context.clone();
        if events.len() < 2 || context.refuse("", vec![0]).refused.is_empty() {
            return Err(why);
        }
        let (mut refused, mut reason) = (Vec::new(), why);
        for at in 0..events.len() {
            if let Some(why) = self.say_range(events, at..at + 1).await? {
                refused.push(at as u32);
                reason = why;
            }
        }
        match refused.len() {
            0 => Ok(Ok(())),
            all if all == events.len() => Err(reason),
            _ => Ok(Err(context.refuse(reason, refused))),
        }
    }

    async fn connect(&mut self) -> Result<(), String> {
        match &self.connection {
            Some(_) => Ok(()),
            None => {
                let opened = Connection::open(&self.account).await;
                if let Some(context) = &self.running {
                    let metrics = &context.metrics;
                    if opened.is_ok() {
                        metrics.connection_created.inc()
                    } else {
                        metrics.connection_failed.inc()
                    }
                }
                let opened = opened?;
                let Account { host, port, channel, .. } = &self.account;
                tracing::info!("in {channel} at {host}:{port} as {}", opened.nick());
                self.connection = Some(opened);
                Ok(())
            }
        }
    }

    /// Says some of the events, and returns what the server says of one that it does not take.
    async fn say_range(&mut self, events: &Events, range: Range<usize>) -> Result<Option<String>, String> {
        let Some(connection) = &mut self.connection else { return Err("there is no connection".into()) };
        for event in events.iter().skip(range.start).take(range.len()) {
            let body = String::from_utf8_lossy(event.body);
            match self.split {
                true => {
                    for line in message::lines(&body, &self.separator) {
                        connection.say(&line).await?;
                    }
                }
                false => connection.say(&body).await?,
            }
        }
        connection.confirm().await
    }

    fn after(&mut self, result: Result<Result<(), SinkError>, String>) -> Result<(), SinkError> {
        result.unwrap_or_else(|why| {
            self.hang_up();
            Err(SinkError::plain(why))
        })
    }

    fn hang_up(&mut self) {
        if let (Some(_), Some(context)) = (self.connection.take(), &self.running) {
            context.metrics.connection_closed.inc();
        }
    }
}

#[async_trait]
impl Sink for IrcSink {
    fn take_limit(&self) -> TakeLimit {
        TakeLimit::events(TAKE_EVENTS)
    }

    async fn start(&mut self, context: &SinkContext) -> Result<(), SinkError> {
        self.running = Some(context.clone());
        // Connects now, as Flume does, and fails if that fails.
        let result = self.say(&Events::new()).await;
        self.after(result)
    }

    async fn deliver(&mut self, events: &Events) -> Result<(), SinkError> {
        let result = self.say(events).await;
        self.after(result)
    }

    async fn idle(&mut self) -> Result<(), SinkError> {
        let Some(connection) = &mut self.connection else { return Ok(()) };
        if let Err(why) = connection.attend().await {
            // Nothing is lost: the next event finds a new connection.
            tracing::warn!("the connection to {} is gone: {why}", self.account.host);
            self.hang_up();
        }
        Ok(())
    }

    async fn stop(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.close().await;
        }
        self.hang_up();
        self.running = None;
    }
}
