//! The keys of the `syslogtcp` source, beside those of TLS and of `format.*`.

use flumen_api::settings::{OnBad, Unit, settings};

use crate::syslog::KeepFields;

settings! {
    /// Keys of the `syslogtcp` source.
    pub(crate) struct SyslogTcpSettings {
        /// Address or host name to listen on; absent is all addresses.
        pub host: Option<String> = key("host") { },
        /// Port to listen on.
        pub port: u16 = key("port") { required: true, min: Some(0), max: Some(65535) },
        /// The longest line in bytes, at least 10. A longer one comes in pieces.
        pub event_size: usize = key("eventSize") {
            default: Some("2500"), unit: Unit::Bytes, min: Some(1), max: Some(16 << 20)
        },
        /// Which parsed fields stay in the body: `none`, `all`, or words of `priority version timestamp hostname`.
        pub keep_fields: KeepFields = key("keepFields") { default: Some("none"), on_bad: OnBad::UseDefault },
        /// Header that receives the client's address; absent is none.
        pub client_ip_header: Option<String> = key("clientIPHeader") { },
        /// Header that receives the client's host name, or its address if it has none; absent is none.
        pub client_hostname_header: Option<String> = key("clientHostnameHeader") { },
        /// Reads time stamps that have a fraction as Flume does: their zone is overlooked, and `.2` is 2 ms.
        pub flume_timestamps: bool = key("flumeTimestamps") { default: Some("false"), since: "Flumen" },
        /// Clients that are served at a time; further ones wait.
        pub max_connections: usize = key("maxConnections") {
            default: Some("10000"), min: Some(1), max: Some(1_000_000), since: "Flumen"
        },
    }
}
