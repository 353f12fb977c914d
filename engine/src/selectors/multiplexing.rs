//! `multiplexing`: a header's value decides which channels an event goes to.
//!
//! ```text
//! a1.sources.r1.selector.header = state
//! a1.sources.r1.selector.mapping.CZ = c1            these, and no others, if state is exactly CZ
//! a1.sources.r1.selector.mapping.US = c2 c3
//! a1.sources.r1.selector.optional.US = c4           this too, if it has room
//! a1.sources.r1.selector.default = c5               header missing, blank, or without a mapping
//! ```
//!
//! The decision is made once for each header set, not for each event. An event that no rule gives a channel goes nowhere:
//! it counts as accepted, as in Flume, and in a metric of its own.

use std::collections::HashMap;

use flumen_api::batch::Batch;
use flumen_api::event::Headers;
use flumen_api::registry::{Factory, Spec};
use flumen_api::selector::{Route, Selected, Selector};
use flumen_api::settings::{ComponentConfig, Family, Problems, settings};

use super::named::places;

settings! {
    /// Keys of the multiplexing selector.
    pub struct MultiplexingSettings {
        /// Name of the header that decides.
        pub header: String = key("header") { default: Some("flume.selector.header") },
        /// `mapping.<value>`: channels of the events whose header has exactly this value, separated by blanks.
        pub mapping: Family = key("mapping.") { },
        /// Channels of all other events. Without it they go nowhere, and are counted.
        pub default: Option<String> = key("default") { },
        /// `optional.<value>`: channels that get the events with this value too, as far as they have room at once.
        pub optional: Family = key("optional.") { },
    }
}

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "multiplexing",
    class_names: &["org.apache.flume.channel.MultiplexingChannelSelector"],
    keys: MultiplexingSettings::KEYS,
    doc: "The value of a header decides which channels an event goes to.",
    factory: Factory::Selector(build),
};

fn build(
    config: &ComponentConfig,
    channels: &[String],
    problems: &mut Problems,
) -> Option<Box<dyn Selector>> {
    let settings = MultiplexingSettings::load(config, problems)?;
    let before = problems.errors();
    let named = |text: &str, key: &str, problems: &mut Problems| {
        places(text, key, channels, config, problems).unwrap_or_default()
    };
    let default = named(settings.default.as_deref().unwrap_or_default(), "default", problems);
    let mut rules: HashMap<String, Rule> = HashMap::new();
    for (value, names) in &settings.mapping.0 {
        let required = named(&names.resolved, &format!("mapping.{value}"), problems);
        rules.insert(value.clone(), Rule { required, optional: Vec::new() });
    }
    for (value, names) in &settings.optional.0 {
        let optional = named(&names.resolved, &format!("optional.{value}"), problems);
        let rule = rules
            .entry(value.clone())
            .or_insert_with(|| Rule { required: default.clone(), optional: Vec::new() });
        rule.optional = optional.into_iter().filter(|at| !rule.required.contains(at)).collect();
    }
    if settings.mapping.0.is_empty() && default.is_empty() && problems.errors() == before {
        problems.error(
            config,
            "type",
            "neither `mapping.<value>` nor `default` names a channel: every event would go nowhere",
        );
    } else if settings.default.is_none() {
        let message = format!(
            "no `default`: events whose header `{}` is missing or has no mapping go nowhere, and count as accepted",
            settings.header
        );
        problems.warn(config, "default", message);
    }
    (problems.errors() == before).then(|| {
        let default = Rule { required: default, optional: Vec::new() };
        Box::new(Multiplexing { header: settings.header, rules, default }) as Box<dyn Selector>
    })
}

/// Places of channels in the source's order.
#[derive(Debug)]
struct Rule {
    required: Vec<usize>,
    optional: Vec<usize>,
}

struct Multiplexing {
    header: String,
    rules: HashMap<String, Rule>,
    default: Rule,
}

impl Multiplexing {
    fn rule(&self, headers: &Headers) -> &Rule {
        match headers.get(&self.header) {
            // Blank as Java's `trim` has it: control characters too.
            Some(value) if value.chars().any(|c| c > ' ') => self.rules.get(value).unwrap_or(&self.default),
            _ => &self.default,
        }
    }
}

impl Selector for Multiplexing {
    fn route(&mut self, batch: &Batch, channels: usize) -> Route {
        // By header set; most sets of a large batch are used, and an unused one costs a look.
        let rules: Vec<&Rule> = batch.sets().iter().map(|set| self.rule(set)).collect();
        let spans = batch.spans();
        let of_all = match rules.as_slice() {
            [rule] => Some(*rule),
            _ => None,
        };
        let lists = |of: fn(&Rule) -> &[usize]| -> Vec<Selected> {
            if let Some(rule) = of_all {
                let all = |at| if of(rule).contains(&at) { Selected::All } else { Selected::None };
                return (0..channels).map(all).collect();
            }
            let mut lists = vec![Vec::new(); channels];
            for (i, span) in spans.iter().enumerate() {
                for &at in of(rules[span.headers as usize]) {
                    lists[at].push(i as u32);
                }
            }
            lists.into_iter().map(|list| selected(list, spans.len())).collect()
        };
        let goes_nowhere = |rule: &Rule| rule.required.is_empty() && rule.optional.is_empty();
        Route {
            required: lists(|rule| &rule.required),
            optional: lists(|rule| &rule.optional),
            nowhere: spans.iter().filter(|span| goes_nowhere(rules[span.headers as usize])).count(),
        }
    }

