//! The keys of the `seq` source.

use flumen_api::settings::{Unit, settings};

/// Why the two keys of Flume's polling loop change nothing here.
const NO_BACKOFF: &str =
    "changes nothing: Flume slept by this key once all events were made, here the source has finished";

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
        /// Flume's pause once all events were made; not needed here.
        pub backoff_sleep_increment_ms: u64 = key("backoffSleepIncrement") {
            default: Some("1000"), unit: Unit::Millis, min: Some(0), inert: Some(NO_BACKOFF)
        },
        /// Flume's longest such pause; not needed here.
        pub max_backoff_sleep_ms: u64 = key("maxBackoffSleep") {
            default: Some("5000"), unit: Unit::Millis, min: Some(0), inert: Some(NO_BACKOFF)
        },
    }
}
