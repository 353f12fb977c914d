//! `TEXT`: the body, and a newline unless `appendNewline` is false.

use flumen_api::event::EventRef;
use flumen_api::registry::{Factory, Spec};
use flumen_api::serializer::{AppendError, EventSerializer};
use flumen_api::settings::settings;

settings! {
    /// Keys of the text serializers.
    pub struct TextSettings {
        /// Whether a newline follows each event.
        pub append_newline: bool = key("appendNewline") { default: Some("true") },
    }
}

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "TEXT",
    class_names: &["org.apache.flume.serialization.BodyTextEventSerializer$Builder"],
    keys: TextSettings::KEYS,
    doc: "The body, and a newline. Headers are not written.",
    factory: Factory::Serializer(|config, problems| {
        Some(Box::new(Text::new(TextSettings::load(config, problems)?.append_newline)))
    }),
};

/// Writes bodies.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    newline: bool,
}

impl Text {
    /// A serializer that ends each body with a newline, or not.
    pub fn new(newline: bool) -> Self {
        Self { newline }
    }
}

impl EventSerializer for Text {
    fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<(), AppendError> {
        out.extend_from_slice(event.body);
        if self.newline {
            out.push(b'\n');
        }
        Ok(())
    }

    fn writes_plain_lines(&self) -> bool {
        self.newline
    }

    fn is_event_by_event(&self) -> bool {
        true
    }

    fn layout(&self) -> &str {
        if self.newline { "TEXT+newline" } else { "TEXT" }
    }
}
