//! `failover`: the sink with the highest priority does all the work; when it fails, the next lower one does.
//!
//! ```text
//!   failures in a row   1    2    3    4     5 …
//!   penalty             2 s  4 s  8 s  16 s  30 s (`maxpenalty`)
//! ```
//!
//! A sink that has served its penalty is as good as any: if it is the highest, it gets the next take, so the group returns
//! to it within `maxpenalty` of its recovery. (Flume also gives a batch to a lower sink whose penalty has ended, while a
//! higher one works; here it is asked when it is needed.) When all have failed the group waits for the first penalty to
//! end, a second at least. A sink that says how long it wants to rest (`retry_after`) rests no less.

use std::time::{Duration, Instant};

use flumen_api::processor::Processor;
use flumen_api::registry::{Factory, Spec};
use flumen_api::settings::{ComponentConfig, Family, OnBad, Problems, Unit, settings};

use super::STEP;

/// What the first penalty is twice of.
const PENALTY: Duration = Duration::from_secs(1);
/// Failures in a row beyond which the penalty grows no more, whatever the longest is.
const DOUBLINGS_MAX: u32 = 32;

settings! {
    /// Keys of the failover processor.
    pub struct FailoverSettings {
        /// `priority.<sink>`: a whole number, the higher the sooner. A sink without one has -1, -2 and so on, in the group's
        /// order. Of two sinks with the same priority the later one is never used.
        pub priorities: Family = key("priority.") { },
        /// The longest penalty of a sink that fails again and again.
        pub max_penalty: u64 = key("maxpenalty") {
            default: Some("30000"), unit: Unit::Millis, min: Some(0), on_bad: OnBad::UseDefault
        },
    }
}

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "failover",
    class_names: &["org.apache.flume.sink.FailoverSinkProcessor"],
    keys: FailoverSettings::KEYS,
    doc: "One sink of the group does all the work; when it fails, the one with the next lower priority takes over, until it \
          works again.",
    factory: Factory::Processor(build),
};

fn build(config: &ComponentConfig, sinks: &[String], problems: &mut Problems) -> Option<Box<dyn Processor>> {
    let settings = FailoverSettings::load(config, problems)?;
    for name in settings.priorities.0.keys().filter(|name| !sinks.contains(name)) {
        let key = format!("priority.{name}");
        problems.warn(config, &key, format!("the group has no sink {name} that runs"));
    }
    let ranks = ranks(config, sinks, |key, message| problems.warn(config, key, message));
    warn_of_ascending(config, sinks, problems);
    warn_of_missing(config, sinks, problems);
    Some(Box::new(Failover::new(&ranks, Duration::from_millis(settings.max_penalty))))
}

/// Priorities that rise in the group's order look like ranks, of which the first is the best: here the last one is.
fn warn_of_ascending(config: &ComponentConfig, sinks: &[String], problems: &mut Problems) {
    let priority = |sink: &String| config.get(&format!("priority.{sink}"))?.parse::<i32>().ok();
    let priorities: Option<Vec<i32>> = sinks.iter().map(priority).collect();
    let (Some(priorities), [first, .., last]) = (priorities, sinks) else { return };
    if priorities.is_sorted_by(|a, b| a < b) {
        let message = format!(
            "the higher number wins: {last} ({}) does the work, and {first} ({}) gets events only when it fails. If \
             {first} is to come first, give it the highest number",
            priorities[priorities.len() - 1],
            priorities[0]
        );
        problems.warn(config, &format!("priority.{first}"), message);
    }
}

/// Of sinks without a priority Flume takes the one first that its map has first: it never says which.
fn warn_of_missing(config: &ComponentConfig, sinks: &[String], problems: &mut Problems) {
    let lacking = sinks.iter().filter(|sink| config.get(&format!("priority.{sink}")).is_none());
    let lacking: Vec<&str> = lacking.map(String::as_str).collect();
    if let [first, _, ..] = lacking[..] {
        let message = format!(
            "{} have no priority: they come in this order, {first} first, and behind all that have one. In Flume it depends \
             on how their names hash: give each its own",
            lacking.join(", ")
        );
        problems.warn(config, &format!("priority.{first}"), message);
    }
}

