//! What an event is made of: a record's value, and headers that say where it was.
//!
//! ```text
//!   timestamp  the record's, in milliseconds    topic, partition, offset   where it was    each unless the event has it
//!   key        the record's key, if it has one  header.<name>              from the record's header
//! ```

use flumen_api::event::Headers;
use flumen_kafka::datum::{self, DatumError};
use flumen_kafka::records::Record;

use super::settings::KafkaSourceSettings;

/// What the keys say.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    event_format: bool,
    /// The header for the topic's name.
    topic_header: Option<String>,
    /// Event's header, record's header.
    headers: Vec<(String, String)>,
    /// No two of the headers that say where it was have one name.
    is_distinct: bool,
}

const TIMESTAMP: &str = "timestamp";
const PARTITION: &str = "partition";
const OFFSET: &str = "offset";

impl Shape {
    pub fn of(settings: &KafkaSourceSettings) -> Self {
        let headers = settings.headers.0.iter();
        let topic_header = settings.set_topic_header.then(|| settings.topic_header.clone());
        let is_other = |name: &String| ![TIMESTAMP, PARTITION, OFFSET].contains(&name.as_str());
        Self {
            event_format: settings.use_flume_event_format,
            is_distinct: topic_header.as_ref().is_none_or(is_other),
            topic_header,
            headers: headers.map(|(event, record)| (event.clone(), record.resolved.clone())).collect(),
        }
    }

    /// The event of a record of `topic`.
    pub fn event<'m>(&self, record: &Record<'m>, topic: &str) -> Result<(Headers, &'m [u8]), DatumError> {
        let value = record.value();
        let (mut headers, body) = match self.event_format {
            true => datum::decode(value)?,
            false => (Headers::with_capacity(5, 80), value),
        };
        // Nothing is there that could have the name already: most records, and it need not be looked for.
        let is_new = headers.is_empty() && self.is_distinct;
        let mut set_absent = |name: &str, value: &str| {
            if is_new || headers.get(name).is_none() {
                headers.append(name, value);
            }
        };
        let mut digits = [0; 20];
        set_absent(TIMESTAMP, decimal(record.timestamp(), &mut digits));
        if let Some(name) = &self.topic_header {
            set_absent(name, topic);
        }
        set_absent(PARTITION, decimal(i64::from(record.partition()), &mut digits));
        set_absent(OFFSET, decimal(record.offset() as i64, &mut digits));
        if !self.headers.is_empty() {
            record.headers(|name, value| {
                for (event, _) in self.headers.iter().filter(|(_, record)| record == name) {
                    headers.set(event, String::from_utf8_lossy(value));
                }
            });
        }
        if let Some(key) = record.key() {
            headers.set("key", String::from_utf8_lossy(key));
        }
        Ok((headers, body))
    }
}

/// The number's digits. Quicker than a `String` for each header of each event.
fn decimal(number: i64, digits: &mut [u8; 20]) -> &str {
    let mut rest = number.unsigned_abs();
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    std::str::from_utf8(&digits[at..]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::decimal;

    #[test]
    fn digits_are_those_of_the_number() {
        for number in [0, 7, -1, 1_700_000_000_000, i64::MAX, i64::MIN] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string());
        }
    }
}
