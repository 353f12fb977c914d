//! Interceptors in a running agent: what a chain does to events, what it drops and counts, what a mistake in it costs.

use std::fs;
use std::time::{Duration, SystemTime};

use crate::lines::{LINE, Random, Writer, lines, push};
use crate::world::{DURABLE_TAIL, World, delivered, eventually, free_port, get, output, two_pipelines};

/// Headers and body of what is delivered, one event a line.
const WITH_HEADERS: &str = "a1.sinks.k1.sink.serializer = HEADER_AND_TEXT\n";

/// [`DURABLE_TAIL`] with these interceptors of `r1`, each a name and its keys.
fn chain(links: &[(&str, &[&str])]) -> String {
    let names: Vec<_> = links.iter().map(|(name, _)| *name).collect();
    let mut text = format!("{DURABLE_TAIL}a1.sources.r1.interceptors = {}\n", names.join(" "));
    for (name, keys) in links {
        for key in *keys {
            text.push_str(&format!("a1.sources.r1.interceptors.{name}.{key}\n"));
        }
    }
    text
}

#[test]
fn a_chain_works_in_its_order_and_counts_what_it_drops() {
    let config = chain(&[
        ("ts", &["type = TIMESTAMP"]),
        ("h", &["type = org.apache.flume.interceptor.HostInterceptor$Builder", "useIP = false"]),
        ("dc", &["type = static", "key = dc", "value = north"]),
        (
            "get",
            &[
                r"type = regex_extractor",
                r"regex = user=(\\w+)(?: took (\\d+))?",
                "serializers = s1 s2",
                "serializers.s1.name = user",
                "serializers.s2.name = took",
            ],
        ),
        ("hide", &["type = search_replace", r"searchPattern = (?<=user=)\\w+", r"replaceString = \\$0"]),
        ("quiet", &["type = regex_filter", "regex = DEBUG|TRACE", "excludeEvents = true"]),
        ("loud", &["type = regex_filter", "regex = user="]),
        ("strip", &["type = remove_header", "withName = dc", "matching = h.*"]),
        ("id", &["type = org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder", "prefix = e-"]),
    ]);
    let world = World::new(&format!("{config}{WITH_HEADERS}"));
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let before = now();
    world.append("in/a.log", "user=ann took 12 INFO\nuser=bob DEBUG\nnobody INFO\nuser=cid INFO\n");
    let port = free_port();
    let agent =
        world.start_with(&["-Dflume.monitoring.type=prometheus", &format!("-Dflume.monitoring.port={port}")]);
    eventually(
        || String::from_utf8_lossy(&world.output()).lines().count() == 2,
        || String::from_utf8_lossy(&world.output()).into_owned(),
    );
    let metrics = get(port, "/metrics").unwrap().1;
    for (name, count) in [("quiet", 1), ("loud", 1), ("ts", 0)] {
        let metric = format!(
            "flumen_source_events_dropped_by_interceptors_total{{agent=\"a1\",name=\"r1\",type=\"taildir\",interceptor=\"{name}\"}} {count}\n"
        );
        assert!(metrics.contains(&metric), "{metric} is not in {metrics}");
    }
    agent.stop();
    let text = String::from_utf8(world.output()).unwrap();
    let events: Vec<_> = text.lines().collect();
    for (event, user, took) in [(events[0], "ann", Some("took=12")), (events[1], "cid", None)] {
        let (headers, body) = event.strip_prefix('{').unwrap().split_once("} ").unwrap();
        let of = |key: &str| headers.split(", ").find_map(|header| header.strip_prefix(key));
        let timestamp: u128 = of("timestamp=").unwrap().parse().unwrap();
        assert!((before..=now()).contains(&timestamp), "{event}");
        assert_eq!(of("id=e-").unwrap().len(), 36, "{event}");
        let mut others: Vec<_> = headers.split(", ").map(str::to_string).collect();
        others.retain(|header| !header.starts_with("timestamp=") && !header.starts_with("id="));
        others.sort();
        let expected: Vec<_> = took.map(str::to_string).into_iter().chain([format!("user={user}")]).collect();
        assert_eq!(others, expected, "no host, no dc: they are removed");
        assert!(body.starts_with("user=$0") && body.ends_with("INFO"), "{event}");
    }
}

