//! Claims about Java's expressions. The answers are those of Java 17's own `Pattern` and `Matcher.find`.

use super::*;

/// Expression, text, and where the first match begins with the text of its groups.
const KNOWN: &[(&str, &str, &str)] = &[
    ("\\d+", "a12\u{663}", "at 1: 12"),
    ("\\w+", "h\u{e9}llo", "at 0: h"),
    ("\\s", "\u{a0} x", "at 2:  "),
    ("\\S+", "\u{a0}x y", "at 0: \u{a0}x"),
    ("\\D+", "1\u{663}x", "at 1: \u{663}x"),
    ("\\W", "a\u{e9}", "at 1: \u{e9}"),
    (".+", "ab\rcd", "at 0: ab"),
    (".+", "ab\u{85}c", "at 0: ab"),
    (".+", "a\u{2028}b", "at 0: a"),
    ("(?s).+", "a\n\rb", "at 0: a\n\rb"),
    ("(?d).+", "a\rb\nc", "at 0: a\rb"),
    ("end$", "end\n", "at 0: end"),
    ("end$", "end\r\n", "at 0: end"),
    ("end$", "end\n\n", "no"),
    ("end\\Z", "end\r", "at 0: end"),
    ("end\\z", "end\n", "no"),
    ("a$", "a", "at 0: a"),
    ("^$", "\n", "at 0: "),
    ("(?m)^b$", "a\nb\nc", "at 2: b"),
    ("(?d)a$", "a\r\n", "no"),
    ("(?d)a$", "a\n", "at 0: a"),
    ("$", "a\r\n", "at 1: "),
    ("\\n$", "a\r\n", "at 2: \n"),
    ("\r$", "a\r\n", "no"),
    ("^b", "a\nb", "no"),
    ("\\Ab", "b", "at 0: b"),
    ("\\Qa.b\\E+", "a.bbb", "at 0: a.bbb"),
    ("\\Q[x", "[x", "at 0: [x"),
    ("[\\Q^]\\E]", "]", "at 0: ]"),
    ("a\\Q\\Eb", "ab", "at 0: ab"),
    ("\\h+", "a \t\u{a0}b", "at 1:  \t\u{a0}"),
    ("\\v", "a\u{b}b", "at 1: \u{b}"),
    ("\\v", "a\nb", "at 1: \n"),
    ("\\H+", " ab", "at 1: ab"),
    ("\\V+", "\nab", "at 1: ab"),
    ("\\R", "a\r\nb", "at 1: \r\n"),
    ("\\R", "a\u{85}", "at 1: \u{85}"),
    ("\\<a\\>", "<a>", "at 0: <a>"),
    ("a\\-b", "a-b", "at 0: a-b"),
    ("\\/\\\"\\'\\_", "/\"'_", "at 0: /\"'_"),
    ("\\e\\a\\f", "\u{1b}\u{7}\u{c}", "at 0: \u{1b}\u{7}\u{c}"),
    ("\\cA", "\u{1}", "at 0: \u{1}"),
    ("\\x41\\x{42}\\u0043", "ABC", "at 0: ABC"),
    ("\\uD83D\\uDE00", "\u{1f600}", "at 0: \u{1f600}"),
    ("\\0101\\012", "A\n", "at 0: A\n"),
    ("\\08", "\u{0}8", "error"),
    ("\\0477", "'7", "at 0: '7"),
    ("[a-c&&[^b]]+", "abc", "at 0: a"),
    ("[a-z&&[def]]", "abcd", "at 3: d"),
    ("[a-d[m-p]]+", "xadmp", "at 1: admp"),
    ("[]a]+", "a]", "at 0: a]"),
    ("[^]a]+", "a]b", "at 2: b"),
    ("[a-]+", "-a", "at 0: -a"),
    ("[-a]+", "-a", "at 0: -a"),
    ("[!--]+", "!,-", "at 0: !,-"),
    ("[a~~b]+", "~ab", "at 0: ~ab"),
    ("[a--b]", "a", "error"),
    ("[\\w.-]+", "a.b-c", "at 0: a.b-c"),
    ("[\\d\\s]+", "x1 2", "at 1: 1 2"),
    ("[^\\d]", "1a", "at 1: a"),
    ("[\\D]", "1a", "at 1: a"),
    ("[\\W\\d]+", "ab1-", "at 2: 1-"),
    ("[a&b]+", "b&a", "at 0: b&a"),
    ("[\\]\\[]+", "[]", "at 0: []"),
    ("[\\x41-\\x43]+", "ABCD", "at 0: ABC"),
    ("[[:alpha:]]+", "al:x", "at 0: al:"),
    ("[#]", "#", "at 0: #"),
    ("[a b]+", "a b", "at 0: a b"),
    ("[^a[b]]", "bac", "at 2: c"),
    ("[a-z&&[^aeiou]]+", "aexyz", "at 2: xyz"),
    ("\\p{Alpha}+", "\u{e9}ab", "at 2: ab"),
    ("\\p{L}+", "\u{e9}ab1", "at 0: \u{e9}ab"),
    ("\\pL+", "ab1", "at 0: ab"),
    ("\\P{L}+", "ab1", "at 2: 1"),
    ("\\p{Punct}+", "a!-_~", "at 1: !-_~"),
    ("\\p{Lu}", "aB", "at 1: B"),
    ("\\p{IsLatin}+", "\u{e9}", "at 0: \u{e9}"),
    ("\\p{IsAlphabetic}+", "1\u{e9}", "at 1: \u{e9}"),
    ("[\\p{Upper}\\p{Digit}]+", "aB1", "at 1: B1"),
    ("\\p{Space}", "\u{a0}\u{b}", "at 2: \u{b}"),
    ("\\p{javaLowerCase}", "A\u{e9}", "at 1: \u{e9}"),
    ("\\p{XDigit}+", "xyzAf0", "at 3: Af0"),
    ("\\p{Cntrl}", "a\u{7f}", "at 1: \u{7f}"),
    ("\\p{Blank}+", "a \t\n", "at 1:  \t"),
    ("\\p{Graph}+", " ab ", "at 1: ab"),
    ("\\p{Print}+", "\ta b", "at 1: a b"),
    ("\\p{script=Greek}", "a\u{3b1}", "at 1: \u{3b1}"),
    ("\\p{gc=Lu}", "aA", "at 1: A"),
    ("\\p{sc=Han}", "a\u{4e2d}", "at 1: \u{4e2d}"),
    ("(?i)abc", "xABC", "at 1: ABC"),
    ("(?i:a)b", "Ab", "at 0: Ab"),
    ("(?i:a)b", "AB", "no"),
    ("a(?i)b", "aB", "at 0: aB"),
    ("a(?i)b|c", "C", "at 0: C"),
    ("((?i)a)b", "AB", "no"),
    ("(?i)(?-i)a", "A", "no"),
    ("(?x) a b # c\n d", "abd", "at 0: abd"),
    ("(?x)a\\ b", "a b", "at 0: a b"),
    ("(?x:a b)c", "abc", "at 0: abc"),
    ("(?x) a + b", "aab", "at 0: aab"),
    ("(?<n>a)\\k<n>", "aa", "at 0: aa|a"),
    ("(a)\\1", "aa", "at 0: aa|a"),
    ("(a)\\11", "aa1", "at 0: aa1|a"),
    ("(a)(b)(c)(d)(e)(f)(g)(h)(i)(j)\\10", "abcdefghijj", "at 0: abcdefghijj|a|b|c|d|e|f|g|h|i|j"),
    ("(a)|(b)", "b", "at 0: b|(none)|b"),
    ("(a(b)?)+", "aba", "at 0: aba|a|b"),
    ("(?i)(a)\\1", "aA", "at 0: aA|a"),
    ("(?=b)", "ab", "at 1: "),
    ("a(?!b)", "abac", "at 2: a"),
    ("(?<=a)b", "cbab", "at 3: b"),
    ("(?<!a)b", "abcb", "at 3: b"),
    ("(?>a|ab)c", "abc", "no"),
    ("a++b", "aab", "at 0: aab"),
    ("a*+a", "aaa", "no"),
    ("a?+a", "a", "no"),
    ("a{2}+a", "aa", "no"),
    ("(?<=a|bc)d", "bcd", "at 2: d"),
    ("(?<=\\d{2})x", "1x12x", "at 4: x"),
    ("a{2}", "aaa", "at 0: aa"),
    ("a{2,}", "aaa", "at 0: aaa"),
    ("a{1,2}", "aaa", "at 0: aa"),
    ("a{1,2}?", "aaa", "at 0: a"),
    ("a*?b", "aab", "at 0: aab"),
    ("x}", "x}", "at 0: x}"),
    ("x]", "x]", "at 0: x]"),
    ("\\{\\}", "{}", "at 0: {}"),
    ("\\bfoo\\b", "a foo.", "at 2: foo"),
    ("\\Boo", "foo", "at 1: oo"),
    ("\\Ga", "aab", "at 0: a"),
    ("", "abc", "at 0: "),
    ("a|", "b", "at 0: "),
    ("(", "x", "error"),
    (")", "x", "error"),
    ("[", "x", "error"),
    ("*", "x", "error"),
    ("a**", "x", "error"),
    ("{", "x", "error"),
    ("a{", "x", "error"),
    ("a{,2}", "x", "error"),
    ("\\y", "x", "error"),
    ("\\", "x", "error"),
    ("[b-a]", "x", "error"),
    ("(?<1>a)", "x", "error"),
    ("(?<n>a)(?<n>b)", "x", "error"),
    ("(?z)", "x", "error"),
    ("\\E", "x", "error"),
    ("\\p{Nope}", "x", "error"),
    ("\\x4", "x", "error"),
    ("\\u12", "x", "error"),
    ("\\k<no>", "x", "error"),
    ("a{2,1}", "x", "error"),
    ("(\\d{1,3}\\.){3}\\d{1,3}", "ip 10.0.0.1 ok", "at 3: 10.0.0.1|0."),
    (
        "^(\\S+) (\\S+) (\\S+) \\[([^\\]]+)\\] \"(.+?)\" (\\d{3})",
        "1.2.3.4 - - [10/Oct/2000:13:55:36] \"GET / HTTP/1.0\" 200 2326",
        "at 0: 1.2.3.4 - - [10/Oct/2000:13:55:36] \"GET / HTTP/1.0\" 200|1.2.3.4|-|-|10/Oct/2000:13:55:36|GET / HTTP/1.0|200",
    ),
    ("(\\d):(\\d):(\\d)", "1:2:3.4foobar5", "at 0: 1:2:3|1|2|3"),
    (
        "^(?:\\n)?(\\d\\d\\d\\d-\\d\\d-\\d\\d\\s\\d\\d:\\d\\d)",
        "2012-10-17 14:34:44,338",
        "at 0: 2012-10-17 14:34|2012-10-17 14:34",
    ),
    ("(?i)error|warn", "an Error", "at 3: Error"),
    ("password=[^&\\s]*", "u=1&password=x%20y&z", "at 4: password=x%20y"),
];

