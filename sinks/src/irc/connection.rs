//! A registered connection that has joined its channel.
//!
//! ```text
//!   we      PASS password │ NICK nick │ USER user 0 * :name        the server   001 …
//!   we      JOIN #chan                                             the server   366 … (end of names)
//!   we      PRIVMSG #chan :text …  PING :token                     the server   PONG … :token
//! ```
//!
//! The protocol acknowledges no message. A server answers in order, so the answer to a `PING` behind the messages says
//! that it has taken them, and complaints about them have come before it. One that concerns a message alone (404) leaves the
//! connection as it is.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::message::{Message, in_one_line, pieces, text_max};

/// How long connecting, registering and joining may take together.
const OPEN_MAX: Duration = Duration::from_secs(30);
/// How long a server may take over messages: those that write much are slowed down by it.
const CONFIRM_MAX: Duration = Duration::from_secs(120);
/// Messages between two confirmations: the server's own lines must be read meanwhile, or it hangs up.
const UNCONFIRMED_MAX: usize = 20;
/// Longest line of a server, tags included.
const SERVER_LINE_MAX: usize = 16 << 10;
/// How many times another nick is tried.
const NICKS_MAX: usize = 5;

/// Replies that are complaints about a join, or about messages to the channel whatever they are.
const CHANNEL_ERRORS: [u16; 13] = [403, 405, 407, 437, 442, 461, 471, 473, 474, 475, 476, 477, 489];
/// "Cannot send to channel": for what the message is, or for who sends it.
const CANNOT_SEND: u16 = 404;

/// Where to connect, and as whom.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub host: String,
    pub port: u16,
    pub nick: String,
    pub user: String,
    pub password: Option<String>,
    pub name: String,
    /// With its `#`.
    pub channel: String,
}

/// See the [module](self).
pub(super) struct Connection {
    stream: TcpStream,
    /// Read and not looked at.
    received: Vec<u8>,
    nick: String,
    channel: String,
    text_max: usize,
    unconfirmed: usize,
    /// What the server said of a message that it did not take, since the last confirmation.
    refused: Option<String>,
    tokens: u64,
}

impl Connection {
    /// Connects, registers and joins.
    pub async fn open(account: &Account) -> Result<Self, String> {
        let deadline = Instant::now() + OPEN_MAX;
        let opened = timeout_at(deadline, Self::open_now(account)).await;
        let opened = opened.unwrap_or_else(|_| Err(format!("not joined within {OPEN_MAX:?}")));
        opened.map_err(|why| format!("{}:{}: {why}", account.host, account.port))
    }

    async fn open_now(account: &Account) -> Result<Self, String> {
        let address = (account.host.as_str(), account.port);
        let stream = TcpStream::connect(address).await.map_err(|error| format!("cannot connect: {error}"))?;
        let mut connection = Self {
            stream,
            received: Vec::new(),
            nick: account.nick.clone(),
            channel: account.channel.clone(),
            text_max: 0,
            unconfirmed: 0,
            refused: None,
            tokens: 0,
        };
        connection.register(account).await?;
        connection.join().await?;
        connection.text_max = text_max(&connection.nick, &account.user, &account.channel);
        Ok(connection)
    }

    /// The name under which we appear.
    pub fn nick(&self) -> &str {
        &self.nick
    }

    async fn register(&mut self, account: &Account) -> Result<(), String> {
        let mut lines = String::new();
        if let Some(password) = &account.password {
            lines.push_str(&format!("PASS {password}\r\n"));
        }
        lines.push_str(&format!("NICK {}\r\nUSER {} 0 * :{}\r\n", account.nick, account.user, account.name));
        self.send(&lines).await?;
        let mut nicks = 1;
        loop {
            let message = self.next().await?;
            match message.number() {
                Some(1) => {
                    // The server may have shortened it.
                    if let Some(nick) = message.params.first() {
                        self.nick.clone_from(nick);
                    }
                    return Ok(());
                }
                Some(433 | 436 | 437) if nicks < NICKS_MAX => {
                    nicks += 1;
                    self.nick.push('_');
                    self.send(&format!("NICK {}\r\n", self.nick)).await?;
                }
                Some(number @ 400..=599) => return Err(format!("not admitted: {number} {}", message.text())),
                _ => {}
            }
        }
    }

