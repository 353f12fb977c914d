//! `host`: a header with this machine's address or name.
//!
//! The address is what the host name resolves to, IPv4 first, as Java's `InetAddress.getLocalHost` has it; the name is
//! what that address resolves to, or the address where it resolves to nothing. Both are asked for when the source starts,
//! which waits for the answer, not when the configuration is read. Where the host name does not resolve, events go without
//! the header, as in Flume, but it is asked for again after a while: an agent may start before its network does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use flumen_api::batch::Batch;
use flumen_api::interceptor::Interceptor;
use flumen_api::registry::{Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems, settings};
use flumen_java::host::{address_text, canonical_text, local_host};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::shared::Memo;

/// How long a host name that did not resolve is not asked for again.
const RETRY: Duration = Duration::from_secs(60);
/// How long a source waits for the answer before it starts without. Resolvers mostly give up sooner.
const PATIENCE: Duration = Duration::from_secs(20);

settings! {
    /// Keys of the host interceptor.
    pub struct HostSettings {
        /// The address; with `false`, the canonical host name.
        pub use_ip: bool = key("useIP") { default: Some("true") },
        /// Name of the header.
        pub host_header: String = key("hostHeader") { default: Some("host") },
        /// An event that has the header keeps it as it is.
        pub preserve_existing: bool = key("preserveExisting") { default: Some("false") },
    }
}

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "host",
    class_names: &["org.apache.flume.interceptor.HostInterceptor$Builder"],
    keys: HostSettings::KEYS,
    doc: "Adds the address or the name of the host that the agent runs on as a header. Events go without it while the \
          host's name does not resolve.",
    factory: Factory::Interceptor(build),
};

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Box<dyn Interceptor>> {
    let settings = HostSettings::load(config, problems)?;
    let asked = Asked::new(Arc::new(resolve_local));
    Some(Box::new(Host { settings, host: None, asked, memo: Memo::default() }))
}

/// This host's address, or with `false` its name. May take a while.
type Resolve = dyn Fn(bool) -> Result<String, String> + Send + Sync;

struct Host {
    settings: HostSettings,
    /// The header's value, once it is known here.
    host: Option<String>,
    asked: Asked,
    memo: Memo,
}

#[async_trait]
impl Interceptor for Host {
    async fn start(&mut self) {
        if let Some(answered) = self.asked.ask(&self.settings) {
            // Without an answer in time, events go without the header, and the answer is taken when it comes.
            let _answered = tokio::time::timeout(PATIENCE, answered).await;
        }
    }

    fn intercept(&mut self, batch: &mut Batch) {
        let HostSettings { host_header, preserve_existing, .. } = &self.settings;
        if self.host.is_none() {
            self.asked.ask(&self.settings);
            self.host = self.asked.answer();
        }
        if let Some(host) = &self.host {
            self.memo.set_all(batch, host_header, host, *preserve_existing);
        }
    }
}

/// What the system was asked, on a thread of its own: nothing that serves others waits for it.
struct Asked {
    resolve: Arc<Resolve>,
    answer: Arc<Mutex<Answer>>,
}

enum Answer {
    NotAsked,
    OnItsWay,
    Known(String),
    Failed(Instant),
}

impl Asked {
    fn new(resolve: Arc<Resolve>) -> Self {
        Self { resolve, answer: Arc::new(Mutex::new(Answer::NotAsked)) }
    }

    fn answer(&self) -> Option<String> {
        match &*self.answer.lock() {
            Answer::Known(host) => Some(host.clone()),
            _ => None,
        }
    }

