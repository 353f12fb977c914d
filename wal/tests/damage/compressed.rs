//! Frames that are compressed, among others that are not.

use flumen_wal::format::codec::Encoding;
use flumen_wal::format::frame::{FLAG_FIRST, FLAG_LATER, FrameHeader, HEADER_LEN, Seed};
use flumen_wal::format::record;
use flumen_wal::format::segment::{FEATURE_LZ4, HEADER_LEN as SEGMENT_HEADER_LEN, SegmentHeader};
use flumen_wal::tools::{self, Line};
use flumen_wal::{
    Compression, OpenError, ProgressOp, ProgressUpdate, Quarantine, ReadError, SegmentNumber, Space,
};

use crate::world::{BLOCK, World, options, payload};

/// A log that compresses, with so many events, a frame each; those that [`payload`] makes fit in one block then.
fn compressed(events: u64) -> World {
    let mut world = World::closed();
    compress(&mut world, true);
    world.open().unwrap();
    world.append_all(0..events);
    world
}

/// How lives write that begin from now on.
fn compress(world: &mut World, on: bool) {
    world.options.compression = if on { Compression::Lz4 } else { Compression::None };
}

fn repair(world: &World) -> tools::Repair {
    let quarantine = tempfile::tempdir().unwrap();
    let quarantine = Quarantine::within(quarantine.path());
    tools::repair(&world.dirs(), &quarantine, &options(), &*world.environment).unwrap()
}

fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(next).collect()
}

/// Headers of all frames with their segments and offsets, oldest first.
fn headers(world: &World) -> Vec<(SegmentNumber, u64, FrameHeader)> {
    let mut headers = Vec::new();
    tools::dump(&world.dirs(), &mut |line| {
        if let Line::Frame { place, header, intact, .. } = line {
            assert!(intact, "{place}");
            headers.push((place.segment, place.offset, *header));
        }
    })
    .unwrap();
    headers
}

/// Feature bits of all files with a segment's name, by number.
fn features(world: &World) -> Vec<(SegmentNumber, u32)> {
    let segments = tools::inspect(&world.dirs()).unwrap().segments;
    segments
        .iter()
        .filter_map(|segment| segment.header)
        .map(|header| (header.segment, header.features))
        .collect()
}

fn segment_header(world: &World, segment: SegmentNumber) -> SegmentHeader {
    let bytes = world.disk.contents(format!("data/{}", segment.file_name())).unwrap();
    SegmentHeader::decode(&bytes[..SEGMENT_HEADER_LEN]).unwrap()
}

/// Writes a frame anew with another stored body of the same length, and with sound checksums.
fn forge(world: &World, (segment, offset, header): (SegmentNumber, u64, FrameHeader), stored: &[u8]) {
    assert_eq!(stored.len(), header.stored_len as usize);
    let mut frame = [&[0; HEADER_LEN][..], stored].concat();
    let seed = Seed::new(segment_header(world, segment).salt, segment, offset);
    header.seal(&mut frame, seed);
    world.disk.overwrite(format!("data/{}", segment.file_name()), offset, &frame).unwrap();
}

/// Goal: a log may hold segments of both kinds, whoever reads them. Method: lives that compress and lives that do not, each with
/// small commits, such as compress, such as do not, and such as span frames; takes from the disk and from memory.
#[test]
fn compression_may_be_switched_at_each_start() {
    for cache_bytes in [0, 1 << 20] {
        let content = |event: u64| match event % 5 {
            0 => vec![event as u8; 10],
            1 => payload(event),
            2 => noise(event, 9000),
            3 => [payload(event).repeat(8), noise(event, 20_000), payload(event).repeat(4)].concat(),
            _ => vec![b'x'; 60_000],
        };
        let mut world = World::closed();
        let mut event = 0;
        for life in 0..6 {
            compress(&mut world, life % 3 != 1);
            world.options.cache_bytes = cache_bytes;
            world.open().unwrap();
            assert_eq!(world.log().recovery().damage, []);
            for _ in 0..11 {
                let ticket = world.append_bytes(&content(event));
                world.ack(&ticket);
                event += 1;
            }
            let stats = world.log().stats();
            assert!(if life % 3 == 1 {
                stats.stored_bytes == stats.raw_bytes
            } else {
                stats.stored_bytes * 2 < stats.raw_bytes
            });
            let (end, error) = world.take_checking(0, content);
            assert!(error.is_none() && end == event, "life {life}: {end}, {error:?}");
            if life % 2 == 1 { world.close() } else { world.kill() }
        }
        let kinds: Vec<Encoding> = headers(&world).iter().map(|(.., header)| header.encoding).collect();
        assert!(kinds.contains(&Encoding::Lz4) && kinds.contains(&Encoding::Plain));
        let verified = tools::verify(&world.dirs()).unwrap();
        assert_eq!((verified.damage, verified.notes, verified.events), (vec![], vec![], Some((0, event))));
        assert!(verified.compressed > 20 && verified.stored_bytes * 3 / 2 < verified.raw_bytes);
    }
}

