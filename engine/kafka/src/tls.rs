//! TLS as Flume's files have it for Kafka: librdkafka does not read Java's key stores, so they become PEM texts when a client is made.
//!
//! ```text
//!   ssl.truststore.location, .password                     ──> ssl.ca.pem
//!   ssl.keystore.location, .password, ssl.key.password     ──> ssl.certificate.pem, ssl.key.pem
//!   absent: -Djavax.net.ssl.*, then FLUME_SSL_*, as for every component; of authorities then the system's
//! ```

use flumen_api::settings::Process;
use flumen_tls::PemStores;
use rdkafka::ClientConfig;

/// What librdkafka is told by its own names, if somebody does, in place of a trust store and of a key store.
const AUTHORITIES: &[&str] = &["ssl.ca.location", "ssl.ca.pem"];
const OWN: &[&str] = &["ssl.certificate.location", "ssl.certificate.pem"];

/// The stores, and whose names are looked at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tls {
    stores: PemStores,
    any_host: bool,
}

impl Tls {
    /// Takes a property if it is one of these.
    pub fn take(&mut self, name: &str, text: &str) -> bool {
        let Self { stores, any_host } = self;
        match name {
            "ssl.truststore.location" => stores.truststore = Some(text.into()),
            "ssl.truststore.password" => stores.truststore_password = Some(text.into()),
            "ssl.keystore.location" => stores.keystore = Some(text.into()),
            "ssl.keystore.password" => stores.keystore_password = Some(text.into()),
            "ssl.key.password" => stores.key_password = Some(text.into()),
            "ssl.disableTLSHostnameVerification" => *any_host = text.eq_ignore_ascii_case("true"),
            _ => return false,
        }
        true
    }

    /// Adds what the process says.
    pub fn complete(&mut self, process: &Process) {
        self.stores = std::mem::take(&mut self.stores).or_of_process(process);
    }

    /// Reads the stores into a client's properties.
    pub fn set(&self, config: &mut ClientConfig) -> Result<(), String> {
        let has = |config: &ClientConfig, names: &[&str]| names.iter().any(|name| config.get(name).is_some());
        if !has(config, AUTHORITIES) {
            match self.stores.authorities().map_err(|error| error.to_string())? {
                Some(text) => config.set("ssl.ca.pem", text),
                // OpenSSL's own idea of where they are is that of the machine that built it.
                None => config.set("ssl.ca.location", "probe"),
            };
        }
        if !has(config, OWN)
            && let Some(identity) = self.stores.identity().map_err(|error| error.to_string())?
        {
            config
                .set("ssl.certificate.pem", identity.certificates)
                .set("ssl.key.pem", identity.key.expose());
        }
        if let Some(password) = &self.stores.key_password {
            config.set("ssl.key.password", password.expose());
        }
        if self.any_host {
            config.set("ssl.endpoint.identification.algorithm", "none");
        }
        Ok(())
    }
}

/// Cipher suites by Java's names, separated by commas, as OpenSSL has them; what is in OpenSSL's own words stays as it is.
pub(crate) fn suites(text: &str) -> Result<String, String> {
    let mut names = Vec::new();
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let Some(rest) = name.strip_prefix("TLS_") else {
            names.push(name.to_string());
            continue;
        };
        // Those of TLS 1.3 have no part for the exchange of keys, and are always spoken.
        let Some((exchange, cipher)) = rest.split_once("_WITH_") else { continue };
        let exchange = match exchange {
            "RSA" => String::new(),
            "ECDHE_RSA" | "ECDHE_ECDSA" | "DHE_RSA" => exchange.replace('_', "-") + "-",
            _ => return Err(format!("the cipher suite {name} is not known")),
        };
        let cipher = match cipher {
            "AES_128_GCM_SHA256" | "AES_256_GCM_SHA384" => {
                cipher.replacen("AES_", "AES", 1).replace('_', "-")
            }
            "AES_128_CBC_SHA" | "AES_128_CBC_SHA256" | "AES_256_CBC_SHA" | "AES_256_CBC_SHA256"
            | "AES_256_CBC_SHA384" => cipher.replacen("AES_", "AES", 1).replace("_CBC_", "-"),
            "CHACHA20_POLY1305_SHA256" => "CHACHA20-POLY1305".into(),
            _ => return Err(format!("the cipher suite {name} is not known")),
        };
        names.push(exchange + &cipher);
    }
    Ok(names.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn javas_cipher_suites_become_openssls() {
        let java = "TLS_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,\
                    TLS_RSA_WITH_AES_256_CBC_SHA,TLS_DHE_RSA_WITH_AES_128_CBC_SHA256";
        let theirs =
            "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:AES256-SHA:DHE-RSA-AES128-SHA256";
        assert_eq!(suites(java).unwrap(), theirs);
        assert_eq!(suites("HIGH:!aNULL").unwrap(), "HIGH:!aNULL");
        assert_eq!(suites("TLS_AES_128_GCM_SHA256").unwrap(), "");
        assert!(suites("TLS_ECDH_anon_WITH_AES_128_CBC_SHA").is_err());
    }
}
