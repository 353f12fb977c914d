//! Two agents, an avro sink to an avro source: killed on either side, through TLS and deflate, and before a full channel.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::lines::{LINE, Random, Writer, assert_exact, lines};
use crate::tls;
use crate::world::{DURABLE_TAIL, World, eventually, free_port, output};

/// Events of one call, and calls on their way.
const BATCH: u64 = 200;
const PIPELINE: u64 = 8;

/// Agent `a1`: taildir → file channel → avro sink; agent `b1`: avro source → file channel → file_roll. With further keys of
/// the sink and of the source.
pub fn cascade(port: u16, sink: &[&str], source: &[&str]) -> String {
    let tail: Vec<&str> = DURABLE_TAIL.lines().filter(|line| !line.starts_with("a1.sinks.k1.")).collect();
    let rest: Vec<String> = DURABLE_TAIL
        .lines()
        .filter(|line| !line.starts_with("a1.sources.r1."))
        .map(|line| line.replacen("a1.", "b1.", 1).replace("@DIR@/data", "@DIR@/2/data"))
        .map(|line| line.replace("@DIR@/checkpoint", "@DIR@/2/checkpoint"))
        .collect();
    let mut text = format!(
        "{}\na1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {port}\n\
         a1.sinks.k1.batch-size = {BATCH}\na1.sinks.k1.channel = c1\n\
         {}\nb1.sources.r1.type = avro\nb1.sources.r1.bind = 127.0.0.1\nb1.sources.r1.port = {port}\n\
         b1.sources.r1.channels = c1\n",
        tail.join("\n"),
        rest.join("\n")
    );
    sink.iter().for_each(|key| text.push_str(&format!("a1.sinks.k1.{key}\n")));
    source.iter().for_each(|key| text.push_str(&format!("b1.sources.r1.{key}\n")));
    text
}

/// Fails unless every line of `0..count` is there, and at most `most` are there again.
#[track_caller]
fn assert_all_and_few_again(output: &[u8], count: u64, most: u64) {
    let mut seen = vec![0_u64; count as usize];
    for line in output.chunks(LINE) {
        let number: u64 = String::from_utf8_lossy(&line[..10]).parse().unwrap();
        assert_eq!(line, lines(number, number + 1), "a line that was written");
        seen[number as usize] += 1;
    }
    let missing = seen.iter().filter(|times| **times == 0).count();
    let again: u64 = seen.iter().map(|times| times.saturating_sub(1)).sum();
    assert!(missing == 0 && again <= most, "of {count} lines {missing} are missing, {again} came again");
}

/// How many different lines are there.
fn distinct(out: &Path) -> u64 {
    let bytes = output(out);
    let mut lines: Vec<&[u8]> = bytes.chunks(LINE).collect();
    lines.sort_unstable();
    lines.dedup();
    lines.len() as u64
}

fn wait_lines(world: &World, count: u64) {
    let state = || format!("{} of {count} lines", world.delivered() / LINE as u64);
    eventually(|| world.delivered() >= count * LINE as u64, state);
}

#[test]
fn lines_cross_two_agents_in_order_each_once() {
    let world = World::new(&cascade(free_port(), &[], &[]));
    let (sender, receiver) = (world.start(), world.start_agent("b1"));
    world.append("in/a.log", lines(0, 50_000));
    wait_lines(&world, 50_000);
    let said = sender.stop();
    assert!(said.contains("connected") && said.contains("disconnected"), "{said}");
    let line = receiver.wait_for(&["INFO", "disconnected", "peer=127.0.0.1:"]);
    assert!(line.contains("r1"), "{line}");
    receiver.stop();
    assert_exact(&world.output(), 50_000);
}

