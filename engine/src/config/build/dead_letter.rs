//! Where a sink's refused events go: keys that every sink has.
//!
//! Channels and the dead letters between them are a graph, in which no event may come back to where it was.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use flumen_api::settings::{ComponentConfig, Problems, Setting, Severity, settings};

use super::Builder;
use crate::plan::DeadLetterPlan;

settings! {
    /// Keys of every sink's dead letter.
    pub struct DeadLetterSettings {
        /// Where events go that the destination refuses for good: off, channel or file. With off the sink tries them again
        /// and again, as Flume does, and what comes after them waits.
        pub kind: String = key("deadLetter.type") {
            default: Some("off"), one_of: &["off", "channel", "file"], since: "Flumen 0.1"
        },
        /// The channel that receives them, not the sink's own. They have the headers deadLetter.reason, deadLetter.sink and
        /// deadLetter.time (milliseconds).
        pub channel: Option<String> = key("deadLetter.channel") { since: "Flumen 0.1" },
        /// The file that receives them, one line of JSON each: headers, the three above among them, and body, or bodyBase64
        /// where the body is no text. It is opened anew each time, so it may be renamed at any time. With the type channel it
        /// receives what that channel can never take, an event larger than its largest; its default is then
        /// `~/.flume/dead-letter/<agent>.<sink>.json`.
        pub file: Option<PathBuf> = key("deadLetter.file") { since: "Flumen 0.1" },
    }
}

impl Builder<'_> {
    /// The sink's dead letter; `None` is a reported error.
    pub(super) fn dead_letter(
        &mut self,
        config: &ComponentConfig,
        channel: &Option<Arc<str>>,
    ) -> Option<Option<DeadLetterPlan>> {
        let before = self.plan.problems.0.len();
        let mut problems = Problems::default();
        let settings = DeadLetterSettings::load(config, &mut problems);
        self.plan.problems.0.append(&mut problems.0);
        let found = settings.and_then(|settings| self.dead_letter_of(&settings, config, channel));
        self.give_places(before, config);
        found
    }

    fn dead_letter_of(
        &mut self,
        settings: &DeadLetterSettings,
        config: &ComponentConfig,
        channel: &Option<Arc<str>>,
    ) -> Option<Option<DeadLetterPlan>> {
        let is = |word: &str| settings.kind.eq_ignore_ascii_case(word);
        for (key, words, is_set) in [
            ("deadLetter.channel", &["channel"][..], settings.channel.is_some()),
            ("deadLetter.file", &["file", "channel"], settings.file.is_some()),
        ] {
            if is_set && !words.iter().any(|word| is(word)) {
                let message =
                    format!("ignored: `deadLetter.type` is {}, not {}", settings.kind, words.join(" or "));
                self.plan.problems.warn(config, key, message);
            }
        }
        if is("off") {
            return Some(None);
        }
        if is("file") {
            let Some(file) = settings.file.clone() else {
                let message = "required key is missing: the file that receives refused events";
                self.plan.problems.error(config, "deadLetter.file", message);
                return None;
            };
            return Some(Some(DeadLetterPlan::File(file)));
        }
        let key = "deadLetter.channel";
        let Some(name) = &settings.channel else {
            let message = "required key is missing: the channel that receives refused events";
            self.plan.problems.error(config, key, message);
            return None;
        };
        let target = self.channel_name(config, key, name, Severity::Error)?;
        if channel.as_ref() == Some(&target) {
            let message =
                "this is the sink's own channel: what the sink refuses would come to it again and again";
            self.plan.problems.error(config, key, message);
            return None;
        }
        if let Some(way) = channel.as_ref().and_then(|channel| self.way(&target, channel)) {
            let message = format!(
                "the dead letters go in a circle: what this sink refuses comes to {way}, and what is refused there comes back \
                 to it, again and again"
            );
            self.plan.problems.error(config, key, message);
            return None;
        }
        let beyond = settings.file.clone().or_else(|| self.beyond(config));
        Some(Some(DeadLetterPlan::Channel { name: target, beyond }))
    }

    /// The sinks, each with its channel, by whose dead letters an event goes from one channel to another.
    fn way(&self, from: &Arc<str>, to: &Arc<str>) -> Option<String> {
        let mut ways = vec![(from, String::new())];
        let mut seen = BTreeSet::from([from]);
        while let Some((at, way)) = ways.pop() {
            if at == to {
                return Some(way);
            }
            for sink in self.plan.sinks.iter().filter(|sink| sink.channel == *at) {
                if let Some(DeadLetterPlan::Channel { name, .. }) = &sink.dead_letter
                    && seen.insert(name)
                {
                    let comma = if way.is_empty() { "" } else { ", then " };
                    ways.push((name, format!("{way}{comma}{} (at {at})", sink.config.name)));
                }
            }
        }
        None
    }

    /// Where goes what the channel can never take, if no key says so.
    fn beyond(&mut self, config: &ComponentConfig) -> Option<PathBuf> {
        let name = format!("{}.{}", config.agent, config.name).replace('/', "_");
        let key = DeadLetterSettings::KEYS.iter().find(|key| key.name == "deadLetter.file")?;
        let path = PathBuf::read(key, Some(&format!("~/.flume/dead-letter/{name}.json")));
        if let Err(why) = &path {
            let message = format!(
                "{why}. An event that is too large for the channel would hold the sink up for ever: name a file for it"
            );
            self.plan.problems.warn(config, "deadLetter.file", message);
        }
        path.ok()
    }
}
