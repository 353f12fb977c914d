//! Where an event goes: topic, partition, timestamp; and which events can go nowhere.
//!
//! An event that can go nowhere holds up Flume's sink for ever. Here it is refused, with the reason, before anything of its batch
//! is sent.

use flumen_api::event::Headers;
use flumen_api::metrics::Counter;
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_kafka::producer::{self, ENVELOPE, KEY};
use jiff::tz::TimeZone;

use super::settings::KafkaSinkSettings;
use crate::escapes::{Escaper, HostNames, Policy, Template, TimeRules, parse_template};

/// What the keys say.
#[derive(Debug)]
pub(super) struct Routing {
    topic: String,
    /// For a topic with escapes.
    template: Option<Template>,
    topic_header: Option<String>,
    partition: Option<i32>,
    partition_header: Option<String>,
    timestamp_header: Option<String>,
    /// Event's header, record's header.
    headers: Vec<(String, String)>,
    event_format: bool,
    /// Largest record.
    bytes_max: usize,
}

/// An event's place in Kafka.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route<'a> {
    pub topic: &'a str,
    pub partition: Option<i32>,
    pub timestamp: Option<i64>,
}

impl Routing {
    pub fn of(
        settings: &KafkaSinkSettings,
        bytes_max: usize,
        config: &ComponentConfig,
        problems: &mut Problems,
    ) -> Option<Self> {
        let mut template = None;
        if settings.allow_topic_override {
            let name = if config.get("kafka.topic").is_some() { "kafka.topic" } else { "topic" };
            template = Some(parse_template(&settings.topic, name, config, problems)?)
                .filter(|one| !one.is_constant());
        }
        if template.is_none()
            && let Err(why) = check_topic(&settings.topic)
        {
            problems.error(config, "kafka.topic", why);
            return None;
        }
        let headers = settings.headers.0.iter();
        Some(Self {
            topic: settings.topic.clone(),
            template,
            topic_header: settings.allow_topic_override.then(|| settings.topic_header.clone()),
            partition: settings.default_partition_id.map(|id| id as i32),
            partition_header: settings.partition_id_header.clone(),
            timestamp_header: settings.timestamp_header.clone(),
            headers: headers.map(|(event, record)| (event.clone(), record.resolved.clone())).collect(),
            event_format: settings.use_flume_event_format,
            bytes_max,
        })
    }

    /// The one topic, if no escapes make others of it.
    pub fn fixed_topic(&self) -> Option<&str> {
        self.template.is_none().then_some(self.topic.as_str())
    }

    /// Whether a record's value is the whole event.
    pub fn is_event_format(&self) -> bool {
        self.event_format
    }

    /// The record's headers.
    pub fn record_headers<'a>(&'a self, headers: &'a Headers, out: &mut Vec<(&'a str, &'a str)>) {
        out.clear();
        out.extend(
            self.headers.iter().filter_map(|(event, record)| Some((record.as_str(), headers.get(event)?))),
        );
    }

    /// Fills in the template; asks a resolver for this host's names if it needs them.
    pub fn escaper(&self, fell_back: Counter) -> Result<Option<Escaper>, String> {
        let Some(template) = &self.template else { return Ok(None) };
        let hosts = if template.needs_hosts() { HostNames::look_up()? } else { HostNames::default() };
        let time = TimeRules { rounding: None, zone: TimeZone::system(), use_clock: false };
        let policy = Policy { is_path: false, ..Policy::default() };
        Ok(Some(Escaper::new(template, &hosts, time, policy, fell_back)))
    }

    /// The event's place, or why there is none.
    pub fn route<'a>(
        &'a self,
        headers: &'a Headers,
        body: &[u8],
        escaper: Option<&'a mut Escaper>,
        now: i64,
    ) -> Result<Route<'a>, String> {
        let named = self.topic_header.as_ref().and_then(|name| headers.get(name));
        let topic = match (named, escaper) {
            (Some(named), _) => named,
            (None, Some(escaper)) => escaper.resolve(headers, now).map_err(|lacking| lacking.to_string())?,
            (None, None) => &self.topic,
        };
        if named.is_some() || self.template.is_some() {
            check_topic(topic)?;
        }
        let mut partition = self.partition;
        if let Some(text) = self.partition_header.as_ref().and_then(|name| headers.get(name)) {
            partition = Some(producer::partition(text)?);
        }
        let mut timestamp = None;
        if let Some(text) = self.timestamp_header.as_ref().and_then(|name| headers.get(name)) {
            timestamp = text.parse().ok().filter(|millis: &i64| *millis >= 0);
            if timestamp.is_none() {
                tracing::warn!("a timestamp is not a number of milliseconds and is left out: `{text:.64}`");
            }
        }
        let size = body.len()
            + headers.get(KEY).map_or(0, str::len)
            + match self.event_format {
                true => headers.iter().map(|(key, value)| key.len() + value.len()).sum(),
                false => 0,
            };
        if size + ENVELOPE > self.bytes_max {
            return Err(format!(
                "the event has {size} bytes, and kafka.producer.max.request.size allows {} with {ENVELOPE} for the envelope",
                self.bytes_max
            ));
        }
        Ok(Route { topic, partition, timestamp })
    }
}

