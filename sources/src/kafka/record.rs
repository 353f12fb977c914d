//! What an event is made of: a record's value, and headers that say where it was.
//!
//! ```text
//!   timestamp  the record's, in milliseconds    topic, partition, offset   where it was    each unless the event has it
//!   key        the record's key, if it has one  header.<name>              from the record's header
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};

use flumen_api::event::Headers;
use flumen_kafka::datum::{self, DatumError};
use flumen_kafka::rdkafka::Message;
use flumen_kafka::rdkafka::message::{BorrowedMessage, Headers as _};

use super::settings::KafkaSourceSettings;

/// What the keys say.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    event_format: bool,
    /// The header for the topic's name.
    topic_header: Option<String>,
    /// Event's header, record's header.
    headers: Vec<(String, String)>,
}

impl Shape {
    pub fn of(settings: &KafkaSourceSettings) -> Self {
        let headers = settings.headers.0.iter();
        Self {
            event_format: settings.use_flume_event_format,
            topic_header: settings.set_topic_header.then(|| settings.topic_header.clone()),
            headers: headers.map(|(event, record)| (event.clone(), record.resolved.clone())).collect(),
        }
    }

    /// The event of a record.
    pub fn event<'m>(&self, message: &'m BorrowedMessage<'_>) -> Result<(Headers, &'m [u8]), DatumError> {
        let value = message.payload().unwrap_or_default();
        let (mut headers, body) = match self.event_format {
            true => datum::decode(value)?,
            false => (Headers::with_capacity(5, 80), value),
        };
        let mut set_absent = |name: &str, value: &str| {
            if headers.get(name).is_none() {
                headers.set(name, value);
            }
        };
        let mut digits = [0; 20];
        set_absent("timestamp", decimal(message.timestamp().to_millis().unwrap_or(-1), &mut digits));
        if let Some(name) = &self.topic_header {
            set_absent(name, message.topic());
        }
        set_absent("partition", decimal(i64::from(message.partition()), &mut digits));
        set_absent("offset", decimal(message.offset(), &mut digits));
        if !self.headers.is_empty() {
            self.copy_headers(message, &mut headers);
        }
        if let Some(key) = message.key() {
            headers.set("key", String::from_utf8_lossy(key));
        }
        Ok((headers, body))
    }

    fn copy_headers(&self, message: &BorrowedMessage<'_>, headers: &mut Headers) {
        let Some(theirs) = message.headers() else { return };
        for index in 0..theirs.count() {
            // The client's library panics over a name that is not UTF-8.
            let one = catch_unwind(AssertUnwindSafe(|| theirs.try_get(index)));
            let Ok(Some(one)) = one else { continue };
            for (event, _) in self.headers.iter().filter(|(_, record)| record == one.key) {
                headers.set(event, String::from_utf8_lossy(one.value.unwrap_or_default()));
            }
        }
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
