//! The source against a log service that runs in this process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flumen_api::progress::Position;

use super::spec;
use crate::testing::{FakeEngine, Fate, Running, State, eventually, problems};

#[path = "../../../tests/support/sls/mod.rs"]
mod sls;

use sls::{Fault, KEY, KEY_ID, LOGSTORE, PROJECT, REGION, Record, Sls, log_group};

const GROUP: &str = "consumer_1";

/// Keys with short times, and these beside or instead.
fn keys<'a>(endpoint: &'a str, more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let usual = [
        ("endpoint", endpoint),
        ("project", PROJECT),
        ("logstore", LOGSTORE),
        ("accessKeyId", KEY_ID),
        ("accessKey", KEY),
        ("consumerPosition", "begin"),
        ("heartbeatInterval", "100"),
        ("batchDurationMillis", "10"),
        ("backoffSleepIncrement", "5"),
        ("maxBackoffSleep", "50"),
    ];
    let is_other = |(key, _): &(&str, &str)| !more.iter().any(|(other, _)| other == key);
    usual.into_iter().filter(is_other).chain(more.iter().copied()).collect()
}

fn start(sls: &Sls, engine: &Arc<FakeEngine>, more: &[(&str, &str)]) -> Running {
    Running::start(&spec(), engine, &keys(&sls.endpoint(), more))
}

/// Bodies `s<shard>-<number>`.
fn bodies(shard: u32, numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("s{shard}-{number}")).collect()
}

/// Waits until the group has read all, then says how often each event came, in the order of each shard.
#[track_caller]
fn read_all(sls: &Sls, engines: &[&Arc<FakeEngine>]) {
    let calls = || {
        format!(
            "{:?} {:?}",
            sls.state().calls,
            engines.iter().map(|engine| engine.bodies().len()).collect::<Vec<_>>()
        )
    };
    eventually(calls, || sls.is_read(GROUP));
}

/// Each event once, and those of one shard in order.
#[track_caller]
fn assert_exact(came: &[String], expected: &BTreeMap<u32, usize>) {
    let mut next: BTreeMap<u32, usize> = BTreeMap::new();
    for body in came {
        let (shard, number) = body.strip_prefix('s').unwrap().split_once('-').unwrap();
        let next = next.entry(shard.parse().unwrap()).or_default();
        assert_eq!(number.parse::<usize>().unwrap(), *next, "{body} in {came:?}");
        *next += 1;
    }
    assert_eq!(&next, expected);
}

#[test]
fn every_log_of_every_shard_is_put_once_and_in_its_order() {
    let sls = Sls::start(3);
    (0..3).for_each(|shard| sls.append(shard, &bodies(shard, 0..250)));
    let engine = FakeEngine::new();
    let source = start(&sls, &engine, &[("batchSize", "30")]);
    read_all(&sls, &[&engine]);
    (0..3).for_each(|shard| sls.append(shard, &bodies(shard, 250..300)));
    read_all(&sls, &[&engine]);
    source.stop();
    assert_exact(&engine.bodies(), &BTreeMap::from([(0, 300), (1, 300), (2, 300)]));
    assert!(engine.state().puts.iter().all(|events| *events <= 30));
}

#[test]
fn either_signature_either_packing_and_a_token_are_understood() {
    for more in [
        &[("signatureVersion", "v4"), ("region", REGION), ("compressType", "zstd")][..],
        &[("compressType", "none"), ("securityToken", "a-token")],
        &[("securityToken", "a-token"), ("signatureVersion", "v4"), ("region", REGION)],
    ] {
        let sls = Sls::start(1);
        sls.append(0, &bodies(0, 0..100));
        let has_token = more.iter().any(|(key, _)| *key == "securityToken");
        sls.state().token = has_token.then(|| "a-token".to_string());
        let engine = FakeEngine::new();
        let source = start(&sls, &engine, more);
        read_all(&sls, &[&engine]);
        source.stop();
        assert_exact(&engine.bodies(), &BTreeMap::from([(0, 100)]));
    }
}

