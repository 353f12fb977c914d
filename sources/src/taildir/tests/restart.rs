//! What a new life of the source makes of the channel's progress and of the position file.

use super::*;

fn inode(stage: &Stage, name: &str) -> u64 {
    fs::metadata(stage.path(name)).unwrap().ino()
}

#[test]
fn a_restart_goes_on_where_the_channel_stands() {
    let stage = Stage::new(&[]);
    stage.append("a.log", "one\n");
    let running = stage.start();
    stage.expect(&["one"]);
    running.stop();
    stage.append("a.log", "two\n");
    let running = stage.start();
    stage.expect(&["one", "two"]);
    running.stop();
    assert_eq!(stage.engine.state().dropped, 0);
}

#[test]
fn a_crash_repeats_nothing_though_the_position_file_is_old() {
    let stage = Stage::new(&[("writePosInterval", "60000")]);
    stage.append("a.log", "one\n");
    let running = stage.start();
    stage.expect(&["one"]);
    // What a crash would leave: the channel as it is, the position file of the start.
    let channel = FakeEngine::with(stage.engine.state().clone());
    let file = fs::read(stage.position_file()).unwrap();
    running.stop();
    fs::write(stage.position_file(), file).unwrap();
    let stage = Stage { engine: channel, ..stage };
    stage.append("a.log", "two\n");
    let running = stage.start();
    stage.expect(&["one", "two"]);
    running.stop();
    assert_eq!(stage.engine.state().dropped, 0);
}

#[test]
fn a_file_renamed_while_stopped_is_finished_under_any_name() {
    let stage = Stage::new(&[("fileHeader", "true")]);
    stage.append("a.log", "one\n");
    stage.append("b.log", "uno\n");
    let running = stage.start();
    eventually(|| "two".into(), || stage.events() == 2);
    running.stop();
    stage.append("a.log", "two\n");
    stage.append("b.log", "due\n");
    stage.rename("a.log", "c.log");
    stage.rename("b.log", "b.log.1");
    let running = stage.start();
    eventually(|| format!("{:?}", stage.engine.bodies()), || stage.events() == 4);
    a_moment();
    let mut bodies = stage.engine.bodies();
    bodies.sort();
    assert_eq!(bodies, ["due", "one", "two", "uno"]);
    running.stop();
}

#[test]
fn an_inode_used_again_while_stopped_is_a_new_file() {
    let stage = Stage::new(&[]);
    stage.append("a.log", "one\n");
    let running = stage.start();
    stage.expect(&["one"]);
    running.stop();
    fs::remove_file(stage.path("a.log")).unwrap();
    stage.append("a.log", "two\nthree\n");
    let running = stage.start();
    stage.expect(&["one", "two", "three"]);
    running.stop();
}

#[test]
fn a_file_cut_while_stopped_is_read_from_its_beginning() {
    for content in ["x\n", "longer than it was before\n"] {
        let stage = Stage::new(&[]);
        stage.append("a.log", "one\ntwo\n");
        let running = stage.start();
        stage.expect(&["one", "two"]);
        running.stop();
        fs::write(stage.path("a.log"), content).unwrap();
        let running = stage.start();
        stage.expect(&["one", "two", content.trim_end()]);
        running.stop();
    }
}

#[test]
fn a_file_deleted_while_stopped_is_retired() {
    let stage = Stage::new(&[]);
    stage.append("a.log", "one\n");
    let running = stage.start();
    stage.expect(&["one"]);
    running.stop();
    fs::remove_file(stage.path("a.log")).unwrap();
    let running = stage.start();
    eventually(|| "retired".into(), || !stage.engine.state().positions.keys().any(|key| key.contains(':')));
    running.stop();
}

