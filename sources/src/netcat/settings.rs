//! The keys of the `netcat` source.

use flumen_api::settings::settings;

/// A line is kept in memory until its end comes, one for each client.
const LINE_CHARACTERS_MAX: i64 = 16 << 20;

settings! {
    /// Keys of the `netcat` source.
    pub struct NetcatSettings {
        /// Address or host name to listen on.
        pub bind: String = key("bind") { required: true },
        /// Port to listen on.
        pub port: u16 = key("port") { required: true, min: Some(0), max: Some(65535) },
        /// The longest line in characters, line end included. A longer one ends the connection.
        pub max_line_length: usize = key("max-line-length") {
            default: Some("512"), min: Some(1), max: Some(LINE_CHARACTERS_MAX)
        },
        /// Answers each event with `OK`.
        pub ack_every_event: bool = key("ack-every-event") { default: Some("true") },
        /// Character set of the lines and of the answers; bodies are UTF-8. What is no character of it becomes U+FFFD.
        pub encoding: String = key("encoding") { default: Some("utf-8") },
        /// Clients that are served at a time; further ones wait.
        pub max_connections: usize = key("maxConnections") {
            default: Some("10000"), min: Some(1), max: Some(1_000_000), since: "Flumen"
        },
    }
}
