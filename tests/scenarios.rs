//! Configurations as users of Flume have them, in `scenarios/`: `flumen check` accepts each, and names the mistakes that
//! are copied from page to page with file, line and advice.

mod support;

use std::path::{Path, PathBuf};

use flumen_api::registry::{Factory, Spec};
use flumen_api::settings::Kind;
use support::{run, stdout};

/// What stands in the files for something of the user's.
const PLACES: &[(&str, &str)] = &[
    ("@BUCKET@", "bucket"),
    ("@DIR@", "/var/flumen-test"),
    ("@ENDPOINT@", "log.example.com"),
    ("@KAFKA@", "9092"),
    ("@KEY@", "a-secret-key"),
    ("@KEY_ID@", "id"),
    ("@NAMENODE@", "namenode:9000"),
    ("@PORT1@", "4141"),
    ("@PORT2@", "4142"),
    ("@PORT@", "4140"),
    ("@ZOOKEEPER@", "2181"),
];

fn scenarios() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
    let mut files: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 14, "{files:?}");
    files
}

fn filled(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    PLACES.iter().fold(text, |text, (place, value)| text.replace(place, value))
}

/// Exit code and stdout of a check of `text`.
fn check(text: &str) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("flume.conf"), text).unwrap();
    let output = run(directory.path(), &["check", "-f", "flume.conf"]);
    (output.status.code(), stdout(&output))
}

/// The check says `severity` of the line of `text` that begins with `line`, in words that hold all of `parts`.
#[track_caller]
fn says(text: &str, line: &str, severity: &str, parts: &[&str]) {
    let (code, output) = check(text);
    let number = 1 + text.lines().position(|found| found.trim_start().starts_with(line)).expect(line);
    let start = format!("flume.conf:{number}: {severity}: ");
    let named =
        output.lines().any(|said| said.starts_with(&start) && parts.iter().all(|part| said.contains(part)));
    assert!(named, "no `{start}` with {parts:?}:\n{output}");
    assert_eq!(code, Some(if output.contains(": error: ") { 78 } else { 0 }), "{output}");
}

#[test]
fn exactly_once_is_refused_where_the_channel_cannot_know_what_is_delivered() {
    let exact = format!("{WHOLE}a1.sinks.k1.hdfs.exactlyOnce = true\n");
    says(&exact, "a1.sinks.k1.hdfs.exactlyOnce", "error", &["k2", "a channel of its own"]);
    let alone = exact
        .replace("a1.sinks.k2.channel = c1", "a1.sinks.k2.channel = c2")
        .replace("a1.channels = c1", "a1.channels = c1 c2")
        + "a1.channels.c2.type = memory\n";
    let memory = alone.replace("a1.channels.c1.type = file", "a1.channels.c1.type = memory");
    says(&memory, "a1.sinks.k1.hdfs.exactlyOnce", "error", &["c1", "`type = file`"]);
    assert!(!check(&alone).1.contains("exactlyOnce"), "{}", check(&alone).1);
}

#[test]
fn check_accepts_every_scenario() {
    for path in scenarios() {
        let text = filled(&path);
        assert!(!text.contains('@'), "{} has a place that nothing fills", path.display());
        let (_, output) = check(&text);
        let error = output.lines().find(|line| line.contains(": error: "));
        assert_eq!(error, None, "{}:\n{output}", path.display());
        assert!(!output.contains("a-secret-key"), "{output}");
    }
}

#[test]
fn a_run_leaves_out_what_is_announced_and_says_so() {
    let registry = flumen::standard_registry();
    let is_announced = |spec: &&Spec| matches!(spec.factory, Factory::Announced(..));
    // Once all are built there is none.
    let Some(spec) = registry.of(Kind::Source).find(is_announced) else { return };
    let directory = tempfile::tempdir().unwrap();
    let text = format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = {}\n\
         a1.sources.r1.batchsize = 5\na1.sources.r1.channels = c1\na1.channels.c1.type = memory\n\
         a1.sinks.k1.type = null\na1.sinks.k1.channel = c1\n",
        spec.class_names[0]
    );
    std::fs::write(directory.path().join("flume.conf"), text).unwrap();
    let mut agent = support::Running::agent(directory.path(), &["-n", "a1", "-f", "flume.conf"]);
    let line = agent.wait_for("not built into this version");
    assert!(line.contains("flume.conf:4: ") && line.contains("the source is left out"), "{line}");
    assert!(agent.seen.iter().any(|line| line.contains("flume.conf:5: ") && line.contains("batchSize")));
}

