//! What a durable commit costs, as its caller sees it: one thread, each commit synced before the next.
//!
//! `cargo bench -p flumen-bench --features criterion -- log`; the directory is that for temporary files (`TMPDIR`).

// What the macros make has none.
#![allow(missing_docs)]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flumen_bench::contender::{Contender as _, RECORD_BYTES};
use flumen_bench::ours::Ours;

fn commit(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("log/commit");
    for records in [1, 100, 1000] {
        group.throughput(Throughput::Bytes((records * RECORD_BYTES) as u64));
        for contender in [Ours::URING, Ours::STD] {
            let directory = tempfile::tempdir().expect("a directory for temporary files");
            let log = contender.open(directory.path()).expect("a log");
            let payload = vec![[b'x'; RECORD_BYTES]; records];
            group.bench_function(format!("{}/records={records}", contender.name()), |bencher| {
                bencher.iter(|| log.append(&payload).expect("a commit"));
            });
            log.close().expect("closed");
        }
    }
    group.finish();
}

criterion_group!(benches, commit);
criterion_main!(benches);
