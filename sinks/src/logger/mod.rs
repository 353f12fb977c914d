//! `logger`: prints each event to the agent's own log, as Flume does.
//!
//! The line is logged at INFO under Flume's logger name, so that log settings made for Flume find it.

mod dump;
mod settings;

use async_trait::async_trait;
use flumen_api::TakeLimit;
use flumen_api::chunk::Events;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_api::sink::{Sink, SinkContext, SinkError};

use dump::Dump;
pub use settings::LoggerSettings;

/// Events of one take. Flume takes one at a time; the output is the same, for a take that fails does so before its
/// first line.
const TAKE_EVENTS: usize = 100;

/// The type for the registry.
pub fn spec() -> Spec {
    Spec {
        alias: "logger",
        class_names: &["org.apache.flume.sink.LoggerSink"],
        keys: LoggerSettings::KEYS,
        doc: "Prints events to the agent's own log: for trying things out.",
        factory: Factory::Sink(build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Sink>> {
    let settings = LoggerSettings::load(config, problems)?;
    Some(Built { component: Box::new(LoggerSink { settings }), batch_size: None })
}

/// The sink.
struct LoggerSink {
    settings: LoggerSettings,
}

#[async_trait]
impl Sink for LoggerSink {
    fn take_limit(&self) -> TakeLimit {
        TakeLimit::events(TAKE_EVENTS)
    }

    async fn start(&mut self, _: &SinkContext) -> Result<(), SinkError> {
        Ok(())
    }

    async fn deliver(&mut self, events: &Events) -> Result<(), SinkError> {
        for event in events.iter() {
            tracing::info!(
                target: "org.apache.flume.sink.LoggerSink",
                "Event: {}",
                Dump(event, self.settings.max_bytes)
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Logged, config, context, events};

    #[tokio::test]
    async fn events_are_logged_in_order_under_flumes_name() {
        let mut sink = build(&config(&[]), &mut Problems::default()).expect("built").component;
        sink.start(&context()).await.expect("started");
        let logged = Logged::capture();
        sink.deliver(&events(&["hello", ""])).await.expect("delivered");
        let target = "org.apache.flume.sink.LoggerSink".to_string();
        let hello = "Event: { headers:{} body: 68 65 6C 6C 6F                                  hello }";
        let empty = "Event: { headers:{} body: }";
        assert_eq!(logged.lines(), [(target.clone(), hello.to_string()), (target, empty.to_string())]);
    }

    #[test]
    fn a_bad_number_is_the_default_with_a_warning() {
        let mut problems = Problems::default();
        assert!(build(&config(&[("maxBytesToLog", "many")]), &mut problems).is_some());
        assert_eq!((problems.0.len(), problems.errors()), (1, 0));
    }
}
