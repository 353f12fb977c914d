//! Limits of the machine: descriptors that run out, directories that may not be written, vanish, or lie on a file system
//! that keeps less than it says.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use crate::lines::{LINE, assert_each_once, assert_exact, lines};
use crate::mounts::Mounted;
use crate::netcat;
use crate::world::{DURABLE_TAIL, World, delivered, eventually, free_port, get, output, two_pipelines};

/// `config` with its first channel on a small file system.
fn on_small(config: &str) -> String {
    let config = config.replace("@DIR@/data", "@DIR@/small/data");
    let config = config.replace("@DIR@/checkpoint", "@DIR@/small/checkpoint");
    format!("{config}a1.channels.c1.minimumRequiredSpace = 1048576\na1.channels.c1.maxFileSize = 4194304\n")
}

/// [`DURABLE_TAIL`] with small segments, so that new files are needed all the time, and a netcat source.
fn with_clients(port: u16) -> String {
    let sources = format!(
        "a1.sources = r1 r2\na1.sources.r2.type = netcat\na1.sources.r2.bind = 127.0.0.1\n\
         a1.sources.r2.port = {port}\na1.sources.r2.channels = c1\na1.channels.c1.maxFileSize = 1048576\n"
    );
    DURABLE_TAIL.replace("a1.sources = r1\n", &sources)
}

