//! Known answers: what Flume 1.11's own `BucketPath` makes of [`TEMPLATE`] on Java 17, in English.
//!
//! `known.tsv` has a line for each answer: zone, milliseconds, unit and value of the rounding (`-` and 0 without), text.
//! The times are those at which zones do something: clocks that skip an hour, half an hour, midnight or a whole day, that
//! repeat an hour with and without summer time, leap days, years' ends, and plain days between.

use flumen_api::event::Headers;

use super::tests::{escaper, rules};
use super::{RoundUnit, Rounding, zones};

/// Every letter that Flume knows, and two that it does not.
const TEMPLATE: &str = "%a|%A|%b|%B|%c|%d|%e|%D|%H|%I|%j|%k|%l|%m|%n|%M|%p|%s|%S|%t|%y|%Y|%z|%%|%L%q";

#[test]
fn all_escapes_in_all_zones_come_out_as_in_flume() {
    let mut answers = 0;
    for line in include_str!("known.tsv").lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [zone, millis, unit, value, expected] = fields[..] else { panic!("{line}") };
        let unit = match unit {
            "-" => None,
            "second" => Some(RoundUnit::Second),
            "minute" => Some(RoundUnit::Minute),
            _ => Some(RoundUnit::Hour),
        };
        let mut rules = rules(zones::find(zone).expect("a zone"));
        rules.rounding = unit.map(|unit| Rounding { unit, value: value.parse().expect("a number") });
        let headers: Headers = [("timestamp", millis)].into_iter().collect();
        let mut escaper = escaper(TEMPLATE, rules);
        assert_eq!(escaper.resolve(&headers, 0).as_deref(), Ok(expected), "{line}");
        answers += 1;
    }
    assert!(answers > 500, "{answers}");
}
