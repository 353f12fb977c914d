//! Completes by hand the files that a killed agent left in an object store: `flumen oss recover`.
//!
//! A sink does this by itself when it starts again, and knows which events it has released; here every flush counts. So it
//! is for an agent that will not start again. One that is running must be stopped before.
//!
//! Uploads that no staged file knows are looked for as well. One to an object that a sink has made is thrown away; of another
//! nobody can tell whose it is, so that is done when it is said.

use std::sync::Arc;

use flumen_api::quiet::Quiet;
use flumen_api::settings::Process;
use flumen_tls::Secret;
use tokio::runtime::Handle;

use super::access::Access;
use super::staged::{Done, MANIFEST, Staged};
use super::target::Target;
use super::{Begun, Store, StoreError};
use crate::hdfs::conf::HadoopConf;
use crate::hdfs::staging_path;

/// Who asks, and where.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// All files below the path, and not the one file of that path.
    pub is_folder: bool,
    /// Says what would be done.
    pub is_dry: bool,
    /// Throws away all uploads that no staged file knows, those of other programs too.
    pub aborts_uploads: bool,
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

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file of so many bytes; 0 is one of which nothing was flushed: it is thrown away.
    File(u64),
    /// An upload that nobody completes, thrown away or left.
    Upload {
        /// It is left, for it may be another program's.
        is_left: bool,
    },
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The object's key.
    pub key: String,
    /// What it is.
    pub kind: Kind,
    /// Why it is not recovered, or thrown away.
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
        false => vec![staged_at(staging, key)],
    };
    let (mut done, quiet) = (Vec::with_capacity(places.len()), Quiet::default());
    for at in &places {
        let key = at.strip_prefix(staging).unwrap_or(at).trim_start_matches('/').to_string();
        let one = match recover_one(store, at, options.is_dry, &quiet).await {
            Ok((key, bytes)) => Recovered { key, kind: Kind::File(bytes), failed: None },
            Err(error) => Recovered { key, kind: Kind::File(0), failed: Some(error.why) },
        };
        tell(&one, places.len());
        done.push(one);
    }
    done.extend(uploads_in(store, staging, key, options).await);
    Ok(done)
}

fn staged_at(staging: &str, key: &str) -> String {
    format!("{staging}/{key}").trim_start_matches('/').to_string()
}

async fn recover_one(
    store: &Arc<dyn Store>,
    at: &str,
    is_dry: bool,
    quiet: &Quiet,
) -> Result<(String, u64), StoreError> {
    let staged = Staged::new(&**store, at, quiet);
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

/// Uploads to the object, or to all below the folder, that no staged file knows.
async fn uploads_in(store: &Arc<dyn Store>, staging: &str, key: &str, options: &Options) -> Vec<Recovered> {
    let prefix = if options.is_folder && !key.is_empty() { format!("{key}/") } else { key.to_string() };
    let mut listed = match store.uploads(&prefix).await {
        Ok(listed) => listed,
        // Not everybody may ask, and the files are recovered.
        Err(error) => {
            tracing::warn!("uploads that were left behind are not looked for: {error}");
            return Vec::new();
        }
    };
    listed.retain(|begun| options.is_folder || begun.key == key);
    let mut found = Vec::new();
    for Begun { key, id } in listed {
        let upload = async {
            // Whoever begins one has put a manifest before: this file is not recovered, or at work again.
            if store.look(&format!("{}/{MANIFEST}", staged_at(staging, &key))).await?.is_some() {
                return Ok(None);
            }
            let is_sinks = store.look(&key).await?.is_some_and(|found| found.mark.is_some());
            let is_left = !is_sinks && !options.aborts_uploads;
            if !is_left && !options.is_dry {
                store.abort(&key, &id).await?;
            }
            Ok(Some(Kind::Upload { is_left }))
        };
        match upload.await {
            Ok(None) => {}
            Ok(Some(kind)) => found.push(Recovered { key, kind, failed: None }),
            Err(StoreError { why, .. }) => {
                found.push(Recovered { key, kind: Kind::Upload { is_left: true }, failed: Some(why) });
            }
        }
    }
    found
}
