//! The irc sink against a real server, ngircd. Where that is not installed the test says `skipped: <why>` and passes; with
//! `FLUMEN_REQUIRE_PEERS=1` it fails.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::mounts::skipped;
use crate::netcat::{ask, connect};
use crate::world::{World, eventually, free_port};

const NETCAT_TO_IRC: &str = "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
    a1.sources.r1.type = netcat\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = @PORT@\na1.sources.r1.channels = c1\n\
    a1.sources.r1.max-line-length = 4000\n\
    a1.channels.c1.type = memory\na1.sinks.k1.type = irc\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = @IRC@\n\
    a1.sinks.k1.nick = flumen\na1.sinks.k1.password = secret\na1.sinks.k1.chan = logs\na1.sinks.k1.channel = c1\n";

/// A server; ended when dropped.
struct Ngircd(Child);

impl Ngircd {
    /// Starts one in the world's directory; `None`, with the reason said, if there is none on this machine.
    fn start(world: &World, port: u16) -> Option<Self> {
        let config = world.path("ngircd.conf");
        let text = format!(
            "[Global]\nName = irc.test.local\nInfo = test\nListen = 127.0.0.1\nPorts = {port}\nPassword = secret\n\
             [Limits]\nMaxConnectionsIP = 0\n[Options]\nDNS = no\nIdent = no\nPAM = no\n"
        );
        fs::write(&config, text).unwrap();
        let log = fs::File::create(world.path("ngircd.log")).unwrap();
        let mut command = Command::new("ngircd");
        command.arg("-n").arg("-f").arg(&config).stdin(Stdio::null());
        match command.stdout(log.try_clone().unwrap()).stderr(log).spawn() {
            Ok(child) => {
                eventually(
                    || TcpStream::connect(("127.0.0.1", port)).is_ok(),
                    || fs::read_to_string(world.path("ngircd.log")).unwrap_or_default(),
                );
                Some(Self(child))
            }
            Err(error) => {
                skipped(&format!("ngircd cannot be started: {error}"));
                None
            }
        }
    }
}

impl Drop for Ngircd {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Somebody who reads the channel.
fn reader(port: u16) -> Arc<Mutex<Vec<String>>> {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
    stream
        .get_mut()
        .write_all(b"PASS secret\r\nNICK reader\r\nUSER reader 0 * :reader\r\nJOIN #logs\r\n")
        .unwrap();
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let lines = seen.clone();
    std::thread::spawn(move || {
        let mut line = String::new();
        while stream.read_line(&mut line).is_ok_and(|read| read > 0) {
            if let Some(token) = line.strip_prefix("PING ") {
                write!(stream.get_mut(), "PONG {token}").unwrap();
            }
            lines.lock().unwrap().push(line.trim_end().to_string());
            line.clear();
        }
    });
    seen
}

/// The texts that `reader` saw in the channel.
fn said(seen: &Mutex<Vec<String>>) -> Vec<String> {
    let seen = seen.lock().unwrap();
    seen.iter().filter_map(|line| Some(line.split_once("PRIVMSG #logs :")?.1.to_string())).collect()
}

#[test]
fn lines_are_said_in_the_channel_in_order_and_whole_and_after_a_restart_of_the_server() {
    let (port, irc) = (free_port(), free_port());
    let text = NETCAT_TO_IRC.replace("@PORT@", &port.to_string()).replace("@IRC@", &irc.to_string());
    let world = World::new(&text);
    let Some(server) = Ngircd::start(&world, irc) else { return };
    let seen = reader(irc);
    let joined = |seen: &Mutex<Vec<String>>| seen.lock().unwrap().iter().any(|line| line.contains(" 366 "));
    eventually(|| joined(&seen), || format!("{:?}", seen.lock().unwrap()));
    let agent = world.start();
    agent.wait_for(&["in #logs at 127.0.0.1", "as flumen"]);
    let mut stream = connect(&agent, port);
    let long = "0123456789".repeat(100);
    for line in ["one", "two: é, three", &long] {
        assert_eq!(ask(&mut stream, line), "OK\n");
    }
    eventually(|| said(&seen).concat().len() >= long.len() + 17, || format!("{:?}", said(&seen)));
    assert_eq!(said(&seen)[..2], ["one", "two: é, three"]);
    assert_eq!(said(&seen)[2..].concat(), long, "no server cut it");

    drop(server);
    agent.wait_for(&["the connection to 127.0.0.1 is gone"]);
    let Some(_server) = Ngircd::start(&world, irc) else { return };
    let seen = reader(irc);
    eventually(|| joined(&seen), || format!("{:?}", seen.lock().unwrap()));
    assert_eq!(ask(&mut stream, "after the restart"), "OK\n");
    eventually(|| said(&seen) == ["after the restart"], || format!("{:?}", said(&seen)));
    agent.stop();
}
