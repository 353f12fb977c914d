//! The `jdbc` channel over SQLite: the suite of all channels, and what is its own: locks, Derby's data, transactions that fail.
#![cfg(feature = "sql-channel")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use flumen_api::batch::Batch;
use flumen_api::channel::{Channel, OpenError, Put, PutError, Space, TakeLimit};
use flumen_api::chunk::ChunkWriter;
use flumen_api::metrics::ChannelMetrics;
use flumen_api::progress::Progress;
use flumen_api::registry::{ChannelContext, Factory, Storage};
use flumen_api::settings::{ComponentConfig, Kind, Problems};
use flumen_engine::channels::conformance::Subject;

/// A channel in a home that goes with it.
struct InSqlite(tempfile::TempDir);

impl InSqlite {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }
}

impl Subject for InSqlite {
    fn open(&self, keys: &[(&str, &str)]) -> Arc<dyn Channel> {
        let name = |key| if key == "capacity" { "maximum.capacity" } else { key };
        let keys: Vec<_> = keys.iter().map(|(key, value)| (name(*key), *value)).collect();
        open(self.0.path(), &keys, false).expect("the channel opens")
    }
}

flumen_engine::channel_conformance!(durable: InSqlite::new());

fn open(home: &Path, keys: &[(&str, &str)], ignore_flume_data: bool) -> Result<Arc<dyn Channel>, OpenError> {
    let spec = flumen_engine::channels::specs().into_iter().find(|spec| spec.alias == "jdbc");
    let Factory::Channel { check, open, .. } = spec.expect("registered").factory else {
        panic!("not a channel")
    };
    let mut all = vec![("sysprop.user.home", home.to_str().expect("text"))];
    all.extend(keys);
    let config = ComponentConfig::of(Kind::Channel, "c1", &all);
    let mut problems = Problems::default();
    assert!(check(&config, &mut problems).is_some(), "{problems:?}");
    let context = ChannelContext {
        agent: "a1".into(),
        memory_limit: 1 << 30,
        ignore_flume_data,
        storage: Storage::Auto,
        metrics: ChannelMetrics::default(),
    };
    open(&config, context)
}

