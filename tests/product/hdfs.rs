//! The hdfs sink against a real NameNode and real DataNodes, which are killed as well. They come from Maven Central, once,
//! into the build directory; without Java or Maven these tests are skipped with a word, and with `FLUMEN_REQUIRE_PEERS=1`
//! they fail. `FLUMEN_HDFS_KILLS=50` lets the agent be killed so often (default 4).

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::agent::{Agent, flumen};
use crate::hadoop::{Cluster, Entry};
use crate::world::{World, eventually};

const EXEC: &str = include_str!("../scenarios/02-exec-hdfs.conf");
const UPLOAD: &str = include_str!("../scenarios/03-spooldir-hdfs.conf");
const OPTIONS: &str = include_str!("../scenarios/13-hdfs-options.conf");

/// taildir → file channel → hdfs, each event once.
pub const EXACT: &str = "\
a1.sources = r1
a1.channels = c1
a1.sinks = k1
a1.sources.r1.type = TAILDIR
a1.sources.r1.positionFile = @DIR@/position.json
a1.sources.r1.filegroups = f1
a1.sources.r1.filegroups.f1 = @DIR@/in/.*log
a1.sources.r1.maxBackoffSleep = 200
a1.sources.r1.channels = c1
a1.channels.c1.type = file
a1.channels.c1.checkpointDir = @DIR@/checkpoint
a1.channels.c1.dataDirs = @DIR@/data
a1.sinks.k1.type = hdfs
a1.sinks.k1.channel = c1
a1.sinks.k1.hdfs.path = hdfs://@NAMENODE@/flume/exact
a1.sinks.k1.hdfs.fileType = DataStream
a1.sinks.k1.hdfs.rollInterval = 2
a1.sinks.k1.hdfs.rollSize = 0
a1.sinks.k1.hdfs.rollCount = 0
a1.sinks.k1.hdfs.batchSize = 100
a1.sinks.k1.hdfs.callTimeout = 5000
a1.sinks.k1.hdfs.retryInterval = 2
a1.sinks.k1.hdfs.exactlyOnce = true
";

/// The NameNode asks for the recovery of a block again after 30 heartbeats, which are a second here.
pub const RECOVERED: Duration = Duration::from_secs(300);

pub fn world(config: &str, cluster: &Cluster) -> World {
    World::new(&config.replace("@NAMENODE@", &cluster.namenode()))
}

/// Starts an agent as the user who may do anything in the cluster.
pub fn start(world: &World, name: &str) -> Agent {
    start_as(world, name, "root", "flume.conf")
}

pub fn start_as(world: &World, name: &str, user: &str, config: &str) -> Agent {
    let mut command = flumen(world.root());
    command.args(["agent", "-n", name, "-f", config]).env("HADOOP_USER_NAME", user).env("HOME", world.root());
    command.env_remove("HADOOP_CONF_DIR").env_remove("HADOOP_HOME");
    world.spawn(&mut command)
}

/// The contents of all finished files below `path`, and the names of those that are not.
pub fn delivered(cluster: &Cluster, path: &str) -> (String, Vec<String>) {
    let (mut text, mut unfinished) = (String::new(), Vec::new());
    for file in cluster.files(path) {
        if file.path.ends_with(".tmp") || file.path.ends_with(".cut") {
            unfinished.push(file.path);
        } else {
            text.push_str(&String::from_utf8(cluster.read(&file.path)).unwrap());
        }
    }
    (text, unfinished)
}

/// How often each line is in `text`, where that is not once, and lines of `0..lines` that are not there.
pub fn wrong(text: &str, lines: usize) -> Vec<(String, usize)> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    text.lines().for_each(|line| *counts.entry(line).or_default() += 1);
    let mut wrong: Vec<(String, usize)> = Vec::new();
    for number in 0..lines {
        match counts.remove(line(number).trim_end()) {
            Some(1) => {}
            other => wrong.push((number.to_string(), other.unwrap_or(0))),
        }
    }
    wrong.extend(counts.into_iter().map(|(line, count)| (format!("{line:?}"), count)));
    wrong
}

pub fn line(number: usize) -> String {
    format!("line {number:08} of a log, as long as lines of logs are\n")
}

pub fn lines(numbers: std::ops::Range<usize>) -> String {
    numbers.map(line).collect()
}

/// Files that are being written.
pub fn in_use(cluster: &Cluster, path: &str) -> Vec<String> {
    let files = cluster.files(path).into_iter();
    files.filter(|file| file.path.ends_with(".tmp")).map(|file| file.path).collect()
}

