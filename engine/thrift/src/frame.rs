//! Messages out of a stream of bytes: the length in front of each, without trust in it.
//!
//! ```text
//!   | length | message | length | mess…
//!             └ taken out as it lies: it can be the base of a batch
//! ```
//!
//! Room grows with what has arrived, or to what the connection's last message had. What is held and what is wanted are
//! together all that is allocated, so that whoever counts them counts the memory.

use bytes::{Bytes, BytesMut};

use crate::Malformed;

/// The longest frame that Flume's own ends take in where nobody told them otherwise.
pub const FLUME_MAX: usize = 16_384_000;

/// Bytes of the length.
pub const HEAD_BYTES: usize = 4;

/// The length that stands in front of a frame, which may be `most`. Where it is none, the error says what the other end seems
/// to speak.
pub fn length(head: [u8; HEAD_BYTES], most: usize) -> Result<usize, Malformed> {
    let wrong = |what: String| Err(Malformed { what: what.into(), at: 0 });
    let announced = i32::from_be_bytes(head);
    match usize::try_from(announced) {
        Ok(length) if (1..=most).contains(&length) => Ok(length),
        _ => match guess(head) {
            Some(guess) => wrong(format!("no frame: {guess}")),
            None => wrong(format!("a frame of {announced} bytes is announced, 1 to {most} are taken in")),
        },
    }
}

/// Room for the next read while nothing of a message is there: thousands of quiet connections must not hold large buffers.
const QUIET: usize = 1 << 10;
/// A message so large is believed to come again, and no larger one.
const TRUST_MAX: usize = 1 << 20;

/// Finds the messages in what arrives. The caller reads into [`buffer`](Self::buffer), then asks for [`pop`](Self::pop).
#[derive(Debug)]
pub struct Frames {
    buffer: BytesMut,
    longest: usize,
    /// Bytes of the last frame, as far as they are believed to come again.
    last: usize,
    /// The buffer lies in the memory of a message that was handed out.
    is_shared: bool,
}

impl Frames {
    /// Nothing has arrived; messages may have up to `longest` bytes.
    pub fn new(longest: usize) -> Self {
        Self { buffer: BytesMut::new(), longest, last: QUIET, is_shared: false }
    }

    /// How many bytes have arrived of a message that is not whole.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// How many bytes the next read has room for, beside those that are held.
    pub fn wanted(&self) -> usize {
        let held = self.buffer.len();
        let there = self.buffer.capacity() - held;
        let (expected, growth) = match self.announced() {
            Some(Ok(length)) => {
                let expected = (HEAD_BYTES + length).saturating_sub(held).max(1);
                (expected, expected.min(held.max(self.last.saturating_sub(held)).max(QUIET)))
            }
            Some(Err(_)) | None => (HEAD_BYTES, QUIET),
        };
        if there >= expected.min(QUIET) { there } else { growth }
    }

    /// Where the next bytes are read to, with exactly as much room as is [`wanted`](Self::wanted).
    pub fn buffer(&mut self) -> &mut BytesMut {
        let room = self.buffer.len() + self.wanted();
        if room > self.buffer.capacity() {
            self.renew(room);
        }
        &mut self.buffer
    }

    /// Gives what is held memory of its own, of that size.
    fn renew(&mut self, room: usize) {
        let mut own = BytesMut::with_capacity(room);
        own.extend_from_slice(&self.buffer);
        self.buffer = own;
        self.is_shared = false;
    }

    /// The next message, if it is there as a whole. After an error nothing that follows means anything.
    pub fn pop(&mut self) -> Result<Option<Bytes>, Malformed> {
        let frame = self.whole()?;
        if frame.is_none() && self.is_shared {
            // A few bytes of the next message would keep all of the last one's memory for as long as the client likes.
            self.renew(self.buffer.len());
        }
        Ok(frame)
    }

