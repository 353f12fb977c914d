use apache_avro::types::Value;
use apache_avro::{Reader, Schema, to_avro_datum};
use flumen_api::event::{EventRef, Headers};

use super::event::SCHEMA;
use crate::serializers::{AppendError, EventSerializer, build};
use crate::testing::config;

const DATUMS: &str = "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder";

fn serializer(name: &str, keys: &[(&str, &str)]) -> Box<dyn EventSerializer> {
    let mut problems = Default::default();
    build(name, "serializer", &config(keys), &mut problems).unwrap_or_else(|| panic!("{problems:?}"))
}

fn append(
    serializer: &mut dyn EventSerializer,
    headers: &[(&str, &str)],
    body: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), AppendError> {
    let headers: Headers = headers.iter().copied().collect();
    serializer.append(EventRef { headers: &headers, body }, out)
}

/// Headers, sorted, and body.
type Event = (Vec<(String, String)>, Vec<u8>);

/// The events of a file.
fn events(file: &[u8]) -> Vec<Event> {
    let reader = Reader::new(file).expect("a container file");
    let event = |value: Result<Value, _>| {
        let Value::Record(fields) = value.expect("an event") else { panic!("no record") };
        let [(_, Value::Map(headers)), (_, Value::Bytes(body))] = &fields[..] else { panic!("{fields:?}") };
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            other => panic!("{other:?}"),
        };
        let mut headers: Vec<_> = headers.iter().map(|(key, value)| (key.clone(), text(value))).collect();
        headers.sort();
        (headers, body.clone())
    };
    reader.map(event).collect()
}

#[test]
fn events_are_read_back_with_every_codec() {
    for codec in ["null", "deflate", "snappy", "bzip2", "zstandard"] {
        let keys = [("serializer.compressionCodec", codec), ("serializer.syncIntervalBytes", "200")];
        let mut avro = serializer("avro_event", &keys);
        let mut file = Vec::new();
        avro.begin(&mut file);
        let mut expected = Vec::new();
        for i in 0..100 {
            let body = vec![i as u8; i];
            append(&mut *avro, &[("k", "v"), ("é", &i.to_string())], &body, &mut file).expect("appended");
            expected.push((vec![("k".into(), "v".into()), ("é".into(), i.to_string())], body));
            if i == 50 {
                avro.flush(&mut file);
            }
        }
        append(&mut *avro, &[], b"", &mut file).expect("appended");
        expected.push((vec![], vec![]));
        avro.finish(&mut file);
        assert_eq!(events(&file), expected, "{codec}");
        let named = codec.as_bytes();
        assert!(file.windows(named.len()).any(|bytes| bytes == named), "{codec} stands in the header");
    }
}

#[test]
fn a_file_that_ends_behind_any_flush_is_whole() {
    let mut avro = serializer("AVRO_EVENT", &[]);
    let mut file = Vec::new();
    avro.begin(&mut file);
    assert_eq!(events(&file), [], "with a header alone, too");
    for i in 0..3 {
        append(&mut *avro, &[], &[i], &mut file).expect("appended");
        let before = events(&file).len();
        avro.flush(&mut file);
        assert_eq!((before, events(&file).len()), (usize::from(i), usize::from(i) + 1));
    }
    let length = file.len();
    avro.flush(&mut file);
    avro.finish(&mut file);
    assert_eq!(file.len(), length, "nothing is no block");
}

#[test]
fn an_earlier_file_is_gone_on_with_under_its_own_marker() {
    let mut avro = serializer("AVRO_EVENT", &[]);
    let (mut file, mut other) = (Vec::new(), Vec::new());
    avro.begin(&mut file);
    append(&mut *avro, &[], b"one", &mut file).expect("appended");
    avro.flush(&mut file);
    append(&mut *avro, &[], b"never flushed", &mut file).expect("appended");
    avro.begin(&mut other);
    append(&mut *avro, &[], b"of another file", &mut other).expect("appended");
    let marker = |file: &[u8]| file[..200].rsplitn(2, |byte| *byte == b'}').next().map(<[u8]>::to_vec);
    assert_ne!(marker(&[file.clone(), vec![0; 200]].concat()), marker(&[other, vec![0; 200]].concat()));

    assert!(avro.resume(&mut file.clone().as_slice()).expect("read"));
    append(&mut *avro, &[], b"two", &mut file).expect("appended");
    avro.finish(&mut file);
    let bodies: Vec<_> = events(&file).into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies, [b"one".to_vec(), b"two".to_vec()]);
}

