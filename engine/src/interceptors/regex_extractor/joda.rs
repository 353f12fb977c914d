//! Times read by a pattern of Joda-Time's, as `DateTimeFormat.forPattern(…).parseDateTime` reads them.
//!
//! ```text
//!   y Y year   M month   d day   D day of year   E day of the week   e its number, Monday is 1
//!   H 0-23   k 1-24   h 1-12   K 0-11   a AM or PM   m minute   s second   S fraction of a second
//!   Z offset   ZZZ zone id   z zone name   'text' and every other character: itself   '' one quote
//! ```
//!
//! The whole text must fit. A number takes as many digits as are there, up to the field's most; a year stops at the
//! pattern's letters where another number follows. What is missing is that of 1970-01-01 00:00, but a date without a year
//! is of 2000. `C`, `G`, `x` and `w` are not known here.

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
/// Zones of the names that Joda reads: `PST` is the west coast, also in summer.
const ZONE_NAMES: [(&str, &str); 11] = [
    ("UTC", "UTC"),
    ("UT", "UTC"),
    ("GMT", "UTC"),
    ("EST", "America/New_York"),
    ("EDT", "America/New_York"),
    ("CST", "America/Chicago"),
    ("CDT", "America/Chicago"),
    ("MST", "America/Denver"),
    ("MDT", "America/Denver"),
    ("PST", "America/Los_Angeles"),
    ("PDT", "America/Los_Angeles"),
];

/// A pattern, taken apart.
#[derive(Debug)]
pub(super) struct Pattern(Vec<Field>);

#[derive(Debug)]
enum Field {
    Text(String),
    /// Two letters: two digits are a year of [`two_digit_year`]. `fixed`: a number follows.
    ShortYear {
        fixed: bool,
    },
    Number(Unit, usize),
    MonthName,
    WeekdayName,
    HalfDay,
    Fraction(usize),
    Offset,
    ZoneId,
    ZoneName,
}

#[derive(Clone, Copy, Debug)]
enum Unit {
    Year,
    Month,
    Day,
    DayOfYear,
    Weekday,
    Hour,
    ClockHour,
    HalfHour,
    ClockHalfHour,
    Minute,
    Second,
}

#[derive(Clone, Default)]
struct Found {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    weekday: Option<i64>,
    hour: Option<i64>,
    /// Hours counted from noon or midnight.
    half_hour: Option<i64>,
    afternoon: bool,
    minute: i64,
    second: i64,
    millis: i64,
    zone: Option<TimeZone>,
}

impl Pattern {
    /// Reads a pattern; the error names the letter that is not known.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let tokens = tokens(pattern);
        let mut fields = Vec::with_capacity(tokens.len());
        for (i, token) in tokens.iter().enumerate() {
            let followed = matches!(tokens.get(i + 1), Some(Token::Letters(letter, count)) if is_number(*letter, *count));
            fields.push(match token {
                Token::Text(text) => Field::Text(text.clone()),
                Token::Letters(letter, count) => field(*letter, *count, followed)?,
            });
        }
        Ok(Self(fields))
    }

    /// The milliseconds since 1970 that `text` says, in `zone` unless it says another one.
    pub fn parse(&self, text: &str, zone: &TimeZone) -> Option<i64> {
        let mut found = Found::default();
        let mut rest = text;
        for field in &self.0 {
            rest = field.read(rest, &mut found)?;
        }
        if rest.is_empty() { found.millis(zone) } else { None }
    }
}

enum Token {
    Letters(char, usize),
    Text(String),
}

fn tokens(pattern: &str) -> Vec<Token> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        if c.is_ascii_alphabetic() {
            let count = chars[at..].iter().take_while(|other| **other == c).count();
            tokens.push(Token::Letters(c, count));
            at += count;
            continue;
        }
        let mut text = String::new();
        let mut quoted = false;
        while at < chars.len() && (quoted || !chars[at].is_ascii_alphabetic()) {
            match chars[at] {
                '\'' if chars.get(at + 1) == Some(&'\'') => {
                    text.push('\'');
                    at += 1;
                }
                '\'' => quoted = !quoted,
                c => text.push(c),
            }
            at += 1;
        }
        tokens.push(Token::Text(text));
    }
    tokens
}

/// Whether the letters stand for digits.
fn is_number(letter: char, count: usize) -> bool {
    match letter {
        'y' | 'Y' | 'd' | 'D' | 'e' | 'h' | 'H' | 'k' | 'K' | 'm' | 's' | 'S' => true,
        'M' => count <= 2,
        _ => false,
    }
}

