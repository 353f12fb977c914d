//! An object store of Aliyun's kind in this process: requests are authenticated as the real one does it, and nothing is seen of an
//! upload before it is complete. It is checked against Aliyun's own client by `tests/support/oss/official.py`.
//!
//! Faults are ordered for requests that a test describes: see [`What`].

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac};

/// The only bucket, and who may use it.
pub const BUCKET: &str = "bucket";
pub const ID: &str = "emulators-id";
pub const SECRET: &str = "emulators-secret";

/// Parts but the last have at least so many bytes, as the real store wants it.
const PART_MIN: usize = 100 << 10;
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

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    pub key: String,
    pub query: BTreeMap<String, String>,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Asked {
    /// As `PUT part`: the method, and what it is to the store.
    pub fn what(&self) -> String {
        let has = |name| self.query.contains_key(name);
        let kind = match () {
            () if has("partNumber") => "part",
            () if has("uploadId") && self.method == "POST" => "complete",
            () if has("uploadId") => "upload",
            () if has("uploads") && self.method == "POST" => "begin",
            () if has("uploads") => "uploads",
            () if self.key.is_empty() => "list",
            () => "object",
        };
        format!("{} {kind}", self.method)
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug)]
pub enum What {
    /// An answer with this status and code; nothing is done.
    Refuse(u16, &'static str),
    /// The answer takes so long.
    Slow(Duration),
    /// The connection is cut; nothing is done.
    Cut,
    /// The connection is cut; it is done.
    LoseAnswer,
}

type Matches = Box<dyn Fn(&Asked) -> bool + Send>;

struct Fault {
    matches: Matches,
    what: What,
    left: usize,
}

#[derive(Clone, Debug, Default)]
struct Object {
    body: Vec<u8>,
    length: usize,
    tag: String,
    meta: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default)]
struct Upload {
    key: String,
    meta: BTreeMap<String, String>,
    parts: BTreeMap<u32, Object>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Upload>,
    faults: Vec<Fault>,
    asked: Vec<String>,
    counter: u64,
    /// Seconds by which the store's clock is ahead.
    ahead: i64,
    /// The token that goes with the key, and whether it has expired.
    token: Option<(String, bool)>,
    forgets_bodies: bool,
}

/// A running store.
pub struct Oss {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stopped: Arc<AtomicBool>,
}

fn locked(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Oss {
    /// With an empty bucket, on a free port of this machine.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0")
    }

    /// The same at an address.
    pub fn start_at(address: &str) -> Self {
        let listener = TcpListener::bind(address).expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (state, stopped) = (Arc::<Mutex<State>>::default(), Arc::<AtomicBool>::default());
        let (shared, ended) = (state.clone(), stopped.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(stream), state) = (stream, shared.clone()) else { continue };
                // A connection that ends badly is the client's to notice.
                thread::spawn(move || drop(serve(&stream, &state)));
            }
        });
        Self { address, state, stopped }
    }

    /// For `hdfs.endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Keys and bytes of all objects.
    pub fn objects(&self) -> BTreeMap<String, Vec<u8>> {
        let state = locked(&self.state);
        state.objects.iter().map(|(key, object)| (key.clone(), object.body.clone())).collect()
    }

    /// Those that are not below the staging path.
    pub fn whole(&self) -> BTreeMap<String, Vec<u8>> {
        self.objects().into_iter().filter(|(key, _)| !key.starts_with("tmp/")).collect()
    }

    /// Bytes of whole objects, and of files of which so much is flushed.
    pub fn flushed_bytes(&self) -> usize {
        let state = locked(&self.state);
        let staged =
            state.objects.iter().filter(|(key, _)| key.starts_with("tmp/") && key.ends_with("/manifest"));
        let flushed = staged.map(|(_, manifest)| {
            let text = String::from_utf8_lossy(&manifest.body);
            let length = text.split_once("\"length\":").map_or("", |(_, rest)| rest);
            length.split(|c: char| !c.is_ascii_digit()).next().and_then(|text| text.parse().ok()).unwrap_or(0)
        });
        let flushed: usize = flushed.sum();
        let whole = state.objects.iter().filter(|(key, _)| !key.starts_with("tmp/"));
        flushed + whole.map(|(_, object)| object.length).sum::<usize>()
    }

    /// Manifests of files that are not completed.
    pub fn staged(&self) -> Vec<String> {
        self.objects()
            .into_keys()
            .filter(|key| key.starts_with("tmp/") && key.ends_with("/manifest"))
            .collect()
    }

    /// Keys of uploads that are neither completed nor thrown away.
    pub fn uploads(&self) -> Vec<String> {
        locked(&self.state).uploads.values().map(|upload| upload.key.clone()).collect()
    }

    /// Puts an object as somebody else would.
    pub fn put(&self, key: &str, body: &[u8]) {
        let object =
            Object { body: body.to_vec(), length: body.len(), tag: "\"0\"".into(), ..Object::default() };
        locked(&self.state).objects.insert(key.into(), object);
    }

    /// Begins an upload as somebody who then died.
    pub fn begin_upload(&self, key: &str) {
        let upload = Upload { key: key.into(), ..Upload::default() };
        let mut state = locked(&self.state);
        state.counter += 1;
        let id = format!("U{}", state.counter);
        state.uploads.insert(id, upload);
    }

    /// The next `times` requests that match go wrong.
    pub fn fail(&self, times: usize, what: What, matches: impl Fn(&Asked) -> bool + Send + 'static) {
        locked(&self.state).faults.push(Fault { matches: Box::new(matches), what, left: times });
    }

    /// Faults that have not happened yet.
    pub fn faults_left(&self) -> usize {
        locked(&self.state).faults.iter().map(|fault| fault.left).sum()
    }

    /// What was asked so far, as [`Asked::what`].
    pub fn asked(&self) -> Vec<String> {
        locked(&self.state).asked.clone()
    }

    /// Sets the store's clock ahead.
    pub fn set_ahead(&self, seconds: i64) {
        locked(&self.state).ahead = seconds;
    }

    /// Wants this token from now on; or says of it that it has expired.
    pub fn set_token(&self, token: &str, has_expired: bool) {
        locked(&self.state).token = Some((token.into(), has_expired));
    }

    /// Keeps how long objects are, and not their bytes.
    pub fn forget_bodies(&self) {
        locked(&self.state).forgets_bodies = true;
    }

    /// Bytes of all whole objects.
    pub fn whole_bytes(&self) -> usize {
        let state = locked(&self.state);
        let whole = state.objects.iter().filter(|(key, _)| !key.starts_with("tmp/"));
        whole.map(|(_, object)| object.length).sum()
    }
}

