use std::collections::VecDeque;

use flumen_api::Batch;
use flumen_api::processor::SinkSelector;
use flumen_api::settings::Kind;
use flumen_avro_rpc::Status;
use flumen_avro_rpc::deflate::Deflated;
use flumen_avro_rpc::frame::Frames;
use flumen_avro_rpc::session::{Answer, Request, Session, put_reply};
use flumen_tls::ServerTls;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

use super::choice::{Choice, Failover};
use super::*;
use crate::testing::{FakeChannel, config, context_over, drain, events, free_port};

/// What the server does with a call.
#[derive(Clone, Copy, Debug)]
enum Does {
    Ok,
    Failed,
    Unknown,
    Error,
    /// OK, after two seconds.
    OkLate,
    /// Nothing, ever.
    Silence,
    /// Takes it in and closes the connection without a word.
    Close,
    /// The same, in the middle of its answer.
    Half,
    /// Garbage in place of an answer.
    Garbage,
    /// OK, to a call that nobody made.
    Stray,
    /// FAILED, behind the answer to the next call.
    FailedLater,
    /// First of all: a handshake that says nothing of order, as Flume's.
    LikeFlume,
    /// Answers OK once it has this many calls that wait.
    Together(usize),
}

/// What it does with calls that the script does not speak of.
type Judges = Arc<dyn Fn(&[String]) -> Does + Send + Sync>;

/// The connection's number and the bodies of each call.
type Seen = Arc<Mutex<Vec<(usize, Vec<String>)>>>;

struct Server {
    port: u16,
    calls: Seen,
}

impl Server {
    async fn start(script: &[Does]) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    fn start_on(listener: TcpListener, script: &[Does]) -> Self {
        Self::start_judging(listener, script, Arc::new(|_| Does::Ok))
    }

    fn start_judging(listener: TcpListener, script: &[Does], judges: Judges) -> Self {
        let port = listener.local_addr().unwrap().port();
        let script = Arc::new(Mutex::new(script.iter().copied().collect::<VecDeque<_>>()));
        let calls = Seen::default();
        let server = Self { port, calls: calls.clone() };
        tokio::spawn(async move {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept().await else { return };
                tokio::spawn(serve(number, stream, script.clone(), judges.clone(), calls.clone()));
            }
        });
        server
    }

    fn bodies(&self) -> Vec<Vec<String>> {
        self.calls.lock().iter().map(|(_, bodies)| bodies.clone()).collect()
    }

    fn connections(&self) -> Vec<usize> {
        self.calls.lock().iter().map(|(number, _)| *number).collect()
    }
}

fn bodies(batch: &Batch) -> Vec<String> {
    batch.iter().map(|event| String::from_utf8_lossy(event.body).into_owned()).collect()
}

