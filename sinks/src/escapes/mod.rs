//! Escapes: paths, prefixes, topics and partitions that are made of an event's headers and its time.
//!
//! ```text
//!   %{h}          header h; without it, the fallback        names of letters, digits, `_`, `.`, `-`
//!   %[localhost]  %[IP]  %[FQDN]                            this host; in any case
//!   %t            milliseconds, as the header has them; never rounded
//!   %s            seconds                                   rounded, as all that follow
//!   %Y %y %m %n %b %B %j %d %e %a %A                        2005 05 03 3 Mar March 062 03 3 Thu Thursday
//!   %H %k %I %l %p %M %S %z                                 09 9 09 9 AM 05 07 -0500
//!   %D %c                                                   03/03/05    Thu Mar 3 09:05:07 2005
//!   %%            a percent sign
//!   %L %q …       any other letter, digit or `_`: nothing
//! ```
//!
//! Anything else is text, a lone `%` included. The time is the header `timestamp` (milliseconds since 1970), or with
//! `useLocalTimeStamp` the clock. Names are English, whatever the machine speaks: a directory must not change its name
//! when an agent moves.
//!
//! In Flume an event that has no time, or one that is no number, holds up its sink for ever. Here it takes the clock's, or
//! is refused (see [`Lacking`]), as a key says; and so with headers.
//!
//! This runs for every event, and events of one second mostly have the same path. So a template is cut into *stretches*
//! at its `%{h}` and `%t`, and what the others come to is kept until an event of another second comes.

mod calendar;
#[cfg(test)]
mod known;
mod policy;
mod template;
#[cfg(test)]
mod tests;
pub mod zones;

use std::ops::Range;

use flumen_api::event::Headers;
use flumen_api::metrics::Counter;

use calendar::Moment;
pub use calendar::{RoundUnit, Rounding, TimeRules};
pub use flumen_java::HostNames;
pub use policy::{ON_MISSING, OnMissing, Policy, TimeKeys, parse_template};
use template::{Escape, Part};
pub use template::{Template, TemplateError};

/// The header that holds an event's time in milliseconds since 1970.
pub const TIMESTAMP: &str = "timestamp";

/// What an event has not, and its path needs: the sink refuses the event, which then goes to the sink's dead letter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lacking {
    /// No time.
    #[error("the event has no header `timestamp`, and the path needs a time")]
    Timestamp,
    /// A time that is none.
    #[error(
        "the event's header `timestamp` is `{0}`: no number of milliseconds between the years 1583 and 9998"
    )]
    BadTimestamp(String),
    /// No header of this name.
    #[error("the event has no header `{0}`, and the path needs it")]
    Header(String),
    /// A header that leads out of the path.
    #[error("the event's header `{0}` would lead out of the path: {1:?}")]
    Climbing(String, String),
}

/// One template with what it needs to be filled in, event by event.
#[derive(Debug)]
pub struct Escaper {
    parts: Vec<Part>,
    time: TimeRules,
    policy: Policy,
    /// Events for which a fallback stood in.
    fallbacks: Counter,
    needs_time: bool,
    cache: Cache,
    out: String,
}

/// What the stretches without headers come to, for one second.
#[derive(Debug, Default)]
struct Cache {
    /// The second for which this holds; always, for a template without time.
    second: Option<i64>,
    text: String,
    stretches: Vec<Stretch>,
}

#[derive(Debug)]
enum Stretch {
    /// Of the cache's text.
    Kept(Range<usize>),
    /// A header: the part's index.
    Header(usize),
    /// `%t`.
    Millis,
}

/// An event's time.
struct Time<'a> {
    millis: i64,
    /// As the header has it, where the header is what counts.
    text: Option<&'a str>,
}

impl Escaper {
    /// Fills in `template`. The host's names are looked up by the caller, where the template
    /// [needs them](Template::needs_hosts): that asks a resolver, which must not happen while a configuration is checked.
    pub fn new(
        template: &Template,
        hosts: &HostNames,
        time: TimeRules,
        policy: Policy,
        fallbacks: Counter,
    ) -> Self {
        let parts: Vec<Part> = template.parts().iter().map(|part| part.with_hosts(hosts)).collect();
        let needs_time = template.needs_time();
        Self { parts, time, policy, fallbacks, needs_time, cache: Cache::default(), out: String::new() }
    }

