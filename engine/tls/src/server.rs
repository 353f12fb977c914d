//! The end that listens.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use flumen_api::settings::{ComponentConfig, Problems, Words, settings};
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use crate::offer::{Lists, Offer};
use crate::store::{self, Identity};
use crate::{Secret, TlsError, defaults};

settings! {
    /// TLS keys of a source that listens.
    pub struct ServerKeys {
        /// Speaks TLS (1.2 and 1.3). Clients are not asked for certificates, as in Flume.
        pub ssl: bool = key("ssl") { deprecated: &["enableSSL"], default: Some("false") },
        /// Key store with the server's private key and certificates: JKS, PKCS12 or PEM; its content decides. In its
        /// place stands `-Djavax.net.ssl.keyStore` or `FLUME_SSL_KEYSTORE_PATH`. With several keys the first is used.
        pub keystore: Option<PathBuf> = key("keystore") { },
        /// The store's password. In its place stands `-Djavax.net.ssl.keyStorePassword` or `FLUME_SSL_KEYSTORE_PASSWORD`.
        pub keystore_password: Option<Secret> = key("keystore-password") {
            deprecated: &["keystorePassword"], secret: true
        },
        /// Type of the store; the content decides, whatever stands here.
        pub keystore_type: Option<String> = key("keystore-type") { one_of: &["JKS", "PKCS12", "PEM"] },
        /// PEM file with the server's certificates, its own first, in place of a key store.
        pub certificate_file: Option<PathBuf> = key("certificate-file") { since: "Flumen" },
        /// PEM file with the private key, beside `certificate-file`.
        pub private_key_file: Option<PathBuf> = key("private-key-file") { since: "Flumen" },
        /// Protocols that are not spoken, by Java's names; SSLv3, TLSv1 and TLSv1.1 never are.
        pub exclude_protocols: Option<Words> = key("exclude-protocols") { deprecated: &["excludeProtocols"] },
        /// Protocols that are spoken, by Java's names: `TLSv1.2 TLSv1.3` if absent.
        pub include_protocols: Option<Words> = key("include-protocols") { },
        /// Cipher suites that are not offered, by Java's names.
        pub exclude_cipher_suites: Option<Words> = key("exclude-cipher-suites") { },
        /// The only cipher suites to offer, by Java's names.
        pub include_cipher_suites: Option<Words> = key("include-cipher-suites") { },
    }
}

/// What a listening component does about TLS.
#[derive(Clone, Debug)]
pub struct ServerTls(Option<Enabled>);

#[derive(Clone, Debug)]
struct Enabled {
    keys: Keys,
    offer: Offer,
}

/// Where the private key and its certificates are.
#[derive(Clone, Debug)]
enum Keys {
    Store { path: PathBuf, password: Option<Secret> },
    Pem { certificates: PathBuf, key: PathBuf },
}

impl ServerTls {
    /// Reads the component's keys and what the process says in place of absent ones; touches no file.
    pub fn load(config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let keys = ServerKeys::load(config, problems)?;
        if !keys.ssl {
            return Some(Self(None));
        }
        let lists = Lists {
            include_protocols: &keys.include_protocols,
            exclude_protocols: &keys.exclude_protocols,
            include_suites: &keys.include_cipher_suites,
            exclude_suites: &keys.exclude_cipher_suites,
        };
        let offer = Offer::load(&lists, config, problems);
        let keys = Keys::load(keys, config, problems);
        Some(Self(Some(Enabled { keys: keys?, offer: offer? })))
    }

    /// Reads the files and makes what accepts connections; `None` if TLS is off.
    pub async fn acceptor(&self) -> Result<Option<TlsAcceptor>, TlsError> {
        let Some(enabled) = self.0.clone() else { return Ok(None) };
        // Files may be slow, and so is what keeps passwords from being guessed.
        let made = tokio::task::spawn_blocking(move || enabled.acceptor()).await;
        made.map_err(|error| TlsError::Other(format!("TLS was not set up: {error}")))?.map(Some)
    }
}

impl Keys {
    fn load(keys: ServerKeys, config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        match (keys.certificate_file, keys.private_key_file) {
            (Some(certificates), Some(key)) => return Some(Self::Pem { certificates, key }),
            (Some(_), None) => {
                problems.error(config, "certificate-file", "`private-key-file` is missing beside it");
                return None;
            }
            (None, Some(_)) => {
                problems.error(config, "private-key-file", "`certificate-file` is missing beside it");
                return None;
            }
            (None, None) => {}
        }
        let of_process = |default: defaults::Default| default.of(&config.process);
        let Some(path) = keys.keystore.or_else(|| of_process(defaults::KEYSTORE).map(PathBuf::from)) else {
            problems.error(
                config,
                "keystore",
                "required key is missing where `ssl` is true: the key store, JKS, PKCS12 or PEM (or `certificate-file` \
                 and `private-key-file`)",
            );
            return None;
        };
        let password =
            keys.keystore_password.or_else(|| of_process(defaults::KEYSTORE_PASSWORD).map(Secret::from));
        let kind =
            keys.keystore_type.as_deref().or_else(|| of_process(defaults::KEYSTORE_TYPE)).unwrap_or("JKS");
        if password.is_none() && !kind.eq_ignore_ascii_case("PEM") {
            problems.error(config, "keystore-password", "required key is missing where `ssl` is true");
            return None;
        }
        Some(Self::Store { path, password })
    }

    /// Where the private key is, for people.
    fn place(&self) -> &Path {
        match self {
            Self::Store { path, .. } => path,
            Self::Pem { key, .. } => key,
        }
    }

    fn identity(&self) -> Result<Identity, TlsError> {
        let (path, password) = match self {
            Self::Pem { certificates, key } => return store::read_pair(certificates, key),
            Self::Store { path, password } => (path, password.as_ref()),
        };
        let mut identities = store::read(path, password)?.identities;
        if identities.is_empty() {
            let reason = "there is no private key in it".into();
            return Err(TlsError::Store { path: path.clone(), reason });
        }
        let identity = identities.remove(0);
        if !identities.is_empty() {
            let others: Vec<_> = identities.iter().map(|other| other.alias.as_str()).collect();
            tracing::warn!(
                keystore = %path.display(), used = %identity.alias, others = %others.join(", "),
                "the key store has several private keys; the first is used"
            );
        }
        Ok(identity)
    }
}

impl Enabled {
    fn acceptor(&self) -> Result<TlsAcceptor, TlsError> {
        let Identity { alias, chain, key } = self.keys.identity()?;
        let path = self.keys.place().display();
        let setup = |cause: rustls::Error| TlsError::Setup {
            what: format!(
                "{path}: the key `{alias}` cannot serve TLS (RSA of 2048 bits and more, ECDSA on P-256 and P-384, and \
                 Ed25519 can)"
            ),
            cause,
        };
        let key = crate::ec::complete(key, &chain);
        let config = ServerConfig::builder_with_provider(Arc::new(self.offer.provider()))
            .with_protocol_versions(&self.offer.versions)
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(setup)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

#[cfg(test)]
mod tests;
