//! What happens to an event that lacks what its path needs, and the reading of the keys that say so.
//!
//! Sinks declare the keys under their own prefix (`hdfs.round`, `round`); this reads the values.

use flumen_api::settings::{ComponentConfig, Problems};
use jiff::tz::TimeZone;

use super::{RoundUnit, Rounding, Template, TimeRules, zones};

/// What stands for something that an event lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissing {
    /// The fallback: the clock for a time, a text for a header.
    Fallback,
    /// Nothing: the event is refused.
    Refuse,
}

/// Words of a key that names an [`OnMissing`].
pub const ON_MISSING: &[&str] = &["fallback", "refuse"];

impl OnMissing {
    /// From one of [`ON_MISSING`]; the declaration of the key has refused other words.
    pub fn of(word: &str) -> Self {
        if word.eq_ignore_ascii_case("refuse") { Self::Refuse } else { Self::Fallback }
    }
}

/// What happens to an event that lacks what its path needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For a time.
    pub on_missing_time: OnMissing,
    /// For a header.
    pub on_missing_header: OnMissing,
    /// Stands for a missing header; empty in Flume.
    pub header_fallback: String,
    /// The text is a path: a header with a step `..` in it counts as missing.
    pub is_path: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            on_missing_time: OnMissing::Fallback,
            on_missing_header: OnMissing::Fallback,
            header_fallback: String::new(),
            is_path: true,
        }
    }
}

/// Values of the keys that say how a time becomes text.
#[derive(Clone, Copy, Debug)]
pub struct TimeKeys<'a> {
    /// In front of the keys' names, with its dot.
    pub prefix: &'a str,
    /// `round`.
    pub round: bool,
    /// `roundValue`.
    pub round_value: i64,
    /// `roundUnit`.
    pub round_unit: &'a str,
    /// `timeZone`; this machine's where absent.
    pub time_zone: Option<&'a str>,
    /// `useLocalTimeStamp`.
    pub use_local: bool,
}

impl TimeRules {
    /// From the keys. As in Flume, a `roundUnit` that is none turns rounding off with a warning, and a `roundValue` out of
    /// bounds is an error, if `round` is true. An unknown zone is an error.
    pub fn of(keys: &TimeKeys<'_>, config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let key = |name: &str| format!("{}{name}", keys.prefix);
        let rounding = match keys.round {
            true => rounding(keys, config, problems)?,
            false => None,
        };
        let zone = match keys.time_zone {
            None => TimeZone::system(),
            Some(id) => match zones::find(id) {
                Ok(zone) => zone,
                Err(why) => {
                    problems.error(config, &key("timeZone"), why);
                    return None;
                }
            },
        };
        Some(Self { rounding, zone, use_clock: keys.use_local })
    }
}

/// `None` is a reported error.
fn rounding(
    keys: &TimeKeys<'_>,
    config: &ComponentConfig,
    problems: &mut Problems,
) -> Option<Option<Rounding>> {
    let is = |word: &str| keys.round_unit.eq_ignore_ascii_case(word);
    let (unit, max) = if is("second") {
        (RoundUnit::Second, 60)
    } else if is("minute") {
        (RoundUnit::Minute, 60)
    } else if is("hour") {
        (RoundUnit::Hour, 24)
    } else {
        let message = format!("`{}` is none of second, minute, hour: nothing is rounded", keys.round_unit);
        problems.warn(config, &format!("{}roundUnit", keys.prefix), message);
        return Some(None);
    };
    match i8::try_from(keys.round_value).ok().filter(|value| (1..=max).contains(value)) {
        Some(value) => Some(Some(Rounding { unit, value })),
        None => {
            let message = format!("{} is not between 1 and {max}", keys.round_value);
            problems.error(config, &format!("{}roundValue", keys.prefix), message);
            None
        }
    }
}

/// The template that `key` holds; what is doubtful in it is reported.
pub fn parse_template(
    text: &str,
    key: &str,
    config: &ComponentConfig,
    problems: &mut Problems,
) -> Option<Template> {
    match Template::parse(text) {
        Ok(template) => {
            for letter in template.unknown() {
                problems.warn(config, key, format!("%{letter} stands for nothing, as in Flume"));
            }
            Some(template)
        }
        Err(error) => {
            problems.error(config, key, error.to_string());
            None
        }
    }
}
