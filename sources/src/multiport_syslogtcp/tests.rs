use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;

use super::spec;
use crate::testing::{FakeEngine, Running, eventually, free_port, problems};

struct Stage {
    engine: Arc<FakeEngine>,
    running: Running,
    ports: [u16; 2],
}

impl Stage {
    fn new(extra: &[(&str, &str)]) -> Self {
        let ports = [free_port(), free_port()];
        let words = format!("{} {}", ports[0], ports[1]);
        let charset = format!("charset.port.{}", ports[1]);
        let keys =
            [&[("host", "127.0.0.1"), ("ports", words.as_str()), (charset.as_str(), "ISO-8859-1")], extra]
                .concat();
        let engine = FakeEngine::new();
        let running = Running::start(&spec(), &engine, &keys);
        for port in ports {
            eventually(|| "it listens".into(), || TcpStream::connect(("127.0.0.1", port)).is_ok());
        }
        Self { engine, running, ports }
    }

    fn send(&self, port: u16, text: &[u8]) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.write_all(text).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read_to_end(&mut Vec::new()).unwrap(), 0, "nothing is answered");
    }

    /// The events, with one character a byte.
    fn events(&self) -> Vec<String> {
        let text = |body: &[u8]| body.iter().map(|byte| char::from(*byte)).collect::<String>();
        let state = self.engine.state();
        state.events.iter().map(|event| format!("{} {}", event.headers, text(&event.body))).collect()
    }
}

#[test]
fn each_port_has_its_character_set_and_bodies_keep_theirs() {
    let stage = Stage::new(&[("portHeader", "port"), ("clientIPHeader", "ip")]);
    let [utf8, latin1] = stage.ports;
    let message = b"<10>2012-08-17T02:14:00-07:00 192.168.1.110 \xfe\xff\xc0\n";
    stage.send(latin1, message);
    stage.send(utf8, message);
    stage.send(utf8, "<10>2012-08-17T02:14:00-07:00 host þ\n".as_bytes());
    let head = "{Priority=10, Facility=1, Severity=2, timestamp=1345194840000, host=";
    assert_eq!(
        stage.events(),
        [
            format!("{head}192.168.1.110, port={latin1}, ip=127.0.0.1}} þÿÀ"),
            format!(
                "{{flume.syslog.status=Invalid, port={utf8}, ip=127.0.0.1}} <10>2012-08-17T02:14:00-07:00 192.168.1.110 þÿÀ"
            ),
            format!("{head}host, port={utf8}, ip=127.0.0.1}} \u{c3}\u{be}"),
        ]
    );
    assert_eq!(stage.running.context.metrics.event_read_fail.get(), 1);
    stage.running.stop();
}

#[test]
fn a_blank_line_loses_nothing_and_long_ones_come_in_pieces() {
    let keys = [("eventSize", "30"), ("batchSize", "2"), ("keepFields", "all"), ("readBufferBytes", "7")];
    let stage = Stage::new(&keys);
    stage
        .send(stage.ports[0], b"<1>- h one\n\n<1>- h two\n<1>- h three\n<1>- h 45678901234567890123456789\n");
    let bodies = stage.engine.bodies();
    assert_eq!(bodies, ["<1>- h one", "<1>- h two", "<1>- h three", "<1>- h 45678901234567890123456", "789"]);
    let status =
        |i: usize| stage.engine.state().events[i].headers.get("flume.syslog.status").map(str::to_string);
    assert_eq!((status(3).as_deref(), status(4).as_deref()), (Some("Incomplete"), Some("Invalid")));
    assert!(stage.engine.state().puts.iter().all(|size| *size <= 2));
    stage.running.stop();
}

#[test]
fn a_port_that_is_taken_is_taken_over_once_it_is_free_and_the_others_serve() {
    let ports = [free_port(), free_port()];
    let occupant = TcpListener::bind(("127.0.0.1", ports[1])).unwrap();
    let words = format!("{} {}", ports[0], ports[1]);
    let engine = FakeEngine::new();
    let running = Running::start(&spec(), &engine, &[("host", "127.0.0.1"), ("ports", &words)]);
    eventually(|| "the free one listens".into(), || TcpStream::connect(("127.0.0.1", ports[0])).is_ok());
    assert_eq!(running.context.metrics.generic_processing_fail.get(), 1);
    drop(occupant);
    let sent = || {
        let stream = TcpStream::connect(("127.0.0.1", ports[1]));
        stream.is_ok_and(|mut stream| stream.write_all(b"<1>- h hello\n").is_ok())
            && !engine.bodies().is_empty()
    };
    eventually(|| "the other listens".into(), sent);
    running.stop();
}

#[test]
fn a_source_none_of_whose_ports_is_free_fails() {
    let occupant = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = occupant.local_addr().unwrap().port().to_string();
    let running = Running::start(&spec(), &FakeEngine::new(), &[("host", "127.0.0.1"), ("ports", &port)]);
    assert!(running.failure().to_string().contains(&format!("127.0.0.1:{port}")));
}

#[test]
fn keys_that_are_wrong_are_refused_by_name() {
    let of = |extra: &[(&str, &str)]| problems(&spec(), extra).join("; ");
    assert!(of(&[]).contains("ports: required key is missing"));
    assert!(of(&[("ports", "1,2")]).contains("separated by blanks"));
    assert!(of(&[("ports", "1 1")]).contains("names 1 twice"));
    assert!(of(&[("ports", "1"), ("charset.default", "klingon")]).contains("charset.default: `klingon`"));
    assert!(of(&[("ports", "1"), ("charset.port.1", "klingon")]).contains("charset.port.1: `klingon`"));
    assert!(of(&[("ports", "1"), ("charset.port.x", "UTF-8")]).contains("`x` is not a port"));
    assert!(of(&[("ports", "1"), ("numProcessors", "4")]).contains("warning: a1.sources.r1.numProcessors"));
}
