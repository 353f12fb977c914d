//! `regex_filter`: keeps the events whose body has a match somewhere, or drops them.
//!
//! Bodies are read as UTF-8, with U+FFFD for what is none. An event over which the expression gives up is kept.

use flumen_api::batch::Batch;
use flumen_api::interceptor::Interceptor;
use flumen_api::registry::{Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems, settings};
use flumen_java::JavaRegex;

settings! {
    /// Keys of the filtering interceptor.
    pub struct RegexFilterSettings {
        /// Regular expression (Java's) that is looked for in the body.
        pub regex: String = key("regex") { default: Some(".*") },
        /// `true` drops the events that match; `false` drops those that do not.
        pub exclude_events: bool = key("excludeEvents") { default: Some("false") },
    }
}

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "regex_filter",
    class_names: &["org.apache.flume.interceptor.RegexFilteringInterceptor$Builder"],
    keys: RegexFilterSettings::KEYS,
    doc: "Drops the events whose body does not match a regular expression, or those whose body does. What is dropped is \
          counted in `flumen_source_events_dropped_by_interceptors_total`.",
    factory: Factory::Interceptor(build),
};

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Box<dyn Interceptor>> {
    let settings = RegexFilterSettings::load(config, problems)?;
    let regex = JavaRegex::new(&settings.regex).map_err(|why| problems.error(config, "regex", why)).ok()?;
    let (name, exclude) = (config.name.to_string(), settings.exclude_events);
    Some(Box::new(RegexFilter { name, regex, exclude }))
}

struct RegexFilter {
    name: String,
    regex: JavaRegex,
    exclude: bool,
}

impl Interceptor for RegexFilter {
    fn intercept(&mut self, batch: &mut Batch) {
        let Self { name, regex, exclude } = self;
        batch.retain(|_, event| match regex.is_match(&String::from_utf8_lossy(event.body)) {
            Ok(matches) => matches != *exclude,
            Err(_) => {
                tracing::warn!(interceptor = %name, "an event is kept over which the expression takes too many steps");
                true
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{batch, bodies, built, through};
    use super::*;

    fn left(pairs: &[(&str, &str)], texts: &[&str]) -> Vec<String> {
        let events: Vec<(&str, &[(&str, &str)])> = texts.iter().map(|text| (*text, &[][..])).collect();
        let mut events = batch(&events);
        through(SPEC, pairs, &mut events);
        bodies(&events)
    }

    #[test]
    fn a_match_anywhere_keeps_or_drops() {
        let texts = ["INFO a", "an ERROR", "WARN"];
        assert_eq!(left(&[("regex", "ERROR|WARN")], &texts), ["an ERROR", "WARN"]);
        assert_eq!(left(&[("regex", "ERROR|WARN"), ("excludeEvents", "true")], &texts), ["INFO a"]);
        assert_eq!(left(&[], &["", "\n", "x"]), ["", "\n", "x"], "the default keeps all");
        assert_eq!(left(&[("regex", "^(?!.*DEBUG).*$")], &["DEBUG x", "x"]), ["x"]);
    }

    #[test]
    fn an_event_that_takes_too_many_steps_is_kept() {
        let long = "a".repeat(40);
        for exclude in ["true", "false"] {
            assert_eq!(left(&[("regex", "(?=(a+)+\\1b)"), ("excludeEvents", exclude)], &[&long]).len(), 1);
        }
    }

    #[test]
    fn an_expression_that_does_not_compile_is_an_error_with_its_line() {
        let why = built(SPEC, &[("regex", "a(b")]).err().expect("refused");
        assert!(why.contains("test.conf:1: error: a1.interceptors.i1.regex") && why.contains("a(b"), "{why}");
    }
}
