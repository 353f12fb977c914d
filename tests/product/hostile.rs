//! Clients that mean no good, by the thousand, and a good one among them.
//!
//! ```text
//!   10 000 that say nothing          100 whose calls come a byte at a time       100 that announce 2^31 bytes
//!    4 000 of them send 60 000 bytes │ of a call at last                         │
//!        └────────────────────────────┬──────────────────────────────────────────┘
//!                            one avro source  <── a good client: calls, and their answers
//! ```
//!
//! How long the good client's calls take is shown, and with `FLUMEN_HOSTILE_TIMES=1` on a quiet machine judged.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flumen_api::Batch;
use flumen_avro_rpc::caller::Caller;
use flumen_avro_rpc::connect::{Connector, Target};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

use crate::agent::{Agent, flumen};
use crate::avro::cascade;
use crate::world::{PATIENCE, World, delivered, eventually, free_port, get};

/// Those that say nothing, where this process may have as many connections.
const IDLE: u64 = 10_000;
/// Those of each other kind.
const BAD: usize = 100;
/// What else this process has open: its tests, and what they start.
const OTHERS: u64 = 1500;
/// Calls of the good client of which the slowest one in a hundred is looked at.
const CALLS: usize = 300;
/// Below this a percentile says more of the disk than of the source.
const NOTHING: Duration = Duration::from_millis(20);
const MEMORY_MAX_MIB: u64 = 256;
/// Those of the idle ones that send the beginning of a call, and its bytes: more together than may be in memory.
const HALF: usize = 4000;
const HALF_BYTES: usize = 60_000;
const BODY: &str = "an event of a good client";

/// How many of [`IDLE`] this process may have, once it has raised its limit as far as it may.
fn idle_clients() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Refused in some sandboxes; then the lower one holds.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let limit = if raised { maximum } else { getrlimit(Resource::Nofile).current };
    let idle = limit.map_or(IDLE, |limit| limit.saturating_sub(OTHERS).min(IDLE));
    if idle < IDLE {
        eprintln!("{idle} idle clients in place of {IDLE}: {limit:?} descriptors is the limit");
    }
    idle as usize
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // Thousands of ports that wait out their time after the end would be missing elsewhere.
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
    stream
}

/// The head of a message of one part with `length` bytes, of which none is there.
fn announced(length: u32) -> Vec<u8> {
    [[0, 0, 0, 1], [0, 0, 0, 1], length.to_be_bytes()].concat()
}

async fn good_client(port: u16) -> Caller {
    let patience = Duration::from_secs(60);
    let target = Target {
        host: "127.0.0.1".into(),
        port,
        tls: None,
        deflate: None,
        connect_timeout: patience,
        request_timeout: patience,
    };
    Connector::new(target).connect().await.unwrap()
}

/// What the slowest of a hundred calls take, one after the other.
async fn p99(caller: &mut Caller) -> Duration {
    let mut batch = Batch::new();
    batch.push(BODY.as_bytes());
    let mut times = Vec::new();
    for _ in 0..CALLS {
        let begun = Instant::now();
        caller.append_batch(1, batch.iter()).await.unwrap().await.unwrap();
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    times[CALLS * 99 / 100]
}

/// The most resident memory that a process has had, in KiB.
fn memory(agent: &Agent) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse().unwrap()
}

/// Returns when a process has taken no more memory for a while.
fn full(agent: &Agent) {
    let mut before = 0;
    eventually(
        || {
            std::thread::sleep(Duration::from_secs(1));
            std::mem::replace(&mut before, memory(agent)) == before
        },
        || format!("{} KiB, and more", memory(agent)),
    );
}

/// Ends what runs beside a test also when that fails, or it would never end.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn ten_thousand_idle_and_hundreds_of_lying_and_slow_clients_take_little_memory_and_a_good_one_is_served() {
    let (port, monitoring) = (free_port(), free_port());
    let world = World::new(&cascade(port, &[], &["maxConnections = 20000", "maxRequestBytes = 50000000"]));
    let define = format!("-Dflume.monitoring.port={monitoring}");
    let words = ["agent", "-n", "b1", "-f", "flume.conf", "-Dflume.monitoring.type=http", &define];
    let agent = world.spawn(flumen(world.root()).args(words));
    agent.wait_for(&["listening", &port.to_string()]);
    let open = || -> Option<usize> {
        let metrics: Value = serde_json::from_str(&get(monitoring, "/metrics")?.1).ok()?;
        metrics["SOURCE.r1"]["OpenConnectionCount"].as_str()?.parse().ok()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut good = runtime.block_on(good_client(port));
    let usual = (0..3).map(|_| runtime.block_on(p99(&mut good))).min().unwrap();
    let mut calls = 3 * CALLS;

    let mut lying: Vec<TcpStream> = (0..BAD).map(|_| connect(port)).collect();
    for stream in &mut lying {
        stream.write_all(&announced(1 << 31)).unwrap();
    }
    for mut stream in lying {
        assert_eq!(stream.read(&mut [0; 10]).unwrap_or(0), 0, "let go");
    }
    let mut garbage = connect(port);
    garbage.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let peer = garbage.local_addr().unwrap().to_string();
    agent.wait_for(&["WARN", "not understood", &format!("peer={peer}"), "a message of"]);
    let mut idle: Vec<TcpStream> = (0..idle_clients()).map(|_| connect(port)).collect();
    let seen = |expected| {
        eventually(|| open() == Some(expected), || format!("{:?} of {expected} connections", open()))
    };
    seen(idle.len() + 1);
    // These stay below what a request may have, and send some of it, a little at a time: who is silent in the middle of a
    // call is let go.
    let mut slow: Vec<TcpStream> = (0..BAD).map(|_| connect(port)).collect();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&over);
        for stream in &mut slow {
            stream.write_all(&announced(49_000_000)).unwrap();
            stream.write_all(&[0; 100_000]).unwrap();
        }
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                for stream in &mut slow {
                    // Who is too slow for too long is let go.
                    let _it_may_be_gone = stream.write(&[0]);
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        seen(idle.len() + BAD + 1);
        let among_them = (0..3).map(|_| runtime.block_on(p99(&mut good))).min().unwrap();
        calls += 3 * CALLS;
        eprintln!("99 of 100 calls of a good client take {among_them:?}, without the others {usual:?}");
        // Other tests that run beside this one take times that say nothing of the source.
        let judged = std::env::var_os("FLUMEN_HOSTILE_TIMES").is_some();
        assert!(
            !judged || among_them < NOTHING.max(2 * usual),
            "{among_them:?}, without the others {usual:?}"
        );
        // What is not taken in waits in the system's buffers, of which there is no end either.
        let half = [announced(1 << 20), vec![0; HALF_BYTES]].concat();
        for stream in idle.iter_mut().take(HALF) {
            stream.set_nonblocking(true).unwrap();
            let _no_room_for_all = stream.write(&half);
        }
        full(&agent);
        runtime.block_on(p99(&mut good));
        calls += CALLS;
    });
    let memory = memory(&agent) / 1024;
    eprintln!("at most {memory} MiB");
    assert!(memory < MEMORY_MAX_MIB, "{memory} MiB with {} idle clients", idle.len());
    drop((slow, idle));
    let out = world.path("out");
    let bytes = (calls * (BODY.len() + 1)) as u64;
    eventually(|| delivered(&out) == bytes, || format!("{} bytes of {bytes}", delivered(&out)));
    agent.stop();
}
