use proptest::prelude::*;

use super::*;

const RSA: &[u8] = include_bytes!("../../fixtures/rsa.jks");
const TRUST: &[u8] = include_bytes!("../../fixtures/trust.jks");

#[test]
fn keys_and_trusted_certificates_are_read_as_java_wrote_them() {
    let store = read(RSA, "changeit", None).unwrap();
    assert_eq!((store.identities.len(), store.trusted.len()), (1, 0));
    assert_eq!((store.identities[0].alias.as_str(), store.identities[0].chain.len()), ("server", 1));
    let store = read(TRUST, "changeit", None).unwrap();
    assert_eq!((store.identities.len(), store.trusted.len()), (0, 3));
}

#[test]
fn a_wrong_password_and_damage_are_said() {
    for (bytes, password) in
        [(RSA, "changeme"), (RSA, ""), (&RSA[..100], "changeit"), (&RSA[..4], "changeit")]
    {
        let error = read(bytes, password, None).err().unwrap();
        assert!(error.contains("wrong") || error.contains("middle"), "{error}");
    }
}

/// A store with the right check sum, whatever is in it.
fn sealed(mut content: Vec<u8>) -> Vec<u8> {
    let password: Vec<u8> = "changeit".encode_utf16().flat_map(u16::to_be_bytes).collect();
    let check = sha1(&[&password, b"Mighty Aphrodite", &content]);
    content.extend(check);
    content
}

proptest! {
    #[test]
    fn no_bytes_do_harm(content in any::<Vec<u8>>(), at in any::<prop::sample::Index>(), byte: u8) {
        let _refused_or_not = read(&sealed(content.clone()), "changeit", None).is_ok();
        let _refused_or_not = read(&content, "changeit", None).is_ok();
        let mut damaged = RSA[..RSA.len() - HASH].to_vec();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        let _refused_or_not = read(&sealed(damaged.clone()), "changeit", None).is_ok();
        damaged.truncate(at);
        let _refused_or_not = read(&sealed(damaged), "changeit", None).is_ok();
    }
}
