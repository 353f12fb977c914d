//! The `http` and `netcatudp` sources.

use crate::case::{Case, Feed, Outputs};

const HTTP: &[&str] = &["type = http", "bind = 127.0.0.1", "port = @PORT@"];
const BLOB: &str = "handler = org.apache.flume.source.http.BLOBHandler";

fn post(body: &[u8]) -> Feed {
    Feed::Http { method: "POST", path: "/", content_type: "application/json", body: body.to_vec() }
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
            ["/?a=1&b=two%20words", "/?b=2"]
                .into_iter()
                .map(|path| Feed::Http {
                    method: "POST",
                    path,
                    content_type: "text/plain",
                    body: b"any bytes".to_vec(),
                })
                .collect(),
            1,
        )
        .differs(
            1,
            &["{a=1, b=two words} any bytes", "200", "500"],
            &["{a=1, b=two words} any bytes", "200", "400"],
        ),
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
    ]
}
