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

/// Why nothing that needs TLS can be.
pub(crate) const NO_TLS: &str = "this build has no TLS to Kafka, which needs OpenSSL in librdkafka; use a listener without TLS, or a \
    TLS tunnel beside the agent";
/// The same for SASL's mechanisms beside PLAIN.
pub(crate) const NO_SASL: &str = "this build has SASL's mechanism PLAIN alone; SCRAM, GSSAPI and OAUTHBEARER need libraries that it is \
    built without";
const BYTES: &str = "keys are text and values bytes, as Flume's defaults have them";
const JVM: &str = "a matter of Java's client";

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
    ("sasl.jaas.config", Special),
    ("bootstrap.servers", Inert("the brokers are those of the key kafka.bootstrap.servers")),
    ("sasl.username", Renamed("sasl.username")),
    ("sasl.password", Renamed("sasl.password")),
    ("sasl.", Refused(NO_SASL)),
    ("ssl.", Refused(NO_TLS)),
];

/// What `name` means, if not simply itself.
pub(crate) fn meaning(name: &str) -> Option<Meaning> {
    let is = |known: &str| if known.ends_with('.') { name.starts_with(known) } else { name == known };
    NAMES.iter().find(|(known, _)| is(known)).map(|(_, meaning)| *meaning)
}
