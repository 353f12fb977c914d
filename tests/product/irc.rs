//! The irc sink against a real server, ngircd. Where that is not installed the test says `skipped: <why>` and passes; with
//! `FLUMEN_REQUIRE_PEERS=1` it fails.

use crate::mounts::skipped;
use crate::netcat::{ask, connect};
use crate::ngircd::{Ngircd, Reader};
use crate::world::{World, eventually, free_port};

const NETCAT_TO_IRC: &str = "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
    a1.sources.r1.type = netcat\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = @PORT@\na1.sources.r1.channels = c1\n\
    a1.sources.r1.max-line-length = 4000\n\
    a1.channels.c1.type = memory\na1.sinks.k1.type = irc\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = @IRC@\n\
    a1.sinks.k1.nick = flumen\na1.sinks.k1.password = secret\na1.sinks.k1.chan = logs\na1.sinks.k1.channel = c1\n";

/// Starts a server; `None`, with the reason said, if there is none on this machine.
fn server(world: &World, port: u16) -> Option<Ngircd> {
    Ngircd::start(world.root(), port).map_err(|why| skipped(&why)).ok()
}

#[test]
fn lines_are_said_in_the_channel_in_order_and_whole_and_after_a_restart_of_the_server() {
    let (port, irc) = (free_port(), free_port());
    let text = NETCAT_TO_IRC.replace("@PORT@", &port.to_string()).replace("@IRC@", &irc.to_string());
    let world = World::new(&text);
    let Some(running) = server(&world, irc) else { return };
    let reader = Reader::join(irc, "#logs");
    let agent = world.start();
    agent.wait_for(&["in #logs at 127.0.0.1", "as flumen"]);
    let mut stream = connect(&agent, port);
    let long = "0123456789".repeat(100);
    for line in ["one", "two: é, three", &long] {
        assert_eq!(ask(&mut stream, line), "OK\n");
    }
    eventually(|| reader.said().concat().len() >= long.len() + 17, || format!("{:?}", reader.said()));
    assert_eq!(reader.said()[..2], ["one", "two: é, three"]);
    assert_eq!(reader.said()[2..].concat(), long, "no server cut it");

    drop(running);
    agent.wait_for(&["the connection to 127.0.0.1 is gone"]);
    let Some(_running) = server(&world, irc) else { return };
    let reader = Reader::join(irc, "#logs");
    assert_eq!(ask(&mut stream, "after the restart"), "OK\n");
    eventually(|| reader.said() == ["after the restart"], || format!("{:?}", reader.said()));
    agent.stop();
}
