//! Lines of a chunk to a batch: slices of the chunk, nothing copied.

use std::ops::Range;

use bytes::Bytes;
use flumen_api::Batch;

use super::{Tail, progress_of};

/// At most `limit` lines of `base[range]`, which begins at the file's position. A last line without end is taken whole.
pub(super) fn lines(
    tail: &Tail,
    base: &Bytes,
    range: Range<usize>,
    limit: usize,
    byte_offsets: bool,
) -> Batch {
    let mut batch = Batch::over(base.clone());
    batch.set_common_headers(tail.headers.clone());
    let origin = batch.add_progress(progress_of(tail));
    let first = range.start;
    let mut start = first;
    let bytes = &base[..range.end];
    let mut add = |start: usize, end: usize, next: usize| {
        batch.push_slice(start, end - start);
        batch.locate_last(origin, tail.put + (next - first) as u64);
        if byte_offsets {
            let offset = tail.put + (start - first) as u64;
            batch.set(batch.len() - 1, "byteoffset", &offset.to_string());
        }
        batch.len() == limit
    };
    for newline in memchr::memchr_iter(b'\n', &bytes[first..]) {
        let newline = first + newline;
        let end = if newline > start && bytes[newline - 1] == b'\r' { newline - 1 } else { newline };
        let full = add(start, end, newline + 1);
        start = newline + 1;
        if full {
            break;
        }
    }
    if start == first {
        add(start, range.end, range.end);
        start = range.end;
    }
    batch.progress_mut()[0].to = tail.put + (start - first) as u64;
    batch
}
