//! The keys of the `TAILDIR` source.

use std::path::PathBuf;

use flumen_api::settings::{Family, Unit, Words, settings};

/// Why the two keys of Flume's polling loop change nothing here.
const NO_BACKOFF: &str = "changes nothing: Flume slept between passes by this key; here new lines are noticed at once \
     (within 100 ms where the file system reports no changes)";

settings! {
    /// Keys of the `TAILDIR` source.
    pub struct TaildirSettings {
        /// Names of the file groups, separated by blanks.
        pub filegroups: Words = key("filegroups") { required: true },
        /// `filegroups.<group>`: absolute path of the group's files. Its last element is a regular expression that the
        /// whole file name must match; directories are literal.
        pub patterns: Family = key("filegroups.") { },
        /// `headers.<group>.<name>`: a header for all events of the group.
        pub headers: Family = key("headers.") { },
        /// Where positions are written, in Flume's format; missing parent directories are created. A durable channel
        /// keeps the positions too, and decides unless a person changed this file.
        pub position_file: PathBuf = key("positionFile") { default: Some("~/.flume/taildir_position.json") },
        /// Adds the header `byteoffset`: where in its file the line begins.
        pub byte_offset_header: bool = key("byteOffsetHeader") { default: Some("false") },
        /// Files found at the start without a stored position are read from their end.
        pub skip_to_end: bool = key("skipToEnd") { default: Some("false") },
        /// A file without news for this long is closed (and still watched), and its last line is sent although it has
        /// no line end yet.
        pub idle_timeout_ms: u64 = key("idleTimeout") { default: Some("120000"), unit: Unit::Millis, min: Some(0) },
        /// How often the position file is written, if anything changed.
        pub write_pos_interval_ms: u64 = key("writePosInterval") {
            default: Some("3000"), unit: Unit::Millis, min: Some(1)
        },
        /// Most lines of one put.
        pub batch_size: usize = key("batchSize") {
            default: Some("100"), unit: Unit::Events, min: Some(1), max: Some(10_000_000)
        },
        /// Most puts from one file before the next file has its turn; 0 or less is no limit. Files take turns by read
        /// chunks even without it.
        pub max_batch_count: i64 = key("maxBatchCount") { default: Some("9223372036854775807"), since: "1.9" },
        /// Directories are listed again when they have changed; `false` lists them at every look.
        pub cache_pattern_matching: bool = key("cachePatternMatching") { default: Some("true") },
        /// Adds a header with the file's absolute path.
        pub file_header: bool = key("fileHeader") { default: Some("false") },
        /// Name of that header.
        pub file_header_key: String = key("fileHeaderKey") { default: Some("file") },
        /// Flume's pause between passes; not needed here.
        pub backoff_sleep_increment_ms: u64 = key("backoffSleepIncrement") {
            default: Some("1000"), unit: Unit::Millis, min: Some(0), inert: Some(NO_BACKOFF)
        },
        /// Flume's longest pause between passes; not needed here.
        pub max_backoff_sleep_ms: u64 = key("maxBackoffSleep") {
            default: Some("5000"), unit: Unit::Millis, min: Some(0), inert: Some(NO_BACKOFF)
        },
    }
}
