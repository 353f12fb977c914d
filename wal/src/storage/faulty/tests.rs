//! The simulated disk keeps its own promises: it loses what it may lose, and nothing else.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use super::*;
use crate::storage::{AlignedBuf, Directory, File, Write, WriteQueue};

const BLOCK: usize = 4096;

fn blocks(count: usize, byte: u8) -> AlignedBuf {
    let mut buffer = AlignedBuf::zeroed(count * BLOCK);
    buffer.fill(byte);
    buffer
}

/// A file of `count` blocks of `byte`, durable in every respect.
fn durable_file(directory: &dyn Directory, name: &str, count: usize, byte: u8) -> Arc<dyn File> {
    let file = directory.create(name).expect("create");
    file.write_at(&blocks(count, byte), 0).expect("write");
    file.sync().expect("sync file");
    directory.sync().expect("sync directory");
    file
}

fn submit(
    queue: &mut dyn WriteQueue,
    token: u64,
    file: &Arc<dyn File>,
    count: usize,
    byte: u8,
    block: usize,
) {
    let buffer = Arc::new(blocks(count, byte));
    let (len, offset) = (buffer.len(), (block * BLOCK) as u64);
    queue.submit(Write { token, file: file.clone(), buffer, from: 0, len, offset, durable: true });
}

fn names(disk: &FaultyDisk) -> Vec<String> {
    let mut names: Vec<_> =
        disk.directory("/d").list().expect("list").into_iter().map(|entry| entry.name).collect();
    names.sort();
    names
}

/// What each sector holds, by its first byte; a sector is of one write only.
fn sectors(disk: &FaultyDisk, path: &str) -> Vec<u8> {
    let bytes = disk.contents(path).expect("contents");
    bytes
        .chunks(content::SECTOR)
        .map(|sector| {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "torn sector");
            sector[0]
        })
        .collect()
}

#[test]
fn synced_bytes_survive_any_power_cut() {
    for seed in 0..50 {
        let disk = FaultyDisk::new(seed);
        let directory = disk.directory("/d");
        let file = durable_file(&*directory, "f", 2, 1);
        file.write_durable_at(&blocks(1, 2), BLOCK as u64).expect("durable write");
        let mut queue = directory.write_queue(directory.lock().expect("lock"), 1).expect("queue");
        submit(&mut *queue, 0, &file, 1, 3, 0);
        let mut done = Vec::new();
        queue.wait(None, &mut done);
        assert_eq!(done.len(), 1);
        disk.power_cut(seed);
        assert_eq!(disk.contents("/d/f").expect("contents"), [vec![3; BLOCK], vec![2; BLOCK]].concat());
    }
}

#[test]
fn unsynced_sectors_survive_one_by_one_and_from_any_write() {
    let mut seen = BTreeSet::new();
    let mut mixed = false;
    for seed in 0..100 {
        let disk = FaultyDisk::new(0);
        let file = durable_file(&*disk.directory("/d"), "f", 1, 1);
        file.write_at(&blocks(1, 2), 0).expect("write");
        file.write_at(&blocks(1, 3), 0).expect("write");
        disk.power_cut(seed);
        let left = sectors(&disk, "/d/f");
        mixed |= left.iter().collect::<BTreeSet<_>>().len() == 3;
        seen.extend(left);
    }
    assert_eq!(seen, BTreeSet::from([1, 2, 3]));
    assert!(mixed, "no power cut left sectors of all three writes");
}

#[test]
fn a_durable_write_beyond_the_durable_length_is_lost() {
    let disk = FaultyDisk::new(0);
    let file = durable_file(&*disk.directory("/d"), "f", 1, 1);
    file.allocate(4 * BLOCK as u64).expect("allocate");
    file.write_durable_at(&blocks(1, 2), 2 * BLOCK as u64).expect("write");
    disk.power_cut_losing_all();
    assert_eq!(disk.contents("/d/f").expect("contents"), vec![1; BLOCK]);
}

