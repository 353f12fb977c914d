use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use flumen_api::Batch;
use flumen_api::settings::Kind;
use flumen_thrift::Status;
use flumen_thrift::call::{Answer, Asks, put_reply, read_call};
use flumen_tls::{ServerTls, TlsAcceptor};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::testing::{FakeChannel, Logged, config, context_over, drain, events, free_port};

/// What the source does with a call.
#[derive(Clone, Copy)]
enum Does {
    Answers(Status),
    /// A method that there is not.
    Throws,
    /// The status, with another call's number.
    AnswersAnother,
    /// What is no frame.
    Raves,
    /// Closes without a word.
    Closes,
    /// Never answers.
    Sleeps,
}

/// What it does with calls that the script does not speak of.
type Judges = Arc<dyn Fn(&[String]) -> Does + Send + Sync>;

/// Bodies of each call, with the number of the connection.
type Seen = Arc<Mutex<Vec<(usize, Vec<String>)>>>;

/// A source that does as scripted, and answers with OK in the end.
struct Source {
    port: u16,
    calls: Seen,
}

impl Source {
    async fn start(protocol: Protocol, script: &[Does], tls: Option<TlsAcceptor>) -> Self {
        Self::start_judging(protocol, script, tls, Arc::new(|_| Does::Answers(Status::Ok))).await
    }

