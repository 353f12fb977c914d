//! The answering end of a connection: what a message asks for, and the message that answers it.
//!
//! | the client's hash | its idea of ours | handshake's answer |
//! | --- | --- | --- |
//! | known, or it tells its protocol | right | BOTH, with the result |
//! | the same | wrong | CLIENT and our protocol, with the result |
//! | unknown | | NONE and our protocol, no result: the client asks again and tells its protocol |
//!
//! After BOTH or CLIENT neither end says a word of protocols any more on this connection.

use flumen_api::Batch;

use crate::events::Unread;
use crate::frame::{self, Frame};
use crate::input::Input;
use crate::output::{put_bytes, put_long, put_meta};
use crate::{Malformed, Status, events, protocol};

/// How much of an unknown message's name is repeated.
const NAME_MAX: usize = 100;

/// One connection's state.
#[derive(Clone, Debug, Default)]
pub struct Session {
    is_greeted: bool,
}

/// A message that was read.
#[derive(Debug)]
pub struct Call {
    /// For its answer.
    pub head: Head,
    /// What it wants.
    pub request: Request,
}

/// What a message wants.
#[derive(Debug)]
pub enum Request {
    /// `append`: one event.
    Append(Batch),
    /// `appendBatch`: all of them or none.
    AppendBatch(Batch),
    /// More than [`events::EVENTS_MAX`] events, or [`events::HEADERS_MAX`] headers.
    TooMany,
    /// A message that Flume does not have either: the reason, for the answer.
    NoSuchMessage(String),
    /// Nothing but the handshake.
    Nothing,
}

/// What an answer begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    serial: u32,
    greeting: Greeting,
    /// The handshake asks whether calls are taken in in order, which they are.
    asks_for_order: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Greeting {
    /// The request had no handshake.
    Silent,
    Both,
    Client,
    None,
}

/// What a message is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The call's result.
    Status(Status),
    /// An error, which the client throws.
    Error(&'a str),
    /// The handshake alone.
    Nothing,
}

impl Session {
    /// Reads the next message of the connection. After an error the connection is of no use any more.
    pub fn read(&mut self, frame: Frame) -> Result<Call, Malformed> {
        let Frame { serial, payload } = frame;
        let mut input = Input::new(&payload);
        let (greeting, asks_for_order) = match self.is_greeted {
            true => (Greeting::Silent, false),
            false => greeting(&mut input)?,
        };
        let head = Head { serial, greeting, asks_for_order };
        if greeting == Greeting::None {
            return Ok(Call { head, request: Request::Nothing });
        }
        input.skip_map()?;
        let request = match input.bytes()? {
            b"append" => read(events::one(&payload, &mut input), Request::Append)?,
            b"appendBatch" => read(events::many(&payload, &mut input), Request::AppendBatch)?,
            b"" => Request::Nothing,
            other => {
                let name = String::from_utf8_lossy(&other[..other.len().min(NAME_MAX)]);
                Request::NoSuchMessage(format!("No such remote message: {name}"))
            }
        };
        self.is_greeted = true;
        Ok(Call { head, request })
    }
}

fn read(events: Result<Batch, Unread>, wanted: impl FnOnce(Batch) -> Request) -> Result<Request, Malformed> {
    match events {
        Ok(batch) => Ok(wanted(batch)),
        Err(Unread::TooMany) => Ok(Request::TooMany),
        Err(Unread::Malformed(malformed)) => Err(malformed),
    }
}

fn greeting(input: &mut Input<'_>) -> Result<(Greeting, bool), Malformed> {
    let is_known = |hash: &protocol::Hash| *hash == protocol::FLUME || *hash == protocol::OURS;
    let mut knows_client = is_known(&input.hash()?);
    if input.is_some()? {
        let text = input.bytes()?;
        if !knows_client {
            protocol::check(text)
                .map_err(|why| input.error(format!("the client's protocol is not Flume's: {why}")))?;
            knows_client = true;
        }
    }
    let knows_server = is_known(&input.hash()?);
    let asks_for_order = input.is_some()? && input.map_has(protocol::ORDERED)?;
    let greeting = match (knows_client, knows_server) {
        (true, true) => Greeting::Both,
        (true, false) => Greeting::Client,
        (false, _) => Greeting::None,
    };
    Ok((greeting, asks_for_order))
}

