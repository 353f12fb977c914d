//! The service's calls.

use std::sync::Arc;

use flumen_sls::sign::{self, Signed};
use serde_json::{Value, json};

use super::groups::{Group, Known};
use super::http::{Answer, Request};
use super::{KEY, KEY_ID, LOGSTORE, REGION, State, cursor, encode, index};

/// Most bytes of a pull, beyond its first log group.
const PULL_BYTES: usize = 3 << 20;
/// How far a client's clock may be off, in seconds.
const SKEW_MAX: i64 = 900;

/// A pull's answer: body, size before packing, log groups.
pub type Packed = (Arc<[u8]>, usize, usize);

/// What the call is.
pub fn name(request: &Request) -> &'static str {
    let steps: Vec<&str> = request.path.split('/').collect();
    let kind = request.asked("type");
    match (request.method.as_str(), &steps[..]) {
        ("POST", ["", "logstores", _, "shards", "lb" | "route"]) => "put",
        ("GET", ["", "logstores", _, "shards"]) => "shards",
        ("GET", ["", "logstores", _, "shards", _]) => match kind {
            "cursor" => "cursor",
            "cursor_time" => "cursor_time",
            "log" | "logs" => "pull",
            _ => "unknown",
        },
        ("POST", ["", "logstores", _, "consumergroups"]) => "create",
        ("GET", ["", "logstores", _, "consumergroups"]) => "list",
        ("PUT", ["", "logstores", _, "consumergroups", _]) => "update",
        ("DELETE", ["", "logstores", _, "consumergroups", _]) => "delete",
        ("GET", ["", "logstores", _, "consumergroups", _]) => "checkpoints",
        ("POST", ["", "logstores", _, "consumergroups", _]) => match kind {
            "heartbeat" => "heartbeat",
            "checkpoint" => "set_checkpoint",
            _ => "unknown",
        },
        _ => "unknown",
    }
}

pub fn refused(status: u16, code: &str, message: &str) -> Answer {
    let body = json!({"errorCode": code, "errorMessage": message}).to_string().into_bytes();
    Answer { status, headers: vec![("Content-Type", "application/json".into())], body: body.into() }
}

fn done(value: &Value) -> Answer {
    let headers = vec![("Content-Type", "application/json".into())];
    Answer { status: 200, headers, body: value.to_string().into_bytes().into() }
}

fn nothing() -> Answer {
    Answer { status: 200, ..Answer::default() }
}

pub fn answer(name: &str, request: &Request, state: &mut State) -> Answer {
    match checked(request, state).and_then(|()| call(name, request, state)) {
        Ok(answer) => answer,
        Err((status, code)) => refused(status, code, "refused"),
    }
}

type Refused = (u16, &'static str);

/// Who asks, when, and whether it was he.
fn checked(request: &Request, state: &State) -> Result<(), Refused> {
    if request.header("x-log-apiversion") != "0.6.0" {
        return Err((400, "MissingAPIVersion"));
    }
    let (kind, rest) = request.header("authorization").split_once(' ').ok_or((401, "Unauthorized"))?;
    let is_v4 = kind == "SLS4-HMAC-SHA256";
    let date = if is_v4 { request.header(sign::DATE) } else { request.header("date") };
    let time = match is_v4 {
        true => jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date)
            .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC))
            .map(|time| time.timestamp()),
        false => jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date),
    };
    let time = time.map_err(|_no_time| (400, "InvalidDateFormat"))?.as_second();
    if (time - state.now()).abs() > SKEW_MAX {
        return Err((400, "RequestTimeTooSkewed"));
    }
    let token = request.header(sign::SECURITY_TOKEN);
    if state.token.as_deref().unwrap_or_default() != token {
        return Err((401, "SecurityTokenExpired"));
    }
    let wrong = (401, "SignatureNotMatch");
    let signed =
        |headers| Signed { method: &request.method, path: &request.path, query: &request.query, headers };
    let is_right = if is_v4 {
        if request.header(sign::CONTENT_SHA256) != sign::content_sha256(&request.body) {
            return Err(wrong);
        }
        let right = sign::v4(&KEY.into(), REGION, &signed(&request.headers));
        rest == format!("Credential={KEY_ID}/{},Signature={right}", sign::scope(&date[..8], REGION))
    } else {
        if !request.body.is_empty() && request.header("content-md5") != sign::content_md5(&request.body) {
            return Err(wrong);
        }
        // The Python client adds `x-log-date` when it has signed.
        let mut bare = request.headers.clone();
        bare.retain(|(name, _)| name != sign::DATE);
        [&request.headers, &bare]
            .iter()
            .any(|headers| rest == format!("{KEY_ID}:{}", sign::v1(&KEY.into(), &signed(headers))))
    };
    is_right.then_some(()).ok_or(wrong)
}

