//! Java's SimpleDateFormat, as far as time stamps of logs need it.
//!
//! | letter | what it reads |
//! | --- | --- |
//! | `y` | the year; `yy` is the year within 80 years back and 20 ahead |
//! | `M` | the month's number, or from `MMM` on its English name, short or long |
//! | `d D m s S` | day, day of the year, minute, second, milliseconds |
//! | `H k h K` | hour: 0–23, 1–24, and of half a day 1–12, 0–11 |
//! | `a E` | AM or PM of an `h` or `K`, the day of the week (which says nothing more) |
//! | `Z z X` | `+0800`, `Z`, also with a colon; `GMT`, `UTC`, `UT` and the names of North America's zones, `EST` to `PDT` |
//! | `'…'` | itself; any other character that is no letter too |
//!
//! Numbers may have any length unless another number follows at once. What stands behind the pattern's end is left alone,
//! and fields that overflow roll over, as in Java. What is absent is that of the first of January 1970.

use jiff::tz::TimeZone;

use super::times::{Clock, month};

/// The letters of fields.
const LETTERS: &str = "yMdDHkhKmsSaEZzX";

/// Names of zones, in hours from UTC. Java reads summer's names as summer's offset, whatever the date.
const ZONES: [(&str, i64); 8] =
    [("EST", -5), ("EDT", -4), ("CST", -6), ("CDT", -5), ("MST", -7), ("MDT", -6), ("PST", -8), ("PDT", -7)];

/// A pattern, taken apart.
#[derive(Debug)]
pub(crate) struct DateFormat(Vec<Part>);

#[derive(Debug, PartialEq)]
enum Part {
    Text(char),
    /// A letter and how often it stands.
    Field(char, usize),
}

impl DateFormat {
    /// Reads a pattern; the error names a letter that is not known.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = pattern.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '\'' if rest.next_if_eq(&'\'').is_some() => parts.push(Part::Text('\'')),
                '\'' => loop {
                    match rest.next() {
                        None => return Err(format!("`{pattern}` has a `'` without another one")),
                        Some('\'') if rest.next_if_eq(&'\'').is_none() => break,
                        Some(c) => parts.push(Part::Text(c)),
                    }
                },
                _ if c.is_ascii_alphabetic() => {
                    if !LETTERS.contains(c) {
                        let known = LETTERS.split("").collect::<Vec<_>>().join(" ");
                        return Err(format!(
                            "the letter `{c}` of `{pattern}` is not known here; known are{known}"
                        ));
                    }
                    let mut count = 1;
                    while rest.next_if_eq(&c).is_some() {
                        count += 1;
                    }
                    parts.push(Part::Field(c, count));
                }
                _ => parts.push(Part::Text(c)),
            }
        }
        Ok(Self(parts))
    }

    /// The time that `text` begins with, in milliseconds; in `zone` unless it has one of its own.
    pub fn parse(&self, text: &str, zone: &TimeZone) -> Option<i64> {
        let mut rest = text;
        let mut clock = Clock { year: 1970, month: 1, day: 1, hour: 0, minute: 0, second: 0 };
        let (mut millis, mut afternoon, mut offset) = (0, 0, None);
        let (mut half_day_hour, mut day_of_year) = (None, None);
        for (at, part) in self.0.iter().enumerate() {
            let (letter, count) = match part {
                Part::Text(c) => {
                    rest = rest.strip_prefix(*c)?;
                    continue;
                }
                Part::Field(letter, count) => (*letter, *count),
            };
            rest = rest.trim_start_matches([' ', '\t']);
            if letter == 'M' && count >= 3 {
                let name = word(&mut rest);
                clock.month = month(name.as_bytes().get(..3)?)?;
                continue;
            }
            match letter {
                'E' => drop(word(&mut rest)),
                'a' => {
                    afternoon = match word(&mut rest).to_ascii_uppercase().as_str() {
                        "AM" => 0,
                        "PM" => 12,
                        _ => return None,
                    };
                }
                'Z' | 'z' | 'X' => offset = Some(zone_offset(&mut rest)?),
                _ => {
                    let adjacent = matches!(self.0.get(at + 1), Some(Part::Field(next, width))
                        if "yMdDHkhKmsS".contains(*next) && (*next != 'M' || *width < 3));
                    let digits = digits(&mut rest, if adjacent { count } else { 9 })?;
                    let value: i64 = digits.parse().ok()?;
                    match letter {
                        'y' if count <= 2 && digits.len() == 2 => clock.year = near_year(value),
                        'y' => clock.year = i16::try_from(value).ok()?,
                        'M' => clock.month = value,
                        'd' => (clock.day, day_of_year) = (value, None),
                        'D' => day_of_year = Some(value),
                        'H' => (clock.hour, half_day_hour) = (value, None),
                        'k' => (clock.hour, half_day_hour) = (if value == 24 { 0 } else { value }, None),
                        'h' => half_day_hour = Some(if value == 12 { 0 } else { value }),
                        'K' => half_day_hour = Some(value),
                        'm' => clock.minute = value,
                        's' => clock.second = value,
                        _ => millis = value,
                    }
                }
            }
        }
        if let Some(hour) = half_day_hour {
            clock.hour = hour + afternoon;
        }
        if let Some(day) = day_of_year {
            (clock.month, clock.day) = (1, day);
        }
        let start = match offset {
            Some(offset) => clock.in_zone(&TimeZone::UTC)?.checked_sub(offset)?,
            None => clock.in_zone(zone)?,
        };
        start.checked_add(millis)
    }
}

