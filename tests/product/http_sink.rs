//! The http sink and what it does after each answer, up to the dead letter.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::world::{PATIENCE, World, eventually};

/// taildir → file channel → http, to the server at `@PORT@`.
const TAIL_TO_HTTP: &str = "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
    a1.sources.r1.type = TAILDIR\na1.sources.r1.positionFile = @DIR@/position.json\n\
    a1.sources.r1.filegroups = f1\na1.sources.r1.filegroups.f1 = @DIR@/in/.*log\na1.sources.r1.channels = c1\n\
    a1.channels.c1.type = file\na1.channels.c1.checkpointDir = @DIR@/checkpoint\na1.channels.c1.dataDirs = @DIR@/data\n\
    a1.sinks.k1.type = http\na1.sinks.k1.endpoint = http://127.0.0.1:@PORT@/in\na1.sinks.k1.channel = c1\n\
    a1.sinks.k1.rollback.2XX = false\na1.sinks.k1.defaultBackoff = false\n";

/// A server that answers a body with what `answer` says, given the body and how often it came.
pub struct Server {
    pub port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&str, usize) -> u16 + Send + Sync + 'static) -> Self {
        let answer = Arc::new(answer);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let bodies = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (bodies, answer) = (bodies.clone(), answer.clone());
                std::thread::spawn(move || serve(stream.unwrap(), &*answer, &bodies));
            }
        });
        Self { port, seen }
    }

    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn serve(stream: TcpStream, answer: impl Fn(&str, usize) -> u16, seen: &Mutex<Vec<String>>) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut stream = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if !stream.read_line(&mut line).is_ok_and(|read| read > 0) {
                return;
            }
            if let Some(text) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = text.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).unwrap();
        let body = String::from_utf8(body).unwrap();
        let status = {
            let mut seen = seen.lock().unwrap();
            seen.push(body.clone());
            answer(&body, seen.iter().filter(|other| **other == body).count())
        };
        write!(stream.get_mut(), "HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").unwrap();
    }
}

fn world(server: &Server, keys: &str) -> World {
    World::new(&format!("{TAIL_TO_HTTP}{keys}").replace("@PORT@", &server.port.to_string()))
}

#[test]
fn an_event_is_posted_until_the_answer_releases_it_and_those_behind_it_wait() {
    let server = Server::start(|body, times| if body == "two" && times < 3 { 503 } else { 200 });
    let world = world(&server, "");
    world.append("in/a.log", "one\ntwo\nthree\n");
    let agent = world.start();
    let all = ["one", "two", "two", "two", "three"];
    eventually(|| server.seen().len() >= all.len(), || format!("{:?}", server.seen()));
    agent.stop();
    assert_eq!(server.seen(), all);
    // What is released does not come again.
    let agent = world.start();
    world.append("in/a.log", "four\n");
    eventually(|| server.seen().len() > all.len(), || format!("{:?}", server.seen()));
    agent.stop();
    assert_eq!(server.seen()[all.len()..], ["four"]);
}

#[test]
fn a_refused_event_goes_to_the_dead_letters_channel_and_holds_nobody_up() {
    let server = Server::start(|body, _| if body.starts_with("bad") { 400 } else { 200 });
    let keys = "a1.channels = c1 c2\na1.channels.c2.type = file\na1.channels.c2.checkpointDir = @DIR@/2/checkpoint\n\
                a1.channels.c2.dataDirs = @DIR@/2/data\na1.sinks = k1 k2\na1.sinks.k2.type = file_roll\n\
                a1.sinks.k2.sink.directory = @DIR@/out\na1.sinks.k2.sink.rollInterval = 0\na1.sinks.k2.channel = c2\n\
                a1.sinks.k2.sink.serializer = header_and_text\n\
                a1.sinks.k1.refuse.4XX = true\na1.sinks.k1.deadLetter.type = channel\na1.sinks.k1.deadLetter.channel = c2\n";
    // A later line of the same key wins.
    let world = world(&server, keys);
    world.append("in/a.log", "one\nbad two\nthree\nbad four\n");
    let agent = world.start();
    let dead = || String::from_utf8(world.output()).unwrap();
    eventually(
        || dead().lines().count() == 2 && server.seen().len() == 4,
        || format!("{} {:?}", dead(), server.seen()),
    );
    agent.stop();
    assert_eq!(server.seen(), ["one", "bad two", "three", "bad four"], "each is posted once");
    let dead = dead();
    for (line, body) in dead.lines().zip(["bad two", "bad four"]) {
        assert!(line.ends_with(&format!("}} {body}")), "{line}");
        assert!(line.contains("deadLetter.sink=k1") && line.contains("answered 400"), "{line}");
    }
}

#[test]
fn a_refused_event_goes_to_the_dead_letters_file_for_any_sink() {
    // Lines of text are no Avro datums.
    let keys = "a1.sinks.k1.sink.serializer = org.apache.flume.sink.hdfs.AvroEventSerializer$Builder\n\
                a1.sinks.k1.deadLetter.type = file\na1.sinks.k1.deadLetter.file = @DIR@/dead.json\n";
    let world = World::new(&format!("{}{keys}", crate::world::DURABLE_TAIL));
    world.append("in/a.log", "one\ntwo\n");
    let agent = world.start();
    let dead = || fs::read_to_string(world.path("dead.json")).unwrap_or_default();
    eventually(|| dead().lines().count() == 2, dead);
    let said = agent.stop();
    assert!(said.contains("2 events were refused and went to the dead letter"), "{said}");
    for (line, body) in dead().lines().zip(["one", "two"]) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["body"], body);
        assert!(
            line["headers"]["deadLetter.reason"].as_str().unwrap().contains("flume.avro.schema.url"),
            "{line}"
        );
    }
}

#[test]
fn a_dead_letter_that_cannot_be_is_found_by_check() {
    let server = Server::start(|_, _| 200);
    for (keys, expected) in [
        ("type = channel\n", "deadLetter.channel: required key is missing"),
        ("type = channel\na1.sinks.k1.deadLetter.channel = c1\n", "the sink's own channel"),
        ("type = channel\na1.sinks.k1.deadLetter.channel = c9\n", "there is no channel `c9`"),
        ("type = file\n", "deadLetter.file: required key is missing"),
        ("type = kafka\n", "not one of: off, channel, file"),
        ("file = /x\n", "ignored: `deadLetter.type` is off"),
        ("typo = off\n", "did you mean `deadLetter.type`"),
    ] {
        let world = world(&server, &format!("a1.sinks.k1.deadLetter.{keys}"));
        let output = world.check();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(expected), "{expected} in {said}");
    }
}
