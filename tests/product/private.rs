//! Who may read what an agent leaves on disk, and what it runs and reads on behalf of a configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::lines::{LINE, lines};
use crate::world::{DURABLE_TAIL, World, eventually};

/// Path and mode of everything below.
fn modes(path: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        let status = fs::metadata(&path).unwrap();
        found.push((path.display().to_string(), status.permissions().mode() & 0o7777));
        if status.is_dir() {
            found.extend(modes(&path));
        }
    }
    found
}

#[test]
fn channels_and_kept_configurations_are_the_owners_alone_and_outputs_follow_the_umask() {
    for (umask, file) in [("000", 0o666), ("027", 0o640), ("077", 0o600)] {
        // Several segments and a checkpoint.
        let world = World::new(&format!("{DURABLE_TAIL}a1.channels.c1.maxFileSize = 1048576\n"));
        world.append("in/a.log", lines(0, 20_000));
        let agent = world.start_after(
            &format!("umask {umask}"),
            &["-b", "kept", "-Dflume.root.logger=INFO,console,LOGFILE", "-Dflume.log.dir=log"],
        );
        world.wait_delivered(20_000 * LINE as u64);
        let position = world.path("position.json");
        eventually(|| position.exists(), || "no position file".into());
        agent.stop();
        for directory in ["data/flumen", "checkpoint/flumen"] {
            let directory = world.path(directory);
            assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700, "{umask}");
            let inside = modes(&directory);
            assert!(inside.len() >= 2, "{inside:?}");
            assert!(inside.iter().all(|(_, mode)| *mode == 0o600), "umask {umask}: {inside:?}");
        }
        let kept = modes(&world.path("kept"));
        assert!(!kept.is_empty() && kept.iter().all(|(_, mode)| *mode == 0o600), "umask {umask}: {kept:?}");
        for directory in ["out", "log"] {
            let inside = modes(&world.path(directory));
            assert!(!inside.is_empty(), "nothing in {directory}");
            assert!(inside.iter().all(|(_, mode)| *mode == file), "umask {umask}: {inside:?}");
        }
        assert_eq!(fs::metadata(&position).unwrap().permissions().mode() & 0o777, file, "umask {umask}");
    }
}

#[test]
fn a_config_filters_command_meets_no_shell_and_its_output_is_bounded() {
    let filter = |command: &str| {
        format!(
            "a1.configfilters = f1\na1.configfilters.f1.type = external\na1.configfilters.f1.command = {command}\n\
             a1.sinks.k1.sink.pathManager.prefix = ${{f1[p]}}\n{DURABLE_TAIL}"
        )
    };
    let world = World::new(&filter("echo x;touch made $(touch made) `touch made` >made | touch made"));
    world.check();
    assert!(!world.path("made").exists(), "a shell has read the command");

    // It prints without end.
    let world = World::new(&filter("yes"));
    let output = world.check();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("f1") && said.contains("yes"), "{said}");
    assert!(!said.contains("took longer than"), "it was read to no end: {said}");
}

#[test]
fn a_configuration_or_position_file_of_absurd_size_is_refused_before_it_is_read() {
    let world = World::new(DURABLE_TAIL);
    let sparse = |name: &str| fs::File::create(world.path(name)).unwrap().set_len(1 << 40).unwrap();
    sparse("position.json");
    world.append("in/a.log", lines(0, 10));
    let agent = world.start();
    agent.wait_for(&["ERROR", "position file", &world.path("position.json").to_string_lossy()]);
    fs::remove_file(world.path("position.json")).unwrap();
    world.wait_delivered(10 * LINE as u64);
    agent.stop();

    sparse("flume.conf");
    let mut agent = world.start();
    assert_eq!(agent.end().code(), Some(78));
    agent.wait_for(&["ERROR", "flume.conf", "no configuration"]);
    assert_eq!(world.check().status.code(), Some(78));
}
