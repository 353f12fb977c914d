//! Exactly once, shown by kills.

use std::time::Duration;

use crate::client::Client;
use crate::kafka::shared;
use crate::sink::{append, lines, tail_world};
use crate::world::eventually;

#[test]
fn twenty_kills_leave_each_line_once_for_whoever_reads_what_is_committed() {
    let Some(broker) = shared() else { return };
    let client = Client(broker.servers());
    client.create("exact", 2, &[]);
    let keys = "a1.sinks.k1.kafka.topic = exact\na1.sinks.k1.kafka.producer.transactional.id = exact-k1\n\
                a1.sinks.k1.flumeBatchSize = 200\n";
    let world = tail_world(&broker.servers(), keys);
    // The number of the last transaction that is committed.
    let marked = || client.committed("flumen-exact-k1", "exact", 0).map_or(0, |(number, _)| number);
    let mut written = 0;
    for kill in 0..20 {
        append(&world, written..written + 400);
        written += 400;
        let before = marked();
        let agent = world.start();
        agent.wait_for(&["sink runs"]);
        append(&world, written..written + 400);
        written += 400;
        match kill % 2 {
            // Anywhere from the first record to behind the commit.
            0 => std::thread::sleep(Duration::from_millis(kill * 7)),
            // Right behind a commit: Kafka has what the channel has not been told to release yet.
            _ => {
                eventually(|| marked() > before, || "no transaction is committed".into());
            }
        }
        agent.kill();
    }
    let agent = world.start();
    let mut texts = client.wait_for_all("exact", lines(0..written));
    agent.stop();
    let count = texts.len();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!((count, texts.len()), (written, written), "lines twice");
    // Some transaction was open when the agent was killed, or the kills show nothing.
    let all = client.read_as("exact", "read_uncommitted").len();
    println!("{all} records in all for {written} lines");
}
