use std::cell::{Cell, RefCell};
use std::net::UdpSocket;
use std::sync::Arc;

use super::spec;
use crate::testing::{FakeEngine, Fate, Running, eventually, free_port};

fn stage(extra: &[(&str, &str)]) -> (Arc<FakeEngine>, Running, UdpSocket) {
    let port = free_port();
    let number = port.to_string();
    let keys = [&[("host", "127.0.0.1"), ("port", number.as_str())], extra].concat();
    let engine = FakeEngine::new();
    let running = Running::start(&spec(), &engine, &keys);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(("127.0.0.1", port)).unwrap();
    // Until it listens, datagrams are refused or lost; and with the last one that was sent all have arrived that are not. Each has
    // twice the time of the one before.
    let (tries, last) = (Cell::new(0_u32), RefCell::new(String::new()));
    let heard = || {
        tries.set(tries.get() + 1);
        if tries.get().is_power_of_two() {
            last.replace(format!("ready {}", tries.get()));
            let _refused_until_it_listens = socket.send(format!("<0>- h {}", last.borrow()).as_bytes());
        }
        engine.bodies().last().is_some_and(|body| body.ends_with(&*last.borrow()))
    };
    eventually(|| "it listens".into(), heard);
    engine.state().events.clear();
    (engine, running, socket)
}

fn wait(engine: &FakeEngine, count: usize) -> Vec<String> {
    eventually(|| format!("{:?}", engine.bodies()), || engine.state().events.len() >= count);
    let state = engine.state();
    state
        .events
        .iter()
        .map(|event| format!("{} {}", event.headers, String::from_utf8_lossy(&event.body)))
        .collect()
}

#[test]
fn a_datagram_is_an_event_up_to_its_first_line_end() {
    let (engine, running, socket) = stage(&[("clientIPHeader", "ip")]);
    for datagram in
        ["<13>1 2003-10-11T22:14:15.003Z web1 hello", "\n<13>- h first\n<13>- h second", "nonsense", "<12"]
    {
        socket.send(datagram.as_bytes()).unwrap();
    }
    assert_eq!(
        wait(&engine, 4),
        [
            "{Facility=1, Severity=5, priority=13, version=1, timestamp=1065910455003, host=web1, ip=127.0.0.1} hello",
            "{Facility=1, Severity=5, priority=13, host=h, ip=127.0.0.1} first",
            "{Facility=0, Severity=0, flume.syslog.status=Invalid, ip=127.0.0.1} nonsense",
            "{Facility=1, Severity=4, ip=127.0.0.1} <12",
        ]
    );
    running.stop();
}

#[test]
fn datagrams_without_a_priority_s_digit_are_dropped_and_counted_and_large_ones_are_whole() {
    let (engine, running, socket) = stage(&[("keepFields", "all")]);
    let before = running.context.metrics.event_read_fail.get();
    socket.send(b"").unwrap();
    socket.send(b"<").unwrap();
    let large = format!("<13>- h {}", "x".repeat(60_000));
    socket.send(large.as_bytes()).unwrap();
    wait(&engine, 1);
    assert_eq!(engine.bodies(), [large]);
    assert_eq!(running.context.metrics.event_read_fail.get() - before, 2);
    running.stop();
}

#[test]
fn what_has_arrived_is_put_again_until_the_channel_has_it() {
    let (engine, running, socket) = stage(&[]);
    engine.state().fates = [Fate::Full, Fate::Lost, Fate::Full].into();
    for i in 0..50 {
        socket.send(format!("<13>- h {i}").as_bytes()).unwrap();
    }
    wait(&engine, 50);
    running.stop();
    assert_eq!(engine.bodies(), (0..50).map(|i| i.to_string()).collect::<Vec<_>>());
}

#[test]
fn datagrams_beyond_the_queue_are_dropped_and_counted_and_the_others_arrive_once_there_is_room() {
    let (engine, running, socket) = stage(&[]);
    engine.state().fates = std::iter::repeat_n(Fate::Full, 10_000_000).collect();
    let datagram = format!("<13>- h {}", "x".repeat(60_000));
    let dropped = &running.context.metrics.channel_write_fail;
    let full = || {
        socket.send(datagram.as_bytes()).unwrap();
        dropped.get() >= 10
    };
    eventually(|| format!("{} dropped", dropped.get()), full);
    engine.state().fates.clear();
    // 16 MiB of them.
    wait(&engine, 270);
    running.stop();
}