impl Drop for Oss {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
    }
}

struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// A HEAD says how long the object is that it does not show.
    length: Option<usize>,
}

impl Answer {
    fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), length: None }
    }

    fn xml(text: String) -> Self {
        let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{text}").into_bytes();
        Self { headers: vec![("Content-Type".into(), "application/xml".into())], body, ..Self::new(200) }
    }

    fn error(status: u16, code: &str) -> Self {
        let text = format!(
            "<Error><Code>{code}</Code><Message>{code}, says the emulator.</Message><RequestId>R1</RequestId></Error>"
        );
        Self { status, ..Self::xml(text) }
    }

    fn tagged(tag: &str) -> Self {
        Self { headers: vec![("ETag".into(), tag.into())], ..Self::new(200) }
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(256 << 10, stream.try_clone()?);
    while let Some(mut asked) = read(&mut reader)? {
        let what = {
            let mut state = locked(state);
            state.asked.push(asked.what());
            let fault = state.faults.iter_mut().find(|fault| fault.left > 0 && (fault.matches)(&asked));
            fault.map(|fault| {
                fault.left -= 1;
                fault.what
            })
        };
        let answer = match what {
            Some(What::Cut) => return Ok(()),
            Some(What::Refuse(status, code)) => Answer::error(status, code),
            Some(What::LoseAnswer) => {
                answer(&mut asked, state);
                return Ok(());
            }
            Some(What::Slow(pause)) => {
                thread::sleep(pause);
                answer(&mut asked, state)
            }
            None => answer(&mut asked, state),
        };
        write(stream, &asked, answer, state)?;
    }
    Ok(())
}

fn write(mut stream: &TcpStream, asked: &Asked, answer: Answer, state: &Mutex<State>) -> io::Result<()> {
    let length = answer.length.unwrap_or(answer.body.len());
    let date = now(state).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let mut head = format!(
        "HTTP/1.1 {} X\r\nDate: {date}\r\nServer: AliyunOSS\r\nx-oss-request-id: R1\r\n",
        answer.status
    );
    if answer.status != 204 {
        head.push_str(&format!("Content-Length: {length}\r\n"));
    }
    for (name, value) in answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    if asked.method != "HEAD" {
        bytes.extend(answer.body);
    }
    stream.write_all(&bytes)
}

fn now(state: &Mutex<State>) -> jiff::Timestamp {
    jiff::Timestamp::now() + jiff::SignedDuration::from_secs(locked(state).ahead)
}

