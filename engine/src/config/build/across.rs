//! What can be seen only with all components at hand.

use flumen_api::registry::Spec;
use flumen_api::settings::{ComponentConfig, Problem, Severity};

use super::{Builder, advice, timestamps};
use crate::plan::ChannelPlan;

impl Builder<'_> {
    pub(super) fn across(&mut self) {
        self.remove_idle_channels();
        self.warn_of_memory();
        self.warn_of_missing_timestamps();
        self.warn_of_topics_that_are_kept();
        if self.plan.sources.is_empty() && self.plan.sinks.is_empty() && !self.capacities.is_empty() {
            let message = "the agent has neither a source nor a sink that can run, so it runs nothing";
            self.plan.problems.0.push(Problem {
                severity: Severity::Error,
                key: self.agent.to_string(),
                place: None,
                message: message.into(),
            });
        }
    }

    /// A sink that is to deliver each event once must be alone on a channel that keeps what it has delivered.
    pub(super) fn refuse_what_cannot_be_exact(&mut self) {
        let plan = &self.plan;
        let mut refused = Vec::new();
        for sink in &plan.sinks {
            let key = sink.spec.keys.iter().find(|key| key.name.ends_with("exactlyOnce"));
            let Some(key) = key.filter(|key| is_true(&sink.config, key.name)) else { continue };
            let name = &sink.config.name;
            let channel = plan.channels.iter().find(|channel| channel.config.name == sink.channel);
            let others =
                plan.sinks.iter().find(|other| other.channel == sink.channel && other.config.name != *name);
            let message = if let Some(other) = others {
                format!(
                    "the sink {} takes events of the same channel: give each a channel of its own",
                    other.config.name
                )
            } else if channel.is_some_and(|channel| !channel.spec.alias.eq_ignore_ascii_case("file")) {
                format!(
                    "the channel {} does not keep what is delivered: it must be of `type = file`",
                    sink.channel
                )
            } else {
                continue;
            };
            refused.push((sink.config.clone(), key.name, message));
        }
        for (config, key, message) in refused {
            self.plan.problems.error(&config, key, message);
            self.plan.sinks.retain(|sink| sink.config.name != config.name);
            self.leave_out(config.kind, &config.name);
        }
    }

    /// A channel with nothing attached is never opened, as in Flume.
    fn remove_idle_channels(&mut self) {
        let plan = &mut self.plan;
        let mut idle = Vec::new();
        plan.channels.retain(|channel| {
            let name = &channel.config.name;
            let used = plan.sources.iter().any(|source| source.channels.contains(name))
                || plan.sinks.iter().any(|sink| sink.channels().any(|used| used == name));
            if !used {
                idle.push(channel.config.clone());
            }
            used
        });
        for config in idle {
            self.plan.problems.warn(
                &config,
                "type",
                "no source and no sink that runs is attached: the channel is not opened",
            );
        }
    }

    /// Events that a source could give again, and that a destination would keep, are lost in between at a kill.
    fn warn_of_memory(&mut self) {
        let in_memory = |channel: &&ChannelPlan| {
            ["memory", "spillablememory"].iter().any(|alias| channel.spec.alias.eq_ignore_ascii_case(alias))
        };
        let mut warnings = Vec::new();
        for channel in self.plan.channels.iter().filter(in_memory) {
            let name = &channel.config.name;
            let source = self
                .plan
                .sources
                .iter()
                .find(|source| source.channels.contains(name) && advice::can_seek(&source.spec));
            let sink = self
                .plan
                .sinks
                .iter()
                .find(|sink| sink.channel == *name && advice::delivers_durably(&sink.spec));
            if let (Some(source), Some(sink)) = (source, sink) {
                let message = format!(
                    "events in this channel are lost when the process is killed, though the source {} ({}) could keep them \
                     and the sink {} ({}) does: `type = file` loses none",
                    source.config.name,
                    type_name(&source.spec),
                    sink.config.name,
                    type_name(&sink.spec)
                );
                warnings.push((channel.config.clone(), message));
            }
        }
        for (config, message) in warnings {
            self.plan.problems.warn(&config, "type", message);
        }
    }

    /// A sink that names its files by the time of an event, behind a source whose events have none.
    fn warn_of_missing_timestamps(&mut self) {
        let mut warnings = Vec::new();
        for sink in &self.plan.sinks {
            let Some((key, escape)) = timestamps::needed(&sink.spec, &sink.config) else { continue };
            let lacking = self
                .plan
                .sources
                .iter()
                .find(|source| source.channels.contains(&sink.channel) && !timestamps::given(source));
            let Some(source) = lacking else { continue };
            let name = &source.config.name;
            let message = format!(
                "`{escape}` is the time in an event's header `timestamp`, and the source {name} ({}) gives its events none: \
                 add the interceptor `timestamp` to {name}, or set `hdfs.useLocalTimeStamp = true`",
                type_name(&source.spec)
            );
            warnings.push((sink.config.clone(), key, message));
        }
        for (config, key, message) in warnings {
            self.plan.problems.warn(&config, key, message);
        }
    }

    /// A sink of Kafka behind a source of Kafka: the source's header says the sink where each event goes, which is back.
    fn warn_of_topics_that_are_kept(&mut self) {
        let mut warnings = Vec::new();
        for sink in self.plan.sinks.iter().filter(|sink| advice::is_kafka_sink(&sink.spec)) {
            let header = |config: &ComponentConfig| config.get("topicHeader").unwrap_or("topic").to_string();
            let is_off = |config: &ComponentConfig, key: &str| {
                config.get(key).is_some_and(|text| text.eq_ignore_ascii_case("false"))
            };
            let keeps = self.plan.sources.iter().find(|source| {
                source.channels.contains(&sink.channel)
                    && advice::is_kafka_source(&source.spec)
                    && !is_off(&source.config, "setTopicHeader")
                    && header(&source.config) == header(&sink.config)
            });
            let Some(source) = keeps.filter(|_| !is_off(&sink.config, "allowTopicOverride")) else {
                continue;
            };
            let message = format!(
                "the source {} gives each event a header `{}` with its topic, which goes before this key: events go back to the \
                 topic they came from. Set `allowTopicOverride = false`",
                source.config.name,
                header(&sink.config)
            );
            warnings.push((sink.config.clone(), message));
        }
        for (config, message) in warnings {
            self.plan.problems.warn(&config, "kafka.topic", message);
        }
    }
}

fn is_true(config: &ComponentConfig, key: &str) -> bool {
    config.get(key).is_some_and(|text| text.eq_ignore_ascii_case("true"))
}

/// A type's short name, or the last part of its class name.
pub(crate) fn type_name(spec: &Spec) -> &str {
    if !spec.alias.is_empty() {
        return spec.alias;
    }
    let class = spec.class_names.first().copied().unwrap_or_default();
    class.rsplit_once('.').map_or(class, |(_, name)| name)
}
