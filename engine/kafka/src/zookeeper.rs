//! What Flume 1.6's configurations leave to ZooKeeper: where the brokers are, and offsets of a group.
//!
//! ```text
//!   connect   length, version 0, zxid 0, timeout, session 0, 16 bytes password, read-only 0      numbers are big-endian
//!   request   length, xid, type (4 data, 8 children, -11 goodbye), path with its length, watch 0
//!   answer    length, xid, zxid u64, error; data with its length and 68 bytes of status | count of children, each with its length
//!
//!   /brokers/ids/<id>                               {"endpoints": ["PLAINTEXT://host:port"], "host": …, "port": …}
//!   /consumers/<group>/offsets/<topic>/<partition>  the next offset, in digits
//! ```
//!
//! A session for a few questions; nothing is written, nothing watched.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::member::Partition;

/// How long connecting and each answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// No answer of these is larger.
const ANSWER_MAX: usize = 1 << 20;
const DATA: i32 = 4;
const CHILDREN: i32 = 8;
const GOODBYE: i32 = -11;
const NO_NODE: i32 = -101;

/// Offsets that Flume 1.6 kept there, for groups that have none in Kafka.
pub struct OldOffsets<'a> {
    servers: Option<&'a str>,
    group: &'a str,
    session: Option<ZooKeeper>,
}

impl<'a> OldOffsets<'a> {
    /// Those of `group`; without servers there are none.
    pub fn new(servers: Option<&'a str>, group: &'a str) -> Self {
        Self { servers, group, session: None }
    }

    /// The next offset that the group would read.
    pub fn of(&mut self, (topic, partition): &Partition) -> Result<Option<u64>, String> {
        let Some(servers) = self.servers else { return Ok(None) };
        let session = match &mut self.session {
            Some(session) => session,
            none => none.insert(ZooKeeper::connect(servers)?),
        };
        let offset = session.offset(self.group, topic, *partition)?;
        if let Some(offset) = offset {
            tracing::info!(group = %self.group, %topic, partition, offset, "taken over from ZooKeeper");
        }
        Ok(offset)
    }
}

/// A session.
pub struct ZooKeeper {
    stream: TcpStream,
    /// In front of every path.
    root: String,
    xid: i32,
}

impl ZooKeeper {
    /// Connects to the first server of `host:port,host:port/root` that answers.
    pub fn connect(text: &str) -> Result<Self, String> {
        let (servers, root) = match text.find('/') {
            Some(at) => (&text[..at], text[at..].trim_end_matches('/')),
            None => (text, ""),
        };
        let mut why = "no server is named".to_string();
        for server in servers.split(',').map(str::trim).filter(|server| !server.is_empty()) {
            match Self::begin(server, root) {
                Ok(session) => return Ok(session),
                Err(error) => why = format!("ZooKeeper {server}: {error}"),
            }
        }
        Err(why)
    }

