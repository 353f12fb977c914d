//! The `jdbc` channel in servers that the tests start: MariaDB and PostgreSQL, each in a directory and on a port of its own. Where one
//! is not installed its tests say `skipped: <why>` and pass; with `FLUMEN_REQUIRE_PEERS=1` they fail.
#![cfg(all(feature = "sql-mysql", feature = "sql-postgres"))]

mod servers;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flumen_api::batch::Batch;
use flumen_api::channel::{Channel, OpenError, Put, PutError, Space, TakeError, TakeLimit};
use flumen_api::chunk::ChunkWriter;
use flumen_api::metrics::ChannelMetrics;
use flumen_api::progress::Progress;
use flumen_api::registry::{ChannelContext, Factory, Storage};
use flumen_api::settings::{ComponentConfig, Kind, Problems};
use flumen_engine::channels::conformance::Subject;
use servers::{CutProxy, Kind as Sort, PASSWORD, Server, USER, shared};

/// A channel of its own in a server that all tests share.
struct InServer {
    url: String,
    sort: Sort,
    name: String,
}

impl InServer {
    fn new(server: &Server) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("c{}", NEXT.fetch_add(1, Ordering::Relaxed));
        Self { url: server.url(server.port), sort: server.sort, name }
    }

    fn try_open(&self, keys: &[(&str, &str)]) -> Result<Arc<dyn Channel>, OpenError> {
        let spec = flumen_engine::channels::specs().into_iter().find(|spec| spec.alias == "jdbc");
        let Factory::Channel { check, open, .. } = spec.expect("registered").factory else {
            panic!("not a channel")
        };
        let mut all =
            vec![("db.type", self.sort.db_type()), ("driver.url", &*self.url), ("db.username", USER)];
        all.push(("db.password", PASSWORD));
        all.extend(keys);
        let config = ComponentConfig::of(Kind::Channel, &self.name, &all);
        let mut problems = Problems::default();
        assert!(check(&config, &mut problems).is_some(), "{problems:?}");
        let context = ChannelContext {
            agent: "a1".into(),
            memory_limit: 1 << 30,
            ignore_flume_data: false,
            storage: Storage::Auto,
            metrics: ChannelMetrics::default(),
        };
        open(&config, context)
    }
}

impl Subject for InServer {
    fn open(&self, keys: &[(&str, &str)]) -> Arc<dyn Channel> {
        let name = |key| if key == "capacity" { "maximum.capacity" } else { key };
        let keys: Vec<_> = keys.iter().map(|(key, value)| (name(*key), *value)).collect();
        self.try_open(&keys).expect("the channel opens")
    }
}

macro_rules! server_or_return {
    ($server:expr) => {
        match $server {
            Some(server) => server,
            None => return,
        }
    };
}

mod mariadb {
    use super::*;

    flumen_engine::channel_conformance!(durable: InServer::new(server_or_return!(shared(Sort::MariaDb))));

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
        killed_under_load(server_or_return!(Server::start(Sort::MariaDb))).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_channel_in_use_is_locked() {
        locked(server_or_return!(shared(Sort::MariaDb))).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_put_that_is_longer_than_the_server_takes_at_once_is_refused_alone() {
        let server = server_or_return!(Server::start_with(Sort::MariaDb, &["--max-allowed-packet=1M"]));
        let subject = InServer::new(&server);
        let channel = subject.open(&[]);
        let of = |bytes: usize| {
            let mut batch = Batch::new();
            batch.push(&vec![0; bytes]);
            batch
        };
        let error = put(&*channel, &of(1 << 20)).await.expect_err("above max_allowed_packet");
        assert!(matches!(&error, PutError::TooLarge { .. }), "{error}");
        assert!(error.to_string().contains("max_allowed_packet"), "{error}");
        put(&*channel, &of((1 << 20) - 512)).await.expect("what fits passes");
        put(&*channel, &located(0, 3)).await.expect("others pass");
        assert_eq!(drain(&channel).await, [0, 0, 1, 2]);
        channel.close().await;
    }

    /// The server commits and its answer is lost: the put fails, its events are there once, and its source finds them known.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_commit_whose_answer_is_lost_fails_its_put_and_is_not_repeated() {
        let server = server_or_return!(shared(Sort::MariaDb));
        let proxy = CutProxy::start(server.port);
        let mut subject = InServer::new(server);
        subject.url = server.url(proxy.port);
        let channel = subject.open(&[]);
        put(&*channel, &located(0, 5)).await.expect("durable");
        proxy.cut_at_commit();
        let error = put(&*channel, &located(5, 5)).await.expect_err("nobody knows");
        assert!(matches!(error, PutError::Failed { .. }), "{error}");
        assert_eq!(channel.source_positions("r1").expect("known")["file"].to, 10, "it was committed");
        put(&*channel, &located(5, 7)).await.expect("known events are passed over");
        assert_eq!(drain(&channel).await, (0..12).collect::<Vec<_>>());
        channel.close().await;
    }
}

mod postgresql {
    use super::*;