async fn serve(
    number: usize,
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    script: Arc<Mutex<VecDeque<Does>>>,
    judges: Judges,
    calls: Seen,
) {
    let (mut frames, mut session) = (Frames::new(1 << 24), Session::default());
    let (mut waiting, mut later) = (Vec::new(), Vec::new());
    loop {
        while let Some(frame) = frames.pop().unwrap() {
            let call = session.read(frame).unwrap();
            let mut out = Vec::new();
            let Request::AppendBatch(batch) = call.request else {
                if matches!(script.lock().front(), Some(Does::LikeFlume)) {
                    script.lock().pop_front();
                    out.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 0]);
                } else {
                    put_reply(&mut out, call.head, Answer::Nothing);
                }
                stream.write_all(&out).await.unwrap();
                stream.flush().await.unwrap();
                continue;
            };
            let bodies = bodies(&batch);
            let does = script.lock().pop_front().unwrap_or_else(|| judges(&bodies));
            calls.lock().push((number, bodies));
            match does {
                Does::Ok => put_reply(&mut out, call.head, Answer::Status(Status::Ok)),
                Does::OkLate => {
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    put_reply(&mut out, call.head, Answer::Status(Status::Ok));
                }
                Does::Failed => put_reply(&mut out, call.head, Answer::Status(Status::Failed)),
                Does::Unknown => put_reply(&mut out, call.head, Answer::Status(Status::Unknown)),
                Does::Error => put_reply(&mut out, call.head, Answer::Error("an exception")),
                Does::Silence | Does::LikeFlume => {}
                Does::Close => return,
                Does::Half => {
                    put_reply(&mut out, call.head, Answer::Status(Status::Ok));
                    let _gone = stream.write_all(&out[..out.len() - 1]).await;
                    return;
                }
                Does::Stray => out.extend_from_slice(&[0, 0, 9, 9, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0]),
                Does::FailedLater => {
                    later.push(call.head);
                    continue;
                }
                Does::Garbage => out.extend_from_slice(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
                Does::Together(count) => {
                    waiting.push(call.head);
                    if waiting.len() == count {
                        for head in waiting.drain(..) {
                            put_reply(&mut out, head, Answer::Status(Status::Ok));
                        }
                    }
                }
            }
            for head in later.drain(..) {
                put_reply(&mut out, head, Answer::Status(Status::Failed));
            }
            if stream.write_all(&out).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
        if !matches!(stream.read_buf(frames.buffer()).await, Ok(1..)) {
            return;
        }
    }
}

fn sink(port: u16, keys: &[(&str, &str)]) -> AvroSink {
    let port = port.to_string();
    let keys = [&[("hostname", "127.0.0.1"), ("port", port.as_str())], keys].concat();
    let mut problems = Problems::default();
    AvroSink::from_config(&config(&keys), &mut problems).unwrap_or_else(|| panic!("{problems:?}"))
}

async fn start(server: &Server, keys: &[(&str, &str)]) -> (AvroSink, SinkContext) {
    let mut sink = sink(server.port, keys);
    let context = context_over(&FakeChannel::new());
    sink.start(&context).await.unwrap();
    (sink, context)
}

