use std::io::Read;

use flumen_api::event::Headers;
use proptest::prelude::*;

use super::*;
use crate::testing::config;

const CODECS: [&str; 7] = ["gzip", "bzip2", "default", "deflate", "lz4", "snappy", "zstd"];

fn format(keys: &[(&str, &str)]) -> FileFormat {
    let keys: Vec<_> = [("hdfs.path", "/x")].iter().chain(keys).copied().collect();
    let (config, mut problems) = (config(&keys), Problems::default());
    let settings = HdfsSettings::load(&config, &mut problems).expect("settings");
    let format = FileFormat::from_config(&settings, &config, &mut problems);
    format.unwrap_or_else(|| panic!("{problems:?}"))
}

fn writer(keys: &[(&str, &str)]) -> Box<dyn Format> {
    format(keys).writer().expect("a writer")
}

fn append(writer: &mut dyn Format, time: &str, body: &[u8], out: &mut Vec<u8>) -> Result<(), AppendError> {
    let headers: Headers = [("timestamp", time)].into_iter().collect();
    writer.append(EventRef { headers: &headers, body }, out)
}

/// A sink's keys, and the codec that they name.
type Layout = (Vec<(&'static str, &'static str)>, Option<&'static str>);

/// Each layout of lines, with what reads it.
fn stream_layouts() -> Vec<Layout> {
    let mut layouts = vec![(vec![("hdfs.fileType", "DataStream")], None)];
    for codec in CODECS {
        layouts.push((vec![("hdfs.fileType", "CompressedStream"), ("hdfs.codeC", codec)], Some(codec)));
    }
    layouts
}

/// Each layout of records, with the codec of its blocks.
fn record_layouts() -> Vec<Layout> {
    let mut layouts = Vec::new();
    for format in ["Writable", "Text"] {
        layouts.push((vec![("hdfs.writeFormat", format)], None));
        for codec in CODECS {
            layouts.push((vec![("hdfs.writeFormat", format), ("hdfs.codeC", codec)], Some(codec)));
        }
    }
    layouts
}

fn number(file: &mut &[u8]) -> usize {
    let (number, rest) = file.split_first_chunk().expect("a number");
    *file = rest;
    u32::from_be_bytes(*number) as usize
}

fn vint(file: &mut &[u8]) -> usize {
    let (first, rest) = file.split_first().expect("a vint");
    *file = rest;
    let first = *first as i8;
    if first >= -112 {
        return usize::try_from(first).expect("no length is below 0");
    }
    let bytes = take(file, usize::try_from(-112 - first).expect("1 to 8"));
    bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
}

fn take<'a>(file: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = file.split_at(length);
    *file = rest;
    taken
}

fn text(file: &mut &[u8]) -> String {
    let length = vint(file);
    String::from_utf8(take(file, length).to_vec()).expect("UTF-8")
}

fn unpack(codec: Option<&str>, packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match codec {
        None => plain.extend_from_slice(packed),
        Some("gzip") => {
            flate2::read::MultiGzDecoder::new(packed).read_to_end(&mut plain).expect("gzip");
        }
        Some("bzip2") => {
            bzip2::read::MultiBzDecoder::new(packed).read_to_end(&mut plain).expect("bzip2");
        }
        Some("zstd") => {
            let mut zstd = zstd::stream::read::Decoder::new(packed).expect("zstd");
            zstd.read_to_end(&mut plain).expect("zstd");
        }
        Some("default" | "deflate") => {
            let mut rest = packed;
            while !rest.is_empty() {
                flate2::bufread::ZlibDecoder::new(&mut rest).read_to_end(&mut plain).expect("zlib");
            }
        }
        Some(blocks) => {
            let mut rest = packed;
            while !rest.is_empty() {
                let length = number(&mut rest);
                if length == 0 {
                    assert!(rest.is_empty() && plain.is_empty(), "an empty block ends a file");
                    break;
                }
                let compressed = number(&mut rest);
                let block = take(&mut rest, compressed);
                plain.extend(match blocks {
                    "snappy" => snap::raw::Decoder::new().decompress_vec(block).expect("snappy"),
                    "lz4" => lz4_flex::block::decompress(block, length).expect("lz4"),
                    other => panic!("{other}"),
                });
            }
        }
    }
    plain
}

