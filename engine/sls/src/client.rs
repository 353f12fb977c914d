//! The service's calls, one function each.
//!
//! ```text
//!   create, update  POST, PUT /logstores/<ls>/consumergroups[/<cg>]                        {"timeout":s,"order":bool}
//!   list            GET       /logstores/<ls>/consumergroups
//!   heartbeat       POST      /logstores/<ls>/consumergroups/<cg>?type=heartbeat&consumer= [shards held] -> [shards to hold]
//!   checkpoint      POST      …/<cg>?type=checkpoint&consumer=&forceSuccess=               {"shard":0,"checkpoint":"<cursor>"}
//!   checkpoints     GET       …/<cg>
//!   shards          GET       /logstores/<ls>/shards
//!   cursor          GET       /logstores/<ls>/shards/<n>?type=cursor&from=begin|end|<s since 1970>
//!   cursor time     GET       …?type=cursor_time&cursor=
//!   pull            GET       …?type=logs&cursor=&count=     -> log groups; x-log-cursor is the next one
//! ```
//!
//! A cursor is opaque. Time runs as the service says: after `RequestTimeTooSkewed` its `Date` counts, not this host's clock.

use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use flumen_tls::ClientTls;
use http_body_util::Full;
use hyper::{Method, Request};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::endpoint::Endpoint;
use crate::error::{Error, What, refused};
use crate::sign::{self, Credentials, Signature, Signed};
use crate::transport::{Answer, Transport};
use crate::wire;

/// The largest pull that is taken in, in bytes before compression. The service's own limit is below.
pub const PULL_MAX: usize = 64 << 20;
/// The largest other answer: a list of shards or checkpoints.
const ANSWER_MAX: usize = 8 << 20;
/// From here on unpacking is work for a thread that may block.
const UNPACK_ASIDE: usize = 64 << 10;

/// The longest cursor. The service's have some twenty bytes.
const CURSOR_MAX: usize = 1024;

const JSON: &str = "application/json";

/// How pulls are packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// LZ4, one block.
    #[default]
    Lz4,
    /// Zstandard.
    Zstd,
    /// Not at all.
    Off,
}

impl Compression {
    fn word(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
            Self::Off => "",
        }
    }
}

/// Whom to ask, as whom, for what.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where, with the project.
    pub endpoint: Endpoint,
    /// For https.
    pub tls: Option<ClientTls>,
    /// The logstore.
    pub logstore: String,
    /// As whom.
    pub credentials: Credentials,
    /// How requests are signed.
    pub signature: Signature,
    /// How pulls are packed.
    pub compression: Compression,
}

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// After how many seconds without a heartbeat a member is given up.
    #[serde(default)]
    pub timeout: u64,
    /// Whether a shard's children wait for it.
    #[serde(default)]
    pub order: bool,
}

/// A shard.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Shard {
    /// Its number.
    #[serde(rename = "shardID")]
    pub id: u32,
    /// `readwrite`, or `readonly` once it was split or merged.
    #[serde(default)]
    pub status: String,
    /// First key's hash, 32 hex digits.
    #[serde(rename = "inclusiveBeginKey", default)]
    pub begin: String,
    /// The hash behind the last key's.
    #[serde(rename = "exclusiveEndKey", default)]
    pub end: String,
    /// Seconds since 1970.
    #[serde(rename = "createTime", default)]
    pub created: i64,
}

impl Shard {
    /// Whether nothing more is written to it.
    pub fn is_read_only(&self) -> bool {
        self.status.eq_ignore_ascii_case("readonly")
    }

    /// Whether records of keys that `child` has now went here before.
    pub fn is_parent_of(&self, child: &Self) -> bool {
        let (own, its) = (self.begin.to_ascii_lowercase(), child.begin.to_ascii_lowercase());
        let (own_end, its_end) = (self.end.to_ascii_lowercase(), child.end.to_ascii_lowercase());
        self.is_read_only()
            && self.id < child.id
            && self.created <= child.created
            && own < its_end
            && its < own_end
    }
}