#[test]
fn lines_that_are_dropped_are_not_read_again_and_the_others_survive_kills() {
    // Numbers are the first ten digits of a line: the odd ones are dropped.
    let config = chain(&[("even", &["type = regex_filter", r"regex = ^\\d{9}[02468] "])]);
    let world = World::new(&config);
    let mut random = Random::new();
    let writer = Writer::start(world.path("in/a.log"), world.path("out"), Some(50_000));
    for _ in 0..5 {
        let agent = world.start();
        std::thread::sleep(Duration::from_millis(random.below(400)));
        agent.kill();
    }
    let agent = world.start();
    let count = writer.finish();
    world.wait_delivered(count / 2 * LINE as u64);
    agent.stop();
    let mut expected = Vec::new();
    (0..count).step_by(2).for_each(|number| push(&mut expected, number));
    assert!(world.output() == expected, "{} bytes of {}", world.delivered(), expected.len());
}

/// A link with a mistake, the key that is to blame, and a word of what is said of it.
const MISTAKES: &[(&[&str], &str, &str)] = &[
    (&["type = regex_filter", "regex = a(b"], "regex", "a(b"),
    (&["type = search_replace", "searchPattern = (a)", "replaceString = $2"], "replaceString", "no group 2"),
    (&["type = search_replace", "charset = utf-8"], "searchPattern", "required"),
    (
        &["type = regex_extractor", "regex = (a)", "serializers = s", "serializers.s.type = com.example.S"],
        "serializers.s.type",
        "com.example.S",
    ),
    (&["type = remove_header", "matching = ["], "matching", "["),
    (
        &["type = org.apache.flume.sink.solr.morphline.MorphlineInterceptor$Builder"],
        "type",
        "use regex_extractor, search_replace and regex_filter",
    ),
];

#[test]
fn a_mistake_in_an_interceptor_is_named_with_its_line_and_costs_its_source_alone() {
    for (keys, key, word) in MISTAKES {
        let links = chain(&[("i1", keys)]).replace(DURABLE_TAIL, "");
        let world = World::new(&format!("{}{links}", two_pipelines()));
        let text = fs::read_to_string(world.path("flume.conf")).unwrap();
        let full = format!("a1.sources.r1.interceptors.i1.{key}");
        // A key that is missing is reported where the type stands.
        let at = |start: &str| text.lines().position(|line| line.starts_with(start));
        let line = 1 + at(&format!("{full} ")).or_else(|| at("a1.sources.r1.interceptors.i1.type")).unwrap();
        let output = world.check();
        assert_eq!(output.status.code(), Some(78), "{keys:?}");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let is_named = |found: &str| {
            found.contains(&format!("flume.conf:{line}: error: {full}: ")) && found.contains(word)
        };
        assert!(said.lines().any(is_named), "no line {line} with {full} and {word} in\n{said}");
    }
    let links = chain(&[("i1", MISTAKES[0].0)]).replace(DURABLE_TAIL, "");
    let world = World::new(&format!("{}{links}", two_pipelines()));
    world.append("2/in/a.log", lines(0, 100));
    let agent = world.start();
    let out = world.path("2/out");
    eventually(|| delivered(&out) == 100 * LINE as u64, || "the other pipeline does not deliver".into());
    agent.stop();
    assert_eq!(output(&out), lines(0, 100));
}

#[test]
fn a_misspelt_key_of_an_interceptor_is_a_warning_with_the_key_that_is_meant() {
    let world = World::new(&chain(&[
        ("i1", &["type = timestamp", "header = when"]),
        ("i2", &["type = static", "vlaue = x"]),
    ]));
    let output = world.check();
    assert_eq!(output.status.code(), Some(0));
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    for (key, meant) in [("i1.header", "headerName"), ("i2.vlaue", "value")] {
        assert!(said.lines().any(|line| line.contains(key) && line.contains(meant)), "{said}");
    }
}
