//! What the monitoring port answers, to Flume's users and to others.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::agent::Agent;
use crate::lines::{LINE, lines};
use crate::world::{DURABLE_TAIL, PATIENCE, World, eventually, free_port, get};

const ARGUMENTS: [&str; 1] = ["-Dflume.monitoring.type=http"];

fn start(world: &World) -> (Agent, u16) {
    let port = free_port();
    let agent = world.start_with(&[ARGUMENTS[0], &format!("-Dflume.monitoring.port={port}")]);
    eventually(|| get(port, "/healthz").is_some(), || "nobody listens".into());
    (agent, port)
}

#[test]
fn metrics_have_flumes_names_and_values_as_strings() {
    let world = World::new(DURABLE_TAIL);
    let (agent, port) = start(&world);
    world.append("in/a.log", lines(0, 1000));
    world.wait_delivered(1000 * LINE as u64);
    let metrics = || -> Value { serde_json::from_str(&get(port, "/metrics").unwrap().1).unwrap() };
    // A release follows the file's sync, and the counter the release.
    eventually(|| metrics()["SINK.k1"]["EventDrainSuccessCount"] == "1000", || metrics().to_string());
    let all = metrics();
    for (component, kind, attributes) in [
        (
            "SOURCE.r1",
            "SOURCE",
            &[
                ("EventReceivedCount", Some("1000")),
                ("EventAcceptedCount", Some("1000")),
                ("AppendReceivedCount", None),
                ("AppendAcceptedCount", None),
                ("AppendBatchReceivedCount", None),
                ("AppendBatchAcceptedCount", None),
                ("OpenConnectionCount", Some("0")),
                ("ChannelWriteFail", Some("0")),
                ("EventReadFail", Some("0")),
                ("GenericProcessingFail", Some("0")),
            ][..],
        ),
        (
            "CHANNEL.c1",
            "CHANNEL",
            &[
                ("ChannelSize", Some("0")),
                ("ChannelCapacity", Some("2500000")),
                ("ChannelFillPercentage", Some("0.0")),
                ("EventPutAttemptCount", Some("1000")),
                ("EventPutSuccessCount", Some("1000")),
                ("EventTakeAttemptCount", None),
                ("EventTakeSuccessCount", Some("1000")),
                ("Open", Some("true")),
                ("Closed", Some("0")),
                ("Unhealthy", Some("0")),
            ],
        ),
        (
            "SINK.k1",
            "SINK",
            &[
                ("EventDrainAttemptCount", Some("1000")),
                ("EventDrainSuccessCount", Some("1000")),
                ("BatchCompleteCount", None),
                ("BatchEmptyCount", None),
                ("BatchUnderflowCount", None),
                ("ConnectionCreatedCount", None),
                ("ConnectionClosedCount", None),
                ("ConnectionFailedCount", None),
                ("ChannelReadFail", Some("0")),
                ("EventWriteFail", Some("0")),
            ],
        ),
    ] {
        let found = &all[component];
        assert_eq!(found["Type"], kind);
        assert_eq!(found["StopTime"], "0");
        assert!(found["StartTime"].as_str().unwrap().parse::<u64>().unwrap() > 0);
        for (name, expected) in attributes {
            let value =
                found[name].as_str().unwrap_or_else(|| panic!("{component} has no text {name}: {found}"));
            assert!(expected.is_none_or(|expected| expected == value), "{component} {name}: {value}");
        }
        assert!(found.as_object().unwrap().values().all(Value::is_string), "{found}");
    }
    let (status, text) = get(port, "/metrics/prometheus").unwrap();
    assert_eq!(status, 200);
    for line in [
        "# TYPE flumen_source_events_received_total counter",
        "flumen_source_events_received_total{agent=\"a1\",name=\"r1\",type=\"taildir\"} 1000",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
    assert_eq!(get(port, "/healthz").unwrap(), (200, "ok\n".into()));
    assert_eq!(get(port, "/readyz").unwrap(), (200, "ready\n".into()));
    agent.stop();
}

#[test]
fn readyz_names_a_component_that_does_not_run() {
    let more = "a1.sinks = k1 k2\na1.sinks.k2.type = file_roll\na1.sinks.k2.sink.directory = @DIR@/absent\n\
                a1.sinks.k2.channel = c1\n";
    let world = World::new(&DURABLE_TAIL.replace("a1.sinks = k1\n", more));
    let (agent, port) = start(&world);
    eventually(
        || get(port, "/readyz").is_some_and(|(status, text)| status == 503 && text.contains("sink k2")),
        || format!("{:?}", get(port, "/readyz")),
    );
    assert_eq!(get(port, "/healthz").unwrap().0, 200);
    // The other sink of the channel delivers all the same.
    world.append("in/a.log", lines(0, 100));
    world.wait_delivered(100 * LINE as u64);
    agent.stop();
}

#[test]
fn a_component_that_cannot_be_built_is_not_ready_either() {
    let more = "a1.sinks = k1 k2\na1.sinks.k2.type = nosuch\na1.sinks.k2.channel = c1\n";
    let world = World::new(&DURABLE_TAIL.replace("a1.sinks = k1\n", more));
    let (_agent, port) = start(&world);
    eventually(
        || get(port, "/readyz").is_some_and(|(status, text)| status == 503 && text.contains("k2")),
        || format!("{:?}", get(port, "/readyz")),
    );
}

#[test]
fn an_occupied_port_is_named_and_the_agent_runs_without() {
    let taken = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let world = World::new(DURABLE_TAIL);
    let agent = world.start_with(&[ARGUMENTS[0], &format!("-Dflume.monitoring.port={port}")]);
    agent.wait_for(&["ERROR", "no monitoring", &port.to_string(), "flume.monitoring.port"]);
    world.append("in/a.log", lines(0, 10));
    world.wait_delivered(10 * LINE as u64);
    drop(taken);
    eventually(|| get(port, "/healthz").is_some(), || "the port is free, and nobody listens".into());
    agent.stop();
}

/// Sends `head` and then bytes without end until the other side has enough; returns the answer and how many bytes went.
fn flood(port: u16, head: &str) -> (String, usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    let mut sent = 0;
    while sent < 64 << 20 {
        match stream.write(&[b'x'; 4096]) {
            Ok(count) => sent += count,
            Err(_closed) => break,
        }
    }
    let mut answer = Vec::new();
    // A reset may take the answer's end with it.
    let _cut = stream.read_to_end(&mut answer);
    (String::from_utf8_lossy(&answer).into_owned(), sent)
}

#[test]
fn a_request_without_end_is_cut_off_and_others_are_answered() {
    let world = World::new(DURABLE_TAIL);
    let (agent, port) = start(&world);
    let endless = "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n";
    for head in ["GET /", "GET / HTTP/1.1\r\nHost: x\r\nX: ", endless] {
        let (answer, sent) = flood(port, head);
        // What the kernel holds of it is not the agent's.
        assert!(sent < 16 << 20, "{head:?}: {sent} bytes went");
        assert!(!answer.starts_with("HTTP/1.1 200"), "{head:?}: {answer}");
    }
    // A head just below the limit is no attack.
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let padding = "x".repeat(12 << 10);
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: {padding}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let padding = "x".repeat(20 << 10);
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: x\r\nX: {padding}").unwrap();
    let mut answer = String::new();
    let _cut = stream.read_to_string(&mut answer);
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
    assert_eq!(get(port, "/healthz").unwrap().0, 200);
    agent.stop();
}
