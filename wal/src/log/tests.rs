//! What only the counters within show.

use std::sync::Arc;
use std::time::Duration;

use super::{Driver, Log};
use crate::storage::faulty::FaultyDisk;
use crate::{Commit, Directories, Options, System};

impl Log {
    /// Rolls so far, and how often the state was encoded for them.
    fn rolls(&self) -> (u64, u64) {
        let counters = self.0.shared.inner.lock().counters;
        (counters.rolls, counters.snapshots)
    }

    fn put(&self, bytes: usize) {
        let room = self.try_reserve(bytes as u64).unwrap();
        drop(self.append(room, Commit { events: 1, payload: &vec![7; bytes], progress: vec![] }).unwrap());
    }
}

fn submit(driver: &mut Driver) {
    driver.submitter.turn(Some(Duration::ZERO));
}

/// Goal: a roll that must wait works its snapshot out once, however often somebody looks whether it still must. Method: 1,000
/// commits come while four writes are in flight at the segment's end, and 1,000 while no further segment is prepared.
#[test]
fn a_roll_that_waits_encodes_the_state_once() {
    let disk = FaultyDisk::new(1);
    let dirs = Directories { data: disk.directory("d"), checkpoint: disk.directory("c") };
    let (segment_bytes, frame_bytes) = (64 << 10, 16 << 10);
    let options = Options { segment_bytes, frame_bytes, in_flight: 8, eager_bytes: 1, ..Options::default() };
    let (log, mut driver) = Log::open_driven(dirs, options, Arc::new(System::default())).unwrap();
    // Two segments in reserve: the segment that is written may be filled, and no other one begun.
    (0..2).for_each(|_| assert!(driver.keeper.turn()));
    disk.set_latency(Duration::from_secs(1));
    for _ in 0..4 {
        log.put(12_000);
        submit(&mut driver);
    }
    assert_eq!((disk.writes_in_flight(), log.rolls()), (4, (0, 0)));
    log.put(12_000);
    for _ in 0..1000 {
        log.put(100);
        submit(&mut driver);
    }
    assert_eq!((disk.writes_in_flight(), log.rolls()), (4, (0, 0)), "not before they have landed");
    disk.advance(Duration::from_secs(2));
    for _ in 0..1000 {
        log.put(100);
        submit(&mut driver);
    }
    assert_eq!((disk.writes_in_flight(), log.rolls()), (0, (0, 1)));
    for _ in 0..100 {
        disk.advance(Duration::from_secs(2));
        assert!(driver.settle(1000));
    }
    let (rolls, snapshots) = log.rolls();
    assert!(rolls > 1 && snapshots <= 2 * rolls, "{rolls} rolls, {snapshots} snapshots: {:?}", log.stats());
    assert_eq!(log.stats().synced_event, 2005);
}
