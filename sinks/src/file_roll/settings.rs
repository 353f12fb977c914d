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
        /// How events are written: TEXT or HEADER_AND_TEXT.
        pub serializer: String = key("sink.serializer") { default: Some("TEXT") },
        /// Keys of the serializer: appendNewline, true unless set otherwise.
        pub serializer_keys: Family = key("sink.serializer.") { },
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
