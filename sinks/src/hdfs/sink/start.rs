//! The start: from what the keys and Hadoop's configuration say to a client, a journal and a finisher at work.

use std::sync::Arc;

use flumen_api::sink::{SinkContext, SinkError};
use tokio::runtime::{Builder, Runtime};

use super::super::client::{Access, Client, FileSystem, Hdfs, Local};
use super::super::conf::HadoopConf;
use super::super::finish::Finisher;
use super::super::journal::Journal;
use super::super::location::Reached;
use super::HdfsSink;
use crate::escapes::{Escaper, HostNames};

/// What a start makes.
pub(super) struct Running {
    pub context: SinkContext,
    pub client: Client,
    /// The file system, as the journal has it.
    pub place: String,
    pub journal: Journal,
    pub finisher: Finisher,
    pub paths: Escaper,
    pub prefixes: Escaper,
    /// A file can be flushed, and goes on.
    pub flushes: bool,
    /// There is a dead letter for what is refused.
    pub buries: bool,
    // Last, for its tasks end with it.
    pub workers: Workers,
}

/// The threads of the file system's client. Whatever hangs there ends with the sink.
pub(super) struct Workers(pub Option<Runtime>);

impl Drop for Workers {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Dropped by itself it would wait for its tasks, which tokio forbids here.
            runtime.shutdown_background();
        }
    }
}

impl HdfsSink {
    pub(super) fn connect(&mut self, context: &SinkContext) -> Result<Running, SinkError> {
        let plan = &self.plan;
        let (mut staging, mut flushes) = (None, true);
        let conf = HadoopConf::load(&plan.process).map_err(SinkError::plain)?;
        let no_threads = |error| SinkError::new("cannot start the threads of the client", error);
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(format!("hdfs-{}", context.name))
            .enable_all()
            .build()
            .map_err(no_threads)?;
        let handle = runtime.handle().clone();
        let workers = Workers(Some(runtime));
        let reached = plan.location.reached(&conf).map_err(SinkError::plain)?;
        let place = reached.to_string();
        let files: Arc<dyn FileSystem> = match reached {
            Reached::Local => Arc::new(Local),
            Reached::Cluster(url) => {
                let access = access(&plan.access)?;
                Arc::new(Hdfs::new(&url, &conf, &access, &handle).map_err(SinkError::plain)?)
            }
            Reached::ObjectStore(uri) => {
                let store = plan.store.open(&uri, &conf, &plan.process, &handle);
                (staging, flushes) = (Some(plan.store.staging(&conf)), plan.store.flushes(&conf));
                Arc::new(store.map_err(SinkError::plain)?)
            }
        };
        let hosts = match plan.path.needs_hosts() || plan.prefix.needs_hosts() {
            true => HostNames::look_up().map_err(SinkError::plain)?,
            false => HostNames::default(),
        };
        let escaper = |template| {
            let fell_back = context.metrics.fell_back.clone();
            Escaper::new(template, &hosts, plan.time.clone(), plan.policy.clone(), fell_back)
        };
        let client = Client::new(files, plan.call_limit, plan.calls_at_once);
        let journal = Journal::open(context, plan.journal.as_deref());
        let finisher = Finisher::new(
            client.beside(plan.calls_at_once.div_ceil(2)),
            place.clone(),
            self.ledger.clone(),
            journal.clone(),
            context.clone(),
            handle,
            plan.tries,
        );
        // Once nothing can fail any more: a start is tried again for as long as it takes.
        for file in &conf.read {
            tracing::info!(sink = %context.name, "read {}", file.display());
        }
        if let Some(doubt) = staging.as_ref().and_then(|_| plan.store.doubt(&conf)) {
            tracing::warn!(sink = %context.name, "{doubt}");
        }
        self.buckets.stage_below(staging);
        Ok(Running {
            client,
            place,
            journal,
            finisher,
            paths: escaper(&plan.path),
            prefixes: escaper(&plan.prefix),
            flushes,
            // Asked in the only way there is.
            buries: !context.refuse("", vec![0]).refused.is_empty(),
            context: context.clone(),
            workers,
        })
    }
}

/// With this host's name in the principal, where `_HOST` stands for it.
fn access(access: &Access) -> Result<Access, SinkError> {
    let mut access = access.clone();
    if let Some((principal, _)) = &mut access.kerberos
        && principal.contains("_HOST")
    {
        let host = HostNames::look_up().map_err(SinkError::plain)?.canonical.to_lowercase();
        *principal = principal.replace("_HOST", &host);
    }
    Ok(access)
}
