//! Who may write to a store, and where it is: the first of these that says it counts.
//!
//! ```text
//!   the sink's keys, or the command's
//!   core-site.xml, for the bucket and for all: fs.oss.*, fs.jfs.cache.oss.*, fs.s3a.*, fs.azure.*, fs.gs.*
//!   the environment: ALIBABA_CLOUD_*, OSS_*, AWS_*, AZURE_*, GOOGLE_*
//!   the role of the machine
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

use super::Store;
use super::library::Library;
use super::oss::Oss;
use super::role::Keys;
use super::target::Target;
use super::uploads::{Signer, Uploads};
use super::wire::Wire;
use crate::hdfs::conf::HadoopConf;

/// Where Google's store is.
const GOOGLE: &str = "https://storage.googleapis.com";

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

/// Where everything is looked for.
pub(super) struct Found<'a> {
    pub target: &'a Target,
    pub access: &'a Access,
    pub conf: &'a HadoopConf,
    pub process: &'a Process,
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

    pub fn oss(self, wire: Wire) -> Result<Arc<dyn Store>, String> {
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

    pub fn s3(self, wire: Wire) -> Result<Arc<dyn Store>, String> {
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
        let signer = Signer::S3 { store: store.clone(), region };
        Ok(Arc::new(Library::new(store, Some(Uploads { wire, signer, base }), true)))
    }

    pub fn google(self, wire: Wire) -> Result<Arc<dyn Store>, String> {
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
        let at = builder.get_config_value(&GoogleConfigKey::BaseUrl).unwrap_or_else(|| GOOGLE.into());
        let store = builder
            .with_bucket_name(&self.target.bucket)
            .with_client_options(options)
            .with_retry(retry())
            .with_http_connector(wire.clone())
            .build()
            .map_err(|error| error.to_string())?;
        let base = format!("{}/{}", at.trim_end_matches('/'), self.target.bucket);
        let signer = Signer::Google(store.clone());
        Ok(Arc::new(Library::new(store, Some(Uploads { wire, signer, base }), true)))
    }

    pub fn azure(self, wire: Wire) -> Result<Arc<dyn Store>, String> {
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::runtime::Handle;

    use super::*;
    use crate::objects::emulator::{BUCKET, ID, Oss as Emulator, SECRET};

    type Pairs<'a> = &'a [(&'a str, &'a str)];

    /// What a store says to a put, with what the sink's keys, core-site.xml and the environment say.
    async fn said(
        access: Access,
        authority: &str,
        site: Pairs<'_>,
        variables: Pairs<'_>,
    ) -> Result<(), String> {
        let directory = tempfile::tempdir().expect("a directory");
        let property = |(name, value): &(&str, &str)| {
            format!("<property><name>{name}</name><value>{value}</value></property>")
        };
        let text: String = site.iter().map(property).collect();
        let file = directory.path().join("core-site.xml");
        std::fs::write(file, format!("<configuration>{text}</configuration>")).expect("written");
        let place = directory.path().to_str().expect("a path").to_string();
        let variables = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let process = Process {
            system: Arc::new([("flume.conf.dir".to_string(), place)].into()),
            variables: Arc::new(variables),
        };
        let conf = HadoopConf::load(&process)?;
        let store = Target::parse("oss", authority)?.open(&access, &conf, &process, &Handle::current())?;
        store.put("a", Bytes::from("x").into()).await.map_err(|error| error.why)
    }

    fn key(id: &str, secret: &str) -> Access {
        Access { key_id: Some(id.into()), secret: Some(secret.into()), ..Access::default() }
    }

    #[tokio::test]
    async fn the_first_that_has_a_key_counts() {
        let oss = Emulator::start();
        let endpoint = oss.endpoint();
        let at = [("fs.oss.endpoint", endpoint.as_str())];
        let own = [(
            format!("fs.oss.bucket.{BUCKET}.accessKeyId"),
            format!("fs.oss.bucket.{BUCKET}.accessKeySecret"),
        )];
        let steps: [(&str, &str); 6] = [
            ("", ""),
            (&own[0].0, &own[0].1),
            ("fs.oss.accessKeyId", "fs.oss.accessKeySecret"),
            ("fs.jfs.cache.oss.accessKeyId", "fs.jfs.cache.oss.accessKeySecret"),
            ("ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"),
            ("OSS_ACCESS_KEY_ID", "OSS_ACCESS_KEY_SECRET"),
        ];
        for first in 0..steps.len() {
            // The first has the right key, and all behind it another.
            let (mut site, mut variables) = (at.to_vec(), Vec::new());
            let access = if first == 0 { key(ID, SECRET) } else { Access::default() };
            for (step, (id, secret)) in steps.iter().enumerate().skip(first.max(1)) {
                let (its_id, its_secret) = if step == first { (ID, SECRET) } else { ("other", "others") };
                let to = if step < 4 { &mut site } else { &mut variables };
                to.extend([(*id, its_id), (*secret, its_secret)]);
            }
            assert_eq!(said(access, BUCKET, &site, &variables).await, Ok(()), "{:?}", steps[first]);
        }
        let half = Access { secret: None, ..key(ID, SECRET) };
        let why = said(half, BUCKET, &at, &[]).await.expect_err("half a key");
        assert!(why.contains("one of the two is missing"), "{why}");
    }

    #[tokio::test]
    async fn a_token_goes_with_its_key_wherever_they_come_from() {
        let oss = Emulator::start();
        oss.set_token("a-token", false);
        let endpoint = oss.endpoint();
        let at = ("fs.oss.endpoint", endpoint.as_str());
        let with = Access { token: Some("a-token".into()), ..key(ID, SECRET) };
        assert_eq!(said(with, BUCKET, &[at], &[]).await, Ok(()));
        let site = [
            at,
            ("fs.oss.accessKeyId", ID),
            ("fs.oss.accessKeySecret", SECRET),
            ("fs.oss.securityToken", "a-token"),
        ];
        assert_eq!(said(Access::default(), BUCKET, &site, &[]).await, Ok(()));
        let variables = [
            ("ALIBABA_CLOUD_ACCESS_KEY_ID", ID),
            ("ALIBABA_CLOUD_ACCESS_KEY_SECRET", SECRET),
            ("ALIBABA_CLOUD_SECURITY_TOKEN", "a-token"),
            ("OSS_ENDPOINT", endpoint.as_str()),
        ];
        assert_eq!(said(Access::default(), BUCKET, &[], &variables).await, Ok(()));
        let variables =
            [("OSS_ACCESS_KEY_ID", ID), ("OSS_ACCESS_KEY_SECRET", SECRET), ("OSS_SESSION_TOKEN", "a-token")];
        assert_eq!(said(Access::default(), BUCKET, &[at], &variables).await, Ok(()));
        let why = said(key(ID, SECRET), BUCKET, &[at], &[]).await.expect_err("no token");
        assert!(!why.contains("a-token"), "{why}");
    }

    #[tokio::test]
    async fn the_first_that_says_where_the_bucket_is_counts() {
        let oss = Emulator::start();
        let endpoint = oss.endpoint();
        let nowhere = "http://127.0.0.1:1";
        let access = Access { endpoint: Some(endpoint.clone()), ..key(ID, SECRET) };
        assert_eq!(said(access, BUCKET, &[("fs.oss.endpoint", nowhere)], &[]).await, Ok(()));
        let own = format!("fs.oss.bucket.{BUCKET}.endpoint");
        let site = [(own.as_str(), endpoint.as_str()), ("fs.oss.endpoint", nowhere)];
        assert_eq!(said(key(ID, SECRET), BUCKET, &site, &[("OSS_ENDPOINT", nowhere)]).await, Ok(()));
        let site = [("fs.jfs.cache.oss.endpoint", endpoint.as_str())];
        assert_eq!(said(key(ID, SECRET), BUCKET, &site, &[("OSS_ENDPOINT", nowhere)]).await, Ok(()));
        let why = said(key(ID, SECRET), BUCKET, &[], &[]).await.expect_err("nowhere");
        assert!(why.contains("`hdfs.endpoint") && why.contains("fs.oss.endpoint"), "{why}");
    }
}
