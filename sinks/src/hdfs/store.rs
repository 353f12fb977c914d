//! An object store as the sink's file system: which keys and which of Hadoop's settings make it one.
//!
//! JindoFS's names are understood beside the sink's own, for who writes `oss:` paths today has them in core-site.xml.

use std::time::Duration;

use flumen_api::settings::{ComponentConfig, Problems};

use super::HdfsSettings;
use super::conf::HadoopConf;
use super::location::{Location, Place, StoreUri};

/// What there are clients for.
#[cfg(feature = "object-store")]
pub(super) const BUILT_IN: &str = "hdfs:, viewfs:, file:, oss:, s3:, gs: and abfs:";
#[cfg(not(feature = "object-store"))]
pub(super) const BUILT_IN: &str = "hdfs:, viewfs: and file:";

const DEFAULT_STAGING: &str = "/tmp";
const STAGING: &[&str] = &["fs.jfs.cache.flush.staging.path", "fs.oss.flush.staging.path"];
const FLUSH: &[&str] = &["fs.jfs.cache.oss.flush.enable", "fs.oss.flush.enable"];
const NO_END: &str = "nothing is released before its object ends, and no key ends one before the channel is full: set \
                      `hdfs.rollInterval` or `hdfs.rollSize`";
/// The shortest time between two flushes of a file, each of less than a part.
const PAUSE: Duration = Duration::from_secs(1);

/// Keys that only an object store needs.
const KEYS: &[&str] = &[
    "hdfs.flush",
    "hdfs.flushStagingPath",
    "hdfs.uploadPartSize",
    "hdfs.accessKeyId",
    "hdfs.accessKeySecret",
    "hdfs.securityToken",
    "hdfs.endpoint",
    "hdfs.region",
];
/// Keys that an object store has no use for.
const NOT_KEYS: &[&str] =
    &["hdfs.inUsePrefix", "hdfs.inUseSuffix", "hdfs.emptyInUseSuffix", "hdfs.minBlockReplicas"];

/// Whether paths of this scheme are in an object store that there is a client for.
pub(super) fn is_built_in(scheme: &str) -> bool {
    #[cfg(feature = "object-store")]
    return crate::objects::target::Dialect::of(&scheme.to_ascii_lowercase()).is_some();
    #[cfg(not(feature = "object-store"))]
    return {
        let _none = scheme;
        false
    };
}

/// What the keys say of an object store.
#[derive(Clone, Debug)]
pub(super) struct StorePlan {
    #[cfg(feature = "object-store")]
    access: crate::objects::access::Access,
    flush: Option<bool>,
    /// A key ends files.
    has_end: bool,
    staging: Option<String>,
    #[cfg_attr(not(feature = "object-store"), expect(dead_code, reason = "there is no client"))]
    part_size: u64,
}

impl StorePlan {
    /// From the keys; what is wrong with them for this location is said.
    pub fn of(
        settings: &HdfsSettings,
        location: Option<&Location>,
        config: &ComponentConfig,
        problems: &mut Problems,
    ) -> Option<Self> {
        let sound = match location.map(|location| &location.place) {
            Some(Place::ObjectStore(uri)) => check(settings, uri, config, problems),
            // It may be fs.defaultFS that is one.
            Some(Place::Default) | None => true,
            Some(_) => {
                for key in KEYS.iter().filter(|key| config.get(key).is_some()) {
                    problems.warn(config, key, "changes nothing: `hdfs.path` is not in an object store");
                }
                true
            }
        };
        sound.then(|| Self {
            #[cfg(feature = "object-store")]
            access: crate::objects::access::Access {
                key_id: settings.access_key_id.clone(),
                secret: settings.access_key_secret.clone(),
                token: settings.security_token.clone(),
                endpoint: settings.endpoint.clone(),
                region: settings.region.clone(),
            },
            flush: settings.flush,
            has_end: has_end(settings),
            staging: settings.flush_staging_path.clone(),
            part_size: settings.upload_part_size,
        })
    }

    /// The folder of files that are being written.
    pub fn staging(&self, conf: &HadoopConf) -> String {
        staging_path(self.staging.as_deref(), conf)
    }

    /// Whether what is flushed is released before its file is complete.
    pub fn flushes(&self, conf: &HadoopConf) -> bool {
        let of_conf = || FLUSH.iter().find_map(|name| conf.get(name));
        self.flush.unwrap_or_else(|| !of_conf().is_some_and(|text| text.eq_ignore_ascii_case("false")))
    }

    /// What `flumen check`, which reads no files of the machine that the agent runs on, cannot see.
    pub fn doubt(&self, conf: &HadoopConf) -> Option<String> {
        let is_doubtful = self.flush.is_none() && !self.flushes(conf) && !self.has_end;
        is_doubtful.then(|| format!("core-site.xml turns flushing off: {NO_END}"))
    }