    async fn start_judging(
        protocol: Protocol,
        script: &[Does],
        tls: Option<TlsAcceptor>,
        judges: Judges,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let calls = Seen::default();
        let script = Arc::new(Mutex::new(script.iter().copied().collect::<VecDeque<_>>()));
        let seen = calls.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (script, judges, seen, tls) = (script.clone(), judges.clone(), seen.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(connection, protocol, stream, script, judges, seen).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(connection, protocol, stream, script, judges, seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, calls }
    }

    fn bodies(&self) -> Vec<Vec<String>> {
        self.calls.lock().iter().map(|(_, bodies)| bodies.clone()).collect()
    }

    fn connections(&self) -> Vec<usize> {
        self.calls.lock().iter().map(|(connection, _)| *connection).collect()
    }
}

async fn serve(
    connection: usize,
    protocol: Protocol,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: Arc<Mutex<VecDeque<Does>>>,
    judges: Judges,
    seen: Seen,
) {
    loop {
        let mut head = [0; 4];
        if stream.read_exact(&mut head).await.is_err() {
            return;
        }
        let mut message = vec![0; u32::from_be_bytes(head) as usize];
        stream.read_exact(&mut message).await.expect("a whole call");
        let call = read_call(protocol, &Bytes::from(message)).expect("a call");
        let Asks::AppendBatch(batch) = call.asks else { panic!("{call:?}") };
        let body = |event: EventRef<'_>| String::from_utf8_lossy(event.body).into_owned();
        let bodies: Vec<String> = batch.iter().map(body).collect();
        let does = script.lock().pop_front().unwrap_or_else(|| judges(&bodies));
        seen.lock().push((connection, bodies));
        let (answer, serial) = match does {
            Does::Answers(status) => (Answer::Status(status), call.serial),
            Does::AnswersAnother => (Answer::Status(Status::Ok), call.serial + 1),
            Does::Throws => (Answer::NoSuchMethod("Invalid method name"), call.serial),
            Does::Raves => {
                stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.expect("sent");
                return;
            }
            Does::Closes => return,
            Does::Sleeps => std::future::pending().await,
        };
        let mut reply = Vec::new();
        put_reply(protocol, &call.name, serial, answer, &mut reply);
        // One byte at a time, as a network may have it.
        for byte in reply {
            stream.write_all(&[byte]).await.expect("sent");
            stream.flush().await.expect("sent");
        }
    }
}

fn built(keys: &[(&str, &str)]) -> ThriftSink {
    let mut problems = Problems::default();
    ThriftSink::from_config(&config(keys), &mut problems).unwrap_or_else(|| panic!("{problems:?}"))
}

async fn start(source: &Source, keys: &[(&str, &str)]) -> (ThriftSink, SinkContext) {
    let port = source.port.to_string();
    let keys = [&[("hostname", "127.0.0.1"), ("port", port.as_str())], keys].concat();
    let mut sink = built(&keys);
    let context = context_over(&FakeChannel::new());
    sink.start(&context).await.expect("started");
    (sink, context)
}

#[tokio::test]
async fn a_take_is_one_call_on_one_connection_in_both_protocols() {
    for (name, protocol) in [("compact", Protocol::Compact), ("binary", Protocol::Binary)] {
        let source = Source::start(protocol, &[], None).await;
        let (mut sink, context) = start(&source, &[("protocol", name)]).await;
        sink.deliver(&events(&["one", "", "zwei é"])).await.expect("delivered");
        sink.deliver(&events(&["three"])).await.expect("delivered");
        assert_eq!(source.bodies(), [vec!["one", "", "zwei é"], vec!["three"]]);
        assert_eq!(source.connections(), [0, 0]);
        assert_eq!(context.metrics.connection_created.get(), 1);
        sink.stop().await;
        assert_eq!(context.metrics.connection_closed.get(), 1);
    }
}

#[tokio::test]
async fn whatever_is_not_ok_gives_the_take_back() {
    let script = [
        (Does::Answers(Status::Failed), "answered FAILED", 0),
        (Does::Answers(Status::Error), "answered ERROR", 0),
        (Does::Answers(Status::Unknown), "answered UNKNOWN", 0),
        (Does::Throws, "Invalid method name", 1),
        (Does::AnswersAnother, "a reply to call", 1),
        (Does::Raves, "a frame of", 1),
        (Does::Closes, "is lost", 1),
        (Does::Sleeps, "no answer", 1),
    ];
    let does: Vec<_> = script.iter().map(|(does, ..)| *does).collect();
    let source = Source::start(Protocol::Compact, &does, None).await;
    let (mut sink, context) = start(&source, &[]).await;
    let mut closed = 0;
    let usual = sink.peer.target.request_timeout;
    for (does, word, closes) in script {
        // Short where no answer comes: elsewhere a machine that stands still would be one that is late.
        let is_asleep = matches!(does, Does::Sleeps);
        sink.peer.target.request_timeout = if is_asleep { Duration::from_secs(1) } else { usual };
        let error = sink.deliver(&events(&["one"])).await.expect_err(word);
        let said = error.to_string();
        assert!(said.contains(word) && said.contains(&format!("127.0.0.1:{}", source.port)), "{said}");
        closed += closes;
        assert_eq!(context.metrics.connection_closed.get(), closed, "{said}");
    }
    sink.peer.target.request_timeout = usual;
    sink.deliver(&events(&["one"])).await.expect("delivered on a new connection");
    assert_eq!(source.connections(), [0, 0, 0, 0, 1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_source_that_is_not_there_is_connected_to_when_it_comes() {
    let port = free_port();
    let mut sink = built(&[("hostname", "127.0.0.1"), ("port", &port.to_string())]);
    let context = context_over(&FakeChannel::new());
    sink.start(&context).await.expect("started all the same");
    let error = sink.deliver(&events(&["one"])).await.expect_err("nobody listens").to_string();
    assert!(error.contains(&format!("cannot connect to 127.0.0.1:{port}")), "{error}");
    assert_eq!(context.metrics.connection_failed.get(), 2);
}

#[tokio::test]
async fn a_connection_that_has_had_its_time_is_made_anew_and_each_is_told_when_it_opens_and_closes() {
    let logged = Logged::capture();
    let source = Source::start(Protocol::Compact, &[], None).await;
    let (mut sink, _) = start(&source, &[("reset-connection-interval", "3600")]).await;
    sink.deliver(&events(&["one"])).await.expect("delivered");
    sink.peer.reset_after = Some(Duration::ZERO);
    sink.deliver(&events(&["two"])).await.expect("delivered");
    assert_eq!(source.connections(), [0, 1]);
    sink.stop().await;
    let lines = logged.lines();
    let said = lines.iter().filter(|(_, line)| line.contains("connected")).map(|(_, line)| line.as_str());
    assert_eq!(said.collect::<Vec<_>>(), ["connected", "disconnected", "connected", "disconnected"]);
}

#[tokio::test]
async fn a_stop_is_not_held_up_by_a_source_that_says_nothing() {
    let source = Source::start(Protocol::Compact, &[Does::Sleeps], None).await;
    let (mut sink, context) = start(&source, &[("request-timeout", "3600000")]).await;
    context.shutdown.cancel();
    let one = events(&["one"]);
    let delivered = tokio::time::timeout(Duration::from_secs(600), sink.deliver(&one)).await;
    let error = delivered.expect("an end").expect_err("no answer");
    assert_eq!(error.to_string(), "the sink stops, and there is no answer");
    assert_eq!(source.bodies(), [["one"]]);
}

#[tokio::test]
async fn who_accepts_and_does_not_shake_hands_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = silent.local_addr().expect("an address").port().to_string();
    let keys = [("hostname", "127.0.0.1"), ("port", &*port), ("connect-timeout", "1000"), ("ssl", "true")];
    let mut sink = built(&[&keys[..], &[("trust-all-certs", "true")]].concat());
    sink.start(&context_over(&FakeChannel::new())).await.expect("started all the same");
    let error = sink.deliver(&events(&["one"])).await.expect_err("silence").to_string();
    assert!(error.contains("not done within 1000 ms"), "{error}");
}

#[tokio::test]
async fn a_take_that_flume_would_not_take_in_at_once_goes_in_several_calls() {
    let source = Source::start(Protocol::Compact, &[], None).await;
    let (mut sink, _) = start(&source, &[]).await;
    let mut batch = Batch::new();
    for (byte, megabytes) in [(b'a', 7), (b'b', 7), (b'c', 7), (b'd', 20), (b'e', 1)] {
        batch.push(&vec![byte; megabytes << 20]);
    }
    sink.deliver(&Events::from_batch(&batch)).await.expect("delivered");
    let firsts: Vec<Vec<u8>> =
        source.bodies().iter().map(|call| call.iter().map(|body| body.as_bytes()[0]).collect()).collect();
    assert_eq!(firsts, [b"ab".to_vec(), b"c".to_vec(), b"d".to_vec(), b"e".to_vec()]);
    assert!(sink.peer.frame.capacity() <= KEPT_BYTES);
}

#[tokio::test]
async fn a_take_goes_through_tls_to_whom_the_trust_store_names() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../engine/tls/fixtures");
    let fixture = |name: &str| fixtures.join(name).to_str().expect("UTF-8").to_string();
    let keys = [("ssl", "true"), ("keystore", &*fixture("rsa.jks")), ("keystore-password", "changeit")];
    let keys = ComponentConfig::of(Kind::Source, "r1", &keys);
    let tls = ServerTls::load(&keys, &mut Problems::default()).expect("keys");
    let source = Source::start(Protocol::Compact, &[], tls.acceptor().await.expect("TLS")).await;
    let trust = fixture("trust.jks");
    let trusting = [("ssl", "true"), ("truststore", trust.as_str()), ("truststore-password", "changeit")];
    let (mut sink, _) = start(&source, &trusting).await;
    sink.deliver(&events(&["secret"])).await.expect("delivered");
    assert_eq!(source.bodies(), [["secret"]]);
    let stranger = fixture("ca.pem");
    let (mut sink, context) = start(&source, &[("ssl", "true"), ("truststore", &stranger)]).await;
    let error = sink.deliver(&events(&["secret"])).await.expect_err("a stranger").to_string();
    assert!(error.contains("TLS"), "{error}");
    assert_eq!(context.metrics.connection_failed.get(), 2);
}

#[test]
fn keys_are_taken_as_flume_takes_them() {
    let with = |extra: &[(&str, &str)]| {
        let keys = [&[("hostname", "h"), ("port", "4353")], extra].concat();
        let mut problems = Problems::default();
        let sink = ThriftSink::from_config(&config(&keys), &mut problems);
        (sink, problems.0.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let (sink, said) = with(&[("batch-size", "0"), ("connect-timeout", "999"), ("request-timeout", "-1")]);
    let sink = sink.expect("built");
    assert_eq!((sink.batch_size, sink.peer.target.connect_timeout), (100, Duration::from_secs(20)));
    assert_eq!((said.len(), sink.peer.target.request_timeout), (3, Duration::from_secs(20)));
    let (sink, said) = with(&[("hosts", "a b"), ("hosts.a", "first: 1"), ("hosts.b", "second:2")]);
    let target = sink.expect("built").peer.target;
    assert_eq!((target.host.as_str(), target.port, said.len()), ("first", 1, 1));
    assert!(with(&[("hosts", "a")]).0.is_none());
    assert!(with(&[("kerberos", "true")]).1[0].contains("Kerberos is not spoken"));
    for (key, value) in [
        ("client-principal", "c"),
        ("client-keytab", "/k"),
        ("server-principal", "s"),
        ("maxConnections", "5"),
        ("max-attempts", "2"),
        ("host-selector", "RANDOM"),
        ("backoff", "true"),
        ("maxBackoff", "1"),
    ] {
        let (sink, said) = with(&[(key, value)]);
        assert!(sink.is_some() && said.len() == 1 && said[0].contains(key), "{said:?}");
    }
    let (sink, said) = with(&[("protocol", "Binary"), ("client.type", "DEFAULT_FAILOVER")]);
    assert_eq!(sink.expect("built").peer.target.protocol, Protocol::Compact);
    assert!(said.iter().any(|line| line.contains("one destination")) && said.len() == 2, "{said:?}");
}

#[tokio::test]
async fn a_frame_that_the_source_never_takes_goes_to_the_dead_letter_and_others_in_smaller_calls() {
    // As Flume's own source, which hangs up on a frame of more than it takes in.
    let judges = |call: &[String]| match call.iter().map(String::len).sum::<usize>() > frame::FLUME_MAX
        || call.len() > 3
    {
        true => Does::Closes,
        false => Does::Answers(Status::Ok),
    };
    let source = Source::start_judging(Protocol::Compact, &[], None, Arc::new(judges)).await;
    let (mut sink, context) = start(&source, &[]).await;
    sink.start(&context.with_dead_letter(true)).await.expect("started");
    let large = "x".repeat(frame::FLUME_MAX + 1);
    assert_eq!(drain(&mut sink, &["a", "b", &large, "c", "d", "e"]).await, [large.as_str()]);
    for body in ["a", "b", "c", "d", "e"] {
        let is_in = |call: &Vec<String>| {
            call.len() <= 3 && call.contains(&body.to_string()) && call.iter().all(|one| one.len() == 1)
        };
        assert!(source.bodies().iter().any(is_in), "{body}");
    }
}
