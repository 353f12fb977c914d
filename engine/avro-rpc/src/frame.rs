//! Messages out of a stream of bytes, and into one.
//!
//! ```text
//!   | serial | count = 3 | len | first part | len | second part | len | third part | serial | …
//!                              └─ stays ──────┐ └─ moves down ┐
//!   the payload in one piece:  | first part    second part     third part |
//! ```
//!
//! The parts are joined where they were read, so that the payload can be the base of a batch; a message of one part, as
//! Flumen sends them, is not moved at all. No length is believed: room grows with what has arrived, or to what earlier
//! messages of the same connection had. What is held and what is wanted are together all that is allocated, so that whoever
//! counts them counts the memory.

use bytes::{Bytes, BytesMut};

use crate::Malformed;

/// Serial and count.
const HEAD: usize = 8;
/// Where the first part begins.
const PAYLOAD: usize = HEAD + 4;
/// Room for the next read while nothing of a message is there: thousands of quiet connections must not hold large buffers.
const QUIET: usize = 1 << 10;
/// The same while small messages arrive one behind the other.
const BUSY: usize = 16 << 10;
/// A message so large is believed to come again, and no larger one.
const TRUST_MAX: usize = 1 << 20;
/// Java cuts payloads into pieces of 8 KiB, or more where an event is larger; one byte in so many may begin a part.
const PART_LEAST: usize = 256;

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Which request it is, or answers.
    pub serial: u32,
    /// The parts, joined.
    pub payload: Bytes,
}

/// At most so many bytes are taken for one message, if payloads may have `longest` bytes.
pub fn room_max(longest: usize) -> usize {
    HEAD + 4 * parts_max(longest) + longest
}

fn parts_max(longest: usize) -> usize {
    16 + longest / PART_LEAST
}

/// Finds the messages in what arrives. The caller reads into [`buffer`](Self::buffer), then asks for [`pop`](Self::pop).
#[derive(Debug)]
pub struct Frames {
    buffer: BytesMut,
    open: Option<Open>,
    /// Longest payload.
    longest: usize,
    /// Bytes of the last message, as far as they are believed to come again.
    last: usize,
    quiet: usize,
    /// The buffer lies in the memory of a message that was handed out.
    is_shared: bool,
}

/// A message whose head is there.
#[derive(Debug)]
struct Open {
    serial: u32,
    /// Parts whose length has not come.
    parts: usize,
    /// Bytes of the present part that have not come.
    part: usize,
    /// Bytes of the longest message of so many parts.
    most: usize,
    /// Bytes of the payload that are in their place.
    joined: usize,
    /// Up to where the buffer was looked at.
    at: usize,
}

impl Frames {
    /// Nothing has arrived; payloads may have up to `longest` bytes.
    pub fn new(longest: usize) -> Self {
        Self { buffer: BytesMut::new(), open: None, longest, last: 0, quiet: QUIET, is_shared: false }
    }

