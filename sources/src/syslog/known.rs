//! Known answers: lines and the events that Flume makes of them, found by reading its parsers and their tests.

use jiff::tz::TimeZone;

use super::*;

/// 2014-10-15T12:00:00Z.
fn now() -> i64 {
    1_413_374_400_000
}

fn times() -> Times {
    // Away from universal time, so that a zone that is overlooked shows.
    Times { zone: TimeZone::get("Asia/Shanghai").unwrap(), as_flume: false, now }
}

fn legacy(keep: KeepFields) -> Legacy {
    Legacy { keep, times: times(), custom: None }
}

/// Events of a stream as `headers body`.
fn stream(legacy: &Legacy, size_max: usize, mut bytes: &[u8]) -> Vec<String> {
    let mut lines = Lines::new(size_max);
    let mut events = Vec::new();
    while let Some(line) = lines.next(&mut bytes) {
        events.push(shown(&legacy.event(line).unwrap()));
    }
    events
}

fn shown(event: &Parsed<'_>) -> String {
    format!("{} {}", event.headers, String::from_utf8_lossy(&event.body))
}

fn one(line: &str) -> String {
    let mut events = stream(&legacy(KeepFields::NONE), 2500, format!("{line}\n").as_bytes());
    assert_eq!(events.len(), 1, "{line}");
    events.remove(0)
}

#[test]
fn lines_of_rfc_5424_and_3164_become_the_events_that_syslogtcp_makes() {
    let h = "ubuntu-11.cloudera.com";
    for (line, event) in [
        // The zone of a stamp, or the process's.
        (
            "<10>2012-04-13T11:11:11+08:00 H some msg",
            "priority=10, timestamp=1334286671000, host=H} some msg",
        ),
        (
            "<10>1 2012-04-13T11:11:11 H some msg",
            "priority=10, version=1, timestamp=1334286671000, host=H} some msg",
        ),
        (
            "<10>1 2012-04-13T11:11:11Z H some msg",
            "priority=10, version=1, timestamp=1334315471000, host=H} some msg",
        ),
        (
            "<10>12012-04-13T11:11:11Z H some msg",
            "priority=10, version=1, timestamp=1334315471000, host=H} some msg",
        ),
        ("<10> 2012-04-13T11:11:11Z H some msg", "priority=10, timestamp=1334315471000, host=H} some msg"),
        // A zone that no clock has is overlooked.
        ("<10>2012-04-13T11:11:11+99:00 H m", "priority=10, timestamp=1334286671000, host=H} m"),
        // Without stamp, without host.
        ("<10>1 - H some msg", "priority=10, version=1, host=H} some msg"),
        (
            "<10>1 2012-04-13T11:11:11Z - some msg",
            "priority=10, version=1, timestamp=1334315471000} some msg",
        ),
        // Fields roll over.
        ("<10>2012-13-01T00:00:00Z H m", "priority=10, timestamp=1356998400000, host=H} m"),
        // Fractions: more than six digits have no shape, so the whole line is the body.
        ("<10>2014-10-03T17:20:01.123456-07:00 H m", "priority=10, timestamp=1412382001123, host=H} m"),
        ("<10>2014-10-03T17:20:01.2Z H m", "priority=10, timestamp=1412356801200, host=H} m"),
        ("<10>2014-10-03T17:20:01.1234567Z H m", "} <10>2014-10-03T17:20:01.1234567Z H m"),
        // RFC 3164, in the process's zone.
        ("<10>Oct  3 17:20:01 H some msg", "priority=10, timestamp=1412328001000, host=H} some msg"),
        (
            "<10>Oct 13 17:20:01 H - [07/Jun/2012:14:46:44 -0600]",
            "priority=10, timestamp=1413192001000, host=H} - [07/Jun/2012:14:46:44 -0600]",
        ),
        ("<10>Foo 13 17:20:01 H m", "priority=10, host=H} m"),
        // No known shape.
        ("<10>Good good good data", "} <10>Good good good data"),
        ("<10>Oct  3 17:20:01 H", "} <10>Oct  3 17:20:01 H"),
        ("<10>Oct  3 17:20:01 H with\ra return", "} <10>Oct  3 17:20:01 H with\ra return"),
        ("<10>Oct  3 17:20:01 H with\u{2028}a separator", "} <10>Oct  3 17:20:01 H with\u{2028}a separator"),
        // An empty text.
        ("<10>Oct  3 17:20:01 H ", "priority=10, timestamp=1412328001000, host=H} <10>Oct  3 17:20:01 H "),
    ] {
        let (line, event) = (line.replace('H', h), event.replace('H', h));
        let comma = if event.starts_with('}') { "" } else { ", " };
        assert_eq!(one(&line), format!("{{Facility=1, Severity=2{comma}{event}"), "{line}");
    }
}

