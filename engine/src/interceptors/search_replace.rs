//! `search_replace`: replaces every match of an expression in the body.
//!
//! A body without a match keeps its very bytes, also those that are no text in the character set (Flume turns these into
//! replacement characters in every body). So does one over which the expression gives up.

use flumen_api::batch::Batch;
use flumen_api::interceptor::Interceptor;
use flumen_api::registry::{Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems, settings};
use flumen_java::{Charset, JavaRegex, Replacement};

settings! {
    /// Keys of the search-and-replace interceptor.
    pub struct SearchReplaceSettings {
        /// Regular expression (Java's) that is looked for in the body.
        pub search_pattern: String = key("searchPattern") { required: true },
        /// What takes the place of each match: `$1` and `${name}` are groups, `\$` is a dollar sign.
        pub replace_string: String = key("replaceString") { default: Some("") },
        /// Character set of the bodies.
        pub charset: String = key("charset") { default: Some("UTF-8") },
    }
}

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "search_replace",
    class_names: &["org.apache.flume.interceptor.SearchAndReplaceInterceptor$Builder"],
    keys: SearchReplaceSettings::KEYS,
    doc: "Replaces each match of a regular expression in the body.",
    factory: Factory::Interceptor(build),
};

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Box<dyn Interceptor>> {
    let settings = SearchReplaceSettings::load(config, problems)?;
    let regex = JavaRegex::new(&settings.search_pattern)
        .map_err(|why| problems.error(config, "searchPattern", why))
        .ok();
    let replacement = regex.as_ref().and_then(|regex| {
        let replacement = Replacement::new(&settings.replace_string, regex);
        replacement.map_err(|why| problems.error(config, "replaceString", why)).ok()
    });
    let charset = Charset::named(&settings.charset);
    if charset.is_none() {
        problems.error(config, "charset", format!("there is no character set `{}`", settings.charset));
    }
    let name = config.name.to_string();
    Some(Box::new(SearchReplace { name, regex: regex?, replacement: replacement?, charset: charset? }))
}

struct SearchReplace {
    name: String,
    regex: JavaRegex,
    replacement: Replacement,
    charset: Charset,
}

impl Interceptor for SearchReplace {
    fn intercept(&mut self, batch: &mut Batch) {
        for i in 0..batch.len() {
            let body = self.charset.decode(batch.event(i).body);
            let replaced = match self.regex.replace_all(&body, &self.replacement) {
                Ok(Some(replaced)) => replaced,
                Ok(None) => continue,
                Err(_) => {
                    tracing::warn!(
                        interceptor = %self.name,
                        "an event is left as it is over which the expression takes too many steps"
                    );
                    continue;
                }
            };
            let body = self.charset.encode(&replaced);
            if body.len() > batch.room() {
                tracing::warn!(
                    interceptor = %self.name,
                    "an event is left as it is: replaced, the bodies of its batch would have more than 4 GiB"
                );
                continue;
            }
            batch.replace_body(i, &body);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{batch, bodies, built, through};
    use super::*;

    fn replaced(pairs: &[(&str, &str)], text: &str) -> String {
        let mut events = batch(&[(text, &[])]);
        through(SPEC, pairs, &mut events);
        bodies(&events).remove(0)
    }

    #[test]
    fn matches_are_replaced_by_javas_rules() {
        let pairs = [("searchPattern", "^prefix(.*)$"), ("replaceString", "$1")];
        assert_eq!(replaced(&pairs, "prefix some text"), " some text");
        assert_eq!(replaced(&[("searchPattern", "\\d+"), ("replaceString", "\\$0")], "a1b22"), "a$0b$0");
        assert_eq!(
            replaced(&[("searchPattern", "[A-Za-z]+\\s")], "The quick end"),
            "end",
            "nothing by default"
        );
        assert_eq!(
            replaced(
                &[("searchPattern", "(?<!\\d)(\\d{4})\\d{8}(\\d{4})"), ("replaceString", "$1****$2")],
                "card 1234567812345678."
            ),
            "card 1234****5678."
        );
    }

    #[test]
    fn only_bodies_with_a_match_are_rewritten() {
        let mut events = Batch::over(b"a\xff\nb1\n".to_vec().into());
        events.push_slice(0, 2);
        events.push_slice(3, 2);
        through(SPEC, &[("searchPattern", "\\d"), ("replaceString", "é")], &mut events);
        let bodies: Vec<_> = events.iter().map(|event| event.body.to_vec()).collect();
        assert_eq!(bodies, [b"a\xff".to_vec(), "bé".into()]);
    }

    #[test]
    fn bodies_are_read_and_written_in_their_character_set() {
        let mut events = Batch::new();
        events.push(b"\xe9t\xe9");
        through(
            SPEC,
            &[("searchPattern", "é$"), ("replaceString", "è"), ("charset", "ISO-8859-1")],
            &mut events,
        );
        assert_eq!(events.event(0).body, b"\xe9t\xe8");
    }

    #[test]
    fn what_cannot_work_is_an_error_with_its_key() {
        for (pairs, key, word) in [
            (&[("searchPattern", "[")][..], "searchPattern", "`[`"),
            (&[("replaceString", "x")], "searchPattern", "required"),
            (&[("searchPattern", "(a)"), ("replaceString", "$2")], "replaceString", "no group 2"),
            (&[("searchPattern", "a"), ("charset", "klingon")], "charset", "klingon"),
        ] {
            let why = built(SPEC, pairs).err().expect("refused");
            assert!(why.contains(&format!("i1.{key}")) && why.contains(word), "{why}");
        }
    }
}
