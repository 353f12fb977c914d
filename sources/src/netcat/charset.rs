//! Bytes of any character set to text, piece by piece. What is malformed becomes U+FFFD, as in Java.

use encoding_rs::{CoderResult, Encoding, UTF_16BE};

/// A character set by its Java or Internet name.
#[derive(Clone, Copy, Debug)]
pub(super) enum Charset {
    /// Each byte is the character of its number. (The Internet's "latin1" has other characters at 0x80 to 0x9f.)
    Latin1,
    /// Big-endian unless a byte order mark says otherwise.
    Utf16,
    /// Any other.
    Other(&'static Encoding),
}

impl Charset {
    /// The set called `name`, in any case.
    pub fn named(name: &str) -> Option<Self> {
        let is = |names: &[&str]| names.iter().any(|one| one.eq_ignore_ascii_case(name));
        if is(&["iso-8859-1", "iso8859_1", "latin1", "us-ascii", "ascii"]) {
            return Some(Self::Latin1);
        }
        if is(&["utf-16", "utf16"]) {
            return Some(Self::Utf16);
        }
        Encoding::for_label(name.as_bytes()).map(Self::Other)
    }

    /// A decoder for one stream.
    pub fn decoder(self) -> Decoder {
        Decoder(match self {
            Self::Latin1 => None,
            Self::Utf16 => Some(UTF_16BE.new_decoder()),
            Self::Other(encoding) => Some(encoding.new_decoder_without_bom_handling()),
        })
    }
}

/// Decodes one stream.
pub(super) struct Decoder(Option<encoding_rs::Decoder>);

impl Decoder {
    /// Appends the text of `bytes` to `text`; a character that is not complete is kept until the next call.
    pub fn decode(&mut self, mut bytes: &[u8], text: &mut String) {
        let Some(decoder) = &mut self.0 else {
            text.extend(bytes.iter().map(|byte| char::from(*byte)));
            return;
        };
        loop {
            text.reserve(decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(4096));
            let (result, read, _) = decoder.decode_to_string(bytes, text, false);
            bytes = &bytes[read..];
            if result == CoderResult::InputEmpty {
                return;
            }
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
        assert_eq!(text("UTF-16", &[b"\0a\0", b"\n"]), "a\n");
        assert_eq!(text("UTF-16", &[b"\xff\xfea\0"]), "a");
        assert_eq!(text("iso-8859-1", &[b"\xe9\x80"]), "é\u{80}");
        assert_eq!(text("utf-8", &[b"a\xffb"]), "a\u{fffd}b");
        assert!(Charset::named("klingon").is_none());
    }
}
