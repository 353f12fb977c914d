//! Flume's wire: what connects to a source, and what a source answers a sink.

use bytes::BufMut;
use flumen_avro_rpc::Status;
use flumen_avro_rpc::call;
use flumen_avro_rpc::frame::Frames;
use flumen_avro_rpc::session::{Answer, Call, Request, Session, put_reply};

/// Longest message: most inputs are shorter.
const MESSAGE_MAX: usize = 1 << 20;

/// Bytes that arrive at an avro source, in pieces of a size that the first byte gives; each message is also taken for an
/// answer.
pub fn avro_rpc(bytes: &[u8]) {
    let Some((piece, mut left)) = bytes.split_first() else { return };
    let piece = usize::from(*piece).max(1);
    let (mut frames, mut session) = (Frames::new(MESSAGE_MAX), Session::default());
    while !left.is_empty() {
        let buffer = frames.buffer();
        let arrives = piece.min(left.len()).min(buffer.capacity() - buffer.len());
        buffer.put_slice(&left[..arrives]);
        left = &left[arrives..];
        loop {
            let frame = match frames.pop() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                // The connection is closed.
                Err(_refused) => return,
            };
            assert!(frame.payload.len() <= bytes.len(), "a message has no more bytes than arrived");
            let _answer = (call::read_greeting(&frame.payload), call::read_reply(&frame.payload));
            let Ok(Call { head, request }) = session.read(frame) else { return };
            if let Request::Append(batch) | Request::AppendBatch(batch) = &request {
                sent_again(batch);
            }
            let mut out = Vec::new();
            put_reply(&mut out, head, Answer::Status(Status::Ok));
            assert!(whole(&out).is_some(), "an answer is a message");
        }
    }
}

/// What is read is sent on as it was.
fn sent_again(batch: &flumen_api::Batch) {
    let mut out = Vec::new();
    call::put_greeting(&mut out, 0, None);
    let mut session = Session::default();
    let greeting = whole(&out).expect("a handshake is a message");
    assert!(session.read(greeting).is_ok(), "our own handshake is understood");
    out.clear();
    call::put_batch(&mut out, 1, batch.len(), batch.iter());
    let again = session.read(whole(&out).expect("a call is a message")).expect("our own call is understood");
    let Request::AppendBatch(again) = again.request else { panic!("a batch") };
    assert!(
        again.len() == batch.len()
            && again
                .iter()
                .zip(batch.iter())
                .all(|(new, old)| new.body == old.body && new.headers == old.headers),
        "the same events"
    );
}

fn whole(bytes: &[u8]) -> Option<flumen_avro_rpc::frame::Frame> {
    let mut frames = Frames::new(8 * MESSAGE_MAX);
    frames.buffer().put_slice(bytes);
    frames.pop().expect("our own message is one")
}
