//! The keys of the `netcatudp` source.

use flumen_api::settings::settings;

settings! {
    /// Keys of the `netcatudp` source.
    pub(crate) struct NetcatUdpSettings {
        /// Address or host name to receive at; absent is all addresses.
        pub bind: Option<String> = key("bind") { },
        /// Port to receive at.
        pub port: u16 = key("port") { required: true, min: Some(0), max: Some(65535) },
        /// Header that receives the sender as `/address:port`; absent is none.
        pub remote_address: Option<String> = key("remoteAddress") { },
    }
}
