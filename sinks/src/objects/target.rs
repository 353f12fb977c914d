//! Which store a URI means.
//!
//! ```text
//!   oss://bucket/path   oss://bucket.oss-cn-hangzhou.aliyuncs.com/path
//!   s3://bucket/path    s3a://…    s3n://…
//!   gs://bucket/path
//!   abfs://container@account.dfs.core.windows.net/path    abfss://…
//! ```
//!
//! Who may write there is looked for in [`access`](super::access).

use std::sync::Arc;

use flumen_api::settings::Process;
use tokio::runtime::Handle;

use super::Store;
use super::access::{Access, Found};
use super::wire::Wire;
use crate::hdfs::conf::HadoopConf;

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
    pub(super) bucket: String,
    /// What stands behind the bucket: an endpoint, an account's host.
    pub(super) host: Option<String>,
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
