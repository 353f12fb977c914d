use flumen_api::settings::{ComponentConfig, Kind, Problems};
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;

/// 2026-11-21 07:31:05.123 in Greenwich.
const THEN: i64 = 1_795_246_265_123;

pub(super) fn rules(zone: TimeZone) -> TimeRules {
    TimeRules { rounding: None, zone, use_clock: false }
}

pub(super) fn escaper(template: &str, rules: TimeRules) -> Escaper {
    with_policy(template, rules, Policy::default())
}

fn with_policy(template: &str, rules: TimeRules, policy: Policy) -> Escaper {
    let hosts =
        HostNames { local: "box".into(), address: "10.1.2.3".into(), canonical: "box.example.org".into() };
    let template = Template::parse(template).expect("a template");
    Escaper::new(&template, &hosts, rules, policy, Counter::default())
}

fn utc(template: &str) -> Escaper {
    escaper(template, rules(TimeZone::UTC))
}

fn headers(pairs: &[(&str, &str)]) -> Headers {
    pairs.iter().copied().collect()
}

fn at(millis: i64) -> Headers {
    headers(&[("timestamp", &millis.to_string())])
}

#[test]
fn headers_hosts_and_times_stand_between_text() {
    let mut path = utc("/flume/%{web.log-1}/%[LocalHost]-%[ip]-%[FQDN]/%Y-%m-%d/%H%M_100%%");
    let event = headers(&[("timestamp", "1795246265123"), ("web.log-1", "a$1\\b")]);
    let text = "/flume/a$1\\b/box-10.1.2.3-box.example.org/2026-11-21/0731_100%";
    assert_eq!(path.resolve(&event, 0), Ok(text));
    assert_eq!(path.resolve(&event, 0), Ok(text), "from the cache");
}

#[test]
fn what_is_no_escape_is_text() {
    for text in ["100%", "%", "%-", "%{}", "%{a b}", "%{open", "%[]", "%[a-b]", "%é", "%{é}", "%["] {
        assert_eq!(utc(text).resolve(&headers(&[]), 0), Ok(text), "{text}");
    }
    assert_eq!(utc("%%{h}").resolve(&headers(&[("h", "x")]), 0), Ok("%{h}"), "the first % is used up");
    assert_eq!(utc("a%Lb%qc%_d%1e").resolve(&headers(&[]), 0), Ok("abcde"), "unknown letters are nothing");
}

#[test]
fn the_milliseconds_are_the_headers_text_and_are_not_rounded() {
    let mut rules = rules(TimeZone::UTC);
    rules.rounding = Some(Rounding { unit: RoundUnit::Minute, value: 10 });
    let mut path = escaper("%t %s %H:%M:%S", rules);
    assert_eq!(
        path.resolve(&headers(&[("timestamp", "+001795246265123")]), 0),
        Ok("+001795246265123 1795246200 07:30:00")
    );
    assert_eq!(path.resolve(&at(THEN + 1), 0), Ok("1795246265124 1795246200 07:30:00"));
}

#[test]
fn a_second_that_was_kept_does_not_answer_for_another() {
    let mut path = utc("%H:%M:%S %{h}");
    for (millis, expected) in [
        (THEN, "07:31:05 x"),
        (THEN + 800, "07:31:05 x"),
        (THEN + 877, "07:31:06 x"),
        (THEN, "07:31:05 x"),
        (-1, "23:59:59 x"),
        (-999, "23:59:59 x"),
        (-1001, "23:59:58 x"),
        (0, "00:00:00 x"),
    ] {
        let event = headers(&[("timestamp", &millis.to_string()), ("h", "x")]);
        assert_eq!(path.resolve(&event, 0), Ok(expected), "{millis}");
    }
}

#[test]
fn seconds_before_1970_are_cut_towards_zero_as_java_divides() {
    let mut path = utc("%s");
    for (millis, expected) in [(-999, "0"), (-1000, "-1"), (-1999, "-1"), (-2000, "-2")] {
        assert_eq!(path.resolve(&at(millis), 0), Ok(expected));
    }
}

#[test]
fn the_clock_counts_where_a_key_says_so() {
    let mut rules = rules(TimeZone::UTC);
    rules.use_clock = true;
    let mut path = escaper("%H:%M:%S %t", rules);
    assert_eq!(path.resolve(&at(0), THEN), Ok("07:31:05 1795246265123"));
    assert_eq!(path.resolve(&headers(&[("timestamp", "soon")]), THEN + 1000), Ok("07:31:06 1795246266123"));
    assert_eq!(path.fallbacks.get(), 0);
}

