//! Time stamps to milliseconds since 1970.
//!
//! ```text
//!   2003-10-11T22:14:15.003Z           as it says
//!   2003-10-11T22:14:15                in the process's zone
//!   Oct 11 22:14:15                    in the zone at hand, in the year that puts it between
//!                                      eleven months ago and one month ahead
//! ```
//!
//! Flume reads a stamp with a fraction otherwise: it overlooks the zone, and takes `.2` for 2 ms. `flumeTimestamps` asks
//! for that. Fields that overflow roll over (`Feb 31` is `Mar 3`), as Java's lenient calendar has it.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan, Zoned};

use super::header::has_shape;

/// How stamps are read.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    /// For stamps that have no zone.
    pub zone: TimeZone,
    /// As Flume reads stamps with a fraction.
    pub as_flume: bool,
    /// The time now, in milliseconds.
    pub now: fn() -> i64,
}

impl Times {
    /// In the process's zone.
    pub fn of_process(as_flume: bool) -> Self {
        Self { zone: TimeZone::system(), as_flume, now: || Timestamp::now().as_millisecond() }
    }

    /// A stamp of RFC 5424 whose shape has been checked.
    pub fn iso(&self, stamp: &[u8]) -> Option<i64> {
        let seconds = Clock::of_iso(stamp)?;
        let mut rest = stamp.get(19..)?;
        let mut fraction = None;
        if let Some(digits) = rest.strip_prefix(b".") {
            let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
            fraction = Some(&digits[..length.min(3)]);
            rest = &digits[length..];
        }
        let millis = fraction.map_or(0, |digits| match self.as_flume {
            true => number(digits),
            false => number(digits) * 10_i64.pow(3 - digits.len() as u32),
        });
        let zone = match self.as_flume && fraction.is_some() {
            true => None,
            false => offset(rest),
        };
        let start = match zone {
            Some(offset) => seconds.in_zone(&TimeZone::UTC)?.checked_sub(offset)?,
            None => seconds.in_zone(&self.zone)?,
        };
        start.checked_add(millis)
    }

    /// A stamp of RFC 3164 whose shape has been checked, in the zone for stamps that have none.
    pub fn bsd(&self, stamp: &[u8]) -> Option<i64> {
        // The month is followed by one blank, or by two before a day of one digit.
        let rest = stamp.get(3..)?.strip_prefix(b" ")?;
        let clock = Clock::of_bsd(month(&stamp[..3])?, rest)?;
        self.in_a_near_year(&self.zone, |year| Clock { year, ..clock }.in_zone(&self.zone))
    }

    /// A stamp of RFC 3164 in universal time, all of whose fields are in range.
    pub fn strict_bsd(&self, stamp: &[u8]) -> Option<i64> {
        let rest = stamp.get(3..)?.strip_prefix(b" ")?;
        let clock = Clock::of_bsd(month(&stamp[..3])?, rest)?;
        // A leap year: the 29th of February is a day.
        clock.exact(2000)?;
        self.in_a_near_year(&TimeZone::UTC, |year| {
            // As Joda has it: in a year without that day, the last one of the month.
            let exact = clock.exact(year).or_else(|| Clock { day: clock.day - 1, ..clock }.exact(year));
            exact?.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp().as_millisecond())
        })
    }

    /// The time `at` this year, or last or next year if that is nearer to now.
    fn in_a_near_year(&self, zone: &TimeZone, at: impl Fn(i16) -> Option<i64>) -> Option<i64> {
        let now = (self.now)();
        let year = zoned(now, &TimeZone::UTC)?.year();
        let this = at(year)?;
        let moved =
            |span: Span| Some(zoned(this, zone)?.checked_add(span).ok()?.timestamp().as_millisecond());
        if this > now && moved((-1).months())? > now {
            moved((-1).years())
        } else if this < now && moved(11.months())? < now {
            moved(1.year())
        } else {
            Some(this)
        }
    }
}

fn zoned(millis: i64, zone: &TimeZone) -> Option<Zoned> {
    Some(Timestamp::from_millisecond(millis).ok()?.to_zoned(zone.clone()))
}

/// A date and a time of day as written, each field as it may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    pub year: i16,
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
}

