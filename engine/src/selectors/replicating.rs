//! `replicating`, the default: every event goes to every channel.
//!
//! Channels named by `optional` get what they have room for at once; the source does not wait for them and never learns
//! of what they lost.

use flumen_api::batch::Batch;
use flumen_api::registry::{Factory, Spec};
use flumen_api::selector::{Route, Selected, Selector};
use flumen_api::settings::{ComponentConfig, Problems, Words, settings};

use super::named::places;

settings! {
    /// Keys of the replicating selector.
    pub struct ReplicatingSettings {
        /// Channels that may miss events: they get what they have room for at once, and their failures do not reach the
        /// source.
        pub optional: Words = key("optional") { },
    }
}

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "replicating",
    class_names: &["org.apache.flume.channel.ReplicatingChannelSelector"],
    keys: ReplicatingSettings::KEYS,
    doc: "Every event goes to every channel of the source.",
    factory: Factory::Selector(build),
};

fn build(
    config: &ComponentConfig,
    channels: &[String],
    problems: &mut Problems,
) -> Option<Box<dyn Selector>> {
    let settings = ReplicatingSettings::load(config, problems)?;
    let places = places(&settings.optional.0.join(" "), "optional", channels, config, problems)?;
    let optional = (0..channels.len()).map(|at| places.contains(&at)).collect();
    Some(Box::new(Replicating { optional }))
}

struct Replicating {
    /// By channel, in the source's order.
    optional: Vec<bool>,
}

impl Selector for Replicating {
    fn route(&mut self, _: &Batch, channels: usize) -> Route {
        assert_eq!(channels, self.optional.len(), "the selector was built for other channels");
        let all_where = |wanted: bool| {
            let pick = |&optional: &bool| if optional == wanted { Selected::All } else { Selected::None };
            self.optional.iter().map(pick).collect()
        };
        Route { required: all_where(false), optional: all_where(true), nowhere: 0 }
    }

    fn may_require(&self, channel: usize) -> bool {
        !self.optional[channel]
    }
}

#[cfg(test)]
mod tests {
    use flumen_api::settings::Kind;

    use super::*;

    fn build_with(optional: &str) -> (Option<Box<dyn Selector>>, Problems) {
        let config = ComponentConfig::of(Kind::Selector, "r1", &[("optional", optional)]);
        let mut problems = Problems::default();
        let selector = build(&config, &["c1".into(), "c2".into()], &mut problems);
        (selector, problems)
    }

    #[test]
    fn every_channel_gets_everything_and_optional_ones_are_not_required() {
        let (selector, problems) = build_with("c2");
        let mut selector = selector.expect("a selector");
        assert_eq!(problems.errors(), 0);
        let route = selector.route(&Batch::new(), 2);
        assert_eq!(route.required, [Selected::All, Selected::None]);
        assert_eq!(route.optional, [Selected::None, Selected::All]);
        assert!(selector.may_require(0) && !selector.may_require(1));
    }

    #[test]
    fn an_optional_channel_that_the_source_does_not_have_is_an_error() {
        let (selector, problems) = build_with("c2 c9");
        assert!(selector.is_none());
        assert!(problems.0[0].message.contains("c9"), "{problems:?}");
    }
}
