//! The syslog sources over TCP and UDP: both forms, what is kept of them, and lines that are broken.

use crate::case::{Case, Feed};

const TCP: &[&str] = &["type = syslogtcp", "host = 127.0.0.1", "port = @PORT@"];
const UDP: &[&str] = &["type = syslogudp", "host = 127.0.0.1", "port = @PORT@"];
const MULTIPORT: &[&str] = &["type = multiport_syslogtcp", "host = 127.0.0.1", "ports = @PORT@"];

/// Lines of both forms, as they should be.
const GOOD: &[&str] = &[
    "<13>Nov 21 12:30:45 host1 su: a message",
    "<34>1 2026-11-21T12:30:45Z host2.example.com app 12 ID47 - another",
    "<165>1 2026-11-21T12:30:45.123456+08:00 192.0.2.1 app - - - with a zone",
    "<191>1 2026-11-21T12:30:45Z - app - - - without a host",
    "<0>Nov  1 01:02:03 host1 a day of one digit",
];

/// Lines that are not as they should be.
const BAD: &[&str] = &[
    "no priority at all",
    "<>an empty priority",
    "<1234>a priority too long",
    "<13>nothing that looks like a time",
    "<13>Nov 21 12:30:45",
    "<13>1 2026-13-41T99:30:45Z host a time that is none",
];

fn text(lines: &[&str]) -> Vec<u8> {
    lines.iter().map(|line| format!("{line}\n")).collect::<String>().into()
}

fn tcp(name: &'static str, keys: &[&str], lines: &[&str]) -> Case {
    Case::new(name, TCP).keys(keys).feed(Feed::Tcp(text(lines))).delivers(lines.len())
}

fn multiport(name: &'static str, keys: &[&str], lines: &[&str]) -> Case {
    Case::new(name, MULTIPORT).keys(keys).feed(Feed::Tcp(text(lines))).delivers(lines.len())
}

fn datagrams(lines: &[&str]) -> Vec<Vec<u8>> {
    lines.iter().map(|line| line.as_bytes().to_vec()).collect()
}

pub fn cases() -> Vec<Case> {
    vec![
        tcp("syslogtcp_good", &[], GOOD),
        tcp("syslogtcp_bad", &[], BAD).counted_otherwise(&[("SOURCE EventReadFail", "0", "3")]),
        tcp("syslogtcp_all_fields_kept", &["keepFields = all"], GOOD),
        tcp("syslogtcp_some_fields_kept", &["keepFields = priority hostname"], &GOOD[..3]),
        tcp("syslogtcp_no_host_kept", &["keepFields = hostname"], &["<13>1 2026-11-21T12:30:45Z - a message"]).differs(
            1,
            &["{Facility=1, Severity=5, priority=13, timestamp=1795264245000, version=1} null a message", ""],
            &["{Facility=1, Severity=5, priority=13, timestamp=1795264245000, version=1} - a message", ""],
        ),
        tcp("syslogtcp_zone_behind_a_fraction", &[], &["<13>1 2026-11-21T12:30:45.003Z h a message"]).differs(
            1,
            &["{Facility=1, Severity=5, host=h, priority=13, timestamp=1795235445003, version=1} a message", ""],
            &["{Facility=1, Severity=5, host=h, priority=13, timestamp=1795264245003, version=1} a message", ""],
        ),
        tcp(
            "syslogtcp_too_long",
            &["eventSize = 40"],
            &["<13>Nov 21 12:30:45 host1 a message that is longer than that"],
        )
        .delivers(2).differs(
            2,
            &[
                "{Facility=1, Severity=5, flume.syslog.status=Incomplete, host=host1, priority=13, \
                 timestamp=1795235445000} a message that\n{Facility=0, Severity=0, flume.syslog.status=Invalid, \
                 priority=13}  is longer than that",
                "",
            ],
            &[
                "{Facility=1, Severity=5, flume.syslog.status=Incomplete, host=host1, priority=13, \
                 timestamp=1795235445000} a message that\n{Facility=0, Severity=0, flume.syslog.status=Invalid}  is \
                 longer than that",
                "",
            ],
        ),
        tcp("syslogtcp_client", &["clientIPHeader = ip", "clientHostnameHeader = name"], &GOOD[..1]),
        Case::new("syslogudp_good", UDP).feed(Feed::Udp(datagrams(GOOD))).delivers(GOOD.len()),
        Case::new("syslogudp_bad", UDP).feed(Feed::Udp(datagrams(BAD))).delivers(BAD.len())
            .counted_otherwise(&[("SOURCE EventReadFail", "0", "3")]),
        Case::new("syslogudp_fields_kept", UDP)
            .keys(&["keepFields = true"])
            .feed(Feed::Udp(datagrams(GOOD)))
            .delivers(GOOD.len()),
        multiport("multiport_syslogtcp_good", &[], GOOD),
        multiport("multiport_syslogtcp_bad", &[], &BAD[..4])
            .masks(&[("timestamp=1[0-9]{12}", "timestamp=NOW")]),
        multiport("multiport_syslogtcp_time_cut_short", &[], &BAD[4..5]),
        multiport("multiport_syslogtcp_time_that_is_none", &[], &BAD[5..]).delivers(0).differs(
            1,
            &["", ""],
            &["{flume.syslog.status=Invalid} <13>1 2026-13-41T99:30:45Z host a time that is none", ""],
        ),
        multiport("multiport_syslogtcp_fields_kept", &["keepFields = all"], GOOD),
        multiport("multiport_syslogtcp_client", &["portHeader = port", "clientIPHeader = ip"], &GOOD[..1])
            .masks(&[("port=[0-9]+", "port=N")]),
    ]
}
