//! What an event costs that is put and taken, in each of our channels: four producers with puts of 100, one taker.
//!
//! `cargo bench -p flumen-bench --features criterion -- channel`; the directory is that for temporary files (`TMPDIR`).

// What the macros make has none.
#![allow(missing_docs)]

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flumen_api::registry::Storage;
use flumen_bench::pump::{self, Pump, Shape};

const SHAPE: Shape = Shape { producers: 4, put_batch: 100, body_bytes: 512, in_flight: 32, take_batch: 1000 };

fn put_and_take(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("channel/put+take");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    for (kind, storage) in [("memory", Storage::Auto), ("file", Storage::Uring), ("file", Storage::Std)] {
        let directory = tempfile::tempdir().expect("a directory for temporary files");
        let channel = pump::open(kind, storage, 1_000_000, directory.path()).expect("a channel");
        let mut pump = Pump::new(channel, SHAPE);
        group.bench_function(format!("{kind}/{storage:?}"), |bencher| {
            bencher.iter_custom(|events| {
                let (done, seconds) = pump.phase(events).expect("put and taken");
                // Whole puts of every producer: perhaps more events than were asked for.
                Duration::from_secs_f64(seconds * events as f64 / done as f64)
            });
        });
        pump.close().expect("closed");
    }
    group.finish();
}

criterion_group!(benches, put_and_take);
criterion_main!(benches);
