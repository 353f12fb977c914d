use std::collections::BTreeMap;
use std::fs;

use super::*;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR")))
}

fn own(name: &str, key_password: Option<&str>) -> PemStores {
    PemStores {
        keystore: Some(fixture(name)),
        keystore_password: Some("changeit".into()),
        key_password: key_password.map(Secret::from),
        ..PemStores::default()
    }
}

fn trusting(name: &str, password: Option<&str>) -> PemStores {
    PemStores {
        truststore: Some(fixture(name)),
        truststore_password: password.map(Secret::from),
        ..PemStores::default()
    }
}

#[test]
fn what_javas_stores_hold_becomes_pem() {
    let (certificate, key) = (fixture("cert.pem"), fixture("key.pem"));
    let identity = own("openssl.p12", None).identity().unwrap().unwrap();
    assert_eq!(identity.certificates, fs::read_to_string(certificate).unwrap());
    assert_eq!(identity.key.expose(), fs::read_to_string(key).unwrap());
    for name in ["rsa.jks", "ec.jks", "ec.p12", "legacy.p12", "signed.p12"] {
        let identity = own(name, None).identity().unwrap().unwrap();
        let there = [identity.certificates, identity.key.expose().into()].concat();
        assert_eq!(store::pem(there.as_bytes()).unwrap().identities.len(), 1, "{name}");
    }
    // Java reads a JKS trust store without a password too.
    for (name, password) in
        [("trust.jks", Some("changeit")), ("trust.jks", None), ("trust.p12", Some("changeit"))]
    {
        let text = trusting(name, password).authorities().unwrap().unwrap();
        assert_eq!(store::pem_certificates(text.as_bytes()).unwrap().len(), 3, "{name}");
    }
    assert!(trusting("ca.pem", None).authorities().unwrap().is_some());
    assert!(PemStores::default().authorities().unwrap().is_none());
    assert!(PemStores::default().identity().unwrap().is_none());
}

#[test]
fn a_pem_file_goes_as_it_is_with_its_sealed_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("both.pem");
    let certificate = fs::read_to_string(fixture("cert.pem")).unwrap();
    let sealed = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    fs::write(&path, format!("{sealed}{certificate}")).unwrap();
    let stores = PemStores { keystore: Some(path.clone()), ..PemStores::default() };
    let identity = stores.identity().unwrap().unwrap();
    assert!(identity.certificates.contains(&certificate) && identity.key.expose().contains(sealed));
    for half in [sealed, &certificate] {
        fs::write(&path, half).unwrap();
        assert!(stores.identity().is_err());
    }
}

#[test]
fn what_cannot_be_read_names_the_file() {
    for (stores, why) in [
        (own("rsa.jks", Some("another")), "rsa.jks: the key `server`: the password"),
        (own("trust.jks", None), "trust.jks: there is no private key"),
        (own("secret.jceks", None), "JCEKS"),
        (own("missing", None), "missing"),
    ] {
        let error = stores.identity().err().unwrap().to_string();
        assert!(error.contains(why), "{error}");
    }
    for (stores, why) in [
        (trusting("trust.jks", Some("another")), "trust.jks: the password is wrong"),
        (trusting("trust.p12", None), "needs a password"),
        (trusting("rsa.jks", None), "no certificate of an authority"),
    ] {
        let error = stores.authorities().err().unwrap().to_string();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn the_process_stands_in_for_absent_keys() {
    let variables = [("FLUME_SSL_TRUSTSTORE_PATH", "/env"), ("FLUME_SSL_KEYSTORE_PATH", "/own")];
    let variables: BTreeMap<String, String> =
        variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    let process = Process { variables: variables.into(), ..Process::default() };
    let stores = trusting("ca.pem", None).or_of_process(&process);
    assert_eq!((stores.truststore, stores.keystore), (Some(fixture("ca.pem")), Some("/own".into())));
}