    fn whole(&mut self) -> Result<Option<Bytes>, Malformed> {
        let Some(length) = self.announced().transpose()? else { return Ok(None) };
        if self.buffer.len() < HEAD_BYTES + length {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(HEAD_BYTES + length).freeze();
        self.is_shared = !self.buffer.is_empty();
        if self.buffer.is_empty() {
            // What is left of the allocation would keep it alive for as long as the client is quiet.
            self.buffer = BytesMut::new();
        }
        self.last = frame.len().min(TRUST_MAX);
        Ok(Some(frame.split_off(HEAD_BYTES)))
    }

    fn announced(&self) -> Option<Result<usize, Malformed>> {
        self.buffer.first_chunk().map(|head| length(*head, self.longest))
    }
}

fn guess(head: [u8; HEAD_BYTES]) -> Option<&'static str> {
    match head {
        [0x16, 3, ..] => Some("this is TLS, and `ssl` is not set here"),
        [0x80, 1, 0, _] | [0x82, 0x21 | 0x81, ..] => {
            Some("this is Thrift without framing, which Flume does not speak")
        }
        [b'G', b'E', b'T', b' '] | [b'P', b'O', b'S', b'T'] => Some("this is HTTP"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(messages: &[&[u8]]) -> Vec<u8> {
        messages
            .iter()
            .flat_map(|message| [&(message.len() as u32).to_be_bytes(), *message].concat())
            .collect()
    }

    #[test]
    fn messages_are_found_wherever_reads_cut_them() {
        let long = vec![7; 10_000];
        let messages: [&[u8]; 4] = [b"one", b"2", &long, b"four"];
        let stream = framed(&messages);
        for piece in [1, 2, 3, 5, 64, 4096, stream.len()] {
            let (mut frames, mut found) = (Frames::new(10_000), Vec::new());
            for bytes in stream.chunks(piece) {
                frames.buffer().extend_from_slice(bytes);
                while let Some(message) = frames.pop().unwrap() {
                    found.push(message);
                }
            }
            assert!(found == messages, "{piece}");
            assert_eq!(frames.held(), 0);
        }
    }

    #[test]
    fn room_grows_with_what_has_arrived_whatever_is_announced() {
        let mut frames = Frames::new(1 << 30);
        assert_eq!(frames.wanted(), QUIET);
        frames.buffer().extend_from_slice(&[0x3f, 0xff, 0xff, 0xff]);
        assert_eq!(frames.pop(), Ok(None));
        for _ in 0..12 {
            let (held, wanted) = (frames.held(), frames.wanted());
            assert!(wanted <= held.max(QUIET), "{wanted} for {held}");
            frames.buffer().extend_from_slice(&vec![0; wanted]);
            assert_eq!(frames.pop(), Ok(None));
        }
        let mut frames = Frames::new(1 << 30);
        frames.buffer().extend_from_slice(&framed(&[&[1; 5000]]));
        assert!(frames.pop().unwrap().is_some());
        frames.buffer().extend_from_slice(&5000u32.to_be_bytes());
        assert_eq!(frames.wanted(), 5000, "as the last one had");
    }

    #[test]
    fn the_beginning_of_a_message_does_not_keep_the_memory_of_the_one_before() {
        let mut frames = Frames::new(1 << 30);
        frames.buffer().extend_from_slice(&framed(&[&[7; 700_000][..], b"next"])[..700_010]);
        let whole = frames.pop().unwrap().unwrap();
        assert_eq!((frames.pop(), frames.held()), (Ok(None), 2 + HEAD_BYTES));
        let counted = frames.held() + frames.wanted();
        assert!(frames.buffer().capacity() <= counted, "{} of {counted}", frames.buffer().capacity());
        assert!(!whole.as_ptr_range().contains(&frames.buffer.as_ptr()) && whole.is_unique());
    }

    #[test]
    fn a_length_is_taken_within_its_bounds() {
        assert_eq!(length([0, 0, 0, 1], 10), Ok(1));
        assert_eq!(length([0, 0, 0, 10], 10), Ok(10));
        for head in [[0; 4], [0, 0, 0, 11], [0x7f, 0xff, 0xff, 0xff], [0xff; 4]] {
            let said = length(head, 10).unwrap_err().to_string();
            assert!(said.contains("1 to 10 are taken in"), "{said}");
        }
    }

    #[test]
    fn who_speaks_something_else_is_told_what() {
        for (head, word) in [
            ([0x16, 3, 1, 2], "TLS"),
            ([0x80, 1, 0, 1], "without framing"),
            ([0x82, 0x21, 1, 6], "without framing"),
            (*b"GET ", "HTTP"),
        ] {
            let said = length(head, 1000).unwrap_err().to_string();
            assert!(said.contains(word), "{said}");
        }
    }
}
