use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;

use flumen_api::Headers;
use flumen_api::event::EventRef;
use flumen_api::settings::{ComponentConfig, Kind};
use flumen_thrift::call::{put_append, put_append_batch, read_reply};
use flumen_thrift::{Malformed, Protocol, Status};

use super::spec;
use crate::testing::{FakeEngine, Fate, Running, eventually, free_port, problems};

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

    fn connect(&self, protocol: Protocol) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        Client { stream, protocol, serial: 40 }
    }

    fn failures(&self) -> u64 {
        self.running.context.metrics.event_read_fail.get()
    }
}

struct Client {
    stream: TcpStream,
    protocol: Protocol,
    serial: i32,
}

type Reply = Result<Result<Status, String>, Malformed>;

impl Client {
    fn send(&mut self, bodies: &[&str]) -> Reply {
        let mut frame = Vec::new();
        let headers: Headers = [("k", "v")].into_iter().collect();
        let events = bodies.iter().map(|body| EventRef { headers: &headers, body: body.as_bytes() });
        self.serial += 1;
        put_append_batch(self.protocol, self.serial, bodies.len(), events, &mut frame);
        self.stream.write_all(&frame).unwrap();
        self.reply()
    }

    fn send_one(&mut self, body: &str) -> Reply {
        let mut frame = Vec::new();
        let event = EventRef { headers: &Headers::new(), body: body.as_bytes() };
        self.serial += 1;
        put_append(self.protocol, self.serial, event, &mut frame);
        self.stream.write_all(&frame).unwrap();
        self.reply()
    }

    fn message(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).unwrap();
        let mut message = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut message).unwrap();
        message
    }

    fn reply(&mut self) -> Reply {
        let message = self.message();
        read_reply(self.protocol, self.serial, &message)
    }

    /// The text of an exception of this kind, by Thrift's numbers.
    fn exception(&mut self, kind: u8) -> String {
        let message = self.message();
        assert!(message.ends_with(&[0x15, 2 * kind, 0]), "the second field, of 32 bits: {message:?}");
        read_reply(self.protocol, self.serial, &message).unwrap().unwrap_err()
    }

    /// What comes until the source closes the connection.
    fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end as well.
        let _reset = self.stream.read_to_end(&mut rest);
        rest
    }
}

const OK: Reply = Ok(Ok(Status::Ok));
const FAILED: Reply = Ok(Ok(Status::Failed));

#[test]
fn calls_in_both_protocols_are_puts_and_are_answered() {
    for (name, protocol) in [("compact", Protocol::Compact), ("binary", Protocol::Binary)] {
        let stage = Stage::new(&[("protocol", name)]);
        let mut client = stage.connect(protocol);
        assert_eq!(client.send(&["one", "", "zwei é"]), OK);
        assert_eq!(client.send_one("single"), OK);
        assert_eq!(client.send(&[]), OK);
        assert_eq!(stage.engine.bodies(), ["one", "", "zwei é", "single"]);
        assert_eq!(stage.engine.state().puts, [3, 1], "a call is a put");
        assert_eq!(stage.engine.state().events[0].headers.to_string(), "{k=v}");
        let metrics = &stage.running.context.metrics;
        let counted = [&metrics.append_received, &metrics.append_accepted].map(|counter| counter.get());
        assert_eq!(counted, [1, 1]);
        let counted =
            [&metrics.append_batch_received, &metrics.append_batch_accepted].map(|counter| counter.get());
        assert_eq!(counted, [2, 2]);
        drop(client);
        eventually(|| "the client is let go of".into(), || metrics.open_connections.get() == 0);
        stage.running.stop();
    }
}

#[test]
fn a_call_that_a_channel_does_not_take_is_failed_and_the_connection_serves_on() {
    let stage = Stage::new(&[]);
    stage.engine.state().fates = [Fate::Full, Fate::Failing, Fate::Lost].into();
    let mut client = stage.connect(Protocol::Compact);
    for _ in 0..3 {
        assert_eq!(client.send(&["one", "two"]), FAILED);
    }
    assert!(stage.engine.bodies().is_empty());
    assert_eq!(client.send(&["one", "two"]), OK);
    assert_eq!(stage.engine.bodies(), ["one", "two"]);
    assert_eq!(stage.running.context.metrics.append_batch_accepted.get(), 1);
    stage.running.stop();
}

