//! Calls that are made again while there is hope: quota, a busy or silent service, and what a person has to mend.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use flumen_api::channel::PutError;
use flumen_api::source::Backoff;
use flumen_api::{SourceContext, SourceError};
use flumen_sls::{Client, Error};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::Plan;

/// After so many failures in a row a person may want to know.
const PATIENCE: u32 = 5;

/// Why a shard is read no further.
#[derive(Debug)]
pub(super) enum Halt {
    /// A stop was asked for, or the shard is to be given up.
    Asked,
    /// The service says what no second call would change: the shard is another member's, gone, or its cursor is.
    Refused(Error),
    /// A put failed: back to what is acked.
    Failed(PutError),
    /// Smaller puts are to be tried.
    Again,
    /// Nothing can go on.
    Fatal(SourceError),
}

/// The service, as all shards of a source ask it.
pub(super) struct Service {
    pub client: Client,
    pub group: String,
    pub consumer: String,
    pub plan: Arc<Plan>,
    pub context: SourceContext,
    /// By who has it.
    troubles: Mutex<BTreeMap<String, String>>,
}

impl Service {
    pub fn new(plan: Arc<Plan>, consumer: String, context: SourceContext) -> Self {
        let client = Client::new(plan.options.clone());
        let group = plan.settings.consumer_group.clone();
        Self { client, group, consumer, plan, context, troubles: Mutex::default() }
    }

    /// Pauses after failures.
    pub fn backoff(&self) -> Backoff {
        let settings = &self.plan.settings;
        let max = Duration::from_millis(settings.backoff_max.into());
        Backoff::new(Duration::from_millis(settings.backoff_increment.into()).min(max), max)
    }

    /// Calls for `who` until there is an answer, or `stop`.
    pub async fn insist<T, F>(
        &self,
        who: &str,
        stop: &CancellationToken,
        call: impl Fn() -> F,
    ) -> Result<T, Halt>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let mut backoff = self.backoff();
        let mut failures = 0;
        loop {
            let error = match stop.run_until_cancelled(call()).await {
                None => return Err(Halt::Asked),
                Some(Ok(answer)) => {
                    self.trouble(who, None);
                    return Ok(answer);
                }
                Some(Err(error)) => error,
            };
            if error.is_not_ours() || error.is_shard_gone() || error.is_cursor_gone() {
                return Err(Halt::Refused(error));
            }
            failures += 1;
            self.context.metrics.event_read_fail.inc();
            tracing::warn!(source = %self.context.name, %error, "LogHub call failed, tried again");
            if error.needs_a_person() || failures >= PATIENCE {
                self.trouble(who, Some(error.to_string()));
            }
            if stop.run_until_cancelled(tokio::time::sleep(backoff.pause())).await.is_none() {
                return Err(Halt::Asked);
            }
        }
    }

    /// What is wrong with `who`, if anything is.
    pub fn trouble(&self, who: &str, trouble: Option<String>) {
        let mut troubles = self.troubles.lock();
        let changed = match &trouble {
            None => troubles.remove(who).is_some(),
            Some(text) => troubles.insert(who.to_string(), text.clone()).as_ref() != Some(text),
        };
        if changed {
            self.context.report(troubles.values().next().cloned());
        }
    }
}
