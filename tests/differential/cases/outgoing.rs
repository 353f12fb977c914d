//! Sinks that send to somebody: what is heard there.

use crate::case::{Case, Feed, Outputs};
use crate::peer::Peer;

const AGAIN: &[(&str, &str)] = &[("((POST [^\\n]*)\\n)+POST [^\\n]*", "again and again: $2")];

pub fn cases() -> Vec<Case> {
    let http = |name: &'static str, lines: &[&str], keys: &'static [&'static str]| {
        Case::lines(name, &[], lines).sinks(&[(1, keys)]).peer(Peer::Web)
    };
    let irc = |name: &'static str, lines: &[&str], keys: &'static [&'static str]| {
        Case::lines(name, &[], lines).sinks(&[(1, keys)]).peer(Peer::Irc)
    };
    vec![
        http(
            "http_sink",
            &["plain", "503 once", "404 given up", "", "last"],
            &[
                "type = http",
                "endpoint = http://127.0.0.1:@PEER@/in/here?a=1",
                "contentTypeHeader = application/x-line",
                "acceptHeader = application/x-answer",
                "rollback.2XX = false",
                "rollback.404 = false",
                "defaultBackoff = false",
                "backoff.5XX = true",
                "incrementMetrics.2XX = true",
            ],
        )
        .counted_otherwise(&[("SINK1 EventWriteFail", "0", "1")])
        .delivers(5),
        http(
            "http_sink_with_its_defaults",
            &["a 200 is not enough"],
            &["type = http", "endpoint = http://127.0.0.1:@PEER@/in"],
        )
        .masks(AGAIN)
        // As often as it was sent.
        .uncounted(&["EventWriteFail"])
        .delivers(2),
        http(
            "http_sink_sent_elsewhere",
            &["302 away"],
            &[
                "type = http",
                "endpoint = http://127.0.0.1:@PEER@/in",
                "rollback.2XX = false",
                "rollback.302 = false",
            ],
        )
        // What it accepts then is Java's own, and another in each version.
        .masks(&[("GET /away [^\\n]*", "GET /away")])
        .delivers(2)
        .differs(
            1,
            &["", "POST /in text/plain, wants text/plain: 302 away\nGET /away", "OK\n"],
            &["", "POST /in text/plain, wants text/plain: 302 away", "OK\n"],
        ),
        http(
            "http_sink_error_without_a_body",
            &["404 empty"],
            &["type = http", "endpoint = http://127.0.0.1:@PEER@/in", "rollback.404 = false"],
        )
        .masks(AGAIN)
        .delivers(2)
        .differs(
            1,
            &["", "again and again: POST /in text/plain, wants text/plain: 404 empty", "OK\n"],
            &["", "POST /in text/plain, wants text/plain: 404 empty", "OK\n"],
        ),
        irc(
            "irc_sink",
            &["one", "two words ", "\u{fc}ml\u{e4}ut: \u{4e2d}"],
            &[
                "type = irc",
                "hostname = 127.0.0.1",
                "port = @PEER@",
                "nick = flumen",
                "user = agent",
                "name = An agent",
                "password = secret",
                "chan = logs",
            ],
        )
        .delivers(3),
        irc(
            "irc_sink_splits",
            &["a;b c;d", "e;f;;"],
            &[
                "type = irc",
                "hostname = 127.0.0.1",
                "port = @PEER@",
                "nick = flumen",
                "password = secret",
                "chan = logs",
                "splitlines = true",
                "splitchars = ;",
            ],
        )
        .delivers(5),
        irc(
            "irc_sink_blank_texts",
            &[";a;;b"],
            &[
                "type = irc",
                "hostname = 127.0.0.1",
                "port = @PEER@",
                "nick = flumen",
                "password = secret",
                "chan = logs",
                "splitlines = true",
                "splitchars = ;",
            ],
        )
        .delivers(4)
        .differs(2, &["", "\na\n\nb", "OK\n"], &["", "a\nb", "OK\n"]),
        Case::new("irc_sink_line_end", &["type = http", "bind = 127.0.0.1", "port = @PORT@"])
            .feed(Feed::Http {
                method: "POST",
                path: "/",
                content_type: "application/json",
                body: br#"[{"body":"one\nPRIVMSG #logs :two"}]"#.to_vec(),
            })
            .sinks(&[(
                1,
                &[
                    "type = irc",
                    "hostname = 127.0.0.1",
                    "port = @PEER@",
                    "nick = flumen",
                    "password = secret",
                    "chan = logs",
                ],
            )])
            .peer(Peer::Irc)
            .delivers(2)
            .differs(1, &["", "one\ntwo", "200"], &["", "one PRIVMSG #logs :two", "200"]),
        Case::lines("null_sink", &[], &["one", "two"])
            .sinks(&[(1, &["type = null", "batchSize = 1"])])
            .outputs(Outputs::Ordered)
            .delivers(0),
    ]
}
