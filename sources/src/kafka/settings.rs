//! Keys of the Kafka source.

use flumen_api::settings::{Commas, Family, Unit, settings};

settings! {
    /// Keys of the Kafka source.
    pub struct KafkaSourceSettings {
        /// Brokers to ask first: `host:port`, separated by commas. Required unless `zookeeperConnect` says where to learn them.
        pub bootstrap_servers: Option<String> = key("kafka.bootstrap.servers") { },
        /// Topics, separated by commas. Required unless `kafka.topics.regex` is there.
        pub topics: Commas = key("kafka.topics") { deprecated: &["topic"] },
        /// Regular expression (Java's) which whole names of topics have to match; goes before `kafka.topics`. New topics are found
        /// every `kafka.consumer.metadata.max.age.ms` (5 minutes).
        pub topics_regex: Option<String> = key("kafka.topics.regex") { },
        /// The consumer group.
        pub group_id: String = key("kafka.consumer.group.id") {
            default: Some("flume"), deprecated: &["groupId", "kafka.group.id"]
        },
        /// Where a group without offsets begins: earliest, latest or none (an error).
        pub auto_offset_reset: String = key("kafka.consumer.auto.offset.reset") {
            default: Some("latest"), one_of: &["earliest", "latest", "none", "smallest", "largest"],
            deprecated: &["kafka.auto.offset.reset"]
        },
        /// Most events of one put.
        pub batch_size: usize = key("batchSize") { default: Some("1000"), min: Some(1), unit: Unit::Events },
        /// After how long an incomplete batch is put.
        pub batch_duration: u32 = key("batchDurationMillis") { default: Some("1000"), unit: Unit::Millis },
        /// A record's value is a whole event in Avro, headers included, not the body alone.
        pub use_flume_event_format: bool = key("useFlumeEventFormat") { default: Some("false") },
        /// Whether events get a header with their topic.
        pub set_topic_header: bool = key("setTopicHeader") { default: Some("true") },
        /// That header.
        pub topic_header: String = key("topicHeader") { default: Some("topic") },
        /// `header.<event's header>`: header of the record whose value it gets.
        pub headers: Family = key("header.") { since: "1.11" },
        /// How much longer each rest in a row is after a put was refused.
        pub backoff_increment: u64 = key("backoffSleepIncrement") { default: Some("1000"), unit: Unit::Millis },
        /// The longest such rest.
        pub backoff_max: u64 = key("maxBackoffSleep") { default: Some("5000"), unit: Unit::Millis },
        /// Where the group has no offset of a partition in Kafka, that in ZooKeeper is taken over; needs `zookeeperConnect`.
        pub migrate_zookeeper_offsets: bool = key("migrateZookeeperOffsets") { default: Some("true") },
        /// ZooKeeper, `host:port,host:port/root`, as Flume 1.6 had it: for the brokers where `kafka.bootstrap.servers` is missing, and
        /// for offsets to take over.
        pub zookeeper_connect: Option<String> = key("zookeeperConnect") { },
        /// Flume 1.6 had the properties of Kafka 0.8's consumer behind `kafka.` alone: those of automatic commits.
        pub old_auto: Family = key("kafka.auto.") { },
        /// Likewise, of fetches: `kafka.fetch.message.max.bytes`, `kafka.fetch.min.bytes`, `kafka.fetch.wait.max.ms`.
        pub old_fetch: Family = key("kafka.fetch.") { },
        /// Likewise, of connections: `kafka.socket.timeout.ms`, `kafka.socket.receive.buffer.bytes`.
        pub old_socket: Family = key("kafka.socket.") { },
        /// Likewise, of the group, which is kept by the brokers now: they change nothing.
        pub old_zookeeper: Family = key("kafka.zookeeper.") { },
        /// Likewise.
        pub old_rebalance: Family = key("kafka.rebalance.") { },
        /// Likewise.
        pub consumer_timeout: Option<String> = key("kafka.consumer.timeout.ms") {
            inert: Some("a key of Kafka 0.8's consumer: this one waits without giving up, and a stop ends the wait")
        },
        /// Login of SASL's mechanisms PLAIN and SCRAM, as Java's clients have it.
        pub sasl_jaas: Option<String> = key("kafka.consumer.sasl.jaas.config") { secret: true },
        /// The same login's password alone, beside `kafka.consumer.sasl.username`.
        pub sasl_password: Option<String> = key("kafka.consumer.sasl.password") { secret: true, since: "Flumen 0.1" },
        /// What opens the trust store `kafka.consumer.ssl.truststore.location`; a JKS store is read without it too.
        pub truststore_password: Option<String> = key("kafka.consumer.ssl.truststore.password") { secret: true },
        /// What opens the key store `kafka.consumer.ssl.keystore.location`.
        pub keystore_password: Option<String> = key("kafka.consumer.ssl.keystore.password") { secret: true },
        /// The key's own password, where it is another.
        pub key_password: Option<String> = key("kafka.consumer.ssl.key.password") { secret: true },
        /// Properties of Kafka's consumer, by the names of Java's client or librdkafka's. Commits are the source's own:
        /// `enable.auto.commit` is always false.
        pub consumer: Family = key("kafka.consumer.") { },
    }
}