#[test]
fn frames_without_events_and_small_ones_are_never_compressed() {
    let mut world = compressed(30);
    let ticket = world.append_bytes(&vec![0; 3000]);
    world.ack(&ticket);
    world.close();
    for (_, offset, header) in headers(&world) {
        let large = header.raw_len as u64 + HEADER_LEN as u64 > BLOCK;
        let expected = if header.event_count > 0 && large { Encoding::Lz4 } else { Encoding::Plain };
        assert_eq!(header.encoding, expected, "{offset}: {header:?}");
    }
}

/// Goal: what nothing vouches for is written again as it stands, in a segment that says what it may hold, whatever the new life
/// compresses. Method: commits that are acked and not claimed by any later frame, then a kill, with every pair of options.
#[test]
fn unvouched_frames_are_written_again_as_they_stand() {
    let large = |event: u64| match event {
        1 => [vec![7; 50_000], noise(3, 5000)].concat(),
        event => payload(event),
    };
    for (before, after) in [(true, false), (true, true), (false, true)] {
        let mut world = World::closed();
        compress(&mut world, before);
        world.open().unwrap();
        let tickets: Vec<_> = (0..2).map(|event| world.append_bytes(&large(event))).collect();
        tickets.iter().for_each(|ticket| world.ack(ticket));
        let stored = |world: &World| -> Vec<_> {
            let with_events = |header: &FrameHeader| header.event_count > 0 || header.is_span();
            let all = headers(world).into_iter().filter(|(.., header)| with_events(header));
            all.map(|(.., header)| (header.encoding, header.flags, header.stored_len, header.raw_len))
                .collect()
        };
        let was = stored(&world);
        compress(&mut world, after);
        world.reopen();
        assert!(world.log().recovery().rewritten > 0);
        let is = stored(&world);
        assert_eq!(
            is[is.len() - was.len().min(is.len())..],
            was[was.len() - is.len().min(was.len())..],
            "{before} {after}"
        );
        let active = features(&world).last().unwrap().1;
        assert_eq!(active, FEATURE_LZ4, "{before} {after}");
        let (end, error) = world.take_checking(0, large);
        assert!(error.is_none() && end == 2, "{before} {after}: {end}, {error:?}");
    }
}

/// An older program knows no feature bits: it must refuse the log for as long as there is something that it cannot read, at its
/// start, and not take it for damage when its reader comes there.
#[test]
fn the_newest_segments_say_what_older_ones_to_be_delivered_may_hold() {
    let mut world = World::with_events(3);
    assert!(features(&world).iter().all(|(_, features)| *features == 0), "{:?}", features(&world));
    world.close();
    compress(&mut world, true);
    world.open().unwrap();
    world.append_all(3..6);
    world.rest();
    let life = headers(&world).last().unwrap().0;
    let marked = features(&world).into_iter().filter(|(number, _)| *number >= life);
    assert!(marked.clone().count() > 1, "the prepared ones too");
    assert!(marked.clone().all(|(_, features)| features == FEATURE_LZ4));
    world.close();

    compress(&mut world, false);
    world.open().unwrap();
    world.append_all(6..7);
    world.rest();
    assert_eq!(features(&world).last().unwrap().1, FEATURE_LZ4, "events 3 to 5 are not delivered");
    world.close();

    world.open().unwrap();
    let (end, error) = world.take_from(0);
    assert!(error.is_none() && end == 7, "{error:?}");
    world.log().cursor().release(0, 7, vec![]);
    world.close();
    world.open().unwrap();
    world.rest();
    assert_eq!(features(&world).last().unwrap().1, 0, "all is delivered");
}

