//! `PseudoTxnMemoryChannel`: Flume's channel for tests, which has no transactions.
//!
//! Here it is a memory channel with the two keys of that one. A rollback gives the events back, where Flume's loses them; a put
//! goes in as a whole or not at all.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use flumen_api::channel::{Channel, OpenError};
use flumen_api::registry::{ChannelContext, Factory, Spec};
use flumen_api::settings::{ComponentConfig, OnBad, Problems, Unit, settings};

use super::gate::Amount;
use super::memory::{Limits, MemoryChannel, SLOT_BYTES, SLOTS_MAX};

settings! {
    /// Keys of the pseudo-transaction channel.
    pub struct PseudoSettings {
        /// Most events in the channel, and of one put or take.
        pub capacity: u64 = key("capacity") {
            default: Some("50"), min: Some(1), max: Some(i32::MAX as i64), unit: Unit::Events
        },
        /// How long a put waits for room.
        pub keep_alive: i64 = key("keep-alive") {
            default: Some("3"), max: Some(i32::MAX as i64), on_bad: OnBad::UseDefault, unit: Unit::Seconds
        },
    }
}

/// The type as the registry has it.
pub(super) fn spec() -> Spec {
    Spec {
        alias: "",
        class_names: &["org.apache.flume.channel.PseudoTxnMemoryChannel"],
        keys: PseudoSettings::KEYS,
        doc: "A small memory channel, for tests; in Flume without transactions, here with them.",
        factory: Factory::Channel { check, open, directories: |_| Vec::<PathBuf>::new() },
    }
}

/// Flume does not compare batch sizes with this channel.
fn check(config: &ComponentConfig, problems: &mut Problems) -> Option<usize> {
    PseudoSettings::load(config, problems).map(|_| usize::MAX)
}

fn open(config: &ComponentConfig, context: ChannelContext) -> Result<Arc<dyn Channel>, OpenError> {
    let mut problems = Problems::default();
    let settings = PseudoSettings::load(config, &mut problems)
        .ok_or_else(|| OpenError::Config(super::errors(&problems)))?;
    let limits = Limits {
        // Flume's has no limit of bytes.
        amount: Amount { events: settings.capacity, slots: SLOTS_MAX },
        slot_bytes: SLOT_BYTES,
        transaction_capacity: usize::try_from(settings.capacity).unwrap_or(usize::MAX),
        keep_alive: Duration::from_secs(settings.keep_alive.max(0).unsigned_abs()),
    };
    Ok(Arc::new(MemoryChannel::with(config.name.clone(), limits, context.metrics)))
}
