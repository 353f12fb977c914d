//! `load_balance`: the sinks of the group take turns.
//!
//! ```text
//!   order of the selector ── first sink ─┬─ delivered and flushed ──> the turn is over: a new order
//!                                        └─ failed ──> the next of the order, with the same events
//!                            none left ────────────> the group rests, 1 s to 5 s; a new order
//! ```
//!
//! A turn lasts until what the sink was given is released. A sink that flushes each take, as Flume's do, has one take a
//! turn; one that gathers many for a sync has a window full, so that balancing does not cost a sync a take.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use flumen_api::order::{BackOff, REST_MAX_DEFAULT, Random, RoundRobin};
use flumen_api::processor::{Processor, SinkSelector};
use flumen_api::registry::{Factory, Spec};
use flumen_api::settings::{ComponentConfig, Family, Kind, Problems, Unit, settings};

use super::Rest;

settings! {
    /// Keys of the load-balancing processor.
    pub struct LoadBalanceSettings {
        /// Who is next: `round_robin`, `random`, or the name of a sink selector of your own.
        pub selector: String = key("selector") { default: Some("round_robin") },
        /// Whether a sink that failed is left out for 2 s, and twice as long with each failure that follows. (A sink selector
        /// of your own decides for itself.)
        pub backoff: bool = key("backoff") { default: Some("false") },
        /// The longest that it is left out; 0 is 30 s.
        pub max_time_out: u64 = key("selector.maxTimeOut") { default: Some("30000"), unit: Unit::Millis, min: Some(0) },
        /// `selector.<key>`: keys of a sink selector of your own.
        pub selector_keys: Family = key("selector.") { },
    }
}

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "load_balance",
    class_names: &["org.apache.flume.sink.LoadBalancingSinkProcessor"],
    keys: LoadBalanceSettings::KEYS,
    doc: "The sinks of the group take turns; when one fails, the next gets what it had.",
    factory: Factory::Processor(build),
};

fn build(config: &ComponentConfig, sinks: &[String], problems: &mut Problems) -> Option<Box<dyn Processor>> {
    let settings = LoadBalanceSettings::load(config, problems)?;
    let longest = match settings.max_time_out {
        0 => REST_MAX_DEFAULT,
        millis => Duration::from_millis(millis),
    };
    let back_off = || BackOff::new(sinks.len(), settings.backoff, longest);
    let is = |name: &str| settings.selector.eq_ignore_ascii_case(name);
    let selector: Box<dyn SinkSelector> = match config.types.find(Kind::SinkSelector, &settings.selector) {
        Some(Spec { factory: Factory::SinkSelector(build), .. }) => {
            build(&config.below(Kind::SinkSelector, "selector.", &config.name), sinks, problems)?
        }
        _ if is("round_robin") => Box::new(RoundRobin::new(back_off())),
        _ if is("random") => Box::new(Random::new(back_off())),
        _ => {
            let name = &settings.selector;
            let message =
                format!("there is no sink selector `{name}`: round_robin, random, or one that is built in");
            problems.error(config, "selector", message);
            return None;
        }
    };
    Some(Box::new(LoadBalance::new(selector, sinks.len())))
}

struct LoadBalance {
    selector: Box<dyn SinkSelector>,
    /// Whose turn it is.
    current: Option<usize>,
    /// Who is tried next if it fails.
    next: VecDeque<usize>,
    /// What sinks have asked for themselves.
    wanted: Vec<Option<Instant>>,
    rest: Rest,
}

impl LoadBalance {
    fn new(selector: Box<dyn SinkSelector>, sinks: usize) -> Self {
        let wanted = vec![None; sinks];
        Self { selector, current: None, next: VecDeque::new(), wanted, rest: Rest::default() }
    }

    fn begin_turn(&mut self, now: Instant) {
        let wanted = &self.wanted;
        let mut order = self.selector.order(now);
        order.retain(|&sink| wanted.get(sink).is_some_and(|until| until.is_none_or(|until| until <= now)));
        self.next = order.into();
    }
}

impl Processor for LoadBalance {
    fn pick(&mut self, now: Instant) -> Result<usize, Duration> {
        if let Some(sink) = self.current {
            return Ok(sink);
        }
        if let Some(left) = self.rest.left(now) {
            return Err(left);
        }
        if self.next.is_empty() {
            self.begin_turn(now);
        }
        self.current = self.next.pop_front();
        if self.current.is_none() {
            self.rest.begin(now, None);
        }
        self.current.ok_or_else(|| self.rest.left(now).unwrap_or_default())
    }

    fn succeeded(&mut self, sink: usize) {
        self.rest.end();
        if let Some(wanted) = self.wanted.get_mut(sink) {
            *wanted = None;
        }
        // An older flush of the sink that had the turn before may land when the next has it already.
        if self.current == Some(sink) {
            self.current = None;
            self.next.clear();
        }
    }

