//! The http sink and what it does after each answer, up to the dead letter.

use std::fs;

use crate::web::{Answer, Request, Web};
use crate::world::{World, eventually};

/// taildir → file channel → http, to the server at `@PORT@`.
const TAIL_TO_HTTP: &str = "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
    a1.sources.r1.type = TAILDIR\na1.sources.r1.positionFile = @DIR@/position.json\n\
    a1.sources.r1.filegroups = f1\na1.sources.r1.filegroups.f1 = @DIR@/in/.*log\na1.sources.r1.channels = c1\n\
    a1.channels.c1.type = file\na1.channels.c1.checkpointDir = @DIR@/checkpoint\na1.channels.c1.dataDirs = @DIR@/data\n\
    a1.sinks.k1.type = http\na1.sinks.k1.endpoint = http://127.0.0.1:@PORT@/in\na1.sinks.k1.channel = c1\n\
    a1.sinks.k1.rollback.2XX = false\na1.sinks.k1.defaultBackoff = false\n";

fn world(server: &Web, keys: &str) -> World {
    World::new(&format!("{TAIL_TO_HTTP}{keys}").replace("@PORT@", &server.port.to_string()))
}

#[test]
fn an_event_is_posted_until_the_answer_releases_it_and_those_behind_it_wait() {
    let server =
        Web::start(|asked, times| Answer::from(if asked.body == "two" && times < 3 { 503 } else { 200 }));
    let world = world(&server, "");
    world.append("in/a.log", "one\ntwo\nthree\n");
    let agent = world.start();
    let all = ["one", "two", "two", "two", "three"];
    eventually(|| server.bodies().len() >= all.len(), || format!("{:?}", server.bodies()));
    agent.stop();
    assert_eq!(server.bodies(), all);
    // What is released does not come again.
    let agent = world.start();
    world.append("in/a.log", "four\n");
    eventually(|| server.bodies().len() > all.len(), || format!("{:?}", server.bodies()));
    agent.stop();
    assert_eq!(server.bodies()[all.len()..], ["four"]);
}

#[test]
fn a_refused_event_goes_to_the_dead_letters_channel_and_holds_nobody_up() {
    let server = Web::start(|asked, _| Answer::from(if asked.body.starts_with("bad") { 400 } else { 200 }));
    let keys = "a1.channels = c1 c2\na1.channels.c2.type = file\na1.channels.c2.checkpointDir = @DIR@/2/checkpoint\n\
                a1.channels.c2.dataDirs = @DIR@/2/data\na1.sinks = k1 k2\na1.sinks.k2.type = file_roll\n\
                a1.sinks.k2.sink.directory = @DIR@/out\na1.sinks.k2.sink.rollInterval = 0\na1.sinks.k2.channel = c2\n\
                a1.sinks.k2.sink.serializer = header_and_text\n\
                a1.sinks.k1.refuse.4XX = true\na1.sinks.k1.deadLetter.type = channel\na1.sinks.k1.deadLetter.channel = c2\n";
    // A later line of the same key wins.
    let world = world(&server, keys);
    world.append("in/a.log", "one\nbad two\nthree\nbad four\n");
    let agent = world.start();
    let dead = || String::from_utf8(world.output()).unwrap();
    eventually(
        || dead().lines().count() == 2 && server.bodies().len() == 4,
        || format!("{} {:?}", dead(), server.bodies()),
    );
    agent.stop();
    assert_eq!(server.bodies(), ["one", "bad two", "three", "bad four"], "each is posted once");
    let dead = dead();
    for (line, body) in dead.lines().zip(["bad two", "bad four"]) {
        assert!(line.ends_with(&format!("}} {body}")), "{line}");
        assert!(line.contains("deadLetter.sink=k1") && line.contains("answered 400"), "{line}");
    }
}

#[test]
fn a_refused_event_goes_to_the_dead_letters_file_for_any_sink() {
    // Lines of text are no Avro datums.
    let keys = "a1.sinks.k1.sink.serializer = org.apache.flume.sink.hdfs.AvroEventSerializer$Builder\n\
                a1.sinks.k1.deadLetter.type = file\na1.sinks.k1.deadLetter.file = @DIR@/dead.json\n";
    let world = World::new(&format!("{}{keys}", crate::world::DURABLE_TAIL));
    world.append("in/a.log", "one\ntwo\n");
    let agent = world.start();
    let dead = || fs::read_to_string(world.path("dead.json")).unwrap_or_default();
    eventually(|| dead().lines().count() == 2, dead);
    let said = agent.stop();
    assert!(said.contains("2 events were refused and went to the dead letter"), "{said}");
    for (line, body) in dead().lines().zip(["one", "two"]) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["body"], body);
        assert!(
            line["headers"]["deadLetter.reason"].as_str().unwrap().contains("flume.avro.schema.url"),
            "{line}"
        );
    }
}

