//! Frames that are encrypted, by one key or another, among others that are not.

use flumen_wal::format::frame::{FrameHeader, HEADER_LEN, Seed};
use flumen_wal::format::segment::{FEATURE_ENCRYPTED, HEADER_LEN as SEGMENT_HEADER_LEN, SegmentHeader};
use flumen_wal::tools::{self, Content, Line, ToolError};
use flumen_wal::{
    Compression, DamagePolicy, Key, Keys, MissingKey, OpenError, ProgressOp, ProgressUpdate, Quarantine,
    ReadError, SegmentNumber, Space,
};

use crate::world::{BLOCK, World, options, payload};

/// A key of which name and bytes are told by one letter.
fn key(letter: char) -> Key {
    Key::new(&letter.to_string(), letter.to_string().repeat(32).as_bytes()).unwrap()
}

/// Gives the lives that begin from now on those keys; the first one that is in upper case is the one to write by.
fn give(world: &mut World, letters: &str) {
    let active = letters.chars().find(char::is_ascii_uppercase).map(|letter| letter.to_ascii_lowercase());
    let keys = letters.chars().map(|letter| key(letter.to_ascii_lowercase())).collect();
    world.options.keys = Keys::new(keys, active.map(String::from).as_deref()).unwrap();
}

/// A log with so many events, a frame each, written with those keys.
fn encrypted(letters: &str, events: u64) -> World {
    let mut world = World::closed();
    give(&mut world, letters);
    world.open().unwrap();
    world.append_all(0..events);
    world
}

/// One life with those keys, which appends these events.
fn live(world: &mut World, letters: &str, events: std::ops::Range<u64>) {
    give(world, letters);
    world.open().unwrap();
    world.append_all(events);
    world.rest();
    world.close();
}

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

fn features(world: &World) -> Vec<u32> {
    let segments = tools::inspect(&world.dirs()).unwrap().segments;
    segments.iter().filter_map(|segment| segment.header).map(|header| header.features).collect()
}

fn segment_header(world: &World, segment: SegmentNumber) -> SegmentHeader {
    let bytes = world.disk.contents(format!("data/{}", segment.file_name())).unwrap();
    SegmentHeader::decode(&bytes[..SEGMENT_HEADER_LEN]).unwrap()
}

fn release_all(world: &World, events: u64) {
    let (end, error) = world.take_from(0);
    assert!(error.is_none() && end == events, "{end}: {error:?}");
    world.log().cursor().release(0, events, vec![]);
}

/// The start is refused for want of this key, nothing is different afterwards, and the message tells people which one.
#[track_caller]
fn assert_missing(world: &mut World, letter: char) {
    let error = world.assert_refused();
    let OpenError::Io { source, .. } = &error else { panic!("{error}") };
    assert_eq!(MissingKey::of(source).expect("a key").id, key(letter).id());
    assert!(error.to_string().contains(&key(letter).id().to_string()), "{error}");
    assert!(!error.repair_helps());
    let quarantine = tempfile::tempdir().unwrap();
    let repaired = tools::repair(
        &world.dirs(),
        &Quarantine::within(quarantine.path()),
        &world.options,
        &*world.environment,
    );
    assert!(matches!(repaired, Err(OpenError::Io { .. })), "a repair gives nothing up for it: {repaired:?}");
}

