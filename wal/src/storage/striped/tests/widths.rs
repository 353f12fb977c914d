//! Files of several widths in one directory, writes that span lanes, and lanes that are full.

use super::*;
use crate::storage::faulty::Fault;
use crate::storage::{Write, WriteQueue};

fn segment(number: u64) -> String {
    SegmentNumber(number).file_name()
}

fn spare(number: u64) -> String {
    SegmentNumber(number).spare_name()
}

#[test]
fn files_keep_their_pieces_when_a_directory_is_added_and_new_ones_have_more() {
    let disk = FaultyDisk::new(1);
    for (lanes, number) in [(1, 1), (2, 2), (3, 3)] {
        let directory = over(&on(&disk, lanes)).unwrap();
        make_segment(&*directory, number, 7).unwrap();
        for known in 1..=number {
            assert_holds(&*directory, &segment(known), 7, known as u8);
        }
        assert_eq!(
            disk.directory((lanes - 1).to_string()).list().unwrap().len(),
            if lanes == 1 { 1 } else { 2 }
        );
    }
    assert_eq!(disk.contents(format!("0/{}", segment(1))).unwrap().len(), 7 * 4096);
    assert_eq!(disk.contents(format!("2/{}.of-3", segment(3))).unwrap(), vec![3; 2 * 4096]);
}

#[test]
fn a_spare_is_made_over_to_the_width_of_new_files_and_keeps_its_length() {
    let disk = FaultyDisk::new(1);
    make_segment(&*over(&on(&disk, 1)).unwrap(), 1, 12).unwrap();
    let directory = over(&on(&disk, 3)).unwrap();
    directory.rename(&segment(1), &spare(1)).unwrap();
    for lane in 0..3 {
        assert_eq!(disk.contents(format!("{lane}/{}.of-3", spare(1))).unwrap().len(), 4 * 4096);
    }
    assert_eq!(directory.open(&spare(1)).unwrap().len().unwrap(), 12 * 4096);
    directory.rename(&spare(1), &segment(2)).unwrap();
    directory.sync().unwrap();
    // And back, for a directory that is left out.
    let find = |path: &Path| Ok(disk.directory(path.file_name().unwrap().to_str().unwrap()));
    let directory = open(&on(&disk, 1), UNIT, &System::default(), &find).unwrap();
    directory.rename(&segment(2), &spare(2)).unwrap();
    assert_eq!(disk.contents(format!("0/{}", spare(2))).unwrap().len(), 12 * 4096);
    assert!(disk.directory("1").list().unwrap().iter().all(|entry| entry.name == "lanes"));
}

#[test]
fn a_spare_stays_as_it_is_where_there_is_no_room_to_make_it_over() {
    let disk = FaultyDisk::new(1);
    make_segment(&*over(&on(&disk, 1)).unwrap(), 1, 12).unwrap();
    let directory = over(&on(&disk, 2)).unwrap();
    directory.create("began").unwrap();
    disk.fail_next("allocate", Fault::NoSpace);
    directory.rename(&segment(1), &spare(1)).unwrap();
    assert_eq!(disk.contents(format!("0/{}", spare(1))).unwrap().len(), 12 * 4096);
    assert_eq!(directory.open(&spare(1)).unwrap().len().unwrap(), 12 * 4096);
    assert!(names(&*disk.directory("1")).iter().all(|name| !name.starts_with("spare")));
}

#[test]
fn what_one_lane_has_no_room_for_is_taken_in_none() {
    let lanes = [MemoryDirectory::new("/0"), MemoryDirectory::with_capacity("/1", 64 << 10)];
    let both: Vec<_> = lanes.iter().map(|lane| Arc::new(lane.clone()) as Arc<dyn Directory>).collect();
    let directory = over(&both).unwrap();
    let file = directory.create("file").unwrap();
    file.allocate(8192).unwrap();
    let least = lanes[1].free_bytes().unwrap();
    assert_eq!(directory.free_bytes().unwrap(), least, "what is free in each");
    assert_eq!(file.allocate(1 << 20).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!((file.len().unwrap(), lanes[0].open("file.of-2").unwrap().len().unwrap()), (8192, 4096));
    assert_eq!(directory.free_bytes().unwrap(), least);
}

#[test]
fn a_missing_piece_is_named_and_is_no_missing_file() {
    let disk = FaultyDisk::new(1);
    make_segment(&*over(&on(&disk, 2)).unwrap(), 1, 4).unwrap();
    disk.directory("1").remove(&format!("{}.of-2", segment(1))).unwrap();
    let directory = over(&on(&disk, 2)).unwrap();
    let error = directory.open(&segment(1)).map(drop).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("1/segment-0000000000000001.log.of-2 is missing"), "{error}");
    assert_eq!(directory.open(&segment(2)).map(drop).unwrap_err().kind(), io::ErrorKind::NotFound);
}