#[test]
fn clients_that_take_all_descriptors_stop_nothing_for_good_and_lose_nothing() {
    let port = free_port();
    let world = World::new(&with_clients(port));
    let agent = world.start_after("ulimit -n 48", &[]);
    let mut stream = netcat::connect(&agent, port);
    assert_eq!(netcat::ask(&mut stream, &lines(0, 1)[..LINE - 1]), "OK\n");
    let crowd: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    agent.wait_for(&["WARN", "cannot accept a client", "Too many open files"]);
    // Segments and output files need descriptors too.
    for block in 0..50 {
        world.append("in/a.log", lines(1 + block * 1000, 1 + (block + 1) * 1000));
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(crowd);
    world.wait_delivered(50_001 * LINE as u64);
    let mut another = netcat::connect(&agent, port);
    for (stream, line) in [(&mut stream, 50_001), (&mut another, 50_002)] {
        assert_eq!(netcat::ask(stream, &lines(line, line + 1)[..LINE - 1]), "OK\n");
    }
    world.wait_delivered(50_003 * LINE as u64);
    agent.stop();
    assert_each_once(&world.output(), 0..50_003);
}

#[test]
fn an_agent_that_may_open_too_little_says_so_and_never_panics() {
    for most in (6..33).step_by(3) {
        let world = World::new(DURABLE_TAIL);
        world.append("in/a.log", lines(0, 10));
        let mut agent = world.start_after(&format!("ulimit -n {most}"), &[]);
        eventually(
            || agent.said().contains("Too many open files") || world.delivered() == 10 * LINE as u64,
            || format!("with {most} descriptors: {}", agent.said()),
        );
        let said = agent.said();
        assert!(!said.contains("panicked"), "with {most} descriptors: {said}");
        // One that could not even begin has ended by itself.
        if said.contains("at most") {
            agent.signal("TERM");
            assert_eq!(agent.end().code(), Some(0), "with {most} descriptors: {}", agent.said());
        } else {
            assert_eq!(agent.end().code(), Some(1), "with {most} descriptors: {said}");
        }
        let mut output = Vec::new();
        for entry in fs::read_dir(world.path("out")).unwrap() {
            fs::File::open(entry.unwrap().path()).unwrap().read_to_end(&mut output).unwrap();
        }
        assert!(lines(0, 10).starts_with(&output), "with {most} descriptors");
    }
}

/// The second pipeline delivers, whatever is wrong with the first.
#[track_caller]
fn assert_second_runs(world: &World) {
    world.append("2/in/a.log", lines(0, 100));
    let out = world.path("2/out");
    eventually(|| delivered(&out) == 100 * LINE as u64, || "the other pipeline does not deliver".into());
}

#[test]
fn directories_that_may_not_be_written_are_named_the_rest_runs_and_they_are_used_once_they_may() {
    // The second pipeline has its position file there, which it can do without.
    let config = two_pipelines()
        .replace("@DIR@/data", "@DIR@/ro/data")
        .replace("@DIR@/checkpoint", "@DIR@/ro/checkpoint")
        .replace("@DIR@/2/position.json", "@DIR@/ro/position.json");
    let world = World::new(&config);
    let may = |mode| fs::set_permissions(world.path("ro"), fs::Permissions::from_mode(mode)).unwrap();
    fs::create_dir(world.path("ro")).unwrap();
    for path in ["", "in", "out", "2", "2/in", "2/out"] {
        fs::set_permissions(world.path(path), fs::Permissions::from_mode(0o777)).unwrap();
    }
    may(0o555);
    world.append("in/a.log", lines(0, 100));
    let agent = world.start_as_nobody();
    agent.wait_for(&["ERROR", "c1", &world.path("ro/data").to_string_lossy(), "denied"]);
    agent.wait_for(&["WARN", "position file cannot be written", &world.path("ro").to_string_lossy()]);
    assert_second_runs(&world);
    may(0o777);
    world.wait_delivered(100 * LINE as u64);
    agent.stop();
    assert_exact(&world.output(), 100);
    assert!(world.path("ro/position.json").exists(), "the position file was not written at last");
}

#[test]
fn a_log_deleted_under_a_running_agent_is_noticed_and_a_start_without_it_is_refused() {
    let world = World::new(&format!("{}a1.channels.c1.maxFileSize = 1048576\n", two_pipelines()));
    let agent = world.start();
    world.append("in/a.log", lines(0, 20_000));
    world.wait_delivered(20_000 * LINE as u64);
    fs::remove_dir_all(world.path("data")).unwrap();
    // More than the segments that are open still hold.
    world.append("in/a.log", lines(20_000, 80_000));
    agent.wait_for(&["WARN", "put refused", "c1"]);
    assert_second_runs(&world);
    agent.kill();
    let delivered_before = world.output();
    assert!(lines(0, 80_000).starts_with(&delivered_before));

    // What was in it is gone; going on as if nothing had been there would hide it.
    let agent = world.start();
    agent.wait_for(&["ERROR", "c1", &world.path("data/flumen").to_string_lossy(), "missing"]);
    agent.stop();
    assert_eq!(world.output(), delivered_before);
}

#[test]
fn a_checkpoint_directory_deleted_under_a_running_agent_costs_nothing_but_a_longer_start() {
    // Checkpoints are written as often as can be.
    let world = World::new(&format!(
        "{}a1.channels.c1.maxFileSize = 1048576\na1.channels.c1.checkpointInterval = 1000\n",
        two_pipelines()
    ));
    let port = free_port();
    let agent =
        world.start_with(&["-Dflume.monitoring.type=http", &format!("-Dflume.monitoring.port={port}")]);
    world.append("in/a.log", lines(0, 20_000));
    world.wait_delivered(20_000 * LINE as u64);
    fs::remove_dir_all(world.path("checkpoint")).unwrap();
    // Several segments further, each with a checkpoint.
    world.append("in/a.log", lines(20_000, 80_000));
    world.wait_delivered(80_000 * LINE as u64);
    let errors = || {
        let (_, text) = get(port, "/metrics/prometheus")?;
        let line = text
            .lines()
            .find(|line| line.starts_with("flumen_channel_checkpoint_errors{") && line.contains("c1"));
        line?.rsplit(' ').next()?.parse::<f64>().ok()
    };
    eventually(|| errors() > Some(0.0), || format!("{:?} errors of the checkpoint", errors()));
    assert_second_runs(&world);
    agent.kill();
    world.append("in/a.log", lines(80_000, 81_000));

    let agent = world.start();
    world.wait_delivered(81_000 * LINE as u64);
    agent.stop();
    assert_exact(&world.output(), 81_000);
    assert!(world.path("checkpoint/flumen").read_dir().unwrap().count() > 1, "a lock and a checkpoint");
}

#[test]
fn a_file_system_that_turns_read_only_fails_the_channel_and_once_repaired_nothing_is_lost() {
    let world = World::new(&on_small(&two_pipelines().replace("@DIR@/out", "@DIR@/later")));
    let Some(small) = Mounted::ext4(&world) else { return };
    let port = free_port();
    let agent =
        world.start_with(&["-Dflume.monitoring.type=http", &format!("-Dflume.monitoring.port={port}")]);
    world.append("in/a.log", lines(0, 1000));
    let position = world.path("position.json");
    let end = format!("\"pos\":{}", 1000 * LINE);
    eventually(
        || fs::read_to_string(&position).is_ok_and(|text| text.contains(&end)),
        || "the lines are not in the channel".into(),
    );
    // What the kernel does on damage of the file system.
    small.remount("abort");
    world.append("in/a.log", lines(1000, 2000));
    let ready = || get(port, "/readyz");
    eventually(
        || {
            ready().is_some_and(|(status, text)| {
                status == 503 && text.contains("channel c1: ") && text.contains("os error")
            })
        },
        || format!("{:?}", ready()),
    );
    assert_second_runs(&world);
    agent.kill();
    small.again();
    fs::create_dir(world.path("later")).unwrap();
    let agent = world.start();
    let later = world.path("later");
    eventually(|| delivered(&later) >= 2000 * LINE as u64, || format!("{}", delivered(&later)));
    agent.stop();
    assert_exact(&output(&later), 2000);
}

#[test]
fn a_channel_in_memory_or_in_a_containers_layer_is_warned_of() {
    let config = on_small(DURABLE_TAIL);
    let overlay = "lowerdir=@/lower,upperdir=@/upper/u,workdir=@/upper/w";
    for (what, parts) in [
        (["-t", "tmpfs", "tmpfs", "-o", "size=48m"], ["tmpfs", "not the machine"]),
        (["-t", "overlay", "overlay", "-o", overlay], ["overlay", "mount a volume"]),
        (["-t", "overlay", "overlay", "-o", &format!("{overlay},volatile")], ["overlay", "volatile"]),
    ] {
        let world = World::new(&config);
        for path in ["lower", "upper/u", "upper/w"] {
            fs::create_dir_all(world.path(path)).unwrap();
        }
        let options = what[4].replace('@', &world.root().to_string_lossy());
        let Some(_small) = Mounted::new(&world, &[what[0], what[1], what[2], what[3], &options]) else {
            return;
        };
        let agent = world.start().started();
        agent.wait_for(&["WARN", "c1", &world.path("small/data").to_string_lossy(), parts[0], parts[1]]);
        world.append("in/a.log", lines(0, 100));
        world.wait_delivered(100 * LINE as u64);
        agent.stop();
        assert_exact(&world.output(), 100);
    }
}
