//! How a life of the log is set: what a user may set, and what some fault might care about.
//!
//! | | drawn | changes from life to life |
//! | --- | --- | --- |
//! | data directories | one, or up to three | in some worlds; not while the disk is full, for new pieces take space |
//! | compression | none or lz4 | in some worlds |
//! | encryption | none, or by one of two keys, both of which are given in any case | in some worlds |
//! | durability | acks behind the sync, or before it by some interval or number of bytes | in some worlds |
//! | damage | takes stop, or set aside and pass over (mode `corrupt`) | in some worlds |
//!
//! It is drawn from a stream of its own: what is done with a log does not depend on how it is set. What is done besides in some
//! worlds ([`Extras`]) has a stream too, so that seeds mean what they meant before there was such a thing.

use std::time::Duration;

use flumen_wal::storage::faulty::FaultyDisk;
use flumen_wal::{Compression, DamagePolicy, Durability, Key, Keys, Options, Quarantine};

use super::Mode;
use super::pieces::{LANES, QUARANTINE};
use crate::random::{Random, mix};

/// Frames that may be in flight.
const IN_FLIGHT: usize = 4;
/// Names of the keys.
const KEYS: [&str; 2] = ["k1", "k2"];
/// Bytes of the largest frame.
const FRAME_BYTES: usize = 16 << 10;

/// One life's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// How many data directories; `None`: one, without a look at whether it is one of several.
    pub lanes: Option<usize>,
    /// Frames are lz4.
    pub compresses: bool,
    /// By which key frames are encrypted.
    pub key: Option<usize>,
    /// Acks come before the sync.
    pub late: Option<Late>,
    /// Damaged events are set aside and passed over.
    pub quarantines: bool,
}

/// When what was acked is synced at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// After so many milliseconds.
    pub interval: u32,
    /// When there are so many bytes.
    pub bytes: u32,
}

impl Late {
    /// The interval.
    pub fn time(self) -> Duration {
        Duration::from_millis(u64::from(self.interval))
    }

    /// Bytes that may be acked and not synced: those that ask for the sync, and the frames whose writes end together with
    /// the last of them.
    pub fn bytes_max(self) -> u64 {
        u64::from(self.bytes) + (IN_FLIGHT * FRAME_BYTES) as u64
    }
}

impl Setting {
    /// One directory, plain, synced before the ack; takes stop at damage.
    pub const PLAIN: Self =
        Self { lanes: None, compresses: false, key: None, late: None, quarantines: false };

    /// All keys that there are, and which of them is used.
    pub fn keys(&self) -> Keys {
        let keys = KEYS.map(|name| Key::new(name, name.repeat(16).as_bytes()).expect("32 bytes"));
        Keys::new(keys.to_vec(), self.key.map(|key| KEYS[key])).expect("one of them")
    }

    /// The log's options. Small, so that a few dozen operations cross segments, spill the cache and span frames.
    pub fn options(&self, disk: &FaultyDisk) -> Options {
        let durability =
            self.late.map(|late| Durability::Written { interval: late.time(), bytes: u64::from(late.bytes) });
        let aside = disk.clone();
        let quarantine = || Quarantine::new(move || Ok(aside.directory(QUARANTINE)));
        Options {
            segment_bytes: 128 << 10,
            frame_bytes: FRAME_BYTES,
            in_flight: IN_FLIGHT,
            staged_bytes_max: 256 << 10,
            cache_bytes: 32 << 10,
            eager_bytes: 8 << 10,
            commit_bytes_max: 1 << 20,
            compression: if self.compresses { Compression::Lz4 } else { Compression::None },
            keys: self.keys(),
            durability: durability.unwrap_or_default(),
            damage: if self.quarantines {
                DamagePolicy::Quarantine(quarantine())
            } else {
                DamagePolicy::Halt
            },
            ..Options::default()
        }
    }
}

/// What is done besides in some worlds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extras {
    /// A life that ends while the disk fails is closed, not killed.
    pub closes: bool,
    /// A sink says with each release how far it is.
    pub sink_says: bool,
}

impl Extras {
    /// Those of the world with this seed.
    fn of(seed: u64) -> Self {
        let mut random = Random::new(mix(seed ^ 0x6578_7472));
        Self { closes: random.one_in(3), sink_says: random.one_in(3) }
    }
}