#[test]
fn a_log_is_a_body_and_what_its_group_says_are_headers() {
    let record = |contents: &[(&str, &[u8])]| Record {
        time: 1_700_000_000,
        nanos: Some(123_456_789),
        contents: contents.iter().map(|(key, value)| ((*key).into(), value.to_vec())).collect(),
    };
    let logs = [
        record(&[("content", b"plain \xff bytes")]),
        record(&[("b", b"say \"x\"\n"), ("a", "\u{4e2d}\u{1}".as_bytes())]),
        record(&[]),
    ];
    let tags = [("__path__", "/var/log/a"), ("topic", "not this"), ("__empty__", "")];
    for use_record_time in ["true", "false"] {
        let sls = Sls::start(1);
        sls.append_group(0, log_group("web", "10.0.0.1", &tags, &logs));
        sls.append_group(0, log_group("", "", &[("timestamp", "77")], &logs[..1]));
        let engine = FakeEngine::new();
        let source = start(&sls, &engine, &[("useRecordTime", use_record_time)]);
        read_all(&sls, &[&engine]);
        source.stop();
        let events = engine.state().events.clone();
        assert_eq!(events[0].body, b"plain \xff bytes");
        assert_eq!(events[1].body, "{\"b\":\"say \\\"x\\\"\\n\",\"a\":\"\u{4e2d}\\u0001\"}".as_bytes());
        assert_eq!(events[2].body, b"");
        let header = |event: usize, name: &str| events[event].headers.get(name).map(str::to_string);
        for event in 0..3 {
            assert_eq!(header(event, "topic").as_deref(), Some("web"));
            assert_eq!(header(event, "source").as_deref(), Some("10.0.0.1"));
            assert_eq!(header(event, "__path__").as_deref(), Some("/var/log/a"));
            assert_eq!(header(event, "__empty__"), None);
        }
        assert_eq!(header(3, "topic"), None);
        let times: Vec<i64> = [0, 3].map(|event| header(event, "timestamp").unwrap().parse().unwrap()).into();
        if use_record_time == "true" {
            assert_eq!(times, [1_700_000_000_123, 1_700_000_000_123]);
        } else {
            assert!(times[0] > 1_790_000_000_000, "when it was read: {times:?}");
            assert_eq!(times[1], 77, "one that is there already");
        }
    }
}

#[test]
fn a_new_group_begins_where_it_is_told_and_stays_there() {
    let old = 1_000;
    let begin = |position: &str, time: &str| {
        let sls = Sls::start(1);
        sls.append(0, &bodies(0, 0..10));
        sls.state().shards[0].groups[0].1 = old;
        sls.append(0, &bodies(0, 10..20));
        let engine = FakeEngine::new();
        let more = [("consumerPosition", position), ("startTime", time)];
        let source = start(&sls, &engine, if time.is_empty() { &more[..1] } else { &more });
        eventually(|| "no checkpoint".into(), || !sls.checkpoint(GROUP, 0).is_empty());
        sls.append(0, &bodies(0, 20..30));
        read_all(&sls, &[&engine]);
        source.stop();
        // The group is not new any more, and the channel knows nothing: the checkpoint decides.
        sls.append(0, &bodies(0, 30..40));
        let other = FakeEngine::new();
        let source = start(&sls, &other, if time.is_empty() { &more[..1] } else { &more });
        read_all(&sls, &[&other]);
        source.stop();
        assert_eq!(other.bodies(), bodies(0, 30..40));
        engine.bodies()
    };
    assert_eq!(begin("begin", ""), bodies(0, 0..30));
    assert_eq!(begin("end", ""), bodies(0, 20..30));
    assert_eq!(begin("special", "1001"), bodies(0, 10..30));
}

