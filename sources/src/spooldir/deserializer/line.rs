//! `LINE`: lines end at `\n` alone; a `\r` before it stays. A last line without end is one too.
//!
//! ```text
//!   maxLineLength = 4     abcdefg\nabcd\n     ->   abcd  efg  abcd  (empty)
//! ```
//!
//! Characters are counted as Java counts them, one beyond U+FFFF as two; such a pair is never cut apart. Lines of UTF-8
//! that stay UTF-8 are slices of what was read, nothing copied; all others go character by character.

use std::ops::Range;

use bytes::Bytes;
use flumen_api::Batch;
use flumen_java::Charset;

use super::{CHUNK_BYTES, Deserializer, Events, Frame, Input, OnMalformed, Trouble};

/// No line is longer than this many characters, whatever the key says: it has to fit into memory.
const CHARACTERS_MAX: u64 = 64 << 20;

pub(super) struct Lines {
    input: Input,
    charset: Charset,
    output: Charset,
    on_malformed: OnMalformed,
    max: u64,
    /// How long the byte order mark is.
    mark: u64,
    /// Where the next line begins.
    at: u64,
    chunk: Bytes,
    chunk_at: u64,
    /// So many first bytes of the chunk are UTF-8.
    valid: usize,
    /// A line that is no slice of the chunk.
    text: String,
    said_cut: bool,
}

enum Found {
    /// Bytes of the chunk.
    Slice(Range<usize>),
    /// `text`.
    Text,
    /// The chunk ends within it.
    More,
    /// There is none.
    End,
}

impl Lines {
    pub fn open(
        input: Input,
        charset: Charset,
        output: Charset,
        on_malformed: OnMalformed,
        max: u64,
    ) -> Result<Self, Trouble> {
        let (charset, mark) = charset.settled(&input.read(0, 4)?);
        Ok(Self {
            input,
            charset,
            output,
            on_malformed,
            max: max.min(CHARACTERS_MAX),
            mark: mark as u64,
            at: mark as u64,
            chunk: Bytes::new(),
            chunk_at: 0,
            valid: 0,
            text: String::new(),
            said_cut: false,
        })
    }

    fn load(&mut self, most: u64) -> Result<(), Trouble> {
        self.chunk = self.input.read(self.at, most)?;
        self.chunk_at = self.at;
        self.valid = match std::str::from_utf8(&self.chunk) {
            Ok(_) => self.chunk.len(),
            Err(error) => error.valid_up_to(),
        };
        Ok(())
    }

    /// The next line, after which `at` stands behind it.
    fn next(&mut self) -> Result<Found, Trouble> {
        let inside = self.at.checked_sub(self.chunk_at).filter(|start| *start <= self.chunk.len() as u64);
        let Some(start) = inside.map(|start| start as usize) else { return Ok(Found::More) };
        let last = self.chunk_at + self.chunk.len() as u64 >= self.input.len();
        let bytes = &self.chunk[start..];
        if bytes.is_empty() {
            return Ok(if last { Found::End } else { Found::More });
        }
        if self.charset == Charset::Utf8 && self.output == Charset::Utf8 {
            // A text has no more characters than bytes, so one with fewer bytes is not too long.
            let short = &bytes[..bytes.len().min(self.max as usize)];
            let (end, next) = match memchr::memchr(b'\n', short) {
                Some(newline) => (start + newline, start + newline + 1),
                None if short.len() < bytes.len() || bytes.len() as u64 == self.max => {
                    return self.slowly(start, last);
                }
                None if last => (self.chunk.len(), self.chunk.len()),
                None => return Ok(Found::More),
            };
            if end <= self.valid {
                self.at = self.chunk_at + next as u64;
                return Ok(Found::Slice(start..end));
            }
        }
        self.slowly(start, last)
    }

