use std::collections::VecDeque;
use std::sync::Arc;

use flumen_api::settings::{Kind, Process};
use flumen_tls::{ServerTls, TlsAcceptor};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::testing::{FakeChannel, Logged, PATIENCE, config, context_over, events, free_port};

/// What the server does with a request.
#[derive(Clone, Copy)]
enum Answer {
    /// A status with a body.
    Status(u16),
    /// A status with this many bytes of body.
    Long(u16, usize),
    /// An error without a body, of no stated length.
    Bare(u16),
    /// The same as a status, and then the connection is closed.
    Close(u16),
    /// The connection is closed without a word.
    Nothing,
    /// No answer, ever.
    Silence,
    /// An answer that has no end, a byte each twentieth of a second.
    Trickle,
}

/// A server that answers as scripted, with 200 in the end.
struct Server {
    port: u16,
    /// Requests as they came, with the number of the connection.
    seen: Arc<Mutex<Vec<(usize, String)>>>,
}

impl Server {
    async fn start(answers: &[Answer]) -> Self {
        Self::start_with(answers, None).await
    }

    /// The same, behind TLS if there is an acceptor.
    async fn start_with(answers: &[Answer], tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::<Mutex<Vec<(usize, String)>>>::default();
        let script = Arc::new(Mutex::new(answers.iter().copied().collect::<VecDeque<_>>()));
        let requests = seen.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (script, requests, tls) = (script.clone(), requests.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(connection, stream, script, requests).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(connection, stream, script, requests).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, seen }
    }

    fn bodies(&self) -> Vec<String> {
        let seen = self.seen.lock();
        seen.iter()
            .map(|(_, request)| request.split_once("\r\n\r\n").expect("a head").1.to_string())
            .collect()
    }

    fn connections(&self) -> Vec<usize> {
        self.seen.lock().iter().map(|(connection, _)| *connection).collect()
    }
}

async fn serve(
    connection: usize,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: Arc<Mutex<VecDeque<Answer>>>,
    seen: Arc<Mutex<Vec<(usize, String)>>>,
) {
    while let Some(request) = request(&mut stream).await {
        seen.lock().push((connection, request));
        let answer = script.lock().pop_front().unwrap_or(Answer::Status(200));
        let (text, goes_on) = match answer {
            Answer::Status(status) => (format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok"), true),
            Answer::Long(status, length) => (
                format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length)),
                true,
            ),
            Answer::Bare(status) => (format!("HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n"), false),
            Answer::Close(status) => (format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"), false),
            Answer::Nothing => (String::new(), false),
            Answer::Silence => return std::future::pending().await,
            Answer::Trickle => {
                let mut part = &b"HTTP/1.1 200 X\r\nEndless: "[..];
                while stream.write_all(part).await.is_ok() {
                    part = b"x";
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                return;
            }
        };
        if stream.write_all(text.as_bytes()).await.is_err() || !goes_on {
            return;
        }
    }
}

/// Head and body; `None` at the connection's end.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut text = Vec::new();
    loop {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.ok()?;
        text.push(byte[0]);
        if text.ends_with(b"\r\n\r\n") {
            break;
        }
    }
    let head = String::from_utf8_lossy(&text).to_ascii_lowercase();
    let length = head.split_once("content-length: ").expect("a length").1;
    let length = length.split_once("\r\n").expect("a line").0.parse().expect("a number");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    text.extend(body);
    Some(String::from_utf8(text).expect("text"))
}

/// A started sink that posts to the server.
async fn start(server: &Server, keys: &[(&str, &str)], dead_letter: bool) -> (HttpSink, SinkContext) {
    let endpoint = format!("http://127.0.0.1:{}/in?x=1", server.port);
    let keys = [&[("endpoint", endpoint.as_str())], keys].concat();
    let mut problems = Problems::default();
    let mut sink =
        HttpSink::from_config(&config(&keys), &mut problems).unwrap_or_else(|| panic!("{problems:?}"));
    let context = context_over(&FakeChannel::new()).with_dead_letter(dead_letter);
    sink.start(&context).await.expect("started");
    (sink, context)
}