/// A group's position in a shard.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Checkpoint {
    /// The shard.
    pub shard: u32,
    /// The cursor; empty if there is none yet.
    #[serde(rename = "checkpoint", default)]
    pub cursor: String,
    /// When it was written, in microseconds since 1970.
    #[serde(rename = "updateTime", default)]
    pub updated: i64,
    /// Who has the shard.
    #[serde(default)]
    pub consumer: String,
}

/// Where in a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest record.
    Begin,
    /// Behind the newest.
    End,
    /// What came at or after so many seconds since 1970.
    Time(i64),
}

/// What a pull brought.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// Log groups, unpacked and found to be whole; see [`wire`].
    pub data: Bytes,
    /// How many logs are in them.
    pub logs: u64,
    /// Where the next pull begins.
    pub next: String,
    /// Why there are no log groups, though there should be: they are damaged.
    pub damage: Option<String>,
}

/// Asks the service about one logstore. Calls may overlap.
pub struct Client {
    transport: Transport,
    logstore: String,
    credentials: Credentials,
    signature: Signature,
    compression: Compression,
    /// The service's clock less this host's, in seconds.
    ahead: AtomicI64,
}

/// One call.
struct Call<'a> {
    name: String,
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    body: Bytes,
    accept: &'a [(&'a str, &'a str)],
    answer_max: usize,
}

impl Client {
    /// Touches nothing outside.
    pub fn new(options: Options) -> Self {
        let Options { endpoint, tls, logstore, credentials, signature, compression } = options;
        let transport = Transport::new(endpoint, tls);
        Self { transport, logstore, credentials, signature, compression, ahead: AtomicI64::new(0) }
    }

    /// Makes the group, or gives the one that is there this timeout and order.
    pub async fn ensure_group(&self, group: &str, timeout: u64, order: bool) -> Result<(), Error> {
        let body = serde_json::json!({"consumerGroup": group, "timeout": timeout, "order": order});
        let path = self.path("consumergroups");
        let call = Call::new(format!("creating consumer group {group}"), Method::POST, path).with_body(&body);
        match self.call(&call).await {
            Err(error) if error.code() == "ConsumerGroupAlreadyExist" => {
                let body = serde_json::json!({"timeout": timeout, "order": order});
                let name = format!("updating consumer group {group}");
                self.call(&Call::new(name, Method::PUT, self.group(group)).with_body(&body)).await.map(drop)
            }
            result => result.map(drop),
        }
    }

    /// The logstore's consumer groups.
    pub async fn groups(&self) -> Result<Vec<Group>, Error> {
        self.json(&Call::new("listing consumer groups".into(), Method::GET, self.path("consumergroups")))
            .await
    }

    /// Says that `consumer` lives and holds these shards; returns those that it shall hold.
    pub async fn heartbeat(&self, group: &str, consumer: &str, held: &[u32]) -> Result<Vec<u32>, Error> {
        let call = Call::new(format!("heartbeat of {consumer} in {group}"), Method::POST, self.group(group));
        let call = call.asking("type", "heartbeat").asking("consumer", consumer);
        self.json(&call.with_body(&serde_json::json!(held))).await
    }

    /// Sets the group's position in a shard. Without `force` only who has the shard may.
    pub async fn set_checkpoint(
        &self,
        group: &str,
        consumer: &str,
        (shard, cursor): (u32, &str),
        force: bool,
    ) -> Result<(), Error> {
        let call =
            Call::new(format!("checkpoint of shard {shard} in {group}"), Method::POST, self.group(group));
        let call = call.asking("type", "checkpoint").asking("consumer", consumer);
        let call = call.asking("forceSuccess", if force { "true" } else { "false" });
        let body = serde_json::json!({"shard": shard, "checkpoint": cursor});
        self.call(&call.with_body(&body)).await.map(drop)
    }

    /// The group's positions in all shards.
    pub async fn checkpoints(&self, group: &str) -> Result<Vec<Checkpoint>, Error> {
        self.json(&Call::new(format!("checkpoints of {group}"), Method::GET, self.group(group))).await
    }