#[test]
fn calls_one_behind_the_other_are_answered_in_their_order() {
    let stage = Stage::new(&[("threads", "1")]);
    let mut client = stage.connect(Protocol::Compact);
    let mut frames = Vec::new();
    let headers = Headers::new();
    for serial in 0..50 {
        let body = serial.to_string();
        let event = EventRef { headers: &headers, body: body.as_bytes() };
        put_append_batch(Protocol::Compact, serial, 1, [event].into_iter(), &mut frames);
    }
    // In pieces of a length that has nothing to do with the frames.
    for piece in frames.chunks(37) {
        client.stream.write_all(piece).unwrap();
    }
    for serial in 0..50 {
        client.serial = serial;
        assert_eq!(client.reply(), OK, "{serial}");
    }
    assert_eq!(stage.engine.bodies(), (0..50).map(|i| i.to_string()).collect::<Vec<_>>());
    stage.running.stop();
}

#[test]
fn a_body_of_ten_megabytes_arrives() {
    let stage = Stage::new(&[]);
    let body = "x".repeat(10 << 20);
    assert_eq!(stage.connect(Protocol::Compact).send(&[&body]), OK);
    assert!(stage.engine.bodies() == [body]);
    stage.running.stop();
}

#[test]
fn a_method_that_there_is_not_is_an_exception_and_no_end() {
    let stage = Stage::new(&[]);
    let mut client = stage.connect(Protocol::Compact);
    client.stream.write_all(b"\0\0\0\x08\x82\x21\x29\x03Log\0").unwrap();
    client.serial = 0x29;
    assert!(client.exception(1).contains("Invalid method name: 'Log'"));
    assert_eq!(client.send(&["one"]), OK);
    stage.running.stop();
}

#[test]
fn a_call_that_cannot_be_read_is_an_exception_and_no_end_either() {
    let stage = Stage::new(&[]);
    let mut client = stage.connect(Protocol::Compact);
    client.stream.write_all(b"\0\0\0\x10\x82\x21\x29\x0bappendBatch\0").unwrap();
    client.serial = 0x29;
    assert!(client.exception(7).contains("a call without events"));
    assert_eq!(client.send(&["one"]), OK);
    assert_eq!(stage.failures(), 1);
    stage.running.stop();
}

#[test]
fn what_is_no_frame_ends_its_connection_and_harms_nobody() {
    let stage = Stage::new(&[("maxRequestBytes", "1000")]);
    let mut good = stage.connect(Protocol::Compact);
    let garbage: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x80\x01\0\x01\0\0\0\x06append",
        b"\x7f\xff\xff\xff",
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"\0\0\x03\xe9",
        // A frame, and in it the other protocol, or nothing that is any.
        b"\0\0\0\x13\x80\x01\0\x01\0\0\0\x06append\0\0\0\x01\0",
        b"\0\0\0\x05hello",
    ];
    for (count, bytes) in (1..).zip(garbage) {
        let mut client = stage.connect(Protocol::Compact);
        client.stream.write_all(bytes).unwrap();
        assert!(client.rest().is_empty(), "{bytes:?}");
        eventually(|| stage.failures().to_string(), || stage.failures() == count);
    }
    assert_eq!(good.send(&["one"]), OK);
    assert_eq!(good.send(&[&"x".repeat(900)]), OK);
    stage.running.stop();
}

#[test]
fn a_call_that_is_cut_short_is_not_taken_in() {
    let stage = Stage::new(&[]);
    let mut frame = Vec::new();
    let event = EventRef { headers: &Headers::new(), body: b"whole" };
    put_append(Protocol::Compact, 1, event, &mut frame);
    for cut in 1..frame.len() {
        let mut client = stage.connect(Protocol::Compact);
        client.stream.write_all(&frame[..cut]).unwrap();
        client.stream.shutdown(Shutdown::Write).unwrap();
        assert!(client.rest().is_empty(), "{cut}");
    }
    assert!(stage.engine.bodies().is_empty());
    eventually(|| stage.failures().to_string(), || stage.failures() == frame.len() as u64 - 1);
    stage.running.stop();
}

