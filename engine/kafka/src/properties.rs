//! Properties of a Kafka client: a configuration's `kafka.producer.*` or `kafka.consumer.*`, as Java has them, for librdkafka.
//!
//! Each value is tried on librdkafka when the configuration is checked: a name that nobody knows is warned about and left out, a
//! value that cannot be is an error, and so is what this build of librdkafka lacks. Key stores are read when a client is made, so
//! that a restart takes a renewed certificate.

use flumen_api::settings::{ComponentConfig, Family, Problems, Value};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;

use crate::jaas;
use crate::names::{Meaning, NO_SASL, meaning};
use crate::tls::{self, Tls};

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends.
    Producer,
    /// Reads, in a group.
    Consumer,
}

/// How often a client asks for the partitions of its topics, in milliseconds.
pub const REFRESH: &str = "topic.metadata.refresh.interval.ms";

/// What a client that is not told otherwise has: Java's defaults where they show, and bounds on memory.
const PRODUCER: &[(&str, &str)] = &[
    // Keys land where Java's producers put them, in a topic that both write.
    ("partitioner", "murmur2_random"),
    ("message.max.bytes", "1048576"),
    ("delivery.timeout.ms", "120000"),
    ("queue.buffering.max.kbytes", "65536"),
    ("enable.metrics.push", "false"),
];
const CONSUMER: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("allow.auto.create.topics", "true"),
    ("isolation.level", "read_uncommitted"),
    // Java's fetches hold less; 64 MiB a client would be more than the rest of an agent.
    ("queued.max.messages.kbytes", "16384"),
    // How long a partition is not fetched from once so much waits. By default it is a second, in which what waits is long gone.
    ("fetch.queue.backoff.ms", "5"),
    // A topic that is missing beside others, and a partition that is added, are found no sooner. Java's client asks for the first ten
    // times a second; five minutes, the default, would be long for both.
    (REFRESH, "30000"),
    ("enable.metrics.push", "false"),
];

/// A client's properties, by librdkafka's names.
#[derive(Clone, Debug)]
pub struct Properties {
    config: ClientConfig,
    named: Vec<String>,
    tls: Tls,
    /// The login's kind, as the line of Java's says it.
    module: Option<String>,
}

impl Properties {
    /// The defaults of a client that begins at `servers`.
    pub fn new(role: Role, servers: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", servers).set("client.id", "flumen");
        let defaults = if role == Role::Producer { PRODUCER } else { CONSUMER };
        for (name, value) in defaults {
            config.set(*name, *value);
        }
        Self { config, named: Vec::new(), tls: Tls::default(), module: None }
    }

    /// Takes over the properties of `family`, which stands in `config` below `prefix`, but those named in `own`, which the component
    /// reads itself. Problems are reported; `None` if one is an error.
    pub fn take_over(
        &mut self,
        family: &Family,
        prefix: &str,
        own: &[&str],
        config: &ComponentConfig,
        problems: &mut Problems,
    ) -> Option<()> {
        let before = problems.errors();
        for (name, value) in family.0.iter().filter(|(name, _)| !own.contains(&name.as_str())) {
            let key = format!("{prefix}{name}");
            self.take_one(name, value, &key, config, problems);
        }
        self.tls.complete(&config.process);
        if let Err((name, why)) = self.login_fits() {
            problems.error(config, &format!("{prefix}{name}"), why);
        }
        (problems.errors() == before).then_some(())
    }

    fn take_one(
        &mut self,
        name: &str,
        value: &Value,
        key: &str,
        config: &ComponentConfig,
        problems: &mut Problems,
    ) {
        let text = value.resolved.as_str();
        if self.tls.take(name, text) {
            return;
        }
        let set: Result<Vec<(&str, String)>, String> = match meaning(name) {
            None => Ok(vec![(name, text.into())]),
            Some(Meaning::Renamed(theirs)) => Ok(vec![(theirs, text.into())]),
            Some(Meaning::Kibibytes(theirs)) => match text.parse::<u64>() {
                Ok(bytes) => Ok(vec![(theirs, bytes.div_ceil(1024).max(1).to_string())]),
                Err(_) => Err(format!("`{text}` is not a number of bytes")),
            },
            Some(Meaning::Inert(why)) => {
                problems.warn(config, key, why);
                return;
            }
            Some(Meaning::Refused(why)) => Err(why.into()),
            Some(Meaning::Special) => special(name, text),
        };
        if name == "sasl.jaas.config" {
            self.module = jaas::parse(text).ok().map(|login| login.module);
        }
        let set = match set {
            Ok(set) => set,
            Err(why) => return problems.error(config, key, why),
        };
        for (theirs, text) in set {
            match tried(theirs, &text) {
                Ok(()) => {
                    self.named.push(theirs.into());
                    self.config.set(theirs, text);
                }
                Err(Tried::Unknown) => {
                    let message =
                        "neither Java's client nor librdkafka has a property of this name: it is left out";
                    problems.warn(config, key, message);
                }
                Err(Tried::Wrong(why)) => problems.error(config, key, why),
            }
        }
    }

