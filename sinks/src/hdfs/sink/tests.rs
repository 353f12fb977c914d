//! The sink over a file system whose calls fail and hang.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_api::settings::Problems;
use flumen_api::sink::{Flushed, Sink, SinkError};
use tokio::time::timeout;

use super::HdfsSink;
use crate::hdfs::check::check;
use crate::hdfs::client::{Cause, Client, FakeFiles, Told};
use crate::testing::{FakeChannel, config, context_over, events};

/// Longer than anything takes that is not told to hang.
const LONG: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(60);

/// A sink that is started, with further keys.
async fn started(keys: &[(&str, &str)]) -> (HdfsSink, FakeFiles) {
    let mut all = vec![
        ("hdfs.path", "file:/d"),
        ("hdfs.fileType", "DataStream"),
        ("hdfs.rollInterval", "0"),
        ("hdfs.rollSize", "0"),
        ("hdfs.rollCount", "0"),
    ];
    all.retain(|(key, _)| !keys.iter().any(|(other, _)| key == other));
    all.extend(keys);
    let (config, mut problems) = (config(&all), Problems::default());
    let checked = check(&config, &mut problems).expect("keys");
    let plan = crate::hdfs::keys::plan(checked, &config, &mut problems).expect("a plan");
    let mut sink = HdfsSink::new(plan);
    sink.start(&context_over(&FakeChannel::new())).await.expect("started");
    let files = FakeFiles::default();
    let running = sink.running.as_mut().expect("started");
    running.client = Client::new(Arc::new(files.clone()), None, 10);
    (sink, files)
}

/// What a flush says, or `None` if it says nothing.
async fn flushed(sink: &mut HdfsSink) -> Option<Flushed> {
    // By the clock, for the files are written by threads of their own.
    timeout(Duration::from_millis(300), sink.flush()).await.ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_released_before_its_sync_or_close_is_answered() {
    // A file that goes on is synced; one that is full is closed.
    for (call, keys) in [("sync", vec![]), ("close", vec![("hdfs.rollCount", "1")])] {
        let (mut sink, files) = started(&keys).await;
        files.tell(call, Some(Told::Hang));
        let bodies: &[&str] = if call == "sync" { &["one"] } else { &["one", "two"] };
        sink.deliver(&events(bodies)).await.expect("delivered");
        assert!(flushed(&mut sink).await.is_none(), "{call}");

        let (mut sink, files) = started(&keys).await;
        files.tell(call, Some(Told::Fail(Cause::Unknown)));
        sink.deliver(&events(bodies)).await.expect("delivered");
        let error: SinkError = timeout(LONG, sink.flush()).await.expect("an answer").expect_err("it failed");
        assert!(error.message.contains(&format!("cannot {call} /d/FlumeData.")), "{error}");
    }
}

/// What a file that is to be cut, or is deleted, had before it would come behind its end.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_full_is_written_no_more_once_the_sink_has_begun_over() {
    let (mut sink, files) = started(&[("hdfs.rollCount", "2")]).await;
    files.tell("sync", Some(Told::Wait));
    sink.deliver(&events(&["one"])).await.expect("delivered");
    let first = sink.flush();
    sink.deliver(&events(&["two", "three"])).await.expect("delivered");
    let deadline = Instant::now() + PATIENCE;
    while !files.calls().iter().any(|call| call.starts_with("sync")) {
        assert!(Instant::now() < deadline, "{:?}", files.calls());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Given back, as by an error elsewhere.
    drop(first);
    sink.deliver(&events(&["one"])).await.expect("delivered");
    files.tell("sync", None);
    timeout(LONG, sink.flush()).await.expect("an answer").expect("flushed");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let texts: Vec<_> = files.all().into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["open:one\n", "", "open:one\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_met_with_rests_that_grow_to_ten_seconds_and_begin_anew_at_its_end() {
    let (mut sink, files) = started(&[]).await;
    files.tell("create", Some(Told::Fail(Cause::Refused)));
    let mut rests = Vec::new();
    for _ in 0..7 {
        let error = sink.deliver(&events(&["one"])).await.expect_err("it cannot be created");
        rests.push(error.retry_after.expect("a rest").as_secs());
    }
    assert_eq!(rests, [1, 2, 4, 8, 10, 10, 10]);
    files.tell("create", None);
    sink.deliver(&events(&["one"])).await.expect("delivered");
    timeout(LONG, sink.flush()).await.expect("an answer").expect("flushed");
    files.tell("sync", Some(Told::Fail(Cause::Unknown)));
    sink.deliver(&events(&["two"])).await.expect("delivered");
    let error = timeout(LONG, sink.flush()).await.expect("an answer").expect_err("not synced");
    assert_eq!(error.retry_after, Some(Duration::from_secs(1)));
}
