use std::sync::Arc;

use async_trait::async_trait;
use flumen_api::channel::Ticket;
use flumen_api::progress::Positions;
use flumen_api::source::{PutRefused, SourceEngine};
use tokio::io::DuplexStream;
use tokio::sync::{Semaphore, mpsc::UnboundedReceiver, mpsc::UnboundedSender, oneshot};

use super::super::guests::Guests;
use super::super::stream::Stream;
use super::*;
use crate::testing::FakeEngine;

/// Calls that end with a dot. Those that begin with a number ask to take in so many events, the others for nothing.
#[derive(Default)]
struct Dots(BytesMut);

impl Calls for Dots {
    type Head = ();

    fn next(&mut self) -> Result<Option<((), Ask)>, String> {
        let end = self.0.iter().position(|byte| *byte == b'.');
        Ok(end.map(|end| {
            let call = self.0.split_to(end + 1);
            let digits: Vec<u8> = call.iter().copied().take_while(u8::is_ascii_digit).collect();
            match String::from_utf8_lossy(&digits).parse() {
                Ok(events) => ((), Ask::AppendBatch(batch(events))),
                Err(_none) => ((), Ask::Nothing),
            }
        }))
    }

    fn held(&self) -> usize {
        self.0.len()
    }

    fn wanted(&self) -> usize {
        10
    }

    fn buffer(&mut self) -> &mut BytesMut {
        self.0.reserve(10);
        &mut self.0
    }

    fn answer(out: &mut Vec<u8>, (): (), answer: Answer<'_>) {
        out.extend_from_slice(match answer {
            Answer::Ok => b"done.",
            Answer::Failed => b"failed.",
            Answer::Error(_) | Answer::Nothing => b"heard.",
        });
    }
}

fn batch(events: usize) -> Batch {
    let mut batch = Batch::new();
    (0..events).for_each(|_| batch.push(b"e"));
    batch
}

