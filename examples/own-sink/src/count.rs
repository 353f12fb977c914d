//! A sink that counts the events of each value of a header, and writes the counts to a file.
//!
//! The counts must survive a kill, and no event may count twice. So the sink keeps its counts as its *progress*: they become
//! durable in the channel at the very moment at which the events are released, and a start begins with them. The file is for
//! people, and written anew from the counts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use async_trait::async_trait;
use flumen_api::Position;
use flumen_api::channel::{SinkProgress, TakeLimit};
use flumen_api::chunk::Events;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems, Unit, settings};
use flumen_api::sink::{FlushFuture, Sink, SinkContext, SinkError};

settings! {
    /// Keys of the counting sink.
    pub struct CountSettings {
        /// The file that receives the counts; written anew with each take.
        pub file: PathBuf = key("file") { required: true },
        /// The header whose values are counted.
        pub header: String = key("header") { default: Some("host") },
        /// Most events of one take.
        pub batch_size: usize = key("batchSize") { default: Some("100"), min: Some(1), unit: Unit::Events },
    }
}

/// The type for the registry.
pub fn spec() -> Spec {
    Spec {
        alias: "count",
        class_names: &["org.example.CountSink"],
        keys: CountSettings::KEYS,
        doc: "Counts events by the value of a header.",
        factory: Factory::Sink(build),
    }
}

/// Reads the keys; nothing outside is touched, for `flumen check` does this as well.
fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Sink>> {
    let settings = CountSettings::load(config, problems)?;
    // Larger than the channel's transactionCapacity is an error of the check.
    let batch_size = Some(("batchSize", settings.batch_size));
    Some(Built { component: Box::new(Count { settings, counts: BTreeMap::new(), released: 0 }), batch_size })
}

struct Count {
    settings: CountSettings,
    counts: BTreeMap<String, u64>,
    /// How many events the counts hold.
    released: u64,
}

/// The key of the progress.
const KEY: &str = "counts";

impl Count {
    fn text(&self) -> String {
        self.counts.iter().map(|(value, count)| format!("{value}\t{count}\n")).collect()
    }

    fn read(text: &str) -> BTreeMap<String, u64> {
        let pair = |line: &str| {
            let (value, count) = line.rsplit_once('\t')?;
            Some((value.to_string(), count.parse().ok()?))
        };
        text.lines().filter_map(pair).collect()
    }

    /// What is released, or nothing.
    fn begin_over(&mut self, context: &SinkContext) {
        let position = context.positions().remove(KEY);
        self.released = position.as_ref().map_or(0, |position| position.to);
        self.counts = position
            .map_or_else(BTreeMap::new, |position| Self::read(&String::from_utf8_lossy(&position.rest)));
    }
}

#[async_trait]
impl Sink for Count {
    fn take_limit(&self) -> TakeLimit {
        TakeLimit::events(self.settings.batch_size)
    }

    async fn start(&mut self, context: &SinkContext) -> Result<(), SinkError> {
        self.begin_over(context);
        Ok(())
    }

    async fn deliver(&mut self, events: &Events) -> Result<(), SinkError> {
        let before = (self.counts.clone(), self.released);
        for event in events.iter() {
            let value = event.headers.get(&self.settings.header).unwrap_or_default();
            *self.counts.entry(value.replace(['\t', '\n'], " ")).or_default() += 1;
            self.released += 1;
        }
        let file = &self.settings.file;
        if let Err(error) = std::fs::write(file, self.text()) {
            // An error gives the events back: they come again, and must not have been counted.
            (self.counts, self.released) = before;
            return Err(SinkError::new(format!("cannot write {}: {error}", file.display()), error));
        }
        Ok(())
    }

    /// What this returns is kept with the release of all that was delivered.
    fn flush(&mut self) -> FlushFuture {
        let position = Position { generation: 0, began: 0, to: self.released, rest: self.text().into() };
        let progress = SinkProgress { key: KEY.into(), position: Some(position) };
        Box::pin(std::future::ready(Ok(vec![progress])))
    }
}
