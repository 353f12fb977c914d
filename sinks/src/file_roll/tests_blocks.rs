//! Files that come in blocks: Avro containers and compressed pieces. Kills and rollbacks as in [`tests`](super::tests).

use std::fs;
use std::io::Read;

use apache_avro::Reader;
use apache_avro::types::Value;
use flumen_api::Batch;
use flumen_api::event::Headers;

use super::tests::{Bench, deliver, kill, make_roll_due};
use super::*;

const AVRO: (&str, &str) = ("sink.serializer", "avro_event");
const DATUMS: (&str, &str) = ("sink.serializer", "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder");

/// What a reader of the format makes of a file.
type Read1 = fn(&[u8]) -> Vec<String>;

fn avro(file: &[u8]) -> Vec<String> {
    let body = |value| match value {
        Value::Record(fields) => match &fields[1] {
            (_, Value::Bytes(body)) => String::from_utf8(body.clone()).expect("text"),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    };
    Reader::new(file).expect("a container").map(|value| body(value.expect("an event"))).collect()
}

fn lines(mut reader: impl Read) -> Vec<String> {
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("unpacked");
    assert!(text.is_empty() || text.ends_with('\n'), "{text:?}");
    text.lines().map(str::to_string).collect()
}

fn gzip(file: &[u8]) -> Vec<String> {
    assert!(!file.is_empty(), "an empty file is no gzip file");
    lines(flate2::read::MultiGzDecoder::new(file))
}

fn zstd(file: &[u8]) -> Vec<String> {
    assert!(!file.is_empty(), "an empty file is no zstd file");
    lines(zstd::stream::read::Decoder::new(file).expect("zstd"))
}

fn bzip2(file: &[u8]) -> Vec<String> {
    assert!(!file.is_empty(), "an empty file is no bzip2 file");
    lines(bzip2::read::MultiBzDecoder::new(file))
}

fn gzipped_avro(file: &[u8]) -> Vec<String> {
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(file).read_to_end(&mut plain).expect("unpacked");
    avro(&plain)
}

/// Every layout in blocks, with its reader.
const LAYOUTS: [(&[(&str, &str)], Read1); 6] = [
    (&[AVRO], avro),
    (&[AVRO, ("sink.serializer.compressionCodec", "snappy")], avro),
    (&[("sink.compression", "gzip")], gzip),
    (&[("sink.compression", "zstd"), ("sink.compressionLevel", "1")], zstd),
    (&[("sink.compression", "bzip2")], bzip2),
    (&[AVRO, ("sink.compression", "gzip")], gzipped_avro),
];

/// The events of each file, each of which has to be whole.
fn read(bench: &Bench, reader: Read1) -> Vec<Vec<String>> {
    bench.files().iter().map(|path| reader(&fs::read(path).expect("a file"))).collect()
}

fn flat(files: &[Vec<String>]) -> Vec<&str> {
    files.iter().flatten().map(String::as_str).collect()
}

#[tokio::test]
async fn every_flush_leaves_whole_files() {
    for (keys, reader) in LAYOUTS {
        let bench = Bench::with(keys);
        let mut sink = bench.start().await;
        deliver(&mut sink, &["one", "two"]).await;
        bench.release(&mut sink).await;
        assert_eq!(flat(&read(&bench, reader)), ["one", "two"], "{keys:?}");
        deliver(&mut sink, &["three"]).await;
        bench.release(&mut sink).await;
        assert_eq!(read(&bench, reader), [["one", "two", "three"]], "{keys:?}");
    }
}

#[tokio::test]
async fn after_a_kill_whole_files_hold_every_event_once() {
    for (keys, reader) in LAYOUTS {
        let bench = Bench::with(keys);
        let mut sink = bench.start().await;
        deliver(&mut sink, &["one", "two"]).await;
        bench.release(&mut sink).await;
        deliver(&mut sink, &["three"]).await;
        // Synced, and not released: the kill comes between. And half a block behind it.
        sink.flush().await.expect("flushed");
        kill(sink);
        bench.leave_behind("half a block");

        let mut sink = bench.start().await;
        deliver(&mut sink, &["three", "four"]).await;
        bench.release(&mut sink).await;
        sink.stop().await;
        assert_eq!(flat(&read(&bench, reader)), ["one", "two", "three", "four"], "{keys:?}");
        let can_go_on = keys.len() == 1 || keys[1].0 != "sink.compression";
        assert_eq!(bench.files().len(), if can_go_on { 1 } else { 2 }, "{keys:?}");
    }
}

#[tokio::test]
async fn a_kill_before_the_first_release_begins_the_same_file_again() {
    for (keys, reader) in LAYOUTS {
        let bench = Bench::with(keys);
        let mut sink = bench.start().await;
        deliver(&mut sink, &["one"]).await;
        sink.flush().await.expect("flushed");
        kill(sink);
        let mut sink = bench.start().await;
        deliver(&mut sink, &["one", "two"]).await;
        bench.release(&mut sink).await;
        assert_eq!(read(&bench, reader), [["one", "two"]], "{keys:?}");
    }
}

#[tokio::test]
async fn a_kill_behind_rolls_leaves_no_file_that_is_none() {
    for (keys, reader) in LAYOUTS {
        let bench = Bench::with(keys);
        let mut sink = bench.start().await;
        deliver(&mut sink, &["one"]).await;
        bench.release(&mut sink).await;
        for text in ["two", "three"] {
            deliver(&mut sink, &[text]).await;
            make_roll_due(&mut sink);
            sink.idle().await.expect("rolled");
        }
        kill(sink);
        assert_eq!(bench.files().len(), 3);
        let mut sink = bench.start().await;
        deliver(&mut sink, &["two", "three", "four"]).await;
        bench.release(&mut sink).await;
        assert_eq!(flat(&read(&bench, reader)), ["one", "two", "three", "four"], "{keys:?}");
    }
}

#[tokio::test]
async fn a_rollback_writes_nothing_twice() {
    for (keys, reader) in LAYOUTS {
        let bench = Bench::with(keys);
        let mut sink = bench.start().await;
        deliver(&mut sink, &["one"]).await;
        bench.release(&mut sink).await;
        deliver(&mut sink, &["two"]).await;
        drop(sink.flush());
        deliver(&mut sink, &["two", "three"]).await;
        bench.release(&mut sink).await;
        sink.stop().await;
        assert_eq!(flat(&read(&bench, reader)), ["one", "two", "three"], "{keys:?}");
    }
}

#[tokio::test]
async fn intervals_without_an_event_make_whole_files_and_go_on_for_ever() {
    for (keys, reader) in LAYOUTS {
        let bench = Bench::with(keys);
        let mut sink = bench.start().await;
        sink.idle().await.expect("begun");
        for _ in 0..OPEN_FILES_MAX + 4 {
            make_roll_due(&mut sink);
            sink.idle().await.expect("rolled");
        }
        assert_eq!(bench.files().len(), OPEN_FILES_MAX + 5, "{keys:?}");
        deliver(&mut sink, &["one"]).await;
        bench.release(&mut sink).await;
        assert_eq!(flat(&read(&bench, reader)), ["one"], "{keys:?}");
    }
}

#[tokio::test]
async fn a_stop_behind_a_roll_leaves_a_whole_file_that_the_next_start_goes_on_with() {
    for (keys, reader) in LAYOUTS {
        let bench = Bench::with(keys);
        let mut sink = bench.start().await;
        deliver(&mut sink, &["one"]).await;
        bench.release(&mut sink).await;
        make_roll_due(&mut sink);
        sink.idle().await.expect("rolled");
        sink.stop().await;
        assert_eq!(read(&bench, reader), [vec!["one"], vec![]], "{keys:?}");
        let mut sink = bench.start().await;
        deliver(&mut sink, &["two"]).await;
        bench.release(&mut sink).await;
        assert_eq!(flat(&read(&bench, reader)), ["one", "two"], "{keys:?}");
        assert_eq!(bench.files().len(), 2, "{keys:?}");
    }
}

#[tokio::test]
async fn compressed_files_are_named_so() {
    for (keys, end) in [
        (vec![("sink.compression", "gzip")], "-1.gz"),
        (vec![("sink.compression", "ZSTD"), ("sink.pathManager.extension", "log")], "-1.log.zst"),
        (vec![("sink.compression", "none"), ("sink.pathManager.extension", "log")], "-1.log"),
    ] {
        let bench = Bench::with(&keys);
        let mut sink = bench.start().await;
        sink.idle().await.expect("begun");
        assert!(bench.files()[0].to_string_lossy().ends_with(end), "{:?}", bench.files());
    }
}

#[test]
fn an_unknown_compression_or_level_is_an_error() {
    for pairs in [
        [("sink.compression", "lzo"), ("sink.batchSize", "1")],
        [("sink.compression", "gzip"), ("sink.compressionLevel", "10")],
        [("sink.compression", "bzip2"), ("sink.compressionLevel", "0")],
    ] {
        let keys = [&[("sink.directory", "/d")], pairs.as_slice()].concat();
        let mut problems = Problems::default();
        assert!(FileRoll::from_config(&crate::testing::config(&keys), &mut problems).is_none());
        assert_eq!(problems.errors(), 1, "{problems:?}");
    }
}

#[tokio::test]
async fn a_file_of_another_codec_is_not_gone_on_with() {
    let bench = Bench::with(&[AVRO]);
    let mut sink = bench.start().await;
    deliver(&mut sink, &["one"]).await;
    bench.release(&mut sink).await;
    kill(sink);
    let bench = Bench { keys: vec![AVRO, ("sink.serializer.compressionCodec", "deflate")], ..bench };
    let mut sink = bench.start().await;
    deliver(&mut sink, &["two"]).await;
    bench.release(&mut sink).await;
    assert_eq!(read(&bench, avro), [["one"], ["two"]]);
}

const POINT: &str = r#"{"type":"record","name":"Point","fields":[{"name":"x","type":"long"}]}"#;
const NAME: &str = r#"{"type":"record","name":"Name","fields":[{"name":"s","type":"string"}]}"#;

/// Datums, each with its schema.
fn datums(pairs: &[(&str, &[u8])]) -> Events {
    let mut batch = Batch::new();
    for (schema, body) in pairs {
        let set = batch.add_headers(Headers::from_iter([("flume.avro.schema.literal", *schema)]));
        batch.push_with(body, set);
    }
    Events::from_batch(&batch)
}

#[tokio::test]
async fn events_of_another_schema_go_to_a_new_file() {
    let bench = Bench::with(&[DATUMS]);
    let mut sink = bench.start().await;
    let events = datums(&[(POINT, b"\x02"), (POINT, b"\x04"), (NAME, b"\x02n"), (POINT, b"\x06")]);
    sink.deliver(&events).await.expect("delivered");
    bench.release(&mut sink).await;
    let counts: Vec<usize> = bench
        .files()
        .iter()
        .map(|path| Reader::new(File::open(path).expect("a file")).expect("a container").count())
        .collect();
    assert_eq!(counts, [2, 1, 1]);
}

#[tokio::test]
async fn refused_events_leave_the_others_delivered_where_there_is_a_dead_letter() {
    let bench = Bench::with(&[DATUMS]);
    let mut sink = bench.build();
    let context = crate::testing::context_over(&bench.channel).with_dead_letter(true);
    sink.start(&context).await.expect("started");
    let events = datums(&[(POINT, b"\x02"), (POINT, b""), (POINT, b"\x04"), ("{", b"x")]);
    let error = sink.deliver(&events).await.expect_err("refused");
    assert_eq!(error.refused, [1, 3]);
    assert!(error.to_string().contains("no datum"), "{error}");
    bench.release(&mut sink).await;
    let file = File::open(&bench.files()[0]).expect("a file");
    assert_eq!(Reader::new(file).expect("a container").count(), 2);
}

#[tokio::test]
async fn refused_events_give_everything_back_where_there_is_no_dead_letter() {
    let bench = Bench::with(&[DATUMS]);
    let mut sink = bench.start().await;
    let error = sink.deliver(&datums(&[(POINT, b"\x02"), (POINT, b"")])).await.expect_err("refused");
    assert!(error.refused.is_empty());
    assert!(sink.flush().await.is_err(), "what was delivered with it is not released");
    sink.deliver(&datums(&[(POINT, b"\x02")])).await.expect("delivered");
    bench.release(&mut sink).await;
    let file = File::open(&bench.files()[0]).expect("a file");
    assert_eq!(Reader::new(file).expect("a container").count(), 1);
}
