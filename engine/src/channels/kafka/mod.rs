//! The Kafka channel, whose keys are declared and whose component is not built yet: `check` reads them, a run leaves the
//! channel out.

mod settings;

use flumen_api::registry::{Announced, Factory, Spec};
use flumen_api::settings::Kind;

pub use settings::KafkaChannelSettings;

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "",
        class_names: &["org.apache.flume.channel.kafka.KafkaChannel"],
        keys: KafkaChannelSettings::KEYS,
        doc: "Keeps events in a topic of Kafka.",
        factory: Factory::Announced(Kind::Channel, |config, problems| {
            KafkaChannelSettings::load(config, problems).map(|_whole| Announced::default())
        }),
    }
}