/// Settings of all lives of a world.
#[derive(Clone, Debug)]
pub enum Settings {
    /// Each life is [plain](Setting::PLAIN): for worlds that were found before there was more.
    #[cfg_attr(not(test), allow(dead_code, reason = "no user asks for less"))]
    Plain,
    /// Drawn.
    Drawn(Drawn),
}

/// What a world's lives have in common, and what decides the rest.
#[derive(Clone, Debug)]
pub struct Drawn {
    random: Random,
    /// Decides about keys alone.
    keys: Random,
    lanes: Often<usize>,
    compresses: Often<bool>,
    encrypts: Often<bool>,
    late: Often<bool>,
    quarantines: Often<bool>,
    extras: Extras,
}

/// How a trait of the lives is chosen.
#[derive(Clone, Copy, Debug)]
enum Often<T> {
    /// The same in all of them.
    Always(T),
    /// In each anew.
    Anew,
}

impl<T: Copy> Often<T> {
    fn or(self, anew: impl FnOnce() -> T) -> T {
        match self {
            Self::Always(value) => value,
            Self::Anew => anew(),
        }
    }
}

impl Settings {
    /// Those of the world with this seed.
    pub fn of(mode: Mode, seed: u64) -> Self {
        let mut random = Random::new(mix(seed ^ 0x5e77_1465));
        let often = |random: &mut Random| match random.below(5) {
            0 | 1 => Often::Always(false),
            2 | 3 => Often::Always(true),
            _ => Often::Anew,
        };
        let lanes = match random.below(5) {
            0 | 1 => Often::Always(1),
            2 | 3 => Often::Always(2 + random.below(LANES.len() as u64 - 1) as usize),
            _ => Often::Anew,
        };
        let (compresses, late) = (often(&mut random), often(&mut random));
        let mut keys = Random::new(mix(seed ^ 0x6b65_7973));
        let encrypts = often(&mut keys);
        let quarantines = if mode == Mode::Corrupt { often(&mut random) } else { Often::Always(false) };
        let extras = Extras::of(seed);
        Self::Drawn(Drawn { random, keys, lanes, compresses, encrypts, late, quarantines, extras })
    }

    /// What is done besides.
    pub fn extras(&self) -> Extras {
        match self {
            Self::Drawn(drawn) => drawn.extras,
            Self::Plain => Extras::default(),
        }
    }

    /// The same without encryption.
    #[cfg(test)]
    pub fn in_clear(self) -> Self {
        match self {
            Self::Drawn(drawn) => Self::Drawn(Drawn { encrypts: Often::Always(false), ..drawn }),
            Self::Plain => self,
        }
    }

    /// The same with these things done besides.
    #[cfg(test)]
    pub fn with_extras(self, extras: Extras) -> Self {
        match self {
            Self::Drawn(drawn) => Self::Drawn(Drawn { extras, ..drawn }),
            Self::Plain => self,
        }
    }

    /// That of the next life, with as many directories as `before` if that is given.
    pub fn next(&mut self, before: Option<Setting>) -> Setting {
        let Self::Drawn(drawn) = self else { return Setting::PLAIN };
        let random = &mut drawn.random;
        let lanes = Some(drawn.lanes.or(|| 1 + random.below(LANES.len() as u64) as usize));
        let lanes = before.map_or(lanes, |before| before.lanes);
        let compresses = drawn.compresses.or(|| random.one_in(2));
        let keys = &mut drawn.keys;
        let encrypts = drawn.encrypts.or(|| keys.one_in(2));
        let key = encrypts.then(|| keys.below(KEYS.len() as u64) as usize);
        let late = drawn.late.or(|| random.one_in(2));
        // By time or by bytes: with both at once one of them would hide that the other does not work.
        let by_time = random.one_in(2);
        let late = late.then(|| Late {
            interval: if by_time { 5 + random.below(100) as u32 } else { 60_000 },
            bytes: if by_time { 1 << 20 } else { 6_000 + random.below(26_000) as u32 },
        });
        let quarantines = drawn.quarantines.or(|| random.one_in(2));
        Setting { lanes, compresses, key, late, quarantines }
    }
}
