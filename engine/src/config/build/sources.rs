//! Sources, with their selector and their interceptors.

use std::sync::Arc;

use flumen_api::registry::{Factory, Spec};
use flumen_api::settings::{ComponentConfig, Kind, Severity};

use super::{BatchSize, Builder, Found};
use crate::plan::SourcePlan;

impl Builder<'_> {
    pub(super) fn sources(&mut self) {
        let list = format!("{}.sources", self.agent);
        for name in self.listed("sources") {
            match self.source(&list, &name) {
                Some(source) => self.plan.sources.push(source),
                None => self.leave_out(Kind::Source, &name),
            }
        }
    }

    fn source(&mut self, list: &str, name: &Arc<str>) -> Option<SourcePlan> {
        let found = self.find(Kind::Source, list, format!("{list}.{name}."), name)?;
        self.check_keys(&found);
        // Each part is looked at even if an earlier one is wrong, so that one check names all that is wrong.
        let batch = self.trial_of(&found);
        let channels = self.source_channels(&found.config);
        let selector = channels.as_ref().and_then(|channels| self.selector(&found.config, channels));
        let interceptors = self.interceptors(&found.config);
        let (batch, channels, selector, interceptors) = (batch?, channels?, selector?, interceptors?);
        let Found { config, spec } = self.fit_batch_size(found, batch, &channels)?;
        Some(SourcePlan { config, spec, channels, selector, interceptors })
    }

    /// The source's channels that are in the plan.
    fn source_channels(&mut self, config: &ComponentConfig) -> Option<Vec<Arc<str>>> {
        let before = self.plan.problems.0.len();
        let mut channels: Vec<Arc<str>> = Vec::new();
        match config.get("channels") {
            None => {
                let advice = match config.get("channel") {
                    Some(_) => "; a source's key is `channels`, a sink's is `channel`",
                    None => "",
                };
                let message = format!("required key is missing: the channels that the source feeds{advice}");
                self.plan.problems.error(config, "channels", message);
            }
            Some(names) => {
                for name in names.split_whitespace() {
                    if channels.iter().any(|other| **other == *name) {
                        self.plan.problems.warn(config, "channels", format!("names {name} twice"));
                    } else if let Some(channel) =
                        self.channel_name(config, "channels", name, Severity::Warning)
                    {
                        channels.push(channel);
                    }
                }
                if channels.is_empty() {
                    let message = "none of the source's channels runs: the source is left out";
                    self.plan.problems.error(config, "channels", message);
                }
            }
        }
        self.give_places(before, config);
        (!channels.is_empty()).then_some(channels)
    }

    /// The channel of this name, if it is in the plan; else a problem that says why not.
    pub(super) fn channel_name(
        &mut self,
        config: &ComponentConfig,
        key: &str,
        name: &str,
        severity: Severity,
    ) -> Option<Arc<str>> {
        if let Some(channel) = self.plan.channels.iter().find(|channel| *channel.config.name == *name) {
            return Some(channel.config.name.clone());
        }
        let left_out =
            self.plan.left_out.iter().any(|(kind, other)| *kind == Kind::Channel && **other == *name);
        let message = match left_out {
            true => format!("the channel {name} has an error and is left out"),
            false if name.contains(',') => {
                format!("there is no channel `{name}`; names in a list are separated by blanks, not commas")
            }
            false => {
                let names = self.plan.channels.iter().map(|channel| &*channel.config.name);
                let meant = super::keys::nearest(name, names).map(|near| format!("; did you mean `{near}`?"));
                let list = format!("{}.channels", self.agent);
                format!("there is no channel `{name}` listed in `{list}`{}", meant.unwrap_or_default())
            }
        };
        // A channel that a source names and does not get is an error for the check, whether or not the source runs.
        let severity = if left_out { severity } else { Severity::Error };
        self.plan.problems.add(severity, config, key, message);
        None
    }

    fn selector(
        &mut self,
        source: &ComponentConfig,
        channels: &[Arc<str>],
    ) -> Option<(Spec, ComponentConfig)> {
        let config = source.below(Kind::Selector, "selector.", &source.name);
        let before = self.plan.problems.0.len();
        let spec = self.spec(&config, "type", config.get("type").unwrap_or("replicating"));
        self.give_places(before, source);
        let found = Found { config, spec: spec? };
        self.check_keys(&found);
        let Factory::Selector(build) = found.spec.factory else { return None };
        let names: Vec<String> = channels.iter().map(|name| name.to_string()).collect();
        let before = self.plan.problems.0.len();
        let built = self.trial(&found.config, |config, problems| build(config, &names, problems));
        self.give_places(before, source);
        built.map(|_selector| (found.spec, found.config))
    }

    fn interceptors(&mut self, source: &ComponentConfig) -> Option<Vec<(Spec, ComponentConfig)>> {
        let names = source.get("interceptors").unwrap_or_default().to_string();
        let mut chain = Some(Vec::new());
        for name in names.split_whitespace() {
            let built = self.interceptor(source, name);
            chain = chain.zip(built).map(|(mut chain, built)| {
                chain.push(built);
                chain
            });
        }
        chain
    }

    fn interceptor(&mut self, source: &ComponentConfig, name: &str) -> Option<(Spec, ComponentConfig)> {
        let prefix = format!("{}interceptors.{name}.", source.prefix);
        let list = format!("{}interceptors", source.prefix);
        let found = self.find(Kind::Interceptor, &list, prefix, name)?;
        self.check_keys(&found);
        let Factory::Interceptor(build) = found.spec.factory else { return None };
        self.trial(&found.config, build)?;
        Some((found.spec, found.config))
    }

    /// The component with a batch that fits into the transactions of all its channels.
    ///
    /// A batch size that the file sets and that does not fit is an error, as in Flume. One that is only a default is
    /// lowered to what fits; Flume drops the component for a key that nobody wrote.
    pub(super) fn fit_batch_size(
        &mut self,
        mut found: Found,
        batch: BatchSize,
        channels: &[Arc<str>],
    ) -> Option<Found> {
        let Some((key, size)) = batch else { return Some(found) };
        let config = &mut found.config;
        let smallest = channels.iter().filter_map(|name| Some((name, *self.capacities.get(name)?)));
        let Some((channel, capacity)) = smallest.min_by_key(|(_, capacity)| *capacity) else {
            return Some(found);
        };
        if size <= capacity {
            return Some(found);
        }
        let limit = format!("{}.channels.{channel}.transactionCapacity", self.agent);
        let place = self.place_of(&limit);
        if config.get(key).is_some() {
            let message = format!(
                "{size} events do not fit into one transaction of the channel: `{limit}` is {capacity}{place}. Raise that \
                 to {size}, or lower this to {capacity}"
            );
            self.plan.problems.error(config, key, message);
            return None;
        }
        let mut value = config.values.get("type")?.clone();
        let before = self.plan.problems.0.len();
        let message = format!(
            "the default, {size}, does not fit into one transaction of the channel (`{limit}` is {capacity}{place}): \
             {capacity} is used. Set either of the two"
        );
        self.plan.problems.warn(config, key, message);
        self.give_places(before, config);
        value.resolved = capacity.to_string();
        value.raw.clone_from(&value.resolved);
        config.values.insert(key.to_string(), value);
        self.trial_of(&found)?;
        Some(found)
    }
}
