//! Completes by hand the files that a killed agent left in an object store: `flumen oss recover`.
//!
//! A sink does this by itself when it starts again, and knows which events it has released; here every flush counts. So it
//! is for an agent that will not start again. One that is running must be stopped before.

use std::sync::Arc;

use flumen_api::settings::Process;
use flumen_tls::Secret;
use tokio::runtime::Handle;

use super::staged::{Done, MANIFEST, Staged};
use super::target::{Access, Target};
use super::{Store, StoreError};
use crate::hdfs::conf::HadoopConf;
use crate::hdfs::staging_path;

/// Who asks, and where.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// All files below the path, and not the one file of that path.
    pub is_folder: bool,
    /// Says what would be done.
    pub is_dry: bool,
    /// Where flushed data is staged; as the sink finds it, if it is not said.
    pub staging: Option<String>,
    /// The access key, instead of what core-site.xml, the environment or the machine's role say.
    pub access_key_id: Option<String>,
    /// Its secret.
    pub access_key_secret: Option<Secret>,
    /// Host of the store.
    pub endpoint: Option<String>,
    /// Its region.
    pub region: Option<String>,
    /// What core-site.xml and the environment are read from.
    pub process: Process,
}

/// A file that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The object's key.
    pub key: String,
    /// Its bytes; 0 is a file of which nothing was flushed: it is thrown away.
    pub bytes: u64,
    /// Why it is not recovered.
    pub failed: Option<String>,
}

/// Recovers the file at `path` (`oss://bucket/logs/app.1795238037700`), or the files below it. `tell` gets each file that is done,
/// with how many there are. Fails where nothing can be found out.
pub async fn recover(
    path: &str,
    options: &Options,
    tell: &mut (dyn FnMut(&Recovered, usize) + Send),
) -> Result<Vec<Recovered>, String> {
    let (scheme, rest) = path.split_once("://").ok_or(format!("`{path}`: write oss://bucket/path"))?;
    let (authority, key) = rest.split_once('/').unwrap_or((rest, ""));
    let target = Target::parse(&scheme.to_ascii_lowercase(), authority)?;
    let conf = HadoopConf::load(&options.process)?;
    let access = Access {
        key_id: options.access_key_id.clone(),
        secret: options.access_key_secret.clone(),
        endpoint: options.endpoint.clone(),
        region: options.region.clone(),
        ..Access::default()
    };
    let store = target.open(&access, &conf, &options.process, &Handle::current())?;
    let staging = staging_path(options.staging.as_deref(), &conf);
    let staging = staging.trim_matches('/');
    let key = key.trim_matches('/');
    if key.is_empty() && !options.is_folder {
        return Err(format!("`{path}` names no file; `-R` recovers all of a folder"));
    }
    recover_in(&store, staging, key, options, tell).await.map_err(|error| format!("{path}: {error}"))
}

pub(super) async fn recover_in(
    store: &Arc<dyn Store>,
    staging: &str,
    key: &str,
    options: &Options,
    tell: &mut (dyn FnMut(&Recovered, usize) + Send),
) -> Result<Vec<Recovered>, StoreError> {
    let below = [staging, key].map(|step| format!("{step}/")).concat().replace("//", "/");
    let places: Vec<String> = match options.is_folder {
        true => {
            let end = format!("/{MANIFEST}");
            let all = store.list(below.trim_start_matches('/')).await?;
            all.iter().filter_map(|name| Some(name.strip_suffix(&end)?.to_string())).collect()
        }
        false => vec![format!("{staging}/{key}").trim_start_matches('/').to_string()],
    };
    let mut done = Vec::with_capacity(places.len());
    for at in &places {
        let key = at.strip_prefix(staging).unwrap_or(at).trim_start_matches('/').to_string();
        let one = match recover_one(store, at, options.is_dry).await {
            Ok((key, bytes)) => Recovered { key, bytes, failed: None },
            Err(error) => Recovered { key, bytes: 0, failed: Some(error.why) },
        };
        tell(&one, places.len());
        done.push(one);
    }
    Ok(done)
}

async fn recover_one(store: &Arc<dyn Store>, at: &str, is_dry: bool) -> Result<(String, u64), StoreError> {
    let staged = Staged::new(&**store, at);
    let Some(manifest) = staged.manifest().await? else {
        return Err(StoreError::new(super::Kind::Missing, format!("nothing of it is staged at {at}")));
    };
    if is_dry {
        return Ok((manifest.key, staged.length().await?.unwrap_or_default()));
    }
    staged.fence().await?;
    let bytes = match staged.complete(None).await? {
        Done::Complete(bytes) => bytes,
        Done::Nothing => 0,
    };
    Ok((manifest.key, bytes))
}