#[test]
fn a_durable_write_into_blocks_cut_and_regrown_without_a_sync_is_lost() {
    let disk = FaultyDisk::new(0);
    let file = durable_file(&*disk.directory("/d"), "f", 2, 1);
    file.truncate(0).expect("truncate");
    file.allocate(2 * BLOCK as u64).expect("allocate");
    file.write_durable_at(&blocks(1, 2), 0).expect("write");
    disk.power_cut_losing_all();
    assert_eq!(disk.contents("/d/f").expect("contents"), vec![1; 2 * BLOCK]);
}

#[test]
fn an_unsynced_truncation_survives_with_its_zeroes_or_not_at_all() {
    let mut left = BTreeSet::new();
    for seed in 0..100 {
        let disk = FaultyDisk::new(0);
        let file = durable_file(&*disk.directory("/d"), "f", 2, 1);
        file.truncate(0).expect("truncate");
        file.allocate(2 * BLOCK as u64).expect("allocate");
        disk.power_cut(seed);
        let bytes = disk.contents("/d/f").expect("contents");
        left.insert((
            bytes.len() / BLOCK,
            bytes.iter().copied().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>(),
        ));
    }
    assert_eq!(left, BTreeSet::from([(0, vec![]), (2, vec![0]), (2, vec![1])]));
}

#[test]
fn an_unaligned_truncation_stays_zero_beyond_after_a_sync() {
    let disk = FaultyDisk::new(0);
    let file = durable_file(&*disk.directory("/d"), "f", 1, 1);
    file.truncate(100).expect("truncate");
    file.allocate(BLOCK as u64).expect("allocate");
    file.sync().expect("sync");
    disk.power_cut_losing_all();
    assert_eq!(disk.contents("/d/f").expect("contents"), [vec![1; 100], vec![0; BLOCK - 100]].concat());
}

#[test]
fn names_are_durable_only_after_a_directory_sync() {
    let disk = FaultyDisk::new(0);
    let directory = disk.directory("/d");
    durable_file(&*directory, "a", 1, 1);
    durable_file(&*directory, "b", 1, 2);
    directory.rename("a", "b").expect("rename");
    directory.create("c").expect("create").sync().expect("sync");
    directory.remove("b").expect("remove");
    disk.power_cut_losing_all();
    assert_eq!(names(&disk), ["a", "b"]);
    assert_eq!(disk.contents("/d/b").expect("contents"), vec![2; BLOCK]);

    let directory = disk.directory("/d");
    directory.rename("a", "b").expect("rename");
    directory.sync().expect("sync");
    disk.power_cut_losing_all();
    assert_eq!(names(&disk), ["b"]);
    assert_eq!(disk.contents("/d/b").expect("contents"), vec![1; BLOCK]);
}

#[test]
fn unsynced_names_survive_in_order_and_out_of_order() {
    let mut left = BTreeSet::new();
    for seed in 0..200 {
        let disk = FaultyDisk::new(0);
        let directory = disk.directory("/d");
        durable_file(&*directory, "a", 1, 1);
        directory.create("b").expect("create");
        directory.rename("a", "c").expect("rename");
        disk.power_cut(seed);
        left.insert(names(&disk).concat());
    }
    assert_eq!(left, ["a", "ab", "bc", "c"].map(str::to_owned).into());
}

#[test]
fn a_kill_keeps_all_that_was_handed_over() {
    let disk = FaultyDisk::new(0);
    let directory = disk.directory("/d");
    let file = directory.create("f").expect("create");
    file.write_at(&blocks(2, 7), 0).expect("write");
    directory.rename("f", "g").expect("rename");
    disk.kill();
    assert_eq!(names(&disk), ["g"]);
    assert_eq!(disk.contents("/d/g").expect("contents"), vec![7; 2 * BLOCK]);
}

