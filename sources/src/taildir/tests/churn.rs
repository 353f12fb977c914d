//! A writer at full speed that rotates every 50 ms, in three ways. Nothing may be lost, nothing repeated.

use super::*;

#[derive(Clone, Copy, Debug)]
enum Rotation {
    /// To a name that matches and is renamed on and on.
    RenameMatching,
    /// To a name that does not match.
    RenameAway,
    /// The old file is removed once it is read, and made again.
    Recreate,
    /// The file is cut once it is read: `copytruncate` by a writer who can wait.
    Cut,
}

#[test]
fn rotation_at_full_speed_loses_and_repeats_nothing() {
    let time = Duration::from_millis(900);
    for rotation in [Rotation::RenameMatching, Rotation::RenameAway, Rotation::Recreate, Rotation::Cut] {
        // No shorter idle timeout: a line that is half written while the machine stands still would be two events.
        let stage = Stage::new(&[("batchSize", "100")]);
        let running = stage.start();
        // A name that it had before the directory was watched would say nothing of a file that is renamed away.
        eventually(|| "started".into(), || stage.position_file().exists());
        let written = write(&stage, rotation, time);
        eventually(
            || format!("{rotation:?}: {written} lines, have {}", stage.events()),
            || stage.events() >= written,
        );
        running.stop();
        let mut numbers: Vec<usize> = stage
            .engine
            .bodies()
            .iter()
            .map(|body| body.split(' ').next().unwrap().parse().unwrap())
            .collect();
        numbers.sort_unstable();
        assert!(numbers.iter().copied().eq(0..written), "{rotation:?}: {} lines of {written}", numbers.len());
    }
}

fn write(stage: &Stage, rotation: Rotation, time: Duration) -> usize {
    let read_all =
        |written| eventually(|| format!("{rotation:?}: {written} read"), || stage.events() >= written);
    let path = stage.path("a.log");
    let begun = Instant::now();
    let (mut line, mut rotations) = (0, 0);
    while begun.elapsed() < time {
        let mut file = File::options().append(true).create(true).open(&path).unwrap();
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(50) {
            let mut text = String::new();
            for _ in 0..50 {
                text.push_str(&format!("{line} {}\n", "x".repeat(line % 100)));
                line += 1;
            }
            // In two pieces, so that lines are seen half written.
            let (head, tail) = text.split_at(text.len() / 2);
            file.write_all(head.as_bytes()).unwrap();
            file.write_all(tail.as_bytes()).unwrap();
        }
        rotations += 1;
        match rotation {
            Rotation::RenameMatching => {
                for i in (1..5).rev() {
                    // Not there yet in the first rounds.
                    fs::rename(stage.path(&format!("{i}-a.log")), stage.path(&format!("{}-a.log", i + 1)))
                        .ok();
                }
                if stage.path("5-a.log").exists() {
                    stage.rename("5-a.log", &format!("old-{rotations}-a.log"));
                }
                stage.rename("a.log", "1-a.log");
            }
            Rotation::RenameAway => stage.rename("a.log", &format!("a.log.{rotations}")),
            Rotation::Recreate => {
                read_all(line);
                fs::remove_file(&path).unwrap();
            }
            Rotation::Cut => {
                read_all(line);
                file.set_len(0).unwrap();
            }
        }
    }
    line
}
