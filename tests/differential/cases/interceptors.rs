//! Interceptors, alone and in chains.

use crate::case::Case;

const NOW: (&str, &str) = (r"=1[0-9]{12}\b", "=NOW");

/// A chain of one.
fn one(name: &'static str, keys: &[&str], lines: &[&str]) -> Case {
    let keys: Vec<String> = std::iter::once("interceptors = i1".to_string())
        .chain(keys.iter().map(|key| format!("interceptors.i1.{key}")))
        .collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    Case::lines(name, &keys, lines)
}

/// A chain, each link with its keys.
fn chain(name: &'static str, links: &[&[&str]], lines: &[&str]) -> Case {
    let names: Vec<String> = (1..=links.len()).map(|n| format!("i{n}")).collect();
    let mut keys = vec![format!("interceptors = {}", names.join(" "))];
    for (name, link) in names.iter().zip(links) {
        keys.extend(link.iter().map(|key| format!("interceptors.{name}.{key}")));
    }
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    Case::lines(name, &keys, lines)
}

const LOGIN: &[&str] =
    &["user=ann took 12 ms", "user=bob", "nobody", "2026-11-21 12:30:45,123 user=cid took 7 ms"];

pub fn cases() -> Vec<Case> {
    let static_ab: &[&str] = &["type = static", "key = a", "value = b"];
    vec![
        one("timestamp", &["type = timestamp"], &["x", "y"]).masks(&[NOW]),
        one("timestamp_under_another_name", &["type = timestamp", "headerName = when"], &["x"]).masks(&[NOW]),
        chain(
            "timestamp_kept",
            &[
                &["type = static", "key = timestamp", "value = 5"],
                &["type = timestamp", "preserveExisting = true"],
            ],
            &["x"],
        ),
        chain(
            "timestamp_replaced",
            &[&["type = static", "key = timestamp", "value = 5"], &["type = timestamp"]],
            &["x"],
        )
        .masks(&[NOW]),
        one("host_by_address", &["type = host"], &["x"]),
        one("host_by_name", &["type = host", "useIP = false", "hostHeader = from"], &["x"]),
        chain(
            "host_kept",
            &[&["type = static", "key = host", "value = h"], &["type = host", "preserveExisting = true"]],
            &["x"],
        ),
        one("static_default", &["type = static"], &["x"]),
        chain("static_kept", &[static_ab, &["type = static", "key = a", "value = c"]], &["x"]),
        chain(
            "static_replaced",
            &[static_ab, &["type = static", "key = a", "value = c", "preserveExisting = false"]],
            &["x"],
        ),
        one(
            "uuid",
            &["type = org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder", "prefix = e-"],
            &["x", "y"],
        )
        .masks(&[("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UUID")]),
        chain(
            "remove_header_by_name",
            &[
                static_ab,
                &["type = static", "key = b", "value = 2"],
                &["type = remove_header", "withName = a"],
            ],
            &["x"],
        ),
        chain(
            "remove_header_by_list",
            &[
                static_ab,
                &["type = static", "key = b", "value = 2"],
                &["type = static", "key = c", "value = 3"],
                &["type = remove_header", "fromList = a ; c", r"fromListSeparator = \\s*;\\s*"],
            ],
            &["x"],
        ),
        chain(
            "remove_header_by_pattern",
            &[
                static_ab,
                &["type = static", "key = ab", "value = 2"],
                &["type = static", "key = cab", "value = 3"],
                &["type = remove_header", "matching = a.*"],
            ],
            &["x"],
        ),
        one(
            "search_replace",
            &["type = search_replace", r"searchPattern = user=(\\w+)", r"replaceString = <$1|$0>"],
            LOGIN,
        ),
        one("search_replace_by_nothing", &["type = search_replace", r"searchPattern = \\s+"], LOGIN),
        one(
            "search_replace_in_latin1",
            &[
                "type = search_replace",
                "searchPattern = \\u00fc",
                "replaceString = ue",
                "charset = ISO-8859-1",
            ],
            &["\u{fc}ber", "plain"],
        ),
        one("regex_filter_keeps", &["type = regex_filter", r"regex = \\d+ ms$"], LOGIN).delivers(2),
        one("regex_filter_drops", &["type = regex_filter", "regex = user", "excludeEvents = true"], LOGIN)
            .delivers(1),
        one(
            "regex_filter_ignoring_case",
            &["type = regex_filter", r"regex = (?i)\\u00dc"],
            &["\u{fc}ber", "x"],
        )
        .delivers(0)
        .differs(1, &["", "OK\nOK\n"], &["{} \\xc3\\xbcber", "OK\nOK\n"]),
        one("regex_filter_of_lines", &["type = regex_filter", "regex = (?m)^b"], &["a\u{85}b", "b"]).differs(
            1,
            &["{} a\\xc2\\x85b\n{} b", "OK\nOK\n"],
            &["{} b", "OK\nOK\n"],
        ),
        one("regex_filter_by_a_block", &["type = regex_filter", r"regex = \\p{InGreek}"], &["\u{3b1}"])
            .differs(0, &["{} \\xce\\xb1", "OK\n"], &["", "(connection: connection refused)"]),
        one(
            "regex_extractor",
            &[
                "type = regex_extractor",
                r"regex = user=(\\w+)(?: took (\\d*))",
                "serializers = s1 s2",
                "serializers.s1.name = user",
                "serializers.s2.name = took",
            ],
            LOGIN,
        ),
        one(
            "regex_extractor_group_that_takes_no_part",
            &[
                "type = regex_extractor",
                "regex = ^(a)?(b)",
                "serializers = s1 s2",
                "serializers.s1.name = first",
                "serializers.s2.name = second",
            ],
            &["b"],
        )
        .differs(1, &["{first=null, second=b} b", "OK\n"], &["{second=b} b", "OK\n"]),
        one(
            "regex_extractor_of_time",
            &[
                "type = regex_extractor",
                r"regex = ^(\\d{4}-\\d{2}-\\d{2} \\d{2}:\\d{2}:\\d{2},\\d{3})",
                "serializers = s1",
                "serializers.s1.type = org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer",
                "serializers.s1.name = timestamp",
                "serializers.s1.pattern = yyyy-MM-dd HH:mm:ss,SSS",
            ],
            LOGIN,
        ),
        chain(
            "chain_in_order",
            &[
                &["type = static", "key = level", "value = low"],
                &["type = regex_filter", "regex = nobody", "excludeEvents = true"],
                &["type = search_replace", "searchPattern = user", "replaceString = login"],
                &[
                    "type = regex_extractor",
                    "regex = login=(.)",
                    "serializers = s1",
                    "serializers.s1.name = level",
                ],
            ],
            LOGIN,
        )
        .delivers(3),
    ]
}
