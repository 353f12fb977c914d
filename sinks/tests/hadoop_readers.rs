//! What the hdfs sink writes, read by Hadoop's own Java readers and by Avro's: every file equals what was sent.
//!
//! Maven fetches them from Maven Central, once, into the build directory. Without Java or Maven the test is skipped with a
//! word, and with `FLUMEN_REQUIRE_PEERS=1` it fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flumen_api::event::{EventRef, Headers};
use flumen_api::settings::{ComponentConfig, Kind, Problems};
use flumen_sinks::hdfs::HdfsSettings;
use flumen_sinks::hdfs::format::{FileFormat, Format};

#[path = "../../tests/support/maven.rs"]
mod maven;

/// All that Hadoop has but Zstandard, for which its Java code calls a native library that Maven Central does not have.
const CODECS: [&str; 6] = ["gzip", "bzip2", "default", "deflate", "lz4", "snappy"];

struct Case {
    name: String,
    keys: Vec<(&'static str, &'static str)>,
    has_records: bool,
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (format, name) in [("Writable", "bytes"), ("Text", "text")] {
        let case = |codec: Option<&'static str>| Case {
            name: format!("{name}-{}.seq", codec.unwrap_or("none")),
            keys: std::iter::once(("hdfs.writeFormat", format))
                .chain(codec.map(|codec| ("hdfs.codeC", codec)))
                .collect(),
            has_records: true,
        };
        cases.push(case(None));
        cases.extend(CODECS.into_iter().map(|codec| case(Some(codec))));
    }
    for (serializer, name) in [("TEXT", "lines"), ("AVRO_EVENT", "events.avro")] {
        let has_records = serializer == "AVRO_EVENT";
        let plain = vec![("hdfs.fileType", "DataStream"), ("serializer", serializer)];
        cases.push(Case { name: name.into(), keys: plain, has_records });
        for codec in CODECS.into_iter().chain(["zstd"]) {
            let keys = vec![
                ("hdfs.fileType", "CompressedStream"),
                ("hdfs.codeC", codec),
                ("serializer", serializer),
            ];
            cases.push(Case { name: format!("{codec}-{name}"), keys, has_records });
        }
    }
    for codec in ["deflate", "snappy", "bzip2"] {
        let keys = [
            ("hdfs.fileType", "DataStream"),
            ("serializer", "AVRO_EVENT"),
            ("serializer.compressionCodec", codec),
        ];
        cases.push(Case { name: format!("inside-{codec}.avro"), keys: keys.to_vec(), has_records: true });
    }
    cases
}

fn format(case: &Case) -> FileFormat {
    let keys: Vec<_> = [("hdfs.path", "/x")].iter().chain(&case.keys).copied().collect();
    let (config, mut problems) = (ComponentConfig::of(Kind::Sink, "k1", &keys), Problems::default());
    let settings = HdfsSettings::load(&config, &mut problems).expect("settings");
    FileFormat::from_config(&settings, &config, &mut problems).unwrap_or_else(|| panic!("{problems:?}"))
}

type Event = (i64, Vec<u8>);

fn noise(seed: u32, bytes: u32) -> Vec<u8> {
    (0..bytes / 4)
        .flat_map(|i| (i ^ seed).wrapping_mul(0x9E37_79B9).rotate_left(i % 31).to_le_bytes())
        .collect()
}

/// Times and bodies: none, text, noise, many.
fn events() -> Vec<Event> {
    let mut events = vec![(1_700_000_000_000, b"one".to_vec()), (-1, vec![]), (i64::MAX, "zwei é".into())];
    events
        .extend((0..3000).map(|i| (i64::from(i), format!("line {i} ").repeat(i as usize % 40).into_bytes())));
    events.extend((0..40).map(|i| (i64::from(i), noise(i, i * 997))));
    events.extend([(i64::MIN, vec![]), (9, b"last".to_vec())]);
    events
}

