//! A file channel on a disk that fails: over the simulated one.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_api::batch::Batch;
use flumen_api::channel::{Channel, Put, PutError, Space, TakeLimit, Ticket};
use flumen_api::chunk::ChunkWriter;
use flumen_api::progress::Progress;
use flumen_api::settings::{ComponentConfig, Kind};
use flumen_wal::storage::faulty::{Fault, FaultyDisk};
use flumen_wal::{Directories, Keys};

use super::FileChannel;

fn open(disk: &FaultyDisk) -> FileChannel {
    let keys = [("checkpointDir", "/unused"), ("dataDirs", "/unused"), ("keep-alive", "20")];
    let config = ComponentConfig::of(Kind::Channel, "c1", &keys);
    let settings = super::read(&config).expect("good keys");
    let directory = disk.directory("/data");
    let directories = Directories { data: directory.clone(), checkpoint: directory };
    FileChannel::start("c1".into(), &settings, Keys::default(), directories, Default::default())
        .expect("opens")
}

/// Events at the positions `first + 1` to `first + 10` of one key, so large that each put is a write of its own.
fn ten(first: u64) -> Batch {
    let mut batch = Batch::new();
    let (key, rest) = ("file".into(), Default::default());
    let made = Progress { key, generation: 1, from: first, to: first + 10, rest, retire: false };
    let origin = batch.add_progress(made);
    for position in first + 1..=first + 10 {
        let mut body = vec![b'.'; 2000];
        body[..8].copy_from_slice(&position.to_be_bytes());
        batch.push(&body);
        batch.locate_last(origin, position);
    }
    batch
}

fn append(channel: &FileChannel, batch: &Batch) -> Result<Ticket, PutError> {
    let room = channel.try_reserve(space(batch))?;
    channel.append(room, Put { source: "r1", batch, selection: None })
}

fn append_optional(channel: &FileChannel, batch: &Batch) -> Result<Ticket, PutError> {
    let room = channel.try_reserve(space(batch))?;
    channel.append_optional(room, Put { source: "r1", batch, selection: None })
}

fn space(batch: &Batch) -> Space {
    let chunk_bytes = ChunkWriter::new(batch, None).encoded_len() as u64;
    Space { events: batch.len(), chunk_bytes, body_bytes: batch.body_bytes() }
}

/// The positions of all that waits, which is released.
fn taken_positions(channel: &FileChannel) -> Vec<u64> {
    let taken = tokio::task::block_in_place(|| channel.taker().try_take(TakeLimit::events(100)));
    let taken = taken.expect("readable").expect("events");
    let number = |body: &[u8]| u64::from_be_bytes(body[..8].try_into().expect("eight bytes"));
    let positions = taken.events().iter().map(|event| number(event.body)).collect();
    taken.release("k1", Vec::new());
    positions
}

fn position(channel: &FileChannel) -> u64 {
    channel.source_positions("r1").map_or(0, |positions| positions["file"].to)
}

