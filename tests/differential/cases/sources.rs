//! Sources: what of an input becomes an event, what is answered, what is counted.

use crate::case::{Case, Feed, Outputs};

/// Flume knows it by its class name alone.
const STRESS: &str = "type = org.apache.flume.source.StressSource";
const NETCAT: &[&str] = &["type = netcat", "bind = 127.0.0.1", "port = @PORT@"];
const TAILDIR: &[&str] = &[
    "type = TAILDIR",
    "positionFile = @DIR@/position.json",
    "filegroups = f1",
    "filegroups.f1 = @DIR@/in/.*log",
    "maxBackoffSleep = 200",
];

pub fn cases() -> Vec<Case> {
    vec![
        Case::new("netcat_lines", NETCAT)
            .feed(Feed::Tcp(
                b"one\ntwo words\n\n\ttab and blank \nwith cr\r\n\xc3\xbcml\xc3\xa4ut \xe4\xb8\xad\nno end"
                    .into(),
            ))
            .delivers(6),
        Case::new("netcat_without_answers", NETCAT)
            .keys(&["ack-every-event = false"])
            .feed(Feed::Tcp(b"one\ntwo\n".into()))
            .delivers(2),
        Case::new("netcat_latin1", NETCAT)
            .keys(&["encoding = ISO-8859-1"])
            .feed(Feed::Tcp(b"\xfcml\xe4ut\n".into()))
            .delivers(1),
        Case::new("netcat_line_of_the_limit", NETCAT)
            .keys(&["max-line-length = 10"])
            .feed(Feed::Tcp(b"123456789\nabc\n".into()))
            .delivers(2),
        Case::new("netcat_line_too_long", NETCAT)
            .keys(&["max-line-length = 10"])
            .feed(Feed::Tcp(b"fits\n1234567890123\nnever seen\n".into()))
            .delivers(1),
        Case::new("seq_counts", &["type = seq", "totalEvents = 25", "batchSize = 10"])
            .counted_otherwise(&[("SOURCE EventReceivedCount", "0", "25")])
            .delivers(25),
        Case::new("stress", &[STRESS, "size = 12", "batchSize = 10", "maxTotalEvents = 25"]).delivers(25),
        Case::new("stress_until_so_many_are_taken", &[STRESS, "size = 0", "maxSuccessfulEvents = 3"])
            .delivers(3),
        Case::new("taildir_lines", TAILDIR)
            .feed(Feed::File("in/a.log", b"one\ntwo words\n\nwith cr\r\n\xff\xfe no text\nno end yet".into()))
            .delivers(5),
        Case::new("taildir_headers", TAILDIR)
            .keys(&[
                "headers.f1.kind = log",
                "fileHeader = true",
                "fileHeaderKey = path",
                "byteOffsetHeader = true",
            ])
            .feed(Feed::File("in/a.log", b"one\ntwo\n\nfour\n".into()))
            .delivers(4),
        Case::new("taildir_groups", TAILDIR)
            .keys(&[
                "filegroups = f1 f2",
                "filegroups.f2 = @DIR@/in/b[0-9]\\\\.txt",
                "headers.f2.group = second",
            ])
            .feed(Feed::File("in/a.log", b"a1\na2\n".into()))
            .feed(Feed::File("in/b1.txt", b"b1\n".into()))
            .feed(Feed::File("in/b1.txt.old", b"not this\n".into()))
            .feed(Feed::File("in/b22.txt", b"nor this\n".into()))
            .outputs(Outputs::Sorted)
            .delivers(3),
        Case::new("taildir_appended", TAILDIR)
            .feed(Feed::File("in/a.log", b"before\nhal".into()))
            .feed(Feed::Append("in/a.log", b"f\nafter\n".into()))
            .delivers(3),
        Case::new("taildir_from_the_end", TAILDIR)
            .keys(&["skipToEnd = true"])
            .feed(Feed::File("in/a.log", b"before\n".into()))
            .feed(Feed::Append("in/a.log", b"after\n".into()))
            .delivers(1),
    ]
}