    /// The file system.
    #[cfg(feature = "object-store")]
    pub fn open(
        &self,
        uri: &StoreUri,
        conf: &HadoopConf,
        process: &flumen_api::settings::Process,
        runtime: &tokio::runtime::Handle,
    ) -> Result<super::client::Objects, String> {
        let target = crate::objects::target::Target::parse(&uri.scheme, &uri.authority)?;
        let store = target.open(&self.access, conf, process, runtime)?;
        Ok(super::client::Objects::new(store, &self.staging(conf), self.part_size, PAUSE))
    }

    /// There is none.
    #[cfg(not(feature = "object-store"))]
    pub fn open(
        &self,
        _uri: &StoreUri,
        _conf: &HadoopConf,
        _process: &flumen_api::settings::Process,
        _runtime: &tokio::runtime::Handle,
    ) -> Result<super::client::Local, String> {
        Err("object stores are not built in".into())
    }
}

/// Where files are staged: as it is said, else as core-site.xml says, else where JindoFS has it.
pub(crate) fn staging_path(said: Option<&str>, conf: &HadoopConf) -> String {
    let found = said.or_else(|| STAGING.iter().find_map(|name| conf.get(name)));
    // Jindo's takes a URI as well.
    let path = found.map_or(DEFAULT_STAGING, |path| match path.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("", |at| &rest[at..]),
        None => path,
    });
    let path = path.trim_matches('/');
    if path.is_empty() { DEFAULT_STAGING.into() } else { format!("/{path}") }
}

fn has_end(settings: &HdfsSettings) -> bool {
    settings.roll_interval > 0
        || settings.roll_size > 0
        || settings.roll_count > 0
        || settings.idle_timeout > 0
}

fn check(settings: &HdfsSettings, uri: &StoreUri, config: &ComponentConfig, problems: &mut Problems) -> bool {
    let before = problems.errors();
    #[cfg(feature = "object-store")]
    match crate::objects::target::Target::parse(&uri.scheme, &uri.authority) {
        Err(why) => problems.error(config, "hdfs.path", why),
        Ok(target) => for_dialect(settings, target.dialect, config, problems),
    }
    let _ = (settings, uri);
    for key in NOT_KEYS.iter().filter(|key| config.get(key).is_some()) {
        problems.warn(
            config,
            key,
            "changes nothing in an object store, where nobody sees a file before it is complete",
        );
    }
    if settings.flush == Some(false) && !has_end(settings) {
        problems.warn(config, "hdfs.flush", NO_END);
    }
    if settings.access_key_id.is_some() != settings.access_key_secret.is_some()
        && !uri.scheme.starts_with("abfs")
    {
        let key = match settings.access_key_id {
            Some(_) => "hdfs.accessKeyId",
            None => "hdfs.accessKeySecret",
        };
        problems.error(
            config,
            key,
            "an access key has an id and a secret: `hdfs.accessKeyId` and `hdfs.accessKeySecret`",
        );
    }
    problems.errors() == before
}

#[cfg(feature = "object-store")]
fn for_dialect(
    settings: &HdfsSettings,
    dialect: crate::objects::target::Dialect,
    config: &ComponentConfig,
    problems: &mut Problems,
) {
    use crate::objects::target::Dialect;
    let refused: &[&str] = match dialect {
        Dialect::Oss | Dialect::S3 => &[],
        Dialect::Google => &["hdfs.accessKeyId", "hdfs.accessKeySecret", "hdfs.securityToken", "hdfs.region"],
        Dialect::Azure => &["hdfs.accessKeyId", "hdfs.securityToken", "hdfs.region"],
    };
    for key in refused.iter().filter(|key| config.get(key).is_some()) {
        let instead = match dialect {
            Dialect::Google => {
                "name a service account's file: GOOGLE_APPLICATION_CREDENTIALS, or fs.gs.auth.service.account.json.keyfile"
            }
            _ => "the account is in the path, and its key is `hdfs.accessKeySecret`",
        };
        problems.error(config, key, format!("is not for this store: {instead}"));
    }
    let (least, _) = dialect.part_sizes();
    if settings.upload_part_size < least {
        problems.error(
            config,
            "hdfs.uploadPartSize",
            format!("this store takes parts from {least} bytes on"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn staging_is_where_the_sink_or_jindo_has_it() {
        let conf = HadoopConf::default();
        for (said, path) in [
            (None, "/tmp"),
            (Some("/stage/x/"), "/stage/x"),
            (Some("stage"), "/stage"),
            (Some("oss://b/stage"), "/stage"),
            (Some("/"), "/tmp"),
        ] {
            assert_eq!(staging_path(said, &conf), path, "{said:?}");
        }
    }
}