/// Far above what any step takes on a busy machine; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until the log has been reopened for the `times`th time.
async fn reopened(channel: &FileChannel, times: f64) {
    let begun = Instant::now();
    loop {
        let status = channel.status();
        let (_, reopens) = status.gauges.iter().find(|(name, _)| *name == "reopens").expect("a gauge");
        if status.failure.is_none() && *reopens >= times {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "not reopened: {status:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Waits until the log has its segments ready: a fault that is planned then meets a write, not their preparation.
async fn prepared(channel: &FileChannel) {
    let begun = Instant::now();
    let ready = |name: &&(&str, f64)| name.0 == "reserve_segments" && name.1 >= 3.0;
    while channel.status().gauges.iter().find(ready).is_none() {
        assert!(begun.elapsed() < PATIENCE, "not prepared: {:?}", channel.status());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
}

/// The log fails under put B and is back before the source looks at B's ticket. Put C, built behind B, must not be taken
/// in: the source will come again with B, which would then be dropped as known.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_behind_a_lost_one_is_refused_until_its_source_goes_back() {
    let disk = FaultyDisk::new(7);
    disk.sleep_when_idle(true);
    let channel = open(&disk);
    append(&channel, &ten(0)).expect("appended").await.expect("durable");

    // The very next operation fails; it may be a housekeeping write in front of B's, so B is put until it is the one.
    let mut times = 0.0;
    let lost = loop {
        assert!(times < 50.0, "no put was ever lost");
        times += 1.0;
        prepared(&channel).await;
        disk.fail_at(disk.operations(), Fault::Io);
        let put = append(&channel, &ten(10));
        reopened(&channel, times).await;
        match put {
            Ok(ticket) if position(&channel) == 10 => break ticket,
            _ => assert_eq!(position(&channel), 10, "B was in the log after all: another seed is needed"),
        }
    };
    let refused = append(&channel, &ten(20)).expect_err("C leaves a gap");
    assert!(matches!(&refused, PutError::Failed { reason, .. } if reason.contains("gap")), "{refused}");
    let failed = lost.await.expect_err("B's ticket says so when it is asked");
    assert!(failed.is_retriable(), "{failed}");
    append(&channel, &ten(20)).expect_err("still a gap, for nobody has gone back");

    append(&channel, &ten(10)).expect("B again").await.expect("durable");
    append(&channel, &ten(20)).expect("then C").await.expect("durable");
    assert_eq!(taken_positions(&channel), (1..=30).collect::<Vec<_>>());
    channel.close().await;
}

/// Nobody goes back for what an optional channel lost: were what comes behind it kept out, it would be for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_channel_loses_of_a_source_that_does_not_repeat_it_keeps_nothing_out_that_comes_later() {
    let disk = FaultyDisk::new(7);
    disk.sleep_when_idle(true);
    let channel = open(&disk);
    append_optional(&channel, &ten(0)).expect("appended").await.expect("durable");
    let mut times = 0.0;
    let mut next = 10;
    let lost = loop {
        assert!(times < 50.0, "no put was ever lost");
        times += 1.0;
        prepared(&channel).await;
        disk.fail_at(disk.operations(), Fault::Io);
        drop(append_optional(&channel, &ten(next)));
        reopened(&channel, times).await;
        if position(&channel) == next {
            break next;
        }
        next += 10;
    };
    append_optional(&channel, &ten(lost + 10)).expect("taken in").await.expect("durable");
    append_optional(&channel, &ten(lost + 20)).expect("taken in").await.expect("durable");
    let there = taken_positions(&channel);
    assert!(!there.contains(&(lost + 1)), "{there:?}");
    assert_eq!(there[there.len() - 20..], (lost + 11..=lost + 30).collect::<Vec<_>>());
    channel.close().await;
}

/// A source that is run again while the log is failed begins where the log stands once it has recovered, and its puts are
/// taken in: not where it stood with what was lost, which would leave a gap for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_begins_anew_goes_on_from_where_the_recovered_log_stands() {
    let disk = FaultyDisk::new(7);
    disk.sleep_when_idle(true);
    let channel = open(&disk);
    append(&channel, &ten(0)).expect("appended").await.expect("durable");
    let mut stands = 10;
    let mut lost = false;
    for _ in 0..50 {
        prepared(&channel).await;
        // Reopening fails as well for some time.
        let first = disk.operations();
        (first..first + 12).for_each(|operation| disk.fail_at(operation, Fault::Io));
        let put = append(&channel, &ten(stands));
        channel.settle_source("r1").await;
        let begins = position(&channel);
        lost |= put.is_ok() && begins == stands;
        assert!(begins == stands || begins == stands + 10, "{begins}, where {stands} was acked");
        append(&channel, &ten(begins)).expect("no gap").await.expect("durable");
        stands = begins + 10;
        if lost {
            break;
        }
    }
    assert!(lost, "no put was ever lost");
    assert_eq!(taken_positions(&channel), (1..=stands).collect::<Vec<_>>());
    channel.close().await;
}

/// Acked events and capacity survive any number of failures in process.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_goes_back_after_each_failure_loses_and_repeats_nothing() {
    let disk = FaultyDisk::new(11);
    disk.sleep_when_idle(true);
    let channel = Arc::new(open(&disk));
    let mut acked = 0;
    let mut failures = 0;
    let begun = Instant::now();
    while acked < 300 {
        assert!(begun.elapsed() < PATIENCE, "stuck at {acked} after {failures} failures");
        if failures < 8 {
            disk.fail_at(disk.operations() + 5, Fault::Io);
        }
        // Three puts ahead, as a source does; at the first failure back to what was acked.
        let mut tickets = Vec::new();
        for ahead in 0..3 {
            match append(&channel, &ten(acked + 10 * ahead)) {
                Ok(ticket) => tickets.push(ticket),
                Err(error) => {
                    assert!(error.is_retriable(), "{error}");
                    break;
                }
            }
        }
        let mut failed = tickets.is_empty();
        for ticket in tickets {
            failed |= ticket.await.is_err();
            if !failed {
                acked += 10;
            }
        }
        if failed {
            failures += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert!(failures > 0, "the faults hit nothing");
    let mut positions = Vec::new();
    let mut taker = channel.taker();
    let begun = Instant::now();
    while positions.len() < acked as usize {
        assert!(begun.elapsed() < PATIENCE, "{} of {acked}", positions.len());
        // The log may be failed by a fault that was still to come.
        match tokio::task::block_in_place(|| taker.try_take(TakeLimit::events(64))) {
            Ok(Some(taken)) => {
                let number = |body: &[u8]| u64::from_be_bytes(body[..8].try_into().expect("eight bytes"));
                positions.extend(taken.events().iter().map(|event| number(event.body)));
                taken.release("k1", Vec::new());
            }
            Ok(None) | Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
        }
    }
    assert_eq!(positions, (1..=acked).collect::<Vec<_>>());
    assert_eq!(channel.status().events, 0);
    channel.close().await;
}

/// Bytes that the log vouches for and that are no chunk: takes stop there, and what lies before is delivered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_no_chunk_stops_takes_at_its_place() {
    let disk = FaultyDisk::new(3);
    disk.sleep_when_idle(true);
    let channel = open(&disk);
    append(&channel, &ten(0)).expect("appended").await.expect("durable");
    let payload = b"not a chunk".to_vec();
    let commit = flumen_wal::Commit { events: 2, payload: &payload[..].to_vec(), progress: Vec::new() };
    channel.0.log.append_and_wait(commit).expect("durable");
    let mut taker = channel.taker();
    let mut take = || tokio::task::block_in_place(|| taker.try_take(TakeLimit::events(100)));
    let good = take().expect("readable").expect("events");
    assert_eq!(good.events().len(), 10);
    for _ in 0..2 {
        let error = take().expect_err("damaged");
        assert!(error.to_string().contains("event 10"), "{error}");
    }
    good.release("k1", Vec::new());
    append(&channel, &ten(10)).expect("puts go on").await.expect("durable");
    channel.close().await;
}

/// A channel in `temp`, as keys and this policy say.
fn open_in(temp: &std::path::Path, policy: &str) -> FileChannel {
    let path = |name: &str| temp.join(name).display().to_string();
    let (data, checkpoint) = (path("data"), path("checkpoint"));
    let keys = [
        ("checkpointDir", &*checkpoint),
        ("dataDirs", &*data),
        ("minimumRequiredSpace", "0"),
        ("maxFileSize", "1048576"),
        ("damagePolicy", policy),
    ];
    let config = ComponentConfig::of(Kind::Channel, "c1", &keys);
    let context = flumen_api::registry::ChannelContext {
        agent: "a1".into(),
        memory_limit: 1 << 30,
        ignore_flume_data: false,
        storage: Default::default(),
        metrics: Default::default(),
    };
    FileChannel::open(&config, context).expect("opens")
}

fn gauge(channel: &FileChannel, name: &str) -> f64 {
    let status = channel.status();
    status.gauges.iter().find(|(known, _)| *known == name).expect("a gauge").1
}

/// Positions of all events that takes give, and whether damage ended them.
fn take_all_released(channel: &FileChannel) -> (Vec<u64>, bool) {
    let (mut taker, mut positions) = (channel.taker(), Vec::new());
    loop {
        match taker.try_take(TakeLimit::events(10)) {
            Ok(None) => return (positions, false),
            Err(flumen_api::channel::TakeError::Damaged { .. }) => return (positions, true),
            Err(error) => panic!("{error}"),
            Ok(Some(taken)) => {
                let number = |body: &[u8]| u64::from_be_bytes(body[..8].try_into().expect("eight bytes"));
                positions.extend(taken.events().iter().map(|event| number(event.body)));
                taken.release("k1", Vec::new());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_stops_takes_or_is_set_aside_as_the_policy_says_and_puts_go_on() {
    let temp = tempfile::tempdir().expect("a directory");
    let channel = open_in(temp.path(), "halt");
    for first in [0, 10, 20] {
        append(&channel, &ten(first)).expect("appended").await.expect("durable");
    }
    channel.close().await;
    drop(channel);
    let log = temp.path().join("data/flumen");
    let mut place = None;
    let dirs = flumen_wal::tools::locate(&log, None).expect("a log");
    flumen_wal::tools::dump(&dirs, &mut |line| {
        if let flumen_wal::tools::Line::Frame { place: at, header, .. } = line
            && (header.first_event, header.event_count) == (10, 10)
        {
            place = Some(at);
        }
    })
    .expect("readable");
    let place = place.expect("the frame of the second put");
    let segment = log.join(place.segment.file_name());
    let mut bytes = std::fs::read(&segment).expect("readable");
    bytes[place.offset as usize + 200] ^= 1;
    std::fs::write(&segment, &bytes).expect("writable");

    let channel = open_in(temp.path(), "halt");
    assert_eq!(take_all_released(&channel), ((1..=10).collect(), true));
    assert_eq!((gauge(&channel, "damaged"), gauge(&channel, "given_up_events")), (1.0, 0.0));
    append(&channel, &ten(30)).expect("puts go on").await.expect("durable");
    channel.close().await;
    drop(channel);

    let channel = open_in(temp.path(), "quarantine");
    assert_eq!(take_all_released(&channel), ((21..=40).collect(), false));
    assert_eq!((gauge(&channel, "damaged"), gauge(&channel, "given_up_events")), (0.0, 10.0));
    assert_eq!(gauge(&channel, "set_aside_places"), 1.0);
    let quarantine = log.join("quarantine");
    assert_eq!(std::fs::read_dir(&quarantine).expect("made").count(), 2);
    let mode = std::fs::metadata(&quarantine).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "it holds what may be events");
    channel.close().await;
}