/// seq → file channel → hdfs, in a group with a file_roll sink, without a mistake.
const WHOLE: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1 k2
a1.sinkgroups = g1
a1.sources.r1.type = seq
a1.sources.r1.channels = c1
a1.sources.r1.interceptors = i1
a1.sources.r1.interceptors.i1.type = timestamp
a1.channels.c1.type = file
a1.channels.c1.checkpointDir = /var/flumen-test/checkpoint
a1.channels.c1.dataDirs = /var/flumen-test/data
a1.sinks.k1.type = hdfs
a1.sinks.k1.channel = c1
a1.sinks.k1.hdfs.path = hdfs://namenode:9000/logs/%Y/%m/%d
a1.sinks.k1.hdfs.fileType = DataStream
a1.sinks.k1.hdfs.round = true
a1.sinks.k1.hdfs.rollInterval = 3600
a1.sinks.k1.hdfs.rollSize = 134217728
a1.sinks.k1.hdfs.rollCount = 0
a1.sinks.k2.type = file_roll
a1.sinks.k2.channel = c1
a1.sinks.k2.sink.directory = /var/flumen-test/out
a1.sinkgroups.g1.sinks = k1 k2
a1.sinkgroups.g1.processor.type = failover
a1.sinkgroups.g1.processor.priority.k1 = 10
a1.sinkgroups.g1.processor.priority.k2 = 5
";

/// [`WHOLE`] with these lines instead of those of their keys, or behind the others.
fn with(lines: &[&str]) -> String {
    let key = |line: &str| line.split(['=', ' ']).next().unwrap_or_default().to_string();
    let mut text: Vec<String> = WHOLE.lines().map(str::to_string).collect();
    for line in lines {
        match text.iter_mut().find(|old| key(old) == key(line)) {
            Some(old) => *old = (*line).to_string(),
            None => text.push((*line).to_string()),
        }
    }
    text.join("\n") + "\n"
}

#[test]
fn the_configuration_that_the_mistakes_are_put_into_has_none() {
    let (code, output) = check(WHOLE);
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(output, "0 errors, 0 warnings\n");
}

/// One wrong line each: the line, how bad it is, and words of the advice.
const MISTAKES: &[(&str, &str, &[&str])] = &[
    ("a1.sinks.k1.hdfs.Unit = minute", "warning", &["hdfs.roundUnit"]),
    ("a1.sinks.k1.rollSize = 3600", "warning", &["prefix", "`hdfs.rollSize`"]),
    ("a1.sinks.k1.threadsPoolSize = 30", "warning", &["prefix", "`hdfs.threadsPoolSize`"]),
    (
        "a1.sinks.k1.hdfs.batchSize = 100000",
        "error",
        &["a1.channels.c1.transactionCapacity", "10000", "Raise", "lower"],
    ),
    ("a1.sinks.k1.hdfs.writeType = Text", "warning", &["hdfs.writeFormat"]),
    ("a1.sinks.k1.serializer = text_with_headers", "error", &["header_and_text"]),
    ("a1.sinks.k2.sink.serializer = text_with_headers", "error", &["header_and_text"]),
    ("a1.sinks.k1.serializer.appendNewLine = false", "warning", &["appendNewline"]),
    ("a1.sinks.k2.sink.serializer.appendNewLine = false", "warning", &["appendNewline"]),
    ("a1.sinkgroups.g1.processor.maxpenality = 10000", "warning", &["maxpenalty"]),
    ("a1.sinkgroups.g1.sinks = k1,k2", "error", &["separated by blanks"]),
    ("a1.sinks.k1.hdfs.path = hdfs://namenode/logs/%D", "warning", &["three directories", "`%d` is the day"]),
    ("a1.sinks.k1.hdfs.filePrefix = web-%D", "warning", &["three directories"]),
    (
        "a1.sinkgroups.g1.processor.priority.k1 = 1",
        "warning",
        &["the higher number wins", "k2 (5) does the work"],
    ),
    ("a1.sources.r1.interceptors.i1.header = ts", "warning", &["headerName"]),
    (
        "a1.sinks.k1.type = hdfs a1.sinks.k1.hdfs.idleTimeout = 60",
        "warning",
        &["`a1.sinks.k1.hdfs.idleTimeout`", "line break"],
    ),
    ("a1.channels.c1.capacity = 1000000 \t ", "warning", &["blanks after the value", "trimmed"]),
    ("\ta1.channels.c1.capacity = 1000000", "warning", &["tab before the key", "trimmed"]),
    ("a1.channels.c1.capacity = 1000000\u{a0}", "warning", &["invisible character U+00A0"]),
    ("a1.sinks.k1.hdfs.rollSize = 1024", "warning", &["1024 bytes", "tiny files", "134217728"]),
    ("a1.sinks.k1.hdfs.path = oss://bucket/logs/%Y", "warning", &["32 MiB", "hdfs.batchSize"]),
    ("a1.sinks.k1.hdfs.fileType = Datastream2", "error", &["SequenceFile", "DataStream"]),
];