/// Delivers and waits for the flush, as the runner does with a window of one.
async fn send(sink: &mut AvroSink, bodies: &[&str]) -> Result<(), String> {
    sink.deliver(&events(bodies)).await.map_err(|error| error.to_string())?;
    sink.flush().await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_take_is_one_call_on_one_connection_and_released_with_its_ok() {
    let server = Server::start(&[]).await;
    let (mut sink, context) = start(&server, &[]).await;
    send(&mut sink, &["one", "two é"]).await.unwrap();
    send(&mut sink, &["three"]).await.unwrap();
    assert_eq!(server.bodies(), [vec!["one", "two é"], vec!["three"]]);
    assert_eq!(server.connections(), [0, 0]);
    assert_eq!(context.metrics.connection_created.get(), 1);
    sink.stop().await;
    assert_eq!(context.metrics.connection_closed.get(), 1);
    assert_eq!(sink.take_limit().events, 100);
}

#[tokio::test]
async fn several_calls_are_on_their_way_at_once() {
    let server = Server::start(&[Does::Together(3); 3]).await;
    let (mut sink, _) = start(&server, &[("pipeline", "3")]).await;
    assert_eq!(sink.window().flushes, 3);
    let mut flushes = Vec::new();
    for body in ["one", "two", "three"] {
        sink.deliver(&events(&[body])).await.unwrap();
        flushes.push(sink.flush());
    }
    for flush in flushes {
        flush.await.unwrap();
    }
    assert_eq!(server.bodies(), [["one"], ["two"], ["three"]]);
}

/// Tries it with ever more milliseconds for an answer: on a machine that stands still for so long, all answers are late.
async fn with_time(attempt: impl AsyncFn(&'static str) -> Result<(), String>) {
    let mut why = Vec::new();
    for time in ["1000", "10000", "50000"] {
        match attempt(time).await {
            Ok(()) => return,
            Err(error) => why.push(error),
        }
    }
    panic!("{why:#?}");
}

#[tokio::test]
async fn an_answer_is_that_of_its_call_in_whatever_order_they_come() {
    let server = Server::start(&[Does::FailedLater, Does::Ok]).await;
    let (mut sink, _) = start(&server, &[]).await;
    let mut flushes = Vec::new();
    for body in ["one", "two"] {
        sink.deliver(&events(&[body])).await.unwrap();
        flushes.push(sink.flush());
    }
    flushes.pop().unwrap().await.unwrap();
    assert!(flushes.pop().unwrap().await.unwrap_err().to_string().contains("FAILED"));
}

#[tokio::test]
async fn to_a_source_of_flumes_one_call_is_on_its_way_at_a_time() {
    with_time(async |time| {
        let server = Server::start(&[Does::LikeFlume, Does::Ok, Does::Silence]).await;
        let (mut sink, _) = start(&server, &[("request-timeout", time)]).await;
        send(&mut sink, &["one"]).await?;
        sink.deliver(&events(&["two"])).await.map_err(|error| error.to_string())?;
        let second = sink.flush();
        let waits = sink.deliver(&events(&["three"])).await.is_err();
        let called = server.bodies();
        // The third waits for the answer to the second.
        match waits && second.await.is_err() && called == [["one"], ["two"]] {
            true => Ok(()),
            false => Err(format!("{called:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn after_a_failure_the_next_call_goes_alone_once_nothing_is_on_its_way() {
    let server = Server::start(&[Does::Failed, Does::Ok, Does::Ok]).await;
    let (mut sink, _) = start(&server, &[]).await;
    sink.deliver(&events(&["one"])).await.unwrap();
    let first = sink.flush();
    sink.deliver(&events(&["two"])).await.unwrap();
    let second = sink.flush();
    let error = first.await.unwrap_err().to_string();
    assert!(error.contains(&format!("127.0.0.1:{} answered FAILED", server.port)), "{error}");
    // It went back with the first, whatever its own answer was.
    drop(second);
    sink.deliver(&events(&["one"])).await.unwrap();
    assert_eq!(server.bodies(), [["one"], ["two"], ["one"]], "answered before deliver returned");
    sink.flush().await.unwrap();
    assert_eq!(server.connections(), [0, 0, 0]);
    assert!(send(&mut sink, &["two"]).await.is_ok());
}

#[tokio::test]
async fn what_went_back_is_not_sent_beside_a_call_that_has_no_answer_yet() {
    let server = Server::start(&[Does::Failed, Does::Silence]).await;
    let (mut sink, _) = start(&server, &[("request-timeout", "4000")]).await;
    sink.deliver(&events(&["one"])).await.unwrap();
    let first = sink.flush();
    sink.deliver(&events(&["two"])).await.unwrap();
    drop(sink.flush());
    first.await.unwrap_err();
    while sink.deliver(&events(&["one"])).await.is_err() {}
    assert_eq!(server.connections(), [0, 0, 1], "the old one is given up first");
}

#[tokio::test]
async fn an_error_of_the_peer_is_repeated_in_the_log() {
    let server = Server::start(&[Does::Error, Does::Unknown]).await;
    let (mut sink, _) = start(&server, &[]).await;
    assert!(send(&mut sink, &["one"]).await.unwrap_err().contains("answered an exception"));
    assert!(send(&mut sink, &["one"]).await.unwrap_err().contains("answered UNKNOWN"));
    send(&mut sink, &["one"]).await.unwrap();
}

#[tokio::test]
async fn a_connection_that_is_lost_or_garbled_is_made_anew() {
    for does in [Does::Close, Does::Half, Does::Garbage, Does::Stray] {
        let server = Server::start(&[does]).await;
        let (mut sink, context) = start(&server, &[]).await;
        let error = send(&mut sink, &["one"]).await.unwrap_err();
        assert!(error.contains("is lost"), "{error}");
        send(&mut sink, &["one"]).await.unwrap();
        assert_eq!(server.connections(), [0, 1], "{does:?}");
        assert_eq!(
            (context.metrics.connection_created.get(), context.metrics.connection_closed.get()),
            (2, 1)
        );
    }
}

#[tokio::test]
async fn a_source_that_nests_tls_and_deflate_as_flume_1_9_does_is_found_out_once() {
    let store = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/tls/fixtures/rsa.jks");
    let keys = [("ssl", "true"), ("keystore", store), ("keystore-password", "changeit")];
    let keys = ComponentConfig::of(Kind::Source, "r1", &keys);
    let tls = ServerTls::load(&keys, &mut Problems::default()).unwrap().acceptor().await.unwrap().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, calls) = (listener.local_addr().unwrap().port(), Seen::default());
    let server = Server { port, calls: calls.clone() };
    let script = Arc::new(Mutex::new(VecDeque::from([Does::Ok, Does::Close])));
    tokio::spawn(async move {
        for number in 0.. {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(sealed) = tls.accept(stream).await {
                serve(
                    number,
                    Deflated::new(sealed, 6),
                    script.clone(),
                    Arc::new(|_| Does::Ok),
                    calls.clone(),
                )
                .await;
            }
        }
    });
    let keys = [("ssl", "true"), ("trust-all-certs", "true"), ("compression-type", "deflate")];
    let (mut sink, _) = start(&server, &keys).await;
    send(&mut sink, &["one"]).await.unwrap();
    send(&mut sink, &["two"]).await.unwrap_err();
    send(&mut sink, &["two"]).await.unwrap();
    assert_eq!(server.connections(), [1, 1, 2]);
}

#[tokio::test]
async fn an_answer_that_does_not_come_in_time_is_a_failure_of_all_that_waits() {
    with_time(async |time| {
        let server = Server::start(&[Does::Silence]).await;
        let (mut sink, _) = start(&server, &[("request-timeout", time)]).await;
        sink.deliver(&events(&["one"])).await.map_err(|error| error.to_string())?;
        let said = sink.flush().await.err().map(|error| error.to_string()).unwrap_or_default();
        send(&mut sink, &["one"]).await?;
        let connections = server.connections();
        match said.contains(&format!("no answer within {time} ms")) && connections == [0, 1] {
            true => Ok(()),
            false => Err(format!("{said}, {connections:?}")),
        }
    })
    .await;
}

#[tokio::test]
async fn a_stop_is_not_held_up_by_a_peer_that_says_nothing() {
    let server = Server::start(&[Does::LikeFlume, Does::Silence]).await;
    let (mut sink, context) = start(&server, &[("request-timeout", "3600000")]).await;
    sink.deliver(&events(&["one"])).await.unwrap();
    let first = sink.flush();
    context.shutdown.cancel();
    let two = events(&["two"]);
    let both = async { tokio::join!(first, sink.deliver(&two)) };
    let (first, second) = tokio::time::timeout(Duration::from_secs(600), both).await.expect("an end");
    for error in [first.unwrap_err(), second.unwrap_err()] {
        assert_eq!(error.to_string(), "the sink stops, and there is no answer");
    }
    assert_eq!(server.bodies(), [["one"]]);
}

#[tokio::test]
async fn who_accepts_and_does_not_shake_hands_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sink = sink(silent.local_addr().unwrap().port(), &[("connect-timeout", "1000")]);
    sink.start(&context_over(&FakeChannel::new())).await.unwrap();
    let error = send(&mut sink, &["one"]).await.unwrap_err();
    assert!(error.contains("not done within 1000 ms"), "{error}");
}

#[tokio::test]
async fn nobody_there_fails_the_delivery_with_the_peers_name_and_not_the_start() {
    let port = free_port();
    let mut sink = sink(port, &[]);
    let context = context_over(&FakeChannel::new());
    sink.start(&context).await.unwrap();
    let error = send(&mut sink, &["one"]).await.unwrap_err();
    assert!(error.contains(&format!("cannot connect to 127.0.0.1:{port}")), "{error}");
    assert_eq!(context.metrics.connection_failed.get(), 2);
    let server = Server::start_on(TcpListener::bind(("127.0.0.1", port)).await.unwrap(), &[]);
    send(&mut sink, &["one"]).await.unwrap();
    assert_eq!(server.bodies(), [["one"]]);
}

#[tokio::test]
async fn who_is_no_avro_source_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _gone = stream.write_all(b"220 mail.example.org ESMTP\r\n220 and more of it\r\n").await;
            let _asked = stream.read(&mut [0; 100]).await;
        }
    });
    let mut sink = sink(port, &[]);
    sink.start(&context_over(&FakeChannel::new())).await.unwrap();
    let error = send(&mut sink, &["one"]).await.unwrap_err();
    assert!(error.contains("does not speak Avro RPC"), "{error}");
}

#[tokio::test]
async fn the_connection_is_made_anew_as_often_as_the_key_says() {
    for (interval, is_anew) in [("3600", false), ("1", true)] {
        let server = Server::start(&[]).await;
        let (mut sink, _) = start(&server, &[("reset-connection-interval", interval)]).await;
        send(&mut sink, &["one"]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1100)).await;
        send(&mut sink, &["two"]).await.unwrap();
        let connections = server.connections();
        assert_eq!(connections[1] > connections[0], is_anew, "{interval}");
    }
}

