//! The `http` and `netcatudp` sources.

use crate::case::{Case, Feed, Outputs};

const HTTP: &[&str] = &["type = http", "bind = 127.0.0.1", "port = @PORT@"];
const BLOB: &str = "handler = org.apache.flume.source.http.BLOBHandler";
const TYPED_BLOB: &str = "handler = org.apache.flume.sink.solr.morphline.BlobHandler";

fn post(body: &[u8]) -> Feed {
    Feed::Http { method: "POST", path: "/", content_type: "application/json", body: body.to_vec() }
}

fn post_text(path: &'static str, body: &str) -> Feed {
    Feed::Http { method: "POST", path, content_type: "text/plain", body: body.into() }
}

/// One case of several requests, each with as many events as it says.
fn http(name: &'static str, keys: &[&str], requests: Vec<Feed>, events: usize) -> Case {
    let mut case = Case::new(name, HTTP).keys(keys).delivers(events);
    case.feed = requests;
    case
}

pub fn cases() -> Vec<Case> {
    let utf16: Vec<u8> = "[{\"body\":\"\u{fc}\"}]".encode_utf16().flat_map(u16::to_be_bytes).collect();
    vec![
        http(
            "http_json",
            &[],
            vec![
                post(br#"[{"headers":{"a":"1","b":"two"},"body":"one"},{"body":"no headers"}]"#),
                post(br#"[{"headers":{"n":1,"t":true}},{"headers":null,"body":"","more":[1]}]"#),
                post(b"[]"),
                post("[{\"body\":\"\u{fc}ml\u{e4}ut \u{4e2d} \\u4e2d\"}]".as_bytes()),
            ],
            5,
        ),
        http(
            "http_json_that_is_wrong",
            &[],
            vec![
                post(br#"{"body":"no array"}"#),
                post(br#"[{"body":"cut"#),
                post(br#"[{"headers":{"a":{"b":1}},"body":"nested"}]"#),
                post(b"plain text"),
                post(br#"[{"body":"still alive"}]"#),
            ],
            1,
        ),
        http("http_without_a_body", &[], vec![post(b""), post(br#"[{"body":"still alive"}]"#)], 1),
        http(
            "http_lenient_json",
            &[],
            vec![post(b"[{'headers':{a:'1'},body:'quoted once' /* a comment */}]")],
            1,
        ),
        http(
            "http_character_sets",
            &[],
            vec![
                Feed::Http {
                    method: "POST",
                    path: "/any/path",
                    content_type: "application/json; charset=UTF-16",
                    body: utf16,
                },
                Feed::Http {
                    method: "POST",
                    path: "/",
                    content_type: "application/json; charset=ISO-8859-1",
                    body: b"[{\"body\":\"x\"}]".to_vec(),
                },
            ],
            1,
        )
        .outputs(Outputs::Bytes),
        http(
            "http_methods",
            &[],
            ["PUT", "DELETE", "OPTIONS", "GET"]
                .into_iter()
                .map(|method| Feed::Http {
                    method,
                    path: "/",
                    content_type: "application/json",
                    body: b"[{\"body\":\"x\"}]".to_vec(),
                })
                .collect(),
            1,
        ),
        http(
            "http_blobs",
            &[BLOB, "handler.mandatoryParameters = a"],
            vec![post_text("/?a=1&b=two%20words", "any bytes"), post_text("/?b=2", "any bytes")],
            1,
        )
        .differs(
            1,
            &["{a=1, b=two words} any bytes", "200", "500"],
            &["{a=1, b=two words} any bytes", "200", "400"],
        ),
        http("http_blobs_that_need_no_parameter", &[BLOB], vec![post_text("/?b=2", "any bytes")], 0).differs(
            1,
            &["", "500"],
            &["{b=2} any bytes", "200"],
        ),
        http("http_typed_blobs", &[TYPED_BLOB], vec![post_text("/?a=1", "any bytes"), post_text("/", "")], 2),
        http(
            "http_typed_blobs_too_long",
            &[TYPED_BLOB, "handler.maxBlobLength = 4"],
            vec![post_text("/", "123456789")],
            1,
        )
        .differs(
            3,
            &["{Content-Type=text/plain} 1234", "200"],
            &[
                "{Content-Type=text/plain} 1234\n{Content-Type=text/plain} 5678\n{Content-Type=text/plain} 9",
                "200",
            ],
        ),
        http("http_json_in_a_set_that_nobody_names", &[], vec![post_text("/", "[{\"body\":\"\u{fc}\"}]")], 1)
            .differs(1, &["{} \\xc3\\x83\\xc2\\xbc", "200"], &["{} \\xc3\\xbc", "200"]),
        http("http_json_header_null", &[], vec![post(br#"[{"headers":{"a":null},"body":"x"}]"#)], 1).differs(
            1,
            &["{a=null} x", "200"],
            &["{} x", "200"],
        ),
        http("http_json_wrong_escape", &[], vec![post(br#"[{"body":"\uzzzz"}]"#)], 0).differs(
            0,
            &["", "500"],
            &["", "400"],
        ),
        http(
            "http_more_events_than_a_transaction",
            &[],
            vec![post(br#"[{"body":"1"},{"body":"2"},{"body":"3"}]"#)],
            0,
        )
        .sinks(&[(1, &["sink.batchSize = 2"])])
        .agent(&["a1.channels.@C1@.transactionCapacity = 2"])
        .differs(0, &["", "503"], &["", "413"]),
        Case::new(
            "netcatudp",
            &["type = netcatudp", "bind = 127.0.0.1", "port = @PORT@", "remoteAddress = from"],
        )
        .feed(Feed::Udp(vec![
            b"one".to_vec(),
            b"two\nthree".to_vec(),
            b"\n".to_vec(),
            b"with cr\r\n".to_vec(),
        ]))
        .masks(&[(":[0-9]+\\}", ":N}")])
        .delivers(4),
        Case::new("netcatudp_without_a_header", &["type = netcatudp", "bind = 127.0.0.1", "port = @PORT@"])
            .feed(Feed::Udp(vec![b"one".to_vec()]))
            .masks(&[(":[0-9]+\\}", ":N}")])
            .delivers(1)
            .differs(1, &["{null=/127.0.0.1:N} one"], &["{} one"]),
        Case::new("syslogtcp_without_a_host", &["type = syslogtcp", "port = @PORT@"])
            .feed(Feed::Tcp(b"<13>1 2026-11-21T12:00:00Z h text\n".to_vec()))
            .delivers(0)
            .differs(
                1,
                &["", "(connection: connection refused)"],
                &[
                    "{Facility=1, Severity=5, host=h, priority=13, timestamp=1795262400000, version=1} text",
                    "",
                ],
            ),
    ]
}
