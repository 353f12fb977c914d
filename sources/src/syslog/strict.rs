//! Lines to events as `multiport_syslogtcp` makes them: field by field, from the left.
//!
//! ```text
//!   <PRI>["1 "](- | Mmm dd HH:mm:ss | yyyy-MM-ddTHH:mm:ss[.fraction]zone) host text
//! ```
//!
//! | what | how |
//! | --- | --- |
//! | `-` for the time | the time now |
//! | a capital letter | 15 characters of RFC 3164, in universal time; what cannot be read is 0 |
//! | anything else | RFC 5424; without a zone or a letter behind the seconds it is invalid |
//! | a line that is not so | status `Invalid` alone, the body is the line |
//! | no text behind the host | the body is the line |

use std::borrow::Cow;

use flumen_api::Headers;

use super::keep::Fields;
use super::{INCOMPLETE, INVALID, KeepFields, Parsed, STATUS, Times, times};

/// The closing bracket is at most the seventh character.
const BRACKET_MAX: usize = 6;
const BSD_LENGTH: usize = 15;

/// Makes events of lines.
#[derive(Clone, Debug)]
pub(crate) struct Strict {
    pub keep: KeepFields,
    pub times: Times,
}

impl Strict {
    /// The event of a line, which is text.
    pub fn event<'a>(&self, line: &'a str, incomplete: bool) -> Parsed<'a> {
        let mut headers = Headers::new();
        let Some(body) = self.parse(line, &mut headers) else { return invalid(line.as_bytes()) };
        if incomplete {
            headers.set(STATUS, INCOMPLETE);
        }
        Parsed { headers, body }
    }

    fn parse<'a>(&self, line: &'a str, headers: &mut Headers) -> Option<Cow<'a, [u8]>> {
        let rest = line.strip_prefix('<')?;
        let bracket = rest.find('>')?;
        let (priority, rest) = (&rest[..bracket], &rest[bracket + 1..]);
        if priority.encode_utf16().count() + 1 > BRACKET_MAX || rest.is_empty() {
            return None;
        }
        let number = java_int(priority)?;
        headers.set("Priority", priority);
        headers.set("Facility", (number / 8).to_string());
        headers.set("Severity", (number % 8).to_string());
        let (version, rest) = match rest.strip_prefix("1 ") {
            Some(more) if !more.is_empty() => {
                headers.set("Version", "1");
                ("1", more)
            }
            _ => ("", rest),
        };
        let (stamp, millis, rest) = match *rest.as_bytes().first()? {
            // Whatever follows is taken for the blank before the host.
            b'-' => {
                let mut rest = rest.chars();
                rest.by_ref().take(2).for_each(drop);
                let rest = Some(rest.as_str()).filter(|rest| !rest.is_empty())?;
                ("-", (self.times.now)(), rest)
            }
            b'A'..=b'Z' => {
                let (end, _) = rest.char_indices().nth(BSD_LENGTH)?;
                let (stamp, rest) = rest.split_at(end);
                let mut rest = rest.chars();
                rest.next()?;
                (stamp, self.times.strict_bsd(stamp.as_bytes()).unwrap_or(0), rest.as_str())
            }
            _ => {
                let (stamp, rest) = rest.split_once(' ')?;
                (stamp, times::strict_iso(stamp.as_bytes())?, rest)
            }
        };
        headers.set("timestamp", millis.to_string());
        let (host, text) = rest.split_once(' ')?;
        headers.set("host", host);
        if text.is_empty() {
            return Some(line.as_bytes().into());
        }
        let fields = Fields {
            priority: priority.as_bytes(),
            version: version.as_bytes(),
            timestamp: stamp.as_bytes(),
            hostname: host.as_bytes(),
        };
        Some(self.keep.body(line.as_bytes(), fields, text.as_bytes()))
    }
}

/// The event of a line that is no syslog message.
pub(crate) fn invalid(line: &[u8]) -> Parsed<'_> {
    Parsed { headers: Headers::from_iter([(STATUS, INVALID)]), body: line.into() }
}

/// A number as Java reads one: with a sign, if there is one.
fn java_int(text: &str) -> Option<i32> {
    text.parse().ok()
}
