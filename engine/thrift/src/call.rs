//! Calls and replies.
//!
//! The answering end reads a call with [`read_call`] and writes its reply with [`put_reply`]; the asking end writes with
//! [`put_append_batch`] and reads with [`read_reply`]. What is written has its frame's length in front; what is read has not.

use bytes::Bytes;
use flumen_api::Batch;
use flumen_api::event::EventRef;

use crate::events::{Reader, Unread, Writer};
use crate::input::{Head, Input, Type};
use crate::output::Output;
use crate::{Malformed, Protocol, Status};

const CALL: u8 = 1;
const REPLY: u8 = 2;
const EXCEPTION: u8 = 3;
const ONE_WAY: u8 = 4;

/// Thrift's own numbers.
const UNKNOWN_METHOD: i32 = 1;
const PROTOCOL_ERROR: i32 = 7;

/// A call that somebody made.
#[derive(Debug)]
pub struct Call {
    /// The method.
    pub name: String,
    /// The caller's number for it, to be told in the reply.
    pub serial: i32,
    /// What is asked for.
    pub asks: Asks,
}

/// What a call asks for.
#[derive(Debug)]
pub enum Asks {
    /// To take in one event.
    Append(Batch),
    /// To take in all of these or none.
    AppendBatch(Batch),
    /// To take in more events than a call may have.
    TooMany,
    /// A method that there is not.
    NoSuchMethod,
    /// Something that cannot be read.
    Malformed(Malformed),
}

/// What is replied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// What became of the events.
    Status(Status),
    /// There is no such method; in words.
    NoSuchMethod(&'a str),
    /// The arguments cannot be read; why.
    Malformed(&'a str),
}

/// Reads a call. An error: there is nobody to reply to, for it is no message at all.
pub fn read_call(protocol: Protocol, message: &Bytes) -> Result<Call, Malformed> {
    let mut input = Input::new(protocol, message);
    let Head { kind, name, serial } = input.head()?;
    if kind == ONE_WAY {
        return Err(input.error("a call that wants no reply"));
    }
    if kind != CALL {
        return Err(input.error(format!("a message of kind {kind} where a call should be")));
    }
    let reader = Reader::new(protocol, message, input);
    let asks = match name.as_str() {
        "append" => reader.one().map(Asks::Append),
        "appendBatch" => reader.many().map(Asks::AppendBatch),
        _ => Ok(Asks::NoSuchMethod),
    };
    let asks = asks.unwrap_or_else(|unread| match unread {
        Unread::TooMany => Asks::TooMany,
        Unread::Malformed(malformed) => Asks::Malformed(malformed),
    });
    Ok(Call { name, serial, asks })
}

/// Appends the reply to a call of `name`.
pub fn put_reply(protocol: Protocol, name: &str, serial: i32, answer: Answer<'_>, out: &mut Vec<u8>) {
    framed(out, |out| {
        let mut output = Output::new(protocol, out);
        let (kind, text) = match answer {
            Answer::Status(status) => {
                output.head(REPLY, name, serial);
                output.i32_field(0, 0);
                output.i32(status.number());
                output.end();
                return;
            }
            Answer::NoSuchMethod(text) => (UNKNOWN_METHOD, text),
            Answer::Malformed(text) => (PROTOCOL_ERROR, text),
        };
        output.head(EXCEPTION, name, serial);
        output.binary_field(0, 1);
        output.binary(text.as_bytes());
        output.i32_field(1, 2);
        output.i32(kind);
        output.end();
    });
}

/// Appends a call of `appendBatch`.
pub fn put_append_batch<'a>(
    protocol: Protocol,
    serial: i32,
    count: usize,
    events: impl Iterator<Item = EventRef<'a>>,
    out: &mut Vec<u8>,
) {
    framed(out, |out| {
        let mut output = Output::new(protocol, out);
        output.head(CALL, "appendBatch", serial);
        output.structs_field(0, 1, count);
        let mut writer = Writer::new();
        events.for_each(|event| writer.event(&mut output, event));
        output.end();
    });
}

/// Appends a call of `append`.
pub fn put_append(protocol: Protocol, serial: i32, event: EventRef<'_>, out: &mut Vec<u8>) {
    framed(out, |out| {
        let mut output = Output::new(protocol, out);
        output.head(CALL, "append", serial);
        output.struct_field(0, 1);
        Writer::new().event(&mut output, event);
        output.end();
    });
}

/// Reads the reply to call `serial`: its status, or what the other end says went wrong. An error: it is no such reply, and
/// what follows on the connection is none either.
pub fn read_reply(
    protocol: Protocol,
    serial: i32,
    message: &[u8],
) -> Result<Result<Status, String>, Malformed> {
    let mut input = Input::new(protocol, message);
    let head = input.head()?;
    if head.serial != serial {
        return Err(input.error(format!("a reply to call {} where call {serial} waits", head.serial)));
    }
    let is_exception = match head.kind {
        REPLY => false,
        EXCEPTION => true,
        other => return Err(input.error(format!("a message of kind {other} where a reply should be"))),
    };
    let (mut last, mut status, mut text) = (0, None, None);
    while let Some(field) = input.field(&mut last)? {
        match (field.id, field.kind) {
            (0, Type::I32) if !is_exception => status = Some(input.i32()?),
            (1, Type::Binary) if is_exception => text = Some(input.binary()?),
            _ => input.pass(field)?,
        }
    }
    input.end()?;
    if is_exception {
        let text = text.map_or_else(|| "an exception without a word".into(), String::from_utf8_lossy);
        return Ok(Err(text.chars().take(TEXT_MAX).collect()));
    }
    let status = status.ok_or_else(|| input.error("a reply without a status"))?;
    Ok(Status::of(status).ok_or_else(|| format!("status {status}")))
}

/// As much of an exception's text as a line of a log should show.
const TEXT_MAX: usize = 400;

/// Puts the length of what `write` appends in front of it.
fn framed(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; crate::frame::HEAD_BYTES]);
    write(out);
    // A frame beyond 2 GiB would be refused by whoever reads it.
    let length = i32::try_from(out.len() - start - crate::frame::HEAD_BYTES).unwrap_or(i32::MAX);
    out[start..start + crate::frame::HEAD_BYTES].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests;
