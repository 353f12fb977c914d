//! The LogHub source of Aliyun's Flume, whose keys are declared and whose component is not built yet: `check` reads them,
//! a run leaves the source out.

mod settings;

use flumen_api::registry::{Announced, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Kind, Problems};

pub use settings::LogHubSettings;

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "",
        class_names: &["org.apache.flume.source.loghub.LogHubSource"],
        keys: LogHubSettings::KEYS,
        doc: "Reads a logstore of Aliyun's Log Service as a member of a consumer group.",
        factory: Factory::Announced(Kind::Source, check),
    }
}

fn check(config: &ComponentConfig, problems: &mut Problems) -> Option<Announced> {
    let settings = LogHubSettings::load(config, problems)?;
    if settings.consumer_position.eq_ignore_ascii_case("special") && settings.start_time.is_none() {
        problems.error(config, "startTime", "required with `consumerPosition = special`: seconds since 1970");
        return None;
    }
    Some(Announced { batch_size: Some(("batchSize", settings.batch_size)) })
}
