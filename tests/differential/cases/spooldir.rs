//! The `spooldir` source: which files are read, how they are cut into events, and what becomes of them.

use crate::case::{Case, Feed, Outputs};

const SPOOLDIR: &[&str] = &["type = spooldir", "spoolDir = @DIR@/in"];

/// Data `one`, `two` and `three` of a record with a string, in blocks of two and one.
pub const AVRO: &[u8] = b"Obj\x01\x02\x16avro.schema\x88\x01\
    {\"type\":\"record\",\"name\":\"R\",\"fields\":[{\"name\":\"s\",\"type\":\"string\"}]}\x000123456789abcdef\
    \x04\x10\x06one\x06two0123456789abcdef\x02\x0c\nthree0123456789abcdef";

fn spool(name: &'static str, keys: &[&str], files: &[(&'static str, &[u8])]) -> Case {
    let mut case = Case::new(name, SPOOLDIR).keys(keys);
    for (name, bytes) in files {
        case = case.feed(Feed::File(name, bytes.to_vec()));
    }
    case
}

pub fn cases() -> Vec<Case> {
    let lines: &[u8] = b"one\ntwo with cr\r\n\n\xc3\xbcml\xc3\xa4ut\nno end";
    let blob = "deserializer = org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder";
    vec![
        spool("spooldir_lines", &[], &[("in/a.txt", lines)]).delivers(5),
        spool(
            "spooldir_headers",
            &[
                "fileHeader = true",
                "fileHeaderKey = path",
                "basenameHeader = true",
                "basenameHeaderKey = name",
                "fileSuffix = .done",
            ],
            &[("in/a.txt", b"one\n"), ("in/b.txt", b"two\n")],
        )
        .delivers(2),
        spool(
            "spooldir_oldest_first",
            &[],
            &[("in/z.txt", b"1\n"), ("in/a.txt", b"2\n"), ("in/m.txt", b"3\n")],
        )
        .delivers(3),
        spool(
            "spooldir_youngest_first",
            &["consumeOrder = youngest"],
            &[("in/z.txt", b"1\n"), ("in/a.txt", b"2\n"), ("in/m.txt", b"3\n")],
        )
        .delivers(3),
        spool("spooldir_empty_file", &[], &[("in/a.txt", b"")]).delivers(1),
        spool(
            "spooldir_empty_files_at_random",
            &["consumeOrder = random"],
            &[("in/a.txt", b""), ("in/b.txt", b"")],
        )
        .delivers(1)
        .differs(2, &["{} "], &["{} \n{} "]),
        spool("spooldir_files_set_aside", &[], &[("in/a.txt.REJECTED", b"a\n"), ("in/b.txt", b"b\n")])
            .delivers(2)
            .differs(1, &["{} a\n{} b"], &["{} b"]),
        spool("spooldir_avro_without_data", &["deserializer = AVRO"], &[("in/a.avro", &AVRO[..104])])
            .delivers(1)
            .differs(0, &["{} "], &[""]),
        spool(
            "spooldir_patterns",
            &["includePattern = .*\\\\.(txt|log)", "ignorePattern = .*\\\\.log"],
            &[("in/a.txt", b"a\n"), ("in/b.log", b"b\n"), ("in/c.bin", b"c\n"), ("in/.d.txt", b"d\n")],
        )
        .delivers(1),
        spool(
            "spooldir_deleted",
            &["deletePolicy = immediate"],
            &[("in/a.txt", b"a\n"), ("in/b.txt", b"b\n")],
        )
        .delivers(2),
        spool("spooldir_with_trackers", &["trackingPolicy = tracker_dir"], &[("in/a.txt", b"a\n")])
            .inputs_otherwise(
                &[".flumespool/.flumespool-main.meta", ".flumespool/a.txt.COMPLETED", "a.txt"],
                &[".flumespool/a.txt.COMPLETED", "a.txt"],
            )
            .delivers(1),
        spool(
            "spooldir_recursive",
            &["recursiveDirectorySearch = true", "fileHeader = true"],
            &[("in/a.txt", b"a\n"), ("in/sub/deep/b.txt", b"b\n"), ("in/.hidden/c.txt", b"c\n")],
        )
        .outputs(Outputs::Sorted)
        .delivers(2),
        spool("spooldir_not_recursive", &[], &[("in/a.txt", b"a\n"), ("in/sub/b.txt", b"b\n")]).delivers(1),
        spool(
            "spooldir_long_lines",
            &["deserializer.maxLineLength = 10"],
            &[("in/a.txt", b"123456789\n1234567890\n12345678901\n1234567890123456789012345\nend\n")],
        )
        .delivers(9),
        spool("spooldir_latin1", &["inputCharset = ISO-8859-1"], &[("in/a.txt", b"\xfcml\xe4ut\n")])
            .delivers(1),
        spool(
            "spooldir_into_latin1",
            &["deserializer.outputCharset = ISO-8859-1"],
            &[("in/a.txt", b"\xc3\xbcml\xc3\xa4ut \xe4\xb8\xad\n")],
        )
        .delivers(1),
        spool(
            "spooldir_bytes_replaced",
            &["decodeErrorPolicy = REPLACE"],
            &[("in/a.txt", b"a\xffb\n\xc3\n\xe4\xb8!\n")],
        )
        .delivers(3),
        spool(
            "spooldir_bytes_ignored",
            &["decodeErrorPolicy = IGNORE"],
            &[("in/a.txt", b"a\xffb\n\xc3\n\xe4\xb8!\n")],
        )
        .delivers(3),
        spool("spooldir_gbk", &["inputCharset = GBK"], &[("in/a.txt", b"\xd6\xd0\xb9\xfa\nplain\n")])
            .delivers(2),
        spool("spooldir_utf16", &["inputCharset = UTF-16"], &[("in/a.txt", b"\xff\xfea\0\n\0\x2d\x4e\n\0")])
            .delivers(2),
        spool(
            "spooldir_classes_that_meet",
            &["includePattern = [a-z&&[^x]]+\\\\.\\\\p{Lower}+", "ignorePattern = \\\\Qb.\\\\E.*"],
            &[("in/a.log", b"a\n"), ("in/b.log", b"b\n"), ("in/x.log", b"x\n")],
        )
        .delivers(1),
        spool("spooldir_avro_hash", &["deserializer = AVRO"], &[("in/a.avro", AVRO)]).delivers(3),
        spool(
            "spooldir_avro_literal",
            &["deserializer = avro", "deserializer.schemaType = literal"],
            &[("in/a.avro", AVRO)],
        )
        .delivers(3),
        spool(
            "spooldir_blobs",
            &[blob, "deserializer.maxBlobLength = 10"],
            &[("in/a.bin", b"123456789\n12345\n"), ("in/b.bin", b"short")],
        )
        .outputs(Outputs::Bytes)
        .delivers(3),
    ]
}