#[tokio::test]
async fn what_is_on_its_way_is_answered_before_the_connection_is_made_anew() {
    let server = Server::start(&[Does::OkLate]).await;
    let (mut sink, _) = start(&server, &[("reset-connection-interval", "1")]).await;
    sink.deliver(&events(&["one"])).await.unwrap();
    let first = sink.flush();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    send(&mut sink, &["two"]).await.unwrap();
    first.await.unwrap();
    let connections = server.connections();
    assert!(connections[1] > connections[0], "{connections:?}");
}

#[test]
fn keys_below_their_bounds_become_their_defaults_with_a_warning() {
    let load = |keys: &[(&str, &str)]| {
        let keys = [&[("hostname", "h"), ("port", "41414")], keys].concat();
        let mut problems = Problems::default();
        let sink = AvroSink::from_config(&config(&keys), &mut problems);
        let said: Vec<_> = problems.0.iter().map(ToString::to_string).collect();
        (sink.map(|sink| sink.destination.settings), said.join("; "))
    };
    let (settings, said) = load(&[("batch-size", "0"), ("connect-timeout", "999"), ("request-timeout", "x")]);
    let settings = settings.unwrap();
    assert_eq!(
        (settings.batch_size, settings.connect_timeout, settings.request_timeout),
        (100, 20_000, 20_000)
    );
    assert_eq!(said.matches("the default").count(), 3, "{said}");
    assert_eq!(load(&[("compression-level", "high")]).0.unwrap().compression_level, 6);
    let many = sink(41414, &[("batch-size", "1000000")]).take_limit().events;
    assert_eq!(many, EVENTS_MAX, "a Flumen source refuses a call of more");
    assert!(load(&[("maxIoWorkers", "4")]).1.contains("does not read it any more"));
    assert_eq!(load(&[("client.type", "default")]).1, "");
    assert!(load(&[("client.type", "THRIFT")]).1.contains("`thrift`"));
}