#[test]
fn tls_and_deflate_together_lose_and_repeat_nothing() {
    let store = format!("keystore = {}", tls::fixture("rsa.jks"));
    let trust = format!("truststore = {}", tls::fixture("trust.jks"));
    let world = World::new(&cascade(
        free_port(),
        &[
            "ssl = true",
            &trust,
            "truststore-type = JKS",
            "truststore-password = changeit",
            "compression-type = deflate",
        ],
        &["ssl = true", &store, "keystore-password = changeit", "compression-type = deflate"],
    ));
    let (sender, receiver) = (world.start(), world.start_agent("b1"));
    world.append("in/a.log", lines(0, 20_000));
    wait_lines(&world, 20_000);
    sender.stop();
    receiver.stop();
    assert_exact(&world.output(), 20_000);
}

#[test]
fn a_server_whose_certificate_nobody_vouches_for_gets_nothing() {
    let store = format!("keystore = {}", tls::fixture("rsa.jks"));
    let trust = format!("truststore = {}", tls::fixture("cert.pem"));
    let port = free_port();
    let world = World::new(&cascade(
        port,
        &["ssl = true", &trust],
        &["ssl = true", &store, "keystore-password = changeit"],
    ));
    let receiver = world.start_agent("b1");
    receiver.wait_for(&["listening"]);
    let sender = world.start();
    world.append("in/a.log", lines(0, 10));
    let line = sender.wait_for(&["ERROR", &format!("cannot connect to 127.0.0.1:{port}")]);
    assert!(line.contains("certificate"), "{line}");
    sender.stop();
    receiver.stop();
    assert_eq!(world.delivered(), 0);
}

/// Kills one of the two agents again and again while a log grows.
fn killed_while_the_log_grows(kills: u64, kills_receiver: bool) {
    let world = World::new(&cascade(free_port(), &[], &[]));
    let mut random = Random::new();
    let start = |receiver: bool| if receiver { world.start_agent("b1") } else { world.start() };
    let other = start(!kills_receiver);
    let writer = Writer::start(world.path("in/a.log"), world.path("out"), None);
    for _ in 0..kills {
        let agent = start(kills_receiver);
        // Any moment will do: before a reply, while it is written, behind it.
        std::thread::sleep(Duration::from_millis(200 + random.below(600)));
        agent.kill();
    }
    let agent = start(kills_receiver);
    wait_lines(&world, writer.written());
    let count = writer.finish();
    let whole = || distinct(&world.path("out"));
    eventually(|| whole() >= count, || format!("{} of {count} lines", whole()));
    agent.stop();
    other.stop();
    // A sender's channel writes its releases with its next frame: those of its last moments are not there after a kill.
    let most = if kills_receiver { kills * PIPELINE * BATCH } else { count };
    assert_all_and_few_again(&world.output(), count, most);
}

#[test]
fn a_receiver_killed_again_and_again_loses_nothing_and_repeats_at_most_what_was_on_its_way() {
    killed_while_the_log_grows(6, true);
}

#[test]
fn a_sender_killed_again_and_again_loses_nothing() {
    killed_while_the_log_grows(6, false);
}

#[test]
fn a_receiver_whose_channel_is_full_is_asked_again_until_there_is_room() {
    let keys = ["keep-alive = 0", "capacity = 1000", "transactionCapacity = 1000"];
    let keys: String = keys.iter().map(|key| format!("b1.channels.c1.{key}\n")).collect();
    // The sink's directory is not there yet, so the channel fills up.
    let config = cascade(free_port(), &[], &[]).replace("@DIR@/out", "@DIR@/later");
    let world = World::new(&format!("{config}{keys}"));
    world.append("in/a.log", lines(0, 5000));
    let (sender, receiver) = (world.start(), world.start_agent("b1"));
    sender.wait_for(&["ERROR", "answered FAILED"]);
    receiver.wait_for(&["WARN", "refused", "capacity"]);
    fs::create_dir(world.path("later")).unwrap();
    let path = world.path("later");
    let arrived = || distinct(&path);
    eventually(|| arrived() >= 5000, || format!("{} lines", arrived()));
    sender.stop();
    receiver.stop();
    assert_all_and_few_again(&output(&path), 5000, 5000);
}
