//! Single structures of the log, and event chunks.

use std::collections::HashMap;

use bytes::Bytes;
use flumen_api::batch::Batch;
use flumen_api::chunk::{Chunk, ChunkSlice, ChunkWriter};
use flumen_api::event::EventRef;
use flumen_wal::format::codec::{self, Encoding};
use flumen_wal::format::frame::{self, FrameHeader, Seed};
use flumen_wal::format::record::{self, Record, Records};
use flumen_wal::format::segment::{self, SegmentHeader};
use flumen_wal::{Keys, SegmentNumber};

/// An event chunk.
pub fn chunk(bytes: &[u8]) {
    let Ok(chunk) = Chunk::decode(Bytes::copy_from_slice(bytes)) else { return };
    let whole = chunk.slice(0, chunk.len());
    let (mut events, mut body_bytes) = (0, 0);
    for event in whole.iter() {
        events += 1;
        body_bytes += event.body.len();
        assert!(event.headers.iter().all(|(key, value)| key.len() + value.len() <= bytes.len()));
    }
    assert_eq!((events, body_bytes), (chunk.len(), whole.body_bytes()), "events and their bytes");
    assert!(whole.lines().is_none_or(|lines| lines.len() == body_bytes + events), "a newline for each");
    let half = chunk.len() / 2;
    let (head, tail) = (chunk.slice(0, half), chunk.slice(half, chunk.len() - half));
    assert!(
        whole.iter().map(|event| event.body).eq(head.iter().chain(tail.iter()).map(|event| event.body)),
        "two halves are the whole"
    );
    let batch = batch_of(&whole);
    let again =
        Chunk::decode(ChunkWriter::new(&batch, None).to_bytes()).expect("what was written is readable");
    let again = again.slice(0, again.len());
    let parts = |event: EventRef<'_>| (event.headers.clone(), event.body.to_vec());
    assert!(whole.iter().map(parts).eq(again.iter().map(parts)), "written again");
}

/// The same events in a batch, each with its header set.
fn batch_of(events: &ChunkSlice) -> Batch {
    let mut batch = Batch::new();
    let mut known = HashMap::new();
    for event in events.iter() {
        let set = *known
            .entry(std::ptr::from_ref(event.headers))
            .or_insert_with(|| batch.add_headers(event.headers.clone()));
        batch.push_with(event.body, set);
    }
    batch
}

/// A frame's header.
pub fn frame_header(bytes: &[u8]) {
    let seed = Seed::new(1, SegmentNumber(1), 8192);
    let check = |bytes: &[u8]| {
        let Ok((header, crc)) = FrameHeader::decode(bytes, seed) else { return };
        assert!(header.end_event() >= header.first_event && header.synced_frame < header.frame);
        assert!(header.padded_len(4096).is_multiple_of(4096));
        let verifies = header.verify(&bytes[frame::HEADER_LEN..], seed);
        assert!(!verifies || bytes.len() == frame::HEADER_LEN + header.stored_len as usize);
        if verifies {
            let mut again = bytes.to_vec();
            assert_eq!((header.seal(&mut again, seed), &*again), (crc, bytes), "written again");
            let body = codec::read(&header, seed, bytes, &Keys::default());
            assert!(body.as_ref().map_or(true, |body| body.len() == header.raw_len as usize), "its length");
            assert!(
                body.is_ok() || header.encrypted || header.encoding != Encoding::Plain,
                "what is plain is the body"
            );
        }
    };
    check(bytes);
    if bytes.len() < frame::HEADER_LEN {
        return;
    }
    let mut fixed = bytes.to_vec();
    let len = (fixed.len() - frame::HEADER_LEN) as u32;
    let body_crc = seed.crc(&fixed[frame::HEADER_LEN..]);
    fixed[..4].copy_from_slice(&frame::MAGIC.to_le_bytes());
    fixed[8..12].copy_from_slice(&body_crc.to_le_bytes());
    fixed[12..16].copy_from_slice(&len.to_le_bytes());
    if fixed[20] != Encoding::Lz4 as u8 {
        fixed[16..20].copy_from_slice(&len.to_le_bytes());
    }
    let crc = seed.crc(&fixed[8..frame::HEADER_LEN]);
    fixed[4..8].copy_from_slice(&crc.to_le_bytes());
    check(&fixed);
}

/// A frame's body.
pub fn records(bytes: &[u8]) {
    let mut records = Records::new(bytes);
    let mut last = 0;
    while let Some(Ok(record)) = records.next() {
        assert!(records.offset() > last && records.offset() <= bytes.len(), "it gets on");
        last = records.offset();
        let mut again = Vec::new();
        match &record {
            Record::Commit { payload, .. } => {
                assert!(payload.len() < bytes.len());
                continue;
            }
            Record::Release(ranges) => record::put_release(&mut again, ranges),
            Record::Progress(update) => record::put_progress(&mut again, update),
            Record::Snapshot(snapshot) => record::put_snapshot(&mut again, snapshot),
            Record::Life(life) => record::put_life(&mut again, life),
            Record::Close(last) => record::put_close(&mut again, *last),
        }
        let read = Records::new(&again).next();
        assert_eq!(read, Some(Ok(record)), "written again");
    }
}

/// A segment's header.
pub fn segment_header(bytes: &[u8]) {
    let check = |bytes: &[u8]| {
        if let Ok(header) = SegmentHeader::decode(bytes) {
            let again = header.encode();
            assert_eq!(SegmentHeader::decode(&again), Ok(header), "written again");
            assert_eq!(again.len() as u64, header.data_offset());
        }
    };
    check(bytes);
    if bytes.len() < segment::HEADER_LEN {
        return;
    }
    let mut fixed = bytes.to_vec();
    fixed[..8].copy_from_slice(&segment::MAGIC);
    let crc = crc32fast::hash(&fixed[12..segment::HEADER_LEN]);
    fixed[8..12].copy_from_slice(&crc.to_le_bytes());
    check(&fixed);
}