/// One of 10 MB, between others.
fn large() -> Vec<Event> {
    vec![(1, b"first".to_vec()), (7, noise(7, 10 << 20)), (8, vec![b'x'; 3 << 20]), (9, b"last".to_vec())]
}

fn sent(case: &Case, events: &[Event]) -> Vec<u8> {
    let mut sent = Vec::new();
    for (time, body) in events {
        if case.has_records {
            sent.extend(time.to_be_bytes());
            sent.extend(u32::try_from(body.len()).expect("short").to_be_bytes());
            sent.extend(body);
        } else {
            sent.extend(body);
            sent.push(b'\n');
        }
    }
    sent
}

/// Writes the events, flushing behind each of `flushes`, to the end or only up to its last flush.
fn write(writer: &mut dyn Format, events: &[Event], flushes: &[usize], ends: bool) -> Vec<u8> {
    let mut file = Vec::new();
    writer.begin(&mut file);
    for (i, (time, body)) in events.iter().enumerate() {
        let headers: Headers =
            [("timestamp", time.to_string().as_str()), ("k\u{e9}y", "v")].into_iter().collect();
        writer.append(EventRef { headers: &headers, body }, &mut file).expect("appended");
        if flushes.contains(&(i + 1)) {
            writer.flush_point(&mut file);
        }
    }
    if ends {
        writer.end(&mut file);
    }
    file
}

fn write_all(directory: &Path) -> Vec<String> {
    let events = events();
    let flushed: Vec<usize> = (0..events.len()).filter(|i| i % 700 == 1).collect();
    let mut names = Vec::new();
    for case in cases() {
        let format = format(&case);
        let mut writer = format.writer().expect("a writer");
        let mut write = |name: &str, events: &[Event], flushes: &[usize], ends: bool| {
            let name = format!(
                "{name}-{}{}",
                case.name,
                if case.name.ends_with(".seq") { "" } else { format.extension() }
            );
            fs::write(directory.join(&name), write(&mut *writer, events, flushes, ends)).expect("written");
            fs::write(directory.join(format!("{name}.sent")), sent(&case, events)).expect("written");
            names.push(name);
        };
        write("whole", &events, &flushed, true);
        write("unflushed", &events[..2000], &[], true);
        // What a kill leaves, cut off behind the last flush.
        write("cut", &events[..800], &[1, 800], false);
        write("empty", &[], &[], true);
        // The other codecs take their time where they are not optimized.
        if case.keys.iter().all(|(key, value)| *key != "hdfs.codeC" || ["lz4", "snappy"].contains(value)) {
            write("large", &large(), &[], true);
        }
    }
    names
}

fn libraries() -> Option<PathBuf> {
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hadoop/pom.xml");
    match maven::libraries(&pom, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("hadoop-readers")) {
        Ok(libraries) => Some(libraries),
        Err(why) => {
            let required = std::env::var_os("FLUMEN_REQUIRE_PEERS").is_some_and(|value| value == "1");
            assert!(!required, "FLUMEN_REQUIRE_PEERS=1, and {why}");
            println!("skipped: {why}");
            None
        }
    }
}

#[test]
fn hadoops_own_readers_read_every_format_back_equal() {
    let Some(libraries) = libraries() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let names = write_all(directory.path());
    let output = Command::new("java")
        .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8"])
        .arg("-cp")
        .arg(format!("{}/*", libraries.display()))
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hadoop/ReadBack.java"))
        .arg(directory.path())
        .stdin(Stdio::null())
        .output()
        .expect("java");
    let said = String::from_utf8_lossy(&output.stdout);
    let mut wrong: Vec<_> = said.lines().filter(|line| !line.ends_with(": ok")).collect();
    let missing: Vec<_> = names.iter().filter(|name| !said.contains(&format!("{name}: "))).collect();
    wrong.sort_unstable();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(wrong.is_empty() && missing.is_empty(), "{wrong:#?}; not read: {missing:?}; {errors}");
}
