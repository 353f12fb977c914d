//! The `exec` source: how a command is run and its output cut into events.

use crate::case::{Case, Feed};

fn exec(name: &'static str, keys: &[&str]) -> Case {
    Case::new(name, &["type = exec"]).keys(keys)
}

pub fn cases() -> Vec<Case> {
    let lines = b"one\ntwo with cr\r\nthree\rfour\n\n\xc3\xbcml\xc3\xa4ut\nno end".to_vec();
    vec![
        exec("exec_lines", &["command = cat @DIR@/in/a.txt"]).feed(Feed::File("in/a.txt", lines)).delivers(7),
        exec("exec_words_without_quoting", &["command = echo 'one  two'   $HOME > x | cat"]).delivers(1),
        exec(
            "exec_in_a_shell",
            &["shell = /bin/sh -c", "command = for i in one two; do echo $i; done | tr a-z A-Z"],
        )
        .delivers(2),
        exec("exec_latin1", &["command = cat @DIR@/in/a.txt", "charset = ISO-8859-1"])
            .feed(Feed::File("in/a.txt", b"\xfcml\xe4ut\n".to_vec()))
            .delivers(1),
        exec("exec_that_goes_on", &["command = tail -n 0 -F @DIR@/in/a.txt", "batchTimeout = 200"])
            .feed(Feed::File("in/a.txt", b"before\n".to_vec()))
            .feed(Feed::Append("in/a.txt", b"after\n".to_vec()))
            .delivers(1),
        exec("exec_that_is_not_there", &["command = /does/not/exist"]).delivers(0),
        exec("exec_whose_errors_are_no_events", &["shell = /bin/sh -c", "command = echo out; echo err >&2"])
            .delivers(1),
    ]
}
