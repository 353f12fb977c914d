//! `null`: forgets all events, and says how many every `logEveryNEvents`.

mod settings;

use async_trait::async_trait;
use flumen_api::chunk::Events;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_api::sink::{Sink, SinkContext, SinkError, Window};
use flumen_api::{TakeLimit, sink};

pub use settings::NullSettings;

/// The type for the registry.
pub fn spec() -> Spec {
    Spec {
        alias: "null",
        class_names: &["org.apache.flume.sink.NullSink"],
        keys: NullSettings::KEYS,
        doc: "Forgets all events: for measuring what stands before it.",
        factory: Factory::Sink(build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn sink::Sink>> {
    let settings = NullSettings::load(config, problems)?;
    let batch_size = settings.batch_size;
    let component = Box::new(NullSink { settings, name: config.name.to_string(), events: 0 });
    Some(Built { component, batch_size: Some(("batchSize", batch_size)) })
}

/// The sink.
struct NullSink {
    settings: NullSettings,
    name: String,
    events: u64,
}

#[async_trait]
impl Sink for NullSink {
    fn take_limit(&self) -> TakeLimit {
        TakeLimit::events(self.settings.batch_size)
    }

    fn window(&self) -> Window {
        Window::EACH_TAKE
    }

    async fn start(&mut self, _: &SinkContext) -> Result<(), SinkError> {
        Ok(())
    }

    async fn deliver(&mut self, events: &Events) -> Result<(), SinkError> {
        let every = self.settings.log_every;
        let before = self.events / every;
        self.events += events.len() as u64;
        for times in before + 1..=self.events / every {
            tracing::info!(
                target: "org.apache.flume.sink.NullSink",
                "Null sink {} successful processed {} events.",
                self.name,
                times * every
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
    async fn a_line_is_logged_every_so_many_events() {
        let config = config(&[("logEveryNEvents", "4"), ("batchSize", "6")]);
        let mut built = build(&config, &mut Problems::default()).expect("built");
        assert_eq!(built.batch_size, Some(("batchSize", 6)));
        built.component.start(&context()).await.expect("started");
        let logged = Logged::capture();
        built.component.deliver(&events(&["1", "2", "3"])).await.expect("delivered");
        built.component.deliver(&events(&["4", "5", "6", "7", "8"])).await.expect("delivered");
        let lines = logged.lines();
        let line = |n| {
            (
                "org.apache.flume.sink.NullSink".into(),
                format!("Null sink k1 successful processed {n} events."),
            )
        };
        assert_eq!(lines, [line(4), line(8)]);
    }

    #[test]
    fn zero_is_refused() {
        for key in ["batchSize", "logEveryNEvents"] {
            let mut problems = Problems::default();
            assert!(build(&config(&[(key, "0")]), &mut problems).is_none());
            assert_eq!(problems.errors(), 1, "{key}");
        }
    }
}
