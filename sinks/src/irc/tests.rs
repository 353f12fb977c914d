use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::testing::{FakeChannel, PATIENCE, config, context_over, events};

/// Makes the server's answer to a line.
type Reply = Arc<dyn Fn(usize, &str) -> String + Send + Sync>;

/// A server of the test's making: connection number and line in, answer out. An answer `close` closes.
struct Server {
    port: u16,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(reply: impl Fn(usize, &str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let (lines, reply): (_, Reply) = (seen.clone(), Arc::new(reply));
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.expect("a connection");
                let (lines, reply) = (lines.clone(), reply.clone());
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    let mut line = String::new();
                    while stream.read_line(&mut line).await.is_ok_and(|length| length > 0) {
                        lines.lock().push(line.trim_end().to_string());
                        let answer = reply(connection, line.trim_end());
                        if answer == "close" || stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                        line.clear();
                    }
                });
            }
        });
        Self { port, seen }
    }

    fn said(&self) -> Vec<String> {
        let seen = self.seen.lock();
        seen.iter().filter_map(|line| line.strip_prefix("PRIVMSG ").map(str::to_string)).collect()
    }
}

/// What a friendly server answers.
fn friendly(line: &str) -> String {
    match line.split(' ').next().unwrap_or_default() {
        "USER" => "PING :cookie\r\n:s 001 flumen :Welcome\r\n:s 376 flumen :End of MOTD\r\n".into(),
        "JOIN" => {
            ":flumen!u@h JOIN #logs\r\n:s 353 flumen = #logs :flumen\r\n:s 366 flumen #logs :End\r\n".into()
        }
        "PING" => format!(":s PONG s {}\r\n", line.split_once(' ').expect("a token").1),
        _ => String::new(),
    }
}

fn keys<'a>(port: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut keys = vec![("hostname", "127.0.0.1"), ("port", port), ("nick", "flumen"), ("chan", "logs")];
    keys.extend(more);
    keys
}

fn built(server: &Server, more: &[(&str, &str)]) -> IrcSink {
    let port = server.port.to_string();
    let mut problems = Problems::default();
    IrcSink::from_config(&config(&keys(&port, more)), &mut problems).unwrap_or_else(|| panic!("{problems:?}"))
}

async fn started(server: &Server, more: &[(&str, &str)]) -> IrcSink {
    let mut sink = built(server, more);
    sink.start(&context_over(&FakeChannel::new())).await.expect("started");
    sink
}

#[tokio::test]
async fn it_registers_joins_and_says_bodies() {
    let server = Server::start(|_, line| friendly(line)).await;
    let mut sink = started(&server, &[("user", "u1"), ("password", "secret"), ("name", "Real Name")]).await;
    sink.deliver(&events(&["one", "", "two: three"])).await.expect("delivered");
    assert_eq!(server.said(), ["#logs :one", "#logs :two: three"]);
    sink.stop().await;
    let seen = server.seen.lock().clone();
    assert_eq!(seen[..3], ["PASS secret", "NICK flumen", "USER u1 0 * :Real Name"]);
    assert!(seen.contains(&"PONG :cookie".to_string()), "{seen:?}");
    assert!(seen.contains(&"JOIN #logs".to_string()), "{seen:?}");
}

#[tokio::test]
async fn an_event_counts_only_once_the_server_has_answered_behind_it() {
    // Swallows the first connection's messages, as a dying server does.
    let server = Server::start(|connection, line| match (connection, line.starts_with("PING")) {
        (0, true) => "close".into(),
        _ => friendly(line),
    })
    .await;
    let mut sink = started(&server, &[]).await;
    sink.deliver(&events(&["one"])).await.expect_err("not confirmed");
    sink.deliver(&events(&["one"])).await.expect("confirmed on a new connection");
    assert_eq!(server.said(), ["#logs :one", "#logs :one"]);
}

#[tokio::test]
async fn complaints_about_messages_fail_the_delivery() {
    for complaint in [
        ":s 404 flumen #logs :Cannot send to channel\r\n",
        ":op!u@h KICK #logs flumen :out\r\n",
        "ERROR :Closing link (Excess Flood)\r\n",
    ] {
        let server = Server::start(move |_, line| match line.starts_with("PRIVMSG") {
            true => complaint.into(),
            false => friendly(line),
        })
        .await;
        let mut sink = started(&server, &[]).await;
        let error = sink.deliver(&events(&["one"])).await.expect_err("complained about");
        assert!(sink.connection.is_none(), "{error}");
    }
}

#[tokio::test]
async fn a_message_that_the_server_refuses_goes_to_the_dead_letter_without_its_neighbours() {
    let server = Server::start(|_, line| match line.starts_with("PRIVMSG") && line.contains("bad") {
        true => ":s 404 flumen #logs :Cannot send to channel (your message was filtered)\r\n".into(),
        false => friendly(line),
    })
    .await;
    let mut sink = built(&server, &[]);
    sink.start(&context_over(&FakeChannel::new()).with_dead_letter(true)).await.expect("started");
    let long_and_bad = format!("{} bad", "0123456789".repeat(2000));
    let error = sink.deliver(&events(&["one", "bad", "two", &long_and_bad])).await.expect_err("refused");
    assert_eq!(error.refused, [1, 3], "{error}");
    assert!(error.to_string().contains("filtered"), "{error}");
    assert!(sink.connection.is_some(), "the connection has nothing to do with it");
    sink.deliver(&events(&["three"])).await.expect("delivered");

    // Of one alone, or of all, nobody knows whether it is the message or who sends it.
    for texts in [&["bad"][..], &["bad", "worse than bad"]] {
        let error = sink.deliver(&events(texts)).await.expect_err("refused");
        assert!(error.refused.is_empty(), "{error}");
    }
    // Nowhere to go: nothing is said twice to find out.
    let mut sink = started(&server, &[]).await;
    let before = server.said().len();
    let error = sink.deliver(&events(&["one", "bad"])).await.expect_err("refused");
    assert!(error.refused.is_empty() && server.said().len() == before + 2, "{error} {:?}", server.said());
}

