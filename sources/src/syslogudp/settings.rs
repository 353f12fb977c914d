//! The keys of the `syslogudp` source, beside those of `format.*`.

use flumen_api::settings::{OnBad, settings};

use crate::syslog::KeepFields;

settings! {
    /// Keys of the `syslogudp` source.
    pub(crate) struct SyslogUdpSettings {
        /// Address or host name to receive at; absent is all addresses.
        pub host: Option<String> = key("host") { },
        /// Port to receive at.
        pub port: u16 = key("port") { required: true, min: Some(0), max: Some(65535) },
        /// Which parsed fields stay in the body: `none`, `all`, or words of `priority version timestamp hostname`.
        pub keep_fields: KeepFields = key("keepFields") { default: Some("none"), on_bad: OnBad::UseDefault },
        /// Header that receives the sender's address; absent is none.
        pub client_ip_header: Option<String> = key("clientIPHeader") { },
        /// Header that receives the sender's host name, or its address if it has none; absent is none.
        pub client_hostname_header: Option<String> = key("clientHostnameHeader") { },
        /// Reads time stamps that have a fraction as Flume does: their zone is overlooked, and `.2` is 2 ms.
        pub flume_timestamps: bool = key("flumeTimestamps") { default: Some("false"), since: "Flumen" },
    }
}