#[test]
fn flumes_position_file_is_taken_over() {
    let stage = Stage::new(&[]);
    stage.append("a.log", "one\ntwo\n");
    stage.append("b.log", "uno\n");
    fs::create_dir_all(stage.position_file().parent().unwrap()).unwrap();
    let line = |name: &str, pos| {
        format!(r#"{{"inode":{},"pos":{pos},"file":"{}"}}"#, inode(&stage, name), stage.path(name).display())
    };
    // The second entry's path is another one: in Flume both must agree.
    let other = line("b.log", 4).replace("b.log", "x.log");
    fs::write(stage.position_file(), format!("[{},{other}]", line("a.log", 4))).unwrap();
    let running = stage.start();
    eventually(|| format!("{:?}", stage.engine.bodies()), || stage.events() == 2);
    a_moment();
    let mut bodies = stage.engine.bodies();
    bodies.sort();
    assert_eq!(bodies, ["two", "uno"]);
    running.stop();
}

#[test]
fn a_memory_channel_goes_by_the_position_file() {
    let stage = Stage::new(&[]);
    stage.engine.state().memory = true;
    stage.append("a.log", "one\n");
    let running = stage.start();
    stage.expect(&["one"]);
    running.stop();
    stage.engine.state().positions.clear();
    stage.append("a.log", "two\n");
    let running = stage.start();
    stage.expect(&["one", "two"]);
    running.stop();
}

#[test]
fn a_position_file_that_cannot_be_read_now_neither_skips_nor_repeats_a_line() {
    for skip_to_end in ["false", "true"] {
        let stage = Stage::new(&[("skipToEnd", skip_to_end)]);
        stage.engine.state().memory = true;
        let running = stage.start();
        eventually(|| "no position file".into(), || stage.position_file().exists());
        stage.append("a.log", "one\n");
        stage.expect(&["one"]);
        running.stop();
        stage.engine.state().positions.clear();
        stage.append("a.log", "two\n");
        // Whatever is wrong with it: no permission, no descriptor left, a bad sector.
        let aside = stage.position_file().with_extension("aside");
        fs::rename(stage.position_file(), &aside).unwrap();
        fs::create_dir(stage.position_file()).unwrap();
        let failure = stage.start().failure().to_string();
        assert!(failure.contains("position file"), "{failure}");
        fs::remove_dir(stage.position_file()).unwrap();
        fs::rename(&aside, stage.position_file()).unwrap();
        let running = stage.start();
        stage.expect(&["one", "two"]);
        running.stop();
    }
}

#[test]
fn a_position_file_that_a_person_edited_wins() {
    let stage = Stage::new(&[]);
    stage.append("a.log", "one\ntwo\n");
    let running = stage.start();
    stage.expect(&["one", "two"]);
    running.stop();
    let edited = fs::read_to_string(stage.position_file()).unwrap().replace(r#""pos":8"#, r#""pos":4"#);
    fs::write(stage.position_file(), edited).unwrap();
    let running = stage.start();
    stage.expect(&["one", "two", "two"]);
    running.stop();
    // Once: the next start finds our own file.
    let running = stage.start();
    stage.append("a.log", "three\n");
    stage.expect(&["one", "two", "two", "three"]);
    running.stop();
}

#[test]
fn a_position_file_taken_away_after_a_clean_stop_begins_anew() {
    let stage = Stage::new(&[]);
    stage.append("a.log", "one\n");
    let running = stage.start();
    stage.expect(&["one"]);
    running.stop();
    fs::remove_file(stage.position_file()).unwrap();
    let running = stage.start();
    stage.expect(&["one", "one"]);
    running.stop();
}

#[test]
fn a_position_file_lost_in_a_crash_or_broken_changes_nothing() {
    for content in [None, Some(""), Some("[{\"inode\":")] {
        let stage = Stage::new(&[]);
        stage.append("a.log", "one\n");
        let running = stage.start();
        stage.expect(&["one"]);
        let channel = FakeEngine::with(stage.engine.state().clone());
        running.stop();
        let stage = Stage { engine: channel, ..stage };
        match content {
            None => fs::remove_file(stage.position_file()).unwrap(),
            Some(text) => fs::write(stage.position_file(), text).unwrap(),
        }
        stage.append("a.log", "two\n");
        let running = stage.start();
        stage.expect(&["one", "two"]);
        running.stop();
    }
}

#[test]
fn another_device_number_for_the_same_file_repeats_nothing() {
    let stage = Stage::new(&[]);
    stage.append("a.log", "one\n");
    let running = stage.start();
    stage.expect(&["one"]);
    running.stop();
    {
        let positions = &mut stage.engine.state().positions;
        let key = positions.keys().find(|key| key.contains(':')).unwrap().clone();
        let position = positions.remove(&key).unwrap();
        let (_, inode) = key.split_once(':').unwrap();
        positions.insert(format!("123456:{inode}"), position);
    }
    stage.append("a.log", "two\n");
    let running = stage.start();
    stage.expect(&["one", "two"]);
    running.stop();
    assert!(!stage.engine.state().positions.keys().any(|key| key.starts_with("123456:")));
}
