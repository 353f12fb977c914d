//! The end that connects.
//!
//! As in Flume, a server's certificate has to be signed by someone whom the trust store names, for whatever host: names
//! are only looked at where `verify-hostname` asks for it.

use std::path::PathBuf;
use std::sync::Arc;

use flumen_api::settings::{ComponentConfig, Problems, Words, settings};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio_rustls::TlsConnector;

use crate::offer::{Lists, Offer};
use crate::{Secret, TlsError, defaults, store};

settings! {
    /// TLS keys of a sink that connects.
    pub struct ClientKeys {
        /// Speaks TLS (1.2 and 1.3).
        pub ssl: bool = key("ssl") { default: Some("false") },
        /// Believes every server. For tests.
        pub trust_all_certs: bool = key("trust-all-certs") { default: Some("false") },
        /// Trust store: JKS, PKCS12 or PEM; its content decides. In its place stands `-Djavax.net.ssl.trustStore` or
        /// `FLUME_SSL_TRUSTSTORE_PATH`, else the system's certificates.
        pub truststore: Option<PathBuf> = key("truststore") { },
        /// The store's password. In its place stands `-Djavax.net.ssl.trustStorePassword` or
        /// `FLUME_SSL_TRUSTSTORE_PASSWORD`.
        pub truststore_password: Option<Secret> = key("truststore-password") { secret: true },
        /// Type of the store; the content decides, whatever stands here.
        pub truststore_type: Option<String> = key("truststore-type") { one_of: &["JKS", "PKCS12", "PEM"] },
        /// Checks that the certificate is for the host that was asked for; Flume never does.
        pub verify_hostname: bool = key("verify-hostname") { default: Some("false"), since: "Flumen" },
        /// Protocols that are not spoken, by Java's names; SSLv3, TLSv1 and TLSv1.1 never are.
        pub exclude_protocols: Option<Words> = key("exclude-protocols") { },
        /// Protocols that are spoken, by Java's names: `TLSv1.2 TLSv1.3` if absent.
        pub include_protocols: Option<Words> = key("include-protocols") { },
        /// Cipher suites that are not offered, by Java's names.
        pub exclude_cipher_suites: Option<Words> = key("exclude-cipher-suites") { },
        /// The only cipher suites to offer, by Java's names.
        pub include_cipher_suites: Option<Words> = key("include-cipher-suites") { },
    }
}

/// What a connecting component does about TLS.
#[derive(Clone, Debug)]
pub struct ClientTls(Option<Enabled>);

#[derive(Clone, Debug)]
struct Enabled {
    trust: Trust,
    verify_hostname: bool,
    offer: Offer,
}

/// Whom to believe.
#[derive(Clone, Debug)]
enum Trust {
    Everybody,
    Store { path: PathBuf, password: Option<Secret> },
    System,
}

impl ClientTls {
    /// Reads the component's keys and what the process says in place of absent ones; touches no file.
    pub fn load(config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let keys = ClientKeys::load(config, problems)?;
        if !keys.ssl {
            return Some(Self(None));
        }
        let lists = Lists {
            include_protocols: &keys.include_protocols,
            exclude_protocols: &keys.exclude_protocols,
            include_suites: &keys.include_cipher_suites,
            exclude_suites: &keys.exclude_cipher_suites,
        };
        let offer = Offer::load(&lists, config, problems)?;
        let of_process = |default: defaults::Default| default.of(&config.process);
        let path = keys.truststore.or_else(|| of_process(defaults::TRUSTSTORE).map(PathBuf::from));
        let password =
            keys.truststore_password.or_else(|| of_process(defaults::TRUSTSTORE_PASSWORD).map(Secret::from));
        let trust = match path {
            _ if keys.trust_all_certs => Trust::Everybody,
            Some(path) => Trust::Store { path, password },
            None => Trust::System,
        };
        Some(Self(Some(Enabled { trust, verify_hostname: keys.verify_hostname, offer })))
    }

    /// Reads the files and makes what turns connections into TLS connections; `None` if TLS is off.
    pub async fn connector(&self) -> Result<Option<TlsConnector>, TlsError> {
        let Some(enabled) = self.0.clone() else { return Ok(None) };
        let made = tokio::task::spawn_blocking(move || enabled.connector()).await;
        made.map_err(|error| TlsError::Other(format!("TLS was not set up: {error}")))?.map(Some)
    }
}

impl Enabled {
    fn connector(&self) -> Result<TlsConnector, TlsError> {
        let provider = Arc::new(self.offer.provider());
        let setup = |cause: Error| TlsError::Setup { what: "TLS cannot be set up".into(), cause };
        let verifier = self.verifier(&provider)?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.offer.versions)
            .map_err(setup)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }

    fn verifier(&self, provider: &Arc<CryptoProvider>) -> Result<Verifier, TlsError> {
        let (certificates, place) = match &self.trust {
            Trust::Everybody => {
                let provider = provider.clone();
                return Ok(Verifier { chain: None, trusted: Vec::new(), verify_hostname: false, provider });
            }
            Trust::Store { path, password } => {
                (store::read(path, password.as_ref())?.trusted, path.display().to_string())
            }
            Trust::System => {
                let found = rustls_native_certs::load_native_certs();
                if let (true, Some(error)) = (found.certs.is_empty(), found.errors.first()) {
                    tracing::warn!(%error, "the system's certificates cannot be read");
                }
                (found.certs, "the system's certificates".to_string())
            }
        };
        let mut roots = RootCertStore::empty();
        // Of Java's and the systems' roots, some are of kinds that are not understood here.
        let (added, ignored) = roots.add_parsable_certificates(certificates.iter().cloned());
        if added == 0 {
            return Err(TlsError::Other(format!(
                "{place}: there is no certificate of an authority in it that can be used ({ignored} cannot)"
            )));
        }
        let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .map_err(|error| TlsError::Other(format!("{place}: {error}")))?;
        let (trusted, provider) = (certificates, provider.clone());
        Ok(Verifier { chain: Some(chain), trusted, verify_hostname: self.verify_hostname, provider })
    }
}

/// Looks at a server's certificates as the keys say.
#[derive(Debug)]
struct Verifier {
    /// `None`: everybody is believed.
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// Whoever is named in the store himself needs nobody to sign for him, as in Java: self-signed certificates.
    trusted: Vec<CertificateDer<'static>>,
    verify_hostname: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        if self.trusted.contains(end_entity) {
            if self.verify_hostname {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            }
            return Ok(ServerCertVerified::assertion());
        }
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last, when the chain has been found to be good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.verify_hostname => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
