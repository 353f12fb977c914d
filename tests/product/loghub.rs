//! The LogHub source against a log service that keeps its state in this process: members that are killed, shards that move and are split.
//!
//! The service itself is checked by the official client: `FLUMEN_SLS_PYTHON=<a Python with aliyun-log-python-sdk>` runs that
//! test, which is skipped otherwise, for the client with all that it needs takes a minute or two to install:
//! `python3 -m venv v && v/bin/pip install aliyun-log-python-sdk==0.9.52 && FLUMEN_SLS_PYTHON=$PWD/v/bin/python cargo test --test product official`.
//! `FLUMEN_LOGHUB_KILLS=100` kills so often (default 20).

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use crate::agent::{Agent, flumen};
use crate::hadoop::Cluster;
use crate::lines::Random;
use crate::sls::{Fault, KEY, KEY_ID, REGION, Record, Sls, log_group};
use crate::world::{World, eventually, free_port, get, output};

const SCENARIO: &str = include_str!("../scenarios/11-loghub-hdfs.conf");

const GROUP: &str = "consumer_1";

/// Logs of a log group, as the service's stand-in packs them, and most log groups of a pull here.
const LOGS: usize = 10;
const PULL: usize = 5;

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

/// Numbers of each shard's events, in the order in which an agent has delivered them.
fn delivered(world: &World) -> BTreeMap<u32, Vec<usize>> {
    let mut shards: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for line in String::from_utf8(output(&world.path("out"))).unwrap().lines() {
        let (shard, number) = line.strip_prefix('s').and_then(|rest| rest.split_once('-')).expect(line);
        shards.entry(shard.parse().unwrap()).or_default().push(number.parse().unwrap());
    }
    shards
}

/// Puts `count` more logs into a shard that has `written` of them.
fn write(sls: &Sls, written: &mut BTreeMap<u32, usize>, shard: u32, count: usize) {
    let from = written.entry(shard).or_default();
    let bodies: Vec<String> = (*from..*from + count).map(|number| format!("s{shard}-{number}")).collect();
    *from += count;
    sls.append(shard, &bodies);
}

#[test]
fn two_agents_share_eight_shards_through_kills_and_a_split() {
    let kills = std::env::var("FLUMEN_LOGHUB_KILLS").map_or(20, |kills| kills.parse().unwrap());
    let sls = Sls::start(8);
    sls.state().pull_max = PULL;
    let worlds = [World::new(&durable(&sls)), World::new(&durable(&sls))];
    let mut random = Random::new();
    let mut written = BTreeMap::new();
    let mut open: BTreeSet<u32> = (0..8).collect();
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
            open.extend(sls.split(3));
        }
        if random.below(4) == 0 {
            let fault = [Fault::Lost, Fault::Cut, Fault::Half, Fault::Refused(500, "ServerBusy")];
            sls.fault("any", fault[random.below(4) as usize].clone(), 3);
        }
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
    let [one, other] = worlds.each_ref().map(delivered);
    for (shard, count) in &written {
        assert_eq!(all(*shard), (0..*count).collect(), "shard {shard}");
        let [one, other] = [&one, &other].map(|all| all.get(shard).cloned().unwrap_or_default());
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
    let monitoring =
        ["-Dflume.monitoring.type=prometheus".to_string(), format!("-Dflume.monitoring.port={port}")];
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
    let mut command: Command = flumen(world.root());
    command.args(["agent", "-n", "a1", "-f", "flume.conf", "-c"]).arg(cluster.conf());
    command.env("HADOOP_USER_NAME", "root").env("TZ", "UTC").env_remove("HADOOP_CONF_DIR");
    let agent = world.spawn(&mut command);
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
    let Some(python) = std::env::var_os("FLUMEN_SLS_PYTHON") else {
        println!("skipped: FLUMEN_SLS_PYTHON names no Python");
        return;
    };
    let sls = Sls::start(2);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/sls/client.py");
    let endpoint = format!("127.0.0.1:{}", sls.port);
    let output = Command::new(python).args([script, &endpoint, KEY_ID, KEY, REGION]).output().unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("agreed"), "{said}");
}