    flumen_engine::channel_conformance!(durable: InServer::new(server_or_return!(shared(Sort::PostgreSql))));

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_acknowledged_is_lost_when_the_server_is_killed() {
        killed_under_load(server_or_return!(Server::start(Sort::PostgreSql))).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_channel_in_use_is_locked() {
        locked(server_or_return!(shared(Sort::PostgreSql))).await;
    }
}

/// Events at the positions `first + 1` and so on of one key, with their numbers as bodies.
fn located(first: u64, events: u64) -> Batch {
    let mut batch = Batch::new();
    let to = first + events;
    let made = Progress {
        key: "file".into(),
        generation: 1,
        from: first,
        to,
        rest: Default::default(),
        retire: false,
    };
    let origin = batch.add_progress(made);
    for number in first..to {
        batch.push(&number.to_be_bytes());
        batch.locate_last(origin, number + 1);
    }
    batch
}

async fn put(channel: &dyn Channel, batch: &Batch) -> Result<(), PutError> {
    let chunk_bytes = ChunkWriter::new(batch, None).encoded_len() as u64;
    let space = Space { events: batch.len(), chunk_bytes, body_bytes: batch.body_bytes() };
    let room = channel.reserve(space).await?;
    channel.append(room, Put { source: "r1", batch, selection: None })?.await
}

/// Takes and releases all, over the server's absence; the numbers in their bodies.
async fn drain(channel: &Arc<dyn Channel>) -> Vec<u64> {
    let mut taker = channel.taker();
    let drained = tokio::task::spawn_blocking(move || {
        let (mut seen, mut failures) = (Vec::new(), 0);
        loop {
            match taker.try_take(TakeLimit::events(7)) {
                Ok(Some(taken)) => {
                    for event in taken.events().iter() {
                        seen.push(u64::from_be_bytes(event.body[..8].try_into().expect("a number")));
                    }
                    taken.release("k1", Vec::new());
                }
                Ok(None) => return seen,
                Err(TakeError::Failed { .. }) if failures < 600 => {
                    failures += 1;
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => panic!("{error}"),
            }
        }
    });
    drained.await.expect("no panic")
}

async fn locked(server: &Server) {
    let subject = InServer::new(server);
    let channel = subject.open(&[]);
    let error = subject.try_open(&[]).map(drop).expect_err("the second one");
    assert!(matches!(&error, OpenError::Locked { .. }), "{error}");
    put(&*channel, &located(0, 3)).await.expect("the first one works on");
    channel.close().await;
    let channel = subject.open(&[]);
    assert_eq!(drain(&channel).await, [0, 1, 2]);
    channel.close().await;
    let error = InServer { name: "absent".into(), ..subject }.try_open(&[("create.schema", "false")]);
    let error = error.map(drop).expect_err("no tables");
    assert!(matches!(&error, OpenError::Foreign(why) if why.contains("create.schema")), "{error}");
}

/// A source puts, and goes back when it is told that a put failed; a sink takes. The server is killed in between, and comes back.
async fn killed_under_load(mut server: Server) {
    let subject = InServer::new(&server);
    let channel = subject.open(&[]);
    let (puts, sink) = (channel.clone(), channel.clone());
    let acknowledged = Arc::new(AtomicU64::new(0));
    let until = Arc::new(AtomicU64::new(u64::MAX));
    let (told, limit) = (acknowledged.clone(), until.clone());
    let source = tokio::spawn(async move {
        let (mut at, mut failed) = (0, 0);
        while at < limit.load(Ordering::Relaxed) {
            match put(&*puts, &located(at, 3)).await {
                Ok(()) => {
                    at += 3;
                    told.store(at, Ordering::Relaxed);
                }
                Err(_) => {
                    failed += 1;
                    let known =
                        puts.source_positions("r1").and_then(|known| known.get("file").map(|known| known.to));
                    at = known.unwrap_or(0);
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        (at, failed)
    });
    let reached = |least: u64| {
        let acknowledged = acknowledged.clone();
        async move {
            let begun = Instant::now();
            while acknowledged.load(Ordering::Relaxed) < least {
                assert!(begun.elapsed() < Duration::from_secs(90), "the channel does not come back");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    reached(60).await;
    let mut seen = drain(&sink).await;
    server.kill();
    let killed = Instant::now();
    while channel.status().failure.is_none() {
        assert!(killed.elapsed() < Duration::from_secs(90), "it does not say so");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    server.run();
    let before = acknowledged.load(Ordering::Relaxed);
    reached(before + 60).await;
    until.store(0, Ordering::Relaxed);
    let (end, failed) = source.await.expect("no panic");
    assert!(failed > 0, "the server was killed while puts were under way");
    seen.extend(drain(&sink).await);
    assert_eq!(seen, (0..end).collect::<Vec<_>>(), "each once, in order");
    assert_eq!(channel.status().failure, None);
    channel.close().await;
    let channel = subject.open(&[]);
    assert_eq!(
        (channel.status().events, channel.source_positions("r1").expect("known")["file"].to),
        (0, end)
    );
    channel.close().await;
}
