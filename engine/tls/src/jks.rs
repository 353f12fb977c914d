//! JKS, Java's old key store format. Integers are big-endian; a text is its length in two bytes and modified UTF-8.
//!
//! ```text
//!   u32 FEEDFEED | u32 version (1, 2) | u32 entries | entry … | SHA-1 of (password as UTF-16 | "Mighty Aphrodite" | all before)
//!
//!   entry    u32 1 | text alias | u64 time | u32 length | sealed key | u32 certificates | certificate …
//!            u32 2 | text alias | u64 time | certificate
//!   certificate   text type (version 2 only) | u32 length | DER
//!   sealed key    DER EncryptedPrivateKeyInfo { algorithm, OCTET STRING { salt (20) | body | check (20) } }
//!                 body XOR stream = PKCS8, with stream = SHA-1(password | salt), SHA-1(password | the former), …
//!                 check = SHA-1(password | PKCS8)
//! ```

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::ec::element;
use crate::store::{Identity, Store};

const HASH: usize = 20;
/// A chain of certificates in use has three or four.
const CHAIN_MAX: u32 = 64;

/// Whether it is such a store.
pub(crate) fn is(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xfe, 0xed, 0xfe, 0xed])
}

/// Reads a store; `key_password` is that of its keys, if it is another.
pub(crate) fn read(bytes: &[u8], password: &str, key_password: Option<&str>) -> Result<Store, String> {
    let Some((content, check)) = bytes.split_last_chunk::<HASH>() else { return Err(cut()) };
    let opens = utf16(password);
    if sha1(&[&opens, b"Mighty Aphrodite", content]) != *check {
        return Err("the password is wrong, or the JKS store is damaged".into());
    }
    entries(content, Some(&key_password.map_or(opens, utf16)))
}

/// Reads the certificates whom a store trusts, without a password: whether somebody changed them nobody knows.
pub(crate) fn read_unchecked(bytes: &[u8]) -> Result<Store, String> {
    let Some((content, _)) = bytes.split_last_chunk::<HASH>() else { return Err(cut()) };
    entries(content, None)
}

fn utf16(password: &str) -> Vec<u8> {
    password.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// What is in a store; without a password for them its keys are left out.
fn entries(content: &[u8], keys: Option<&[u8]>) -> Result<Store, String> {
    let mut reader = Reader(content);
    reader.u32()?;
    let version = reader.u32()?;
    if !(1..=2).contains(&version) {
        return Err(format!("version {version} of a JKS store is not known"));
    }
    let mut store = Store::default();
    for _ in 0..reader.u32()? {
        let tag = reader.u32()?;
        let alias = reader.text()?;
        reader.take(8)?;
        match tag {
            1 => {
                let sealed = reader.long()?;
                let count = reader.u32()?;
                if count > CHAIN_MAX {
                    return Err(format!("`{alias}` has a chain of {count} certificates"));
                }
                let chain = (0..count).map(|_| reader.certificate(version)).collect::<Result<Vec<_>, _>>()?;
                let Some(password) = keys else { continue };
                let key = open(sealed, password).map_err(|why| format!("the key `{alias}`: {why}"))?;
                store.identities.push(Identity {
                    alias,
                    chain,
                    key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)),
                });
            }
            2 => store.trusted.push(reader.certificate(version)?),
            _ => return Err(format!("`{alias}` is an entry of the unknown kind {tag}")),
        }
    }
    Ok(store)
}

fn cut() -> String {
    "the JKS store ends in the middle".into()
}

fn sha1(parts: &[&[u8]]) -> [u8; HASH] {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; HASH];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// The PKCS8 of a sealed key.
fn open(der: &[u8], password: &[u8]) -> Result<Vec<u8>, String> {
    let sealed = octets(der).ok_or("it is not sealed as JKS keys are")?;
    let parts = sealed.split_first_chunk::<HASH>().and_then(|(salt, rest)| {
        let (body, check) = rest.split_last_chunk::<HASH>()?;
        Some((salt, body, check))
    });
    let (salt, body, check) = parts.ok_or("it is too short")?;
    let mut plain = Vec::with_capacity(body.len());
    let mut stream = *salt;
    for block in body.chunks(HASH) {
        stream = sha1(&[password, &stream]);
        plain.extend(block.iter().zip(stream).map(|(byte, key)| byte ^ key));
    }
    if sha1(&[password, &plain]) != *check {
        return Err("the password for it is wrong: that is the store's own, but where a key `ssl.key.password` says another".into());
    }
    Ok(plain)
}

/// The octet string of SEQUENCE { SEQUENCE algorithm, OCTET STRING }.
fn octets(der: &[u8]) -> Option<&[u8]> {
    let (content, _) = element(der, 0x30)?;
    let (_algorithm, rest) = element(content, 0x30)?;
    Some(element(rest, 0x04)?.0)
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or_else(cut)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, String> {
        let (taken, rest) = self.0.split_first_chunk::<4>().ok_or_else(cut)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*taken))
    }

    fn long(&mut self) -> Result<&'a [u8], String> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    fn text(&mut self) -> Result<String, String> {
        let length = self.take(2)?;
        let length = usize::from(length[0]) << 8 | usize::from(length[1]);
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn certificate(&mut self, version: u32) -> Result<CertificateDer<'static>, String> {
        if version == 2 {
            let kind = self.text()?;
            if !kind.starts_with("X.509") && !kind.starts_with("X509") {
                return Err(format!("a certificate of type {kind} is not known"));
            }
        }
        Ok(CertificateDer::from(self.long()?.to_vec()))
    }
}

#[cfg(test)]
mod tests;
