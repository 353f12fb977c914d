//! Event serializers: what of an event is written to a file, and how.
//!
//! ```text
//!   TEXT              body [\n]
//!   HEADER_AND_TEXT   {k=v, k2=v2} body [\n]       headers as Java prints a map; nothing is escaped
//!   AVRO_EVENT        Avro container of { headers: map of strings, body: bytes }
//!   …AvroEventSerializer$Builder   Avro container of the bodies, each a datum of the schema that a header names
//! ```
//!
//! A sink names its serializer in one key and gives it the keys below that (`sink.serializer.appendNewline`). Names are
//! matched without case, class names exactly, as Flume does; a serializer of one's own is found by the name under which
//! it was registered.

pub mod avro;
mod compressed;
mod header_and_text;
mod text;

use flumen_api::registry::{Factory, Registry, Spec};
use flumen_api::settings::{ComponentConfig, Kind, Problems};

pub use compressed::Compressed;
pub use flumen_api::serializer::{AppendError, EventSerializer};
pub use header_and_text::HeaderAndText;
pub use text::Text;

/// The types of this room.
pub fn specs() -> Vec<Spec> {
    vec![
        text::SPEC,
        header_and_text::SPEC,
        avro::EVENT_SPEC,
        #[cfg(feature = "avro")]
        avro::DATUM_SPEC,
    ]
}

/// The serializer that `name`, the value of `key`, names, with the keys below `<key>.`.
pub fn build(
    name: &str,
    key: &str,
    config: &ComponentConfig,
    problems: &mut Problems,
) -> Option<Box<dyn EventSerializer>> {
    let below = config.below(Kind::Serializer, &format!("{key}."), name);
    let ours = || Registry::empty().with_all(specs()).find(Kind::Serializer, name).copied();
    let found = config.types.find(Kind::Serializer, name).copied().or_else(ours);
    let (keys, class_names, factory) = match found {
        Some(Spec { keys, class_names, factory, .. }) => (keys, class_names, factory),
        None => {
            let of_builder = config.types.find(Kind::Serializer, &format!("{name}$Builder"));
            let advice = match of_builder {
                Some(_) => format!("; `{name}$Builder` is meant"),
                None if name.eq_ignore_ascii_case("text_with_headers") => {
                    "; `header_and_text` is meant".into()
                }
                None => {
                    let known = config.types.of(Kind::Serializer).map(|spec| spec.alias);
                    let known: Vec<_> = known.filter(|alias| !alias.is_empty()).collect();
                    format!(
                        "; known are: {}. Java classes of your own cannot be run, they have to be written for this \
                         program",
                        known.join(", ")
                    )
                }
            };
            problems.error(config, key, format!("there is no serializer `{name}`{advice}"));
            return None;
        }
    };
    for key in below.values.keys() {
        if !keys.iter().any(|known| known.matches(key)) {
            let names: Vec<_> = keys.iter().map(|known| known.name).collect();
            let message =
                format!("the serializer {name} has no such key: ignored; it has: {}", names.join(", "));
            problems.warn(&below, key, message);
        }
    }
    match factory {
        Factory::Serializer(build) => {
            let built = build(&below, problems);
            if built.is_some() {
                warn_of_refusals(class_names, key, config, problems);
            }
            built
        }
        Factory::Unavailable(_, advice) => {
            problems.error(config, key, format!("the serializer `{name}` is {advice}"));
            None
        }
        _ => {
            problems.error(config, key, format!("`{name}` is not a serializer"));
            None
        }
    }
}

/// A serializer that judges bodies, in a sink that has no place for those which it refuses.
#[cfg(feature = "avro")]
fn warn_of_refusals(class_names: &[&str], key: &str, config: &ComponentConfig, problems: &mut Problems) {
    let has_dead_letter =
        config.get("deadLetter.type").is_some_and(|kind| !kind.trim().eq_ignore_ascii_case("off"));
    if class_names == avro::DATUM_SPEC.class_names && !has_dead_letter {
        let message = "a body that is no datum of its schema would spoil its file and is refused: the sink tries it again \
                       for ever, and what comes behind it waits. With `deadLetter.type` it goes there";
        problems.warn(config, key, message);
    }
}

#[cfg(not(feature = "avro"))]
fn warn_of_refusals(_: &[&str], _: &str, _: &ComponentConfig, _: &mut Problems) {}

#[cfg(test)]
mod tests {
    use flumen_api::event::{EventRef, Headers};

    use super::*;
    use crate::testing::config;

    fn build_from(pairs: &[(&str, &str)], name: &str) -> (Option<Box<dyn EventSerializer>>, Problems) {
        let mut problems = Problems::default();
        let built = build(name, "sink.serializer", &config(pairs), &mut problems);
        (built, problems)
    }

