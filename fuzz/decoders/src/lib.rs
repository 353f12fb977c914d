//! What the fuzz targets call: each function gives any bytes to one decoder.
//!
//! Nothing but a clear refusal may come of bytes that were never ours; what is accepted must be what is written again.
//! A function panics where that does not hold, and [`bounded`] where one takes too long or too much memory.
//!
//! Random bytes hardly ever have the right checksum, and a decoder that refuses them at its first check is not tested. So
//! where there is one, the bytes are tried as they are, then with magic and checksum set right.
//!
//! | in | decoders of |
//! | --- | --- |
//! | `formats` | single structures of the log, and event chunks |
//! | `segment` | a start of the log from one segment, with a snapshot or a checkpoint of any content |
//! | `image` | the tools and a start over a log with any damage to any of its files |
//! | `kept` | the file `lanes`, and what a source or a sink notes in the log |
//! | `text` | what people write: properties, configurations, position files |
//! | `thrift`, `wire` | what comes over connections |

mod bounds;
mod formats;
mod image;
mod kept;
mod segment;
mod text;
mod thrift;
mod wire;

pub use bounds::bounded;
pub use formats::{chunk, frame_header, records, segment_header};
pub use image::image;
pub use kept::{lanes, sink_record, source_record};
pub use segment::{checkpoint, segment, snapshot};
pub use text::{configuration, positions, properties};
pub use thrift::thrift;
pub use wire::avro_rpc;

/// A decoder under test.
pub type Decoder = fn(&[u8]);

/// All of them, by the name of their corpus; their fuzz targets have the prefix `fuzz_`.
pub const ALL: [(&str, Decoder); 16] = [
    ("avro_rpc", avro_rpc),
    ("checkpoint", checkpoint),
    ("chunk", chunk),
    ("configuration", configuration),
    ("frame_header", frame_header),
    ("image", image),
    ("lanes", lanes),
    ("positions", positions),
    ("properties", properties),
    ("records", records),
    ("segment", segment),
    ("segment_header", segment_header),
    ("sink_record", sink_record),
    ("snapshot", snapshot),
    ("source_record", source_record),
    ("thrift", thrift),
];
