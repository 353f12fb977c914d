//! An event as Flume's logger prints it.
//!
//! ```text
//! { headers:{k2=v2, k=v} body: 68 65 6C 6C 6F                                  hello }
//!                              |<- 16 columns of two digits and a blank ----->||text
//! ```
//!
//! Headers come in the order of Java's map. A body longer than 16 bytes goes on in further lines, each with its
//! eight-digit offset in front; the first line's is left out. Bytes outside 0x20..=0x7E are `.` in the text. An empty body is nothing: `{ headers:{} body: }`.

use std::fmt::{self, Write};

use flumen_api::event::EventRef;

/// Bytes in a line.
const COLUMNS: usize = 16;

/// Prints an event, with at most `max_bytes` of its body.
pub struct Dump<'a>(pub EventRef<'a>, pub usize);

impl fmt::Display for Dump<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(event, max_bytes) = self;
        write!(f, "{{ headers:{} body:", event.headers.as_java())?;
        let body = &event.body[..event.body.len().min(*max_bytes)];
        for (i, line) in body.chunks(COLUMNS).enumerate() {
            if i > 0 {
                write!(f, "\n{:08X}", i * COLUMNS)?;
            }
            f.write_char(' ')?;
            for byte in line {
                write!(f, "{byte:02X} ")?;
            }
            for _ in line.len()..COLUMNS {
                f.write_str("   ")?;
            }
            for &byte in line {
                f.write_char(if (0x20..0x7F).contains(&byte) { byte as char } else { '.' })?;
            }
        }
        f.write_str(" }")
    }
}

#[cfg(test)]
mod tests {
    use flumen_api::event::Headers;

    use super::*;

    fn dump(headers: &[(&str, &str)], body: &[u8], max_bytes: usize) -> String {
        let headers: Headers = headers.iter().copied().collect();
        Dump(EventRef { headers: &headers, body }, max_bytes).to_string()
    }

    #[test]
    fn a_short_body_is_one_line_with_padded_columns() {
        assert_eq!(
            dump(&[("k", "v"), ("k2", "v2")], b"hello", 16),
            "{ headers:{k2=v2, k=v} body: 68 65 6C 6C 6F                                  hello }"
        );
    }

    #[test]
    fn an_empty_body_is_nothing() {
        assert_eq!(dump(&[("k", "v")], b"", 16), "{ headers:{k=v} body: }");
        assert_eq!(dump(&[], b"hello", 0), "{ headers:{} body: }");
    }

    #[test]
    fn a_body_is_cut_at_the_limit_and_unprintables_are_dots() {
        assert_eq!(
            dump(&[], b"\x00\x1f ~\x7f\xff0123456789abcdef", 16),
            "{ headers:{} body: 00 1F 20 7E 7F FF 30 31 32 33 34 35 36 37 38 39 .. ~..0123456789 }"
        );
    }

    #[test]
    fn further_lines_begin_with_their_offset() {
        assert_eq!(
            dump(&[], b"0123456789abcdefXY", 32),
            "{ headers:{} body: 30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66 0123456789abcdef\n\
             00000010 58 59                                           XY }"
        );
    }
}