#[test]
fn what_the_service_does_wrong_loses_nothing_and_repeats_nothing() {
    let faults = [
        Fault::Refused(403, "ReadQuotaExceed"),
        Fault::Refused(503, "ServerBusy"),
        Fault::Refused(500, "InternalServerError"),
        Fault::Refused(401, "SecurityTokenExpired"),
        Fault::Cut,
        Fault::Lost,
        Fault::Half,
        Fault::Slow(Duration::from_millis(50)),
    ];
    let sls = Sls::start(2);
    let engine = FakeEngine::new();
    (0..2).for_each(|shard| sls.append(shard, &bodies(shard, 0..50)));
    for call in ["create", "heartbeat", "checkpoints", "cursor", "pull", "set_checkpoint"] {
        faults.iter().for_each(|fault| sls.fault(call, fault.clone(), 1));
    }
    // A group that cannot be made is the supervisor's matter.
    sls.state().faults.retain(|(call, _, _)| *call != "create");
    let source = start(&sls, &engine, &[("batchSize", "7")]);
    read_all(&sls, &[&engine]);
    for (round, fault) in faults.into_iter().enumerate() {
        sls.fault("pull", fault.clone(), 2);
        sls.fault("set_checkpoint", fault.clone(), 2);
        (0..2).for_each(|shard| sls.append(shard, &bodies(shard, 50 + 20 * round..70 + 20 * round)));
        read_all(&sls, &[&engine]);
    }
    source.stop();
    assert_exact(&engine.bodies(), &BTreeMap::from([(0, 210), (1, 210)]));
    assert_eq!(engine.state().trouble, None);
}

#[test]
fn a_quota_that_is_used_up_is_asked_for_ever_more_rarely() {
    for code in ["ReadQuotaExceed", "ShardReadQuotaExceed"] {
        let sls = Sls::start(1);
        sls.append(0, &bodies(0, 0..10));
        sls.fault("pull", Fault::Refused(403, code), 5);
        let engine = FakeEngine::new();
        let begun = Instant::now();
        let source = start(&sls, &engine, &[("backoffSleepIncrement", "40"), ("maxBackoffSleep", "160")]);
        read_all(&sls, &[&engine]);
        assert!(begun.elapsed() >= Duration::from_millis(40 + 80 + 160 + 160 + 160), "{:?}", begun.elapsed());
        source.stop();
        assert_exact(&engine.bodies(), &BTreeMap::from([(0, 10)]));
    }
}

#[test]
fn a_clock_that_is_wrong_is_set_by_the_services() {
    let sls = Sls::start(1);
    sls.append(0, &bodies(0, 0..10));
    sls.state().ahead = 7200;
    let engine = FakeEngine::new();
    let source = start(&sls, &engine, &[("signatureVersion", "v4"), ("region", REGION)]);
    read_all(&sls, &[&engine]);
    sls.state().ahead = -7200;
    sls.append(0, &bodies(0, 10..20));
    read_all(&sls, &[&engine]);
    source.stop();
    assert_exact(&engine.bodies(), &BTreeMap::from([(0, 20)]));
}

#[test]
fn damaged_log_groups_are_asked_for_again_and_left_out_if_they_stay_so() {
    let sls = Sls::start(1);
    sls.append(0, &bodies(0, 0..100));
    sls.fault("pull", Fault::Damaged, 2);
    // A group that no reader can make sense of, whole on its way.
    sls.append_group(0, vec![0x0a, 0x7f, 0x01]);
    sls.append(0, &bodies(0, 100..110));
    let engine = FakeEngine::new();
    let source = start(&sls, &engine, &[("compressType", "lz4")]);
    read_all(&sls, &[&engine]);
    let failures = source.context.metrics.event_read_fail.get();
    source.stop();
    assert_exact(&engine.bodies(), &BTreeMap::from([(0, 110)]));
    assert!(failures >= 3, "{failures}");
}

#[test]
fn puts_that_fail_are_put_again_and_nothing_is_lost_or_repeated() {
    for fate in [Fate::Full, Fate::Failing, Fate::Lost, Fate::LostLater, Fate::KeptAndFailed] {
        let sls = Sls::start(2);
        (0..2).for_each(|shard| sls.append(shard, &bodies(shard, 0..100)));
        let fates = [Fate::KeptAndAcked, fate, Fate::KeptAndAcked, fate, fate];
        let engine = FakeEngine::with(State { fates: fates.into(), ..State::default() });
        let source = start(&sls, &engine, &[("batchSize", "9")]);
        read_all(&sls, &[&engine]);
        source.stop();
        assert_exact(&engine.bodies(), &BTreeMap::from([(0, 100), (1, 100)]));
    }
}

