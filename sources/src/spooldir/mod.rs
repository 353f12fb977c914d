//! The `spooldir` source: puts the events of whole files that are moved into a directory, each once, and marks the files
//! as read.
//!
//! ```text
//!   listing ──► which file is next     deserializer ──► the next events of one file
//!       │                                  │
//!       └────────► spooler: reads, puts on their way, acks ──► channels (events + progress)
//!                     │
//!                     └── all of a file acked ──► settle: rename, delete or mark it; then its progress is retired
//! ```
//!
//! A file must not change once it is there, and no name is used twice. Where Flume's source dies of one that does, here
//! that file is set aside (`errorSuffix`), named in the log and in `/readyz`, and the others go on.
//!
//! The channel keeps how far a file was read together with the events (`memo.rs`): a crash at any moment repeats nothing,
//! in the middle of a file as well as between its last event and its new name. The steps' order does it: a file is
//! settled when its last event is durable, and its progress is retired when the new name is. Flume's tracker file
//! (`tracker.rs`) is read where the channel knows nothing.

mod deserializer;
mod listing;
mod memo;
mod reading;
mod settings;
mod settle;
mod spooler;
#[cfg(test)]
mod tests;
mod tracker;

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_api::source::Runs;
use flumen_api::{Source, SourceContext, SourceError};
use flumen_java::{Charset, JavaRegex};

use deserializer::{Format, OnMalformed, SchemaHeader};
use listing::{Order, Rules};
pub use settings::SpooldirSettings;
use settle::Fate;
use spooler::Spooler;

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "spooldir",
        class_names: &["org.apache.flume.source.SpoolDirectorySource"],
        keys: SpooldirSettings::KEYS,
        doc: "Reads whole files that are moved into a directory: lines, Avro data or files as they are.",
        factory: Factory::Source(Runs::Thread, build),
    }
}

/// The keys, understood.
#[derive(Debug)]
struct Setup {
    rules: Rules,
    format: Format,
    fate: Fate,
    tracker_dir: PathBuf,
    /// Names of the headers for path and name.
    path_header: Option<String>,
    name_header: Option<String>,
    batch_size: usize,
    poll_delay: Duration,
    max_backoff: Duration,
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Source>> {
    let settings = SpooldirSettings::load(config, problems)?;
    let setup = Setup::of(settings, config, problems)?;
    let batch_size = Some(("batchSize", setup.batch_size));
    Some(Built { component: Box::new(SpooldirSource { setup }), batch_size })
}

impl Setup {
    fn of(settings: SpooldirSettings, config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let mut regex = |key: &str, pattern: &str| {
            JavaRegex::whole(pattern).map_err(|why| problems.error(config, key, why)).ok()
        };
        let include = regex("includePattern", &settings.include_pattern);
        let ignore = regex("ignorePattern", &settings.ignore_pattern);
        for (key, suffix) in [("fileSuffix", &settings.file_suffix), ("errorSuffix", &settings.error_suffix)]
        {
            if suffix.is_empty() || suffix.contains('/') {
                problems.error(config, key, format!("`{suffix}` is no end of a file's name"));
                return None;
            }
        }
        if settings.file_suffix.ends_with(&settings.error_suffix)
            || settings.error_suffix.ends_with(&settings.file_suffix)
        {
            problems.error(
                config,
                "errorSuffix",
                "must differ from fileSuffix, or no file is known to be read",
            );
            return None;
        }
        let format = format(&settings, config, problems)?;
        let is = |text: &str, word: &str| text.eq_ignore_ascii_case(word);
        let order = match settings.consume_order.to_ascii_lowercase().as_str() {
            "youngest" => Order::Youngest,
            "random" => Order::Random,
            _ => Order::Oldest,
        };
        let fate = match (is(&settings.delete_policy, "immediate"), is(&settings.tracking_policy, "rename")) {
            (true, _) => Fate::Delete,
            (false, true) => Fate::Rename,
            (false, false) => Fate::Mark,
        };
        let tracker_dir = settings.spool_dir.join(&settings.tracker_dir);
        let by_mark = is(&settings.tracking_policy, "tracker_dir");
        Some(Self {
            rules: Rules {
                directory: settings.spool_dir,
                recursive: settings.recursive_directory_search,
                include: include?,
                ignore: ignore?,
                done_suffix: settings.file_suffix,
                error_suffix: settings.error_suffix,
                order,
                marks: by_mark.then(|| tracker_dir.clone()),
            },
            format,
            fate,
            tracker_dir,
            path_header: settings.file_header.then_some(settings.file_header_key),
            name_header: settings.basename_header.then_some(settings.basename_header_key),
            batch_size: settings.batch_size,
            poll_delay: Duration::from_millis(settings.poll_delay_ms),
            max_backoff: Duration::from_millis(settings.max_backoff_ms),
        })
    }
}

fn format(settings: &SpooldirSettings, config: &ComponentConfig, problems: &mut Problems) -> Option<Format> {
    let is = |text: &str, word: &str| text.eq_ignore_ascii_case(word);
    // Flume reads both character sets whatever the deserializer is.
    let mut charset = |key: &str, name: &str| {
        let charset = Charset::named(name).filter(|charset| !charset.has_states());
        if charset.is_none() {
            problems.error(
                config,
                key,
                format!("`{name}` is no character set that can be read from the middle on"),
            );
        }
        charset
    };
    let input = charset("inputCharset", &settings.input_charset);
    let output = charset("deserializer.outputCharset", &settings.output_charset);
    let (input, output) = (input?, output?);
    match settings.deserializer.as_str() {
        "org.apache.flume.serialization.AvroEventDeserializer$Builder" => {}
        "org.apache.flume.serialization.LineDeserializer$Builder" => {}
        "org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder" => {}
        short if ["LINE", "AVRO", "BLOB"].iter().any(|word| is(short, word)) => {}
        other => {
            let advice = "a deserializer class of one's own needs a JVM; write LINE, AVRO or BLOB";
            problems.error(config, "deserializer", format!("unknown deserializer `{other}`: {advice}"));
            return None;
        }
    }
    let kind = settings.deserializer.to_ascii_lowercase();
    if kind.contains("avro") {
        let header =
            if is(&settings.schema_type, "HASH") { SchemaHeader::Hash } else { SchemaHeader::Literal };
        return Some(Format::Avro(header));
    }
    if kind.contains("blob") {
        return Some(Format::Blob { max: settings.max_blob_length });
    }
    if settings.buffer_max_line_length.is_some() {
        let advice = "old name; write deserializer.maxLineLength, which this one overrides";
        problems.warn(config, "bufferMaxLineLength", advice);
    }
    let on_malformed = match settings.decode_error_policy.to_ascii_uppercase().as_str() {
        "REPLACE" => OnMalformed::Replace,
        "IGNORE" => OnMalformed::Ignore,
        _ => OnMalformed::Fail,
    };
    let max = settings.buffer_max_line_length.unwrap_or(settings.max_line_length);
    Some(Format::Line { input, output, on_malformed, max })
}

/// Reads the files of a directory.
#[derive(Debug)]
pub struct SpooldirSource {
    setup: Setup,
}

#[async_trait]
impl Source for SpooldirSource {
    async fn run(&mut self, context: SourceContext) -> Result<(), SourceError> {
        let mut spooler = Spooler::start(context, &self.setup)?;
        let result = spooler.run().await;
        spooler.finish().await;
        result
    }
}
