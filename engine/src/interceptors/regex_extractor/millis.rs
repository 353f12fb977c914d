//! The serializer that turns a time into milliseconds since 1970.

use flumen_api::interceptor::ValueSerializer;
use flumen_api::registry::{Factory, Spec};
use flumen_api::settings::{ComponentConfig, Problems, settings};
use jiff::tz::TimeZone;

use super::joda::Pattern;

settings! {
    /// Keys of the millis serializer.
    pub struct MillisSettings {
        /// Joda-Time's pattern of the text, as `yyyy-MM-dd HH:mm:ss`. A text without a zone is in this machine's.
        pub pattern: String = key("pattern") { required: true },
    }
}

pub(super) const SPEC: Spec = Spec {
    alias: "",
    class_names: &["org.apache.flume.interceptor.RegexExtractorInterceptorMillisSerializer"],
    keys: MillisSettings::KEYS,
    doc: "The time that the text says, in milliseconds since 1970. A text that the pattern does not fit makes no header.",
    factory: Factory::ValueSerializer(build),
};

fn build(config: &ComponentConfig, problems: &mut Problems) -> Option<Box<dyn ValueSerializer>> {
    let settings = MillisSettings::load(config, problems)?;
    match Pattern::new(&settings.pattern) {
        Ok(pattern) => Some(Box::new(Millis { pattern, text: settings.pattern, zone: TimeZone::system() })),
        Err(why) => {
            problems.error(config, "pattern", why);
            None
        }
    }
}

struct Millis {
    pattern: Pattern,
    text: String,
    zone: TimeZone,
}

impl ValueSerializer for Millis {
    fn serialize(&mut self, matched: &str) -> Result<String, String> {
        match self.pattern.parse(matched, &self.zone) {
            Some(millis) => Ok(millis.to_string()),
            None => Err(format!("what the expression matched is not a time by the pattern `{}`", self.text)),
        }
    }
}