    /// Sets a property by librdkafka's name, whoever set it before.
    pub fn set(&mut self, name: &str, value: impl Into<String>) -> &mut Self {
        self.config.set(name, value);
        self
    }

    /// Sets it unless the configuration names it.
    pub fn set_default(&mut self, name: &str, value: &str) -> &mut Self {
        if !self.is_named(name) {
            self.config.set(name, value);
        }
        self
    }

    /// Which brokers must have a record: `all` of them, or what `acks` says.
    pub fn set_acks(&mut self, all: bool, acks: &str) {
        if all {
            self.set("acks", "all").set_default("enable.idempotence", "true");
        } else {
            // A request that is tried again would come after those behind it, and the order be lost.
            self.set("acks", acks).set_default("max.in.flight.requests.per.connection", "1");
        }
    }

    /// Bytes of the largest record that the client sends.
    pub fn record_bytes_max(&self) -> usize {
        self.get("message.max.bytes").and_then(|text| text.parse().ok()).unwrap_or(1 << 20)
    }

    /// Whether the configuration names it.
    pub fn is_named(&self, name: &str) -> bool {
        self.named.iter().any(|named| named == name)
    }

    /// A property's value, if it has one that is not librdkafka's default.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.config.get(name)
    }

    /// For a client's constructor: with what is in the key stores, which are read now.
    pub fn config(&self) -> Result<ClientConfig, String> {
        let mut config = self.config.clone();
        if config.get("security.protocol").is_some_and(|protocol| protocol.ends_with("ssl")) {
            self.tls.set(&mut config)?;
        }
        Ok(config)
    }

    /// Whether SASL, where it is asked for, has what it needs; if not, the property to mend and why.
    fn login_fits(&self) -> Result<(), (&'static str, String)> {
        if !self.get("security.protocol").is_some_and(|protocol| protocol.starts_with("sasl")) {
            return Ok(());
        }
        let Some(mechanism) = self.get("sasl.mechanism") else {
            return Err((
                "sasl.mechanism",
                format!("it is missing, and Kafka's default is GSSAPI: {NO_SASL}"),
            ));
        };
        if self.get("sasl.username").is_none() || self.get("sasl.password").is_none() {
            return Err(("sasl.jaas.config", "it is missing: SASL needs a user and a password".into()));
        }
        let wanted = if mechanism == "PLAIN" { ".PlainLoginModule" } else { ".ScramLoginModule" };
        match &self.module {
            Some(module) if !module.ends_with(wanted) => {
                Err(("sasl.jaas.config", format!("{module} is not the login of the mechanism {mechanism}")))
            }
            _ => Ok(()),
        }
    }
}

enum Tried {
    Unknown,
    Wrong(String),
}

fn tried(name: &str, text: &str) -> Result<(), Tried> {
    let mut config = ClientConfig::new();
    config.set(name, text);
    match config.create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => Err(Tried::Unknown),
        Err(KafkaError::ClientConfig(_, why, ..)) => Err(Tried::Wrong(why)),
        Err(error) => Err(Tried::Wrong(error.to_string())),
    }
}