    async fn join(&mut self) -> Result<(), String> {
        self.send(&format!("JOIN {}\r\n", self.channel)).await?;
        loop {
            let message = self.next().await?;
            match message.number() {
                Some(366) => return Ok(()),
                Some(number) if number == CANNOT_SEND || CHANNEL_ERRORS.contains(&number) => {
                    return Err(format!("cannot join {}: {number} {}", self.channel, message.text()));
                }
                _ => {}
            }
        }
    }

    /// Sends a text, in several messages if it is long. An empty one is none.
    pub async fn say(&mut self, text: &str) -> Result<(), String> {
        let text = in_one_line(text);
        for piece in pieces(&text, self.text_max) {
            self.send(&format!("PRIVMSG {} :{piece}\r\n", self.channel)).await?;
            self.unconfirmed += 1;
            if self.unconfirmed >= UNCONFIRMED_MAX {
                self.settle().await?;
            }
        }
        Ok(())
    }

    /// Returns once the server has taken what was said since the last time; or refused some of it, with its words.
    pub async fn confirm(&mut self) -> Result<Option<String>, String> {
        self.settle().await?;
        Ok(self.refused.take())
    }

    async fn settle(&mut self) -> Result<(), String> {
        if self.unconfirmed == 0 {
            return Ok(());
        }
        let deadline = Instant::now() + CONFIRM_MAX;
        match timeout_at(deadline, self.confirm_now()).await {
            Ok(confirmed) => confirmed,
            Err(_) => Err(format!("the server took no message within {CONFIRM_MAX:?}")),
        }
    }

    async fn confirm_now(&mut self) -> Result<(), String> {
        self.tokens += 1;
        let token = format!("flumen-{}", self.tokens);
        self.send(&format!("PING :{token}\r\n")).await?;
        loop {
            let message = self.next().await?;
            if message.command == "PONG" && message.text() == token {
                self.unconfirmed = 0;
                return Ok(());
            }
            self.look_at(&message)?;
        }
    }

    /// Answers what has come meanwhile, without waiting for more.
    pub async fn attend(&mut self) -> Result<(), String> {
        while let Ok(message) = timeout_at(Instant::now(), self.next()).await {
            self.look_at(&message?)?;
        }
        // Nothing of ours is unconfirmed: it is said of no message that waits.
        self.refused = None;
        Ok(())
    }

    /// Says good-bye, if that is possible at once.
    pub async fn close(&mut self) {
        let quit = self.send("QUIT\r\n");
        // Whoever does not read that is gone already.
        drop(timeout_at(Instant::now() + Duration::from_millis(100), quit).await);
    }

    /// Whether a line means that our messages do not get through.
    fn look_at(&mut self, message: &Message) -> Result<(), String> {
        if message.number() == Some(CANNOT_SEND) {
            self.refused = Some(format!("{}: {CANNOT_SEND} {}", self.channel, message.text()));
        }
        if let Some(number) = message.number().filter(|number| CHANNEL_ERRORS.contains(number)) {
            return Err(format!("{}: {number} {}", self.channel, message.text()));
        }
        let is_kicked = message.command == "KICK"
            && message.params.get(1).is_some_and(|nick| nick.eq_ignore_ascii_case(&self.nick));
        if is_kicked {
            return Err(format!("kicked from {}: {}", self.channel, message.text()));
        }
        Ok(())
    }

    async fn send(&mut self, lines: &str) -> Result<(), String> {
        self.stream.write_all(lines.as_bytes()).await.map_err(|error| format!("cannot send: {error}"))
    }

    /// The next line; pings are answered. May be dropped while it waits: what was read is kept.
    async fn next(&mut self) -> Result<Message, String> {
        loop {
            while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line);
                let Some(message) = Message::parse(line.trim_end_matches(['\r', '\n'])) else { continue };
                match message.command.as_str() {
                    "PING" => self.send(&format!("PONG :{}\r\n", message.text())).await?,
                    "ERROR" => return Err(format!("the server ends the connection: {}", message.text())),
                    _ => return Ok(message),
                }
            }
            if self.received.len() > SERVER_LINE_MAX {
                return Err(format!("a line of more than {SERVER_LINE_MAX} bytes"));
            }
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) => return Err("the server closed the connection".into()),
                Ok(_) => {}
                Err(error) => return Err(format!("cannot receive: {error}")),
            }
        }
    }
}