fn read(reader: &mut impl BufRead) -> io::Result<Option<Asked>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default().to_string(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let path = decoded(path);
    let key = path.trim_start_matches('/').strip_prefix(BUCKET).unwrap_or_default();
    let key = key.strip_prefix('/').unwrap_or(key).to_string();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let query = pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decoded(name), decoded(value))
        })
        .collect();
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
    }
    let length: usize = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Asked { method, key, query, headers, body }))
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => (out.push(byte), at += 3),
            None => (out.push(bytes[at]), at += 1),
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn encoded(text: &str, is_path: bool) -> String {
    let byte = |byte: u8| match byte {
        b'/' if is_path => "/".to_string(),
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

fn answer(asked: &mut Asked, state: &Mutex<State>) -> Answer {
    if let Err(refused) = authenticate(asked, state) {
        return refused;
    }
    let mut guard = locked(state);
    act(asked, &mut guard)
}

/// Whether whoever asks knows the secret; checked as the store's documentation has it, and not with the client's own code.
fn authenticate(asked: &Asked, state: &Mutex<State>) -> Result<(), Answer> {
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

fn act(asked: &mut Asked, state: &mut State) -> Answer {
    let what = asked.what();
    state.counter += 1;
    let tag = format!("\"{:032X}\"", state.counter);
    let is_taken = asked.header("x-oss-forbid-overwrite") == "true" && state.objects.contains_key(&asked.key);
    let meta = || -> BTreeMap<String, String> {
        let named = asked.headers.iter().filter(|(name, _)| name.starts_with("x-oss-meta-"));
        named.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    match what.as_str() {
        "PUT object" if is_taken => Answer::error(409, "FileAlreadyExists"),
        "PUT object" => {
            let object = kept(
                std::mem::take(&mut asked.body),
                &tag,
                meta(),
                state.forgets_bodies && !asked.key.starts_with("tmp/"),
            );
            state.objects.insert(asked.key.clone(), object);
            Answer::tagged(&tag)
        }
        "GET object" | "HEAD object" => match state.objects.get(&asked.key) {
            None => Answer::error(404, "NoSuchKey"),
            Some(object) => Answer {
                headers: object
                    .meta
                    .clone()
                    .into_iter()
                    .chain([("ETag".into(), object.tag.clone())])
                    .collect(),
                body: object.body.clone(),
                length: (asked.method == "HEAD").then_some(object.length),
                ..Answer::new(200)
            },
        },
        "DELETE object" => {
            state.objects.remove(&asked.key);
            Answer::new(204)
        }
        "GET list" => list(asked, state),
        "POST begin" if is_taken => Answer::error(409, "FileAlreadyExists"),
        "POST begin" => {
            let id = format!("U{}", state.counter);
            let upload = Upload { key: asked.key.clone(), meta: meta(), parts: BTreeMap::new() };
            state.uploads.insert(id.clone(), upload);
            let key = asked.key.replace('&', "&amp;").replace('<', "&lt;");
            Answer::xml(format!(
                "<InitiateMultipartUploadResult><Bucket>{BUCKET}</Bucket><Key>{key}</Key><UploadId>{id}</UploadId>\
                 </InitiateMultipartUploadResult>"
            ))
        }
        "GET uploads" => uploads(asked, state),
        _ => of_upload(&what, asked, state, &tag, is_taken),
    }
}

fn kept(body: Vec<u8>, tag: &str, meta: BTreeMap<String, String>, forgets: bool) -> Object {
    let length = body.len();
    Object { body: if forgets { Vec::new() } else { body }, length, tag: tag.into(), meta }
}

fn of_upload(what: &str, asked: &mut Asked, state: &mut State, tag: &str, is_taken: bool) -> Answer {
    let id = asked.query.get("uploadId").cloned().unwrap_or_default();
    let Some(upload) = state.uploads.get_mut(&id).filter(|upload| upload.key == asked.key) else {
        return Answer::error(404, "NoSuchUpload");
    };
    match what {
        "PUT part" => {
            let number = asked.query.get("partNumber").and_then(|text| text.parse().ok()).unwrap_or(0);
            if !(1..=10_000).contains(&number) {
                return Answer::error(400, "InvalidArgument");
            }
            let part = kept(std::mem::take(&mut asked.body), tag, BTreeMap::new(), state.forgets_bodies);
            upload.parts.insert(number, part);
            Answer::tagged(tag)
        }
        "DELETE upload" => {
            state.uploads.remove(&id);
            Answer::new(204)
        }
        "POST complete" if is_taken => Answer::error(409, "FileAlreadyExists"),
        "POST complete" => {
            let text = String::from_utf8_lossy(&asked.body).into_owned();
            let field = |part: &str, name: &str| {
                let (_, rest) = part.split_once(&format!("<{name}>"))?;
                Some(rest.split_once('<')?.0.replace("&quot;", "\"").replace("&amp;", "&"))
            };
            let (mut object, mut before) = (Object { tag: tag.into(), ..Object::default() }, 0);
            let listed: Vec<&str> = text.split("<Part>").skip(1).collect();
            for (at, part) in listed.iter().enumerate() {
                let number = field(part, "PartNumber").and_then(|text| text.parse().ok()).unwrap_or(0);
                let named = field(part, "ETag").unwrap_or_default();
                let Some(found) = upload.parts.get(&number).filter(|found| {
                    found.tag.trim_matches('"') == named.trim_matches('"') && number > before
                }) else {
                    return Answer::error(400, "InvalidPart");
                };
                if found.length < PART_MIN && at + 1 < listed.len() {
                    return Answer::error(400, "EntityTooSmall");
                }
                before = number;
                object.body.extend(&found.body);
                object.length += found.length;
            }
            if before == 0 {
                return Answer::error(400, "MalformedXML");
            }
            object.meta = std::mem::take(&mut upload.meta);
            state.uploads.remove(&id);
            state.objects.insert(asked.key.clone(), object);
            let answer = Answer::xml(format!(
                "<CompleteMultipartUploadResult><Bucket>{BUCKET}</Bucket><ETag>{tag}</ETag></CompleteMultipartUploadResult>"
            ));
            Answer { headers: [answer.headers, vec![("ETag".into(), tag.into())]].concat(), ..answer }
        }
        _ => Answer::error(405, "MethodNotAllowed"),
    }
}

fn list(asked: &Asked, state: &State) -> Answer {
    let get = |name: &str| asked.query.get(name).cloned().unwrap_or_default();
    let (prefix, from) = (get("prefix"), get("continuation-token"));
    let most: usize = get("max-keys").parse().unwrap_or(100);
    let mut found: Vec<(&String, &Object)> =
        state.objects.iter().filter(|(key, _)| key.starts_with(&prefix) && **key > from).collect();
    let is_more = found.len() > most;
    found.truncate(most);
    let shown =
        |text: &str| if get("encoding-type") == "url" { encoded(text, false) } else { text.to_string() };
    let mut text = format!(
        "<ListBucketResult><Name>{BUCKET}</Name><Prefix>{}</Prefix><KeyCount>{}</KeyCount><IsTruncated>{is_more}</IsTruncated>",
        shown(&prefix),
        found.len()
    );
    if let Some((last, _)) = found.last().filter(|_| is_more) {
        text.push_str(&format!("<NextContinuationToken>{last}</NextContinuationToken>"));
    }
    if get("encoding-type") == "url" {
        text.push_str("<EncodingType>url</EncodingType>");
    }
    for (key, object) in found {
        text.push_str(&format!(
            "<Contents><Key>{}</Key><LastModified>2026-11-22T00:00:00.000Z</LastModified><ETag>{}</ETag><Type>Normal</Type>\
             <Size>{}</Size><StorageClass>Standard</StorageClass></Contents>",
            shown(key),
            object.tag,
            object.length
        ));
    }
    Answer::xml(format!("{text}</ListBucketResult>"))
}

fn uploads(asked: &Asked, state: &State) -> Answer {
    let get = |name: &str| asked.query.get(name).cloned().unwrap_or_default();
    let shown =
        |text: &str| if get("encoding-type") == "url" { encoded(text, false) } else { text.to_string() };
    let named = state.uploads.iter().filter(|(_, upload)| upload.key.starts_with(&get("prefix")));
    let named: String = named
        .map(|(id, upload)| {
            let key = shown(&upload.key);
            format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId><StorageClass>Standard</StorageClass><Initiated>2026-11-22T00:00:00.000Z</Initiated></Upload>")
        })
        .collect();
    let encoding = if get("encoding-type") == "url" { "<EncodingType>url</EncodingType>" } else { "" };
    Answer::xml(format!(
        "<ListMultipartUploadsResult><Bucket>{BUCKET}</Bucket>{encoding}<KeyMarker></KeyMarker><UploadIdMarker></UploadIdMarker><NextKeyMarker></NextKeyMarker><NextUploadIdMarker></NextUploadIdMarker>\
         <MaxUploads>1000</MaxUploads><IsTruncated>false</IsTruncated>{named}</ListMultipartUploadsResult>"
    ))
}
