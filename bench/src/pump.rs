//! Put and take at once through one of our channels, as sources and sinks use it.
//!
//! ```text
//!   producer   its own thread, as a tailing source has: a fresh buffer of bodies, each with the producer's next number;
//!              reserve, append; several tickets on their way, acked in order
//!   taker      its own thread, as a sink has: take, every producer's numbers checked for gaps, release
//! ```
//!
//! Bodies: bytes without pattern, the first eight of them producer and number.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::time::Instant;

use bytes::Bytes;
use flumen_api::batch::Batch;
use flumen_api::channel::{Channel, Put, PutError, Space, TakeLimit};
use flumen_api::registry::{ChannelContext, Factory, Registry, Storage};
use flumen_api::settings::{ComponentConfig, Kind};
use flumen_api::source::InFlight;

use crate::failure::{Context, Failure};

/// Opens a channel of `type_name` in an empty directory, through the registry as the engine does.
pub fn open(
    type_name: &str,
    storage: Storage,
    capacity: u64,
    directory: &Path,
) -> Result<Arc<dyn Channel>, Failure> {
    let path = |name: &str| directory.join(name).display().to_string();
    let (checkpoint, data, capacity) = (path("checkpoint"), path("data"), capacity.to_string());
    let mut keys = vec![("capacity", capacity.as_str()), ("transactionCapacity", "10000")];
    if type_name == "file" {
        keys.extend([("checkpointDir", checkpoint.as_str()), ("dataDirs", data.as_str())]);
    }
    let config = ComponentConfig::of(Kind::Channel, "c1", &keys);
    let context = ChannelContext {
        agent: "bench".into(),
        memory_limit: 16 << 30,
        ignore_flume_data: false,
        storage,
        metrics: Default::default(),
    };
    let registry = Registry::empty().with_all(flumen_engine::channels::specs());
    let Some(Factory::Channel { open, .. }) =
        registry.find(Kind::Channel, type_name).map(|spec| spec.factory)
    else {
        return Err(Failure(format!("no channel of type {type_name}")));
    };
    open(&config, context).context(|| format!("open a {type_name} channel in {}", directory.display()))
}

/// How it is used.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Threads that put.
    pub producers: usize,
    /// Events of a put.
    pub put_batch: usize,
    /// Bytes of a body, at least 8.
    pub body_bytes: usize,
    /// Puts of one producer on their way.
    pub in_flight: usize,
    /// Most events of a take.
    pub take_batch: usize,
}

/// A channel in use, and where its producers and its taker stand.
pub struct Pump {
    channel: Arc<dyn Channel>,
    shape: Shape,
    /// Each producer's number of its next event.
    next: Vec<u64>,
    /// The same, as the taker expects it.
    expected: BTreeMap<u8, u64>,
}

impl Pump {
    /// Nothing put yet.
    pub fn new(channel: Arc<dyn Channel>, shape: Shape) -> Self {
        Self { channel, shape, next: vec![0; shape.producers], expected: BTreeMap::new() }
    }

    /// Puts about `events` events (whole puts of every producer) and returns how many, all durable.
    pub fn fill(&mut self, events: u64) -> Result<u64, Failure> {
        self.run(events, false).map(|(events, _)| events)
    }

    /// Puts about `events` events and takes them; returns how many, and the seconds until the last one was released and
    /// the last put durable.
    pub fn phase(&mut self, events: u64) -> Result<(u64, f64), Failure> {
        self.run(events, true)
    }

    fn run(&mut self, events: u64, takes: bool) -> Result<(u64, f64), Failure> {
        let shape = self.shape;
        let puts = events.div_ceil((shape.producers * shape.put_batch) as u64).max(1);
        let events = puts * (shape.producers * shape.put_batch) as u64;
        let ready = Barrier::new(shape.producers + 2);
        let (channel, expected) = (&self.channel, &mut self.expected);
        let (seconds, result) = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (producer, next) in self.next.iter_mut().enumerate() {
                let ready = &ready;
                threads.push(scope.spawn(move || {
                    let template = template(producer, shape.body_bytes);
                    ready.wait();
                    on_this_thread(produce(channel, shape, producer as u8, &template, next, puts))
                }));
            }
            let taker = scope.spawn(|| {
                ready.wait();
                match takes {
                    true => on_this_thread(take(channel, shape, expected, events)),
                    false => Ok(()),
                }
            });
            threads.push(taker);
            ready.wait();
            let start = Instant::now();
            let mut result = Ok(());
            for thread in threads {
                match thread.join() {
                    Ok(done) => result = result.and(done),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            (start.elapsed().as_secs_f64(), result)
        });
        result.map(|()| (events, seconds))
    }

