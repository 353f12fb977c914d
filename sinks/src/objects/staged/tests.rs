use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flumen_api::quiet::Quiet;
use flumen_api::settings::Process;
use tokio::runtime::Handle;

use super::*;
use crate::hdfs::conf::HadoopConf;
use crate::objects::Begun;
use crate::objects::access::Access;
use crate::objects::emulator::{BUCKET, ID, Oss, SECRET, What};
use crate::objects::recover::{self, Options, Recovered, recover_in};
use crate::objects::target::Target;
use crate::testing::Logged;

const KEY: &str = "logs/app.1";
const AT: &str = "tmp/logs/app.1";

/// A store on the emulator; the fourth signature if it has a region.
fn store_of(oss: &Oss, region: Option<&str>, token: Option<&str>) -> Arc<dyn Store> {
    let access = Access {
        key_id: Some(ID.into()),
        secret: Some(SECRET.into()),
        token: token.map(Into::into),
        endpoint: Some(oss.endpoint()),
        region: region.map(Into::into),
    };
    let target = Target::parse("oss", BUCKET).expect("a bucket");
    target.open(&access, &HadoopConf::default(), &Process::default(), &Handle::current()).expect("a store")
}

struct World {
    oss: Oss,
    store: Arc<dyn Store>,
    uploading: Uploading,
    quiet: Quiet,
}

impl World {
    fn new() -> Self {
        let oss = Oss::start();
        let store = store_of(&oss, None, None);
        let uploading = Uploading::new(300 << 10, Duration::ZERO);
        Self { oss, store, uploading, quiet: Quiet::default() }
    }

    async fn create(&self) -> StagedWriter {
        create(&self.store, AT, KEY, &self.uploading).await.expect("created")
    }

    fn staged(&self) -> Staged<'_> {
        Staged::new(&*self.store, AT, &self.quiet)
    }

    /// The object is whole, and nothing else is left.
    #[track_caller]
    fn has_only(&self, expected: &[u8]) {
        let objects = self.oss.objects();
        assert_eq!(objects.keys().collect::<Vec<_>>(), [KEY]);
        assert!(objects[KEY] == expected, "{} bytes instead of {}", objects[KEY].len(), expected.len());
        assert_eq!(self.oss.uploads(), [""; 0]);
    }
}

/// Flushes, and waits for it.
async fn flush(writer: &mut StagedWriter) -> Result<(), StoreError> {
    writer.flush().await?.wait().await
}

/// Bytes that are nowhere the same.
fn bytes(from: usize, length: usize) -> Bytes {
    let numbers =
        (from / 8..(from + length) / 8 + 1).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes());
    numbers.skip(from % 8).take(length).collect()
}

#[tokio::test]
async fn a_file_appears_whole_when_it_is_completed_and_never_before() {
    for (writes, upload) in [(vec![10], false), (vec![10, 20, 90 << 10], false), (vec![70 << 10; 20], true)] {
        let world = World::new();
        let mut writer = world.create().await;
        let mut length = 0;
        for write in writes {
            writer.write(bytes(length, write)).await.expect("written");
            length += write;
            flush(&mut writer).await.expect("flushed");
            assert!(world.oss.whole().is_empty());
            assert_eq!(world.staged().length().await, Ok(Some(length as u64)));
        }
        writer.close().await.expect("closed");
        drop(writer);
        assert!(world.oss.whole().is_empty());
        assert_eq!(world.oss.uploads().is_empty(), !upload);
        assert_eq!(world.staged().complete(Some(KEY)).await, Ok(Done::Complete(length as u64)));
        world.has_only(&bytes(0, length));
        assert_eq!(world.uploading.held.load(std::sync::atomic::Ordering::Relaxed), 0, "nothing is held");
    }
}