fn call(name: &str, request: &Request, state: &mut State) -> Result<Answer, Refused> {
    let steps: Vec<&str> = request.path.split('/').collect();
    if steps.get(2) != Some(&LOGSTORE) {
        return Err((404, "LogStoreNotExist"));
    }
    let last = steps.last().copied().unwrap_or_default();
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let posted = (400, "PostBodyInvalid");
    let timeout = body["timeout"].as_u64();
    let order = body["order"].as_bool();
    let (now, orders) = (state.now(), state.orders);
    let State { shards, consumer_groups, packed, pull_max, is_patient, .. } = state;
    match name {
        "create" => {
            let group = body["consumerGroup"].as_str().ok_or(posted)?;
            if consumer_groups.contains_key(group) {
                return Err((400, "ConsumerGroupAlreadyExist"));
            }
            let (timeout, order) = (timeout.ok_or(posted)?, order.ok_or(posted)?);
            consumer_groups.insert(group.into(), Group::new(timeout, order));
            Ok(nothing())
        }
        "list" => {
            let groups = consumer_groups.iter();
            let groups = groups
                .map(|(name, group)| json!({"name": name, "timeout": group.timeout, "order": group.order}));
            Ok(done(&groups.collect()))
        }
        "update" | "delete" | "heartbeat" | "set_checkpoint" | "checkpoints" => {
            let group = consumer_groups.get_mut(last).ok_or((404, "ConsumerGroupNotExist"))?;
            let consumer = request.asked("consumer");
            group.expire(*is_patient);
            match name {
                "update" => {
                    group.timeout = timeout.unwrap_or(group.timeout);
                    group.order = order.unwrap_or(group.order);
                    Ok(nothing())
                }
                "delete" => {
                    consumer_groups.remove(last);
                    Ok(nothing())
                }
                "heartbeat" => {
                    let held: Vec<u32> = serde_json::from_slice(&request.body).map_err(|_none| posted)?;
                    Ok(done(&json!(group.heartbeat(consumer, held, shards, orders))))
                }
                "set_checkpoint" => {
                    let shard =
                        body["shard"].as_u64().and_then(|shard| u32::try_from(shard).ok()).ok_or(posted)?;
                    let at = body["checkpoint"].as_str().ok_or(posted)?;
                    let shard = shards.get(shard as usize).ok_or((404, "ShardNotExist"))?;
                    index(at).filter(|at| *at <= shard.groups.len()).ok_or((400, "InvalidCursor"))?;
                    if !request.asked("forceSuccess").eq_ignore_ascii_case("true")
                        && let Some(code) = group.refusal(consumer, shard.id)
                    {
                        return Err((400, code));
                    }
                    group.checkpoints.insert(shard.id, Known { cursor: at.into(), updated: now * 1_000_000 });
                    Ok(nothing())
                }
                _ => {
                    // A shard that somebody has is there also without a checkpoint; the official client's worker asks for one.
                    let mut known = group.checkpoints.clone();
                    for shard in group.owners.keys() {
                        known.entry(*shard).or_default();
                    }
                    let asked = request.asked("shard").parse::<u32>().ok();
                    let all = known.iter().filter(|(shard, _)| asked.is_none_or(|asked| asked == **shard));
                    let all = all.map(|(shard, known)| {
                        let consumer = group.owners.get(shard).cloned().unwrap_or_default();
                        json!({"shard": shard, "checkpoint": known.cursor, "updateTime": known.updated, "consumer": consumer})
                    });
                    Ok(done(&all.collect()))
                }
            }
        }
        "shards" => {
            let shards = shards.iter().map(|shard| {
                let status = if shard.read_only { "readonly" } else { "readwrite" };
                json!({"shardID": shard.id, "status": status, "createTime": shard.created,
                    "inclusiveBeginKey": format!("{:032x}", shard.keys.0), "exclusiveEndKey": format!("{:032x}", shard.keys.1)})
            });
            Ok(done(&shards.collect()))
        }
        "put" => {
            let group = unpacked(request).ok_or((400, "PostBodyUncompressError"))?;
            let mut list = Vec::new();
            encode::field(&mut list, 1, &group);
            flumen_sls::wire::count(&list).map_err(|_damaged| (400, "PostBodyInvalid"))?;
            let shard = shards.iter_mut().find(|shard| !shard.read_only).ok_or((400, "ShardNotExist"))?;
            shard.groups.push((group, now));
            Ok(nothing())
        }
        "cursor" | "cursor_time" | "pull" => {
            let shard =
                last.parse::<usize>().ok().and_then(|id| shards.get(id)).ok_or((404, "ShardNotExist"))?;
            if name == "cursor" {
                let at = match request.asked("from") {
                    "begin" => shard.expired,
                    "end" => shard.groups.len(),
                    time => {
                        let time: i64 = time.parse().map_err(|_no_time| (400, "ParameterInvalid"))?;
                        shard.groups.partition_point(|(_, came)| *came < time).max(shard.expired)
                    }
                };
                return Ok(done(&json!({"cursor": cursor(at)})));
            }
            let at =
                index(request.asked("cursor")).filter(|at| (shard.expired..=shard.groups.len()).contains(at));
            let at = at.ok_or((400, "InvalidCursor"))?;
            if name == "cursor_time" {
                let came = shard.groups.get(at).map_or(now, |(_, came)| *came);
                return Ok(done(&json!({"cursor_time": came})));
            }
            let count = request
                .asked("count")
                .parse::<usize>()
                .map_err(|_none| (400, "ParameterInvalid"))?
                .clamp(1, *pull_max);
            let end = (at + count).min(shard.groups.len());
            let kind = kind_of(request.header("accept-encoding"));
            let key = (shard.id, at, end, kind.to_string());
            let (body, size, groups) = match packed.as_ref().and_then(|packed| packed.get(&key)) {
                Some(known) => known.clone(),
                None => {
                    let made = pack(&shard.groups[at..end], kind);
                    if let Some(packed) = packed {
                        packed.insert(key, made.clone());
                    }
                    made
                }
            };
            let headers = vec![
                ("Content-Type", "application/x-protobuf".into()),
                ("x-log-cursor", cursor(at + groups)),
                ("x-log-count", groups.to_string()),
                ("x-log-bodyrawsize", size.to_string()),
                ("x-log-compresstype", kind.into()),
            ];
            Ok(Answer { status: 200, headers, body })
        }
        _ => Err((404, "InvalidAPI")),
    }
}