fn field(letter: char, count: usize, followed: bool) -> Result<Field, String> {
    Ok(match (letter, count) {
        ('y' | 'Y', 2) => Field::ShortYear { fixed: followed },
        ('y' | 'Y', _) => Field::Number(Unit::Year, if followed { count } else { 9 }),
        ('M', 1 | 2) => Field::Number(Unit::Month, 2),
        ('M', _) => Field::MonthName,
        ('d', _) => Field::Number(Unit::Day, 2),
        ('D', _) => Field::Number(Unit::DayOfYear, 3),
        ('e', _) => Field::Number(Unit::Weekday, 1),
        ('E', _) => Field::WeekdayName,
        ('H', _) => Field::Number(Unit::Hour, 2),
        ('k', _) => Field::Number(Unit::ClockHour, 2),
        ('K', _) => Field::Number(Unit::HalfHour, 2),
        ('h', _) => Field::Number(Unit::ClockHalfHour, 2),
        ('a', _) => Field::HalfDay,
        ('m', _) => Field::Number(Unit::Minute, 2),
        ('s', _) => Field::Number(Unit::Second, 2),
        ('S', _) => Field::Fraction(count),
        ('Z', 1 | 2) => Field::Offset,
        ('Z', _) => Field::ZoneId,
        ('z', _) => Field::ZoneName,
        _ => {
            return Err(format!(
                "the letter `{letter}` is not known here; other text stands between single quotes"
            ));
        }
    })
}

impl Field {
    /// Reads the field and returns what follows it.
    fn read<'t>(&self, text: &'t str, found: &mut Found) -> Option<&'t str> {
        match self {
            Self::Text(literal) => {
                let head = text.get(..literal.len())?;
                head.eq_ignore_ascii_case(literal).then(|| &text[literal.len()..])
            }
            Self::ShortYear { fixed } => {
                let (digits, year, rest) = number(text, if *fixed { 2 } else { 9 })?;
                let short = digits == 2 && !text.starts_with(['-', '+']);
                found.year = Some(if short { two_digit_year(year) } else { year });
                (short || !*fixed).then_some(rest)
            }
            Self::Number(unit, most) => {
                let signed = matches!(unit, Unit::Year);
                if !signed && text.starts_with(['-', '+']) {
                    return None;
                }
                let (_, value, rest) = number(text, *most)?;
                found.set(*unit, value)?;
                Some(rest)
            }
            Self::MonthName => {
                let (month, rest) = name(text, &MONTHS)?;
                found.month = Some(month);
                Some(rest)
            }
            Self::WeekdayName => {
                let (day, rest) = name(text, &WEEKDAYS)?;
                found.weekday = Some(day);
                Some(rest)
            }
            Self::HalfDay => {
                let (half, rest) = (text.get(..2)?, text.get(2..)?);
                found.afternoon = half.eq_ignore_ascii_case("pm");
                (found.afternoon || half.eq_ignore_ascii_case("am")).then_some(rest)
            }
            Self::Fraction(most) => {
                let digits = digits(text).min(*most);
                let value = text[..digits].bytes().chain(*b"000").take(3);
                found.millis = value.fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
                (digits > 0).then(|| &text[digits..])
            }
            Self::Offset => {
                let (seconds, rest) = offset(text)?;
                found.zone = Some(TimeZone::fixed(Offset::from_seconds(seconds).ok()?));
                Some(rest)
            }
            Self::ZoneId => {
                let is_of_id = |c: char| !(c.is_ascii_alphanumeric() || "/_+-:".contains(c));
                let (id, rest) = text.split_at(text.find(is_of_id).unwrap_or(text.len()));
                found.zone = Some(TimeZone::get(id).ok()?);
                Some(rest)
            }
            Self::ZoneName => {
                let (name, zone) = ZONE_NAMES.iter().find(|(name, _)| text.starts_with(name))?;
                found.zone = Some(TimeZone::get(zone).ok()?);
                Some(&text[name.len()..])
            }
        }
    }
}

fn digits(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_digit).count()
}

/// A number of at most so many digits, with a sign before them: how many digits, the value, what follows.
fn number(text: &str, most: usize) -> Option<(usize, i64, &str)> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let digits = digits(unsigned).min(most);
    let value: i64 = unsigned[..digits].parse().ok()?;
    Some((digits, if negative { -value } else { value }, &unsigned[digits..]))
}

/// The number, from 1, of the name or its first three letters, in any case; the longer one first.
fn name<'t>(text: &'t str, names: &[&str]) -> Option<(i64, &'t str)> {
    let at_start = |name: &str| text.get(..name.len()).is_some_and(|head| head.eq_ignore_ascii_case(name));
    names.iter().zip(1..).find_map(|(name, number)| {
        let length = [name, &name[..3]].into_iter().find(|name| at_start(name))?.len();
        Some((number, &text[length..]))
    })
}

