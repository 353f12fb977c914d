//! Thrift: Flume's Java client to Flumen's sources, and Flumen's sinks to Flume's sources, in every way that there is.
//!
//! ```text
//!   Java client ─► thrift source ─► file channel ─► thrift sink ─► Flume's thrift source ─► Avro containers
//!                  compact, binary, TLS             the same
//!   lines ─► Flume's thrift sinks ─► thrift source ─► file channel ─► files
//! ```

use std::path::Path;

use crate::clients::{events, shapes};
use crate::fixture;
use crate::flume::{self, Version};
use crate::lines::{LINE, assert_exact, lines};
use crate::peers::Side;
use crate::world::{World, delivered, eventually, free_port, output};

/// A name, and what source and sink have beside addresses.
const WAYS: [(&str, &str, bool); 3] =
    [("compact", "compact", false), ("binary", "binary", false), ("tls", "compact", true)];

/// Flumen: each way has a source, a channel and a sink.
fn onward(ours: [u16; 3], theirs: [u16; 3]) -> String {
    let names = WAYS.map(|(name, ..)| name).join(" ");
    let mut text = format!("a1.sources = {names}\na1.channels = {names}\na1.sinks = {names}\n");
    for ((name, protocol, ssl), (port, their_port)) in WAYS.into_iter().zip(ours.into_iter().zip(theirs)) {
        let (source, sink) = (format!("a1.sources.{name}"), format!("a1.sinks.{name}"));
        text.push_str(&format!(
            "{source}.type = thrift\n{source}.bind = 127.0.0.1\n{source}.port = {port}\n{source}.protocol = {protocol}\n\
             {source}.channels = {name}\n\
             a1.channels.{name}.type = file\na1.channels.{name}.checkpointDir = @DIR@/{name}/checkpoint\n\
             a1.channels.{name}.dataDirs = @DIR@/{name}/data\n\
             {sink}.type = thrift\n{sink}.hostname = 127.0.0.1\n{sink}.port = {their_port}\n\
             {sink}.protocol = {protocol}\n{sink}.request-timeout = 300000\n{sink}.channel = {name}\n"
        ));
        if ssl {
            text.push_str(&format!(
                "{source}.ssl = true\n{source}.keystore = {}\n{source}.keystore-password = changeit\n\
                 {sink}.ssl = true\n{sink}.truststore = {}\n{sink}.truststore-password = changeit\n",
                fixture("rsa.jks"),
                fixture("trust.jks")
            ));
        }
    }
    text
}

/// Flume: what comes over each way goes into Avro containers.
fn containers(ports: [u16; 3]) -> String {
    let names = WAYS.map(|(name, ..)| name).join(" ");
    let mut text = format!(
        "a1.sources = {names}\na1.channels = c1\na1.sinks = k1\na1.channels.c1.type = memory\n\
         a1.channels.c1.capacity = 1000\na1.channels.c1.transactionCapacity = 100\na1.sinks.k1.type = file_roll\n\
         a1.sinks.k1.sink.directory = @DIR@/out\na1.sinks.k1.sink.rollInterval = 0\n\
         a1.sinks.k1.sink.serializer = avro_event\na1.sinks.k1.channel = c1\n"
    );
    for ((name, protocol, ssl), port) in WAYS.into_iter().zip(ports) {
        let source = format!("a1.sources.{name}");
        text.push_str(&format!(
            "{source}.type = thrift\n{source}.bind = 127.0.0.1\n{source}.port = {port}\n{source}.protocol = {protocol}\n\
             {source}.channels = c1\n"
        ));
        if ssl {
            let store = fixture("rsa.jks");
            text.push_str(&format!(
                "{source}.ssl = true\n{source}.keystore = {store}\n{source}.keystore-password = changeit\n"
            ));
        }
    }
    text
}