#[test]
fn another_codec_schema_or_no_header_is_not_gone_on_with() {
    let mut plain = serializer("AVRO_EVENT", &[]);
    let mut file = Vec::new();
    plain.begin(&mut file);
    let mut deflate = serializer("AVRO_EVENT", &[("serializer.compressionCodec", "deflate")]);
    assert!(!deflate.resume(&mut file.as_slice()).expect("read"));
    let other = String::from_utf8_lossy(&file).replace("Event", "Enent").into_bytes();
    assert!(!plain.resume(&mut other.as_slice()).expect("read"));
    for cut in 0..file.len() {
        assert!(!plain.resume(&mut &file[..cut]).expect("read"), "cut at {cut}");
    }
    let endless = [b"Obj\x01".as_slice(), &[0xff; 9], &[0x01], &[0; 4096]].concat();
    assert!(!plain.resume(&mut endless.as_slice()).expect("read"));
    assert!(plain.resume(&mut file.as_slice()).expect("read"));
}

#[test]
fn an_unknown_codec_is_null_with_a_warning_and_xz_an_error() {
    let mut problems = Default::default();
    let keys = config(&[("serializer.compressionCodec", "Deflate")]);
    let mut avro = build("AVRO_EVENT", "serializer", &keys, &mut problems).expect("built");
    assert_eq!((problems.0.len(), problems.errors()), (1, 0));
    let mut file = Vec::new();
    avro.begin(&mut file);
    assert_eq!(events(&file), []);
    let keys = config(&[("serializer.compressionCodec", "xz")]);
    assert!(build("AVRO_EVENT", "serializer", &keys, &mut problems).is_none());
    for interval in ["31", "1073741825", "x"] {
        let keys = config(&[("serializer.syncIntervalBytes", interval)]);
        assert!(build("AVRO_EVENT", "serializer", &keys, &mut problems).is_none(), "{interval}");
    }
}

const POINT: &str =
    r#"{"type":"record","name":"Point","fields":[{"name":"x","type":"long"},{"name":"s","type":"string"}]}"#;
const NAME: &str = r#"{"type":"record","name":"Name","fields":[{"name":"s","type":"string"}]}"#;

fn point(x: i64) -> Vec<u8> {
    let schema = Schema::parse_str(POINT).expect("a schema");
    let record = vec![("x".into(), Value::Long(x)), ("s".into(), Value::String("p".into()))];
    to_avro_datum(&schema, Value::Record(record)).expect("a datum")
}

fn datums(file: &[u8]) -> Vec<Value> {
    Reader::new(file).expect("a container file").map(|value| value.expect("a datum")).collect()
}

#[test]
fn bodies_are_written_under_the_schema_that_the_event_brings() {
    let mut avro = serializer(DATUMS, &[("serializer.compressionCodec", "snappy")]);
    let mut file = Vec::new();
    avro.begin(&mut file);
    assert!(file.is_empty(), "the schema is not known yet");
    let headers = [("flume.avro.schema.literal", POINT)];
    for x in 0..3 {
        append(&mut *avro, &headers, &point(x), &mut file).expect("appended");
    }
    let spaced = POINT.replace(':', " : ");
    append(&mut *avro, &[("flume.avro.schema.literal", &spaced)], &point(3), &mut file)
        .expect("the same schema");
    avro.finish(&mut file);
    assert_eq!(datums(&file).len(), 4);
    assert_eq!(
        Reader::new(&file[..]).expect("a file").writer_schema(),
        &Schema::parse_str(POINT).expect("a schema")
    );
}

