//! The keys of the `spooldir` source.

use std::path::PathBuf;

use flumen_api::settings::{Unit, settings};

settings! {
    /// Keys of the `spooldir` source.
    pub struct SpooldirSettings {
        /// The directory into which whole files are moved. It must exist.
        pub spool_dir: PathBuf = key("spoolDir") { required: true },
        /// Appended to the name of a file that was read to its end; names that end so are not read.
        pub file_suffix: String = key("fileSuffix") { default: Some(".COMPLETED") },
        /// Appended to the name of a file that is set aside: it changed while it was read, its name was used before, or
        /// its bytes cannot be read as they should. Names that end so are not read, and `/readyz` names them for as long
        /// as they are there. Flumen's own key.
        pub error_suffix: String = key("errorSuffix") { default: Some(".REJECTED"), since: "Flumen" },
        /// What becomes of a file that was read to its end: `never` keeps it, `immediate` deletes it.
        pub delete_policy: String = key("deletePolicy") { default: Some("never"), one_of: &["never", "immediate"] },
        /// How a file that is kept is marked as read: `rename` appends `fileSuffix` to its name, `tracker_dir` leaves it
        /// alone and makes an empty file of that name below `trackerDir`.
        pub tracking_policy: String = key("trackingPolicy") {
            default: Some("rename"), one_of: &["rename", "tracker_dir"], since: "1.9"
        },
        /// Where marks and Flume's tracker file are kept; a relative path is one below `spoolDir`. It is made if need be.
        pub tracker_dir: PathBuf = key("trackerDir") { default: Some(".flumespool") },
        /// Adds a header with the file's absolute path.
        pub file_header: bool = key("fileHeader") { default: Some("false") },
        /// Name of that header.
        pub file_header_key: String = key("fileHeaderKey") { default: Some("file") },
        /// Adds a header with the file's name.
        pub basename_header: bool = key("basenameHeader") { default: Some("false") },
        /// Name of that header.
        pub basename_header_key: String = key("basenameHeaderKey") { default: Some("basename") },
        /// Regular expression (Java's) that a file's whole name must match.
        pub include_pattern: String = key("includePattern") { default: Some("^.*$"), since: "1.7" },
        /// Regular expression (Java's): files, and directories below `spoolDir`, whose whole name matches are left alone.
        pub ignore_pattern: String = key("ignorePattern") { default: Some("^$") },
        /// Which file is next: the one written to longest ago, the one written to last, or any. Of two with one time, that
        /// whose name is smaller.
        pub consume_order: String = key("consumeOrder") {
            default: Some("oldest"), one_of: &["oldest", "youngest", "random"]
        },
        /// Files in directories below `spoolDir` are read too; directories whose name begins with a dot are not entered.
        pub recursive_directory_search: bool = key("recursiveDirectorySearch") { default: Some("false") },
        /// How often the directory is looked at while there is nothing to read.
        pub poll_delay_ms: u64 = key("pollDelay") { default: Some("500"), unit: Unit::Millis, min: Some(1) },
        /// The longest pause after a put that a channel refused; the first is 250 ms, and each is twice the one before.
        pub max_backoff_ms: u64 = key("maxBackoff") { default: Some("4000"), unit: Unit::Millis, min: Some(0) },
        /// Most events of one put; a put never holds events of two files.
        pub batch_size: usize = key("batchSize") {
            default: Some("100"), unit: Unit::Events, min: Some(1), max: Some(10_000_000)
        },
        /// Character set of the files.
        pub input_charset: String = key("inputCharset") { default: Some("UTF-8") },
        /// What becomes of bytes that are no text in that character set: `FAIL` sets the file aside once all lines before
        /// them are put, `REPLACE` reads them as U+FFFD, `IGNORE` leaves them out.
        pub decode_error_policy: String = key("decodeErrorPolicy") {
            default: Some("FAIL"), one_of: &["FAIL", "REPLACE", "IGNORE"]
        },
        /// What an event is: a line (`LINE`), a datum of an Avro container file (`AVRO`) or a whole file (`BLOB`); or
        /// Flume's class name of one of these.
        pub deserializer: String = key("deserializer") { default: Some("LINE") },
        /// LINE: most characters of an event, as Java counts them (one beyond U+FFFF is two). The rest of a longer line
        /// becomes the next event, and a line of just this length is followed by an empty one. A line of more than 64 Mi
        /// characters is cut there in any case.
        pub max_line_length: u64 = key("deserializer.maxLineLength") {
            default: Some("2048"), min: Some(1), max: Some(2_147_483_647)
        },
        /// LINE: character set of the bodies; characters that it lacks become `?`.
        pub output_charset: String = key("deserializer.outputCharset") { default: Some("UTF-8") },
        /// AVRO: the header that says which schema a body has: `HASH` is `flume.avro.schema.hash`, its CRC-64-AVRO
        /// fingerprint in hexadecimal; `LITERAL` is `flume.avro.schema.literal`, its whole text.
        pub schema_type: String = key("deserializer.schemaType") {
            default: Some("HASH"), one_of: &["HASH", "LITERAL"]
        },
        /// BLOB: largest body; a longer file becomes several events. So much memory is taken while one is read.
        pub max_blob_length: u64 = key("deserializer.maxBlobLength") {
            default: Some("100000000"), unit: Unit::Bytes, min: Some(1), max: Some(2_147_483_647)
        },
        /// Old name of `deserializer.maxLineLength`, which it overrides.
        pub buffer_max_line_length: Option<u64> = key("bufferMaxLineLength") {
            min: Some(1), max: Some(2_147_483_647)
        },
        /// Means nothing in Flume either.
        pub buffer_max_lines: Option<u64> = key("bufferMaxLines") {
            min: Some(0), inert: Some("changes nothing, as in Flume; batchSize is the number of lines of a put")
        },
    }
}
