//! Keys of the Kafka channel.

use flumen_api::settings::{Family, Unit, settings};

settings! {
    /// Keys of the Kafka channel.
    pub struct KafkaChannelSettings {
        /// Brokers to ask first: `host:port`, separated by commas.
        pub bootstrap_servers: String = key("kafka.bootstrap.servers") { required: true, deprecated: &["brokerList"] },
        /// The topic.
        pub topic: String = key("kafka.topic") { default: Some("flume-channel"), deprecated: &["topic"] },
        /// The consumer group.
        pub group_id: String = key("kafka.consumer.group.id") { default: Some("flume"), deprecated: &["groupId"] },
        /// A record's value is a whole event in Avro, headers included. If not it is the body, and headers are lost but `key`.
        pub parse_as_flume_event: bool = key("parseAsFlumeEvent") { default: Some("true") },
        /// How long a take waits for records.
        pub poll_timeout: u32 = key("kafka.pollTimeout") {
            default: Some("500"), unit: Unit::Millis, deprecated: &["timeout"]
        },
        /// Partition of all records. Default: Kafka chooses, by the header `key`.
        pub default_partition_id: Option<u32> = key("defaultPartitionId") { max: Some(2147483647) },
        /// Header with the partition of an event; goes before `defaultPartitionId`.
        pub partition_id_header: Option<String> = key("partitionIdHeader") { },
        /// Where a new group begins: earliest or latest.
        pub auto_offset_reset: String = key("kafka.consumer.auto.offset.reset") {
            default: Some("earliest"), one_of: &["earliest", "latest"]
        },
        /// Which brokers must have a record: 0, 1 or all.
        pub acks: String = key("kafka.producer.acks") { default: Some("all"), one_of: &["0", "1", "-1", "all"] },
        /// Login of SASL's mechanisms PLAIN and SCRAM, as Java's clients have it.
        pub producer_jaas: Option<String> = key("kafka.producer.sasl.jaas.config") { secret: true },
        /// The same for the other side.
        pub consumer_jaas: Option<String> = key("kafka.consumer.sasl.jaas.config") { secret: true },
        /// The login's password alone, beside `kafka.producer.sasl.username`.
        pub producer_password: Option<String> = key("kafka.producer.sasl.password") { secret: true, since: "Flumen 0.1" },
        /// The same for the other side.
        pub consumer_password: Option<String> = key("kafka.consumer.sasl.password") { secret: true, since: "Flumen 0.1" },
        /// What opens the trust store `kafka.producer.ssl.truststore.location`; a JKS store is read without it too.
        pub producer_truststore_password: Option<String> = key("kafka.producer.ssl.truststore.password") { secret: true },
        /// What opens the key store `kafka.producer.ssl.keystore.location`.
        pub producer_keystore_password: Option<String> = key("kafka.producer.ssl.keystore.password") { secret: true },
        /// The key's own password, where it is another.
        pub producer_key_password: Option<String> = key("kafka.producer.ssl.key.password") { secret: true },
        /// What opens the trust store `kafka.consumer.ssl.truststore.location`; a JKS store is read without it too.
        pub consumer_truststore_password: Option<String> = key("kafka.consumer.ssl.truststore.password") { secret: true },
        /// What opens the key store `kafka.consumer.ssl.keystore.location`.
        pub consumer_keystore_password: Option<String> = key("kafka.consumer.ssl.keystore.password") { secret: true },
        /// The key's own password, where it is another.
        pub consumer_key_password: Option<String> = key("kafka.consumer.ssl.key.password") { secret: true },
        /// Where the group has no offset of a partition in Kafka, that in ZooKeeper is taken over; needs `zookeeperConnect`.
        pub migrate_zookeeper_offsets: bool = key("migrateZookeeperOffsets") {
            default: Some("true")
        },
        /// ZooKeeper, `host:port,host:port/root`, for offsets to take over.
        pub zookeeper_connect: Option<String> = key("zookeeperConnect") { },
        /// Whether a new group begins with the oldest record.
        pub read_smallest_offset: Option<bool> = key("readSmallestOffset") { },
        /// Keys of Kafka's consumer. Commits are the channel's own: `enable.auto.commit` is always false.
        pub consumer: Family = key("kafka.consumer.") { },
        /// Keys of Kafka's producer.
        pub producer: Family = key("kafka.producer.") { },
    }
}
