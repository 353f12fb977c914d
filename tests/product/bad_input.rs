//! Bad input of every kind: an error that names file and line or path, the rest runs, nothing is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::lines::{LINE, assert_exact, lines};
use crate::netcat;
use crate::world::{DURABLE_TAIL, World, delivered, eventually, free_port, output, two_pipelines};

/// Scenario 14 with one mistake after the other behind it.
const MISTAKES: &str = "
half a line
a1.sources = r1 r2
a1.sinks = k1 k2 k3 k4 k5
a1.sinks.k2.type = file_rol
a1.sinks.k2.channel = c1
a1.sinks.k3.type = file_roll
a1.sinks.k3.channel = c1
a1.sources.r2.type = netcat
a1.sources.r2.bind = 127.0.0.1
a1.sources.r2.port = 99999
a1.sources.r2.channels = c1
a = ${b}
b = ${a}
a1.sinks.k4.type = file_roll
a1.sinks.k4.sink.directory = ${a}
a1.sinks.k4.channel = c1
a1.sinks.k5.type = null
a1.sinks.k5.channel = c9
";

/// The second pipeline of [`two_pipelines`] delivers, whatever is wrong with the first.
#[track_caller]
fn assert_second_runs(world: &World) {
    world.append("2/in/a.log", lines(0, 100));
    let out = world.path("2/out");
    eventually(|| delivered(&out) == 100 * LINE as u64, || "the other pipeline does not deliver".into());
}

#[test]
fn each_mistake_in_a_file_is_named_with_its_line_and_the_rest_runs() {
    let world = World::new(&format!("{DURABLE_TAIL}{MISTAKES}"));
    let text = fs::read_to_string(world.path("flume.conf")).unwrap();
    let line_of = |part: &str| 1 + text.lines().position(|line| line.contains(part)).unwrap();
    // The line, and what has to be said of it.
    let expected = [
        (line_of("half a line"), &["error", "half"][..]),
        (line_of("k2.type"), &["file_roll", "a1.sinks.k2.type"]),
        (line_of("k3.type"), &["a1.sinks.k3", "sink.directory"]),
        (line_of("99999"), &["a1.sources.r2.port", "99999", "65535"]),
        (line_of("k4.sink.directory"), &["a1.sinks.k4.sink.directory", "${a}"]),
        (line_of("= c9"), &["a1.sinks.k5.channel", "c9"]),
    ];
    let expected = |all: &str| {
        for (line, parts) in &expected {
            let place = format!("flume.conf:{line}:");
            let named = |found: &str| found.contains(&place) && parts.iter().all(|part| found.contains(part));
            assert!(all.lines().any(named), "no line with {place} and {parts:?} in\n{all}");
        }
    };
    let before = world.files_below("");
    let output = world.check();
    assert_eq!(output.status.code(), Some(78));
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    expected(&said);
    assert_eq!(world.files_below(""), before, "check changed something");

    world.append("in/a.log", lines(0, 100));
    let agent = world.start();
    world.wait_delivered(100 * LINE as u64);
    expected(&agent.stop());
    assert_exact(&world.output(), 100);
}

#[test]
fn a_file_that_may_not_be_read_is_named_and_read_once_it_may() {
    let world = World::new(DURABLE_TAIL);
    world.append("in/a.log", lines(0, 100));
    world.append("in/b.log", "");
    fs::set_permissions(world.path("in/b.log"), fs::Permissions::from_mode(0o000)).unwrap();
    for path in ["", "in", "out"] {
        fs::set_permissions(world.path(path), fs::Permissions::from_mode(0o777)).unwrap();
    }
    let agent = world.start_as_nobody();
    agent.wait_for(&["WARN", &world.path("in/b.log").to_string_lossy(), "denied"]);
    world.wait_delivered(100 * LINE as u64);
    fs::set_permissions(world.path("in/b.log"), fs::Permissions::from_mode(0o644)).unwrap();
    world.append("in/b.log", lines(100, 200));
    world.wait_delivered(200 * LINE as u64);
    agent.stop();
    assert_exact(&world.output(), 200);
}

#[test]
fn an_occupied_port_is_named_the_rest_runs_and_it_is_taken_once_it_is_free() {
    let occupant = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = occupant.local_addr().unwrap().port();
    let more = format!(
        "a1.sources = r1 r2\na1.sources.r2.type = netcat\na1.sources.r2.bind = 127.0.0.1\n\
         a1.sources.r2.port = {port}\na1.sources.r2.channels = c1\n"
    );
    let world = World::new(&DURABLE_TAIL.replace("a1.sources = r1\n", &more));
    let agent = world.start();
    agent.wait_for(&["ERROR", "r2", &format!("127.0.0.1:{port}")]);
    world.append("in/a.log", lines(0, 100));
    world.wait_delivered(100 * LINE as u64);
    drop(occupant);
    let mut stream = netcat::connect(&agent, port);
    assert_eq!(netcat::ask(&mut stream, &lines(100, 101)[..LINE - 1]), "OK\n");
    world.wait_delivered(101 * LINE as u64);
    agent.stop();
    assert_exact(&world.output(), 101);
}