#[test]
fn lines_without_a_priority_are_invalid_and_kept_whole() {
    for line in [
        "<10F> bad bad data",
        "hi guys! <10> bad bad data",
        "<> bad bad data",
        "<123123123123123123123123123123> bad bad data",
        "<1234>",
        "\r",
    ] {
        assert_eq!(
            one(line),
            format!("{{Facility=0, Severity=0, flume.syslog.status=Invalid}} {line}"),
            "{line}"
        );
    }
}

#[test]
fn good_and_bad_lines_leave_no_trace_in_each_other() {
    let invalid = "{Facility=0, Severity=0, flume.syslog.status=Invalid} ";
    let bytes = b"hi <10F> bad\n\n\n<20>Good data\n<10>1 - host text\nworse\n<191>-\nno end";
    assert_eq!(
        stream(&legacy(KeepFields::NONE), 2500, bytes),
        [
            format!("{invalid}hi <10F> bad"),
            "{Facility=2, Severity=4} <20>Good data".into(),
            "{Facility=1, Severity=2, priority=10, version=1, host=host} text".into(),
            format!("{invalid}worse"),
            "{Facility=23, Severity=7} <191>-".into(),
        ]
    );
}

#[test]
fn a_line_that_is_too_long_comes_in_pieces() {
    // The smallest size is 10, whatever is asked for.
    assert_eq!(
        stream(&legacy(KeepFields::NONE), 5, b"<10> bad bad data bad bad\n<10>123456\n<10>ok\n"),
        [
            "{Facility=1, Severity=2, flume.syslog.status=Incomplete} <10> bad b",
            "{Facility=0, Severity=0, flume.syslog.status=Invalid} ad data ba",
            "{Facility=0, Severity=0, flume.syslog.status=Invalid} d bad",
            "{Facility=1, Severity=2, flume.syslog.status=Incomplete} <10>123456",
            "{Facility=1, Severity=2} <10>ok",
        ]
    );
}

#[test]
fn kept_fields_stand_in_front_of_the_text_as_they_were() {
    let line = b"<10>1 2012-04-13T11:11:11+08:00 web-1.example some msg\n";
    let keep =
        |priority, version, timestamp, hostname| KeepFields::Some { priority, version, timestamp, hostname };
    for (keep, body) in [
        (KeepFields::NONE, "some msg"),
        (keep(false, false, false, true), "web-1.example some msg"),
        (keep(false, false, true, true), "2012-04-13T11:11:11+08:00 web-1.example some msg"),
        (keep(true, false, true, true), "<10>2012-04-13T11:11:11+08:00 web-1.example some msg"),
        (keep(true, true, true, true), "<10>1 2012-04-13T11:11:11+08:00 web-1.example some msg"),
        (KeepFields::All, "<10>1 2012-04-13T11:11:11+08:00 web-1.example some msg"),
    ] {
        let event = stream(&legacy(keep), 2500, line).remove(0);
        let headers =
            "{Facility=1, Severity=2, priority=10, version=1, timestamp=1334286671000, host=web-1.example} ";
        assert_eq!(event, format!("{headers}{body}"));
    }
}

