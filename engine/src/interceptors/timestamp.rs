//! `timestamp`: a header with the time at which the event passed, in milliseconds since 1970.
//!
//! The clock is read once a batch, and the text is made once a millisecond.

use std::time::{SystemTime, UNIX_EPOCH};

use flumen_api::batch::Batch;
use flumen_api::interceptor::Interceptor;
use flumen_api::registry::{Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems, settings};

use super::shared::Memo;

settings! {
    /// Keys of the timestamp interceptor.
    pub struct TimestampSettings {
        /// Name of the header.
        pub header_name: String = key("headerName") { default: Some("timestamp") },
        /// An event that has the header keeps it as it is.
        pub preserve_existing: bool = key("preserveExisting") { default: Some("false") },
    }
}

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "timestamp",
    class_names: &["org.apache.flume.interceptor.TimestampInterceptor$Builder"],
    keys: TimestampSettings::KEYS,
    doc: "Adds the present time, in milliseconds since 1970, as a header.",
    factory: Factory::Interceptor(build),
};

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Box<dyn Interceptor>> {
    let settings = TimestampSettings::load(config, problems)?;
    Some(Box::new(Timestamp { settings, now: unix_ms, at: None, text: String::new(), memo: Memo::default() }))
}

fn unix_ms() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    }
}

struct Timestamp {
    settings: TimestampSettings,
    now: fn() -> i64,
    /// The millisecond that `text` says.
    at: Option<i64>,
    text: String,
    memo: Memo,
}

impl Interceptor for Timestamp {
    fn intercept(&mut self, batch: &mut Batch) {
        let now = (self.now)();
        if self.at != Some(now) {
            self.at = Some(now);
            self.text = now.to_string();
            self.memo.forget();
        }
        let TimestampSettings { header_name, preserve_existing } = &self.settings;
        self.memo.set_all(batch, header_name, &self.text, *preserve_existing);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use flumen_api::event::Headers;
    use flumen_api::settings::Kind;

    use super::*;

    thread_local! {
        static NOW: Cell<i64> = const { Cell::new(0) };
    }

    fn timestamp(pairs: &[(&str, &str)]) -> Timestamp {
        let config = ComponentConfig::of(Kind::Interceptor, "i1", pairs);
        let settings = TimestampSettings::load(&config, &mut Problems::default()).expect("settings");
        Timestamp { settings, now: || NOW.get(), at: None, text: String::new(), memo: Memo::default() }
    }

    fn batch(headers: &[(&str, &str)]) -> Batch {
        let mut batch = Batch::new();
        batch.push(b"plain");
        let set = batch.add_headers(headers.iter().copied().collect::<Headers>());
        batch.push_with(b"with", set);
        batch
    }

    fn values(batch: &Batch, key: &str) -> Vec<Option<String>> {
        batch.iter().map(|event| event.headers.get(key).map(str::to_string)).collect()
    }

    #[test]
    fn every_event_gets_the_time_of_its_batch() {
        let mut timestamp = timestamp(&[]);
        for now in [1_353_398_407_000, 1_353_398_407_001, -5] {
            NOW.set(now);
            let mut batch = batch(&[("timestamp", "1")]);
            timestamp.intercept(&mut batch);
            assert_eq!(values(&batch, "timestamp"), vec![Some(now.to_string()); 2]);
        }
    }

    #[test]
    fn what_is_there_stays_if_it_shall() {
        NOW.set(7);
        let mut batch = batch(&[("ts", "1")]);
        timestamp(&[("preserveExisting", "true"), ("headerName", "ts")]).intercept(&mut batch);
        assert_eq!(values(&batch, "ts"), [Some("7".into()), Some("1".into())]);
        assert_eq!(values(&batch, "timestamp"), [None, None]);
    }

    #[test]
    fn the_clock_is_that_of_the_machine() {
        let before = unix_ms();
        assert!(before > 1_700_000_000_000, "{before}");
        assert!(unix_ms() >= before);
    }
}