/// What reading of `sent` ends with, and after how many seconds; if told to, the client goes after `leaves` of them.
async fn ended(sent: &[u8], leaves: Option<u64>) -> (String, u64) {
    let (mut client, server) = tokio::io::duplex(100);
    let context = FakeEngine::new().context(&CancellationToken::new());
    let leave = context.shutdown.child_token();
    let guest = Guests::new().enter(leave.clone());
    let (due, _answers) = mpsc::channel(TICKETS_DEFAULT);
    let reading = Reading {
        context,
        room: Room::new(1000),
        calls: Dots::default(),
        due,
        leave: leave.clone(),
        guest,
        waited: Duration::ZERO,
    };
    let begun = tokio::time::Instant::now();
    let say = async {
        client.write_all(b"call.").await.unwrap();
        // Between two calls it may be silent for as long as it likes.
        tokio::time::sleep(Duration::from_secs(3600)).await;
        client.write_all(sent).await.unwrap();
        match leaves {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
        leave.cancel();
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = reading.read(server) => ended,
        () = say => unreachable!(),
    };
    let said = match ended {
        Ok(()) => "the end".into(),
        Err(End::MadeRoom) => "made room".into(),
        Err(End::Garbage(why)) => why,
        Err(End::Lost(error)) => error.to_string(),
    };
    (said, begun.elapsed().as_secs() - 3600)
}

#[tokio::test(start_paused = true)]
async fn who_sends_a_byte_now_and_then_does_not_hold_memory_for_ever() {
    let (mut client, server) = tokio::io::duplex(100);
    let context = FakeEngine::new().context(&CancellationToken::new());
    let leave = context.shutdown.child_token();
    let guest = Guests::new().enter(leave.clone());
    let (due, _answers) = mpsc::channel(TICKETS_DEFAULT);
    let (room, calls, waited) = (Room::new(1000), Dots::default(), Duration::ZERO);
    let reading = Reading { context, room, calls, due, leave, guest, waited };
    let drips = async {
        loop {
            client.write_all(b"x").await.unwrap();
            tokio::time::sleep(Duration::from_secs(50)).await;
        }
    };
    let ended = tokio::select! {
        ended = reading.read(server) => ended,
        () = drips => unreachable!(),
    };
    assert!(matches!(ended, Err(End::Garbage(why)) if why == "2 bytes of a call in 60s"));
}

#[tokio::test(start_paused = true)]
async fn who_is_silent_in_the_middle_of_a_call_is_let_go_and_so_is_one_that_makes_room() {
    assert_eq!(ended(b"half", None).await, ("silence for 60s within a call".into(), 60));
    let large = vec![b'x'; 5 * PACE_MIN];
    assert_eq!(
        ended(&large, None).await,
        ("silence for 60s within a call".into(), 60),
        "though it may take 65"
    );
    assert_eq!(ended(b"half", Some(20)).await.1, 20);
    assert!(ended(b"half", Some(20)).await.0.starts_with("a call that takes long"));
    assert_eq!(ended(b"whole.", Some(500)).await, ("made room".into(), 500));
}

/// What serving a client ends with that makes calls and takes no answers, and after how many seconds.
async fn deaf(stops: bool) -> (String, u64) {
    let (mut client, server) = tokio::io::duplex(100);
    let stop = CancellationToken::new();
    let context = FakeEngine::new().context(&stop);
    let peer = "192.0.2.1:41414".parse().unwrap();
    let stream = Stream::Layered(Box::new(server));
    let connection = Connection { stream, peer, local: peer, guests: Guests::new() };
    let begun = tokio::time::Instant::now();
    let calls = async {
        // As many as are read.
        while timeout(Duration::from_secs(1), client.write_all(b"call.")).await.is_ok() {}
        if stops {
            stop.cancel();
        }
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = serve(connection, context, Room::new(1000), Dots::default()) => ended,
        () = calls => unreachable!(),
        () = tokio::time::sleep(Duration::from_secs(3600)) => panic!("it is served for ever"),
    };
    (ended.err().map_or_else(|| "the end".into(), |error| error.to_string()), begun.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn who_takes_no_answers_is_let_go_and_holds_up_no_stop() {
    assert_eq!(deaf(false).await, ("the client takes no answers".into(), 60));
    assert_eq!(deaf(true).await, ("the end".into(), 1 + FAREWELL_MAX.as_secs()));
}

/// A channel that has room when a test says so, and acks when it does.
struct Channel {
    room: Semaphore,
    acks: UnboundedSender<oneshot::Sender<Result<(), PutError>>>,
}

#[async_trait]
impl SourceEngine for Channel {
    async fn put(&self, _: Batch) -> Result<PutTicket, PutRefused> {
        self.room.acquire().await.expect("never closed").forget();
        let (ack, acked) = oneshot::channel();
        self.acks.send(ack).expect("a test");
        Ok(Ticket::pending(async { acked.await.expect("an ack") }))
    }

    fn positions(&self) -> Option<Positions> {
        None
    }

    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// A client that is served.
struct Stage {
    client: DuplexStream,
    served: tokio::task::JoinHandle<io::Result<()>>,
    stop: CancellationToken,
    channel: Arc<Channel>,
    /// What acks each put.
    acks: UnboundedReceiver<oneshot::Sender<Result<(), PutError>>>,
    room: Room,
    guests: Guests,
}

impl Stage {
    /// Over a channel with room for so many puts.
    fn new(puts: usize) -> Self {
        let (client, server) = tokio::io::duplex(1 << 20);
        let (acks, acked) = mpsc::unbounded_channel();
        let channel = Arc::new(Channel { room: Semaphore::new(puts), acks });
        let (stop, room, guests) = (CancellationToken::new(), Room::new(1000), Guests::new());
        let engine = channel.clone();
        let context = SourceContext::new("a1".into(), "r1".into(), stop.clone(), Default::default(), engine);
        let peer = "192.0.2.1:41414".parse().unwrap();
        let stream = Stream::Layered(Box::new(server));
        let connection = Connection { stream, peer, local: peer, guests: guests.clone() };
        let served = tokio::spawn(serve(connection, context, room.clone(), Dots::default()));
        Self { client, served, stop, channel, acks: acked, room, guests }
    }

    async fn say(&mut self, calls: &[u8]) {
        self.client.write_all(calls).await.unwrap();
    }

    /// The next put's ack.
    async fn put(&mut self) -> oneshot::Sender<Result<(), PutError>> {
        timeout(Duration::from_secs(3600), self.acks.recv()).await.expect("a put").expect("a channel")
    }

    /// What is answered until there are so many bytes, or the end.
    async fn hear(&mut self, bytes: usize) -> String {
        let mut heard = Vec::new();
        let mut all = (&mut self.client).take(bytes as u64);
        timeout(Duration::from_secs(3600), all.read_to_end(&mut heard)).await.expect("an answer").unwrap();
        String::from_utf8(heard).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_ready_waits_for_no_other() {
    let mut stage = Stage::new(2);
    stage.say(b".1.").await;
    assert_eq!(stage.hear(6).await, "heard.");
    stage.say(b"1.").await;
    let (first, _second) = (stage.put().await, stage.put().await);
    first.send(Ok(())).unwrap();
    assert_eq!(stage.hear(5).await, "done.");
}

#[tokio::test(start_paused = true)]
async fn a_stop_answers_what_was_put_and_fails_what_waits_for_room() {
    let mut stage = Stage::new(2);
    stage.say(b"1.1.1.").await;
    let acks = [stage.put().await, stage.put().await];
    stage.stop.cancel();
    tokio::time::sleep(FAREWELL_MAX / 2).await;
    acks.into_iter().for_each(|ack| ack.send(Ok(())).unwrap());
    assert_eq!(stage.hear(1000).await, "done.done.failed.");
    stage.served.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn so_many_calls_are_on_their_way_and_the_next_one_is_put_when_the_first_is_answered() {
    let mut stage = Stage::new(1000);
    stage.say(&b"1.".repeat(100)).await;
    // One more waits to be counted among them, and one is looked at for its answer.
    let mut acks = Vec::new();
    while let Ok(Some(ack)) = timeout(Duration::from_secs(1), stage.acks.recv()).await {
        acks.push(ack);
    }
    assert_eq!(acks.len(), TICKETS_DEFAULT + 2);
    for ack in acks {
        ack.send(Ok(())).unwrap();
    }
    for _ in TICKETS_DEFAULT + 2..100 {
        stage.put().await.send(Ok(())).unwrap();
    }
    assert_eq!(stage.hear(500).await, "done.".repeat(100));
}

#[tokio::test(start_paused = true)]
async fn memory_of_a_call_and_of_its_events_is_taken_until_the_channel_has_them() {
    let mut stage = Stage::new(0);
    let free = stage.room.free();
    let call = [b"20000 ".to_vec(), vec![b'x'; 100_000], b".".to_vec()].concat();
    stage.say(&call).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let taken = free - stage.room.free();
    let (bytes, events) = (call.len(), batch(20_000).memory());
    assert!(
        events > 100_000 && (events + bytes / 2..events + 2 * bytes).contains(&taken),
        "{taken}, {events}"
    );
    assert!(!stage.guests.make_room(std::time::Instant::now() + Duration::from_secs(9999)), "it is served");
    stage.channel.room.add_permits(1);
    stage.put().await.send(Ok(())).unwrap();
    assert_eq!(stage.hear(5).await, "done.");
    assert_eq!(stage.room.free(), free);
}

#[tokio::test(start_paused = true)]
async fn who_is_in_the_middle_of_a_call_may_take_a_minute_and_who_rests_goes_with_all_its_answers() {
    let mut stage = Stage::new(1);
    let after = |seconds| std::time::Instant::now() + Duration::from_secs(seconds);
    stage.say(b"half").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!stage.guests.make_room(after(50)));
    stage.say(b".1.").await;
    let ack = stage.put().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(stage.guests.make_room(after(50)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    ack.send(Ok(())).unwrap();
    assert_eq!(stage.hear(1000).await, "heard.done.");
    stage.served.await.unwrap().unwrap();
}
