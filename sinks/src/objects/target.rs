//! Which store a URI means, and who may write there.
//!
//! ```text
//!   oss://bucket/path   oss://bucket.oss-cn-hangzhou.aliyuncs.com/path
//!   s3://bucket/path    s3a://…    s3n://…
//!   gs://bucket/path
//!   abfs://container@account.dfs.core.windows.net/path    abfss://…
//!
//!   secrets   the sink's keys, or the command's
//!             core-site.xml, for the bucket and for all: fs.oss.*, fs.jfs.cache.oss.*, fs.s3a.*, fs.azure.*, fs.gs.*
//!             the environment: ALIBABA_CLOUD_*, OSS_*, AWS_*, AZURE_*, GOOGLE_*
//!             the role of the machine
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use flumen_api::settings::Process;
use flumen_tls::Secret;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{BackoffConfig, RetryConfig};
use tokio::runtime::Handle;

use super::Store;
use super::library::{Library, S3Uploads};
use super::oss::Oss;
use super::role::Keys;
use super::wire::Wire;
use crate::hdfs::conf::HadoopConf;

/// An id with its secret.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct AccessKey {
    pub id: String,
    pub secret: Secret,
    pub token: Option<Secret>,
}

impl fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What was said by whoever asks, above all else.
#[derive(Clone, Debug, Default)]
pub(crate) struct Access {
    pub key_id: Option<String>,
    pub secret: Option<Secret>,
    pub token: Option<Secret>,
    pub endpoint: Option<String>,
    pub region: Option<String>,
}

/// Whose dialect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Oss,
    S3,
    Google,
    Azure,
}

impl Dialect {
    /// Of a URI's scheme.
    pub fn of(scheme: &str) -> Option<Self> {
        Some(match scheme {
            "oss" => Self::Oss,
            "s3" | "s3a" | "s3n" => Self::S3,
            "gs" => Self::Google,
            "abfs" | "abfss" => Self::Azure,
            _ => return None,
        })
    }

    /// The fewest bytes that a part may have, and what it has by itself.
    pub fn part_sizes(self) -> (u64, u64) {
        match self {
            Self::Oss => (100 << 10, 8 << 20),
            _ => (5 << 20, 8 << 20),
        }
    }
}

/// A bucket of somebody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub dialect: Dialect,
    bucket: String,
    /// What stands behind the bucket: an endpoint, an account's host.
    host: Option<String>,
}

impl Target {
    /// From what stands between `scheme://` and the path.
    pub fn parse(scheme: &str, authority: &str) -> Result<Self, String> {
        let Some(dialect) = Dialect::of(scheme) else {
            return Err(format!("there is no client for `{scheme}:`"));
        };
        if authority.is_empty() {
            return Err(format!("`{scheme}:///` names no bucket"));
        }
        if dialect != Dialect::Azure && authority.contains('@') {
            // As `oss://id:secret@bucket` was once written, and would be in every log.
            return Err("secrets are not taken from a path: they would be in every log line".into());
        }
        let (bucket, host) = match dialect {
            Dialect::Azure => match authority.split_once('@') {
                Some((container, host)) if !container.is_empty() => (container, Some(host)),
                _ => {
                    return Err(format!(
                        "`{scheme}://{authority}`: write {scheme}://container@account.dfs.core.windows.net/…"
                    ));
                }
            },
            Dialect::Oss => match authority.split_once('.') {
                Some((bucket, host)) => (bucket, Some(host)),
                None => (authority, None),
            },
            _ => (authority, None),
        };
        Ok(Self { dialect, bucket: bucket.to_string(), host: host.map(str::to_string) })
    }

    /// The store. Nothing is asked yet.
    pub fn open(
        &self,
        access: &Access,
        conf: &HadoopConf,
        process: &Process,
        runtime: &Handle,
    ) -> Result<Arc<dyn Store>, String> {
        let wire = Wire::new(runtime)?;
        let found = Found { target: self, access, conf, process };
        match self.dialect {
            Dialect::Oss => found.oss(wire),
            Dialect::S3 => found.s3(wire),
            Dialect::Google => found.google(wire),
            Dialect::Azure => found.azure(wire),
        }
    }
}

/// Where everything is looked for.
struct Found<'a> {
    target: &'a Target,
    access: &'a Access,
    conf: &'a HadoopConf,
    process: &'a Process,
}

