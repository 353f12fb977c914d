//! Keys of the Kafka sink.

use flumen_api::settings::{Family, Unit, settings};

settings! {
    /// Keys of the Kafka sink.
    pub struct KafkaSinkSettings {
        /// Brokers to ask first: `host:port`, separated by commas.
        pub bootstrap_servers: String = key("kafka.bootstrap.servers") { required: true, deprecated: &["brokerList"] },
        /// The topic of events whose header `topicHeader` names none. With escapes, unless `allowTopicOverride` is false.
        pub topic: String = key("kafka.topic") { default: Some("default-flume-topic"), deprecated: &["topic"] },
        /// Most events of one take.
        pub batch_size: usize = key("flumeBatchSize") {
            default: Some("100"), min: Some(1), unit: Unit::Events, deprecated: &["batchSize"]
        },
        /// Which brokers must have a record before its event is released: 0 (none, not even the first: events may be lost), 1, or
        /// all. With all, Kafka writes no record twice that the client sends twice.
        pub acks: String = key("kafka.producer.acks") {
            default: Some("1"), one_of: &["0", "1", "-1", "all"], deprecated: &["requiredAcks"]
        },
        /// Each event once in Kafka, whatever happens: each flush is a transaction of this id. Over a durable channel; the id must be
        /// this sink's alone. Needs acks = all, which then is the default.
        pub transactional_id: Option<String> = key("kafka.producer.transactional.id") { since: "Flumen 0.1" },
        /// A record's value is the whole event in Avro, headers included, not the body alone.
        pub use_flume_event_format: bool = key("useFlumeEventFormat") { default: Some("false") },
        /// Partition of all records. Default: Kafka chooses, by the header `key` where there is one.
        pub default_partition_id: Option<u32> = key("defaultPartitionId") { max: Some(2147483647) },
        /// Header with the partition of an event; goes before `defaultPartitionId`. An event whose header is not a number is refused.
        pub partition_id_header: Option<String> = key("partitionIdHeader") { },
        /// Whether an event's header may name its topic, and escapes in `kafka.topic` are looked at.
        pub allow_topic_override: bool = key("allowTopicOverride") { default: Some("true") },
        /// The header that does.
        pub topic_header: String = key("topicHeader") { default: Some("topic") },
        /// Header whose value is the record's timestamp, in milliseconds since 1970.
        pub timestamp_header: Option<String> = key("timestampHeader") { since: "1.11" },
        /// `header.<event's header>`: header of the record that gets its value.
        pub headers: Family = key("header.") { since: "1.11" },
        /// Login of SASL's mechanisms PLAIN and SCRAM, as Java's clients have it.
        pub sasl_jaas: Option<String> = key("kafka.producer.sasl.jaas.config") { secret: true },
        /// The same login's password alone, beside `kafka.producer.sasl.username`.
        pub sasl_password: Option<String> = key("kafka.producer.sasl.password") { secret: true, since: "Flumen 0.1" },
        /// What opens the trust store `kafka.producer.ssl.truststore.location`; a JKS store is read without it too.
        pub truststore_password: Option<String> = key("kafka.producer.ssl.truststore.password") { secret: true },
        /// What opens the key store `kafka.producer.ssl.keystore.location`.
        pub keystore_password: Option<String> = key("kafka.producer.ssl.keystore.password") { secret: true },
        /// The key's own password, where it is another.
        pub key_password: Option<String> = key("kafka.producer.ssl.key.password") { secret: true },
        /// Properties of Kafka's producer, by the names of Java's client or librdkafka's.
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