fn value(is_text: bool, mut value: &[u8]) -> Vec<u8> {
    let length = if is_text { vint(&mut value) } else { number(&mut value) };
    assert_eq!(value.len(), length, "the body and nothing else");
    value.to_vec()
}

/// The records of a SequenceFile, and where its marks are.
fn records(mut file: &[u8], codec: Option<&str>) -> (Vec<(i64, Vec<u8>)>, Vec<usize>) {
    let whole = file.len();
    let (mut records, mut marks) = (Vec::new(), Vec::new());
    assert_eq!(take(&mut file, 4), b"SEQ\x06");
    assert_eq!(text(&mut file), "org.apache.hadoop.io.LongWritable");
    let is_text = match text(&mut file).as_str() {
        "org.apache.hadoop.io.Text" => true,
        "org.apache.hadoop.io.BytesWritable" => false,
        other => panic!("{other}"),
    };
    let in_blocks = take(&mut file, 2) == [1, 1];
    assert_eq!(in_blocks, codec.is_some());
    if in_blocks {
        assert!(text(&mut file).starts_with("org.apache.hadoop.io.compress."));
    }
    assert_eq!(number(&mut file), 0, "no metadata");
    let marker = take(&mut file, 16);
    while !file.is_empty() {
        let at = whole - file.len();
        let length = number(&mut file);
        if length == u32::MAX as usize {
            assert_eq!(take(&mut file, 16), marker);
            marks.push(at);
            if in_blocks {
                let count = vint(&mut file);
                let parts = [(); 4].map(|()| {
                    let length = vint(&mut file);
                    unpack(codec, take(&mut file, length))
                });
                let [mut key_lengths, mut keys, mut value_lengths, mut values] =
                    parts.each_ref().map(Vec::as_slice);
                for _ in 0..count {
                    let length = vint(&mut key_lengths);
                    let key = take(&mut keys, length).try_into().expect("8 bytes");
                    let length = vint(&mut value_lengths);
                    records.push((i64::from_be_bytes(key), value(is_text, take(&mut values, length))));
                }
                assert!([key_lengths, keys, value_lengths, values].iter().all(|rest| rest.is_empty()));
            }
            continue;
        }
        assert!(!in_blocks, "a block begins with a mark");
        assert_eq!(number(&mut file), 8);
        let mut record = take(&mut file, length);
        let key = take(&mut record, 8).try_into().expect("8 bytes");
        records.push((i64::from_be_bytes(key), value(is_text, record)));
    }
    (records, marks)
}

/// A file's bytes with its marker, which is drawn anew for each, as sixteen M.
fn with_known_marker(file: &[u8], at: usize) -> Vec<u8> {
    let marker = file[at..at + 16].to_vec();
    let mut known = file.to_vec();
    for start in 0..=file.len() - 16 {
        if file[start..start + 16] == marker {
            known[start..start + 16].copy_from_slice(b"MMMMMMMMMMMMMMMM");
        }
    }
    known
}

#[test]
fn a_sequence_file_of_bytes_is_hadoops_to_the_byte() {
    let mut writer = writer(&[]);
    let mut file = Vec::new();
    writer.begin(&mut file);
    append(&mut *writer, "1700000000000", b"one", &mut file).expect("appended");
    append(&mut *writer, "-1", b"", &mut file).expect("appended");
    writer.flush_point(&mut file);
    writer.flush_point(&mut file);
    append(&mut *writer, "1", b"\xff", &mut file).expect("appended");
    writer.end(&mut file);
    let golden = [
        b"SEQ\x06".as_slice(),
        b"\x21org.apache.hadoop.io.LongWritable",
        b"\x22org.apache.hadoop.io.BytesWritable",
        b"\0\0",
        b"\0\0\0\0",
        b"MMMMMMMMMMMMMMMM",
        b"\0\0\0\x0f\0\0\0\x08\0\0\x01\x8b\xcf\xe5\x68\0\0\0\0\x03one",
        b"\0\0\0\x0c\0\0\0\x08\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
        b"\xff\xff\xff\xffMMMMMMMMMMMMMMMM",
        b"\0\0\0\x0d\0\0\0\x08\0\0\0\0\0\0\0\x01\0\0\0\x01\xff",
    ]
    .concat();
    assert_eq!(with_known_marker(&file, 79), golden);
}