    fn slowly(&mut self, start: usize, last: bool) -> Result<Found, Trouble> {
        let mut room = [0; 16];
        let (mut at, mut characters) = (start, 0_u64);
        self.text.clear();
        loop {
            let rest = &self.chunk[at..];
            let Some((found, length)) = self.charset.first(rest, last, &mut room) else {
                if !last {
                    return Ok(Found::More);
                }
                if characters == 0 {
                    return Ok(Found::End);
                }
                break;
            };
            let text = match (found, self.on_malformed) {
                (Ok(text), _) => text,
                (Err(_), OnMalformed::Replace) => "\u{fffd}",
                (Err(_), OnMalformed::Ignore) => {
                    at += length;
                    continue;
                }
                (Err(_), OnMalformed::Fail) => {
                    return Err(Trouble::Bad(format!(
                        "its bytes from {} on are no text in inputCharset (decodeErrorPolicy is FAIL)",
                        self.chunk_at + at as u64
                    )));
                }
            };
            if text == "\n" {
                at += length;
                break;
            }
            let more = text.encode_utf16().count() as u64;
            if characters > 0 && characters + more > self.max {
                self.say_cut();
                break;
            }
            self.text.push_str(text);
            characters += more;
            at += length;
            if characters >= self.max {
                self.say_cut();
                break;
            }
        }
        self.at = self.chunk_at + at as u64;
        Ok(Found::Text)
    }

    fn say_cut(&mut self) {
        if !self.said_cut {
            self.said_cut = true;
            tracing::warn!(file = %self.input.path.display(), offset = self.at, most = self.max,
                "a line is longer than deserializer.maxLineLength: its rest becomes the next event");
        }
    }
}

impl Deserializer for Lines {
    fn seek(&mut self, position: u64) -> Result<(), Trouble> {
        self.at = position.max(self.mark);
        Ok(())
    }

    fn read(&mut self, limit: usize, frame: &Frame) -> Result<Batch, Trouble> {
        let mut most = CHUNK_BYTES as u64;
        loop {
            let mut events = Events::over(self.chunk.clone(), frame);
            let mut ended = Ok(Found::More);
            while events.len() < limit {
                ended = self.next();
                match &ended {
                    Ok(Found::Slice(range)) => events.slice(range.start, range.len(), self.at),
                    Ok(Found::Text) => events.push(&self.output.encode(&self.text), self.at),
                    _ => break,
                }
            }
            if events.len() > 0 {
                return Ok(events.batch);
            }
            match ended? {
                Found::End => return Ok(events.or_empty_file(frame, self.input.len())),
                // The line is longer than what was read of it.
                _ => {
                    self.load(most)?;
                    most = most.saturating_mul(2);
                }
            }
        }
    }

    fn of_tracker(&mut self, offset: u64) -> Result<u64, Trouble> {
        Ok(offset.min(self.input.len()))
    }