/// Sinks (by their place in `sinks`) with their priorities, the highest first; without those that are never used.
pub(crate) fn ranks(
    config: &ComponentConfig,
    sinks: &[String],
    mut warn: impl FnMut(&str, String),
) -> Vec<(usize, i32)> {
    let mut ranks: Vec<(usize, i32)> = Vec::with_capacity(sinks.len());
    let mut default = 0;
    for (at, sink) in sinks.iter().enumerate() {
        let key = format!("priority.{sink}");
        let given = config.get(&key);
        let priority = match given.map(str::parse::<i32>) {
            Some(Ok(priority)) => priority,
            unusable => {
                default -= 1;
                if unusable.is_some() {
                    let text = given.unwrap_or_default();
                    warn(
                        &key,
                        format!("`{text}` is not a whole number: the sink's default, {default}, is used"),
                    );
                }
                default
            }
        };
        match ranks.iter().find(|(_, other)| *other == priority) {
            Some((other, _)) => {
                let other = &sinks[*other];
                warn(
                    &key,
                    format!(
                        "{other} has the same priority, {priority}, so {sink} is never used; each sink needs its own"
                    ),
                );
            }
            None => ranks.push((at, priority)),
        }
    }
    ranks.sort_by_key(|(_, priority)| std::cmp::Reverse(*priority));
    ranks
}

struct Member {
    sink: usize,
    /// In a row.
    failures: u32,
    penalty_until: Option<Instant>,
    /// It failed since anything was delivered: the others come first, however short its penalty is.
    tried: bool,
}

struct Failover {
    /// The highest priority first.
    members: Vec<Member>,
    max_penalty: Duration,
    /// All have failed.
    rests_until: Option<Instant>,
}

impl Failover {
    fn new(ranks: &[(usize, i32)], max_penalty: Duration) -> Self {
        let member =
            |&(sink, _): &(usize, i32)| Member { sink, failures: 0, penalty_until: None, tried: false };
        Self { members: ranks.iter().map(member).collect(), max_penalty, rests_until: None }
    }

    fn member(&mut self, sink: usize) -> Option<&mut Member> {
        self.members.iter_mut().find(|member| member.sink == sink)
    }
}

impl Processor for Failover {
    fn pick(&mut self, now: Instant) -> Result<usize, Duration> {
        if let Some(until) = self.rests_until {
            if now < until {
                return Err(until - now);
            }
            self.rests_until = None;
            self.members.iter_mut().for_each(|member| member.tried = false);
        }
        let is_ready =
            |member: &&Member| !member.tried && member.penalty_until.is_none_or(|until| until <= now);
        if let Some(member) = self.members.iter().find(is_ready) {
            return Ok(member.sink);
        }
        let first = self.members.iter().filter_map(|member| member.penalty_until).min();
        let rest = first.map_or(STEP, |until| until.saturating_duration_since(now)).max(STEP);
        self.rests_until = now.checked_add(rest);
        Err(rest)
    }

    fn succeeded(&mut self, sink: usize) {
        if let Some(member) = self.member(sink) {
            member.failures = 0;
            member.penalty_until = None;
        }
        self.members.iter_mut().for_each(|member| member.tried = false);
    }

    fn failed(&mut self, sink: usize, now: Instant, retry_after: Option<Duration>) {
        let max_penalty = self.max_penalty;
        let Some(member) = self.member(sink) else { return };
        member.failures = member.failures.saturating_add(1).min(DOUBLINGS_MAX);
        let doubled = PENALTY.saturating_mul(1_u32.checked_shl(member.failures).unwrap_or(u32::MAX));
        let penalty = doubled.min(max_penalty).max(retry_after.unwrap_or_default());
        member.penalty_until = now.checked_add(penalty);
        member.tried = true;
    }
}

#[cfg(test)]
mod tests {
    use flumen_api::settings::Kind;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn built(pairs: &[(&str, &str)]) -> (Box<dyn Processor>, Vec<String>) {
        let config = ComponentConfig::of(Kind::Processor, "g1", pairs);
        let mut problems = Problems::default();
        let sinks = ["k1".into(), "k2".into(), "k3".into()];
        let processor = build(&config, &sinks, &mut problems).expect("a processor");
        (processor, problems.0.iter().map(ToString::to_string).collect())
    }

    fn with_priorities() -> Box<dyn Processor> {
        built(&[("priority.k1", "5"), ("priority.k2", "10"), ("priority.k3", "1")]).0
    }

    #[test]
    fn the_highest_priority_does_all_the_work() {
        let (now, mut group) = (Instant::now(), with_priorities());
        for _ in 0..3 {
            assert_eq!(group.pick(now), Ok(1));
            group.succeeded(1);
        }
    }

    #[test]
    fn a_sink_without_a_priority_stands_behind_those_before_it() {
        let (mut group, problems) = built(&[]);
        let now = Instant::now();
        assert_eq!((group.pick(now), problems.len()), (Ok(0), 1));
        group.failed(0, now, None);
        assert_eq!(group.pick(now), Ok(1));
        let (mut group, _) = built(&[("priority.k1", "-9")]);
        assert_eq!(group.pick(now), Ok(1), "-1, above -9");
    }

