//! Syslog lines to events: one room for the three syslog sources, with the two parsers that Flume has.
//!
//! ```text
//!   syslogtcp, syslogudp                      multiport_syslogtcp
//!   lines   bytes to lines, `<PRI>` judged    split   bytes to lines, nothing judged
//!   header  RFC 5424 or 3164, or as `format.*` strict  RFC 5424 or 3164, by position
//!   times   time stamps to milliseconds, for both
//!   keep    which of the parsed fields stay in the body, for both
//! ```
//!
//! They differ in header names (`priority` and `Priority`), in what counts as invalid, and in what an event without a
//! match looks like; users' files depend on each. Nothing here waits, fails on any bytes, or grows beyond a line.

mod custom;
mod date_format;
mod header;
mod keep;
mod legacy;
mod lines;
mod split;
mod strict;
mod times;

#[cfg(test)]
mod known;
#[cfg(test)]
mod properties;

use std::borrow::Cow;

use flumen_api::metrics::SourceMetrics;
use flumen_api::{Batch, Headers};

pub(crate) use custom::{Custom, FormatKeys};
pub(crate) use keep::KeepFields;
pub(crate) use legacy::Legacy;
pub(crate) use lines::Lines;
pub(crate) use split::Splitter;
pub(crate) use strict::{Strict, invalid};
pub(crate) use times::Times;

/// The header that says what was wrong with an event.
pub(crate) const STATUS: &str = "flume.syslog.status";
/// The line is no syslog message; its body is the line.
pub(crate) const INVALID: &str = "Invalid";
/// The line was cut at the largest size.
pub(crate) const INCOMPLETE: &str = "Incomplete";

/// An event as a parser made it of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parsed<'a> {
    pub headers: Headers,
    pub body: Cow<'a, [u8]>,
}

impl Parsed<'_> {
    /// Whether the line was no syslog message.
    pub fn is_invalid(&self) -> bool {
        self.headers.get(STATUS) == Some(INVALID)
    }

    /// The same with a body of its own.
    pub fn into_owned(self) -> Parsed<'static> {
        Parsed { headers: self.headers, body: self.body.into_owned().into() }
    }

    /// Adds the event, with its client's headers, to a batch; a line that was no syslog message is counted.
    pub fn push(self, batch: &mut Batch, client: &Headers, metrics: &SourceMetrics) {
        if self.is_invalid() {
            metrics.event_read_fail.inc();
            tracing::debug!("a line is no syslog message");
        }
        let mut headers = self.headers;
        client.iter().for_each(|(name, value)| headers.set(name, value));
        let headers = batch.add_headers(headers);
        batch.push_with(&self.body, headers);
    }
}