#[tokio::test]
async fn a_nick_in_use_is_changed_and_a_refused_join_or_password_is_an_error() {
    let server = Server::start(|_, line| match line {
        "NICK flumen" => ":s 433 * flumen :Nickname is already in use\r\n".into(),
        "NICK flumen_" => ":s 001 flumen_ :Welcome\r\n".into(),
        line if line.starts_with("USER") => String::new(),
        line => friendly(line),
    })
    .await;
    let sink = started(&server, &[]).await;
    assert_eq!(sink.connection.as_ref().map(Connection::nick), Some("flumen_"));

    for (command, reply) in
        [("USER", ":s 464 * :Password incorrect\r\n"), ("JOIN", ":s 475 flumen #logs :Cannot join (+k)\r\n")]
    {
        let server = Server::start(move |_, line| match line.starts_with(command) {
            true => reply.into(),
            false => friendly(line),
        })
        .await;
        let mut sink = built(&server, &[]);
        let error = sink.start(&context_over(&FakeChannel::new())).await.expect_err("refused");
        assert!(error.to_string().contains(&server.port.to_string()), "{error}");
    }
}

#[tokio::test]
async fn bodies_are_split_where_the_keys_say_so() {
    for (more, expected) in [
        (vec![], vec!["#logs :a  b;c "]),
        (vec![("splitlines", "true")], vec!["#logs :a", "#logs :b;c"]),
        (vec![("splitlines", "true"), ("splitchars", "[;\\n]")], vec!["#logs :a", "#logs :b", "#logs :c"]),
        (vec![("splitlines", "true"), ("splitchars", "(?<=b);")], vec!["#logs :a  b", "#logs :c "]),
        (vec![("splitchars", ";")], vec!["#logs :a  b;c "]),
    ] {
        let server = Server::start(|_, line| friendly(line)).await;
        let mut sink = started(&server, &more).await;
        let mut batch = flumen_api::Batch::new();
        batch.push(b"a\n\nb;c\n");
        sink.deliver(&Events::from_batch(&batch)).await.expect("delivered");
        // The end of a line is cut here, as by the reader.
        let expected: Vec<_> = expected.iter().map(|line| line.trim_end()).collect();
        assert_eq!(server.said(), expected, "{more:?}");
    }
}

#[tokio::test]
async fn a_long_body_arrives_whole_in_several_messages_and_is_confirmed_on_the_way() {
    let server = Server::start(|_, line| friendly(line)).await;
    let mut sink = started(&server, &[]).await;
    let long = "0123456789".repeat(2000);
    sink.deliver(&events(&[&long])).await.expect("delivered");
    let said: Vec<String> = server.said();
    let text: String = said.iter().map(|line| line.strip_prefix("#logs :").expect("a message")).collect();
    assert_eq!(text, long);
    assert!(said.iter().all(|line| line.len() < 450), "room for who we are");
    let pings = server.seen.lock().iter().filter(|line| line.starts_with("PING")).count();
    assert!(pings > 1, "{pings}");
}

#[tokio::test]
async fn an_idle_sink_answers_pings_and_notices_the_end() {
    let server = Server::start(|connection, line| match (connection, line) {
        (0, "PING :flumen-1") => ":s PONG s :flumen-1\r\nPING :are you there\r\n".into(),
        (0, "PONG :are you there") => "close".into(),
        _ => friendly(line),
    })
    .await;
    let mut sink = started(&server, &[]).await;
    sink.deliver(&events(&["one"])).await.expect("delivered");
    let begun = Instant::now();
    while sink.connection.is_some() {
        assert!(begun.elapsed() < PATIENCE, "it has not answered, or not noticed that the server hung up");
        sink.idle().await.expect("idle");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    sink.deliver(&events(&["two"])).await.expect("delivered on a new connection");
}

#[test]
fn keys_that_cannot_be_followed_are_errors() {
    let errors = |pairs: &[(&str, &str)]| {
        let mut problems = Problems::default();
        let built = IrcSink::from_config(&config(pairs), &mut problems);
        assert_eq!(built.is_none(), problems.errors() > 0);
        problems.errors()
    };
    assert_eq!(errors(&keys("6667", &[])), 0);
    assert_eq!(errors(&[]), 3, "hostname, nick and chan");
    for (key, value) in [
        ("port", "0"),
        ("port", "irc"),
        ("nick", "two words"),
        ("user", ":x"),
        ("password", "a\nb"),
        ("chan", "a,b"),
        ("chan", "a b"),
        ("splitchars", "("),
    ] {
        let mut pairs = keys("6667", &[]);
        pairs.retain(|(known, _)| *known != key);
        pairs.push((key, value));
        assert_eq!(errors(&pairs), 1, "{key} = {value:?}");
    }
}
