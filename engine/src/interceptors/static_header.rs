//! `static`: one header with one value on all events.

use flumen_api::batch::Batch;
use flumen_api::interceptor::Interceptor;
use flumen_api::registry::{Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems, settings};

use super::shared::Memo;

settings! {
    /// Keys of the static interceptor.
    pub struct StaticSettings {
        /// Name of the header.
        pub key: String = key("key") { default: Some("key") },
        /// Its value.
        pub value: String = key("value") { default: Some("value") },
        /// An event that has the header keeps it as it is.
        pub preserve_existing: bool = key("preserveExisting") { default: Some("true") },
    }
}

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "static",
    class_names: &["org.apache.flume.interceptor.StaticInterceptor$Builder"],
    keys: StaticSettings::KEYS,
    doc: "Adds one header with the same value to all events; several of it add several.",
    factory: Factory::Interceptor(build),
};

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Box<dyn Interceptor>> {
    let settings = StaticSettings::load(config, problems)?;
    Some(Box::new(Static { settings, memo: Memo::default() }))
}

struct Static {
    settings: StaticSettings,
    memo: Memo,
}

impl Interceptor for Static {
    fn intercept(&mut self, batch: &mut Batch) {
        let StaticSettings { key, value, preserve_existing } = &self.settings;
        self.memo.set_all(batch, key, value, *preserve_existing);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{batch, headers, through};
    use super::*;

    #[test]
    fn the_header_is_added_where_it_is_missing() {
        let mut events = batch(&[("a", &[]), ("b", &[("dc", "old")])]);
        through(SPEC, &[("key", "dc"), ("value", "NEW YORK")], &mut events);
        assert_eq!(headers(&events), ["{dc=NEW YORK}", "{dc=old}"]);
        through(SPEC, &[("key", "dc"), ("value", "x"), ("preserveExisting", "false")], &mut events);
        assert_eq!(headers(&events), ["{dc=x}", "{dc=x}"]);
    }

    #[test]
    fn flumes_defaults_are_a_key_called_key_and_a_value_called_value() {
        let mut events = batch(&[("a", &[])]);
        through(SPEC, &[], &mut events);
        assert_eq!(headers(&events), ["{key=value}"]);
    }
}
