//! `UUIDInterceptor`: a random number of 122 bits on every event.
//!
//! ```text
//!   xxxxxxxx-xxxx-4xxx-yxxx-xxxxxxxxxxxx      RFC 9562, version 4; y is 8, 9, a or b
//! ```
//!
//! Every event needs a header set of its own here, which is what this interceptor costs.

use std::fmt::Write as _;

use flumen_api::batch::Batch;
use flumen_api::interceptor::Interceptor;
use flumen_api::registry::{Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems, settings};

const BYTES: usize = 16;

settings! {
    /// Keys of the UUID interceptor.
    pub struct UuidSettings {
        /// Name of the header.
        pub header_name: String = key("headerName") { default: Some("id") },
        /// An event that has the header keeps it as it is.
        pub preserve_existing: bool = key("preserveExisting") { default: Some("true") },
        /// Text before the number.
        pub prefix: String = key("prefix") { default: Some("") },
    }
}

/// The type's entry in the registry.
pub const SPEC: Spec = Spec {
    alias: "uuid",
    class_names: &["org.apache.flume.sink.solr.morphline.UUIDInterceptor$Builder"],
    keys: UuidSettings::KEYS,
    doc: "Adds a header with a random UUID to each event. Flume knows it by its class name alone.",
    factory: Factory::Interceptor(build),
};

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Box<dyn Interceptor>> {
    let settings = UuidSettings::load(config, problems)?;
    Some(Box::new(Uuid { settings, random: Vec::new() }))
}

struct Uuid {
    settings: UuidSettings,
    /// Random bytes for one batch.
    random: Vec<u8>,
}

impl Interceptor for Uuid {
    fn intercept(&mut self, batch: &mut Batch) {
        let UuidSettings { header_name, preserve_existing, prefix } = &self.settings;
        self.random.resize(batch.len() * BYTES, 0);
        if getrandom::fill(&mut self.random).is_err() {
            // The kernel has no randomness to give, which no Linux of today says: the numbers are still distinct.
            fastrand::fill(&mut self.random);
        }
        for (i, random) in self.random.chunks_exact(BYTES).enumerate() {
            if *preserve_existing && batch.event(i).headers.get(header_name).is_some() {
                continue;
            }
            batch.set(i, header_name, &text(prefix, random));
        }
    }
}

fn text(prefix: &str, random: &[u8]) -> String {
    let mut text = String::with_capacity(prefix.len() + 36);
    text.push_str(prefix);
    for (i, byte) in random.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let byte = match i {
            6 => byte & 0x0f | 0x40,
            8 => byte & 0x3f | 0x80,
            _ => *byte,
        };
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::testing::{batch, headers, through};
    use super::*;

    #[test]
    fn every_event_gets_a_number_of_its_own_in_the_form_of_version_4() {
        let mut events = batch(&[("a", &[("k", "v")] as &[_]); 100]);
        through(SPEC, &[("prefix", "log-")], &mut events);
        let ids: BTreeSet<_> =
            events.iter().map(|event| event.headers.get("id").expect("an id").to_string()).collect();
        assert_eq!(ids.len(), 100);
        let form = flumen_java::JavaRegex::whole(
            "log-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
        );
        let form = form.expect("an expression");
        assert!(ids.iter().all(|id| form.is_match(id) == Ok(true)), "{ids:?}");
        assert!(events.iter().all(|event| event.headers.get("k") == Some("v")));
    }

    #[test]
    fn bytes_are_written_in_order_with_version_and_variant() {
        let bytes: Vec<u8> = (0..16).map(|i| i * 0x11).collect();
        assert_eq!(text("", &bytes), "00112233-4455-4677-8899-aabbccddeeff");
    }

    #[test]
    fn an_event_that_has_one_keeps_it_unless_told_otherwise() {
        let mut events = batch(&[("a", &[("id", "mine")])]);
        through(SPEC, &[], &mut events);
        assert_eq!(headers(&events), ["{id=mine}"]);
        through(SPEC, &[("preserveExisting", "false")], &mut events);
        assert_ne!(headers(&events), ["{id=mine}"]);
    }
}