/// Released after a 2XX, and no rests.
const USUAL: [(&str, &str); 2] = [("rollback.2XX", "false"), ("defaultBackoff", "false")];

#[tokio::test]
async fn each_event_is_one_post_with_its_body_on_one_connection() {
    let server = Server::start(&[]).await;
    let (mut sink, context) = start(&server, &USUAL, false).await;
    for body in ["one", "two é\n"] {
        sink.deliver(&events(&[body])).await.expect("delivered");
    }
    assert_eq!(server.bodies(), ["one", "two é\n"]);
    assert_eq!(server.connections(), [0, 0]);
    let head = server.seen.lock()[0].1.to_ascii_lowercase();
    assert!(head.starts_with("post /in?x=1 http/1.1\r\n"), "{head}");
    for line in ["content-type: text/plain", "accept: text/plain", "content-length: 3"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
    assert!(head.contains(&format!("\r\nhost: 127.0.0.1:{}\r\n", server.port)), "{head}");
    assert_eq!(context.metrics.connection_created.get(), 1);
    assert_eq!(sink.take_limit().events, 1);
}

#[tokio::test]
async fn the_headers_say_what_the_keys_say() {
    let server = Server::start(&[]).await;
    let keys = [USUAL[0], ("contentTypeHeader", "application/json"), ("acceptHeader", "*/*")];
    let (mut sink, _) = start(&server, &keys, false).await;
    sink.deliver(&events(&["{}"])).await.expect("delivered");
    let head = server.seen.lock()[0].1.to_ascii_lowercase();
    assert!(
        head.contains("content-type: application/json\r\n") && head.contains("accept: */*\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn with_the_defaults_even_a_200_gives_the_event_back_and_check_warns() {
    let server = Server::start(&[]).await;
    let (mut sink, context) = start(&server, &[], false).await;
    let error = sink.deliver(&events(&["one"])).await.expect_err("goes back");
    assert!(error.to_string().contains("answered 200"), "{error}");
    assert_eq!((error.retry_after, error.refused), (None, vec![]), "and the runner rests");
    assert_eq!(context.metrics.event_drain_success.get(), 0);
    let warnings = |keys: &[(&str, &str)]| {
        let mut problems = Problems::default();
        let keys = [&[("endpoint", "http://h/")], keys].concat();
        assert!(HttpSink::from_config(&config(&keys), &mut problems).is_some());
        problems.0.iter().filter(|problem| problem.message.contains("rollback.2XX")).count()
    };
    assert_eq!(warnings(&[]), 1);
    for key in ["rollback.2XX", "rollback.200", "defaultRollback"] {
        assert_eq!(warnings(&[(key, "false")]), 0, "{key}");
    }
}

#[tokio::test]
async fn what_counts_as_drained_is_said_by_status_and_else_by_the_default() {
    let answers = [200, 404, 500].map(Answer::Status);
    let server = Server::start(&answers).await;
    let keys = [
        ("defaultRollback", "false"),
        ("defaultBackoff", "false"),
        ("defaultIncrementMetrics", "true"),
        ("incrementMetrics.404", "false"),
    ];
    let (mut sink, context) = start(&server, &keys, false).await;
    for _ in answers {
        sink.deliver(&events(&["x"])).await.expect("released");
    }
    assert_eq!(context.metrics.event_drain_success.get(), 2);
}

#[tokio::test]
async fn a_status_decides_by_its_own_key_its_hundreds_and_the_default() {
    let answers = [200, 202, 503, 500, 404, 302].map(Answer::Status);
    let server = Server::start(&answers).await;
    let keys = [
        ("rollback.2XX", "false"),
        ("rollback.202", "true"),
        ("rollback.5XX", "true"),
        ("rollback.503", "false"),
        ("defaultRollback", "false"),
        ("defaultBackoff", "false"),
        ("incrementMetrics.2XX", "true"),
    ];
    let (mut sink, context) = start(&server, &keys, false).await;
    let mut delivered = Vec::new();
    for _ in answers {
        delivered.push(match sink.deliver(&events(&["x"])).await {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(
                    error.retry_after,
                    Some(Duration::ZERO),
                    "without backoff it is sent again at once"
                );
                false
            }
        });
    }
    assert_eq!(delivered, [true, false, true, false, true, true]);
    assert_eq!(context.metrics.event_drain_success.get(), 2, "as Flume counts: what goes back, too");
    assert!(!sink.is_counted_by_runner());
}

#[tokio::test]
async fn an_error_without_a_body_keeps_to_its_keys() {
    let server = Server::start(&[Answer::Bare(503), Answer::Status(200)]).await;
    let keys = [USUAL[0], USUAL[1], ("rollback.503", "false")];
    let (mut sink, _) = start(&server, &keys, false).await;
    sink.deliver(&events(&["one"])).await.expect("released, though it is an error");
    sink.deliver(&events(&["two"])).await.expect("delivered");
    assert_eq!(server.connections(), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn backoff_after_a_release_rests_longer_each_time_up_to_five_seconds() {
    let server = Server::start(&[]).await;
    let (mut sink, _) = start(&server, &[("rollback.2XX", "false")], false).await;
    let mut rests = Vec::new();
    for _ in 0..8 {
        let before = Instant::now();
        sink.deliver(&events(&["x"])).await.expect("delivered");
        rests.push(before.elapsed().as_secs());
    }
    assert_eq!(rests, [0, 1, 2, 3, 4, 5, 5, 5]);
}

#[tokio::test]
async fn an_empty_body_is_not_sent() {
    let server = Server::start(&[]).await;
    let (mut sink, _) = start(&server, &USUAL, false).await;
    let logged = Logged::capture();
    sink.deliver(&events(&[""])).await.expect("released");
    assert!(logged.lines()[0].1.contains("empty body"), "{:?}", logged.lines());
    assert!(sink.rest_until.is_some(), "and the sink rests");
    assert!(server.seen.lock().is_empty());
}

#[tokio::test]
async fn a_refused_event_goes_to_the_dead_letter_or_back() {
    for dead_letter in [true, false] {
        let server = Server::start(&[Answer::Status(400)]).await;
        let keys = [USUAL[0], USUAL[1], ("refuse.4XX", "true")];
        let (mut sink, _) = start(&server, &keys, dead_letter).await;
        let error = sink.deliver(&events(&["one"])).await.expect_err("refused");
        assert_eq!(error.refused, if dead_letter { vec![0] } else { vec![] });
        assert!(error.to_string().contains("answered 400"), "{error}");
        sink.deliver(&events(&["two"])).await.expect("delivered");
    }
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closed_costs_no_failure() {
    let server = Server::start(&[Answer::Close(200), Answer::Status(200)]).await;
    let (mut sink, _) = start(&server, &USUAL, false).await;
    sink.deliver(&events(&["one"])).await.expect("delivered");
    sink.deliver(&events(&["two"])).await.expect("delivered on a new connection");
    assert_eq!(server.connections(), [0, 1]);
    // It is closed while the request is on its way.
    let server = Server::start(&[Answer::Status(200), Answer::Nothing]).await;
    let (mut sink, _) = start(&server, &USUAL, false).await;
    sink.deliver(&events(&["one"])).await.expect("delivered");
    sink.deliver(&events(&["two"])).await.expect("sent once more");
    assert_eq!(server.connections(), [0, 0, 1]);
}

#[tokio::test]
async fn a_new_connection_that_is_closed_without_an_answer_is_a_failure() {
    let server = Server::start(&[Answer::Nothing]).await;
    let (mut sink, _) = start(&server, &USUAL, false).await;
    let error = sink.deliver(&events(&["one"])).await.expect_err("no answer");
    assert!(error.to_string().contains("POST to 127.0.0.1"), "{error}");
    sink.deliver(&events(&["one"])).await.expect("delivered");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_a_failure_after_the_request_timeout() {
    let server = Server::start(&[Answer::Silence]).await;
    let (mut sink, _) = start(&server, &[USUAL[0], USUAL[1], ("requestTimeout", "30000")], false).await;
    let (one, begun) = (events(&["one"]), std::time::Instant::now());
    let passes_at_once = async {
        while server.seen.lock().is_empty() {
            assert!(begun.elapsed() < PATIENCE, "nothing is asked");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::pause();
    };
    let (delivered, ()) = tokio::join!(sink.deliver(&one), passes_at_once);
    let error = delivered.expect_err("no answer");
    assert!(error.to_string().contains("no answer within 30000 ms"), "{error}");
    tokio::time::resume();
    sink.deliver(&events(&["one"])).await.expect("delivered on a new connection");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_an_answer_without_an_end() {
    let server = Server::start(&[Answer::Trickle]).await;
    let (mut sink, context) = start(&server, &[USUAL[0], USUAL[1], ("requestTimeout", "1000")], false).await;
    context.shutdown.cancel();
    let one = events(&["one"]);
    let delivered = tokio::time::timeout(PATIENCE, sink.deliver(&one)).await.expect("it comes back");
    assert!(delivered.is_err());
}

#[tokio::test]
async fn nobody_there_is_a_failure_that_names_the_endpoint() {
    let port = free_port();
    let server = Server { port, seen: Arc::default() };
    let (mut sink, context) = start(&server, &USUAL, false).await;
    let error = sink.deliver(&events(&["one"])).await.expect_err("nobody");
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    assert_eq!(context.metrics.connection_failed.get(), 1);
}

#[tokio::test]
async fn an_answer_of_any_length_is_read_no_further_than_needed() {
    let server = Server::start(&[Answer::Long(200, 1000), Answer::Long(200, 10 << 20)]).await;
    let (mut sink, _) = start(&server, &USUAL, false).await;
    for body in ["one", "two", "three"] {
        sink.deliver(&events(&[body])).await.expect("delivered");
    }
    assert_eq!(server.connections(), [0, 0, 1], "after the long answer the connection is given up");
}

fn fixture(name: &str) -> String {
    format!("{}/src/http/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[tokio::test]
async fn https_speaks_with_whom_the_process_trusts_under_the_name_in_the_url() {
    // A certificate for `localhost` that signed itself, by Java's keytool.
    let keys = [("ssl", "true"), ("keystore", &fixture("localhost.p12")), ("keystore-password", "changeit")];
    let server_keys = ComponentConfig::of(Kind::Source, "r1", &keys);
    let tls = ServerTls::load(&server_keys, &mut Problems::default()).expect("keys");
    let server = Server::start_with(&[], tls.acceptor().await.expect("TLS")).await;
    let trust = ("javax.net.ssl.trustStore".to_string(), fixture("localhost.pem"));
    let trusting = Process { system: Arc::new([trust].into()), ..Process::default() };
    for (host, process, works) in [
        ("localhost", trusting.clone(), true),
        ("127.0.0.1", trusting, false),
        ("localhost", Process::default(), false),
    ] {
        let endpoint = format!("https://{host}:{}/in", server.port);
        let keys = [&[("endpoint", endpoint.as_str())], USUAL.as_slice()].concat();
        let keys = ComponentConfig { process, ..config(&keys) };
        let mut sink = HttpSink::from_config(&keys, &mut Problems::default()).expect("built");
        let started = sink.start(&context_over(&FakeChannel::new())).await;
        let delivered = match started {
            Ok(()) => sink.deliver(&events(&["one"])).await,
            // A machine without any certificates trusts nobody.
            Err(error) => Err(error),
        };
        assert_eq!(delivered.is_ok(), works, "{endpoint}: {delivered:?}");
    }
    assert_eq!(server.bodies(), ["one"]);
}

#[test]
fn keys_that_cannot_be_followed_are_errors() {
    for (key, value) in [
        ("endpoint", "web.example.org"),
        ("connectTimeout", "0"),
        ("requestTimeout", "-1"),
        ("requestTimeout", "soon"),
        ("contentTypeHeader", "a\nb"),
        ("acceptHeader", "\u{7f}"),
    ] {
        let mut pairs = vec![("endpoint", "http://h/")];
        pairs.retain(|(known, _)| *known != key);
        pairs.push((key, value));
        let mut problems = Problems::default();
        assert!(HttpSink::from_config(&config(&pairs), &mut problems).is_none(), "{key} = {value}");
        assert_eq!(problems.errors(), 1, "{key} = {value}: {problems:?}");
    }
    let mut problems = Problems::default();
    assert!(HttpSink::from_config(&config(&[]), &mut problems).is_none());
}