#[test]
fn every_mistake_that_users_copy_is_named_with_its_line_and_advice() {
    for (line, severity, parts) in MISTAKES {
        says(&with(&[line]), line.trim(), severity, parts);
    }
}

#[test]
fn an_avro_container_takes_avros_codecs_alone() {
    for prefix in ["a1.sinks.k1.serializer", "a1.sinks.k2.sink.serializer"] {
        let codec = format!("{prefix}.compressionCodec = gzip");
        let text = with(&[&format!("{prefix} = avro_event"), &codec]);
        says(&text, &codec, "warning", &["deflate", "snappy"]);
    }
}

#[test]
fn defaults_that_make_tiny_files_are_named_where_the_sink_is() {
    let text = WHOLE.lines().filter(|line| !line.contains(".roll")).collect::<Vec<_>>().join("\n");
    let parts = ["30 seconds", "1024 bytes", "10 events"];
    says(&text, "a1.sinks.k1.hdfs.path", "warning", &parts);
}

#[test]
fn memory_between_a_source_that_can_seek_and_a_durable_sink_is_named_for_each_such_sink() {
    let seek = "a1.sources.r1.filegroups = f\na1.sources.r1.filegroups.f = /in/.*log\n";
    let text = with(&["a1.sources.r1.type = taildir", "a1.channels.c1.type = memory"]);
    let text = format!("{seek}{text}").replace("a1.channels.c1.checkpointDir = ", "# ");
    says(&text, "a1.channels.c1.type", "warning", &["r1 (taildir)", "k1 (hdfs)", "`type = file` loses none"]);
}

#[test]
fn a_path_by_time_needs_a_timestamp_from_somewhere() {
    let parts = ["`%Y`", "r1 (seq)", "interceptor `timestamp`", "hdfs.useLocalTimeStamp"];
    let without = WHOLE.replace("interceptors.i1.type = timestamp", "interceptors.i1.type = host");
    says(&without, "a1.sinks.k1.hdfs.path", "warning", &parts);
    let other = with(&["a1.sources.r1.interceptors.i1.headerName = ts"]);
    says(&other, "a1.sinks.k1.hdfs.path", "warning", &parts);
    for cure in [
        "a1.sinks.k1.hdfs.useLocalTimeStamp = true",
        "a1.sources.r1.interceptors.i1.type = static\na1.sources.r1.interceptors.i1.key = timestamp",
    ] {
        let (_, output) = check(&format!("{without}{cure}\n"));
        assert!(!output.contains("`%Y`"), "{cure}: {output}");
    }
}

#[test]
fn the_vendors_snippet_for_an_object_store_has_its_three_mistakes_named() {
    let path = scenarios().into_iter().find(|path| path.ends_with("12-oss.conf")).unwrap();
    let text = filled(&path);
    says(&text, "jindo.sinks.oss_sink.hdfs.Unit", "warning", &["hdfs.roundUnit"]);
    says(&text, "jindo.sinks.oss_sink.rollSize", "warning", &["hdfs.rollSize"]);
    says(&text, "jindo.sinks.oss_sink.threadsPoolSize", "warning", &["hdfs.threadsPoolSize"]);
}
