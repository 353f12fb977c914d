//! PKCS12 stores, through a library that knows Java's and OpenSSL's ways of writing them.

use p12_keystore::{CertificateBag, Pkcs12Archive};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::store::{Identity, Store};

/// Certificates of one chain.
const CHAIN_MAX: usize = 16;

/// Reads a store.
pub(crate) fn read(bytes: &[u8], password: &str) -> Result<Store, String> {
    let archive = Pkcs12Archive::from_pkcs12(bytes, password)
        .map_err(|error| format!("the PKCS12 store cannot be read, or the password is wrong: {error}"))?;
    let mut store = Store::default();
    let mut own = Vec::new();
    for (number, key) in archive.keys.iter().enumerate() {
        // A store with one key and no links between keys and certificates: they belong together.
        let linked = |bag: &&CertificateBag| match (&key.local_key_id, &bag.local_key_id) {
            (Some(key), Some(certificate)) => key.as_ref() == certificate.as_slice(),
            _ => archive.keys.len() == 1 && archive.certs.iter().all(|bag| bag.local_key_id.is_none()),
        };
        let Some(leaf) = archive.certs.iter().find(linked) else { continue };
        let chain = chain(leaf, &archive.certs);
        own.extend(chain.iter().map(|bag| bag.cert.as_der().to_vec()));
        store.identities.push(Identity {
            alias: key.friendly_name.clone().unwrap_or_else(|| number.to_string()),
            chain: chain.iter().map(|bag| CertificateDer::from(bag.cert.as_der().to_vec())).collect(),
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.key.as_der().to_vec())),
        });
    }
    if !archive.keys.is_empty() && store.identities.is_empty() {
        return Err("none of its private keys has a certificate".into());
    }
    // Java marks whom it trusts; OpenSSL has no such mark, and there whatever belongs to no key is trusted.
    let any_marked = archive.certs.iter().any(|bag| bag.trusted);
    let is_trusted = |bag: &&CertificateBag| match any_marked {
        true => bag.trusted,
        false => bag.local_key_id.is_none() && !own.iter().any(|der| der == bag.cert.as_der()),
    };
    let trusted = archive.certs.iter().filter(is_trusted);
    store.trusted = trusted.map(|bag| CertificateDer::from(bag.cert.as_der().to_vec())).collect();
    Ok(store)
}

/// The certificate, its issuer's, and so on; a store that goes round in circles ends somewhere too.
fn chain<'a>(leaf: &'a CertificateBag, all: &'a [CertificateBag]) -> Vec<&'a CertificateBag> {
    let mut chain = vec![leaf];
    while chain.len() < CHAIN_MAX {
        let last = chain[chain.len() - 1];
        if last.cert.issuer() == last.cert.subject() {
            break;
        }
        let issuer = all.iter().find(|bag| bag.cert.subject() == last.cert.issuer());
        match issuer {
            Some(issuer) if !chain.iter().any(|bag| bag.cert.as_der() == issuer.cert.as_der()) => {
                chain.push(issuer)
            }
            _ => break,
        }
    }
    chain
}
