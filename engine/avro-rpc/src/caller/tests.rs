use flumen_api::Batch;
use tokio::io::DuplexStream;

use super::*;
use crate::session::{Answer, Head, Session, put_reply};

const PATIENCE: Duration = Duration::from_secs(20);

/// The other end of a caller.
struct Server {
    stream: DuplexStream,
    frames: Frames,
    session: Session,
}

impl Server {
    /// The next call.
    async fn hear(&mut self) -> Head {
        let frame = next(&mut self.stream, &mut self.frames).await.unwrap();
        self.session.read(frame).unwrap().head
    }

    async fn say(&mut self, head: Head, answer: Answer<'_>) {
        let mut out = Vec::new();
        put_reply(&mut out, head, answer);
        self.stream.write_all(&out).await.unwrap();
    }
}

/// Both ends of a connection that holds so many bytes, after their handshake.
async fn both(bytes: usize) -> (Caller, Server) {
    let (stream, server) = tokio::io::duplex(bytes);
    let mut server = Server { stream: server, frames: Frames::new(1 << 24), session: Session::default() };
    let greeted = async {
        let head = server.hear().await;
        server.say(head, Answer::Nothing).await;
    };
    let (caller, ()) = tokio::join!(Caller::greet(Box::new(stream), "peer".into(), PATIENCE), greeted);
    (caller.unwrap(), server)
}

fn batch(bytes: usize) -> Batch {
    let mut batch = Batch::new();
    batch.push(&vec![b'x'; bytes]);
    batch
}

async fn send(caller: &mut Caller) -> Pending {
    caller.append_batch(1, batch(5).iter()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_take_its_time_from_the_call_or_from_the_answer_before() {
    let (mut caller, mut server) = both(1000).await;
    // Nothing is waited for meanwhile.
    tokio::time::sleep(PATIENCE * 100).await;
    let calls = [send(&mut caller).await, send(&mut caller).await, send(&mut caller).await];
    for call in calls {
        let head = server.hear().await;
        tokio::time::sleep(PATIENCE * 3 / 4).await;
        server.say(head, Answer::Status(Status::Ok)).await;
        assert_eq!(call.await, Ok(()));
    }
    let begun = tokio::time::Instant::now();
    let late = send(&mut caller).await.await.unwrap_err().to_string();
    assert!(late.contains("no answer within 20000 ms"), "{late}");
    assert!((PATIENCE..PATIENCE * 5 / 4).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(caller.broken().unwrap().to_string(), late);
}

#[tokio::test(start_paused = true)]
async fn nothing_follows_a_call_that_was_cut_short() {
    let (mut caller, _server) = both(1000).await;
    let large = batch(10_000);
    let cut = timeout(Duration::from_secs(1), caller.append_batch(1, large.iter())).await;
    assert!(cut.is_err(), "there is no room for all of it");
    assert!(caller.broken().unwrap().to_string().contains("cut short"));
    assert!(caller.append_batch(1, batch(5).iter()).await.unwrap_err().to_string().contains("cut short"));
}

#[tokio::test(start_paused = true)]
async fn who_takes_nothing_is_given_up_and_all_that_waits_fails() {
    let (mut caller, _server) = both(1000).await;
    let first = send(&mut caller).await;
    let settled = caller.settled();
    let begun = tokio::time::Instant::now();
    let error = caller.append_batch(1, batch(10_000).iter()).await.unwrap_err();
    assert!((PATIENCE..PATIENCE * 5 / 4).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert!(matches!(error, CallError::Lost { .. }), "{error}");
    assert!(matches!(first.await, Err(CallError::Lost { .. })));
    settled.await;
}