#[tokio::test]
async fn a_file_whose_writer_is_gone_is_completed_at_any_flush_it_had() {
    let writes: Vec<usize> = vec![7, 60 << 10, 50 << 10, 400 << 10, 5, 6, 200 << 10, 3];
    for kept in 0..=writes.len() {
        let world = World::new();
        let mut writer = world.create().await;
        let (mut length, mut cut) = (0, 0);
        for (at, write) in writes.iter().enumerate() {
            writer.write(bytes(length, *write)).await.expect("written");
            length += write;
            flush(&mut writer).await.expect("flushed");
            if at < kept {
                cut = length;
            }
        }
        // Written, and never flushed.
        writer.write(bytes(length, 150 << 10)).await.expect("written");
        drop(writer);
        let staged = world.staged();
        staged.fence().await.expect("fenced");
        assert_eq!(staged.length().await, Ok(Some(length as u64)));
        staged.cut(cut as u64).await.expect("cut");
        if cut == 0 {
            staged.discard().await.expect("discarded");
            assert!(world.oss.objects().is_empty() && world.oss.uploads().is_empty());
            continue;
        }
        assert_eq!(staged.complete(None).await, Ok(Done::Complete(cut as u64)), "{kept} flushes");
        world.has_only(&bytes(0, cut));
    }
}

/// A server of S3's kind answers 405 then, and the file would never be done.
#[tokio::test]
async fn an_upload_that_is_completed_is_not_thrown_away_behind_it() {
    for lost in [false, true] {
        let world = World::new();
        world.oss.fail(9, What::Refuse(405, "MethodNotAllowed"), |asked| asked.what() == "DELETE upload");
        let mut writer = world.create().await;
        writer.write(bytes(0, 500 << 10)).await.expect("written");
        writer.close().await.expect("closed");
        if lost {
            // Its answer, and then the process that would have found out.
            world.oss.fail(1, What::LoseAnswer, |asked| asked.what() == "POST complete");
            let seen = std::sync::atomic::AtomicUsize::new(0);
            world.oss.fail(1, What::Refuse(403, "AccessDenied"), move |asked| {
                asked.what() == "HEAD object" && seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 1
            });
            world.staged().complete(None).await.expect_err("nobody looks");
        }
        assert_eq!(world.staged().complete(None).await, Ok(Done::Complete(500 << 10)));
        world.has_only(&bytes(0, 500 << 10));
    }
}

#[tokio::test]
async fn a_clearing_that_was_broken_off_anywhere_is_found_and_goes_on() {
    for last in ["/cut", "/manifest", "0"] {
        let world = World::new();
        let mut writer = world.create().await;
        writer.write(bytes(0, 10)).await.expect("written");
        flush(&mut writer).await.expect("flushed");
        drop(writer);
        world.staged().fence().await.expect("fenced");
        world.oss.fail(1, What::Refuse(403, "AccessDenied"), move |asked| {
            asked.what() == "DELETE object" && asked.key.ends_with(last)
        });
        world.staged().complete(None).await.expect_err("not cleared");
        assert_eq!(world.staged().complete(None).await, Ok(Done::Complete(10)), "{last}");
        world.has_only(&bytes(0, 10));
    }
}

#[tokio::test]
async fn what_a_writer_has_on_its_way_when_it_is_let_go_of_does_not_count() {
    let world = World::new();
    let mut writer = world.create().await;
    writer.write(bytes(0, 10)).await.expect("written");
    flush(&mut writer).await.expect("flushed");
    world.staged().fence().await.expect("fenced");
    writer.write(bytes(10, 10)).await.expect("written");
    flush(&mut writer).await.expect("too late");
    assert_eq!(world.staged().length().await, Ok(Some(10)));
    assert_eq!(world.staged().complete(None).await, Ok(Done::Complete(10)));
    world.has_only(&bytes(0, 10));
}

/// Both flushes wait for one part. Whichever puts its manifest first is refused: then the store has neither.
#[tokio::test]
async fn no_flush_is_answered_by_a_manifest_that_was_refused() {
    for _ in 0..8 {
        let world = World::new();
        let mut writer = world.create().await;
        world.oss.fail(1, What::Slow(Duration::from_millis(50)), |asked| asked.what() == "PUT part");
        writer.write(bytes(0, 400 << 10)).await.expect("written");
        let first = writer.flush().await.expect("begun");
        writer.write(bytes(400 << 10, 10)).await.expect("written");
        let second = writer.flush().await.expect("begun");
        world.oss.fail(1, What::Refuse(403, "AccessDenied"), |asked| asked.key.ends_with("/manifest"));
        let done = (first.wait().await, second.wait().await);
        let there = world.staged().length().await.expect("asked").unwrap_or_default();
        assert!(done.0.is_err() && done.1.is_err() && there == 0, "{done:?}, {there} bytes are there");
    }
}