impl Clock {
    /// `yyyy-MM-ddTHH:mm:ss`.
    fn of_iso(text: &[u8]) -> Option<Self> {
        if !has_shape(text, b"dddd-dd-ddTdd:dd:dd") {
            return None;
        }
        let field = |at: usize| number(&text[at..at + 2]);
        Some(Self {
            year: number(&text[..4]) as i16,
            month: field(5),
            day: field(8),
            hour: field(11),
            minute: field(14),
            second: field(17),
        })
    }

    /// `d HH:mm:ss`, with blanks before.
    fn of_bsd(month: i64, text: &[u8]) -> Option<Self> {
        let text = text.trim_ascii_start();
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (day, rest) = text.split_at(digits);
        let rest = rest.strip_prefix(b" ")?;
        if !(1..=2).contains(&digits) || !has_shape(rest, b"dd:dd:dd") || rest.len() != 8 {
            return None;
        }
        let field = |at: usize| number(&rest[at..at + 2]);
        Some(Self { year: 0, month, day: number(day), hour: field(0), minute: field(3), second: field(6) })
    }

    /// Milliseconds of this time in `zone`; fields that overflow roll over. An hour that comes twice is the later one, one
    /// that is left out is as long after the change, as in Java.
    pub fn in_zone(&self, zone: &TimeZone) -> Option<i64> {
        let months = self.month - 1;
        let year = i64::from(self.year) + months.div_euclid(12);
        let date = Date::new(i16::try_from(year).ok()?, months.rem_euclid(12) as i8 + 1, 1).ok()?;
        let span = Span::new().days(self.day - 1).hours(self.hour).minutes(self.minute).seconds(self.second);
        let wall = date.at(0, 0, 0, 0).checked_add(span).ok()?;
        let zoned = zone.to_ambiguous_zoned(wall).later().ok()?;
        Some(zoned.timestamp().as_millisecond())
    }

    /// The same, if all fields are in range.
    pub fn exact(&self, year: i16) -> Option<DateTime> {
        let date = Date::new(year, self.month as i8, i8::try_from(self.day).ok()?).ok()?;
        let time = jiff::civil::Time::new(self.hour as i8, self.minute as i8, self.second as i8, 0).ok()?;
        Some(date.to_datetime(time))
    }
}

/// A stamp of RFC 5424 as `multiport_syslogtcp` reads it: fields in range, in universal time unless a zone says otherwise.
pub(super) fn strict_iso(stamp: &[u8]) -> Option<i64> {
    let (seconds, rest) = stamp.split_at_checked(19)?;
    let clock = Clock::of_iso(seconds)?;
    let start = clock.exact(clock.year)?.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond();
    let mut rest = rest;
    let mut millis = 0;
    if let Some(digits) = rest.strip_prefix(b".") {
        let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(1..=18).contains(&length) {
            return None;
        }
        let kept = &digits[..length.min(3)];
        millis = number(kept) * 10_i64.pow(3 - kept.len() as u32);
        rest = &digits[length..];
    }
    // Something has to follow: the zone, or a letter that is taken for universal time.
    let offset = match rest.first()? {
        b'+' | b'-' if !has_shape(&rest[1..], b"dd:dd") => return None,
        b'+' | b'-' => {
            let minutes = number(&rest[1..3]) * 60 + number(&rest[4..6]);
            if rest[0] == b'+' { minutes } else { -minutes }
        }
        _ => 0,
    };
    Some(start + millis - offset * 60_000)
}

/// A zone as in RFC 5424, in milliseconds. `None`: there is none, or one that no clock has.
fn offset(zone: &[u8]) -> Option<i64> {
    match zone {
        b"Z" => Some(0),
        [sign @ (b'+' | b'-'), rest @ ..] if has_shape(rest, b"dd:dd") => {
            let (hours, minutes) = (number(&rest[..2]), number(&rest[3..5]));
            let millis = (hours * 60 + minutes) * 60_000;
            (hours <= 23 && minutes <= 59).then_some(if *sign == b'-' { -millis } else { millis })
        }
        _ => None,
    }
}

/// A month's number by the first three letters of its English name.
pub(super) fn month(name: &[u8]) -> Option<i64> {
    const NAMES: [&[u8; 3]; 12] =
        [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];
    let at = NAMES.iter().position(|known| known.eq_ignore_ascii_case(name))?;
    Some(at as i64 + 1)
}

/// The value of at most 18 digits.
fn number(digits: &[u8]) -> i64 {
    digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'))
}
