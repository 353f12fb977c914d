//! The corpora of the fuzz targets, run by the same functions as an ordinary test; and the seeds they grew from.
//!
//! Files named `seed-…` are what today's encoders write, so a change of a format shows here too. To write them anew:
//! `FLUMEN_WRITE_SEEDS=1 cargo test -p flumen-crash --test corpus`. Files named `found-…` once broke a decoder.

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use flumen_api::batch::Batch;
use flumen_api::chunk::ChunkWriter;
use flumen_api::event::Headers;
use flumen_crash::decoders;
use flumen_wal::format::checkpoint::Checkpoint;
use flumen_wal::format::frame::{FrameHeader, HEADER_LEN, Seed};
use flumen_wal::format::record::{self, Life, SegmentSummary, Snapshot};
use flumen_wal::format::segment::SegmentHeader;
use flumen_wal::{FrameNumber, Place, ProgressOp, ProgressUpdate, SegmentNumber, Space};

fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("targets/corpus").join(name)
}

#[test]
fn every_corpus_passes() {
    for (name, decoder) in decoders::ALL {
        let mut files: Vec<_> =
            fs::read_dir(corpus(name)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has a corpus");
        for path in files {
            let bytes = fs::read(&path).unwrap();
            let result = panic::catch_unwind(|| decoder(&bytes));
            assert!(result.is_ok(), "{name} breaks on {}", path.display());
        }
    }
}

#[test]
fn a_release_beyond_the_end_does_no_harm() {
    decoders::segment(include_bytes!("../targets/open/segment-release-beyond-the-end"));
}

#[test]
fn a_frame_with_fewer_events_than_it_counts_does_no_harm() {
    decoders::segment(include_bytes!("../targets/open/segment-event-count-beyond-the-body"));
}

#[test]
fn every_decoder_has_a_fuzz_target() {
    let manifest = include_str!("../targets/Cargo.toml");
    for (name, _) in decoders::ALL {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
}

#[test]
fn the_seeds_are_what_the_encoders_write() {
    let write = std::env::var_os("FLUMEN_WRITE_SEEDS").is_some();
    for (target, name, bytes) in seeds() {
        assert!(decoders::ALL.iter().any(|(known, _)| *known == target), "{target}");
        let path = corpus(target).join(format!("seed-{name}"));
        if write {
            fs::create_dir_all(corpus(target)).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        assert!(fs::read(&path).unwrap() == bytes, "{} is no longer what is written", path.display());
    }
}

fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let plain = b"a1.sources = r1\na1.channels=c1\n# comment\na1.sources.r1.type : seq\\\n  more\n".to_vec();
    let escapes = b"\xef\xbb\xbfkey\\ one=\\u00e9\\ud83d\\ude00\\tx\r\n!c\r\\:k  v\\\\\nbad=\\u12\n".to_vec();
    vec![
        ("checkpoint", "empty", checkpoint(Snapshot::default())),
        ("checkpoint", "full", checkpoint(snapshot())),
        ("chunk", "lines", chunk(false)),
        ("chunk", "headers", chunk(true)),
        ("frame_header", "commit", frame()),
        ("properties", "plain", plain),
        ("properties", "escapes", escapes),
        ("records", "every-kind", every_record()),
        ("segment", "commits", segment(1, &[commit(b"first"), commit(b"second"), sound_records()])),
        ("segment", "no-snapshot", segment(0, &[sound_records(), commit(b"first")])),
        ("segment", "span", span()),
        ("segment_header", "header", segment_header()),
    ]
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
    let mut frame = vec![0; HEADER_LEN];
    frame.extend_from_slice(&body);
    let header = FrameHeader {
        body_crc: 0,
        stored_len: body.len() as u32,
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

fn segment_header() -> Vec<u8> {
    let header =
        SegmentHeader { alignment: 4096, log_id: 7, segment: SegmentNumber(3), salt: 9, size: 1 << 25 };
    header.encode()[..4096].to_vec()
}
