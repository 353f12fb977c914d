//! Keys of the null sink.

use flumen_api::settings::{Unit, settings};

settings! {
    /// Keys of the null sink.
    pub struct NullSettings {
        /// Most events of one take.
        pub batch_size: usize = key("batchSize") { default: Some("100"), min: Some(1), unit: Unit::Events },
        /// A line is logged each time so many events have gone.
        pub log_every: u64 = key("logEveryNEvents") { default: Some("10000"), min: Some(1), unit: Unit::Events },
    }
}