#[test]
fn handles_of_a_life_that_is_over_fail_and_change_nothing() {
    for end in [FaultyDisk::kill, FaultyDisk::power_cut_losing_all] {
        let disk = FaultyDisk::new(0);
        let directory = disk.directory("/d");
        let file = durable_file(&*directory, "f", 1, 1);
        let lock = directory.lock().expect("lock");
        end(&disk);
        let before = disk.operations();
        file.write_at(&blocks(1, 2), 0).expect_err("write");
        file.sync().expect_err("sync");
        file.len().expect_err("length");
        directory.create("g").map(drop).expect_err("create");
        directory.remove("f").expect_err("remove");
        directory.list().map(drop).expect_err("list");
        directory.lock().map(drop).expect_err("lock");
        let held = disk.directory("/d").lock().expect("the new life's lock");
        drop((lock, file));
        assert_eq!(
            disk.directory("/d").lock().expect_err("a dead life's lock frees nothing").kind(),
            io::ErrorKind::WouldBlock
        );
        drop(held);
        assert_eq!(disk.contents("/d/f").expect("contents"), vec![1; BLOCK]);
        assert_eq!(disk.operations(), before + 2, "refusals are no operations");
    }
}

#[test]
fn a_killed_processes_writes_land_late_and_hold_the_lock_until_then() {
    let disk = FaultyDisk::new(0);
    disk.land_while_locking(false);
    let directory = disk.directory("/d");
    let file = durable_file(&*directory, "f", 4, 1);
    let mut queue = directory.write_queue(directory.lock().expect("lock"), 4).expect("queue");
    submit(&mut *queue, 0, &file, 1, 5, 0);
    submit(&mut *queue, 1, &file, 1, 6, 1);
    disk.kill();
    let mut done = Vec::new();
    queue.wait(None, &mut done);
    assert!(done.len() == 2 && done.iter().all(|completion| completion.result.is_err()));
    drop((queue, file, directory));

    let successor = disk.directory("/d");
    assert_eq!(disk.late_writes(), 2);
    assert_eq!(disk.contents("/d/f").expect("contents"), vec![1; 4 * BLOCK]);
    assert_eq!(successor.lock().expect_err("lock").kind(), io::ErrorKind::WouldBlock);
    assert!(disk.land_one_late_write());
    assert_eq!(successor.lock().expect_err("lock").kind(), io::ErrorKind::WouldBlock);
    assert!(disk.land_one_late_write());
    assert!(!disk.land_one_late_write());
    let _lock = successor.lock().expect("lock");
    assert_eq!(
        disk.contents("/d/f").expect("contents"),
        [vec![5; BLOCK], vec![6; BLOCK], vec![1; 2 * BLOCK]].concat()
    );
}

#[test]
fn a_start_that_tries_again_gets_the_lock() {
    let disk = FaultyDisk::new(0);
    let directory = disk.directory("/d");
    let file = durable_file(&*directory, "f", 4, 1);
    let mut queue = directory.write_queue(directory.lock().expect("lock"), 4).expect("queue");
    for token in 0..4 {
        submit(&mut *queue, token, &file, 1, 5, token as usize);
    }
    disk.kill();
    let successor = disk.directory("/d");
    let refusals = (0..10).take_while(|_attempt| successor.lock().is_err()).count();
    assert_eq!(refusals, 4);
    assert_eq!(disk.contents("/d/f").expect("contents"), vec![5; 4 * BLOCK]);
}

#[test]
fn without_waiting_locks_a_late_write_lands_on_the_successors() {
    let disk = FaultyDisk::new(0);
    let directory = disk.directory("/d");
    let file = durable_file(&*directory, "f", 1, 1);
    let mut queue = directory.write_queue(directory.lock().expect("lock"), 4).expect("queue");
    submit(&mut *queue, 0, &file, 1, 5, 0);
    disk.kill_freeing_locks();
    let successor = disk.directory("/d");
    let _lock = successor.lock().expect("lock");
    let file = successor.open("f").expect("open");
    file.write_durable_at(&blocks(1, 9), 0).expect("write");
    disk.land_late_writes();
    assert_eq!(disk.contents("/d/f").expect("contents"), vec![5; BLOCK]);
}