#[tokio::test]
async fn bytes_that_are_not_held_any_more_are_read_again() {
    let world = World::new();
    world.uploading.held.store(HELD_MAX, std::sync::atomic::Ordering::Relaxed);
    let mut writer = world.create().await;
    for at in 0..8 {
        writer.write(bytes(at * (45 << 10), 45 << 10)).await.expect("written");
        flush(&mut writer).await.expect("flushed");
    }
    writer.close().await.expect("closed");
    drop(writer);
    assert_eq!(world.uploading.held.load(std::sync::atomic::Ordering::Relaxed), HELD_MAX);
    world.staged().complete(None).await.expect("complete");
    world.has_only(&bytes(0, 8 * (45 << 10)));
}

#[tokio::test]
async fn names_are_never_taken_from_another_object_or_another_writer() {
    let world = World::new();
    let mut writer = world.create().await;
    let second = create(&world.store, AT, KEY, &world.uploading).await.map(drop);
    assert_eq!(second.expect_err("taken").kind, Kind::Exists);
    writer.write(bytes(0, 500 << 10)).await.expect("written");
    writer.close().await.expect("closed");
    world.oss.put(KEY, b"theirs");
    let error = world.staged().complete(Some(KEY)).await.expect_err("taken");
    assert_eq!(error.kind, Kind::Exists, "{error}");
    // An upload has its name from the beginning.
    let error = world.staged().complete(Some("logs/app.1.1")).await.expect_err("another name");
    assert_eq!(error.kind, Kind::Refused, "{error}");
    assert_eq!(world.oss.whole()[KEY], b"theirs");
    world.store.delete(KEY).await.expect("moved away");
    assert_eq!(world.staged().complete(Some("logs/app.1.1")).await, Ok(Done::Complete(500 << 10)));
    world.has_only(&bytes(0, 500 << 10));
    assert_eq!(
        create(&world.store, AT, KEY, &world.uploading).await.map(drop).expect_err("there").kind,
        Kind::Exists
    );
}

/// Between the last look at the name and the upload's end.
#[tokio::test]
async fn an_upload_that_is_completed_replaces_no_object_that_came_meanwhile() {
    let world = World::new();
    let upload = world.store.begin(KEY, "mine").await.expect("begun").id;
    let tag = world.store.part(KEY, &upload, 0, bytes(0, 10).into()).await.expect("there");
    world.oss.put(KEY, b"theirs");
    let error = world.store.complete(KEY, &upload, vec![tag]).await.expect_err("taken");
    assert_eq!(error.kind, Kind::Exists, "{error}");
    assert_eq!(world.oss.whole()[KEY], b"theirs");
}

#[tokio::test]
async fn an_answer_that_was_lost_after_it_was_done_is_found_out() {
    for (what, fault) in [
        ("PUT object", 0),
        ("PUT object", 1),
        ("POST begin", 0),
        ("PUT part", 1),
        ("POST complete", 0),
        ("DELETE object", 0),
    ] {
        let world = World::new();
        let seen = std::sync::atomic::AtomicUsize::new(0);
        world.oss.fail(1, What::LoseAnswer, move |asked| {
            asked.what() == what && seen.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == fault
        });
        let mut writer = world.create().await;
        for at in 0..4 {
            writer.write(bytes(at * (200 << 10), 200 << 10)).await.expect("written");
            flush(&mut writer).await.expect("flushed");
        }
        writer.close().await.expect("closed");
        world.staged().complete(None).await.unwrap_or_else(|error| panic!("{what}: {error}"));
        world.has_only(&bytes(0, 800 << 10));
        assert_eq!(world.oss.faults_left(), 0, "{what} {fault}");
    }
}

