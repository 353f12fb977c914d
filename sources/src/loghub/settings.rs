//! Keys of the LogHub source.

use flumen_api::settings::{Unit, settings};

settings! {
    /// Keys of the LogHub source.
    pub struct LogHubSettings {
        /// The service's endpoint.
        pub endpoint: String = key("endpoint") { required: true },
        /// The project.
        pub project: String = key("project") { required: true },
        /// The logstore.
        pub logstore: String = key("logstore") { required: true },
        /// Who asks.
        pub access_key_id: String = key("accessKeyId") { required: true },
        /// The secret of who asks.
        pub access_key: String = key("accessKey") { required: true, secret: true },
        /// Whether the header `timestamp` is when the record came to the service. Else it is when it was read, and late
        /// records land in wrong time buckets.
        pub use_record_time: bool = key("useRecordTime") { default: Some("false") },
        /// The consumer group; made if it is missing.
        pub consumer_group: String = key("consumerGroup") { default: Some("consumer_1") },
        /// Where a new group begins: begin, end, or special (at `startTime`).
        pub consumer_position: String = key("consumerPosition") {
            default: Some("end"), one_of: &["begin", "end", "special"]
        },
        /// Seconds since 1970 at which a new group begins, with `consumerPosition = special`.
        pub start_time: Option<i64> = key("startTime") { unit: Unit::Seconds },
        /// Pause between two signs of life of the group's member.
        pub heartbeat_interval: u32 = key("heartbeatInterval") { default: Some("30000"), unit: Unit::Millis },
        /// Whether the records of one key come in order, those before a shard was split first.
        pub fetch_in_order: bool = key("fetchInOrder") { default: Some("false") },
        /// Most events of one put.
        pub batch_size: usize = key("batchSize") { default: Some("100"), min: Some(1), unit: Unit::Events },
        /// After how long an incomplete batch is put.
        pub batch_duration: u32 = key("batchDurationMillis") { default: Some("1000"), unit: Unit::Millis },
    }
}
