//! Keys of the avro source.

use flumen_api::settings::{Commas, Words, settings};

settings! {
    /// Keys of the avro source.
    pub struct AvroSourceSettings {
        /// Address or host name to listen on.
        pub bind: String = key("bind") { required: true },
        /// Port to listen on.
        pub port: u16 = key("port") { required: true },
        /// Most threads.
        pub threads: u32 = key("threads") {
            default: Some("0"), inert: Some("Flume 1.11 does not use it any more, and connections need no threads here")
        },
        /// none or deflate, as the sink has it.
        pub compression_type: String = key("compression-type") { default: Some("none"), one_of: &["none", "deflate"] },
        /// TLS.
        pub ssl: bool = key("ssl") { default: Some("false") },
        /// Store of this side's key and certificate.
        pub keystore: Option<String> = key("keystore") { },
        /// Its password.
        pub keystore_password: Option<String> = key("keystore-password") { secret: true },
        /// JKS or PKCS12.
        pub keystore_type: String = key("keystore-type") { default: Some("JKS") },
        /// TLS versions that are never used, separated by blanks; SSLv3 is always among them.
        pub exclude_protocols: Words = key("exclude-protocols") { default: Some("SSLv3") },
        /// TLS versions of which one is used.
        pub include_protocols: Words = key("include-protocols") { },
        /// Cipher suites that are never used.
        pub exclude_cipher_suites: Words = key("exclude-cipher-suites") { },
        /// Cipher suites of which one is used.
        pub include_cipher_suites: Words = key("include-cipher-suites") { },
        /// Whether `ipFilterRules` decide who may connect.
        pub ip_filter: bool = key("ipFilter") { default: Some("false") },
        /// `allow` or `deny`, `ip` or `name`, and a pattern with `*`: `allow:ip:10.*,deny:ip:*`. The first that fits
        /// decides; where none does, all may.
        pub ip_filter_rules: Commas = key("ipFilterRules") { },
    }
}