/// Waits until `done`, as long as the recovery of a block may take.
#[track_caller]
pub fn wait_until(done: impl Fn() -> bool, state: impl Fn() -> String) {
    let deadline = Instant::now() + RECOVERED;
    while !done() {
        assert!(Instant::now() < deadline, "after {RECOVERED:?}: {}", state());
        sleep(Duration::from_millis(50));
    }
}

/// Waits until a reader sees so many lines: in files that are still open, it sees what is synced.
#[track_caller]
pub fn wait_seen(cluster: &Cluster, path: &str, lines: usize) {
    // One that was listed may have another name since.
    let read = |file: &Entry| cluster.try_read(&file.path).map_or(0, |bytes| bytes.len());
    let seen = || cluster.files(path).iter().map(read).sum::<usize>();
    let state = || format!("{} bytes of {lines} lines: {:?}", seen(), cluster.files(path));
    wait_until(|| seen() >= lines * line(0).len(), state);
}

/// Waits until each of the lines is once in the finished files, and nothing else is there.
#[track_caller]
pub fn wait_exact(cluster: &Cluster, path: &str, lines: usize) {
    let mut state = String::new();
    let bytes = lines as u64 * line(0).len() as u64;
    let done = || {
        let files = cluster.files(path);
        let finished = files.iter().filter(|file| !file.path.ends_with(".tmp"));
        finished.map(|file| file.length).sum::<u64>() >= bytes
            && files.iter().all(|file| !file.path.ends_with(".tmp"))
    };
    wait_until(done, || format!("{:?}", cluster.files(path)));
    let (text, unfinished) = delivered(cluster, path);
    let wrong = wrong(&text, lines);
    if !wrong.is_empty() {
        state = format!("{} lines are not there once: {:?}", wrong.len(), &wrong[..wrong.len().min(20)]);
    }
    assert_eq!((state.as_str(), unfinished), ("", Vec::new()), "{:?}", cluster.files(path));
}

#[test]
fn scenarios_02_03_and_13_run_as_they_are_written() {
    let Some(cluster) = Cluster::start(1) else { return };
    follow_a_command(&cluster);
    upload_files(&cluster);
    compress_by_host_and_hour(&cluster);
}

/// Scenario 02: a followed file, below the minute.
fn follow_a_command(cluster: &Cluster) {
    let world = world(EXEC, cluster);
    world.append("hive.log", lines(0..5));
    let agent = start(&world, "a2");
    // For the minute that it is written.
    let in_use = || cluster.files("/flume").iter().any(|file| file.path.ends_with(".tmp"));
    eventually(in_use, || format!("{:?}", cluster.files("/flume")));
    // `tail` begins with the last ten lines.
    wait_seen(cluster, "/flume", 5);
    world.append("hive.log", lines(5..500));
    wait_seen(cluster, "/flume", 500);
    agent.stop();
    wait_exact(cluster, "/flume", 500);
    for file in cluster.files("/flume") {
        let steps: Vec<&str> = file.path.split('/').collect();
        let [_, "flume", day, minute, name] = steps[..] else { panic!("{}", file.path) };
        assert!(day.len() == 8 && minute.len() == 4, "{}", file.path);
        let number = name.strip_prefix("logs-.").unwrap();
        assert!(number.len() == 13 && number.parse::<u64>().is_ok(), "{name}");
    }
}

/// Scenario 03: files that are put into a folder.
fn upload_files(cluster: &Cluster) {
    let world = world(UPLOAD, cluster);
    fs::create_dir_all(world.path("upload")).unwrap();
    world.append("upload/first.log", lines(0..100));
    world.append("upload/second.tmp", lines(100..300));
    let agent = start(&world, "a3");
    fs::rename(world.path("upload/second.tmp"), world.path("upload/second.log")).unwrap();
    // What is in a memory channel at the stop is gone.
    wait_seen(cluster, "/flume/upload", 300);
    // The source notes that it is through after the last put, which may be seen here before.
    eventually(|| world.path("upload/second.log.COMPLETED").exists(), || "it keeps its name".into());
    agent.stop();
    wait_exact(cluster, "/flume/upload", 300);
}

