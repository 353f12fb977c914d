//! Flumen's sinks, all of one shape: `<name>/settings.rs` declares the keys, `<name>/mod.rs` holds the sink and its
//! `spec()`, tests stand beside.
//!
//! Shared rooms: [`serializers`] turn events into bytes, [`codecs`] compress them, [`escapes`] make paths and topics of
//! headers and times, [`paths`] name files, `objects` speaks to object stores, where the hdfs sink's files may go, `portions` says
//! how much a call to another agent has.

pub mod avro;
pub mod codecs;
pub mod escapes;
mod farewell;
pub mod file_roll;
pub mod hdfs;
mod hosts;
#[cfg(feature = "http")]
pub mod http;
pub mod irc;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod logger;
mod markers;
pub mod null;
#[cfg(feature = "object-store")]
pub mod objects;
pub mod paths;
mod portions;
pub mod serializers;
pub mod thrift;

#[cfg(test)]
mod testing;

use flumen_api::registry::Spec;

/// The types of this crate.
pub fn specs() -> Vec<Spec> {
    let mut specs = vec![
        avro::spec(),
        file_roll::spec(),
        hdfs::spec(),
        irc::spec(),
        logger::spec(),
        null::spec(),
        thrift::spec(),
    ];
    #[cfg(feature = "http")]
    specs.push(http::spec());
    #[cfg(feature = "kafka")]
    specs.push(kafka::spec());
    specs.extend(serializers::specs());
    specs
}

#[cfg(test)]
mod tests {
    use flumen_api::registry::Registry;
    use flumen_api::settings::Kind;

    #[test]
    fn flumes_names_find_the_sinks() {
        let registry = Registry::empty().with_all(super::specs());
        for name in [
            "file_roll",
            "FILE_ROLL",
            "org.apache.flume.sink.RollingFileSink",
            "logger",
            "org.apache.flume.sink.LoggerSink",
            "null",
            "org.apache.flume.sink.NullSink",
        ] {
            assert!(registry.find(Kind::Sink, name).is_some(), "{name}");
        }
        assert!(registry.find(Kind::Sink, "org.apache.flume.sink.nullsink").is_none());
    }

    #[test]
    fn every_key_has_a_doc() {
        for spec in super::specs() {
            for key in spec.keys {
                assert!(!key.doc.is_empty(), "{} {}", spec.alias, key.name);
            }
        }
    }
}