/// A sink over the servers, with a client that has several hosts.
async fn start_several(servers: &[&Server], keys: &[(&str, &str)]) -> (AvroSink, SinkContext) {
    let names: Vec<String> = (0..servers.len()).map(|at| format!("hosts.s{at}")).collect();
    let addresses: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
    let list = names.iter().map(|name| &name[6..]).collect::<Vec<_>>().join(" ");
    let mut all = vec![("hosts", list.as_str())];
    all.extend(names.iter().zip(&addresses).map(|(name, address)| (name.as_str(), address.as_str())));
    all.extend(keys);
    start(servers[0], &all).await
}

#[tokio::test]
async fn a_failover_client_stays_with_a_host_until_it_fails_and_goes_on_to_the_next() {
    let (first, second) = (Server::start(&[Does::Ok, Does::Failed]).await, Server::start(&[]).await);
    let (mut sink, _) = start_several(&[&first, &second], &[("client.type", "DEFAULT_FAILOVER")]).await;
    send(&mut sink, &["one"]).await.unwrap();
    assert!(send(&mut sink, &["two"]).await.is_err(), "it goes back, and comes again");
    for body in ["two", "three"] {
        send(&mut sink, &[body]).await.unwrap();
    }
    assert_eq!(
        (first.bodies(), second.bodies()),
        (vec![vec!["one".into()], vec!["two".into()]], vec![vec!["two".to_string()], vec!["three".into()]])
    );
}

