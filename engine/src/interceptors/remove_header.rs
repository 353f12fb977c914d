//! `remove_header`: takes headers away, by name, by a list of names, by an expression for names.

use std::collections::BTreeSet;
use std::sync::Arc;

use flumen_api::batch::Batch;
use flumen_api::event::Headers;
use flumen_api::interceptor::Interceptor;
use flumen_api::registry::{Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems, settings};
use flumen_java::JavaRegex;

use super::shared::Memo;

settings! {
    /// Keys of the remove-header interceptor.
    pub struct RemoveHeaderSettings {
        /// A header's name.
        pub with_name: Option<String> = key("withName") { },
        /// Names of headers.
        pub from_list: Option<String> = key("fromList") { },
        /// Regular expression (Java's) for what separates the names of the list.
        pub from_list_separator: String = key("fromListSeparator") { default: Some(r"\s*,\s*") },
        /// Regular expression (Java's) that a header's whole name must match.
        pub matching: Option<String> = key("matching") { },
    }
}

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "remove_header",
    class_names: &["org.apache.flume.interceptor.RemoveHeaderInterceptor$Builder"],
    keys: RemoveHeaderSettings::KEYS,
    doc: "Removes the headers that one of its keys names.",
    factory: Factory::Interceptor(build),
};

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Box<dyn Interceptor>> {
    let settings = RemoveHeaderSettings::load(config, problems)?;
    let separator = JavaRegex::new(&settings.from_list_separator)
        .map_err(|why| problems.error(config, "fromListSeparator", why));
    let matching = settings.matching.as_deref().map(JavaRegex::whole).transpose();
    let matching = matching.map_err(|why| problems.error(config, "matching", why));
    let (Ok(separator), Ok(matching)) = (separator, matching) else { return None };
    let mut names: BTreeSet<String> = settings.with_name.into_iter().collect();
    if let Some(list) = &settings.from_list {
        match separator.split(list) {
            Ok(listed) => names.extend(listed),
            Err(_) => {
                problems.error(config, "fromListSeparator", "takes too many steps over the list");
                return None;
            }
        }
    }
    if names.is_empty() && matching.is_none() {
        problems.warn(config, "type", "removes nothing: set withName, fromList or matching");
    }
    Some(Box::new(RemoveHeader { names, matching, memo: Memo::default() }))
}

struct RemoveHeader {
    names: BTreeSet<String>,
    matching: Option<JavaRegex>,
    memo: Memo,
}

impl Interceptor for RemoveHeader {
    fn intercept(&mut self, batch: &mut Batch) {
        let (names, matching) = (&self.names, &self.matching);
        let goes = |name: &str| {
            let matches = |regex: &JavaRegex| regex.is_match(name).unwrap_or(false);
            names.contains(name) || matching.as_ref().is_some_and(matches)
        };
        self.memo.map(batch, |set| {
            if !set.iter().any(|(name, _)| goes(name)) {
                return set.clone();
            }
            let mut headers = Headers::clone(set);
            headers.retain(|name, _| !goes(name));
            Arc::new(headers)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{batch, built, headers, through};
    use super::*;

    const ALL: &[(&str, &str)] = &[("a", "1"), ("b", "2"), ("ab", "3"), ("c d", "4")];

    fn left(pairs: &[(&str, &str)]) -> String {
        let mut events = batch(&[("x", ALL)]);
        through(SPEC, pairs, &mut events);
        headers(&events).remove(0)
    }

    #[test]
    fn headers_go_by_name_by_list_and_by_expression() {
        assert_eq!(left(&[("withName", "a")]), "{b=2, ab=3, c d=4}");
        assert_eq!(left(&[("fromList", "a , b,,zz")]), "{ab=3, c d=4}");
        assert_eq!(left(&[("fromList", "a;c d"), ("fromListSeparator", ";")]), "{b=2, ab=3}");
        assert_eq!(left(&[("matching", "a.*")]), "{b=2, c d=4}");
        assert_eq!(left(&[("matching", "b")]), "{a=1, ab=3, c d=4}", "the whole name has to match");
        assert_eq!(left(&[("withName", "b"), ("fromList", "ab"), ("matching", ".* .*")]), "{a=1}");
        assert_eq!(left(&[]), "{a=1, b=2, ab=3, c d=4}");
    }

    #[test]
    fn an_expression_that_does_not_compile_is_an_error_with_its_key() {
        for key in ["matching", "fromListSeparator"] {
            let why = built(SPEC, &[(key, "(")]).err().expect("refused");
            assert!(why.contains(&format!(":1: error: a1.interceptors.i1.{key}")), "{why}");
        }
    }
}
