//! Bodies as text in a character set, and back. What cannot be decoded becomes U+FFFD, what cannot be encoded `?`, as in
//! Java.
//!
//! Who has to know where each character ends, or what is malformed, goes character by character with
//! [`Charset::first`].

mod jis;
mod stream;

use std::borrow::Cow;

use encoding_rs::{DecoderResult, EncoderResult, Encoding};

pub use stream::Decoder;

/// A character set by its Java or Internet name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Charset {
    /// UTF-8; a byte order mark is a character like any other, as in Java.
    Utf8,
    /// Each byte is the character of its number. (The Internet's "latin1" has other characters at 0x80 to 0x9f.)
    Latin1,
    /// Bytes below 0x80; the others are malformed.
    Ascii,
    /// Two bytes a unit.
    Utf16 {
        /// The low byte comes first.
        little: bool,
        /// Written with a byte order mark, and read by the one that is there.
        mark: bool,
    },
    /// Shift_JIS or EUC-JP with the characters that Java has, where the Internet has Windows'.
    Jis(&'static Encoding),
    /// Any other.
    Other(&'static Encoding),
}

/// A sequence of bytes that is no character of the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The longest sequence that is one character in any set.
const SEQUENCE_MAX: usize = 4;

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
            "windows-932" | "cswindows31j" => Self::Other(encoding_rs::SHIFT_JIS),
            other => match jis::named(other) {
                Some(encoding) => Self::Jis(encoding),
                None => Self::Other(Encoding::for_label(other.as_bytes())?),
            },
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
            Self::Jis(encoding) => jis::text_from_windows(encoding.decode_without_bom_handling(bytes).0),
            Self::Other(encoding) => encoding.decode_without_bom_handling(bytes).0,
        }
    }

    /// Whether the bytes below 0x80 are ASCII wherever they stand outside of a longer sequence, and never a line end's
    /// byte within one.
    pub fn is_ascii_compatible(self) -> bool {
        match self {
            Self::Utf8 | Self::Latin1 | Self::Ascii => true,
            Self::Utf16 { .. } => false,
            Self::Jis(encoding) | Self::Other(encoding) => encoding.is_ascii_compatible(),
        }
    }

    /// Whether what a byte means hangs on escape sequences anywhere before it, so that nobody can begin in the middle.
    pub fn has_states(self) -> bool {
        matches!(self, Self::Other(encoding) if !encoding.is_ascii_compatible())
    }

    /// The set in which a stream that begins with `head` goes on, and how many bytes its byte order mark takes.
    pub fn settled(self, head: &[u8]) -> (Self, usize) {
        match (self, head) {
            (Self::Utf16 { mark: true, .. }, [0xff, 0xfe, ..]) => {
                (Self::Utf16 { little: true, mark: false }, 2)
            }
            (Self::Utf16 { mark: true, .. }, [0xfe, 0xff, ..]) => {
                (Self::Utf16 { little: false, mark: false }, 2)
            }
            (Self::Utf16 { little, mark: true }, _) => (Self::Utf16 { little, mark: false }, 0),
            _ => (self, 0),
        }
    }

    /// The first character of `bytes` (in some sets two at once) and the length of its sequence. `None`: the bytes end
    /// within it, and more may come, for they are not the `last`. Not for a set that [has states](Self::has_states).
    pub fn first<'a>(
        self,
        bytes: &'a [u8],
        last: bool,
        room: &'a mut [u8; 16],
    ) -> Option<(Result<&'a str, Malformed>, usize)> {
        let byte = *bytes.first()?;
        match self {
            Self::Utf8 => {
                let head = &bytes[..bytes.len().min(SEQUENCE_MAX)];
                let whole = match std::str::from_utf8(head) {
                    Ok(text) => text,
                    Err(error) if error.valid_up_to() > 0 => {
                        std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or_default()
                    }
                    Err(error) => match error.error_len() {
                        Some(length) => return Some((Err(Malformed), length)),
                        None if last => return Some((Err(Malformed), head.len())),
                        None => return None,
                    },
                };
                let length = whole.chars().next().map_or(1, char::len_utf8);
                Some((Ok(&whole[..length]), length))
            }
            Self::Ascii if byte >= 0x80 => Some((Err(Malformed), 1)),
            Self::Latin1 | Self::Ascii => Some((Ok(char::from(byte).encode_utf8(room)), 1)),
            Self::Utf16 { little, .. } => first_utf16(bytes, last, little, room),
            Self::Jis(encoding) | Self::Other(encoding) if byte < 0x80 && encoding.is_ascii_compatible() => {
                Some((Ok(char::from(byte).encode_utf8(room)), 1))
            }
            Self::Jis(encoding) => {
                let (found, length) = first_other(encoding, bytes, last, room)?;
                let c = found.ok().and_then(|text| text.chars().next());
                // A sign of three bytes is none of JIS X 0208.
                let c = c.map(|c| if length < 3 { jis::from_windows(c) } else { c });
                match c {
                    Some(c) => Some((Ok(c.encode_utf8(room)), length)),
                    None => Some((Err(Malformed), length)),
                }
            }
            Self::Other(encoding) => first_other(encoding, bytes, last, room),
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
            Self::Jis(encoding) => encode_other(encoding, &jis::text_to_windows(text)).into(),
            Self::Other(encoding) => encode_other(encoding, text).into(),
        }
    }
}

