//! Lines to events as `syslogtcp` and `syslogudp` make them.
//!
//! | line | headers | body |
//! | --- | --- | --- |
//! | without a priority | `Facility`, `Severity` 0, status `Invalid` | the line |
//! | with one, of no known shape | `Facility`, `Severity` | the line, priority included |
//! | of a known shape | also `priority`, `version`, `timestamp`, `host`, as far as they are there | the text, behind the fields that are kept |
//!
//! A line whose text is empty has the whole line for its body. `priority` and `version` are the line's own: Flume lets
//! those of the last good line stand on the bad ones after it.

use std::borrow::Cow;

use flumen_api::Headers;

use super::header::{self, Head, Stamp};
use super::lines::Line;
use super::{Custom, INCOMPLETE, INVALID, KeepFields, Parsed, STATUS, Times};

/// Makes events of lines.
pub(crate) struct Legacy {
    pub keep: KeepFields,
    pub times: Times,
    /// Tried before the known shapes.
    pub custom: Option<Custom>,
}

/// Nothing can be made of a datagram that ends before its priority has a digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

impl Legacy {
    /// The event of a line.
    pub fn event<'a>(&self, line: Line<'a>) -> Result<Parsed<'a>, Unreadable> {
        let mut headers = Headers::new();
        let priority = if line.bad { 0 } else { priority(line.bytes).ok_or(Unreadable)? };
        headers.set("Facility", (priority / 8).to_string());
        headers.set("Severity", (priority % 8).to_string());
        let text = if line.bad { None } else { self.parse(line.bytes, &mut headers) };
        if line.bad {
            headers.set(STATUS, INVALID);
        } else if line.incomplete {
            headers.set(STATUS, INCOMPLETE);
        }
        let body = match text {
            Some(text) if !text.is_empty() => text,
            _ => line.bytes.into(),
        };
        Ok(Parsed { headers, body })
    }

    /// Sets the headers that a line of a known shape has, and returns its body.
    fn parse<'a>(&self, line: &'a [u8], headers: &mut Headers) -> Option<Cow<'a, [u8]>> {
        if let Some(custom) = &self.custom
            && let Some(found) = custom.parse(line, self.keep, &self.times.zone, headers)
        {
            return Some(found);
        }
        let Head { fields, stamp, host, text } = header::head(line)?;
        let mut set = |key: &str, value: &[u8]| {
            if !value.is_empty() {
                headers.set(key, String::from_utf8_lossy(value));
            }
        };
        set("priority", fields.priority);
        set("version", fields.version);
        let millis = match stamp {
            Stamp::None => None,
            Stamp::Iso(stamp) => self.times.iso(stamp),
            Stamp::Bsd(stamp) => self.times.bsd(stamp),
        };
        if let Some(millis) = millis {
            set("timestamp", millis.to_string().as_bytes());
        }
        set("host", host.unwrap_or_default());
        Some(self.keep.body(line, fields, text))
    }
}

/// The number behind `<`.
fn priority(line: &[u8]) -> Option<u32> {
    let digits = line.strip_prefix(b"<")?;
    let length = digits.iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&digits[..length]).ok()?.parse().ok()
}