    /// Whether part of a message has arrived.
    pub fn is_within(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// How many bytes have arrived of a message that is not whole.
    pub fn held(&self) -> usize {
        self.buffer.len()
    }

    /// How many bytes the next read has room for, beside those that are held.
    pub fn wanted(&self) -> usize {
        let held = self.buffer.len();
        let there = self.buffer.capacity() - held;
        let expected = match &self.open {
            None => PAYLOAD,
            Some(open) if open.parts == 0 => open.part.max(1),
            // Parts of unknown lengths follow.
            Some(open) => open.most.saturating_sub(held).max(1),
        };
        match &self.open {
            _ if there >= expected.min(QUIET) => there,
            None => self.quiet,
            Some(_) => expected.min(held.max(self.last.saturating_sub(held)).max(QUIET)),
        }
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

    /// The next message, if it is there as a whole.
    pub fn pop(&mut self) -> Result<Option<Frame>, Malformed> {
        let frame = self.whole()?;
        if frame.is_none() && self.is_shared {
            // A few bytes of the next message would keep all of the last one's memory for as long as the client likes.
            self.renew(self.buffer.len());
        }
        Ok(frame)
    }

    fn whole(&mut self) -> Result<Option<Frame>, Malformed> {
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let Some((head, _)) = self.buffer.split_first_chunk::<HEAD>() else { return Ok(None) };
                let [a, b, c, d, e, f, g, h] = *head;
                let count = u32::from_be_bytes([e, f, g, h]) as usize;
                if count == 0 || count > parts_max(self.longest) {
                    return Err(Malformed::new(format!("a message of {count} parts"), 4));
                }
                let serial = u32::from_be_bytes([a, b, c, d]);
                let most = HEAD + 4 * count + self.longest;
                self.open.insert(Open { serial, parts: count, part: 0, most, joined: 0, at: HEAD })
            }
        };
        loop {
            let there = open.part.min(self.buffer.len() - open.at);
            if there > 0 {
                let place = PAYLOAD + open.joined;
                if place != open.at {
                    self.buffer.copy_within(open.at..open.at + there, place);
                }
                open.joined += there;
                open.at += there;
                open.part -= there;
            }
            if open.part > 0 {
                return Ok(None);
            }
            if open.parts == 0 {
                break;
            }
            let Some(length) = self.buffer.get(open.at..).and_then(<[u8]>::first_chunk::<4>) else {
                return Ok(None);
            };
            let length = u32::from_be_bytes(*length) as usize;
            if length > self.longest - open.joined {
                let what =
                    format!("a message of more than {} bytes: a part of {length} is announced", self.longest);
                return Err(Malformed::new(what, open.at));
            }
            open.parts -= 1;
            open.part = length;
            open.at += 4;
        }
        let (serial, joined, at) = (open.serial, open.joined, open.at);
        self.open = None;
        self.last = at.min(TRUST_MAX);
        // What is behind a message shares its memory, unless there is nothing: then the buffer is let go of.
        self.is_shared = at < self.buffer.len();
        let rest = if self.is_shared { self.buffer.split_off(at) } else { BytesMut::new() };
        self.quiet = if rest.is_empty() { QUIET } else { BUSY };
        let mut whole = std::mem::replace(&mut self.buffer, rest);
        whole.truncate(PAYLOAD + joined);
        Ok(Some(Frame { serial, payload: whole.freeze().slice(PAYLOAD..) }))
    }
}

/// Begins a message of one part at the end of `out`; [`end`] completes it.
pub(crate) fn begin(out: &mut Vec<u8>, serial: u32) -> usize {
    let start = out.len();
    out.extend_from_slice(&serial.to_be_bytes());
    out.extend_from_slice(&1_u32.to_be_bytes());
    out.extend_from_slice(&[0; 4]);
    start
}