#[test]
fn the_header_with_a_url_wins_over_the_literal_and_both_over_the_key() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("written");
        format!("file://{}", path.display())
    };
    let (point_url, name_url) = (write("point.avsc", POINT), write("name.avsc", NAME));
    for headers in [
        vec![],
        vec![("flume.avro.schema.literal", POINT)],
        vec![("flume.avro.schema.literal", NAME), ("flume.avro.schema.url", point_url.as_str())],
    ] {
        let key = if headers.is_empty() { &point_url } else { &name_url };
        let mut avro = serializer(DATUMS, &[("serializer.schemaURL", key)]);
        let mut file = Vec::new();
        avro.begin(&mut file);
        append(&mut *avro, &headers, &point(7), &mut file).expect("appended");
        avro.finish(&mut file);
        assert_eq!(datums(&file).len(), 1);
    }
}

#[test]
fn another_schema_wants_a_new_file_and_goes_there() {
    let mut avro = serializer(DATUMS, &[]);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    avro.begin(&mut first);
    append(&mut *avro, &[("flume.avro.schema.literal", POINT)], &point(1), &mut first).expect("appended");
    let headers = [("flume.avro.schema.literal", NAME)];
    let refused = append(&mut *avro, &headers, b"\x02n", &mut first).expect_err("another schema");
    assert!(matches!(refused, AppendError::NewFile(_)));
    avro.finish(&mut first);
    avro.begin(&mut second);
    append(&mut *avro, &headers, b"\x02n", &mut second).expect("appended");
    avro.finish(&mut second);
    assert_eq!((datums(&first).len(), datums(&second).len()), (1, 1));
}

#[test]
fn a_file_is_gone_on_with_under_the_schema_that_it_has() {
    let mut avro = serializer(DATUMS, &[]);
    let mut file = Vec::new();
    avro.begin(&mut file);
    append(&mut *avro, &[("flume.avro.schema.literal", POINT)], &point(1), &mut file).expect("appended");
    avro.flush(&mut file);
    let mut avro = serializer(DATUMS, &[]);
    assert!(avro.resume(&mut file.clone().as_slice()).expect("read"));
    let other = append(&mut *avro, &[("flume.avro.schema.literal", NAME)], b"\x02n", &mut file);
    assert!(matches!(other, Err(AppendError::NewFile(_))));
    append(&mut *avro, &[("flume.avro.schema.literal", POINT)], &point(2), &mut file).expect("appended");
    avro.finish(&mut file);
    assert_eq!(datums(&file).len(), 2);
}

#[test]
fn bodies_that_are_no_datum_and_events_without_a_schema_are_refused_and_harm_nothing() {
    let mut avro = serializer(DATUMS, &[]);
    let mut file = Vec::new();
    avro.begin(&mut file);
    let literal = [("flume.avro.schema.literal", POINT)];
    append(&mut *avro, &literal, &point(1), &mut file).expect("appended");
    let half = &point(1)[..1];
    let longer = [point(1), vec![0]].concat();
    let huge = b"\x02\xfe\xff\xff\xff\xff\xff\xff\xff\x7f";
    for (headers, body) in [
        (&literal[..], half),
        (&literal, &longer),
        (&literal, huge),
        (&[], &point(1)),
        (&[("flume.avro.schema.literal", "{")], &point(1)),
        (&[("flume.avro.schema.url", "file:///dev/zero")], &point(1)),
        (&[("flume.avro.schema.url", "file:///nowhere/at.all")], &point(1)),
        (&[("flume.avro.schema.url", "http://example.org/point.avsc")], &point(1)),
        (&[("flume.avro.schema.url", "point.avsc")], &point(1)),
    ] {
        let refused = append(&mut *avro, headers, body, &mut file).expect_err("no datum");
        assert!(matches!(refused, AppendError::Refused(_)), "{refused}");
    }
    append(&mut *avro, &literal, &point(2), &mut file).expect("appended");
    avro.finish(&mut file);
    assert_eq!(datums(&file).len(), 2);
}

