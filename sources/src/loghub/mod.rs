//! The LogHub source: a logstore of Aliyun's Log Service, read as a member of a consumer group.
//!
//! ```text
//!   member  heartbeats: which shards are ours
//!      │ a task each
//!      v
//!   shard   pull ──> events ──> puts (events + progress) ──> tickets ──> checkpoint at the service ──> next pull
//!      │      ^─ one pull ahead
//!      v
//!   service  calls, tried again while there is hope
//! ```
//!
//! The checkpoint is where a pull began. It moves once every required channel has that pull's events, and no event of the next pull is
//! put before it has moved. So a kill repeats nothing where the shard stays (the channels know how far they got in the pull, `place`)
//! and at most one pull where another member gets it.

mod events;
mod lag;
mod member;
mod place;
mod service;
mod settings;
mod shard;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use flumen_api::registry::{Built, Factory, Spec};
use flumen_api::settings::{ComponentConfig, Kind, Problems};
use flumen_api::source::Runs;
use flumen_api::{Source, SourceContext, SourceError};
use flumen_sls::{Compression, Credentials, Endpoint, Options, Signature, Start};
use flumen_tls::ClientTls;

pub use settings::LogHubSettings;

/// Longest project, logstore, group and member; the service allows less.
const NAME_MAX: usize = 128;

/// The type's registration.
pub fn spec() -> Spec {
    Spec {
        alias: "loghub",
        class_names: &["org.apache.flume.source.loghub.LogHubSource"],
        keys: LogHubSettings::KEYS,
        doc: "Reads a logstore of Aliyun's Log Service as a member of a consumer group.",
        factory: Factory::Source(Runs::Task, build),
    }
}

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Built<dyn Source>> {
    let plan = Plan::from_config(config, problems)?;
    let batch_size = Some(("batchSize", plan.settings.batch_size));
    Some(Built { component: Box::new(LogHubSource(Arc::new(plan))), batch_size })
}

/// What the keys say.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The keys.
    pub settings: LogHubSettings,
    /// Whom to ask, as whom.
    pub options: Options,
    /// Where a new group begins.
    pub start: Start,
}

impl Plan {
    /// Reads the keys and reports all problems; touches nothing outside.
    pub fn from_config(config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let settings = LogHubSettings::load(config, problems)?;
        let before = problems.errors();
        let names = [
            ("project", Some(&settings.project)),
            ("logstore", Some(&settings.logstore)),
            ("consumerGroup", Some(&settings.consumer_group)),
            ("consumer", settings.consumer.as_ref()),
            ("region", settings.region.as_ref()),
        ];
        for (key, name) in names {
            if let Some(name) = name.filter(|name| !is_name(name)) {
                let message =
                    format!("`{name}` is no name: letters, digits, `-`, `_` and `.` are, {NAME_MAX} at most");
                problems.error(config, key, message);
            }
        }
        let endpoint = Endpoint::parse(&settings.endpoint, &settings.project);
        let endpoint = endpoint.map_err(|why| problems.error(config, "endpoint", why)).ok();
        let start = match settings.consumer_position.to_ascii_lowercase().as_str() {
            "begin" => Some(Start::Begin),
            "special" => settings.start_time.map(Start::Time),
            _ => Some(Start::End),
        };
        if start.is_none() {
            let message = "required with `consumerPosition = special`: seconds since 1970";
            problems.error(config, "startTime", message);
        }
        if let (Some(_), Some(Start::Begin | Start::End)) = (settings.start_time, start) {
            problems.warn(config, "startTime", "does nothing without `consumerPosition = special`");
        }
        let signature = match (settings.signature.eq_ignore_ascii_case("v4"), &settings.region) {
            (true, Some(region)) => Some(Signature::V4 { region: region.clone() }),
            (true, None) => None,
            (false, _) => Some(Signature::V1),
        };
        if signature.is_none() {
            problems.error(config, "region", "required with `signatureVersion = v4`, such as cn-hangzhou");
        }
        for (key, text) in [("accessKeyId", &settings.access_key_id)] {
            if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                problems.error(config, key, "is empty, or has characters that no key's id has");
            }
        }
        let token = settings.security_token.clone();
        if token.as_ref().is_some_and(|token| !token.expose().bytes().all(|byte| byte.is_ascii_graphic())) {
            problems.error(config, "securityToken", "has characters that no token has");
        }
        if problems.errors() > before {
            return None;
        }
        let endpoint = endpoint?;
        let options = Options {
            tls: if endpoint.tls { Some(tls(config, problems)?) } else { None },
            endpoint,
            logstore: settings.logstore.clone(),
            credentials: Credentials {
                id: settings.access_key_id.clone(),
                secret: settings.access_key.clone(),
                token,
            },
            signature: signature?,
            compression: match settings.compression.to_ascii_lowercase().as_str() {
                "zstd" => Compression::Zstd,
                "none" => Compression::Off,
                _ => Compression::Lz4,
            },
        };
        Some(Self { settings, options, start: start? })
    }
}

fn is_name(text: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    !text.is_empty() && text.len() <= NAME_MAX && text.bytes().all(is_known)
}

/// As for every https address: the system's certificates, or those that the process names, and the right host.
fn tls(config: &ComponentConfig, problems: &mut Problems) -> Option<ClientTls> {
    let keys = [("ssl", "true"), ("verify-hostname", "true")];
    let own = ComponentConfig {
        prefix: config.prefix.clone(),
        process: config.process.clone(),
        ..ComponentConfig::of(Kind::Source, &config.name, &keys)
    };
    ClientTls::load(&own, problems)
}

/// Reads a logstore.
#[derive(Debug)]
struct LogHubSource(Arc<Plan>);

#[async_trait]
impl Source for LogHubSource {
    async fn run(&mut self, context: SourceContext) -> Result<(), SourceError> {
        member::Member::new(context, self.0.clone()).run().await
    }
}
