//! A stream's bytes to text, piece by piece: a character that is cut between two pieces is one.

use encoding_rs::{CoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

use super::{Charset, jis};

/// Decodes one stream. What is malformed becomes U+FFFD.
pub struct Decoder {
    charset: Charset,
    /// The stream's first byte, while a byte order mark may stand there.
    head: Option<Vec<u8>>,
    /// Of a set whose characters have several bytes.
    inner: Option<encoding_rs::Decoder>,
}

impl Charset {
    /// A decoder for one stream.
    pub fn decoder(self) -> Decoder {
        let head = matches!(self, Self::Utf16 { mark: true, .. }).then(Vec::new);
        let mut decoder = Decoder { charset: self, head, inner: None };
        decoder.settle(self);
        decoder
    }
}

impl Decoder {
    fn settle(&mut self, charset: Charset) {
        let encoding: Option<&'static Encoding> = match charset {
            Charset::Latin1 | Charset::Ascii => None,
            Charset::Utf8 => Some(UTF_8),
            Charset::Utf16 { little: true, .. } => Some(UTF_16LE),
            Charset::Utf16 { little: false, .. } => Some(UTF_16BE),
            Charset::Jis(encoding) | Charset::Other(encoding) => Some(encoding),
        };
        self.charset = charset;
        self.inner = encoding.map(Encoding::new_decoder_without_bom_handling);
    }

    /// Appends the text of `bytes` to `text`; a character that is not complete is kept until the next call.
    pub fn decode(&mut self, bytes: &[u8], text: &mut String) {
        let Some(mut head) = self.head.take() else { return self.go_on(bytes, text) };
        head.extend_from_slice(bytes);
        if head.len() < 2 {
            self.head = Some(head);
            return;
        }
        let (charset, mark) = self.charset.settled(&head);
        self.settle(charset);
        self.go_on(&head[mark..], text);
    }

    fn go_on(&mut self, mut bytes: &[u8], text: &mut String) {
        let Some(decoder) = &mut self.inner else {
            text.push_str(&self.charset.decode(bytes));
            return;
        };
        let before = text.len();
        loop {
            text.reserve(decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(4096));
            let (result, read, _) = decoder.decode_to_string(bytes, text, false);
            bytes = &bytes[read..];
            if result == CoderResult::InputEmpty {
                break;
            }
        }
        if matches!(self.charset, Charset::Jis(_)) {
            let decoded = text.split_off(before);
            text.push_str(&jis::text_from_windows(decoded.into()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(name: &str, pieces: &[&[u8]]) -> String {
        let mut decoder = Charset::named(name).unwrap().decoder();
        let mut text = String::new();
        pieces.iter().for_each(|piece| decoder.decode(piece, &mut text));
        text
    }

    #[test]
    fn characters_survive_being_cut_in_pieces() {
        assert_eq!(text("utf-8", &[b"\xe4\xb8", b"\xad\n"]), "中\n");
        assert_eq!(text("GBK", &[b"\xd6", b"\xd0"]), "中");
        assert_eq!(text("Shift_JIS", &[b"\x81", b"\x60\x83\x41"]), "\u{301c}\u{30a2}");
        assert_eq!(text("UTF-16", &[b"\0a\0", b"\n"]), "a\n");
        assert_eq!(text("UTF-16", &[b"\xff", b"\xfea", b"\0"]), "a");
        assert_eq!(text("UTF-16LE", &[b"a\0\n"]), "a");
        assert_eq!(text("iso-8859-1", &[b"\xe9\x80"]), "é\u{80}");
        assert_eq!(text("us-ascii", &[b"a\xe9"]), "a\u{fffd}");
        assert_eq!(text("utf-8", &[b"a\xffb"]), "a\u{fffd}b");
        assert_eq!(text("utf-8", &[b"\xef\xbb\xbfa"]), "\u{feff}a", "in Java a mark is a character");
    }
}