#[test]
fn a_write_in_flight_at_a_power_cut_is_there_in_part() {
    let mut seen = BTreeSet::new();
    for seed in 0..60 {
        let disk = FaultyDisk::new(0);
        let directory = disk.directory("/d");
        let file = durable_file(&*directory, "f", 1, 1);
        let mut queue = directory.write_queue(directory.lock().expect("lock"), 4).expect("queue");
        submit(&mut *queue, 0, &file, 1, 5, 0);
        disk.power_cut(seed);
        seen.insert(sectors(&disk, "/d/f").iter().filter(|byte| **byte == 5).count());
    }
    assert!(seen.contains(&0) && seen.contains(&8) && seen.len() > 3, "{seen:?}");
}

#[test]
fn after_a_failed_sync_reads_look_clean_and_the_disk_is_not() {
    let mut lost = 0;
    for seed in 0..40 {
        let disk = FaultyDisk::new(seed);
        let file = durable_file(&*disk.directory("/d"), "f", 1, 1);
        file.write_at(&blocks(1, 2), 0).expect("write");
        disk.fail_at(disk.operations(), Fault::Io);
        file.sync().expect_err("first sync");
        file.sync().expect("second sync");
        assert_eq!(disk.contents("/d/f").expect("contents"), vec![2; BLOCK]);
        disk.power_cut(seed);
        let left = disk.contents("/d/f").expect("contents");
        assert!(left == vec![1; BLOCK] || left == vec![2; BLOCK]);
        lost += usize::from(left[0] == 1);
    }
    assert!((1..40).contains(&lost), "lost {lost} of 40");
}

#[test]
fn a_failed_write_leaves_any_part_of_it() {
    let mut seen = BTreeSet::new();
    for seed in 0..60 {
        let disk = FaultyDisk::new(seed);
        let file = durable_file(&*disk.directory("/d"), "f", 1, 1);
        disk.fail_at(disk.operations(), Fault::NoSpace);
        let error = file.write_durable_at(&blocks(1, 2), 0).expect_err("write");
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));
        seen.insert(sectors(&disk, "/d/f").iter().filter(|byte| **byte == 2).count());
    }
    assert!(seen.contains(&0) && seen.contains(&8) && seen.len() > 3, "{seen:?}");
}

#[test]
fn a_fault_hits_its_operation_alone() {
    let disk = FaultyDisk::new(0);
    let directory = disk.directory("/d");
    let at = disk.operations();
    disk.fail_at(at + 1, Fault::Io);
    disk.fail_at(at + 3, Fault::Short);
    let file = directory.create("f").expect("create");
    assert_eq!(file.write_at(&blocks(2, 1), 0).expect_err("write").raw_os_error(), Some(libc::EIO));
    file.write_at(&blocks(2, 1), 0).expect("write");
    assert_eq!(file.read_at(&mut blocks(2, 0), 0).expect("short read"), BLOCK);
    assert_eq!(file.read_at(&mut blocks(2, 0), 0).expect("read"), 2 * BLOCK);
}

#[test]
fn a_full_disk_refuses_growth_and_takes_back_what_is_removed() {
    let disk = FaultyDisk::new(0);
    disk.set_capacity(4 * BLOCK as u64);
    let directory = disk.directory("/d");
    let file = durable_file(&*directory, "f", 3, 1);
    assert_eq!(directory.free_bytes().expect("free bytes"), BLOCK as u64);
    assert_eq!(file.allocate(5 * BLOCK as u64).expect_err("allocate").raw_os_error(), Some(libc::ENOSPC));
    file.write_at(&blocks(2, 2), 2 * BLOCK as u64).expect("write that fits");
    directory.remove("f").expect("remove");
    assert_eq!(directory.free_bytes().expect("free bytes"), 0, "open still");
    drop(file);
    assert_eq!(directory.free_bytes().expect("free bytes"), 4 * BLOCK as u64);
}

