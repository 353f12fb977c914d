//! Selectors over durable channels: which event goes where, and that a kill changes nothing about it.

use std::time::Duration;

use crate::lines::{LINE, Random, Writer, assert_each_once, lines, push};
use crate::world::{DURABLE_TAIL, World, delivered, eventually, free_port, get, output};

/// [`DURABLE_TAIL`] with a second channel, which is drained to `2/out`, and these keys of `r1`.
fn two_channels(keys: &[&str]) -> String {
    let config = DURABLE_TAIL
        .replace("a1.channels = c1", "a1.channels = c1 c2")
        .replace("a1.sinks = k1", "a1.sinks = k1 k2")
        .replace("a1.sources.r1.channels = c1", "a1.sources.r1.channels = c1 c2");
    let more = "a1.channels.c2.type = file\na1.channels.c2.checkpointDir = @DIR@/2/checkpoint\n\
                a1.channels.c2.dataDirs = @DIR@/2/data\na1.sinks.k2.type = file_roll\n\
                a1.sinks.k2.sink.directory = @DIR@/2/out\na1.sinks.k2.sink.rollInterval = 0\n\
                a1.sinks.k2.channel = c2\n";
    let keys: String = keys.iter().map(|key| format!("a1.sources.r1.{key}\n")).collect();
    format!("{config}{more}{keys}")
}

/// The last digit of a line's number, as the header `digit`.
const DIGIT: &[&str] = &[
    "interceptors = i1",
    "interceptors.i1.type = regex_extractor",
    r"interceptors.i1.regex = ^\\d{9}(\\d)",
    "interceptors.i1.serializers = s1",
    "interceptors.i1.serializers.s1.name = digit",
    "selector.type = multiplexing",
    "selector.header = digit",
];

/// Kills an agent of `config` again and again while a log grows; returns what arrived in both outputs, and how many
/// lines were written, once `expected` bytes of them are there.
fn killed(config: &str, kills: usize, expected: impl Fn(u64) -> u64) -> (Vec<u8>, Vec<u8>, u64) {
    let world = World::new(config);
    let mut random = Random::new();
    let writer = Writer::start(world.path("in/a.log"), world.path("out"), Some(40_000));
    for _ in 0..kills {
        let agent = world.start();
        std::thread::sleep(Duration::from_millis(random.below(400)));
        agent.kill();
    }
    let agent = world.start();
    let count = writer.finish();
    let (one, two) = (world.path("out"), world.path("2/out"));
    let sum = || delivered(&one) + delivered(&two);
    eventually(|| sum() >= expected(count), || format!("{} bytes of {}", sum(), expected(count)));
    agent.stop();
    (output(&one), output(&two), count)
}

fn numbered(count: u64, goes: impl Fn(u64) -> bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    (0..count).filter(|number| goes(*number)).for_each(|number| push(&mut bytes, number));
    bytes
}

#[test]
fn a_header_decides_and_kills_lose_and_repeat_nothing_in_either_channel() {
    let rules = ["selector.mapping.1 = c1", "selector.mapping.2 = c1 c2", "selector.default = c2"];
    let config = two_channels(&[DIGIT, &rules].concat());
    let both = |count: u64| (count + count / 10) * LINE as u64;
    let (one, two, count) = killed(&config, 6, both);
    assert!(one == numbered(count, |number| [1, 2].contains(&(number % 10))), "c1 of {count} lines");
    assert!(two == numbered(count, |number| number % 10 != 1), "c2 of {count} lines");
}

#[test]
fn what_no_rule_gives_a_channel_goes_nowhere_is_counted_and_is_not_read_again() {
    let config = two_channels(&[DIGIT, &["selector.mapping.1 = c1", "selector.mapping.2 = c2"]].concat());
    let world = World::new(&config);
    world.append("in/a.log", lines(0, 1000));
    let port = free_port();
    let start = || {
        world.start_with(&["-Dflume.monitoring.type=prometheus", &format!("-Dflume.monitoring.port={port}")])
    };
    let agent = start();
    let metric = |count: u64| {
        let metric = format!(
            "flumen_source_events_without_channel_total{{agent=\"a1\",name=\"r1\",type=\"taildir\"}} {count}\n"
        );
        eventually(
            || get(port, "/metrics").is_some_and(|(_, text)| text.contains(&metric)),
            || format!("no {metric} in {:?}", get(port, "/metrics")),
        );
    };
    metric(800);
    world.wait_delivered(100 * LINE as u64);
    let two = world.path("2/out");
    eventually(|| delivered(&two) == 100 * LINE as u64, || format!("{}", delivered(&two)));
    agent.kill();
    let agent = start();
    world.append("in/a.log", lines(1000, 1010));
    metric(8);
    agent.stop();
    assert_eq!(world.output(), numbered(1010, |number| number % 10 == 1));
}

#[test]
fn balanced_channels_share_the_lines_and_kills_lose_and_repeat_nothing() {
    for policy in ["round_robin", "random"] {
        let policy = format!("selector.policy = {policy}");
        let config = two_channels(&["selector.type = load_balancing", &policy]);
        let (one, two, count) = killed(&config, 6, |count| count * LINE as u64);
        for part in [&one, &two] {
            let share = part.len() as f64 / (count * LINE as u64) as f64;
            assert!((0.4..0.6).contains(&share), "{share}");
        }
        assert_each_once(&[one, two].concat(), 0..count);
    }
}

#[test]
fn a_rule_for_a_channel_that_the_source_does_not_have_is_an_error_with_its_line() {
    for (rule, word) in [
        ("selector.mapping.3 = c9", "c9"),
        ("selector.default = c1,c2", "separated by blanks"),
        ("selector.optional.3 = c7", "c7"),
    ] {
        let world = World::new(&two_channels(&[DIGIT, &["selector.mapping.1 = c1", rule]].concat()));
        let output = world.check();
        assert_eq!(output.status.code(), Some(78), "{rule}");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let key = rule.split(' ').next().unwrap();
        let is_named = |line: &str| line.contains("error") && line.contains(key) && line.contains(word);
        assert!(said.lines().any(is_named), "{rule}: {said}");
        assert!(said.lines().find(|line| is_named(line)).unwrap().contains("flume.conf:"), "{said}");
    }
}
