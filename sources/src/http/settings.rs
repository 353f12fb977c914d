//! The keys of the `http` source, beside those of TLS.

use flumen_api::settings::{Commas, Family, Unit, settings};

/// Said of Jetty's own settings.
const JETTY: &str = "changes nothing: it sets up Jetty, the server in Flume";

settings! {
    /// Keys of the `http` source.
    pub(crate) struct HttpSettings {
        /// Address or host name to listen on.
        pub bind: String = key("bind") { default: Some("0.0.0.0") },
        /// Port to listen on.
        pub port: u16 = key("port") { required: true, min: Some(0), max: Some(65535) },
        /// What requests are: `org.apache.flume.source.http.JSONHandler` (an array of events),
        /// `org.apache.flume.source.http.BLOBHandler` or `org.apache.flume.sink.solr.morphline.BlobHandler` (the body is an
        /// event).
        pub handler: String = key("handler") { default: Some("org.apache.flume.source.http.JSONHandler") },
        /// `BLOBHandler`: parameters that a request must have, separated by commas.
        pub mandatory_parameters: Commas = key("handler.mandatoryParameters") { default: Some("") },
        /// `BlobHandler`: the longest event; a longer body comes as several.
        pub max_blob_length: usize = key("handler.maxBlobLength") {
            default: Some("100000000"), unit: Unit::Bytes, min: Some(1), max: Some(2_147_483_647)
        },
        /// The longest request body; a longer one is refused with 413.
        pub max_request_bytes: usize = key("maxRequestBytes") {
            default: Some("104857600"), unit: Unit::Bytes, min: Some(1), max: Some(1 << 30), since: "Flumen"
        },
        /// Clients that are served at a time; further ones wait.
        pub max_connections: usize = key("maxConnections") {
            default: Some("10000"), min: Some(1), max: Some(1_000_000), since: "Flumen"
        },
        /// Jetty's threads; there is a thread for each processor here.
        pub thread_pool: Family = key("QueuedThreadPool.") { inert: Some(JETTY) },
        /// Jetty's HTTP.
        pub configuration: Family = key("HttpConfiguration.") { inert: Some(JETTY) },
        /// Jetty's sockets.
        pub connector: Family = key("ServerConnector.") { inert: Some(JETTY) },
        /// Jetty's TLS; `include-protocols` and its like are what is read here.
        pub ssl_context: Family = key("SslContextFactory.") {
            inert: Some("changes nothing: it sets up Jetty; write exclude-protocols, include-protocols, \
                         exclude-cipher-suites or include-cipher-suites instead")
        },
    }
}
