//! What a case is made of.
//!
//! A case is a source, its channels and their sinks. In its keys `@R@`, `@C1@`, `@K1@` and `@G@` stand for the names of its
//! source, first channel, first sink and sink group, `@DIR@` for its directory, `@PORT@` for a port of its own and `@PEER@`
//! for that of its peer.

use crate::peer::Peer;

/// A row of the suite.
#[derive(Clone)]
pub struct Case {
    /// Letters, digits and underscores; the migration page names it as `differential:<name>`.
    pub name: &'static str,
    /// Keys of the source, as `key = value`.
    pub source: Vec<String>,
    /// How many channels it has: memory, with room for all.
    pub channels: usize,
    /// Sinks: the number of the channel, from 1, and keys that are added to a `file_roll` sink's or replace them. Empty: one
    /// sink a channel.
    pub sinks: Vec<(usize, &'static [&'static str])>,
    /// Whom its sinks send to.
    pub peer: Option<Peer>,
    /// Further lines of the agent, whole.
    pub agent: &'static [&'static str],
    /// What is put in, in this order.
    pub feed: Vec<Feed>,
    /// Events that Flume delivers to all sinks together; with a peer, what it hears.
    pub delivered: usize,
    /// How the outputs are compared.
    pub outputs: Outputs,
    /// Texts that cannot be the same: a regular expression, and what stands for it.
    pub masks: &'static [(&'static str, &'static str)],
    /// Counters that depend on the clock here, and are not compared.
    pub uncounted: &'static [&'static str],
    /// Counters that differ, as `SINK1 EventWriteFail`, with what they are in Flume and in Flumen.
    pub counted_otherwise: &'static [(&'static str, &'static str, &'static str)],
    /// What is left of the input, where it differs: by Flume, by Flumen.
    pub inputs_otherwise: Option<(&'static [&'static str], &'static [&'static str])>,
    /// Where Flumen is meant to differ.
    pub differs: Option<Differs>,
}

/// Input.
#[derive(Clone)]
pub enum Feed {
    /// A file below `@DIR@` that is there when the agent starts; the first of several is the oldest.
    File(&'static str, Vec<u8>),
    /// Bytes for the end of a file, after the start.
    Append(&'static str, Vec<u8>),
    /// Bytes over a connection of its own, then the end; the answers are compared.
    Tcp(Vec<u8>),
    /// Datagrams, from a socket of their own.
    Udp(Vec<Vec<u8>>),
    /// A request; the answer's status is compared.
    Http { method: &'static str, path: &'static str, content_type: &'static str, body: Vec<u8> },
}

/// How outputs are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outputs {
    /// Each sink's events, headers and body, in their order.
    Ordered,
    /// Each sink's events in any order.
    Sorted,
    /// All sinks' events together, in any order: which sink gets which is not promised.
    Together,
    /// Each sink's bytes as they are.
    Bytes,
    /// What each sink's Avro containers hold.
    Avro,
    /// Lines of the logger sink with this text.
    Logged(&'static str),
}

/// What each side does, where they differ, as the comparison shows it: one text a sink, the peer's, one an answer.
#[derive(Clone)]
pub struct Differs {
    pub flume: &'static [&'static str],
    pub flumen: &'static [&'static str],
    /// Events that Flumen delivers.
    pub delivered: usize,
}

impl Case {
    /// A case with one memory channel and one `file_roll` sink that writes headers and bodies.
    pub fn new(name: &'static str, source: &[&str]) -> Self {
        Self {
            name,
            source: source.iter().map(|key| (*key).to_string()).collect(),
            channels: 1,
            sinks: Vec::new(),
            peer: None,
            agent: &[],
            feed: Vec::new(),
            delivered: 0,
            outputs: Outputs::Ordered,
            masks: &[],
            uncounted: &[],
            counted_otherwise: &[],
            inputs_otherwise: None,
            differs: None,
        }
    }

