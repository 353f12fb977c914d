use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;

use super::spec;
use crate::testing::{FakeEngine, Fate, Running, eventually, free_port, problems};

struct Stage {
    engine: Arc<FakeEngine>,
    running: Running,
    port: u16,
}

impl Stage {
    fn new(extra: &[(&str, &str)]) -> Self {
        let port = free_port();
        let number = port.to_string();
        let mut keys = vec![("host", "127.0.0.1"), ("port", number.as_str())];
        keys.extend(extra);
        let engine = FakeEngine::new();
        let running = Running::start(&spec(), &engine, &keys);
        let stage = Self { engine, running, port };
        eventually(|| "it listens".into(), || TcpStream::connect(("127.0.0.1", port)).is_ok());
        stage
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).unwrap()
    }

    /// Sends all, closes the sending side, and waits until the source has closed too.
    fn send(&self, text: &[u8]) {
        let mut stream = self.connect();
        stream.write_all(text).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0, "nothing is answered");
    }

    fn events(&self) -> Vec<String> {
        let state = self.engine.state();
        state
            .events
            .iter()
            .map(|event| format!("{} {}", event.headers, String::from_utf8_lossy(&event.body)))
            .collect()
    }
}

#[test]
fn messages_become_events_with_the_headers_that_are_asked_for() {
    let stage =
        Stage::new(&[("clientIPHeader", "ip"), ("clientHostnameHeader", "name"), ("keepFields", "hostname")]);
    stage.send(b"<13>1 2003-10-11T22:14:15.003Z web1 hello\nnonsense\nno end");
    let events = stage.events();
    let head = "{Facility=1, Severity=5, priority=13, version=1, timestamp=1065910455003, host=web1, ip=127.0.0.1, name=";
    assert!(events[0].starts_with(head) && events[0].ends_with("} web1 hello"), "{events:?}");
    let head = "{Facility=0, Severity=0, flume.syslog.status=Invalid, ip=127.0.0.1, name=";
    assert!(events[1].starts_with(head) && events[1].ends_with("} nonsense"), "{events:?}");
    assert_eq!(events.len(), 2);
    // The line that is no message, and the one without an end.
    assert_eq!(stage.running.context.metrics.event_read_fail.get(), 2);
    let open = &stage.running.context.metrics.open_connections;
    eventually(|| format!("{} are open", open.get()), || open.get() == 0);
    stage.running.stop();
}

#[test]
fn a_message_may_come_in_pieces_and_many_together() {
    let stage = Stage::new(&[]);
    let mut stream = stage.connect();
    for piece in ["<1", "3>- ho", "st te", "xt\n<14>"] {
        stream.write_all(piece.as_bytes()).unwrap();
        stream.flush().unwrap();
    }
    eventually(|| format!("{:?}", stage.events()), || !stage.events().is_empty());
    assert_eq!(stage.events(), ["{Facility=1, Severity=5, priority=13, host=host} text"]);
    let many: String = (0..250).map(|i| format!("<14>- h {i}\n")).collect();
    // The first one has a priority already.
    stream.write_all(&many.as_bytes()[4..]).unwrap();
    eventually(|| stage.events().len().to_string(), || stage.events().len() == 251);
    let bodies: Vec<_> = stage.engine.bodies().into_iter().skip(1).collect();
    assert_eq!(bodies, (0..250).map(|i| i.to_string()).collect::<Vec<_>>());
    assert!(stage.engine.state().puts.iter().all(|size| *size <= 100));
    stage.running.stop();
}

#[test]
fn nothing_is_dropped_while_a_channel_has_no_room_or_loses_a_put() {
    let stage = Stage::new(&[]);
    stage.engine.state().fates = [Fate::Full, Fate::Full, Fate::Lost, Fate::Failing].into();
    stage.send(b"<13>- h 1\n<13>- h 2\n");
    assert_eq!(stage.engine.bodies(), ["1", "2"]);
    stage.running.stop();
}

#[test]
fn garbage_of_one_client_harms_no_other() {
    let stage = Stage::new(&[("eventSize", "100")]);
    let mut good = stage.connect();
    good.write_all(b"<13>- h be").unwrap();
    let garbage: Vec<u8> = (0..100_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    stage.send(&garbage);
    good.write_all(b"fore\n").unwrap();
    eventually(
        || "the good one's event".into(),
        || stage.engine.bodies().iter().any(|body| body == "before"),
    );
    assert!(stage.engine.state().events.iter().all(|event| event.body.len() <= 100));
    assert!(stage.running.context.metrics.event_read_fail.get() > 300);
    stage.running.stop();
}

#[test]
fn further_clients_wait_when_all_places_are_taken() {
    let stage = Stage::new(&[("maxConnections", "1")]);
    let mut first = stage.connect();
    first.write_all(b"<13>- h first\n").unwrap();
    eventually(|| "the first one's event".into(), || stage.engine.bodies() == ["first"]);
    let mut second = stage.connect();
    second.write_all(b"<13>- h second\n").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert_eq!(stage.engine.bodies(), ["first"]);
    drop(first);
    eventually(|| "the second one's event".into(), || stage.engine.bodies() == ["first", "second"]);
    stage.running.stop();
}

#[test]
fn keys_that_are_wrong_are_refused_by_name() {
    let of = |extra: &[(&str, &str)]| problems(&spec(), extra).join("; ");
    assert!(of(&[]).contains("port: required key is missing"));
    assert!(of(&[("port", "1"), ("format.regex", "(")]).contains("format.regex"));
    assert!(of(&[("port", "1"), ("ssl", "true")]).contains("keystore"));
    assert!(of(&[("port", "1"), ("eventSize", "x")]).contains("eventSize"));
    assert!(of(&[("port", "1"), ("keepFields", "host")]).contains("warning: a1.sources.r1.keepFields"));
}
