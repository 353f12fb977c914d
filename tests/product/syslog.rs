//! Syslog over real sockets into a channel and files: what arrives, what garbage does, what a full channel does.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};

use crate::agent::Agent;
use crate::lines::Random;
use crate::tls;
use crate::world::{DURABLE_TAIL, PATIENCE, World, delivered, eventually, free_port, get, output};

/// [`DURABLE_TAIL`] with this source instead, headers and bodies in the output.
fn with_source(keys: &[&str]) -> String {
    let other: Vec<&str> = DURABLE_TAIL.lines().filter(|line| !line.starts_with("a1.sources.r1.")).collect();
    let keys: String = keys.iter().map(|key| format!("a1.sources.r1.{key}\n")).collect();
    format!(
        "{}\na1.sources.r1.channels = c1\n{keys}a1.sinks.k1.sink.serializer = HEADER_AND_TEXT\n",
        other.join("\n")
    )
}

/// Connects as soon as the agent listens.
fn connect(agent: &Agent, port: u16) -> TcpStream {
    agent.wait_for(&["listening", &port.to_string()]);
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends all and waits until the source has taken it in and closed.
fn send(agent: &Agent, port: u16, bytes: &[u8]) {
    let mut stream = connect(agent, port);
    stream.write_all(bytes).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0, "syslog is not answered");
}

/// The delivered lines once there are so many.
fn wait(world: &World, count: usize) -> Vec<String> {
    let lines = || String::from_utf8_lossy(&world.output()).lines().map(str::to_string).collect::<Vec<_>>();
    eventually(
        || lines().len() >= count,
        || format!("{} lines of {count}: {:?}", lines().len(), lines().last()),
    );
    lines()
}

#[test]
fn messages_arrive_with_their_headers_and_garbage_costs_nobody_else_anything() {
    let (port, monitoring) = (free_port(), free_port());
    let world =
        World::new(&with_source(&["type = syslogtcp", "host = 127.0.0.1", &format!("port = {port}")]));
    let agent =
        world.start_with(&["-Dflume.monitoring.type=http", &format!("-Dflume.monitoring.port={monitoring}")]);
    let mut good = connect(&agent, port);
    good.write_all(b"<13>1 2003-10-11T22:14:15.003Z web1 first\n<34>1 2003-10-11T22:14").unwrap();
    let mut random = Random::new();
    let garbage: Vec<u8> =
        (0..20_000).map(|_| random.below(256) as u8).filter(|byte| *byte != b'\n').collect();
    send(&agent, port, &garbage);
    send(&agent, port, b"no priority\n<10> no shape\n");
    good.write_all(b":16Z web2 second\n").unwrap();
    let lines = wait(&world, 20_000 / 2500 + 3);
    let has = |line: &str| assert!(lines.iter().any(|one| one == line), "{line} is missing in {lines:?}");
    has("{host=web1, Severity=5, Facility=1, priority=13, version=1, timestamp=1065910455003} first");
    has("{host=web2, Severity=2, Facility=4, priority=34, version=1, timestamp=1065910456000} second");
    has("{flume.syslog.status=Invalid, Severity=0, Facility=0} no priority");
    has("{Severity=2, Facility=1} <10> no shape");
    let (_, metrics) = get(monitoring, "/metrics").unwrap();
    let attributes: serde_json::Value = serde_json::from_str(&metrics).unwrap();
    let count = |name: &str| attributes["SOURCE.r1"][name].as_str().unwrap().parse::<u64>().unwrap();
    assert!(count("EventReadFail") >= 8, "{metrics}");
    assert_eq!(count("OpenConnectionCount"), 1);
    assert_eq!(count("EventReceivedCount"), count("EventAcceptedCount"));
    agent.stop();
}

