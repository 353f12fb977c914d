use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

use super::spec;
use crate::testing::{FakeEngine, Fate, Running, build, eventually, free_port, problems};

struct Stage {
    engine: Arc<FakeEngine>,
    running: Running,
    port: u16,
}

impl Stage {
    fn new(extra: &[(&str, &str)]) -> Self {
        let port = free_port();
        let number = port.to_string();
        let mut keys = vec![("bind", "127.0.0.1"), ("port", number.as_str())];
        keys.extend(extra);
        let engine = FakeEngine::new();
        let running = Running::start(&spec(), &engine, &keys);
        let stage = Self { engine, running, port };
        eventually(|| "it listens".into(), || TcpStream::connect(("127.0.0.1", port)).is_ok());
        stage
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }

    /// Sends all, closes the sending side, and returns all answers.
    fn talk(&self, text: &[u8]) -> String {
        String::from_utf8(self.talk_bytes(text)).unwrap()
    }

    fn talk_bytes(&self, text: &[u8]) -> Vec<u8> {
        let mut stream = self.connect();
        stream.write_all(text).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).unwrap();
        answers
    }
}

#[test]
fn each_line_is_an_event_and_is_answered() {
    let stage = Stage::new(&[]);
    assert_eq!(stage.talk(b"one\r\n\ntwo\nno end"), "OK\nOK\nOK\n");
    assert_eq!(stage.engine.bodies(), ["one\r", "", "two"]);
    stage.running.stop();
}

#[test]
fn lines_that_come_together_are_put_together() {
    let stage = Stage::new(&[]);
    let text: String = (0..250).map(|i| format!("{i}\n")).collect();
    assert_eq!(stage.talk(text.as_bytes()), "OK\n".repeat(250));
    assert_eq!(stage.engine.bodies(), (0..250).map(|i| i.to_string()).collect::<Vec<_>>());
    assert!(stage.engine.state().puts.len() < 10, "{:?}", stage.engine.state().puts);
    stage.running.stop();
}

#[test]
fn answers_come_while_the_client_waits() {
    let stage = Stage::new(&[]);
    let mut stream = stage.connect();
    for piece in [&b"hel"[..], b"lo\n"] {
        stream.write_all(piece).unwrap();
    }
    let mut answer = [0; 3];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"OK\n");
    // A client that stays connected does not hold up a stop.
    stage.running.stop();
}

#[test]
fn a_refused_or_failed_put_is_answered_with_why() {
    let stage = Stage::new(&[]);
    for fate in [Fate::Full, Fate::Lost] {
        stage.engine.state().fates = [fate].into();
        let answer = stage.talk(b"one\n");
        assert!(
            answer.starts_with("FAILED: channel c1") && answer.ends_with("as the test wants it\n"),
            "{answer}"
        );
    }
    assert_eq!(stage.talk(b"two\n"), "OK\n");
    assert_eq!(stage.engine.bodies(), ["two"]);
    stage.running.stop();
}

#[test]
fn lines_that_are_too_many_for_the_channel_are_put_in_order_all_the_same() {
    let stage = Stage::new(&[]);
    stage.engine.state().largest_body = Some(4);
    let answer = stage.talk(b"1111\n2222\n55555\n3333\n");
    let words: Vec<_> = answer.lines().map(|line| &line[..2]).collect();
    assert_eq!(words, ["OK", "OK", "FA", "OK"]);
    assert_eq!(stage.engine.bodies(), ["1111", "2222", "3333"]);
    stage.running.stop();
}

#[test]
fn a_line_that_is_too_long_ends_the_connection() {
    let stage = Stage::new(&[("max-line-length", "5")]);
    let failed = "FAILED: Event exceeds the maximum length (5 chars, including newline)\n";
    assert_eq!(stage.talk(b"1234\n12345\nnever\n"), format!("OK\n{failed}"));
    assert_eq!(stage.talk("äöü€\nxxxxxxxxxxxxxx".as_bytes()), format!("OK\n{failed}"));
    assert_eq!(stage.engine.bodies(), ["1234", "äöü€"]);
    stage.running.stop();
}

