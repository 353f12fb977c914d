//! Event serializers: what of an event is written to a file, and how.
//!
//! ```text
//!   TEXT              body [\n]
//!   HEADER_AND_TEXT   {k=v, k2=v2} body [\n]       headers as Java prints a map; nothing is escaped
//! ```
//!
//! A sink names its serializer in one key and gives it the keys below a prefix (`sink.serializer.appendNewline`).
//! Names are matched without case, class names exactly, as Flume does.

mod header_and_text;
mod text;

use flumen_api::event::EventRef;
use flumen_api::settings::{ComponentConfig, Family, Problems};

pub use header_and_text::HeaderAndText;
pub use text::Text;

/// Turns events into bytes.
pub trait EventSerializer: Send {
    /// Appends the event's bytes to `out`.
    fn append(&self, event: EventRef<'_>, out: &mut Vec<u8>);

    /// Whether an event's bytes are its body and a newline and nothing else: then whole runs of lines are written as
    /// they lie in the chunk, without looking at one event.
    fn writes_plain_lines(&self) -> bool;

    /// Names the bytes that come out. A file begun with one layout is not continued with another.
    fn layout(&self) -> &'static str;
}

/// Names by which a serializer is asked for; the first is Flume's short one.
struct Named {
    alias: &'static str,
    class_name: &'static str,
    make: Make,
}

enum Make {
    /// Built with `appendNewline`.
    Text(fn(bool) -> Box<dyn EventSerializer>),
    /// Known; the text says what to do instead.
    Unavailable(&'static str),
}

const AVRO_ADVICE: &str = "Avro container files are not built in; write TEXT or HEADER_AND_TEXT here, or pass the \
                           events on with an avro sink and write the container files at its end";

const KNOWN: &[Named] = &[
    Named {
        alias: "TEXT",
        class_name: "org.apache.flume.serialization.BodyTextEventSerializer$Builder",
        make: Make::Text(|newline| Box::new(Text::new(newline))),
    },
    Named {
        alias: "HEADER_AND_TEXT",
        class_name: "org.apache.flume.serialization.HeaderAndBodyTextEventSerializer$Builder",
        make: Make::Text(|newline| Box::new(HeaderAndText::new(newline))),
    },
    Named {
        alias: "AVRO_EVENT",
        class_name: "org.apache.flume.serialization.FlumeEventAvroEventSerializer$Builder",
        make: Make::Unavailable(AVRO_ADVICE),
    },
    Named {
        alias: "",
        class_name: "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder",
        make: Make::Unavailable(AVRO_ADVICE),
    },
];

/// The serializer that `name` names. `key` is the key that holds the name and `family` the keys below
/// `<key>.`; problems are reported on them.
pub fn build(
    name: &str,
    key: &str,
    family: &Family,
    config: &ComponentConfig,
    problems: &mut Problems,
) -> Option<Box<dyn EventSerializer>> {
    let found = KNOWN.iter().find(|known| {
        (!known.alias.is_empty() && known.alias.eq_ignore_ascii_case(name)) || known.class_name == name
    });
    match found.map(|known| &known.make) {
        Some(Make::Text(make)) => Some(make(append_newline(key, family, config, problems))),
        Some(Make::Unavailable(advice)) => {
            problems.error(config, key, format!("serializer {name}: {advice}"));
            None
        }
        None => {
            let advice = match name.eq_ignore_ascii_case("text_with_headers") {
                true => "`header_and_text` is meant",
                false => "a serializer class of one's own needs a JVM; write TEXT or HEADER_AND_TEXT",
            };
            problems.error(config, key, format!("unknown serializer `{name}`: {advice}"));
            None
        }
    }
}

/// Reads the one key that the text serializers have. As Flume reads booleans: only `true`, in any case, is true.
fn append_newline(key: &str, family: &Family, config: &ComponentConfig, problems: &mut Problems) -> bool {
    let mut newline = true;
    for (rest, value) in &family.0 {
        let full = format!("{key}.{rest}");
        if rest != "appendNewline" {
            let meant = match rest.eq_ignore_ascii_case("appendNewline") {
                true => "Flume spells it `appendNewline`; this one is ignored",
                false => "no key of this serializer; it has appendNewline alone",
            };
            problems.warn(config, &full, meant);
            continue;
        }
        newline = value.resolved.eq_ignore_ascii_case("true");
        if !newline && !value.resolved.eq_ignore_ascii_case("false") {
            problems.warn(config, &full, format!("`{}` is read as false, as Flume reads it", value.resolved));
        }
    }
    newline
}

#[cfg(test)]
mod tests {
    use flumen_api::event::Headers;
    use flumen_api::settings::{Key, Kind, Setting};

    use super::*;

    fn build_from(pairs: &[(&str, &str)], name: &str) -> (Option<Box<dyn EventSerializer>>, Problems) {
        let config = ComponentConfig::of(Kind::Sink, "k1", pairs);
        let mut problems = Problems::default();
        let key = Key::new("sink.serializer.", "", "doc");
        let family = Family::load(&key, &config, &mut problems).expect("a family");
        let built = build(name, "sink.serializer", &family, &config, &mut problems);
        (built, problems)
    }

    fn bytes(serializer: &dyn EventSerializer, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
        let headers: Headers = headers.iter().copied().collect();
        let mut out = Vec::new();
        serializer.append(EventRef { headers: &headers, body }, &mut out);
        out
    }

    #[test]
    fn text_is_body_and_newline() {
        let (text, problems) = build_from(&[], "text");
        assert!(problems.0.is_empty());
        assert_eq!(bytes(&*text.expect("built"), &[("a", "1")], b"one\xff"), b"one\xff\n");
        let (text, _) = build_from(&[("sink.serializer.appendNewline", "FALSE")], "TEXT");
        let text = text.expect("built");
        assert_eq!(bytes(&*text, &[("a", "1")], b"one"), b"one");
        assert!(!text.writes_plain_lines());
    }

    #[test]
    fn header_and_text_prints_headers_as_java_does() {
        let class = "org.apache.flume.serialization.HeaderAndBodyTextEventSerializer$Builder";
        let (text, _) = build_from(&[], class);
        let text = text.expect("built");
        assert_eq!(bytes(&*text, &[("k", "v"), ("k2", "v2")], b"body"), b"{k=v, k2=v2} body\n");
        assert_eq!(bytes(&*text, &[], b"body"), b"{} body\n");
        let (text, _) = build_from(&[("sink.serializer.appendNewline", "false")], "HEADER_AND_TEXT");
        assert_eq!(bytes(&*text.expect("built"), &[], b""), b"{} ");
    }

    #[test]
    fn serializers_that_are_not_there_are_refused_with_advice() {
        for name in ["avro_event", "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder"] {
            let (built, problems) = build_from(&[("sink.serializer", name)], name);
            assert!(built.is_none());
            assert!(problems.0[0].to_string().contains("avro sink"), "{}", problems.0[0]);
        }
        let (built, problems) =
            build_from(&[("sink.serializer", "com.example.Mine$Builder")], "com.example.Mine$Builder");
        assert!(built.is_none());
        assert!(
            problems.0[0].to_string().starts_with("test.conf:1: error: a1.sinks.k1.sink.serializer: unknown")
        );
    }

    #[test]
    fn a_mistyped_serializer_key_is_warned_of() {
        let (built, problems) = build_from(&[("sink.serializer.appendNewLine", "false")], "TEXT");
        assert!(built.expect("built").writes_plain_lines());
        assert_eq!((problems.0.len(), problems.errors()), (1, 0));
    }
}