/// Goal: a log may hold what several keys encrypted and what none did, whoever reads it. Method: lives with and without keys, with
/// and without compression, each with small commits, larger ones and such as span frames; takes from the disk and from memory.
#[test]
fn keys_may_be_others_at_each_start() {
    for cache_bytes in [0, 1 << 20] {
        let content = |event: u64| match event % 4 {
            0 => vec![event as u8; 10],
            1 => payload(event),
            2 => payload(event).repeat(4)[..(16 << 10) - 100 - event as usize % 60].to_vec(),
            _ => payload(event).repeat(12),
        };
        let mut world = World::closed();
        let mut event = 0;
        for (life, letters) in ["", "A", "aB", "abC", "abc", "aBc", "Abc", "abC"].into_iter().enumerate() {
            give(&mut world, letters);
            world.options.compression = if life % 2 == 1 { Compression::Lz4 } else { Compression::None };
            world.options.cache_bytes = cache_bytes;
            world.open().unwrap();
            assert_eq!(world.log().recovery().damage, []);
            for _ in 0..9 {
                let ticket = world.append_bytes(&content(event));
                world.ack(&ticket);
                event += 1;
            }
            let (end, error) = world.take_checking(0, content);
            assert!(error.is_none() && end == event, "life {life}: {end}, {error:?}");
            if life % 2 == 1 { world.close() } else { world.kill() }
        }
        let encrypted = headers(&world).iter().filter(|(.., header)| header.encrypted).count() as u64;
        let verified = tools::verify(&world.dirs()).unwrap();
        assert_eq!((verified.damage, verified.notes, verified.events), (vec![], vec![], Some((0, event))));
        assert!(encrypted > 40 && verified.frames - verified.encrypted > 10, "{encrypted}");
    }
}

/// What is in the files of a log that was encrypted from its beginning: neither events nor what sources and sinks say.
#[test]
fn neither_events_nor_progress_stand_in_clear() {
    for compression in [Compression::None, Compression::Lz4] {
        let mut world = World::closed();
        give(&mut world, "A");
        world.options.compression = compression;
        world.open().unwrap();
        let secret = b"4111-1111-1111-1111";
        for repeat in [1, 100, 5000] {
            let payload = secret.repeat(repeat);
            let rest = bytes::Bytes::from_static(b"/var/log/4111-1111-1111-1111");
            let op = ProgressOp::Set { generation: 1, from: 0, to: repeat as u64, rest };
            let update = ProgressUpdate {
                space: Space::Source,
                owner: "4111-1111-1111-1111".into(),
                key: "4111-1111-1111-1111".into(),
                op,
            };
            let room = world.log().try_reserve(payload.len() as u64).unwrap();
            let commit = flumen_wal::Commit { events: 1, payload: &payload, progress: vec![update.clone()] };
            let ticket = world.log().append(room, commit).unwrap();
            world.ack(&ticket);
            let op = ProgressUpdate { space: Space::Sink, ..update };
            drop(world.log().record(vec![op]).unwrap());
            world.rest();
        }
        world.close();
        for (path, bytes) in world.files() {
            let shown = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!shown, "{path} shows it");
        }
        world.open().unwrap();
        assert!(world.log().progress(Space::Sink, "4111-1111-1111-1111").is_some());
    }
}

#[test]
fn no_two_frames_begin_alike() {
    let mut world = World::closed();
    give(&mut world, "A");
    world.open().unwrap();
    for _ in 0..20 {
        let ticket = world.append_bytes(&vec![7; 5000]);
        world.ack(&ticket);
    }
    world.rest();
    let mut bodies: Vec<Vec<u8>> = headers(&world)
        .into_iter()
        .map(|(segment, offset, _)| {
            let bytes = world.disk.contents(format!("data/{}", segment.file_name())).unwrap();
            bytes[offset as usize + HEADER_LEN + 8..][..24].to_vec()
        })
        .collect();
    let frames = bodies.len();
    bodies.sort();
    bodies.dedup();
    assert!(frames > 20 && bodies.len() == frames, "{} of {frames} differ in salt and nonce", bodies.len());
}

#[test]
fn a_key_that_is_missing_refuses_the_start_and_changes_nothing() {
    let mut world = World::closed();
    live(&mut world, "", 0..3);
    live(&mut world, "A", 3..6);
    give(&mut world, "");
    assert_missing(&mut world, 'a');
    give(&mut world, "B");
    assert_missing(&mut world, 'a');
    // Another key of the same name.
    world.options.keys = Keys::new(vec![Key::new("a", &[1; 32]).unwrap()], Some("a")).unwrap();
    assert_missing(&mut world, 'a');
    // One whose segments no start reads.
    live(&mut world, "aB", 6..60);
    live(&mut world, "aB", 60..63);
    give(&mut world, "B");
    assert_missing(&mut world, 'a');
    // Nothing is encrypted any more, and what was is not delivered.
    live(&mut world, "ab", 63..64);
    give(&mut world, "b");
    assert_missing(&mut world, 'a');
    give(&mut world, "a");
    assert_missing(&mut world, 'b');
    give(&mut world, "ab");
    world.open().unwrap();
    world.assert_all_there(64);
}

