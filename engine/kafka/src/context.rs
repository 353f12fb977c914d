//! librdkafka's own words: its log lines in ours, and the last trouble with the brokers for the errors that follow from it.

use std::fmt::Display;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// Takes a client's log lines, and remembers its last trouble.
#[derive(Debug, Default)]
pub struct Report {
    trouble: Mutex<Option<String>>,
}

impl Report {
    /// What is wrong with the connection to the brokers, as far as the client said.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().clone()
    }

    /// All is well again.
    pub fn clear(&self) {
        *self.trouble.lock() = None;
    }

    /// Something is wrong.
    pub fn note(&self, error: &impl Display, reason: &str) {
        let text = match reason.is_empty() {
            true => error.to_string(),
            false => reason.to_string(),
        };
        tracing::warn!("Kafka: {text}");
        *self.trouble.lock() = Some(text);
    }

    /// For a client's log lines.
    pub fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => {
                tracing::warn!(target: "librdkafka", "{facility}: {message}");
            }
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => {
                tracing::info!(target: "librdkafka", "{facility}: {message}");
            }
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", "{facility}: {message}"),
        }
    }
}

impl ClientContext for Report {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Self::log(self, level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.note(&error, reason);
    }
}

/// A code of librdkafka's in words, with what is known of the brokers.
pub fn explain(code: RDKafkaErrorCode, report: &Report) -> String {
    match report.trouble() {
        Some(trouble) => format!("{code} ({trouble})"),
        None => code.to_string(),
    }
}
