//! `AVRO_EVENT`: whole events, headers and body, under Flume's schema.

use std::io::{self, Read};

use flumen_api::event::EventRef;
use flumen_api::registry::{Factory, Spec};
use flumen_api::serializer::{AppendError, EventSerializer};

use super::container::Container;
use super::head::Head;
use super::{ContainerSettings, codec, put_bytes, put_long};

/// The schema, as Flume's library writes it.
pub(super) const SCHEMA: &str = r#"{"type":"record","name":"Event","fields":[{"name":"headers","type":{"type":"map","values":"string"}},{"name":"body","type":"bytes"}]}"#;

/// Largest event: a block and one event more have to fit into what the codecs take.
pub(super) const EVENT_BYTES_MAX: usize = 1 << 30;

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "AVRO_EVENT",
    class_names: &["org.apache.flume.serialization.FlumeEventAvroEventSerializer$Builder"],
    keys: ContainerSettings::KEYS,
    doc: "An Avro container file of events: headers, a map of strings, and body, bytes.",
    factory: Factory::Serializer(|config, problems| {
        let settings = ContainerSettings::load(config, problems)?;
        let codec = codec(&settings.codec, config, problems)?;
        Some(Box::new(AvroEvents::new(Container::new(codec, settings.sync_interval))))
    }),
};

/// Writes events.
struct AvroEvents {
    container: Container,
    layout: String,
}

impl AvroEvents {
    fn new(container: Container) -> Self {
        let layout = format!("AVRO_EVENT+{}", container.codec_name());
        Self { container, layout }
    }
}

impl EventSerializer for AvroEvents {
    fn begin(&mut self, out: &mut Vec<u8>) {
        self.container.begin(SCHEMA, out);
    }

    fn resume(&mut self, file: &mut dyn Read) -> io::Result<bool> {
        let head = Head::read(file)?.filter(|head| {
            head.schema == SCHEMA.as_bytes() && head.codec == self.container.codec_name().as_bytes()
        });
        if let Some(head) = &head {
            self.container.resume(head);
        }
        Ok(head.is_some())
    }

    fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<(), AppendError> {
        let headers: usize = event.headers.iter().map(|(key, value)| key.len() + value.len()).sum();
        if event.body.len() + headers > EVENT_BYTES_MAX {
            return Err(AppendError::Refused(format!("the event is larger than {EVENT_BYTES_MAX} bytes")));
        }
        let encode = |block: &mut Vec<u8>| {
            if !event.headers.is_empty() {
                put_long(block, event.headers.len() as i64);
                for (key, value) in event.headers.iter() {
                    put_bytes(block, key.as_bytes());
                    put_bytes(block, value.as_bytes());
                }
            }
            put_long(block, 0);
            put_bytes(block, event.body);
        };
        self.container.push(encode, out);
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
