//! The LogHub source against a log service that keeps its state in this process: members that are killed, shards that move and are split.
//!
//! The service itself is checked by the official client, which is installed from PyPI: see [`python`](crate::python). Without Python
//! those tests are skipped with a word; with `FLUMEN_REQUIRE_PEERS=1` they fail. `FLUMEN_LOGHUB_KILLS=100` kills so often
//! (default 20).

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::agent::{Agent, flumen};
use crate::hadoop::Cluster;
use crate::hdfs::RECOVERED;
use crate::lines::Random;
use crate::mounts::skipped;
use crate::python;
use crate::sls::{Fault, KEY, KEY_ID, REGION, Record, Sls, log_group};
use crate::world::{World, eventually, free_port, get, output};

const SCENARIO: &str = include_str!("../scenarios/11-loghub-hdfs.conf");

const GROUP: &str = "consumer_1";

/// Logs of a log group, as the service's stand-in packs them, and most log groups of a pull here.
const LOGS: usize = 10;
const PULL: usize = 5;
/// When all of them were written: in one hour, and so in one folder.
const TIME: u32 = 1_700_000_000;
const FOLDER: &str = "/tmp/flume-data/loghub/datetime=231114/hour=22";

/// loghub → file channel → file_roll.
fn durable(sls: &Sls) -> String {
    let sources: Vec<&str> = SCENARIO.lines().filter(|line| line.starts_with("a1.sources")).collect();
    let text = filled(&sources.join("\n"), sls)
        .replace("heartbeatInterval = 30000", "heartbeatInterval = 200")
        .replace("batchSize = 1000", "batchSize = 20")
        .replace("batchDurationMillis = 1000", "batchDurationMillis = 10")
        .replace("backoffSleepIncrement = 1000", "backoffSleepIncrement = 10")
        .replace("maxBackoffSleep = 5000", "maxBackoffSleep = 100");
    text + "\na1.channels = c1\na1.sinks = k1\na1.channels.c1.type = file\na1.channels.c1.checkpointDir = @DIR@/checkpoint\n\
            a1.channels.c1.dataDirs = @DIR@/data\na1.channels.c1.capacity = 100000\na1.sinks.k1.type = file_roll\n\
            a1.sinks.k1.channel = c1\na1.sinks.k1.sink.directory = @DIR@/out\na1.sinks.k1.sink.rollInterval = 0\n"
}

fn filled(text: &str, sls: &Sls) -> String {
    text.replace("@ENDPOINT@", &sls.endpoint()).replace("@KEY_ID@", KEY_ID).replace("@KEY@", KEY)
}

/// Shard and number of each event that an agent has delivered, in order.
fn output_of(world: &World) -> Vec<(u32, usize)> {
    String::from_utf8(output(&world.path("out"))).unwrap().lines().map(numbered).collect()
}

/// Numbers of each shard's events, in the order in which an agent has delivered them.
fn delivered(world: &World) -> BTreeMap<u32, Vec<usize>> {
    by_shard(&output_of(world))
}

fn by_shard(events: &[(u32, usize)]) -> BTreeMap<u32, Vec<usize>> {
    let mut shards: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    events.iter().for_each(|(shard, number)| shards.entry(*shard).or_default().push(*number));
    shards
}

/// Shard and number of a log's text.
fn numbered(text: &str) -> (u32, usize) {
    let (shard, number) = text.strip_prefix('s').and_then(|rest| rest.split_once('-')).expect(text);
    (shard.parse().unwrap(), number.parse().unwrap())
}

/// How often agents are killed.
fn kills(usual: usize) -> usize {
    std::env::var("FLUMEN_LOGHUB_KILLS").map_or(usual, |kills| kills.parse().unwrap())
}

/// The service does something wrong, now and then.
fn perhaps_fail(sls: &Sls, random: &mut Random) {
    if random.below(4) == 0 {
        let fault = [Fault::Lost, Fault::Cut, Fault::Half, Fault::Refused(500, "ServerBusy")];
        sls.fault("any", fault[random.below(4) as usize].clone(), 3);
    }
}

