//! Keys of the `avro` sink, beside those of TLS. Flume hands them all to its RPC client, whose properties they are.

use flumen_api::settings::{Family, OnBad, Unit, Words, settings};

/// What stands in place of several destinations of one sink.
const ONE: &str = "a sink has one destination here: make a sink for each, and a sink group with \
                   `processor.type = failover` or `load_balance`";

settings! {
    /// Keys of the `avro` sink.
    pub struct AvroSinkSettings {
        /// Host to connect to.
        pub hostname: String = key("hostname") { required: true },
        /// Port to connect to.
        pub port: u16 = key("port") { required: true, min: Some(1), max: Some(65535) },
        /// Most events of one call; below 1: the default.
        pub batch_size: usize = key("batch-size") {
            default: Some("100"), unit: Unit::Events, min: Some(1), on_bad: OnBad::UseDefault
        },
        /// How long connecting may take; below 1000: the default.
        pub connect_timeout: u64 = key("connect-timeout") {
            default: Some("20000"), unit: Unit::Millis, min: Some(1000), on_bad: OnBad::UseDefault
        },
        /// How long the answer to a call may take, counted from the answer before; below 1000: the default.
        pub request_timeout: u64 = key("request-timeout") {
            default: Some("20000"), unit: Unit::Millis, min: Some(1000), on_bad: OnBad::UseDefault
        },
        /// After how long a new connection is made, so that a balancer may choose anew; 0 is never.
        pub reset_connection_interval: u64 = key("reset-connection-interval") {
            default: Some("0"), unit: Unit::Seconds, min: Some(0)
        },
        /// none or deflate, as the source has it.
        pub compression_type: String = key("compression-type") { default: Some("none"), one_of: &["none", "deflate"] },
        /// Level of deflate, 0 to 9.
        pub compression_level: u32 = key("compression-level") {
            default: Some("6"), min: Some(0), max: Some(9), on_bad: OnBad::UseDefault
        },
        /// Calls that may be on their way at a time to a Flumen source; each is a batch that may come twice after a fault. To a
        /// source of Flume's it is 1, for that may take several in in any order.
        pub pipeline: usize = key("pipeline") { default: Some("8"), min: Some(1), max: Some(64), since: "Flumen" },
        /// Threads of the connection.
        pub max_io_workers: Option<u32> = key("maxIoWorkers") {
            inert: Some("Flume 1.11 does not read it any more, and there are no such threads here")
        },
        /// The kind of client: DEFAULT.
        pub client_type: String = key("client.type") { default: Some("DEFAULT") },
        /// Names of several destinations.
        pub hosts: Words = key("hosts") { refused: Some(ONE) },
        /// `hosts.<name>`: `host:port` of a destination.
        pub host: Family = key("hosts.") { refused: Some(ONE) },
        /// Tries for each call over several destinations.
        pub max_attempts: Option<u32> = key("max-attempts") { inert: Some("a sink has one destination here") },
        /// How one of several destinations is chosen.
        pub host_selector: Option<String> = key("host-selector") { inert: Some("a sink has one destination here") },
        /// Whether destinations that failed rest.
        pub backoff: Option<String> = key("backoff") { inert: Some("a sink has one destination here") },
        /// The longest rest of one of several destinations.
        pub max_backoff: Option<u32> = key("maxBackoff") { inert: Some("a sink has one destination here") },
    }
}

/// What stands in place of clients for several destinations.
pub(super) const CLIENT_TYPE: &str = ONE;