#[test]
fn flumes_own_data_is_refused_untouched_and_left_alone_when_told_so() {
    let world = World::new(&two_pipelines());
    fs::create_dir_all(world.path("data")).unwrap();
    fs::write(world.path("data/log-1"), b"of another program").unwrap();
    fs::write(world.path("data/log-1.meta"), b"also").unwrap();
    let before = world.files_below("data");
    let agent = world.start();
    agent.wait_for(&["ERROR", &world.path("data").to_string_lossy(), "log-1", "--ignore-flume-data"]);
    assert_second_runs(&world);
    agent.stop();
    assert_eq!(world.files_below("data"), before);

    world.append("in/a.log", lines(0, 100));
    let agent = world.start_with(&["--ignore-flume-data"]);
    world.wait_delivered(100 * LINE as u64);
    agent.stop();
    assert_eq!(fs::read(world.path("data/log-1")).unwrap(), b"of another program");
}

/// Writes another version into all headers of all segments.
fn set_version(world: &World, version: u8) {
    let mut changed = 0;
    for entry in fs::read_dir(world.path("data/flumen")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        for at in [0, 4096] {
            let Some(header) = bytes.get_mut(at..at + 128).filter(|header| header.starts_with(b"FLUMENWL"))
            else {
                continue;
            };
            header[12] = version;
            let crc = crc32fast::hash(&header[12..]);
            header[8..12].copy_from_slice(&crc.to_le_bytes());
            changed += 1;
        }
        fs::write(&path, bytes).unwrap();
    }
    assert!(changed >= 2, "{changed} headers");
}

#[test]
fn data_of_a_newer_format_is_refused_untouched_and_nothing_of_it_is_lost() {
    // The sink's directory is not there yet, so the lines stay in the channel.
    let config = two_pipelines().replace("@DIR@/out", "@DIR@/later");
    let world = World::new(&config);
    world.append("in/a.log", lines(0, 1000));
    let agent = world.start();
    let end = format!("\"pos\":{}", 1000 * LINE);
    eventually(
        || fs::read_to_string(world.path("position.json")).is_ok_and(|text| text.contains(&end)),
        || "the lines are not in the channel".into(),
    );
    agent.stop();
    set_version(&world, 9);
    let before = (world.files_below("data"), world.files_below("checkpoint"));
    let agent = world.start();
    agent.wait_for(&["ERROR", &world.path("data/flumen").to_string_lossy(), "version 9"]);
    assert_second_runs(&world);
    agent.stop();
    assert!(before == (world.files_below("data"), world.files_below("checkpoint")), "refused, and changed");

    set_version(&world, 1);
    fs::create_dir(world.path("later")).unwrap();
    let agent = world.start();
    let later = world.path("later");
    eventually(|| delivered(&later) == 1000 * LINE as u64, || format!("{}", delivered(&later)));
    agent.stop();
    assert_exact(&output(&later), 1000);
}

#[test]
fn a_second_agent_on_the_same_directory_ends_with_75_and_names_it() {
    let world = World::new(DURABLE_TAIL);
    let first = world.start().started();
    let mut second = world.start_with(&["-Dflumen.lock.wait=2"]);
    assert_eq!(second.end().code(), Some(75), "{}", second.said());
    second.wait_for(&["ERROR", &world.path("data/flumen").to_string_lossy(), "locked"]);
    world.append("in/a.log", lines(0, 100));
    world.wait_delivered(100 * LINE as u64);
    first.stop();
    assert_exact(&world.output(), 100);
}

#[test]
fn a_line_of_100_mb_passes_with_its_neighbours() {
    let world = World::new(DURABLE_TAIL);
    let agent = world.start();
    let mut input = b"before\n".to_vec();
    input.extend((0..100_000_000_u32).map(|i| b'a' + (i.wrapping_mul(2_654_435_761) >> 28) as u8));
    input.extend(b"\nafter\n");
    world.append("in/a.log", &input);
    world.wait_delivered(input.len() as u64);
    agent.stop();
    assert!(world.output() == input, "{} bytes of {} came, or others", world.delivered(), input.len());
}

#[test]
fn bytes_that_are_not_utf_8_pass_unchanged() {
    let world = World::new(DURABLE_TAIL);
    let agent = world.start();
    let mut input = Vec::new();
    for first in 0..=255_u8 {
        input.extend(
            [first, 0xC3, 0x28, 0xF0, 0x9F, 0, b'\r', 0xFF].into_iter().filter(|byte| *byte != b'\n'),
        );
        input.push(b'\n');
    }
    world.append("in/a.log", &input);
    world.wait_delivered(input.len() as u64);
    agent.stop();
    assert_eq!(world.output(), input);
}

#[test]
fn a_netcat_line_that_is_too_long_is_refused_and_what_came_before_is_kept() {
    let port = free_port();
    let source = format!("type = netcat\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {port}");
    let world = World::new(&DURABLE_TAIL.replace("type = TAILDIR", &source));
    let agent = world.start();
    let mut stream = netcat::connect(&agent, port);
    assert_eq!(netcat::ask(&mut stream, &lines(0, 1)[..LINE - 1]), "OK\n");
    let answer = netcat::ask(&mut stream, "x".repeat(600));
    assert!(answer.starts_with("FAILED: Event exceeds the maximum length"), "{answer}");
    world.wait_delivered(LINE as u64);
    agent.stop();
    assert_exact(&world.output(), 1);
}
