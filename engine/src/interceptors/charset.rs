//! Bodies as text in a character set, and back. What cannot be decoded becomes U+FFFD, what cannot be encoded `?`, as in
//! Java.

use std::borrow::Cow;

use encoding_rs::{EncoderResult, Encoding};

/// A character set by its Java or Internet name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Charset {
    Utf8,
    /// Each byte is the character of its number. (The Internet's "latin1" has other characters at 0x80 to 0x9f.)
    Latin1,
    Ascii,
    /// `mark`: written with a byte order mark, and read by the one that is there.
    Utf16 {
        little: bool,
        mark: bool,
    },
    /// Any other.
    Other(&'static Encoding),
}

impl Charset {
    /// The set called `name`, in any case.
    pub fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "utf-8" | "utf8" => Self::Utf8,
            "iso-8859-1" | "iso8859_1" | "latin1" => Self::Latin1,
            "us-ascii" | "ascii" => Self::Ascii,
            "utf-16" | "utf16" => Self::Utf16 { little: false, mark: true },
            "utf-16be" => Self::Utf16 { little: false, mark: false },
            "utf-16le" => Self::Utf16 { little: true, mark: false },
            other => Self::Other(Encoding::for_label(other.as_bytes())?),
        })
    }

    /// The text of `bytes`.
    pub fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes),
            Self::Latin1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
            Self::Ascii => bytes
                .iter()
                .map(|byte| if byte.is_ascii() { char::from(*byte) } else { char::REPLACEMENT_CHARACTER })
                .collect(),
            Self::Utf16 { little, mark } => decode_utf16(bytes, little, mark).into(),
            Self::Other(encoding) => encoding.decode_without_bom_handling(bytes).0,
        }
    }

    /// The bytes of `text`.
    pub fn encode(self, text: &str) -> Cow<'_, [u8]> {
        let narrow = |most: u32| -> Cow<'_, [u8]> {
            text.chars().map(|c| if u32::from(c) <= most { c as u8 } else { b'?' }).collect()
        };
        match self {
            Self::Utf8 => text.as_bytes().into(),
            Self::Latin1 => narrow(0xff),
            Self::Ascii => narrow(0x7f),
            Self::Utf16 { little, mark } => {
                let mark = mark.then_some(0xfeff).filter(|_| !text.is_empty());
                let units = mark.into_iter().chain(text.encode_utf16());
                units.flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
            }
            Self::Other(encoding) => encode_other(encoding, text).into(),
        }
    }
}

fn decode_utf16(mut bytes: &[u8], mut little: bool, mark: bool) -> String {
    if mark
        && let [first @ (0xfe | 0xff), second, rest @ ..] = bytes
        && *first ^ *second == 0x01
    {
        little = *first == 0xff;
        bytes = rest;
    }
    let pairs = bytes.chunks_exact(2);
    let cut = !pairs.remainder().is_empty();
    let units = pairs.map(|pair| {
        let pair = [pair[0], pair[1]];
        if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) }
    });
    let mut text: String =
        char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    if cut {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    text
}

fn encode_other(encoding: &'static Encoding, mut text: &str) -> Vec<u8> {
    let mut encoder = encoding.new_encoder();
    let mut bytes = Vec::new();
    loop {
        let room = encoder.max_buffer_length_from_utf8_without_replacement(text.len()).unwrap_or(text.len());
        bytes.reserve(room.max(16));
        let (result, read) = encoder.encode_from_utf8_to_vec_without_replacement(text, &mut bytes, true);
        text = &text[read..];
        match result {
            EncoderResult::InputEmpty => return bytes,
            EncoderResult::OutputFull => {}
            EncoderResult::Unmappable(_) => bytes.push(b'?'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_back_from_every_set() {
        for (name, text, bytes) in [
            ("UTF-8", "é中", &b"\xc3\xa9\xe4\xb8\xad"[..]),
            ("ISO-8859-1", "é\u{80}", b"\xe9\x80"),
            ("US-ASCII", "a", b"a"),
            ("GBK", "中a", b"\xd6\xd0a"),
            ("Shift_JIS", "ア", b"\x83\x41"),
            ("UTF-16", "é", b"\xfe\xff\0\xe9"),
            ("UTF-16LE", "é", b"\xe9\0"),
            ("UTF-16BE", "😀", b"\xd8\x3d\xde\0"),
            ("windows-1252", "€", b"\x80"),
        ] {
            let charset = Charset::named(name).expect(name);
            assert_eq!((&*charset.encode(text), &*charset.decode(bytes)), (bytes, text), "{name}");
        }
        assert_eq!(Charset::named("UTF-16").expect("a set").decode(b"\xff\xfea\0"), "a");
        assert_eq!(Charset::named("klingon"), None);
    }

    #[test]
    fn what_a_set_lacks_is_replaced() {
        for (name, bytes) in [("ISO-8859-1", &b"a?b"[..]), ("US-ASCII", b"a?b"), ("windows-1252", b"a?b")] {
            assert_eq!(&*Charset::named(name).expect(name).encode("a中b"), bytes, "{name}");
        }
        for (name, bytes) in
            [("UTF-8", &b"a\xff"[..]), ("US-ASCII", b"a\xff"), ("GBK", b"a\xff"), ("UTF-16BE", b"\0a\0")]
        {
            assert_eq!(Charset::named(name).expect(name).decode(bytes), "a\u{fffd}", "{name}");
        }
    }
}
