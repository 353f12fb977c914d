//! The `thrift` source, whose keys are declared and whose component is not built yet: `check` reads them, a run leaves the
//! source out.

mod settings;

use flumen_api::registry::{Announced, Factory, Spec};
use flumen_api::settings::Kind;

pub use settings::ThriftSourceSettings;

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "thrift",
        class_names: &["org.apache.flume.source.ThriftSource"],
        keys: ThriftSourceSettings::KEYS,
        doc: "Takes events from the thrift sinks and clients of others, and answers when they are in the channel.",
        factory: Factory::Announced(Kind::Source, |config, problems| {
            ThriftSourceSettings::load(config, problems).map(|_whole| Announced::default())
        }),
    }
}
