//! Syslog over TCP: headers, bodies and what becomes of lines that are no messages, for both of Flume's parsers.

use crate::case::{Case, Feed};

const TCP: &[&str] = &["type = syslogtcp", "host = 127.0.0.1", "port = @PORT@"];
const MULTIPORT: &[&str] = &["type = multiport_syslogtcp", "host = 127.0.0.1", "ports = @PORT@"];

/// Lines that one or both parsers understand. Those that Flume reads otherwise have cases of their own.
const LINES: &str = "<10>2012-04-13T11:11:11+08:00 ubuntu-11.cloudera.com some msg\n\
    <10>1 2012-04-13T11:11:11Z ubuntu-11.cloudera.com some msg\n\
    <13>2012-08-16T14:34:03-08:00 127.0.0.1 test shnap!\n\
    <191>1 2012-08-16T14:34:03Z - nobody\n";

pub fn cases() -> Vec<Case> {
    let keep = "keepFields = priority version timestamp hostname";
    let lines = |name, source: &[&str], keys: &[&str]| {
        Case::new(name, source).keys(keys).feed(Feed::Tcp(LINES.into())).delivers(4)
    };
    vec![
        lines("syslogtcp_messages", TCP, &[]),
        lines("syslogtcp_keeps_all", TCP, &["keepFields = all"]),
        lines("multiport_syslogtcp_messages", MULTIPORT, &[]),
        lines("multiport_syslogtcp_keeps_fields", MULTIPORT, &[keep]),
        Case::new("syslogtcp_keeps_fields", TCP)
            .keys(&[keep])
            .feed(Feed::Tcp(b"<10>1 2012-04-13T11:11:11+08:00 web1 some msg\n<10>2012-04-13T11:11:11Z web1 msg\n".into()))
            .delivers(2),
        Case::new("syslogtcp_without_a_known_shape", TCP)
            .feed(Feed::Tcp(
                b"\n<10>Good data\n<10>1 - web1\n<13>2012-04-13T11:11:11Z web1 with a return\r\n\
                  <10>2014-10-03T17:20:01.1234567Z web1 seven digits\nno end"
                    .into(),
            ))
            .counted_otherwise(&[("SOURCE EventReadFail", "0", "1")])
            .delivers(4),
        Case::new("syslogtcp_without_a_priority", TCP)
            .feed(Feed::Tcp(b"hi <10> bad\n<>bad\n<10F>bad\n<1234>bad\n".into()))
            .counted_otherwise(&[("SOURCE EventReadFail", "0", "4")])
            .delivers(4),
        Case::new("syslogtcp_after_a_good_line", TCP)
            .feed(Feed::Tcp(b"<10>1 - web1 good\nbad\n".into()))
            .counted_otherwise(&[("SOURCE EventReadFail", "0", "1")])
            .differs(
                2,
                &[
                    "{Facility=1, Severity=2, host=web1, priority=10, version=1} good\n\
                     {Facility=0, Severity=0, flume.syslog.status=Invalid, priority=10, version=1} bad",
                    "",
                ],
                &[
                    "{Facility=1, Severity=2, host=web1, priority=10, version=1} good\n\
                     {Facility=0, Severity=0, flume.syslog.status=Invalid} bad",
                    "",
                ],
            )
            .delivers(2),
        Case::new("syslogtcp_line_too_long", TCP)
            .keys(&["eventSize = 10"])
            .feed(Feed::Tcp(b"<10> bad bad data bad bad\n<10>123456\n<10>ok\n".into()))
            .counted_otherwise(&[("SOURCE EventReadFail", "0", "2")])
            .delivers(5),
        Case::new("syslogtcp_fraction_as_flume_reads_it", TCP)
            .keys(&["flumeTimestamps = true"])
            .feed(Feed::Tcp(
                b"<10>2014-10-03T17:20:01.123456-07:00 web1 m\n<10>2014-10-03T17:20:01.2Z web1 m\n".into(),
            ))
            .delivers(2),
        Case::new("syslogtcp_shape_of_ones_own", TCP)
            .keys(&[
                r"format.regex = <(\\d{1,3})>(v\\d)? ?(\\S+ \\S+) (\\w+): (.*)",
                "format.search = /",
                "format.replace = -",
                "format.dateFormat = yyyy-MM-dd HH:mm",
            ])
            .feed(Feed::Tcp(
                b"<13>2012/04/13 11:11 web1: hello\n<13>v2 2012/04/13 11:11 web1: hello\n<13>1 - web1 other\n".into(),
            ))
            .delivers(3),
        Case::new("multiport_syslogtcp_lines_that_are_none", MULTIPORT)
            .feed(Feed::Tcp(b"hello\n<13\n<x>x\n<13>- host\n<13>2012-08-16T14:34:03 host text\n<13>\xff\xfe\n".into()))
            .delivers(6),
        Case::new("multiport_syslogtcp_charset", MULTIPORT)
            .keys(&["charset.default = ISO-8859-1", "portHeader = at"])
            .masks(&[("at=[0-9]+", "at=PORT")])
            .feed(Feed::Tcp(b"<10>2012-08-17T02:14:00-07:00 web1 \xfe\xff\xc0\n".into()))
            .delivers(1),
        Case::new("multiport_syslogtcp_line_too_long", MULTIPORT)
            .keys(&["eventSize = 40"])
            .feed(Feed::Tcp(b"<13>2012-08-16T14:34:03Z host 0123456789 and what follows\n<1>- h x\n".into()))
            .masks(&[("timestamp=1[7-9][0-9]{11}", "timestamp=NOW")])
            .delivers(3),
    ]
}