#[test]
fn an_event_without_a_usable_time_takes_the_clocks_and_is_counted() {
    let mut path = utc("%H:%M:%S %t");
    for (i, bad) in
        ["", "soon", "1795246265123 ", "1.5e12", "1795246265123000", "-99999999999999"].iter().enumerate()
    {
        let event = headers(&[("timestamp", bad)]);
        assert_eq!(path.resolve(&event, THEN), Ok("07:31:05 1795246265123"), "{bad}");
        assert_eq!(path.fallbacks.get(), i as u64 + 1);
    }
    assert_eq!(path.resolve(&headers(&[]), THEN), Ok("07:31:05 1795246265123"));
}

#[test]
fn an_event_without_a_usable_time_is_refused_where_a_key_says_so() {
    let policy = Policy { on_missing_time: OnMissing::Refuse, ..Policy::default() };
    let mut path = with_policy("%H %{h}", rules(TimeZone::UTC), policy.clone());
    assert_eq!(path.resolve(&headers(&[]), THEN), Err(Lacking::Timestamp));
    let long = "9".repeat(1000);
    let refused = path.resolve(&headers(&[("timestamp", &long)]), THEN).expect_err("no time");
    assert!(refused.to_string().len() < 250, "{refused}");
    assert_eq!(path.resolve(&at(THEN), 0), Ok("07 "), "the next event is none the worse for it");
    let mut path = with_policy("100%% %{h}", rules(TimeZone::UTC), policy);
    assert_eq!(path.resolve(&headers(&[]), THEN), Ok("100% "), "nothing here needs a time");
}

#[test]
fn a_missing_header_is_nothing_or_a_text_or_refuses_the_event() {
    let none = headers(&[("other", "x")]);
    let mut path = utc("/%{h}/");
    assert_eq!(path.resolve(&none, 0), Ok("//"));
    assert_eq!(path.fallbacks.get(), 0, "that is how Flume has it");
    let policy = Policy { header_fallback: "unknown".into(), ..Policy::default() };
    let mut path = with_policy("/%{h}/", rules(TimeZone::UTC), policy);
    assert_eq!(path.resolve(&none, 0), Ok("/unknown/"));
    assert_eq!(path.fallbacks.get(), 1);
    let policy = Policy { on_missing_header: OnMissing::Refuse, ..Policy::default() };
    let mut path = with_policy("/%{h}/", rules(TimeZone::UTC), policy);
    assert_eq!(path.resolve(&none, 0), Err(Lacking::Header("h".into())));
    assert_eq!(path.resolve(&headers(&[("h", "")]), 0), Ok("//"), "an empty header is there");
}

#[test]
fn a_header_that_leads_out_of_the_path_counts_as_missing() {
    for climbing in ["..", "../x", "a/../../b", "a/..", "a\0b"] {
        let event = headers(&[("h", climbing)]);
        let mut path = utc("/d/%{h}/x");
        assert_eq!(path.resolve(&event, 0), Ok("/d//x"), "{climbing:?}");
        assert_eq!(path.fallbacks.get(), 1);
        let policy = Policy { on_missing_header: OnMissing::Refuse, ..Policy::default() };
        let mut path = with_policy("/d/%{h}/x", rules(TimeZone::UTC), policy);
        assert!(matches!(path.resolve(&event, 0), Err(Lacking::Climbing(..))), "{climbing:?}");
    }
    for harmless in ["a/b", "a..b", "...", "..a/b..", "."] {
        let event = headers(&[("h", harmless)]);
        assert_eq!(utc("%{h}").resolve(&event, 0), Ok(harmless));
    }
    let policy = Policy { is_path: false, ..Policy::default() };
    let mut topic = with_policy("%{h}", rules(TimeZone::UTC), policy);
    assert_eq!(topic.resolve(&headers(&[("h", "../x")]), 0), Ok("../x"), "a topic is no path");
}

#[test]
fn an_unknown_host_escape_is_an_error_when_the_configuration_is_read() {
    let error = Template::parse("/%[hostname]/").expect_err("unknown");
    assert!(error.to_string().contains("%[FQDN]"), "{error}");
}

fn read(keys: &TimeKeys<'_>) -> (Option<TimeRules>, Problems) {
    let config = ComponentConfig::of(Kind::Sink, "k1", &[("hdfs.roundValue", "x"), ("hdfs.timeZone", "y")]);
    let mut problems = Problems::default();
    (TimeRules::of(keys, &config, &mut problems), problems)
}

const KEYS: TimeKeys<'static> = TimeKeys {
    prefix: "hdfs.",
    round: true,
    round_value: 1,
    round_unit: "second",
    time_zone: None,
    use_local: false,
};