#[tokio::test]
async fn what_came_back_is_offered_to_each_host_before_it_goes_back_again() {
    let (first, second) = (Server::start(&[Does::Failed; 2]).await, Server::start(&[Does::Close]).await);
    let (mut sink, _) = start_several(&[&first, &second], &[("client.type", "DEFAULT_FAILOVER")]).await;
    // With several on their way the first failure sends all back; the next one goes alone, to the second and again to the first.
    for _ in 0..2 {
        assert!(send(&mut sink, &["one"]).await.is_err());
    }
    assert_eq!((first.bodies().len(), second.bodies().len()), (2, 1));
    send(&mut sink, &["one"]).await.unwrap();
    assert_eq!(first.bodies().len(), 3, "all failed: it begins with the first");
}

#[tokio::test]
async fn a_host_that_is_not_there_is_passed_over_and_costs_no_attempt() {
    let nobody = Server { port: free_port(), calls: Seen::default() };
    let server = Server::start(&[]).await;
    let keys = [("client.type", "DEFAULT_FAILOVER"), ("max-attempts", "1")];
    let (mut sink, context) = start_several(&[&nobody, &server], &keys).await;
    send(&mut sink, &["one"]).await.unwrap();
    send(&mut sink, &["two"]).await.unwrap();
    assert_eq!(server.bodies(), [["one"], ["two"]]);
    assert_eq!(context.metrics.connection_failed.get(), 2, "at the start, and with the first event");
}

/// Chooses as if no time passed.
struct Timeless(Box<dyn SinkSelector>, Instant);

impl SinkSelector for Timeless {
    fn order(&mut self, _: Instant) -> Vec<usize> {
        self.0.order(self.1)
    }

    fn failed(&mut self, host: usize, _: Instant) {
        self.0.failed(host, self.1);
    }
}

#[tokio::test]
async fn a_balanced_client_sends_in_turns_and_lets_a_host_rest_that_failed() {
    let (first, second) = (Server::start(&[Does::Ok, Does::Failed]).await, Server::start(&[]).await);
    let keys = [("client.type", "DEFAULT_LOADBALANCE"), ("backoff", "true"), ("maxBackoff", "60000")];
    let (mut sink, _) = start_several(&[&first, &second], &keys).await;
    // The rest is of two seconds, and a machine may stand still for longer.
    let running = sink.running.as_mut().unwrap();
    let Choice::Balance(order) =
        std::mem::replace(&mut running.choice, Choice::Failover(Failover::new(1, 1)))
    else {
        panic!("no balance")
    };
    running.choice = Choice::Balance(Box::new(Timeless(order, Instant::now())));
    for body in ["one", "two"] {
        send(&mut sink, &[body]).await.unwrap();
    }
    assert_eq!((first.bodies().len(), second.bodies().len()), (1, 1));
    assert!(send(&mut sink, &["three"]).await.is_err());
    for body in ["three", "four", "five"] {
        send(&mut sink, &[body]).await.unwrap();
    }
    assert_eq!((first.bodies().len(), second.bodies().len()), (2, 4));
}