#[test]
fn stamps_with_a_fraction_can_be_read_as_flume_reads_them() {
    let mut times = times();
    times.as_flume = true;
    for (stamp, millis) in [
        // The zone is overlooked: in Shanghai it was 09:20:01 universal time.
        ("2014-10-03T17:20:01.123456-07:00", 1_412_328_001_123),
        ("2014-10-03T17:20:01.2Z", 1_412_328_001_002),
        // Without a fraction it counts.
        ("2014-10-03T17:20:01Z", 1_412_356_801_000),
    ] {
        assert_eq!(times.iso(stamp.as_bytes()), Some(millis), "{stamp}");
    }
}

#[test]
fn a_stamp_without_a_year_is_of_the_year_that_puts_it_near() {
    let mut times = times();
    times.zone = TimeZone::UTC;
    for (now, stamp, expected) in [
        ("2014-01-01T00:10:00Z", "Dec 31 23:59:59", "2013-12-31T23:59:59Z"),
        ("2013-12-31T23:59:00Z", "Jan  1 00:00:01", "2014-01-01T00:00:01Z"),
        ("2014-10-15T12:00:00Z", "Nov 14 00:00:00", "2014-11-14T00:00:00Z"),
        ("2014-10-15T12:00:00Z", "Nov 16 00:00:00", "2013-11-16T00:00:00Z"),
        ("2014-12-15T12:00:00Z", "Jan 14 00:00:00", "2015-01-14T00:00:00Z"),
        ("2014-12-15T12:00:00Z", "Jan 16 00:00:00", "2014-01-16T00:00:00Z"),
        ("2016-03-01T12:00:00Z", "Feb 29 10:00:00", "2016-02-29T10:00:00Z"),
    ] {
        let millis = |text: &str| text.parse::<jiff::Timestamp>().unwrap().as_millisecond();
        // The clock is a function without a state: each time has its own.
        times.now = match now {
            "2014-01-01T00:10:00Z" => || 1_388_535_000_000,
            "2013-12-31T23:59:00Z" => || 1_388_534_340_000,
            "2014-12-15T12:00:00Z" => || 1_418_644_800_000,
            "2016-03-01T12:00:00Z" => || 1_456_833_600_000,
            _ => self::now,
        };
        assert_eq!((times.now)(), millis(now), "{now}");
        assert_eq!(times.bsd(stamp.as_bytes()), Some(millis(expected)), "{now} {stamp}");
        assert_eq!(times.strict_bsd(stamp.as_bytes()), Some(millis(expected)), "{now} {stamp}");
    }
}

#[test]
fn an_hour_that_comes_twice_is_the_later_one_and_one_left_out_follows_the_change() {
    let zone = TimeZone::get("Europe/Berlin").unwrap();
    let times = Times { zone, as_flume: false, now };
    assert_eq!(times.iso(b"2014-10-26T02:30:00"), Some(1_414_287_000_000));
    assert_eq!(times.iso(b"2014-03-30T02:30:00"), Some(1_396_143_000_000));
}

fn strict(line: &str) -> String {
    shown(&Strict { keep: KeepFields::NONE, times: times() }.event(line, false))
}

