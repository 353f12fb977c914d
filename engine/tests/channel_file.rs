//! The file channel: the suite of all channels, and what is its own: locks, Flume's data, limits of bytes.

use std::path::Path;
use std::sync::Arc;

use flumen_api::batch::Batch;
use flumen_api::channel::{Channel, OpenError, Put, PutError, Space, TakeLimit};
use flumen_api::chunk::ChunkWriter;
use flumen_api::metrics::ChannelMetrics;
use flumen_api::registry::{ChannelContext, Factory, Storage};
use flumen_api::settings::{ComponentConfig, Kind, Problems};
use flumen_engine::channels::conformance::Subject;

/// A channel in a directory that goes with it.
struct OnDisk(tempfile::TempDir);

impl OnDisk {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }
}

impl Subject for OnDisk {
    fn open(&self, keys: &[(&str, &str)]) -> Arc<dyn Channel> {
        open(self.0.path(), keys).expect("the channel opens")
    }
}

flumen_engine::channel_conformance!(durable: OnDisk::new());

mod over_two_directories {
    use super::*;

    struct OnTwo(OnDisk);

    impl Subject for OnTwo {
        fn open(&self, keys: &[(&str, &str)]) -> Arc<dyn Channel> {
            let dir = self.0.0.path();
            let both = format!("{}, {}", dir.join("data").display(), dir.join("more").display());
            let keys = [keys, &[("dataDirs", &*both)]].concat();
            let channel = open(dir, &keys).expect("the channel opens");
            assert!(dir.join("more/flumen/lanes").exists());
            channel
        }
    }

    flumen_engine::channel_conformance!(durable: OnTwo(OnDisk::new()));
}

/// The same suite over a log that compresses.
mod compressed {
    use super::*;

    struct Compressed(OnDisk);

    impl Subject for Compressed {
        fn open(&self, keys: &[(&str, &str)]) -> Arc<dyn Channel> {
            self.0.open(&[keys, &[("compression", "lz4")]].concat())
        }
    }

    flumen_engine::channel_conformance!(durable: Compressed(OnDisk::new()));
}

/// The same suite over a log that is encrypted.
mod encrypted {
    use super::*;

    struct Encrypted(OnDisk);

    impl Subject for Encrypted {
        fn open(&self, keys: &[(&str, &str)]) -> Arc<dyn Channel> {
            let file = key_file(self.0.0.path(), "k1", 0x81);
            let ours = encryption(&[("k1", &file)], Some("k1"));
            let ours: Vec<_> = ours.iter().map(|(key, value)| (&**key, &**value)).collect();
            self.0.open(&[keys, &ours].concat())
        }
    }

    flumen_engine::channel_conformance!(durable: Encrypted(OnDisk::new()));
}

/// A file with a key of 32 such bytes, none of which is a digit.
fn key_file(dir: &Path, name: &str, byte: u8) -> String {
    let path = dir.join(format!("{name}.key"));
    if !path.exists() {
        std::fs::write(&path, [byte; 32]).expect("written");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o400)).expect("ours");
    }
    path.to_string_lossy().into_owned()
}

/// The channel's keys for keys in files, of which one encrypts.
fn encryption(files: &[(&str, &str)], active: Option<&str>) -> Vec<(String, String)> {
    let names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
    let mut keys = vec![
        ("encryption.keyProvider".to_string(), "KEYFILE".to_string()),
        ("encryption.keyProvider.keys".to_string(), names.join(" ")),
    ];
    keys.extend(active.map(|name| ("encryption.activeKey".to_string(), name.to_string())));
    let files = files
        .iter()
        .map(|(name, file)| (format!("encryption.keyProvider.keys.{name}.file"), file.to_string()));
    keys.extend(files);
    keys
}