/// Scenario 13: compressed, below the sender's name and the hour.
fn compress_by_host_and_hour(cluster: &Cluster) {
    let world = world(OPTIONS, cluster);
    fs::create_dir_all(world.path("spool")).unwrap();
    let agent = start(&world, "a1");
    world.append("app.log", lines(0..2500));
    fs::rename(world.path("app.log"), world.path("spool/app.log")).unwrap();
    let created = agent.wait_for(&["Creating /logs/", ".writing"]);
    assert!(created.rsplit('/').next().unwrap().starts_with("_app.log."), "{created}");
    // `idleTimeout` ends it, and whatever else was begun.
    let read = |path: &str| {
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(&cluster.read(path)[..]).read_to_string(&mut text).unwrap();
        text
    };
    let finished = || {
        let files = cluster.files("/logs");
        let is_finished = files.iter().all(|file| !file.path.ends_with(".writing"));
        is_finished && files.iter().map(|file| read(&file.path).lines().count()).sum::<usize>() >= 2500
    };
    eventually(finished, || format!("{:?}", cluster.files("/logs")));
    agent.stop();
    let mut text = String::new();
    for file in cluster.files("/logs") {
        let steps: Vec<&str> = file.path.split('/').collect();
        let [_, "logs", _host, year, month, day, hour, name] = steps[..] else { panic!("{}", file.path) };
        assert_eq!([year.len(), month.len(), day.len(), hour.len()], [4, 2, 2, 2], "{}", file.path);
        assert!(name.starts_with("app.log.") && name.ends_with(".log.gz"), "{name}");
        text.push_str(&read(&file.path));
    }
    assert_eq!(wrong(&text, 2500), []);
}

#[test]
fn each_line_is_in_hdfs_once_after_kills_of_the_agent_at_any_time() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let world = world(&with_compressed_copy(), &cluster);
    let kills = std::env::var("FLUMEN_HDFS_KILLS").map_or(4, |text| text.parse().unwrap());
    let mut random = fastrand_like();
    let mut written = 0;
    for _ in 0..kills {
        let agent = start(&world, "a1").started();
        // Up to the kill, so that much is under way.
        for _ in 0..50 + random() % 150 {
            world.append("in/a.log", lines(written..written + 100));
            written += 100;
            sleep(Duration::from_millis(5));
        }
        agent.kill();
    }
    // A DataNode whose writer is killed while it receives may refuse to recover that replica (`Block length mismatch`) until it
    // is started again; with the usual three replicas the others serve.
    cluster.kill_datanode(0);
    cluster.start_datanode(0);
    cluster.wait_ready();
    let agent = start(&world, "a1");
    world.append("in/a.log", lines(written..written + 100));
    written += 100;
    wait_exact(&cluster, "/flume/exact", written);
    wait_packed_exact(&cluster, "/flume/packed", written);
    agent.stop();
    wait_exact(&cluster, "/flume/exact", written);
    wait_packed_exact(&cluster, "/flume/packed", written);
}

/// [`EXACT`], and the same events once more, compressed, through a channel of their own.
fn with_compressed_copy() -> String {
    let second: String = EXACT
        .lines()
        .filter(|line| line.starts_with("a1.channels.c1.") || line.starts_with("a1.sinks.k1."))
        .map(|line| line.replace("c1", "c2").replace("k1", "k2") + "\n")
        .collect();
    let second = second
        .replace("@DIR@/checkpoint", "@DIR@/2/checkpoint")
        .replace("@DIR@/data", "@DIR@/2/data")
        .replace("/flume/exact", "/flume/packed")
        .replace("fileType = DataStream", "fileType = CompressedStream\na1.sinks.k2.hdfs.codeC = gzip");
    EXACT
        .replace("channels = c1\na1.sinks = k1\n", "channels = c1 c2\na1.sinks = k1 k2\n")
        .replace("r1.channels = c1", "r1.channels = c1 c2")
        + &second
}

/// As [`wait_exact`], of files of gzip.
#[track_caller]
fn wait_packed_exact(cluster: &Cluster, path: &str, lines: usize) {
    let finished = || -> Option<String> {
        let mut text = String::new();
        for file in cluster.files(path) {
            let is_finished = file.path.ends_with(".gz");
            let bytes = cluster.try_read(&file.path).filter(|_| is_finished)?;
            flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
        }
        (text.lines().count() >= lines).then_some(text)
    };
    wait_until(|| finished().is_some(), || format!("{:?}", cluster.files(path)));
    assert_eq!(wrong(&finished().unwrap(), lines), [], "{:?}", cluster.files(path));
}