/// `Z`, `±hh`, `±hhmm`, `±hh:mm`, and seconds in the same way.
fn offset(text: &str) -> Option<(i32, &str)> {
    if let Some(rest) = text.strip_prefix('Z') {
        return Some((0, rest));
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let two = |text: &str| text.get(..2).filter(|two| digits(two) == 2)?.parse::<i32>().ok();
    let mut rest = &text[1..];
    let mut seconds = two(rest)? * 3600;
    rest = &rest[2..];
    let colon = rest.starts_with(':');
    for unit in [60, 1] {
        let next = if colon { rest.strip_prefix(':').unwrap_or_default() } else { rest };
        let Some(value) = two(next).filter(|value| *value < 60) else { break };
        seconds += value * unit;
        rest = &next[2..];
    }
    Some((sign * seconds, rest))
}

/// A year of two digits lies within fifty years of the year thirty years ago.
fn two_digit_year(year: i64) -> i64 {
    let lowest = i64::from(jiff::Zoned::now().year()) - 30 - 50;
    lowest + (year - lowest).rem_euclid(100)
}

impl Found {
    fn set(&mut self, unit: Unit, value: i64) -> Option<()> {
        let within = |range: std::ops::RangeInclusive<i64>| range.contains(&value).then_some(value);
        match unit {
            Unit::Year => self.year = Some(value),
            Unit::Month => self.month = Some(within(1..=12)?),
            Unit::Day => self.day = Some(within(1..=31)?),
            Unit::DayOfYear => self.day_of_year = Some(within(1..=366)?),
            Unit::Weekday => self.weekday = Some(within(1..=7)?),
            Unit::Hour => self.hour = Some(within(0..=23)?),
            Unit::ClockHour => self.hour = Some(within(1..=24)? % 24),
            Unit::HalfHour => self.half_hour = Some(within(0..=11)?),
            Unit::ClockHalfHour => self.half_hour = Some(within(1..=12)? % 12),
            Unit::Minute => self.minute = within(0..=59)?,
            Unit::Second => self.second = within(0..=59)?,
        }
        Some(())
    }

    fn date(&self) -> Option<Date> {
        let dated = [self.month, self.day, self.day_of_year, self.weekday].iter().any(Option::is_some);
        let year = self.year.unwrap_or(if dated { 2000 } else { 1970 });
        let year = i16::try_from(year).ok()?;
        let (month, day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
        let mut date = Date::new(year, i8::try_from(month).ok()?, i8::try_from(day).ok()?).ok()?;
        if let Some(day) = self.day_of_year {
            date = date.with().day_of_year(i16::try_from(day).ok()?).build().ok()?;
        }
        if let Some(weekday) = self.weekday {
            let weekday = Weekday::from_monday_one_offset(i8::try_from(weekday).ok()?).ok()?;
            let days = weekday.to_monday_zero_offset() - date.weekday().to_monday_zero_offset();
            date = date.checked_add(jiff::Span::new().days(days)).ok()?;
        }
        Some(date)
    }

    fn millis(&self, zone: &TimeZone) -> Option<i64> {
        let by_halves = self.half_hour.unwrap_or(0) + if self.afternoon { 12 } else { 0 };
        let hour = self.hour.unwrap_or(by_halves);
        let small = |value: i64| i8::try_from(value).ok();
        let nanos = i32::try_from(self.millis * 1_000_000).ok()?;
        let time = Time::new(small(hour)?, small(self.minute)?, small(self.second)?, nanos).ok()?;
        let zone = self.zone.as_ref().unwrap_or(zone);
        let local = zone.to_ambiguous_timestamp(DateTime::from_parts(self.date()?, time));
        // A time that the clocks skipped is none; of one that they showed twice the first is meant.
        if matches!(local.offset(), AmbiguousOffset::Gap { .. }) {
            return None;
        }
        Some(local.compatible().ok()?.as_millisecond())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    include!("joda_known.rs");

    #[test]
    fn texts_are_read_as_joda_reads_them() {
        let wrong: Vec<_> = KNOWN
            .iter()
            .filter_map(|(pattern, text, zone, expected)| {
                let zone = TimeZone::get(zone).expect("a zone");
                let found = Pattern::new(pattern).ok().and_then(|pattern| pattern.parse(text, &zone));
                (found != *expected).then_some((pattern, text, zone, expected, found))
            })
            .collect();
        assert!(wrong.is_empty(), "pattern, text, zone, Joda, here: {wrong:#?}");
    }

    #[test]
    fn letters_that_are_not_known_are_named() {
        for (pattern, letter) in [("yyyy-bb", "`b`"), ("xxxx", "`x`"), ("G", "`G`")] {
            assert!(Pattern::new(pattern).expect_err("refused").contains(letter));
        }
    }
}
