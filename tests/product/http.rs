//! The http source in a running agent: what a 200 means, what a full channel answers, what TLS needs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;

use crate::tls;
use crate::world::{DURABLE_TAIL, PATIENCE, World, eventually, free_port, get, output};

/// [`DURABLE_TAIL`] with the http source instead, and these keys of it.
fn with_http(port: u16, keys: &[&str]) -> String {
    let other: Vec<&str> = DURABLE_TAIL.lines().filter(|line| !line.starts_with("a1.sources.r1.")).collect();
    let keys: String = keys.iter().map(|key| format!("a1.sources.r1.{key}\n")).collect();
    format!(
        "{}\na1.sources.r1.type = http\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {port}\n\
         a1.sources.r1.channels = c1\n{keys}",
        other.join("\n")
    )
}

/// A request with events of these bodies.
fn request(bodies: &[&str]) -> Vec<u8> {
    let events: Vec<String> = bodies.iter().map(|body| format!("{{\"body\":\"{body}\"}}")).collect();
    raw(&format!("[{}]", events.join(",")))
}

fn raw(body: &str) -> Vec<u8> {
    let head = "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ";
    format!("{head}{}\r\n\r\n{body}", body.len()).into_bytes()
}

/// The status of the answer; `None` while nobody listens, or if the connection is lost.
fn ask(port: u16, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    status(&answer)
}

fn status(answer: &[u8]) -> Option<u16> {
    String::from_utf8_lossy(answer).split(' ').nth(1)?.parse().ok()
}

#[test]
fn a_full_channel_is_answered_with_503_and_with_200_once_there_is_room() {
    let port = free_port();
    // The sink's directory is not there yet, so the channel fills up.
    let config = with_http(port, &[])
        .replace("@DIR@/out", "@DIR@/later")
        .replace("capacity = 2500000", "capacity = 4")
        .replace("transactionCapacity = 10000", "transactionCapacity = 2\na1.channels.c1.keep-alive = 0")
        .replace("batchSize = 1000", "batchSize = 2");
    let world = World::new(&config);
    let agent = world.start();
    eventually(|| ask(port, &request(&[])) == Some(200), || "it does not listen".into());
    assert_eq!(ask(port, &request(&["1", "2"])), Some(200));
    assert_eq!(ask(port, &request(&["3", "4"])), Some(200));
    assert_eq!(ask(port, &request(&["no", "no"])), Some(503));
    assert_eq!(ask(port, &request(&["no", "no", "no"])), Some(413), "more than the channel takes at once");
    fs::create_dir(world.path("later")).unwrap();
    eventually(|| ask(port, &request(&["5"])) == Some(200), || "there is no room again".into());
    let later = world.path("later");
    eventually(
        || output(&later) == b"1\n2\n3\n4\n5\n",
        || String::from_utf8_lossy(&output(&later)).into_owned(),
    );
    agent.stop();
}

#[test]
fn malformed_requests_are_answered_and_counted_and_nothing_of_them_arrives() {
    let (port, monitoring) = (free_port(), free_port());
    let world = World::new(&with_http(port, &["maxRequestBytes = 1000"]));
    let agent =
        world.start_with(&["-Dflume.monitoring.type=http", &format!("-Dflume.monitoring.port={monitoring}")]);
    eventually(|| ask(port, &raw("{\"body\":\"no array\"}")) == Some(400), || "it does not listen".into());
    for (body, status) in [("[{\"body\":\"x\"", 400), ("[{\"headers\":1}]", 400), ("", 500)] {
        assert_eq!(ask(port, &raw(body)), Some(status), "{body}");
    }
    assert_eq!(ask(port, &request(&[&"x".repeat(1000)])), Some(413));
    assert_eq!(ask(port, b"PUT / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), Some(405));
    assert_eq!(ask(port, b"TRACE / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"), Some(403));
    let garbage = ask(port, b"\0\x01\x02 garbage\r\n\r\n");
    assert!(garbage.is_none_or(|status| status == 400), "{garbage:?}");
    assert_eq!(ask(port, &request(&["good"])), Some(200));
    world.wait_delivered(5);
    let (_, metrics) = get(monitoring, "/metrics").unwrap();
    let attributes: serde_json::Value = serde_json::from_str(&metrics).unwrap();
    let count = |name: &str| attributes["SOURCE.r1"][name].as_str().unwrap().to_string();
    assert_eq!(
        [
            count("EventReadFail"),
            count("AppendBatchReceivedCount"),
            count("AppendBatchAcceptedCount"),
            count("EventAcceptedCount")
        ],
        ["5", "1", "1", "1"],
        "{metrics}"
    );
    agent.stop();
    assert_eq!(world.output(), b"good\n");
}

#[test]
fn what_was_answered_with_200_survives_kills() {
    let port = free_port();
    let world = World::new(&with_http(port, &[]));
    let mut acked = BTreeSet::new();
    for round in 0..5 {
        let agent = world.start();
        for number in 0..20 {
            let bodies = [format!("{round}-{number}-a"), format!("{round}-{number}-b")];
            let request = request(&bodies.each_ref().map(String::as_str));
            eventually(|| ask(port, &request) == Some(200), || "no 200".into());
            acked.extend(bodies);
        }
        agent.kill();
    }
    let agent = world.start();
    let arrived =
        || String::from_utf8(world.output()).unwrap().lines().map(str::to_string).collect::<BTreeSet<_>>();
    eventually(|| arrived().is_superset(&acked), || format!("{} of {}", arrived().len(), acked.len()));
    agent.stop();
    assert_eq!(arrived(), acked);
}

#[test]
fn tls_takes_its_key_store_from_the_environment_and_lets_go_who_does_not_speak_it() {
    let port = free_port();
    let world = World::new(&with_http(port, &["ssl = true"]));
    let said = world.start().wait_for(&["ERROR", "a1.sources.r1.keystore", "required key is missing"]);
    assert!(said.contains("flume.conf"), "{said}");
    let prelude = format!(
        "export FLUME_SSL_KEYSTORE_PATH={} FLUME_SSL_KEYSTORE_PASSWORD=changeit",
        tls::fixture("rsa.jks")
    );
    let agent = world.start_after(&prelude, &[]);
    agent.wait_for(&["listening", &port.to_string()]);
    assert_eq!(ask(port, &request(&["in the clear"])), None);
    assert_eq!(status(&tls::talk(port, &request(&["sealed"]))), Some(200));
    world.wait_delivered(7);
    let said = agent.stop();
    assert!(!said.contains("changeit"), "{said}");
    assert_eq!(world.output(), b"sealed\n");
}
