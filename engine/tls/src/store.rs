//! A key store or trust store file of any of the three kinds, told apart by its first bytes.
//!
//! ```text
//!   FE ED FE ED            JKS, Java's own old format
//!   CE CE CE CE            JCEKS: refused, with the command that converts it
//!   30                     PKCS12 (a DER sequence)
//!   -----BEGIN …-----      PEM: certificates, the server's own first, and a private key
//! ```
//!
//! The declared type is not needed: like Java, which reads a PKCS12 store that is declared as JKS, the content decides.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{Secret, TlsError, jks, pkcs12};

/// Java's own store of root certificates has 0.2 MB.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// A private key with its certificates, the key's own first.
pub(crate) struct Identity {
    /// The entry's name, for the log.
    pub alias: String,
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

/// What a store holds.
#[derive(Default)]
pub(crate) struct Store {
    pub identities: Vec<Identity>,
    pub trusted: Vec<CertificateDer<'static>>,
}

/// A store's password, and that of the keys in it where it is another.
#[derive(Clone, Copy, Default)]
pub(crate) struct Passwords<'a> {
    pub store: Option<&'a Secret>,
    pub key: Option<&'a Secret>,
}

impl<'a> Passwords<'a> {
    pub fn of(store: Option<&'a Secret>) -> Self {
        Self { store, key: None }
    }
}

/// Reads a store.
pub(crate) fn read(path: &Path, password: Option<&Secret>) -> Result<Store, TlsError> {
    parse(path, &read_file(path)?, Passwords::of(password))
}

/// Reads what was in the file.
pub(crate) fn parse(path: &Path, bytes: &[u8], passwords: Passwords<'_>) -> Result<Store, TlsError> {
    let needs_password =
        || passwords.store.map(Secret::expose).ok_or("it needs a password, and there is none");
    let parsed = match bytes {
        _ if jks::is(bytes) => needs_password()
            .map_err(String::from)
            .and_then(|password| jks::read(bytes, password, passwords.key.map(Secret::expose))),
        [0xce, 0xce, 0xce, 0xce, ..] => {
            Err("this is a JCEKS store, which is not read here; convert it: keytool \
             -importkeystore -srckeystore OLD -srcstoretype JCEKS -destkeystore NEW.p12 -deststoretype PKCS12"
                .into())
        }
        [0x30, ..] => {
            needs_password().map_err(String::from).and_then(|password| pkcs12::read(bytes, password))
        }
        _ if is_pem(bytes) => pem(bytes),
        _ => Err("this is none of a JKS store, a PKCS12 store and a PEM file".into()),
    };
    parsed.map_err(|reason| TlsError::Store { path: path.into(), reason })
}

/// Reads PEM files: the certificates from one, the private key from another.
pub(crate) fn read_pair(certificates: &Path, key: &Path) -> Result<Identity, TlsError> {
    let error = |path: &Path, reason: String| TlsError::Store { path: path.into(), reason };
    let chain = pem_certificates(&read_file(certificates)?).map_err(|reason| error(certificates, reason))?;
    if chain.is_empty() {
        return Err(error(certificates, "there is no certificate in it".into()));
    }
    let key_file = read_file(key)?;
    let private = PrivateKeyDer::from_pem_slice(&key_file)
        .map_err(|reason| error(key, format!("no private key: {reason}")))?;
    Ok(Identity { alias: key.display().to_string(), chain, key: private })
}

pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, TlsError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Err(cause) => Err(TlsError::Read { path: path.into(), cause }),
        Ok(_) if bytes.len() as u64 > FILE_BYTES_MAX => Err(TlsError::Store {
            path: path.into(),
            reason: format!("it is larger than {FILE_BYTES_MAX} bytes, which no key store is"),
        }),
        Ok(_) => Ok(bytes),
    }
}

pub(crate) fn is_pem(bytes: &[u8]) -> bool {
    const MARK: &[u8] = b"-----BEGIN ";
    bytes.windows(MARK.len()).any(|window| window == MARK)
}

pub(crate) fn pem_certificates(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("it is not PEM: {error}"))
}

pub(crate) fn pem(bytes: &[u8]) -> Result<Store, String> {
    let certificates = pem_certificates(bytes)?;
    let keys: Vec<PrivateKeyDer<'static>> = PrivateKeyDer::pem_slice_iter(bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("it is not PEM: {error}"))?;
    match keys.into_iter().next() {
        // With a key, the certificates are the key's; without, they are whom to trust.
        Some(key) if !certificates.is_empty() => Ok(Store {
            identities: vec![Identity { alias: "PEM".into(), chain: certificates, key }],
            trusted: Vec::new(),
        }),
        Some(_) => Err("there is a private key in it and no certificate".into()),
        None => Ok(Store { identities: Vec::new(), trusted: certificates }),
    }
}