/// Puts `count` more logs into a shard that has `written` of them.
fn write(sls: &Sls, written: &mut BTreeMap<u32, usize>, shard: u32, count: usize) {
    let from = written.entry(shard).or_default();
    let bodies: Vec<String> = (*from..*from + count).map(|number| format!("s{shard}-{number}")).collect();
    *from += count;
    for bodies in bodies.chunks(LOGS) {
        let logs: Vec<Record> = bodies.iter().map(|body| Record::of(TIME, body)).collect();
        sls.append_group(shard, log_group("access", "10.0.0.1", &[("__hostname__", "h")], &logs));
    }
}

/// Nothing is lost; an agent has each shard's events in their order, and those of a split shard's children after its own; a shard that
/// stays repeats nothing, and one that moves at most one pull.
#[track_caller]
fn assert_moves(
    sls: &Sls,
    written: &BTreeMap<u32, usize>,
    agents: &[Vec<(u32, usize)>; 2],
    split: (u32, [u32; 2]),
) {
    let shards = agents.each_ref().map(|events| by_shard(events));
    for (shard, count) in written {
        let [one, other] = shards.each_ref().map(|all| all.get(shard).cloned().unwrap_or_default());
        let all: BTreeSet<usize> = one.iter().chain(&other).copied().collect();
        assert_eq!(all, (0..*count).collect(), "shard {shard}");
        for numbers in [&one, &other] {
            let falls = numbers.windows(2).position(|pair| pair[1] <= pair[0]);
            assert_eq!(
                falls.map(|at| &numbers[at.saturating_sub(3)..at + 2]),
                None,
                "shard {shard} in one agent"
            );
        }
        let repeated = one.len() + other.len() - count;
        let moves = sls.moves(GROUP, *shard);
        assert!(repeated <= moves * PULL * LOGS, "shard {shard}: {repeated} repeated in {moves} moves");
    }
    let (parent, children) = split;
    for events in agents {
        let first = events.iter().position(|(shard, _)| children.contains(shard)).unwrap_or(events.len());
        let late = events[first..].iter().find(|(shard, _)| *shard == parent);
        assert_eq!(late, None, "of the shard that was split, behind its children's first");
    }
}

#[test]
fn two_agents_share_eight_shards_through_kills_and_a_split() {
    let kills = kills(20);
    let sls = Sls::start(8);
    sls.state().pull_max = PULL;
    let worlds = [World::new(&durable(&sls)), World::new(&durable(&sls))];
    let mut random = Random::new();
    let mut written = BTreeMap::new();
    let mut open: BTreeSet<u32> = (0..8).collect();
    let mut children = [0; 2];
    let mut agents: [Option<Agent>; 2] = [None, None];
    for round in 0..kills {
        for (world, agent) in worlds.iter().zip(&mut agents) {
            agent.get_or_insert_with(|| world.start());
        }
        for shard in &open {
            write(&sls, &mut written, *shard, LOGS * (1 + random.below(20) as usize));
        }
        if round == kills / 2 {
            open.remove(&3);
            children = sls.split(3);
            open.extend(children);
        }
        perhaps_fail(&sls, &mut random);
        // Any moment will do, those of the start included.
        std::thread::sleep(Duration::from_millis(random.below(600)));
        agents[random.below(2) as usize].take().unwrap().kill();
    }
    for (world, agent) in worlds.iter().zip(&mut agents) {
        agent.get_or_insert_with(|| world.start());
    }
    let state = || format!("{:?} {:?}", sls.held(GROUP), sls.state().calls);
    eventually(|| sls.is_read(GROUP), state);
    let total = |world: &World| delivered(world).values().map(Vec::len).sum::<usize>();
    let all = |shard: u32| -> BTreeSet<usize> {
        worlds.iter().flat_map(|world| delivered(world).remove(&shard).unwrap_or_default()).collect()
    };
    // Everything is in the channels; it is delivered once the sinks have caught up.
    let is_there = || written.iter().all(|(shard, count)| all(*shard).len() == *count);
    eventually(is_there, || format!("{} and {} of {written:?}", total(&worlds[0]), total(&worlds[1])));
    agents.into_iter().flatten().for_each(|agent| drop(agent.stop()));
    assert_moves(&sls, &written, &worlds.each_ref().map(output_of), (3, children));
}

