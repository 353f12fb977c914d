//! Scenario 01: lines over TCP, each answered, each logged.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use crate::agent::Agent;
use crate::world::{NETCAT_LOGGER, PATIENCE, World, free_port};

/// Connects as soon as the agent listens.
pub fn connect(agent: &Agent, port: u16) -> BufReader<TcpStream> {
    agent.wait_for(&["listening", &port.to_string()]);
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

/// Sends a line and returns the answer.
pub fn ask(stream: &mut BufReader<TcpStream>, line: impl AsRef<[u8]>) -> String {
    stream.get_mut().write_all(line.as_ref()).unwrap();
    stream.get_mut().write_all(b"\n").unwrap();
    let mut answer = String::new();
    stream.read_line(&mut answer).unwrap();
    answer
}

#[test]
fn lines_are_answered_with_ok_and_logged_as_flume_does() {
    let port = free_port();
    let world = World::new(&NETCAT_LOGGER.replace("@PORT@", &port.to_string()));
    let agent = world.start();
    let mut stream = connect(&agent, port);
    for line in ["hello world", "sixteen bytes ok and cut", ""] {
        assert_eq!(ask(&mut stream, line), "OK\n", "{line:?}");
    }
    agent.wait_for(&[
        "Event: { headers:{} body: 68 65 6C 6C 6F 20 77 6F 72 6C 64                hello world }",
    ]);
    agent.wait_for(&[
        "Event: { headers:{} body: 73 69 78 74 65 65 6E 20 62 79 74 65 73 20 6F 6B sixteen bytes ok }",
    ]);
    let said = agent.stop();
    assert_eq!(said.matches("Event: {").count(), 3, "{said}");
}

#[test]
fn what_was_answered_with_ok_is_delivered_before_a_clean_stop_though_the_channel_keeps_nothing() {
    let port = free_port();
    let world = World::new(&NETCAT_LOGGER.replace("@PORT@", &port.to_string()));
    let agent = world.start();
    let mut stream = connect(&agent, port);
    for block in 0..20 {
        stream.get_mut().write_all("a line\n".repeat(100).as_bytes()).unwrap();
        for line in 0..100 {
            let mut answer = String::new();
            stream.read_line(&mut answer).unwrap();
            assert_eq!(answer, "OK\n", "line {line} of block {block}");
        }
    }
    let said = agent.stop();
    assert_eq!(said.matches("Event: {").count(), 2000);
}