/// Letters at the beginning, taken off.
fn word<'a>(rest: &mut &'a str) -> &'a str {
    let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    *rest = after;
    word
}

/// Digits at the beginning, at least one and at most `most`, taken off.
fn digits<'a>(rest: &mut &'a str, most: usize) -> Option<&'a str> {
    let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    let (digits, after) = rest.split_at(count);
    *rest = after;
    (count > 0).then_some(digits)
}

/// The zone at the beginning in milliseconds, taken off.
fn zone_offset(rest: &mut &str) -> Option<i64> {
    let name = word(rest);
    if let Some((_, hours)) = ZONES.iter().find(|(zone, _)| zone.eq_ignore_ascii_case(name)) {
        return Some(hours * 3_600_000);
    }
    if !["", "Z", "GMT", "UTC", "UT"].contains(&name) {
        return None;
    }
    let sign = match rest.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ if name.is_empty() => return None,
        _ => return Some(0),
    };
    *rest = &rest[1..];
    let hours: i64 = digits(rest, 2)?.parse().ok()?;
    *rest = rest.strip_prefix(':').unwrap_or(rest);
    let minutes: i64 = digits(rest, 2).map_or(Some(0), |digits| digits.parse().ok())?;
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes) * 60_000)
}

/// The year of two digits within 80 years back and 20 ahead.
fn near_year(two: i64) -> i16 {
    let first = jiff::Timestamp::now().to_zoned(TimeZone::UTC).year() - 80;
    let year = first - first % 100 + two as i16;
    if year < first { year + 100 } else { year }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pattern: &str, text: &str) -> Option<i64> {
        DateFormat::new(pattern).unwrap().parse(text, &TimeZone::UTC)
    }

    #[test]
    fn texts_are_read_as_java_reads_them() {
        for (pattern, text, millis) in [
            ("yyyy-MM-dd'T'HH:mm:ss.SSSZ", "2012-04-13T11:11:11.250+0100", 1_334_311_871_250),
            ("yyyyMMddHHmmss", "20120413111111", 1_334_315_471_000),
            ("EEE MMM d HH:mm:ss yyyy", "Fri Apr 13 11:11:11 2012", 1_334_315_471_000),
            ("d/M/yy h:mm a", "3/4/12 12:05 pm", 1_333_454_700_000),
            ("yyyy-MM-dd HH:mm:ss XXX", "2012-04-13 11:11:11 -02:00 and more", 1_334_322_671_000),
            ("yyyy-MM-dd", "2012-14-32", 1_362_355_200_000),
            ("MMMM d, yyyy 'at' H 'o''clock'", "April 13, 2012 at 11 o'clock", 1_334_314_800_000),
            ("yyyy-MM-dd kk:mm", "2012-04-13 24:05", 1_334_275_500_000),
            ("yyyy-MM-dd kk:mm", "2012-04-13 11:05", 1_334_315_100_000),
            ("yyyy-MM-dd KK:mm a", "2012-04-13 00:05 PM", 1_334_318_700_000),
            ("yyyy-MM-dd hh:mm a", "2012-04-13 12:05 AM", 1_334_275_500_000),
            ("yyyy-MM-dd HH:mm a", "2012-04-13 11:05 PM", 1_334_315_100_000),
            ("yyyyDDD HH", "2012104 11", 1_334_314_800_000),
            ("yyyy-MM-dd HH:mm z", "2012-04-13 11:05 PDT", 1_334_340_300_000),
            ("yyyy-MM-dd HH:mm z", "2012-04-13 11:05 PST", 1_334_343_900_000),
            ("HH:mm zzz yyyy-MM-dd", "11:05 est 2012-04-13", 1_334_333_100_000),
        ] {
            assert_eq!(parse(pattern, text), Some(millis), "{pattern} {text}");
        }
        for (pattern, text) in [("yyyy-MM", "2012/04"), ("HH", "x"), ("MMM", "Foo"), ("Z", "CEST")] {
            assert_eq!(parse(pattern, text), None, "{pattern} {text}");
        }
        assert!(DateFormat::new("yyyy ww").unwrap_err().contains('w'));
        assert!(DateFormat::new("yyyy 'T").is_err());
    }
}
