//! A start during which the directory changes.

use std::fs;

use flumen_api::settings::{ComponentConfig, Kind, Problems};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::taildir::resume::Authority;
use crate::taildir::spec;
use crate::testing::{FakeEngine, Running};

#[test]
fn a_file_that_is_renamed_while_a_start_lists_goes_on_where_it_was() {
    let room = tempfile::tempdir().unwrap();
    let folder = room.path().join("in");
    fs::create_dir(&folder).unwrap();
    let (group, positions) = (format!("{}/.*log", folder.display()), room.path().join("position.json"));
    let keys = [
        ("filegroups", "f1"),
        ("filegroups.f1", &*group),
        ("positionFile", positions.to_str().unwrap()),
        ("cachePatternMatching", "true"),
    ];
    let engine = FakeEngine::new();
    fs::write(folder.join("a.log"), "one\ntwo\n").unwrap();
    let running = Running::start(&spec(), &engine, &keys);
    crate::testing::eventually(|| "two lines".into(), || engine.bodies().len() == 2);
    running.stop();

    let config = ComponentConfig::of(Kind::Source, "r1", &keys);
    let mut problems = Problems::default();
    let settings = TaildirSettings::load(&config, &mut problems).unwrap();
    let groups = Group::all(&settings, &config, &mut problems).unwrap();
    let context = engine.context(&CancellationToken::new());
    let held = context.positions().unwrap();
    let mut tailer = Tailer::new(context, &settings, &groups);
    tailer.resume = Resume::new(Authority::Channel, held);
    // As a listing sees a directory in which a name is made behind where it reads, and the old one removed before it came there.
    let aside = room.path().join("aside");
    fs::rename(folder.join("a.log"), &aside).unwrap();
    // Slowly: the next listing would have to wait for a while.
    let begun = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
    tailer.directories.refresh(&groups, begun, |_| false);
    assert_eq!(tailer.directories.found().count(), 0);
    fs::rename(&aside, folder.join("1-a.log")).unwrap();

    tailer.settle();
    let followed: Vec<(&Path, u64)> =
        tailer.files.values().map(|tail| (tail.path.as_path(), tail.put)).collect();
    assert_eq!(followed, [(folder.join("1-a.log").as_path(), 8)]);
    assert!(tailer.resume.take_lost().is_empty(), "its position would be forgotten");
}
