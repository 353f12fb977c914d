//! A stream of bytes to lines, as Java's `BufferedReader.readLine` ends them: with `\n`, `\r` or `\r\n`.

use flumen_java::Charset;

/// The longest line. The rest of a longer one becomes the next: no command may take all memory.
pub(super) const LINE_BYTES_MAX: usize = 16 << 20;

/// Cuts a stream into lines.
#[derive(Debug)]
pub(super) struct Lines {
    /// Of the bodies.
    output: Charset,
    /// Of the stream, once its byte order mark has been looked for.
    charset: Charset,
    /// A byte order mark has been looked for.
    begun: bool,
    /// The line that is not whole yet.
    line: Vec<u8>,
    /// The last line ended with `\r`: a `\n` at once belongs to it.
    after_return: bool,
    max: usize,
}

impl Lines {
    pub fn new(charset: Charset) -> Self {
        Self {
            output: charset,
            charset,
            begun: false,
            line: Vec::new(),
            after_return: false,
            max: LINE_BYTES_MAX,
        }
    }

    /// Takes more bytes and hands out the bodies of the lines that are whole by now.
    pub fn feed(&mut self, bytes: &[u8], mut body: impl FnMut(&[u8])) {
        match self.width() {
            1 => self.feed_narrow(bytes, &mut body),
            _ => self.feed_wide(bytes, &mut body),
        }
    }

    /// The last line, which no line end follows.
    pub fn finish(&mut self, mut body: impl FnMut(&[u8])) {
        if !self.line.is_empty() {
            self.end(&mut body);
        }
    }

    /// Bytes of a line end's character. What has escape sequences is back at ASCII at the end of each line.
    fn width(&self) -> usize {
        if matches!(self.charset, Charset::Utf16 { .. }) { 2 } else { 1 }
    }

    fn feed_narrow(&mut self, mut bytes: &[u8], body: &mut impl FnMut(&[u8])) {
        while let Some(end) = memchr::memchr2(b'\n', b'\r', bytes) {
            let joins = bytes[end] == b'\n' && end == 0 && self.after_return && self.line.is_empty();
            self.take(&bytes[..end], body);
            self.after_return = bytes[end] == b'\r';
            if !joins {
                self.end(body);
            }
            bytes = &bytes[end + 1..];
        }
        self.take(bytes, body);
    }

    /// Two bytes are a unit, which may come apart.
    fn feed_wide(&mut self, bytes: &[u8], body: &mut impl FnMut(&[u8])) {
        for byte in bytes {
            self.line.push(*byte);
            if !self.line.len().is_multiple_of(2) {
                continue;
            }
            if !self.begun {
                self.begun = true;
                let (settled, mark) = self.charset.settled(&self.line);
                self.charset = settled;
                if mark > 0 {
                    self.line.clear();
                    continue;
                }
            }
            let little = matches!(self.charset, Charset::Utf16 { little: true, .. });
            let unit = match &self.line[self.line.len() - 2..] {
                [low, high] if little => u16::from_le_bytes([*low, *high]),
                [high, low] => u16::from_be_bytes([*high, *low]),
                _ => continue,
            };
            let joins = unit == 0x0a && self.after_return && self.line.len() == 2;
            match unit {
                0x0a | 0x0d => {
                    self.line.truncate(self.line.len() - 2);
                    self.after_return = unit == 0x0d;
                    if !joins {
                        self.end(body);
                    }
                }
                _ if self.line.len() >= self.max => self.end(body),
                _ => self.after_return = false,
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8], body: &mut impl FnMut(&[u8])) {
        while self.line.len() + bytes.len() > self.max {
            let (now, rest) = bytes.split_at(self.max - self.line.len());
            self.line.extend_from_slice(now);
            self.end(body);
            bytes = rest;
        }
        self.line.extend_from_slice(bytes);
        if !bytes.is_empty() {
            self.after_return = false;
        }
    }

    fn end(&mut self, body: &mut impl FnMut(&[u8])) {
        match self.charset {
            Charset::Utf8 if std::str::from_utf8(&self.line).is_ok() => body(&self.line),
            charset => body(&self.output.encode(&charset.decode(&self.line))),
        }
        self.line.clear();
        // A line that was very long does not hold its memory for ever.
        self.line.shrink_to(64 << 10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(charset: &str, pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut lines = Lines::new(Charset::named(charset).unwrap());
        let mut found = Vec::new();
        for piece in pieces {
            lines.feed(piece, |body| found.push(body.to_vec()));
        }
        lines.finish(|body| found.push(body.to_vec()));
        found
    }

    #[test]
    fn lines_end_as_javas_do_wherever_the_stream_is_cut() {
        let text = b"one\ntwo\r\nthree\rfour\n\n\r\n\rfive\n\r";
        let expected: Vec<&[u8]> = vec![b"one", b"two", b"three", b"four", b"", b"", b"", b"five", b""];
        assert_eq!(lines("UTF-8", &[text]), expected);
        for cut in 0..text.len() {
            assert_eq!(lines("UTF-8", &[&text[..cut], &text[cut..]]), expected, "cut at {cut}");
        }
        let single: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(lines("UTF-8", &single), expected);
        assert_eq!(lines("UTF-8", &[b"no end"]), [b"no end"]);
        assert!(lines("UTF-8", &[b""]).is_empty());
    }

    #[test]
    fn two_bytes_a_character_are_read_as_such() {
        for (charset, little) in [("UTF-16LE", true), ("UTF-16BE", false)] {
            let bytes = |text: &str| -> Vec<u8> {
                text.encode_utf16()
                    .flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() })
                    .collect()
            };
            let text = bytes("oné\r\n😀\u{a0a}\r\nx");
            for cut in 0..text.len() {
                let found = lines(charset, &[&text[..cut], &text[cut..]]);
                assert_eq!(found, [bytes("oné"), bytes("😀\u{a0a}"), bytes("x")], "{charset}, cut at {cut}");
            }
        }
        // Java writes a mark of its own with each text.
        assert_eq!(lines("UTF-16", &[b"\xff\xfea\0\n\0b\0"]), [b"\xfe\xff\0a", b"\xfe\xff\0b"]);
    }

    #[test]
    fn what_is_no_text_is_replaced_and_other_sets_pass() {
        assert_eq!(lines("UTF-8", &[b"a\xffb\n"]), ["a\u{fffd}b".as_bytes()]);
        assert_eq!(lines("GBK", &[b"\xd6", b"\xd0\n"]), [b"\xd6\xd0"]);
        assert_eq!(lines("US-ASCII", &[b"a\xff\n"]), [b"a?"]);
    }

    #[test]
    fn a_line_without_end_is_cut_before_it_takes_all_memory() {
        let mut lines = Lines { max: 4, ..Lines::new(Charset::Utf8) };
        let mut found = Vec::new();
        for piece in [&b"abcdefghi"[..], b"jk\nlm\n"] {
            lines.feed(piece, |body| found.push(String::from_utf8(body.to_vec()).unwrap()));
        }
        assert_eq!(found, ["abcd", "efgh", "ijk", "lm"]);
    }
}
