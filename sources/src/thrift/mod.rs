//! The `thrift` source, whose keys are declared and whose component is not built yet: `check` reads them, a run leaves the
//! source out.

mod settings;

use flumen_api::registry::{Announced, Factory, Spec};
use flumen_api::settings::{Key, Kind, join};
use flumen_tls::{ServerKeys, ServerTls};

pub use settings::ThriftSourceSettings;

const KEYS: &[Key] = &join::<{ ThriftSourceSettings::KEYS.len() + ServerKeys::KEYS.len() }>(&[
    ThriftSourceSettings::KEYS,
    ServerKeys::KEYS,
]);

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "thrift",
        class_names: &["org.apache.flume.source.ThriftSource"],
        keys: KEYS,
        doc: "Takes events from the thrift sinks and clients of others, and answers when they are in the channel.",
        factory: Factory::Announced(Kind::Source, |config, problems| {
            let (settings, tls) =
                (ThriftSourceSettings::load(config, problems), ServerTls::load(config, problems));
            settings.and(tls).map(|_whole| Announced::default())
        }),
    }
}