#[test]
fn the_checkpoint_waits_for_the_channel() {
    let sls = Sls::start(1);
    sls.append(0, &bodies(0, 0..100));
    let engine = FakeEngine::with(State { room: Some(55), ..State::default() });
    let source = start(&sls, &engine, &[("batchSize", "10")]);
    eventually(|| format!("{} refusals", engine.state().refusals), || engine.state().refusals > 10);
    assert_eq!(sls.checkpoint(GROUP, 0), sls::cursor(0));
    engine.state().room = None;
    read_all(&sls, &[&engine]);
    source.stop();
    assert_exact(&engine.bodies(), &BTreeMap::from([(0, 100)]));
}

#[test]
fn the_checkpoint_waits_until_the_last_put_of_a_pull_is_acked() {
    for fate in [Fate::Lost, Fate::LostLater, Fate::KeptAndFailed] {
        let sls = Sls::start(1);
        sls.append(0, &bodies(0, 0..30));
        let engine = FakeEngine::with(State { fates: [fate].into(), ..State::default() });
        let source = start(&sls, &engine, &[("batchSize", "100")]);
        read_all(&sls, &[&engine]);
        source.stop();
        assert_exact(&engine.bodies(), &BTreeMap::from([(0, 30)]));
    }
}

#[test]
fn a_shard_that_the_group_wants_back_is_put_to_the_end_of_its_pull_before_it_is_let_go() {
    let sls = Sls::start(2);
    sls.state().is_patient = true;
    (0..2).for_each(|shard| sls.append(shard, &bodies(shard, 0..100)));
    let engine = FakeEngine::with(State { room: Some(55), ..State::default() });
    let source = start(&sls, &engine, &[("batchSize", "10"), ("consumer", "ours")]);
    eventually(|| format!("{} refusals", engine.state().refusals), || engine.state().refusals > 3);
    // Somebody else comes, whose share is one of the two.
    let theirs = || {
        let sls::State { shards, consumer_groups, .. } = &mut *sls.state();
        consumer_groups.get_mut(GROUP).unwrap().heartbeat("theirs", Vec::new(), shards, true)
    };
    assert_eq!(theirs(), [0; 0]);
    let beats = sls.calls("heartbeat");
    eventually(|| "no heartbeats".into(), || sls.calls("heartbeat") > beats + 5);
    assert_eq!(sls.held(GROUP)["ours"], [0, 1], "while the channel lacks events of the pull");
    assert_eq!(theirs(), [0; 0]);
    engine.state().room = None;
    eventually(|| format!("{:?}", sls.held(GROUP)), || sls.held(GROUP)["ours"] == [0]);
    assert_eq!(sls.checkpoint(GROUP, 1), sls.end(1));
    let came: Vec<String> = engine.bodies().into_iter().filter(|body| body.starts_with("s1-")).collect();
    assert_eq!(came, bodies(1, 0..100));
    assert_eq!(theirs(), [1]);
    source.stop();
}

#[test]
fn a_member_that_the_service_does_not_hear_stops_reading_for_others_may_have_its_shards() {
    let sls = Sls::start(2);
    (0..2).for_each(|shard| sls.append(shard, &bodies(shard, 0..50)));
    let engine = FakeEngine::new();
    let source = start(&sls, &engine, &[]);
    read_all(&sls, &[&engine]);
    sls.fault("heartbeat", Fault::Refused(500, "InternalServerError"), usize::MAX);
    let calls = || format!("{:?}", sls.state().calls);
    eventually(calls, || {
        let (pulls, beats) = (sls.calls("pull"), sls.calls("heartbeat"));
        eventually(calls, || sls.calls("heartbeat") > beats + 5);
        sls.calls("pull") == pulls
    });
    (0..2).for_each(|shard| sls.append(shard, &bodies(shard, 50..100)));
    sls.state().faults.clear();
    read_all(&sls, &[&engine]);
    source.stop();
    assert_exact(&engine.bodies(), &BTreeMap::from([(0, 100), (1, 100)]));
}

