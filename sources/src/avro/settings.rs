//! Keys of the `avro` source, beside those of TLS.

use flumen_api::settings::{Commas, Unit, settings};

settings! {
    /// Keys of the `avro` source.
    pub struct AvroSourceSettings {
        /// Address or host name to listen on.
        pub bind: String = key("bind") { required: true },
        /// Port to listen on.
        pub port: u16 = key("port") { required: true, min: Some(0), max: Some(65535) },
        /// Most threads.
        pub threads: u32 = key("threads") {
            default: Some("0"), inert: Some("Flume 1.11 does not use it any more, and connections need no threads here")
        },
        /// none or deflate, as the sink has it.
        pub compression_type: String = key("compression-type") { default: Some("none"), one_of: &["none", "deflate"] },
        /// Whether `ipFilterRules` decide who may connect.
        pub ip_filter: bool = key("ipFilter") { default: Some("false") },
        /// `allow` or `deny`, `ip` or `name`, and a pattern with `*` and `?`: `allow:ip:10.*,deny:ip:*`. The first that fits
        /// decides; where none does, all may. `name:localhost` is this machine.
        pub ip_filter_rules: Commas = key("ipFilterRules") { },
        /// The longest request; the connection of a longer one is closed.
        pub max_request_bytes: usize = key("maxRequestBytes") {
            default: Some("104857600"), unit: Unit::Bytes, min: Some(1024), max: Some(1 << 30), since: "Flumen"
        },
        /// Clients that are served at a time; for a further one the client that has rested longest is let go.
        pub max_connections: usize = key("maxConnections") {
            default: Some("10000"), min: Some(1), max: Some(1_000_000), since: "Flumen"
        },
    }
}