    fn failed(&mut self, sink: usize, now: Instant, retry_after: Option<Duration>) {
        self.selector.failed(sink, now);
        if let (Some(wanted), Some(rest)) = (self.wanted.get_mut(sink), retry_after) {
            *wanted = now.checked_add(rest);
        }
        self.next.retain(|&other| other != sink);
        if self.current == Some(sink) {
            self.current = None;
            if self.next.is_empty() {
                self.rest.begin(now, None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use flumen_api::registry::Registry;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn built(pairs: &[(&str, &str)], types: Registry) -> (Option<Box<dyn Processor>>, Vec<String>) {
        let config = ComponentConfig { types, ..ComponentConfig::of(Kind::Processor, "g1", pairs) };
        let mut problems = Problems::default();
        let processor = build(&config, &["k1".into(), "k2".into(), "k3".into()], &mut problems);
        (processor, problems.0.iter().map(ToString::to_string).collect())
    }

    fn group(pairs: &[(&str, &str)]) -> Box<dyn Processor> {
        built(pairs, Registry::empty()).0.expect("a processor")
    }

    #[test]
    fn a_turn_lasts_until_what_was_given_is_released() {
        let (now, mut group) = (Instant::now(), group(&[]));
        for sink in [0, 1, 2, 0] {
            assert_eq!((group.pick(now), group.pick(now)), (Ok(sink), Ok(sink)));
            group.succeeded(sink);
        }
    }

    #[test]
    fn a_late_flush_of_the_one_before_ends_nobodys_turn() {
        let (now, mut group) = (Instant::now(), group(&[]));
        assert_eq!(group.pick(now), Ok(0));
        group.succeeded(0);
        assert_eq!(group.pick(now), Ok(1));
        group.succeeded(0);
        assert_eq!(group.pick(now), Ok(1));
    }

    #[test]
    fn the_next_sink_takes_over_at_once_and_after_the_last_the_group_rests() {
        let (now, mut group) = (Instant::now(), group(&[]));
        for sink in [0, 1, 2] {
            assert_eq!(group.pick(now), Ok(sink));
            group.failed(sink, now, None);
        }
        assert_eq!(group.pick(now), Err(SECOND));
        let later = now + SECOND;
        for sink in [1, 2, 0] {
            assert_eq!(group.pick(later), Ok(sink));
            group.failed(sink, later, None);
        }
        assert_eq!(group.pick(later), Err(2 * SECOND));
    }

    #[test]
    fn with_back_off_a_failed_sink_has_no_turn_for_a_while() {
        let (now, mut group) =
            (Instant::now(), group(&[("backoff", "true"), ("selector.maxTimeOut", "3000")]));
        assert_eq!(group.pick(now), Ok(0));
        group.failed(0, now, None);
        let mut turn = |now| {
            let sink = group.pick(now).expect("a sink");
            group.succeeded(sink);
            sink
        };
        let turns: Vec<_> = (0..4).map(|_| turn(now)).collect();
        assert!(!turns.contains(&0) && turns.contains(&1) && turns.contains(&2), "{turns:?}");
        let turns: Vec<_> = (0..3).map(|_| turn(now + 2 * SECOND)).collect();
        assert!(turns.contains(&0), "{turns:?}");
    }

    #[test]
    fn a_group_whose_sinks_all_back_off_rests() {
        let (now, mut group) = (Instant::now(), group(&[("backoff", "true"), ("selector", "RANDOM")]));
        for _ in 0..3 {
            let sink = group.pick(now).expect("a sink");
            group.failed(sink, now, None);
        }
        assert_eq!(group.pick(now), Err(SECOND));
        assert_eq!(group.pick(now + SECOND), Err(2 * SECOND), "they still back off");
        assert!(group.pick(now + 3 * SECOND).is_ok());
    }

    #[test]
    fn a_sink_that_wants_a_rest_has_it_without_back_off_too() {
        let (now, mut group) = (Instant::now(), group(&[]));
        assert_eq!(group.pick(now), Ok(0));
        group.failed(0, now, Some(60 * SECOND));
        for _ in 0..6 {
            let sink = group.pick(now + 59 * SECOND).expect("a sink");
            assert_ne!(sink, 0);
            group.succeeded(sink);
        }
        let turns: Vec<_> = (0..3)
            .map(|_| {
                let sink = group.pick(now + 60 * SECOND).expect("a sink");
                group.succeeded(sink);
                sink
            })
            .collect();
        assert!(turns.contains(&0), "{turns:?}");
    }

    #[test]
    fn a_selector_of_ones_own_is_asked_and_gets_its_keys() {
        struct Last(usize);
        impl SinkSelector for Last {
            fn order(&mut self, _: Instant) -> Vec<usize> {
                vec![self.0, 99]
            }
        }
        const LAST: Spec = Spec {
            alias: "last",
            class_names: &["com.example.Last"],
            keys: &[],
            doc: "",
            factory: Factory::SinkSelector(|config, sinks, _| {
                let back = config.get("back")?.parse::<usize>().ok()?;
                Some(Box::new(Last(sinks.len() - back)))
            }),
        };
        let pairs = [("selector", "com.example.Last"), ("selector.back", "1")];
        let mut group = built(&pairs, Registry::empty().with(LAST)).0.expect("a processor");
        let now = Instant::now();
        assert_eq!(group.pick(now), Ok(2));
        group.failed(2, now, None);
        assert!(group.pick(now).is_err(), "a number that is no sink is passed over");
    }

    #[test]
    fn an_unknown_selector_is_an_error() {
        let (group, problems) = built(&[("selector", "weighted")], Registry::empty());
        assert!(group.is_none());
        assert!(problems[0].contains("weighted") && problems[0].contains("round_robin"), "{problems:?}");
    }
}