/// Packs the pull of a shard at a log group; returns how many are in it, or `None` behind the last.
pub fn pack_at(state: &mut State, shard: u32, at: usize, kind: &str) -> Option<usize> {
    let State { shards, packed, pull_max, .. } = state;
    let groups = &shards[shard as usize].groups;
    let end = (at + *pull_max).min(groups.len());
    let made = pack(&groups[at..end], kind);
    let count = made.2;
    packed.as_mut()?.insert((shard, at, end, kind.to_string()), made);
    (count > 0).then_some(count)
}

fn kind_of(accepted: &str) -> &'static str {
    ["lz4", "zstd"].into_iter().find(|kind| accepted.contains(kind)).unwrap_or("")
}

fn pack(groups: &[(Vec<u8>, i64)], kind: &str) -> Packed {
    let (mut list, mut count) = (Vec::new(), 0);
    for (group, _) in groups {
        if count > 0 && list.len() + group.len() > PULL_BYTES {
            break;
        }
        encode::field(&mut list, 1, group);
        count += 1;
    }
    let size = list.len();
    let body = match kind {
        _ if list.is_empty() => list,
        "lz4" => lz4_flex::block::compress(&list),
        "zstd" => zstd::bulk::compress(&list, 1).unwrap(),
        _ => list,
    };
    (body.into(), size, count)
}

/// The log group that a client puts.
fn unpacked(request: &Request) -> Option<Vec<u8>> {
    let size: usize = request.header("x-log-bodyrawsize").parse().ok().filter(|size| *size <= 64 << 20)?;
    match request.header("x-log-compresstype") {
        "" => Some(request.body.clone()),
        "lz4" => lz4_flex::block::decompress(&request.body, size).ok(),
        "zstd" => zstd::bulk::decompress(&request.body, size).ok(),
        _ => None,
    }
}