#[test]
fn a_full_channel_makes_clients_wait_and_loses_nothing() {
    const COUNT: usize = 20_000;
    let port = free_port();
    // The sink's directory is not there yet, so the channel fills up.
    let config = with_source(&["type = syslogtcp", "host = 127.0.0.1", &format!("port = {port}")])
        .replace("@DIR@/out", "@DIR@/later")
        .replace("capacity = 2500000", "capacity = 1000")
        .replace("transactionCapacity = 10000", "transactionCapacity = 1000\na1.channels.c1.keep-alive = 1");
    let world = World::new(&config);
    let agent = world.start();
    let mut stream = connect(&agent, port);
    let sender = std::thread::spawn(move || {
        for number in 0..COUNT {
            stream.write_all(format!("<13>- h {number:08} {}\n", "x".repeat(1000)).as_bytes()).unwrap();
        }
    });
    agent.wait_for(&["WARN", "put refused, tried again", "full"]);
    assert!(!sender.is_finished(), "the client does not wait");
    fs::create_dir(world.path("later")).unwrap();
    sender.join().unwrap();
    let later = world.path("later");
    let line = "{host=h, Severity=5, Facility=1, priority=13} 00000000 \n".len() + 1000;
    eventually(|| delivered(&later) >= (COUNT * line) as u64, || format!("{} bytes", delivered(&later)));
    agent.stop();
    let text = String::from_utf8(output(&later)).unwrap();
    for (number, line) in text.lines().enumerate() {
        assert!(line.contains(&format!("}} {number:08} x")), "line {number} is {}", &line[..80]);
    }
    assert_eq!(text.lines().count(), COUNT);
}

#[test]
fn many_ports_speak_tls_with_a_key_store_of_javas() {
    let ports = [free_port(), free_port()];
    let store = tls::fixture("ec.p12");
    let config = with_source(&[
        "type = multiport_syslogtcp",
        "host = 127.0.0.1",
        &format!("ports = {} {}", ports[0], ports[1]),
        "portHeader = port",
        &format!("charset.port.{} = ISO-8859-1", ports[1]),
        "ssl = true",
        &format!("keystore = {store}"),
        "keystore-type = PKCS12",
        "keystore-password = changeit",
    ]);
    let world = World::new(&config);
    let agent = world.start();
    // Who does not speak TLS is let go.
    let mut plain = connect(&agent, ports[0]);
    plain.write_all(b"<13>- h in the clear\n<13>- h in the clear\n").unwrap();
    let mut rest = Vec::new();
    let _reset_or_alert = plain.read_to_end(&mut rest);
    for port in ports {
        connect(&agent, port);
        tls::talk(port, b"<13>2012-08-17T02:14:00-07:00 h hello\nblah\n");
    }
    let mut lines = wait(&world, 4);
    lines.sort();
    let good = "Priority=13, host=h, Severity=5, Facility=1, timestamp=1345194840000} hello";
    for port in ports {
        assert!(lines.contains(&format!("{{port={port}, {good}")), "{lines:?}");
        assert!(lines.contains(&format!("{{port={port}, flume.syslog.status=Invalid}} blah")), "{lines:?}");
    }
    let said = agent.stop();
    assert!(said.contains("no TLS with a client") && !said.contains("changeit"), "{said}");
}

#[test]
fn datagrams_become_events() {
    for (keys, sent, expected) in [
        (
            &["type = syslogudp", "host = 127.0.0.1"][..],
            "<13>1 2003-10-11T22:14:15.003Z web1 hello",
            "{host=web1, Severity=5, Facility=1, priority=13, version=1, timestamp=1065910455003} hello",
        ),
        (&["type = netcatudp", "bind = 127.0.0.1"], "hello\nand what follows", "{} hello"),
    ] {
        let port = free_port();
        let place = format!("port = {port}");
        let world = World::new(&with_source(&[keys, &[place.as_str()]].concat()));
        let agent = world.start();
        agent.wait_for(&["listening", &port.to_string()]);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..10 {
            socket.send_to(sent.as_bytes(), ("127.0.0.1", port)).unwrap();
        }
        assert_eq!(wait(&world, 10), vec![expected; 10]);
        agent.stop();
    }
}
