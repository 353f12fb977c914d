//! What each name of a Java client's property is to librdkafka.

/// What becomes of a property.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Meaning {
    /// Another name, the same value.
    Renamed(&'static str),
    /// The same in units of 1024 bytes.
    Kibibytes(&'static str),
    /// Changes nothing here: why.
    Inert(&'static str),
    /// Cannot be: what to do.
    Refused(&'static str),
    /// Handled by itself, in `properties`.
    Special,
}

use Meaning::{Inert, Kibibytes, Refused, Renamed, Special};

/// Why not each of SASL's mechanisms can be.
pub(crate) const NO_SASL: &str = "of SASL's mechanisms there are PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512; GSSAPI (Kerberos) and \
    OAUTHBEARER need libraries that this build is without";
const BYTES: &str = "keys are text and values bytes, as Flume's defaults have them";
const JVM: &str = "a matter of Java's client";
const OLD: &str = "a matter of Kafka 0.8's consumer: groups are kept by the brokers now";

/// Names of Java's whose meaning here is another than to be passed on; a name that ends in `.` is all that start so.
const NAMES: &[(&str, Meaning)] = &[
    ("key.serializer", Inert(BYTES)),
    ("value.serializer", Inert(BYTES)),
    ("key.deserializer", Inert(BYTES)),
    ("value.deserializer", Inert(BYTES)),
    ("buffer.memory", Kibibytes("queue.buffering.max.kbytes")),
    ("max.block.ms", Inert("room in the queue is waited for as long as it takes")),
    ("max.request.size", Renamed("message.max.bytes")),
    ("receive.buffer.bytes", Renamed("socket.receive.buffer.bytes")),
    ("send.buffer.bytes", Renamed("socket.send.buffer.bytes")),
    ("max.poll.records", Inert("a put's events are those that its own key says")),
    ("fetch.max.wait.ms", Renamed("fetch.wait.max.ms")),
    ("default.api.timeout.ms", Inert(JVM)),
    (
        "consumer.timeout.ms",
        Inert("a key of Kafka 0.8's consumer: this one waits without giving up, and a stop ends the wait"),
    ),
    ("metadata.max.age.ms", Renamed("topic.metadata.refresh.interval.ms")),
    ("metadata.max.idle.ms", Inert(JVM)),
    ("exclude.internal.topics", Inert("topics whose names begin with `__` are never read by an expression")),
    (
        "enable.auto.commit",
        Inert("offsets are committed once the channel has the events, and at no other time"),
    ),
    (
        "auto.commit.interval.ms",
        Inert("offsets are committed once the channel has the events, and at no other time"),
    ),
    (
        "auto.commit.enable",
        Inert("offsets are committed once the channel has the events, and at no other time"),
    ),
    ("zookeeper.", Inert(OLD)),
    ("rebalance.", Inert(OLD)),
    ("interceptor.classes", Inert(JVM)),
    ("metric.reporters", Inert(JVM)),
    ("metrics.", Inert(JVM)),
    ("auto.include.jmx.reporter", Inert(JVM)),
    ("socket.connection.setup.timeout.max.ms", Inert(JVM)),
    ("partitioner.adaptive.partitioning.enable", Inert(JVM)),
    ("partitioner.availability.timeout.ms", Inert(JVM)),
    ("partitioner.ignore.keys", Inert(JVM)),
    ("security.providers", Inert(JVM)),
    ("throw.on.fetch.stable.offset.unsupported", Inert(JVM)),
    ("group.protocol", Inert("groups are kept the classic way")),
    ("partitioner.class", Special),
    ("partition.assignment.strategy", Special),
    ("auto.offset.reset", Special),
    ("compression.type", Special),
    ("security.protocol", Special),
    ("sasl.mechanism", Special),
    ("sasl.mechanisms", Special),
    ("sasl.jaas.config", Special),
    ("bootstrap.servers", Inert("the brokers are those of the key kafka.bootstrap.servers")),
    ("sasl.username", Renamed("sasl.username")),
    ("sasl.password", Renamed("sasl.password")),
    ("sasl.", Refused(NO_SASL)),
    ("ssl.truststore.type", Special),
    ("ssl.keystore.type", Special),
    ("ssl.truststore.certificates", Renamed("ssl.ca.pem")),
    ("ssl.keystore.certificate.chain", Renamed("ssl.certificate.pem")),
    ("ssl.keystore.key", Renamed("ssl.key.pem")),
    ("ssl.endpoint.identification.algorithm", Special),
    ("ssl.enabled.protocols", Special),
    ("ssl.protocol", Inert("what is spoken is what ssl.enabled.protocols says")),
    ("ssl.cipher.suites", Special),
    (
        "ssl.engine.factory.class",
        Refused("it is a class of Java's; the stores' own keys say where certificates are"),
    ),
    ("ssl.provider", Inert(JVM)),
    ("ssl.keymanager.algorithm", Inert(JVM)),
    ("ssl.trustmanager.algorithm", Inert(JVM)),
    ("ssl.secure.random.implementation", Inert(JVM)),
];

/// What `name` means, if not simply itself.
pub(crate) fn meaning(name: &str) -> Option<Meaning> {
    let is = |known: &str| if known.ends_with('.') { name.starts_with(known) } else { name == known };
    NAMES.iter().find(|(known, _)| is(known)).map(|(_, meaning)| *meaning)
}