#[test]
fn damage_is_where_the_test_put_it_and_stays() {
    let disk = FaultyDisk::new(0);
    let directory = disk.directory("/d");
    let file = durable_file(&*directory, "f", 2, 1);
    durable_file(&*directory, "g", 1, 8);
    disk.flip_bit("/d/f", 5000, 7).expect("flip");
    disk.power_cut_losing_all();
    let mut expected = vec![1; 2 * BLOCK];
    expected[5000] = 0x81;
    assert_eq!(disk.contents("/d/f").expect("contents"), expected);

    disk.misdirect(("/d/f", 0), ("/d/g", 0), BLOCK).expect("misdirect");
    assert_eq!(disk.contents("/d/g").expect("contents"), vec![1; BLOCK]);
    assert_eq!(disk.contents("/d/f").expect("contents")[..BLOCK], [0; BLOCK]);
    drop(file);

    let file = disk.directory("/d").open("f").expect("open");
    disk.fail_reads("/d/f", BLOCK as u64 + 5, 1).expect("fail reads");
    assert_eq!(file.read_at(&mut blocks(1, 0), 0).expect("read beside"), BLOCK);
    assert_eq!(file.read_at(&mut blocks(2, 0), 0).expect_err("read across").raw_os_error(), Some(libc::EIO));
    disk.heal("/d/f").expect("heal");
    assert_eq!(file.read_at(&mut blocks(2, 0), 0).expect("read"), 2 * BLOCK);
}

/// A little of everything, to be crashed at each operation: two durable blocks in order, by a queue, then a rename.
fn scenario(disk: &FaultyDisk) -> io::Result<()> {
    let directory = disk.directory("/d");
    let lock = directory.lock()?;
    let file = directory.create("f.tmp")?;
    file.allocate(8 * BLOCK as u64)?;
    file.sync()?;
    let mut queue = directory.write_queue(lock, 4)?;
    for token in 0..8 {
        submit(&mut *queue, token, &file, 1, token as u8 + 1, token as usize);
        if token % 4 == 3 {
            let mut done = Vec::new();
            while queue.in_flight() > 0 {
                queue.wait(None, &mut done);
            }
            done.into_iter().try_for_each(|completion| completion.result)?;
        }
    }
    directory.rename("f.tmp", "f")?;
    directory.sync()
}

#[test]
fn the_same_seed_gives_the_same_trace_and_another_another() {
    let run = |seed| {
        let disk = FaultyDisk::new(seed);
        scenario(&disk).expect("no fault");
        disk.power_cut(seed);
        let after = disk.contents("/d/f").expect("contents");
        let order: Vec<u64> = disk.recent().iter().map(|step| step.offset).collect();
        (disk.trace(), after, order)
    };
    let traces: BTreeSet<u64> = (0..20).map(|seed| run(seed).0).collect();
    assert!(traces.len() > 15, "completions come in one order only: {} traces of 20", traces.len());
    for seed in 0..20 {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn a_sweep_reaches_every_operation_and_ends() {
    let disk = FaultyDisk::new(3);
    scenario(&disk).expect("no fault");
    let operations = disk.operations();
    assert_eq!(operations, 4 + 16 + 2);
    for crash in 0..=operations {
        for cut in [true, false] {
            let disk = FaultyDisk::new(3);
            disk.crash_at(crash);
            let result = scenario(&disk);
            assert_eq!(result.is_err(), crash < operations, "crash at {crash}");
            assert_eq!(disk.crashed(), crash < operations);
            assert_eq!(disk.operations(), crash);
            if cut {
                disk.power_cut(crash)
            } else {
                disk.kill()
            }
            disk.land_late_writes();
            if let Ok(bytes) = disk.contents("/d/f") {
                // Renamed only when all was durable.
                let expected: Vec<u8> = (1..=8).flat_map(|byte| [byte; BLOCK]).collect();
                assert!(bytes == expected, "crash at {crash}");
            }
            scenario_again(&disk);
        }
        let disk = FaultyDisk::new(3);
        disk.fail_at(crash, Fault::Io);
        assert_eq!(scenario(&disk).is_err(), crash < operations, "fault at {crash}");
    }
}

fn scenario_again(disk: &FaultyDisk) {
    let directory = disk.directory("/d");
    for name in ["f", "f.tmp"] {
        if directory.list().expect("list").iter().any(|entry| entry.name == name) {
            directory.remove(name).expect("remove");
        }
    }
    scenario(disk).expect("the next life works");
}

#[test]
fn a_short_write_leaves_its_beginning() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let disk = FaultyDisk::new(seed);
        let file = durable_file(&*disk.directory("/d"), "f", 3, 1);
        disk.fail_at(disk.operations(), Fault::Short);
        let error = file.write_durable_at(&blocks(2, 2), 0).expect_err("write");
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        let left = sectors(&disk, "/d/f");
        let written = left.iter().take_while(|byte| **byte == 2).count();
        assert!(left[written..].iter().all(|byte| *byte == 1), "{left:?}");
        seen.insert(written);
        disk.power_cut_losing_all();
        assert_eq!(disk.contents("/d/f").expect("contents"), vec![1; 3 * BLOCK]);
    }
    assert!(seen.contains(&0) && seen.contains(&16) && seen.len() > 10, "{seen:?}");
}