    fn begin(server: &str, root: &str) -> io::Result<Self> {
        let named = if server.contains(':') { server.to_string() } else { format!("{server}:2181") };
        let address = named.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("it has no address"))?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut session = Self { stream, root: root.into(), xid: 0 };
        let mut hello = Vec::new();
        hello.extend_from_slice(&0_i32.to_be_bytes());
        hello.extend_from_slice(&0_i64.to_be_bytes());
        hello.extend_from_slice(&30_000_i32.to_be_bytes());
        hello.extend_from_slice(&0_i64.to_be_bytes());
        hello.extend_from_slice(&16_i32.to_be_bytes());
        hello.extend_from_slice(&[0; 17]);
        session.send(&hello)?;
        session.receive()?;
        Ok(session)
    }

    /// `host:port` of each broker, separated by commas.
    pub fn brokers(&mut self) -> Result<String, String> {
        let ids =
            self.children("/brokers/ids").map_err(|error| format!("ZooKeeper: /brokers/ids: {error}"))?;
        let mut brokers = Vec::new();
        for id in ids {
            let path = format!("/brokers/ids/{id}");
            let data = self.data(&path).map_err(|error| format!("ZooKeeper: {path}: {error}"))?;
            brokers.extend(data.as_deref().and_then(address));
        }
        match brokers.is_empty() {
            true => Err("ZooKeeper knows no broker that speaks without TLS".into()),
            false => Ok(brokers.join(",")),
        }
    }

    /// The next offset that the group would read.
    pub fn offset(&mut self, group: &str, topic: &str, partition: i32) -> Result<Option<u64>, String> {
        let path = format!("/consumers/{group}/offsets/{topic}/{partition}");
        let data = self.data(&path).map_err(|error| format!("ZooKeeper: {path}: {error}"))?;
        match data {
            None => Ok(None),
            Some(data) => match std::str::from_utf8(&data).ok().and_then(|text| text.trim().parse().ok()) {
                Some(offset) => Ok(Some(offset)),
                None => Err(format!("ZooKeeper: {path} holds no offset")),
            },
        }
    }

    fn children(&mut self, path: &str) -> io::Result<Vec<String>> {
        let Some(answer) = self.ask(CHILDREN, path)? else { return Ok(Vec::new()) };
        let mut answer = Reader(&answer);
        let count = answer.length()?;
        let mut names = Vec::new();
        for _ in 0..count {
            let length = answer.length()?;
            names.push(String::from_utf8_lossy(answer.bytes(length)?).into_owned());
        }
        Ok(names)
    }

    fn data(&mut self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let Some(answer) = self.ask(DATA, path)? else { return Ok(None) };
        let mut answer = Reader(&answer);
        let length = answer.length()?;
        Ok(Some(answer.bytes(length)?.to_vec()))
    }

    /// The answer behind its head; `None` where there is no such node.
    fn ask(&mut self, what: i32, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.xid += 1;
        let path = format!("{}{path}", self.root);
        let mut request = Vec::new();
        request.extend_from_slice(&self.xid.to_be_bytes());
        request.extend_from_slice(&what.to_be_bytes());
        request.extend_from_slice(&(path.len() as i32).to_be_bytes());
        request.extend_from_slice(path.as_bytes());
        request.push(0);
        self.send(&request)?;
        let answer = self.receive()?;
        let mut head = Reader(&answer);
        let xid = head.number()?;
        head.bytes(8)?;
        let error = head.number()?;
        match error {
            _ if xid != self.xid => Err(io::Error::other("an answer to another question")),
            0 => Ok(Some(head.0.to_vec())),
            NO_NODE => Ok(None),
            _ => Err(io::Error::other(format!("error {error}"))),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let framed = [&(bytes.len() as i32).to_be_bytes(), bytes].concat();
        self.stream.write_all(&framed)
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let length = usize::try_from(i32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if length > ANSWER_MAX {
            return Err(io::Error::other("it does not speak ZooKeeper's protocol"));
        }
        let mut answer = vec![0; length];
        self.stream.read_exact(&mut answer)?;
        Ok(answer)
    }
}

impl Drop for ZooKeeper {
    /// The server forgets the session at once.
    fn drop(&mut self) {
        let goodbye = [0_i32.to_be_bytes(), GOODBYE.to_be_bytes()].concat();
        let _gone_anyway = self.send(&goodbye);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, count: usize) -> io::Result<&'a [u8]> {
        let (head, rest) =
            self.0.split_at_checked(count).ok_or_else(|| io::Error::other("an answer that ends early"))?;
        self.0 = rest;
        Ok(head)
    }

    fn number(&mut self) -> io::Result<i32> {
        let bytes = self.bytes(4)?;
        Ok(i32::from_be_bytes(bytes.try_into().map_err(io::Error::other)?))
    }

    fn length(&mut self) -> io::Result<usize> {
        usize::try_from(self.number()?).or(Ok(0))
    }
}

