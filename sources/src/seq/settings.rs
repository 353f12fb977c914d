//! The keys of the `seq` source.

use flumen_api::settings::{Unit, settings};

settings! {
    /// Keys of the `seq` source.
    pub struct SeqSettings {
        /// Events of one put.
        pub batch_size: usize = key("batchSize") {
            default: Some("1"), unit: Unit::Events, min: Some(1), max: Some(10_000_000)
        },
        /// How many events to make in all; then the source has finished.
        pub total_events: u64 = key("totalEvents") {
            default: Some("9223372036854775807"), unit: Unit::Events, min: Some(0)
        },
    }
}
