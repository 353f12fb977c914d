//! Keys of the file_roll sink.

use std::path::PathBuf;

use flumen_api::settings::{Family, Unit, settings};

settings! {
    /// Keys of the file_roll sink.
    pub struct FileRollSettings {
        /// Directory that receives the files; must exist.
        pub directory: PathBuf = key("sink.directory") { required: true },
        /// How often a new file is begun; 0 is never.
        pub roll_interval: i64 = key("sink.rollInterval") { default: Some("30"), unit: Unit::Seconds },
        /// How events are written: TEXT, HEADER_AND_TEXT, AVRO_EVENT or another serializer.
        pub serializer: String = key("sink.serializer") { default: Some("TEXT") },
        /// Keys of the serializer.
        pub serializer_keys: Family = key("sink.serializer.") { },
        /// How the files are compressed: none, gzip, zstd or bzip2. Names get .gz, .zst or .bz2 at their end. A file can be
        /// unpacked as far as it goes at any time, after a kill as well. For Avro, compressionCodec is the better choice.
        pub compression: String = key("sink.compression") {
            default: Some("none"), one_of: &["none", "gzip", "zstd", "bzip2"], since: "Flumen 0.1"
        },
        /// How hard: gzip 0 to 9, usually 6; zstd 1 to 22, usually 3; bzip2 1 to 9, usually 9.
        pub compression_level: Option<i64> = key("sink.compressionLevel") { since: "Flumen 0.1" },
        /// Most events of one take.
        pub batch_size: usize = key("sink.batchSize") { default: Some("100"), min: Some(1), unit: Unit::Events },
        /// How files are named: DEFAULT (start time and number) or ROLLTIME (time of the roll and number).
        pub path_manager: String = key("sink.pathManager") { default: Some("DEFAULT") },
        /// In front of each file's name.
        pub prefix: String = key("sink.pathManager.prefix") { default: Some("") },
        /// After each file's name, with a dot between.
        pub extension: String = key("sink.pathManager.extension") { default: Some("") },
    }
}
