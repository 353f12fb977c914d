//! The character sets of JSON requests: UTF-8, UTF-16 and UTF-32, as Java reads and writes them.
//!
//! | set | read | written |
//! | --- | --- | --- |
//! | UTF-8 | | |
//! | UTF-16 | by its byte order mark, else big-endian | big-endian behind a mark; an empty text is no bytes |
//! | UTF-32 | by its byte order mark, else big-endian | big-endian without a mark |
//!
//! What is malformed is read as U+FFFD.

use std::borrow::Cow;

use flumen_java::Charset as JavaCharset;

/// A request's character set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    Utf8,
    Utf16,
    Utf32,
}

const UTF_16: JavaCharset = JavaCharset::Utf16 { little: false, mark: true };

impl Charset {
    /// The set that a `Content-Type` names; UTF-8 if it names none. The error is the name of another set.
    pub fn of(content_type: Option<&str>) -> Result<Self, String> {
        let mut parameters = content_type.unwrap_or_default().split(';').skip(1);
        let named = parameters.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').trim())
        });
        let Some(name) = named else { return Ok(Self::Utf8) };
        match name.to_ascii_lowercase().as_str() {
            "utf-8" | "utf8" => Ok(Self::Utf8),
            "utf-16" | "utf16" => Ok(Self::Utf16),
            "utf-32" | "utf32" => Ok(Self::Utf32),
            _ => Err(name.to_string()),
        }
    }

    pub fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes),
            Self::Utf16 => UTF_16.decode(bytes),
            Self::Utf32 => decode_utf32(bytes).into(),
        }
    }

    pub fn encode(self, text: &str) -> Cow<'_, [u8]> {
        match self {
            Self::Utf8 => text.as_bytes().into(),
            Self::Utf16 => UTF_16.encode(text),
            Self::Utf32 => text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect(),
        }
    }
}

fn decode_utf32(bytes: &[u8]) -> String {
    let (little, bytes) = match bytes {
        [0, 0, 0xfe, 0xff, rest @ ..] => (false, rest),
        [0xff, 0xfe, 0, 0, rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let units = bytes.chunks(4).map(|unit| {
        let unit = <[u8; 4]>::try_from(unit).ok()?;
        char::from_u32(if little { u32::from_le_bytes(unit) } else { u32::from_be_bytes(unit) })
    });
    units.map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_names_the_set() {
        for (content_type, charset) in [
            (None, Ok(Charset::Utf8)),
            (Some("application/json"), Ok(Charset::Utf8)),
            (Some("application/json; charset=UTF-16"), Ok(Charset::Utf16)),
            (Some("text/plain;x=y; Charset=\"utf-32\""), Ok(Charset::Utf32)),
            (Some("text/plain; charset=ISO-8859-1"), Err("ISO-8859-1".to_string())),
        ] {
            assert_eq!(Charset::of(content_type), charset, "{content_type:?}");
        }
    }

    #[test]
    fn texts_are_read_and_written_as_java_does() {
        for (charset, bytes) in [
            (Charset::Utf8, &b"a\xf0\x9f\x98\x80"[..]),
            (Charset::Utf16, b"\xfe\xff\0a\xd8\x3d\xde\0"),
            (Charset::Utf32, b"\0\0\0a\0\x01\xf6\0"),
        ] {
            assert_eq!((&*charset.encode("a😀"), &*charset.decode(bytes)), (bytes, "a😀"));
            assert_eq!(&*charset.encode(""), b"");
        }
        assert_eq!(Charset::Utf16.decode(b"\xff\xfea\0"), "a");
        assert_eq!(Charset::Utf32.decode(b"\xff\xfe\0\0a\0\0\0"), "a");
        assert_eq!(Charset::Utf32.decode(b"\0\0\0a\0\x11\0\0\0"), "a\u{fffd}\u{fffd}");
    }
}
