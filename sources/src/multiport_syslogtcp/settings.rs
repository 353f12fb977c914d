//! The keys of the `multiport_syslogtcp` source, beside those of TLS.

use flumen_api::settings::{Family, OnBad, Unit, Words, settings};

use crate::syslog::KeepFields;

settings! {
    /// Keys of the `multiport_syslogtcp` source.
    pub(crate) struct MultiportSettings {
        /// Address or host name to listen on; absent is all addresses.
        pub host: Option<String> = key("host") { },
        /// Ports to listen on, separated by blanks.
        pub ports: Words = key("ports") { required: true },
        /// The longest line in bytes, its end included. A longer one comes in pieces.
        pub event_size: usize = key("eventSize") {
            default: Some("2500"), unit: Unit::Bytes, min: Some(1), max: Some(16 << 20)
        },
        /// Which parsed fields stay in the body: `none`, `all`, or words of `priority version timestamp hostname`.
        pub keep_fields: KeepFields = key("keepFields") { default: Some("none"), on_bad: OnBad::UseDefault },
        /// Header that receives the port of the arrival; absent is none.
        pub port_header: Option<String> = key("portHeader") { },
        /// Header that receives the client's address; absent is none.
        pub client_ip_header: Option<String> = key("clientIPHeader") { },
        /// Header that receives the client's host name, or its address if it has none; absent is none.
        pub client_hostname_header: Option<String> = key("clientHostnameHeader") { },
        /// Character set of the lines. A line that is none of its text comes as it is, with the status `Invalid`.
        pub charset: String = key("charset.default") { default: Some("UTF-8") },
        /// Character set of one port: `charset.port.10514 = ISO-8859-1`.
        pub port_charsets: Family = key("charset.port.") { },
        /// Most events of one put.
        pub batch_size: usize = key("batchSize") {
            default: Some("100"), unit: Unit::Events, min: Some(1), max: Some(1_000_000)
        },
        /// Size of a client's first reads; a client that sends more is read in larger ones. Flume's guide calls it
        /// `readBufferSize`, which Flume does not read.
        pub read_buffer_bytes: usize = key("readBufferBytes") {
            aliases: &["readBufferSize"], default: Some("1024"), unit: Unit::Bytes, min: Some(1), max: Some(1 << 30)
        },
        /// Threads of Flume's; there are as many here as there are processors, for all sources together.
        pub num_processors: Option<u32> = key("numProcessors") {
            inert: Some("changes nothing: there is a thread for each processor, for all sources together")
        },
        /// Clients that are served at a time, over all ports; further ones wait.
        pub max_connections: usize = key("maxConnections") {
            default: Some("10000"), min: Some(1), max: Some(1_000_000), since: "Flumen"
        },
    }
}
