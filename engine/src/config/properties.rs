//! Java's `.properties` grammar, as `java.util.Properties.load` reads it.
//!
//! ```text
//! natural line   ends at \n, \r or \r\n
//! comment        first non-blank character is # or !          (never continued)
//! logical line   natural lines joined where one ends in an odd number of backslashes;
//!                leading blanks of every natural line are dropped
//! key            up to the first unescaped = : or blank
//! separator      blanks, at most one = or :, blanks
//! value          the rest of the logical line
//! escapes        \t \n \r \f \uXXXX (UTF-16 units, pairs are joined); \x is x for any other x
//! blank          space, tab, form feed
//! ```
//!
//! Flume trims keys and values afterwards, and so does this reader. An escape `\u` without four hexadecimal digits makes
//! Java refuse the whole file; here it is reported with its line and the others are read on, so that a check shows all.
//!
//! Encoding: bytes that are valid UTF-8 are read as UTF-8, others as ISO-8859-1. Flume 1.11 reads ISO-8859-1 always
//! (UTF-8 text arrives garbled), Flume 1.9 the machine's default, which is UTF-8 in practice. Files of both read right.

use std::borrow::Cow;

/// One property of a file, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key, unescaped and trimmed.
    pub key: String,
    /// The value, unescaped and trimmed, before substitution.
    pub value: String,
    /// The natural line on which the key stands, from 1.
    pub line: u32,
    /// Whether `=` or `:` stood between key and value, not just blanks or nothing.
    pub signed: bool,
    /// Whether a tab stood before the key.
    pub tab_before: bool,
    /// Whether blanks stood after the value.
    pub blank_after: bool,
}

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The natural line, from 1.
    pub line: u32,
    /// The key, as far as it can be read.
    pub key: String,
    /// What is wrong with the line.
    pub message: String,
}

/// What a file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Its properties, duplicates included.
    pub entries: Vec<Entry>,
    /// Lines that Java would have refused the file for; they are not among the entries.
    pub malformed: Vec<Malformed>,
}

/// Reads a file's bytes.
pub fn parse(bytes: &[u8]) -> Parsed {
    let text = decode(bytes);
    let mut parsed = Parsed::default();
    let mut lines = natural_lines(&text).zip(1u32..);
    while let Some((first, line)) = lines.next() {
        let (whole, first) = (first, first.trim_start_matches(is_blank));
        let tab_before = whole[..whole.len() - first.len()].contains('\t');
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = Cow::Borrowed(first);
        let mut open = continued(first);
        while open {
            let joined = logical.to_mut();
            joined.pop();
            // What is before it ends in an even number of backslashes: its own decide.
            let next = lines.next().map_or("", |(next, _)| next.trim_start_matches(is_blank));
            joined.push_str(next);
            open = continued(next);
        }
        match entry(&logical, line) {
            Ok(entry) => parsed.entries.push(Entry { tab_before, ..entry }),
            Err(malformed) => parsed.malformed.push(malformed),
        }
    }
    parsed
}

/// Writes one property so that [`parse`] (and Java) reads it back.
pub fn write(out: &mut String, key: &str, value: &str) {
    escape(out, key, true);
    out.push('=');
    escape(out, value, false);
    out.push('\n');
}

fn decode(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        // Editors on Windows write a byte order mark; as part of the first key it would hide that key from everybody.
        Ok(text) => Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text)),
        Err(_not_utf8) => Cow::Owned(bytes.iter().map(|&byte| char::from(byte)).collect()),
    }
}

fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let now = rest?;
        let Some(end) = now.find(['\n', '\r']) else {
            rest = None;
            return Some(now);
        };
        let skip = if now[end..].starts_with("\r\n") { 2 } else { 1 };
        rest = Some(&now[end + skip..]);
        Some(&now[..end])
    })
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Whether the line goes on: it ends in a backslash that is not itself escaped.
fn continued(line: &str) -> bool {
    line.bytes().rev().take_while(|&b| b == b'\\').count() % 2 == 1
}

fn entry(logical: &str, line: u32) -> Result<Entry, Malformed> {
    let mut escaped = false;
    let key_end = logical
        .char_indices()
        .find(|&(_, c)| {
            let ends = !escaped && (is_blank(c) || c == '=' || c == ':');
            escaped = !escaped && c == '\\';
            ends
        })
        .map_or(logical.len(), |(at, _)| at);
    let (key, rest) = logical.split_at(key_end);
    let value = rest.trim_start_matches(is_blank);
    let after_sign = value.strip_prefix(['=', ':']);
    let value = after_sign.map_or(value, |value| value.trim_start_matches(is_blank));
    let malformed = |message| Malformed { line, key: trim(key).to_string(), message };
    let value = unescape(value).map_err(malformed)?;
    let key = unescape(key).map_err(malformed)?;
    Ok(Entry {
        key: trim(&key).to_string(),
        value: trim(&value).to_string(),
        line,
        signed: after_sign.is_some(),
        tab_before: false,
        blank_after: value.ends_with(|c| c <= ' '),
    })
}

/// As Java's `String.trim`: everything up to and including the space goes.
fn trim(text: &str) -> &str {
    text.trim_matches(|c| c <= ' ')
}

fn unescape(text: &str) -> Result<Cow<'_, str>, String> {
    if !text.contains('\\') {
        return Ok(Cow::Borrowed(text));
    }
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            None => {}
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let unit = utf16_unit(&mut chars)?;
                out.push(match unit {
                    0xd800..=0xdbff => low_surrogate(unit, &mut chars)?,
                    _ => char::from_u32(unit).ok_or_else(|| {
                        format!("\\u{unit:04x} is the second half of a pair without a first")
                    })?,
                });
            }
            Some(other) => out.push(other),
        }
    }
    Ok(Cow::Owned(out))
}

fn utf16_unit(chars: &mut std::str::Chars<'_>) -> Result<u32, String> {
    let digits: String = chars.clone().take(4).collect();
    let unit = match digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => u32::from_str_radix(&digits, 16).ok(),
        false => None,
    };
    let Some(unit) = unit else {
        return Err(format!(
            "malformed escape `\\u{digits}`: four hexadecimal digits must follow \\u (write \\\\u for a backslash and a u)"
        ));
    };
    chars.nth(3);
    Ok(unit)
}

fn low_surrogate(high: u32, chars: &mut std::str::Chars<'_>) -> Result<char, String> {
    let alone = || format!("\\u{high:04x} is the first half of a pair without a second");
    if chars.next() != Some('\\') || chars.next() != Some('u') {
        return Err(alone());
    }
    let low = utf16_unit(chars)?;
    if !(0xdc00..=0xdfff).contains(&low) {
        return Err(alone());
    }
    char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)).ok_or_else(alone)
}

fn escape(out: &mut String, text: &str, is_key: bool) {
    for (at, c) in text.char_indices() {
        match c {
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\u{c}' => out.push_str("\\f"),
            '\\' | '=' | ':' | '#' | '!' => out.extend(['\\', c]),
            ' ' if is_key || at == 0 => out.push_str("\\ "),
            ' '..='~' => out.push(c),
            _ => {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    out.push_str(&format!("\\u{unit:04X}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