#[test]
fn no_part_of_a_datum_is_taken_for_one() {
    let record = r#"{"type":"record","name":"R","fields":[{"name":"n","type":"long"},{"name":"last","type":"#;
    let named = |kind: &str| format!("{{\"type\":{kind}}}");
    for (last, datum) in [
        (r#""boolean""#.to_string(), &[1][..]),
        (r#""int""#.into(), &[0xac, 2]),
        (r#""long""#.into(), &[0xac, 2]),
        (r#""float""#.into(), &[0; 4]),
        (r#""double""#.into(), &[0; 8]),
        (r#""bytes""#.into(), b"\x06abc"),
        (r#""string""#.into(), b"\x06abc"),
        (r#"["null","string"]"#.into(), b"\x02\x02a"),
        (named(r#""array","items":"string""#), b"\x02\x02a\x00"),
        (named(r#""map","values":"int""#), b"\x02\x02a\x02\x00"),
        (named(r#""enum","name":"E","symbols":["A"]"#), &[0]),
        (named(r#""fixed","name":"F","size":2"#), b"ab"),
        (named(r#""record","name":"S","fields":[{"name":"s","type":"string"}]"#), b"\x02a"),
    ] {
        let schema = format!("{record}{last}}}]}}");
        let headers = [("flume.avro.schema.literal", schema.as_str())];
        let (mut avro, mut file) = (serializer(DATUMS, &[]), Vec::new());
        avro.begin(&mut file);
        let whole = [&[8], datum].concat();
        append(&mut *avro, &headers, &whole, &mut file).expect("a datum");
        for end in 0..whole.len() {
            let refused = append(&mut *avro, &headers, &whole[..end], &mut file);
            assert!(matches!(refused, Err(AppendError::Refused(_))), "{end} bytes of {last}: {refused:?}");
        }
        append(&mut *avro, &headers, &whole, &mut file).expect("a datum");
        avro.finish(&mut file);
        assert_eq!(datums(&file).len(), 2, "{last}");
    }
}

#[test]
fn a_body_costs_no_more_memory_stack_and_time_than_its_bytes() {
    let list = r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]}]}"#;
    let nothing = (1..35).fold(r#""null""#.to_string(), |inner, i| {
        format!(
            r#"{{"type":"record","name":"R{i}","fields":[{{"name":"a","type":{inner}}},{{"name":"b","type":{}}}]}}"#,
            if i == 1 { r#""null""#.into() } else { format!("\"R{}\"", i - 1) }
        )
    });
    let many = b"\xfe\xff\xff\xff\xff\xff\xff\x01";
    for (schema, body) in [
        (r#"{"type":"array","items":"long"}"#, &many[..]),
        (r#"{"type":"map","values":"long"}"#, many),
        (list, &[2; 1 << 20]),
        (&nothing, b"x"),
    ] {
        let headers = [("flume.avro.schema.literal", schema)];
        let refused = append(&mut *serializer(DATUMS, &[]), &headers, body, &mut Vec::new());
        assert!(matches!(refused, Err(AppendError::Refused(_))), "{schema}: {refused:?}");
    }
}

#[test]
fn a_schema_of_the_configuration_that_is_not_there_yet_is_waited_for() {
    let mut avro = serializer(DATUMS, &[("serializer.schemaURL", "file:///nowhere/at.all")]);
    let failed = append(&mut *avro, &[], b"x", &mut Vec::new()).expect_err("no schema");
    assert!(matches!(failed, AppendError::Failed(_)), "{failed}");
    let mut problems = Default::default();
    let keys = config(&[("serializer.schemaURL", "hdfs://nn/schema")]);
    assert!(build(DATUMS, "serializer", &keys, &mut problems).is_none());
    assert!(problems.0[0].message.contains("file:"), "{}", problems.0[0]);
}

#[test]
fn the_schema_is_the_one_that_flume_writes() {
    let schema = Schema::parse_str(SCHEMA).expect("a schema");
    assert_eq!(
        schema.canonical_form(),
        SCHEMA.replace(r#"{"type":"record","name":"Event","#, r#"{"name":"Event","type":"record","#)
    );
}
