//! `org.apache.flume.sink.hdfs.AvroEventSerializer$Builder`: bodies that are Avro datums already, under their own schema.
//!
//! The schema is what the header `flume.avro.schema.url` names, else the text of `flume.avro.schema.literal`, else what the
//! key `schemaURL` names. A file has one schema: with another, a new file is begun. (Flume writes on under the first, and
//! what comes out cannot be read.) A body that is no datum of its schema is refused, for it would make its whole block
//! unreadable.

use std::io::{self, Read};
use std::sync::Arc;

use flumen_api::event::EventRef;
use flumen_api::registry::{Factory, Spec};
use flumen_api::serializer::{AppendError, EventSerializer};
use flumen_api::settings::{Unit, settings};

use super::codec;
use super::container::Container;
use super::event::EVENT_BYTES_MAX;
use super::head::Head;
use super::schemas::{Found, Origin, Schemas, parse};

const URL_HEADER: &str = "flume.avro.schema.url";
const LITERAL_HEADER: &str = "flume.avro.schema.literal";

settings! {
    /// Keys of the serializer of Avro datums.
    pub struct DatumSettings {
        /// A block ends at about this many bytes; a flush ends one earlier.
        pub sync_interval: usize = key("syncIntervalBytes") {
            default: Some("2048000"), min: Some(32), max: Some(1 << 30), unit: Unit::Bytes
        },
        /// How blocks are compressed: null, deflate, snappy, bzip2 or zstandard. As in Flume, another word is null.
        pub codec: String = key("compressionCodec") { default: Some("null") },
        /// URL (file:) of the schema of events that name none.
        pub schema_url: Option<String> = key("schemaURL") { },
    }
}

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "",
    class_names: &["org.apache.flume.sink.hdfs.AvroEventSerializer$Builder"],
    keys: DatumSettings::KEYS,
    doc: "An Avro container file of the bodies, which are Avro datums. The schema is what the header \
          flume.avro.schema.url names (a file: URL), else the header flume.avro.schema.literal, else what schemaURL names. \
          With an event of another schema a new file begins; a body that is no datum of its schema is refused.",
    factory: Factory::Serializer(|config, problems| {
        let settings = DatumSettings::load(config, problems)?;
        let codec = codec(&settings.codec, config, problems)?;
        if let Some(url) = settings.schema_url.as_ref().filter(|url| !is_file_url(url)) {
            let message =
                format!("`{url}`: only file: URLs are read; put a copy of the schema on this machine");
            problems.error(config, "schemaURL", message);
            return None;
        }
        Some(Box::new(AvroDatums::new(Container::new(codec, settings.sync_interval), settings.schema_url)))
    }),
};

fn is_file_url(url: &str) -> bool {
    url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("file:"))
}

/// Writes bodies.
struct AvroDatums {
    container: Container,
    layout: String,
    static_origin: Option<Origin>,
    schemas: Schemas,
    /// The open file's schema, with where it was found last; `None` as long as the file is empty.
    current: Option<(Option<Origin>, Arc<Found>)>,
}

impl AvroDatums {
    fn new(container: Container, schema_url: Option<String>) -> Self {
        let layout = format!("AVRO_DATUM+{}", container.codec_name());
        let static_origin = schema_url.map(Origin::Url);
        Self { container, layout, static_origin, schemas: Schemas::default(), current: None }
    }

    /// Finds the event's schema and begins the file under it, or makes sure that the file has it.
    fn schema_of(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<Arc<Found>, AppendError> {
        let (origin, is_static) = match (event.headers.get(URL_HEADER), event.headers.get(LITERAL_HEADER)) {
            (Some(url), _) => (Origin::Url(url.to_string()), false),
            (None, Some(text)) => (Origin::Literal(text.to_string()), false),
            (None, None) => match &self.static_origin {
                Some(origin) => (origin.clone(), true),
                None => {
                    let why = format!(
                        "the event has neither {URL_HEADER} nor {LITERAL_HEADER}, and schemaURL is not set"
                    );
                    return Err(AppendError::Refused(why));
                }
            },
        };
        if let Some((Some(known), found)) = &self.current
            && *known == origin
        {
            return Ok(found.clone());
        }
        // An event that names a wrong schema is wrong for ever; our own configuration can be put right.
        let found = self.schemas.get(&origin).map_err(|why| match is_static {
            true => AppendError::Failed(why),
            false => AppendError::Refused(why),
        })?;
        match &mut self.current {
            None => self.container.begin(&found.text, out),
            Some((_, current)) if current.canonical == found.canonical => {}
            Some(_) => return Err(AppendError::NewFile("the event has another schema than the file".into())),
        }
        self.current = Some((Some(origin), found.clone()));
        Ok(found)
    }
}

impl EventSerializer for AvroDatums {
    fn begin(&mut self, _: &mut Vec<u8>) {
        self.container.forget();
        self.current = None;
    }

    fn resume(&mut self, file: &mut dyn Read) -> io::Result<bool> {
        let Some(head) = Head::read(file)? else { return Ok(false) };
        let schema = String::from_utf8(head.schema.clone()).ok().and_then(|text| parse(text).ok());
        let (Some(found), true) = (schema, head.codec == self.container.codec_name().as_bytes()) else {
            return Ok(false);
        };
        self.container.resume(&head);
        self.current = Some((None, found));
        Ok(true)
    }

    fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<(), AppendError> {
        if event.body.len() > EVENT_BYTES_MAX {
            return Err(AppendError::Refused(format!("the event is larger than {EVENT_BYTES_MAX} bytes")));
        }
        let found = self.schema_of(event, out)?;
        if let Err(why) = found.schema.is_datum(event.body) {
            return Err(AppendError::Refused(format!("the body is no datum of its schema: {why}")));
        }
        self.container.push(|block| block.extend_from_slice(event.body), out);
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<u8>) {
        self.container.end_block(out);
    }

    fn is_event_by_event(&self) -> bool {
        false
    }

    fn layout(&self) -> &str {
        &self.layout
    }
}
