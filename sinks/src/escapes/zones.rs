//! Time zones by the names that Java knows, from a database that is part of the program.
//!
//! ```text
//!   Asia/Shanghai  UTC  EST5EDT  …     the IANA database's names, exactly
//!   PST  IST  CTT  …                   Java's old names of three letters
//!   GMT+8  GMT+08  GMT+0800  GMT+8:00  a fixed distance from Greenwich, at most 23:59
//! ```
//!
//! For anything else Java silently takes GMT, and events go to the directory of another hour; here it is an error.

use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

/// Java's old names. The last three have no summer time, and so are not what their letters suggest.
const OLD_NAMES: &[(&str, &str)] = &[
    ("ACT", "Australia/Darwin"),
    ("AET", "Australia/Sydney"),
    ("AGT", "America/Argentina/Buenos_Aires"),
    ("ART", "Africa/Cairo"),
    ("AST", "America/Anchorage"),
    ("BET", "America/Sao_Paulo"),
    ("BST", "Asia/Dhaka"),
    ("CAT", "Africa/Harare"),
    ("CNT", "America/St_Johns"),
    ("CST", "America/Chicago"),
    ("CTT", "Asia/Shanghai"),
    ("EAT", "Africa/Addis_Ababa"),
    ("ECT", "Europe/Paris"),
    ("IET", "America/Indiana/Indianapolis"),
    ("IST", "Asia/Kolkata"),
    ("JST", "Asia/Tokyo"),
    ("MIT", "Pacific/Apia"),
    ("NET", "Asia/Yerevan"),
    ("NST", "Pacific/Auckland"),
    ("PLT", "Asia/Karachi"),
    ("PNT", "America/Phoenix"),
    ("PRT", "America/Puerto_Rico"),
    ("PST", "America/Los_Angeles"),
    ("SST", "Pacific/Guadalcanal"),
    ("VST", "Asia/Ho_Chi_Minh"),
    ("EST", "GMT-5"),
    ("MST", "GMT-7"),
    ("HST", "GMT-10"),
];

/// The zone of this name. The error says what was probably meant.
pub fn find(id: &str) -> Result<TimeZone, String> {
    if let Some((_, meant)) = OLD_NAMES.iter().find(|(old, _)| *old == id) {
        return find(meant);
    }
    if let Some(rest) = id.strip_prefix("GMT").filter(|rest| rest.starts_with(['+', '-'])) {
        return match fixed(rest) {
            Some(zone) => Ok(zone),
            // The database has GMT+0 and GMT-0, which are fixed as well: nothing of this form is left.
            None => Err(format!("`{id}` is not a time zone: write GMT+8, GMT+0800 or GMT+08:00")),
        };
    }
    let unknown = || {
        let advice = "write an IANA name such as Asia/Shanghai, or a distance such as GMT+8";
        format!("there is no time zone `{id}`, for which Flume would take GMT; {advice}")
    };
    let zone = TimeZoneDatabase::bundled().get(id).map_err(|_not_found| unknown())?;
    match zone.iana_name() {
        // The database's look-up does not tell case; Java's does, and takes GMT for what it does not find.
        Some(name) if name != id => {
            Err(format!("there is no time zone `{id}`, for which Flume would take GMT; `{name}` is meant"))
        }
        _ => Ok(zone),
    }
}

/// `+8`, `+08`, `+0800`, `+8:00`, `+08:00`, as Java reads what follows GMT.
fn fixed(text: &str) -> Option<TimeZone> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let number = |digits: &str| -> Option<i32> {
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let (hours, minutes) = match digits.split_once(':') {
        Some((hours, minutes)) if (1..=2).contains(&hours.len()) && minutes.len() == 2 => {
            (number(hours)?, number(minutes)?)
        }
        Some(_) => return None,
        None if digits.len() <= 2 => (number(digits)?, 0),
        None if digits.len() <= 4 => (number(digits)? / 100, number(digits)? % 100),
        None => return None,
    };
    if hours > 23 || minutes > 59 {
        return None;
    }
    Some(TimeZone::fixed(Offset::from_seconds(sign * (hours * 60 + minutes) * 60).ok()?))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn offset(id: &str) -> i32 {
        let zone = find(id).unwrap_or_else(|error| panic!("{error}"));
        let summer: Timestamp = "2026-07-01T00:00:00Z".parse().expect("a time");
        zone.to_offset(summer).seconds() / 60
    }

    #[test]
    fn javas_names_are_known() {
        for (id, minutes) in [
            ("Asia/Shanghai", 480),
            ("America/New_York", -240),
            ("UTC", 0),
            ("GMT", 0),
            ("GMT0", 0),
            ("PST8PDT", -420),
            ("CTT", 480),
            ("IST", 330),
            ("EST", -300),
            ("PST", -420),
        ] {
            assert_eq!(offset(id), minutes, "{id}");
        }
        for (old, _) in OLD_NAMES {
            offset(old);
        }
    }

    #[test]
    fn distances_from_greenwich_are_read_as_java_reads_them() {
        for (id, minutes) in [
            ("GMT+8", 480),
            ("GMT+08", 480),
            ("GMT+0800", 480),
            ("GMT+830", 510),
            ("GMT+8:30", 510),
            ("GMT-08:30", -510),
            ("GMT+0", 0),
            ("GMT-0", 0),
            ("GMT+23:59", 1439),
        ] {
            assert_eq!(offset(id), minutes, "{id}");
        }
        for id in ["GMT+24", "GMT+8:60", "GMT+", "GMT+x", "GMT+8:0", "GMT+00008", "GMT+8:000", "GMT+１"] {
            assert!(find(id).is_err(), "{id}");
        }
    }

    #[test]
    fn names_that_java_would_take_for_gmt_are_errors() {
        let error = find("asia/shanghai").expect_err("another case");
        assert!(error.contains("`Asia/Shanghai` is meant"), "{error}");
        for id in ["Asia/Peking", "", "UTC+8", "+08:00", "Z", "../etc/localtime"] {
            assert!(find(id).is_err(), "{id}");
        }
    }
}