/// What a kill met: the store did it, and nobody heard of it.
#[tokio::test]
async fn an_upload_that_no_manifest_knows_is_thrown_away_with_its_file_and_after_it() {
    for released in [false, true] {
        let world = World::new();
        let mut writer = world.create().await;
        writer.write(bytes(0, 10)).await.expect("written");
        flush(&mut writer).await.expect("flushed");
        drop(writer);
        world.oss.begin_upload(KEY);
        world.oss.begin_upload("logs/app.10");
        let staged = world.staged();
        if released {
            staged.fence().await.expect("fenced");
            staged.complete(None).await.expect("complete");
        } else {
            staged.discard().await.expect("discarded");
        }
        assert_eq!(world.oss.uploads(), ["logs/app.10"], "of exactly this key");
        // Later still.
        world.oss.begin_upload(KEY);
        world.oss.put(&format!("{AT}/{:020}", 10), b"late");
        staged.sweep(KEY, "id").await.expect("swept");
        assert_eq!(world.oss.uploads(), ["logs/app.10"]);
        assert_eq!(world.oss.objects().into_keys().collect::<Vec<_>>(), [KEY][..usize::from(released)]);
    }
}

#[tokio::test]
async fn a_manifest_that_came_late_is_swept_and_another_writers_is_not() {
    let world = World::new();
    let mut other = create_as(&world.store, AT, KEY, "other", &world.uploading).await.expect("created");
    other.write(bytes(0, 500 << 10)).await.expect("written");
    flush(&mut other).await.expect("flushed");
    let before = (world.oss.objects(), world.oss.uploads());
    world.staged().sweep(KEY, "id").await.expect("nothing to do");
    assert_eq!((world.oss.objects(), world.oss.uploads()), before);
    other.close().await.expect("closed");
    world.staged().sweep(KEY, "other").await.expect("swept");
    assert!(world.oss.objects().is_empty() && world.oss.uploads().is_empty());
}

#[tokio::test]
async fn uploads_that_nobody_may_list_keep_no_file_from_its_end_and_are_one_line_of_the_log_in_a_while() {
    let world = World::new();
    world.oss.fail(50, What::Refuse(403, "AccessDenied"), |asked| asked.what() == "GET uploads");
    let (logged, begun) = (Logged::capture(), std::time::Instant::now());
    for _ in 0..50 {
        let mut writer = world.create().await;
        writer.write(bytes(0, 110 << 10)).await.expect("written");
        writer.close().await.expect("closed");
        world.staged().complete(None).await.expect("complete");
        world.has_only(&bytes(0, 110 << 10));
        world.store.delete(KEY).await.expect("deleted");
    }
    let lines = logged.lines();
    let about = lines.iter().filter(|(_, line)| line.contains("are not looked for: 403 AccessDenied"));
    let most = 1 + begun.elapsed().as_secs() / flumen_api::quiet::PAUSE.as_secs();
    assert!((1..=most).contains(&(about.count() as u64)), "{lines:?}");
    assert_eq!(world.oss.faults_left(), 0);
}

#[tokio::test]
async fn a_small_object_whose_answer_was_lost_is_its_own() {
    let world = World::new();
    world.oss.fail(1, What::LoseAnswer, |asked| asked.what() == "PUT object" && asked.key == KEY);
    let mut writer = world.create().await;
    writer.write(bytes(0, 10)).await.expect("written");
    writer.close().await.expect("closed");
    world.staged().complete(None).await.expect("complete");
    world.has_only(&bytes(0, 10));
}

#[tokio::test]
async fn faults_that_pass_are_outlived() {
    for what in [What::Refuse(503, "ServiceUnavailable"), What::Refuse(429, "QpsLimitExceeded"), What::Cut] {
        for kind in ["PUT object", "PUT part", "POST complete", "GET list"] {
            let world = World::new();
            world.oss.fail(1, what, move |asked| asked.what() == kind);
            let mut writer = world.create().await;
            writer.write(bytes(0, 150 << 10)).await.expect("written");
            flush(&mut writer).await.expect("flushed");
            writer.write(bytes(150 << 10, 10)).await.expect("written");
            writer.close().await.expect("closed");
            world.staged().complete(None).await.expect("complete");
            world.has_only(&bytes(0, (150 << 10) + 10));
            assert_eq!(world.oss.faults_left(), 0, "{what:?} {kind}");
        }
    }
}

