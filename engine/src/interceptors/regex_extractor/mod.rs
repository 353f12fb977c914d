//! `regex_extractor`: headers from the groups of an expression's first match in the body.
//!
//! ```text
//! a1.sources.r1.interceptors.i1.regex = (\\d+) (\\S+)
//! a1.sources.r1.interceptors.i1.serializers = s1 s2          the first is for group 1, the second for group 2
//! a1.sources.r1.interceptors.i1.serializers.s1.name = status
//! a1.sources.r1.interceptors.i1.serializers.s2.name = when
//! a1.sources.r1.interceptors.i1.serializers.s2.type = org.apache.flume…RegexExtractorInterceptorMillisSerializer
//! ```
//!
//! An event without a match goes on as it is; a group that took no part in the match, and a value that its serializer
//! cannot read, make no header. Events with the same headers and the same values share a header set.

mod joda;
mod millis;

use std::collections::HashMap;

use flumen_api::batch::Batch;
use flumen_api::event::Headers;
use flumen_api::interceptor::{Interceptor, ValueSerializer};
use flumen_api::registry::{Factory, Spec};
use flumen_api::settings::{ComponentConfig, Family, Kind, Problems, Words, settings};
use flumen_java::JavaRegex;

settings! {
    /// Keys of the extracting interceptor.
    pub struct RegexExtractorSettings {
        /// Regular expression (Java's) that is looked for in the body.
        pub regex: String = key("regex") { required: true },
        /// Names of the serializers, the first for the expression's first group and so on, separated by blanks. Groups
        /// beyond them make no header.
        pub serializers: Words = key("serializers") { required: true },
        /// `serializers.<name>.name`: the header, required. `serializers.<name>.type`: `DEFAULT` takes the text as it is;
        /// other types stand below, with their keys.
        pub parts: Family = key("serializers.") { },
    }
}

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "regex_extractor",
    class_names: &["org.apache.flume.interceptor.RegexExtractorInterceptor$Builder"],
    keys: RegexExtractorSettings::KEYS,
    doc: "Adds headers with what the groups of a regular expression match in the body.",
    factory: Factory::Interceptor(build),
};

/// The serializers of this crate.
pub fn serializers() -> [Spec; 2] {
    [AS_IT_IS, millis::SPEC]
}

const AS_IT_IS: Spec = Spec {
    alias: "DEFAULT",
    class_names: &["org.apache.flume.interceptor.RegexExtractorInterceptorPassThroughSerializer"],
    keys: &[],
    doc: "The text as it is.",
    factory: Factory::ValueSerializer(|_, _| Some(Box::new(AsItIs))),
};

struct AsItIs;

