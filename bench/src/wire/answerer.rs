//! A server that answers each batch at once and keeps nothing of it: how fast a client is whose server costs nothing.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use bytes::BufMut;
use flumen_avro_rpc::Status;
use flumen_avro_rpc::frame::Frames;
use flumen_avro_rpc::session::{Answer, Request, Session, put_reply};

use crate::failure::{Context, Failure};

/// Longest message that is taken in.
const LONGEST: usize = 64 << 20;

/// Listens, and answers for as long as this program runs; gives the port.
pub(super) fn start() -> Result<u16, Failure> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context(|| "listen".into())?;
    let port = listener.local_addr().context(|| "learn the port".into())?.port();
    thread::spawn(move || {
        // A client that goes away, or says what nobody understands, is told by the client.
        listener.incoming().flatten().for_each(|peer| drop(thread::spawn(|| answer(peer))));
    });
    Ok(port)
}

fn answer(mut peer: TcpStream) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    peer.set_nodelay(true)?;
    let (mut frames, mut session) = (Frames::new(LONGEST), Session::default());
    let (mut read, mut out) = (vec![0; 256 << 10], Vec::new());
    loop {
        let bytes = peer.read(&mut read)?;
        if bytes == 0 {
            return Ok(());
        }
        frames.buffer().put_slice(&read[..bytes]);
        while let Some(frame) = frames.pop()? {
            let call = session.read(frame)?;
            let answer = match &call.request {
                Request::Append(_) | Request::AppendBatch(_) => Answer::Status(Status::Ok),
                Request::Nothing => Answer::Nothing,
                Request::TooMany => Answer::Error("too many events"),
                Request::NoSuchMessage(why) => Answer::Error(why),
            };
            put_reply(&mut out, call.head, answer);
        }
        peer.write_all(&out)?;
        out.clear();
    }
}