#[test]
fn a_feature_that_is_not_known_refuses_the_log_and_changes_nothing() {
    for bit in [2, 3, 31] {
        let mut world = compressed(5);
        world.close();
        let segment = world.segments()[0];
        let mut header = segment_header(&world, segment);
        header.features |= 1 << bit;
        world.disk.overwrite(format!("data/{}", segment.file_name()), 0, &header.encode()).unwrap();
        let error = world.assert_refused();
        assert!(matches!(&error, OpenError::Newer { reason, .. } if reason.contains("features")), "{error}");
        assert!(matches!(tools::verify(&world.dirs()), Err(tools::ToolError::Newer { .. })));
    }
}

#[test]
fn a_flipped_bit_of_a_compressed_frame_stops_takes_at_its_place() {
    let mut world = compressed(6);
    world.rest();
    let frame = world.frame_of(3);
    let (.., header) = headers(&world).into_iter().find(|(.., header)| header.first_event == 3).unwrap();
    assert_eq!(header.encoding, Encoding::Lz4);
    for byte in 0..HEADER_LEN as u64 + u64::from(header.stored_len) {
        world.flip(&frame, byte);
        world.assert_damaged_at(&frame);
        world.flip(&frame, byte);
    }
    world.assert_all_there(6);
}

/// A sound checksum over nonsense: what a faulty memory or program wrote.
#[test]
fn a_body_that_does_not_decompress_is_damage_with_a_name() {
    let mut world = compressed(6);
    world.rest();
    let found = headers(&world).into_iter().find(|(.., header)| header.first_event == 3).unwrap();
    let length = found.2.stored_len as usize;
    for nonsense in [vec![0xff; length], vec![0; length], noise(9, length)] {
        forge(&world, found, &nonsense);
        world.assert_damaged_at(&world.frame_of(3));
        let error = world.take_from(0).1.unwrap().to_string();
        assert!(error.contains("does not decompress"), "{error}");
        let damage = tools::verify(&world.dirs()).unwrap().damage;
        assert!(damage[0].what.contains("does not decompress"), "{damage:?}");
        assert_eq!(damage[0].events, Some((3, Some(4))));
        world.reopen();
        let damage = &world.log().recovery().damage;
        assert!(damage.is_empty() || damage[0].what.contains("does not decompress"), "{damage:?}");
    }
    world.close();
    let repair = repair(&world);
    assert_eq!(repair.lost, [(3, 4)]);
    world.open().unwrap();
    let cursor = world.log().cursor();
    let mut taken = Vec::new();
    while let Some(take) = cursor.try_take(1, 1).unwrap() {
        taken.push(take.first_event);
    }
    assert_eq!(taken, [0, 1, 2, 4, 5]);
}

/// A commit whose first piece is one block when it is compressed, and whose others are not. The second begins with what looks
/// like a whole commit, as an event may quote one.
fn quoting() -> Vec<u8> {
    let piece = (16 << 10) - HEADER_LEN;
    let mut payload = vec![0; piece - record::HEADER_LEN - record::COMMIT_PREFIX_LEN];
    let mut quoted = vec![0; record::HEADER_LEN + record::COMMIT_PREFIX_LEN];
    let foreign = noise(5, 20_000);
    record::write_commit_prefix(&mut quoted, 1, foreign.len());
    payload.extend([quoted, foreign].concat());
    payload
}

