//! The two signatures of Aliyun's object store.
//!
//! ```text
//!   1   OSS <id>:<base64(HMAC-SHA1(secret, text))>
//!       text   verb LF Content-MD5 LF Content-Type LF Date LF { x-oss-header:value LF } /bucket/key[?sub=resource&…]
//!   4   OSS4-HMAC-SHA256 Credential=<id>/<scope>,Signature=<hex(HMAC-SHA256(key, text))>
//!       scope  date/region/oss/aliyun_v4_request
//!       key    "aliyun_v4" + secret, and HMAC-SHA256 over each step of the scope
//!       text   OSS4-HMAC-SHA256 LF time LF scope LF hex(SHA-256(request))
//!       request  verb LF /bucket/key LF query LF { header:value LF } LF LF UNSIGNED-PAYLOAD
//! ```
//!
//! 4 needs the region, which an endpoint of Aliyun's names; where nobody knows it 1 is used. Headers are those that begin
//! with `x-oss-`, and in 4 `content-type` and `content-md5` as well; sorted, as the query is.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::{digest, hmac};

use super::super::access::AccessKey;

/// Parts of a query that name something else than the object itself.
const SUBRESOURCES: &[&str] = &["continuation-token", "partNumber", "security-token", "uploadId", "uploads"];
const PAYLOAD: &str = "UNSIGNED-PAYLOAD";

/// What is signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    pub verb: &'a str,
    pub bucket: &'a str,
    pub key: &'a str,
    pub query: &'a [(&'a str, &'a str)],
    /// `x-oss-` headers; names in lower case.
    pub headers: &'a [(&'static str, String)],
    pub now: Timestamp,
}

/// The headers that sign the request, in addition to those it has.
pub(super) fn signed(
    request: Request<'_>,
    key: &AccessKey,
    region: Option<&str>,
) -> Vec<(&'static str, String)> {
    let mut headers = request.headers.to_vec();
    if let Some(token) = &key.token {
        headers.push(("x-oss-security-token", token.expose().to_string()));
    }
    let authorization = match region {
        Some(region) => {
            headers.push(("x-oss-content-sha256", PAYLOAD.into()));
            headers.push(("x-oss-date", request.now.strftime("%Y%m%dT%H%M%SZ").to_string()));
            headers.sort();
            four(Request { headers: &headers, ..request }, key, region)
        }
        None => {
            headers.sort();
            let date = http_date(request.now);
            let authorization = one(Request { headers: &headers, ..request }, key, &date);
            headers.push(("date", date));
            authorization
        }
    };
    headers.push(("authorization", authorization));
    headers
}

fn one(request: Request<'_>, key: &AccessKey, date: &str) -> String {
    let Request { verb, bucket, key: object, query, headers, .. } = request;
    let headers: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let mut named: Vec<_> = query.iter().filter(|(name, _)| SUBRESOURCES.contains(name)).collect();
    named.sort();
    let named: Vec<String> = named.iter().map(|(name, value)| pair(name, value)).collect();
    let named = if named.is_empty() { String::new() } else { format!("?{}", named.join("&")) };
    let text = format!("{verb}\n\n\n{date}\n{headers}/{bucket}/{object}{named}");
    let secret = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key.secret.expose().as_bytes());
    format!("OSS {}:{}", key.id, STANDARD.encode(hmac::sign(&secret, text.as_bytes())))
}

fn four(request: Request<'_>, key: &AccessKey, region: &str) -> String {
    let Request { verb, bucket, key: object, query, headers, now } = request;
    let headers: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let path = encoded(&format!("/{bucket}/{object}"), true);
    let request = format!("{verb}\n{path}\n{}\n{headers}\n\n{PAYLOAD}", canonical(query));
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let scope = format!("{}/{region}/oss/aliyun_v4_request", now.strftime("%Y%m%d"));
    let digest = hex(digest::digest(&digest::SHA256, request.as_bytes()).as_ref());
    let text = format!("OSS4-HMAC-SHA256\n{time}\n{scope}\n{digest}");
    let mut secret = format!("aliyun_v4{}", key.secret.expose()).into_bytes();
    for step in scope.split('/') {
        secret = keyed(&secret, step);
    }
    format!("OSS4-HMAC-SHA256 Credential={}/{scope},Signature={}", key.id, hex(&keyed(&secret, &text)))
}

fn keyed(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

/// The query, sorted; also as it goes over the wire.
pub(super) fn canonical(query: &[(&str, &str)]) -> String {
    let mut pairs: Vec<String> =
        query.iter().map(|(name, value)| pair(&encoded(name, false), &encoded(value, false))).collect();
    pairs.sort();
    pairs.join("&")
}

fn pair(name: &str, value: &str) -> String {
    if value.is_empty() { name.to_string() } else { format!("{name}={value}") }
}

/// With everything but letters, digits and `-._~` in percent, and slashes where they are no steps of a path.
pub(super) fn encoded(text: &str, is_path: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'/' if is_path => out.push('/'),
            b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => out.push(byte.into()),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// As in the header `Date`.
fn http_date(now: Timestamp) -> String {
    now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(token: Option<&str>) -> AccessKey {
        AccessKey { id: "LTAIid".into(), secret: "s3cret".into(), token: token.map(Into::into) }
    }

    fn authorization(request: Request<'_>, key: &AccessKey, region: Option<&str>) -> String {
        let headers = signed(request, key, region);
        headers.into_iter().find(|(name, _)| *name == "authorization").expect("signed").1
    }

    /// The signatures are those that Aliyun's own client for Python makes of the same requests at the same time.
    #[test]
    fn signatures_are_those_of_aliyuns_own_client() {
        let now: Timestamp = "2026-11-22T00:47:05Z".parse().expect("a time");
        let headers = [("x-oss-forbid-overwrite", "true".to_string())];
        let put =
            Request { verb: "PUT", bucket: "logs", key: "a b/ü+1", query: &[], headers: &headers, now };
        let part = Request { query: &[("uploadId", "0004B/+="), ("partNumber", "3")], headers: &[], ..put };
        let list = Request {
            verb: "GET",
            key: "",
            query: &[("list-type", "2"), ("prefix", "tmp/a b"), ("continuation-token", "x=")],
            headers: &[],
            ..put
        };
        let found = [put, part, list]
            .map(|request| {
                [
                    authorization(request, &key(None), None),
                    authorization(request, &key(Some("sts")), Some("cn-hangzhou")),
                ]
            })
            .concat();
        let expected: Vec<&str> = include_str!("fixtures/signatures.txt").lines().collect();
        assert_eq!(found, expected);
    }
}
