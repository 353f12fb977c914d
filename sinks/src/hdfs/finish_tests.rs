//! Finishing files where nothing can be cut in place and a file that was not closed has to be recovered.

use std::sync::Arc;
use std::time::Duration;

use flumen_api::sink::SinkContext;
use tokio::runtime::Handle;

use super::client::{Cause, Client, FakeFiles, Told};
use super::finish::{Finisher, Tries};
use super::hand::{Answer, Backlog, Ended, Hand};
use super::journal::Journal;
use super::ledger::{Ledger, Left};
use super::record::Names;
use crate::testing::{FakeChannel, Logged, context_over};

/// Files that are left to be finished, in a file system in memory.
struct World {
    files: FakeFiles,
    client: Client,
    ledger: Arc<Ledger>,
    context: SinkContext,
}

impl World {
    fn new() -> Self {
        let files = FakeFiles::default();
        let client = Client::new(Arc::new(files.clone()), Some(Duration::from_secs(5)), 10);
        Self { files, client, ledger: Arc::new(Ledger::new(1)), context: context_over(&FakeChannel::new()) }
    }

    /// A file of this name that was created.
    fn left(&self, name: &str, released: u64) -> Left {
        let names = Names::new(format!("/d/{name}.tmp"), format!("/d/{name}"));
        let (number, _) = self.ledger.name(names);
        self.ledger.made(number).expect("it is there");
        Left { released, ..self.ledger.left(number).expect("it is there") }
    }

    /// The answer of its writer's close.
    async fn closed(&self, name: &str, text: &str) -> Answer {
        let file = self.client.create(&format!("/d/{name}.tmp"), "").await.expect("created");
        let hand =
            Hand::new(file, flumen_api::channel::Ticket::done(), Backlog::default(), &Handle::current());
        hand.write(text.into());
        hand.close()
    }

    /// Finishes them, with so many tries each.
    async fn finish(&self, tries: i64, left: Vec<(Left, Option<Answer>)>) {
        let finisher = Finisher::new(
            self.client.clone(),
            "hdfs://n".into(),
            self.ledger.clone(),
            Journal::open(&self.context, None),
            self.context.clone(),
            Handle::current(),
            Tries::of(tries, 10),
        );
        for (left, closed) in left {
            finisher.finish(left, closed.map_or(Ended::Gone, Ended::Closed));
        }
        finisher.wait(Duration::from_secs(600)).await;
    }

    /// Calls of this name.
    fn calls(&self, name: &str) -> usize {
        self.files.calls().iter().filter(|call| call.starts_with(name)).count()
    }
}

fn files(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(path, text)| (path.to_string(), text.to_string())).collect()
}

#[tokio::test(start_paused = true)]
async fn a_file_whose_writer_is_gone_is_recovered_and_then_cut_where_it_is_released() {
    let world = World::new();
    world.files.put("/d/a.tmp", "one\ntwo\n", true);
    // What an earlier try left.
    world.files.put("/d/a.tmp.cut", "on", true);
    world.finish(1, vec![(world.left("a", 4), None)]).await;
    assert_eq!(world.files.all(), files(&[("/d/a", "one\n")]));
    let calls = world.files.calls();
    let at = |call: &str| calls.iter().position(|one| one.starts_with(call)).expect(call);
    assert!(at("recover /d/a.tmp") < at("create /d/a.tmp.cut"), "{calls:?}");
    assert!(at("close /d/a.tmp.cut") < at("rename /d/a.tmp.cut /d/a.tmp"), "{calls:?}");
    assert!(at("rename /d/a.tmp.cut") < at("rename /d/a.tmp /d/a"), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_ends_where_it_is_released_is_not_copied() {
    let world = World::new();
    world.files.put("/d/a.tmp", "one\n", true);
    world.finish(1, vec![(world.left("a", 4), None)]).await;
    assert_eq!((world.files.all(), world.calls("create")), (files(&[("/d/a", "one\n")]), 0));
}

#[tokio::test(start_paused = true)]
async fn a_file_of_which_nothing_is_released_is_deleted_and_need_not_be_whole() {
    let world = World::new();
    world.files.put("/d/a.tmp", "one\n", true);
    // As of an erasure-coded file that has a few cells of a block.
    world.files.tell("recover", Some(Told::Fail(Cause::Refused)));
    world.finish(1, vec![(world.left("a", 0), None)]).await;
    assert_eq!(world.files.all(), []);
    assert_eq!(world.ledger.all(), []);
}

#[tokio::test(start_paused = true)]
async fn a_file_that_could_not_be_closed_is_recovered_before_it_gets_its_last_name() {
    for told in [Told::Fail(Cause::Unknown), Told::Hang] {
        let world = World::new();
        let logged = Logged::capture();
        world.files.tell("close", Some(told));
        let closed = world.closed("a", "one\n").await;
        world.finish(1, vec![(world.left("a", 4), Some(closed))]).await;
        assert_eq!(world.files.all(), files(&[("/d/a", "one\n")]), "{told:?}");
        let is_said = |(_, line): &(String, String)| line.contains("cannot close /d/a.tmp");
        assert!(logged.lines().iter().any(is_said), "{:?}", logged.lines());
    }
}

#[tokio::test(start_paused = true)]
async fn a_last_name_that_is_taken_is_left_to_who_has_it() {
    let world = World::new();
    world.files.put("/d/a", "theirs", false);
    let closed = world.closed("a", "one\n").await;
    world.finish(1, vec![(world.left("a", 4), Some(closed))]).await;
    assert_eq!(world.files.all(), files(&[("/d/a", "theirs"), ("/d/a.1", "one\n")]));
}

#[tokio::test(start_paused = true)]
async fn fifty_files_that_cannot_be_finished_are_one_line_of_the_log() {
    let world = World::new();
    world.files.tell("recover", Some(Told::Fail(Cause::Unknown)));
    let left = (0..50).map(|at| {
        world.files.put(&format!("/d/{at}.tmp"), "one\n", true);
        (world.left(&at.to_string(), 4), None)
    });
    let left = left.collect();
    let logged = Logged::capture();
    // Together with the lines of the runner, for which there is one limit.
    assert!(world.context.quiet.failed(std::time::Instant::now()).is_some());
    world.finish(3, left).await;
    assert_eq!((logged.lines(), world.calls("recover")), (vec![], 150));
}