#[test]
fn a_restart_in_the_middle_of_a_pull_goes_on_behind_what_the_channel_has() {
    let sls = Sls::start(1);
    sls.append(0, &bodies(0, 0..100));
    let engine = FakeEngine::with(State { room: Some(55), ..State::default() });
    let source = start(&sls, &engine, &[("batchSize", "10")]);
    eventually(|| format!("{} refusals", engine.state().refusals), || engine.state().refusals > 3);
    source.stop();
    assert_eq!(engine.bodies(), bodies(0, 0..60));
    engine.state().room = None;
    // The pull at the same place is a larger one by now.
    sls.append(0, &bodies(0, 100..130));
    let source = start(&sls, &engine, &[("batchSize", "10")]);
    read_all(&sls, &[&engine]);
    source.stop();
    assert_exact(&engine.bodies(), &BTreeMap::from([(0, 130)]));
    assert_eq!(engine.state().dropped, 0, "nothing was put that the channel had");
}

#[test]
fn a_checkpoint_that_a_person_moved_counts() {
    let sls = Sls::start(1);
    sls.append(0, &bodies(0, 0..100));
    let engine = FakeEngine::new();
    let source = start(&sls, &engine, &[]);
    read_all(&sls, &[&engine]);
    source.stop();
    // To the very cursor of the first pull, and later to some other place.
    for (at, from) in [(0, 0), (5, 50)] {
        let mut state = sls.state();
        state.consumer_groups.get_mut(GROUP).unwrap().checkpoints.get_mut(&0).unwrap().cursor =
            sls::cursor(at);
        drop(state);
        engine.state().events.clear();
        let source = start(&sls, &engine, &[]);
        read_all(&sls, &[&engine]);
        source.stop();
        assert_eq!(engine.bodies(), bodies(0, from..100));
    }
}

#[test]
fn an_expired_cursor_goes_on_with_what_is_left() {
    let sls = Sls::start(1);
    sls.append(0, &bodies(0, 0..100));
    let engine = FakeEngine::new();
    let source = start(&sls, &engine, &[]);
    read_all(&sls, &[&engine]);
    source.stop();
    sls.append(0, &bodies(0, 100..200));
    sls.state().shards[0].expired = 15;
    let source = start(&sls, &engine, &[]);
    read_all(&sls, &[&engine]);
    source.stop();
    assert_eq!(engine.bodies()[100..], bodies(0, 150..200));
}

#[test]
fn a_log_that_no_channel_takes_is_left_out_and_counted() {
    let sls = Sls::start(1);
    sls.append(0, &bodies(0, 0..20));
    sls.append(0, &["x".repeat(500)]);
    sls.append(0, &bodies(0, 20..40));
    let engine = FakeEngine::with(State { largest_body: Some(100), ..State::default() });
    let source = start(&sls, &engine, &[("batchSize", "50")]);
    read_all(&sls, &[&engine]);
    assert_eq!(source.context.metrics.event_read_fail.get(), 1);
    source.stop();
    assert_exact(&engine.bodies(), &BTreeMap::from([(0, 40)]));
}

#[test]
fn two_members_share_the_shards_and_hand_them_on_without_loss_or_repeat() {
    let sls = Sls::start(4);
    let append = |numbers: std::ops::Range<usize>| {
        (0..4).for_each(|shard| sls.append(shard, &bodies(shard, numbers.clone())));
    };
    append(0..100);
    sls.state().is_patient = true;
    let (one, other) = (FakeEngine::new(), FakeEngine::new());
    let first = start(&sls, &one, &[("batchSize", "10"), ("consumer", "first")]);
    read_all(&sls, &[&one]);
    assert_eq!(one.bodies().len(), 400);
    let second = start(&sls, &other, &[("batchSize", "10")]);
    let shares = || sls.held(GROUP).into_values().map(|held| held.len()).collect::<Vec<_>>();
    eventually(|| format!("{:?}", sls.held(GROUP)), || shares() == [2, 2]);
    append(100..200);
    read_all(&sls, &[&one, &other]);
    assert!(!other.bodies().is_empty());
    first.stop();
    sls.give_up(GROUP, "first");
    append(200..300);
    read_all(&sls, &[&one, &other]);
    second.stop();
    let mut all = one.bodies();
    all.extend(other.bodies());
    assert_exact(&all, &(0..4).map(|shard| (shard, 300)).collect());
}

