//! Claims about starting, failing, reloading and stopping.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flumen_api::channel::OpenError;
use flumen_api::registry::Registry;
use flumen_api::settings::Kind;

use super::batch;
use super::world::{Command, World, options, until};
use crate::runtime::{Agent, State, What};

/// What a stop may take: far above what it does on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

async fn start(world: &World) -> Agent {
    Agent::start(world.plan(), Registry::empty(), options()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_flow_from_source_to_sink_and_a_stop_closes_the_channels() {
    let world = World::new("flow");
    let agent = start(&world).await;
    world.put("r1", batch(&["1", "2"])).await.expect("acked");
    world.put("r2", batch(&["3"])).await.expect("acked");
    until("three delivered", || world.delivered.lock().len() == 3).await;
    until("all run", || agent.health().is_ready()).await;
    assert!(agent.dump().contains("source r1 (test): running"), "{}", agent.dump());
    agent.shutdown(TIMEOUT).await;
    assert!(world.channel("c1").state().closed && world.channel("c2").state().closed);
    assert_eq!(world.channel("c1").state().out, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_panics_runs_again_and_nobody_else_notices() {
    let world = World::new("source panics");
    let agent = start(&world).await;
    world.put("r2", batch(&["1"])).await.expect("acked");
    world.tell("r1", Command::Panic).await;
    until("a second run", || world.runs("r1") == 2).await;
    world.put("r1", batch(&["2"])).await.expect("acked");
    assert_eq!(world.runs("r2"), 1);
    agent.shutdown(TIMEOUT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_that_panics_gives_its_events_back_and_gets_them_again() {
    let world = World::new("sink panics");
    world.sink_panics.store(2, Ordering::Release);
    let agent = start(&world).await;
    world.put("r1", batch(&["1", "2"])).await.expect("acked");
    until("both delivered", || *world.delivered.lock() == ["1", "2"]).await;
    assert_eq!(world.channel("c1").state().rolled_back.len(), 2);
    agent.shutdown(TIMEOUT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_with_nothing_more_to_do_stays_finished() {
    let world = World::new("finished");
    let agent = start(&world).await;
    world.tell("r1", Command::Finish).await;
    let is_finished = |agent: &Agent| agent.health().components.iter().any(|c| c.state == State::Finished);
    until("finished", || is_finished(&agent)).await;
    until("the others run", || agent.health().is_ready()).await;
    agent.shutdown(TIMEOUT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_channel_is_reported_and_opens_when_it_can() {
    let world = World::new("locked");
    *world.refusal.lock() = Some(OpenError::Locked { path: "/data/c".into() });
    let agent = start(&world).await;
    assert!(agent.only_locks_hinder());
    let failures = agent.startup_failures();
    assert!(failures.iter().all(|failure| failure.locked && failure.kind == Kind::Channel), "{failures:?}");
    assert!(agent.health().not_running().any(|c| c.kind == Kind::Source), "a source waits for its channel");
    *world.refusal.lock() = None;
    world.put("r1", batch(&["1"])).await.expect("acked");
    until("delivered", || world.delivered.lock().len() == 1).await;
    assert!(!agent.only_locks_hinder());
    agent.shutdown(TIMEOUT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failure_that_only_speaks_of_locks_is_none() {
    let world = World::new("speaks of locks");
    *world.refusal.lock() = Some(OpenError::Other("/data/is locked/c: no space".into()));
    let agent = start(&world).await;
    let failures = agent.startup_failures();
    assert!(!failures.is_empty() && failures.iter().all(|failure| !failure.locked), "{failures:?}");
    assert!(!agent.only_locks_hinder());
    agent.shutdown(TIMEOUT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_leaves_alone_what_did_not_change_and_restarts_what_hangs_on_a_channel() {
    let world = World::new("reload");
    let mut agent = start(&world).await;
    world.put("r1", batch(&["1"])).await.expect("acked");
    world.put("r2", batch(&["2"])).await.expect("acked");
    until("both delivered", || world.delivered.lock().len() == 2).await;
    let c1 = world.channel("c1");

    let mut plan = world.plan();
    plan.channels[1] = world.channel_plan("c2", &[("other", "1")]);
    let report = agent.apply(plan).await;
    for (kind, name) in [(Kind::Channel, "c1"), (Kind::Sink, "k1"), (Kind::Source, "r1")] {
        assert_eq!(report.of(kind, name), Some(&What::Kept), "{report}");
    }
    for (kind, name) in [(Kind::Channel, "c2"), (Kind::Sink, "k2"), (Kind::Source, "r2")] {
        assert!(matches!(report.of(kind, name), Some(What::Restarted(_))), "{report}");
    }
    world.put("r2", batch(&["3"])).await.expect("acked");
    until("the third delivered", || world.delivered.lock().len() == 3).await;
    assert!(Arc::ptr_eq(&c1, &world.channel("c1")));
    assert_eq!((world.opened("c1"), world.opened("c2")), (1, 2));
    assert_eq!((world.runs("r1"), world.runs("r2")), (1, 2));
    assert_eq!((world.built("k1"), world.built("k2")), (1, 2));
    assert!(agent.dump().contains("events_accepted 2"), "counters survive: {}", agent.dump());
    agent.shutdown(TIMEOUT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_keys_change_a_channel_in_place() {
    let world = World::new("live");
    let mut agent = start(&world).await;
    let mut plan = world.plan();
    plan.channels[0] = world.channel_plan("c1", &[("capacity", "7")]);
    let report = agent.apply(plan.clone()).await;
    assert_eq!(report.of(Kind::Channel, "c1"), Some(&What::ChangedLive), "{report}");
    assert_eq!(report.of(Kind::Sink, "k1"), Some(&What::Kept), "{report}");
    assert_eq!((world.opened("c1"), world.channel("c1").state().reconfigured), (1, 1));
    let report = agent.apply(plan).await;
    assert_eq!(report.to_string(), "6 unchanged");
    agent.shutdown(TIMEOUT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_new_component_keeps_the_old_one_running() {
    let world = World::new("broken");
    let mut agent = start(&world).await;
    // One that the configuration left out, with its channel, and one whose builder refuses.
    let mut plan = world.plan();
    plan.sources.remove(0);
    plan.channels.remove(0);
    plan.left_out.insert((Kind::Source, "r1".into()));
    plan.sources[0] = world.source_plan("r2", &["c2"], &[("broken", "1")]);
    let report = agent.apply(plan).await;
    for name in ["r1", "r2"] {
        assert!(matches!(report.of(Kind::Source, name), Some(What::KeptBroken(_))), "{report}");
    }
    world.put("r1", batch(&["1"])).await.expect("acked");
    world.put("r2", batch(&["2"])).await.expect("acked");
    assert_eq!((world.runs("r1"), world.runs("r2")), (1, 1));
    agent.shutdown(TIMEOUT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn components_come_and_go_but_a_durable_backlog_stays_open() {
    let world = World::new("come and go");
    let mut agent = start(&world).await;
    let mut plan = world.plan();
    plan.sinks.retain(|sink| &*sink.config.name != "k1");
    let report = agent.apply(plan).await;
    assert_eq!(report.of(Kind::Sink, "k1"), Some(&What::Removed), "{report}");
    world.put("r1", batch(&["1"])).await.expect("acked");

    let mut plan = world.plan();
    plan.channels.remove(0);
    plan.sources.remove(0);
    plan.sinks.remove(0);
    plan.sinks.push(world.sink_plan("k3", "c2", &[]));
    let report = agent.apply(plan.clone()).await;
    assert_eq!(report.of(Kind::Channel, "c1"), Some(&What::KeptBacklog(1)), "{report}");
    assert!(
        report
            .to_string()
            .contains("channel c1 open (1 events in it that no sink takes: to deliver them put it back")
    );
    assert_eq!(report.of(Kind::Source, "r1"), Some(&What::Removed), "{report}");
    assert_eq!(report.of(Kind::Sink, "k3"), Some(&What::Added), "{report}");
    assert!(!world.channel("c1").state().closed);

    world.channel("c1").state().events.clear();
    let report = agent.apply(plan).await;
    assert_eq!(report.of(Kind::Channel, "c1"), Some(&What::Removed), "{report}");
    assert!(world.channel("c1").state().closed);
    agent.shutdown(TIMEOUT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_is_delivered_when_its_channel_is_put_back_with_a_sink() {
    let world = World::new("put back");
    let mut agent = start(&world).await;
    let mut plan = world.plan();
    plan.sinks.remove(0);
    agent.apply(plan).await;
    world.put("r1", batch(&["1"])).await.expect("acked");
    let mut plan = world.plan();
    plan.channels.remove(0);
    plan.sources.remove(0);
    plan.sinks.remove(0);
    agent.apply(plan).await;
    assert_eq!(world.channel("c1").state().events.len(), 1, "its events are left alone");
    let report = agent.apply(world.plan()).await;
    assert_eq!(report.of(Kind::Channel, "c1"), Some(&What::Kept), "{report}");
    until("delivered", || *world.delivered.lock() == ["1"]).await;
    assert_eq!(world.opened("c1"), 1);
    agent.shutdown(TIMEOUT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_with_a_new_name_and_the_old_directory_gets_it() {
    let world = World::new("renamed");
    let with_channel = |name: &str| {
        let mut plan = world.plan();
        plan.channels[0] = world.channel_plan(name, &[("dir", "/data/c")]);
        plan.sources[0] = world.source_plan("r1", &[name], &[]);
        plan.sinks.remove(0);
        plan
    };
    let mut agent = Agent::start(with_channel("c1"), Registry::empty(), options()).await;
    world.put("r1", batch(&["1"])).await.expect("acked");
    let report = agent.apply(with_channel("c9")).await;
    assert_eq!(report.of(Kind::Channel, "c1"), Some(&What::Removed), "{report}");
    assert_eq!(report.of(Kind::Channel, "c9"), Some(&What::Added), "{report}");
    assert!(world.channel("c1").state().closed, "two channels cannot hold one directory");
    agent.shutdown(TIMEOUT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_misses_what_cannot_run_for_as_long_as_it_is_asked_for() {
    let world = World::new("left out");
    let mut plan = world.plan();
    plan.left_out.insert((Kind::Sink, "k9".into()));
    plan.sources.push(world.source_plan("r8", &["c1"], &[("broken", "1")]));
    let mut agent = Agent::start(plan, Registry::empty(), options()).await;
    let missed = |agent: &Agent| {
        let health = agent.health();
        let missed: Vec<_> = health.not_running().map(|one| (one.kind, one.name.to_string())).collect();
        missed
    };
    let both = [(Kind::Source, "r8".to_string()), (Kind::Sink, "k9".to_string())];
    until("all others run", || missed(&agent) == both).await;
    assert!(agent.dump().contains("sink k9: left out"), "{}", agent.dump());
    agent.apply(world.plan()).await;
    assert_eq!(missed(&agent), []);
    agent.shutdown(TIMEOUT).await;
}
