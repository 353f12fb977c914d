//! Flume's Java clients, and events of every shape through Flumen to Flume.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

use apache_avro::Reader;
use apache_avro::types::Value;

use crate::fixture;
use crate::flume::{self, Version};
use crate::peers::Side;
use crate::world::{World, eventually, free_port};

/// Headers and body.
pub type Event = (BTreeMap<String, String>, Vec<u8>);

/// The same as in Clients.java.
pub fn shapes() -> Vec<Event> {
    let one = |key: &str, value: &str, body: &[u8]| {
        (BTreeMap::from([(key.to_string(), value.to_string())]), body.to_vec())
    };
    let all: Vec<u8> = (0..=255).collect();
    let large: Vec<u8> = (0..10_000_000_u32).map(|i| (i.wrapping_mul(31) + i / 256) as u8).collect();
    let many = (0..100).map(|i| (format!("key{i}"), format!("value{i}"))).collect();
    vec![
        (BTreeMap::new(), b"plain".to_vec()),
        one("empty", "", b""),
        one("", "no key", &all),
        one("schlüssel 漢", "wert ✓ 😀", "ü漢😀".as_bytes()),
        one("line\nend = ,{}", "\ta\\b\r\n", b"signs"),
        (many, b"many headers".to_vec()),
        one("long", &"v".repeat(100_000), b"long header"),
        one("size", "large", &large),
    ]
}

/// Flumen: sources for the clients, whose events go on to Flume at `port`.
fn onward(ports: [u16; 4], port: u16) -> String {
    let [first, second, deflate, tls] = ports;
    let mut text = String::from(
        "a1.sources = first second deflate tls\na1.channels = c1\na1.sinks = k1\na1.channels.c1.type = file\n\
         a1.channels.c1.checkpointDir = @DIR@/checkpoint\na1.channels.c1.dataDirs = @DIR@/data\n",
    );
    for (name, port) in [("first", first), ("second", second), ("deflate", deflate), ("tls", tls)] {
        text.push_str(&format!(
            "a1.sources.{name}.type = avro\na1.sources.{name}.bind = 127.0.0.1\na1.sources.{name}.port = {port}\n\
             a1.sources.{name}.channels = c1\n"
        ));
    }
    text.push_str(&format!(
        "a1.sources.second.interceptors = i\na1.sources.second.interceptors.i.type = static\n\
         a1.sources.second.interceptors.i.key = via\na1.sources.second.interceptors.i.value = second\n\
         a1.sources.deflate.compression-type = deflate\na1.sources.tls.ssl = true\na1.sources.tls.keystore = {}\n\
         a1.sources.tls.keystore-password = changeit\n\
         a1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {port}\n\
         a1.sinks.k1.request-timeout = 300000\na1.sinks.k1.channel = c1\n",
        fixture("rsa.jks")
    ));
    text
}

/// Flume: what comes goes into Avro containers.
fn containers(port: u16) -> String {
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = avro\na1.sources.r1.bind = 127.0.0.1\n\
         a1.sources.r1.port = {port}\na1.sources.r1.channels = c1\na1.channels.c1.type = memory\n\
         a1.channels.c1.capacity = 1000\na1.channels.c1.transactionCapacity = 100\na1.sinks.k1.type = file_roll\n\
         a1.sinks.k1.sink.directory = @DIR@/out\na1.sinks.k1.sink.rollInterval = 0\n\
         a1.sinks.k1.sink.serializer = avro_event\na1.sinks.k1.channel = c1\n"
    )
}

/// Whatever the containers of a directory hold by now.
pub fn events(directory: &Path) -> Vec<Event> {
    let mut events = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let Ok(reader) = Reader::new(BufReader::new(File::open(entry.unwrap().path()).unwrap())) else {
            continue;
        };
        // The last block may be half written.
        for value in reader.map_while(Result::ok) {
            let Value::Record(fields) = value else { panic!("no event") };
            let mut event = Event::default();
            for (name, value) in fields {
                match (name.as_str(), value) {
                    ("headers", Value::Map(headers)) => {
                        let text = |value| match value {
                            Value::String(text) => text,
                            other => panic!("{other:?}"),
                        };
                        event.0 = headers.into_iter().map(|(key, value)| (key, text(value))).collect();
                    }
                    ("body", Value::Bytes(body)) => event.1 = body,
                    other => panic!("{other:?}"),
                }
            }
            events.push(event);
        }
    }
    events
}

fn numbered<'a>(events: &'a [Event], name: &'a str) -> impl Iterator<Item = (&'a Event, usize)> {
    events.iter().filter_map(move |event| {
        let text = std::str::from_utf8(&event.1).ok()?;
        Some((event, text.strip_prefix(name)?.trim().parse().ok()?))
    })
}

