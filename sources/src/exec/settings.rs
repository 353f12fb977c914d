//! The keys of the `exec` source.

use flumen_api::settings::{Unit, settings};

settings! {
    /// Keys of the `exec` source.
    pub struct ExecSettings {
        /// The command. Without `shell` it is split at blanks into a program and its arguments: no quotes, no wildcards, no
        /// pipes.
        pub command: String = key("command") { required: true },
        /// A shell with its options, such as `/bin/bash -c`, split at blanks; it gets the command as one more argument.
        pub shell: Option<String> = key("shell") { },
        /// Runs the command again once it has ended, however it ended.
        pub restart: bool = key("restart") { default: Some("false") },
        /// The pause before it is run again.
        pub restart_throttle_ms: u64 = key("restartThrottle") {
            default: Some("10000"), unit: Unit::Millis, min: Some(0)
        },
        /// Logs what the command writes to its standard error, which is read in any case.
        pub log_std_err: bool = key("logStdErr") { default: Some("false") },
        /// Most lines of one put, which is made with fewer once they have 1 MiB.
        pub batch_size: usize = key("batchSize") {
            default: Some("20"), unit: Unit::Events, min: Some(1), max: Some(10_000_000)
        },
        /// A put with fewer lines is made once the one before it is this long ago.
        pub batch_timeout_ms: u64 = key("batchTimeout") { default: Some("3000"), unit: Unit::Millis, min: Some(1) },
        /// Character set of the command's output. Bodies are in it too; what is no text in it becomes U+FFFD, or `?`.
        pub charset: String = key("charset") { default: Some("UTF-8") },
    }
}
