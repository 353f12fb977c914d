//! A connection's bytes, in the clear, through TLS, or through whatever layers.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use flumen_tls::ServerStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A client's connection.
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<ServerStream<TcpStream>>),
    /// Compressed, with or without TLS.
    Layered(flumen_avro_rpc::connect::Stream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Layered(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Layered(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Layered(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Layered(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// Reads as much at a time as a client sends: thousands of quiet ones must not hold large buffers.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    bytes: Vec<u8>,
    least: usize,
}

const LARGEST: usize = 64 << 10;

impl ReadBuffer {
    /// Begins with `least` bytes.
    pub fn new(least: usize) -> Self {
        Self { bytes: vec![0; least.min(LARGEST)], least: least.min(LARGEST) }
    }

    /// What has arrived; nothing at the end of the stream.
    pub async fn read(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> io::Result<&[u8]> {
        let read = stream.read(&mut self.bytes).await?;
        if read == self.bytes.len() && read < LARGEST {
            self.bytes.resize((2 * read).min(LARGEST), 0);
        } else if read < self.bytes.len() / 4 && self.bytes.len() > self.least {
            let smaller = (self.bytes.len() / 2).max(self.least);
            self.bytes.truncate(smaller);
            self.bytes.shrink_to_fit();
        }
        Ok(&self.bytes[..read])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_buffer_grows_with_what_arrives_and_shrinks_again() {
        let mut buffer = ReadBuffer::new(512);
        let flood = vec![7_u8; 1 << 20];
        let mut stream = flood.as_slice();
        let mut total = 0;
        loop {
            match buffer.read(&mut stream).await.unwrap().len() {
                0 => break,
                read => total += read,
            }
        }
        assert_eq!(total, flood.len());
        for _ in 0..20 {
            assert_eq!(buffer.read(&mut &b"a few"[..]).await.unwrap(), b"a few");
        }
        assert_eq!(buffer.bytes.len(), 512);
    }
}