/// What has values of another spelling.
fn special(name: &str, text: &str) -> Result<Vec<(&'static str, String)>, String> {
    let short = text.rsplit('.').next().unwrap_or(text);
    let lower = text.to_ascii_lowercase();
    Ok(match name {
        "partitioner.class" => match short {
            "DefaultPartitioner" | "UniformStickyPartitioner" => {
                vec![("partitioner", "murmur2_random".into())]
            }
            "RoundRobinPartitioner" => vec![("partitioner", "random".into())],
            _ => {
                return Err(format!(
                    "{text} is a class of Java's; leave the key out to have keys where Java's clients put them"
                ));
            }
        },
        "partition.assignment.strategy" => {
            let one = |class: &str| match class.trim().rsplit('.').next().unwrap_or_default() {
                "RangeAssignor" | "range" => Ok("range"),
                "RoundRobinAssignor" | "roundrobin" => Ok("roundrobin"),
                "CooperativeStickyAssignor" | "cooperative-sticky" => Ok("cooperative-sticky"),
                _ => Err(format!(
                    "`{}` is none of RangeAssignor, RoundRobinAssignor, CooperativeStickyAssignor",
                    class.trim()
                )),
            };
            let names = text.split(',').map(one).collect::<Result<Vec<_>, _>>()?;
            vec![("partition.assignment.strategy", names.join(","))]
        }
        "auto.offset.reset" => match lower.as_str() {
            "earliest" | "smallest" | "beginning" => vec![("auto.offset.reset", "earliest".into())],
            "latest" | "largest" | "end" => vec![("auto.offset.reset", "latest".into())],
            "none" | "error" => vec![("auto.offset.reset", "error".into())],
            _ => return Err(format!("`{text}` is none of earliest, latest, none")),
        },
        "compression.type" => vec![("compression.type", lower)],
        "security.protocol" => match lower.as_str() {
            "plaintext" | "ssl" | "sasl_plaintext" | "sasl_ssl" => vec![("security.protocol", lower)],
            _ => return Err(format!("`{text}` is none of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL")),
        },
        "sasl.mechanism" | "sasl.mechanisms" => match text.to_ascii_uppercase().as_str() {
            known @ ("PLAIN" | "SCRAM-SHA-256" | "SCRAM-SHA-512") => vec![("sasl.mechanism", known.into())],
            _ => return Err(NO_SASL.into()),
        },
        "sasl.jaas.config" => {
            let login = jaas::parse(text)?;
            if !login.module.ends_with(".PlainLoginModule") && !login.module.ends_with(".ScramLoginModule") {
                return Err(NO_SASL.into());
            }
            if login.is_token {
                return Err(
                    "delegation tokens (tokenauth) are no login here; write a user and a password".into()
                );
            }
            let (Some(username), Some(password)) = (login.username, login.password) else {
                return Err("it has no username or no password".into());
            };
            vec![("sasl.username", username), ("sasl.password", password)]
        }
        "ssl.truststore.type" | "ssl.keystore.type" => match lower.as_str() {
            // The file's content says which.
            "jks" | "pkcs12" | "p12" | "pem" => Vec::new(),
            _ => return Err(format!("`{text}` is none of JKS, PKCS12, PEM")),
        },
        "ssl.endpoint.identification.algorithm" => match lower.as_str() {
            "" | "none" => vec![("ssl.endpoint.identification.algorithm", "none".into())],
            _ => vec![("ssl.endpoint.identification.algorithm", lower)],
        },
        "ssl.enabled.protocols" => match text.split(',').any(|one| one.trim() == "TLSv1.2") {
            true => Vec::new(),
            false => {
                return Err(
                    "TLS 1.2 and 1.3 are spoken, and what the broker has; TLSv1.2 cannot be left out".into(),
                );
            }
        },
        "ssl.cipher.suites" => match tls::suites(text)? {
            suites if suites.is_empty() => Vec::new(),
            suites => vec![("ssl.cipher.suites", suites)],
        },
        _ => Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use flumen_api::settings::Kind;
    use rdkafka::producer::BaseProducer;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Option<Properties>, Vec<String>) {
        let pairs: Vec<_> =
            pairs.iter().map(|(name, value)| (format!("kafka.producer.{name}"), *value)).collect();
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let config = ComponentConfig::of(Kind::Sink, "k1", &pairs);
        let family = config.family("kafka.producer.").map(|(name, value)| (name.to_string(), value.clone()));
        let mut problems = Problems::default();
        let mut properties = Properties::new(Role::Producer, "h:1");
        let read = properties.take_over(
            &Family(family.collect()),
            "kafka.producer.",
            &["acks"],
            &config,
            &mut problems,
        );
        (read.map(|()| properties), problems.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn javas_names_and_values_become_librdkafkas() {
        let (properties, said) = read(&[
            ("buffer.memory", "33554432"),
            ("max.request.size", "2000000"),
            ("compression.type", "LZ4"),
            ("linger.ms", "20"),
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", "PLAIN"),
            (
                "sasl.jaas.config",
                "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"u\" password=\"p\";",
            ),
            ("partitioner.class", "org.apache.kafka.clients.producer.RoundRobinPartitioner"),
            ("acks", "whatever"),
        ]);
        let properties = properties.expect("no error");
        assert_eq!(said, Vec::<String>::new());
        for (name, value) in [
            ("queue.buffering.max.kbytes", "32768"),
            ("message.max.bytes", "2000000"),
            ("compression.type", "lz4"),
            ("linger.ms", "20"),
            ("security.protocol", "sasl_plaintext"),
            ("sasl.username", "u"),
            ("sasl.password", "p"),
            ("partitioner", "random"),
        ] {
            assert_eq!(properties.get(name), Some(value), "{name}");
        }
        assert!(properties.config().unwrap().create_native_config().is_ok());
    }

    fn fixture(name: &str) -> String {
        format!("{}/../tls/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
    }

    #[test]
    fn javas_stores_and_logins_are_what_a_client_begins_with() {
        let jaas =
            "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"u\" password=\"p\";";
        for (own, trusted) in [("rsa.jks", "trust.jks"), ("ec.jks", "trust.p12"), ("signed.p12", "ca.pem")] {
            let (properties, said) = read(&[
                ("security.protocol", "SASL_SSL"),
                ("sasl.mechanism", "SCRAM-SHA-512"),
                ("sasl.jaas.config", jaas),
                ("ssl.truststore.location", &fixture(trusted)),
                ("ssl.truststore.password", "changeit"),
                ("ssl.truststore.type", "JKS"),
                ("ssl.keystore.location", &fixture(own)),
                ("ssl.keystore.password", "changeit"),
                ("ssl.key.password", "changeit"),
                ("ssl.disableTLSHostnameVerification", "true"),
                ("ssl.enabled.protocols", "TLSv1.2,TLSv1.3"),
                ("ssl.cipher.suites", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"),
            ]);
            assert_eq!(said, Vec::<String>::new());
            let config = properties.expect("no error").config().unwrap();
            assert_eq!(config.get("security.protocol"), Some("sasl_ssl"));
            assert_eq!(config.get("sasl.mechanism"), Some("SCRAM-SHA-512"));
            assert_eq!(config.get("ssl.endpoint.identification.algorithm"), Some("none"));
            // OpenSSL looks at the certificates, and whether they are the key's.
            if let Err(error) = config.create::<BaseProducer>() {
                panic!("{own}, {trusted}: {error}");
            }
        }
        let (properties, _) = read(&[
            ("security.protocol", "SSL"),
            ("ssl.truststore.location", &fixture("trust.jks")),
            ("ssl.truststore.password", "another"),
        ]);
        let error = properties.expect("files are read when a client is made").config().err().unwrap();
        assert!(error.contains("trust.jks") && error.contains("password"), "{error}");
    }

    #[test]
    fn sasl_without_a_mechanism_or_a_login_is_said_when_it_is_checked() {
        let (protocol, scram) =
            (("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "SCRAM-SHA-256"));
        let plain = "x.PlainLoginModule required username=\"u\" password=\"p\";";
        for (pairs, why) in [
            (&[protocol][..], "sasl.mechanism: it is missing"),
            (&[protocol, scram], "sasl.jaas.config: it is missing"),
            (&[protocol, scram, ("sasl.jaas.config", plain)], "not the login of the mechanism"),
        ] {
            let (properties, said) = read(pairs);
            assert!(properties.is_none() && said.iter().any(|line| line.contains(why)), "{said:?}");
        }
    }

    #[test]
    fn unknown_names_are_warned_about_and_left_out() {
        let (properties, said) =
            read(&[("lingerr.ms", "20"), ("metric.reporters", "x.Y"), ("key.serializer", "x")]);
        assert_eq!(properties.expect("no error").get("lingerr.ms"), None);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said.iter().all(|line| line.contains("warning")), "{said:?}");
    }

    #[test]
    fn wrong_values_and_what_the_build_lacks_are_errors_by_name() {
        for (name, value, why) in [
            ("linger.ms", "soon", "linger.ms"),
            ("compression.type", "rar", "compression"),
            ("security.protocol", "TLS", "SASL_SSL"),
            ("sasl.mechanism", "GSSAPI", "Kerberos"),
            ("sasl.mechanism", "OAUTHBEARER", "OAUTHBEARER"),
            ("sasl.oauthbearer.token.endpoint.url", "https://h/token", "OAUTHBEARER"),
            ("sasl.login.callback.handler.class", "com.example.Mine", "OAUTHBEARER"),
            ("sasl.jaas.config", "x.Krb5LoginModule required username=\"u\" password=\"p\";", "Kerberos"),
            (
                "sasl.jaas.config",
                "x.ScramLoginModule required username=\"u\" password=\"p\" tokenauth=\"true\";",
                "tokenauth",
            ),
            ("sasl.kerberos.service.name", "kafka", "Kerberos"),
            ("ssl.keystore.type", "BCFKS", "PKCS12"),
            ("ssl.enabled.protocols", "TLSv1.3", "TLSv1.2"),
            ("ssl.cipher.suites", "TLS_RSA_WITH_NULL_SHA256", "NULL"),
            ("ssl.engine.factory.class", "com.example.Mine", "Java"),
            ("partitioner.class", "com.example.Mine", "com.example.Mine"),
            ("buffer.memory", "much", "bytes"),
        ] {
            let (properties, said) = read(&[(name, value)]);
            assert!(properties.is_none(), "{name}");
            let named = said
                .iter()
                .any(|line| line.contains(why) && line.contains(&format!("kafka.producer.{name}")));
            assert!(named, "{name}: {said:?}");
            assert!(!said.iter().any(|line| line.contains("\"p\"")), "a password in {said:?}");
        }
    }
}