/// Numbers that differ from run to run, and are printed by nobody: what they decide is when a kill comes.
fn fastrand_like() -> impl FnMut() -> u64 {
    let mut state = u64::from(std::process::id()) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

#[test]
fn a_namenode_and_a_datanode_that_are_killed_and_come_back_cost_no_line() {
    let Some(mut cluster) = Cluster::start(1) else { return };
    let world = world(EXACT, &cluster);
    let agent = start(&world, "a1").started();
    let mut written = 0;
    let mut write = |world: &World| {
        for _ in 0..5 {
            world.append("in/a.log", lines(written..written + 100));
            written += 100;
            sleep(Duration::from_millis(100));
        }
        written
    };
    write(&world);
    cluster.kill_datanode(0);
    write(&world);
    agent.wait_for(&["sink failed"]);
    cluster.start_datanode(0);
    cluster.wait_ready();
    let so_far = write(&world);
    wait_exact(&cluster, "/flume/exact", so_far);
    write(&world);
    cluster.kill_namenode();
    write(&world);
    cluster.start_namenode();
    cluster.wait_ready();
    let all = write(&world);
    wait_exact(&cluster, "/flume/exact", all);
    let said = agent.stop();
    let failures = said.lines().filter(|line| line.contains("sink failed")).count();
    assert!((1..20).contains(&failures), "{failures} lines say that the sink fails:\n{said}");
}

#[test]
fn safe_mode_and_a_quota_that_is_used_up_hold_the_events_back_and_lose_none() {
    let Some(cluster) = Cluster::start(1) else { return };
    let world = world(EXACT, &cluster);
    let agent = start(&world, "a1").started();
    world.append("in/a.log", lines(0..100));
    wait_exact(&cluster, "/flume/exact", 100);
    cluster.admin(&["-safemode", "enter"]);
    world.append("in/a.log", lines(100..200));
    agent.wait_for(&["SafeModeException"]);
    cluster.admin(&["-safemode", "leave"]);
    wait_exact(&cluster, "/flume/exact", 200);
    // The directory and what is in it: there is no room for a further name.
    let names = cluster.files("/flume/exact").len() + 1;
    cluster.admin(&["-setQuota", &names.to_string(), "/flume/exact"]);
    world.append("in/a.log", lines(200..300));
    agent.wait_for(&["NSQuotaExceededException"]);
    cluster.admin(&["-clrQuota", "/flume/exact"]);
    wait_exact(&cluster, "/flume/exact", 300);
    agent.stop();
}

#[test]
fn a_datanode_of_three_that_dies_in_the_middle_of_a_block_costs_no_line() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let world = world(&EXACT.replace("rollInterval = 2", "rollInterval = 0"), &cluster);
    let agent = start(&world, "a1").started();
    world.append("in/a.log", lines(0..100));
    wait_seen(&cluster, "/flume/exact", 100);
    cluster.kill_datanode(0);
    let mut written = 100;
    for _ in 0..10 {
        world.append("in/a.log", lines(written..written + 50));
        written += 50;
        sleep(Duration::from_millis(100));
    }
    wait_seen(&cluster, "/flume/exact", written);
    agent.stop();
    wait_exact(&cluster, "/flume/exact", written);
}

#[test]
fn new_files_that_a_dead_datanode_is_to_have_cost_no_line() {
    let Some(mut cluster) = Cluster::start(3) else { return };
    let world = world(&EXACT.replace("rollInterval = 2", "rollInterval = 1"), &cluster);
    let agent = start(&world, "a1").started();
    world.append("in/a.log", lines(0..100));
    wait_seen(&cluster, "/flume/exact", 100);
    // The NameNode gives every new block three DataNodes, this one among them, until it finds out.
    cluster.kill_datanode(0);
    let mut written = 100;
    for _ in 0..40 {
        world.append("in/a.log", lines(written..written + 50));
        written += 50;
        sleep(Duration::from_millis(100));
    }
    wait_exact(&cluster, "/flume/exact", written);
    agent.stop();
}

