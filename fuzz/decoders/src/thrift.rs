//! Flume's Thrift service: what connects to a thrift source, and what one answers a sink.

use bytes::Bytes;
use flumen_api::Batch;
use flumen_thrift::call::{Answer, Asks, put_append_batch, put_reply, read_call, read_reply};
use flumen_thrift::frame::Frames;
use flumen_thrift::{Protocol, Status};

/// Longest message that is taken in here.
const MESSAGE_MAX: usize = 1 << 20;
/// What a call of `append` and one of `appendBatch` begin with, in each protocol.
const HEADS: [(Protocol, &[u8]); 4] = [
    (Protocol::Compact, b"\x82\x21\x07\x06append"),
    (Protocol::Compact, b"\x82\x21\x07\x0bappendBatch"),
    (Protocol::Binary, b"\x80\x01\0\x01\0\0\0\x06append\0\0\0\x07"),
    (Protocol::Binary, b"\x80\x01\0\x01\0\0\0\x0bappendBatch\0\0\0\x07"),
];

/// Frames, calls and replies of Flume's Thrift service: the bytes as a stream of frames, as one message, and as what stands
/// behind a call's head.
pub fn thrift(bytes: &[u8]) {
    for protocol in [Protocol::Compact, Protocol::Binary] {
        let mut frames = Frames::new(MESSAGE_MAX);
        for piece in bytes.chunks(1000) {
            frames.buffer().extend_from_slice(piece);
            while let Ok(Some(message)) = frames.pop() {
                call(protocol, &message);
            }
        }
        call(protocol, &Bytes::copy_from_slice(bytes));
        reply(protocol, bytes);
    }
    for (protocol, head) in HEADS {
        call(protocol, &Bytes::from([head, bytes].concat()));
    }
}

/// Events that were read come out again after they were written anew.
fn call(protocol: Protocol, message: &Bytes) {
    let Ok(call) = read_call(protocol, message) else { return };
    let (Asks::Append(batch) | Asks::AppendBatch(batch)) = call.asks else { return };
    let mut frame = Vec::new();
    put_append_batch(protocol, call.serial, batch.len(), batch.iter(), &mut frame);
    let mut frames = Frames::new(usize::MAX);
    frames.buffer().extend_from_slice(&frame);
    let message = frames.pop().expect("a length").expect("a whole frame");
    let again = read_call(protocol, &message).expect("what was written is readable");
    assert_eq!(again.serial, call.serial, "written again");
    let Asks::AppendBatch(again) = again.asks else { panic!("{again:?}") };
    same(&batch, &again);
}

fn same(first: &Batch, second: &Batch) {
    assert_eq!(first.len(), second.len(), "written again");
    for (first, second) in first.iter().zip(second.iter()) {
        assert_eq!((first.headers, first.body), (second.headers, second.body), "written again");
    }
}

fn reply(protocol: Protocol, message: &[u8]) {
    // Only a reply with the right number is looked at.
    let serial = [1, 5, 6, 7].into_iter().find(|serial| read_reply(protocol, *serial, message).is_ok());
    let Some(Ok(Ok(status))) = serial.map(|serial| read_reply(protocol, serial, message)) else { return };
    let mut frame = Vec::new();
    put_reply(protocol, "append", 7, Answer::Status(status), &mut frame);
    let again: Result<Status, String> =
        read_reply(protocol, 7, &frame[4..]).expect("what was written is readable");
    assert_eq!(again, Ok(status), "written again");
}