#[tokio::test]
async fn a_clock_that_is_wrong_goes_by_the_stores() {
    for region in [None, Some("cn-hangzhou")] {
        for ahead in [-7200, 7200] {
            let oss = Oss::start();
            let store = store_of(&oss, region, None);
            oss.set_ahead(ahead);
            store.put("a", Bytes::from("x").into()).await.expect("put");
            assert_eq!(oss.asked().len(), 2, "{ahead}");
            store.put("b", Bytes::from("x").into()).await.expect("put");
            assert_eq!(oss.asked().len(), 3, "asked once more and no more");
        }
    }
}

#[tokio::test]
async fn a_key_that_is_refused_says_so_and_shows_no_secret() {
    let oss = Oss::start();
    oss.set_token("a-token", false);
    let good = store_of(&oss, Some("cn-hangzhou"), Some("a-token"));
    good.put("a", Bytes::from("x").into()).await.expect("put");
    oss.set_token("a-token", true);
    let error = good.put("a", Bytes::from("x").into()).await.expect_err("expired");
    assert!(error.kind == Kind::Refused && error.why.contains("SecurityTokenExpired"), "{error}");
    let bad = store_of(&oss, None, Some("another-token"));
    let error = bad.put("a", Bytes::from("x").into()).await.expect_err("another token");
    for text in [format!("{error:?}"), format!("{good:?}"), format!("{bad:?}")] {
        assert!(!text.contains(SECRET) && !text.contains("a-token"), "{text}");
    }
}

#[tokio::test]
async fn both_signatures_hold_for_every_request_and_strange_names() {
    for region in [None, Some("cn-hangzhou")] {
        let oss = Oss::start();
        let store = store_of(&oss, region, Some("sts"));
        let key = "a b/ü+1&%2F=x'";
        store.put_new(key, Bytes::from("one").into(), "m").await.expect("put");
        assert_eq!(
            store.put_new(key, Bytes::from("two").into(), "m").await.expect_err("there").kind,
            Kind::Exists
        );
        let found = store.look(key).await.expect("asked").expect("there");
        assert_eq!((found.length, found.mark.as_deref()), (3, Some("m")));
        assert_eq!(store.get(key).await.expect("read"), "one");
        assert_eq!(store.list("a b/").await.expect("listed"), [key]);
        store.delete(key).await.expect("deleted");
        let upload = store.begin(key, "m").await.expect("begun").id;
        let begun = Begun { key: key.into(), id: upload.clone() };
        assert_eq!(store.uploads("a b/").await.expect("listed"), [begun]);
        let tags = vec![
            store.part(key, &upload, 0, bytes(0, 100 << 10).into()).await.expect("a part"),
            store.part(key, &upload, 1, bytes(100 << 10, 1).into()).await.expect("a part"),
        ];
        store.complete(key, &upload, tags).await.expect("complete");
        assert_eq!(oss.objects()[key], bytes(0, (100 << 10) + 1));
        assert_eq!(store.complete(key, &upload, Vec::new()).await.expect_err("gone").kind, Kind::Missing);
        store.abort(key, &upload).await.expect("gone is gone");
    }
}

#[tokio::test]
async fn a_list_has_all_its_pages() {
    let oss = Oss::start();
    let names: Vec<String> = (0..2345).map(|n| format!("d/{n:05}")).collect();
    names.iter().for_each(|name| oss.put(name, b""));
    let store = store_of(&oss, None, None);
    assert_eq!(store.list("d/").await.expect("listed"), names);
    names.iter().for_each(|name| oss.begin_upload(name));
    let begun = store.uploads("d/").await.expect("listed");
    assert_eq!(begun.into_iter().map(|begun| begun.key).collect::<Vec<_>>(), names);
}

