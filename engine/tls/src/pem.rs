//! Key and trust stores as PEM texts, for a library that brings a TLS of its own and does not read Java's stores.
//!
//! ```text
//!   trust store   JKS | PKCS12 | PEM ──> certificates of whom it trusts
//!   key store     JKS | PKCS12       ──> the key's certificates, its own first | the private key
//!                 PEM                ──> as it is: the library opens a key that is sealed itself
//! ```

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flumen_api::settings::Process;
use rustls::pki_types::PrivateKeyDer;

use crate::store::{self, Passwords};
use crate::{Secret, TlsError, defaults, jks};

/// PEM's lines.
const LINE: usize = 64;

/// Where a component has its certificates and its key, if it says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PemStores {
    /// Store of those who are trusted.
    pub truststore: Option<PathBuf>,
    /// Its password. A JKS store is read without one too, as Java does.
    pub truststore_password: Option<Secret>,
    /// Store with the own key.
    pub keystore: Option<PathBuf>,
    /// Its password.
    pub keystore_password: Option<Secret>,
    /// The key's password, where it is another than the store's.
    pub key_password: Option<Secret>,
}

/// A private key with its certificates.
pub struct PemIdentity {
    /// The certificates, the key's own first.
    pub certificates: String,
    /// The key.
    pub key: Secret,
}

impl PemStores {
    /// What the process says in place of what is absent: `javax.net.ssl.*`, `FLUME_SSL_*`.
    pub fn or_of_process(mut self, process: &Process) -> Self {
        let path = |default: defaults::Default| default.of(process).map(PathBuf::from);
        let secret = |default: defaults::Default| default.of(process).map(Secret::from);
        self.truststore = self.truststore.or_else(|| path(defaults::TRUSTSTORE));
        self.truststore_password = self.truststore_password.or_else(|| secret(defaults::TRUSTSTORE_PASSWORD));
        self.keystore = self.keystore.or_else(|| path(defaults::KEYSTORE));
        self.keystore_password = self.keystore_password.or_else(|| secret(defaults::KEYSTORE_PASSWORD));
        self
    }

    /// Reads the trust store.
    pub fn authorities(&self) -> Result<Option<String>, TlsError> {
        let Some(path) = &self.truststore else { return Ok(None) };
        let bytes = store::read_file(path)?;
        let error = |reason: String| TlsError::Store { path: path.clone(), reason };
        let trusted = match (&self.truststore_password, jks::is(&bytes)) {
            (None, true) => jks::read_unchecked(&bytes).map_err(error)?.trusted,
            // A key among them makes a key store of a file; here its certificates are asked for.
            _ if store::is_pem(&bytes) => store::pem_certificates(&bytes).map_err(error)?,
            (password, _) => store::parse(path, &bytes, Passwords::of(password.as_ref()))?.trusted,
        };
        if trusted.is_empty() {
            return Err(error("there is no certificate of an authority in it".into()));
        }
        Ok(Some(trusted.iter().map(|certificate| armoured("CERTIFICATE", certificate)).collect()))
    }

    /// Reads the key store.
    pub fn identity(&self) -> Result<Option<PemIdentity>, TlsError> {
        let Some(path) = &self.keystore else { return Ok(None) };
        let bytes = store::read_file(path)?;
        if store::is_pem(&bytes) {
            return as_it_is(path, bytes).map(Some);
        }
        let passwords = Passwords { store: self.keystore_password.as_ref(), key: self.key_password.as_ref() };
        // The first, where there are several: which one is meant nothing says.
        let Some(identity) = store::parse(path, &bytes, passwords)?.identities.into_iter().next() else {
            let reason = "there is no private key in it".into();
            return Err(TlsError::Store { path: path.clone(), reason });
        };
        let kind = match &identity.key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        Ok(Some(PemIdentity {
            certificates: identity.chain.iter().map(|one| armoured("CERTIFICATE", one)).collect(),
            key: armoured(kind, identity.key.secret_der()).as_str().into(),
        }))
    }
}

/// Both of a text that has both.
fn as_it_is(path: &Path, bytes: Vec<u8>) -> Result<PemIdentity, TlsError> {
    let error = |reason: &str| TlsError::Store { path: path.into(), reason: reason.into() };
    let text = String::from_utf8(bytes).map_err(|_not| error("it is no text"))?;
    if text.contains('\0') || !text.contains("PRIVATE KEY-----") {
        return Err(error("there is no private key in it"));
    }
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(error("there is a private key in it and no certificate"));
    }
    Ok(PemIdentity { key: text.as_str().into(), certificates: text })
}

fn armoured(kind: &str, der: &[u8]) -> String {
    let base64 = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {kind}-----\n");
    for at in (0..base64.len()).step_by(LINE) {
        text += &base64[at..base64.len().min(at + LINE)];
        text.push('\n');
    }
    text + &format!("-----END {kind}-----\n")
}

#[cfg(test)]
mod tests;
