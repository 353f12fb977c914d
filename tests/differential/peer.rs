//! Whom a case's sinks send to: each side has one of its own, and what it heard is compared.

use std::path::Path;

use crate::ngircd::{Ngircd, Reader};
use crate::web::{Answer, Request, Web};

/// What a case wants.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// A web server. A body that begins with a status is answered with it: `503 once` for the first time alone, then with
    /// 200; `302 away` with another place to go to; `404 empty` without a body.
    Web,
    /// An IRC server, in whose channel `#logs` somebody listens.
    Irc,
}

/// One that runs; it ends when dropped.
pub enum Running {
    Web(Web),
    Irc { port: u16, reader: Reader, _server: Ngircd },
}

impl Peer {
    /// Starts it, with its files in `directory`. `free_port` is where it listens, unless it finds a port by itself.
    pub fn start(self, directory: &Path, free_port: impl FnOnce() -> u16) -> Running {
        match self {
            Self::Web => Running::Web(Web::start(answer)),
            Self::Irc => {
                let port = free_port();
                let server = Ngircd::start(directory, port).unwrap();
                Running::Irc { port, reader: Reader::join(port, "#logs"), _server: server }
            }
        }
    }
}

impl Running {
    pub fn port(&self) -> u16 {
        match self {
            Self::Web(web) => web.port,
            Self::Irc { port, .. } => *port,
        }
    }

    /// What it heard so far, in its order.
    pub fn heard(&self) -> Vec<String> {
        match self {
            Self::Web(web) => web.requests().iter().map(shown).collect(),
            Self::Irc { reader, .. } => reader.said(),
        }
    }
}

/// What the keys of the http sink decide of a request.
fn shown(request: &Request) -> String {
    let Request { method, path, body, .. } = request;
    let [accept, content_type] = ["accept", "content-type"].map(|name| request.header(name));
    format!("{method} {path} {content_type}, wants {accept}: {body}")
}

fn answer(request: &Request, times: usize) -> Answer {
    let mut words = request.body.split(' ');
    let status = words.next().and_then(|word| word.parse().ok()).unwrap_or(200);
    match words.next() {
        Some("once") if times > 1 => Answer { status: 200, headers: "", body: "taken" },
        Some("away") => Answer { status, headers: "Location: /away\r\n", body: "not here" },
        Some("empty") => status.into(),
        _ => Answer { status, headers: "", body: "so it is" },
    }
}
