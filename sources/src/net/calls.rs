//! A client that calls: each call's events are put together, and answered when they are durable.
//!
//! ```text
//!   bytes ──> call ──> put ──> due: its head, its ticket ──> answer
//!     ^        one after the other     up to 8, in order       as tickets resolve
//!     └ read on while earlier puts are on their way
//! ```
//!
//! A channel without room holds a call for at most its `keep-alive`, then the call has failed; so has one whose ticket
//! fails. At a stop what is on its way is answered, and nothing more is read. Bytes that are no call end their own
//! connection, with a line that names the peer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use flumen_api::channel::PutError;
use flumen_api::source::{PutTicket, TICKETS_DEFAULT};
use flumen_api::{Batch, SourceContext};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Connection;
use super::guests::Guest;
use super::room::{Held, Room};

/// How long a client may be silent in the middle of a call.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Bytes a second that a call must come with beyond that time: it holds memory that others wait for.
const PACE_MIN: usize = 16 << 10;
/// How long a client may take none of its answers.
const DEAF_MAX: Duration = Duration::from_secs(60);
/// How long a stop waits for a client to take them.
const FAREWELL_MAX: Duration = Duration::from_secs(5);
/// Answers are written once they are so long, though more are ready.
const ANSWERS_MAX: usize = 16 << 10;

/// What a call asks for.
pub(crate) enum Ask {
    /// One event.
    Append(Batch),
    /// Events that are taken in together.
    AppendBatch(Batch),
    /// What is never taken in; the reason is for the log.
    Fails(String),
    /// What is answered with an error.
    Refused(String),
    /// An answer and nothing else.
    Nothing,
}

/// What a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    /// The events are durable.
    Ok,
    /// They are not; the client may send them again.
    Failed,
    /// The call is none.
    Error(&'a str),
    /// That there is nothing to say.
    Nothing,
}

/// A protocol of calls: finds them in what arrives, and writes answers.
pub(crate) trait Calls: Send {
    /// What an answer has to know of its call.
    type Head: Send;

    /// The next call, if it has arrived as a whole. After an error the connection is closed.
    fn next(&mut self) -> Result<Option<(Self::Head, Ask)>, String>;

    /// Bytes that have arrived of a call that is not whole.
    fn held(&self) -> usize;

    /// Bytes that the next read should have room for.
    fn wanted(&self) -> usize;

    /// Where they are read to, with that room.
    fn buffer(&mut self) -> &mut BytesMut;

