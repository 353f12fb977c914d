//! Sinks.

use std::sync::Arc;

use flumen_api::settings::{ComponentConfig, Kind, Severity};

use super::{Builder, Found};
use crate::plan::SinkPlan;

impl Builder<'_> {
    pub(super) fn sinks(&mut self) {
        let list = format!("{}.sinks", self.agent);
        for name in self.listed("sinks") {
            match self.sink(&list, &name) {
                Some(sink) => self.plan.sinks.push(sink),
                None => self.leave_out(Kind::Sink, &name),
            }
        }
    }

    fn sink(&mut self, list: &str, name: &Arc<str>) -> Option<SinkPlan> {
        let found = self.find(Kind::Sink, list, format!("{list}.{name}."), name)?;
        self.check_keys(&found);
        let batch = self.trial_of(&found);
        let channel = self.sink_channel(&found.config);
        let dead_letter = self.dead_letter(&found.config, &channel);
        let (batch, channel, dead_letter) = (batch?, channel?, dead_letter?);
        let Found { config, spec } = self.fit_batch_size(found, batch, std::slice::from_ref(&channel))?;
        Some(SinkPlan { config, spec, channel, dead_letter })
    }

    fn sink_channel(&mut self, config: &ComponentConfig) -> Option<Arc<str>> {
        let before = self.plan.problems.0.len();
        let channel = match config.get("channel") {
            Some(name) => {
                let channel = self.channel_name(config, "channel", name, Severity::Error);
                if channel.is_none() && name.split_whitespace().count() > 1 {
                    self.plan.problems.error(config, "channel", "a sink has one channel, not a list of them");
                }
                channel
            }
            None => {
                let advice = match config.get("channels") {
                    Some(_) => "; a sink's key is `channel`, a source's is `channels`",
                    None => "",
                };
                let message = format!("required key is missing: the channel that the sink drains{advice}");
                self.plan.problems.error(config, "channel", message);
                None
            }
        };
        self.give_places(before, config);
        channel
    }
}
