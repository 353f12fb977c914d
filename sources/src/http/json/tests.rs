use proptest::prelude::*;

use super::*;

fn shown(text: &str) -> Result<Vec<String>, Refusal> {
    let batch = events(text, Charset::Utf8)?;
    let shown =
        batch.iter().map(|event| format!("{} {}", event.headers, String::from_utf8_lossy(event.body)));
    Ok(shown.collect())
}

#[test]
fn arrays_of_events_are_read_as_gson_reads_them() {
    for (text, expected) in [
        ("[]", &[][..]),
        (" \u{a}[ ] ", &[]),
        ("\u{feff}[]", &[]),
        (
            r#"[{"headers":{"a":"b","c":"d"},"body":"random_body"},{"headers":{"e":"f"},"body":"x"}]"#,
            &["{a=b, c=d} random_body", "{e=f} x"],
        ),
        (
            r#"[{"headers":{"a": "b"}},{"body": "rand\"om\\\/\t\u00e9\ud83d\ude00"}]"#,
            &["{a=b} ", "{} rand\"om\\/\té😀"],
        ),
        (r#"[{}]"#, &["{} "]),
        (r#"[{"headers":null,"body":null}]"#, &["{} "]),
        // Numbers and truth are text; a header that is null is left out.
        (
            r#"[{"headers":{"n":1.50,"t":true,"f":FALSE,"x":null},"body":12e3}]"#,
            &["{n=1.50, t=true, f=false} 12e3"],
        ),
        // Gson's leniency.
        ("[{'headers':{a=b;c=>d},body:word}]", &["{a=b, c=d} word"]),
        ("// a\n[{# b\n\"body\"/* c */:'x y'}] \n", &["{} x y"]),
        (")]}'\n[{\"body\":\"x\"}]", &["{} x"]),
        // What is not known is passed over, of any kind and depth.
        (r#"[{"other":[1,,{"a":[],b:{}},"]"],"body":"x","also":{"body":"y"}}]"#, &["{} x"]),
        // The last of two counts.
        (r#"[{"body":"x","body":"y","Body":"z"}]"#, &["{} y"]),
        (r#"[{"headers":[["a","b"],["c",1]]}]"#, &["{a=b, c=1} "]),
        ("[{\"body\":\"line\nline\"}]", &["{} line\nline"]),
        (r#"[{"body":"\ud83d"},{"body":"\ud83dx"},{"body":"\ude00"}]"#, &["{} ?", "{} ?x", "{} ?"]),
    ] {
        let found = shown(text).unwrap_or_else(|why| panic!("{text}: {why:?}"));
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn what_is_no_array_of_events_is_refused() {
    for text in [
        "{}",
        "\"text\"",
        "text",
        "[",
        "[{",
        "[{]",
        "[{}",
        "[{}{}]",
        "[[]]",
        "[1]",
        "[{\"body\"}]",
        "[{\"body\":}]",
        "[{\"body\":{}}]",
        "[{\"body\":[\"x\"]}]",
        "[{\"body\":\"x}]",
        "[{\"body\":\"\\u12g4\"}]",
        "[{\"body\":\"x\",}]",
        "[{\"headers\":\"x\"}]",
        "[{\"headers\":{\"a\":{}}}]",
        "[{\"headers\":{\"a\":\"b\",\"a\":\"c\"}}]",
        "[{\"headers\":[[\"a\"]]}]",
        "[{\"a\": \"b\",[\"d\":\"e\"],\"body\": \"random_body\"},{\"e\": \"f\",\"body\": \"x\"}]",
        "{[\"a\": \"b\"],\"body\": \"random_body\"}",
        "[{\"x\":[}]",
        "[]]",
        "[] []",
        "[]x",
        "[] // d",
        "[{\"body\":\"\\q\"}]",
        "/* [] ",
    ] {
        assert!(matches!(shown(text), Err(Refusal::Malformed(_))), "{text}: {:?}", shown(text));
    }
}

#[test]
fn what_flume_fails_at_is_told_apart() {
    for text in ["", " \n", "// nothing", "null", "[null]", "[{},]", "[,]", "[{},,{}]"] {
        assert!(matches!(shown(text), Err(Refusal::Null(_))), "{text}: {:?}", shown(text));
    }
}

#[test]
fn a_million_events_is_the_most() {
    let text = format!("[{}{{}}]", "{},".repeat(EVENTS_MAX));
    assert_eq!(shown(&text), Err(Refusal::TooMany));
}

#[test]
fn depth_is_no_danger() {
    let deep = "[".repeat(1_000_000);
    assert!(shown(&format!("[{{\"x\":{deep}")).is_err());
    assert!(shown(&format!("[{{\"x\":{deep}{}}}]", "]".repeat(1_000_000))).is_ok());
}

#[test]
fn bodies_are_written_in_the_set_of_the_request() {
    let body = |charset| events("[{\"body\":\"é\"}]", charset).unwrap().event(0).body.to_vec();
    assert_eq!(body(Charset::Utf8), "é".as_bytes());
    assert_eq!(body(Charset::Utf16), b"\xfe\xff\0\xe9");
    assert_eq!(body(Charset::Utf32), b"\0\0\0\xe9");
}

proptest! {
    #[test]
    fn no_text_does_harm(text in ".{0,40}|[\\[\\]{}:,;='\"/*#\\\\u0-9a-f \n]{0,60}") {
        let _refused_or_not = shown(&text).is_ok();
        let _refused_or_not = shown(&format!("[{{\"body\":{text}}}]")).is_ok();
    }

    #[test]
    fn any_text_comes_back(headers in prop::collection::btree_map(any::<String>(), any::<String>(), 0..4), body: String) {
        let quoted = |text: &str| {
            let mut quoted = String::from("\"");
            for unit in text.encode_utf16() {
                quoted.push_str(&format!("\\u{unit:04x}"));
            }
            quoted + "\""
        };
        let members: Vec<String> = headers.iter().map(|(key, value)| format!("{}:{}", quoted(key), quoted(value))).collect();
        let text = format!("[{{\"headers\":{{{}}},\"body\":{}}}]", members.join(","), quoted(&body));
        let batch = events(&text, Charset::Utf8).unwrap();
        prop_assert_eq!(batch.event(0).body, body.as_bytes());
        prop_assert_eq!(batch.event(0).headers, &Headers::from_iter(headers));
    }
}