#[test]
fn lines_become_the_events_that_multiport_syslogtcp_makes() {
    for (line, event) in [
        (
            "<34>Oct 11 22:14:15 mymachine su: 'su root' failed",
            "{Priority=34, Facility=4, Severity=2, timestamp=1413065655000, host=mymachine} su: 'su root' failed",
        ),
        (
            "<13>Oct  5 17:32:18 10.0.0.99 Use the BFG!",
            "{Priority=13, Facility=1, Severity=5, timestamp=1412530338000, host=10.0.0.99} Use the BFG!",
        ),
        (
            "<165>Aug 24 05:34:00 CST 1987 mymachine myproc[10]: %%",
            "{Priority=165, Facility=20, Severity=5, timestamp=1408858440000, host=CST} 1987 mymachine myproc[10]: %%",
        ),
        (
            "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - BOM'su root' failed",
            "{Priority=34, Facility=4, Severity=2, Version=1, timestamp=1065910455003, host=mymachine.example.com} su - ID47 - BOM'su root' failed",
        ),
        (
            "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %%",
            "{Priority=165, Facility=20, Severity=5, Version=1, timestamp=1061727255000, host=192.0.2.1} myproc 8710 - - %%",
        ),
        (
            "<13>2012-08-16T14:34:03-08:00 127.0.0.1 test shnap!",
            "{Priority=13, Facility=1, Severity=5, timestamp=1345156443000, host=127.0.0.1} test shnap!",
        ),
        // The time of the arrival; a host may be missing too.
        (
            "<1>- - blah blam foo",
            "{Priority=1, Facility=0, Severity=1, timestamp=1413374400000, host=-} blah blam foo",
        ),
        // A time that cannot be read is the first of January 1970.
        (
            "<13>Foo 11 22:14:15 host text",
            "{Priority=13, Facility=1, Severity=5, timestamp=0, host=host} text",
        ),
        (
            "<13>Feb 30 22:14:15 host text",
            "{Priority=13, Facility=1, Severity=5, timestamp=0, host=host} text",
        ),
        // Any letter will do for a zone.
        (
            "<13>2012-08-16T14:34:03X host text",
            "{Priority=13, Facility=1, Severity=5, timestamp=1345127643000, host=host} text",
        ),
        // No text.
        (
            "<13>2012-08-16T14:34:03Z host ",
            "{Priority=13, Facility=1, Severity=5, timestamp=1345127643000, host=host} <13>2012-08-16T14:34:03Z host ",
        ),
        // Two digits are no version.
        (
            "<13>12 2012-08-16T14:34:03Z host text",
            "{flume.syslog.status=Invalid} <13>12 2012-08-16T14:34:03Z host text",
        ),
    ] {
        assert_eq!(strict(line), event, "{line}");
    }
}

#[test]
fn lines_that_multiport_syslogtcp_cannot_read_are_invalid_and_kept_whole() {
    for line in [
        "",
        "hello",
        "<",
        "<13",
        "<13>",
        "<>x",
        "<x>x",
        "<123456>- host text",
        "<13>-",
        "<13>- ",
        "<13>- host",
        "<13>Oct 11 22:14:15",
        "<13>Oct 11 22:14:15 host",
        "<13>hello world",
        "<13>2012-08-16T14:34:03 host text",
        "<13>2012-08-16T14:34:03.5 host text",
        "<13>2012-08-16T14:34:03. host text",
        "<13>2012-08-16T14:34:03+8 host text",
        "<13>2012-08-16T14:34:03+08.00 host text",
        "<13>2012-18-16T14:34:03Z host text",
        "<13>a-word-of-more-than-20-letters host text",
        "<13>Ö 2012-08-16T14:34:03Z host text",
    ] {
        assert_eq!(strict(line), format!("{{flume.syslog.status=Invalid}} {line}"), "{line}");
    }
}

#[test]
fn pieces_for_multiport_syslogtcp_count_the_line_end() {
    let pieces = |size_max, mut bytes: &[u8]| {
        let mut splitter = Splitter::new(size_max);
        let mut pieces = Vec::new();
        while let Some(piece) = splitter.next(&mut bytes) {
            pieces.push((String::from_utf8(piece.bytes.to_vec()).unwrap(), piece.incomplete));
        }
        pieces
    };
    assert_eq!(
        pieces(10, b"123456789\n1234567890\nab\n"),
        [
            ("123456789".into(), false),
            ("1234567890".into(), true),
            (String::new(), false),
            ("ab".into(), false)
        ]
    );
}