#[test]
fn a_member_that_was_given_up_drops_its_shards_and_gets_them_again() {
    let sls = Sls::start(2);
    (0..2).for_each(|shard| sls.append(shard, &bodies(shard, 0..50)));
    let engine = FakeEngine::new();
    let source = start(&sls, &engine, &[]);
    read_all(&sls, &[&engine]);
    // Longer than three intervals.
    sls.fault("heartbeat", Fault::Refused(500, "InternalServerError"), 6);
    eventually(|| format!("{:?}", sls.state().faults), || sls.state().faults.is_empty());
    (0..2).for_each(|shard| sls.append(shard, &bodies(shard, 50..100)));
    read_all(&sls, &[&engine]);
    source.stop();
    assert_exact(&engine.bodies(), &BTreeMap::from([(0, 100), (1, 100)]));
}

#[test]
fn a_checkpoint_that_is_refused_repeats_nothing_of_a_shard_that_stays() {
    let sls = Sls::start(1);
    sls.append(0, &bodies(0, 0..50));
    let engine = FakeEngine::new();
    let source = start(&sls, &engine, &[]);
    read_all(&sls, &[&engine]);
    for (round, code) in ["ConsumerNotExsit", "ConsumerNotMatch"].into_iter().enumerate() {
        sls.fault("set_checkpoint", Fault::Refused(400, code), 1);
        sls.append(0, &bodies(0, 50 * (round + 1)..50 * (round + 2)));
        read_all(&sls, &[&engine]);
    }
    source.stop();
    assert_exact(&engine.bodies(), &BTreeMap::from([(0, 150)]));
}

#[test]
fn children_of_a_split_come_after_their_parent_when_order_is_asked_for() {
    for service_orders in [true, false] {
        let sls = Sls::start(1);
        sls.state().orders = service_orders;
        // Each log group a pull of its own: the parent is not read before its children could have begun.
        sls.state().pull_max = 1;
        sls.append(0, &bodies(0, 0..500));
        let engine = FakeEngine::with(State { room: Some(55), ..State::default() });
        let more = [("fetchInOrder", "true"), ("consumerPosition", "end"), ("batchSize", "10")];
        // The group is at the parent's beginning when its shards are split.
        let source = start(&sls, &engine, &[("consumerPosition", "begin"), more[0], more[2]]);
        eventually(|| "nothing".into(), || engine.bodies().len() >= 55);
        let children = sls.split(0);
        children.iter().for_each(|shard| sls.append(*shard, &bodies(*shard, 0..20)));
        let beats = sls.calls("heartbeat");
        eventually(|| "no heartbeats".into(), || sls.calls("heartbeat") > beats + 3);
        source.stop();
        assert!(engine.bodies().iter().all(|body| body.starts_with("s0-")), "{:?}", engine.bodies());
        // A restart that would begin new groups at the end begins these shards at their beginning.
        engine.state().room = None;
        let source = start(&sls, &engine, &more);
        read_all(&sls, &[&engine]);
        source.stop();
        let came = engine.bodies();
        assert_exact(&came, &BTreeMap::from([(0, 500), (1, 20), (2, 20)]));
        assert!(came[..500].iter().all(|body| body.starts_with("s0-")), "{came:?}");
    }
}

#[test]
fn a_person_is_told_what_only_a_person_can_mend_and_no_secret_is_told() {
    let sls = Sls::start(1);
    let engine = FakeEngine::new();
    let source = start(&sls, &engine, &[("accessKey", "another-secret")]);
    let error = source.failure().to_string();
    assert!(error.contains("SignatureNotMatch") && error.contains(GROUP), "{error}");
    let source = start(&sls, &engine, &[]);
    eventually(|| "no shard".into(), || !sls.checkpoint(GROUP, 0).is_empty());
    sls.state().token = Some("another".into());
    eventually(|| "no trouble".into(), || engine.state().trouble.is_some());
    let trouble = engine.state().trouble.clone().unwrap();
    assert!(trouble.contains("SecurityTokenExpired") && !trouble.contains(KEY), "{trouble}");
    sls.state().token = None;
    eventually(|| format!("{:?}", engine.state().trouble), || engine.state().trouble.is_none());
    source.stop();
}

