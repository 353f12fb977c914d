//! The `hdfs` sink, whose keys are declared and whose component is not built yet: `check` reads them, a run leaves the
//! sink out.

mod check;
pub mod format;
mod settings;

use flumen_api::registry::{Factory, Spec};
use flumen_api::settings::Kind;

pub use settings::HdfsSettings;

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "hdfs",
        class_names: &["org.apache.flume.sink.hdfs.HDFSEventSink"],
        keys: HdfsSettings::KEYS,
        doc: "Writes events to files of a Hadoop file system, named by time and headers.",
        factory: Factory::Announced(Kind::Sink, check::check),
    }
}
