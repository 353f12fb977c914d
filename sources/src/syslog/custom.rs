//! A user's own shape of lines: `format.regex`, tried before the known ones.
//!
//! | group | what it is |
//! | --- | --- |
//! | 1 | priority |
//! | 2 | version |
//! | 3 | time stamp: `format.search` in it is replaced by `format.replace`, then it is read as `format.dateFormat` |
//! | 4 | host |
//! | 5 | body |
//!
//! The expression has to match the whole line, priority included.

use std::borrow::Cow;

use flumen_api::Headers;
use flumen_api::settings::{ComponentConfig, Problems, settings};
use flumen_java::{JavaRegex, Replacement};
use jiff::tz::TimeZone;

use super::KeepFields;
use super::date_format::DateFormat;
use super::keep::Fields;

settings! {
    /// Keys of a user's own shape of lines.
    pub(crate) struct FormatKeys {
        /// A Java regular expression for whole lines, priority included; its groups 1 to 5 are priority, version, time
        /// stamp, host and body. Lines that it does not match are tried as RFC 5424 and RFC 3164.
        pub regex: Option<String> = key("format.regex") { },
        /// What to replace in the time stamp before it is read, a Java regular expression.
        pub search: Option<String> = key("format.search") { },
        /// What to put in place of `format.search`; `$1` is its first group.
        pub replace: Option<String> = key("format.replace") { },
        /// The time stamp's pattern, as Java's SimpleDateFormat has them. Without it there is no `timestamp` header.
        pub date_format: Option<String> = key("format.dateFormat") { },
    }
}

impl FormatKeys {
    /// The shape, if there is one; `None` if a key is wrong.
    pub fn build(&self, config: &ComponentConfig, problems: &mut Problems) -> Option<Option<Custom>> {
        let Some(regex) = &self.regex else {
            for key in ["format.search", "format.replace", "format.dateFormat"] {
                if config.get(key).is_some() {
                    problems.warn(config, key, "changes nothing without `format.regex`");
                }
            }
            return Some(None);
        };
        let mut read = |key: &str, result: Result<_, String>| {
            result.map_err(|why| problems.error(config, key, why)).ok()
        };
        let regex = read("format.regex", JavaRegex::whole(regex))?;
        let search = match &self.search {
            Some(search) => Some(read("format.search", JavaRegex::new(search))?),
            None => None,
        };
        let substitution = match (search, &self.replace) {
            (Some(search), Some(replace)) => match Replacement::new(replace, &search) {
                Ok(replace) => Some((search, replace)),
                Err(why) => {
                    problems.error(config, "format.replace", why);
                    return None;
                }
            },
            (Some(_), None) => {
                problems.error(config, "format.search", "`format.replace` is missing beside it");
                return None;
            }
            (None, Some(_)) => {
                problems.warn(config, "format.replace", "changes nothing without `format.search`");
                None
            }
            (None, None) => None,
        };
        let date = match self.date_format.as_deref().map(DateFormat::new).transpose() {
            Ok(date) => date,
            Err(why) => {
                problems.error(config, "format.dateFormat", why);
                return None;
            }
        };
        Some(Some(Custom { regex, substitution, date }))
    }
}

/// A user's own shape.
pub(crate) struct Custom {
    regex: JavaRegex,
    substitution: Option<(JavaRegex, Replacement)>,
    date: Option<DateFormat>,
}

impl Custom {
    /// Sets the headers of a line that has the shape, and returns its body.
    pub fn parse<'a>(
        &self,
        line: &'a [u8],
        keep: KeepFields,
        zone: &TimeZone,
        headers: &mut Headers,
    ) -> Option<Cow<'a, [u8]>> {
        let text = String::from_utf8_lossy(line);
        let captures = match self.regex.captures(&text) {
            Ok(captures) => captures?,
            Err(_gave_up) => {
                tracing::warn!("format.regex takes too long over a line: it is taken for no match");
                return None;
            }
        };
        let group = |number: usize| captures.get(number).map(|group| group.as_str());
        let mut set = |key: &str, value: Option<&str>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                headers.set(key, value);
            }
        };
        set("priority", group(1));
        set("version", group(2));
        let millis = group(3).and_then(|stamp| self.time(stamp, zone)).map(|millis| millis.to_string());
        set("timestamp", millis.as_deref());
        set("host", group(4));
        let Some(body) = group(5) else { return Some(line.into()) };
        let bytes = |number: usize| group(number).unwrap_or_default().as_bytes();
        let fields =
            Fields { priority: bytes(1), version: bytes(2), timestamp: bytes(3), hostname: bytes(4) };
        Some(match keep {
            KeepFields::All => line.into(),
            some => some.body(line, fields, body.as_bytes()).into_owned().into(),
        })
    }

    fn time(&self, stamp: &str, zone: &TimeZone) -> Option<i64> {
        let replaced = match &self.substitution {
            Some((search, replace)) => search.replace_all(stamp, replace).ok().flatten(),
            None => None,
        };
        self.date.as_ref()?.parse(replaced.as_deref().unwrap_or(stamp), zone)
    }
}

#[cfg(test)]
mod tests {
    use flumen_api::settings::Kind;

    use super::*;

    fn build(pairs: &[(&str, &str)]) -> Result<Option<Custom>, String> {
        let config = ComponentConfig::of(Kind::Source, "r1", pairs);
        let mut problems = Problems::default();
        let keys = FormatKeys::load(&config, &mut problems).unwrap();
        keys.build(&config, &mut problems).ok_or_else(|| problems.0[0].to_string())
    }

    #[test]
    fn a_shape_of_ones_own_gives_headers_time_and_body() {
        let custom = build(&[
            ("format.regex", r"<(\d{1,3})>(v\d)? ?(\S+ \S+) (\w+): (.*)"),
            ("format.search", "/"),
            ("format.replace", "-"),
            ("format.dateFormat", "yyyy-MM-dd HH:mm"),
        ]);
        let custom = custom.unwrap().unwrap();
        let parse = |line: &'static str, keep: KeepFields| {
            let mut headers = Headers::new();
            let body = custom.parse(line.as_bytes(), keep, &TimeZone::UTC, &mut headers)?;
            Some((headers.to_string(), String::from_utf8(body.into_owned()).unwrap()))
        };
        let line = "<13>2012/04/13 11:11 web1: hello";
        let headers = "{priority=13, timestamp=1334315460000, host=web1}".to_string();
        assert_eq!(parse(line, KeepFields::NONE), Some((headers.clone(), "hello".into())));
        assert_eq!(parse(line, KeepFields::All), Some((headers.clone(), line.into())));
        let keep = KeepFields::Some { priority: true, version: true, timestamp: true, hostname: true };
        assert_eq!(parse(line, keep), Some((headers, "<13>2012/04/13 11:11 web1 hello".into())));
        assert_eq!(parse("<13>something else", KeepFields::NONE), None);
    }

    #[test]
    fn keys_that_cannot_work_are_named() {
        for (pairs, key) in [
            (&[("format.regex", "(")][..], "format.regex"),
            (&[("format.regex", "(.*)"), ("format.search", "a")], "format.search"),
            (&[("format.regex", "(.*)"), ("format.search", "a"), ("format.replace", "$1")], "format.replace"),
            (&[("format.regex", "(.*)"), ("format.dateFormat", "yyyy q")], "format.dateFormat"),
        ] {
            let Err(error) = build(pairs) else { panic!("{pairs:?} is accepted") };
            assert!(error.contains(key), "{error}");
        }
        assert!(build(&[("format.search", "a")]).unwrap().is_none());
    }
}