    /// Asks, unless that was done lately; what it returns ends with the answer.
    fn ask(&self, settings: &HostSettings) -> Option<oneshot::Receiver<()>> {
        let mut answer = self.answer.lock();
        let is_due = match &*answer {
            Answer::NotAsked => true,
            Answer::Failed(at) => at.elapsed() >= RETRY,
            Answer::OnItsWay | Answer::Known(_) => false,
        };
        if !is_due {
            return None;
        }
        let (use_ip, header) = (settings.use_ip, settings.host_header.clone());
        let failed = move |error: String| {
            tracing::warn!(
                %header,
                %error,
                "no host header: this host's name does not resolve; it is tried again in {RETRY:?}"
            );
            Answer::Failed(Instant::now())
        };
        let (answered, receiver) = oneshot::channel::<()>();
        let (resolve, place, failed_there) = (self.resolve.clone(), self.answer.clone(), failed.clone());
        let asks = std::thread::Builder::new().name("host-name".into()).spawn(move || {
            let found = resolve(use_ip).map_or_else(failed_there, Answer::Known);
            *place.lock() = found;
            drop(answered);
        });
        *answer = match asks {
            Ok(_detached) => Answer::OnItsWay,
            Err(error) => failed(format!("no thread to ask on: {error}")),
        };
        Some(receiver)
    }
}

fn resolve_local(use_ip: bool) -> Result<String, String> {
    let (_, address) = local_host()?;
    Ok(if use_ip { address_text(address) } else { canonical_text(address) })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use flumen_api::settings::Kind;

    use super::*;

    fn host(
        pairs: &[(&str, &str)],
        resolve: impl Fn(bool) -> Result<String, String> + Send + Sync + 'static,
    ) -> Host {
        let config = ComponentConfig::of(Kind::Interceptor, "i1", pairs);
        let settings = HostSettings::load(&config, &mut Problems::default()).expect("settings");
        Host { settings, host: None, asked: Asked::new(Arc::new(resolve)), memo: Memo::default() }
    }

    fn through(host: &mut Host) -> String {
        let mut batch = Batch::new();
        batch.push(b"x");
        host.intercept(&mut batch);
        batch.event(0).headers.to_string()
    }

    fn told(use_ip: bool) -> Result<String, String> {
        Ok(if use_ip { "10.0.0.1" } else { "h1.example.com" }.into())
    }

    #[tokio::test]
    async fn the_address_or_the_name_is_set_under_the_header_asked_for_from_the_first_event_on() {
        let mut plain = host(&[], told);
        plain.start().await;
        assert_eq!(through(&mut plain), "{host=10.0.0.1}");
        let mut named = host(&[("useIP", "false"), ("hostHeader", "hostname")], told);
        named.start().await;
        assert_eq!(through(&mut named), "{hostname=h1.example.com}");
    }

    #[test]
    fn a_resolver_that_does_not_answer_holds_up_no_event() {
        let (answer, answers) = mpsc::channel::<()>();
        let answers = Mutex::new(answers);
        let mut host = host(&[], move |use_ip| {
            answers.lock().recv().map_err(|error| error.to_string())?;
            told(use_ip)
        });
        assert_eq!((through(&mut host), through(&mut host)), ("{}".into(), "{}".into()));
        answer.send(()).unwrap();
        let begun = Instant::now();
        while through(&mut host) != "{host=10.0.0.1}" {
            assert!(begun.elapsed() < Duration::from_secs(60), "the answer is not taken");
            std::thread::yield_now();
        }
    }

    #[tokio::test]
    async fn events_go_without_the_header_while_the_name_does_not_resolve_and_it_is_asked_for_again_later() {
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let mut host = host(&[], move |use_ip| match count.fetch_add(1, Ordering::AcqRel) {
            0 => Err("told to".into()),
            _ => told(use_ip),
        });
        host.start().await;
        assert_eq!((through(&mut host), through(&mut host)), ("{}".into(), "{}".into()));
        assert_eq!(asked.load(Ordering::Acquire), 1, "not asked again with each batch");
        *host.asked.answer.lock() = Answer::Failed(Instant::now().checked_sub(RETRY).unwrap());
        host.start().await;
        assert_eq!(through(&mut host), "{host=10.0.0.1}");
        through(&mut host);
        assert_eq!(asked.load(Ordering::Acquire), 2);
    }
}
