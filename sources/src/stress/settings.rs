//! The keys of the stress source.

use flumen_api::settings::{Unit, settings};

settings! {
    /// Keys of the stress source.
    pub struct StressSettings {
        /// Size of each body, all of whose bytes are 0x7f.
        pub size: usize = key("size") { default: Some("500"), unit: Unit::Bytes, min: Some(0), max: Some(1_073_741_824) },
        /// So many events are tried in all, those that a channel refused included; then the source has finished. A negative
        /// number is no limit.
        pub max_total_events: i64 = key("maxTotalEvents") { default: Some("-1"), unit: Unit::Events },
        /// The source has finished once so many events are in the channels, or a few more if `batchSize` does not divide
        /// the number. A negative number is no limit.
        pub max_successful_events: i64 = key("maxSuccessfulEvents") { default: Some("-1"), unit: Unit::Events },
        /// Events of one put.
        pub batch_size: usize = key("batchSize") {
            default: Some("1"), unit: Unit::Events, min: Some(1), max: Some(10_000_000)
        },
        /// Most events in a second, evenly spread; 0 is no limit.
        pub max_events_per_second: i64 = key("maxEventsPerSecond") { default: Some("0"), unit: Unit::Events },
        /// The pause after a refused put is this long, and longer by as much with each further one.
        pub backoff_sleep_increment_ms: u64 = key("backoffSleepIncrement") {
            default: Some("1000"), unit: Unit::Millis, min: Some(0)
        },
        /// The longest such pause.
        pub max_backoff_sleep_ms: u64 = key("maxBackoffSleep") { default: Some("5000"), unit: Unit::Millis, min: Some(0) },
    }
}
