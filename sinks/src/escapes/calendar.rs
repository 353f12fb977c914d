//! An event's time as fields of a calendar, rounded down, and their text.
//!
//! Rounding floors one field of the local time to a multiple and clears the smaller ones; the local time that comes out is
//! then looked up in the zone again, as Java's calendar does: one that clocks show twice is the later, one that they skip
//! is as much later as they skip. So in the hour that is repeated in autumn, both passes have the same path.

use std::fmt::Write;

use jiff::Timestamp;
use jiff::civil::{DateTime, Time};
use jiff::tz::TimeZone;

use super::template::Escape;

/// Milliseconds of 1583-01-01. Before October 1582 Java counts by the calendar of Caesar.
const FIRST_MILLIS: i64 = -12_212_553_600_000;
/// Milliseconds of 9998-12-31: beyond, a year does not have four digits.
const LAST_MILLIS: i64 = 253_370_678_400_000;

/// Whether a time can be a path.
pub(super) fn is_usable(millis: i64) -> bool {
    (FIRST_MILLIS..LAST_MILLIS).contains(&millis)
}

/// The field that is floored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoundUnit {
    /// Seconds.
    Second,
    /// Minutes.
    Minute,
    /// Hours.
    Hour,
}

/// Rounding down: to a multiple of `value` of the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounding {
    /// The field.
    pub unit: RoundUnit,
    /// 1 to 60, with hours 1 to 24.
    pub value: i8,
}

/// How an event's time becomes text.
#[derive(Clone, Debug)]
pub struct TimeRules {
    /// Rounded down before it is written.
    pub rounding: Option<Rounding>,
    /// The zone.
    pub zone: TimeZone,
    /// The clock instead of the event's header.
    pub use_clock: bool,
}

/// A time's fields.
#[derive(Debug)]
pub(super) struct Moment {
    millis: i64,
    local: DateTime,
    /// East of Greenwich.
    offset_seconds: i32,
}

impl Moment {
    /// The fields of `millis`; `None` if the calendar does not reach so far.
    pub fn of(millis: i64, rules: &TimeRules) -> Option<Self> {
        let mut timestamp = Timestamp::from_millisecond(millis).ok()?;
        if let Some(rounding) = rules.rounding {
            let local = rules.zone.to_datetime(timestamp);
            let floored = DateTime::from_parts(local.date(), floor(local.time(), rounding));
            timestamp = rules.zone.to_ambiguous_timestamp(floored).later().ok()?;
        }
        Some(Self {
            millis: timestamp.as_millisecond(),
            local: rules.zone.to_datetime(timestamp),
            offset_seconds: rules.zone.to_offset(timestamp).seconds(),
        })
    }

    /// Appends what `escape` stands for.
    pub fn write(&self, escape: Escape, out: &mut String) {
        let Escape::Field(letter) = escape else { return };
        let (date, time) = (self.local.date(), self.local.time());
        let month = date.month();
        let weekday = date.weekday().to_monday_zero_offset();
        match letter {
            'a' => out.push_str(&WEEKDAYS[weekday as usize][..3]),
            'A' => out.push_str(WEEKDAYS[weekday as usize]),
            'b' => out.push_str(&MONTHS[month as usize - 1][..3]),
            'B' => out.push_str(MONTHS[month as usize - 1]),
            'c' => {
                for field in ['a', ' ', 'b', ' ', 'e', ' ', 'H', ':', 'M', ':', 'S', ' ', 'Y'] {
                    self.write_or_text(field, out);
                }
            }
            'D' => {
                for field in ['m', '/', 'd', '/', 'y'] {
                    self.write_or_text(field, out);
                }
            }
            'd' => two(out, date.day()),
            'e' => plain(out, date.day()),
            'H' => two(out, time.hour()),
            'k' => plain(out, time.hour()),
            'I' => two(out, twelve(time.hour())),
            'l' => plain(out, twelve(time.hour())),
            'j' => put(out, format_args!("{:03}", date.day_of_year())),
            'm' => two(out, month),
            'n' => plain(out, month),
            'M' => two(out, time.minute()),
            'S' => two(out, time.second()),
            'p' => out.push_str(if time.hour() < 12 { "AM" } else { "PM" }),
            's' => put(out, format_args!("{}", self.millis / 1000)),
            'y' => put(out, format_args!("{:02}", date.year() % 100)),
            'Y' => put(out, format_args!("{:04}", date.year())),
            'z' => {
                let minutes = self.offset_seconds.abs() / 60;
                let sign = if self.offset_seconds < 0 { '-' } else { '+' };
                put(out, format_args!("{sign}{:02}{:02}", minutes / 60, minutes % 60));
            }
            _ => {}
        }
    }

    fn write_or_text(&self, field: char, out: &mut String) {
        if field.is_ascii_alphabetic() {
            self.write(Escape::Field(field), out);
        } else {
            out.push(field);
        }
    }
}

fn floor(time: Time, rounding: Rounding) -> Time {
    let Rounding { unit, value } = rounding;
    let floored = |field: i8| field - field % value.max(1);
    let (hour, minute, second) = match unit {
        RoundUnit::Hour => (floored(time.hour()), 0, 0),
        RoundUnit::Minute => (time.hour(), floored(time.minute()), 0),
        RoundUnit::Second => (time.hour(), time.minute(), floored(time.second())),
    };
    Time::constant(hour, minute, second, 0)
}

fn twelve(hour: i8) -> i8 {
    match hour % 12 {
        0 => 12,
        hour => hour,
    }
}

fn two(out: &mut String, number: i8) {
    put(out, format_args!("{number:02}"));
}

fn plain(out: &mut String, number: i8) {
    put(out, format_args!("{number}"));
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes all that is written");
}

const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
