//! Private keys on elliptic curves as Java writes them: without the public key, which the library beneath wants to see.
//!
//! ```text
//!   PKCS8  SEQUENCE { 0, algorithm, OCTET STRING { SEQUENCE { 1, OCTET STRING d, [1] { BIT STRING public } } } }
//!                                                                                └ absent in Java's files ┘
//! ```
//!
//! The public key stands in the certificate; it is put in its place.

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ParsedCertificate;

/// OBJECT IDENTIFIER 1.2.840.10045.2.1, a key on an elliptic curve, with tag and length.
const EC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];

/// The key with its public key, or as it is where that is not needed or not possible.
pub(crate) fn complete(
    key: PrivateKeyDer<'static>,
    chain: &[CertificateDer<'static>],
) -> PrivateKeyDer<'static> {
    let PrivateKeyDer::Pkcs8(pkcs8) = &key else { return key };
    let completed = chain.first().and_then(|leaf| completed(pkcs8.secret_pkcs8_der(), leaf));
    match completed {
        Some(der) => PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(der)),
        None => key,
    }
}

fn completed(pkcs8: &[u8], leaf: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let (content, _) = element(pkcs8, 0x30)?;
    let (version, rest) = element(content, 0x02)?;
    let (algorithm, rest) = element(rest, 0x30)?;
    if version != [0] || !algorithm.starts_with(EC_KEY) {
        return None;
    }
    let (wrapped, _) = element(rest, 0x04)?;
    let (private, _) = element(wrapped, 0x30)?;
    let (one, rest) = element(private, 0x02)?;
    let (scalar, rest) = element(rest, 0x04)?;
    // [0] names the curve again, [1] is the public key.
    let rest = element(rest, 0xa0).map_or(rest, |(_, rest)| rest);
    if one != [1] || !rest.is_empty() {
        return None;
    }
    let parsed = ParsedCertificate::try_from(leaf).ok()?;
    let public = parsed.subject_public_key_info();
    let (info, _) = element(&public, 0x30)?;
    let (of_public, rest) = element(info, 0x30)?;
    let (bits, _) = element(rest, 0x03)?;
    if of_public != algorithm {
        return None;
    }
    let public = wrap(0xa1, &wrap(0x03, bits));
    let private = wrap(0x30, &[wrap(0x02, one), wrap(0x04, scalar), public].concat());
    Some(wrap(0x30, &[wrap(0x02, version), wrap(0x30, algorithm), wrap(0x04, &private)].concat()))
}

/// A DER element.
fn wrap(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut der = match length {
        0..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    der.extend_from_slice(content);
    der
}

/// Content of a DER element with this tag, and what follows it.
pub(crate) fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    if found == tag { rest.split_at_checked(length) } else { None }
}