/// Kafka's rules for a topic's name.
fn check_topic(name: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match !name.is_empty() && name.len() <= 249 && name != "." && name != ".." && name.bytes().all(allowed) {
        true => Ok(()),
        false => Err(format!(
            "`{name:.64}` cannot be a topic's name: 1 to 249 letters, digits, dots, underscores and hyphens"
        )),
    }
}

#[cfg(test)]
mod tests {
    use flumen_api::settings::Kind;

    use super::*;

    fn routing(pairs: &[(&str, &str)]) -> Routing {
        let mut all = vec![("kafka.bootstrap.servers", "h:1")];
        all.extend(pairs);
        let config = ComponentConfig::of(Kind::Sink, "k1", &all);
        let mut problems = Problems::default();
        let settings = KafkaSinkSettings::load(&config, &mut problems).expect("good keys");
        Routing::of(&settings, 1000, &config, &mut problems).expect("good keys")
    }

    fn route(
        pairs: &[(&str, &str)],
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<(String, Option<i32>, Option<i64>), String> {
        let routing = routing(pairs);
        let headers = Headers::from_iter(headers.iter().copied());
        let mut escaper = routing.escaper(Counter::default()).expect("no host names");
        let route = routing.route(&headers, body, escaper.as_mut(), 0)?;
        Ok((route.topic.into(), route.partition, route.timestamp))
    }

    #[test]
    fn a_header_names_the_topic_else_the_key_with_its_escapes() {
        let topic = |pairs: &[(&str, &str)], headers: &[(&str, &str)]| {
            route(pairs, headers, b"").map(|route| route.0)
        };
        assert_eq!(topic(&[], &[]).as_deref(), Ok("default-flume-topic"));
        assert_eq!(topic(&[("kafka.topic", "a")], &[("topic", "b")]).as_deref(), Ok("b"));
        assert_eq!(topic(&[("topic", "old-%{x}")], &[("x", "c")]).as_deref(), Ok("old-c"));
        assert_eq!(topic(&[("kafka.topic", "d-%Y")], &[("timestamp", "0")]).as_deref(), Ok("d-1970"));
        let never = [("kafka.topic", "a"), ("allowTopicOverride", "false")];
        assert_eq!(topic(&never, &[("topic", "b")]).as_deref(), Ok("a"));
        let other = [("topicHeader", "where")];
        assert_eq!(topic(&other, &[("topic", "b"), ("where", "c")]).as_deref(), Ok("c"));
    }

    #[test]
    fn partition_and_timestamp_come_from_headers() {
        let keys = [("defaultPartitionId", "3"), ("partitionIdHeader", "p"), ("timestampHeader", "t")];
        assert_eq!(route(&keys, &[], b"").map(|route| (route.1, route.2)), Ok((Some(3), None)));
        let both = [("p", "5"), ("t", "77")];
        assert_eq!(route(&keys, &both, b"").map(|route| (route.1, route.2)), Ok((Some(5), Some(77))));
        assert_eq!(route(&keys, &[("t", "soon")], b"").map(|route| route.2), Ok(None));
    }

    #[test]
    fn an_event_that_can_go_nowhere_is_refused_with_the_reason() {
        for (keys, headers, why) in [
            (&[][..], &[("topic", "")][..], "cannot be a topic"),
            (&[], &[("topic", "a/b")], "cannot be a topic"),
            (&[], &[("topic", "..")], "cannot be a topic"),
            (&[("kafka.topic", "%{x}")], &[], "cannot be a topic"),
            (&[("partitionIdHeader", "p")], &[("p", "first")], "not a number"),
            (&[("partitionIdHeader", "p")], &[("p", "-1")], "not a number"),
        ] {
            let error = route(keys, headers, b"").expect_err("refused");
            assert!(error.contains(why), "{error}");
        }
        assert!(route(&[], &[], &[0; 900]).is_ok());
        assert!(route(&[], &[], &[0; 901]).is_err());
        assert!(route(&[("useFlumeEventFormat", "true")], &[("some", "header")], &[0; 895]).is_err());
    }
}
