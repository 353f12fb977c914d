//! The corpora of the fuzz targets, run by the same functions as an ordinary test; and the seeds they grew from.
//!
//! Files named `seed-…` are what today's encoders write, so a change of a format shows here too. To write them anew:
//! `FLUMEN_WRITE_SEEDS=1 cargo test -p flumen-decoders --test corpus`. Files named `found-…` once broke a decoder.

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flumen_api::batch::Batch;
use flumen_api::chunk::ChunkWriter;
use flumen_api::event::{EventRef, Headers};
use flumen_avro_rpc::frame::Frames;
use flumen_avro_rpc::session::{Answer, Session, put_reply};
use flumen_avro_rpc::{Status, call};
use flumen_sinks::file_roll::record::{Named, Record as SinkRecord};
use flumen_sources::taildir::position_file::{self, Entry, Record};
use flumen_sources::taildir::{FileId, Memo};
use flumen_wal::format::checkpoint::Checkpoint;
use flumen_wal::format::codec::{self, Compression, Compressor, Encoding};
use flumen_wal::format::frame::{FrameHeader, HEADER_LEN, Seed};
use flumen_wal::format::record::{self, Life, SegmentSummary, Snapshot};
use flumen_wal::format::segment::{FEATURES, KeyTable, SegmentHeader};
use flumen_wal::storage::memory::MemoryDirectory;
use flumen_wal::storage::{AlignedBuf, Directory, striped};
use flumen_wal::{Environment, FrameNumber, Keys, Place, ProgressOp, ProgressUpdate, SegmentNumber, Space};

/// Processor time of one input in code that is not optimized; the fuzz targets allow a second.
const TIME_MAX: Duration = Duration::from_secs(20);

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../targets/corpus").join(name)
}

#[test]
fn every_corpus_passes() {
    for (name, decoder) in flumen_decoders::ALL {
        let mut files: Vec<_> =
            fs::read_dir(corpus(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has a corpus");
        for path in files {
            let bytes = fs::read(&path).unwrap();
            let result = panic::catch_unwind(|| flumen_decoders::bounded(decoder, &bytes, TIME_MAX));
            assert!(result.is_ok(), "{name} breaks on {}", path.display());
        }
    }
}

#[test]
fn the_corpora_of_frames_and_segments_reach_the_decoder_of_compressed_bodies() {
    let inputs = |name| {
        let files = fs::read_dir(corpus(name)).unwrap();
        files.map(|entry| fs::read(entry.unwrap().path()).unwrap()).collect::<Vec<_>>()
    };
    let seed = Seed::new(1, SegmentNumber(1), 8192);
    let bodies = inputs("frame_header").into_iter().filter_map(|frame| {
        let (header, _) = FrameHeader::decode(&frame, seed).ok()?;
        (header.encoding == Encoding::Lz4)
            .then(|| codec::read(&header, seed, &frame, &Keys::default()).is_ok())
    });
    assert!(bodies.into_iter().any(|sound| sound), "a frame that decompresses");
    // Flags of the first frame: its body is to be compressed, or taken for a compressed one.
    for flag in [0x10, 0x20] {
        assert!(inputs("segment").iter().any(|input| input.get(2).is_some_and(|flags| flags & 0x30 == flag)));
    }
}

fn found(target: &str, name: &str) -> Vec<u8> {
    fs::read(corpus(target).join(format!("found-{name}"))).unwrap()
}

#[test]
fn a_release_beyond_the_end_does_no_harm() {
    flumen_decoders::segment(&found("segment", "release-beyond-the-end"));
}

#[test]
fn a_frame_with_fewer_events_than_it_counts_does_no_harm() {
    flumen_decoders::segment(&found("segment", "event-count-beyond-the-body"));
}

#[test]
fn a_checkpoint_whose_next_event_is_far_above_the_frames_behind_it_is_refused() {
    flumen_decoders::checkpoint(&found("checkpoint", "numbers-above-the-next-frames"));
}

#[test]
fn a_checkpoint_behind_which_no_frame_could_have_a_number_is_refused() {
    flumen_decoders::checkpoint(&found("checkpoint", "last-frame-number"));
}

#[test]
fn a_checkpoint_that_points_into_a_block_is_refused() {
    flumen_decoders::checkpoint(&found("checkpoint", "offset-within-a-block"));
}

#[test]
fn a_checkpoint_with_a_place_in_no_segment_is_refused() {
    flumen_decoders::checkpoint(&found("checkpoint", "place-in-no-segment"));
}

#[test]
fn a_checkpoint_that_knows_segments_above_all_files_starts_a_log_that_starts_again() {
    flumen_decoders::checkpoint(&found("checkpoint", "table-above-all-files"));
}

#[test]
fn a_checkpoint_after_which_no_other_could_come_is_refused() {
    flumen_decoders::checkpoint(&found("checkpoint", "last-sequence"));
}

#[test]
fn a_repair_that_leaves_a_segment_without_frames_leaves_a_log_that_opens() {
    flumen_decoders::image(&found("image", "repaired-segment-without-frames"));
}

#[test]
fn a_segment_table_beyond_the_next_event_is_refused() {
    flumen_decoders::snapshot(&found("snapshot", "table-beyond-the-next-event"));
}

#[test]
fn every_decoder_has_a_fuzz_target() {
    let manifest = include_str!("../../targets/Cargo.toml");
    for (name, _) in flumen_decoders::ALL {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/fuzz_{name}.rs\"")), "{name}");
    }
}

