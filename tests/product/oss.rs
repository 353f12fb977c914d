//! The hdfs sink in an object store, whose agent is killed, and `flumen oss recover`.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::agent::{Agent, flumen};
use crate::lines::{LINE, Random, assert_each_once, lines};
use crate::mounts::skipped;
use crate::oss_store::{BUCKET, ID, Oss, SECRET};
use crate::python;
use crate::world::{World, eventually};

const SCENARIO: &str = include_str!("../scenarios/12-oss.conf");

/// The scenario over the store, with the core-site.xml that JindoFS's users have.
fn world(oss: &Oss) -> World {
    let quick = "a1.sources.r1.maxBackoffSleep = 200\na1.sources.r1.backoffSleepIncrement = 50\n";
    let world = World::new(&format!("{}{quick}", SCENARIO.replace("@BUCKET@", BUCKET)));
    fs::create_dir_all(world.path("conf")).unwrap();
    let endpoint = oss.endpoint();
    let site: String = [
        ("fs.oss.endpoint", endpoint.as_str()),
        ("fs.oss.accessKeyId", ID),
        ("fs.oss.accessKeySecret", SECRET),
        ("fs.jfs.cache.oss.flush.enable", "true"),
        ("fs.jfs.cache.flush.staging.path", "/tmp"),
    ]
    .iter()
    .map(|(name, value)| format!("<property><name>{name}</name><value>{value}</value></property>\n"))
    .collect();
    fs::write(world.path("conf/core-site.xml"), format!("<configuration>\n{site}</configuration>\n"))
        .unwrap();
    world
}

fn start(world: &World) -> Agent {
    world.spawn(flumen(world.root()).args(["agent", "-n", "a1", "-c", "conf", "-f", "flume.conf"])).started()
}

fn whole(oss: &Oss) -> Vec<u8> {
    oss.whole().into_values().flatten().collect()
}

#[test]
fn scenario_12_killed_ten_times_has_each_event_once_in_whole_objects() {
    const ROUND: u64 = 30_000;
    let (oss, mut random) = (Oss::start(), Random::new());
    let world = world(&oss);
    for round in 0..10 {
        let agent = start(&world);
        world.append("in/app.log", lines(round * ROUND, (round + 1) * ROUND));
        let enough = (round * ROUND + random.below(ROUND)) as usize * LINE;
        eventually(
            || oss.flushed_bytes() > enough,
            || format!("{} of {enough} bytes are flushed", oss.flushed_bytes()),
        );
        agent.kill();
    }
    // What these files have and was not released comes again: they count when they are completed.
    let left = oss.staged();
    let agent = start(&world);
    eventually(|| !oss.staged().iter().any(|at| left.contains(at)), || format!("{left:?} are not completed"));
    let all = 10 * ROUND as usize * LINE;
    eventually(
        || oss.flushed_bytes() == all,
        || format!("{} of {all} bytes are flushed", oss.flushed_bytes()),
    );
    let said = agent.stop();
    assert!(!said.contains(SECRET), "{said}");
    assert_each_once(&whole(&oss), 0..10 * ROUND);
    let names: Vec<String> = oss.objects().into_keys().collect();
    assert!(names.iter().all(|name| name.starts_with("flume_dir/20")), "nothing is left staged: {names:?}");
    // What an agent had asked for when it was killed may be done after the next one has looked: so that looks a second time, half a
    // minute later, or the one after it.
    if !oss.uploads().is_empty() {
        let agent = start(&world);
        eventually(|| oss.uploads().is_empty(), || format!("{:?} are left", oss.uploads()));
        agent.stop();
    }
}

/// What is held until objects end is far more than the channel takes: they end early, and nothing waits for ever.
#[test]
fn without_flushing_a_channel_that_is_full_ends_objects_and_kills_neither_lose_nor_repeat() {
    const LINES: u64 = 60_000;
    let (oss, mut random) = (Oss::start(), Random::new());
    let world = world(&oss);
    let keys = "a1.sinks.oss_sink.hdfs.flush = false\na1.channels.c1.capacity = 10000\n\
                a1.channels.c1.transactionCapacity = 1000\na1.channels.c1.keep-alive = 1\n\
                a1.sinks.oss_sink.hdfs.batchSize = 1000\n";
    world.append("flume.conf", keys);
    world.append("in/app.log", lines(0, LINES));
    let all = LINES as usize * LINE;
    let mut said = String::new();
    for _ in 0..3 {
        let agent = start(&world);
        let enough = oss.whole_bytes() + random.below(all as u64 / 12) as usize;
        eventually(|| oss.whole_bytes() > enough, || format!("{} of {enough} bytes", oss.whole_bytes()));
        said.push_str(&agent.said());
        agent.kill();
    }
    assert!(said.contains("the channel has no room left while "), "{said}");
    // What the channel has room for waits for its object's end: by time, here.
    world.append("flume.conf", "a1.sinks.oss_sink.hdfs.rollInterval = 1\n");
    let agent = start(&world);
    eventually(|| oss.whole_bytes() >= all, || format!("{} of {all} bytes", oss.whole_bytes()));
    agent.stop();
    assert_each_once(&whole(&oss), 0..LINES);
    assert_eq!(oss.staged(), [""; 0]);
}