#[test]
fn a_failed_directory_sync_leaves_names_as_durable_as_they_were() {
    let mut left = BTreeSet::new();
    for seed in 0..40 {
        let disk = FaultyDisk::new(0);
        let directory = disk.directory("/d");
        durable_file(&*directory, "a", 1, 1);
        directory.rename("a", "b").expect("rename");
        disk.fail_next("sync", Fault::Io);
        directory.sync().expect_err("sync");
        assert_eq!(names(&disk), ["b"]);
        disk.power_cut(seed);
        left.insert(names(&disk).concat());
    }
    assert_eq!(left, ["a", "b"].map(str::to_owned).into());
}

/// Every operation of the seam, by the name that it has in the trace.
type Operation = fn(&dyn Directory, &Arc<dyn File>) -> io::Result<()>;
const OPERATIONS: [(&str, Operation); 11] = [
    ("create", |directory, _file| directory.create("new").map(drop)),
    ("open", |directory, _file| directory.open("f").map(drop)),
    ("list", |directory, _file| directory.list().map(drop)),
    ("rename", |directory, _file| directory.rename("f", "g")),
    ("remove", |directory, _file| directory.remove("f")),
    ("lock", |directory, _file| directory.lock().map(drop)),
    ("read_at", |_directory, file| file.read_at(&mut blocks(1, 0), 0).map(drop)),
    ("write_at", |_directory, file| file.write_at(&blocks(1, 2), 0)),
    ("write_durable_at", |_directory, file| file.write_durable_at(&blocks(1, 2), 0)),
    ("allocate", |_directory, file| file.allocate(4 * BLOCK as u64)),
    ("truncate", |_directory, file| file.truncate(0)),
];

#[test]
fn every_operation_fails_when_it_shall_and_does_nothing_else() {
    let syncs: [(&str, Operation); 2] =
        [("sync", |directory, _file| directory.sync()), ("sync", |_directory, file| file.sync())];
    for (name, operation) in OPERATIONS.into_iter().chain(syncs) {
        for (fault, code) in [(Fault::Io, libc::EIO), (Fault::NoSpace, libc::ENOSPC)] {
            let disk = FaultyDisk::new(1);
            let directory = disk.directory("/d");
            let file = durable_file(&*directory, "f", 1, 1);
            disk.fail_next(name, fault);
            let error = operation(&*directory, &file).expect_err(name);
            assert_eq!(error.raw_os_error(), Some(code), "{name}");
            assert_eq!(names(&disk), ["f"], "{name}");
            assert_eq!(disk.contents("/d/f").expect("contents").len(), BLOCK, "{name}");
            operation(&*directory, &file).expect("the fault was for one operation");
        }
    }
}

