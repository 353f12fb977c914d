//! An object store of Aliyun's kind in this process: requests are authenticated as the real one does it, and nothing is seen of an
//! upload before it is complete. It is checked against Aliyun's own client by `tests/support/oss/official.py`.
//!
//! Faults are ordered for requests that a test describes: see [`What`].

#![allow(dead_code, reason = "each test binary uses its own part of this")]

mod http;
mod objects;
mod sign;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The only bucket, and who may use it.
pub const BUCKET: &str = "bucket";
pub const ID: &str = "emulators-id";
pub const SECRET: &str = "emulators-secret";

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
    /// It is done once [`Oss::let_go`] says this number, whether anybody waits for the answer or not.
    Hold(u8),
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
    /// Numbers of what is held no more.
    let_go: BTreeSet<u8>,
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
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
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
                thread::spawn(move || drop(http::serve(&stream, &state)));
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

    /// Does what was held with this number, and holds nothing with it any more.
    pub fn let_go(&self, number: u8) {
        locked(&self.state).let_go.insert(number);
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

fn now(state: &Mutex<State>) -> jiff::Timestamp {
    jiff::Timestamp::now() + jiff::SignedDuration::from_secs(locked(state).ahead)
}
