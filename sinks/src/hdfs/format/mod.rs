//! What an hdfs sink's files are made of: bytes into a buffer, which the sink writes out. No I/O here.
//!
//! ```text
//!   DataStream         the serializer's bytes and nothing else
//!   CompressedStream   the same, packed by a codec: at each flush a member ends, and a file is members one after another
//!   SequenceFile       Hadoop's records of key and value: LongWritable time, BytesWritable or Text body (see `sequence`)
//! ```
//!
//! Whatever the kind, a file that ends behind a flush point is whole: Hadoop's readers, which know nothing of a flush, read
//! everything that came before it. So a file that a killed agent left is cut off there, and is a file.

mod codec;
mod sequence;
mod stream;
#[cfg(test)]
mod tests;
mod writable;

use flumen_api::event::EventRef;
use flumen_api::serializer::AppendError;
use flumen_api::settings::{ComponentConfig, Problems, Severity};

use super::HdfsSettings;
use crate::serializers::{self, EventSerializer};
use codec::HadoopCodec;
use sequence::{SequenceFile, Values};
use stream::Stream;

/// The bytes of one file after another.
///
/// ```text
///   begin  append …  flush_point  append …  flush_point  end          and again from `begin`, for the next file
/// ```
pub trait Format: Send {
    /// A file begins; what was kept back of another is forgotten.
    fn begin(&mut self, out: &mut Vec<u8>);

    /// Appends the event, or keeps some of it back until there is more. After an error nothing of the event was taken, and
    /// the file goes on as if it had not come.
    fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<(), AppendError>;

    /// Appends what was kept back: a reader of the file up to here finds every event so far. Appends nothing
    /// if no event came since the last.
    fn flush_point(&mut self, out: &mut Vec<u8>);

    /// Appends what was kept back and what a file ends with.
    fn end(&mut self, out: &mut Vec<u8>);

    /// Whether an event's bytes are its body and a newline and nothing else: then whole runs of lines are written as they
    /// lie in the chunk.
    fn writes_plain_lines(&self) -> bool {
        false
    }
}

/// Which files a sink writes, from its keys.
#[derive(Clone, Debug)]
pub struct FileFormat {
    kind: Kind,
    serializer: String,
    config: ComponentConfig,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Stream(Option<HadoopCodec>),
    Sequence(Values, Option<HadoopCodec>),
}

impl FileFormat {
    /// From `hdfs.fileType`, `hdfs.codeC`, `hdfs.writeFormat` and the serializer's keys; what is wrong with them is said.
    pub fn from_config(
        settings: &HdfsSettings,
        config: &ComponentConfig,
        problems: &mut Problems,
    ) -> Option<Self> {
        let codec = match &settings.codec {
            Some(name) => codec::find(name).map_err(|why| problems.error(config, "hdfs.codeC", why)),
            None => Ok(None),
        };
        let is = |name: &str| settings.file_type.eq_ignore_ascii_case(name);
        let kind = if is("SequenceFile") {
            let values = values(&settings.write_format, config, problems);
            values.and_then(|values| Some(Kind::Sequence(values, codec.ok()?)))
        } else if is("CompressedStream") {
            if matches!(codec, Ok(None)) {
                let message = "a CompressedStream needs `hdfs.codeC`, `gzip` for example";
                problems.error(config, "hdfs.fileType", message);
            }
            codec.ok().flatten().map(|codec| Kind::Stream(Some(codec)))
        } else {
            if settings.codec.is_some() {
                let message = "a DataStream is never compressed; write `hdfs.fileType = CompressedStream`, or drop this key";
                problems.error(config, "hdfs.codeC", message);
            }
            settings.codec.is_none().then_some(Kind::Stream(None))
        };
        let serializer = serializer(settings, config, problems);
        let format = Self { kind: kind?, serializer: settings.serializer.clone(), config: config.clone() };
        (serializer || matches!(format.kind, Kind::Sequence(..))).then_some(format)
    }

    /// What the codec appends to a file's name where `hdfs.fileSuffix` is empty, with its dot; empty without a codec.
    pub fn extension(&self) -> &'static str {
        let (Kind::Stream(codec) | Kind::Sequence(_, codec)) = self.kind;
        codec.map_or("", |codec| codec.extension)
    }

    /// Something that makes such files. Fails where the serializer, of whoever's making, cannot be built any more.
    pub fn writer(&self) -> Result<Box<dyn Format>, String> {
        Ok(match self.kind {
            Kind::Sequence(values, codec) => Box::new(SequenceFile::new(values, codec)),
            Kind::Stream(codec) => Box::new(Stream::new(self.serializer()?, codec)),
        })
    }

    fn serializer(&self) -> Result<Box<dyn EventSerializer>, String> {
        let mut problems = Problems::default();
        serializers::build(&self.serializer, "serializer", &self.config, &mut problems).ok_or_else(|| {
            let said = problems.0.iter().find(|problem| problem.severity == Severity::Error);
            said.map_or_else(|| format!("no serializer `{}`", self.serializer), ToString::to_string)
        })
    }
}

fn values(name: &str, config: &ComponentConfig, problems: &mut Problems) -> Option<Values> {
    let found = [("Text", Values::Text), ("Writable", Values::Bytes)]
        .into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name));
    match found {
        Some((known, values)) => {
            if known != name {
                problems.warn(config, "hdfs.writeFormat", format!("Flume knows it as `{known}` alone"));
            }
            Some(values)
        }
        None => {
            let message =
                format!("`{name}`: Writable or Text; a class of one's own would need a Java machine");
            problems.error(config, "hdfs.writeFormat", message);
            None
        }
    }
}

/// Checks the serializer's keys, also those that change nothing; says whether there is one.
fn serializer(settings: &HdfsSettings, config: &ComponentConfig, problems: &mut Problems) -> bool {
    let mut own = Problems::default();
    let built = serializers::build(&settings.serializer, "serializer", config, &mut own);
    if settings.file_type.eq_ignore_ascii_case("SequenceFile") {
        let key = config.values.keys().find(|key| *key == "serializer" || key.starts_with("serializer."));
        if let Some(key) = key {
            let message = "changes nothing in a SequenceFile, which is the default; `hdfs.fileType = DataStream` writes it";
            problems.warn(config, key, message);
        }
        // What is not used is no reason to leave the sink out.
        own.0.iter_mut().for_each(|problem| problem.severity = Severity::Warning);
    }
    problems.0.extend(own.0);
    built.is_some()
}