#[test]
fn a_sequence_file_of_text_is_hadoops_to_the_byte() {
    let mut writer = writer(&[("hdfs.writeFormat", "Text"), ("hdfs.codeC", "none")]);
    let mut file = Vec::new();
    writer.begin(&mut file);
    append(&mut *writer, "+2", &[b'x'; 200], &mut file).expect("appended");
    writer.end(&mut file);
    let golden = [
        b"SEQ\x06\x21org.apache.hadoop.io.LongWritable\x19org.apache.hadoop.io.Text".as_slice(),
        b"\0\0\0\0\0\0MMMMMMMMMMMMMMMM",
        b"\0\0\0\xd2\0\0\0\x08\0\0\0\0\0\0\0\x02\x8f\xc8",
        &[b'x'; 200],
    ]
    .concat();
    assert_eq!(with_known_marker(&file, 70), golden);
}

#[test]
fn a_sequence_file_in_blocks_is_hadoops_to_the_byte() {
    // LZ4 packs so little as literals: the same bytes whoever does it.
    let mut writer = writer(&[("hdfs.codeC", "lz4")]);
    let mut file = Vec::new();
    writer.begin(&mut file);
    let begun = file.len();
    append(&mut *writer, "1", b"a", &mut file).expect("appended");
    append(&mut *writer, "2", b"", &mut file).expect("appended");
    assert_eq!(file.len(), begun, "kept back");
    writer.flush_point(&mut file);
    writer.flush_point(&mut file);
    writer.end(&mut file);
    let golden = [
        b"SEQ\x06\x21org.apache.hadoop.io.LongWritable\x22org.apache.hadoop.io.BytesWritable".as_slice(),
        b"\x01\x01\x26org.apache.hadoop.io.compress.Lz4Codec",
        b"\0\0\0\0MMMMMMMMMMMMMMMM",
        b"\xff\xff\xff\xffMMMMMMMMMMMMMMMM\x02",
        b"\x0b\0\0\0\x02\0\0\0\x03\x20\x08\x08",
    ]
    .concat();
    let known = with_known_marker(&file, 118);
    assert_eq!(known[..golden.len()], golden);
    assert_eq!(records(&file, Some("lz4")).0, [(1, b"a".to_vec()), (2, vec![])]);
}

#[test]
fn marks_stand_where_hadoop_puts_them() {
    let mut writer = writer(&[]);
    let mut file = Vec::new();
    writer.begin(&mut file);
    for time in 0..1000 {
        append(&mut *writer, &time.to_string(), &[7; 1000], &mut file).expect("appended");
    }
    writer.end(&mut file);
    let (read, marks) = records(&file, None);
    assert_eq!(read.len(), 1000);
    // The first record behind each 102,400 bytes: the header has 95, a record 1020, a mark 20.
    let first = 95 + 1020 * 101;
    assert_eq!(marks[..3], [first, first + 20 + 1020 * 101, first + 2 * (20 + 1020 * 101)]);
}