#[test]
fn a_shard_that_stays_repeats_nothing_through_kills() {
    let sls = Sls::start(1);
    sls.state().pull_max = PULL;
    let world = World::new(&durable(&sls));
    let mut random = Random::new();
    let mut written = BTreeMap::new();
    for _ in 0..6 {
        write(&sls, &mut written, 0, 400);
        let agent = world.start();
        std::thread::sleep(Duration::from_millis(random.below(500)));
        agent.kill();
    }
    let agent = world.start();
    eventually(|| sls.is_read(GROUP), || format!("{:?}", sls.state().calls));
    eventually(
        || delivered(&world).values().all(|all| all.len() >= written[&0]),
        || format!("{:?}", delivered(&world)),
    );
    agent.stop();
    assert_eq!(delivered(&world), BTreeMap::from([(0, (0..written[&0]).collect())]));
}

#[test]
fn an_agent_beside_it_gets_half_and_lags_are_shown_and_no_secret_is() {
    let sls = Sls::start(4);
    sls.state().is_patient = true;
    let port = free_port();
    let worlds = [World::new(&durable(&sls)), World::new(&durable(&sls))];
    let mut written = BTreeMap::new();
    (0..4).for_each(|shard| write(&sls, &mut written, shard, 100));
    let monitoring = [
        "-Dflume.monitoring.type=prometheus".to_string(),
        format!("-Dflume.monitoring.port={port}"),
        // Whoever looks for a trouble has it say everything.
        "-Dflume.root.logger=TRACE,console".to_string(),
    ];
    let first = worlds[0].start_with(&monitoring.each_ref().map(String::as_str));
    eventually(|| sls.is_read(GROUP), || format!("{:?}", sls.state().calls));
    let shown = || get(port, "/metrics").map_or(String::new(), |(_, text)| text);
    let lag = |part: u32| {
        let end = format!("part=\"{part}\"}} 0");
        shown().lines().any(|line| line.starts_with("flumen_source_lag_seconds{") && line.ends_with(&end))
    };
    eventually(|| (0..4).all(lag), shown);
    let second = worlds[1].start();
    let shares = || sls.held(GROUP).into_values().map(|held| held.len()).collect::<Vec<_>>();
    eventually(|| shares() == [2, 2], || format!("{:?}", sls.held(GROUP)));
    eventually(|| shown().matches("flumen_source_lag_seconds{").count() == 2, shown);
    (0..4).for_each(|shard| write(&sls, &mut written, shard, 100));
    eventually(|| sls.is_read(GROUP), || format!("{:?}", sls.state().calls));
    eventually(
        || {
            worlds.iter().map(|world| delivered(world).values().map(Vec::len).sum::<usize>()).sum::<usize>()
                >= 800
        },
        || "not delivered".into(),
    );
    let said = first.stop() + &second.stop();
    assert!(!said.contains(KEY), "{said}");
    let mut all: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    worlds
        .iter()
        .flat_map(delivered)
        .for_each(|(shard, numbers)| all.entry(shard).or_default().extend(numbers));
    assert_eq!(all, (0..4).map(|shard| (shard, (0..200).collect())).collect());
}

#[test]
fn a_person_looks_at_the_group_and_sets_it_back() {
    let sls = Sls::start(2);
    let world = World::new(&durable(&sls));
    let mut written = BTreeMap::new();
    (0..2).for_each(|shard| write(&sls, &mut written, shard, 50));
    let ask = |arguments: &[&str]| {
        let mut command = flumen(world.root());
        let output =
            command.arg("loghub").args(arguments).args(["-n", "a1", "-f", "flume.conf"]).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        assert!(!said.contains(KEY), "{said}");
        (output.status.code(), said)
    };
    assert!(ask(&["status"]).1.contains("consumer_1: not there yet"));
    assert_eq!(ask(&["reset", "--to", "begin"]).0, Some(1));
    let read = |events: usize| {
        let agent = world.start();
        eventually(|| sls.is_read(GROUP), || format!("{:?}", sls.state().calls));
        let count = || delivered(&world).values().map(Vec::len).sum::<usize>();
        eventually(|| count() >= events, || format!("{:?}", delivered(&world)));
        agent.stop();
    };
    read(100);
    let (code, said) = ask(&["status"]);
    assert!(
        code == Some(0) && said.contains("shard 1 readwrite: ") && said.contains("(at the end), flumen-"),
        "{said}"
    );
    assert!(ask(&["reset", "--to", "begin", "--dry-run"]).1.contains("(not done)"));
    assert!(sls.is_read(GROUP));
    assert_eq!(ask(&["reset", "--to", "begin", "--shard", "7"]).0, Some(2));
    assert_eq!(ask(&["reset", "--to", "begin", "--shard", "1"]).0, Some(0));
    assert!(ask(&["status"]).1.contains("s behind now"));
    read(150);
    let all = |times: usize| (0..50usize).cycle().take(50 * times).collect::<Vec<_>>();
    assert_eq!(delivered(&world), BTreeMap::from([(0, all(1)), (1, all(2))]));
    assert_eq!(ask(&["status", "--source", "r9"]).0, Some(78));
}