fn first_utf16<'a>(
    bytes: &[u8],
    last: bool,
    little: bool,
    room: &'a mut [u8; 16],
) -> Option<(Result<&'a str, Malformed>, usize)> {
    let unit = |at: usize| {
        let pair = [*bytes.get(at)?, *bytes.get(at + 1)?];
        Some(if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) })
    };
    let Some(first) = unit(0) else {
        return last.then_some((Err(Malformed), 1));
    };
    let second = match first {
        0xd800..0xdc00 => match unit(2) {
            None if !last => return None,
            second => second,
        },
        _ => None,
    };
    match char::decode_utf16(std::iter::once(first).chain(second)).next() {
        Some(Ok(c)) => Some((Ok(c.encode_utf8(room)), c.len_utf16() * 2)),
        _ => Some((Err(Malformed), 2)),
    }
}

/// Byte by byte, since the decoder takes all that it is given.
fn first_other<'a>(
    encoding: &'static Encoding,
    bytes: &[u8],
    last: bool,
    room: &'a mut [u8; 16],
) -> Option<(Result<&'a str, Malformed>, usize)> {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let mut taken = 0;
    loop {
        let rest = bytes.get(taken..taken + 1).unwrap_or_default();
        if rest.is_empty() && !last {
            return None;
        }
        let (result, read, written) = decoder.decode_to_utf8_without_replacement(rest, room, rest.is_empty());
        taken += read;
        if let DecoderResult::Malformed(_, beyond) = result {
            return Some((Err(Malformed), taken.saturating_sub(beyond.into()).max(1)));
        }
        if written > 0 {
            return Some((std::str::from_utf8(&room[..written]).map_err(|_never| Malformed), taken));
        }
        if rest.is_empty() {
            return Some((Err(Malformed), taken.max(1)));
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

    /// Characters with the lengths of their sequences, `!` for what is malformed, `?` for what is not complete.
    fn steps(name: &str, mut bytes: &[u8], last: bool) -> String {
        let charset = Charset::named(name).expect(name);
        let mut out = String::new();
        while !bytes.is_empty() {
            let mut room = [0; 16];
            let Some((found, length)) = charset.first(bytes, last, &mut room) else { return out + "?" };
            out.push_str(&format!("{}{length}", found.unwrap_or("!")));
            bytes = &bytes[length..];
        }
        out
    }

    #[test]
    fn each_character_is_found_with_the_length_of_its_sequence() {
        for (name, bytes, last, expected) in [
            ("UTF-8", &b"a\xc3\xa9\xf0\x9f\x98\x80"[..], true, "a1é2😀4"),
            ("UTF-8", b"a\xffb\xe4\xb8b", true, "a1!1b1!2b1"),
            ("UTF-8", b"a\xe4\xb8", false, "a1?"),
            ("UTF-8", b"a\xe4\xb8", true, "a1!2"),
            ("US-ASCII", b"a\x80", true, "a1!1"),
            ("ISO-8859-1", b"\xe9\x80", true, "é1\u{80}1"),
            ("GBK", b"\xd6\xd0a\xd6", false, "中2a1?"),
            ("GBK", b"\xd6\xd0a\xd6", true, "中2a1!1"),
            ("GBK", b"\xd6\n", true, "!1\n1"),
            ("GB18030", b"\x81\x30\x81\x30a", true, "\u{80}4a1"),
            ("Big5", b"\x88\x62a", true, "\u{ca}\u{304}2a1"),
            ("UTF-16BE", b"\0a\xd8\x3d\xde\0\xde\0\0b", true, "a2😀4!2b2"),
            ("UTF-16LE", b"a\0\x3d\xd8", false, "a2?"),
            ("UTF-16LE", b"a\0\x3d\xd8", true, "a2!2"),
            ("UTF-16LE", b"a\0b", true, "a2!1"),
        ] {
            assert_eq!(steps(name, bytes, last), expected, "{name} {bytes:x?} {last}");
        }
    }

    #[test]
    fn a_byte_order_mark_settles_the_order_and_is_no_character() {
        let utf16 = Charset::named("UTF-16").expect("a set");
        let of = |little| Charset::Utf16 { little, mark: false };
        assert_eq!(utf16.settled(b"\xff\xfea\0"), (of(true), 2));
        assert_eq!(utf16.settled(b"\xfe\xff\0a"), (of(false), 2));
        assert_eq!(utf16.settled(b"\0a"), (of(false), 0));
        assert_eq!(Charset::Utf8.settled(b"\xef\xbb\xbf"), (Charset::Utf8, 0));
        assert!(Charset::named("ISO-2022-JP").expect("a set").has_states());
        assert!(!utf16.has_states() && !Charset::named("GBK").expect("a set").has_states());
    }

    /// All signs of Java's Shift_JIS and EUC-JP that Windows' table has as others: in Shift_JIS, in EUC-JP, Java's, Windows'.
    const SIGNS_OF_JIS: &[(&[u8], &[u8], &str, &str)] = &[
        (b"\x81\x5c", b"\xa1\xbd", "\u{2014}", "\u{2015}"),
        (b"\x81\x60", b"\xa1\xc1", "\u{301c}", "\u{ff5e}"),
        (b"\x81\x61", b"\xa1\xc2", "\u{2016}", "\u{2225}"),
        (b"\x81\x7c", b"\xa1\xdd", "\u{2212}", "\u{ff0d}"),
        (b"\x81\x91", b"\xa1\xf1", "\u{a2}", "\u{ffe0}"),
        (b"\x81\x92", b"\xa1\xf2", "\u{a3}", "\u{ffe1}"),
        (b"\x81\xca", b"\xa2\xcc", "\u{ac}", "\u{ffe2}"),
    ];

    #[test]
    fn japanese_sets_have_javas_signs_and_not_those_of_windows() {
        let named = |name| Charset::named(name).expect("a set");
        for &(shift_jis, euc_jp, java, windows) in SIGNS_OF_JIS {
            for (name, bytes) in [("Shift_JIS", shift_jis), ("SJIS", shift_jis), ("EUC-JP", euc_jp)] {
                assert_eq!(named(name).decode(bytes), java, "{name}");
                assert_eq!(&*named(name).encode(java), bytes, "{name}");
                assert_eq!(&*named(name).encode(&format!("a{windows}")), b"a?", "{name}");
                assert_eq!(steps(name, bytes, true), format!("{java}2"));
            }
            for name in ["windows-31j", "MS932"] {
                assert_eq!(named(name).decode(shift_jis), windows, "{name}");
            }
        }
        assert_eq!(steps("EUC-JP", b"\x8f\xa2\xb7\xa4\xa2a\xff", true), "\u{ff5e}3\u{3042}2a1!1");
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