/// A new key for what is new, whose events are delivered beside those of the old one; without the old one the start is refused,
/// says which key is missing, and changes nothing.
#[tokio::test]
async fn keys_are_changed_from_start_to_start() {
    let dir = tempfile::tempdir().expect("a directory");
    let files = [("k1", 0x81), ("k2", 0x82)].map(|(name, byte)| (name, key_file(dir.path(), name, byte)));
    let files = [(files[0].0, &*files[0].1), (files[1].0, &*files[1].1)];
    let mut puts = 0;
    for (known, active) in [(0, None), (1, Some("k1")), (2, Some("k2")), (2, None)] {
        let keys = encryption(&files[..known], active);
        let keys: Vec<_> = keys.iter().map(|(key, value)| (&**key, &**value)).collect();
        let channel = open(dir.path(), if known == 0 { &[] } else { &keys }).expect("opens");
        puts += 1;
        put(&*channel, &batch(1, 10)).await.expect("room");
        channel.close().await;
    }
    let keys = encryption(&files[1..], Some("k2"));
    let keys: Vec<_> = keys.iter().map(|(key, value)| (&**key, &**value)).collect();
    let error = open(dir.path(), &keys).map(drop).expect_err("k1's events are not delivered");
    let key = flumen_wal::Key::new("k1", &[0x81; 32]).expect("32 bytes");
    assert!(
        matches!(error, OpenError::Foreign(_)) && error.to_string().contains(&key.id().to_string()),
        "{error}"
    );
    assert!(error.to_string().contains("encryption.keyProvider.keys"), "{error}");
    let keys = encryption(&files, Some("k2"));
    let keys: Vec<_> = keys.iter().map(|(key, value)| (&**key, &**value)).collect();
    let channel = open(dir.path(), &keys).expect("opens");
    let mut taker = channel.taker();
    let taken = tokio::task::spawn_blocking(move || {
        let mut taken = 0;
        while let Some(take) = taker.try_take(TakeLimit::events(1)).expect("readable") {
            assert_eq!(take.events().iter().next().expect("one").body, [b'x'; 10]);
            take.release("k1", Vec::new());
            taken += 1;
        }
        taken
    });
    assert_eq!(taken.await.expect("no panic"), puts);
    channel.close().await;
}

fn gauge(channel: &dyn Channel, name: &str) -> f64 {
    let gauges = channel.status().gauges;
    gauges.iter().find(|(known, _)| *known == name).expect("a gauge").1
}

/// Compressed or not, as each start was told; and what that saves is to be seen.
#[tokio::test]
async fn compression_may_be_another_one_at_each_start() {
    let dir = tempfile::tempdir().expect("a directory");
    for (compression, compresses) in [("none", false), ("lz4", true), ("none", false)] {
        let channel = open(dir.path(), &[("compression", compression)]).expect("opens");
        put(&*channel, &batch(1000, 200)).await.expect("room");
        let (stored, raw) = (gauge(&*channel, "stored_bytes"), gauge(&*channel, "raw_bytes"));
        assert!(raw > 200_000.0 && (stored < raw / 5.0) == compresses, "{stored} of {raw}");
        channel.close().await;
    }
    let channel = open(dir.path(), &[]).expect("opens");
    for _ in 0..3 {
        let mut taker = channel.taker();
        let taken = tokio::task::spawn_blocking(move || taker.try_take(TakeLimit::events(1000)));
        let taken = taken.await.expect("no panic").expect("readable").expect("events");
        assert_eq!(taken.events().len(), 1000);
        assert!(taken.events().iter().all(|event| event.body == [b'x'; 200]));
        taken.release("k1", Vec::new());
    }
    channel.close().await;
}

fn open(dir: &Path, keys: &[(&str, &str)]) -> Result<Arc<dyn Channel>, OpenError> {
    let spec = flumen_engine::channels::specs().into_iter().find(|spec| spec.alias == "file");
    let Factory::Channel { check, open, .. } = spec.expect("registered").factory else {
        panic!("not a channel")
    };
    let config = config(dir, keys);
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

fn config(dir: &Path, keys: &[(&str, &str)]) -> ComponentConfig {
    let (checkpoint, data) = (dir.join("checkpoint"), dir.join("data"));
    let mut all = vec![
        ("checkpointDir", checkpoint.to_str().expect("text")),
        ("dataDirs", data.to_str().expect("text")),
        ("minimumRequiredSpace", "1048576"),
    ];
    // The last value of a key counts.
    all.extend(keys);
    let keys = all;
    ComponentConfig::of(Kind::Channel, "c1", &keys)
}

fn batch(events: usize, body: usize) -> Batch {
    let mut batch = Batch::new();
    (0..events).for_each(|_| batch.push(&vec![b'x'; body]));
    batch
}

async fn put(channel: &dyn Channel, batch: &Batch) -> Result<(), PutError> {
    let chunk_bytes = ChunkWriter::new(batch, None).encoded_len() as u64;
    let space = Space { events: batch.len(), chunk_bytes, body_bytes: batch.body_bytes() };
    let room = channel.reserve(space).await?;
    channel.append(room, Put { source: "r1", batch, selection: None })?.await
}

#[tokio::test]
async fn a_directory_in_use_is_refused_as_locked() {
    let dir = tempfile::tempdir().expect("a directory");
    let channel = open(dir.path(), &[]).expect("the first one");
    let error = tokio::task::spawn_blocking({
        let path = dir.path().to_path_buf();
        move || open(&path, &[]).map(drop).expect_err("the second one")
    });
    let error = error.await.expect("no panic");
    let OpenError::Locked { path } = error else { panic!("{error}") };
    assert!(path.starts_with(dir.path()), "{path:?}");
    put(&*channel, &batch(1, 1)).await.expect("the first one works on");
    channel.close().await;
    open(dir.path(), &[]).expect("free again").close().await;
}

#[tokio::test]
async fn flumes_own_data_is_not_mistaken_for_ours() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(dir.path().join("checkpoint")).expect("created");
    std::fs::write(dir.path().join("checkpoint/inflightputs"), b"").expect("written");
    let error = open(dir.path(), &[]).map(drop).expect_err("refused");
    let OpenError::Foreign(error) = error else { panic!("{error}") };
    assert!(error.contains("inflightputs") && error.contains("--ignore-flume-data"), "{error}");
}