    /// The logstore's shards.
    pub async fn shards(&self) -> Result<Vec<Shard>, Error> {
        self.json(&Call::new("listing shards".into(), Method::GET, self.path("shards"))).await
    }

    /// A place in a shard as a cursor.
    pub async fn cursor(&self, shard: u32, start: Start) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Found {
            cursor: String,
        }
        let from = match start {
            Start::Begin => "begin".to_string(),
            Start::End => "end".to_string(),
            Start::Time(seconds) => seconds.to_string(),
        };
        let call = Call::new(format!("cursor of shard {shard}"), Method::GET, self.shard(shard));
        let call = call.asking("type", "cursor").asking("from", &from);
        let cursor = self.json::<Found>(&call).await?.cursor;
        match cursor.is_empty() || cursor.len() > CURSOR_MAX {
            true => Err(Error {
                call: call.name,
                what: What::Malformed(format!("a cursor of {} bytes", cursor.len())),
            }),
            false => Ok(cursor),
        }
    }

    /// When what is at the cursor came, in seconds since 1970.
    pub async fn cursor_time(&self, shard: u32, cursor: &str) -> Result<i64, Error> {
        #[derive(Deserialize)]
        struct Found {
            cursor_time: i64,
        }
        let call = Call::new(format!("cursor time of shard {shard}"), Method::GET, self.shard(shard));
        let call = call.asking("type", "cursor_time").asking("cursor", cursor);
        Ok(self.json::<Found>(&call).await?.cursor_time)
    }

    /// At most `count` log groups from `cursor` on.
    pub async fn pull(&self, shard: u32, cursor: &str, count: u32) -> Result<Pulled, Error> {
        let name = format!("pull of shard {shard} at {cursor}");
        let packed = self.compression.word();
        let accept = [("accept", "application/x-protobuf"), ("accept-encoding", packed)];
        let accept = if packed.is_empty() { &accept[..1] } else { &accept[..] };
        let call = Call::new(name, Method::GET, self.shard(shard));
        let call = call.asking("type", "logs").asking("cursor", cursor).asking("count", &count.to_string());
        let call = Call { accept, answer_max: PULL_MAX, ..call };
        let answer = self.call(&call).await?;
        let failed = |what| Error { call: call.name.clone(), what };
        let next = answer.header("x-log-cursor").to_string();
        if next.is_empty() || next.len() > CURSOR_MAX {
            return Err(failed(What::Malformed(format!("x-log-cursor of {} bytes", next.len()))));
        }
        let aside = answer.body.len() >= UNPACK_ASIDE;
        let unpacked = match aside {
            true => tokio::task::spawn_blocking(move || unpack(&answer)).await,
            false => Ok(unpack(&answer)),
        };
        let unpacked = unpacked.map_err(|error| failed(What::Malformed(error.to_string())))?;
        let (data, logs, damage) = match unpacked.map_err(failed)? {
            Ok((data, logs)) => (data, logs, None),
            Err(why) => (Bytes::new(), 0, Some(why)),
        };
        Ok(Pulled { data, logs, next, damage })
    }

    fn path(&self, below: &str) -> String {
        format!("/logstores/{}/{below}", self.logstore)
    }

    fn group(&self, group: &str) -> String {
        self.path(&format!("consumergroups/{group}"))
    }

    fn shard(&self, shard: u32) -> String {
        self.path(&format!("shards/{shard}"))
    }

    async fn json<T: DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, Error> {
        let answer = self.call(call).await?;
        let wrong = |error: serde_json::Error| What::Malformed(error.to_string());
        serde_json::from_slice(&answer.body)
            .map_err(|error| Error { call: call.name.clone(), what: wrong(error) })
    }

    async fn call(&self, call: &Call<'_>) -> Result<Answer, Error> {
        let failed = |what| Error { call: call.name.clone(), what };
        let mut corrected = false;
        loop {
            let request = self.request(call).map_err(failed)?;
            let answer = self.transport.exchange(&request, call.answer_max).await.map_err(failed)?;
            if answer.status == 200 {
                return Ok(answer);
            }
            let what = refused(answer.status, &answer.body, answer.header("x-log-requestid"));
            let is_skewed = matches!(&what, What::Refused { code, .. } if code == "RequestTimeTooSkewed");
            if !is_skewed || corrected || !self.follow(answer.header("date")) {
                return Err(failed(what));
            }
            corrected = true;
        }
    }

    /// Takes the service's clock over; whether it said what time it is.
    fn follow(&self, date: &str) -> bool {
        let Ok(theirs) = rfc2822::DateTimeParser::new().parse_timestamp(date) else { return false };
        self.ahead.store(theirs.as_second() - Timestamp::now().as_second(), Ordering::Relaxed);
        true
    }

    fn request(&self, call: &Call<'_>) -> Result<Request<Full<Bytes>>, What> {
        let wrong = |why: String| What::Transport(format!("the request cannot be made: {why}"));
        let now = Timestamp::now().as_second() + self.ahead.load(Ordering::Relaxed);
        let now = Timestamp::from_second(now).map_err(|error| wrong(error.to_string()))?;
        let date = rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now);
        let date = date.map_err(|error| wrong(error.to_string()))?;
        let mut headers: Vec<(String, String)> = Vec::with_capacity(12);
        let mut say = |name: &str, value: &str| headers.push((name.into(), value.into()));
        say("host", &self.transport.endpoint.authority);
        say("date", &date);
        say("user-agent", concat!("Flumen/", env!("CARGO_PKG_VERSION")));
        say("content-type", JSON);
        say("x-log-apiversion", "0.6.0");
        say("x-log-bodyrawsize", &call.body.len().to_string());
        if let Some(token) = &self.credentials.token {
            say(sign::SECURITY_TOKEN, token.expose());
        }
        call.accept.iter().for_each(|(name, value)| say(name, value));
        let Credentials { id, secret, .. } = &self.credentials;
        let authorization = match &self.signature {
            Signature::V1 => {
                say("x-log-signaturemethod", "hmac-sha1");
                if !call.body.is_empty() {
                    say("content-md5", &sign::content_md5(&call.body));
                }
                let signature = sign::v1(secret, &call.signed(&headers));
                format!("LOG {id}:{signature}")
            }
            Signature::V4 { region } => {
                let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
                say(sign::DATE, &time);
                say(sign::CONTENT_SHA256, &sign::content_sha256(&call.body));
                let signature = sign::v4(secret, region, &call.signed(&headers));
                let scope = sign::scope(&time[..8], region);
                format!("SLS4-HMAC-SHA256 Credential={id}/{scope},Signature={signature}")
            }
        };
        headers.push(("authorization".into(), authorization));
        let query: Vec<(&str, &str)> =
            call.query.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let query = sign::encoded(&query);
        let target = if query.is_empty() { call.path.clone() } else { format!("{}?{query}", call.path) };
        let request = Request::builder().method(call.method.clone()).uri(target);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(name, value));
        // A token that is no header's value is not shown: the error names none.
        request.body(Full::new(call.body.clone())).map_err(|error| wrong(error.to_string()))
    }
}

