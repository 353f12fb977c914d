//! A client that speaks TLS and believes everybody.

use flumen_api::settings::{ComponentConfig, Kind, Problems};
use flumen_tls::ClientTls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::PATIENCE;

/// A key store of the tests of `flumen-tls`; its password is `changeit`.
pub fn fixture(name: &str) -> String {
    format!("{}/engine/tls/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Sends all, says that this was all, and returns what is answered.
pub fn talk(port: u16, bytes: &[u8]) -> Vec<u8> {
    let keys = ComponentConfig::of(Kind::Sink, "client", &[("ssl", "true"), ("trust-all-certs", "true")]);
    let tls = ClientTls::load(&keys, &mut Problems::default()).unwrap();
    let talk = async {
        let connector = tls.connector().await.unwrap().unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _may_end_without_a_word = stream.read_to_end(&mut answer).await;
        answer
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(PATIENCE, talk).await.unwrap() })
}
