use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use super::spec;
use crate::testing::{FakeEngine, Fate, PATIENCE, Running, eventually, free_port, problems};

struct Stage {
    engine: Arc<FakeEngine>,
    running: Running,
    port: u16,
}

const BLOB: &str = "org.apache.flume.source.http.BLOBHandler";
const TYPED: &str = "org.apache.flume.sink.solr.morphline.BlobHandler";

impl Stage {
    fn new(extra: &[(&str, &str)]) -> Self {
        let port = free_port();
        let number = port.to_string();
        let keys = [&[("bind", "127.0.0.1"), ("port", number.as_str())], extra].concat();
        let engine = FakeEngine::new();
        let running = Running::start(&spec(), &engine, &keys);
        eventually(|| "it listens".into(), || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { engine, running, port }
    }

    /// Sends a request, with `head` for its first line and further headers, and returns the answer.
    fn ask(&self, head: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let (first, headers) = head.split_once('\n').unwrap_or((head, ""));
        let headers: String = headers.lines().map(|line| format!("{line}\r\n")).collect();
        let length = body.len();
        let head = format!(
            "{first} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // It may be refused before all of it is sent.
        let _refused_early = stream.write_all(body);
        let mut answer = String::new();
        let _reset_behind_the_answer = stream.read_to_string(&mut answer);
        answer
    }

    /// The status of the answer.
    fn status(&self, head: &str, body: impl AsRef<[u8]>) -> u16 {
        let answer = self.ask(head, body.as_ref());
        answer.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {answer:?}")).parse().unwrap()
    }

    fn events(&self) -> Vec<String> {
        let state = self.engine.state();
        state
            .events
            .iter()
            .map(|event| format!("{} {}", event.headers, String::from_utf8_lossy(&event.body)))
            .collect()
    }
}

const TWO: &str = r#"[{"headers":{"a":"b"},"body":"one"},{"body":"two"}]"#;

#[test]
fn a_request_s_events_are_put_together_and_answered_with_200_and_nothing() {
    let stage = Stage::new(&[]);
    let answer = stage.ask("POST /any/path?x=y\nContent-Type: application/json", TWO.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert_eq!(stage.events(), ["{a=b} one", "{} two"]);
    assert_eq!(stage.engine.state().puts, [2]);
    assert_eq!(stage.status("GET /", TWO), 200, "GET is handled as POST");
    assert_eq!(stage.status("POST /", "[]"), 200);
    let metrics = &stage.running.context.metrics;
    assert_eq!((metrics.append_batch_received.get(), metrics.append_batch_accepted.get()), (3, 3));
    stage.running.stop();
}

#[test]
fn other_methods_are_answered_as_flume_does() {
    let stage = Stage::new(&[]);
    for (method, status) in
        [("TRACE", 403), ("OPTIONS", 403), ("PUT", 405), ("DELETE", 405), ("PATCH", 501), ("MINE", 501)]
    {
        assert_eq!(stage.status(&format!("{method} /"), ""), status, "{method}");
    }
    assert!(stage.ask("PUT /", b"").to_lowercase().contains("allow: post, get, head"));
    stage.running.stop();
}

#[test]
fn what_is_no_request_for_the_handler_is_refused_and_counted() {
    let stage = Stage::new(&[("maxRequestBytes", "1000")]);
    for (head, body, status) in [
        ("POST /", "{\"body\":\"x\"}", 400),
        ("POST /", "[{\"body\":", 400),
        ("POST /", "", 500),
        ("POST /", "[null]", 500),
        ("POST /\nContent-Type: text/plain; charset=ISO-8859-1", TWO, 500),
        ("POST /", &"x".repeat(1001), 413),
    ] {
        assert_eq!(stage.status(head, body), status, "{head} {body}");
    }
    let mut stream = TcpStream::connect(("127.0.0.1", stage.port)).unwrap();
    let chunk = format!("7d0\r\n{}\r\n0\r\n\r\n", "x".repeat(2000));
    stream.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    stream.write_all(chunk.as_bytes()).unwrap();
    let mut answer = String::new();
    let _reset_behind_the_answer = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(stage.events().is_empty());
    assert_eq!(stage.running.context.metrics.event_read_fail.get(), 7);
    stage.running.stop();
}

#[test]
fn bytes_that_are_no_http_end_their_own_connection_alone() {
    let stage = Stage::new(&[]);
    let mut waiting = TcpStream::connect(("127.0.0.1", stage.port)).unwrap();
    waiting
        .write_all(b"POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[")
        .unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", stage.port)).unwrap();
    stream.write_all(b"\x16\x03\x01\x02\0\x01\0garbage\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{answer:?}");
    waiting.write_all(b"]").unwrap();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    stage.running.stop();
}

#[test]
fn a_channel_without_room_is_503_and_200_after() {
    let stage = Stage::new(&[]);
    for fate in [Fate::Full, Fate::Failing, Fate::Lost] {
        stage.engine.state().fates = [fate].into();
        let answer = stage.ask("POST /", TWO.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("channel c1"), "{answer}");
    }
    assert_eq!(stage.status("POST /", TWO), 200);
    assert_eq!(stage.events().len(), 2);
    stage.engine.state().largest_body = Some(3);
    assert_eq!(stage.status("POST /", TWO), 413, "more than the channel ever takes at once");
    let metrics = &stage.running.context.metrics;
    assert_eq!((metrics.append_batch_received.get(), metrics.append_batch_accepted.get()), (5, 1));
    stage.running.stop();
}

#[test]
fn a_body_is_an_event_for_the_blob_handlers() {
    let stage = Stage::new(&[("handler", BLOB), ("handler.mandatoryParameters", "app, zone")]);
    assert_eq!(stage.status("POST /?app=shop", "x"), 400);
    assert_eq!(stage.status("POST /?app=shop&zone=eu&app=y", "any \0 bytes"), 200);
    assert_eq!(stage.events(), ["{app=shop, zone=eu} any \0 bytes"]);
    stage.running.stop();
    let stage = Stage::new(&[("handler", BLOB)]);
    assert_eq!(stage.status("POST /", "x"), 200);
    stage.running.stop();
    let stage = Stage::new(&[("handler", TYPED), ("handler.maxBlobLength", "4")]);
    assert_eq!(stage.status("POST /?a=b\nContent-Type: image/png", "12345"), 200);
    assert_eq!(stage.events(), ["{Content-Type=image/png, a=b} 1234", "{Content-Type=image/png, a=b} 5"]);
    stage.running.stop();
}

#[test]
fn a_stop_answers_what_is_in_hand_and_waits_for_no_one_else() {
    let stage = Stage::new(&[]);
    let mut idle = TcpStream::connect(("127.0.0.1", stage.port)).unwrap();
    idle.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n[]").unwrap();
    let mut half = TcpStream::connect(("127.0.0.1", stage.port)).unwrap();
    half.write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    // It is in hand: its body is asked for.
    let mut go_on = [0; 25];
    half.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    half.write_all(b"[").unwrap();
    let accepted = &stage.running.context.metrics.append_batch_accepted;
    eventually(|| "the first is answered".into(), || accepted.get() == 1);
    let started = std::time::Instant::now();
    stage.running.stop();
    assert!(started.elapsed() < PATIENCE, "{:?}", started.elapsed());
    let mut answer = String::new();
    half.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
}

#[test]
fn keys_that_are_wrong_are_refused_by_name() {
    let of = |extra: &[(&str, &str)]| problems(&spec(), extra).join("; ");
    assert!(of(&[]).contains("port: required key is missing"));
    assert!(of(&[("port", "1"), ("handler", "com.example.Mine")]).contains("JSONHandler"));
    for key in
        ["QueuedThreadPool.maxThreads", "HttpConfiguration.sendServerVersion", "ServerConnector.idleTimeout"]
    {
        assert!(of(&[("port", "1"), (key, "9")]).contains(&format!("warning: a1.sources.r1.{key}")), "{key}");
    }
    assert!(of(&[("port", "1"), ("enableSSL", "true")]).contains("old name; write ssl"));
    assert!(
        of(&[("port", "1"), ("SslContextFactory.needClientAuth", "true")]).contains("anybody could send")
    );
}
