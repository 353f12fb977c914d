//! Aliyun's object store in its own dialect: S3's verbs, with other signatures, headers and error codes.
//!
//! ```text
//!   PUT    /key                                    x-oss-forbid-overwrite: true, x-oss-meta-flumen: <mark>
//!   GET    /key      HEAD /key      DELETE /key
//!   GET    /?list-type=2&prefix=…                  by pages
//!   POST   /key?uploads                            -> <UploadId>
//!   PUT    /key?partNumber=N&uploadId=…            -> ETag
//!   POST   /key?uploadId=…                         x-oss-forbid-overwrite: true; <Part> by <Part>
//!   DELETE /key?uploadId=…
//!   GET    /?uploads&prefix=…                      by pages
//! ```
//!
//! A request that failed for a reason that passes is sent again for some seconds: no connection, 5xx, 429, 408. A clock that
//! is wrong is corrected by the store's; a token that has expired is fetched anew, where it comes from the machine's role.

mod sign;

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use hyper::header::{DATE, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use jiff::{SignedDuration, Timestamp};
use object_store::PutPayload;
use object_store::client::HttpRequestBody;

use super::access::AccessKey;
use super::role::Keys;
use super::wire::{Wire, WireError};
use super::{Begun, Found, Kind, Store, StoreError, Upload};

/// How long one call is tried, and the pauses between.
const TRY_FOR: Duration = Duration::from_secs(20);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(3);
const MARK: &str = "x-oss-meta-flumen";
/// Names in one page of a list, and how many names a list may have.
const PAGE: &str = "1000";
const NAMES_MAX: usize = 1_000_000;

/// A key or a value of a query, in percent.
pub(super) fn encoded(text: &str) -> String {
    sign::encoded(text, false)
}

/// A bucket of Aliyun's.
#[derive(Debug)]
pub(super) struct Oss {
    wire: Wire,
    keys: Keys,
    bucket: String,
    place: Place,
    /// Where the fourth signature can be made.
    region: Option<String>,
    least_part: u64,
    /// Milliseconds by which the store's clock is ahead of this machine's.
    ahead: AtomicI64,
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// `https://bucket.oss-cn-hangzhou.aliyuncs.com`, or `http://127.0.0.1:80/bucket` where an address cannot have one in front.
    base: String,
}

impl Place {
    fn of(endpoint: &str, bucket: &str) -> Self {
        let (scheme, host) = endpoint.split_once("://").unwrap_or(("https", endpoint));
        let host = host.trim_end_matches('/');
        let name = host.rsplit_once(':').map_or(host, |(name, _port)| name);
        let is_address =
            name == "localhost" || name.parse::<std::net::Ipv4Addr>().is_ok() || name.starts_with('[');
        let base = match is_address {
            true => format!("{scheme}://{host}/{bucket}"),
            false => format!("{scheme}://{bucket}.{host}"),
        };
        Self { base }
    }
}

/// The region that an endpoint of Aliyun's names.
fn region_of(endpoint: &str) -> Option<String> {
    let host = endpoint.split_once("://").map_or(endpoint, |(_, host)| host);
    let (first, rest) = host.split_once('.')?;
    let region = first.strip_prefix("oss-")?;
    let region = region.strip_suffix("-internal").unwrap_or(region);
    (rest.starts_with("aliyuncs.com") && !region.starts_with("accelerate")).then(|| region.to_string())
}

/// What is asked.
struct Ask<'a> {
    method: Method,
    key: &'a str,
    query: &'a [(&'a str, &'a str)],
    headers: &'a [(&'static str, String)],
    body: PutPayload,
}

impl<'a> Ask<'a> {
    fn new(method: Method, key: &'a str) -> Self {
        Self { method, key, query: &[], headers: &[], body: PutPayload::new() }
    }
}

/// What became of one try.
enum Tried {
    Answer(Response<Bytes>),
    /// May be better in a moment; why it failed, and what that means if it is not.
    Later(StoreError),
    /// May be better at once, if something was wrong that was put right.
    Again(StoreError),
}

impl Oss {
    /// A bucket at an endpoint; `region` if the endpoint's name does not say it.
    pub fn new(
        wire: Wire,
        keys: Keys,
        endpoint: &str,
        bucket: &str,
        region: Option<String>,
        least_part: u64,
    ) -> Self {
        Self {
            wire,
            keys,
            bucket: bucket.to_string(),
            place: Place::of(endpoint, bucket),
            region: region.or_else(|| region_of(endpoint)),
            least_part,
            ahead: AtomicI64::new(0),
        }
    }