/// Appends the message that answers a call.
pub fn put_reply(out: &mut Vec<u8>, head: Head, answer: Answer<'_>) {
    let start = frame::begin(out, head.serial);
    match head.greeting {
        Greeting::Silent => {}
        // BOTH, no protocol, no hash.
        Greeting::Both => out.extend_from_slice(&[0, 0, 0]),
        Greeting::Client | Greeting::None => {
            put_long(out, if head.greeting == Greeting::Client { 1 } else { 2 });
            put_long(out, 1);
            put_bytes(out, protocol::TEXT.as_bytes());
            put_long(out, 1);
            out.extend_from_slice(&protocol::OURS);
        }
    }
    if head.greeting != Greeting::Silent {
        put_meta(out, head.asks_for_order);
    }
    match answer {
        Answer::Nothing => {}
        Answer::Status(status) => {
            out.extend_from_slice(&[0, 0]);
            put_long(out, status.index());
        }
        Answer::Error(why) => {
            out.extend_from_slice(&[0, 1, 0]);
            put_bytes(out, why.as_bytes());
        }
    }
    frame::end(out, start);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::frame::Frames;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    fn frame(bytes: &[u8]) -> Frame {
        let mut frames = Frames::new(1 << 20);
        let buffer = frames.buffer();
        buffer.extend_from_slice(bytes);
        frames.pop().unwrap().expect("a whole message")
    }

    fn reply(head: Head, answer: Answer<'_>) -> Frame {
        let mut out = Vec::new();
        put_reply(&mut out, head, answer);
        frame(&out)
    }

    /// As Flume 1.11 sent it.
    const FIRST: &str = "00000001 00000002 0000002b
        86aadae2c45474c0fe93ffd0f2350a65 00 86aadae2c45474c0fe93ffd0f2350a65 02 00 00 0c 617070656e64
        00000009 02026b02 76000468 69";

    #[test]
    fn flumes_first_message_is_read_and_answered_as_flume_does() {
        let mut session = Session::default();
        let call = session.read(frame(&bytes(FIRST))).unwrap();
        let Request::Append(batch) = call.request else { panic!("{:?}", call.request) };
        assert_eq!(batch.event(0).body, b"hi");
        assert_eq!(batch.event(0).headers.to_string(), "{k=v}");
        let first = reply(call.head, Answer::Status(Status::Ok));
        assert_eq!((first.serial, &first.payload[..]), (1, &bytes("00000000 00 0000")[..]));

        // What follows has no handshake, nor has its answer.
        let again = bytes("00000002 00000002 00000008 00 0c 617070656e64 00000009 02026b02 76000468 69");
        let call = session.read(frame(&again)).unwrap();
        assert_eq!(reply(call.head, Answer::Status(Status::Failed)).payload[..], bytes("00 0002"));
        assert_eq!(reply(call.head, Answer::Error("so")).payload[..], bytes("00 01 00 04 736f"));
    }

    #[test]
    fn a_client_that_knows_our_own_protocol_is_asked_for_nothing() {
        let ours: String = protocol::OURS.iter().map(|byte| format!("{byte:02x}")).collect();
        let known = FIRST.replace("86aadae2c45474c0fe93ffd0f2350a65", &ours);
        let call = Session::default().read(frame(&bytes(&known))).unwrap();
        assert!(matches!(call.request, Request::Append(_)), "{:?}", call.request);
        assert_eq!(reply(call.head, Answer::Status(Status::Ok)).payload[0], 0, "BOTH");
    }

    #[test]
    fn a_client_whose_protocol_is_not_known_is_asked_for_it() {
        let mut session = Session::default();
        let unknown = FIRST.replace("86aadae2c45474c0fe93ffd0f2350a65", "00112233445566778899aabbccddeeff");
        let call = session.read(frame(&bytes(&unknown))).unwrap();
        assert!(matches!(call.request, Request::Nothing), "{:?}", call.request);
        let answer = reply(call.head, Answer::Nothing).payload;
        assert_eq!(answer[..2], [4, 2], "NONE, and the protocol");
        assert!(answer.windows(protocol::TEXT.len()).any(|part| part == protocol::TEXT.as_bytes()));

        let mut told = bytes("00112233445566778899aabbccddeeff 02");
        put_bytes(&mut told, protocol::TEXT.as_bytes());
        told.extend(bytes("ffeeddccbbaa99887766554433221100 00 00 0c 617070656e64 02026b02 76000468 69"));
        let mut other = told.clone();
        let call = session.read(Frame { serial: 2, payload: told.into() }).unwrap();
        assert!(matches!(call.request, Request::Append(_)), "{:?}", call.request);
        let answer = reply(call.head, Answer::Status(Status::Ok)).payload;
        assert_eq!(answer[0], 2, "CLIENT");
        assert_eq!(answer[answer.len() - 3..], [0, 0, 0], "with the result");

        let at = other.windows(5).position(|part| part == b"bytes").unwrap();
        other[at..at + 5].copy_from_slice(b"float");
        let error = Session::default().read(Frame { serial: 3, payload: other.into() }).unwrap_err();
        assert!(error.to_string().contains("protocol is not Flume's"), "{error}");
    }

    #[test]
    fn other_messages_are_answered_and_harm_nothing() {
        let mut session = Session { is_greeted: true };
        let mut read = |payload: &'static [u8]| {
            session.read(Frame { serial: 1, payload: Bytes::from_static(payload) }).map(|call| call.request)
        };
        assert!(matches!(read(b"\0\0").unwrap(), Request::Nothing));
        let Request::NoSuchMessage(why) = read(b"\0\x06abc\0").unwrap() else { panic!("a message abc") };
        assert_eq!(why, "No such remote message: abc");
        assert!(read(b"").is_err());
        assert!(read(b"\0\x0cappend\0\0more").unwrap_err().to_string().contains("left over"));
        assert!(
            matches!(read(b"\0\x16appendBatch\0").unwrap(), Request::AppendBatch(batch) if batch.is_empty())
        );
    }
}
