//! The `thrift` sink, whose keys are declared and whose component is not built yet: `check` reads them, a run leaves the
//! sink out.

mod settings;

use flumen_api::registry::{Announced, Factory, Spec};
use flumen_api::settings::Kind;

pub use settings::ThriftSinkSettings;

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "thrift",
        class_names: &["org.apache.flume.sink.ThriftSink"],
        keys: ThriftSinkSettings::KEYS,
        doc: "Sends events to the thrift source of another agent, and waits for its answer.",
        factory: Factory::Announced(Kind::Sink, |config, problems| {
            let settings = ThriftSinkSettings::load(config, problems)?;
            // Flume takes its default for a batch below 1.
            let batch = usize::try_from(settings.batch_size).ok().filter(|batch| *batch > 0);
            Some(Announced { batch_size: Some(("batch-size", batch.unwrap_or(100))) })
        }),
    }
}
