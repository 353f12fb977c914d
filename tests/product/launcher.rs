//! `bin/flume-ng`, from the source tree and from the archive.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::agent::Agent;
use crate::lines::{LINE, assert_exact, lines};
use crate::world::{DURABLE_TAIL, World};

/// Runs the main job through a launcher, with Flume's own command line.
fn runs_the_job(launcher: &Path, path: &str) {
    let world = World::new(DURABLE_TAIL);
    fs::create_dir(world.path("conf")).unwrap();
    fs::write(world.path("conf/flume-env.sh"), "export JAVA_OPTS=\"-Xmx100m -Dk=v\"\n").unwrap();
    world.append("in/a.log", lines(0, 1000));
    let mut command = Command::new(launcher);
    command
        .args(["agent", "-n", "a1", "-c", "conf", "-f", "flume.conf", "-Dflume.root.logger=INFO,console"])
        .env("PATH", path)
        .current_dir(world.root());
    let agent = Agent::spawn(&mut command, world.path("logs/1"));
    world.wait_delivered(1000 * LINE as u64);
    // The script has become the agent, so signals and kills reach it.
    let said = agent.stop();
    assert!(said.contains("-Xmx100m is ignored") && said.contains("SIGTERM"), "{said}");
    assert_exact(&world.output(), 1000);
}

fn source_tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn flume_ng_runs_the_job_of_flumes_command_line() {
    let binary = Path::new(env!("CARGO_BIN_EXE_flumen")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    runs_the_job(&source_tree().join("bin/flume-ng"), &path);
}

#[test]
fn the_archive_has_one_folder_and_runs_wherever_it_is_unpacked() {
    let place = tempfile::tempdir().unwrap();
    let packed = Command::new(source_tree().join("scripts/archive.sh"))
        .env("BINARY", env!("CARGO_BIN_EXE_flumen"))
        .env("DIST", place.path())
        .output()
        .unwrap();
    assert!(packed.status.success(), "{}", String::from_utf8_lossy(&packed.stderr));
    let archive = String::from_utf8(packed.stdout).unwrap();
    let unpacked = place.path().join("elsewhere");
    fs::create_dir(&unpacked).unwrap();
    let tar = Command::new("tar").arg("-xzf").arg(archive.trim()).arg("-C").arg(&unpacked).status().unwrap();
    assert!(tar.success());
    let tops: Vec<_> = fs::read_dir(&unpacked).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [top] = &tops[..] else { panic!("{tops:?}") };
    let name = top.file_name().unwrap().to_str().unwrap();
    let expected = format!("flumen-{}-linux-{}", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    assert_eq!(name, expected);
    for part in ["bin/flumen", "conf", "docs", "examples", "LICENSE", "README.md", "CHANGELOG.md"] {
        assert!(top.join(part).exists(), "{part}");
    }
    runs_the_job(&top.join("bin/flume-ng"), "/usr/bin:/bin");
}
