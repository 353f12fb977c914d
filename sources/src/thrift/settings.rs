//! Keys of the thrift source.

use flumen_api::settings::{Words, settings};

settings! {
    /// Keys of the thrift source.
    pub struct ThriftSourceSettings {
        /// Address or host name to listen on.
        pub bind: String = key("bind") { required: true },
        /// Port to listen on.
        pub port: u16 = key("port") { required: true },
        /// Most calls at once; 0 is any number.
        pub threads: u32 = key("threads") { default: Some("0") },
        /// compact or binary, as the sink has it.
        pub protocol: String = key("protocol") { default: Some("compact"), one_of: &["compact", "binary"] },
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
        /// Kerberos.
        pub kerberos: bool = key("kerberos") { default: Some("false") },
        /// Principal of this side; needed with `kerberos`.
        pub agent_principal: Option<String> = key("agent-principal") { },
        /// Keytab of this side; needed with `kerberos`.
        pub agent_keytab: Option<String> = key("agent-keytab") { },
    }
}
