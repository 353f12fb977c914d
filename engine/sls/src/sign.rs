//! Signatures: what proves to the service who asks.
//!
//! ```text
//!   version 1   Authorization: LOG <id>:<base64 HMAC-SHA1(secret, text)>
//!     text      METHOD \n Content-MD5 \n Content-Type \n Date \n (x-log-*, x-acs-*: name:value \n)… path?k=v&…
//!   version 4   Authorization: SLS4-HMAC-SHA256 Credential=<id>/<scope>,Signature=<hex HMAC-SHA256(key, text)>
//!     scope     yyyyMMdd/<region>/sls/aliyun_v4_request
//!     text      SLS4-HMAC-SHA256 \n x-log-date \n scope \n hex sha256(request)
//!     request   METHOD \n path \n query, encoded \n (content-type, host, x-log-*, x-acs-*: name:value \n)… \n names; \n x-log-content-sha256
//!     key       "aliyun_v4"+secret -> yyyyMMdd -> region -> "sls" -> "aliyun_v4_request", each an HMAC-SHA256
//! ```
//!
//! Names of headers are in lower case here.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use flumen_tls::Secret;
use md5::{Digest as _, Md5};
use ring::{digest, hmac};

/// The header that carries the version-4 time.
pub const DATE: &str = "x-log-date";
/// The header that carries the body's hash with version 4.
pub const CONTENT_SHA256: &str = "x-log-content-sha256";
/// The header that carries a token of temporary credentials.
pub const SECURITY_TOKEN: &str = "x-acs-security-token";

/// Who asks. Shows no secret in its `Debug`.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The access key's id.
    pub id: String,
    /// The access key.
    pub secret: Secret,
    /// The token of temporary credentials (STS).
    pub token: Option<Secret>,
}

/// How requests are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signature {
    /// HMAC-SHA1.
    V1,
    /// HMAC-SHA256, good in this region only.
    V4 {
        /// The region's id, such as `cn-hangzhou`.
        region: String,
    },
}

/// What is signed of a request.
#[derive(Clone, Copy, Debug)]
pub struct Signed<'a> {
    /// GET, POST, …
    pub method: &'a str,
    /// The path, not encoded.
    pub path: &'a str,
    /// The query's pairs, not encoded.
    pub query: &'a [(String, String)],
    /// All headers: names in lower case, and values.
    pub headers: &'a [(String, String)],
}

impl Signed<'_> {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(own, _)| own == name).map_or("", |(_, value)| value.trim())
    }

    /// Those whose names are taken, sorted.
    fn sorted(&self, is_taken: impl Fn(&str) -> bool) -> Vec<(&str, &str)> {
        let taken = self.headers.iter().filter(|(name, _)| is_taken(name));
        let mut taken: Vec<_> = taken.map(|(name, value)| (name.as_str(), value.trim())).collect();
        taken.sort_unstable();
        taken
    }

    fn sorted_query(&self) -> Vec<(&str, &str)> {
        let mut query: Vec<_> =
            self.query.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        query.sort_unstable();
        query
    }
}

/// The body's MD5 as version 1 has it.
pub fn content_md5(body: &[u8]) -> String {
    Md5::digest(body).iter().fold(String::with_capacity(32), |mut hex, byte| {
        write!(hex, "{byte:02X}").expect("a String takes all text");
        hex
    })
}

/// The body's SHA-256 as version 4 has it.
pub fn content_sha256(body: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, body).as_ref())
}

/// Version 1's signature, without what stands before it in the header.
pub fn v1(secret: &Secret, signed: &Signed<'_>) -> String {
    let mut text = signed.method.to_string();
    for name in ["content-md5", "content-type", "date"] {
        text.push('\n');
        text.push_str(signed.header(name));
    }
    text.push('\n');
    for (name, value) in signed.sorted(|name| name.starts_with("x-log-") || name.starts_with("x-acs-")) {
        text.extend([name, ":", value, "\n"]);
    }
    text.push_str(signed.path);
    for (i, (key, value)) in signed.sorted_query().into_iter().enumerate() {
        text.extend([if i == 0 { "?" } else { "&" }, key, "=", value]);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.expose().as_bytes());
    BASE64.encode(hmac::sign(&key, text.as_bytes()))
}

/// Version 4's signature, without what stands before it in the header. The headers have to hold [`DATE`] and
/// [`CONTENT_SHA256`].
pub fn v4(secret: &Secret, region: &str, signed: &Signed<'_>) -> String {
    let is_signed = |name: &str| {
        name == "content-type" || name == "host" || name.starts_with("x-log-") || name.starts_with("x-acs-")
    };
    let mut request = format!("{}\n{}\n{}\n", signed.method, signed.path, encoded(&signed.sorted_query()));
    let headers = signed.sorted(is_signed);
    for (name, value) in &headers {
        request.extend([name, ":", value, "\n"]);
    }
    let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    request.extend(["\n", &names.join(";"), "\n", signed.header(CONTENT_SHA256)]);
    let time = signed.header(DATE);
    let day = time.get(..8).unwrap_or(time);
    let text =
        format!("SLS4-HMAC-SHA256\n{time}\n{}\n{}", scope(day, region), content_sha256(request.as_bytes()));
    let mut key = format!("aliyun_v4{}", secret.expose()).into_bytes();
    for step in [day, region, "sls", "aliyun_v4_request"] {
        key = chain(&key, step);
    }
    hex(&chain(&key, &text))
}

