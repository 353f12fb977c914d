//! Keys of the thrift sink, beside those of TLS. Flume hands them all to its RPC client, so that some of the client's own
//! work as well.

use flumen_api::settings::{Family, Unit, Words, settings};

/// Said of the client's keys for several destinations.
const ONE: &str = "changes nothing: the thrift sink has one destination, in Flume too. Several are a sink group, or \
                   the avro sink's";
const KERBEROS: &str = "changes nothing without Kerberos";

settings! {
    /// Keys of the thrift sink.
    pub struct ThriftSinkSettings {
        /// Host to connect to.
        pub hostname: String = key("hostname") { required: true },
        /// Port to connect to.
        pub port: u16 = key("port") { required: true },
        /// Most events of one call; below 1: the default.
        pub batch_size: i64 = key("batch-size") { default: Some("100"), unit: Unit::Events },
        /// How long connecting may take; below 1000: the default.
        pub connect_timeout: i64 = key("connect-timeout") { default: Some("20000"), unit: Unit::Millis },
        /// How long the answer to a call may take; below 1000: the default.
        pub request_timeout: i64 = key("request-timeout") { default: Some("20000"), unit: Unit::Millis },
        /// After how long a new connection is made, so that a balancer may choose anew; 0 is never.
        pub reset_connection_interval: u32 = key("reset-connection-interval") { default: Some("0"), unit: Unit::Seconds },
        /// compact or binary, as the source has it.
        pub protocol: String = key("protocol") { default: Some("compact"), one_of: &["compact", "binary"] },
        /// Name of a destination to use in place of `hostname` and `port`; of several the first.
        pub hosts: Words = key("hosts") { default: Some("") },
        /// `hosts.<name>`: `host:port` of that destination.
        pub host: Family = key("hosts.") { },
        /// Kerberos: not spoken here; `true` is an error.
        pub kerberos: bool = key("kerberos") { default: Some("false") },
        /// Principal of this side.
        pub client_principal: Option<String> = key("client-principal") { inert: Some(KERBEROS) },
        /// Keytab of this side.
        pub client_keytab: Option<String> = key("client-keytab") { inert: Some(KERBEROS) },
        /// Principal of the source.
        pub server_principal: Option<String> = key("server-principal") { inert: Some(KERBEROS) },
        /// Connections.
        pub max_connections: u32 = key("maxConnections") {
            default: Some("1"), inert: Some("the thrift sink has one connection, in Flume too")
        },
        /// Which client of Flume's.
        pub client_type: String = key("client.type") { default: Some("DEFAULT"), inert: Some(ONE) },
        /// Tries with several destinations.
        pub max_attempts: Option<u32> = key("max-attempts") { inert: Some(ONE) },
        /// How one of several destinations is chosen.
        pub host_selector: String = key("host-selector") { default: Some("ROUND_ROBIN"), inert: Some(ONE) },
        /// Whether one of several destinations that failed rests.
        pub backoff: bool = key("backoff") { default: Some("false"), inert: Some(ONE) },
        /// The longest rest.
        pub max_backoff: u32 = key("maxBackoff") { default: Some("0"), unit: Unit::Millis, inert: Some(ONE) },
    }
}