#[test]
fn every_operation_takes_the_time_that_it_was_given() {
    for (name, operation) in OPERATIONS {
        let disk = FaultyDisk::new(1);
        let directory = disk.directory("/d");
        let file = durable_file(&*directory, "f", 1, 1);
        let before = disk.now();
        operation(&*directory, &file).expect(name);
        assert_eq!(disk.now(), before, "{name}: nothing takes time by itself");
        disk.power_cut_losing_all();

        let disk = FaultyDisk::new(1);
        let directory = disk.directory("/d");
        let file = durable_file(&*directory, "f", 1, 1);
        disk.delay_at(disk.operations(), Duration::from_millis(700));
        operation(&*directory, &file).expect(name);
        assert_eq!(disk.now(), Duration::from_millis(700), "{name}");
    }
}

#[test]
fn a_slow_write_completes_in_its_time_and_others_overtake_it() {
    let disk = FaultyDisk::new(5);
    let directory = disk.directory("/d");
    let file = durable_file(&*directory, "f", 4, 1);
    let mut queue = directory.write_queue(directory.lock().expect("lock"), 4).expect("queue");
    disk.delay_at(disk.operations(), Duration::from_secs(2));
    submit(&mut *queue, 0, &file, 1, 5, 0);
    submit(&mut *queue, 1, &file, 1, 6, 1);
    let mut done = Vec::new();
    queue.wait(Some(Duration::ZERO), &mut done);
    assert_eq!(done.iter().map(|completion| completion.token).collect::<Vec<_>>(), [1]);
    done.clear();
    queue.wait(Some(Duration::from_millis(500)), &mut done);
    assert!(done.is_empty());
    assert_eq!(disk.now(), Duration::from_millis(500));
    queue.waker().wake();
    queue.wait(None, &mut done);
    assert!(done.is_empty(), "a wake ends the wait before the write does");
    disk.advance(Duration::from_millis(100));
    queue.wait(None, &mut done);
    assert_eq!((done.len(), disk.now()), (1, Duration::from_secs(2)));
    assert_eq!(disk.contents("/d/f").expect("contents")[..2 * BLOCK], [[5; BLOCK], [6; BLOCK]].concat());
}

#[test]
fn a_dropped_queue_waits_for_its_slow_writes() {
    let disk = FaultyDisk::new(5);
    let directory = disk.directory("/d");
    let file = durable_file(&*directory, "f", 1, 1);
    let mut queue = directory.write_queue(directory.lock().expect("lock"), 4).expect("queue");
    disk.delay_at(disk.operations(), Duration::from_secs(3));
    submit(&mut *queue, 0, &file, 1, 5, 0);
    drop(queue);
    assert_eq!(disk.now(), Duration::from_secs(3));
    assert_eq!(disk.contents("/d/f").expect("contents"), vec![5; BLOCK]);
}

#[test]
fn latencies_come_from_the_seed() {
    let run = |seed| {
        let disk = FaultyDisk::new(seed);
        disk.set_latency(Duration::from_millis(20));
        scenario(&disk).expect("no fault");
        disk.now()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    assert!(run(1) > Duration::from_millis(20));
}

#[test]
fn a_fork_has_its_own_fate() {
    let disk = FaultyDisk::new(1);
    let directory = disk.directory("/d");
    let file = durable_file(&*directory, "f", 1, 1);
    file.write_at(&blocks(1, 2), 0).expect("write");
    let fork = disk.fork();
    fork.flip_bit("/d/f", 100, 0).expect("flip");
    assert_eq!(disk.contents("/d/f").expect("contents"), vec![2; BLOCK]);
    fork.power_cut_losing_all();
    assert_eq!(fork.contents("/d/f").expect("contents")[99..102], [1, 0, 1]);
    file.sync().expect("this life goes on");
    disk.power_cut_losing_all();
    assert_eq!(disk.contents("/d/f").expect("contents"), vec![2; BLOCK]);
}
