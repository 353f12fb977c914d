//! Keys of the LogHub source.

use flumen_api::settings::{Unit, settings};
use flumen_tls::Secret;

settings! {
    /// Keys of the LogHub source.
    pub struct LogHubSettings {
        /// The service's endpoint, such as `cn-hangzhou.log.aliyuncs.com`. Without `https://` before it nothing is encrypted
        /// on its way.
        pub endpoint: String = key("endpoint") { required: true },
        /// The project.
        pub project: String = key("project") { required: true },
        /// The logstore.
        pub logstore: String = key("logstore") { required: true },
        /// Who asks.
        pub access_key_id: String = key("accessKeyId") { required: true },
        /// The secret of who asks.
        pub access_key: Secret = key("accessKey") { required: true, secret: true },
        /// Token of temporary credentials (STS), whose id and key the other two keys are then.
        pub security_token: Option<Secret> = key("securityToken") { secret: true, since: "Flumen 0.1" },
        /// How requests are signed; v4 needs `region`.
        pub signature: String = key("signatureVersion") {
            default: Some("v1"), one_of: &["v1", "v4"], since: "Flumen 0.1"
        },
        /// The region's id, such as `cn-hangzhou`, for `signatureVersion = v4`.
        pub region: Option<String> = key("region") { since: "Flumen 0.1" },
        /// Whether the header `timestamp` is when the record came to the service. Else it is when it was read, and late
        /// records land in wrong time buckets.
        pub use_record_time: bool = key("useRecordTime") { default: Some("false") },
        /// The consumer group; made if it is missing.
        pub consumer_group: String = key("consumerGroup") { default: Some("consumer_1") },
        /// This member's name in the group, which no other member may have. One that is kept in the durable channels if absent.
        pub consumer: Option<String> = key("consumer") { since: "Flumen 0.1" },
        /// Where a new group begins: begin, end, or special (at `startTime`).
        pub consumer_position: String = key("consumerPosition") {
            default: Some("end"), one_of: &["begin", "end", "special"]
        },
        /// Seconds since 1970 at which a new group begins, with `consumerPosition = special`.
        pub start_time: Option<i64> = key("startTime") { unit: Unit::Seconds, min: Some(0) },
        /// Pause between two signs of life of the group's member. After three without any, others get its shards.
        pub heartbeat_interval: u32 = key("heartbeatInterval") {
            default: Some("30000"), unit: Unit::Millis, min: Some(100)
        },
        /// Whether the records of one key come in order, those before a shard was split first.
        pub fetch_in_order: bool = key("fetchInOrder") { default: Some("false") },
        /// How pulls are packed on their way.
        pub compression: String = key("compressType") {
            default: Some("lz4"), one_of: &["lz4", "zstd", "none"], since: "Flumen 0.1"
        },
        /// Most events of one put.
        pub batch_size: usize = key("batchSize") { default: Some("100"), min: Some(1), unit: Unit::Events },
        /// A shard that brought less than a batch is asked again after this time at the earliest.
        pub batch_duration: u32 = key("batchDurationMillis") { default: Some("1000"), unit: Unit::Millis },
        /// How much longer each rest in a row is while a shard has nothing new; the first rest after a failure, of which each
        /// is twice the last.
        pub backoff_increment: u32 = key("backoffSleepIncrement") {
            default: Some("1000"), unit: Unit::Millis, min: Some(1)
        },
        /// The longest such rest.
        pub backoff_max: u32 = key("maxBackoffSleep") { default: Some("5000"), unit: Unit::Millis, min: Some(1) },
    }
}
