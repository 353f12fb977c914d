//! The Kafka sink, whose keys are declared and whose component is not built yet: `check` reads them, a run leaves the
//! sink out.

mod settings;

use flumen_api::registry::{Announced, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Kind, Problems};

pub use settings::KafkaSinkSettings;

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "",
        class_names: &["org.apache.flume.sink.kafka.KafkaSink"],
        keys: KafkaSinkSettings::KEYS,
        doc: "Writes events to a topic of Kafka.",
        factory: Factory::Announced(Kind::Sink, check),
    }
}

fn check(config: &ComponentConfig, problems: &mut Problems) -> Option<Announced> {
    let settings = KafkaSinkSettings::load(config, problems)?;
    Some(Announced { batch_size: Some(("flumeBatchSize", settings.batch_size)) })
}