#[tokio::test]
async fn a_put_beyond_the_largest_event_is_refused_for_good() {
    let dir = tempfile::tempdir().expect("a directory");
    let channel = open(dir.path(), &[("eventSizeMax", "1048576")]).expect("opens");
    put(&*channel, &batch(1, 1_000_000)).await.expect("fits");
    let error = put(&*channel, &batch(1, 1_048_576)).await.expect_err("does not");
    assert!(matches!(error, PutError::TooLarge { .. }), "{error}");
    assert!(error.to_string().contains("eventSizeMax"), "{error}");
    channel.close().await;
}

#[tokio::test]
async fn capacity_changes_live_and_events_stay() {
    let dir = tempfile::tempdir().expect("a directory");
    let keys = |capacity| [("capacity", capacity), ("transactionCapacity", "5"), ("keep-alive", "0")];
    let channel = open(dir.path(), &keys("5")).expect("opens");
    put(&*channel, &batch(5, 1)).await.expect("room");
    put(&*channel, &batch(1, 1)).await.expect_err("full");
    channel.reconfigure(&config(dir.path(), &keys("8"))).expect("live keys");
    put(&*channel, &batch(3, 1)).await.expect("three more");
    put(&*channel, &batch(1, 1)).await.expect_err("full again");
    channel.close().await;
    let channel = open(dir.path(), &keys("5")).expect("a smaller capacity loses nothing");
    assert_eq!((channel.status().events, channel.status().capacity), (8, 5));
    put(&*channel, &batch(1, 1)).await.expect_err("more than the new capacity is there");
    let mut taker = channel.taker();
    let taken = tokio::task::spawn_blocking(move || taker.try_take(TakeLimit::events(5)));
    taken.await.expect("no panic").expect("readable").expect("events").release("k1", Vec::new());
    assert_eq!(channel.status().events, 3);
    put(&*channel, &batch(3, 1)).await.expect_err("room for two");
    put(&*channel, &batch(2, 1)).await.expect("room for two");
    channel.close().await;
}

#[tokio::test]
async fn a_checkpoint_is_written_at_the_end_unless_a_key_says_no() {
    for on_close in ["true", "false"] {
        let dir = tempfile::tempdir().expect("a directory");
        let keys = [("checkpointOnClose", on_close), ("checkpointInterval", "3600000")];
        let bytes = || {
            let entries = std::fs::read_dir(dir.path().join("checkpoint/flumen")).expect("there");
            let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
            files.sort();
            files.iter().map(|path| std::fs::read(path).expect("readable")).collect::<Vec<_>>()
        };
        let channel = open(dir.path(), &keys).expect("opens");
        put(&*channel, &batch(3, 1)).await.expect("room");
        let before = bytes();
        channel.close().await;
        assert_eq!(bytes() != before, on_close == "true", "checkpointOnClose = {on_close}");
        let channel = open(dir.path(), &keys).expect("opens");
        assert_eq!(channel.status().events, 3, "with it or without");
        channel.close().await;
    }
}

/// Takes of a hundred out of puts of a thousand, while the segments roll.
#[tokio::test]
async fn a_backlog_of_many_segments_comes_out_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let keys = [("maxFileSize", "1048576"), ("transactionCapacity", "1000")];
    let channel = open(dir.path(), &keys).expect("opens");
    for _ in 0..40 {
        put(&*channel, &batch(1000, 200)).await.expect("room");
    }
    assert!(channel.status().gauges.iter().any(|(name, value)| *name == "segments" && *value > 3.0));
    channel.close().await;
    let channel = open(dir.path(), &keys).expect("opens again");
    assert_eq!(channel.status().events, 40_000);
    let mut taker = channel.taker();
    let delivered = tokio::task::spawn_blocking(move || {
        let mut delivered = 0;
        while let Some(taken) = taker.try_take(TakeLimit::events(100)).expect("readable") {
            assert!(taken.events().iter().all(|event| event.body == [b'x'; 200]));
            assert_eq!(taken.first_event(), delivered);
            delivered += taken.events().len() as u64;
            taken.release("k1", Vec::new());
        }
        delivered
    });
    assert_eq!(delivered.await.expect("no panic"), 40_000);
    channel.close().await;
}