#[test]
fn no_file_of_anybody_is_written_over() {
    let Some(cluster) = Cluster::start(1) else { return };
    let config = EXACT.replace("rollInterval = 2", "rollInterval = 0").replace("Count = 0", "Count = 100");
    let world = world(&config, &cluster);
    let agent = start(&world, "a1");
    world.append("in/a.log", lines(0..50));
    wait_seen(&cluster, "/flume/exact", 50);
    let first = in_use(&cluster, "/flume/exact").remove(0);
    let number: u64 = first.split('.').nth(1).unwrap().parse().unwrap();
    // What the first file is to be called, what the next one is to be called while it is written, and at its end.
    let theirs = [(number, ""), (number + 1, ".tmp"), (number + 2, "")];
    let theirs = theirs.map(|(number, end)| format!("/flume/exact/FlumeData.{number}{end}"));
    theirs.iter().for_each(|path| cluster.touch(path));
    world.append("in/a.log", lines(50..250));
    wait_seen(&cluster, "/flume/exact", 250);
    agent.stop();
    let open = || in_use(&cluster, "/flume/exact");
    wait_until(|| open() == theirs[1..2], || format!("{:?}", open()));
    let files = cluster.files("/flume/exact");
    for path in &theirs {
        assert!(files.iter().any(|file| file.path == *path && file.length == 0), "{path}: {files:?}");
    }
    let (text, _) = delivered(&cluster, "/flume/exact");
    assert_eq!(wrong(&text, 250), [], "{files:?}");
}

#[test]
fn an_erasure_coded_directory_is_named_and_what_is_for_it_waits() {
    if crate::hadoop::is_old() {
        return;
    }
    // As many as the policy wants to begin a file.
    let Some(cluster) = Cluster::start(3) else { return };
    cluster.mkdir("/flume/exact", "777");
    let policy = "RS-3-2-1024k";
    cluster.coding(&["-enablePolicy", "-policy", policy]);
    cluster.coding(&["-setPolicy", "-path", "/flume/exact", "-policy", policy]);
    let world = world(EXACT, &cluster);
    world.append("in/a.log", lines(0..100));
    let agent = start(&world, "a1");
    agent.wait_for(&["sink failed", "/flume/exact/", "erasure-coded"]);
    cluster.coding(&["-unsetPolicy", "-path", "/flume/exact"]);
    wait_exact(&cluster, "/flume/exact", 100);
    agent.stop();
}

#[test]
fn over_a_memory_channel_the_sinks_own_journal_finishes_what_a_kill_left() {
    let Some(cluster) = Cluster::start(1) else { return };
    let config =
        EXACT.replace("rollInterval = 2", "rollInterval = 0").replace("type = file\n", "type = memory\n");
    let config: String =
        config.lines().filter(|line| !line.contains("exactlyOnce")).map(|line| format!("{line}\n")).collect();
    let world = world(&config, &cluster);
    world.append("in/a.log", lines(0..100));
    let agent = start(&world, "a1");
    wait_seen(&cluster, "/flume/exact", 100);
    // A channel that keeps nothing leaves the source its position file alone, and lines that are not in it yet are
    // read again.
    let position = || fs::read_to_string(world.path("position.json")).unwrap_or_default();
    let read = format!("\"pos\":{}", lines(0..100).len());
    eventually(|| position().contains(&read), position);
    agent.kill();
    assert!(cluster.files("/flume/exact").iter().all(|file| file.path.ends_with(".tmp")));
    let begun_earlier = "1 files that were begun earlier";
    let agent = start(&world, "a1");
    wait_exact(&cluster, "/flume/exact", 100);
    assert!(agent.stop().contains(begun_earlier));
    assert!(world.path(".flume/hdfs-sink/a1-k1.journal").exists());
    let agent = start(&world, "a1").started();
    agent.wait_for(&["sink runs"]);
    assert!(!agent.stop().contains(begun_earlier), "finished once");
}

#[test]
fn what_one_path_forbids_goes_to_the_dead_letter_while_others_flow() {
    let Some(cluster) = Cluster::start(1) else { return };
    cluster.mkdir("/flume", "777");
    cluster.mkdir("/flume/closed", "700");
    let config = EXACT
        .replace("/flume/exact", "/flume/%{where}")
        .replace("filegroups = f1", "filegroups = f1 f2 f3\na1.sources.r1.filegroups.f2 = @DIR@/2/in/.*log")
        + "a1.sources.r1.filegroups.f3 = @DIR@/poison.log\na1.sinks.k1.hdfs.onMissingHeader = refuse\n\
           a1.sources.r1.headers.f1.where = open\na1.sources.r1.headers.f2.where = closed\n\
           a1.sinks.k1.deadLetter.type = file\na1.sinks.k1.deadLetter.file = @DIR@/refused.json\n";
    let world = world(&config, &cluster);
    world.append("in/a.log", lines(0..50));
    world.append("2/in/b.log", "forbidden\n");
    // Nothing says where it is to go.
    world.append("poison.log", "poisonous\n");
    let agent = start_as(&world, "a1", "flume", "flume.conf");
    wait_exact(&cluster, "/flume/open", 50);
    let refused = || fs::read_to_string(world.path("refused.json")).unwrap_or_default();
    eventually(|| refused().contains("forbidden") && refused().contains("poisonous"), refused);
    assert!(refused().contains("AccessControlException"), "{}", refused());
    world.append("in/a.log", lines(50..100));
    wait_exact(&cluster, "/flume/open", 100);
    agent.stop();
    assert_eq!(cluster.files("/flume/closed"), []);
}

