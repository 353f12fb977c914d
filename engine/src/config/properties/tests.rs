use super::*;

fn pairs(text: &str) -> Vec<(String, String)> {
    let parsed = parse(text.as_bytes());
    assert_eq!(parsed.malformed, [], "{text}");
    parsed.entries.into_iter().map(|entry| (entry.key, entry.value)).collect()
}

fn one(text: &str) -> (String, String) {
    let mut pairs = pairs(text);
    assert_eq!(pairs.len(), 1, "{text:?} -> {pairs:?}");
    pairs.remove(0)
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.into(), value.into())
}

#[test]
fn equals_colon_and_blank_all_separate_key_and_value() {
    for text in ["k=v", "k = v", "k:v", "k: v", "k v", "k\tv", "k \t v", "k\u{c}v", "  k=v  ", "\tk = v\t"] {
        assert_eq!(one(text), pair("k", "v"), "{text:?}");
    }
}

#[test]
fn only_the_first_separator_is_taken() {
    assert_eq!(one("k==v"), pair("k", "=v"));
    assert_eq!(one("k = = v"), pair("k", "= v"));
    assert_eq!(one("k : = v"), pair("k", "= v"));
    assert_eq!(one("url=http://host:80/?a=b"), pair("url", "http://host:80/?a=b"));
}

#[test]
fn comments_and_empty_lines_are_skipped() {
    assert_eq!(
        pairs("# a=b\n! c=d\n\n   \t\n  # e=f\nk=v # not a comment"),
        [pair("k", "v # not a comment")]
    );
}

#[test]
fn a_comment_is_never_continued() {
    assert_eq!(pairs("# gone \\\nk=v"), [pair("k", "v")]);
}

#[test]
fn an_odd_number_of_backslashes_continues_the_line() {
    assert_eq!(one("k = a,\\\n    b,\\\r\n\tc"), pair("k", "a,b,c"));
    assert_eq!(pairs("k = a\\\\\nl = b"), [pair("k", "a\\"), pair("l", "b")]);
    assert_eq!(one("k = a\\\\\\\nb"), pair("k", "a\\b"));
}

#[test]
fn a_continuation_may_begin_with_a_comment_sign_be_empty_or_be_missing() {
    assert_eq!(one("k = a\\\n#b"), pair("k", "a#b"));
    assert_eq!(pairs("k = a\\\n\nl = b"), [pair("k", "a"), pair("l", "b")]);
    assert_eq!(one("k = a\\"), pair("k", "a"));
}

#[test]
fn a_property_of_many_lines_takes_time_in_proportion() {
    let text = format!("k = {}end", "\\\n".repeat(1 << 20));
    let started = std::time::Instant::now();
    assert_eq!(one(&text), pair("k", "end"));
    let backslashes = format!("k = {}end", "\\\\\\\n".repeat(1 << 19));
    assert_eq!(one(&backslashes).1.len(), (1 << 19) + 3);
    assert!(started.elapsed() < std::time::Duration::from_secs(60), "{:?}", started.elapsed());
}

#[test]
fn a_key_may_be_split_over_lines() {
    assert_eq!(one("a1.sour\\\n  ces = r1"), pair("a1.sources", "r1"));
}

#[test]
fn all_three_line_ends_count() {
    let parsed = parse(b"a=1\r\nb=2\rc=3\nd=4");
    let lines: Vec<_> = parsed.entries.iter().map(|entry| (entry.key.as_str(), entry.line)).collect();
    assert_eq!(lines, [("a", 1), ("b", 2), ("c", 3), ("d", 4)]);
}

#[test]
fn the_line_of_a_continued_entry_is_its_first() {
    let parsed = parse(b"# one\nk = a \\\n b\nl = c\n");
    let lines: Vec<_> = parsed.entries.iter().map(|entry| entry.line).collect();
    assert_eq!(lines, [2, 4]);
}

#[test]
fn escapes_are_read_as_java_reads_them() {
    assert_eq!(one(r"k = a\tb\nc\rd\fe"), pair("k", "a\tb\nc\rd\u{c}e"));
    assert_eq!(one(r"k = \d+\\.log \q\'"), pair("k", r"d+\.log q'"));
    assert_eq!(one(r"a\ b\=c\:d = v"), pair("a b=c:d", "v"));
    assert_eq!(one(r"k = \u00e9\u4E2D\uD83D\uDE00"), pair("k", "é中😀"));
}

#[test]
fn a_malformed_unicode_escape_is_named_with_its_line_and_the_rest_is_read() {
    let parsed = parse(b"a = 1\nb = C:\\\\users \\users\nc = \\u12\nd = \\uD800x\ne = 5\n");
    let lines: Vec<_> = parsed.malformed.iter().map(|malformed| malformed.line).collect();
    assert_eq!(lines, [2, 3, 4]);
    assert!(parsed.malformed[0].message.contains("\\user"), "{}", parsed.malformed[0].message);
    assert_eq!(parsed.malformed[0].key, "b");
    let keys: Vec<_> = parsed.entries.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["a", "e"]);
}

#[test]
fn keys_without_values_and_values_without_keys_are_kept_for_the_caller() {
    let parsed = parse(b"alone\nempty =\n= value\n=\n");
    let seen: Vec<_> = parsed.entries.iter().map(|e| (e.key.as_str(), e.value.as_str(), e.signed)).collect();
    assert_eq!(seen, [("alone", "", false), ("empty", "", true), ("", "value", true), ("", "", true)]);
}

#[test]
fn duplicates_are_kept_in_order() {
    assert_eq!(pairs("k=1\nk=2"), [pair("k", "1"), pair("k", "2")]);
}

#[test]
fn escaped_blanks_at_the_ends_are_trimmed_as_flume_trims_them() {
    assert_eq!(one(r"k = \ \tv\ "), pair("k", "v"));
}

#[test]
fn utf8_is_read_as_utf8_and_anything_else_as_latin1() {
    assert_eq!(one("k = Grüße"), pair("k", "Grüße"));
    let parsed = parse(b"k = Gr\xfc\xdfe");
    assert_eq!(parsed.entries[0].value, "Grüße");
}

#[test]
fn a_byte_order_mark_is_not_part_of_the_first_key() {
    assert_eq!(one("\u{feff}a1.sources = r1"), pair("a1.sources", "r1"));
}

#[test]
fn what_is_written_is_read_back() {
    let all = [
        ("a1.sources.r1.command", "tail -F /var/log/x | grep '\\d+' # no comment"),
        ("key with = and : and #", " leading and trailing? no, only leading"),
        ("k", "tab\tnewline\nback\\slash ümlaut 中 😀"),
    ];
    let mut text = String::new();
    for (key, value) in all {
        write(&mut text, key, value);
    }
    let expected: Vec<_> = all.iter().map(|(key, value)| pair(key, value.trim())).collect();
    assert_eq!(pairs(&text), expected);
    assert!(text.is_ascii());
}

#[test]
fn any_bytes_are_read_without_panic() {
    // A small deterministic generator over the bytes that matter to the grammar.
    let alphabet = b"ab=: \t\\\n\r#!u0dD8\xff\xc3\xa9{}$";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20_000 {
        let mut bytes = Vec::new();
        for _ in 0..24 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            bytes.push(alphabet[(state >> 33) as usize % alphabet.len()]);
        }
        let parsed = parse(&bytes);
        assert!(parsed.entries.iter().all(|entry| entry.line >= 1));
    }
}