/// The first match in the table's words.
fn found(pattern: &str, text: &str) -> String {
    let Ok(regex) = JavaRegex::new(pattern) else { return "error".into() };
    let Some(captures) = regex.captures(text).expect("few steps") else { return "no".into() };
    let groups: Vec<_> = (0..captures.len())
        .map(|group| captures.get(group).map_or("(none)", |group| group.as_str()))
        .collect();
    let start = captures.get(0).expect("the match").start();
    format!("at {start}: {}", groups.join("|"))
}

#[test]
fn expressions_mean_what_they_mean_in_java() {
    let wrong: Vec<_> = KNOWN
        .iter()
        .map(|(pattern, text, expected)| (pattern, text, expected, found(pattern, text)))
        .filter(|(_, _, expected, found)| *expected != found)
        .collect();
    assert!(wrong.is_empty(), "expression, text, Java, here: {wrong:#?}");
}

/// Expression, text, Java's answer, and the one here.
const DIFFERENT: &[(&str, &str, &str, &str)] = &[
    ("(?i)\u{dc}", "\u{fc}", "no", "at 0: \u{fc}"),
    ("(?m)^b", "a\rb", "at 2: b", "no"),
    ("(?m)^b", "a\u{85}b", "at 3: b", "no"),
    // As in Java 17; from Java 19 on there is a boundary.
    ("\\bb", "\u{e9}b", "no", "no"),
    ("\\p{InGreek}", "\u{3b1}", "at 0: \u{3b1}", "error"),
    ("\\X", "a", "at 0: a", "error"),
    ("\\N{LATIN SMALL LETTER A}", "a", "at 0: a", "error"),
    ("(?<=a{1,2})b", "aab", "at 2: b", "error"),
    ("\\2(a)(b)|c", "c", "at 0: c|(none)|(none)", "error"),
];

#[test]
fn what_is_left_of_a_difference_is_as_the_migration_page_says() {
    let wrong: Vec<_> = DIFFERENT
        .iter()
        .map(|(pattern, text, _, expected)| (pattern, text, expected, found(pattern, text)))
        .filter(|(_, _, expected, found)| *expected != found)
        .collect();
    assert!(wrong.is_empty(), "expression, text, expected, found: {wrong:#?}");
}

#[test]
fn large_repetitions_are_counted_out_up_to_a_bound() {
    let letters = JavaRegex::new("^\\p{L}{1,1000}").expect("it is not too large");
    assert_eq!(letters.is_match(&"é".repeat(1000)), Ok(true));
    let error = compiled("\\p{L}{1,100}", "\\p{L}{1,100}", 1 << 16).expect_err("nobody has room for it");
    assert!(error.contains("p{L}{1,100}` takes more than 65536 bytes"), "{error}");
}