    fn bytes(serializer: &mut dyn EventSerializer, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let headers: Headers = headers.iter().copied().collect();
        let mut out = Vec::new();
        serializer.append(EventRef { headers: &headers, body }, &mut out).expect("appended");
        out
    }

    #[test]
    fn text_is_body_and_newline() {
        let (text, problems) = build_from(&[], "text");
        assert!(problems.0.is_empty());
        assert_eq!(bytes(&mut *text.expect("built"), &[("a", "1")], b"one\xff"), b"one\xff\n");
        let (text, _) = build_from(&[("sink.serializer.appendNewline", "FALSE")], "TEXT");
        let mut text = text.expect("built");
        assert_eq!(bytes(&mut *text, &[("a", "1")], b"one"), b"one");
        assert!(!text.writes_plain_lines());
    }

    #[test]
    fn header_and_text_prints_headers_as_java_does() {
        let class = "org.apache.flume.serialization.HeaderAndBodyTextEventSerializer$Builder";
        let (text, _) = build_from(&[], class);
        let mut text = text.expect("built");
        assert_eq!(
            bytes(&mut *text, &[("k", "v"), ("k2", "v2")], b"body"),
            b"{k2=v2, k=v} body\n",
            "by Java's hashes"
        );
        assert_eq!(bytes(&mut *text, &[], b"body"), b"{} body\n");
        let (text, _) = build_from(&[("sink.serializer.appendNewline", "false")], "HEADER_AND_TEXT");
        assert_eq!(bytes(&mut *text.expect("built"), &[], b""), b"{} ");
    }

    #[test]
    fn a_serializer_that_is_not_there_is_refused_with_advice() {
        let name = "com.example.Mine$Builder";
        let (built, problems) = build_from(&[("sink.serializer", name)], name);
        assert!(built.is_none());
        let said = problems.0[0].to_string();
        assert!(said.starts_with("test.conf:1: error: a1.sinks.k1.sink.serializer: there is no"), "{said}");
        assert!(said.contains("HEADER_AND_TEXT"), "{said}");
        let class = "org.apache.flume.serialization.BodyTextEventSerializer";
        let (_, problems) = build_from(&[("sink.serializer", class)], class);
        assert!(problems.0[0].message.contains("$Builder` is meant"), "{}", problems.0[0]);
    }

    #[test]
    fn a_mistyped_serializer_key_is_warned_of() {
        let (built, problems) = build_from(&[("sink.serializer.appendNewLine", "false")], "TEXT");
        assert!(built.expect("built").writes_plain_lines());
        assert_eq!((problems.0.len(), problems.errors()), (1, 0));
        assert_eq!(problems.0[0].key, "a1.sinks.k1.sink.serializer.appendNewLine");
    }

    #[cfg(feature = "avro")]
    #[test]
    fn a_serializer_that_judges_bodies_without_a_dead_letter_is_warned_of() {
        let name = "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder";
        for (kind, warnings) in [(None, 1), (Some("off"), 1), (Some("file"), 0), (Some("channel"), 0)] {
            let keys = kind.map(|kind| ("deadLetter.type", kind));
            let keys: Vec<_> = keys.into_iter().chain([("sink.serializer", name)]).collect();
            let (built, problems) = build_from(&keys, name);
            assert!(built.is_some());
            let said: Vec<_> = problems.0.iter().map(ToString::to_string).collect();
            assert_eq!((said.len(), problems.errors()), (warnings, 0), "{kind:?}: {said:?}");
            assert!(
                said.iter()
                    .all(|line| line.contains("k1.sink.serializer") && line.contains("deadLetter.type"))
            );
        }
        let (_, problems) = build_from(&[("sink.serializer", "AVRO_EVENT")], "AVRO_EVENT");
        assert!(problems.0.is_empty(), "{problems:?}");
    }

    /// The bodies in upper case.
    struct Shout;

    impl EventSerializer for Shout {
        fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<(), AppendError> {
            out.extend(event.body.to_ascii_uppercase());
            Ok(())
        }

        fn is_event_by_event(&self) -> bool {
            true
        }

        fn layout(&self) -> &str {
            "shout"
        }
    }

    #[test]
    fn a_serializer_of_ones_own_is_found_by_its_registered_name() {
        let mut config = config(&[]);
        config.types = config.types.with(Spec {
            alias: "",
            class_names: &["com.example.Shout$Builder"],
            keys: &[],
            doc: "",
            factory: Factory::Serializer(|_, _| Some(Box::new(Shout))),
        });
        let mut problems = Problems::default();
        let built = build("com.example.Shout$Builder", "sink.serializer", &config, &mut problems);
        assert_eq!(bytes(&mut *built.expect("built"), &[], b"one"), b"ONE");
    }
}
