//! The asking end over a connection: calls go out one behind the other, and answers come when they come.
//!
//! ```text
//!   append_batch ──> written ──> waiting: serial, who waits ──┐
//!        └ Pending <──────────────────────────────────────────┴── the reading task finds it by its serial
//! ```
//!
//! While anything waits, an answer has to come within the request timeout, counted from the one before: a server that
//! answers in order is not late with the last of several only because it took its time for the first. When the connection is
//! lost, late or garbled, all that waits fails: whether those calls were taken in, nobody knows.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use flumen_api::event::EventRef;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::Status;
use crate::call::{self, Greeted};
use crate::connect::Stream;
use crate::frame::{Frame, Frames};
use crate::protocol::Hash;

/// Longest answer. Flume's own have some ten bytes; a handshake's tell a protocol, an error may tell a stack.
const ANSWER_MAX: usize = 1 << 20;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The peer said so: it has not taken the events in.
    #[error("{peer} answered {answer}")]
    Refused {
        /// Who.
        peer: Arc<str>,
        /// A status, or the error that it threw.
        answer: String,
    },
    /// The connection is of no use any more. The peer may have taken the events in.
    #[error("the connection to {peer} is lost: {why}")]
    Lost {
        /// Who.
        peer: Arc<str>,
        /// Why.
        why: Arc<str>,
    },
}

struct State {
    /// Calls that were written and not answered, oldest first.
    waiting: VecDeque<(u32, oneshot::Sender<Result<(), CallError>>)>,
    /// Since when an answer has been due.
    since: Instant,
    /// Why the connection is of no use any more.
    broken: Option<Arc<str>>,
}

struct Shared {
    peer: Arc<str>,
    state: Mutex<State>,
    /// Something was answered, or all is over.
    changed: Notify,
}

impl Shared {
    fn lost(&self, why: Arc<str>) -> CallError {
        CallError::Lost { peer: self.peer.clone(), why }
    }

    fn fail(&self, why: &str) {
        let mut state = self.state.lock();
        let why = state.broken.get_or_insert_with(|| why.into()).clone();
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for (_, waits) in waiting {
            // Nobody may wait any more.
            let _gone = waits.send(Err(self.lost(why.clone())));
        }
        self.changed.notify_waiters();
    }

    fn answered(&self, frame: &Frame) -> Result<(), String> {
        let answer =
            call::read_reply(&frame.payload).map_err(|error| format!("an answer that is none: {error}"))?;
        let result = match answer {
            Ok(Status::Ok) => Ok(()),
            Ok(Status::Failed) => Err("FAILED".into()),
            Ok(Status::Unknown) => Err("UNKNOWN".into()),
            Err(error) => Err(error),
        };
        let mut state = self.state.lock();
        let at = state.waiting.iter().position(|(serial, _)| *serial == frame.serial);
        let at = at.ok_or_else(|| format!("an answer to call {}, which nobody made", frame.serial))?;
        state.since = Instant::now();
        let waits = state.waiting.remove(at);
        drop(state);
        if let Some((_, waits)) = waits {
            let result = result.map_err(|answer| CallError::Refused { peer: self.peer.clone(), answer });
            // Nobody may wait any more.
            let _gone = waits.send(result);
        }
        self.changed.notify_waiters();
        Ok(())
    }
}

/// A connection on which both ends know each other. Closed when dropped.
pub struct Caller {
    writer: WriteHalf<Stream>,
    shared: Arc<Shared>,
    out: Vec<u8>,
    serial: u32,
    is_ordered: bool,
    /// A call was begun and is not written to its end: nothing may follow it.
    is_cut_short: bool,
    patience: Duration,
    reading: JoinHandle<()>,
}

/// An answer that is waited for; dropping it forgets the call.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<Result<(), CallError>>,
    peer: Arc<str>,
}

impl Future for Pending {
    type Output = Result<(), CallError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        Pin::new(&mut this.answer).poll(cx).map(|answer| {
            answer.unwrap_or_else(|_closed| {
                Err(CallError::Lost { peer: this.peer.clone(), why: "it was closed".into() })
            })
        })
    }
}