/// What a version-4 signature is good for.
pub fn scope(day: &str, region: &str) -> String {
    format!("{day}/{region}/sls/aliyun_v4_request")
}

/// A query as it stands in a URL: `k=v` joined by `&`, the value percent-encoded, `=` left out before an empty one.
pub fn encoded(query: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (i, (key, value)) in query.iter().enumerate() {
        text.extend([if i == 0 { "" } else { "&" }, key]);
        if !value.is_empty() {
            text.push('=');
            percent(value, &mut text);
        }
    }
    text
}

fn percent(value: &str, text: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'.' | b'-' | b'~' => {
                text.push(char::from(byte))
            }
            _ => write!(text, "%{byte:02X}").expect("a String takes all text"),
        }
    }
}

fn chain(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes all text");
        hex
    })
}

/// Vectors that the official client for Python made.
#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    const EPOCH: (&str, &str) = ("date", "Thu, 01 Jan 1970 00:00:00 GMT");
    const VERSION: (&str, &str) = ("x-log-apiversion", "0.6.0");
    const METHOD: (&str, &str) = ("x-log-signaturemethod", "hmac-sha1");

    #[test]
    fn version_1_signs_as_the_official_client_does() {
        let secret = Secret::from("sk");
        let json = ("content-type", "application/json");
        let get = Signed {
            method: "GET",
            path: "/logstores/store/shards/0",
            query: &pairs(&[("type", "cursor"), ("from", "begin")]),
            headers: &pairs(&[EPOCH, VERSION, METHOD, json, ("x-log-bodyrawsize", "0"), ("host", "h")]),
        };
        assert_eq!(v1(&secret, &get), "/MqnbZDFA4X/TyfICR2dmhCnWMU=");
        let headers = pairs(&[
            EPOCH,
            VERSION,
            METHOD,
            json,
            ("x-log-bodyrawsize", "0"),
            ("host", "h"),
            (SECURITY_TOKEN, "sts"),
        ]);
        assert_eq!(v1(&secret, &Signed { headers: &headers, ..get }), "EukyN4aB7McobpG4evFk47F1/90=");
        let md5 = content_md5(b"hello");
        assert_eq!(md5, "5D41402ABC4B2A76B9719D911017C592");
        let protobuf = ("content-type", "application/x-protobuf");
        let headers =
            pairs(&[EPOCH, VERSION, METHOD, protobuf, ("x-log-bodyrawsize", "5"), ("content-md5", &md5)]);
        let post =
            Signed { method: "POST", path: "/logstores/store/shards/lb", query: &[], headers: &headers };
        assert_eq!(v1(&secret, &post), "IwPOSEZ7QqDTNNJKkklVwg2A5rk=");
    }

    #[test]
    fn version_4_signs_as_the_official_client_does() {
        let headers = |kind, size, body: &[u8]| {
            pairs(&[
                ("host", "proj.cn-x.log.aliyuncs.com"),
                VERSION,
                ("content-type", kind),
                ("x-log-bodyrawsize", size),
                (DATE, "19700101T000000Z"),
                (CONTENT_SHA256, &content_sha256(body)),
            ])
        };
        let sign = |method, path, query: &[(&str, &str)], headers: &[(String, String)]| {
            v4(&Secret::from("sk"), "cn-x", &Signed { method, path, query: &pairs(query), headers })
        };
        let json = headers("application/json", "0", b"");
        assert_eq!(
            sign("GET", "/logstores/store/shards/0", &[("from", "begin"), ("type", "cursor")], &json),
            "6d6d91533ebf3184fef3bdf7bd1e016f5db8a5fe780fb72f9a455b6cc15feaad"
        );
        assert_eq!(
            sign(
                "POST",
                "/logstores/store/shards/lb",
                &[],
                &headers("application/x-protobuf", "5", b"hello")
            ),
            "99ee8e328999bc2111ae498d164e1c06b9d3d8fb698ad778ef981b080cb13af1"
        );
        assert_eq!(
            sign("GET", "/logstores/store/consumergroups/g", &[("a b", "x ~*/\u{4e2d}"), ("e", "")], &json),
            "22433a26b705f8ab7c130ec2ab3276ed563b4a8ef4c15094b70f5f7da8e3508f"
        );
    }

    #[test]
    fn no_secret_is_shown() {
        let credentials = Credentials { id: "i".into(), secret: "hush".into(), token: Some("hush".into()) };
        assert!(!format!("{credentials:?}").contains("hush"));
    }
}
