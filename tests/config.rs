//! `flumen check` over configurations with mistakes: each is named with file and line, all at once, nothing is changed.

mod support;

use std::path::Path;

use support::{run, stderr, stdout};

/// taildir → memory → file_roll, without a fault.
const WHOLE: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = TAILDIR
a1.sources.r1.filegroups = f1
a1.sources.r1.filegroups.f1 = /in/.*log
a1.sources.r1.positionFile = /position.json
a1.sources.r1.channels = c1
a1.channels.c1.type = memory
a1.channels.c1.capacity = 10000
a1.channels.c1.transactionCapacity = 1000
a1.sinks.k1.type = file_roll
a1.sinks.k1.sink.directory = out
a1.sinks.k1.channel = c1
";

/// Exit code and stdout of a check of `text` in a directory of its own.
fn check_with(text: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("flume.conf"), text).unwrap();
    let mut all = vec!["check", "-f", "flume.conf"];
    all.extend(arguments);
    let output = run(directory.path(), &all);
    assert_eq!(stderr(&output), "");
    let files: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["flume.conf"], "the check changed the directory");
    (output.status.code(), stdout(&output))
}

fn check(text: &str) -> (Option<i32>, String) {
    check_with(text, &[])
}

/// A check of `text` fails, and one line of its output holds all of `parts`.
#[track_caller]
fn fails(text: &str, parts: &[&str]) {
    let (code, output) = check(text);
    assert_eq!(code, Some(78), "{output}");
    let named = output.lines().any(|line| parts.iter().all(|part| line.contains(part)));
    assert!(named, "no line has all of {parts:?}:\n{output}");
}

fn with(old: &str, new: &str) -> String {
    assert!(WHOLE.contains(old), "{old}");
    WHOLE.replace(old, new)
}

#[test]
fn a_whole_configuration_passes_with_exit_code_0() {
    let (code, output) = check(WHOLE);
    assert_eq!(code, Some(0), "{output}");
    assert!(output.ends_with("0 errors, 1 warning\n"), "{output}");
    assert!(output.contains("flume.conf:9: warning: a1.channels.c1.type"), "{output}");
}

#[test]
fn a_malformed_line_is_named() {
    fails(&format!("{WHOLE}this is no property\n"), &["flume.conf:15: error: this", "key = value"]);
    fails(&format!("{WHOLE}a1.sinks.k1.x = \\u12g4\n"), &["flume.conf:15: error: a1.sinks.k1.x", "\\u12g4"]);
}

#[test]
fn an_unknown_component_is_named() {
    fails(
        &with("type = TAILDIR", "type = tialdir"),
        &["flume.conf:4: error", "`tialdir`", "did you mean `taildir`"],
    );
    fails(
        &with("type = file_roll", "type = com.example.Mine"),
        &["flume.conf:12: error", "com.example.Mine"],
    );
}

#[test]
fn a_missing_key_is_named_near_its_component() {
    fails(
        &with("a1.sinks.k1.sink.directory = out\n", ""),
        &["flume.conf:12: error: a1.sinks.k1.sink.directory", "missing"],
    );
    fails(&with("a1.sinks.k1.type = file_roll\n", ""), &["error: a1.sinks.k1.type", "missing"]);
}

#[test]
fn a_value_out_of_range_is_named() {
    let more = |line: &str| format!("{WHOLE}a1.sources.r1.{line}\n");
    fails(&more("batchSize = 0"), &["flume.conf:15: error: a1.sources.r1.batchSize", "0"]);
    fails(&more("batchSize = many"), &["flume.conf:15: error: a1.sources.r1.batchSize", "many"]);
}

#[test]
fn a_circle_of_references_is_named_and_ends() {
    let circle =
        format!("{}a1.sinks.k1.b = ${{a1.sinks.k1.sink.directory}}\n", with("= out", "= ${a1.sinks.k1.b}"));
    fails(&circle, &["flume.conf:13: error: a1.sinks.k1.sink.directory", "refers to itself", "→"]);
    fails(&circle, &["flume.conf:15: error: a1.sinks.k1.b", "refers to itself"]);
    fails(&format!("{WHOLE}a = ${{b}}\nb = ${{a}}\n"), &["flume.conf:15: error: a:", "${a} → ${b} → ${a}"]);
}

#[test]
fn a_missing_channel_is_named() {
    fails(
        &with("k1.channel = c1", "k1.channel = c2"),
        &["flume.conf:14: error: a1.sinks.k1.channel", "`c2`"],
    );
    fails(
        &with("r1.channels = c1", "r1.channels = c2"),
        &["flume.conf:8: error: a1.sources.r1.channels", "`c2`"],
    );
}

#[test]
fn a_batch_beyond_the_channels_transaction_is_named_with_both_keys() {
    fails(
        &format!("{WHOLE}a1.sources.r1.batchSize = 5000\n"),
        &[
            "flume.conf:15: error: a1.sources.r1.batchSize",
            "a1.channels.c1.transactionCapacity",
            "flume.conf:11",
        ],
    );
}