#[test]
fn in_a_group_a_refused_event_goes_to_the_dead_letter_once_and_nothing_else_is_lost() {
    fn takes(asked: &Request, _: usize) -> Answer {
        Answer::from(if asked.body.starts_with("bad") { 400 } else { 200 })
    }
    /// Fails at some of them for the first time.
    fn fails(asked: &Request, times: usize) -> Answer {
        if asked.body.starts_with("late") && times == 1 { Answer::from(503) } else { takes(asked, times) }
    }
    for processor in ["failover", "load_balance"] {
        let servers = [Web::start(fails), Web::start(takes)];
        let mut keys = format!(
            "a1.channels = c1 c2\na1.channels.c2.type = file\na1.channels.c2.checkpointDir = @DIR@/2/checkpoint\n\
             a1.channels.c2.dataDirs = @DIR@/2/data\na1.sinks = k1 k2 k3\na1.sinks.k3.type = file_roll\n\
             a1.sinks.k3.sink.directory = @DIR@/out\na1.sinks.k3.sink.rollInterval = 0\na1.sinks.k3.channel = c2\n\
             a1.sinks.k2.type = http\na1.sinks.k2.endpoint = http://127.0.0.1:{}/in\na1.sinks.k2.channel = c1\n\
             a1.sinks.k2.rollback.2XX = false\na1.sinks.k2.defaultBackoff = false\na1.sinkgroups = g1\n\
             a1.sinkgroups.g1.sinks = k1 k2\na1.sinkgroups.g1.processor.type = {processor}\n",
            servers[1].port
        );
        for key in ["refuse.400 = true", "deadLetter.type = channel", "deadLetter.channel = c2"] {
            keys += &format!("a1.sinks.k1.{key}\na1.sinks.k2.{key}\n");
        }
        let world = world(&servers[0], &keys);
        let kind = |number: usize| match number {
            1 | 12 => "late",
            _ if number % 7 == 3 => "bad",
            _ => "good",
        };
        let lines: Vec<String> = (0..40).map(|number| format!("{} {number}", kind(number))).collect();
        world.append("in/a.log", lines.join("\n") + "\n");
        let agent = world.start();
        let dead = || String::from_utf8(world.output()).unwrap();
        let heard = || servers.iter().flat_map(Web::bodies).collect::<Vec<_>>();
        let reached = || lines.iter().all(|line| heard().contains(line)) && dead().lines().count() >= 6;
        eventually(reached, || format!("{:?} {:?}", heard(), dead()));
        agent.stop();
        let bad: Vec<&String> = lines.iter().filter(|line| line.starts_with("bad")).collect();
        assert_eq!(dead().lines().collect::<Vec<_>>(), bad, "{processor}");
        for line in &lines {
            let times = heard().iter().filter(|body| *body == line).count();
            // What one server failed at, the other had.
            let most = if line.starts_with("late") { 2 } else { 1 };
            assert!((1..=most).contains(&times), "{processor}: {line} came {times} times");
        }
    }
}

#[test]
fn a_dead_letter_that_cannot_be_is_found_by_check() {
    let server = Web::start(|_, _| Answer::from(200));
    for (keys, expected) in [
        ("type = channel\n", "deadLetter.channel: required key is missing"),
        ("type = channel\na1.sinks.k1.deadLetter.channel = c1\n", "the sink's own channel"),
        ("type = channel\na1.sinks.k1.deadLetter.channel = c9\n", "there is no channel `c9`"),
        ("type = file\n", "deadLetter.file: required key is missing"),
        ("type = kafka\n", "not one of: off, channel, file"),
        ("file = /x\n", "ignored: `deadLetter.type` is off"),
        ("typo = off\n", "did you mean `deadLetter.type`"),
    ] {
        let world = world(&server, &format!("a1.sinks.k1.deadLetter.{keys}"));
        let output = world.check();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(expected), "{expected} in {said}");
    }
}
