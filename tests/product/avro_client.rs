//! `flumen avro-client`, alone and through `bin/flume-ng`.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::agent::flumen;
use crate::avro::cascade;
use crate::tls;
use crate::world::{World, eventually, free_port};

/// Agent `b1` alone, with headers in its output and these keys of the source.
fn world(port: u16, keys: &[&str]) -> World {
    let config = cascade(port, &[], keys);
    World::new(&format!("{config}b1.sinks.k1.sink.serializer = header_and_text\n"))
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn client(world: &World, arguments: &[&str]) -> Output {
    flumen(world.root()).arg("avro-client").args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn wait_for(world: &World, expected: &str) {
    let arrived = || String::from_utf8_lossy(&world.output()).into_owned();
    eventually(|| arrived() == expected, || format!("{:?}", arrived()));
}

#[test]
fn a_file_stdin_and_a_directory_arrive_line_by_line_with_the_headers_of_the_file() {
    let port = free_port();
    let number = port.to_string();
    let world = world(port, &[]);
    let agent = world.start_agent("b1");
    agent.wait_for(&["listening", &number]);
    let address = ["-H", "127.0.0.1", "-p", &number];

    world.append("file.log", "one\r\nzwei ü\n\nno end");
    world.append("headers.properties", "# of all events\nstate = CZ\nkey\\ two = ä\n");
    let output = client(&world, &[&address[..], &["-F", "file.log", "-R", "headers.properties"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let mut expected = String::new();
    for body in ["one", "zwei ü", "", "no end"] {
        expected.push_str(&format!("{{key two=ä, state=CZ}} {body}\n"));
    }
    wait_for(&world, &expected);

    let mut child =
        flumen(world.root()).arg("avro-client").args(address).stdin(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // What is there arrives though the input has no end yet.
    input.write_all(b"from stdin\n").unwrap();
    expected.push_str("{} from stdin\n");
    wait_for(&world, &expected);
    drop(input);
    assert_eq!(child.wait().unwrap().code(), Some(0));

    fs::create_dir(world.path("spool")).unwrap();
    world.append("spool/a.log", "a\n");
    world.append("spool/.hidden", "hidden\n");
    world.append("spool/done.log.COMPLETED", "done\n");
    let output = client(&world, &[&address[..], &["--dirname", "spool"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    expected.push_str("{} a\n");
    wait_for(&world, &expected);
    assert!(world.path("spool/a.log.COMPLETED").exists() && !world.path("spool/a.log").exists());
    agent.stop();
}

#[test]
fn properties_say_how_to_connect_and_the_first_host_that_can_be_reached_is_used() {
    let port = free_port();
    let store = format!("keystore = {}", tls::fixture("rsa.jks"));
    let keys = ["ssl = true", &store, "keystore-password = changeit", "compression-type = deflate"];
    let world = world(port, &keys);
    let agent = world.start_agent("b1");
    agent.wait_for(&["listening", &port.to_string()]);
    let text = format!(
        "client.type = DEFAULT_FAILOVER\nhosts = dead live\nhosts.dead = 127.0.0.1:{}\nhosts.live = 127.0.0.1:{port}\n\
         batch-size = 2\ncompression-type = deflate\nssl = true\ntruststore = {}\ntruststore-password = changeit\n",
        free_port(),
        tls::fixture("trust.jks")
    );
    world.append("rpc.properties", text);
    world.append("file.log", "one\ntwo\nthree\n");
    let output = client(&world, &["-P", "rpc.properties", "-F", "file.log"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    wait_for(&world, "{} one\n{} two\n{} three\n");
    agent.stop();
}

#[test]
fn what_cannot_be_delivered_ends_it_with_an_error_that_says_how_much_was() {
    let port = free_port();
    let number = port.to_string();
    let world = world(port, &[]);
    let address = ["-H", "127.0.0.1", "-p", &number];
    world.append("file.log", "one\n");
    let file = [&address[..], &["-F", "file.log"]].concat();
    let output = client(&world, &file);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains(&format!("cannot connect to 127.0.0.1:{port}")), "{}", said(&output));

    // An interceptor-less channel that takes in one event alone.
    let keys = "b1.channels.c1.keep-alive = 0\nb1.channels.c1.capacity = 1\nb1.channels.c1.transactionCapacity = 1\n";
    world.configure(&format!("{}{keys}", cascade(port, &[], &[]).replace("@DIR@/out", "@DIR@/later")));
    let agent = world.start_agent("b1");
    agent.wait_for(&["listening", &number]);
    let output = client(&world, &file);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let output = client(&world, &file);
    assert_eq!(output.status.code(), Some(1));
    let error = said(&output);
    assert!(error.contains("answered FAILED") && error.contains("0 events were acknowledged"), "{error}");

    let output = client(&world, &[&address[..], &["-F", "missing.log"]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("missing.log"), "{}", said(&output));
    world.append("rpc.properties", "hosts = h1\n");
    let output = client(&world, &["-P", "rpc.properties"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(said(&output).contains("hosts.h1"), "{}", said(&output));
    agent.stop();
}

#[test]
fn flume_ng_sends_too() {
    let port = free_port();
    let number = port.to_string();
    let world = world(port, &[]);
    let agent = world.start_agent("b1");
    agent.wait_for(&["listening", &number]);
    world.append("file.log", "through the launcher\n");
    fs::create_dir(world.path("conf")).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let binary = Path::new(env!("CARGO_BIN_EXE_flumen")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let output = Command::new(root.join("bin/flume-ng"))
        .current_dir(world.root())
        .env("PATH", path)
        .args(["avro-client", "--conf", "conf", "-H", "127.0.0.1", "-p", &number, "-F", "file.log"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    wait_for(&world, "{} through the launcher\n");
    agent.stop();
}
