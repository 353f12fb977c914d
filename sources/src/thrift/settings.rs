//! The keys of the `thrift` source, beside those of TLS.

use flumen_api::settings::{Unit, settings};

settings! {
    /// Keys of the `thrift` source.
    pub struct ThriftSourceSettings {
        /// Address or host name to listen on.
        pub bind: String = key("bind") { required: true },
        /// Port to listen on.
        pub port: u16 = key("port") { required: true },
        /// Threads of Flume's for calls.
        pub threads: u32 = key("threads") {
            default: Some("0"), inert: Some("changes nothing: all connections share a thread for each processor")
        },
        /// compact or binary, as those who send have it.
        pub protocol: String = key("protocol") { default: Some("compact"), one_of: &["compact", "binary"] },
        /// The longest call; a connection that announces a longer one is closed. Flume takes in 16384000.
        pub max_request_bytes: usize = key("maxRequestBytes") {
            default: Some("104857600"), unit: Unit::Bytes, min: Some(1), max: Some(1 << 30), since: "Flumen"
        },
        /// Clients that are served at a time; for a further one the client that has rested longest is let go.
        pub max_connections: usize = key("maxConnections") {
            default: Some("10000"), min: Some(1), max: Some(1_000_000), since: "Flumen"
        },
        /// Kerberos: not spoken here; `true` is an error.
        pub kerberos: bool = key("kerberos") { default: Some("false") },
        /// Principal of this side.
        pub agent_principal: Option<String> = key("agent-principal") { inert: Some("changes nothing without Kerberos") },
        /// Keytab of this side.
        pub agent_keytab: Option<String> = key("agent-keytab") { inert: Some("changes nothing without Kerberos") },
    }
}
