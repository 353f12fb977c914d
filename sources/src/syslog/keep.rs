//! Which parsed fields stay in the body, in front of the text.
//!
//! ```text
//!   none              text
//!   priority version timestamp hostname     <10>1 2012-04-13T11:11:11+08:00 host text
//!   all               the line as it was
//! ```

use std::borrow::Cow;

use flumen_api::settings::{Key, Setting};

/// The value of `keepFields`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeepFields {
    /// The line as it was.
    All,
    /// These of the fields.
    Some { priority: bool, version: bool, timestamp: bool, hostname: bool },
}

/// The fields of a line as they stood there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fields<'a> {
    pub priority: &'a [u8],
    /// Empty if there is none.
    pub version: &'a [u8],
    pub timestamp: &'a [u8],
    pub hostname: &'a [u8],
}

impl KeepFields {
    /// No field.
    pub const NONE: Self = Self::Some { priority: false, version: false, timestamp: false, hostname: false };

    /// The body: the kept fields in front of `text`.
    pub fn body<'a>(self, line: &'a [u8], fields: Fields<'_>, text: &'a [u8]) -> Cow<'a, [u8]> {
        let Self::Some { priority, version, timestamp, hostname } = self else { return line.into() };
        if self == Self::NONE {
            return text.into();
        }
        let mut body = Vec::with_capacity(line.len());
        if priority {
            body.push(b'<');
            body.extend_from_slice(fields.priority);
            body.push(b'>');
        }
        let mut word = |kept: bool, word: &[u8]| {
            if kept {
                body.extend_from_slice(word);
                body.push(b' ');
            }
        };
        word(version && !fields.version.is_empty(), fields.version);
        word(timestamp, fields.timestamp);
        word(hostname, fields.hostname);
        body.extend_from_slice(text);
        body.into()
    }
}

impl Setting for KeepFields {
    const SHAPE: &'static str = "none, all, or words of: priority version timestamp hostname";

    /// As Flume reads it: in any case, and a field counts wherever its name stands in the text.
    fn read(_: &Key, text: Option<&str>) -> Result<Self, String> {
        let lower = text.unwrap_or_default().trim().to_ascii_lowercase();
        let has = |field: &str| lower.contains(field);
        let some = Self::Some {
            priority: has("priority"),
            version: has("version"),
            timestamp: has("timestamp"),
            hostname: has("hostname"),
        };
        match lower.as_str() {
            "none" | "false" => Ok(Self::NONE),
            "all" | "true" => Ok(Self::All),
            _ if some == Self::NONE => Err(format!("`{lower}` is not {}", Self::SHAPE)),
            _ => Ok(some),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> String {
        let key = Key::new("keepFields", KeepFields::SHAPE, "");
        let fields = Fields { priority: b"10", version: b"1", timestamp: b"T", hostname: b"h" };
        let keep = KeepFields::read(&key, Some(text)).unwrap();
        String::from_utf8(keep.body(b"<10>1 T h  text", fields, b"text").into_owned()).unwrap()
    }

    #[test]
    fn fields_are_kept_in_their_order_and_all_is_the_line_itself() {
        for (text, body) in [
            ("none", "text"),
            ("False", "text"),
            ("all", "<10>1 T h  text"),
            (" TRUE ", "<10>1 T h  text"),
            ("hostname", "h text"),
            ("timestamp,hostname", "T h text"),
            ("hostname priority", "<10>h text"),
            ("priority version timestamp hostname", "<10>1 T h text"),
        ] {
            assert_eq!(kept(text), body, "{text}");
        }
        let key = Key::new("keepFields", KeepFields::SHAPE, "");
        assert!(KeepFields::read(&key, Some("host")).unwrap_err().contains("hostname"));
    }
}