impl Found<'_> {
    /// The first of these names that core-site.xml has; `{}` stands for `bucket.<bucket>.` first, and for nothing then.
    fn site(&self, names: &[&str]) -> Option<String> {
        let bucket = format!("bucket.{}.", self.target.bucket);
        let filled = [bucket.as_str(), ""].into_iter();
        let mut all = filled.flat_map(|bucket| names.iter().map(move |name| name.replace("{}", bucket)));
        all.find_map(|name| self.conf.get(&name).filter(|value| !value.is_empty()).map(str::to_string))
    }

    fn variable(&self, names: &[&str]) -> Option<String> {
        let mut found = names.iter().filter_map(|name| self.process.variables.get(*name));
        found.find(|value| !value.is_empty()).cloned()
    }

    fn oss(self, wire: Wire) -> Result<Arc<dyn Store>, String> {
        let Self { target, access, .. } = &self;
        let endpoint = access
            .endpoint
            .clone()
            .or_else(|| target.host.clone())
            .or_else(|| self.site(&["fs.oss.{}endpoint", "fs.jfs.cache.oss.{}endpoint"]))
            .or_else(|| self.variable(&["OSS_ENDPOINT", "ALIBABA_CLOUD_OSS_ENDPOINT"]))
            .ok_or(
                "nobody says at which endpoint the bucket is: `hdfs.endpoint = oss-cn-hangzhou.aliyuncs.com`, or \
                 fs.oss.endpoint in core-site.xml",
            )?;
        let key = |id: Option<String>, secret: Option<String>, token: Option<String>| {
            let secret = Secret::from(secret?.as_str());
            Some(AccessKey { id: id?, secret, token: token.map(|token| Secret::from(token.as_str())) })
        };
        let own = match (&access.key_id, &access.secret) {
            (Some(id), Some(secret)) => {
                Some(AccessKey { id: id.clone(), secret: secret.clone(), token: access.token.clone() })
            }
            (None, None) => None,
            _ => return Err("an access key has an id and a secret: one of the two is missing".into()),
        };
        let of_site = || {
            key(
                self.site(&["fs.oss.{}accessKeyId", "fs.jfs.cache.oss.{}accessKeyId"]),
                self.site(&["fs.oss.{}accessKeySecret", "fs.jfs.cache.oss.{}accessKeySecret"]),
                self.site(&["fs.oss.{}securityToken", "fs.jfs.cache.oss.{}securityToken"]),
            )
        };
        let of_environment = || {
            key(
                self.variable(&["ALIBABA_CLOUD_ACCESS_KEY_ID", "OSS_ACCESS_KEY_ID"]),
                self.variable(&["ALIBABA_CLOUD_ACCESS_KEY_SECRET", "OSS_ACCESS_KEY_SECRET"]),
                self.variable(&["ALIBABA_CLOUD_SECURITY_TOKEN", "OSS_SESSION_TOKEN"]),
            )
        };
        let keys = match own.or_else(of_site).or_else(of_environment) {
            Some(key) => Keys::Fixed(key),
            None => Keys::role(&wire, self.variable(&["ALIBABA_CLOUD_ECS_METADATA"])),
        };
        let (least, _) = target.dialect.part_sizes();
        Ok(Arc::new(Oss::new(wire, keys, &endpoint, &target.bucket, access.region.clone(), least)))
    }

    fn s3(self, wire: Wire) -> Result<Arc<dyn Store>, String> {
        let Self { target, access, process, .. } = &self;
        let mut builder = AmazonS3Builder::new();
        for (name, value) in process.variables.iter().filter(|(name, _)| name.starts_with("AWS_")) {
            if let Ok(key) = name.to_ascii_lowercase().parse() {
                builder = builder.with_config(key, value);
            }
        }
        let own = |key: &Option<String>, names: &[&str]| key.clone().or_else(|| self.site(names));
        let secret = |key: &Option<Secret>, names: &[&str]| {
            key.as_ref().map(|secret| secret.expose().to_string()).or_else(|| self.site(names))
        };
        let said = [
            (
                AmazonS3ConfigKey::AccessKeyId,
                own(&access.key_id, &["fs.s3a.{}access.key", "fs.s3.{}awsAccessKeyId"]),
            ),
            (
                AmazonS3ConfigKey::SecretAccessKey,
                secret(&access.secret, &["fs.s3a.{}secret.key", "fs.s3.{}awsSecretAccessKey"]),
            ),
            (AmazonS3ConfigKey::Token, secret(&access.token, &["fs.s3a.{}session.token"])),
            (AmazonS3ConfigKey::Endpoint, own(&access.endpoint, &["fs.s3a.{}endpoint"]).map(with_scheme)),
            (AmazonS3ConfigKey::Region, own(&access.region, &["fs.s3a.{}endpoint.region"])),
        ];
        for (key, value) in said {
            if let Some(value) = value {
                builder = builder.with_config(key, value);
            }
        }
        let region =
            builder.get_config_value(&AmazonS3ConfigKey::Region).unwrap_or_else(|| "us-east-1".into());
        let endpoint = builder.get_config_value(&AmazonS3ConfigKey::Endpoint);
        let at = endpoint.clone().unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
        let store = builder
            .with_bucket_name(&target.bucket)
            .with_region(&region)
            .with_allow_http(at.starts_with("http://"))
            .with_virtual_hosted_style_request(false)
            .with_disable_bulk_delete(true)
            .with_retry(retry())
            .with_http_connector(wire.clone())
            .build()
            .map_err(|error| error.to_string())?;
        let base = format!("{}/{}", at.trim_end_matches('/'), target.bucket);
        let lister = S3Uploads { wire, store: store.clone(), region, base };
        Ok(Arc::new(Library::new(store, Some(lister), true)))
    }

    fn google(self, wire: Wire) -> Result<Arc<dyn Store>, String> {
        let mut builder = GoogleCloudStorageBuilder::new();
        for (name, value) in &*self.process.variables {
            if (name.starts_with("GOOGLE_"))
                && let Ok(key) = name.to_ascii_lowercase().parse::<GoogleConfigKey>()
            {
                builder = builder.with_config(key, value);
            }
        }
        let names =
            ["fs.gs.auth.service.account.json.keyfile", "google.cloud.auth.service.account.json.keyfile"];
        if let Some(path) = self.site(&names) {
            builder = builder.with_service_account_path(path);
        }
        let mut options = object_store::ClientOptions::new();
        if let Some(endpoint) = &self.access.endpoint {
            let endpoint = with_scheme(endpoint.clone());
            options = options.with_allow_http(endpoint.starts_with("http://"));
            builder = builder.with_base_url(&endpoint);
        }
        let store = builder
            .with_bucket_name(&self.target.bucket)
            .with_client_options(options)
            .with_retry(retry())
            .with_http_connector(wire)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Arc::new(Library::new(store, None, true)))
    }

    fn azure(self, wire: Wire) -> Result<Arc<dyn Store>, String> {
        let Self { target, access, process, .. } = &self;
        let host = target.host.as_deref().unwrap_or_default();
        let account = host.split('.').next().unwrap_or_default();
        let mut builder = MicrosoftAzureBuilder::new();
        for (name, value) in process.variables.iter().filter(|(name, _)| name.starts_with("AZURE_")) {
            if let Ok(key) = name.to_ascii_lowercase().parse::<AzureConfigKey>() {
                builder = builder.with_config(key, value);
            }
        }
        let of_site = || self.site(&[&format!("fs.azure.account.key.{host}"), "fs.azure.account.key"]);
        let secret = access.secret.as_ref().map(|secret| secret.expose().to_string()).or_else(of_site);
        if let Some(secret) = secret {
            builder = builder.with_access_key(secret);
        }
        if let Some(endpoint) = &access.endpoint {
            let endpoint = with_scheme(endpoint.clone());
            builder = builder.with_allow_http(endpoint.starts_with("http://")).with_endpoint(endpoint);
        }
        let store = builder
            .with_account(account)
            .with_container_name(&target.bucket)
            .with_retry(retry())
            .with_http_connector(wire)
            .build()
            .map_err(|error| error.to_string())?;
        // Azure's uploads have no attributes before they are completed.
        Ok(Arc::new(Library::new(store, None, false)))
    }
}

fn with_scheme(endpoint: String) -> String {
    if endpoint.contains("://") { endpoint } else { format!("https://{endpoint}") }
}

/// Within `hdfs.callTimeout`, as that is by itself.
fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(3),
            base: 2.0,
        },
        max_retries: 20,
        retry_timeout: Duration::from_secs(20),
    }
}
