//! Settings for the whole process, which stand in for a component's absent keys.
//!
//! | `-D` setting | environment variable |
//! | --- | --- |
//! | `javax.net.ssl.keyStore`, `…keyStorePassword`, `…keyStoreType` | `FLUME_SSL_KEYSTORE_PATH`, `…_PASSWORD`, `…_TYPE` |
//! | `javax.net.ssl.trustStore`, `…trustStorePassword`, `…trustStoreType` | `FLUME_SSL_TRUSTSTORE_PATH`, `…_PASSWORD`, `…_TYPE` |
//! | `flume.ssl.include.protocols`, `flume.ssl.exclude.protocols` | `FLUME_SSL_INCLUDE_PROTOCOLS`, `FLUME_SSL_EXCLUDE_PROTOCOLS` |
//! | `flume.ssl.include.cipherSuites`, `flume.ssl.exclude.cipherSuites` | `FLUME_SSL_INCLUDE_CIPHERSUITES`, `FLUME_SSL_EXCLUDE_CIPHERSUITES` |
//!
//! The type of a trust store is not looked at: its content says what it is.
//!
//! The setting wins over the variable. Lists given here may be separated by commas, those of components by blanks alone.

use flumen_api::settings::Process;

/// A `-D` setting and the environment variable behind it.
#[derive(Clone, Copy)]
pub(crate) struct Default(&'static str, &'static str);

pub(crate) const KEYSTORE: Default = Default("javax.net.ssl.keyStore", "FLUME_SSL_KEYSTORE_PATH");
pub(crate) const KEYSTORE_PASSWORD: Default =
    Default("javax.net.ssl.keyStorePassword", "FLUME_SSL_KEYSTORE_PASSWORD");
pub(crate) const KEYSTORE_TYPE: Default = Default("javax.net.ssl.keyStoreType", "FLUME_SSL_KEYSTORE_TYPE");
pub(crate) const TRUSTSTORE: Default = Default("javax.net.ssl.trustStore", "FLUME_SSL_TRUSTSTORE_PATH");
pub(crate) const TRUSTSTORE_PASSWORD: Default =
    Default("javax.net.ssl.trustStorePassword", "FLUME_SSL_TRUSTSTORE_PASSWORD");
pub(crate) const INCLUDE_PROTOCOLS: Default =
    Default("flume.ssl.include.protocols", "FLUME_SSL_INCLUDE_PROTOCOLS");
pub(crate) const EXCLUDE_PROTOCOLS: Default =
    Default("flume.ssl.exclude.protocols", "FLUME_SSL_EXCLUDE_PROTOCOLS");
pub(crate) const INCLUDE_SUITES: Default =
    Default("flume.ssl.include.cipherSuites", "FLUME_SSL_INCLUDE_CIPHERSUITES");
pub(crate) const EXCLUDE_SUITES: Default =
    Default("flume.ssl.exclude.cipherSuites", "FLUME_SSL_EXCLUDE_CIPHERSUITES");

impl Default {
    /// The value that the process has, if it has one.
    pub fn of(self, process: &Process) -> Option<&str> {
        let value = process.system.get(self.0).or_else(|| process.variables.get(self.1));
        value.map(String::as_str)
    }

    /// The same as a list.
    pub fn words(self, process: &Process) -> Vec<String> {
        let words = self.of(process).unwrap_or_default().split([',', ' ', '\t']);
        words.filter(|word| !word.is_empty()).map(str::to_string).collect()
    }
}
