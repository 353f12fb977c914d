//! As much of an Avro schema as is needed to find where a datum ends, and to judge whether bytes are one.
//!
//! ```text
//!   null             nothing                      string, bytes   length, bytes
//!   boolean          one byte                     union           index of the branch, a datum of it
//!   int, long, enum  zigzag, seven bits a byte    record          its fields' data
//!   float, double    4 or 8 bytes                 array, map      blocks: count, that many items; 0 ends them
//!   fixed            its size in bytes                            -count, bytes of the block, the items
//! ```
//!
//! The bytes of a datum go on as they are: no value is decoded. Logical types change no bytes, so they do not matter here.
//! Bytes and schemas come from outside: nothing here takes memory, stack or time by what they announce.

mod datum;
mod schema;

pub use datum::long;
pub use schema::Schema;

/// Schemas in schemas, and data in data (a list that links to its rest), beyond this are refused: each costs stack.
const DEPTH_MAX: usize = 400;