/// Behind a gap, the length of a span's frame says nothing of the frames before it where they may be compressed.
#[test]
fn what_is_left_of_a_compressed_commit_is_never_given_out() {
    let mut world = compressed(3);
    let ticket = world.append_bytes(&quoting());
    world.ack(&ticket);
    world.append_all(4..6);
    world.rest();
    let pieces: Vec<_> = world.frames().into_iter().filter(|frame| frame.span).collect();
    let flags: Vec<_> = headers(&world).into_iter().filter(|(.., header)| header.is_span()).collect();
    assert!(flags[0].2.flags & FLAG_FIRST != 0 && flags[1..].iter().all(|(.., h)| h.flags & FLAG_LATER != 0));
    assert_eq!(flags[0].2.padded_len(BLOCK as u32), BLOCK);
    assert!(flags[1].2.padded_len(BLOCK as u32) > BLOCK);
    for (piece, frame) in pieces.iter().enumerate() {
        for byte in [30, 70] {
            world.flip(frame, byte);
            let (next, error) =
                world.take_checking(0, |event| if event == 3 { quoting() } else { payload(event) });
            assert_eq!(next, 3, "piece {piece}, byte {byte}");
            assert!(matches!(error, Some(ReadError::Damaged { event: 3, .. })), "{error:?}");
            let damage = tools::verify(&world.dirs()).unwrap().damage;
            assert!(damage.iter().any(|f| f.events == Some((3, Some(4)))), "piece {piece}: {damage:?}");
            world.flip(frame, byte);
        }
    }
    let (next, error) = world.take_checking(0, |event| if event == 3 { quoting() } else { payload(event) });
    assert!(error.is_none() && next == 6, "{error:?}");
}

/// The other way round: a gap as long as the span's own first frame, compressed to one block, hides nothing of it.
#[test]
fn a_compressed_commit_behind_a_damaged_frame_is_given_out_after_a_repair() {
    let mut world = compressed(3);
    let ticket = world.append_bytes(&vec![0; 60_000]);
    world.ack(&ticket);
    world.append_all(4..5);
    world.close();
    // The header of event 2's frame: where it ends is not known then.
    world.flip(&world.frame_of(2), 30);
    let repair = repair(&world);
    assert_eq!(repair.lost, [(2, 3)]);
    world.open().unwrap();
    let cursor = world.log().cursor();
    let mut taken = Vec::new();
    while let Some(take) = cursor.try_take(1, 1).unwrap() {
        taken.push((take.first_event, take.pieces[0].payload.len()));
    }
    assert_eq!(taken, [(0, 5000), (1, 5000), (3, 60_000), (4, 5000)]);
}

#[test]
fn progress_behind_a_large_compressed_commit_survives_a_kill() {
    for vouched in [false, true] {
        let mut world = compressed(1);
        let large = [vec![1; 40_000], noise(1, 20_000)].concat();
        let op = ProgressOp::Set { generation: 1, from: 0, to: 17, rest: bytes::Bytes::new() };
        let update = ProgressUpdate { space: Space::Source, owner: "s".into(), key: "k".into(), op };
        let room = world.log().try_reserve(large.len() as u64).unwrap();
        let commit = flumen_wal::Commit { events: 1, payload: &large, progress: vec![update] };
        let ticket = world.log().append(room, commit).unwrap();
        world.ack(&ticket);
        if vouched {
            world.rest();
        }
        world.reopen();
        let recovered = world.log().progress(Space::Source, "s").unwrap();
        assert_eq!(recovered["k"].to, 17, "vouched: {vouched}");
    }
}

/// A header of which nothing is left is told again with the bit that its frames ask for, and without one that they do not.
#[test]
fn a_repair_tells_a_header_again_with_its_features() {
    for on in [false, true] {
        let mut world = World::closed();
        compress(&mut world, on);
        world.open().unwrap();
        world.append_all(0..60);
        world.close();
        let segment = world.segments()[0];
        let was = segment_header(&world, segment);
        let path = format!("data/{}", segment.file_name());
        world.disk.overwrite(&path, 0, &vec![0; 2 * BLOCK as usize]).unwrap();
        repair(&world);
        assert_eq!(segment_header(&world, segment), was);
        world.open().unwrap();
        world.assert_all_there(60);
    }
}
