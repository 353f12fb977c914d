use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use flumen_api::settings::Kind;
use flumen_api::{Batch, Headers};
use flumen_avro_rpc::caller::{CallError, Caller};
use flumen_avro_rpc::connect::{Connector, Stream, Target};
use flumen_avro_rpc::deflate::Deflated;
use flumen_tls::{ClientTls, TlsConnector};

use super::*;
use crate::testing::{FakeEngine, Fate, PATIENCE, Running, eventually, free_port, problems};

struct Stage {
    engine: Arc<FakeEngine>,
    running: Running,
    port: u16,
}

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

    fn socket(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    async fn connect(&self, tls: Option<TlsConnector>, deflate: bool) -> Result<Caller, String> {
        let target = Target {
            host: "127.0.0.1".into(),
            port: self.port,
            tls,
            deflate: deflate.then_some(9),
            connect_timeout: PATIENCE,
            request_timeout: PATIENCE,
        };
        Connector::new(target).connect().await
    }

    fn events(&self) -> Vec<String> {
        let state = self.engine.state();
        let text = |event: &crate::testing::Kept| {
            format!("{} {}", event.headers, String::from_utf8_lossy(&event.body))
        };
        state.events.iter().map(text).collect()
    }
}

fn batch(bodies: &[&str]) -> Batch {
    let mut batch = Batch::new();
    batch.set_common_headers(Arc::new(Headers::from_iter([("k", "v")])));
    bodies.iter().for_each(|body| batch.push(body.as_bytes()));
    batch
}

/// Sends the batch and waits for its answer.
async fn send(caller: &mut Caller, bodies: &[&str]) -> Result<(), CallError> {
    let batch = batch(bodies);
    caller.append_batch(batch.len(), batch.iter()).await?.await
}

async fn believing_everybody() -> TlsConnector {
    let keys = ComponentConfig::of(Kind::Sink, "k1", &[("ssl", "true"), ("trust-all-certs", "true")]);
    ClientTls::load(&keys, &mut Problems::default()).unwrap().connector().await.unwrap().unwrap()
}

const KEY_STORE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/tls/fixtures/rsa.jks");
const TLS: [(&str, &str); 3] = [("ssl", "true"), ("keystore", KEY_STORE), ("keystore-password", "changeit")];

/// As Flume's client wrote it: an `append` with the handshake in front, in two parts.
const APPEND: &[u8] = b"\0\0\0\x01\0\0\0\x02\0\0\0\x2b\x86\xaa\xda\xe2\xc4\x54\x74\xc0\xfe\x93\xff\xd0\xf2\x35\x0a\x65\
    \0\x86\xaa\xda\xe2\xc4\x54\x74\xc0\xfe\x93\xff\xd0\xf2\x35\x0a\x65\x02\0\0\x0cappend\0\0\0\x09\x02\x02k\x02v\0\x04hi";

#[tokio::test(flavor = "multi_thread")]
async fn a_calls_events_are_put_together_and_answered_when_they_are_durable() {
    let stage = Stage::new(&[]);
    let mut caller = stage.connect(None, false).await.unwrap();
    send(&mut caller, &["one", "two"]).await.unwrap();
    send(&mut caller, &[]).await.unwrap();
    send(&mut caller, &["ä", ""]).await.unwrap();
    assert_eq!(stage.events(), ["{k=v} one", "{k=v} two", "{k=v} ä", "{k=v} "]);
    assert_eq!(stage.engine.state().puts, [2, 2]);
    let metrics = &stage.running.context.metrics;
    assert_eq!((metrics.append_batch_received.get(), metrics.append_batch_accepted.get()), (3, 2 + 1));
    eventually(|| "one client".into(), || metrics.open_connections.get() == 1);
    stage.running.stop();
}

