//! The same properties file and the same input into Apache Flume 1.11 and into Flumen: what comes out is compared, bytes,
//! headers, answers and counters.
//!
//! ```text
//!   cases/*.rs  a row a case ─┬─► flume.conf, ports and directories of Flume's own  ─► java … Application ─► out/ ─┐
//!                             └─► flume.conf, ports and directories of Flumen's own ─► flumen agent       ─► out/ ─┴► equal?
//! ```
//!
//! All cases are parts of one agent on each side, so that one start of a Java machine serves them all. Where Flumen is
//! meant to differ, the case says what each side does, and `docs/migration.md` has a row that names the case.
//!
//! Flume comes from Maven Central, once, into the build directory. Without Java or Maven the suite is skipped with a word,
//! and with `FLUMEN_REQUIRE_PEERS=1` it fails.

mod avro;
mod case;
mod cases;
mod compare;
mod complete;
mod flume;
mod http;
#[path = "../support/ngircd.rs"]
mod ngircd;
mod normal;
mod peer;
mod side;
#[path = "../support/web.rs"]
mod web;

use std::collections::BTreeSet;
use std::path::Path;

use case::{Case, Feed};
use peer::Peer;
use side::Side;

#[test]
fn a_tailed_file_goes_from_flume_to_flumen_and_back_with_no_line_lost_or_repeated() {
    let Some(flume) = flume::found(flume::Version::Today) else { return };
    let case = |bytes: &[u8]| {
        let keys = ["type = TAILDIR", "positionFile = @DIR@/position.json", "filegroups = f1"];
        let more = ["filegroups.f1 = @DIR@/in/.*log", "maxBackoffSleep = 200"];
        let mut case = Case::new("handed_over", &keys).keys(&more).delivers(2);
        case.feed.push(Feed::Append("in/a.log", bytes.to_vec()));
        [case]
    };
    let mut side = Side::new("flume", &case(b""));
    side.start(flume.agent(side.root(), &[]));
    side.run(&case(b"1\n2\n"));
    side.becomes("flumen");
    side.start(flume::flumen(side.root(), &[]));
    side.run(&case(b"3\n4\n"));
    side.becomes("flume");
    side.start(flume.agent(side.root(), &[]));
    side.run(&case(b"5\n6\n"));
    let files = &side.end(&case(b""))["handed_over"].files[0];
    let bytes: Vec<u8> = files.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
    assert_eq!(String::from_utf8(bytes).unwrap(), "{} 1\n{} 2\n{} 3\n{} 4\n{} 5\n{} 6\n");
}

#[test]
fn flumen_does_what_flume_does() {
    let Some(flume) = flume::found(flume::Version::Today) else { return };
    let mut cases = cases::all();
    if let Err(why) = ngircd::is_there() {
        flume::skipped(&why);
        cases.retain(|case| case.peer != Some(Peer::Irc));
    }
    let mut theirs = Side::new("flume", &cases);
    let mut ours = Side::new("flumen", &cases);
    let definitions = [("differential.system", "from the command line")];
    theirs.start(flume.agent(theirs.root(), &definitions));
    ours.start(flume::flumen(ours.root(), &definitions));
    let mut failures = Vec::new();
    // What is fed one after the other would wait for each pause of each case, twice.
    std::thread::scope(|scope| {
        scope.spawn(|| theirs.run(&cases));
        scope.spawn(|| ours.run(&cases));
    });
    let (theirs, ours) = (theirs.end(&cases), ours.end(&cases));
    for case in &cases {
        if let Err(why) = compare::compare(case, &theirs[case.name], &ours[case.name]) {
            failures.push(format!("== {}\n{why}", case.name));
        }
    }
    assert!(failures.is_empty(), "{} of {} cases\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn every_deviation_is_a_row_of_the_migration_page_that_names_its_case() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/migration.md");
    let page = std::fs::read_to_string(page).unwrap();
    let cases = cases::all();
    let deviating: BTreeSet<&str> =
        cases.iter().filter(|case| case.deviates()).map(|case| case.name).collect();
    let rows = page.lines().filter(|line| line.starts_with('|'));
    let named: BTreeSet<&str> =
        rows.flat_map(|row| row.split('`')).filter_map(|word| word.strip_prefix("differential:")).collect();
    assert_eq!(named, deviating, "left: rows of the page, right: cases that deviate");
}

#[test]
fn every_case_has_a_name_of_its_own() {
    let cases = cases::all();
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len());
    assert!(
        names
            .iter()
            .all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
    );
}