    /// The answer, if it is a good one.
    async fn ask(&self, ask: Ask<'_>) -> Result<Response<Bytes>, StoreError> {
        let deadline = Instant::now() + TRY_FOR;
        let (mut pause, mut again) = (FIRST_PAUSE, true);
        loop {
            let error = match self.ask_once(&ask).await? {
                Tried::Answer(answer) => return Ok(answer),
                Tried::Again(_) if again => {
                    again = false;
                    continue;
                }
                Tried::Again(error) => return Err(error),
                Tried::Later(error) => error,
            };
            if Instant::now() + pause > deadline {
                return Err(error);
            }
            // Not all of a sink's files at the same moment.
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn ask_once(&self, ask: &Ask<'_>) -> Result<Tried, StoreError> {
        let key = self.keys.get().await.map_err(|why| StoreError::new(Kind::Refused, why))?;
        let request = self.request(ask, &key)?;
        let answer = match self.wire.ask(request).await {
            Ok(answer) => answer,
            Err(error @ WireError::Connect(_)) => {
                return Ok(Tried::Later(StoreError::new(Kind::Refused, error.to_string())));
            }
            Err(error) => return Ok(Tried::Later(StoreError::new(Kind::Unknown, error.to_string()))),
        };
        let status = answer.status().as_u16();
        if answer.status().is_success() {
            return Ok(Tried::Answer(answer));
        }
        let said = Said::of(&answer);
        let why = said.why(status);
        let error = |kind| StoreError::new(kind, why.clone());
        Ok(match (status, said.code.as_str()) {
            (_, "RequestTimeTooSkewed") if self.set_clock(&answer) => Tried::Again(error(Kind::Refused)),
            (_, "SecurityTokenExpired" | "InvalidSecurityToken" | "InvalidAccessKeyId")
                if self.keys.forget(&key) =>
            {
                Tried::Again(error(Kind::Refused))
            }
            (500..600, _) => Tried::Later(error(Kind::Unknown)),
            (408 | 429, _) => Tried::Later(error(Kind::Refused)),
            (409 | 412, "FileAlreadyExists") => return Err(error(Kind::Exists)),
            (404, "NoSuchBucket") => return Err(error(Kind::Refused)),
            (404, _) => return Err(error(Kind::Missing)),
            (400, "InvalidObjectName") => return Err(error(Kind::Name)),
            _ => return Err(error(Kind::Refused)),
        })
    }

    fn request(&self, ask: &Ask<'_>, key: &AccessKey) -> Result<Request<HttpRequestBody>, StoreError> {
        let now = Timestamp::now();
        let ahead = SignedDuration::from_millis(self.ahead.load(Ordering::Relaxed));
        let request = sign::Request {
            verb: ask.method.as_str(),
            bucket: &self.bucket,
            key: ask.key,
            query: ask.query,
            headers: ask.headers,
            now: now.checked_add(ahead).unwrap_or(now),
        };
        let headers = sign::signed(request, key, self.region.as_deref());
        let mut uri = format!("{}/{}", self.place.base, sign::encoded(ask.key, true));
        if !ask.query.is_empty() {
            uri.push('?');
            uri.push_str(&sign::canonical(ask.query));
        }
        let mut builder = Request::builder().method(ask.method.clone()).uri(uri);
        if let Some(to) = builder.headers_mut() {
            for (name, value) in headers {
                let mut value = HeaderValue::from_str(&value)
                    .map_err(|error| StoreError::new(Kind::Refused, format!("header {name}: {error}")))?;
                value.set_sensitive(true);
                to.insert(HeaderName::from_static(name), value);
            }
        }
        let request = builder.body(HttpRequestBody::from(ask.body.clone()));
        request.map_err(|error| StoreError::new(Kind::Name, error.to_string()))
    }

    /// Goes by the store's clock from now on.
    fn set_clock(&self, answer: &Response<Bytes>) -> bool {
        let Some(date) = answer.headers().get(DATE).and_then(|date| date.to_str().ok()) else { return false };
        let Ok(theirs) = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(date) else {
            return false;
        };
        let ahead = theirs.duration_since(Timestamp::now()).as_millis();
        self.ahead.store(i64::try_from(ahead).unwrap_or_default(), Ordering::Relaxed);
        tracing::warn!("the store's clock is {ahead} ms ahead of this machine's: requests are dated by it");
        true
    }

    /// Pages of a list: the texts that are wanted of each element, and the names of the marks that lead to the next page.
    async fn pages<const N: usize>(
        &self,
        query: &[(&str, &str)],
        element: &str,
        wanted: [&str; N],
        marks: &[(&'static str, &'static str)],
    ) -> Result<Vec<[String; N]>, StoreError> {
        let mut found = Vec::new();
        let mut next: Vec<(&str, String)> = Vec::new();
        loop {
            let mut query = query.to_vec();
            query.extend(next.iter().map(|(name, value)| (*name, value.as_str())));
            let answer = self.ask(Ask { query: &query, ..Ask::new(Method::GET, "") }).await?;
            let text = std::str::from_utf8(answer.body()).map_err(|error| garbled(&error.to_string()))?;
            let document = roxmltree::Document::parse(text).map_err(|error| garbled(&error.to_string()))?;
            let root = document.root_element();
            for child in root.children().filter(|child| child.has_tag_name(element)) {
                found.push(wanted.map(|name| decoded(&child_text(&child, name).unwrap_or_default())));
            }
            let is_more = child_text(&root, "IsTruncated").is_some_and(|text| text == "true");
            next = marks
                .iter()
                .filter_map(|(mark, name)| Some((*mark, decoded(&child_text(&root, name)?))))
                .collect();
            if !is_more || next.is_empty() {
                return Ok(found);
            }
            if found.len() > NAMES_MAX {
                return Err(StoreError::new(Kind::Refused, format!("more than {NAMES_MAX} names")));
            }
        }
    }
}

fn garbled(why: &str) -> StoreError {
    StoreError::new(Kind::Unknown, format!("the answer is no list: {why}"))
}

fn child_text(node: &roxmltree::Node<'_, '_>, name: &str) -> Option<String> {
    let child = node.children().find(|child| child.tag_name().name() == name)?;
    Some(child.text().unwrap_or_default().to_string())
}

/// From the percent encoding of `encoding-type=url`.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| *byte == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What an answer that is not good says.
#[derive(Default)]
struct Said {
    code: String,
    message: String,
    request: String,
}

impl Said {
    fn of(answer: &Response<Bytes>) -> Self {
        let text = std::str::from_utf8(answer.body()).unwrap_or_default();
        let Ok(document) = roxmltree::Document::parse(text) else { return Self::default() };
        let text = |name| child_text(&document.root_element(), name).unwrap_or_default();
        Self { code: text("Code"), message: text("Message"), request: text("RequestId") }
    }

    fn why(&self, status: u16) -> String {
        match self.code.is_empty() {
            true => format!("the store answers {status}"),
            false => format!("{status} {}: {} (request {})", self.code, self.message, self.request),
        }
    }
}

#[async_trait]
impl Store for Oss {
    async fn put(&self, key: &str, bytes: PutPayload) -> Result<(), StoreError> {
        self.ask(Ask { body: bytes, ..Ask::new(Method::PUT, key) }).await?;
        Ok(())
    }

    async fn put_new(&self, key: &str, bytes: PutPayload, mark: &str) -> Result<(), StoreError> {
        let headers = [("x-oss-forbid-overwrite", "true".to_string()), (MARK, mark.to_string())];
        self.ask(Ask { body: bytes, headers: &headers, ..Ask::new(Method::PUT, key) }).await?;
        Ok(())
    }

    async fn look(&self, key: &str) -> Result<Option<Found>, StoreError> {
        // A HEAD has no body to say whether it is the bucket that is missing.
        let answer = match self.ask(Ask::new(Method::HEAD, key)).await {
            Err(error) if error.is_missing() => return Ok(None),
            other => other?,
        };
        let header = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let length = header("content-length").and_then(|text| text.parse().ok());
        let length = length.ok_or_else(|| StoreError::new(Kind::Unknown, "an object without a length"))?;
        Ok(Some(Found { length, mark: header(MARK).map(str::to_string) }))
    }

    async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        Ok(self.ask(Ask::new(Method::GET, key)).await?.into_body())
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        match self.ask(Ask::new(Method::DELETE, key)).await {
            Err(error) if !error.is_missing() => Err(error),
            _ => Ok(()),
        }
    }

    async fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let query = [("encoding-type", "url"), ("list-type", "2"), ("max-keys", PAGE), ("prefix", prefix)];
        let marks = [("continuation-token", "NextContinuationToken")];
        let found = self.pages(&query, "Contents", ["Key"], &marks).await?;
        Ok(found.into_iter().map(|[key]| key).collect())
    }

