//! Keys of the logger sink.

use flumen_api::settings::{OnBad, Unit, settings};

settings! {
    /// Keys of the logger sink.
    pub struct LoggerSettings {
        /// Most bytes of a body that are logged.
        pub max_bytes: usize = key("maxBytesToLog") {
            default: Some("16"), min: Some(0), unit: Unit::Bytes, on_bad: OnBad::UseDefault
        },
    }
}
