use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_api::Position;
use flumen_api::channel::SinkProgress;
use flumen_api::event::Headers;
use flumen_api::registry::Factory;
use flumen_api::settings::{ComponentConfig, Problems, Process};
use flumen_api::sink::{Sink, SinkContext};
use flumen_api::{Batch, Events};

use super::record::Names;
use crate::objects::emulator::{Asked, BUCKET, ID, Oss, SECRET, What};
use crate::testing::{FakeChannel, Logged, config, context_over, events};

const PATIENCE: Duration = Duration::from_secs(60);

/// A sink of text at work in the emulator's bucket, with its channel.
struct World {
    oss: Oss,
    channel: Arc<FakeChannel>,
    context: SinkContext,
    sink: Box<dyn Sink>,
}

fn sink(oss: &Oss, keys: &[(&str, &str)]) -> Box<dyn Sink> {
    sink_in(Process::default(), oss, keys)
}

fn sink_in(process: Process, oss: &Oss, keys: &[(&str, &str)]) -> Box<dyn Sink> {
    let (path, endpoint) = (format!("oss://{BUCKET}/logs"), oss.endpoint());
    let mut all = vec![
        ("hdfs.path", path.as_str()),
        ("hdfs.endpoint", &endpoint),
        ("hdfs.accessKeyId", ID),
        ("hdfs.accessKeySecret", SECRET),
        ("hdfs.batchSize", "100000"),
        ("hdfs.fileType", "DataStream"),
        ("hdfs.rollInterval", "0"),
        ("hdfs.rollSize", "0"),
        ("hdfs.rollCount", "0"),
        ("hdfs.uploadPartSize", "102400"),
    ];
    all.retain(|(key, _)| !keys.iter().any(|(other, _)| key == other));
    all.extend(keys);
    let mut problems = Problems::default();
    let Factory::Sink(build) = super::spec().factory else { panic!("a sink") };
    let config = ComponentConfig { process, ..config(&all) };
    let built = build(&config, &mut problems).unwrap_or_else(|| panic!("{problems:?}"));
    assert_eq!(problems.0, []);
    built.component
}

impl World {
    async fn new(keys: &[(&str, &str)]) -> Self {
        let (oss, channel) = (Oss::start(), FakeChannel::new());
        let (context, sink) = (context_over(&channel), sink(&oss, keys));
        let mut world = Self { oss, channel, context, sink };
        world.sink.start(&world.context).await.expect("started");
        world
    }

    /// The next life over the same channel and bucket, as after a kill.
    async fn next_life(self, keys: &[(&str, &str)]) -> Self {
        let Self { oss, channel, sink: old, .. } = self;
        drop(old);
        let (context, sink) = (context_over(&channel), sink(&oss, keys));
        let mut world = Self { oss, channel, context, sink };
        world.sink.start(&world.context).await.expect("started");
        world
    }

    async fn deliver(&mut self, bodies: &[&str]) {
        self.sink.deliver(&events(bodies)).await.expect("delivered");
    }

    /// Flushes, and releases as the runner does.
    async fn flush(&mut self) {
        let progress = self.sink.flush().await.expect("flushed");
        self.channel.release(progress);
    }

    /// Texts of the whole objects.
    fn whole(&self) -> Vec<String> {
        let texts = self.oss.whole().into_values();
        texts.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
    }