impl<'a> Call<'a> {
    fn new(name: String, method: Method, path: String) -> Self {
        let (query, body, accept) = (Vec::new(), Bytes::new(), &[][..]);
        Self { name, method, path, query, body, accept, answer_max: ANSWER_MAX }
    }

    fn asking(mut self, key: &str, value: &str) -> Self {
        self.query.push((key.into(), value.into()));
        self
    }

    fn with_body(mut self, body: &serde_json::Value) -> Self {
        self.body = body.to_string().into();
        self
    }

    fn signed<'s>(&'s self, headers: &'s [(String, String)]) -> Signed<'s> {
        Signed { method: self.method.as_str(), path: &self.path, query: &self.query, headers }
    }
}

/// The log groups of an answer, and how many logs they hold; the inner error says how they are damaged. Headers that are not
/// understood say nothing about the log groups: something between the service and here may have changed them.
fn unpack(answer: &Answer) -> Result<Result<(Bytes, u64), String>, What> {
    let malformed = |why: String| What::Malformed(why);
    let size = answer.header("x-log-bodyrawsize");
    let size = match size.parse::<usize>() {
        Ok(size) => Some(size),
        Err(_) if size.is_empty() => None,
        Err(_) => return Err(malformed(format!("x-log-bodyrawsize is `{size}`"))),
    };
    if size.is_some_and(|size| size > PULL_MAX) {
        return Err(What::TooLarge(PULL_MAX));
    }
    let kind = answer.header("x-log-compresstype");
    let data = match (kind, size) {
        _ if answer.body.is_empty() => Bytes::new(),
        ("" | "none", _) => answer.body.clone(),
        (_, None) => return Err(malformed("without x-log-bodyrawsize".into())),
        ("lz4", Some(size)) => match lz4_flex::block::decompress(&answer.body, size) {
            Ok(unpacked) => unpacked.into(),
            Err(error) => return Ok(Err(format!("lz4: {error}"))),
        },
        ("zstd", Some(size)) => match zstd::bulk::decompress(&answer.body, size) {
            Ok(unpacked) => unpacked.into(),
            Err(error) => return Ok(Err(format!("zstd: {error}"))),
        },
        (other, Some(_)) => return Err(malformed(format!("packed as `{other}`, which was not asked for"))),
    };
    if let Some(size) = size.filter(|size| *size != data.len()) {
        return Ok(Err(format!("{} bytes, and {size} were announced", data.len())));
    }
    Ok(wire::count(&data).map(|logs| (data, logs)).map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: u32, status: &str, begin: &str, end: &str, created: i64) -> Shard {
        Shard { id, status: status.into(), begin: begin.into(), end: end.into(), created }
    }

    #[test]
    fn a_parent_was_closed_and_had_some_of_the_keys() {
        let parent = shard(0, "readonly", "00", "80", 5);
        let child = shard(2, "readwrite", "40", "80", 9);
        assert!(parent.is_parent_of(&child));
        assert!(!child.is_parent_of(&parent));
        assert!(!parent.is_parent_of(&shard(3, "readwrite", "80", "ff", 9)), "other keys");
        assert!(!shard(0, "readwrite", "00", "80", 5).is_parent_of(&child), "still written to");
        // A shard that two were merged into.
        assert!(shard(4, "READONLY", "80", "C0", 5).is_parent_of(&shard(6, "readwrite", "80", "ff", 9)));
    }

    #[test]
    fn an_answer_is_unpacked_within_its_limits() {
        let answer = |kind: &str, size: &str, body: &[u8]| {
            let mut headers = hyper::HeaderMap::new();
            for (name, value) in [("x-log-compresstype", kind), ("x-log-bodyrawsize", size)] {
                headers.insert(name, value.parse().expect("a header's value"));
            }
            unpack(&Answer { status: 200, headers, body: Bytes::copy_from_slice(body) })
        };
        let data = [0x0a, 0x02, 0x0a, 0x00];
        let lz4 = lz4_flex::block::compress(&data);
        let zstd = zstd::bulk::compress(&data, 3).expect("packed");
        for (kind, body) in [("lz4", &lz4[..]), ("zstd", &zstd[..]), ("", &data[..])] {
            assert_eq!(answer(kind, "4", body), Ok(Ok((Bytes::copy_from_slice(&data), 1))), "{kind}");
            assert!(matches!(answer(kind, "5", body), Ok(Err(_))), "{kind}: the log groups are damaged");
            assert!(answer(kind, "x", body).is_err(), "{kind}");
        }
        assert_eq!(answer("lz4", "99999999999", &lz4), Err(What::TooLarge(PULL_MAX)));
        assert!(answer("gzip", "4", &data).is_err(), "nothing is said about the log groups");
        assert!(answer("lz4", "", &lz4).is_err(), "nor here, where a header is lost");
        assert_eq!(answer("lz4", "0", b""), Ok(Ok((Bytes::new(), 0))));
    }
}