    #[test]
    fn after_a_failure_the_next_lower_takes_over_at_once_until_the_penalty_ends() {
        let (now, mut group) = (Instant::now(), with_priorities());
        group.failed(1, now, None);
        assert_eq!(group.pick(now), Ok(0));
        group.succeeded(0);
        assert_eq!(group.pick(now + SECOND), Ok(0));
        assert_eq!(group.pick(now + 2 * SECOND), Ok(1), "the first penalty is two seconds");
        group.succeeded(1);
        assert_eq!(group.pick(now + 2 * SECOND), Ok(1));
    }

    #[test]
    fn penalties_double_up_to_the_longest_and_start_over_after_a_success() {
        let (mut now, mut group) = (Instant::now(), with_priorities());
        for seconds in [2, 4, 8, 16, 30, 30, 30] {
            assert_eq!(group.pick(now), Ok(1));
            group.failed(1, now, None);
            group.succeeded(0);
            assert_eq!(group.pick(now + seconds * SECOND - Duration::from_millis(1)), Ok(0));
            now += seconds * SECOND;
        }
        assert_eq!(group.pick(now), Ok(1));
        group.succeeded(1);
        group.failed(1, now, None);
        group.succeeded(0);
        assert_eq!(group.pick(now + 2 * SECOND), Ok(1));
    }

    #[test]
    fn a_hundred_failures_in_a_row_keep_the_longest_penalty() {
        let (mut now, mut group) = (Instant::now(), with_priorities());
        for _ in 0..100 {
            group.failed(1, now, None);
            group.succeeded(0);
            assert_eq!(
                group.pick(now),
                Ok(0),
                "never an immediate retry, as in Flume from the 22nd failure on"
            );
            now += 30 * SECOND;
        }
    }

    #[test]
    fn when_all_have_failed_the_group_waits_for_the_first_penalty_to_end() {
        let (now, mut group) = (Instant::now(), with_priorities());
        for sink in [1, 0, 2] {
            assert_eq!(group.pick(now), Ok(sink));
            group.failed(sink, now, None);
        }
        assert_eq!(group.pick(now), Err(2 * SECOND));
        assert_eq!(group.pick(now + SECOND), Err(SECOND));
        assert_eq!(group.pick(now + 2 * SECOND), Ok(1));
    }

    #[test]
    fn without_a_penalty_each_sink_still_has_its_turn_and_nothing_spins() {
        let (mut group, _) = built(&[("maxpenalty", "0")]);
        let now = Instant::now();
        for sink in [0, 1, 2] {
            assert_eq!(group.pick(now), Ok(sink));
            group.failed(sink, now, None);
        }
        assert_eq!(group.pick(now), Err(SECOND));
        assert_eq!(group.pick(now + SECOND), Ok(0));
    }

    #[test]
    fn a_sink_that_wants_a_longer_rest_has_it() {
        let (now, mut group) = (Instant::now(), with_priorities());
        group.failed(1, now, Some(60 * SECOND));
        group.succeeded(0);
        assert_eq!(group.pick(now + 59 * SECOND), Ok(0));
        assert_eq!(group.pick(now + 60 * SECOND), Ok(1));
    }

    #[test]
    fn a_priority_given_twice_leaves_out_the_later_sink_and_says_so() {
        let (mut group, problems) =
            built(&[("priority.k1", "7"), ("priority.k2", "7"), ("priority.k9", "1")]);
        assert!(problems.iter().any(|text| text.contains("priority.k2") && text.contains("never used")));
        assert!(problems.iter().any(|text| text.contains("no sink k9")), "{problems:?}");
        let now = Instant::now();
        group.failed(0, now, None);
        assert_eq!(group.pick(now), Ok(2));
    }

    #[test]
    fn sinks_without_a_priority_come_in_the_groups_order_and_are_warned_of() {
        let said = |keys: &[(&str, &str)]| {
            let (_, problems) = built(keys);
            problems.iter().filter(|text| text.contains("have no priority")).cloned().collect::<Vec<_>>()
        };
        let all = said(&[]);
        assert!(all.len() == 1 && all[0].contains("priority.k1: k1, k2, k3 have"), "{all:?}");
        assert!(said(&[("priority.k1", "5")])[0].contains("k2, k3 have no priority"));
        assert_eq!(said(&[("priority.k1", "5"), ("priority.k3", "7")]), [""; 0], "one comes last");
        assert_eq!(built(&[]).0.pick(Instant::now()), Ok(0));
    }

    #[test]
    fn bad_numbers_fall_back_to_the_defaults_with_a_warning() {
        let (mut group, problems) = built(&[("priority.k1", "high"), ("maxpenalty", "long")]);
        assert!(
            problems.iter().any(|text| text.contains("priority.k1") && text.contains("-1")),
            "{problems:?}"
        );
        assert!(problems.iter().any(|text| text.contains("maxpenalty") && text.contains("30000")));
        assert_eq!(group.pick(Instant::now()), Ok(0));
    }
}
