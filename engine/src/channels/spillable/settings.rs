//! Keys of the spillable memory channel: its own, and those of the file channel for its overflow.

use std::sync::LazyLock;
use std::time::Duration;

use flumen_api::settings::{ComponentConfig, Key, OnBad, Problems, Unit, Value, settings};

use super::super::file::FileSettings;
use super::super::gate::Amount;
use super::super::memory::{ByteCapacity, SLOTS_MAX};

/// Flume's, where neither part may hold anything.
const OVERFLOW_CAPACITY: i64 = 100_000_000;

settings! {
    /// Keys of the spillable memory channel that are its own.
    pub struct SpillableSettings {
        /// Most events in memory. With 0 all go to the overflow, and the channel is a file channel. What is in memory is lost with the
        /// process, though it was acknowledged.
        pub memory_capacity: u64 = key("memoryCapacity") {
            default: Some("10000"), min: Some(0), max: Some(i32::MAX as i64), on_bad: OnBad::UseDefault, unit: Unit::Events,
            live: true
        },
        /// Most events in the overflow, which is a file channel. With 0 nothing is put there; what it has is delivered.
        pub overflow_capacity: i64 = key("overflowCapacity") {
            default: Some("100000000"), max: Some(i32::MAX as i64), on_bad: OnBad::UseDefault, unit: Unit::Events, live: true
        },
        /// How long a put waits for room in memory before it, and those behind it, go to the overflow.
        pub overflow_timeout: i64 = key("overflowTimeout") {
            default: Some("3"), max: Some(i32::MAX as i64), on_bad: OnBad::UseDefault, unit: Unit::Seconds, live: true
        },
        /// Puts go to memory again when so much of it is free.
        pub overflow_deactivation_threshold: u64 = key("overflowDeactivationThreshold") {
            default: Some("5"), min: Some(0), max: Some(100), on_bad: OnBad::UseDefault, unit: Unit::Percent, live: true
        },
        /// Share of `byteCapacity` that is left for headers.
        pub byte_capacity_buffer_percentage: i64 = key("byteCapacityBufferPercentage") {
            default: Some("20"), min: Some(0), max: Some(100), on_bad: OnBad::UseDefault, unit: Unit::Percent, live: true
        },
        /// Most bytes of bodies in memory, each counted in steps of `avgEventSize`; less than one step is no limit. Default: 20 % of the
        /// memory that the process may use.
        pub byte_capacity: ByteCapacity = key("byteCapacity") { unit: Unit::Bytes, live: true },
        /// Steps in which bodies are counted against `byteCapacity`.
        pub avg_event_size: u64 = key("avgEventSize") {
            default: Some("500"), min: Some(1), max: Some(i32::MAX as i64), on_bad: OnBad::UseDefault, unit: Unit::Bytes
        },
        /// The file channel's.
        pub capacity: Option<String> = key("capacity") {
            inert: Some("this channel has memoryCapacity and overflowCapacity instead, as in Flume")
        },
        /// The file channel's.
        pub keep_alive: Option<String> = key("keep-alive") {
            inert: Some("this channel has overflowTimeout instead, as in Flume")
        },
    }
}

/// All keys, those of the overflow behind the channel's own.
pub(super) static KEYS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let own = |key: &&Key| !SpillableSettings::KEYS.iter().any(|own| own.name == key.name);
    SpillableSettings::KEYS.iter().chain(FileSettings::KEYS.iter().filter(own)).copied().collect()
});

impl SpillableSettings {
    /// Reads and checks all keys; those of the overflow are read where it is opened.
    pub(super) fn read(config: &ComponentConfig, problems: &mut Problems) -> Option<(Self, FileSettings)> {
        let mut settings = Self::load(config, problems)?;
        if settings.memory_capacity == 0 && settings.overflow_capacity < 1 {
            problems.warn(
                config,
                "overflowCapacity",
                format!("it cannot be 0 where memoryCapacity is 0; the default {OVERFLOW_CAPACITY} is used"),
            );
            settings.overflow_capacity = OVERFLOW_CAPACITY;
        }
        let file = FileSettings::read(&settings.of_overflow(config), problems)?;
        Some((settings, file))
    }

    /// Whether puts may go to the overflow.
    pub(super) fn overflows(&self) -> bool {
        self.overflow_capacity > 0
    }