#[test]
fn round_values_out_of_bounds_are_errors_only_where_something_is_rounded() {
    for (unit, max) in [("second", 60), ("MINUTE", 60), ("Hour", 24)] {
        for (value, ok) in
            [(0, false), (1, true), (max, true), (max + 1, false), (-1, false), (1 << 40, false)]
        {
            let keys = TimeKeys { round_unit: unit, round_value: value, ..KEYS };
            let (rules, problems) = read(&keys);
            assert_eq!((rules.is_some(), problems.errors()), (ok, usize::from(!ok)), "{unit} {value}");
            assert_eq!(read(&TimeKeys { round: false, ..keys }).1.0, []);
        }
    }
}

#[test]
fn an_unknown_round_unit_rounds_nothing_and_an_unknown_zone_is_an_error() {
    let (rules, problems) = read(&TimeKeys { round_unit: "day", round_value: 99, ..KEYS });
    assert_eq!(rules.expect("usable").rounding, None);
    assert_eq!((problems.0.len(), problems.errors()), (1, 0));
    let (rules, problems) = read(&TimeKeys { time_zone: Some("Asia/Peking"), ..KEYS });
    assert!(rules.is_none());
    assert_eq!(problems.0[0].key, "a1.sinks.k1.hdfs.timeZone");
    let (rules, _) = read(&TimeKeys { time_zone: Some("GMT+8"), ..KEYS });
    assert!(rules.is_some());
}

/// Zones with and without summer time, by whole and half hours, and one that skipped a day.
const ZONES: [&str; 7] = [
    "UTC",
    "Asia/Shanghai",
    "America/New_York",
    "Australia/Lord_Howe",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "America/Sao_Paulo",
];

proptest! {
    #[test]
    fn any_template_and_headers_come_out_or_say_why(text in ".{0,40}", value in ".{0,10}", time in "[0-9+ -]{0,20}") {
        if let Ok(template) = Template::parse(&text) {
            let mut path = Escaper::new(
                &template, &HostNames::default(), rules(TimeZone::UTC), Policy::default(), Counter::default());
            let event = headers(&[("timestamp", &time), ("h", &value)]);
            let first = path.resolve(&event, THEN).map(str::to_string);
            prop_assert_eq!(path.resolve(&event, THEN).map(str::to_string), first);
        }
    }

    #[test]
    fn the_cache_changes_no_answer(times in proptest::collection::vec(-3000i64..3000, 1..40), rounded in any::<bool>()) {
        let text = "%s %S %{h} %t %H%M";
        let mut rules = rules(TimeZone::UTC);
        rules.rounding = rounded.then_some(Rounding { unit: RoundUnit::Second, value: 2 });
        let mut kept = escaper(text, rules.clone());
        for millis in times {
            let fresh = escaper(text, rules.clone()).resolve(&at(millis), 0).map(str::to_string);
            prop_assert_eq!(kept.resolve(&at(millis), 0).map(str::to_string), fresh);
        }
    }

    #[test]
    fn rounding_clears_what_is_smaller_and_never_goes_ahead_of_the_local_time(
        zone in 0..ZONES.len(), millis in 0i64..4_102_444_800_000, unit in 0..3, value in 1i8..=60,
    ) {
        let zone = zones::find(ZONES[zone]).expect("a zone");
        let unit = [RoundUnit::Second, RoundUnit::Minute, RoundUnit::Hour][unit as usize];
        let value = if unit == RoundUnit::Hour { (value - 1) % 24 + 1 } else { value };
        let plain = escaper("%Y%m%d%H%M%S", rules(zone.clone())).resolve(&at(millis), 0).map(str::to_string);
        let mut rules = rules(zone);
        rules.rounding = Some(Rounding { unit, value });
        let rounded = escaper("%Y%m%d%H%M%S", rules.clone()).resolve(&at(millis), 0).map(str::to_string);
        let (plain, rounded) = (plain.expect("usable"), rounded.expect("usable"));
        // Only a local time that clocks skip is moved ahead, and then to the first that they show.
        let moved = jiff::Timestamp::from_millisecond(millis).expect("in range");
        let skipped = (0..3).any(|hours| {
            let earlier = moved - jiff::SignedDuration::from_hours(hours);
            rules.zone.to_offset(earlier) != rules.zone.to_offset(moved)
        });
        prop_assert!(rounded <= plain || skipped, "{rounded} of {plain}");
        if !skipped {
            let digits = &rounded[match unit { RoundUnit::Second => 14, RoundUnit::Minute => 12, RoundUnit::Hour => 10 }..];
            prop_assert!(digits.bytes().all(|digit| digit == b'0'), "{rounded}");
            let field: i8 = rounded[match unit { RoundUnit::Second => 12..14, RoundUnit::Minute => 10..12, RoundUnit::Hour => 8..10 }]
                .parse().expect("a number");
            prop_assert_eq!(field % value, 0);
        }
    }
}
