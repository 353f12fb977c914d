//! The component types of a standard build, and those of Flume's that it lacks.

use flumen_api::registry::{Factory, Registry, Spec};
use flumen_api::settings::Kind;

/// All component types that are built in, and a word of advice for each other type that Flume has.
pub fn standard_registry() -> Registry {
    // A later type wins over an earlier one of its name: whatever is built in wins over the advice.
    Registry::empty()
        .with_all(KNOWN.iter().map(Known::spec))
        .with_all(flumen_engine::channels::specs())
        .with_all(flumen_engine::interceptors::specs())
        .with_all(flumen_engine::processors::specs())
        .with_all(flumen_engine::selectors::specs())
        .with_all(flumen_sources::specs())
        .with_all(flumen_sinks::specs())
}

/// A type of Flume's.
struct Known {
    kind: Kind,
    alias: &'static str,
    class_names: &'static [&'static str],
    /// Completes the sentence that begins "the sink type `x` is".
    advice: &'static str,
}

impl Known {
    fn spec(&self) -> Spec {
        Spec {
            alias: self.alias,
            class_names: self.class_names,
            keys: &[],
            doc: "",
            factory: Factory::Unavailable(self.kind, self.advice),
        }
    }

    const fn of(
        kind: Kind,
        alias: &'static str,
        class_names: &'static [&'static str],
        advice: &'static str,
    ) -> Self {
        Self { kind, alias, class_names, advice }
    }
}

/// The advice for types that nothing stands against but time.
const LATER: &str = "not built into this version";

