//! Handles of the counters that every component of a kind has, with Flume's names beside ours.
//!
//! One handle feeds both outputs: `/metrics/prometheus` as `flumen_{source|sink|channel}_<what>_total{agent,name,type}`
//! and Flume's JSON at `/metrics` under the attribute name. A counter survives a reload of its component.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A count that only rises. Cheap to clone; clones count together.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A value that rises and falls. Cheap to clone; clones hold one value.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicU64>);

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Takes `n` away.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// The value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! handles {
    ($(#[$meta:meta])* $name:ident { $($(#[doc = $doc:literal])+ $field:ident: $type:ident, $flume:literal, $ours:literal;)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default)]
        pub struct $name { $($(#[doc = $doc])+ pub $field: $type,)+ }

        impl $name {
            /// Flume's attribute name, our name without prefix, whether it only rises, help, value.
            pub fn values(&self) -> Vec<MetricValue> {
                vec![$(MetricValue {
                    flume: $flume,
                    name: $ours,
                    rises: stringify!($type).len() == "Counter".len(),
                    help: concat!($($doc),+).trim_ascii(),
                    value: self.$field.get(),
                }),+]
            }
        }
    };
}

/// One metric's present value with its names.
#[derive(Clone, Debug)]
pub struct MetricValue {
    /// Flume's attribute name; empty if Flume has none.
    pub flume: &'static str,
    /// Our name, between `flumen_<kind>_` and `_total`.
    pub name: &'static str,
    /// A counter, not a gauge.
    pub rises: bool,
    /// One line of help.
    pub help: &'static str,
    /// The value.
    pub value: u64,
}

handles! {
    /// Counters of a source.
    SourceMetrics {
        /// Events that the source got from outside.
        event_received: Counter, "EventReceivedCount", "events_received";
        /// Events that all required channels have durably.
        event_accepted: Counter, "EventAcceptedCount", "events_accepted";
        /// Single-event requests received.
        append_received: Counter, "AppendReceivedCount", "appends_received";
        /// Single-event requests accepted.
        append_accepted: Counter, "AppendAcceptedCount", "appends_accepted";
        /// Batch requests received.
        append_batch_received: Counter, "AppendBatchReceivedCount", "append_batches_received";
        /// Batch requests accepted.
        append_batch_accepted: Counter, "AppendBatchAcceptedCount", "append_batches_accepted";
        /// Connections that are open now.
        open_connections: Gauge, "OpenConnectionCount", "open_connections";
        /// Events or reads that failed at the input.
        event_read_fail: Counter, "EventReadFail", "event_read_failures";
        /// Puts that a channel refused.
        channel_write_fail: Counter, "ChannelWriteFail", "channel_write_failures";
        /// Failures of another kind.
        generic_processing_fail: Counter, "GenericProcessingFail", "processing_failures";
        /// Events that the selector had no channel for.
        nowhere: Counter, "", "events_without_channel";
        /// Events that an optional channel had no room for.
        optional_dropped: Counter, "", "events_dropped_by_optional_channels";
    }
}

handles! {
    /// Counters of a sink.
    SinkMetrics {
        /// Connections or files opened.
        connection_created: Counter, "ConnectionCreatedCount", "connections_created";
        /// Connections or files closed.
        connection_closed: Counter, "ConnectionClosedCount", "connections_closed";
        /// Failures to connect or to open.
        connection_failed: Counter, "ConnectionFailedCount", "connections_failed";
        /// Takes that found nothing.
        batch_empty: Counter, "BatchEmptyCount", "batches_empty";
        /// Takes that got less than a full batch.
        batch_underflow: Counter, "BatchUnderflowCount", "batches_underflow";
        /// Takes that got a full batch.
        batch_complete: Counter, "BatchCompleteCount", "batches_complete";
        /// Events handed to the sink.
        event_drain_attempt: Counter, "EventDrainAttemptCount", "events_drain_attempts";
        /// Events delivered and released.
        event_drain_success: Counter, "EventDrainSuccessCount", "events_drained";
        /// Deliveries that failed.
        event_write_fail: Counter, "EventWriteFail", "event_write_failures";
        /// Takes that failed.
        channel_read_fail: Counter, "ChannelReadFail", "channel_read_failures";
        /// Events that the destination refused and that went to the dead letter.
        dead_lettered: Counter, "", "events_dead_lettered";
        /// Events that lacked a header which their path or topic needs, and for which a fallback stood in.
        fell_back: Counter, "", "events_with_path_fallback";
    }
}

handles! {
    /// Counters of a channel.
    ChannelMetrics {
        /// Events that a put tried to bring.
        event_put_attempt: Counter, "EventPutAttemptCount", "events_put_attempts";
        /// Events put durably.
        event_put_success: Counter, "EventPutSuccessCount", "events_put";
        /// Puts that failed for another reason than a lack of room.
        event_put_error: Counter, "EventPutErrorCount", "put_errors";
        /// Events taken, and attempts that found none.
        event_take_attempt: Counter, "EventTakeAttemptCount", "events_take_attempts";
        /// Events released.
        event_take_success: Counter, "EventTakeSuccessCount", "events_taken";
        /// Takes that failed.
        event_take_error: Counter, "EventTakeErrorCount", "take_errors";
    }
}