#[test]
fn the_seeds_are_what_the_encoders_write() {
    let write = std::env::var_os("FLUMEN_WRITE_SEEDS").is_some();
    for (target, name, bytes) in seeds() {
        assert!(flumen_decoders::ALL.iter().any(|(known, _)| *known == target), "{target}");
        let path = corpus(target).join(format!("seed-{name}"));
        if write {
            fs::create_dir_all(corpus(target)).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        assert!(fs::read(&path).unwrap() == bytes, "{} is no longer what is written", path.display());
    }
}

/// In pieces of 7 bytes: an `append` with the handshake in front, as Flume 1.11 sends it.
const FLUMES_APPEND: &[u8] = b"\x07\0\0\0\x01\0\0\0\x02\0\0\0\x2b\
    \x86\xaa\xda\xe2\xc4\x54\x74\xc0\xfe\x93\xff\xd0\xf2\x35\x0a\x65\0\
    \x86\xaa\xda\xe2\xc4\x54\x74\xc0\xfe\x93\xff\xd0\xf2\x35\x0a\x65\x02\0\0\x0cappend\
    \0\0\0\x09\x02\x02k\x02v\0\x04hi";

/// A handshake and two batches, with headers and without.
fn avro_batches(server: Option<[u8; 16]>) -> Vec<u8> {
    let mut out = vec![255];
    call::put_greeting(&mut out, 0, server);
    let mut batch = Batch::new();
    for number in 0..5 {
        let headers = Headers::from_iter([("n", (number / 2).to_string()), ("host", "h".into())]);
        let set = batch.add_headers(headers);
        batch.push_with(format!("body {number}").as_bytes(), set);
    }
    call::put_batch(&mut out, 1, batch.len(), batch.iter());
    call::put_batch(&mut out, 2, 0, std::iter::empty());
    out
}

/// What a server answers, as messages.
fn avro_answers() -> Vec<u8> {
    let mut out = vec![64];
    let asked = avro_batches(Some([7; 16]));
    let (mut frames, mut session) = (Frames::new(1 << 20), Session::default());
    frames.buffer().extend_from_slice(&asked[1..]);
    for answer in [Answer::Nothing, Answer::Status(Status::Ok), Answer::Error("no")] {
        let call = session.read(frames.pop().unwrap().unwrap()).unwrap();
        put_reply(&mut out, call.head, answer);
    }
    out
}

fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let plain = b"a1.sources = r1\na1.channels=c1\n# comment\na1.sources.r1.type : seq\\\n  more\n".to_vec();
    let escapes = b"\xef\xbb\xbfkey\\ one=\\u00e9\\ud83d\\ude00\\tx\r\n!c\r\\:k  v\\\\\nbad=\\u12\n".to_vec();
    vec![
        ("avro_rpc", "flumes-append", FLUMES_APPEND.into()),
        ("avro_rpc", "batches", avro_batches(None)),
        ("avro_rpc", "our-protocol", avro_batches(Some([7; 16]))),
        ("avro_rpc", "answers", avro_answers()),
        ("checkpoint", "empty", checkpoint(Snapshot::default())),
        ("checkpoint", "full", checkpoint(snapshot())),
        ("checkpoint", "of-the-log", checkpoint_of_the_log()),
        ("chunk", "lines", chunk(false)),
        ("chunk", "headers", chunk(true)),
        ("configuration", "template", fs::read(repository("conf/flume-conf.properties.template")).unwrap()),
        ("configuration", "tail", fs::read(repository("examples/tail-to-files.conf")).unwrap()),
        ("configuration", "everything", EVERYTHING.into()),
        ("configuration", "mistakes", MISTAKES.into()),
        ("frame_header", "commit", frame()),
        ("frame_header", "compressed", compressed_frame()),
        ("image", "sound", Vec::new()),
        ("image", "each-step", EACH_STEP.into()),
        ("image", "forged-frame", vec![1, 2, 2, 24, 0, 2, 200, 1]),
        ("image", "forged-version", vec![1, 2, 0, 12, 0, 1, 2]),
        ("image", "forged-last-frame-number", last_number(24)),
        ("image", "forged-last-event-number", last_number(32)),
        ("image", "forged-alignment", vec![1, 2, 0, 20, 0, 4, 0, 32, 0, 0]),
        ("image", "one-header-copy-lost", vec![0, 2, 0, 0, 0, 1, 0]),
        ("lanes", "first", lanes("/log/1")),
        ("lanes", "second", lanes("/log/2")),
        ("lanes", "alone", LANES_ALONE.into()),
        ("lanes", "a-path-too-few", LANES_ALONE.replace("count 1", "count 2").into()),
        ("lanes", "cut-escape", LANES_ALONE.replace("%0a", "%0").into()),
        ("lanes", "newer", b"flumen lanes 2\nanything\ncrc 00000000\n".into()),
        ("positions", "entries", positions()),
        ("positions", "foreign", br#" [ {"file":"/b","x":[{"y":null}],"pos":1e0,"inode":1} ] "#.into()),
        ("positions", "record", Record { clean: true, newest: 7, before: u64::MAX }.encode().into()),
        ("properties", "plain", plain),
        ("properties", "escapes", escapes),
        ("records", "every-kind", every_record()),
        ("segment", "commits", segment(1, &[commit(b"first"), commit(b"second"), sound_records()])),
        ("segment", "no-snapshot", segment(0, &[sound_records(), commit(b"first")])),
        ("segment", "span", span()),
        (
            "segment",
            "compressed",
            flagged(0x10, &[commit(&[b'x'; 3000]), commit(&[b'y'; 500]), sound_records()]),
        ),
        ("segment", "lz4-block", flagged(0x20, &[LZ4_BLOCK.to_vec(), [&LZ4_BLOCK[..5], &[1, 0]].concat()])),
        ("sink_record", "files", sink_record().encode().into()),
        ("sink_record", "no-file", SinkRecord { files: Vec::new(), ..sink_record() }.encode().into()),
        ("source_record", "memo", memo("/var/log/app.log").encode().into()),
        ("source_record", "strange-path", memo("/ \u{e9}\n ").encode().into()),
        ("source_record", "key", FileId { device: 64769, inode: u64::MAX }.key().into()),
        ("segment_header", "header", segment_header(0)),
        ("segment_header", "features", segment_header(FEATURES)),
        ("snapshot", "empty", content(&Snapshot::default())),
        ("snapshot", "full", content(&snapshot())),
        ("snapshot", "of-the-log", content(&Snapshot { next_event: 3, ..Snapshot::default() })),
        ("thrift", "compact", thrift_calls(flumen_thrift::Protocol::Compact)),
        ("thrift", "binary", thrift_calls(flumen_thrift::Protocol::Binary)),
        ("thrift", "compact-message", thrift_calls(flumen_thrift::Protocol::Compact)[4..].into()),
        ("thrift", "binary-message", thrift_calls(flumen_thrift::Protocol::Binary)[4..].into()),
        ("thrift", "compact-reply", thrift_reply(flumen_thrift::Protocol::Compact)),
        ("thrift", "binary-reply", thrift_reply(flumen_thrift::Protocol::Binary)),
        ("thrift", "strange-fields", STRANGE_FIELDS.into()),
    ]
}

/// The arguments of `append`, compact: behind headers and body a truth, a list, a set and a map that nobody knows.
const STRANGE_FIELDS: &[u8] =
    b"\x1c\x1b\0\x18\x02hi\x11\x19\x21\x01\x02\x1a\x18\x01a\x1b\x01\x8c\x01k\x05\x02\x04\0\0\0";

/// A call of several events and one of one, framed.
fn thrift_calls(protocol: flumen_thrift::Protocol) -> Vec<u8> {
    let sets: [Headers; 2] = [[("host", "h1"), ("k\u{e9}y", "")].into_iter().collect(), Headers::new()];
    let events = [(0, "one"), (0, "two"), (1, ""), (0, "four")];
    let events = events.map(|(set, body)| EventRef { headers: &sets[set], body: body.as_bytes() });
    let mut frames = Vec::new();
    flumen_thrift::call::put_append_batch(protocol, 1, events.len(), events.into_iter(), &mut frames);
    flumen_thrift::call::put_append(protocol, -1, events[0], &mut frames);
    frames
}

fn thrift_reply(protocol: flumen_thrift::Protocol) -> Vec<u8> {
    let mut frame = Vec::new();
    let failed = flumen_thrift::call::Answer::Status(flumen_thrift::Status::Failed);
    flumen_thrift::call::put_reply(protocol, "append", 7, failed, &mut frame);
    frame[4..].into()
}

/// Two files: each kind of component, substitution of each sort, a config filter, a group, an override.
const EVERYTHING: &str = "!\n\
base = /data\n\
a.configfilters = f\n\
a.configfilters.f.type = env\n\
a.sources = r s\n\
a.channels = c d\n\
a.sinks = k l\n\
a.sinkgroups = g\n\
a.sources.r.type = TAILDIR\n\
a.sources.r.channels = c\n\
a.sources.r.filegroups = g1\n\
a.sources.r.filegroups.g1 = ${base}/(?!x).*\\\\.log\n\
a.sources.r.headers.g1.host = ${env:HOME:-none}\n\
a.sources.r.positionFile = ${base}/${sys:name}.json\n\
a.sources.s.type = seq\n\
a.sources.s.channels = c d\n\
a.sources.s.selector.type = replicating\n\
a.sources.s.selector.optional = d\n\
a.sources.s.totalEvents = 5\n\
a.channels.c.type = file\n\
a.channels.c.checkpointDir = ${base}/c\n\
a.channels.c.dataDirs = ${base}/d1,${base}/d2\n\
a.channels.d.type = memory\n\
a.channels.d.transactionCapacity = 50\n\
a.sinks.k.type = file_roll\n\
a.sinks.k.channel = c\n\
a.sinks.k.sink.directory = ${f['KEY']}/${date:yyyy}\n\
a.sinks.l.type = logger\n\
a.sinks.l.channel = c\n\
a.sinkgroups.g.sinks = k l\n\
a.sinkgroups.g.processor.type = failover\n\
a.sinkgroups.g.processor.priority.k = 5\n\
\0a.sinks.l.type = null\n";

/// What `check` has advice for, a circle, and a second agent.
const MISTAKES: &str = "a1.sources = r1, r2\n\
a1.channels = c1 c1\n\
a1.sink = k1\n\
a1.sinks = k1 k2\n\
a1.sources.r1.typ = netcat\n\
a1.sources.r2.type = avro\n\
a1.sources.r2.channel = c1\n\
a1.channels.c1.type = memory\n\
a1.channels.c1.capacity = 1x\n\
a1.sinks.k1.type = hdfs\n\
a1.sinks.k1.path = /%D\n\
a1.sinks.k2.type = org.example.Sink\n\
a1.sinks.k2.channel = c2\n\
a1.sinks.k2.x = ${a1.sinks.k2.y}\n\
a1.sinks.k2.y = ${a1.sinks.k2.x} a1.sinks.k3.type = null\n\
b.sources = s\n\
b.sources.s.type = seq\n\
b.sources.s.interceptors = i\n\
b.sources.s.interceptors.i.type = timestamp\n\
bad = \\u12\n";

/// One step of each kind, none of them forging.
const EACH_STEP: &[u8] = &[
    0, 2, 3, 70, 0, 4, b'r', b'o', b't', b'!', // overwrite
    3, 2, 3, 2, 2, // copy
    6, 2, 3, 3, 3, // swap
    2, 3, 3, // zero to the end
    4, 4, 3, // cut off
    7, 4, 0, 9, // rename
    5, 0, 0, // remove
];

/// The number at `at` of a frame's header that has none above it.
fn last_number(at: u8) -> Vec<u8> {
    let mut step = vec![1, 7, 10, at, 0, 8];
    step.extend_from_slice(&u64::MAX.to_le_bytes());
    step
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

/// A set that an addition did not come to its end of; the fuzzed function mends the checksum.
const LANES_ALONE: &str = "flumen lanes 1\n\
set 00000000000000010000000000000002\n\
lane 0\n\
count 1\n\
unit 4096\n\
path /disk%201/%e9%0a\n\
crc 00000000\n";

/// What stands in one of two directories, once: the target writes the second copy.
fn lanes(path: &str) -> Vec<u8> {
    let directories = ["/log/1", "/log/2"].map(MemoryDirectory::new);
    let both: Vec<_> = directories.iter().map(|one| Arc::new(one.clone()) as Arc<dyn Directory>).collect();
    let nowhere = |_: &Path| unreachable!("both are named");
    let log = striped::open(&both, striped::UNIT, &Counted::default(), &nowhere).unwrap();
    log.create(&SegmentNumber(1).file_name()).unwrap();
    let file = directories.iter().find(|one| one.path() == Path::new(path)).unwrap().open("lanes").unwrap();
    let mut bytes = AlignedBuf::zeroed(4096);
    file.read_at(&mut bytes, 0).unwrap();
    [bytes.trim_ascii_end(), b"\n"].concat()
}

/// The random numbers of the target's own set.
#[derive(Debug, Default)]
struct Counted(std::sync::atomic::AtomicU64);

impl Environment for Counted {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn random(&self) -> u64 {
        0x5a18 + self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }
}

fn sink_record() -> SinkRecord {
    let named = |name: &str, inode, length| Named { path: name.into(), device: 64769, inode, length };
    SinkRecord {
        layout: "TEXT".into(),
        files: vec![named("/out/1700000000000-1", 12, 4096), named("/out/2", 0, 0)],
    }
}

fn memo(path: &str) -> Memo {
    Memo { born_ns: 1_700_000_000_000_000_000, head_len: 256, head_crc: 0x0bad_cafe, path: path.into() }
}

fn positions() -> Vec<u8> {
    position_file::encode(&[
        Entry { inode: 10_125_717, pos: 6, file: "/path/app.log".into() },
        Entry { inode: u64::MAX, pos: 0, file: "/b \"\u{e9}\n".into() },
    ])
}

/// The content of a snapshot's record.
fn content(snapshot: &Snapshot) -> Vec<u8> {
    let mut body = Vec::new();
    record::put_snapshot(&mut body, snapshot);
    body.split_off(record::HEADER_LEN)
}

/// As the target's own segment has it behind its third frame.
fn checkpoint_of_the_log() -> Vec<u8> {
    let mut snapshot = Snapshot { next_event: 2, ..Snapshot::default() };
    snapshot.state.cursor.raise(1);
    let place = Place { segment: SegmentNumber(1), offset: 5 * 4096 };
    Checkpoint { log_id: 7, frame: FrameNumber(3), place, snapshot }.encode(1)
}

fn snapshot() -> Snapshot {
    let mut snapshot = Snapshot { next_event: 900, ..Snapshot::default() };
    snapshot.state.cursor.raise(700);
    snapshot.state.apply_release(710, 720);
    snapshot.state.apply_progress(&progress());
    snapshot.segments.push(SegmentSummary {
        segment: SegmentNumber(3),
        salt: 4,
        first_frame: FrameNumber(5),
        last_frame: FrameNumber(6),
        first_event: 600,
        end_event: 900,
        end_offset: 65536,
    });
    snapshot
}

fn progress() -> ProgressUpdate {
    let op = ProgressOp::Set { generation: 1, from: 2, to: 3, rest: Bytes::from_static(b"rest") };
    ProgressUpdate { space: Space::Source, owner: "r1".into(), key: "/var/log/a".into(), op }
}

fn checkpoint(snapshot: Snapshot) -> Vec<u8> {
    let place = Place { segment: SegmentNumber(4), offset: 8192 };
    Checkpoint { log_id: 7, frame: FrameNumber(6), place, snapshot }.encode(2)
}

fn chunk(headers: bool) -> Vec<u8> {
    // Consecutive lines of one buffer, or events of their own with headers.
    let mut batch =
        if headers { Batch::new() } else { Batch::over(Bytes::from_static(b"first\n\nthird event\n")) };
    if headers {
        let mut set = Headers::new();
        set.set("host", "a");
        let set = batch.add_headers(set);
        batch.push_with(b"first", set);
        batch.push(b"");
        batch.push(b"third event");
    } else {
        [(0, 5), (6, 0), (7, 11)].into_iter().for_each(|(start, len)| batch.push_slice(start, len));
    }
    ChunkWriter::new(&batch, None).to_bytes().to_vec()
}

fn frame() -> Vec<u8> {
    let body = commit(b"payload");
    sealed(Encoding::Plain, &body, body.len())
}

fn compressed_frame() -> Vec<u8> {
    let body = commit(&[b'x'; 3000]);
    let mut compressor = Compressor::new(Compression::Lz4).unwrap();
    sealed(Encoding::Lz4, compressor.compress(&body, 64).unwrap(), body.len())
}

fn sealed(encoding: Encoding, body: &[u8], raw_len: usize) -> Vec<u8> {
    let mut frame = vec![0; HEADER_LEN];
    frame.extend_from_slice(body);
    let header = FrameHeader {
        body_crc: 0,
        stored_len: body.len() as u32,
        raw_len: raw_len as u32,
        encoding,
        encrypted: false,
        flags: 0,
        frame: FrameNumber(41),
        first_event: 1000,
        event_count: 1,
        previous_crc: 17,
        synced_frame: FrameNumber(38),
    };
    header.seal(&mut frame, Seed::new(1, SegmentNumber(1), 8192));
    frame
}

fn commit(payload: &[u8]) -> Vec<u8> {
    let mut body = vec![0; record::HEADER_LEN + record::COMMIT_PREFIX_LEN];
    record::write_commit_prefix(&mut body, 1, payload.len());
    body.extend_from_slice(payload);
    body
}

fn every_record() -> Vec<u8> {
    let mut body = commit(b"payload");
    record::put_progress(&mut body, &progress());
    record::put_progress(&mut body, &ProgressUpdate { op: ProgressOp::Retire, ..progress() });
    record::put_progress(&mut body, &ProgressUpdate { op: ProgressOp::Mark, ..progress() });
    record::put_release(&mut body, &[(0, 1), (5, 9)]);
    record::put_snapshot(&mut body, &snapshot());
    let life = Life { last_kept: FrameNumber(1), last_seen: FrameNumber(2), rewritten: 1 };
    record::put_life(&mut body, &life);
    record::put_close(&mut body, FrameNumber(9));
    body
}

/// What a log might really hold as its third frame.
fn sound_records() -> Vec<u8> {
    let mut body = commit(b"payload");
    record::put_progress(&mut body, &progress());
    record::put_release(&mut body, &[(0, 1)]);
    body
}

/// The input of the target `segment`: frames of one event each.
fn segment(leading: u8, bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut input = vec![leading];
    for body in bodies {
        input.extend_from_slice(&[0, 0, 0, 1, 0]);
        input.extend_from_slice(&(body.len() as u16).to_le_bytes());
        input.extend_from_slice(body);
    }
    input
}

/// The same with these flags.
fn flagged(flags: u8, bodies: &[Vec<u8>]) -> Vec<u8> {
    let mut input = vec![1];
    for body in bodies {
        let frame = input.len();
        input.extend_from_slice(&segment(1, std::slice::from_ref(body))[1..]);
        input[frame + 1] = flags;
    }
    input
}

/// Some literals, a long match, and the five literals that end each block; behind them the units of the decompressed length.
const LZ4_BLOCK: &[u8] = b"\x4fabcd\x04\x00\x2b\x50vwxyz\x01\x00";

/// A commit over two frames: the first has flags span and more and no event.
fn span() -> Vec<u8> {
    let body = commit(b"a payload in two parts");
    let (head, tail) = body.split_at(20);
    let mut input = segment(1, &[head.to_vec(), tail.to_vec()]);
    input[2] = 3;
    input[4] = 0;
    let second = 1 + 7 + head.len();
    input[second + 1] = 1;
    input
}

fn segment_header(features: u32) -> Vec<u8> {
    let header = SegmentHeader {
        features,
        alignment: 4096,
        log_id: 7,
        segment: SegmentNumber(3),
        salt: 9,
        size: 1 << 25,
        keys: KeyTable::default(),
    };
    header.encode()[..4096].to_vec()
}
