//! Keys of the memory channel.

use flumen_api::settings::{ComponentConfig, Key, OnBad, Problems, Setting, Unit, settings};

use super::super::gate::Amount;

/// Bytes of one part of the byte capacity, as in Flume: an event takes at least one.
pub(in crate::channels) const SLOT_BYTES: u64 = 100;

/// Flume counts slots in 32 bits; a byte capacity of less than one slot is read as this many, which is no limit.
pub(in crate::channels) const SLOTS_MAX: u64 = i32::MAX as u64;

settings! {
    /// Keys of the memory channel.
    pub struct MemorySettings {
        /// Most events in the channel.
        pub capacity: u64 = key("capacity") {
            default: Some("100"), min: Some(1), max: Some(i32::MAX as i64), on_bad: OnBad::UseDefault,
            unit: Unit::Events, live: true
        },
        /// Most events of one put or take; not more than `capacity`.
        pub transaction_capacity: usize = key("transactionCapacity") {
            default: Some("100"), min: Some(1), max: Some(i32::MAX as i64), on_bad: OnBad::UseDefault,
            unit: Unit::Events, live: true
        },
        /// How long a put waits for room.
        pub keep_alive: i64 = key("keep-alive") {
            default: Some("3"), max: Some(i32::MAX as i64), on_bad: OnBad::UseDefault,
            unit: Unit::Seconds, live: true
        },
        /// Share of `byteCapacity` that is left for headers.
        pub byte_capacity_buffer_percentage: i64 = key("byteCapacityBufferPercentage") {
            default: Some("20"), min: Some(0), max: Some(100), on_bad: OnBad::UseDefault,
            unit: Unit::Percent, live: true
        },
        /// Most bytes of bodies in the channel, each counted in steps of 100; below 100 there is no limit. Default: 20 % of
        /// the memory that the process may use.
        pub byte_capacity: ByteCapacity = key("byteCapacity") { unit: Unit::Bytes, live: true },
    }
}

/// `byteCapacity` as given, if it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteCapacity(pub Option<i64>);

impl Setting for ByteCapacity {
    const SHAPE: &'static str = "integer";

    fn read(_: &Key, text: Option<&str>) -> Result<Self, String> {
        let parse = |text: &str| text.parse().map_err(|_not| format!("`{text}` is not a whole number"));
        text.map(parse).transpose().map(Self)
    }

    /// The default depends on the machine, so a bad value cannot be answered from the table of keys.
    fn load(key: &Key, config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let text = key.find(config).map(|(_, value)| value.resolved.as_str());
        Some(Self::read(key, text).unwrap_or_else(|why| {
            problems.warn(config, key.name, format!("{why}; the default, 20 % of the memory limit, is used"));
            Self(None)
        }))
    }
}

impl MemorySettings {
    /// Reads the keys and checks them against each other.
    pub(super) fn read(config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let settings = Self::load(config, problems)?;
        if settings.transaction_capacity as u64 > settings.capacity {
            let key = match config.get("transactionCapacity") {
                Some(_) => "transactionCapacity",
                None => "capacity",
            };
            problems.error(
                config,
                key,
                format!(
                    "transactionCapacity {} is more than capacity {}: a full transaction could never be put",
                    settings.transaction_capacity, settings.capacity
                ),
            );
            return None;
        }
        Some(settings)
    }

    /// `capacity` and `byteCapacity` as the gate counts them.
    pub(super) fn limit(&self, memory_limit: u64) -> Amount {
        let bytes = self.byte_capacity.0.unwrap_or((memory_limit / 5).min(i64::MAX as u64) as i64);
        // A percentage within 0 to 100: no overflow in 128 bits.
        let share = i128::from(bytes) * i128::from(100 - self.byte_capacity_buffer_percentage) / 100;
        let slots = u64::try_from(share).unwrap_or(0) / SLOT_BYTES;
        let slots = if slots == 0 { SLOTS_MAX } else { slots.min(SLOTS_MAX) };
        Amount { events: self.capacity, slots }
    }
}

#[cfg(test)]
mod tests {
    use flumen_api::settings::Kind;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Option<MemorySettings>, Problems) {
        let mut problems = Problems::default();
        let config = ComponentConfig::of(Kind::Channel, "c1", pairs);
        (MemorySettings::read(&config, &mut problems), problems)
    }

    #[test]
    fn bad_numbers_fall_back_to_the_default_with_a_warning() {
        let bad = [
            ("capacity", "many"),
            ("transactionCapacity", "0"),
            ("keep-alive", "soon"),
            ("byteCapacity", "1g"),
            ("byteCapacityBufferPercentage", "x"),
        ];
        let (settings, problems) = read(&bad);
        let settings = settings.expect("defaults");
        assert_eq!((settings.capacity, settings.transaction_capacity, settings.keep_alive), (100, 100, 3));
        assert_eq!(settings.byte_capacity, ByteCapacity(None));
        assert_eq!((problems.0.len(), problems.errors()), (bad.len(), 0));
    }

    #[test]
    fn a_transaction_that_never_fits_is_refused() {
        let (settings, problems) = read(&[("capacity", "50")]);
        assert!(settings.is_none());
        assert!(problems.0[0].message.contains("transactionCapacity 100"), "{}", problems.0[0]);
        assert!(read(&[("capacity", "50"), ("transactionCapacity", "50")]).0.is_some());
    }

    #[test]
    fn byte_capacity_becomes_slots_as_flume_counts_them() {
        let slots = |pairs: &[(&str, &str)], memory| read(pairs).0.expect("good").limit(memory).slots;
        assert_eq!(slots(&[("byteCapacity", "2000"), ("byteCapacityBufferPercentage", "10")], 0), 18);
        assert_eq!(slots(&[("byteCapacity", "10000")], 0), 80);
        assert_eq!(slots(&[("byteCapacity", "99")], 0), SLOTS_MAX);
        assert_eq!(slots(&[("byteCapacity", "-1")], 0), SLOTS_MAX);
        assert_eq!(slots(&[], 1 << 30), (1 << 30) / 5 * 8 / 10 / 100);
    }
}
