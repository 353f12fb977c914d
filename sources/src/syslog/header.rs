//! The head of a line as `syslogtcp` and `syslogudp` understand it: two shapes, tried in this order.
//!
//! ```text
//!   RFC 5424   <PRI> [digit] [blank] (yyyy-MM-ddTHH:mm:ss[.1-6 digits][±hh:mm | Z] | -) blank (host | -) blank text
//!   RFC 3164   <PRI> [digit] [blank] Mmm d HH:mm:ss                                    blank host       blank text
//! ```
//!
//! A host is letters, digits, `_`, then also `.`, `@`, `-`. A blank is any of Java's six. The text ends with the line: one
//! with a `\r` (or another of Java's line ends) in it does not match, as Flume's expressions do not.

use super::keep::Fields;

/// A line that has one of the shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    pub fields: Fields<'a>,
    pub stamp: Stamp<'a>,
    /// `None`: `-`.
    pub host: Option<&'a [u8]>,
    pub text: &'a [u8],
}

/// A time stamp as it stands in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stamp<'a> {
    /// `-`.
    None,
    /// Of RFC 5424.
    Iso(&'a [u8]),
    /// Of RFC 3164: without a year.
    Bsd(&'a [u8]),
}

/// The head of `line`, if it has one of the shapes.
pub(crate) fn head(line: &[u8]) -> Option<Head<'_>> {
    let (priority, rest) = priority(line)?;
    // A digit may be a version or the first of a year; a blank may be missing.
    let version = rest.first().filter(|byte| byte.is_ascii_digit()).map(|_| rest.split_at(1));
    let without = [(&rest[..0], rest)];
    let starts = version.into_iter().chain(without).flat_map(|(version, rest)| {
        let blank = rest.first().filter(|byte| is_blank(**byte)).map(|_| (version, &rest[1..]));
        blank.into_iter().chain([(version, rest)])
    });
    let mut bsd = None;
    for (version, rest) in starts {
        let fields = Fields { priority, version, timestamp: b"-", hostname: b"-" };
        if let Some(head) = iso(rest, fields) {
            return Some(head);
        }
        bsd = bsd.or_else(|| self::bsd(rest, fields));
    }
    bsd
}

fn iso<'a>(rest: &'a [u8], fields: Fields<'a>) -> Option<Head<'a>> {
    let (stamp, rest) = match iso_stamp(rest) {
        Some(length) => (Stamp::Iso(&rest[..length]), &rest[length..]),
        None => (Stamp::None, rest.strip_prefix(b"-")?),
    };
    let rest = blank(rest)?;
    let (host, rest) = match host(rest) {
        Some((host, rest)) => (Some(host), rest),
        None => (None, rest.strip_prefix(b"-")?),
    };
    finish(fields, stamp, host, rest)
}

fn bsd<'a>(rest: &'a [u8], fields: Fields<'a>) -> Option<Head<'a>> {
    let length = bsd_stamp(rest)?;
    let (stamp, rest) = rest.split_at(length);
    let (host, rest) = host(blank(rest)?)?;
    finish(fields, Stamp::Bsd(stamp), Some(host), rest)
}

fn finish<'a>(
    fields: Fields<'a>,
    stamp: Stamp<'a>,
    host: Option<&'a [u8]>,
    rest: &'a [u8],
) -> Option<Head<'a>> {
    let text = blank(rest)?;
    if has_line_end(text) {
        return None;
    }
    let timestamp = match stamp {
        Stamp::None => &b"-"[..],
        Stamp::Iso(stamp) | Stamp::Bsd(stamp) => stamp,
    };
    let fields = Fields { timestamp, hostname: host.unwrap_or(b"-"), ..fields };
    Some(Head { fields, stamp, host, text })
}

/// The digits in `<…>` at the beginning, and what follows.
fn priority(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = line.strip_prefix(b"<")?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at(digits);
    let rest = rest.strip_prefix(b">")?;
    (1..=3).contains(&digits.len()).then_some((digits, rest))
}

/// Java's `\s`.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

fn blank(text: &[u8]) -> Option<&[u8]> {
    text.split_first().filter(|(byte, _)| is_blank(**byte)).map(|(_, rest)| rest)
}

fn host(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if !is_word(*text.first()?) {
        return None;
    }
    let length = text.iter().take_while(|byte| is_word(**byte) || b".@-".contains(byte)).count();
    Some(text.split_at(length))
}

/// Whether the text begins as `shape` says: `d` is a digit, anything else itself.
pub(super) fn has_shape(text: &[u8], shape: &[u8]) -> bool {
    text.len() >= shape.len()
        && text.iter().zip(shape).all(|(byte, shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

/// Length of a time stamp of RFC 5424 at the beginning.
fn iso_stamp(text: &[u8]) -> Option<usize> {
    const SECONDS: &[u8] = b"dddd-dd-ddTdd:dd:dd";
    if !has_shape(text, SECONDS) {
        return None;
    }
    let mut length = SECONDS.len();
    if let Some(fraction) = text[length..].strip_prefix(b".") {
        let digits = fraction.iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 {
            length += 1 + digits;
        }
    }
    match &text[length..] {
        [b'Z', ..] => Some(length + 1),
        [b'+' | b'-', rest @ ..] if has_shape(rest, b"dd:dd") => Some(length + 6),
        _ => Some(length),
    }
}

/// Length of a time stamp of RFC 3164 at the beginning.
fn bsd_stamp(text: &[u8]) -> Option<usize> {
    let [a, b, c, rest @ ..] = text else { return None };
    if !(a.is_ascii_uppercase() && b.is_ascii_lowercase() && c.is_ascii_lowercase()) {
        return None;
    }
    let rest = blank(rest)?;
    let rest = blank(rest).unwrap_or(rest);
    let digits = rest.iter().take(2).take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return None;
    }
    let rest = blank(&rest[digits..])?;
    has_shape(rest, b"dd:dd:dd").then(|| text.len() - rest.len() + 8)
}

/// Whether one of the characters that end a line for Java's expressions is in the text.
fn has_line_end(text: &[u8]) -> bool {
    memchr::memchr2(b'\n', b'\r', text).is_some()
        || memchr::memmem::find(text, "\u{85}".as_bytes()).is_some()
        || memchr::memmem::find(text, "\u{2028}".as_bytes()).is_some()
        || memchr::memmem::find(text, "\u{2029}".as_bytes()).is_some()
}
