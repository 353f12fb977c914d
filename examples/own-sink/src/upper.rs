//! A serializer: bodies in upper case, one to a line. `file_roll` uses it by its name in `sink.serializer`.

use flumen_api::event::EventRef;
use flumen_api::registry::{Factory, Spec};
use flumen_api::serializer::{AppendError, EventSerializer};
use flumen_api::settings::settings;

settings! {
    /// Keys of the serializer.
    pub struct UpperSettings {
        /// What stands in front of each line.
        pub prefix: String = key("prefix") { default: Some("") },
    }
}

/// The type for the registry.
pub const SPEC: Spec = Spec {
    alias: "",
    class_names: &["org.example.UpperSerializer$Builder"],
    keys: UpperSettings::KEYS,
    doc: "Bodies in upper case.",
    factory: Factory::Serializer(|config, problems| {
        Some(Box::new(Upper { prefix: UpperSettings::load(config, problems)?.prefix }))
    }),
};

struct Upper {
    prefix: String,
}

impl EventSerializer for Upper {
    fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<(), AppendError> {
        if !event.body.is_ascii() {
            // The sink refuses the event, which then goes to the sink's dead letter.
            return Err(AppendError::Refused("the body has letters beyond ASCII".into()));
        }
        out.extend_from_slice(self.prefix.as_bytes());
        out.extend(event.body.iter().map(u8::to_ascii_uppercase));
        out.push(b'\n');
        Ok(())
    }

    /// Nothing is kept back: what a kill leaves in the file is compared with what comes again.
    fn is_event_by_event(&self) -> bool {
        true
    }

    fn layout(&self) -> &str {
        "org.example.UpperSerializer"
    }
}