    fn may_require(&self, channel: usize) -> bool {
        self.rules.values().chain([&self.default]).any(|rule| rule.required.contains(&channel))
    }
}

/// The events of a list out of `count`.
fn selected(list: Vec<u32>, count: usize) -> Selected {
    match list.len() {
        0 => Selected::None,
        length if length == count => Selected::All,
        _ => Selected::Some(list),
    }
}

#[cfg(test)]
mod tests {
    use flumen_api::settings::Kind;

    use super::*;

    fn built(pairs: &[(&str, &str)]) -> (Option<Box<dyn Selector>>, Vec<String>) {
        let config = ComponentConfig::of(Kind::Selector, "r1", pairs);
        let mut problems = Problems::default();
        let channels = ["c1".into(), "c2".into(), "c3".into()];
        let selector = build(&config, &channels, &mut problems);
        (selector, problems.0.iter().map(ToString::to_string).collect())
    }

    const RULES: &[(&str, &str)] = &[
        ("header", "state"),
        ("mapping.CZ", "c1"),
        ("mapping.US", "c1 c2"),
        ("optional.US", "c2 c3"),
        ("optional.AT", "c2"),
        ("default", "c3"),
    ];

    fn batch(states: &[Option<&str>]) -> Batch {
        let mut batch = Batch::new();
        for state in states {
            let headers = state.iter().map(|state| ("state", *state)).collect();
            let set = batch.add_headers(headers);
            batch.push_with(b"x", set);
        }
        batch
    }

    fn some(indexes: &[u32]) -> Selected {
        Selected::Some(indexes.to_vec())
    }

    #[test]
    fn the_headers_exact_value_decides_event_by_event() {
        let (selector, problems) = built(RULES);
        assert_eq!(problems, [""; 0]);
        let states = [Some("CZ"), Some("US"), Some("cz"), None, Some("US"), Some(" CZ")];
        let route = selector.expect("a selector").route(&batch(&states), 3);
        assert_eq!(route.required, [some(&[0, 1, 4]), some(&[1, 4]), some(&[2, 3, 5])]);
        assert_eq!(route.optional, [Selected::None, Selected::None, some(&[1, 4])], "c2 is required already");
        assert_eq!(route.nowhere, 0);
    }

    #[test]
    fn a_blank_header_has_the_default() {
        let (selector, _) = built(&[("header", "state"), ("mapping. ", "c1"), ("default", "c2")]);
        let route = selector.expect("a selector").route(&batch(&[Some(" \t\u{1}"), Some("")]), 3);
        assert_eq!(route.required, [Selected::None, Selected::All, Selected::None]);
    }

    #[test]
    fn an_optional_rule_without_a_mapping_stands_beside_the_default() {
        let route = built(RULES).0.expect("a selector").route(&batch(&[Some("AT")]), 3);
        assert_eq!(route.required, [Selected::None, Selected::None, Selected::All]);
        assert_eq!(route.optional, [Selected::None, Selected::All, Selected::None]);
    }

    #[test]
    fn events_that_share_their_headers_are_routed_as_one() {
        let mut lines = Batch::new();
        lines.set_common_headers(std::sync::Arc::new(Headers::from_iter([("state", "US")])));
        lines.push(b"1");
        lines.push(b"2");
        let route = built(RULES).0.expect("a selector").route(&lines, 3);
        assert_eq!(route.required, [Selected::All, Selected::All, Selected::None]);
    }

    #[test]
    fn without_a_default_what_has_no_mapping_goes_nowhere_and_is_counted() {
        let (selector, problems) = built(&[("header", "state"), ("mapping.CZ", "c1")]);
        assert!(problems[0].contains("warning") && problems[0].contains("default"), "{problems:?}");
        let mut selector = selector.expect("a selector");
        let route = selector.route(&batch(&[Some("US"), Some("CZ"), None]), 3);
        assert_eq!((route.required[0].clone(), route.nowhere), (some(&[1]), 2));
        assert_eq!(selector.route(&batch(&[None]), 3).nowhere, 1);
    }

    #[test]
    fn only_channels_that_some_rule_requires_have_a_say() {
        let (selector, _) = built(&[("mapping.CZ", "c1"), ("optional.CZ", "c2"), ("default", "c1")]);
        let selector = selector.expect("a selector");
        assert_eq!([0, 1, 2].map(|at| selector.may_require(at)), [true, false, false]);
    }

    #[test]
    fn unknown_channels_are_errors_that_name_key_and_channel() {
        for (key, value, bad) in [
            ("mapping.US", "c1 c9", "c9"),
            ("default", "c8", "c8"),
            ("optional.US", "c1,c2", "separated by blanks"),
        ] {
            let (selector, problems) = built(&[("mapping.CZ", "c1"), (key, value)]);
            assert!(selector.is_none());
            let named = |text: &String| text.contains("error") && text.contains(key) && text.contains(bad);
            assert!(problems.iter().any(named), "{problems:?}");
        }
        assert!(built(&[("header", "state")]).0.is_none(), "no rule at all");
    }
}
