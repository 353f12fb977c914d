//! DataStream and CompressedStream: what the serializer writes, as it is or packed.
//!
//! ```text
//!   DataStream         begin of the serializer | its events …                       | its end
//!   CompressedStream   member: the same, as far as the next flush | member | …
//! ```
//!
//! Hadoop's compressed streams know no flush: what is written stays in the compressor. So Flume ends the member at each
//! flush and begins the next with the first event behind it, and readers take the members as one file. Here a member ends
//! early at 4 MiB as well. An empty member would be the end of the file for some of those readers: there is none but in a
//! file that has no other.

use flumen_api::event::EventRef;

use super::Format;
use super::codec::HadoopCodec;
use crate::codecs::Codec;
use crate::serializers::{AppendError, Compressed, EventSerializer};

/// A serializer's file.
pub(super) struct Stream(Box<dyn EventSerializer>);

impl Stream {
    /// Files of what `serializer` writes, packed by `codec`.
    pub fn new(serializer: Box<dyn EventSerializer>, codec: Option<HadoopCodec>) -> Self {
        Self(match codec {
            None => serializer,
            Some(HadoopCodec { codec, .. }) => Box::new(Compressed::new(serializer, codec, level(codec))),
        })
    }
}

/// The level at which Hadoop compresses.
pub(super) fn level(codec: Codec) -> i32 {
    codec.levels().1
}

impl Format for Stream {
    fn begin(&mut self, out: &mut Vec<u8>) {
        self.0.begin(out);
    }

    fn append(&mut self, event: EventRef<'_>, out: &mut Vec<u8>) -> Result<(), AppendError> {
        self.0.append(event, out)
    }

    fn flush_point(&mut self, out: &mut Vec<u8>) {
        self.0.flush(out);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.0.finish(out);
    }

    fn writes_plain_lines(&self) -> bool {
        self.0.writes_plain_lines()
    }
}
