//! Which topics are read.

use flumen_api::settings::{ComponentConfig, Problems};
use flumen_java::JavaRegex;

use super::settings::KafkaSourceSettings;

/// What the keys name.
#[derive(Debug)]
pub(super) enum Topics {
    /// These.
    Named(Vec<String>),
    /// Those whose whole names match.
    Matching(Box<JavaRegex>),
}

impl Topics {
    pub fn of(
        settings: &KafkaSourceSettings,
        config: &ComponentConfig,
        problems: &mut Problems,
    ) -> Option<Self> {
        if let Some(regex) = &settings.topics_regex {
            let regex = JavaRegex::whole(regex);
            return regex
                .map(|regex| Self::Matching(Box::new(regex)))
                .map_err(|why| problems.error(config, "kafka.topics.regex", why))
                .ok();
        }
        if settings.topics.0.is_empty() {
            let message =
                "required key is missing: the topics to read, separated by commas (or `kafka.topics.regex`)";
            problems.error(config, "kafka.topics", message);
            return None;
        }
        Some(Self::Named(settings.topics.0.clone()))
    }

    /// Those among all that there are. Kafka's own are never meant by an expression.
    pub fn among(&self, there: Vec<String>) -> Vec<String> {
        match self {
            Self::Named(named) => named.clone(),
            Self::Matching(regex) => {
                let meant =
                    |topic: &String| !topic.starts_with("__") && regex.is_match(topic).unwrap_or(false);
                let mut topics: Vec<String> = there.into_iter().filter(meant).collect();
                topics.sort_unstable();
                topics
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_means_whole_names_and_none_of_kafkas_own() {
        let topics = Topics::Matching(Box::new(JavaRegex::whole("_*log\\.[ab]").expect("an expression")));
        let there = ["log.b", "log.a", "log.c", "xlog.a", "log.ab", "__log.a"].map(String::from);
        assert_eq!(topics.among(there.into()), ["log.a", "log.b"]);
    }
}