    /// Waits until the whole objects are these, whatever their numbers.
    async fn wait_for(&self, expected: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        while self.whole() != expected {
            assert!(Instant::now() < deadline, "{:?} instead of {expected:?}", self.whole());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until nothing is staged any more and the journal is empty.
    async fn wait_until_clear(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let staged: BTreeMap<_, _> = self.oss.objects();
            let staged: Vec<_> = staged.into_keys().filter(|key| key.starts_with("tmp/")).collect();
            if staged.is_empty() && self.oss.uploads().is_empty() && self.context.positions().is_empty() {
                return;
            }
            let left = (staged, self.oss.uploads(), self.context.positions());
            assert!(Instant::now() < deadline, "{left:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn with_header(pairs: &[(&str, &str)]) -> Events {
    let mut batch = Batch::new();
    for (value, body) in pairs {
        let set = batch.add_headers(Headers::from_iter([("h", *value)]));
        batch.push_with(body.as_bytes(), set);
    }
    Events::from_batch(&batch)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_appears_whole_when_its_file_ends_and_its_staging_goes() {
    let mut world = World::new(&[("hdfs.rollCount", "2")]).await;
    world.deliver(&["one", "two", "three"]).await;
    world.flush().await;
    assert_eq!(world.whole(), [""; 0]);
    world.sink.idle().await.expect("idle");
    world.wait_for(&["one\ntwo\n"]).await;
    world.sink.stop().await;
    world.wait_for(&["one\ntwo\n", "three\n"]).await;
    world.wait_until_clear().await;
    let names: Vec<String> = world.oss.whole().into_keys().collect();
    assert!(names.iter().all(|name| name.starts_with("logs/FlumeData.")), "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_goes_up_part_by_part_and_is_one_object() {
    let mut world = World::new(&[]).await;
    let body = "x".repeat(10_000);
    for _ in 0..5 {
        world.deliver(&[body.as_str(); 11]).await;
    }
    world.flush().await;
    world.sink.stop().await;
    world.wait_for(&[&format!("{body}\n").repeat(55)]).await;
    assert!(world.oss.asked().iter().filter(|asked| *asked == "PUT part").count() >= 2);
    world.wait_until_clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_life_completes_what_a_kill_left_up_to_what_is_released() {
    let large = "x".repeat(150_000);
    let mut world = World::new(&[("hdfs.filePrefix", "%{h}")]).await;
    world.sink.deliver(&with_header(&[("a", "1"), ("b", &large)])).await.expect("delivered");
    world.flush().await;
    // Flushed, and never released; and a file of which nothing is.
    world.sink.deliver(&with_header(&[("a", &large), ("b", "2"), ("c", "3")])).await.expect("delivered");
    world.sink.flush().await.expect("flushed");
    world.oss.put("tmp/logs/somebodys", b"5");
    let world = world.next_life(&[]).await;
    world.wait_for(&["1\n", &format!("{large}\n")]).await;
    world.oss.objects().get("tmp/logs/somebodys").expect("nothing of others is touched");
    world.oss.put("tmp/logs/somebodys", b"");
    let deadline = Instant::now() + PATIENCE;
    while !(world.context.positions().is_empty() && world.oss.uploads().is_empty()) {
        assert!(Instant::now() < deadline, "{:?} {:?}", world.context.positions(), world.oss.uploads());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The store does what a process had asked for when it was killed after the next one has finished its files.
#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_is_begun_after_the_next_life_has_finished_its_file_is_thrown_away_all_the_same() {
    let until = async |what: &str, is_so: &dyn Fn() -> bool| {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "{what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    for released in [false, true] {
        let mut world = World::new(&[]).await;
        world.deliver(&["one"]).await;
        if released {
            world.flush().await;
        }
        world.oss.fail(1, What::Hold(0), |asked| asked.what() == "POST begin");
        world.deliver(&[&"x".repeat(300_000)]).await;
        let flush = world.sink.flush();
        until("an upload is begun", &|| world.oss.faults_left() == 0).await;
        drop(flush);
        // What a life asks for first when it looks a second time. The next one is killed in the middle of that.
        let is_manifest = |asked: &Asked| asked.what() == "PUT object" && asked.key.ends_with("/manifest");
        let staged = |world: &World| world.oss.objects().keys().any(|key| key.starts_with("tmp/"));
        world.oss.fail(1, What::Hold(1), is_manifest);
        let world = world.next_life(&[]).await;
        until("it is looked for a second time", &|| world.oss.faults_left() == 0).await;
        world.wait_for(&["one\n"][..usize::from(released)]).await;
        assert!(!staged(&world), "the file is finished");
        assert_eq!(world.context.positions().len(), 1, "and not forgotten");
        world.oss.fail(1, What::Hold(2), is_manifest);
        let mut world = world;
        world.sink = sink(&world.oss, &[]);
        world.oss.let_go(1);
        until("a manifest without a file", &|| staged(&world)).await;
        let world = world.next_life(&[]).await;
        until("it is looked for a second time", &|| world.oss.faults_left() == 0).await;
        assert!(!staged(&world), "what the killed look left is cleared");
        world.oss.let_go(0);
        // This store refuses it where there is an object; others do not.
        world.oss.whole().keys().for_each(|key| world.oss.begin_upload(key));
        until("it is begun", &|| !world.oss.uploads().is_empty()).await;
        world.oss.let_go(2);
        world.wait_until_clear().await;
        world.wait_for(&["one\n"][..usize::from(released)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_another_sink_has_taken_since_its_file_was_finished_is_left_to_it() {
    let mut world = World::new(&[]).await;
    world.deliver(&["one"]).await;
    let deadline = Instant::now() + PATIENCE;
    while world.oss.staged().is_empty() {
        assert!(Instant::now() < deadline, "a manifest");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let manifest = world.oss.staged().remove(0);
    // Finished by the next life, which is killed before it looks a second time.
    world
        .oss
        .fail(1, What::Hold(0), |asked| asked.what() == "PUT object" && asked.key.ends_with("/manifest"));
    let mut world = world.next_life(&[]).await;
    while world.oss.faults_left() > 0 {
        assert!(Instant::now() < deadline, "it is looked for a second time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.sink = sink(&world.oss, &[]);
    let key = manifest.trim_start_matches("tmp/").trim_end_matches("/manifest");
    let theirs = format!(
        "{{\"version\":1,\"key\":\"{key}\",\"id\":\"theirs\",\"length\":0,\"parts\":[],\"pieces\":[]}}"
    );
    world.oss.put(&manifest, theirs.as_bytes());
    world.oss.let_go(0);
    let world = world.next_life(&[]).await;
    while !world.context.positions().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", world.context.positions());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(world.oss.objects().get(&manifest).map(Vec::as_slice), Some(theirs.as_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rolled_back_goes_to_another_object_and_nothing_comes_twice() {
    let mut world = World::new(&[]).await;
    world.deliver(&["one", "two"]).await;
    world.flush().await;
    world.deliver(&["three"]).await;
    drop(world.sink.flush());
    assert!(world.sink.flush().await.is_err(), "nothing is released before the sink has begun over");
    world.deliver(&["three", "four"]).await;
    world.flush().await;
    world.sink.stop().await;
    world.wait_for(&["one\ntwo\n", "three\nfour\n"]).await;
    world.wait_until_clear().await;
}

/// Keys of a sink that does not flush, whose objects end with three events.
const WHOLE: [(&str, &str); 2] = [("hdfs.flush", "false"), ("hdfs.rollCount", "3")];

#[tokio::test(flavor = "multi_thread")]
async fn without_flushing_takes_are_held_until_their_object_ends_and_a_take_is_in_one() {
    let mut world = World::new(&WHOLE).await;
    world.deliver(&["one", "two"]).await;
    assert!(world.sink.holds(), "the object is not at its end");
    let asked = world.oss.asked();
    assert!(
        !asked.iter().any(|asked| asked == "PUT part"),
        "nothing is uploaded for its own sake: {asked:?}"
    );
    // The object ends behind this take, and not within.
    world.deliver(&["three", "four"]).await;
    assert!(!world.sink.holds());
    world.flush().await;
    world.sink.idle().await.expect("idle");
    world.wait_for(&["one\ntwo\nthree\nfour\n"]).await;
    world.deliver(&["five"]).await;
    assert!(world.sink.holds());
    // As a stop does, and a channel that has no room.
    world.flush().await;
    world.sink.stop().await;
    world.wait_for(&["one\ntwo\nthree\nfour\n", "five\n"]).await;
    world.wait_until_clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_flushing_all_objects_end_together() {
    let mut world = World::new(&[WHOLE[0], WHOLE[1], ("hdfs.filePrefix", "%{h}")]).await;
    world.sink.deliver(&with_header(&[("a", "1"), ("b", "2")])).await.expect("delivered");
    assert!(world.sink.holds());
    world.sink.deliver(&with_header(&[("a", "3"), ("a", "4")])).await.expect("delivered");
    assert!(!world.sink.holds());
    world.flush().await;
    world.sink.idle().await.expect("idle");
    world.wait_for(&["1\n3\n4\n", "2\n"]).await;
    world.wait_until_clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_flushing_an_object_ends_by_time_and_by_idleness_as_well() {
    for key in ["hdfs.rollInterval", "hdfs.idleTimeout"] {
        let mut world = World::new(&[WHOLE[0], (key, "1")]).await;
        world.deliver(&["one"]).await;
        let deadline = Instant::now() + PATIENCE;
        while world.sink.holds() {
            assert!(Instant::now() < deadline, "{key}: it is held for ever");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        world.flush().await;
        world.sink.idle().await.expect("idle");
        world.wait_for(&["one\n"]).await;
    }
}

/// A take that is delivered when the time is over goes to the object that ends, and not to another one that ends with it.
#[tokio::test(flavor = "multi_thread")]
async fn without_flushing_a_timed_end_makes_one_object() {
    let mut world = World::new(&[WHOLE[0], ("hdfs.rollInterval", "1")]).await;
    world.deliver(&["one"]).await;
    tokio::time::sleep(Duration::from_millis(1300)).await;
    world.deliver(&["two"]).await;
    assert!(!world.sink.holds(), "its time is over");
    world.flush().await;
    world.sink.idle().await.expect("idle");
    world.wait_for(&["one\ntwo\n"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_flushing_a_slow_store_holds_up_what_is_delivered() {
    const MIB: usize = 1 << 20;
    let mut world = World::new(&[WHOLE[0], ("hdfs.rollInterval", "3600")]).await;
    world.oss.fail(999, What::Slow(10 * PATIENCE), |asked| asked.what() == "PUT part");
    let (body, mut delivered) = ("x".repeat(MIB), 0);
    while tokio::time::timeout(Duration::from_millis(500), world.deliver(&[&body])).await.is_ok() {
        delivered += 1;
        assert!(delivered < 40, "{delivered} MiB wait for the store");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_flushing_a_refused_part_is_told_before_the_objects_end_and_nothing_is_lost() {
    let mut world = World::new(&[WHOLE[0], ("hdfs.rollInterval", "3600")]).await;
    world.oss.fail(1, What::Refuse(403, "AccessDenied"), |asked| asked.what() == "PUT part");
    let body = "x".repeat(150_000);
    let deadline = Instant::now() + PATIENCE;
    let error = loop {
        assert!(Instant::now() < deadline, "nobody says so");
        if let Err(error) = world.sink.deliver(&events(&[&body])).await {
            break error;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(error.message.contains("AccessDenied"), "{error}");
    // The channel gives all of it again.
    world.deliver(&[&body, "end"]).await;
    world.flush().await;
    world.sink.stop().await;
    world.wait_for(&[&format!("{body}\nend\n")]).await;
    world.wait_until_clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_flushing_nothing_is_left_of_what_a_kill_met() {
    let mut world = World::new(&WHOLE).await;
    let large = "x".repeat(300_000);
    world.deliver(&[&large]).await;
    let deadline = Instant::now() + PATIENCE;
    while world.oss.uploads().is_empty() {
        assert!(Instant::now() < deadline, "a part goes up when it is full");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut world = world.next_life(&WHOLE).await;
    world.wait_until_clear().await;
    assert_eq!(world.whole(), [""; 0]);
    // The channel gives it again.
    world.deliver(&[&large]).await;
    world.flush().await;
    world.sink.stop().await;
    world.wait_for(&[&format!("{large}\n")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_loses_nothing_and_goes_on_when_it_works_again() {
    let mut world = World::new(&[]).await;
    world.deliver(&["one"]).await;
    world.flush().await;
    world.oss.fail(1, What::Refuse(403, "AccessDenied"), |asked| asked.what() == "PUT object");
    world.deliver(&["two"]).await;
    let error = world.sink.flush().await.expect_err("refused");
    assert!(error.message.contains("AccessDenied"), "{error}");
    world.deliver(&["two", "three"]).await;
    world.flush().await;
    world.sink.stop().await;
    world.wait_for(&["one\n", "two\nthree\n"]).await;
    world.wait_until_clear().await;
}

/// A store that is slow to say that a part is there holds up neither what is written next nor the parts of that.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_flushed_holds_up_nothing_that_is_delivered_behind_it() {
    let mut world = World::new(&[]).await;
    world.oss.fail(1, What::Slow(PATIENCE), |asked| {
        asked.query.get("partNumber").is_some_and(|number| number == "1")
    });
    let part = "x".repeat(150_000);
    world.deliver(&[&part]).await;
    let mut slow = world.sink.flush();
    world.deliver(&[&part]).await;
    let _next = world.sink.flush();
    let deadline = Instant::now() + PATIENCE / 2;
    while world.oss.asked().iter().filter(|asked| *asked == "PUT part").count() < 2 {
        assert!(Instant::now() < deadline, "{:?}", world.oss.asked());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let is_done = std::future::poll_fn(|cx| std::task::Poll::Ready(slow.as_mut().poll(cx).is_ready())).await;
    assert!(!is_done, "what is not at the store is not released");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_a_region_and_another_staging_path_are_gone_by() {
    let keys = [
        ("hdfs.securityToken", "a-token"),
        ("hdfs.region", "cn-hangzhou"),
        ("hdfs.flushStagingPath", "oss://bucket/stage/"),
    ];
    let mut world = World::new(&keys).await;
    world.oss.set_token("a-token", false);
    world.deliver(&["one"]).await;
    world.flush().await;
    let objects = world.oss.objects();
    assert!(objects.len() == 2 && objects.keys().all(|key| key.starts_with("stage/logs/")), "{objects:?}");
    world.sink.stop().await;
    world.wait_for(&["one\n"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_another_sink_created_first_is_left_to_it_and_ones_own_is_not() {
    for is_own in [false, true] {
        let mut world = World::new(&[]).await;
        world.deliver(&["one"]).await;
        // As if another sink had noted the same name, and had not heard whether it got it.
        let positions = world.context.positions();
        let (key, position) = positions.first_key_value().expect("a file");
        let mut names = Names::decode(&position.rest).expect("names");
        names.made = false;
        if !is_own {
            names.mark = Names::new(String::new(), String::new()).mark;
        }
        let channel = FakeChannel::new();
        let position = Position { rest: names.encode(), ..position.clone() };
        channel.release(vec![SinkProgress { key: key.clone(), position: Some(position) }]);
        let context = context_over(&channel);
        let deadline = Instant::now() + PATIENCE;
        while !context.positions().is_empty() {
            assert!(Instant::now() < deadline, "{:?}", context.positions());
            let mut other = sink(&world.oss, &[]);
            other.start(&context).await.expect("started");
            other.stop().await;
        }
        assert_eq!(world.oss.objects().is_empty(), is_own);
        if !is_own {
            world.flush().await;
            world.sink.stop().await;
            world.wait_for(&["one\n"]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn core_site_turns_flushing_off_and_the_sinks_own_key_counts_more() {
    for (keys, flushes, holds) in
        [(&[][..], "false", true), (&[], "true", false), (&[("hdfs.flush", "true")], "false", false)]
    {
        let directory = tempfile::tempdir().expect("a directory");
        let site = format!(
            "<configuration><property><name>fs.jfs.cache.oss.flush.enable</name><value>{flushes}</value></property>\
             </configuration>"
        );
        std::fs::write(directory.path().join("core-site.xml"), site).expect("written");
        let place = directory.path().to_str().expect("a path").to_string();
        let process =
            Process { system: Arc::new([("flume.conf.dir".into(), place)].into()), ..Process::default() };
        let (oss, channel) = (Oss::start(), FakeChannel::new());
        let (context, mut sink) = (context_over(&channel), sink_in(process, &oss, keys));
        let logged = Logged::capture();
        sink.start(&context).await.expect("started");
        let is_said =
            logged.lines().iter().any(|(_, line)| line.contains("core-site.xml turns flushing off"));
        assert_eq!(is_said, holds, "no key ends an object");
        sink.deliver(&events(&["one"])).await.expect("delivered");
        assert_eq!(sink.holds(), holds, "{keys:?} {flushes}");
        sink.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn file_types_codecs_and_serializers_are_those_of_hdfs() {
    let gzip = [("hdfs.fileType", "CompressedStream"), ("hdfs.codeC", "gzip")];
    let avro = [("hdfs.fileType", "DataStream"), ("serializer", "avro_event")];
    for (keys, suffix, first) in [
        (&gzip[..], ".gz", &b"\x1f\x8b"[..]),
        (&[("hdfs.fileType", "SequenceFile")], "", b"SEQ\x06"),
        (&avro, "", b"Obj\x01"),
    ] {
        let mut world = World::new(keys).await;
        for round in 0..3 {
            world.deliver(&[&format!("event {round}")]).await;
            world.flush().await;
        }
        world.sink.stop().await;
        let deadline = Instant::now() + PATIENCE;
        while world.oss.whole().is_empty() {
            assert!(Instant::now() < deadline, "{:?}", world.oss.asked());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let (name, mut bytes) = world.oss.whole().pop_first().expect("an object");
        assert!(name.ends_with(suffix) && bytes.starts_with(first), "{name}: {bytes:?}");
        if suffix == ".gz" {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&bytes[..]), &mut text)
                .expect("gzip");
            bytes = text;
        }
        for round in 0..3 {
            let body = format!("event {round}");
            let times = bytes.windows(body.len()).filter(|part| *part == body.as_bytes()).count();
            assert_eq!(times, 1, "{name}: {body}");
        }
    }
}
