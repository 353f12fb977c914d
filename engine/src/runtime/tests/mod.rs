//! The runtime over channels, sources and sinks whose every step the test holds in its hand.

mod agent;
mod channel;
mod dead_letter;
mod group;
mod monitoring;
mod put;
mod runner;
mod world;

use flumen_api::batch::Batch;
use flumen_api::channel::Channel;
use flumen_api::progress::Progress;

/// A batch with these bodies.
fn batch(bodies: &[&str]) -> Batch {
    let mut batch = Batch::new();
    for body in bodies {
        batch.push(body.as_bytes());
    }
    batch
}

/// The same with progress along key `k`, generation 1.
fn batch_from(bodies: &[&str], from: u64, to: u64) -> Batch {
    let mut batch = batch(bodies);
    let key = "k".to_string();
    batch.add_progress(Progress { key, generation: 1, from, to, rest: Default::default(), retire: false });
    batch
}

/// Puts `bodies` into `channel`, one put each.
fn fill(channel: &channel::TestChannel, bodies: &[&str]) {
    for body in bodies {
        let batch = batch(&[body]);
        let space = flumen_api::Space { events: 1, chunk_bytes: 0, body_bytes: 0 };
        let room = channel.try_reserve(space).expect("room");
        let put = flumen_api::channel::Put { source: "r1", batch: &batch, selection: None };
        drop(channel.append(room, put).expect("appended"));
    }
}