impl ValueSerializer for AsItIs {
    fn serialize(&mut self, matched: &str) -> Result<String, String> {
        Ok(matched.to_string())
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Box<dyn Interceptor>> {
    let settings = RegexExtractorSettings::load(config, problems)?;
    let regex = JavaRegex::new(&settings.regex).map_err(|why| problems.error(config, "regex", why)).ok();
    let before = problems.errors();
    let parts: Vec<_> =
        settings.serializers.0.iter().filter_map(|name| part(name, config, problems)).collect();
    for key in settings.parts.0.keys() {
        let name = key.split_once('.').map_or(key.as_str(), |(name, _)| name);
        if !settings.serializers.0.iter().any(|listed| listed == name) {
            problems.warn(
                config,
                &format!("serializers.{key}"),
                format!("`serializers` does not list {name}: ignored"),
            );
        }
    }
    let regex = regex?;
    if parts.len() > regex.groups() {
        let (more, groups) = (settings.serializers.0.len(), regex.groups());
        let message =
            format!("{more} serializers, but the expression has {groups} groups: the last are never used");
        problems.warn(config, "serializers", message);
    }
    let name = config.name.to_string();
    (problems.errors() == before)
        .then(|| Box::new(RegexExtractor { name, regex, parts }) as Box<dyn Interceptor>)
}

/// One `serializers.<name>`.
fn part(name: &str, config: &ComponentConfig, problems: &mut Problems) -> Option<Part> {
    let config = config.below(Kind::ValueSerializer, &format!("serializers.{name}."), name);
    let header = config.get("name").map(str::to_string);
    if header.is_none() {
        problems.error(&config, "name", "required key is missing: the header's name");
    }
    let type_name = config.get("type").unwrap_or("DEFAULT");
    let found = config.types.find(Kind::ValueSerializer, type_name).copied();
    let Some(Spec { factory: Factory::ValueSerializer(build), keys, .. }) = found else {
        let message = format!(
            "there is no serializer `{type_name}`; Java classes of your own cannot be run, they have to be written for \
             this program"
        );
        problems.error(&config, "type", message);
        return None;
    };
    for key in config.values.keys().filter(|key| !["name", "type"].contains(&key.as_str())) {
        if !keys.iter().any(|known| known.matches(key)) {
            problems.warn(&config, key, "the serializer has no such key: ignored");
        }
    }
    let serializer = build(&config, problems)?;
    Some(Part { header: header?, serializer })
}

struct Part {
    header: String,
    serializer: Box<dyn ValueSerializer>,
}

struct RegexExtractor {
    name: String,
    regex: JavaRegex,
    /// By group, from the first.
    parts: Vec<Part>,
}

/// Values for the headers, in the order of the parts.
type Values = Vec<Option<String>>;

impl RegexExtractor {
    fn values(&mut self, text: &str) -> Option<Values> {
        let captures = match self.regex.captures(text) {
            Ok(captures) => captures?,
            Err(_) => {
                tracing::warn!(
                    interceptor = %self.name,
                    "an event goes without headers over which the expression takes too many steps"
                );
                return None;
            }
        };
        let value = |(group, part): (usize, &mut Part)| {
            let matched = captures.get(group + 1)?.as_str();
            match part.serializer.serialize(matched) {
                Ok(value) => Some(value),
                Err(error) => {
                    tracing::warn!(
                        interceptor = %self.name,
                        header = %part.header,
                        "an event goes without this header: {error}"
                    );
                    None
                }
            }
        };
        let values: Values = self.parts.iter_mut().enumerate().map(value).collect();
        values.iter().any(Option::is_some).then_some(values)
    }
}

impl Interceptor for RegexExtractor {
    fn intercept(&mut self, batch: &mut Batch) {
        // By the set that events had and what they get.
        let mut sets: HashMap<(u32, Values), u32> = HashMap::new();
        for i in 0..batch.len() {
            let text = String::from_utf8_lossy(batch.event(i).body);
            let Some(values) = self.values(&text) else { continue };
            let key = (batch.spans()[i].headers, values);
            let set = match sets.get(&key) {
                Some(set) => *set,
                None => {
                    let mut headers = Headers::clone(&batch.sets()[key.0 as usize]);
                    for (part, value) in self.parts.iter().zip(&key.1) {
                        if let Some(value) = value {
                            headers.set(part.header.as_str(), value.as_str());
                        }
                    }
                    let set = batch.add_headers(headers);
                    sets.insert(key, set);
                    set
                }
            };
            batch.use_headers(i, set);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{batch, built, headers, through};
    use super::*;

    const DIGITS: &[(&str, &str)] = &[
        ("regex", "(\\d):(\\d):(\\d)"),
        ("serializers", "s1 s2 s3"),
        ("serializers.s1.name", "one"),
        ("serializers.s2.name", "two"),
        ("serializers.s3.name", "three"),
    ];

    fn extracted(pairs: &[(&str, &str)], text: &str) -> String {
        let mut events = batch(&[(text, &[])]);
        through(SPEC, pairs, &mut events);
        headers(&events).remove(0)
    }

    #[test]
    fn groups_of_the_first_match_become_headers_in_their_order() {
        assert_eq!(extracted(DIGITS, "1:2:3.4foobar5 6:7:8"), "{one=1, two=2, three=3}");
        assert_eq!(extracted(DIGITS, "nothing"), "{}");
        let two = [&[("regex", "(\\d):(\\d)(x)?"), ("serializers", "s1 s2")][..], &DIGITS[2..4]].concat();
        assert_eq!(extracted(&two, "1:2x"), "{one=1, two=2}", "a group beyond the serializers");
    }

    #[test]
    fn a_group_that_took_no_part_makes_no_header_and_an_old_one_stays() {
        let pairs = [&[("regex", "(\\d)(x)?(y)?")], &DIGITS[1..]].concat();
        let mut events = batch(&[("1y", &[("two", "old")])]);
        through(SPEC, &pairs, &mut events);
        assert_eq!(headers(&events), ["{two=old, one=1, three=y}"]);
    }

    #[test]
    fn events_with_the_same_values_share_their_headers() {
        let level = [("regex", "^(\\w+)"), ("serializers", "s1"), ("serializers.s1.name", "level")];
        let mut events = Batch::new();
        for i in 0..1000 {
            events.push(if i % 2 == 0 { b"INFO a" } else { b"WARN b" });
        }
        through(SPEC, &level, &mut events);
        assert_eq!(headers(&events)[..3], ["{level=INFO}", "{level=WARN}", "{level=INFO}"]);
        assert_eq!(events.sets().len(), 3, "two, and the common one");
    }

    #[test]
    fn the_millis_serializer_reads_times_by_its_pattern_and_what_it_cannot_read_makes_no_header() {
        let pairs = [
            ("regex", "^(\\S+ \\S+)"),
            ("serializers", "s1"),
            ("serializers.s1.type", "org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer"),
            ("serializers.s1.name", "timestamp"),
            ("serializers.s1.pattern", "yyyy-MM-dd HH:mm:ssZ"),
        ];
        assert_eq!(extracted(&pairs, "2012-10-18 18:47:57+0200 x"), "{timestamp=1350578877000}");
        assert_eq!(extracted(&pairs, "yesterday noon"), "{}");
    }

    #[test]
    fn what_cannot_work_is_an_error_with_its_key() {
        let without = |key: &str| DIGITS.iter().copied().filter(|(name, _)| *name != key).collect::<Vec<_>>();
        let millis = "org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer";
        for (pairs, key, word) in [
            (without("regex"), "regex", "required"),
            (without("serializers"), "serializers", "required"),
            (without("serializers.s2.name"), "serializers.s2.name", "required"),
            ([&[("regex", "(")], &DIGITS[1..]].concat(), "regex", "`(`"),
            (
                [DIGITS, &[("serializers.s1.type", "com.example.Mine")]].concat(),
                "serializers.s1.type",
                "com.example.Mine",
            ),
            ([DIGITS, &[("serializers.s1.type", millis)]].concat(), "serializers.s1.pattern", "required"),
            (
                [DIGITS, &[("serializers.s1.type", millis), ("serializers.s1.pattern", "yyyy-bb")]].concat(),
                "serializers.s1.pattern",
                "`b`",
            ),
        ] {
            let why = built(SPEC, &pairs).err().expect("refused");
            assert!(why.contains(&format!("i1.{key}")) && why.contains(word), "{why}");
        }
    }
}
