//! Keys of the Kafka source.

use flumen_api::settings::{Commas, Family, Unit, settings};

settings! {
    /// Keys of the Kafka source.
    pub struct KafkaSourceSettings {
        /// Brokers to ask first: `host:port`, separated by commas. Required unless `zookeeperConnect` says where to learn them.
        pub bootstrap_servers: Option<String> = key("kafka.bootstrap.servers") { },
        /// Topics, separated by commas. Required unless `kafka.topics.regex` is there.
        pub topics: Commas = key("kafka.topics") { deprecated: &["topic"] },
        /// Regular expression of topics; goes before `kafka.topics`.
        pub topics_regex: Option<String> = key("kafka.topics.regex") { },
        /// The consumer group.
        pub group_id: String = key("kafka.consumer.group.id") { default: Some("flume"), deprecated: &["groupId"] },
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
        /// Where the group has no offsets in Kafka, those in ZooKeeper are taken over; needs `zookeeperConnect`.
        pub migrate_zookeeper_offsets: bool = key("migrateZookeeperOffsets") { default: Some("true") },
        /// ZooKeeper, `host:port`, as Flume 1.6 had it: for offsets to take over, and for the brokers where
        /// `kafka.bootstrap.servers` is missing.
        pub zookeeper_connect: Option<String> = key("zookeeperConnect") { },
        /// Keys of Kafka's consumer. Commits are the source's own: `enable.auto.commit` is always false.
        pub consumer: Family = key("kafka.consumer.") { },
    }
}