    /// Lines over TCP into `netcat` with these further keys, all of which are delivered once.
    pub fn lines(name: &'static str, keys: &[&str], lines: &[&str]) -> Self {
        let mut case = Self::new(name, &["type = netcat", "bind = 127.0.0.1", "port = @PORT@"]);
        case.source.extend(keys.iter().map(|key| (*key).to_string()));
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        case.feed.push(Feed::Tcp(text.into()));
        case.delivered = lines.len();
        case
    }

    pub fn keys(mut self, keys: &[&str]) -> Self {
        self.source.extend(keys.iter().map(|key| (*key).to_string()));
        self
    }

    pub fn feed(mut self, feed: Feed) -> Self {
        self.feed.push(feed);
        self
    }

    pub fn delivers(mut self, events: usize) -> Self {
        self.delivered = events;
        self
    }

    pub fn channels(mut self, count: usize) -> Self {
        self.channels = count;
        self
    }

    pub fn sinks(mut self, sinks: &[(usize, &'static [&'static str])]) -> Self {
        self.sinks = sinks.to_vec();
        self
    }

    pub fn peer(mut self, peer: Peer) -> Self {
        self.peer = Some(peer);
        self
    }

    pub fn agent(mut self, lines: &'static [&'static str]) -> Self {
        self.agent = lines;
        self
    }

    pub fn outputs(mut self, outputs: Outputs) -> Self {
        self.outputs = outputs;
        self
    }

    pub fn masks(mut self, masks: &'static [(&'static str, &'static str)]) -> Self {
        self.masks = masks;
        self
    }

    pub fn uncounted(mut self, counters: &'static [&'static str]) -> Self {
        self.uncounted = counters;
        self
    }

    pub fn counted_otherwise(
        mut self,
        counters: &'static [(&'static str, &'static str, &'static str)],
    ) -> Self {
        self.counted_otherwise = counters;
        self
    }

    pub fn inputs_otherwise(
        mut self,
        flume: &'static [&'static str],
        flumen: &'static [&'static str],
    ) -> Self {
        self.inputs_otherwise = Some((flume, flumen));
        self
    }

    /// Whether the migration page has a row for it.
    pub fn deviates(&self) -> bool {
        self.differs.is_some() || self.inputs_otherwise.is_some() || !self.counted_otherwise.is_empty()
    }

    /// Flumen delivers `delivered` events, and the two sides show these texts.
    pub fn differs(
        mut self,
        delivered: usize,
        flume: &'static [&'static str],
        flumen: &'static [&'static str],
    ) -> Self {
        self.differs = Some(Differs { flume, flumen, delivered });
        self
    }

    /// Channel and keys of each sink.
    pub fn all_sinks(&self) -> Vec<(usize, Vec<String>)> {
        let given = match self.sinks.is_empty() {
            true => (1..=self.channels).map(|channel| (channel, &[][..])).collect(),
            false => self.sinks.clone(),
        };
        let sink = |(number, (channel, keys)): (usize, &(usize, &'static [&'static str]))| {
            let mut all: Vec<String> = vec![
                "type = file_roll".into(),
                format!("sink.directory = @DIR@/out{number}"),
                "sink.rollInterval = 0".into(),
                "sink.serializer = HEADER_AND_TEXT".into(),
            ];
            let name = |key: &str| key.split(' ').next().unwrap_or_default().to_string();
            if keys.iter().any(|key| name(key) == "type") {
                all.clear();
            }
            all.retain(|old| !keys.iter().any(|key| name(key) == name(old)));
            all.extend(keys.iter().map(|key| (*key).to_string()));
            (*channel, all)
        };
        (1..).zip(&given).map(sink).collect()
    }

    /// What the sides deliver: Flume, Flumen.
    pub fn delivered_by(&self, side: &str) -> usize {
        match &self.differs {
            Some(differs) if side == "flumen" => differs.delivered,
            _ => self.delivered,
        }
    }
}