    /// What the overflow is told: its capacity is this channel's key, and a put waits there as long as it would in memory.
    pub(super) fn of_overflow(&self, config: &ComponentConfig) -> ComponentConfig {
        let mut config = config.clone();
        for own in Self::KEYS {
            config.values.remove(own.name);
        }
        let mut set = |key: &str, text: String, like: &str| {
            let place = config.values.get(like).or(config.values.values().next());
            let (file, line) = place.map_or(("".into(), 0), |value| (value.file.clone(), value.line));
            config.values.insert(key.into(), Value { resolved: text.clone(), raw: text, file, line });
        };
        set("keep-alive", self.overflow_timeout.max(0).to_string(), "type");
        if self.overflows() {
            set("capacity", self.overflow_capacity.to_string(), "type");
        }
        config
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.overflow_timeout.max(0).unsigned_abs())
    }

    /// What memory may hold.
    pub(super) fn memory_limit(&self, process_limit: u64) -> Amount {
        let bytes = self.byte_capacity.0.unwrap_or((process_limit / 5).min(i64::MAX as u64) as i64);
        let share = i128::from(bytes) * i128::from(100 - self.byte_capacity_buffer_percentage) / 100;
        let slots = u64::try_from(share).unwrap_or(0) / self.avg_event_size;
        let slots = if slots == 0 { SLOTS_MAX } else { slots.min(SLOTS_MAX) };
        Amount { events: self.memory_capacity, slots }
    }
}

#[cfg(test)]
mod tests {
    use flumen_api::settings::Kind;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Option<(SpillableSettings, FileSettings)>, Problems) {
        let mut problems = Problems::default();
        let pairs: Vec<_> =
            pairs.iter().copied().chain([("checkpointDir", "/c"), ("dataDirs", "/d")]).collect();
        let config = ComponentConfig::of(Kind::Channel, "c1", &pairs);
        (SpillableSettings::read(&config, &mut problems), problems)
    }

    #[test]
    fn defaults_are_flumes() {
        let (settings, problems) = read(&[]);
        let (settings, file) = settings.expect("good");
        assert!(problems.0.is_empty(), "{problems:?}");
        assert_eq!((settings.memory_capacity, settings.overflow_capacity), (10_000, 100_000_000));
        assert_eq!(
            (settings.timeout(), settings.overflow_deactivation_threshold),
            (Duration::from_secs(3), 5)
        );
        assert_eq!(settings.memory_limit(1 << 30).slots, (1 << 30) / 5 * 8 / 10 / 500);
        assert_eq!((file.capacity, file.transaction_capacity(), file.keep_alive), (100_000_000, 10_000, 3));
    }

    #[test]
    fn the_overflow_has_all_keys_of_the_file_channel_but_two() {
        let (settings, problems) = read(&[
            ("overflowCapacity", "500"),
            ("overflowTimeout", "7"),
            ("transactionCapacity", "50"),
            ("fsyncPerTransaction", "false"),
            ("capacity", "9"),
            ("keep-alive", "9"),
        ]);
        let (_, file) = settings.expect("good");
        assert_eq!((file.capacity, file.transaction_capacity(), file.keep_alive), (500, 50, 7));
        assert!(!file.fsync_per_transaction);
        assert_eq!((problems.0.len(), problems.errors()), (2, 0), "capacity and keep-alive: {problems:?}");
        assert!(KEYS.iter().filter(|key| key.name == "capacity").count() == 1);
        assert!(KEYS.iter().any(|key| key.name == "encryption.activeKey"));
        assert!(read(&[("overflowCapacity", "50")]).0.is_none(), "transactionCapacity is 10000");
    }

    #[test]
    fn bad_numbers_fall_back_to_the_default_with_a_warning_and_zeroes_mean_something() {
        let (settings, problems) =
            read(&[("memoryCapacity", "-4"), ("overflowTimeout", "soon"), ("byteCapacity", "x")]);
        assert_eq!(settings.expect("defaults").0.memory_capacity, 10_000);
        assert_eq!((problems.0.len(), problems.errors()), (3, 0));
        let (settings, problems) = read(&[("memoryCapacity", "0"), ("overflowCapacity", "0")]);
        assert_eq!((settings.expect("as Flume").0.overflow_capacity, problems.0.len()), (100_000_000, 1));
        assert!(!read(&[("overflowCapacity", "0")]).0.expect("memory only").0.overflows());
    }
}