#[test]
fn a_file_that_ends_behind_any_flush_point_is_whole() {
    for (keys, codec) in stream_layouts() {
        let mut writer = writer(&keys);
        let (mut file, mut sent) = (Vec::new(), Vec::new());
        writer.begin(&mut file);
        for i in 0..20u8 {
            let body = vec![b'a' + i; usize::from(i) * 50];
            append(&mut *writer, "0", &body, &mut file).expect("appended");
            sent.extend([&body[..], b"\n"].concat());
            writer.flush_point(&mut file);
            assert!(unpack(codec, &file) == sent, "{keys:?} {i}");
            let length = file.len();
            writer.flush_point(&mut file);
            assert_eq!(file.len(), length, "{keys:?}");
        }
        let length = file.len();
        writer.end(&mut file);
        assert_eq!(file.len(), length, "{keys:?}");
    }
    for (keys, codec) in record_layouts() {
        let mut writer = writer(&keys);
        let (mut file, mut sent) = (Vec::new(), Vec::new());
        writer.begin(&mut file);
        for i in 0..20u8 {
            let body = vec![b'a' + i; usize::from(i) * 50];
            append(&mut *writer, &i.to_string(), &body, &mut file).expect("appended");
            sent.push((i64::from(i), body));
            writer.flush_point(&mut file);
            assert!(records(&file, codec).0 == sent, "{keys:?} {i}");
        }
        writer.end(&mut file);
        assert!(records(&file, codec).0 == sent, "{keys:?}");
    }
}

#[test]
fn a_file_without_events_is_one_of_its_kind() {
    for (keys, codec) in stream_layouts() {
        let mut writer = writer(&keys);
        let mut file = Vec::new();
        writer.begin(&mut file);
        writer.flush_point(&mut file);
        writer.end(&mut file);
        assert_eq!(unpack(codec, &file), b"", "{keys:?}");
        assert_eq!(file.is_empty(), codec.is_none(), "{keys:?}");
    }
    for (keys, codec) in record_layouts() {
        let mut writer = writer(&keys);
        let mut file = Vec::new();
        writer.begin(&mut file);
        writer.end(&mut file);
        assert_eq!(records(&file, codec).0, []);
    }
}

#[test]
fn what_one_file_kept_back_is_not_in_the_next() {
    for (keys, codec) in record_layouts() {
        let mut writer = writer(&keys);
        let (mut lost, mut file) = (Vec::new(), Vec::new());
        writer.begin(&mut lost);
        append(&mut *writer, "1", b"lost", &mut lost).expect("appended");
        writer.begin(&mut file);
        append(&mut *writer, "2", b"kept", &mut file).expect("appended");
        writer.end(&mut file);
        assert_eq!(records(&file, codec).0, [(2, b"kept".to_vec())], "{keys:?}");
    }
    for (keys, codec) in stream_layouts() {
        let mut writer = writer(&keys);
        let (mut lost, mut file) = (Vec::new(), Vec::new());
        writer.begin(&mut lost);
        append(&mut *writer, "1", b"lost", &mut lost).expect("appended");
        writer.begin(&mut file);
        append(&mut *writer, "2", b"kept", &mut file).expect("appended");
        writer.end(&mut file);
        assert_eq!(unpack(codec, &file), b"kept\n", "{keys:?}");
    }
}

#[test]
fn an_event_whose_time_is_no_number_is_refused_and_harms_nothing() {
    for (keys, codec) in record_layouts() {
        let mut writer = writer(&keys);
        let mut file = Vec::new();
        writer.begin(&mut file);
        append(&mut *writer, "1", b"one", &mut file).expect("appended");
        for time in ["", " 1", "1.5", "2024-01-01", "9223372036854775808", &"x".repeat(1000)] {
            let refused = append(&mut *writer, time, b"bad", &mut file).expect_err("no number");
            assert!(matches!(&refused, AppendError::Refused(why) if why.len() < 200), "{refused}");
        }
        append(&mut *writer, "2", b"two", &mut file).expect("appended");
        writer.end(&mut file);
        assert_eq!(records(&file, codec).0, [(1, b"one".to_vec()), (2, b"two".to_vec())], "{keys:?}");
    }
}

