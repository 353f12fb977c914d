//! Keys of the avro sink. Flume hands them all to its RPC client, so that the client's own keys work as well.

use flumen_api::settings::{Family, Unit, Words, settings};

settings! {
    /// Keys of the avro sink.
    pub struct AvroSinkSettings {
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
        /// none or deflate, as the source has it.
        pub compression_type: String = key("compression-type") { default: Some("none"), one_of: &["none", "deflate"] },
        /// Level of deflate, 0 to 9.
        pub compression_level: u32 = key("compression-level") { default: Some("6"), max: Some(9) },
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
        /// Threads of the connection.
        pub max_io_workers: Option<u32> = key("maxIoWorkers") {
            inert: Some("Flume 1.11 does not read it any more, and there are no such threads here")
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