/// The same where the log was killed: the tail is neither torn nor cut.
#[test]
fn a_tail_whose_key_is_missing_is_not_cut() {
    let mut world = encrypted("A", 0);
    let tickets: Vec<_> = (0..9).map(|event| world.append_bytes(&payload(event))).collect();
    tickets.iter().for_each(|ticket| world.ack(ticket));
    world.kill();
    give(&mut world, "B");
    assert_missing(&mut world, 'a');
    world.without_checkpoints();
    assert_missing(&mut world, 'a');
    // Written again as it stands, whatever the new life writes by.
    give(&mut world, "aB");
    world.open().unwrap();
    assert!(world.log().recovery().rewritten > 0);
    world.assert_all_there(9);
    world.kill();
    give(&mut world, "B");
    assert_missing(&mut world, 'a');
    give(&mut world, "a");
    assert_missing(&mut world, 'b');
    give(&mut world, "ab");
    world.open().unwrap();
    world.assert_all_there(9);
}

#[test]
fn a_key_is_not_asked_for_when_all_that_it_encrypted_is_delivered() {
    let mut world = World::closed();
    live(&mut world, "A", 0..40);
    give(&mut world, "aB");
    world.open().unwrap();
    release_all(&world, 40);
    world.rest();
    world.append_all(40..42);
    world.close();
    live(&mut world, "aB", 42..43);
    assert_eq!(*features(&world).last().unwrap(), FEATURE_ENCRYPTED);
    live(&mut world, "B", 43..44);
    live(&mut world, "b", 44..45);
    assert_eq!(*features(&world).last().unwrap(), FEATURE_ENCRYPTED, "40 to 44 are not delivered");
    world.open().unwrap();
    let cursor = world.log().cursor();
    let mut next = 40;
    while let Some(take) = cursor.try_take(1, 1 << 20).unwrap() {
        assert_eq!((take.first_event, &take.pieces[0].payload[..]), (next, &payload(next)[..]));
        cursor.release(next, 1, vec![]);
        next += 1;
    }
    assert_eq!(next, 45);
    world.close();
    live(&mut world, "b", 45..45);
    live(&mut world, "", 45..46);
    assert_eq!(*features(&world).last().unwrap(), 0, "an older program reads it again");
}

/// More keys than a header names: the start cannot know of the oldest, and a take that comes to it stops there and gives up nothing.
#[test]
fn what_a_take_cannot_decrypt_is_never_given_up() {
    let mut world = World::closed();
    for (life, letters) in ["A", "aB", "abC", "abcD", "abcdE", "abcdeF"].into_iter().enumerate() {
        let first = life as u64 * 10;
        live(&mut world, letters, first..first + 10);
    }
    let quarantine = tempfile::tempdir().unwrap();
    for policy in [DamagePolicy::Halt, DamagePolicy::Quarantine(Quarantine::within(quarantine.path()))] {
        give(&mut world, "bcdeF");
        world.options.damage = policy;
        world.open().unwrap();
        let cursor = world.log().cursor();
        let error = cursor.try_take(1, 1 << 20).unwrap_err();
        assert!(
            matches!(&error, ReadError::Io { source, .. } if MissingKey::of(source).is_some()),
            "{error}"
        );
        assert_eq!(world.log().stats().first_event, 0);
        world.close();
        give(&mut world, "abcdeF");
        world.open().unwrap();
        world.assert_all_there(60);
        world.close();
    }
    give(&mut world, "bcdeF");
    let repaired = tools::repair(
        &world.dirs(),
        &Quarantine::within(quarantine.path()),
        &world.options,
        &*world.environment,
    );
    assert!(repaired.is_err(), "{repaired:?}");
    give(&mut world, "abcdeF");
    world.open().unwrap();
    world.assert_all_there(60);
}