    /// Appends an answer.
    fn answer(out: &mut Vec<u8>, head: Self::Head, answer: Answer<'_>);
}

/// A call that has no answer yet.
struct Due<H> {
    head: H,
    outcome: Outcome,
}

enum Outcome {
    Put { ticket: PutTicket, is_batch: bool },
    Ok,
    Failed,
    Refused(String),
    Nothing,
}

/// Serves one client.
pub(crate) async fn serve<C: Calls>(
    connection: Connection,
    context: SourceContext,
    room: Room,
    calls: C,
) -> io::Result<()> {
    let peer = connection.peer;
    let late = async {
        context.shutdown.cancelled().await;
        tokio::time::sleep(FAREWELL_MAX).await;
    };
    tokio::select! {
        biased;
        ended = attend(connection, context.clone(), room, calls) => ended,
        // Whether what it has no answer to was taken in, it does not know: it sends that again.
        () = late => {
            tracing::warn!(source = %context.name, %peer, "the agent stops, and a client takes no answers: it is let go");
            Ok(())
        }
    }
}

/// Serves one client until it goes, or until a stop, at which it gets its answers.
async fn attend<C: Calls>(
    Connection { stream, peer, guests, .. }: Connection,
    context: SourceContext,
    room: Room,
    calls: C,
) -> io::Result<()> {
    let (reader, writer) = tokio::io::split(stream);
    let (due, answers) = mpsc::channel(TICKETS_DEFAULT);
    let leave = context.shutdown.child_token();
    let guest = guests.enter(leave.clone());
    let reading =
        Reading { context: context.clone(), room, calls, due, leave, guest, waited: Duration::ZERO };
    let mut reading = std::pin::pin!(reading.read(reader));
    let mut writing = std::pin::pin!(write::<C>(writer, answers, context.clone()));
    // The end of reading ends the writing, once all is answered; and without anybody who listens nothing is read.
    let ended = tokio::select! {
        ended = reading.as_mut() => ended,
        lost = writing.as_mut() => return lost,
    };
    let answered = writing.as_mut().await;
    match ended {
        Ok(()) => answered,
        Err(End::Lost(error)) => Err(error),
        Err(End::MadeRoom) => {
            tracing::info!(source = %context.name, %peer, "let go between two calls: another client waits for a place");
            answered
        }
        Err(End::Garbage(error)) => {
            context.metrics.event_read_fail.inc();
            tracing::warn!(source = %context.name, %peer, %error, "what a client sends is not understood, it is let go");
            Ok(())
        }
    }
}

/// Why reading ended before its time.
enum End {
    Lost(io::Error),
    Garbage(String),
    /// For another client.
    MadeRoom,
}

struct Reading<C: Calls> {
    context: SourceContext,
    room: Room,
    calls: C,
    due: mpsc::Sender<Due<C::Head>>,
    /// At a stop, or where another client waits for a place.
    leave: CancellationToken,
    guest: Guest,
    /// How long the client was waited for within the call that is being read.
    waited: Duration,
}

impl<C: Calls> Reading<C> {
    async fn read(mut self, mut reader: impl AsyncRead + Unpin) -> Result<(), End> {
        let (shutdown, leave) = (self.context.shutdown.clone(), self.leave.clone());
        let mut held = Held::default();
        loop {
            while let Some((head, ask)) = self.calls.next().map_err(End::Garbage)? {
                self.waited = Duration::ZERO;
                // The memory stays taken until the events are in the channel.
                let mut of_this_call = std::mem::take(&mut held);
                let outcome = self.take_in(ask, &mut of_this_call).await;
                if self.due.send(Due { head, outcome }).await.is_err() {
                    return Ok(());
                }
                if shutdown.is_cancelled() {
                    return Ok(());
                }
            }
            let is_within = self.calls.held() > 0;
            self.guest.is_waited_for(is_within, Instant::now());
            let more = leave.run_until_cancelled(self.more(&mut reader, &mut held)).await;
            match more.transpose()? {
                Some(true) => self.guest.is_served(),
                Some(false) => return Ok(()),
                None if shutdown.is_cancelled() => return Ok(()),
                None if is_within => {
                    return Err(End::Garbage("a call that takes long, while other clients wait".into()));
                }
                None => return Err(End::MadeRoom),
            }
        }
    }

    /// Reads what has arrived; `false` at the end of the stream.
    async fn more(&mut self, reader: &mut (impl AsyncRead + Unpin), held: &mut Held) -> Result<bool, End> {
        let is_within = self.calls.held() > 0;
        let bytes = self.calls.held() + self.calls.wanted();
        self.room.hold(held, bytes).await.map_err(End::Garbage)?;
        let read = reader.read_buf(self.calls.buffer());
        let read = match is_within {
            false => read.await,
            true => {
                let patience = SILENCE_MAX + Duration::from_secs((bytes / PACE_MIN) as u64);
                let left = patience.saturating_sub(self.waited);
                let begun = tokio::time::Instant::now();
                let Ok(read) = timeout(left.min(SILENCE_MAX), read).await else {
                    let why = match left < SILENCE_MAX {
                        true => format!("{} bytes of a call in {patience:?}", self.calls.held()),
                        false => format!("silence for {SILENCE_MAX:?} within a call"),
                    };
                    return Err(End::Garbage(why));
                };
                self.waited += begun.elapsed();
                read
            }
        };
        match read {
            Ok(0) if is_within => {
                Err(End::Garbage(format!("the end after {} bytes of a call", self.calls.held())))
            }
            Ok(read) => Ok(read > 0),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(End::Garbage(error.to_string())),
            Err(error) => Err(End::Lost(error)),
        }
    }

