//! Scenarios of users, run as they are written but for what each test says.

use std::fs;

use crate::netcat::{ask, connect};
use crate::world::{World, eventually, free_port, output};

const SPOOLDIR: &str = include_str!("../scenarios/03-spooldir-hdfs.conf");
const INTERCEPTORS: &str = include_str!("../scenarios/05-interceptors.conf");
const SELECTORS: &str = include_str!("../scenarios/06-selectors.conf");

/// [`SELECTORS`] with a source of lines in the place of the avro source: `state` is a line's first word.
fn selectors(port: u16) -> String {
    let mut text = SELECTORS.replace(".type = avro", ".type = netcat");
    for place in ["@PORT1@", "@PORT2@"] {
        text = text.replace(place, &port.to_string());
    }
    for key in [
        " = i1",
        ".i1.type = regex_extractor",
        r".i1.regex = ^(\\S+)",
        ".i1.serializers = s1",
        ".i1.serializers.s1.name = state",
    ] {
        text.push_str(&format!("mux.sources.r1.interceptors{key}\n"));
    }
    text
}

#[test]
fn scenario_03_delivers_each_uploaded_file_once_and_passes_over_what_is_still_written() {
    // Into local files: `hdfs.rs` has it as it is written.
    let (source, _) = SPOOLDIR.split_once("a3.sinks.k3.type").unwrap();
    let sink =
        "a3.sinks.k3.type = file_roll\na3.sinks.k3.sink.directory = @DIR@/out\na3.sinks.k3.channel = c3\n";
    let world = World::new(&format!("{source}{sink}"));
    fs::create_dir_all(world.path("upload")).unwrap();
    world.append("upload/first.log", "one\ntwo\n");
    let agent = world.start_agent("a3");
    world.wait_delivered(8);
    world.append("upload/second.tmp", "three\nfo");
    world.append("upload/second.tmp", "ur\n");
    fs::rename(world.path("upload/second.tmp"), world.path("upload/second.log")).unwrap();
    world.append("upload/third.tmp", "still written");
    world.wait_delivered(19);
    let names = || {
        let entries = fs::read_dir(world.path("upload")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    };
    let expected = ["first.log.COMPLETED", "second.log.COMPLETED", "third.tmp"];
    eventually(|| names() == expected, || format!("{:?}", names()));
    agent.stop();
    assert_eq!(world.output(), b"one\ntwo\nthree\nfour\n");
}

#[test]
fn scenario_05_gives_each_line_its_time_and_its_hosts_name() {
    let port = free_port();
    let world = World::new(&INTERCEPTORS.replace("@PORT@", &port.to_string()));
    let agent = world.start();
    let mut stream = connect(&agent, port);
    assert_eq!(ask(&mut stream, "hello"), "OK\n");
    let line = agent.wait_for(&["Event: {", "hello }"]);
    let headers = line.split_once("headers:{").unwrap().1.split_once('}').unwrap().0;
    let mut headers: Vec<(&str, &str)> =
        headers.split(", ").map(|header| header.split_once('=').unwrap()).collect();
    headers.sort_unstable();
    let [("host", host), ("timestamp", timestamp)] = headers[..] else { panic!("{line}") };
    assert!(!host.is_empty(), "{line}");
    assert!(timestamp.len() == 13 && timestamp.parse::<u64>().is_ok(), "{line}");
    agent.stop();
}

#[test]
fn scenario_06_replicates_to_both_files_and_lets_the_optional_channel_lose_what_it_cannot_hold() {
    let port = free_port();
    let world = World::new(&selectors(port));
    for out in ["rep1", "rep2"] {
        fs::create_dir_all(world.path(out)).unwrap();
    }
    let agent = world.start_agent("rep");
    let mut stream = connect(&agent, port);
    let mut sent = String::new();
    // The optional channel holds ten; more than that at once never fits into it, and keeps nobody waiting.
    for number in 0..200 {
        sent.push_str(&format!("line {number}\n"));
        assert_eq!(ask(&mut stream, format!("line {number}")), "OK\n");
    }
    for out in ["rep1", "rep2"] {
        let path = world.path(out);
        let arrived = || String::from_utf8_lossy(&output(&path)).into_owned();
        eventually(|| arrived() == sent, || format!("{out} has {:?}", arrived()));
    }
    agent.stop();
}

#[test]
fn scenario_06_multiplexes_by_the_header_state() {
    let port = free_port();
    let world = World::new(&selectors(port));
    for n in 1..=4 {
        fs::create_dir_all(world.path(&format!("mux{n}"))).unwrap();
    }
    let agent = world.start_agent("mux");
    let mut stream = connect(&agent, port);
    for line in ["CZ one", "US two", "DE three", "US four", ""] {
        assert_eq!(ask(&mut stream, line), "OK\n");
    }
    for (out, expected) in [
        ("mux1", "CZ one\n"),
        ("mux2", "US two\nUS four\n"),
        ("mux3", "US two\nUS four\n"),
        ("mux4", "DE three\n\n"),
    ] {
        let path = world.path(out);
        let arrived = || String::from_utf8_lossy(&output(&path)).into_owned();
        eventually(|| arrived() == expected, || format!("{out} has {:?}", arrived()));
    }
    agent.stop();
}
