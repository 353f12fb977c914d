//! Keys of the `avro` sink, beside those of TLS. Flume hands them all to its RPC client, whose properties they are.

use flumen_api::settings::{Family, OnBad, Unit, Words, settings};

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
        /// The client of Flume's: DEFAULT has one host, DEFAULT_FAILOVER goes on to the next of `hosts` when one fails,
        /// DEFAULT_LOADBALANCE sends to all of them in turns. A sink group does the same with a sink for each.
        pub client_type: String = key("client.type") { default: Some("DEFAULT") },
        /// Names of hosts, in place of `hostname` and `port`. (These are required all the same, as in Flume, and count as h1.)
        pub hosts: Words = key("hosts") { default: Some("") },
        /// `hosts.<name>`: `host:port` of that host.
        pub host: Family = key("hosts.") { },
        /// DEFAULT_FAILOVER: calls for the same events before they go back to the channel; 0 is as many as there are hosts.
        pub max_attempts: usize = key("max-attempts") { default: Some("0"), min: Some(0), on_bad: OnBad::UseDefault },
        /// DEFAULT_LOADBALANCE: who is next, ROUND_ROBIN or RANDOM.
        pub host_selector: String = key("host-selector") { default: Some("ROUND_ROBIN") },
        /// DEFAULT_LOADBALANCE: whether a host that failed is left out for 2 s, and twice as long with each failure that follows.
        pub backoff: bool = key("backoff") { default: Some("false") },
        /// DEFAULT_LOADBALANCE: the longest that it is left out; 0 is 30 s.
        pub max_backoff: u64 = key("maxBackoff") { default: Some("0"), unit: Unit::Millis, min: Some(0) },
    }
}