#[test]
fn what_a_killed_agent_left_is_recovered_by_hand() {
    const LINES: u64 = 30_000;
    let oss = Oss::start();
    let world = world(&oss);
    let agent = start(&world);
    world.append("in/app.log", lines(0, LINES));
    let all = LINES as usize * LINE;
    eventually(
        || oss.flushed_bytes() == all,
        || format!("{} of {all} bytes are flushed", oss.flushed_bytes()),
    );
    agent.kill();
    assert_eq!(oss.whole_bytes(), 0, "nothing is seen of a file before its end");
    let recover = |more: &[&str], stdin: &str| {
        let mut command = flumen(world.root());
        command.args(["oss", "recover", "-R", "-flushStagingPath", "/tmp"]).args(more);
        command.arg(format!("oss://{BUCKET}/flume_dir"));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains(SECRET), "{said}");
        (output.status.code(), said.into_owned())
    };
    let (code, said) = recover(&["-c", "conf", "--dry-run"], "");
    assert!(code == Some(0) && said.contains("bytes would be recovered"), "{said}");
    assert_eq!(oss.whole_bytes(), 0, "a dry run changes nothing");
    let endpoint = oss.endpoint();
    let by_hand = ["-accessKeyId", ID, "-accessKeySecret", "-", "--endpoint", &endpoint];
    let (code, said) = recover(&by_hand, "wrong\n");
    assert!(code == Some(1) && said.contains("SignatureDoesNotMatch"), "{said}");
    // Begun for somebody who is gone, or by another program.
    oss.begin_upload("flume_dir/theirs");
    let (code, said) = recover(&by_hand, &format!("{SECRET}\n"));
    assert!(code == Some(0) && said.contains(" bytes recovered"), "{said}");
    let left = "flume_dir/theirs: an upload that nobody completes is left; `--abort-uploads` throws it away";
    assert!(said.contains(left), "{said}");
    let (code, said) = recover(&["-c", "conf", "--abort-uploads"], "");
    assert!(
        code == Some(0) && said.contains("flume_dir/theirs: an upload that nobody completes is thrown away")
    );
    assert!(!said.contains(" %"), "how far it is, is for a terminal: {said}");
    assert_each_once(&whole(&oss), 0..LINES);
    assert!(oss.objects().keys().all(|name| name.starts_with("flume_dir/")) && oss.uploads().is_empty());
    let (code, said) = recover(&["-c", "conf"], "");
    assert!(code == Some(0) && said.contains("nothing is staged"), "{said}");
}

#[test]
fn no_secret_is_in_what_is_said_of_a_sink_in_a_store_however_much_is() {
    const TOKEN: &str = "a-token-of-somebodys";
    let oss = Oss::start();
    oss.set_token(TOKEN, false);
    let world = world(&oss);
    let keys = format!(
        "\na1.sinks.oss_sink.hdfs.endpoint = {}\na1.sinks.oss_sink.hdfs.accessKeyId = {ID}\n\
         a1.sinks.oss_sink.hdfs.accessKeySecret = {SECRET}\na1.sinks.oss_sink.hdfs.securityToken = {TOKEN}\n",
        oss.endpoint()
    );
    world.append("flume.conf", keys);
    let is_secret = |said: &str| [SECRET, TOKEN].iter().any(|secret| said.contains(secret));
    let checked = world.check();
    let said = String::from_utf8_lossy(&checked.stdout) + String::from_utf8_lossy(&checked.stderr);
    assert!(!is_secret(&said), "{said}");
    let mut command = flumen(world.root());
    command.args(["agent", "-n", "a1", "-f", "flume.conf", "-Dflume.root.logger=TRACE,console"]);
    let agent = world.spawn(command.env_remove("HADOOP_CONF_DIR")).started();
    world.append("in/app.log", lines(0, 100));
    eventually(|| oss.flushed_bytes() == 100 * LINE, || "nothing is flushed".into());
    // A refusal is told, and what was asked with it.
    oss.set_token(TOKEN, true);
    world.append("in/app.log", lines(100, 200));
    agent.wait_for(&["SecurityTokenExpired"]);
    oss.set_token(TOKEN, false);
    eventually(|| oss.flushed_bytes() >= 200 * LINE, || "nothing is flushed".into());
    let said = agent.stop();
    assert!(!is_secret(&said), "{said}");
    assert_each_once(&whole(&oss), 0..200);
}

/// `script` runs it in a terminal.
#[test]
fn who_recovers_in_a_terminal_sees_how_far_it_is() {
    let oss = Oss::start();
    let world = world(&oss);
    for name in ["a", "b", "c"] {
        let manifest = format!(
            "{{\"version\":1,\"key\":\"d/{name}\",\"id\":\"{name}\",\"length\":1,\"parts\":[],\"pieces\":[[0,1]]}}"
        );
        oss.put(&format!("tmp/d/{name}/manifest"), manifest.as_bytes());
        oss.put(&format!("tmp/d/{name}/{:020}", 0), name.as_bytes());
    }
    let command = format!("{} oss recover -c conf -R oss://{BUCKET}/d", env!("CARGO_BIN_EXE_flumen"));
    let mut script = Command::new("script");
    script.current_dir(world.root()).args(["-qec", &command, "/dev/null"]).stdin(Stdio::null());
    let output = script.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("100 %   3 files"), "{said}");
    assert_eq!(oss.objects().into_values().collect::<Vec<_>>(), [b"a", b"b", b"c"]);
}

#[test]
fn the_official_client_and_the_store_of_these_tests_understand_each_other() {
    let python = match python::with_clients() {
        Ok(Some(python)) => python,
        Ok(None) => return,
        Err(why) => return skipped(&why),
    };
    let oss = Oss::start();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/oss/official.py");
    let output = Command::new(python).args([script, &oss.endpoint()]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("agreed"), "{said}");
}
