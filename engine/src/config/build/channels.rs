//! Channels: checked without being opened.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flumen_api::registry::Factory;
use flumen_api::settings::{Kind, Severity};

use super::{Builder, Found};
use crate::plan::ChannelPlan;

impl Builder<'_> {
    pub(super) fn channels(&mut self) {
        let list = format!("{}.channels", self.agent);
        let mut owners: BTreeMap<PathBuf, Arc<str>> = BTreeMap::new();
        for name in self.listed("channels") {
            match self.channel(&list, &name, &mut owners) {
                Some(channel) => self.plan.channels.push(channel),
                None => self.leave_out(Kind::Channel, &name),
            }
        }
        if self.plan.channels.is_empty() {
            self.problem(Severity::Error, list, "the agent has no channel that can run, so it runs nothing");
        }
    }

    fn channel(
        &mut self,
        list: &str,
        name: &Arc<str>,
        owners: &mut BTreeMap<PathBuf, Arc<str>>,
    ) -> Option<ChannelPlan> {
        let found = self.find(Kind::Channel, list, format!("{list}.{name}."), name)?;
        self.check_keys(&found);
        let Found { config, spec } = found;
        let (capacity, directories) = match spec.factory {
            Factory::Channel { check, directories, .. } => {
                (self.trial(&config, check)?, directories(&config))
            }
            // No limit of its own is known yet, and it opens no directory.
            Factory::Announced(_, check) => {
                self.trial(&config, check)?;
                (usize::MAX, Vec::new())
            }
            _ => return None,
        };
        let directories: Vec<_> = directories.iter().map(|directory| canonical(directory)).collect();
        if let Some((directory, owner)) =
            directories.iter().find_map(|directory| Some((directory, owners.get(directory)?)))
        {
            let message = format!(
                "the directory {} belongs to the channel {owner} already; each channel needs its own `checkpointDir` and \
                 `dataDirs` (their defaults are the same for all channels)",
                directory.display()
            );
            let key = ["dataDirs", "checkpointDir"].into_iter().find(|key| config.get(key).is_some());
            self.plan.problems.error(&config, key.unwrap_or("type"), message);
            return None;
        }
        owners.extend(directories.into_iter().map(|directory| (directory, name.clone())));
        self.capacities.insert(name.clone(), capacity);
        Some(ChannelPlan { config, spec })
    }
}

/// The directory's one name, as far as it exists: the same directory by two paths must be found.
fn canonical(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_no_working_directory| path.to_path_buf());
    for ancestor in absolute.ancestors() {
        if let (Ok(real), Ok(rest)) = (ancestor.canonicalize(), absolute.strip_prefix(ancestor)) {
            return real.join(rest);
        }
    }
    absolute
}
