//! Access keys of Aliyun's: one that stays, or those of the machine's role, which hold for some hours.
//!
//! ```text
//!   GET <metadata>          the role's name          GET <metadata><name>     { AccessKeyId, …, Expiration }
//!
//!   fetched ───────────────────── 120 s before its end ─────────── its end
//!            used, nothing asked        one fetch at a time; used       no key without a fetch
//!                                       where that fails
//! ```

use std::fmt;
use std::time::Duration;

use flumen_tls::Secret;
use hyper::{Method, Request};
use jiff::Timestamp;
use object_store::client::HttpRequestBody;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::access::AccessKey;
use super::wire::Wire;

/// Where a machine of Aliyun's is told what its role is.
const METADATA: &str = "http://100.100.100.200/latest/meta-data/ram/security-credentials/";
/// A key is fetched anew so long before it expires.
const EXPIRES_SOON: Duration = Duration::from_secs(120);
/// How long a fetch may take, and how long after one that failed a key that holds is used without another.
const FETCH: Duration = Duration::from_secs(5);
const FETCH_AGAIN: Duration = Duration::from_secs(5);

/// Where an access key of Aliyun's comes from.
#[derive(Debug)]
pub(super) enum Keys {
    Fixed(AccessKey),
    Role(Box<Role>),
}

/// The role of a machine of Aliyun's.
pub(super) struct Role {
    wire: Wire,
    base: String,
    name: Option<String>,
    known: Mutex<Option<(AccessKey, Timestamp)>>,
    /// Locked while a key is fetched: when and why a fetch failed.
    fetching: tokio::sync::Mutex<Option<(Instant, String)>>,
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Role").field("base", &self.base).field("name", &self.name).finish_non_exhaustive()
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleAnswer {
    access_key_id: String,
    access_key_secret: String,
    security_token: String,
    expiration: String,
}

impl Keys {
    /// Those of the machine's role; of the one of this name, if it is known.
    pub fn role(wire: &Wire, name: Option<String>) -> Self {
        Self::Role(Box::new(Role::new(wire.clone(), METADATA.into(), name)))
    }

    /// The key that holds now.
    pub async fn get(&self) -> Result<AccessKey, String> {
        match self {
            Self::Fixed(key) => Ok(key.clone()),
            Self::Role(role) => role.get().await,
        }
    }

    /// Forgets a key that is refused; `false`, if there is no other to be had.
    pub fn forget(&self, key: &AccessKey) -> bool {
        let Self::Role(role) = self else { return false };
        let mut known = role.known.lock();
        if known.as_ref().is_some_and(|(known, _)| known == key) {
            *known = None;
        }
        true
    }
}

impl Role {
    fn new(wire: Wire, base: String, name: Option<String>) -> Self {
        Self { wire, base, name, known: Mutex::default(), fetching: tokio::sync::Mutex::default() }
    }

    /// The known key, if it holds for so long yet.
    fn known_for(&self, time: Duration) -> Option<AccessKey> {
        let until = Timestamp::now() + time;
        self.known.lock().as_ref().filter(|(_, expires)| *expires > until).map(|(key, _)| key.clone())
    }

    async fn get(&self) -> Result<AccessKey, String> {
        if let Some(key) = self.known_for(EXPIRES_SOON) {
            return Ok(key);
        }
        let came = Instant::now();
        let mut failed = match self.fetching.try_lock() {
            Ok(failed) => failed,
            Err(_locked) => match self.known_for(Duration::ZERO) {
                Some(key) => return Ok(key),
                None => self.fetching.lock().await,
            },
        };
        if let Some(key) = self.known_for(EXPIRES_SOON) {
            // Who was first has fetched it.
            return Ok(key);
        }
        let holds = self.known_for(Duration::ZERO);
        match (&*failed, holds) {
            (Some((at, _)), Some(holds)) if at.elapsed() < FETCH_AGAIN => return Ok(holds),
            // The one that was waited for.
            (Some((at, why)), None) if *at >= came => return Err(why.clone()),
            _ => {}
        }
        let slow = || Err(format!("no answer of {} within {} s", self.base, FETCH.as_secs()));
        let fetched = tokio::time::timeout(FETCH, self.fetch()).await.unwrap_or_else(|_elapsed| slow());
        *failed = fetched.as_ref().err().map(|why| (Instant::now(), why.clone()));
        fetched.or_else(|why| {
            let holds = self.known_for(Duration::ZERO).ok_or_else(|| why.clone())?;
            tracing::warn!("{why}: the role's key is not fetched anew; the one that is known holds yet");
            Ok(holds)
        })
    }

    async fn fetch(&self) -> Result<AccessKey, String> {
        let name = match &self.name {
            Some(name) => name.clone(),
            None => self.ask("").await?.lines().next().unwrap_or_default().trim().to_string(),
        };
        let text = self.ask(&name).await?;
        let answer: RoleAnswer = serde_json::from_str(&text)
            .map_err(|error| format!("what the machine says of its role {name} is no key: {error}"))?;
        let key = AccessKey {
            id: answer.access_key_id,
            secret: Secret::from(answer.access_key_secret.as_str()),
            token: Some(Secret::from(answer.security_token.as_str())),
        };
        let expires = answer
            .expiration
            .parse()
            .map_err(|error| format!("when the role {name}'s key expires: {error}"))?;
        *self.known.lock() = Some((key.clone(), expires));
        Ok(key)
    }