/// Types whose batch Flume holds against the channel's transactions, with the key of their batch.
const BATCHES: &[(&str, &str, &[&str])] = &[
    ("sources.r1", "batchSize", &["type = seq"]),
    ("sources.r1", "batchSize", &["type = exec", "command = true"]),
    ("sources.r1", "batchSize", &["type = spooldir", "spoolDir = /in"]),
    ("sources.r1", "batchSize", &["type = org.apache.flume.source.StressSource"]),
    ("sources.r1", "batchSize", &["type = taildir", "filegroups = f", "filegroups.f = /in/.*"]),
    (
        "sources.r1",
        "batchSize",
        &[
            "type = org.apache.flume.source.kafka.KafkaSource",
            "kafka.bootstrap.servers = b:9092",
            "kafka.topics = t",
        ],
    ),
    ("sinks.k1", "sink.batchSize", &["type = file_roll", "sink.directory = /out"]),
    ("sinks.k1", "batchSize", &["type = null"]),
    ("sinks.k1", "hdfs.batchSize", &["type = hdfs", "hdfs.path = /x"]),
    ("sinks.k1", "batch-size", &["type = avro", "hostname = h", "port = 1"]),
    ("sinks.k1", "batch-size", &["type = thrift", "hostname = h", "port = 1"]),
    (
        "sinks.k1",
        "flumeBatchSize",
        &["type = org.apache.flume.sink.kafka.KafkaSink", "kafka.bootstrap.servers = b:9092"],
    ),
];

#[test]
fn every_type_whose_batch_flume_checks_is_checked() {
    for (component, key, keys) in BATCHES {
        let mut text = String::from(
            "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.channels.c1.type = memory\n\
             a1.sources.r1.channels = c1\na1.sinks.k1.channel = c1\n",
        );
        let other =
            if component.starts_with("sinks") { "sources.r1.type = seq" } else { "sinks.k1.type = logger" };
        text.push_str(&format!("a1.{other}\n"));
        text.extend(keys.iter().map(|key| format!("a1.{component}.{key}\n")));
        let parts = ["error", key, "101 events", "a1.channels.c1.transactionCapacity` is 100", "Raise"];
        fails(&format!("{text}a1.{component}.{key} = 101\n"), &parts);
        let (_, fits) = check(&format!("{text}a1.{component}.{key} = 100\n"));
        assert!(fits.contains("0 errors"), "{keys:?}: {fits}");
    }
}

#[test]
fn hadoops_credential_store_is_refused_with_what_to_do_instead() {
    let filter = "a1.configfilters = f1\na1.configfilters.f1.type = hadoop\n\
                  a1.configfilters.f1.credential.provider.path = jceks://file/etc/flume/store.jceks\n";
    fails(
        &format!("{WHOLE}{filter}"),
        &["flume.conf:16: error: a1.configfilters.f1.type", "`external`", "`env`"],
    );
}

#[test]
fn an_unreadable_file_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let output = run(directory.path(), &["check", "-f", "absent.conf", "-f", "."]);
    assert_eq!(output.status.code(), Some(78));
    let text = stdout(&output);
    assert!(text.contains("absent.conf") && text.contains("No such file"), "{text}");
    assert!(text.ends_with("2 errors, 0 warnings\n"), "{text}");
}

#[test]
fn of_two_agents_all_are_checked_or_the_one_that_is_named() {
    let two = format!(
        "{WHOLE}{}",
        WHOLE.replace("a1.", "a2.").replace("a2.sinks.k1.type = file_roll", "a2.sinks.k1.type = no")
    );
    fails(&two, &["flume.conf:26: error: a2.sinks.k1.type"]);
    assert_eq!(check_with(&two, &["-n", "a1"]).0, Some(0));
    assert_eq!(check_with(&two, &["-n", "a2"]).0, Some(78));
    let (code, output) = check_with(&two, &["-n", "a3"]);
    assert_eq!(code, Some(78));
    assert!(output.contains("it has: a1, a2"), "{output}");
}

#[test]
fn all_mistakes_come_at_once_in_the_order_of_their_lines() {
    let text = with("type = TAILDIR", "type = nosuch").replace("file_roll", "nosuch");
    let (code, output) = check(&format!("{text}nonsense\na1.channels.c1.transactioncapacity = 5\n"));
    assert_eq!(code, Some(78));
    let lines: Vec<_> = output.lines().collect();
    let place = |text: &str| lines.iter().position(|line| line.starts_with(text));
    let places = [
        place("flume.conf:4: error"),
        place("flume.conf:12: error"),
        place("flume.conf:15: error: nonsense"),
        place("flume.conf:16: warning: a1.channels.c1.transactioncapacity"),
    ];
    assert!(places.iter().all(Option::is_some), "{output}");
    assert!(places.is_sorted(), "{output}");
    assert!(output.contains("did you mean `transactionCapacity`"), "{output}");
}

#[test]
fn an_empty_configuration_is_an_error() {
    fails("# nothing\n", &["error", "no agent"]);
}

#[test]
fn definitions_reach_the_configuration() {
    let text = with("= out", "= ${sys:target}/out");
    assert!(check_with(&text, &["-Dtarget=/t"]).1.ends_with("0 errors, 1 warning\n"));
    assert!(check(&text).1.contains("nothing sets target"));
}

#[test]
fn later_files_override_earlier_ones() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("one.conf"), with("type = file_roll", "type = nosuch")).unwrap();
    std::fs::write(directory.path().join("two.conf"), "a1.sinks.k1.type = file_roll\n").unwrap();
    assert_eq!(run(directory.path(), &["check", "-f", "one.conf", "-f", "two.conf"]).status.code(), Some(0));
    assert_eq!(run(directory.path(), &["check", "-f", "two.conf", "-f", "one.conf"]).status.code(), Some(78));
}

#[test]
fn the_examples_and_the_template_pass() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = tempfile::tempdir().unwrap();
    for file in
        ["examples/tail-to-files.conf", "examples/netcat-to-log.conf", "conf/flume-conf.properties.template"]
    {
        let path = root.join(file);
        let output = run(directory.path(), &["check", "-f", path.to_str().unwrap()]);
        assert_eq!(stdout(&output), "0 errors, 0 warnings\n", "{file}");
    }
}