#[test]
fn flumes_java_clients_and_events_of_every_shape_come_through_flumen_to_flume() {
    let Some(flume) = flume::found(Version::Today) else { return };
    let (port, ports) = (free_port(), [free_port(), free_port(), free_port(), free_port()]);
    let (their_world, our_world) = (World::new(&containers(port)), World::new(&onward(ports, port)));
    let their_agent = Side::flume(&flume, &their_world, "a1", "1");
    let our_agent = our_world.start().started();
    their_agent.wait_for_port(port);

    let mut clients = flume.java();
    clients.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/java/Clients.java"));
    let [first, second, deflate, tls] = ports;
    clients.args([first, second, free_port(), deflate, tls].map(|port| port.to_string()));
    let output = clients.arg(fixture("trust.jks")).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("all sent"), "{said}");

    let expected = 4 * shapes().len() + 400;
    let out = their_world.path("out");
    eventually(|| events(&out).len() >= expected, || format!("{} of {expected} events", events(&out).len()));
    our_agent.stop();
    their_agent.stop();
    let events = events(&out);
    assert_eq!(events.len(), expected, "none comes twice");
    for shape in shapes() {
        let times = events.iter().filter(|event| **event == shape).count();
        assert_eq!(times, 4, "{:?} with {} bytes", shape.0.keys().next(), shape.1.len());
    }
    for name in ["failover ", "balanced "] {
        let mut numbers: Vec<usize> = numbered(&events, name).map(|(_, number)| number).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, Vec::from_iter(0..200), "{name}");
    }
    let via_second = numbered(&events, "balanced ").filter(|(event, _)| event.0.contains_key("via")).count();
    assert_eq!(via_second, 100, "the balanced client takes turns");
}

#[test]
fn flumes_java_client_is_told_when_a_channel_is_full_and_is_not_served_where_a_rule_forbids_it() {
    let Some(flume) = flume::found(Version::Today) else { return };
    let ports = [free_port(), free_port()];
    let mut text = String::from(
        "a1.sources = full denying\na1.channels = c1\na1.channels.c1.type = memory\na1.channels.c1.capacity = 10\n\
         a1.channels.c1.transactionCapacity = 10\na1.channels.c1.keep-alive = 0\n",
    );
    for (name, port) in ["full", "denying"].into_iter().zip(ports) {
        text.push_str(&format!(
            "a1.sources.{name}.type = avro\na1.sources.{name}.bind = 127.0.0.1\na1.sources.{name}.port = {port}\n\
             a1.sources.{name}.channels = c1\n"
        ));
    }
    text.push_str(
        "a1.sources.denying.ipFilter = true\na1.sources.denying.ipFilterRules = deny:name:localhost\n",
    );
    let world = World::new(&text);
    let agent = world.start().started();
    let mut client = flume.java();
    client.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/java/Clients.java")).arg("refused");
    let output = client.args(ports.map(|port| port.to_string())).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("all refused"), "{said}{}", agent.said());
    let said = agent.stop();
    assert!(said.contains("a call's events are refused") && said.contains("a rule denies it"), "{said}");
}

/// Flumen: what comes goes into files.
fn collector(port: u16) -> World {
    World::new(&format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = avro\na1.sources.r1.bind = 127.0.0.1\n\
         a1.sources.r1.port = {port}\na1.sources.r1.channels = c1\na1.channels.c1.type = file\n\
         a1.channels.c1.checkpointDir = @DIR@/checkpoint\na1.channels.c1.dataDirs = @DIR@/data\n\
         a1.sinks.k1.type = file_roll\na1.sinks.k1.sink.directory = @DIR@/out\na1.sinks.k1.sink.rollInterval = 0\n\
         a1.sinks.k1.channel = c1\n"
    ))
}

#[test]
fn flumes_failover_and_load_balancing_clients_go_on_when_one_flumen_is_killed_and_nothing_is_lost() {
    let Some(flume) = flume::found(Version::Today) else { return };
    for client in ["DEFAULT_FAILOVER", "DEFAULT_LOADBALANCE"] {
        let ports = [free_port(), free_port()];
        let worlds = ports.map(collector);
        let [first, second] = [0, 1].map(|i: usize| worlds[i].start().started());
        let mut java = flume.java();
        java.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/java/Clients.java"))
            .args(["on", client]);
        java.args(ports.map(|port| port.to_string())).stdin(Stdio::piped());
        java.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut java = Ended(java.spawn().unwrap());
        let mut said = BufReader::new(java.0.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(said.any(|line| line == "sent 200"), "{client}");
        // In the middle of calls, for it does not wait.
        first.kill();
        java.0.stdin.take().unwrap().write_all(b"\n").unwrap();
        let said: Vec<String> = said.collect();
        assert_eq!(said.last().map(String::as_str), Some("all sent"), "{client}: {said:?}");
        let sent: usize = said[said.len() - 2].trim_start_matches("sent ").parse().unwrap();
        let first = worlds[0].start().started();
        let numbers = || -> Vec<usize> {
            let text = worlds.iter().flat_map(World::output).collect();
            let mut numbers: Vec<usize> =
                String::from_utf8(text).unwrap().lines().filter_map(|line| line.parse().ok()).collect();
            numbers.sort_unstable();
            numbers
        };
        let distinct = || {
            let mut numbers = numbers();
            numbers.dedup();
            numbers.len()
        };
        eventually(|| distinct() >= sent, || format!("{client}: {} of {sent}", distinct()));
        first.stop();
        second.stop();
        let (all, different) = (numbers().len(), distinct());
        assert!(different == sent && all <= sent + 10, "{client}: {different} of {sent}, {all} in all");
    }
}

/// A process that is ended with the test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}