/// A broker's address for clients without TLS.
fn address(data: &[u8]) -> Option<String> {
    let broker: serde_json::Value = serde_json::from_slice(data).ok()?;
    let endpoints =
        broker["endpoints"].as_array().into_iter().flatten().filter_map(|endpoint| endpoint.as_str());
    let plain = ["PLAINTEXT://", "SASL_PLAINTEXT://"];
    let named =
        endpoints.filter_map(|endpoint| plain.iter().find_map(|prefix| endpoint.strip_prefix(prefix))).next();
    match (named, broker["host"].as_str(), broker["port"].as_u64()) {
        (Some(address), _, _) => Some(address.to_string()),
        (None, Some(host), Some(port)) => Some(format!("{host}:{port}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that knows these nodes.
    fn serve(nodes: Vec<(&'static str, &'static str)>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a client");
            let receive = |stream: &mut TcpStream| {
                let mut length = [0; 4];
                stream.read_exact(&mut length).ok()?;
                let mut bytes = vec![0; u32::from_be_bytes(length) as usize];
                stream.read_exact(&mut bytes).ok()?;
                Some(bytes)
            };
            let send = |stream: &mut TcpStream, bytes: &[u8]| {
                stream.write_all(&[&(bytes.len() as u32).to_be_bytes(), bytes].concat()).expect("sent");
            };
            assert_eq!(receive(&mut stream).expect("a hello").len(), 45);
            send(&mut stream, &[0; 37]);
            while let Some(request) = receive(&mut stream).filter(|request| request.len() > 8) {
                let path = std::str::from_utf8(&request[12..request.len() - 1]).expect("a path");
                let text = |text: &str| [&(text.len() as u32).to_be_bytes(), text.as_bytes()].concat();
                let below = |path: &str| {
                    nodes
                        .iter()
                        .filter_map(|(node, _)| node.strip_prefix(&format!("{path}/")).map(str::to_string))
                        .collect::<Vec<_>>()
                };
                let (error, body) = match request[7] {
                    8 => {
                        let names: Vec<String> = below(path);
                        let mut body = (names.len() as u32).to_be_bytes().to_vec();
                        names.iter().for_each(|name| body.extend(text(name)));
                        (0, body)
                    }
                    _ => match nodes.iter().find(|(node, _)| *node == path) {
                        Some((_, data)) => (0, [text(data), vec![0; 68]].concat()),
                        None => (NO_NODE, Vec::new()),
                    },
                };
                let head = [&request[..4], &[0; 8], &error.to_be_bytes()].concat();
                send(&mut stream, &[head, body].concat());
            }
        });
        address
    }

    #[test]
    fn brokers_and_offsets_are_read_below_the_root() {
        let server = serve(vec![
            (
                "/k/brokers/ids/1",
                r#"{"endpoints":["SSL://a:9093","PLAINTEXT://a:9092"],"host":"x","port":1}"#,
            ),
            ("/k/brokers/ids/2", r#"{"host":"b","port":9092,"version":1}"#),
            ("/k/consumers/g/offsets/t/0", "42"),
            ("/k/consumers/g/offsets/t/1", "soon"),
        ]);
        let mut session = ZooKeeper::connect(&format!("{server}/k/")).expect("connected");
        assert_eq!(session.brokers().as_deref(), Ok("a:9092,b:9092"));
        assert_eq!(session.offset("g", "t", 0), Ok(Some(42)));
        assert!(session.offset("g", "t", 1).expect_err("no number").contains("/consumers/g/offsets/t/1"));
        assert_eq!(session.offset("g", "t", 2), Ok(None));
    }

    #[test]
    fn a_server_that_is_none_is_named() {
        let error = ZooKeeper::connect("127.0.0.1:1").map(drop).expect_err("nobody listens");
        assert!(error.contains("127.0.0.1:1"), "{error}");
        assert!(ZooKeeper::connect("").is_err());
    }
}