#[test]
fn a_flipped_bit_of_an_encrypted_frame_stops_takes_at_its_place() {
    let mut world = encrypted("A", 6);
    world.rest();
    let frame = world.frame_of(3);
    let (.., header) = headers(&world).into_iter().find(|(.., header)| header.first_event == 3).unwrap();
    assert!(header.encrypted);
    for byte in 0..HEADER_LEN as u64 + u64::from(header.stored_len) {
        world.flip(&frame, byte);
        world.assert_damaged_at(&frame);
        world.flip(&frame, byte);
    }
    world.assert_all_there(6);
}

/// A sound checksum over what no key made: damage, with a name, that a repair gives up.
#[test]
fn a_body_that_its_key_did_not_encrypt_is_damage_with_a_name() {
    let mut world = encrypted("A", 6);
    world.rest();
    let (segment, offset, header) =
        headers(&world).into_iter().find(|(.., header)| header.first_event == 3).unwrap();
    let path = format!("data/{}", segment.file_name());
    let mut frame = world.disk.contents(&path).unwrap()[offset as usize..]
        [..HEADER_LEN + header.stored_len as usize]
        .to_vec();
    frame[HEADER_LEN + 100] ^= 1;
    header.seal(&mut frame, Seed::new(segment_header(&world, segment).salt, segment, offset));
    world.disk.overwrite(&path, offset, &frame).unwrap();
    world.assert_damaged_at(&world.frame_of(3));
    let error = world.take_from(0).1.unwrap().to_string();
    assert!(error.contains("is not what its key encrypted"), "{error}");
    let damage = tools::verify(&world.dirs()).unwrap().damage;
    assert_eq!(damage[0].events, Some((3, Some(4))), "{damage:?}");
    world.close();
    let quarantine = tempfile::tempdir().unwrap();
    let quarantine = Quarantine::within(quarantine.path());
    let repair = tools::repair(&world.dirs(), &quarantine, &world.options, &*world.environment).unwrap();
    assert_eq!(repair.lost, [(3, 4)]);
    world.open().unwrap();
}

#[test]
fn a_repair_tells_a_header_again_of_an_encrypted_log() {
    let mut world = encrypted("A", 60);
    world.close();
    let segment = world.segments()[0];
    let path = format!("data/{}", segment.file_name());
    world.disk.overwrite(&path, 0, &vec![0; 2 * BLOCK as usize]).unwrap();
    let quarantine = tempfile::tempdir().unwrap();
    let quarantine = Quarantine::within(quarantine.path());
    tools::repair(&world.dirs(), &quarantine, &world.options, &*world.environment).unwrap();
    assert_eq!(segment_header(&world, segment).features, FEATURE_ENCRYPTED);
    world.open().unwrap();
    world.assert_all_there(60);
}

#[test]
fn tools_without_the_key_say_what_they_cannot_read() {
    let mut world = encrypted("A", 20);
    world.close();
    world.options = options();
    let inspection = tools::inspect(&world.dirs()).unwrap();
    let id = key('a').id();
    assert!(inspection.outlook.unwrap_err().contains(&id.to_string()));
    let locked = |segment: &tools::SegmentInfo| matches!(&segment.content, Content::Locked(missing) if missing.id == id);
    assert!(inspection.segments.iter().any(locked));
    let named = inspection.segments.iter().filter_map(|segment| segment.header);
    assert!(
        named
            .flat_map(|header| header.keys.iter().map(|key| key.id).collect::<Vec<_>>())
            .all(|key| key == id)
    );
    for refused in [tools::verify(&world.dirs()).err(), tools::dump(&world.dirs(), &mut |_| ()).err()] {
        assert!(
            matches!(&refused, Some(ToolError::Locked { missing, .. }) if missing.id == id),
            "{refused:?}"
        );
    }
}

/// A checkpoint that cannot be decrypted still says that there was a log: an empty directory in its place is a missing mount.
#[test]
fn an_empty_directory_beside_a_checkpoint_whose_key_is_missing_is_refused() {
    let mut world = encrypted("A", 5);
    world.close();
    for entry in world.disk.directory("data").list().unwrap() {
        if entry.name != "lock" {
            world.remove("data", &entry.name);
        }
    }
    give(&mut world, "B");
    assert_missing(&mut world, 'a');
    give(&mut world, "A");
    let error = world.assert_refused();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
}