    async fn take_in(&mut self, ask: Ask, held: &mut Held) -> Outcome {
        let metrics = &self.context.metrics;
        let (batch, is_batch) = match ask {
            Ask::Append(batch) => (batch, false),
            Ask::AppendBatch(batch) => (batch, true),
            Ask::Fails(why) => {
                metrics.event_read_fail.inc();
                tracing::warn!(source = %self.context.name, error = %why, "a call cannot be taken in");
                return Outcome::Failed;
            }
            Ask::Refused(why) => {
                metrics.event_read_fail.inc();
                tracing::warn!(source = %self.context.name, error = %why, "a call is answered with an error");
                return Outcome::Refused(why);
            }
            Ask::Nothing => return Outcome::Nothing,
        };
        match is_batch {
            true => metrics.append_batch_received.inc(),
            false => metrics.append_received.inc(),
        }
        if batch.is_empty() {
            metrics.append_batch_accepted.inc();
            return Outcome::Ok;
        }
        // Small events and headers take far more in memory than in a request.
        self.room.hold_read(held, batch.memory());
        match self.context.shutdown.run_until_cancelled(self.context.put(batch)).await {
            Some(Ok(ticket)) => Outcome::Put { ticket, is_batch },
            Some(Err(refused)) => {
                tracing::warn!(source = %self.context.name, error = %refused.error, "a call's events are refused");
                Outcome::Failed
            }
            // Nothing was appended.
            None => Outcome::Failed,
        }
    }
}

/// Answers all that is due, in order, and writes several answers at once where they are there at once.
async fn write<C: Calls>(
    mut writer: impl AsyncWrite + Unpin,
    mut due: mpsc::Receiver<Due<C::Head>>,
    context: SourceContext,
) -> io::Result<()> {
    let mut out = Vec::new();
    loop {
        let next = match due.try_recv() {
            Ok(next) => Some(next),
            Err(_none_or_closed) => {
                flush(&mut writer, &mut out).await?;
                due.recv().await
            }
        };
        let Some(Due { head, outcome }) = next else { return Ok(()) };
        match outcome {
            Outcome::Ok => C::answer(&mut out, head, Answer::Ok),
            Outcome::Failed => C::answer(&mut out, head, Answer::Failed),
            Outcome::Refused(why) => C::answer(&mut out, head, Answer::Error(&why)),
            Outcome::Nothing => C::answer(&mut out, head, Answer::Nothing),
            Outcome::Put { mut ticket, is_batch } => {
                let durable = match now(&mut ticket) {
                    Some(durable) => durable,
                    None => {
                        flush(&mut writer, &mut out).await?;
                        ticket.await
                    }
                };
                match durable {
                    Ok(()) => {
                        match is_batch {
                            true => context.metrics.append_batch_accepted.inc(),
                            false => context.metrics.append_accepted.inc(),
                        }
                        C::answer(&mut out, head, Answer::Ok);
                    }
                    Err(error) => {
                        tracing::warn!(source = %context.name, %error, "a call's events may be lost to the channel");
                        C::answer(&mut out, head, Answer::Failed);
                    }
                }
            }
        }
        if out.len() >= ANSWERS_MAX {
            flush(&mut writer, &mut out).await?;
        }
    }
}

/// What the ticket has come to, if it has.
fn now(ticket: &mut PutTicket) -> Option<Result<(), PutError>> {
    match Pin::new(ticket).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(durable) => Some(durable),
        Poll::Pending => None,
    }
}

async fn flush(writer: &mut (impl AsyncWrite + Unpin), out: &mut Vec<u8>) -> io::Result<()> {
    if out.is_empty() {
        return Ok(());
    }
    let said = async {
        writer.write_all(out).await?;
        writer.flush().await
    };
    let deaf = |_elapsed| io::Error::new(io::ErrorKind::TimedOut, "the client takes no answers");
    timeout(DEAF_MAX, said).await.map_err(deaf)??;
    out.clear();
    Ok(())
}

#[cfg(test)]
mod tests;