#[tokio::test]
async fn files_are_recovered_by_hand_one_or_a_folder() {
    let world = World::new();
    for (n, length) in [(1, 10), (2, 500 << 10), (3, 0)] {
        let (at, key) = (format!("tmp/logs/d{n}/f"), format!("logs/d{n}/f"));
        let mut writer = create(&world.store, &at, &key, &world.uploading).await.expect("created");
        if length > 0 {
            writer.write(bytes(0, length)).await.expect("written");
            flush(&mut writer).await.expect("flushed");
        }
    }
    world.oss.begin_upload("logs/d2/f");
    world.oss.put("tmp/logs/d4/f/manifest", b"{}");
    let recover = async |key: &str, is_folder, is_dry| {
        let options = Options { is_folder, is_dry, ..Options::default() };
        let done = recover_in(&world.store, "tmp", key, &options, &mut |_, _| ()).await.expect("listed");
        let bytes = |kind| match kind {
            recover::Kind::File(bytes) => bytes,
            recover::Kind::Upload { .. } => panic!("no upload is left but with its file"),
        };
        done.into_iter().map(|one| (one.key, bytes(one.kind), one.failed.is_some())).collect::<Vec<_>>()
    };
    let all = [("logs/d1/f", 10), ("logs/d2/f", 500 << 10), ("logs/d3/f", 0)];
    let mut all: Vec<_> = all.iter().map(|(key, bytes)| (key.to_string(), *bytes, false)).collect();
    all.push(("logs/d4/f".into(), 0, true));
    let before = world.oss.objects();
    assert_eq!(recover("", true, true).await, all);
    assert_eq!(world.oss.objects(), before, "a dry run changes nothing");
    assert_eq!(recover("logs/d1/f", false, false).await, all[..1]);
    assert_eq!(recover("logs/d1", true, false).await, []);
    assert!(recover("logs/d1/f", false, false).await[0].2, "nothing is staged any more");
    assert_eq!(recover("logs", true, false).await, all[1..]);
    let objects = world.oss.objects();
    assert_eq!(
        objects.keys().collect::<Vec<_>>(),
        ["logs/d1/f", "logs/d2/f", "tmp/logs/d4/f/manifest"],
        "what is no manifest is left"
    );
    assert_eq!(objects["logs/d2/f"], bytes(0, 500 << 10));
    assert_eq!(world.oss.uploads(), [""; 0]);
}

#[tokio::test]
async fn uploads_that_no_staged_file_knows_are_found_by_hand_and_those_of_others_left() {
    let world = World::new();
    // A sink's object, another's upload, a file that is staged, and what is beside the folder.
    world.store.put_new("logs/a", bytes(0, 9).into(), "id").await.expect("put");
    let mut writer = world.create().await;
    writer.write(bytes(0, 500 << 10)).await.expect("written");
    flush(&mut writer).await.expect("flushed");
    world.oss.put(&format!("{AT}/manifest"), b"{}");
    for key in ["logs/a", "logs/b", "more/c"] {
        world.oss.begin_upload(key);
    }
    let recover = async |key: &str, is_folder, is_dry, aborts_uploads| {
        let options = Options { is_folder, is_dry, aborts_uploads, ..Options::default() };
        let done = recover_in(&world.store, "tmp", key, &options, &mut |_, _| ()).await.expect("listed");
        let kind = |one: Recovered| match one.kind {
            recover::Kind::Upload { is_left } => Some((one.key, is_left, one.failed)),
            recover::Kind::File(_) => None,
        };
        done.into_iter().filter_map(kind).collect::<Vec<_>>()
    };
    let found = |key: &str, is_left| (key.to_string(), is_left, None);
    let uploads = || {
        let mut all = world.oss.uploads();
        all.sort();
        all
    };
    assert_eq!(recover("logs", true, true, false).await, [found("logs/a", false), found("logs/b", true)]);
    assert_eq!(uploads(), ["logs/a", KEY, "logs/b", "more/c"], "a dry run changes nothing");
    assert_eq!(recover("logs", true, false, false).await, [found("logs/a", false), found("logs/b", true)]);
    assert_eq!(uploads(), [KEY, "logs/b", "more/c"]);
    assert_eq!(recover("logs/b", false, false, true).await, [found("logs/b", false)]);
    assert_eq!(uploads(), [KEY, "more/c"]);
    world.oss.fail(1, What::Refuse(403, "AccessDenied"), |asked| asked.what() == "DELETE upload");
    let refused = recover("more", true, false, true).await;
    assert!(refused[0].2.as_ref().is_some_and(|why| why.contains("AccessDenied")), "{refused:?}");
}
