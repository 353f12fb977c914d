//! Serializers, and names of files, through the `file_roll` sink.

use super::spooldir::AVRO;
use crate::case::{Case, Feed, Outputs};

const LINES: &[&str] = &["one", "", "two words "];

pub fn cases() -> Vec<Case> {
    let with_header =
        &["interceptors = i1", "interceptors.i1.type = static", "interceptors.i1.value = v{}=, w"];
    // More than a table of sixteen holds, and two whose hashes are equal.
    let names = [
        "timestamp",
        "host",
        "Facility",
        "Severity",
        "file",
        "byteoffset",
        "BB",
        "category",
        "Aa",
        "topic",
        "dc",
        "user",
        "priority",
        "path",
    ];
    let mut many = vec![format!("interceptors = {}", names.map(|name| format!("of-{name}")).join(" "))];
    for name in names {
        for (key, value) in [("type", "static"), ("key", name), ("value", "v")] {
            many.push(format!("interceptors.of-{name}.{key} = {value}"));
        }
    }
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    vec![
        Case::lines("header_and_text_of_many_headers", &many, LINES).outputs(Outputs::Bytes),
        Case::lines("text", with_header, LINES)
            .sinks(&[(1, &["sink.serializer = text"])])
            .outputs(Outputs::Bytes),
        Case::lines("text_without_newline", with_header, LINES)
            .sinks(&[(1, &["sink.serializer = TEXT", "sink.serializer.appendNewline = false"])])
            .outputs(Outputs::Bytes),
        Case::lines("header_and_text", with_header, LINES).outputs(Outputs::Bytes),
        Case::lines("header_and_text_without_newline", &[], LINES)
            .sinks(&[(1, &["sink.serializer.appendNewline = false"])])
            .outputs(Outputs::Bytes),
        Case::lines("avro_event", with_header, LINES)
            .sinks(&[(1, &["sink.serializer = avro_event"])])
            .outputs(Outputs::Avro),
        Case::lines("avro_event_with_a_codec_that_avro_has_not", with_header, LINES)
            .sinks(&[(1, &["sink.serializer = AVRO_EVENT", "sink.serializer.compressionCodec = gzip"])])
            .outputs(Outputs::Avro),
        Case::new("avro_datums", &["type = spooldir", "spoolDir = @DIR@/in", "deserializer = AVRO"])
            .keys(&["deserializer.schemaType = LITERAL"])
            .feed(Feed::File("in/a.avro", AVRO.to_vec()))
            .sinks(&[(1, &["sink.serializer = org.apache.flume.sink.hdfs.AvroEventSerializer$Builder"])])
            .outputs(Outputs::Avro)
            .delivers(3),
        Case::new(
            "bytes_that_are_no_text",
            &[
                "type = TAILDIR",
                "positionFile = @DIR@/position.json",
                "filegroups = f1",
                "filegroups.f1 = @DIR@/in/.*",
            ],
        )
        .feed(Feed::File("in/a", (0..=255u8).chain([b'\n']).collect()))
        .outputs(Outputs::Bytes)
        .delivers(2),
        Case::lines("files_by_the_time_of_the_start", &[], LINES).sinks(&[(
            1,
            &[
                "sink.pathManager = default",
                "sink.pathManager.prefix = web-",
                "sink.pathManager.extension = log",
            ],
        )]),
        Case::lines("files_by_the_time_of_the_roll", &[], LINES)
            .sinks(&[(1, &["sink.pathManager = ROLLTIME", "sink.pathManager.extension = txt"])]),
    ]
}