#[test]
fn events_of_every_shape_go_over_thrift_from_flumes_java_client_to_flumen_and_on_to_flume() {
    let Some(flume) = flume::found(Version::Today) else { return };
    let [ours, theirs] = [0, 1].map(|_| [free_port(), free_port(), free_port()]);
    let (their_world, our_world) = (World::new(&containers(theirs)), World::new(&onward(ours, theirs)));
    let their_agent = Side::flume(&flume, &their_world, "a1", "1");
    let our_agent = our_world.start().started();
    theirs.iter().for_each(|port| their_agent.wait_for_port(*port));

    let mut clients = flume.java();
    clients.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire/java/Clients.java")).arg("thrift");
    let output = clients.args(ours.map(|port| port.to_string())).arg(fixture("trust.jks")).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("all sent"), "{said}{}", our_agent.said());

    let expected = 4 * shapes().len();
    let out = their_world.path("out");
    eventually(|| events(&out).len() >= expected, || format!("{} of {expected} events", events(&out).len()));
    let said = our_agent.stop();
    their_agent.stop();
    let events = events(&out);
    assert_eq!(events.len(), expected, "none comes twice");
    for shape in shapes() {
        let times = events.iter().filter(|event| **event == shape).count();
        assert_eq!(times, 4, "{:?} with {} bytes", shape.0.keys().next(), shape.1.len());
    }
    for word in [" connected", " disconnected"] {
        let lines =
            said.lines().filter(|line| line.contains(word) && line.contains("peer=127.0.0.1:")).count();
        assert!(lines >= 3, "each client that comes and goes is named: {said}");
    }
}

/// Flume: the lines of `in/` go over each way to ports of `ours`.
fn senders(ours: [u16; 3]) -> String {
    let names = WAYS.map(|(name, ..)| name).join(" ");
    let mut text = format!(
        "a1.sources = tail\na1.channels = {names}\na1.sinks = {names}\na1.sources.tail.type = TAILDIR\n\
         a1.sources.tail.positionFile = @DIR@/position.json\na1.sources.tail.filegroups = f\n\
         a1.sources.tail.filegroups.f = @DIR@/in/.*log\na1.sources.tail.batchSize = 500\n\
         a1.sources.tail.channels = {names}\n"
    );
    for ((name, protocol, ssl), port) in WAYS.into_iter().zip(ours) {
        let sink = format!("a1.sinks.{name}");
        text.push_str(&format!(
            "a1.channels.{name}.type = memory\na1.channels.{name}.capacity = 20000\n\
             a1.channels.{name}.transactionCapacity = 1000\n\
             {sink}.type = thrift\n{sink}.hostname = 127.0.0.1\n{sink}.port = {port}\n{sink}.protocol = {protocol}\n\
             {sink}.batch-size = 500\n{sink}.request-timeout = 300000\n{sink}.channel = {name}\n"
        ));
        if ssl {
            let store = fixture("trust.jks");
            text.push_str(&format!(
                "{sink}.ssl = true\n{sink}.truststore = {store}\n{sink}.truststore-password = changeit\n"
            ));
        }
    }
    text
}

/// Flumen: what comes over each way goes into files of its own.
fn files(ports: [u16; 3]) -> String {
    let mut text = onward(ports, ports);
    for (name, ..) in WAYS {
        let sink = format!("a1.sinks.{name}.");
        let others = |line: &&str| !line.starts_with(&sink) || line.starts_with(&format!("{sink}channel"));
        text = text.lines().filter(others).map(|line| format!("{line}\n")).collect();
        text.push_str(&format!(
            "{sink}type = file_roll\n{sink}sink.directory = @DIR@/out-{name}\n{sink}sink.rollInterval = 0\n"
        ));
    }
    text
}

#[test]
fn lines_go_from_flumes_thrift_sinks_to_flumen_over_every_way() {
    let Some(flume) = flume::found(Version::Today) else { return };
    let ports = [free_port(), free_port(), free_port()];
    let (their_world, our_world) = (World::new(&senders(ports)), World::new(&files(ports)));
    let outputs = WAYS.map(|(name, ..)| our_world.path(&format!("out-{name}")));
    outputs.iter().for_each(|out| std::fs::create_dir(out).unwrap());
    let our_agent = our_world.start().started();
    their_world.append("in/a.log", lines(0, 3000));
    let their_agent = Side::flume(&flume, &their_world, "a1", "1");
    for out in &outputs {
        let state = || format!("{}: {} bytes", out.display(), delivered(out));
        eventually(|| delivered(out) >= (3000 * LINE) as u64, state);
    }
    their_agent.stop();
    our_agent.stop();
    outputs.iter().for_each(|out| assert_exact(&output(out), 3000));
}
