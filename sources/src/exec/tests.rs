//! Claims about commands and the lines that they write.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::spec;
use crate::testing::{FakeEngine, Fate, PATIENCE, Running, eventually, problems};

const SHELL: (&str, &str) = ("shell", "/bin/sh -c");

fn start(engine: &Arc<FakeEngine>, keys: &[(&str, &str)]) -> Running {
    Running::start(&spec(), engine, keys)
}

/// The bodies that a command makes that ends by itself.
fn bodies(keys: &[(&str, &str)]) -> Vec<String> {
    let engine = FakeEngine::new();
    start(&engine, keys).join();
    engine.bodies()
}

/// A number of seconds that no other test sleeps.
fn own_seconds() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}.{}", 100_000 + std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// How many processes have `word` as an argument.
fn processes_with(word: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let has = |path: std::path::PathBuf| {
        fs::read(path.join("cmdline"))
            .is_ok_and(|line| line.split(|byte| *byte == 0).any(|one| one == word.as_bytes()))
    };
    entries.filter(|entry| has(entry.path())).count()
}

#[test]
fn lines_of_the_output_are_events_up_to_the_last() {
    assert_eq!(bodies(&[("command", r"printf one\ntwo\r\n\nno_end")]), ["one", "two", "", "no_end"]);
    let many = bodies(&[("command", "seq 1 30000"), ("batchSize", "7")]);
    assert_eq!(many, (1..=30_000).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[test]
fn without_a_shell_the_command_is_split_at_blanks_and_nothing_else() {
    assert_eq!(bodies(&[("command", "echo  a |\tcat '*' $HOME")]), ["a | cat '*' $HOME"]);
    assert_eq!(bodies(&[SHELL, ("command", "for i in 1 2; do echo $i; done | tr 12 ab")]), ["a", "b"]);
}

#[test]
fn batches_are_full_or_as_late_as_the_timeout() {
    let engine = FakeEngine::new();
    let command = "seq 1 5; sleep 1000";
    let begun = Instant::now();
    let running = start(&engine, &[SHELL, ("command", command), ("batchSize", "2"), ("batchTimeout", "300")]);
    eventually(|| format!("{:?}", engine.bodies()), || engine.state().events.len() == 5);
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    assert_eq!(engine.state().puts, [2, 2, 1]);
    running.stop();
}

#[test]
fn a_batch_has_about_a_mebibyte_at_most_whatever_its_size_is_to_be() {
    let engine = FakeEngine::new();
    let command = "head -c 3000000 /dev/zero | tr '\\0' x | fold -w 999";
    let late = [("batchSize", "10000000"), ("batchTimeout", "100000000")];
    start(&engine, &[SHELL, ("command", command), late[0], late[1]]).join();
    assert_eq!(engine.state().puts, [1050, 1050, 904]);
}

#[test]
fn what_a_channel_refuses_is_kept_and_put_again_in_order() {
    let engine = FakeEngine::new();
    engine.state().fates = [Fate::Full, Fate::Full, Fate::Failing, Fate::KeptAndAcked, Fate::Full].into();
    start(&engine, &[("command", "seq 1 2000"), ("batchSize", "100")]).join();
    assert_eq!(engine.bodies(), (1..=2000).map(|i| i.to_string()).collect::<Vec<_>>());
    assert_eq!(engine.state().refusals, 4);
}

#[test]
fn what_failed_on_its_way_is_put_again() {
    let engine = FakeEngine::new();
    engine.state().fates = [Fate::KeptAndAcked, Fate::Lost, Fate::KeptAndAcked, Fate::Lost].into();
    start(&engine, &[("command", "seq 1 500"), ("batchSize", "100")]).join();
    let mut numbers: Vec<u32> = engine.bodies().iter().map(|body| body.parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, (1..=500).collect::<Vec<_>>());
}

#[test]
fn a_put_that_is_too_large_is_halved_and_a_line_that_never_fits_is_left_out() {
    let engine = FakeEngine::new();
    engine.state().largest_body = Some(4);
    let command = r"printf 1\n22\n333333\n4444\n5\n";
    let running = start(&engine, &[("command", command)]);
    let metrics = running.context.metrics.clone();
    running.join();
    assert_eq!(engine.bodies(), ["1", "22", "4444", "5"]);
    assert_eq!(metrics.event_read_fail.get(), 1);
}

#[test]
fn a_command_that_has_ended_is_run_again_after_the_throttle_if_that_is_asked_for() {
    let engine = FakeEngine::new();
    let keys = [SHELL, ("command", "echo one; exit 3"), ("restart", "true"), ("restartThrottle", "7000")];
    let running = start(&engine, &keys);
    eventually(|| "three runs".into(), || engine.state().events.len() >= 3);
    assert!(engine.state().pauses.iter().all(|pause| *pause == Duration::from_secs(7)));
    running.stop();
    // Without it the source has finished, and says how the command ended.
    let engine = FakeEngine::new();
    start(&engine, &[SHELL, ("command", "echo one; exit 3")]).join();
    assert_eq!(engine.bodies(), ["one"]);
    let trouble = engine.state().trouble.clone().unwrap();
    assert!(trouble.contains("exit status: 3"), "{trouble}");
}

#[test]
fn a_command_that_does_not_exist_is_an_error_that_names_it() {
    let engine = FakeEngine::new();
    let error = start(&engine, &[("command", "/no/such/program -x")]).failure();
    assert!(error.to_string().contains("/no/such/program -x"), "{error}");
}

#[test]
fn the_error_output_is_read_whether_it_is_logged_or_not() {
    for log in ["false", "true"] {
        // More than a pipe holds.
        let command = "head -c 300000 /dev/zero | tr '\\0' '\\n' >&2; echo done";
        assert_eq!(bodies(&[SHELL, ("command", command), ("logStdErr", log)]), ["done"]);
    }
}

#[test]
fn a_stop_ends_the_command_and_all_that_it_has_started() {
    let seconds = own_seconds();
    let engine = FakeEngine::new();
    let command = format!("echo on; sleep {seconds} & sleep {seconds} | cat");
    let running = start(&engine, &[SHELL, ("command", &command), ("batchSize", "1")]);
    eventually(|| "it runs".into(), || !engine.bodies().is_empty() && processes_with(&seconds) == 2);
    let begun = Instant::now();
    running.stop();
    assert!(begun.elapsed() < PATIENCE, "{:?}", begun.elapsed());
    eventually(|| "they are gone".into(), || processes_with(&seconds) == 0);
}

#[test]
fn a_command_that_does_not_obey_is_killed() {
    let seconds = own_seconds();
    let engine = FakeEngine::new();
    let command = format!("trap '' TERM; echo on; sleep {seconds}; sleep {seconds}");
    let running = start(&engine, &[SHELL, ("command", &command), ("batchSize", "1")]);
    eventually(|| "it runs".into(), || !engine.bodies().is_empty() && processes_with(&seconds) == 1);
    running.stop();
    eventually(|| "they are gone".into(), || processes_with(&seconds) == 0);
}

#[test]
fn what_the_command_says_at_the_stop_is_put_too() {
    let engine = FakeEngine::new();
    let command = "trap 'echo bye; exit' TERM; echo on; while :; do sleep 0.01; done";
    let running = start(&engine, &[SHELL, ("command", command), ("batchTimeout", "1")]);
    eventually(|| "it runs".into(), || !engine.bodies().is_empty());
    running.stop();
    assert_eq!(engine.bodies(), ["on", "bye"]);
}

#[test]
fn keys_that_are_wrong_are_refused_by_name() {
    let of = |keys: &[(&str, &str)]| problems(&spec(), keys).join("; ");
    assert!(of(&[]).contains("command"));
    assert!(of(&[("command", " ")]).contains("there is no command"));
    assert!(of(&[("command", "x"), ("charset", "klingon")]).contains("klingon"));
    assert!(of(&[("command", "x"), ("batchSize", "0")]).contains("batchSize"));
    assert!(of(&[("command", "tail -F x | grep y")]).contains("warning"));
    assert_eq!(of(&[("command", "tail -F x | grep y"), SHELL]), "");
}

#[test]
fn a_character_set_that_is_not_known_is_an_error_with_its_name() {
    for name in ["UTF-32", "Cp850", "IBM037", "klingon"] {
        let said = problems(&spec(), &[("command", "x"), ("charset", name)]).join("; ");
        assert!(said.contains("error") && said.contains(&format!("`{name}` is no character set")), "{said}");
    }
}
