//! TLS for sources that listen and sinks that connect: Flume's keys, Java's key stores, one implementation (rustls).
//!
//! ```text
//!   component's key      keystore, keystore-password, …       wins over
//!   -D…                  javax.net.ssl.keyStore, …            wins over
//!   environment          FLUME_SSL_KEYSTORE_PATH, …
//!          │
//!          v
//!   key store file ──(its first bytes say what it is)──> JKS | PKCS12 | PEM ──> certificates and private key
//!   protocols, cipher suites: what is spoken here, narrowed by include and exclude lists
//!          │
//!          v
//!   ServerTls::acceptor          ClientTls::connector          PemStores: for a library with a TLS of its own
//! ```
//!
//! Spoken are TLS 1.2 and 1.3. Building from keys touches no file; files are read when the component starts, so that a
//! start after a certificate was renewed takes the new one. Passwords and private keys never reach a log: [`Secret`]
//! prints nothing of itself.

mod client;
mod defaults;
mod ec;
mod jks;
mod offer;
mod pem;
mod pkcs12;
mod secret;
mod server;
mod store;

pub use client::{ClientKeys, ClientTls};
pub use pem::{PemIdentity, PemStores};
pub use secret::Secret;
pub use server::{ServerKeys, ServerTls};
pub use tokio_rustls::{
    TlsAcceptor, TlsConnector, client::TlsStream as ClientStream, server::TlsStream as ServerStream,
};

use std::path::PathBuf;

/// Why TLS cannot be set up. Names the file; never shows a password.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {cause}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A file is not what it should be, or the password is wrong.
    #[error("{path}: {reason}")]
    Store {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// What the files hold does not make a working TLS end.
    #[error("{what}: {cause}")]
    Setup {
        /// What was set up.
        what: String,
        /// Why it does not work.
        cause: rustls::Error,
    },
    /// Another reason.
    #[error("{0}")]
    Other(String),
}