#[test]
fn a_line_may_be_16_mi_characters_long_and_no_longer() {
    let of = |length: &str| {
        problems(&spec(), &[("bind", "0.0.0.0"), ("port", "1"), ("max-line-length", length)]).join("; ")
    };
    assert_eq!(of("16777216"), "");
    for length in ["16777217", "9223372036854775807"] {
        assert!(of(length).contains("max-line-length") && of(length).contains("16777216"), "{}", of(length));
    }
}

#[test]
fn answers_can_be_left_out_and_other_character_sets_read() {
    let stage = Stage::new(&[("ack-every-event", "false"), ("encoding", "GBK")]);
    assert_eq!(stage.talk(b"\xd6\xd0\n"), "");
    assert_eq!(stage.engine.bodies(), ["中"]);
    stage.running.stop();
}

#[test]
fn answers_are_in_the_character_set_of_the_lines() {
    let stage = Stage::new(&[("encoding", "UTF-16")]);
    assert_eq!(stage.talk_bytes(b"\0a\0\n\0b\0\n\0c"), b"\xfe\xff\0O\0K\0\n\0O\0K\0\n");
    let mut stream = stage.connect();
    for (line, answer) in [(&b"\0d\0\n"[..], &b"\xfe\xff\0O\0K\0\n"[..]), (b"\0e\0\n", b"\0O\0K\0\n")] {
        stream.write_all(line).unwrap();
        let mut read = vec![0; answer.len()];
        stream.read_exact(&mut read).unwrap();
        assert_eq!(read, answer, "a mark stands before the first answer alone");
    }
    assert_eq!(stage.engine.bodies(), ["a", "b", "d", "e"]);
    stage.running.stop();
    let stage = Stage::new(&[("encoding", "US-ASCII")]);
    assert_eq!(stage.talk(b"caf\xe9\n"), "OK\n");
    assert_eq!(stage.engine.bodies(), ["caf\u{fffd}"]);
    stage.running.stop();
}

#[test]
fn a_last_line_without_an_end_is_dropped_and_counted() {
    let stage = Stage::new(&[("max-line-length", "6")]);
    let failed = || stage.running.context.metrics.event_read_fail.get();
    assert_eq!(stage.talk(b"whole\n"), "OK\n");
    assert_eq!(failed(), 0);
    assert_eq!(stage.talk(b"whole\npart"), "OK\n");
    eventually(|| format!("{} counted", failed()), || failed() == 1);
    assert!(stage.talk(b"too long").starts_with("FAILED"));
    assert_eq!(failed(), 2, "once, for its length");
    assert_eq!(stage.engine.bodies(), ["whole", "whole"]);
    stage.running.stop();
}

#[test]
fn further_clients_wait_when_all_places_are_taken() {
    let stage = Stage::new(&[("maxConnections", "1")]);
    let mut first = stage.connect();
    let mut answer = [0; 3];
    first.write_all(b"first\n").unwrap();
    first.read_exact(&mut answer).unwrap();
    let mut second = stage.connect();
    second.write_all(b"second\n").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(stage.engine.bodies(), ["first"]);
    drop(first);
    second.read_exact(&mut answer).unwrap();
    assert_eq!(stage.engine.bodies(), ["first", "second"]);
    stage.running.stop();
}

#[test]
fn an_occupied_port_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut source = build(&spec(), &[("bind", "127.0.0.1"), ("port", &port)]).component;
    let context = FakeEngine::new().context(&Default::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(source.run(context)).unwrap_err();
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
}

#[test]
fn keys_that_are_wrong_are_refused_by_name() {
    let of = |extra: &[(&str, &str)]| problems(&spec(), extra).join("; ");
    assert!(of(&[("port", "1")]).contains("bind: required key is missing"));
    assert!(of(&[("bind", "x"), ("port", "70000")]).contains("above the largest"));
    assert!(of(&[("bind", "x"), ("port", "1"), ("encoding", "klingon")]).contains("klingon"));
}