    async fn ask(&self, name: &str) -> Result<String, String> {
        let no_key = |why: String| {
            format!(
                "there is no access key in the sink's keys, core-site.xml or the environment, and the machine has no role: {why}"
            )
        };
        let request = Request::builder().method(Method::GET).uri(format!("{}{name}", self.base));
        let request = request.body(HttpRequestBody::empty()).map_err(|error| no_key(error.to_string()))?;
        let answer = self.wire.ask(request).await.map_err(|error| no_key(error.to_string()))?;
        match answer.status().is_success() {
            true => Ok(String::from_utf8_lossy(answer.body()).into_owned()),
            false => Err(no_key(format!("{} from {}", answer.status(), self.base))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

    use tokio::runtime::Handle;

    use super::super::Store;
    use super::super::emulator::{BUCKET, ID, Oss as Emulator, SECRET};
    use super::super::oss::Oss;
    use super::*;

    fn key(id: &str, secret: &str, token: &str, seconds: i64) -> String {
        let expires = Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
        format!(
            r#"{{"AccessKeyId":"{id}","AccessKeySecret":"{secret}","SecurityToken":"{token}","Expiration":"{expires}"}}"#
        )
    }

    /// Answers requests for paths, the first of which is number 1; ends with the process. Returns its URL, and how much it was asked.
    fn serve(
        answer: impl Fn(&str, usize) -> (&'static str, String) + Send + 'static,
    ) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let base = format!("http://{}/", listener.local_addr().expect("bound"));
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = [0; 4096];
                let Ok(length @ 1..) = stream.read(&mut request) else { continue };
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or_default();
                let (status, text) = answer(path, count.fetch_add(1, Ordering::SeqCst) + 1);
                let head =
                    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}", text.len());
                let _gone = stream.write_all(format!("{head}\r\n\r\n{text}").as_bytes());
            }
        });
        (base, asked)
    }

    /// Says that the key `k<n>` holds for so many seconds; nothing good, if they are negative.
    struct Machine {
        base: String,
        holds: Arc<AtomicI64>,
        asked: Arc<AtomicUsize>,
    }

    impl Machine {
        fn new() -> Self {
            let holds = Arc::new(AtomicI64::new(0));
            let seconds = holds.clone();
            let (base, asked) = serve(move |_, n| {
                let seconds = seconds.load(Ordering::SeqCst);
                let status = if seconds < 0 { "503 Busy" } else { "200 OK" };
                (status, key(&format!("k{n}"), "s", "t", seconds))
            });
            Self { base, holds, asked }
        }

        fn role(&self) -> Arc<Role> {
            let wire = Wire::new(&Handle::current()).expect("a client");
            Arc::new(Role::new(wire, self.base.clone(), Some("r".into())))
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::SeqCst)
        }
    }

    async fn id(role: &Role) -> Result<String, String> {
        role.get().await.map(|key| key.id)
    }

    #[tokio::test]
    async fn a_key_that_expires_soon_is_used_while_no_other_is_to_be_had() {
        let machine = Machine::new();
        let role = machine.role();
        machine.holds.store(100, Ordering::SeqCst);
        assert_eq!(id(&role).await, Ok("k1".into()));
        machine.holds.store(-1, Ordering::SeqCst);
        assert_eq!(id(&role).await, Ok("k1".into()));
        assert_eq!(machine.asked(), 2, "another one was looked for");
        // One that has expired is not.
        let key = role.get().await.expect("a key");
        *role.known.lock() = Some((key, Timestamp::now()));
        assert!(id(&role).await.is_err_and(|why| why.contains("503")));
        machine.holds.store(3600, Ordering::SeqCst);
        let fresh = id(&role).await.expect("a key");
        let asked = machine.asked();
        assert_eq!(id(&role).await, Ok(fresh));
        assert_eq!(machine.asked(), asked);
    }

    #[tokio::test]
    async fn who_comes_while_a_key_is_fetched_fetches_none_of_their_own() {
        let machine = Machine::new();
        machine.holds.store(3600, Ordering::SeqCst);
        let role = machine.role();
        let all: Vec<_> = (0..20)
            .map(|_| {
                let role = role.clone();
                tokio::spawn(async move { id(&role).await })
            })
            .collect();
        for one in all {
            assert_eq!(one.await.expect("no panic"), Ok("k1".into()));
        }
        assert_eq!(machine.asked(), 1);
    }

    #[tokio::test]
    async fn a_role_is_found_by_itself_and_a_key_of_it_that_is_refused_is_fetched_anew() {
        let oss = Emulator::start();
        oss.set_token("t2", false);
        let (base, asked) = serve(|path, n| match (path, n) {
            ("/", _) => ("200 OK", "the-role\n".into()),
            ("/the-role", 2) => ("200 OK", key(ID, SECRET, "t1", 3600)),
            ("/the-role", _) => ("200 OK", key(ID, SECRET, "t2", 3600)),
            _ => ("404 Not Found", String::new()),
        });
        let wire = Wire::new(&Handle::current()).expect("a client");
        let keys = Keys::Role(Box::new(Role::new(wire.clone(), base, None)));
        let store = Oss::new(wire, keys, &oss.endpoint(), BUCKET, None, 1);
        for _ in 0..3 {
            store.put("a", bytes::Bytes::from("x").into()).await.expect("put");
        }
        assert_eq!(oss.asked().len(), 4, "refused once");
        assert_eq!(asked.load(Ordering::SeqCst), 4, "name and key, twice");
    }
}