    fn to_tracker(&mut self, position: u64) -> Result<u64, Trouble> {
        Ok(position.min(self.input.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::testing::{assert_resumes, events, events_from};
    use super::*;

    fn lines(input: &str, output: &str, on_malformed: OnMalformed, max: u64) -> Format {
        let named = |name| Charset::named(name).unwrap();
        Format::Line { input: named(input), output: named(output), on_malformed, max }
    }

    fn plain(max: u64) -> Format {
        lines("UTF-8", "UTF-8", OnMalformed::Fail, max)
    }

    fn bodies(format: Format, bytes: &[u8]) -> Vec<String> {
        let text = |(_, body): (u64, Vec<u8>)| String::from_utf8(body).unwrap();
        events(format, bytes).into_iter().map(text).collect()
    }

    #[test]
    fn lines_end_at_newlines_alone_and_the_last_one_with_the_file() {
        assert_eq!(bodies(plain(2048), b"one\r\n\ntwo\rb\nno end"), ["one\r", "", "two\rb", "no end"]);
        assert_eq!(events(plain(2048), b"a\nb"), [(2, b"a".to_vec()), (3, b"b".to_vec())]);
        assert_resumes(plain(2048), b"one\r\n\ntwo\rb\nno end");
    }

    #[test]
    fn an_empty_file_is_one_empty_event() {
        assert_eq!(events(plain(2048), b""), [(1, Vec::new())]);
        assert_resumes(plain(2048), b"");
        let ignoring = lines("UTF-8", "UTF-8", OnMalformed::Ignore, 9);
        assert_eq!(events(ignoring, b"\xff\xff"), [(2, Vec::new())]);
        assert_resumes(ignoring, b"\xff\xff");
    }

    /// Flume's LineDeserializer, with its extra event for a line of just the longest length.
    #[test]
    fn a_longer_line_goes_on_in_the_next_event() {
        assert_eq!(bodies(plain(4), b"abcdefg\nabcd\nabc\n"), ["abcd", "efg", "abcd", "", "abc"]);
        assert_eq!(bodies(plain(4), b"abcd"), ["abcd"]);
        assert_eq!(bodies(plain(1), b"ab\n"), ["a", "b", ""]);
        assert_eq!(bodies(plain(4), "ääääää\nää\n".as_bytes()), ["ääää", "ää", "ää"]);
        for max in 1..6 {
            assert_resumes(plain(max), "abcdefg\nää😀ö\n\nabcd\nabc".as_bytes());
        }
    }

    #[test]
    fn a_character_that_java_counts_twice_is_not_cut_apart() {
        assert_eq!(bodies(plain(3), "a😀😀b".as_bytes()), ["a😀", "😀b"]);
        assert_eq!(bodies(plain(2), "a😀b".as_bytes()), ["a", "😀", "b"]);
        assert_eq!(bodies(plain(1), "a😀b".as_bytes()), ["a", "😀", "b"]);
    }

    #[test]
    fn lines_longer_than_a_read_are_whole() {
        let mut text = "x".repeat(3 * CHUNK_BYTES);
        text.push_str("\nshort\n");
        text.push_str(&"é".repeat(CHUNK_BYTES));
        let found = bodies(plain(u64::MAX), text.as_bytes());
        assert_eq!(found.iter().map(String::len).collect::<Vec<_>>(), [3 * CHUNK_BYTES, 5, 2 * CHUNK_BYTES]);
        assert_resumes(plain(u64::MAX), text.as_bytes());
        // A character lies across the end of a read.
        let text = format!("x{}\n", "é".repeat(CHUNK_BYTES));
        assert_eq!(bodies(plain(u64::MAX), text.as_bytes()), [&text[..text.len() - 1]]);
    }

    #[test]
    fn other_character_sets_are_read_and_written() {
        let of = |input, output| lines(input, output, OnMalformed::Fail, 2048);
        assert_eq!(bodies(of("GBK", "UTF-8"), b"\xd6\xd0\n\xb9\xfa"), ["中", "国"]);
        assert_eq!(events(of("UTF-8", "GBK"), "中\n".as_bytes()), [(4, b"\xd6\xd0".to_vec())]);
        assert_eq!(events(of("UTF-8", "ISO-8859-1"), "é中\n".as_bytes()), [(6, b"\xe9?".to_vec())]);
        let utf16 = b"\xff\xfea\0\n\0\x3d\xd8\0\xde\n\0";
        assert_eq!(bodies(of("UTF-16", "UTF-8"), utf16), ["a", "😀"]);
        // Who goes on in the middle still knows the order that the mark gave.
        assert_resumes(of("UTF-16", "UTF-8"), utf16);
        assert_eq!(bodies(of("UTF-16", "UTF-8"), b"\xfe\xff"), [""]);
        // A mark of UTF-8 is a character, as in Java.
        assert_eq!(bodies(plain(9), b"\xef\xbb\xbfa\n"), ["\u{feff}a"]);
    }

    #[test]
    fn bytes_that_are_no_text_fail_are_replaced_or_left_out() {
        let bytes = b"one\ntw\xffo\n\xe4\xb8\nend\xe4\xb8";
        let of = |policy| lines("UTF-8", "UTF-8", policy, 2048);
        let (before, why) = events_from(of(OnMalformed::Fail), bytes, 0, 100).unwrap_err();
        assert_eq!(before, [(4, b"one".to_vec())]);
        assert!(why.contains("from 6 on"), "{why}");
        let replaced = ["one", "tw\u{fffd}o", "\u{fffd}", "end\u{fffd}"];
        assert_eq!(bodies(of(OnMalformed::Replace), bytes), replaced);
        assert_eq!(bodies(of(OnMalformed::Ignore), bytes), ["one", "two", "", "end"]);
        assert_resumes(of(OnMalformed::Replace), bytes);
        assert_resumes(of(OnMalformed::Ignore), bytes);
        // The last character of a file is cut off: Flume leaves out its bytes without a word.
        let (before, why) = events_from(of(OnMalformed::Fail), b"end\xe4\xb8", 0, 100).unwrap_err();
        assert!(before.is_empty() && why.contains("from 3 on"), "{why}");
    }
}
