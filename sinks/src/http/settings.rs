//! Keys of the http sink.

use flumen_api::settings::{Family, Unit, settings};

settings! {
    /// Keys of the http sink.
    pub struct HttpSettings {
        /// URL that each event is posted to, http or https.
        pub endpoint: String = key("endpoint") { required: true },
        /// How long connecting may take.
        pub connect_timeout: u64 = key("connectTimeout") {
            default: Some("5000"), min: Some(1), unit: Unit::Millis
        },
        /// How long the endpoint may rest: a request has failed when no byte of it and of its answer has moved for so long.
        pub request_timeout: u64 = key("requestTimeout") {
            default: Some("5000"), min: Some(1), unit: Unit::Millis
        },
        /// What the request says of its body.
        pub content_type: String = key("contentTypeHeader") { default: Some("text/plain") },
        /// What the request accepts as an answer.
        pub accept: String = key("acceptHeader") { default: Some("text/plain") },
        /// Whether the sink rests after an answer for which no other key says so: a second, and one more with each in a
        /// row, up to five.
        pub default_backoff: bool = key("defaultBackoff") { default: Some("true") },
        /// Whether the event goes back and is sent again after an answer for which no other key says so. Mind the default:
        /// with it even a 200 is not enough.
        pub default_rollback: bool = key("defaultRollback") { default: Some("true") },
        /// Whether the event counts as drained after an answer for which no other key says so.
        pub default_increment: bool = key("defaultIncrementMetrics") { default: Some("false") },
        /// By status: backoff.503 for one, backoff.5XX for a hundred of them; one alone wins over its hundred.
        pub backoff: Family = key("backoff.") { },
        /// The same for the event's going back: rollback.2XX = false is what nearly everybody wants.
        pub rollback: Family = key("rollback.") { },
        /// The same for counting the event as drained.
        pub increment: Family = key("incrementMetrics.") { },
        /// The same for refusing the event: refuse.400 = true sends it to the dead letter, if the sink has one
        /// (deadLetter.type); without one it goes back.
        pub refuse: Family = key("refuse.") { since: "Flumen 0.1" },
    }
}