    /// Closes the channel.
    pub fn close(self) -> Result<(), Failure> {
        on_this_thread(async {
            self.channel.close().await;
            Ok(())
        })
    }
}

fn on_this_thread<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.context(|| "start a runtime".into())?.block_on(work)
}

fn template(producer: usize, body_bytes: usize) -> Vec<u8> {
    let mut state = (producer as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut byte = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..body_bytes).map(|_| byte()).collect()
}

async fn produce(
    channel: &Arc<dyn Channel>,
    shape: Shape,
    producer: u8,
    template: &[u8],
    next: &mut u64,
    puts: u64,
) -> Result<(), Failure> {
    let mut flight = InFlight::new(shape.in_flight);
    for _ in 0..puts {
        let mut bodies = Vec::with_capacity(shape.put_batch * shape.body_bytes);
        for _ in 0..shape.put_batch {
            let at = bodies.len();
            bodies.extend_from_slice(template);
            bodies[at..at + 8].copy_from_slice(&(u64::from(producer) << 56 | *next).to_be_bytes());
            *next += 1;
        }
        let mut batch = Batch::over(Bytes::from(bodies));
        for i in 0..shape.put_batch {
            batch.push_slice(i * shape.body_bytes, shape.body_bytes);
        }
        let put = Put { source: "r1", batch: &batch, selection: None };
        let body_bytes = batch.body_bytes();
        // The same upper bound that the engine asks room for.
        let chunk_bytes = body_bytes + (flumen_api::chunk::PREFIX_LEN + 4 + 9 * batch.len()) as u64;
        let space = Space { events: batch.len(), chunk_bytes, body_bytes };
        let room = loop {
            match channel.try_reserve(space) {
                Err(PutError::Full { .. }) => match channel.reserve(space).await {
                    // The taker is slow: a source would try again too.
                    Err(PutError::Full { .. }) => continue,
                    other => break other,
                },
                other => break other,
            }
        };
        let ticket = channel.append(room.context(|| "reserve".into())?, put).context(|| "append".into())?;
        flight.push(ticket, (), |()| {}).await.context(|| "put".into())?;
    }
    flight.drain(|()| {}).await.context(|| "put".into())
}

async fn take(
    channel: &Arc<dyn Channel>,
    shape: Shape,
    expected: &mut BTreeMap<u8, u64>,
    events: u64,
) -> Result<(), Failure> {
    let mut taker = channel.taker();
    let mut left = events;
    while left > 0 {
        let Some(taken) = taker.try_take(TakeLimit::events(shape.take_batch)).context(|| "take".into())?
        else {
            taker.ready().await;
            continue;
        };
        for event in taken.events().iter() {
            check(event.body, shape.body_bytes, expected)?;
        }
        left = left.saturating_sub(taken.events().len() as u64);
        taken.release("k1", Vec::new());
    }
    Ok(())
}

fn check(body: &[u8], body_bytes: usize, expected: &mut BTreeMap<u8, u64>) -> Result<(), Failure> {
    let Some((stamp, _)) = body.split_first_chunk::<8>().filter(|_| body.len() == body_bytes) else {
        return Err(Failure(format!("an event of {} bytes came out", body.len())));
    };
    let stamp = u64::from_be_bytes(*stamp);
    let (producer, number) = ((stamp >> 56) as u8, stamp & ((1 << 56) - 1));
    let expected = expected.entry(producer).or_default();
    if number != *expected {
        return Err(Failure(format!("producer {producer}: event {number} where {expected} was expected")));
    }
    *expected += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { producers: 2, put_batch: 10, body_bytes: 20, in_flight: 4, take_batch: 7 };

    #[test]
    fn what_is_put_through_every_kind_of_channel_comes_out() {
        for (kind, storage) in [("memory", Storage::Auto), ("file", Storage::Std)] {
            let dir = tempfile::tempdir().unwrap();
            let mut pump = Pump::new(open(kind, storage, 10_000, dir.path()).unwrap(), SHAPE);
            for _ in 0..3 {
                assert_eq!(pump.phase(99).unwrap().0, 100);
            }
            assert_eq!(pump.expected[&1], 150);
            pump.close().unwrap();
        }
    }

    #[test]
    fn a_gap_a_repetition_and_a_short_event_are_found() {
        let body = |number: u64| [&number.to_be_bytes()[..], &[7; 12]].concat();
        let mut expected = BTreeMap::new();
        check(&body(0), 20, &mut expected).unwrap();
        check(&body(2), 20, &mut expected.clone()).unwrap_err();
        check(&body(0), 20, &mut expected.clone()).unwrap_err();
        check(&body(1)[..19], 20, &mut expected).unwrap_err();
    }
}
