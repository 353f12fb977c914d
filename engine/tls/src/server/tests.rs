use std::collections::BTreeMap;

use flumen_api::settings::{Kind, Process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::ClientTls;

fn fixture(name: &str) -> String {
    format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn server(pairs: &[(&str, &str)]) -> Result<ServerTls, String> {
    let config = ComponentConfig::of(Kind::Source, "r1", &[&[("ssl", "true")], pairs].concat());
    let mut problems = Problems::default();
    let all = |problems: &Problems| {
        let all: Vec<_> = problems.0.iter().map(ToString::to_string).collect();
        all.join("; ")
    };
    ServerTls::load(&config, &mut problems).ok_or_else(|| all(&problems))
}

fn client(pairs: &[(&str, &str)]) -> ClientTls {
    let config = ComponentConfig::of(Kind::Sink, "k1", &[&[("ssl", "true")], pairs].concat());
    let mut problems = Problems::default();
    ClientTls::load(&config, &mut problems).unwrap_or_else(|| panic!("{problems:?}"))
}

/// Says a word through TLS; the version and cipher suite that were agreed on.
async fn meet(server: &ServerTls, client: &ClientTls) -> Result<(String, String), String> {
    let acceptor = server.acceptor().await.map_err(|error| error.to_string())?.unwrap();
    let connector = client.connector().await.map_err(|error| error.to_string())?.unwrap();
    let (here, there) = tokio::io::duplex(1 << 14);
    let listening = async {
        let mut stream = acceptor.accept(there).await?;
        stream.write_all(b"hello").await?;
        stream.shutdown().await
    };
    let connecting = async {
        let name = rustls::pki_types::ServerName::try_from("elsewhere.test").unwrap();
        let mut stream = connector.connect(name, here).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        assert_eq!(text, "hello");
        let connection = stream.get_ref().1;
        let version = format!("{:?}", connection.protocol_version().unwrap());
        Ok::<_, std::io::Error>((
            version,
            format!("{:?}", connection.negotiated_cipher_suite().unwrap().suite()),
        ))
    };
    let (listened, connected) = tokio::join!(listening, connecting);
    let met = connected.map_err(|error| error.to_string())?;
    listened.map_err(|error| error.to_string())?;
    Ok(met)
}

#[tokio::test]
async fn every_kind_of_key_store_serves() {
    let trusting = client(&[("truststore", &fixture("trust.jks")), ("truststore-password", "changeit")]);
    let anybody = client(&[("trust-all-certs", "true")]);
    for (name, kind, client) in [
        ("rsa.jks", "JKS", &trusting),
        ("ec.jks", "JKS", &trusting),
        ("ec.p12", "PKCS12", &trusting),
        // Java reads a PKCS12 store that is said to be JKS, which is the default.
        ("ec.p12", "JKS", &trusting),
        ("openssl.p12", "PKCS12", &anybody),
        ("legacy.p12", "PKCS12", &anybody),
    ] {
        let keys = [
            ("keystore", fixture(name)),
            ("keystore-type", kind.into()),
            ("keystore-password", "changeit".into()),
        ];
        let keys = keys.each_ref().map(|(key, value)| (*key, value.as_str()));
        let (version, _) =
            meet(&server(&keys).unwrap(), client).await.unwrap_or_else(|why| panic!("{name}: {why}"));
        assert_eq!(version, "TLSv1_3", "{name}");
    }
}

#[tokio::test]
async fn pem_files_serve_too() {
    let pair =
        server(&[("certificate-file", &fixture("cert.pem")), ("private-key-file", &fixture("key.pem"))])
            .unwrap();
    let trusting = client(&[("truststore", &fixture("cert.pem"))]);
    meet(&pair, &trusting).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let both = directory.path().join("both.pem");
    let text = ["cert.pem", "key.pem"].map(|name| std::fs::read_to_string(fixture(name)).unwrap()).concat();
    std::fs::write(&both, text).unwrap();
    let both = server(&[("keystore", both.to_str().unwrap()), ("keystore-type", "PEM")]).unwrap();
    meet(&both, &trusting).await.unwrap();
}

#[tokio::test]
async fn only_what_the_lists_leave_is_spoken() {
    let store = fixture("rsa.jks");
    let store = [("keystore", store.as_str()), ("keystore-password", "changeit")];
    let keys = |extra: &[(&str, &str)]| {
        let config =
            ComponentConfig::of(Kind::Source, "r1", &[&[("ssl", "true")], &store[..], extra].concat());
        ServerTls::load(&config, &mut Problems::default()).unwrap()
    };
    let anybody = client(&[("trust-all-certs", "true")]);
    let old = keys(&[("include-protocols", "TLSv1.2")]);
    let suite = "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384";
    assert_eq!(meet(&old, &anybody).await.unwrap(), ("TLSv1_2".into(), suite.into()));
    let other = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
    let one = keys(&[("include-protocols", "TLSv1.2"), ("include-cipher-suites", other)]);
    assert_eq!(meet(&one, &anybody).await.unwrap().1, other);
    let new = client(&[("trust-all-certs", "true"), ("exclude-protocols", "TLSv1.2")]);
    assert!(meet(&old, &new).await.is_err());
}

#[tokio::test]
async fn what_cannot_serve_is_said_with_its_file_and_without_the_password() {
    for (name, password, why) in [
        ("rsa.jks", "wrong-pass", "password is wrong"),
        ("ec.p12", "wrong-pass", "password is wrong"),
        ("dsa.jks", "changeit", "cannot serve TLS"),
        ("trust.jks", "changeit", "no private key"),
        ("secret.jceks", "changeit", "keytool -importkeystore"),
        ("README.md", "changeit", "none of"),
        ("missing.jks", "changeit", "cannot read"),
    ] {
        let path = fixture(name);
        let server = server(&[("keystore", &path), ("keystore-password", password)]).unwrap();
        let error = server.acceptor().await.err().unwrap().to_string();
        assert!(error.contains(why) && error.contains(&path), "{name}: {error}");
        let shown = format!("{error} {server:?}");
        assert!(!shown.contains(password), "{shown}");
    }
}

#[test]
fn keys_that_are_missing_are_named() {
    assert!(server(&[]).unwrap_err().contains("a1.sources.r1.keystore"));
    assert!(server(&[("keystore", "x")]).unwrap_err().contains("keystore-password"));
    assert!(server(&[("certificate-file", "x")]).unwrap_err().contains("private-key-file"));
    assert!(server(&[("private-key-file", "x")]).unwrap_err().contains("certificate-file"));
}

#[tokio::test]
async fn the_process_stands_in_for_absent_keys_and_settings_win_over_variables() {
    let process = |system: &[(&str, &str)], variables: &[(&str, &str)]| {
        let map = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(key, value)| (key.to_string(), value.to_string()));
            Arc::new(pairs.collect::<BTreeMap<_, _>>())
        };
        Process { system: map(system), variables: map(variables) }
    };
    let load = |process: Process, pairs: &[(&str, &str)]| {
        let config = ComponentConfig { process, ..ComponentConfig::of(Kind::Source, "r1", pairs) };
        ServerTls::load(&config, &mut Problems::default()).unwrap()
    };
    let store = fixture("rsa.jks");
    let variables = [
        ("FLUME_SSL_KEYSTORE_PATH", "/nowhere"),
        ("FLUME_SSL_KEYSTORE_PASSWORD", "changeit"),
        ("FLUME_SSL_EXCLUDE_PROTOCOLS", "TLSv1.1,TLSv1.3"),
    ];
    let system = [("javax.net.ssl.keyStore", store.as_str())];
    let anybody = client(&[("trust-all-certs", "true")]);
    let server = load(process(&system, &variables), &[("ssl", "true")]);
    assert_eq!(meet(&server, &anybody).await.unwrap().0, "TLSv1_2");
    // The component's own list stands in place of the process's.
    let server = load(process(&system, &variables), &[("ssl", "true"), ("exclude-protocols", "TLSv1.2")]);
    assert_eq!(meet(&server, &anybody).await.unwrap().0, "TLSv1_3");
    assert!(load(process(&system, &variables), &[]).acceptor().await.unwrap().is_none());
}