#[test]
fn who_has_the_same_channels_is_the_same_member() {
    let sls = Sls::start(1);
    let engine = FakeEngine::new();
    let name = |engine: &Arc<FakeEngine>| {
        let source = start(&sls, engine, &[]);
        eventually(|| "no member".into(), || !sls.held(GROUP).is_empty());
        source.stop();
        let members: Vec<String> =
            std::mem::take(&mut sls.state().consumer_groups.get_mut(GROUP).unwrap().members)
                .into_keys()
                .collect();
        assert_eq!(members.len(), 1);
        members.into_iter().next().unwrap()
    };
    let first = name(&engine);
    assert_eq!(name(&engine), first);
    assert_ne!(name(&FakeEngine::new()), first);
    let named = FakeEngine::new();
    let source = start(&sls, &named, &[("consumer", "host-7")]);
    eventually(|| "no member".into(), || sls.held(GROUP).contains_key("host-7"));
    source.stop();
}

#[test]
fn keys_that_cannot_be_followed_are_named() {
    let wrong = [
        (&[("consumerPosition", "special")][..], "startTime"),
        (&[("signatureVersion", "v4")], "region"),
        (&[("endpoint", "ftp://x")], "endpoint"),
        (&[("project", "a/b")], "project"),
        (&[("consumerGroup", "")], "consumerGroup"),
        (&[("accessKeyId", "a b")], "accessKeyId"),
        (&[("securityToken", "a\nb")], "securityToken"),
        (&[("consumerPosition", "middle")], "consumerPosition"),
        (&[("heartbeatInterval", "5")], "heartbeatInterval"),
    ];
    for (more, key) in wrong {
        let said = problems(&spec(), &keys("http://127.0.0.1:1", more));
        assert!(said.iter().any(|line| line.contains(&format!(".{key}:"))), "{key}: {said:?}");
        assert!(!said.iter().any(|line| line.contains(KEY)), "{said:?}");
    }
    for key in ["endpoint", "project", "logstore", "accessKeyId", "accessKey"] {
        let mut pairs = keys("h", &[]);
        pairs.retain(|(name, _)| *name != key);
        let said = problems(&spec(), &pairs);
        assert!(said.iter().any(|line| line.contains("required key is missing")), "{key}: {said:?}");
    }
}

#[test]
fn positions_of_another_version_are_left_to_the_checkpoint() {
    let sls = Sls::start(1);
    sls.append(0, &bodies(0, 0..10));
    let key = format!("{PROJECT}/{LOGSTORE}/{GROUP}/0");
    let foreign = Position { generation: 9, began: 0, to: 5, rest: b"v9".to_vec().into() };
    let engine = FakeEngine::with(State { positions: [(key, foreign)].into(), ..State::default() });
    let source = start(&sls, &engine, &[]);
    read_all(&sls, &[&engine]);
    source.stop();
    assert_exact(&engine.bodies(), &BTreeMap::from([(0, 10)]));
}

#[test]
fn the_group_is_told_when_to_give_a_member_up_and_whether_shards_have_an_order() {
    for order in [true, false] {
        let sls = Sls::start(1);
        let text = order.to_string();
        let more = [("fetchInOrder", text.as_str()), ("heartbeatInterval", "1000")];
        // A group that is there with other settings is given these.
        for _ in 0..2 {
            let source = start(&sls, &FakeEngine::new(), &more);
            eventually(|| "no member".into(), || !sls.held(GROUP).is_empty());
            source.stop();
            let mut state = sls.state();
            let group = state.consumer_groups.get_mut(GROUP).unwrap();
            assert_eq!((group.timeout, group.order), (3, order));
            (group.timeout, group.order) = (7, !order);
            group.members.clear();
        }
    }
}
