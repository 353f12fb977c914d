use std::net::UdpSocket;

use super::spec;
use crate::testing::{FakeEngine, Running, eventually, free_port, problems};

#[test]
fn a_datagram_is_an_event_up_to_its_first_line_end() {
    for (extra, named) in [(&[][..], false), (&[("remoteAddress", "from")], true)] {
        let port = free_port();
        let number = port.to_string();
        let keys = [&[("bind", "127.0.0.1"), ("port", number.as_str())], extra].concat();
        let engine = FakeEngine::new();
        let running = Running::start(&spec(), &engine, &keys);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        let heard = || {
            let _refused_until_it_listens = socket.send(b"ready");
            !engine.bodies().is_empty()
        };
        eventually(|| "it listens".into(), heard);
        for datagram in ["one\r\ntwo", "", "\n", "no end"] {
            socket.send(datagram.as_bytes()).unwrap();
        }
        let arrived = || engine.bodies().iter().filter(|body| *body != "ready").cloned().collect::<Vec<_>>();
        eventually(|| format!("{:?}", arrived()), || arrived().len() == 4);
        assert_eq!(arrived(), ["one\r", "", "", "no end"]);
        let from = socket.local_addr().unwrap();
        let headers = engine.state().events[0].headers.to_string();
        assert_eq!(headers, if named { format!("{{from=/{from}}}") } else { "{}".into() });
        running.stop();
    }
    assert!(problems(&spec(), &[]).join("; ").contains("port: required key is missing"));
}
