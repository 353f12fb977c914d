//! The hdfs sink in an object store, whose agent is killed, and `flumen oss recover`.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::agent::{Agent, flumen};
use crate::lines::{LINE, Random, assert_each_once, lines};
use crate::oss_store::{BUCKET, ID, Oss, SECRET};
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
    agent.stop();
    assert_each_once(&whole(&oss), 0..10 * ROUND);
    let names: Vec<String> = oss.objects().into_keys().collect();
    assert!(names.iter().all(|name| name.starts_with("flume_dir/20")), "nothing is left staged: {names:?}");
    assert_eq!(oss.uploads(), [""; 0]);
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
    let (code, said) = recover(&by_hand, &format!("{SECRET}\n"));
    assert!(code == Some(0) && said.contains(" bytes recovered"), "{said}");
    assert_each_once(&whole(&oss), 0..LINES);
    assert!(oss.objects().keys().all(|name| name.starts_with("flume_dir/")) && oss.uploads().is_empty());
    let (code, said) = recover(&["-c", "conf"], "");
    assert!(code == Some(0) && said.contains("nothing is staged"), "{said}");
}
