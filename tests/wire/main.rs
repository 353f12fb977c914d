//! Flumen and the real Flume, on one wire: each sends to the other, plainly, compressed and sealed, and each is killed.
//!
//! ```text
//!   one configuration   tail ─┬─► avro sink ─────────► avro source ─► files        plain, deflate, TLS, TLS and deflate
//!                             └─► …    Flume 1.11 or 1.9 on one side, Flumen on the other, both ways at once
//!   log4j's appenders    ─► Flumen's avro source
//!   avro-client, each one's ─► the other's avro source, with every option
//!   Flume's Java clients ─► Flumen's sources ─► Flumen's sink ─► Flume's source ─► Avro containers: every shape of event
//! ```
//!
//! Nobody gives up on an answer here for as long as a test may take, so that what comes twice has another reason than a busy
//! machine.
//!
//! Flume comes from Maven Central, once, into the build directory. Without Java or Maven the suite is skipped with a word,
//! and with `FLUMEN_REQUIRE_PEERS=1` it fails.

#[allow(dead_code, reason = "shared with the product's tests")]
#[path = "../product/agent.rs"]
mod agent;
mod appenders;
mod avro_client;
mod clients;
#[allow(dead_code, reason = "shared with the differential suite")]
#[path = "../differential/flume.rs"]
mod flume;
#[allow(dead_code, reason = "shared with the product's tests")]
#[path = "../product/lines.rs"]
mod lines;
mod peers;
#[path = "../support/ports.rs"]
mod ports;
mod thrift;
mod tiers;
#[allow(dead_code, reason = "shared with the product's tests")]
#[path = "../product/world.rs"]
mod world;

use std::fs;

use flume::Version;
use lines::{LINE, assert_exact, lines};
use peers::Side;
use world::{World, delivered, eventually, free_port, output};

/// The ways over the wire.
const WAYS: [(&str, bool, bool); 4] =
    [("plain", false, false), ("deflate", false, true), ("tls", true, false), ("both", true, true)];

fn fixture(name: &str) -> String {
    format!("{}/engine/tls/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// An agent that sends each line of `in/` over every way to ports of `theirs`, and writes what comes to those of `ours`.
fn both_ways(ours: &[u16; 4], theirs: &[u16; 4]) -> String {
    let mut names = (String::from("tail"), String::new(), String::new(), String::new());
    let mut text = String::new();
    for (i, (way, ssl, deflate)) in WAYS.into_iter().enumerate() {
        names.0.push_str(&format!(" {way}"));
        names.1.push_str(&format!("send_{way} get_{way} "));
        names.2.push_str(&format!("send_{way} get_{way} "));
        names.3.push_str(&format!("send_{way} "));
        let mut both = String::new();
        for (channel, capacity) in [("send", 20_000), ("get", 20_000)] {
            text.push_str(&format!(
                "a1.channels.{channel}_{way}.type = memory\na1.channels.{channel}_{way}.capacity = {capacity}\n\
                 a1.channels.{channel}_{way}.transactionCapacity = 1000\n"
            ));
        }
        let (source, sink) = (format!("a1.sources.{way}"), format!("a1.sinks.send_{way}"));
        both.push_str(&format!(
            "{source}.type = avro\n{source}.bind = 127.0.0.1\n{source}.port = {}\n{source}.channels = get_{way}\n\
             {sink}.type = avro\n{sink}.hostname = 127.0.0.1\n{sink}.port = {}\n{sink}.channel = send_{way}\n\
             {sink}.batch-size = 500\n{sink}.connect-timeout = 300000\n{sink}.request-timeout = 300000\n\
             a1.sinks.get_{way}.type = file_roll\na1.sinks.get_{way}.sink.directory = @DIR@/{way}\n\
             a1.sinks.get_{way}.sink.rollInterval = 0\na1.sinks.get_{way}.channel = get_{way}\n",
            ours[i], theirs[i]
        ));
        if deflate {
            both.push_str(&format!(
                "{source}.compression-type = deflate\n{sink}.compression-type = deflate\n"
            ));
        }
        if ssl {
            both.push_str(&format!(
                "{source}.ssl = true\n{source}.keystore = {}\n{source}.keystore-password = changeit\n\
                 {sink}.ssl = true\n{sink}.truststore = {}\n{sink}.truststore-password = changeit\n",
                fixture("rsa.jks"),
                fixture("trust.jks")
            ));
        }
        text.push_str(&both);
    }
    format!(
        "a1.sources = {}\na1.channels = {}\na1.sinks = {}\na1.sources.tail.type = TAILDIR\n\
         a1.sources.tail.positionFile = @DIR@/position.json\na1.sources.tail.filegroups = f\n\
         a1.sources.tail.filegroups.f = @DIR@/in/.*log\na1.sources.tail.batchSize = 500\n\
         a1.sources.tail.channels = {}\n{text}",
        names.0, names.1, names.2, names.3
    )
}

fn every_way_and_both_ways(version: Version) {
    let Some(flume) = flume::found(version) else { return };
    let ports = |_| [free_port(), free_port(), free_port(), free_port()];
    let [theirs, ours] = [0, 1].map(ports);
    let sides = [both_ways(&theirs, &ours), both_ways(&ours, &theirs)].map(|text| {
        let world = World::new(&text);
        WAYS.iter().for_each(|(way, ..)| fs::create_dir(world.path(way)).unwrap());
        world
    });
    let [their_world, our_world] = &sides;
    let their_agent = Side::flume(&flume, their_world, "a1", "1");
    let our_agent = our_world.start();
    theirs.iter().for_each(|port| their_agent.wait_for_port(*port));
    our_agent.wait_for(&["started"]);
    their_world.append("in/a.log", lines(0, 4000));
    our_world.append("in/a.log", lines(0, 6000));
    for (from, world, count) in [("Flumen", their_world, 6000), ("Flume", our_world, 4000)] {
        for (way, ..) in WAYS {
            let out = world.path(way);
            let state = || format!("from {from}, {way}: {} of {count} lines", delivered(&out) / LINE as u64);
            eventually(|| delivered(&out) >= count * LINE as u64, state);
        }
    }
    our_agent.stop();
    their_agent.stop();
    for (world, count) in [(their_world, 6000), (our_world, 4000)] {
        for (way, ..) in WAYS {
            assert_exact(&output(&world.path(way)), count);
        }
    }
}

#[test]
fn lines_go_from_flume_1_11_to_flumen_and_from_flumen_to_flume_1_11_over_every_way() {
    every_way_and_both_ways(Version::Today);
}

#[test]
fn lines_go_from_flume_1_9_to_flumen_and_from_flumen_to_flume_1_9_over_every_way() {
    every_way_and_both_ways(Version::Old);
}
