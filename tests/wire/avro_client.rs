//! `avro-client`: each program's client sends to the other's avro source, with every option.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::agent::flumen;
use crate::clients::{Event, events};
use crate::flume::{self, Version};
use crate::peers::Side;
use crate::world::{World, eventually, free_port};

/// An agent with a plain source and one that wants deflate; what comes goes into Avro containers.
fn sources(ports: [u16; 2]) -> World {
    let mut text = String::from(
        "a1.sources = plain deflate\na1.channels = c1\na1.sinks = k1\na1.channels.c1.type = memory\n\
         a1.sinks.k1.type = file_roll\na1.sinks.k1.sink.directory = @DIR@/out\na1.sinks.k1.sink.rollInterval = 0\n\
         a1.sinks.k1.sink.serializer = avro_event\na1.sinks.k1.channel = c1\n\
         a1.sources.deflate.compression-type = deflate\n",
    );
    for (name, port) in ["plain", "deflate"].into_iter().zip(ports) {
        text.push_str(&format!(
            "a1.sources.{name}.type = avro\na1.sources.{name}.bind = 127.0.0.1\na1.sources.{name}.port = {port}\n\
             a1.sources.{name}.channels = c1\n"
        ));
    }
    World::new(&text)
}

/// Sends with each option; the files are below `world`, and `client` is a client in it.
fn send(world: &World, [plain, deflate]: [u16; 2], client: impl Fn() -> Command) {
    world.append("file.log", "one\nzwei ü\n\nno end");
    world.append("headers.properties", "# of all events\nstate = CZ\nkey\\ two = b\n");
    std::fs::create_dir(world.path("spool")).unwrap();
    world.append("spool/a.log", "a\nb\n");
    world.append(
        "rpc.properties",
        format!(
            "hosts = h1\nhosts.h1 = 127.0.0.1:{deflate}\ncompression-type = deflate\nbatch-size = 2\n\
             request-timeout = 300000\n"
        ),
    );
    let port = plain.to_string();
    for options in [
        &["-H", "127.0.0.1", "-p", &port, "-F", "file.log", "-R", "headers.properties"][..],
        &["--host", "127.0.0.1", "--port", &port, "--dirname", "spool", "--headerFile", "headers.properties"],
        &["-P", "rpc.properties", "--filename", "file.log"],
        &["--rpcProps", "rpc.properties"],
    ] {
        let mut client = client();
        client.args(options).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut client = client.spawn().unwrap();
        // One that reads a file has no ear for it.
        let _unheard = client.stdin.take().unwrap().write_all(b"from stdin\n");
        assert!(client.wait().unwrap().success(), "{options:?}");
    }
}

#[test]
fn each_programs_avro_client_sends_to_the_others_source_with_every_option() {
    let Some(flume) = flume::found(Version::Today) else { return };
    let headers: BTreeMap<String, String> =
        [("state", "CZ"), ("key two", "b")].map(|(key, value)| (key.into(), value.into())).into();
    let mut expected: Vec<Event> = Vec::new();
    for (headers, bodies) in [
        (headers, &["one", "zwei ü", "", "no end", "a", "b"][..]),
        (BTreeMap::new(), &["one", "zwei ü", "", "no end", "from stdin"][..]),
    ] {
        expected.extend(bodies.iter().map(|body| (headers.clone(), body.as_bytes().to_vec())));
    }
    expected.sort();

    let ports = [[free_port(), free_port()], [free_port(), free_port()]];
    let [theirs, ours] = ports.map(sources);
    let their_agent = Side::flume(&flume, &theirs, "a1", "1");
    let our_agent = ours.start().started();
    let their_client = || {
        let mut client = flume.java();
        client.current_dir(ours.root()).arg("org.apache.flume.client.avro.AvroCLIClient");
        client
    };
    send(&ours, ports[1], their_client);
    ports[0].iter().for_each(|port| their_agent.wait_for_port(*port));
    send(&theirs, ports[0], || {
        let mut client = flumen(theirs.root());
        client.arg("avro-client");
        client
    });
    assert!(theirs.path("spool/a.log.COMPLETED").exists());
    for (name, world) in [("Flume's client", &ours), ("Flumen's client", &theirs)] {
        let arrived = || {
            let mut arrived = events(&world.path("out"));
            arrived.sort();
            arrived
        };
        eventually(|| arrived().len() >= expected.len(), || format!("{name}: {:?}", arrived()));
        assert_eq!(arrived(), expected, "{name}");
    }
    our_agent.stop();
    their_agent.stop();
}