    async fn begin(&self, key: &str, mark: &str) -> Result<Upload, StoreError> {
        let headers = [("x-oss-forbid-overwrite", "true".to_string()), (MARK, mark.to_string())];
        let ask = Ask { query: &[("uploads", "")], headers: &headers, ..Ask::new(Method::POST, key) };
        let answer = self.ask(ask).await?;
        let text = std::str::from_utf8(answer.body()).unwrap_or_default();
        let id = roxmltree::Document::parse(text)
            .ok()
            .and_then(|document| child_text(&document.root_element(), "UploadId"))
            .ok_or_else(|| StoreError::new(Kind::Unknown, "the answer names no upload"))?;
        Ok(Upload { id, is_marked: true })
    }

    async fn part(
        &self,
        key: &str,
        upload: &str,
        number: usize,
        bytes: PutPayload,
    ) -> Result<String, StoreError> {
        let number = (number + 1).to_string();
        let query = [("partNumber", number.as_str()), ("uploadId", upload)];
        let answer = self.ask(Ask { query: &query, body: bytes, ..Ask::new(Method::PUT, key) }).await?;
        let tag = answer.headers().get("etag").and_then(|tag| tag.to_str().ok());
        Ok(tag.ok_or_else(|| StoreError::new(Kind::Unknown, "a part without a tag"))?.to_string())
    }

