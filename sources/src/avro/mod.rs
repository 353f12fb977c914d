//! The `avro` source, whose keys are declared and whose component is not built yet: `check` reads them, a run leaves the
//! source out.

mod settings;

use flumen_api::registry::{Announced, Factory, Spec};
use flumen_api::settings::Kind;

pub use settings::AvroSourceSettings;

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "avro",
        class_names: &["org.apache.flume.source.AvroSource"],
        keys: AvroSourceSettings::KEYS,
        doc: "Takes events from the avro sinks and clients of others, and answers when they are in the channel.",
        factory: Factory::Announced(Kind::Source, |config, problems| {
            AvroSourceSettings::load(config, problems).map(|_whole| Announced::default())
        }),
    }
}
