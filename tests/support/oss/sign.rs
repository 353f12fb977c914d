//! Who asks: the store's two signatures, its clock, and the token.

use std::collections::BTreeMap;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac};

use super::http::encoded;
use super::{Answer, Asked, BUCKET, ID, SECRET, State, locked, now};

const SKEW_MAX: i64 = 900;
/// Parts of a query that the first signature is over.
const SUBRESOURCES: &[&str] = &[
    "acl",
    "append",
    "bucketInfo",
    "continuation-token",
    "delete",
    "location",
    "objectMeta",
    "partNumber",
    "position",
    "security-token",
    "stat",
    "uploadId",
    "uploads",
];
/// Whether whoever asks knows the secret; checked as the store's documentation has it, and not with the client's own code.
pub(super) fn authenticate(asked: &Asked, state: &Mutex<State>) -> Result<(), Answer> {
    let now = now(state).as_second();
    let token = locked(state).token.clone();
    if let Some((token, has_expired)) = token {
        if asked.header("x-oss-security-token") != token {
            return Err(Answer::error(403, "InvalidSecurityToken"));
        }
        if has_expired {
            return Err(Answer::error(403, "SecurityTokenExpired"));
        }
    }
    let authorization = asked.header("authorization");
    let (expected, date) = match authorization.strip_prefix("OSS4-HMAC-SHA256 ") {
        Some(rest) => four(asked, rest)?,
        None => one(asked),
    };
    let dated = if asked.header("x-oss-date").is_empty() { asked.header("date") } else { &date };
    let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(dated).map(|at| at.as_second());
    let at = at.or_else(|_| {
        jiff::fmt::strtime::parse("%Y%m%dT%H%M%SZ", dated)
            .and_then(|parsed| parsed.to_datetime())
            .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC))
            .map(|time| time.timestamp().as_second())
    });
    match at {
        Err(_) => return Err(Answer::error(403, "AccessDenied")),
        Ok(at) if (at - now).abs() > SKEW_MAX => return Err(Answer::error(403, "RequestTimeTooSkewed")),
        Ok(_) => {}
    }
    match authorization.replace(", ", ",") == expected {
        true => Ok(()),
        false => Err(Answer::error(403, "SignatureDoesNotMatch")),
    }
}

fn one(asked: &Asked) -> (String, String) {
    let date = match asked.header("x-oss-date") {
        "" => asked.header("date").to_string(),
        date => date.to_string(),
    };
    let named = asked.headers.iter().filter(|(name, _)| name.starts_with("x-oss-"));
    let headers: String = named.map(|(name, value)| format!("{name}:{value}\n")).collect();
    let pair =
        |name: &str, value: &str| if value.is_empty() { name.into() } else { format!("{name}={value}") };
    let named = asked.query.iter().filter(|(name, _)| SUBRESOURCES.contains(&name.as_str()));
    let named: Vec<String> = named.map(|(name, value)| pair(name, value)).collect();
    let named = if named.is_empty() { String::new() } else { format!("?{}", named.join("&")) };
    let text = format!(
        "{}\n{}\n{}\n{date}\n{headers}/{BUCKET}/{}{named}",
        asked.method,
        asked.header("content-md5"),
        asked.header("content-type"),
        asked.key
    );
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, SECRET.as_bytes());
    (format!("OSS {ID}:{}", STANDARD.encode(hmac::sign(&key, text.as_bytes()))), date)
}

fn four(asked: &Asked, authorization: &str) -> Result<(String, String), Answer> {
    let denied = || Answer::error(403, "AccessDenied");
    let fields: BTreeMap<&str, &str> =
        authorization.split(',').filter_map(|field| field.trim().split_once('=')).collect();
    let (id, scope) = fields.get("Credential").and_then(|text| text.split_once('/')).ok_or_else(denied)?;
    let more: Vec<&str> =
        fields.get("AdditionalHeaders").map_or(Vec::new(), |names| names.split(';').collect());
    let is_signed = |name: &str| {
        name.starts_with("x-oss-") || name == "content-type" || name == "content-md5" || more.contains(&name)
    };
    let headers = asked.headers.iter().filter(|(name, _)| is_signed(name));
    let headers: String = headers.map(|(name, value)| format!("{name}:{value}\n")).collect();
    let pair = |name: &str, value: &str| match value {
        "" => encoded(name, false),
        value => format!("{}={}", encoded(name, false), encoded(value, false)),
    };
    let mut query: Vec<String> = asked.query.iter().map(|(name, value)| pair(name, value)).collect();
    query.sort();
    let request = format!(
        "{}\n{}\n{}\n{headers}\n{}\n{}",
        asked.method,
        encoded(&format!("/{BUCKET}/{}", asked.key), true),
        query.join("&"),
        more.join(";"),
        asked.header("x-oss-content-sha256"),
    );
    let hex = |bytes: &[u8]| -> String { bytes.iter().map(|byte| format!("{byte:02x}")).collect() };
    let date = asked.header("x-oss-date").to_string();
    let digest = hex(digest::digest(&digest::SHA256, request.as_bytes()).as_ref());
    let text = format!("OSS4-HMAC-SHA256\n{date}\n{scope}\n{digest}");
    let mut key = format!("aliyun_v4{SECRET}").into_bytes();
    for step in scope.split('/').chain([text.as_str()]) {
        key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &key), step.as_bytes()).as_ref().to_vec();
    }
    let more = if more.is_empty() { String::new() } else { format!(",AdditionalHeaders={}", more.join(";")) };
    if id != ID {
        return Err(Answer::error(403, "InvalidAccessKeyId"));
    }
    Ok((format!("OSS4-HMAC-SHA256 Credential={id}/{scope}{more},Signature={}", hex(&key)), date))
}
