//! What asks a server: our client, Flume's Java client, and a sending agent.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flumen_api::{Batch, Headers};
use flumen_avro_rpc::connect::{Connector, Target};

use super::{BODY_BYTES, HEADERS, Measured, PIPELINE, START_MAX, Setting, write};
use crate::failure::{Context, Failure};
use crate::process::{Agent, channel_figure};

/// Our client: so many connections, each with several calls on their way.
pub(super) fn ours(setting: &Setting, port: u16, batch: usize) -> Result<Measured, Failure> {
    let runtime = tokio::runtime::Runtime::new().context(|| "start threads".into())?;
    let (measuring, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let events = Arc::new(AtomicU64::new(0));
    runtime.block_on(async {
        let mut clients = Vec::new();
        for _ in 0..setting.clients {
            let (measuring, over, events) = (measuring.clone(), over.clone(), events.clone());
            clients.push(tokio::spawn(async move { client(port, batch, &measuring, &over, &events).await }));
        }
        tokio::time::sleep(Duration::from_secs_f64(setting.warm)).await;
        let begun = Instant::now();
        measuring.store(true, Ordering::Release);
        tokio::time::sleep(Duration::from_secs_f64(setting.seconds)).await;
        measuring.store(false, Ordering::Release);
        let seconds = begun.elapsed().as_secs_f64();
        over.store(true, Ordering::Release);
        let mut latencies = Vec::new();
        for client in clients {
            latencies.extend(client.await.context(|| "a client".into())?.map_err(Failure)?);
        }
        latencies.sort_by(f64::total_cmp);
        let at = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).copied();
        Ok(Measured { events: events.load(Ordering::Acquire), seconds, p50_us: at(0.5), p99_us: at(0.99) })
    })
}

async fn client(
    port: u16,
    batch: usize,
    measuring: &AtomicBool,
    over: &AtomicBool,
    events: &AtomicU64,
) -> Result<Vec<f64>, String> {
    let patience = Duration::from_secs(20);
    let target = Target {
        host: "127.0.0.1".into(),
        port,
        tls: None,
        deflate: None,
        connect_timeout: patience,
        request_timeout: patience,
    };
    let mut caller = Connector::new(target).connect().await?;
    let mut sent = Batch::new();
    sent.set_common_headers(Arc::new(Headers::from_iter(HEADERS)));
    (0..batch).for_each(|_| sent.push(&[b'x'; BODY_BYTES]));
    let (mut calls, mut latencies) = (VecDeque::new(), Vec::new());
    while !over.load(Ordering::Acquire) {
        let begun = Instant::now();
        let call = caller.append_batch(batch, sent.iter()).await.map_err(|error| error.to_string())?;
        calls.push_back((call, begun));
        if calls.len() < PIPELINE {
            continue;
        }
        if let Some((call, begun)) = calls.pop_front() {
            call.await.map_err(|error| error.to_string())?;
            if measuring.load(Ordering::Acquire) {
                events.fetch_add(batch as u64, Ordering::AcqRel);
                latencies.push(begun.elapsed().as_secs_f64() * 1e6);
            }
        }
    }
    Ok(latencies)
}

/// Flume's client.
pub(super) fn java(setting: &Setting, port: u16, batch: usize, rate: f64) -> Result<Measured, Failure> {
    let flume = setting.flume.as_ref().map_err(|why| Failure(why.clone()))?;
    let words = [
        port.to_string(),
        setting.clients.to_string(),
        batch.to_string(),
        BODY_BYTES.to_string(),
        setting.warm.to_string(),
        setting.seconds.to_string(),
        rate.to_string(),
    ];
    let output = flume.load(&words).output().context(|| "run java".into())?;
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().find(|line| line.starts_with("{\"events\"")).ok_or_else(|| {
        Failure(format!("Flume's client gave no figures: {}", String::from_utf8_lossy(&output.stderr)))
    })?;
    serde_json::from_str(line).context(|| format!("read `{line}`"))
}

/// A sender with a memory channel; what the receiver's channel took in is counted.
pub(super) fn agent(
    setting: &Setting,
    port: u16,
    figures: u16,
    batch: usize,
    home: &Path,
) -> Result<Measured, Failure> {
    let conf = home.join("sender.conf");
    write(
        &conf,
        &format!(
            "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n\
             a1.sources.r1.type = org.apache.flume.source.StressSource\na1.sources.r1.size = {BODY_BYTES}\n\
             a1.sources.r1.batchSize = {batch}\na1.sources.r1.channels = c1\n\
             a1.sources.r1.interceptors = i1 i2\na1.sources.r1.interceptors.i1.type = static\n\
             a1.sources.r1.interceptors.i1.key = host\na1.sources.r1.interceptors.i1.value = web-1.example.org\n\
             a1.sources.r1.interceptors.i2.type = timestamp\n\
             a1.channels.c1.type = memory\na1.channels.c1.capacity = 100000\na1.channels.c1.transactionCapacity = 10000\n\
             a1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {port}\n\
             a1.sinks.k1.batch-size = {batch}\na1.sinks.k1.channel = c1\n"
        ),
    )?;
    let mut sender = Agent::start(&setting.flumen, &conf, &[], home.join("sender.log"))?;
    let put = || {
        let figure = channel_figure(figures, "c1", "EventPutSuccessCount");
        figure.ok_or_else(|| Failure("the receiver tells no figures".into()))
    };
    sender.wait_until("events", START_MAX, || put().is_ok_and(|events| events > 0))?;
    std::thread::sleep(Duration::from_secs_f64(setting.warm));
    let (begun, from) = (Instant::now(), put()?);
    std::thread::sleep(Duration::from_secs_f64(setting.seconds));
    let (seconds, to) = (begun.elapsed().as_secs_f64(), put()?);
    sender.stop()?;
    Ok(Measured { events: to - from, seconds, p50_us: None, p99_us: None })
}