/// Writes the length of the message that [`begin`] has begun at `start`.
pub(crate) fn end(out: &mut [u8], start: usize) {
    let length = (out.len() - start - PAYLOAD) as u32;
    out[start + HEAD..start + PAYLOAD].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(serial: u32, parts: &[&[u8]]) -> Vec<u8> {
        let mut bytes = serial.to_be_bytes().to_vec();
        bytes.extend_from_slice(&(parts.len() as u32).to_be_bytes());
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u32).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }

    /// All messages of `bytes`, which arrive in pieces of these sizes, over and over.
    fn messages(bytes: &[u8], pieces: &[usize]) -> Result<Vec<Frame>, Malformed> {
        let mut frames = Frames::new(1 << 20);
        let (mut found, mut left, mut pieces) = (Vec::new(), bytes, pieces.iter().cycle());
        while !left.is_empty() {
            let piece = (*pieces.next().unwrap()).clamp(1, left.len());
            let buffer = frames.buffer();
            let piece = piece.min(buffer.capacity() - buffer.len());
            buffer.extend_from_slice(&left[..piece]);
            left = &left[piece..];
            while let Some(frame) = frames.pop()? {
                found.push(frame);
            }
        }
        assert!(!frames.is_within(), "{frames:?}");
        Ok(found)
    }

    #[test]
    fn what_is_written_is_one_part() {
        let mut out = b"before".to_vec();
        let start = begin(&mut out, 7);
        out.extend_from_slice(b"payload");
        end(&mut out, start);
        assert_eq!(out[6..], message(7, &[b"payload"]));
    }

    proptest! {
        #[test]
        fn messages_in_any_parts_and_any_pieces_are_found(
            parts in prop::collection::vec(prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 1..6), 1..6),
            pieces in prop::collection::vec(1_usize..5000, 1..6),
        ) {
            let mut bytes = Vec::new();
            for (serial, parts) in (0..).zip(&parts) {
                bytes.extend(message(serial, &parts.iter().map(Vec::as_slice).collect::<Vec<_>>()));
            }
            let found = messages(&bytes, &pieces).unwrap();
            prop_assert_eq!(found.len(), parts.len());
            for ((serial, parts), frame) in (0..).zip(&parts).zip(found) {
                prop_assert_eq!(frame.serial, serial);
                prop_assert_eq!(&frame.payload[..], &parts.concat()[..]);
            }
        }
    }

    #[test]
    fn a_length_is_not_believed_before_its_bytes_are_there() {
        let mut frames = Frames::new(1 << 30);
        let mut head = message(1, &[]);
        head[7] = 1;
        head.extend_from_slice(&(1_u32 << 29).to_be_bytes());
        frames.buffer().extend_from_slice(&head);
        assert_eq!(frames.pop(), Ok(None));
        let buffer = frames.buffer();
        assert!(buffer.capacity() < 4 << 10, "{}", buffer.capacity());
        for _ in 0..100 {
            frames.buffer().extend_from_slice(&[0; 1000]);
            assert_eq!(frames.pop(), Ok(None));
            let held = frames.held();
            assert!(frames.buffer().capacity() <= 4 * held + (4 << 10));
        }
    }

    #[test]
    fn what_is_held_and_wanted_is_all_that_is_allocated_also_behind_a_large_message() {
        let mut frames = Frames::new(1 << 30);
        let is_counted = |frames: &mut Frames| {
            let counted = frames.held() + frames.wanted();
            assert!(frames.buffer().capacity() <= counted, "{} of {counted}", frames.buffer().capacity());
        };
        let mut head = message(1, &[]);
        head[7] = 1;
        head.extend_from_slice(&(1_u32 << 29).to_be_bytes());
        frames.buffer().extend_from_slice(&head);
        for _ in 0..1000 {
            assert_eq!(frames.pop(), Ok(None));
            is_counted(&mut frames);
            frames.buffer().extend_from_slice(&[0; 997]);
        }
        // Two parts, so that the end is not known when it is read, and a beginning behind it.
        let mut frames = Frames::new(1 << 30);
        let bytes = [message(1, &[&[7; 700_000], &[7; 100]]), head].concat();
        let mut left = &bytes[..];
        let mut whole = None;
        while !left.is_empty() {
            let buffer = frames.buffer();
            let piece = left.len().min(buffer.capacity() - buffer.len());
            buffer.extend_from_slice(&left[..piece]);
            left = &left[piece..];
            whole = whole.or(frames.pop().unwrap());
        }
        assert_eq!((frames.pop(), frames.held()), (Ok(None), PAYLOAD));
        is_counted(&mut frames);
        let whole = whole.unwrap().payload;
        assert!(!whole.as_ptr_range().contains(&frames.buffer.as_ptr()) && whole.is_unique());
    }

    #[test]
    fn what_can_be_no_message_is_refused_at_once() {
        let refused = |bytes: &[u8]| {
            let mut frames = Frames::new(1 << 20);
            frames.buffer().extend_from_slice(bytes);
            frames.pop().unwrap_err().to_string()
        };
        assert_eq!(refused(&message(1, &[])), "a message of 0 parts at byte 4");
        assert_eq!(refused(b"GET / HTTP/1.1\r\n"), "a message of 790644820 parts at byte 4");
        let mut long = message(1, &[b"a"]);
        long.extend_from_slice(&[0, 0, 0]);
        long[7] = 2;
        long[9] = 0x7f;
        assert!(refused(&long).contains("a message of more than 1048576 bytes"));
    }

    #[test]
    fn a_buffer_that_was_large_is_let_go_of_when_nothing_is_left_in_it() {
        let mut frames = Frames::new(1 << 20);
        let bytes = message(1, &[&[7; 100_000]]);
        let mut left = &bytes[..];
        while !left.is_empty() {
            let buffer = frames.buffer();
            let piece = left.len().min(buffer.capacity() - buffer.len());
            buffer.extend_from_slice(&left[..piece]);
            left = &left[piece..];
            drop(frames.pop().unwrap());
        }
        assert_eq!(frames.buffer.capacity(), 0);
        assert_eq!(frames.wanted(), QUIET);
    }
}
