//! CPU cost of a chunk: encoding a batch of a tailed file's lines, and walking its events.
//!
//! `cargo bench -p flumen-bench --features criterion`

// What the macros make has none.
#![allow(missing_docs)]

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flumen_api::batch::Batch;
use flumen_api::chunk::{Chunk, ChunkWriter};

const LINE: usize = 177;

fn batch(lines: usize) -> Batch {
    let mut base = vec![b'x'; lines * (LINE + 1)];
    base.chunks_mut(LINE + 1).for_each(|line| line[LINE] = b'\n');
    let mut batch = Batch::over(Bytes::from(base));
    for i in 0..lines {
        batch.push_slice(i * (LINE + 1), LINE);
    }
    batch
}

fn chunk(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("chunk");
    for lines in [100, 1000] {
        let batch = batch(lines);
        group.throughput(Throughput::Elements(lines as u64));
        group.bench_function(format!("encode/lines={lines}"), |bencher| {
            let mut out = vec![0; ChunkWriter::new(&batch, None).encoded_len()];
            bencher.iter(|| ChunkWriter::new(&batch, None).write_to(&mut out));
        });
        let encoded = ChunkWriter::new(&batch, None).to_bytes();
        group.bench_function(format!("walk/lines={lines}"), |bencher| {
            bencher.iter(|| {
                let chunk = Chunk::decode(encoded.clone()).expect("encoded above");
                chunk.slice(0, lines).iter().map(|event| event.body.len()).sum::<usize>()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, chunk);
criterion_main!(benches);