#[test]
fn an_event_without_a_time_has_the_clocks() {
    let mut writer = writer(&[]);
    let mut file = Vec::new();
    writer.begin(&mut file);
    let before = jiff::Timestamp::now().as_millisecond();
    writer.append(EventRef { headers: &Headers::new(), body: b"x" }, &mut file).expect("appended");
    let after = jiff::Timestamp::now().as_millisecond();
    let (read, _) = records(&file, None);
    assert!((before..=after).contains(&read[0].0), "{read:?}");
}

#[test]
fn files_are_named_as_hadoop_names_the_codec() {
    for (codec, extension) in
        CODECS.into_iter().zip([".gz", ".bz2", ".deflate", ".deflate", ".lz4", ".snappy", ".zst"])
    {
        assert_eq!(format(&[("hdfs.codeC", codec)]).extension(), extension);
    }
    assert_eq!(format(&[]).extension(), "");
    assert_eq!(format(&[("hdfs.codeC", "None")]).extension(), "");
}

#[test]
fn large_bodies_come_out_again() {
    let noise: Vec<u8> = (0..2_600_000u32).flat_map(|i| i.wrapping_mul(0x9E37_79B9).to_le_bytes()).collect();
    // The other codecs take their time where they are not optimized.
    let body = |codec| match codec {
        None | Some("lz4") => &noise[..],
        _ => &noise[..300_000],
    };
    for (keys, codec) in record_layouts() {
        let body = body(codec);
        let mut writer = writer(&keys);
        let mut file = Vec::new();
        writer.begin(&mut file);
        append(&mut *writer, "1", body, &mut file).expect("appended");
        append(&mut *writer, "2", b"", &mut file).expect("appended");
        writer.end(&mut file);
        let (read, _) = records(&file, codec);
        assert!(read == [(1, body.to_vec()), (2, vec![])], "{keys:?}");
    }
    for (keys, codec) in stream_layouts() {
        let body = body(codec);
        let mut writer = writer(&keys);
        let mut file = Vec::new();
        writer.begin(&mut file);
        append(&mut *writer, "1", body, &mut file).expect("appended");
        writer.end(&mut file);
        assert!(unpack(codec, &file) == [body, b"\n"].concat(), "{keys:?}");
    }
}

/// What a sink does: an event, or a flush.
fn steps() -> impl Strategy<Value = Vec<Option<(i64, Vec<u8>)>>> {
    let body = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..300),
        1 => (any::<u8>(), 0..30_000usize).prop_map(|(byte, length)| vec![byte; length]),
        1 => (any::<u32>(), 0..8_000u32)
            .prop_map(|(seed, count)| (0..count).flat_map(|i| (i ^ seed).wrapping_mul(0x9E37_79B9).to_le_bytes()).collect()),
    ];
    prop::collection::vec(prop_oneof![5 => (any::<i64>(), body).prop_map(Some), 1 => Just(None)], 0..25)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_read(steps in steps()) {
        let events: Vec<_> = steps.iter().flatten().cloned().collect();
        for (keys, codec) in record_layouts() {
            let mut writer = writer(&keys);
            let mut file = Vec::new();
            writer.begin(&mut file);
            for step in &steps {
                match step {
                    Some((time, body)) => append(&mut *writer, &time.to_string(), body, &mut file).expect("appended"),
                    None => writer.flush_point(&mut file),
                }
            }
            writer.end(&mut file);
            prop_assert!(records(&file, codec).0 == events, "{:?}", keys);
        }
        let lines: Vec<u8> = events.iter().flat_map(|(_, body)| body.iter().copied().chain([b'\n'])).collect();
        for (keys, codec) in stream_layouts() {
            let mut writer = writer(&keys);
            let mut file = Vec::new();
            writer.begin(&mut file);
            for step in &steps {
                match step {
                    Some((_, body)) => append(&mut *writer, "0", body, &mut file).expect("appended"),
                    None => writer.flush_point(&mut file),
                }
            }
            writer.end(&mut file);
            prop_assert!(unpack(codec, &file) == lines, "{:?}", keys);
        }
    }
}
