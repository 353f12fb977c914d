use flumen_api::settings::{ComponentConfig, Kind, Problems};
use flumen_tls::ServerTls;
use tokio::io::AsyncReadExt;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::FakeEngine;

async fn acceptor() -> Option<TlsAcceptor> {
    let store = concat!(env!("CARGO_MANIFEST_DIR"), "/../engine/tls/fixtures/rsa.jks");
    let keys = [("ssl", "true"), ("keystore", store), ("keystore-password", "changeit")];
    let keys = ComponentConfig::of(Kind::Source, "r1", &keys);
    ServerTls::load(&keys, &mut Problems::default()).unwrap().acceptor().await.unwrap()
}

/// A server with these layers, and what came of its first client's socket.
async fn serving(
    tls: Option<TlsAcceptor>,
    deflates: bool,
) -> (SocketAddr, tokio::sync::mpsc::Receiver<bool>) {
    let listener = bind_tcp(Some("127.0.0.1"), 0).await.unwrap();
    let address = listener.local_addr().unwrap();
    let context = FakeEngine::new().context(&CancellationToken::new());
    let (clients, looked_at) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        let client = move |connection: Connection| {
            if let Stream::Plain(stream) = &connection.stream {
                clients.try_send(rustix::net::sockopt::socket_keepalive(stream).unwrap()).unwrap();
            }
            async { Ok(()) }
        };
        Server::new(context, tls, 10).deflated(deflates).serve(listener, client).await;
    });
    (address, looked_at)
}

#[tokio::test(start_paused = true)]
async fn who_does_not_shake_hands_is_let_go() {
    for deflates in [false, true] {
        let (address, _) = serving(acceptor().await, deflates).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let begun = tokio::time::Instant::now();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(begun.elapsed().as_secs(), HANDSHAKE_MAX.as_secs());
    }
}

#[tokio::test]
async fn the_system_finds_out_who_vanished() {
    let (address, mut looked_at) = serving(None, false).await;
    let _client = TcpStream::connect(address).await.unwrap();
    assert_eq!(looked_at.recv().await, Some(true));
}