/// Every type of Flume 1.9 to 1.11 (and of the vendors' builds whose configurations are in use), built in or not.
const KNOWN: &[Known] = &[
    Known::of(Kind::Source, "seq", &["org.apache.flume.source.SequenceGeneratorSource"], LATER),
    Known::of(Kind::Source, "netcat", &["org.apache.flume.source.NetcatSource"], LATER),
    Known::of(Kind::Source, "netcatudp", &["org.apache.flume.source.NetcatUdpSource"], LATER),
    Known::of(Kind::Source, "exec", &["org.apache.flume.source.ExecSource"], LATER),
    Known::of(Kind::Source, "avro", &["org.apache.flume.source.AvroSource"], LATER),
    Known::of(Kind::Source, "thrift", &["org.apache.flume.source.ThriftSource"], LATER),
    Known::of(Kind::Source, "syslogtcp", &["org.apache.flume.source.SyslogTcpSource"], LATER),
    Known::of(
        Kind::Source,
        "multiport_syslogtcp",
        &["org.apache.flume.source.MultiportSyslogTCPSource"],
        LATER,
    ),
    Known::of(Kind::Source, "syslogudp", &["org.apache.flume.source.SyslogUDPSource"], LATER),
    Known::of(Kind::Source, "spooldir", &["org.apache.flume.source.SpoolDirectorySource"], LATER),
    Known::of(Kind::Source, "taildir", &["org.apache.flume.source.taildir.TaildirSource"], LATER),
    Known::of(Kind::Source, "http", &["org.apache.flume.source.http.HTTPSource"], LATER),
    Known::of(Kind::Source, "jms", &["org.apache.flume.source.jms.JMSSource"], LATER),
    Known::of(Kind::Source, "", &["org.apache.flume.source.kafka.KafkaSource"], LATER),
    Known::of(Kind::Source, "", &["org.apache.flume.source.StressSource"], LATER),
    Known::of(
        Kind::Source,
        "",
        &["org.apache.flume.source.scribe.ScribeSource"],
        "not built in, and will not be: Scribe is dead; have those who send use the thrift source, or write to files and tail them",
    ),
    Known::of(Kind::Source, "", &["org.apache.flume.source.loghub.LogHubSource"], LATER),
    Known::of(
        Kind::Source,
        "",
        &["org.apache.flume.source.twitter.TwitterSource"],
        "not built in, and will not be: the interface that it read was closed by Twitter",
    ),
    Known::of(
        Kind::Source,
        "",
        &[
            "org.apache.flume.source.avroLegacy.AvroLegacySource",
            "org.apache.flume.source.thriftLegacy.ThriftLegacySource",
        ],
        "not built in, and will not be: no Flume before 1.0 is left to send to it; use the avro source",
    ),
    Known::of(
        Kind::Source,
        "embedded",
        &["org.apache.flume.agent.embedded.EmbeddedSource"],
        "not built in, and will not be: it is the inside of Flume's embedded agent, a Java library",
    ),
    Known::of(Kind::Sink, "null", &["org.apache.flume.sink.NullSink"], LATER),
    Known::of(Kind::Sink, "logger", &["org.apache.flume.sink.LoggerSink"], LATER),
    Known::of(Kind::Sink, "file_roll", &["org.apache.flume.sink.RollingFileSink"], LATER),
    Known::of(Kind::Sink, "avro", &["org.apache.flume.sink.AvroSink"], LATER),
    Known::of(Kind::Sink, "thrift", &["org.apache.flume.sink.ThriftSink"], LATER),
    Known::of(Kind::Sink, "hdfs", &["org.apache.flume.sink.hdfs.HDFSEventSink"], LATER),
    Known::of(Kind::Sink, "hive", &["org.apache.flume.sink.hive.HiveSink"], LATER),
    Known::of(Kind::Sink, "irc", &["org.apache.flume.sink.irc.IRCSink"], LATER),
    Known::of(Kind::Sink, "hbase", &["org.apache.flume.sink.hbase.HBaseSink"], LATER),
    Known::of(Kind::Sink, "hbase2", &["org.apache.flume.sink.hbase2.HBase2Sink"], LATER),
    Known::of(Kind::Sink, "http", &["org.apache.flume.sink.http.HttpSink"], LATER),
    Known::of(Kind::Sink, "", &["org.apache.flume.sink.kafka.KafkaSink"], LATER),
    Known::of(Kind::Sink, "elasticsearch", &["org.apache.flume.sink.elasticsearch.ElasticSearchSink"], LATER),
    Known::of(Kind::Sink, "", &["org.apache.flume.sink.kudu.KuduSink"], LATER),
    Known::of(
        Kind::Sink,
        "asynchbase",
        &["org.apache.flume.sink.hbase.AsyncHBaseSink"],
        "not built in, and will not be: its client library is abandoned; the sink of today's HBase is `hbase2`",
    ),
    Known::of(
        Kind::Sink,
        "morphline_solr",
        &[
            "org.apache.flume.sink.solr.morphline.MorphlineSolrSink",
            "org.apache.flume.sink.solr.morphline.MorphlineSink",
        ],
        "not built in, and will not be: morphlines are Java programs; send to Kafka or files and load Solr from there",
    ),
    Known::of(
        Kind::Sink,
        "",
        &["org.apache.flume.sink.kite.DatasetSink"],
        "not built in, and will not be: the Kite SDK is dead, and Flume dropped the sink in 1.10; write Avro or text files with `hdfs`",
    ),
    Known::of(Kind::Channel, "memory", &["org.apache.flume.channel.MemoryChannel"], LATER),
    Known::of(Kind::Channel, "file", &["org.apache.flume.channel.file.FileChannel"], LATER),
    Known::of(Kind::Channel, "", &["org.apache.flume.channel.kafka.KafkaChannel"], LATER),
    Known::of(Kind::Channel, "spillablememory", &["org.apache.flume.channel.SpillableMemoryChannel"], LATER),
    Known::of(Kind::Channel, "jdbc", &["org.apache.flume.channel.jdbc.JdbcChannel"], LATER),
    Known::of(Kind::Channel, "", &["org.apache.flume.channel.PseudoTxnMemoryChannel"], LATER),
    Known::of(
        Kind::Selector,
        "multiplexing",
        &["org.apache.flume.channel.MultiplexingChannelSelector"],
        LATER,
    ),
    Known::of(
        Kind::Selector,
        "load_balancing",
        &["org.apache.flume.channel.LoadBalancingChannelSelector"],
        LATER,
    ),
    Known::of(
        Kind::Interceptor,
        "timestamp",
        &["org.apache.flume.interceptor.TimestampInterceptor$Builder"],
        LATER,
    ),
    Known::of(Kind::Interceptor, "host", &["org.apache.flume.interceptor.HostInterceptor$Builder"], LATER),
    Known::of(
        Kind::Interceptor,
        "static",
        &["org.apache.flume.interceptor.StaticInterceptor$Builder"],
        LATER,
    ),
    Known::of(
        Kind::Interceptor,
        "regex_filter",
        &["org.apache.flume.interceptor.RegexFilteringInterceptor$Builder"],
        LATER,
    ),
    Known::of(
        Kind::Interceptor,
        "regex_extractor",
        &["org.apache.flume.interceptor.RegexExtractorInterceptor$Builder"],
        LATER,
    ),
    Known::of(
        Kind::Interceptor,
        "remove_header",
        &["org.apache.flume.interceptor.RemoveHeaderInterceptor$Builder"],
        LATER,
    ),
    Known::of(
        Kind::Interceptor,
        "search_replace",
        &["org.apache.flume.interceptor.SearchAndReplaceInterceptor$Builder"],
        LATER,
    ),
    Known::of(
        Kind::Interceptor,
        "",
        &["org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder"],
        LATER,
    ),
    Known::of(
        Kind::Interceptor,
        "",
        &["org.apache.flume.sink.solr.morphline.MorphlineInterceptor$Builder"],
        "not built in, and will not be: morphlines are Java programs; use regex_extractor, search_replace and regex_filter",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_in_wins_over_the_advice() {
        let registry = standard_registry();
        for (kind, name) in [
            (Kind::Source, "TAILDIR"),
            (Kind::Channel, "memory"),
            (Kind::Sink, "org.apache.flume.sink.RollingFileSink"),
            (Kind::Selector, "replicating"),
        ] {
            let spec = registry.find(kind, name).unwrap();
            assert!(spec.is_built(), "{name}");
        }
    }

    #[test]
    fn every_type_of_flumes_is_known_by_all_its_names() {
        let registry = standard_registry();
        for known in KNOWN {
            for name in known.class_names.iter().copied().chain([known.alias]).filter(|name| !name.is_empty())
            {
                assert!(registry.find(known.kind, name).is_some(), "{} {name}", known.kind);
            }
        }
    }

    #[test]
    fn what_is_built_in_keeps_flumes_class_names() {
        let registry = standard_registry();
        for known in KNOWN.iter().filter(|known| !known.alias.is_empty()) {
            let by_alias = registry.find(known.kind, known.alias).map(|spec| spec.class_names);
            if by_alias == Some(known.class_names) {
                continue;
            }
            let spec = registry.find(known.kind, known.alias).unwrap();
            for class in known.class_names {
                assert!(spec.class_names.contains(class), "{} lacks the class name {class}", known.alias);
            }
        }
    }
}
