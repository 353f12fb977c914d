//! Keys of the thrift source.

use flumen_api::settings::settings;

settings! {
    /// Keys of the thrift source, but for those of TLS.
    pub struct ThriftSourceSettings {
        /// Address or host name to listen on.
        pub bind: String = key("bind") { required: true },
        /// Port to listen on.
        pub port: u16 = key("port") { required: true },
        /// Most calls at once; 0 is any number.
        pub threads: u32 = key("threads") { default: Some("0") },
        /// compact or binary, as the sink has it.
        pub protocol: String = key("protocol") { default: Some("compact"), one_of: &["compact", "binary"] },
        /// Kerberos.
        pub kerberos: bool = key("kerberos") { default: Some("false") },
        /// Principal of this side; needed with `kerberos`.
        pub agent_principal: Option<String> = key("agent-principal") { },
        /// Keytab of this side; needed with `kerberos`.
        pub agent_keytab: Option<String> = key("agent-keytab") { },
    }
}
