//! `HEADER_AND_TEXT`: the headers as Java prints a map, in its order, a blank, the body, and a newline unless `appendNewline` is
//! false. Nothing is escaped, so the text cannot be read back when headers hold `, ` or `=`.

use std::io::Write;

use flumen_api::event::EventRef;
use flumen_api::registry::{Factory, Spec};
use flumen_api::serializer::{AppendError, EventSerializer};

use super::text::TextSettings;

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "HEADER_AND_TEXT",
    class_names: &["org.apache.flume.serialization.HeaderAndBodyTextEventSerializer$Builder"],
    keys: TextSettings::KEYS,
    doc: "The headers as `{k=v, k2=v2}`, a blank, the body, and a newline. Nothing is escaped.",
    factory: Factory::Serializer(|config, problems| {
        Some(Box::new(HeaderAndText::new(TextSettings::load(config, problems)?.append_newline)))
    }),
};

/// Writes headers and bodies.
#[derive(Clone, Copy, Debug)]
pub struct HeaderAndText {
    newline: bool,
}

impl HeaderAndText {
    /// A serializer that ends each event with a newline, or not.
    pub fn new(newline: bool) -> Self {
        Self { newline }
    }
}

impl EventSerializer for HeaderAndText {
    fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<(), AppendError> {
        write!(out, "{} ", event.headers.as_java()).expect("a Vec takes all that is written");
        out.extend_from_slice(event.body);
        if self.newline {
            out.push(b'\n');
        }
        Ok(())
    }

    fn is_event_by_event(&self) -> bool {
        true
    }

    fn layout(&self) -> &str {
        if self.newline { "HEADER_AND_TEXT+newline" } else { "HEADER_AND_TEXT" }
    }
}