#[test]
fn an_agent_finishes_its_own_files_and_leaves_those_of_another_alone() {
    let Some(cluster) = Cluster::start(1) else { return };
    let text = EXACT.replace("rollInterval = 2", "rollInterval = 0");
    let (one, other) = (world(&text, &cluster), world(&text, &cluster));
    let (first, second) = (start(&one, "a1"), start(&other, "a1"));
    one.append("in/a.log", lines(0..100));
    other.append("in/a.log", lines(100..200));
    let in_use = || in_use(&cluster, "/flume/exact");
    wait_seen(&cluster, "/flume/exact", 200);
    let (mine, theirs): (Vec<String>, Vec<String>) =
        in_use().into_iter().partition(|path| cluster.read(path).starts_with(line(0).as_bytes()));
    assert_eq!((mine.len(), theirs.len()), (1, 1));
    first.kill();
    let first = start(&one, "a1");
    // What it had not released comes again, to another file.
    eventually(|| !in_use().contains(&mine[0]), || format!("{:?}", in_use()));
    // The other writes on to the very file that it had open.
    other.append("in/a.log", lines(200..300));
    let read = || cluster.read(&theirs[0]).len();
    eventually(|| read() >= 200 * line(0).len(), || format!("{} bytes: {:?}", read(), in_use()));
    assert!(in_use().contains(&theirs[0]));
    first.stop();
    second.stop();
    wait_exact(&cluster, "/flume/exact", 300);
}

#[test]
fn hadoops_own_configuration_says_where_a_path_without_host_is_and_how_large_blocks_are() {
    let block = 64 << 10;
    let Some(cluster) = Cluster::start(1) else { return };
    let relative = EXACT.replace("hdfs://@NAMENODE@/flume/exact", "below/home");
    let world = World::new(&(relative + "a1.sinks.k1.hdfs.rollAtBlock = true\n"));
    // The server's own blocks are larger.
    let site = format!(
        "<configuration><property><name>dfs.blocksize</name><value>{block}</value></property></configuration>"
    );
    fs::write(world.path("hdfs-site.xml"), site).unwrap();
    fs::copy(cluster.conf().join("core-site.xml"), world.path("core-site.xml")).unwrap();
    world.append("in/a.log", lines(0..10_000));
    let mut command: Command = flumen(world.root());
    command.args(["agent", "-n", "a1", "-f", "flume.conf", "-c", "."]);
    command.env("HADOOP_USER_NAME", "root").env_remove("HADOOP_CONF_DIR");
    let agent = world.spawn(&mut command);
    wait_exact(&cluster, "/user/root/below/home", 10_000);
    agent.stop();
    let lengths: Vec<u64> = cluster.files("/user/root/below/home").iter().map(|file| file.length).collect();
    assert!(lengths.iter().all(|length| *length <= block), "{lengths:?}");
    assert!(lengths.iter().any(|length| *length > block - 1000), "filled to the block: {lengths:?}");
    through_a_mount_table(&cluster);
}

/// `viewfs:`, which wants a file system for what no link is for.
fn through_a_mount_table(cluster: &Cluster) {
    let world = World::new(&EXACT.replace("hdfs://@NAMENODE@/flume/exact", "viewfs://table/logs/exact"));
    let url = format!("hdfs://{}", cluster.namenode());
    let property = |name: &str, value: &str| {
        format!("<property><name>fs.viewfs.mounttable.table.{name}</name><value>{value}</value></property>\n")
    };
    let (link, fallback) =
        (property("link./logs", &format!("{url}/mounted")), property("linkFallback", &format!("{url}/")));
    let site = format!("<configuration>\n{link}{fallback}</configuration>\n");
    fs::write(world.path("core-site.xml"), site).unwrap();
    world.append("in/a.log", lines(0..100));
    let mut command: Command = flumen(world.root());
    command.args(["agent", "-n", "a1", "-f", "flume.conf", "-c", "."]);
    command.env("HADOOP_USER_NAME", "root").env_remove("HADOOP_CONF_DIR");
    let agent = world.spawn(&mut command);
    wait_exact(cluster, "/mounted/exact", 100);
    agent.stop();
}