impl Caller {
    /// Shakes hands over `stream`, whose other end is `peer`; from then on an answer may take `patience`.
    pub async fn greet(mut stream: Stream, peer: String, patience: Duration) -> Result<Self, String> {
        let mut frames = Frames::new(ANSWER_MAX);
        let mut server: Option<Hash> = None;
        let mut is_known_ordered = false;
        for serial in 0.. {
            let mut out = Vec::new();
            call::put_greeting(&mut out, serial, server);
            let said = async {
                stream.write_all(&out).await?;
                stream.flush().await
            };
            said.await.map_err(|error| format!("it does not listen: {error}"))?;
            let answer = next(&mut stream, &mut frames).await?;
            match call::read_greeting(&answer.payload)
                .map_err(|error| format!("it does not speak Avro RPC: {error}"))?
            {
                Greeted::Known { is_ordered } => {
                    is_known_ordered = is_ordered;
                    break;
                }
                Greeted::TellProtocol(hash) if server.is_none() => server = Some(hash),
                Greeted::TellProtocol(_) => {
                    return Err("it knows Flume's protocol neither by hash nor by text".into());
                }
            }
        }
        let shared = Arc::new(Shared {
            peer: peer.into(),
            state: Mutex::new(State { waiting: VecDeque::new(), since: Instant::now(), broken: None }),
            changed: Notify::new(),
        });
        let (reader, writer) = tokio::io::split(stream);
        let reading = tokio::spawn(read(reader, frames, shared.clone(), patience));
        Ok(Self {
            writer,
            shared,
            out: Vec::new(),
            serial: 1,
            is_ordered: is_known_ordered,
            is_cut_short: false,
            patience,
            reading,
        })
    }

    /// Why nothing can be sent any more, if nothing can.
    pub fn broken(&self) -> Option<CallError> {
        let broken = self.shared.state.lock().broken.clone();
        let broken = broken.or_else(|| self.is_cut_short.then(|| "a call was cut short".into()));
        broken.map(|why| self.shared.lost(why))
    }

    /// Whether the peer takes calls in in the order in which they are sent. Flume does not promise it, and 1.11 does not do
    /// it: whoever wants his events in order has one call at a time on its way to it.
    pub fn is_ordered(&self) -> bool {
        self.is_ordered
    }

    /// Returns once no call waits for an answer any more.
    pub fn settled(&self) -> impl Future<Output = ()> + Send + use<> {
        let shared = self.shared.clone();
        async move {
            loop {
                let changed = shared.changed.notified();
                if shared.state.lock().waiting.is_empty() {
                    return;
                }
                changed.await;
            }
        }
    }

    /// Sends events in one call of `appendBatch`; returns when they are written, with what will be their answer.
    pub async fn append_batch<'a>(
        &mut self,
        count: usize,
        events: impl Iterator<Item = EventRef<'a>>,
    ) -> Result<Pending, CallError> {
        if let Some(error) = self.broken() {
            return Err(error);
        }
        let (serial, patience) = (self.serial, self.patience);
        self.serial = serial.wrapping_add(1);
        self.out.clear();
        call::put_batch(&mut self.out, serial, count, events);
        if u32::try_from(self.out.len()).is_err() {
            let answer = format!("nothing: {} bytes are more than a message may have", self.out.len());
            return Err(CallError::Refused { peer: self.shared.peer.clone(), answer });
        }
        let (waits, answer) = oneshot::channel();
        {
            let mut state = self.shared.state.lock();
            if state.waiting.is_empty() {
                state.since = Instant::now();
            }
            state.waiting.push_back((serial, waits));
        }
        self.is_cut_short = true;
        let written = timeout(patience, async {
            self.writer.write_all(&self.out).await?;
            self.writer.flush().await
        });
        let why = match written.await {
            Ok(Ok(())) => {
                self.is_cut_short = false;
                // A large message leaves no large buffer behind.
                self.out.shrink_to(1 << 20);
                return Ok(Pending { answer, peer: self.shared.peer.clone() });
            }
            Ok(Err(error)) => error.to_string(),
            Err(_elapsed) => format!("it took nothing for {} ms", patience.as_millis()),
        };
        self.shared.fail(&why);
        Err(self.shared.lost(why.into()))
    }

    /// Says good-bye, if that is possible at once.
    pub async fn close(mut self) {
        // Whoever does not listen is gone already.
        let _gone = timeout(Duration::from_millis(100), self.writer.shutdown()).await;
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.reading.abort();
        self.shared.fail("it was closed");
    }
}

/// The next message.
async fn next(stream: &mut (impl AsyncReadExt + Unpin), frames: &mut Frames) -> Result<Frame, String> {
    loop {
        match frames.pop() {
            Ok(Some(frame)) => return Ok(frame),
            Ok(None) => {}
            Err(error) => return Err(format!("it does not speak Avro RPC: {error}")),
        }
        match stream.read_buf(frames.buffer()).await {
            Ok(0) => return Err("it closed the connection".into()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

async fn read(mut stream: ReadHalf<Stream>, mut frames: Frames, shared: Arc<Shared>, patience: Duration) {
    let mut tick =
        tokio::time::interval((patience / 8).clamp(Duration::from_millis(10), Duration::from_secs(1)));
    loop {
        let answered = tokio::select! {
            biased;
            frame = next(&mut stream, &mut frames) => frame.and_then(|frame| shared.answered(&frame)),
            _ = tick.tick() => {
                let state = shared.state.lock();
                match !state.waiting.is_empty() && state.since.elapsed() > patience {
                    true => Err(format!("no answer within {} ms", patience.as_millis())),
                    false => Ok(()),
                }
            }
        };
        if let Err(why) = answered {
            return shared.fail(&why);
        }
    }
}

#[cfg(test)]
mod tests;
