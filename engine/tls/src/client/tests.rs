use flumen_api::settings::Kind;

use super::*;
use crate::ServerTls;

fn fixture(name: &str) -> String {
    format!("{}/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn client(pairs: &[(&str, &str)]) -> ClientTls {
    let config = ComponentConfig::of(Kind::Sink, "k1", pairs);
    let mut problems = Problems::default();
    ClientTls::load(&config, &mut problems).unwrap_or_else(|| panic!("{problems:?}"))
}

/// Whether a client takes the server with the self-signed `rsa.jks`, asked for by this name.
async fn believes(pairs: &[(&str, &str)], name: &'static str) -> Result<(), String> {
    meets("rsa.jks", pairs, name).await
}

async fn meets(store: &str, pairs: &[(&str, &str)], name: &'static str) -> Result<(), String> {
    let keys = [("ssl", "true"), ("keystore", &fixture(store)), ("keystore-password", "changeit")];
    let config = ComponentConfig::of(Kind::Source, "r1", &keys);
    let server = ServerTls::load(&config, &mut Problems::default()).unwrap();
    let acceptor = server.acceptor().await.unwrap().unwrap();
    let connector = client(pairs).connector().await.map_err(|error| error.to_string())?.unwrap();
    let (here, there) = tokio::io::duplex(1 << 14);
    let accepted = acceptor.accept(there);
    let connected = connector.connect(ServerName::try_from(name).unwrap(), here);
    let (connected, _accepted) = tokio::join!(connected, accepted);
    connected.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn whom_the_trust_store_names_is_believed_under_any_name() {
    let store = |name: &str| {
        [("ssl", "true".into()), ("truststore", fixture(name)), ("truststore-password", "changeit".into())]
    };
    for name in ["trust.jks", "trust.p12"] {
        let keys = store(name);
        let keys = keys.each_ref().map(|(key, value): &(&str, String)| (*key, value.as_str()));
        believes(&keys, "elsewhere.test").await.unwrap_or_else(|why| panic!("{name}: {why}"));
        let asked = [&keys[..], &[("verify-hostname", "true")]].concat();
        assert!(believes(&asked, "elsewhere.test").await.is_err(), "{name}");
    }
    let other = fixture("cert.pem");
    let error = believes(&[("ssl", "true"), ("truststore", &other)], "flumen.test").await.unwrap_err();
    assert!(error.contains("certificate"), "{error}");
    believes(&[("ssl", "true"), ("trust-all-certs", "true")], "elsewhere.test").await.unwrap();
}

#[tokio::test]
async fn a_store_that_names_nobody_is_an_error() {
    let store = fixture("rsa.jks");
    let keys = [("ssl", "true"), ("truststore", store.as_str()), ("truststore-password", "changeit")];
    let error = believes(&keys, "x.test").await.unwrap_err();
    assert!(error.contains("no certificate of an authority") && error.contains(&store), "{error}");
    assert!(client(&[]).connector().await.unwrap().is_none());
}

#[tokio::test]
async fn whoever_an_authority_of_the_store_signed_for_is_believed_under_any_name() {
    let authority = fixture("ca.pem");
    let keys = [("ssl", "true"), ("truststore", authority.as_str())];
    meets("signed.p12", &keys, "elsewhere.test").await.unwrap();
    let asked = [&keys[..], &[("verify-hostname", "true")]].concat();
    meets("signed.p12", &asked, "flumen.test").await.unwrap();
    let error = meets("signed.p12", &asked, "elsewhere.test").await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");
    assert!(meets("rsa.jks", &keys, "flumen.test").await.is_err());
}