    async fn complete(&self, key: &str, upload: &str, tags: Vec<String>) -> Result<(), StoreError> {
        let mut text = String::from("<CompleteMultipartUpload>");
        for (number, tag) in tags.iter().enumerate() {
            let tag = tag.replace('&', "&amp;").replace('<', "&lt;");
            text.push_str(&format!("<Part><PartNumber>{}</PartNumber><ETag>{tag}</ETag></Part>", number + 1));
        }
        text.push_str("</CompleteMultipartUpload>");
        let headers = [("x-oss-forbid-overwrite", "true".to_string())];
        let query = [("uploadId", upload)];
        let ask = Ask { query: &query, headers: &headers, body: text.into(), ..Ask::new(Method::POST, key) };
        self.ask(ask).await?;
        Ok(())
    }

    async fn abort(&self, key: &str, upload: &str) -> Result<(), StoreError> {
        let query = [("uploadId", upload)];
        match self.ask(Ask { query: &query, ..Ask::new(Method::DELETE, key) }).await {
            Err(error) if !error.is_missing() => Err(error),
            _ => Ok(()),
        }
    }

    async fn uploads(&self, prefix: &str) -> Result<Vec<Begun>, StoreError> {
        let query = [("encoding-type", "url"), ("max-uploads", PAGE), ("prefix", prefix), ("uploads", "")];
        let marks = [("key-marker", "NextKeyMarker"), ("upload-id-marker", "NextUploadIdMarker")];
        let found = self.pages(&query, "Upload", ["Key", "UploadId"], &marks).await?;
        Ok(found.into_iter().map(|[key, id]| Begun { key, id }).collect())
    }

    fn least_part(&self) -> u64 {
        self.least_part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_stand_in_front_of_names_and_behind_addresses() {
        for (endpoint, base) in [
            ("oss-cn-hangzhou.aliyuncs.com", "https://b.oss-cn-hangzhou.aliyuncs.com"),
            (
                "http://oss-cn-hangzhou-internal.aliyuncs.com/",
                "http://b.oss-cn-hangzhou-internal.aliyuncs.com",
            ),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/b"),
            ("localhost", "https://localhost/b"),
        ] {
            assert_eq!(Place::of(endpoint, "b").base, base);
        }
    }

    #[test]
    fn an_endpoint_of_aliyuns_names_its_region() {
        for (endpoint, region) in [
            ("https://oss-cn-hangzhou.aliyuncs.com", Some("cn-hangzhou")),
            ("oss-us-west-1-internal.aliyuncs.com", Some("us-west-1")),
            ("oss-accelerate.aliyuncs.com", None),
            ("http://127.0.0.1:80", None),
            ("oss-x.example.org", None),
        ] {
            assert_eq!(region_of(endpoint).as_deref(), region, "{endpoint}");
        }
    }

    #[test]
    fn names_of_a_list_are_decoded() {
        assert_eq!(decoded("a%20b/%C3%BC%2B%"), "a b/ü+%");
    }
}
