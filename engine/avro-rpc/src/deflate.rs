//! Compression of a connection: one zlib stream each way, for as long as the connection lives.
//!
//! ```text
//!   write(bytes) ──> deflate ──> output ──> connection        flush: a sync flush, so that the peer can read all of it
//!   read(bytes)  <── inflate <── input  <── connection        as much as the caller has room for, and no more
//! ```
//!
//! Nothing is kept beyond a piece of input and of output, so a small message that would swell to gigabytes is met by the
//! bounds of whoever reads. The states, some hundred KiB, are made with the first byte: who only connects has none.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Input that is read at a time; the first read is small.
const INPUT: usize = 16 << 10;
const INPUT_FIRST: usize = 64;
/// Output that is written at a time.
const OUTPUT: usize = 64 << 10;

/// A connection whose bytes are compressed.
pub struct Deflated<S> {
    inner: S,
    level: Compression,
    inflate: Option<Decompress>,
    input: Vec<u8>,
    /// What of the input has not been inflated.
    unread: std::ops::Range<usize>,
    /// The last inflating filled all the room it had: there may be more without more input.
    may_have_more: bool,
    /// The peer ended its stream.
    ended: bool,
    deflate: Option<Compress>,
    output: Vec<u8>,
    written: usize,
    /// Something was deflated that was not flushed.
    dirty: bool,
}

impl<S> Deflated<S> {
    /// Over `inner`, compressing with `level`, 0 to 9.
    pub fn new(inner: S, level: u32) -> Self {
        Self {
            inner,
            level: Compression::new(level.min(9)),
            inflate: None,
            input: Vec::new(),
            unread: 0..0,
            may_have_more: false,
            ended: false,
            deflate: None,
            output: Vec::new(),
            written: 0,
            dirty: false,
        }
    }

    /// Inflates into `buf` what is there; how many bytes that gave.
    fn inflate(&mut self, buf: &mut ReadBuf<'_>) -> io::Result<usize> {
        let inflate = self.inflate.get_or_insert_with(|| Decompress::new(true));
        let room = buf.remaining().min(OUTPUT);
        let out = buf.initialize_unfilled_to(room);
        let (read, got) = (inflate.total_in(), inflate.total_out());
        let status = inflate.decompress(&self.input[self.unread.clone()], out, FlushDecompress::None);
        let status = status.map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("what arrives is not compressed with deflate: {error}"),
            )
        })?;
        let (read, got) = ((inflate.total_in() - read) as usize, (inflate.total_out() - got) as usize);
        buf.advance(got);
        self.unread.start += read;
        self.may_have_more = got == room;
        self.ended |= status == Status::StreamEnd;
        if read == 0 && got == 0 && !self.unread.is_empty() && !self.ended {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "what arrives cannot be inflated"));
        }
        Ok(got)
    }
}

impl<S: AsyncWrite + Unpin> Deflated<S> {
    /// Deflates what is given, or with `Sync` all that is held back, once there is room for it.
    fn deflate(&mut self, bytes: &[u8], flush: FlushCompress) -> io::Result<usize> {
        let level = self.level;
        let deflate = self.deflate.get_or_insert_with(|| Compress::new(level, true));
        let before = deflate.total_in();
        let mut left = bytes;
        loop {
            self.output.reserve(OUTPUT / 2);
            let at = deflate.total_in();
            deflate.compress_vec(left, &mut self.output, flush).map_err(io::Error::other)?;
            left = &left[(deflate.total_in() - at) as usize..];
            // Room that is left over says that nothing is held back that could go.
            let is_done = self.output.len() < self.output.capacity();
            if is_done || (matches!(flush, FlushCompress::None) && self.output.len() >= OUTPUT) {
                return Ok((deflate.total_in() - before) as usize);
            }
        }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.output.len() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.output[self.written..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
        }
        self.written = 0;
        self.output.clear();
        // A large message leaves no large buffer behind.
        self.output.shrink_to(OUTPUT);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Deflated<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if (!this.unread.is_empty() || this.may_have_more) && !this.ended && this.inflate(buf)? > 0 {
                return Poll::Ready(Ok(()));
            }
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            if !this.unread.is_empty() {
                continue;
            }
            let wanted = if this.inflate.is_some() { INPUT } else { INPUT_FIRST };
            this.input.resize(wanted, 0);
            let mut input = ReadBuf::new(&mut this.input);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut input))?;
            let length = input.filled().len();
            this.unread = 0..length;
            if length == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Deflated<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.output.len() - this.written >= OUTPUT {
            ready!(this.poll_drain(cx))?;
        }
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.dirty = true;
        Poll::Ready(this.deflate(bytes, FlushCompress::None))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.dirty {
            this.deflate(&[], FlushCompress::Sync)?;
            this.dirty = false;
        }
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Bytes that hardly shrink.
    fn noise(length: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let next = |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        };
        (0..length).map(next).collect()
    }

    #[tokio::test]
    async fn what_is_flushed_can_be_read_at_once_and_whole_streams_arrive() {
        let (here, there) = tokio::io::duplex(1000);
        let (mut here, mut there) = (Deflated::new(here, 6), Deflated::new(there, 0));
        let large = [noise(300_000), vec![7; 3_000_000], noise(5)].concat();
        let sender = async {
            here.write_all(b"hello").await.unwrap();
            here.flush().await.unwrap();
            let mut answer = [0; 3];
            here.read_exact(&mut answer).await.unwrap();
            assert_eq!(&answer, b"you");
            here.write_all(&large).await.unwrap();
            here.shutdown().await.unwrap();
        };
        let receiver = async {
            let mut word = [0; 5];
            there.read_exact(&mut word).await.unwrap();
            there.write_all(b"you").await.unwrap();
            there.flush().await.unwrap();
            let mut all = Vec::new();
            there.read_to_end(&mut all).await.unwrap();
            all
        };
        let ((), all) = tokio::join!(sender, receiver);
        assert!(all == large, "{} of {} bytes", all.len(), large.len());
    }

    #[tokio::test]
    async fn bytes_that_are_not_compressed_are_an_error() {
        for garbage in
            [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &noise(5000), &[0x78, 0x9c, 0xff, 0xff, 0xff, 0xff]]
        {
            let mut stream = Deflated::new(std::io::Cursor::new(garbage.to_vec()), 6);
            let mut all = Vec::new();
            let error = stream.read_to_end(&mut all).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
        }
    }

    #[tokio::test]
    async fn who_says_nothing_costs_nothing() {
        let (here, _there) = tokio::io::duplex(1000);
        let mut stream = Deflated::new(here, 6);
        let waits = tokio::time::timeout(std::time::Duration::from_millis(10), stream.read_u8()).await;
        assert!(waits.is_err());
        assert!(stream.inflate.is_none() && stream.deflate.is_none() && stream.input.len() <= INPUT_FIRST);
    }
}