#[test]
fn announced_lengths_take_no_memory() {
    let stage = Stage::new(&[("maxRequestBytes", "1073741824")]);
    // Each announces a gigabyte, of which all clients together may have one.
    let slow: Vec<_> = (0..100)
        .map(|_| {
            let mut client = stage.connect(Protocol::Compact);
            client.stream.write_all(b"\x40\0\0\0abc").unwrap();
            client
        })
        .collect();
    let mut good = stage.connect(Protocol::Compact);
    assert_eq!(good.send(&[&"x".repeat(1 << 20)]), OK);
    drop(slow);
    stage.running.stop();
}

#[test]
fn a_stop_ends_connections_that_are_silent_or_half_way() {
    let stage = Stage::new(&[]);
    let mut silent = stage.connect(Protocol::Compact);
    let mut half = stage.connect(Protocol::Compact);
    half.stream.write_all(b"\0\0\0\x10\x82\x21").unwrap();
    assert_eq!(silent.send(&["one"]), OK);
    stage.running.stop();
    assert!(silent.rest().is_empty());
    assert!(half.rest().is_empty());
}

#[test]
fn keys_that_cannot_be_followed_are_refused() {
    let said = |extra: &[(&str, &str)]| {
        let keys = [&[("bind", "127.0.0.1"), ("port", "4353")], extra].concat();
        problems(&spec(), &keys)
    };
    assert_eq!(said(&[("ssl", "false")]), [""; 0]);
    for (key, value) in [("threads", "8"), ("agent-principal", "flume/_HOST"), ("agent-keytab", "/k")] {
        assert!(said(&[(key, value)])[0].contains("changes nothing"), "{key}");
    }
    assert!(
        said(&[("kerberos", "true")])[0].contains("error: a1.sources.r1.kerberos: Kerberos is not spoken")
    );
    assert!(said(&[("protocol", "BINARY")])[0].contains("compact"));
    assert!(said(&[("protocol", "json")])[0].contains("error"));
    assert!(said(&[("ssl", "true")])[0].contains("error"), "without a key store");
    assert!(problems(&spec(), &[("port", "4353")])[0].contains("bind"));
}

#[test]
fn calls_through_tls_are_answered() {
    let fixture = |name: &str| {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tls/fixtures");
        fixtures.join(name).to_str().unwrap().to_string()
    };
    let keystore = fixture("rsa.jks");
    let stage = Stage::new(&[("ssl", "true"), ("keystore", &keystore), ("keystore-password", "changeit")]);
    // Who speaks without is told so in the log, and harms nobody.
    let mut plain = stage.connect(Protocol::Compact);
    plain.stream.write_all(b"\0\0\0\x05hello").unwrap();
    plain.rest();
    let truststore = fixture("trust.jks");
    let keys = [("ssl", "true"), ("truststore", truststore.as_str()), ("truststore-password", "changeit")];
    let keys = ComponentConfig::of(Kind::Sink, "k1", &keys);
    let tls = flumen_tls::ClientTls::load(&keys, &mut Default::default()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let reply = runtime.block_on(async {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let connector = tls.connector().await.unwrap().unwrap();
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", stage.port)).await.unwrap();
        let mut stream = connector.connect("flumen.test".try_into().unwrap(), stream).await.unwrap();
        let mut frame = Vec::new();
        let event = EventRef { headers: &Headers::new(), body: b"secret" };
        put_append(Protocol::Compact, 1, event, &mut frame);
        stream.write_all(&frame).await.unwrap();
        stream.flush().await.unwrap();
        let mut head = [0; 4];
        stream.read_exact(&mut head).await.unwrap();
        let mut message = vec![0; u32::from_be_bytes(head) as usize];
        stream.read_exact(&mut message).await.unwrap();
        read_reply(Protocol::Compact, 1, &message)
    });
    assert_eq!(reply, OK);
    assert_eq!(stage.engine.bodies(), ["secret"]);
    stage.running.stop();
}
