//! The asking end: messages that ask, and what their answers say.
//!
//! The handshake is a message of its own that asks for nothing, so that its answer is there before the first events go.
//! It begins with the hash of Flume's own protocol, which every Flume of today knows; who does not is told ours.

use flumen_api::event::EventRef;

use crate::events::Writer;
use crate::frame;
use crate::input::Input;
use crate::output::{put_bytes, put_long, put_meta};
use crate::protocol::{self, Hash};
use crate::{Malformed, Status};

/// What a handshake was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Greeted {
    /// Both ends know each other.
    Known {
        /// The server takes calls in in the order in which they are sent; one of Flume's may not.
        is_ordered: bool,
    },
    /// The server wants to be told the protocol, and has this one.
    TellProtocol(Hash),
}

/// Appends a message that is only a handshake. `server` is the server's hash, once it has told that.
pub fn put_greeting(out: &mut Vec<u8>, serial: u32, server: Option<Hash>) {
    let start = frame::begin(out, serial);
    match server {
        None => {
            out.extend_from_slice(&protocol::FLUME);
            put_long(out, 0);
            out.extend_from_slice(&protocol::FLUME);
        }
        Some(hash) => {
            out.extend_from_slice(&protocol::OURS);
            put_long(out, 1);
            put_bytes(out, protocol::TEXT.as_bytes());
            out.extend_from_slice(&hash);
        }
    }
    put_meta(out, true);
    // No meta data of the call, and no name.
    out.extend_from_slice(&[0, 0]);
    frame::end(out, start);
}

/// Reads the answer to a handshake.
pub fn read_greeting(payload: &[u8]) -> Result<Greeted, Malformed> {
    let mut input = Input::new(payload);
    let which = input.long()?;
    let text = if input.is_some()? { Some(input.bytes()?) } else { None };
    let hash = if input.is_some()? { Some(input.hash()?) } else { None };
    let is_ordered = input.is_some()? && input.map_has(protocol::ORDERED)?;
    if let Some(text) = text {
        protocol::check(text)
            .map_err(|why| input.error(format!("the server's protocol is not Flume's: {why}")))?;
    }
    match (which, hash) {
        (0 | 1, _) => Ok(Greeted::Known { is_ordered }),
        (2, Some(hash)) => Ok(Greeted::TellProtocol(hash)),
        _ => Err(input.error(format!("a handshake's answer of kind {which}"))),
    }
}

/// Appends a call of `appendBatch`.
pub fn put_batch<'a>(
    out: &mut Vec<u8>,
    serial: u32,
    count: usize,
    events: impl Iterator<Item = EventRef<'a>>,
) {
    let start = frame::begin(out, serial);
    out.push(0);
    put_bytes(out, b"appendBatch");
    if count > 0 {
        put_long(out, count as i64);
        let mut writer = Writer::new();
        events.for_each(|event| writer.event(out, event));
    }
    out.push(0);
    frame::end(out, start);
}

/// How much of a server's error is repeated.
const WHY_MAX: usize = 400;

/// Reads the answer to a call: what it came to, or the error that the server threw.
pub fn read_reply(payload: &[u8]) -> Result<Result<Status, String>, Malformed> {
    let mut input = Input::new(payload);
    input.skip_map()?;
    let reply = match input.byte()? {
        0 => Ok(match input.long()? {
            0 => Status::Ok,
            1 => Status::Failed,
            2 => Status::Unknown,
            other => return Err(input.error(format!("a status of {other}"))),
        }),
        1 => match input.long()? {
            0 => {
                let why = input.bytes()?;
                Err(String::from_utf8_lossy(&why[..why.len().min(WHY_MAX)]).into_owned())
            }
            other => return Err(input.error(format!("an error of kind {other}"))),
        },
        other => return Err(input.error(format!("neither a result nor an error but {other}"))),
    };
    input.end()?;
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use flumen_api::{Batch, Headers};
    use proptest::prelude::*;

    use super::*;
    use crate::frame::{Frame, Frames};
    use crate::session::{Answer, Request, Session, put_reply};

    fn frame(bytes: &[u8]) -> Frame {
        let mut frames = Frames::new(1 << 24);
        let mut left = bytes;
        while !left.is_empty() {
            let buffer = frames.buffer();
            let piece = left.len().min(buffer.capacity() - buffer.len());
            buffer.extend_from_slice(&left[..piece]);
            left = &left[piece..];
            if let Some(frame) = frames.pop().unwrap() {
                assert!(left.is_empty() && !frames.is_within());
                return frame;
            }
        }
        panic!("no whole message");
    }

    fn greet(session: &mut Session, server: Option<Hash>) -> Greeted {
        let mut out = Vec::new();
        put_greeting(&mut out, 0, server);
        let call = session.read(frame(&out)).unwrap();
        assert!(matches!(call.request, Request::Nothing));
        out.clear();
        put_reply(&mut out, call.head, Answer::Nothing);
        read_greeting(&frame(&out).payload).unwrap()
    }

    #[test]
    fn both_ends_get_to_know_each_other_by_flumes_hash_or_by_our_text() {
        let known = Greeted::Known { is_ordered: true };
        assert_eq!(greet(&mut Session::default(), None), known);
        assert_eq!(greet(&mut Session::default(), Some(protocol::OURS)), known);
        assert_eq!(greet(&mut Session::default(), Some([7; 16])), known);
        // Flume's answer says nothing of order.
        assert_eq!(read_greeting(&[0, 0, 0, 0]), Ok(Greeted::Known { is_ordered: false }));
    }

    #[test]
    fn answers_say_what_they_say() {
        for (status, expected) in [(Status::Ok, Status::Ok), (Status::Failed, Status::Failed)] {
            let mut session = Session::default();
            greet(&mut session, None);
            let mut out = Vec::new();
            put_batch(&mut out, 9, 0, std::iter::empty());
            let call = session.read(frame(&out)).unwrap();
            out.clear();
            put_reply(&mut out, call.head, Answer::Status(status));
            let reply = frame(&out);
            assert_eq!(reply.serial, 9);
            assert_eq!(read_reply(&reply.payload), Ok(Ok(expected)));
            out.clear();
            put_reply(&mut out, call.head, Answer::Error("no"));
            assert_eq!(read_reply(&frame(&out).payload), Ok(Err("no".into())));
        }
        assert!(read_reply(&[0, 7]).is_err());
        assert!(read_greeting(&[6, 0, 0, 0]).is_err());
    }

    proptest! {
        #[test]
        fn every_batch_arrives_as_it_was_sent(
            events in prop::collection::vec(
                (prop::collection::vec((".{0,6}", ".{0,9}"), 0..4), prop::collection::vec(any::<u8>(), 0..200)),
                0..60,
            ),
        ) {
            let mut sent = Batch::new();
            for (headers, body) in &events {
                let set = sent.add_headers(Headers::from_iter(headers.iter().map(|(key, value)| (key, value))));
                sent.push_with(body, set);
            }
            let mut session = Session::default();
            greet(&mut session, None);
            let mut out = Vec::new();
            put_batch(&mut out, 3, sent.len(), sent.iter());
            let call = session.read(frame(&out)).unwrap();
            let Request::AppendBatch(got) = call.request else { panic!("{:?}", call.request) };
            prop_assert_eq!(got.len(), sent.len());
            for (got, sent) in got.iter().zip(sent.iter()) {
                prop_assert_eq!(got.body, sent.body);
                prop_assert_eq!(got.headers, sent.headers);
            }
        }
    }
}