/// Events at the positions `first + 1` and so on of one key, with bodies that begin with the position.
fn located(first: u64, events: u64, body: usize) -> Batch {
    let mut batch = Batch::new();
    let (key, to) = ("file".into(), first + events);
    let made = Progress { key, generation: 1, from: first, to, rest: Default::default(), retire: false };
    let origin = batch.add_progress(made);
    for number in first..to {
        let mut bytes = vec![b'.'; body.max(8)];
        bytes[..8].copy_from_slice(&number.to_be_bytes());
        batch.push(&bytes);
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

/// Takes and releases all; the numbers in their bodies.
async fn drain(channel: &dyn Channel) -> Vec<u64> {
    let mut taker = channel.taker();
    let drained = tokio::task::spawn_blocking(move || {
        let mut seen = Vec::new();
        while let Some(taken) = taker.try_take(TakeLimit::events(7)).expect("readable") {
            for event in taken.events().iter() {
                seen.push(u64::from_be_bytes(event.body[..8].try_into().expect("a number")));
            }
            taken.release("k1", Vec::new());
        }
        seen
    });
    drained.await.expect("no panic")
}

fn database(home: &Path) -> std::path::PathBuf {
    home.join(".flume/jdbc-channel/flumen-c1.sqlite")
}

#[tokio::test]
async fn a_database_in_use_is_refused_as_locked_and_nobody_else_may_read_it() {
    let home = tempfile::tempdir().expect("a directory");
    let channel = open(home.path(), &[], false).expect("the first one");
    let path = home.path().to_path_buf();
    let error =
        tokio::task::spawn_blocking(move || open(&path, &[], false).map(drop).expect_err("the second one"));
    let error = error.await.expect("no panic");
    assert!(matches!(&error, OpenError::Locked { path } if *path == database(home.path())), "{error}");
    put(&*channel, &located(0, 3, 8)).await.expect("the first one works on");
    let mode = std::fs::metadata(database(home.path())).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    channel.close().await;
    let channel = open(home.path(), &[], false).expect("free again");
    assert_eq!(drain(&*channel).await, [0, 1, 2]);
    channel.close().await;
}

#[tokio::test]
async fn derbys_data_is_not_passed_over() {
    let home = tempfile::tempdir().expect("a directory");
    let derby = home.path().join(".flume/jdbc-channel/db");
    std::fs::create_dir_all(derby.join("seg0")).expect("made");
    std::fs::write(derby.join("service.properties"), "").expect("written");
    let error = open(home.path(), &[], false).map(drop).expect_err("refused");
    let OpenError::Foreign(error) = error else { panic!("{error}") };
    for part in ["--ignore-flume-data", "Derby", &*derby.to_string_lossy()] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!database(home.path()).exists(), "nothing was made");
    open(home.path(), &[], true).expect("the operator says so").close().await;
    let named = format!("jdbc:sqlite:{}", home.path().join("named.db").display());
    open(home.path(), &[("driver.url", &*named)], false).expect("another place").close().await;
    assert!(home.path().join("named.db").exists() && derby.join("service.properties").exists());
}

/// A transaction that fails loses its puts and all behind them; its source goes back, and nothing is missing or there twice. A put
/// that was built before the source heard of it leaves no gap.
#[tokio::test]
async fn a_transaction_that_fails_leaves_no_gap_and_nothing_twice() {
    let home = tempfile::tempdir().expect("a directory");
    let channel = open(home.path(), &[], false).expect("opens");
    put(&*channel, &located(0, 5, 8)).await.expect("durable");
    channel.close().await;
    drop(channel);
    let fails = "CREATE TRIGGER fails BEFORE INSERT ON flumen_puts WHEN length(NEW.chunk) > 20000 \
                 BEGIN SELECT raise(ABORT, 'the disk is broken'); END";
    rusqlite::Connection::open(database(home.path())).expect("free").execute(fails, []).expect("made");

    let channel = open(home.path(), &[], false).expect("opens");
    let error = put(&*channel, &located(5, 5, 10_000)).await.expect_err("it fails");
    assert!(
        matches!(&error, PutError::Failed { reason, .. } if reason.contains("the disk is broken")),
        "{error}"
    );
    assert!(channel.status().failure.is_some());
    assert_eq!(channel.source_positions("r1").expect("known")["file"].to, 5, "only what is durable");
    let error = put(&*channel, &located(10, 5, 8)).await.expect_err("it would leave a gap");
    assert!(error.to_string().contains("gap"), "{error}");
    put(&*channel, &located(3, 7, 8)).await.expect("the source went back");
    put(&*channel, &located(10, 5, 8)).await.expect("and goes on");
    assert_eq!(channel.status().failure, None);
    assert_eq!(drain(&*channel).await, (0..15).collect::<Vec<_>>());
    channel.close().await;
    drop(channel);
    let channel = open(home.path(), &[], false).expect("opens");
    assert_eq!((channel.status().events, channel.source_positions("r1").expect("known")["file"].to), (0, 15));
    channel.close().await;
}

/// Nobody goes back for what an optional channel lost; and a source that begins anew goes on from where the channel stands.
#[tokio::test]
async fn what_was_lost_keeps_nothing_out_of_a_source_that_does_not_repeat_it_or_begins_anew() {
    let home = tempfile::tempdir().expect("a directory");
    drop(open(home.path(), &[], false).expect("opens"));
    let fails = "CREATE TRIGGER fails BEFORE INSERT ON flumen_puts WHEN length(NEW.chunk) > 20000 \
                 BEGIN SELECT raise(ABORT, 'the disk is broken'); END";
    rusqlite::Connection::open(database(home.path())).expect("free").execute(fails, []).expect("made");
    let channel = open(home.path(), &[], false).expect("opens");
    let optional = async |batch: Batch| {
        let space = Space { events: 5, chunk_bytes: 60_000, body_bytes: batch.body_bytes() };
        let room = channel.reserve(space).await?;
        channel.append_optional(room, Put { source: "r1", batch: &batch, selection: None })?.await
    };
    optional(located(0, 5, 10_000)).await.expect_err("it fails");
    optional(located(5, 5, 8)).await.expect("taken in though nobody comes again with what was lost");

    put(&*channel, &located(10, 5, 10_000)).await.expect_err("it fails");
    put(&*channel, &located(15, 5, 8)).await.expect_err("it would leave a gap");
    channel.settle_source("r1").await;
    assert_eq!(channel.source_positions("r1").expect("known")["file"].to, 10);
    put(&*channel, &located(15, 5, 8)).await.expect("a source that begins anew says where it goes on");
    assert_eq!(drain(&*channel).await, [5, 6, 7, 8, 9, 15, 16, 17, 18, 19]);
    channel.close().await;
}

/// What is delivered while the database cannot be written is said as soon as it can be.
#[tokio::test]
async fn a_release_outlives_a_transaction_that_fails() {
    let home = tempfile::tempdir().expect("a directory");
    let channel = open(home.path(), &[], false).expect("opens");
    put(&*channel, &located(0, 5, 8)).await.expect("durable");
    channel.close().await;
    drop(channel);
    let fails = "CREATE TRIGGER fails BEFORE INSERT ON flumen_puts WHEN length(NEW.chunk) > 20000 \
                 BEGIN SELECT raise(ABORT, 'the disk is broken'); END";
    rusqlite::Connection::open(database(home.path())).expect("free").execute(fails, []).expect("made");
    let channel = open(home.path(), &[], false).expect("opens");
    let failing = {
        let batch = located(5, 5, 10_000);
        let space = Space { events: 5, chunk_bytes: 60_000, body_bytes: batch.body_bytes() };
        let room = channel.try_reserve(space).expect("room");
        channel.append(room, Put { source: "r1", batch: &batch, selection: None }).expect("appended")
    };
    assert_eq!(drain(&*channel).await, [0, 1, 2, 3, 4]);
    failing.await.expect_err("it fails");
    channel.close().await;
    drop(channel);
    let channel = open(home.path(), &[], false).expect("opens");
    assert_eq!(channel.status().events, 0, "delivered is delivered");
    channel.close().await;
}
