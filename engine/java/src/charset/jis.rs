//! Shift_JIS and EUC-JP as Java has them.
//!
//! Under these names the Internet means Windows' table, in which seven signs of JIS X 0208 are other characters than in
//! JIS' own, which is Java's. Under `windows-31j` and `MS932` Java has Windows' table as well.

use std::borrow::Cow;

use encoding_rs::{EUC_JP, Encoding, SHIFT_JIS};

/// Windows' character and Java's.
const DIFFERENT: [(char, char); 7] = [
    ('\u{2015}', '\u{2014}'),
    ('\u{ff5e}', '\u{301c}'),
    ('\u{2225}', '\u{2016}'),
    ('\u{ff0d}', '\u{2212}'),
    ('\u{ffe0}', '\u{a2}'),
    ('\u{ffe1}', '\u{a3}'),
    ('\u{ffe2}', '\u{ac}'),
];

/// A character that no set has.
const NOWHERE: char = '\u{ffff}';

/// The set that Java has under a name, which is in lower case.
pub(super) fn named(name: &str) -> Option<&'static Encoding> {
    match name {
        "shift_jis" | "shift-jis" | "sjis" | "x-sjis" | "ms_kanji" | "csshiftjis" => Some(SHIFT_JIS),
        "euc-jp"
        | "euc_jp"
        | "eucjp"
        | "eucjis"
        | "x-euc-jp"
        | "x-eucjp"
        | "cseucpkdfmtjapanese"
        | "extended_unix_code_packed_format_for_japanese" => Some(EUC_JP),
        _ => None,
    }
}

/// Java's character for a sign of one or two bytes that is `c` in Windows' table.
pub(super) fn from_windows(c: char) -> char {
    DIFFERENT.iter().find(|(windows, _)| *windows == c).map_or(c, |(_, java)| *java)
}

/// Java's text for one that was decoded by Windows' table.
pub(super) fn text_from_windows(text: Cow<'_, str>) -> Cow<'_, str> {
    match text.contains(|c| from_windows(c) != c) {
        true => text.chars().map(from_windows).collect(),
        false => text,
    }
}

/// A text that Windows' table encodes as Java's would encode `text`.
pub(super) fn text_to_windows(text: &str) -> Cow<'_, str> {
    let to_windows = |c: char| {
        let found = DIFFERENT.iter().find(|(windows, java)| *windows == c || *java == c);
        found.map_or(c, |(windows, java)| if *java == c { *windows } else { NOWHERE })
    };
    match text.contains(|c| to_windows(c) != c) {
        true => text.chars().map(to_windows).collect(),
        false => text.into(),
    }
}