    /// The text for an event with these headers. `now` is the clock in milliseconds since 1970, read once for a batch.
    ///
    /// An error says what the event lacks; it is for this event alone.
    pub fn resolve(&mut self, headers: &Headers, now: i64) -> Result<&str, Lacking> {
        let mut fell_back = false;
        let time = match self.needs_time {
            true => Some(self.time_of(headers, now, &mut fell_back)?),
            false => None,
        };
        self.renew(time.as_ref().map(|time| time.millis))?;
        let Self { parts, policy, cache, out, .. } = self;
        out.clear();
        for stretch in &cache.stretches {
            match stretch {
                Stretch::Kept(range) => out.push_str(&cache.text[range.clone()]),
                Stretch::Header(at) => {
                    if let Part::Header(name) = &parts[*at] {
                        out.push_str(header(headers, name, policy, &mut fell_back)?);
                    }
                }
                Stretch::Millis => match &time {
                    Some(Time { text: Some(text), .. }) => out.push_str(text),
                    Some(Time { millis, .. }) => out.push_str(&millis.to_string()),
                    None => {}
                },
            }
        }
        if fell_back {
            self.fallbacks.inc();
        }
        Ok(&self.out)
    }

    fn time_of<'a>(&self, headers: &'a Headers, now: i64, fell_back: &mut bool) -> Result<Time<'a>, Lacking> {
        if self.time.use_clock {
            return Ok(Time { millis: now, text: None });
        }
        let found = headers.get(TIMESTAMP);
        let usable = |text: &str| text.parse().ok().filter(|millis| calendar::is_usable(*millis));
        match (found.and_then(usable), self.policy.on_missing_time) {
            (Some(millis), _) => Ok(Time { millis, text: found }),
            (None, OnMissing::Fallback) => {
                *fell_back = true;
                Ok(Time { millis: now, text: None })
            }
            (None, OnMissing::Refuse) => Err(match found {
                Some(text) => Lacking::BadTimestamp(shortened(text)),
                None => Lacking::Timestamp,
            }),
        }
    }

    /// Makes the cache hold for an event of this time.
    fn renew(&mut self, millis: Option<i64>) -> Result<(), Lacking> {
        // Before 1970 `%s` rounds towards zero, as Java divides: a second's events would not agree.
        let second = millis.filter(|millis| *millis >= 0).map_or(-1, |millis| millis / 1000);
        let holds = self.cache.second == Some(second) && (second >= 0 || millis.is_none());
        if holds {
            return Ok(());
        }
        let moment = match millis {
            Some(millis) => Some(
                Moment::of(millis, &self.time)
                    .ok_or_else(|| Lacking::BadTimestamp(shortened(&millis.to_string())))?,
            ),
            None => None,
        };
        let Cache { text, stretches, second: of } = &mut self.cache;
        text.clear();
        stretches.clear();
        let mut from = 0;
        for (at, part) in self.parts.iter().enumerate() {
            let breaks = match part {
                Part::Text(literal) => {
                    text.push_str(literal);
                    None
                }
                // `with_hosts` has made text of it.
                Part::Host(_) => None,
                Part::Header(_) => Some(Stretch::Header(at)),
                Part::Time(Escape::Millis) => Some(Stretch::Millis),
                Part::Time(escape) => {
                    if let Some(moment) = &moment {
                        moment.write(*escape, text);
                    }
                    None
                }
            };
            if let Some(stretch) = breaks {
                stretches.push(Stretch::Kept(from..text.len()));
                stretches.push(stretch);
                from = text.len();
            }
        }
        stretches.push(Stretch::Kept(from..text.len()));
        *of = Some(second);
        Ok(())
    }
}

fn header<'a>(
    headers: &'a Headers,
    name: &str,
    policy: &'a Policy,
    fell_back: &mut bool,
) -> Result<&'a str, Lacking> {
    let found = headers.get(name);
    if let Some(value) = found.filter(|value| !(policy.is_path && climbs(value))) {
        return Ok(value);
    }
    match (policy.on_missing_header, found) {
        // A missing header is nothing special where nothing is to stand for it: Flume's way.
        (OnMissing::Fallback, None) => {
            *fell_back |= !policy.header_fallback.is_empty();
            Ok(&policy.header_fallback)
        }
        (OnMissing::Fallback, Some(_)) => {
            *fell_back = true;
            Ok(&policy.header_fallback)
        }
        (OnMissing::Refuse, None) => Err(Lacking::Header(name.to_string())),
        (OnMissing::Refuse, Some(value)) => Err(Lacking::Climbing(name.to_string(), shortened(value))),
    }
}

/// Whether a header's value, as part of a path, names a parent directory or ends the path early. Headers come from whoever
/// sends events; a path that leaves its directory would let him write anywhere.
fn climbs(value: &str) -> bool {
    value.contains('\0') || value.split('/').any(|step| step == "..")
}

/// As much of a value as an error needs.
fn shortened(value: &str) -> String {
    const SHOWN: usize = 64;
    match value.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &value[..at]),
        None => value.to_string(),
    }
}
