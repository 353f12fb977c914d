//! Whom the sink's keys name, and how to talk to it; `avro-client` reads the same keys from its own files.

use std::time::Duration;

use flumen_api::settings::{ComponentConfig, Problems};
use flumen_avro_rpc::connect::{Connector, Target};
use flumen_tls::{ClientTls, TlsError};

use super::settings::{AvroSinkSettings, CLIENT_TYPE};

/// A destination as its keys say.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The keys.
    pub settings: AvroSinkSettings,
    tls: ClientTls,
}

impl Destination {
    /// Reads the keys; touches nothing outside.
    pub fn load(config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let settings = AvroSinkSettings::load(config, problems);
        let tls = ClientTls::load(config, problems);
        let (settings, tls) = (settings?, tls?);
        match settings.client_type.to_ascii_uppercase().as_str() {
            "DEFAULT" => Some(Self { settings, tls }),
            "THRIFT" => {
                problems.error(
                    config,
                    "client.type",
                    "this speaks Avro: the sink type that speaks Thrift is `thrift`",
                );
                None
            }
            _ => {
                problems.error(config, "client.type", CLIENT_TYPE);
                None
            }
        }
    }

    /// What makes connections; reads the files of TLS.
    pub async fn connector(&self) -> Result<Connector, TlsError> {
        let AvroSinkSettings { hostname, port, connect_timeout, request_timeout, .. } = &self.settings;
        let is_deflated = self.settings.compression_type.eq_ignore_ascii_case("deflate");
        Ok(Connector::new(Target {
            host: hostname.clone(),
            port: *port,
            tls: self.tls.connector().await?,
            deflate: is_deflated.then_some(self.settings.compression_level),
            connect_timeout: Duration::from_millis(*connect_timeout),
            request_timeout: Duration::from_millis(*request_timeout),
        }))
    }
}
