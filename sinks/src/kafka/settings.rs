//! Keys of the Kafka sink.

use flumen_api::settings::{Family, Unit, settings};

settings! {
    /// Keys of the Kafka sink.
    pub struct KafkaSinkSettings {
        /// Brokers to ask first: `host:port`, separated by commas.
        pub bootstrap_servers: String = key("kafka.bootstrap.servers") { required: true, deprecated: &["brokerList"] },
        /// The topic; with escapes, which are looked at where no header names a topic.
        pub topic: String = key("kafka.topic") { default: Some("default-flume-topic"), deprecated: &["topic"] },
        /// Most events of one take, all of which are acked before it is released.
        pub batch_size: usize = key("flumeBatchSize") {
            default: Some("100"), min: Some(1), unit: Unit::Events, deprecated: &["batchSize"]
        },
        /// Which brokers must have a record: 0, 1 or all.
        pub acks: String = key("kafka.producer.acks") { default: Some("1"), deprecated: &["requiredAcks"] },
        /// A record's value is the whole event in Avro, headers included, not the body alone.
        pub use_flume_event_format: bool = key("useFlumeEventFormat") { default: Some("false") },
        /// Partition of all records. Default: Kafka chooses, by the header `key`.
        pub default_partition_id: Option<u32> = key("defaultPartitionId") { },
        /// Header with the partition of an event; goes before `defaultPartitionId`.
        pub partition_id_header: Option<String> = key("partitionIdHeader") { },
        /// Whether an event's header may name its topic.
        pub allow_topic_override: bool = key("allowTopicOverride") { default: Some("true") },
        /// The header that does.
        pub topic_header: String = key("topicHeader") { default: Some("topic") },
        /// Header whose value is the record's timestamp.
        pub timestamp_header: Option<String> = key("timestampHeader") { since: "1.11" },
        /// `header.<event's header>`: header of the record that gets its value.
        pub headers: Family = key("header.") { since: "1.11" },
        /// Keys of Kafka's producer.
        pub producer: Family = key("kafka.producer.") { },
        /// Serializer of the key.
        pub key_serializer: Option<String> = key("key.serializer") {
            deprecated: &["key.serializer.class"], inert: Some("keys are the header's bytes, as Flume's default writes them")
        },
        /// Serializer of the value.
        pub value_serializer: Option<String> = key("serializer.class") {
            inert: Some("values are bytes, as Flume's default writes them")
        },
    }
}