#[test]
fn flumes_own_append_is_answered_as_flume_does() {
    let stage = Stage::new(&[]);
    let mut client = stage.socket();
    client.write_all(APPEND).unwrap();
    let mut answer = [0; 19];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer[..12], [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7]);
    assert_eq!(answer[12..], [0, 0, 0, 0, 0, 0, 0], "BOTH without more, no meta, no error, OK");
    assert_eq!(stage.events(), ["{k=v} hi"]);
    let metrics = &stage.running.context.metrics;
    assert_eq!((metrics.append_received.get(), metrics.append_accepted.get()), (1, 1));
    stage.running.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_a_channel_refuses_or_loses_has_failed_and_the_next_one_may_not() {
    let stage = Stage::new(&[]);
    stage.engine.state().fates = [Fate::Full, Fate::Failing, Fate::Lost].into();
    let mut caller = stage.connect(None, false).await.unwrap();
    for _ in 0..3 {
        let error = send(&mut caller, &["lost"]).await.unwrap_err();
        assert!(error.to_string().ends_with("answered FAILED"), "{error}");
    }
    send(&mut caller, &["kept"]).await.unwrap();
    assert_eq!(stage.events(), ["{k=v} kept"]);
    stage.running.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_read_while_others_are_on_their_way_and_answered_in_order() {
    let stage = Stage::new(&[]);
    stage.engine.state().fates = [Fate::LostLater].into();
    let mut caller = stage.connect(None, false).await.unwrap();
    let mut calls = Vec::new();
    for number in 0..20 {
        let batch = batch(&[&number.to_string()]);
        calls.push(caller.append_batch(1, batch.iter()).await.unwrap());
    }
    let first = calls.remove(0).await;
    assert!(first.is_err(), "the first is lost, late");
    for call in calls {
        call.await.unwrap();
    }
    assert_eq!(stage.events().len(), 19);
    stage.running.stop();
}

#[test]
fn garbage_ends_its_own_connection_alone_and_is_counted() {
    let stage = Stage::new(&[("maxRequestBytes", "10000")]);
    let mut waiting = stage.socket();
    waiting.write_all(&APPEND[..30]).unwrap();
    let mut wrong_hash = APPEND.to_vec();
    wrong_hash[11] = 3;
    let too_long = [0, 0, 0, 1, 0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff];
    for garbage in [b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", &wrong_hash[..], &too_long, &APPEND[..50]] {
        let mut client = stage.socket();
        client.write_all(garbage).unwrap();
        let _let_go_already = client.shutdown(std::net::Shutdown::Write);
        assert_eq!(client.read_to_end(&mut Vec::new()).unwrap_or(0), 0);
    }
    let metrics = &stage.running.context.metrics;
    eventually(|| format!("{}", metrics.event_read_fail.get()), || metrics.event_read_fail.get() == 4);
    waiting.write_all(&APPEND[30..]).unwrap();
    waiting.read_exact(&mut [0; 19]).unwrap();
    assert_eq!(stage.events(), ["{k=v} hi"]);
    stage.running.stop();
}

#[test]
fn a_message_that_is_not_known_is_answered_with_an_error_and_the_next_one_is_read() {
    let stage = Stage::new(&[]);
    let mut client = stage.socket();
    let mut unknown = APPEND.to_vec();
    let at = unknown.windows(6).position(|part| part == b"append").unwrap();
    unknown[at..at + 6].copy_from_slice(b"remove");
    client.write_all(&unknown).unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).unwrap();
    let mut answer = vec![0; answer[11].into()];
    client.read_exact(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer).ends_with("No such remote message: remove"), "{answer:?}");
    client.write_all(b"\0\0\0\x02\0\0\0\x01\0\0\0\x0e\0\x16appendBatch\0").unwrap();
    let mut answer = [0; 15];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0]);
    stage.running.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_of_nesting_tls_and_deflate_are_understood() {
    let tls = believing_everybody().await;
    for (keys, ssl, deflate) in [
        (&[("compression-type", "deflate")][..], false, true),
        (&TLS, true, false),
        (&[TLS[0], TLS[1], TLS[2], ("compression-type", "Deflate")], true, true),
    ] {
        let stage = Stage::new(keys);
        let mut caller = stage.connect(ssl.then(|| tls.clone()), deflate).await.unwrap();
        send(&mut caller, &["one", &"two".repeat(100_000)]).await.unwrap();
        if ssl && deflate {
            // `connect` would try the one behind the other.
            for (at, body) in ["1.9", "new"].into_iter().enumerate() {
                let socket = tokio::net::TcpStream::connect(("127.0.0.1", stage.port)).await.unwrap();
                let name = "localhost".try_into().unwrap();
                let stream: Stream = match at {
                    0 => Box::new(Deflated::new(tls.connect(name, socket).await.unwrap(), 6)),
                    _ => Box::new(tls.connect(name, Deflated::new(socket, 6)).await.unwrap()),
                };
                let mut caller = Caller::greet(stream, body.into(), PATIENCE).await.unwrap();
                send(&mut caller, &[body]).await.unwrap();
            }
        }
        let bytes: usize = stage.engine.state().events.iter().map(|event| event.body.len()).sum();
        assert_eq!(bytes, 300_003 + if ssl && deflate { 6 } else { 0 });
        // Who does not speak it at all is let go.
        let mut plain = stage.socket();
        plain.write_all(APPEND).unwrap();
        assert!(plain.read_to_end(&mut Vec::new()).unwrap_or(0) < 19);
        stage.running.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_whom_the_rules_admit_is_served() {
    let allowed = Stage::new(&[("ipFilter", "true"), ("ipFilterRules", "allow:ip:127.*,deny:ip:*")]);
    assert!(allowed.connect(None, false).await.is_ok());
    allowed.running.stop();
    let denied = Stage::new(&[("ipFilter", "true"), ("ipFilterRules", "allow:ip:10.*, deny:name:localhost")]);
    let error = denied.connect(None, false).await.err().unwrap();
    assert!(error.contains(&denied.port.to_string()), "{error}");
    denied.running.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_say_nothing_keep_nobody_out_and_one_that_is_served_keeps_its_place() {
    let stage = Stage::new(&[("maxConnections", "3")]);
    let idle: Vec<TcpStream> = (0..2).map(|_| stage.socket()).collect();
    let mut first = stage.connect(None, false).await.unwrap();
    send(&mut first, &["one"]).await.unwrap();
    // The one that is served calls again before it has rested for a second: it is never the one to be let go.
    let mut second = {
        let mut connecting = std::pin::pin!(stage.connect(None, false));
        loop {
            match tokio::time::timeout(Duration::from_millis(50), connecting.as_mut()).await {
                Ok(second) => break second.unwrap(),
                Err(_elapsed) => send(&mut first, &[]).await.unwrap(),
            }
        }
    };
    send(&mut second, &["two"]).await.unwrap();
    let metrics = &stage.running.context.metrics;
    eventually(|| "three clients".into(), || metrics.open_connections.get() == 3);
    let gone = idle.iter().filter(|stream| {
        stream.set_nonblocking(true).unwrap();
        matches!((&**stream).read(&mut [0]), Ok(0))
    });
    assert!(gone.count() >= 1, "one that has said nothing is let go");
    send(&mut first, &["three"]).await.unwrap();
    assert_eq!(stage.events(), ["{k=v} one", "{k=v} two", "{k=v} three"]);
    assert_eq!(metrics.event_read_fail.get(), 0);
    stage.running.stop();
}

#[test]
fn keys_that_cannot_be_followed_are_named() {
    let keys = |extra: &[(&str, &str)]| {
        problems(&spec(), &[&[("bind", "127.0.0.1"), ("port", "41414")], extra].concat()).join("; ")
    };
    assert_eq!(keys(&[]), "");
    assert!(keys(&[("ipFilter", "true")]).contains("ipFilterRules: required key is missing"));
    assert!(
        keys(&[("ipFilter", "true"), ("ipFilterRules", "homer:ip:1")]).contains("`homer:ip:1` is no rule")
    );
    assert!(keys(&[("ipFilterRules", "allow:ip:1")]).contains("ignored: `ipFilter` is not true"));
    assert!(keys(&[("ssl", "true")]).contains("keystore"));
    assert!(keys(&[("compression-type", "snappy")]).contains("deflate"));
    assert!(keys(&[("threads", "5")]).contains("Flume 1.11 does not use it any more"));
    assert!(problems(&spec(), &[("port", "1")]).join("").contains("bind: required key is missing"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_answers_what_is_in_hand_and_lets_go_of_who_is_silent() {
    let stage = Stage::new(&[]);
    let _silent = stage.socket();
    let mut caller = stage.connect(None, false).await.unwrap();
    send(&mut caller, &["one"]).await.unwrap();
    stage.running.stop();
    assert_eq!(stage.engine.bodies(), ["one"]);
}
