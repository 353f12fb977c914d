//! Avro object container files.
//!
//! ```text
//!   header   "Obj" 1 | metadata: map of strings to bytes (avro.schema, avro.codec) | sync marker, 16 bytes
//!   block    events: zigzag long | bytes: zigzag long | that many bytes, compressed by the codec | sync marker
//!   block    …
//! ```
//!
//! The marker is drawn anew for each file and is what its readers find blocks by; so a file that was begun earlier is
//! gone on with under its own marker, which its header has. A block ends at `syncIntervalBytes`, and at every flush.

mod container;
#[cfg(feature = "avro")]
mod datum;
mod event;
mod head;
#[cfg(feature = "avro")]
mod schemas;
#[cfg(all(test, feature = "avro"))]
mod tests;

use flumen_api::settings::{ComponentConfig, Problems, Unit, settings};

use crate::codecs::Codec;
#[cfg(feature = "avro")]
pub use datum::SPEC as DATUM_SPEC;
pub use event::SPEC as EVENT_SPEC;

settings! {
    /// Keys of the Avro serializers.
    pub struct ContainerSettings {
        /// A block ends at about this many bytes; a flush ends one earlier.
        pub sync_interval: usize = key("syncIntervalBytes") {
            default: Some("2048000"), min: Some(32), max: Some(1 << 30), unit: Unit::Bytes
        },
        /// How blocks are compressed: null, deflate, snappy, bzip2 or zstandard. As in Flume, another word is null.
        pub codec: String = key("compressionCodec") { default: Some("null") },
    }
}

/// A codec by Avro's name for it; `None` inside is `null`.
fn codec(name: &str, config: &ComponentConfig, problems: &mut Problems) -> Option<Option<Codec>> {
    match name {
        "null" => Some(None),
        "deflate" => Some(Some(Codec::Deflate)),
        "snappy" => Some(Some(Codec::Snappy)),
        "bzip2" => Some(Some(Codec::Bzip2)),
        "zstandard" => Some(Some(Codec::Zstd)),
        "xz" => {
            problems.error(config, "compressionCodec", "xz is not built in: write zstandard or bzip2");
            None
        }
        other => {
            let message = format!(
                "Avro has no codec `{other}`, so nothing is compressed, as in Flume; known are: null, deflate, snappy, \
                 bzip2, zstandard"
            );
            problems.warn(config, "compressionCodec", message);
            Some(None)
        }
    }
}

/// Avro's name for a codec.
fn codec_name(codec: Option<Codec>) -> &'static str {
    match codec {
        None => "null",
        Some(Codec::Deflate) => "deflate",
        Some(Codec::Snappy) => "snappy",
        Some(Codec::Bzip2) => "bzip2",
        Some(Codec::Zstd) => "zstandard",
        Some(Codec::Gzip | Codec::Zlib | Codec::SnappyBlocks | Codec::Lz4Blocks) => {
            unreachable!("`codec` gives none that Avro has no name for")
        }
    }
}

/// Appends a number as Avro writes them: zigzag, seven bits a byte, the lowest first.
fn put_long(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends bytes or text as Avro writes them: length, content.
fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}
