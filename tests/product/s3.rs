//! The hdfs sink in a real store of S3's kind, which comes from Maven Central: see [`s3proxy`](crate::s3proxy). Without Java or Maven the
//! test is skipped with a word; with `FLUMEN_REQUIRE_PEERS=1` it fails.

use std::process::Command;

use crate::agent::{Agent, flumen};
use crate::lines::{LINE, Random, assert_each_once, lines};
use crate::mounts::skipped;
use crate::s3proxy::{BUCKET, ID, S3Proxy, SECRET};
use crate::world::{World, eventually};

/// taildir → file channel → hdfs in a folder of the bucket, each event once. Files are of several parts, for a part has 5 MiB there.
fn world(store: &S3Proxy, folder: &str, roll_size: u64) -> World {
    World::new(&format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\na1.sources.r1.type = TAILDIR\n\
         a1.sources.r1.positionFile = @DIR@/position.json\na1.sources.r1.filegroups = f1\n\
         a1.sources.r1.filegroups.f1 = @DIR@/in/.*log\na1.sources.r1.maxBackoffSleep = 200\na1.sources.r1.channels = c1\n\
         a1.channels.c1.type = file\na1.channels.c1.checkpointDir = @DIR@/checkpoint\na1.channels.c1.dataDirs = @DIR@/data\n\
         a1.channels.c1.transactionCapacity = 10000\na1.sinks.k1.type = hdfs\na1.sinks.k1.channel = c1\n\
         a1.sinks.k1.hdfs.path = s3://{BUCKET}/{folder}\na1.sinks.k1.hdfs.endpoint = {}\n\
         a1.sinks.k1.hdfs.uploadPartSize = 5242880\na1.sinks.k1.hdfs.fileType = DataStream\n\
         a1.sinks.k1.hdfs.batchSize = 10000\na1.sinks.k1.hdfs.rollInterval = 0\na1.sinks.k1.hdfs.rollSize = {roll_size}\n\
         a1.sinks.k1.hdfs.rollCount = 0\na1.sinks.k1.hdfs.exactlyOnce = true\n",
        store.endpoint()
    ))
}

/// With the key in the environment, as S3's users have it.
fn with_key(command: &mut Command) -> &mut Command {
    command.env("AWS_ACCESS_KEY_ID", ID).env("AWS_SECRET_ACCESS_KEY", SECRET).env_remove("HADOOP_CONF_DIR")
}

fn start(world: &World) -> Agent {
    let mut command = flumen(world.root());
    world.spawn(with_key(command.args(["agent", "-n", "a1", "-f", "flume.conf"])))
}

/// Manifests of files that are not completed.
fn staged(store: &S3Proxy, folder: &str) -> Vec<(String, Vec<u8>)> {
    let mut all = store.objects(&format!("tmp/{folder}"));
    all.retain(|(name, _)| name.ends_with("/manifest"));
    all
}

fn whole(store: &S3Proxy, folder: &str) -> Vec<u8> {
    store.objects(folder).into_iter().flat_map(|(_, bytes)| bytes).collect()
}

/// Bytes of whole objects, and of files of which so much is flushed.
fn flushed(store: &S3Proxy, folder: &str) -> usize {
    let length = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).ok()?["length"].as_u64();
    let staged: u64 = staged(store, folder).iter().filter_map(|(_, manifest)| length(manifest)).sum();
    whole(store, folder).len() + staged as usize
}

/// The server is one Java machine, and nothing that is asked of it here is quick: all of it is one test.
#[test]
fn a_real_store_of_s3s_kind_has_each_event_once_in_whole_objects_after_kills_and_recoveries() {
    let store = match S3Proxy::start() {
        Ok(store) => store,
        Err(why) => return skipped(&why),
    };
    objects_are_whole_through_kills(&store);
    what_is_left_is_recovered_by_hand(&store);
}

fn objects_are_whole_through_kills(store: &S3Proxy) {
    const ROUND: u64 = 60_000;
    const KILLS: u64 = 4;
    let world = world(store, "logs", 12 << 20);
    let mut random = Random::new();
    for round in 0..KILLS {
        let agent = start(&world);
        world.append("in/app.log", lines(round * ROUND, (round + 1) * ROUND));
        let enough = (round * ROUND + random.below(ROUND)) as usize * LINE;
        eventually(
            || flushed(store, "logs") > enough,
            || format!("{} of {enough} bytes are flushed: {}", flushed(store, "logs"), store.log()),
        );
        agent.kill();
    }
    // What these files have and was not released comes again: they count when they are completed.
    let left: Vec<String> = staged(store, "logs").into_iter().map(|(name, _)| name).collect();
    let agent = start(&world);
    let is_left = || staged(store, "logs").iter().any(|(name, _)| left.contains(name));
    eventually(|| !is_left(), || format!("{left:?} are not completed: {}", store.log()));
    let all = (KILLS * ROUND) as usize * LINE;
    eventually(
        || flushed(store, "logs") == all,
        || format!("{} of {all} bytes are flushed: {}", flushed(store, "logs"), store.log()),
    );
    let said = agent.stop();
    assert!(!said.contains(SECRET), "{said}");
    if !staged(store, "logs").is_empty() {
        // A stop does not wait for ever; the next start goes on.
        let agent = start(&world);
        eventually(|| staged(store, "logs").is_empty(), || format!("{:?}", staged(store, "logs")));
        agent.stop();
    }
    assert_each_once(&whole(store, "logs"), 0..KILLS * ROUND);
    let sizes: Vec<usize> = store.objects("logs").iter().map(|(_, bytes)| bytes.len()).collect();
    assert!(sizes.iter().any(|size| *size > 10 << 20), "one at least is of several parts: {sizes:?}");
    assert_eq!(store.objects("tmp/logs"), [], "nothing is left staged");
}

fn what_is_left_is_recovered_by_hand(store: &S3Proxy) {
    const LINES: u64 = 60_000;
    let world = world(store, "more", 0);
    let agent = start(&world);
    world.append("in/app.log", lines(0, LINES));
    let all = LINES as usize * LINE;
    eventually(
        || flushed(store, "more") == all,
        || format!("{} of {all} bytes are flushed: {}", flushed(store, "more"), store.log()),
    );
    agent.kill();
    assert_eq!(store.objects("more"), [], "nothing is seen of a file before its end");
    let recover = |more: &[&str]| {
        let mut command = flumen(world.root());
        command.args(["oss", "recover", "-R", "--endpoint", &store.endpoint()]).args(more);
        let output = with_key(command.arg(format!("s3://{BUCKET}/more"))).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said.into_owned())
    };
    let (code, said) = recover(&["--dry-run"]);
    assert!(code == Some(0) && said.contains("bytes would be recovered"), "{said}");
    assert_eq!(store.objects("more"), []);
    let (code, said) = recover(&[]);
    assert!(code == Some(0) && said.contains(" bytes recovered"), "{said}");
    assert_each_once(&whole(store, "more"), 0..LINES);
    assert_eq!(store.objects("tmp/more"), [], "nothing is left staged");
}
