//! Claims about what monitoring serves, over its own port.

use std::net::SocketAddr;
use std::time::Duration;

use flumen_api::channel::OpenError;
use flumen_api::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::batch;
use super::world::{Command, World, options, until};
use crate::runtime::monitoring::{Format, Monitoring};
use crate::runtime::{Agent, AgentOptions};

/// What a stop may take: far above what it does on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Head and body of the answer to a request line.
async fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    let request = format!("{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    (head.to_ascii_lowercase(), body.to_string())
}

fn monitored(address: SocketAddr) -> AgentOptions {
    AgentOptions { monitoring: Some(Monitoring { format: Format::FlumeJson, address }), ..options() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flumes_json_and_prometheus_tell_the_same_counts() {
    let world = World::new("monitoring");
    let agent = Agent::start(world.plan(), Registry::empty(), monitored(([127, 0, 0, 1], 0).into())).await;
    let address = agent.monitoring_address().expect("listening");
    world.put("r1", batch(&["1", "2"])).await.expect("acked");
    until("both released", || world.channel("c1").state().releases.len() == 1).await;
    until("all run", || agent.health().is_ready()).await;

    let (head, body) = ask(address, "GET /Metrics").await;
    assert!(
        head.contains("200 ok") && head.contains("content-type: application/json;charset=utf-8"),
        "{head}"
    );
    let json: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let source = json["SOURCE.r1"].as_object().expect("the source");
    assert!(source.values().all(serde_json::Value::is_string), "{body}");
    assert_eq!((&source["EventReceivedCount"], &source["EventAcceptedCount"]), (&"2".into(), &"2".into()));
    assert_eq!((&source["Type"], &source["StopTime"]), (&"SOURCE".into(), &"0".into()));
    assert_eq!(json["SINK.k1"]["EventDrainSuccessCount"], "2");
    let channel = &json["CHANNEL.c1"];
    assert_eq!((&channel["ChannelSize"], &channel["ChannelCapacity"]), (&"0".into(), &"100".into()));
    assert_eq!(channel["ChannelFillPercentage"], "0.0");

    let (head, body) = ask(address, "GET /metrics/prometheus").await;
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(
        body.contains("\nflumen_source_events_accepted_total{agent=\"a1\",name=\"r1\",type=\"test\"} 2\n"),
        "{body}"
    );
    assert!(
        body.contains("\nflumen_channel_disk_bytes{agent=\"a1\",name=\"c1\",type=\"test\"} 42\n"),
        "{body}"
    );
    assert_eq!(body.matches("# TYPE flumen_sink_events_drained_total counter\n").count(), 1, "{body}");

    assert!(ask(address, "GET /").await.1.contains("./metrics"));
    for (request, status) in [
        ("GET /nothing", "404"),
        ("OPTIONS /metrics", "403"),
        ("POST /metrics", "405"),
        ("GET /healthz", "200"),
        ("GET /readyz", "200"),
    ] {
        let (head, _) = ask(address, request).await;
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{request}: {head}");
    }
    agent.shutdown(TIMEOUT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readyz_names_what_does_not_run_and_why() {
    let world = World::new("not ready");
    *world.refusal.lock() = Some(OpenError::Other("no".into()));
    let agent = Agent::start(world.plan(), Registry::empty(), monitored(([127, 0, 0, 1], 0).into())).await;
    let (head, body) = ask(agent.monitoring_address().expect("listening"), "GET /readyz").await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert!(body.contains("source r1: waiting: channel c1 is not open\n"), "{body}");
    assert!(body.contains("channel c1: "), "{body}");
    agent.shutdown(TIMEOUT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readyz_names_what_needs_a_person_for_as_long_as_it_does() {
    let world = World::new("troubled");
    let agent = Agent::start(world.plan(), Registry::empty(), monitored(([127, 0, 0, 1], 0).into())).await;
    let address = agent.monitoring_address().expect("listening");
    world.tell("r1", Command::Report(Some("/spool/a was set aside".into()))).await;
    until("the trouble is known", || !agent.health().is_ready()).await;
    let (head, body) = ask(address, "GET /readyz").await;
    assert!(head.starts_with("http/1.1 503"), "{head}");
    assert!(body.contains("source r1: troubled: /spool/a was set aside\n"), "{body}");
    let (_, metrics) = ask(address, "GET /metrics/prometheus").await;
    assert!(
        metrics.lines().any(|line| line.starts_with("flumen_source_trouble{") && line.ends_with(" 1")),
        "{metrics}"
    );
    world.tell("r1", Command::Report(None)).await;
    until("the trouble is over", || agent.health().is_ready()).await;
    // A source that runs again says anew what is wrong.
    world.tell("r1", Command::Report(Some("again".into()))).await;
    until("the trouble is known", || !agent.health().is_ready()).await;
    world.tell("r1", Command::Panic).await;
    until("it runs again", || world.runs("r1") == 2 && agent.health().is_ready()).await;
    agent.shutdown(TIMEOUT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_occupied_port_stops_nothing_and_is_taken_when_it_is_free() {
    let world = World::new("occupied");
    let occupant = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = occupant.local_addr().expect("its address");
    let agent = Agent::start(world.plan(), Registry::empty(), monitored(address)).await;
    assert_eq!(agent.monitoring_address(), None);
    world.put("r1", batch(&["1"])).await.expect("acked");
    drop(occupant);
    until("the port is taken", || agent.monitoring_address() == Some(address)).await;
    agent.shutdown(TIMEOUT).await;
}