#[test]
fn a_client_with_several_hosts_has_them_from_the_keys_that_flume_hands_to_it() {
    let load = |keys: &[(&str, &str)]| {
        let keys = [&[("hostname", "own"), ("port", "41414")], keys].concat();
        let mut problems = Problems::default();
        let destination = Destination::load(&config(&keys), &mut problems);
        let said: Vec<_> = problems.0.iter().map(ToString::to_string).collect();
        let hosts = destination.map(|destination| format!("{:?}", destination.hosts()));
        (hosts.unwrap_or_default(), said.join("; "))
    };
    let two = [("hosts", "a b"), ("hosts.a", "x:1"), ("hosts.b", "y : 2")];
    assert_eq!(load(&[]).0, r#"[("own", 41414)]"#);
    let (hosts, said) = load(&two);
    assert!(hosts == r#"[("x", 1)]"# && said.contains("of several the first"), "{hosts} {said}");
    assert_eq!(load(&[("hosts.h1", "x:1")]).0, r#"[("x", 1)]"#, "the name that hostname and port have");
    for client in ["DEFAULT_FAILOVER", "default_loadbalance", "org.apache.flume.api.LoadBalancingRpcClient"] {
        let keys = [&two[..], &[("client.type", client)]].concat();
        assert_eq!(load(&keys), (r#"[("x", 1), ("y", 2)]"#.into(), String::new()), "{client}");
    }
    let failover = ("client.type", "DEFAULT_FAILOVER");
    assert_eq!(load(&[failover]).0, r#"[("own", 41414)]"#);
    let (hosts, said) = load(&[failover, ("hosts", "h1 b")]);
    assert!(hosts == r#"[("own", 41414)]"# && said.contains("`b` is left out"), "{hosts} {said}");
    let balance = ("client.type", "DEFAULT_LOADBALANCE");
    for (keys, why) in [
        (&[balance][..], "at least 2"),
        (&[balance, ("host-selector", "com.example.Mine")], "no host selector"),
        (&[failover, ("hosts", "a")], "at least 1"),
        (&[failover, ("hosts", "a"), ("hosts.a", "nowhere")], "host:port is wanted"),
        (&[("hosts", "a")], "host:port is wanted"),
        (&[("client.type", "com.example.Client")], "no client"),
    ] {
        let (hosts, said) = load(keys);
        assert!(hosts.is_empty() && said.contains(why), "{keys:?}: {said}");
    }
}

#[tokio::test]
async fn what_is_more_than_the_peer_takes_goes_in_smaller_calls_and_an_event_that_is_goes_to_the_dead_letter()
{
    let bodies: Vec<String> = (0..100)
        .map(|number| format!("{number:0>width$}", width = if number == 40 { 2000 } else { 3 }))
        .collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    for does in [Does::Failed, Does::Close, Does::Error] {
        let judges = move |call: &[String]| match call.len() > 30 || call.iter().any(|body| body.len() > 1000)
        {
            true => does,
            false => Does::Ok,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server::start_judging(listener, &[], Arc::new(judges));
        let mut sink = sink(server.port, &[]);
        sink.start(&context_over(&FakeChannel::new()).with_dead_letter(true)).await.unwrap();
        assert_eq!(drain(&mut sink, &bodies).await, [bodies[40]], "{does:?}");
        let called = server.bodies();
        for body in bodies.iter().filter(|body| body.len() < 1000) {
            assert!(
                called.iter().any(|call| call.len() <= 30 && call.iter().any(|one| one == body)),
                "{body}"
            );
        }
    }
}

#[tokio::test]
async fn a_trial_asks_hosts_that_would_rest_after_a_failure_too() {
    let judges = |call: &[String]| if call.contains(&"never".into()) { Does::Failed } else { Does::Ok };
    let listener = || TcpListener::bind("127.0.0.1:0");
    let first = Server::start_judging(listener().await.unwrap(), &[], Arc::new(judges));
    let second = Server::start_judging(listener().await.unwrap(), &[], Arc::new(judges));
    let (mut sink, context) = start_several(&[&first, &second], &[("client.type", "DEFAULT_FAILOVER")]).await;
    sink.start(&context.with_dead_letter(true)).await.unwrap();
    assert_eq!(drain(&mut sink, &["one", "never", "two", "three"]).await, ["never"]);
}