/// A queue over two lanes of the simulated disk, a file of 40 blocks, and writes of many units.
fn writes(disk: &FaultyDisk) -> (Box<dyn WriteQueue>, Arc<dyn File>) {
    let directory = over(&on(disk, 2)).unwrap();
    let file = directory.create("file").unwrap();
    file.allocate(40 * 4096).unwrap();
    file.sync().unwrap();
    directory.sync().unwrap();
    (directory.write_queue(directory.lock().unwrap(), 2).unwrap(), file)
}

fn write(token: u64, file: &Arc<dyn File>, from: usize, block: u64) -> Write {
    let mut buffer = AlignedBuf::zeroed((20 + from) * 4096);
    for (number, bytes) in buffer.chunks_mut(4096).enumerate() {
        bytes.fill(if number < from { 0xff } else { token as u8 + number as u8 - from as u8 });
    }
    let (from, len) = (from * 4096, 20 * 4096);
    Write {
        token,
        file: file.clone(),
        buffer: Arc::new(buffer),
        from,
        len,
        offset: block * 4096,
        durable: true,
    }
}

#[test]
fn a_write_is_done_when_all_its_parts_are_and_more_parts_than_places_wait() {
    let disk = FaultyDisk::new(5);
    let (mut queue, file) = writes(&disk);
    queue.submit(write(100, &file, 0, 0));
    queue.submit(write(200, &file, 3, 20));
    let mut done = Vec::new();
    while queue.in_flight() > 0 {
        let before = queue.in_flight();
        queue.wait(None, &mut done);
        assert!(queue.in_flight() < before, "only what is whole is told");
    }
    assert!(done.iter().all(|completion| completion.result.is_ok()) && done.len() == 2, "{done:?}");
    disk.power_cut_losing_all();
    let file = over(&on(&disk, 2)).unwrap().open("file").unwrap();
    let mut all = AlignedBuf::zeroed(40 * 4096);
    file.read_at(&mut all, 0).unwrap();
    for block in 0..40 {
        let expected = if block < 20 { 100 + block } else { 180 + block };
        assert!(all[block * 4096..][..4096].iter().all(|byte| *byte == expected as u8), "block {block}");
    }
}

#[test]
fn a_write_of_which_one_part_fails_has_failed_when_nothing_of_it_can_land_any_more() {
    for what in ["submit", "complete"] {
        for fault in [Fault::Io, Fault::NoSpace, Fault::Short] {
            let disk = FaultyDisk::new(5);
            let (mut queue, file) = writes(&disk);
            disk.fail_next(what, fault);
            queue.submit(write(100, &file, 0, 0));
            queue.submit(write(200, &file, 0, 20));
            let mut done = Vec::new();
            while queue.in_flight() > 0 {
                queue.wait(None, &mut done);
                let told: Vec<_> = done.iter().map(|completion| completion.token).collect();
                let left = disk.writes_in_flight();
                assert!(queue.in_flight() > 0 || left == 0, "{told:?} told, {left} in flight");
            }
            let failed = done.iter().filter(|completion| completion.result.is_err()).count();
            assert_eq!((done.len(), failed), (2, 1), "{what} {fault:?}");
        }
    }
}

#[test]
fn a_killed_process_holds_the_locks_of_all_lanes_until_its_last_write_has_landed() {
    let disk = FaultyDisk::new(5);
    disk.land_while_locking(false);
    let (mut queue, file) = writes(&disk);
    queue.submit(write(100, &file, 0, 0));
    disk.kill();
    while disk.late_writes() > 0 {
        for lane in 0..2 {
            assert!(disk.directory(lane.to_string()).lock().is_err(), "lane {lane} while writes can land");
        }
        disk.land_one_late_write();
    }
    drop(over(&on(&disk, 2)).unwrap().lock().expect("nothing can land any more"));
    drop(queue);
}
