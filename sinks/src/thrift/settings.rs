//! Keys of the thrift sink. Flume hands them all to its RPC client, so that the client's own keys work as well.

use flumen_api::settings::{Family, Unit, Words, settings};

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
        /// TLS.
        pub ssl: bool = key("ssl") { default: Some("false") },
        /// Takes any certificate.
        pub trust_all_certs: bool = key("trust-all-certs") { default: Some("false") },
        /// Store of trusted certificates.
        pub truststore: Option<String> = key("truststore") { },
        /// Its password.
        pub truststore_password: Option<String> = key("truststore-password") { secret: true },
        /// JKS or PKCS12.
        pub truststore_type: String = key("truststore-type") { default: Some("JKS") },
        /// TLS versions that are never used, separated by blanks; SSLv3 is always among them.
        pub exclude_protocols: Words = key("exclude-protocols") { default: Some("SSLv3") },
        /// TLS versions of which one is used.
        pub include_protocols: Words = key("include-protocols") { },
        /// Cipher suites that are never used.
        pub exclude_cipher_suites: Words = key("exclude-cipher-suites") { },
        /// Cipher suites of which one is used.
        pub include_cipher_suites: Words = key("include-cipher-suites") { },
        /// compact or binary, as the source has it.
        pub protocol: String = key("protocol") { default: Some("compact"), one_of: &["compact", "binary"] },
        /// Kerberos.
        pub kerberos: bool = key("kerberos") { default: Some("false") },
        /// Principal of this side.
        pub client_principal: Option<String> = key("client-principal") { },
        /// Keytab of this side.
        pub client_keytab: Option<String> = key("client-keytab") { },
        /// Principal of the source.
        pub server_principal: Option<String> = key("server-principal") { },
        /// Connections.
        pub max_connections: u32 = key("maxConnections") {
            default: Some("1"), inert: Some("the thrift sink has one connection, in Flume too")
        },
        /// One destination (DEFAULT), or several: DEFAULT_FAILOVER, DEFAULT_LOADBALANCE.
        pub client_type: String = key("client.type") { default: Some("DEFAULT") },
        /// Names of several destinations, separated by blanks.
        pub hosts: Words = key("hosts") { },
        /// `hosts.<name>`: `host:port` of a destination.
        pub host: Family = key("hosts.") { },
        /// With DEFAULT_FAILOVER: tries for each call. Default: as many as there are destinations.
        pub max_attempts: Option<u32> = key("max-attempts") { },
        /// With DEFAULT_LOADBALANCE: ROUND_ROBIN or RANDOM.
        pub host_selector: String = key("host-selector") { default: Some("ROUND_ROBIN") },
        /// With DEFAULT_LOADBALANCE: destinations that failed rest.
        pub backoff: bool = key("backoff") { default: Some("false") },
        /// The longest rest; 0 is 30000.
        pub max_backoff: u32 = key("maxBackoff") { default: Some("0"), unit: Unit::Millis },
    }
}