/// Scenario 11 over a file channel, for what a memory channel holds is gone after a kill. Each agent's files have its name in front.
fn into_hdfs(sls: &Sls, name: &str) -> String {
    let sources = durable(sls);
    let sources = sources.lines().filter(|line| !line.starts_with("a1.sinks"));
    let sinks = SCENARIO.lines().filter(|line| line.starts_with("a1.sinks"));
    let mut text: String = sources.chain(sinks).flat_map(|line| [line, "\n"]).collect();
    text.push_str(&format!(
        "a1.sources.r1.consumer = {name}\na1.sinks.k1.hdfs.filePrefix = {name}\na1.sinks.k1.hdfs.exactlyOnce = true\n\
         a1.sinks.k1.hdfs.callTimeout = 5000\na1.sinks.k1.hdfs.retryInterval = 2\n"
    ));
    text
}

/// An agent with the cluster's configuration.
fn start_beside(cluster: &Cluster, world: &World) -> Agent {
    let mut command = flumen(world.root());
    command.args(["agent", "-n", "a1", "-f", "flume.conf", "-c"]).arg(cluster.conf());
    command.env("HADOOP_USER_NAME", "root").env("TZ", "UTC").env_remove("HADOOP_CONF_DIR");
    world.spawn(&mut command)
}

/// The events in an agent's files, in order, of all that can be read just now; with what is seen of files that are not finished.
fn in_hdfs(cluster: &Cluster, name: &str) -> Vec<(u32, usize)> {
    events_in(cluster, name, |path| cluster.read_now(path))
}

fn events_in(cluster: &Cluster, name: &str, read: impl Fn(&str) -> Option<Vec<u8>>) -> Vec<(u32, usize)> {
    let number = |path: &str| -> Option<u64> {
        let rest = path.rsplit('/').next()?.strip_prefix(name)?;
        rest.split('.').nth(1)?.parse().ok()
    };
    let mut files: Vec<(u64, String)> =
        cluster.files(FOLDER).into_iter().filter_map(|file| Some((number(&file.path)?, file.path))).collect();
    files.sort();
    let texts =
        files.iter().filter_map(|(_, path)| read(path)).map(|bytes| String::from_utf8(bytes).unwrap());
    // Of a file that is not finished, the last line may be seen in part.
    let lines = |text: String| -> Vec<(u32, usize)> {
        text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(numbered).collect()
    };
    texts.flat_map(lines).collect()
}

/// Files of both agents that are not finished.
fn unfinished(cluster: &Cluster) -> Vec<String> {
    let names = cluster.files(FOLDER).into_iter().map(|file| file.path);
    names.filter(|path| path.ends_with(".tmp") || path.ends_with(".cut")).collect()
}

/// Waits for servers whose recoveries take their time.
#[track_caller]
fn wait_long(mut done: impl FnMut() -> bool, state: impl Fn() -> String) {
    let deadline = Instant::now() + RECOVERED;
    while !done() {
        assert!(Instant::now() < deadline, "after {RECOVERED:?}: {}", state());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn two_agents_bring_eight_shards_into_hdfs_in_order_through_kills_and_a_split() {
    const NAMES: [&str; 2] = ["one", "other"];
    let kills = kills(20);
    let Some(mut cluster) = Cluster::start(1) else { return };
    let sls = Sls::start(8);
    sls.state().pull_max = PULL;
    // Who is killed is given up when this says so: those who live are silent, too, where the machine is busy.
    sls.state().is_patient = true;
    let worlds = NAMES.map(|name| World::new(&into_hdfs(&sls, name)));
    let mut random = Random::new();
    let mut written: BTreeMap<u32, usize> = BTreeMap::new();
    let mut open: BTreeSet<u32> = (0..8).collect();
    let mut children = [0; 2];
    let mut agents: [Option<Agent>; 2] = [None, None];
    let state = || format!("{:?} {:?}", sls.held(GROUP), sls.state().calls);
    for round in 0..kills {
        for (world, agent) in worlds.iter().zip(&mut agents) {
            agent.get_or_insert_with(|| start_beside(&cluster, world));
        }
        let before = written.clone();
        for shard in &open {
            write(&sls, &mut written, *shard, LOGS * (1 + random.below(20) as usize));
        }
        if round == kills / 2 {
            open.remove(&3);
            children = sls.split(3);
            open.extend(children);
        }
        perhaps_fail(&sls, &mut random);
        match random.below(3) {
            // Any moment will do, those of the start included.
            0 => std::thread::sleep(Duration::from_millis(random.below(600))),
            // Some pulls were read.
            1 => {
                let told = sls.calls("set_checkpoint") + 1 + random.below(10) as usize;
                wait_long(|| sls.calls("set_checkpoint") >= told || sls.is_read(GROUP), state);
            }
            // Something of this round is in HDFS.
            _ => {
                let is_new =
                    |(shard, number): &(u32, usize)| *number >= before.get(shard).copied().unwrap_or(0);
                wait_long(|| NAMES.iter().any(|name| in_hdfs(&cluster, name).iter().any(is_new)), state);
            }
        }
        let at = random.below(2) as usize;
        agents[at].take().unwrap().kill();
        if random.below(2) == 0 {
            sls.give_up(GROUP, NAMES[at]);
        }
    }
    // A DataNode whose writer is killed while it receives may refuse to recover that replica until it is started again.
    // Whoever still writes is killed before: what it synced into a file that stays open nobody could read until that file ends.
    agents.iter_mut().filter_map(Option::take).for_each(Agent::kill);
    cluster.kill_datanode(0);
    cluster.start_datanode(0);
    cluster.wait_ready();
    let mut finish = || {
        for (world, agent) in worlds.iter().zip(&mut agents) {
            agent.get_or_insert_with(|| start_beside(&cluster, world));
        }
        wait_long(|| sls.is_read(GROUP), state);
        // Everything is in the channels. It is all there once the sinks have caught up, with one file of each agent that is open.
        let count = |events: Vec<(u32, usize)>| events.into_iter().collect::<BTreeSet<_>>().len();
        let all = || count(NAMES.iter().flat_map(|name| in_hdfs(&cluster, name)).collect());
        let left = || format!("{} of {written:?}, {:?}", all(), unfinished(&cluster));
        wait_long(|| unfinished(&cluster).len() <= 2 && all() == written.values().sum::<usize>(), left);
        for agent in agents.iter_mut().filter_map(Option::take) {
            assert!(!agent.stop().contains(KEY));
        }
    };
    finish();
    if !unfinished(&cluster).is_empty() {
        // A stop does not wait for ever; the next start goes on.
        finish();
    }
    assert_eq!(unfinished(&cluster), [""; 0]);
    let agents = NAMES.map(|name| events_in(&cluster, name, |path| Some(cluster.read(path))));
    assert_moves(&sls, &written, &agents, (3, children));
}

/// As it is written, but for the name of the service.
#[test]
fn scenario_11_puts_records_where_their_time_belongs() {
    let Some(cluster) = Cluster::start(1) else { return };
    let sls = Sls::start(8);
    let times = [1_699_999_200, 1_700_002_800, 1_700_006_400];
    for shard in 0..8 {
        for (hour, time) in times.into_iter().enumerate() {
            let logs: Vec<Record> = (0..50)
                .map(|number| Record::of(time + number, &format!("{shard}-{hour}-{number}")))
                .collect();
            sls.append_group(shard, log_group("access", "10.0.0.1", &[], &logs));
        }
    }
    let text = SCENARIO.replace("heartbeatInterval = 30000", "heartbeatInterval = 300");
    let world = World::new(&filled(&text, &sls));
    let agent = start_beside(&cluster, &world);
    eventually(|| sls.is_read(GROUP), || format!("{:?}", sls.state().calls));
    let folder = |day: &str, hour: &str| format!("/tmp/flume-data/loghub/datetime={day}/hour={hour}");
    let folders = [folder("231114", "22"), folder("231114", "23"), folder("231115", "00")];
    let read = |path: &str| -> String {
        cluster.files(path).iter().map(|file| String::from_utf8(cluster.read(&file.path)).unwrap()).collect()
    };
    // What a memory channel holds at the stop is gone.
    eventually(
        || folders.iter().all(|path| read(path).lines().count() == 400),
        || format!("{:?}", folders.each_ref().map(|path| read(path).lines().count())),
    );
    agent.stop();
    for (hour, path) in folders.iter().enumerate() {
        let text = read(path);
        let came: BTreeSet<&str> = text.lines().collect();
        let expected: Vec<String> =
            (0..8).flat_map(|shard| (0..50).map(move |number| format!("{shard}-{hour}-{number}"))).collect();
        assert_eq!(came, expected.iter().map(String::as_str).collect(), "{path}");
        assert_eq!(text.lines().count(), 400);
    }
}

#[test]
fn the_official_client_and_the_service_of_these_tests_understand_each_other() {
    let python = match python::with_clients() {
        Ok(Some(python)) => python,
        Ok(None) => return,
        Err(why) => return skipped(&why),
    };
    let sls = Sls::start(2);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/sls/client.py");
    let endpoint = format!("127.0.0.1:{}", sls.port);
    let output = Command::new(python).args([script, &endpoint, KEY_ID, KEY, REGION]).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("agreed"), "{said}");
}

/// The official client's worker; ended when dropped.
struct Worker {
    child: Child,
    said: PathBuf,
}

impl Worker {
    fn start(python: &Path, sls: &Sls, name: &str, said: PathBuf) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/sls/member.py");
        let mut command = Command::new(python);
        command.args([script, &format!("127.0.0.1:{}", sls.port), KEY_ID, KEY, GROUP, name]);
        let errors = File::create(said.with_extension("errors")).unwrap();
        command.stdin(Stdio::piped()).stdout(File::create(&said).unwrap()).stderr(errors);
        Self { child: command.spawn().unwrap(), said }
    }

    /// What it has read.
    fn read(&self) -> String {
        std::fs::read_to_string(&self.said).unwrap()
    }

    /// Has it leave the group.
    fn end(mut self) -> String {
        drop(self.child.stdin.take());
        let mut ended = None;
        let errors = || std::fs::read_to_string(self.said.with_extension("errors"));
        eventually(
            || {
                ended = self.child.try_wait().unwrap();
                ended.is_some()
            },
            || format!("still there: {errors:?}", errors = errors()),
        );
        assert!(ended.unwrap().success(), "{:?}", errors());
        self.read()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It has ended by itself, as a rule.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
fn the_official_clients_worker_and_an_agent_share_the_shards_of_a_group() {
    let python = match python::with_clients() {
        Ok(Some(python)) => python,
        Ok(None) => return,
        Err(why) => return skipped(&why),
    };
    let sls = Sls::start(4);
    // Nobody is given up for being slow: who leaves says so here.
    sls.state().is_patient = true;
    let world = World::new(&durable(&sls));
    let mut written = BTreeMap::new();
    let mut write_and_read = |count: usize| {
        (0..4).for_each(|shard| write(&sls, &mut written, shard, count));
        eventually(|| sls.is_read(GROUP), || format!("{:?} {:?}", sls.held(GROUP), sls.state().calls));
    };
    let agent = world.start();
    write_and_read(100);
    let worker = Worker::start(&python, &sls, "official", world.path("official"));
    let shares = || sls.held(GROUP).into_values().map(|held| held.len()).collect::<Vec<_>>();
    eventually(|| shares() == [2, 2], || format!("{:?}", sls.held(GROUP)));
    write_and_read(100);
    eventually(|| worker.read().lines().count() == 200, || format!("{:?}", worker.read()));
    let theirs = worker.end();
    sls.give_up(GROUP, "official");
    eventually(|| shares() == [4], || format!("{:?}", sls.held(GROUP)));
    write_and_read(100);
    eventually(
        || delivered(&world).values().map(Vec::len).sum::<usize>() == 1000,
        || format!("{:?}", delivered(&world)),
    );
    agent.stop();
    let mut all = delivered(&world);
    for (shard, number) in theirs.lines().map(numbered) {
        all.entry(shard).or_default().push(number);
    }
    let ours = delivered(&world);
    for (shard, numbers) in &mut all {
        // What the worker read lies between what the agent did before and after.
        assert!(ours[shard].is_sorted() && [200, 300].contains(&ours[shard].len()), "{ours:?}");
        numbers.sort_unstable();
    }
    assert_eq!(all, (0..4).map(|shard| (shard, (0..300).collect())).collect());
}
