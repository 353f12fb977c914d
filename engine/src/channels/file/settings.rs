//! Keys of the file channel.

use std::path::{Path, PathBuf};
use std::time::Duration;

use flumen_api::settings::{ComponentConfig, Family, Key, Problems, Setting, Unit, Words, settings};
use flumen_wal::{Durability, Keys, Options, Quarantine};

use super::encryption::{Encryption, KeyProvider};

/// Segments are no larger: recovery reads one of them, so this bounds the time of a start.
const SEGMENT_BYTES_MAX: i64 = 32 << 20;
/// A segment holds its header, a snapshot and a few frames.
const SEGMENT_BYTES_MIN: i64 = 1 << 20;
/// Flume's floor of `minimumRequiredSpace`.
const REQUIRED_SPACE_FLOOR: i64 = 1 << 20;
/// Flume's floor of `checkpointInterval`.
const CHECKPOINT_INTERVAL_FLOOR_MS: i64 = 1000;

const CAPACITY: i64 = 1_000_000;
const TRANSACTION_CAPACITY: i64 = 10_000;
const CHECKPOINT_INTERVAL_MS: i64 = 30_000;
const FSYNC_INTERVAL_S: i64 = 5;
/// Without `fsyncPerTransaction` a sync begins with as many bytes: it holds up a roll for some 20 ms at most.
const UNSYNCED_BYTES_MAX: u64 = 16 << 20;
/// How long one attempt to open the log waits for its lock.
const LOCK_WAIT: Duration = Duration::from_secs(1);

settings! {
    /// Keys of the file channel.
    pub struct FileSettings {
        /// Directory of the checkpoint: a shortcut for the start, kept in its subfolder `flumen`. The log alone is the truth.
        pub checkpoint_dir: PathBuf = key("checkpointDir") { default: Some("~/.flume/file-channel/checkpoint") },
        /// Directories of the log, which lies in their subfolders `flumen`. Several, each on a disk of its own, are written at
        /// once: the events stay in order, and all directories are needed to read them. Others may be added behind these,
        /// and those added last left out again.
        pub data_dirs: Paths = key("dataDirs") { default: Some("~/.flume/file-channel/data") },
        /// Most events in the channel. Not more than 0: the default.
        pub capacity: i64 = key("capacity") { default: Some("1000000"), unit: Unit::Events, live: true },
        /// Most events of one put or take; not more than `capacity`. Not more than 0: the default.
        pub transaction_capacity: i64 = key("transactionCapacity") {
            default: Some("10000"), max: Some(i32::MAX as i64), unit: Unit::Events, live: true
        },
        /// How long a put waits for room.
        pub keep_alive: i64 = key("keep-alive") {
            default: Some("3"), max: Some(i32::MAX as i64), unit: Unit::Seconds, live: true
        },
        /// Bytes after which the log goes on in a new file. Above 32 MiB it is 32 MiB: a start reads one file at most.
        pub max_file_size: i64 = key("maxFileSize") { default: Some("1623195647"), unit: Unit::Bytes },
        /// With less free disk space than this, puts wait. At least 1 MiB.
        pub minimum_required_space: i64 = key("minimumRequiredSpace") { default: Some("524288000"), unit: Unit::Bytes },
        /// How often a checkpoint is written while the log is quiet; it is also written with each new file of the log. At
        /// least 1000.
        pub checkpoint_interval: i64 = key("checkpointInterval") { default: Some("30000"), unit: Unit::Millis },
        /// What becomes of events that were put and that the disk has damaged since: `halt` keeps them and lets takes stop
        /// there, until a repair or a backup; `quarantine` copies the damaged bytes into the folder `quarantine` beside the
        /// log and delivers what is behind them. Puts go on in any case.
        pub damage_policy: DamagePolicy = key("damagePolicy") { default: Some("halt"), since: "Flumen 0.1" },
        /// How events are stored: `none` as they are, `lz4` compressed. It may be another one at each start, whatever is stored
        /// already.
        pub compression: Compression = key("compression") { default: Some("none"), since: "Flumen 0.1" },
        /// Whether a checkpoint is written at the end.
        pub checkpoint_on_close: bool = key("checkpointOnClose") { default: Some("true") },
        /// Whether a put is acknowledged only when it is synced. If not, it is when it is written: nothing is lost with the
        /// process, but a power cut may take what came since the last sync.
        pub fsync_per_transaction: bool = key("fsyncPerTransaction") { default: Some("true") },
        /// Without `fsyncPerTransaction`: how long what was written waits for a sync; with 16 MiB it comes earlier. Not more than
        /// 0: the default.
        pub fsync_interval: i64 = key("fsyncInterval") { default: Some("5"), unit: Unit::Seconds },
        /// Most bytes of one put with its headers and lengths, so that no event can be larger.
        pub event_size_max: u64 = key("eventSizeMax") {
            default: Some("268435456"), min: Some(1 << 20), max: Some((1 << 32) - (1 << 21)), unit: Unit::Bytes,
            since: "Flumen 0.1"
        },
        /// A second checkpoint.
        pub use_dual_checkpoints: bool = key("useDualCheckpoints") {
            inert: Some("the checkpoint always has two slots, and the log starts without any")
        },
        /// Where the second checkpoint would be.
        pub backup_checkpoint_dir: Option<String> = key("backupCheckpointDir") {
            inert: Some("not used: the log starts without any checkpoint, as fast as with one")
        },
        /// Compression of the second checkpoint.
        pub compress_backup_checkpoint: bool = key("compressBackupCheckpoint") {
            inert: Some("there is no backup checkpoint to compress")
        },
        /// The first replay algorithm.
        pub use_log_replay_v1: bool = key("use-log-replay-v1") {
            inert: Some("nothing is replayed: a start reads the end of the log only")
        },
        /// The replay without a checkpoint.
        pub use_fast_replay: bool = key("use-fast-replay") {
            inert: Some("nothing is replayed: a start reads the end of the log only")
        },
        /// Name of the key by which what is put from now on is encrypted; one of `encryption.keyProvider.keys`. Another one at any
        /// start is a new key for what is new; none stores it as it is. What is there stays readable by its own key.
        pub encryption_active_key: Option<String> = key("encryption.activeKey") { },
        /// The cipher: AES-GCM in any case, with a fresh nonce for each frame of the log. Flume's name is taken for it.
        pub encryption_cipher: Option<String> = key("encryption.cipherProvider") {
            one_of: &["AESCTRNOPADDING", "AESGCMNOPADDING"]
        },
        /// Where the keys are: each in a file of its own.
        pub encryption_key_provider: Option<KeyProvider> = key("encryption.keyProvider") { },
        /// A Java key store.
        pub encryption_key_store: Option<String> = key("encryption.keyProvider.keyStoreFile") { refused: Some(NO_KEY_STORE) },
        /// The password of the key store.
        pub encryption_key_store_password: Option<String> = key("encryption.keyProvider.keyStorePasswordFile") {
            refused: Some(NO_KEY_STORE)
        },
        /// Names of all keys by which anything in the channel may be encrypted. A name may be taken out when all that its key
        /// encrypted is delivered and the agent was started once since; a start that lacks a key is refused.
        pub encryption_keys: Words = key("encryption.keyProvider.keys") { },
        /// `<alias>.file`: the file that holds the key of that name, as 16, 24 or 32 bytes: raw, in hexadecimal or in Base64
        /// (`openssl rand -hex 32`). Its owner may read it, and its group; no one else.
        pub encryption_key_files: Family = key("encryption.keyProvider.keys.") { since: "Flumen 0.1" },
    }
}

const NO_KEY_STORE: &str =
    "Java's key stores are not read; see encryption.keyProvider for the way from there";

/// What the channel does about damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DamagePolicy {
    /// Takes stop.
    #[default]
    Halt,
    /// Set aside and passed over.
    Quarantine,
}

impl Setting for DamagePolicy {
    const SHAPE: &'static str = "halt or quarantine";

    fn read(_key: &Key, text: Option<&str>) -> Result<Self, String> {
        match text.unwrap_or("halt").trim().to_ascii_lowercase().as_str() {
            "halt" => Ok(Self::Halt),
            "quarantine" => Ok(Self::Quarantine),
            other => Err(format!("`{other}` is neither halt nor quarantine")),
        }
    }
}

/// How events are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compression(pub flumen_wal::Compression);

impl Setting for Compression {
    const SHAPE: &'static str = "none or lz4";

    fn read(_key: &Key, text: Option<&str>) -> Result<Self, String> {
        match text.unwrap_or("none").trim().to_ascii_lowercase().as_str() {
            "none" => Ok(Self(flumen_wal::Compression::None)),
            "lz4" => Ok(Self(flumen_wal::Compression::Lz4)),
            other => Err(format!("`{other}` is neither none nor lz4")),
        }
    }
}

/// Paths separated by commas; a leading `~` of each is the user's home.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths(pub Vec<PathBuf>);

impl Setting for Paths {
    const SHAPE: &'static str = "paths separated by commas";

    fn read(key: &Key, text: Option<&str>) -> Result<Self, String> {
        let entries = text.unwrap_or_default().split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let paths: Vec<_> = entries.map(|entry| PathBuf::read(key, Some(entry))).collect::<Result<_, _>>()?;
        if paths.is_empty() {
            return Err("names no directory".into());
        }
        Ok(Self(paths))
    }
}

impl FileSettings {
    /// Reads the keys, puts Flume's defaults where Flume does, and checks the keys against each other.
    pub(in crate::channels) fn read(config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let mut settings = Self::load(config, problems)?;
        let mut positive = |key, value: &mut i64, default| {
            if *value <= 0 {
                problems.warn(config, key, format!("{value} is not above 0; the default {default} is used"));
                *value = default;
            }
        };
        positive("capacity", &mut settings.capacity, CAPACITY);
        positive("transactionCapacity", &mut settings.transaction_capacity, TRANSACTION_CAPACITY);
        positive("checkpointInterval", &mut settings.checkpoint_interval, CHECKPOINT_INTERVAL_MS);
        positive("fsyncInterval", &mut settings.fsync_interval, FSYNC_INTERVAL_S);
        if settings.transaction_capacity > settings.capacity {
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
        Encryption::of(&settings, config, problems)?;
        Some(settings)
    }

    /// The directories that belong to the channel.
    pub(in crate::channels) fn directories(self) -> Vec<PathBuf> {
        std::iter::once(self.checkpoint_dir).chain(self.data_dirs.0).collect()
    }

    /// Most events of one put or take.
    pub(in crate::channels) fn transaction_capacity(&self) -> usize {
        usize::try_from(self.transaction_capacity).expect("between 1 and 2^31")
    }

    /// How the log shall work.
    pub(super) fn log_options(&self, data: &Path, keys: Keys) -> Options {
        Options {
            damage: match self.damage_policy {
                DamagePolicy::Halt => flumen_wal::DamagePolicy::Halt,
                DamagePolicy::Quarantine => flumen_wal::DamagePolicy::Quarantine(Quarantine::within(data)),
            },
            segment_bytes: self.max_file_size.clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX).unsigned_abs(),
            commit_bytes_max: self.event_size_max,
            free_bytes_min: self.minimum_required_space.max(REQUIRED_SPACE_FLOOR).unsigned_abs(),
            checkpoint_interval: Duration::from_millis(
                self.checkpoint_interval.max(CHECKPOINT_INTERVAL_FLOOR_MS).unsigned_abs(),
            ),
            checkpoint_on_close: self.checkpoint_on_close,
            durability: match self.fsync_per_transaction {
                true => Durability::Synced,
                false => Durability::Written {
                    interval: Duration::from_secs(self.fsync_interval.unsigned_abs()),
                    bytes: UNSYNCED_BYTES_MAX,
                },
            },
            // The agent tries again, and says for whom it waits.
            lock_wait: LOCK_WAIT,
            compression: self.compression.0,
            keys,
            ..Options::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use flumen_api::settings::Kind;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Option<FileSettings>, Problems) {
        let mut problems = Problems::default();
        let mut pairs = pairs.to_vec();
        pairs.extend([("checkpointDir", "/c"), ("dataDirs", "/d")]);
        // The first pair of a name wins here.
        pairs.reverse();
        let config = ComponentConfig::of(Kind::Channel, "c1", &pairs);
        (FileSettings::read(&config, &mut problems), problems)
    }

    #[test]
    fn numbers_below_one_fall_back_to_the_default_with_a_warning() {
        let (settings, problems) =
            read(&[("capacity", "0"), ("transactionCapacity", "-1"), ("checkpointInterval", "0")]);
        let settings = settings.expect("defaults");
        assert_eq!((settings.capacity, settings.transaction_capacity()), (1_000_000, 10_000));
        assert_eq!(
            settings.log_options(Path::new("/d"), Keys::default()).checkpoint_interval,
            Duration::from_secs(30)
        );
        assert_eq!((problems.0.len(), problems.errors()), (3, 0));
        assert_eq!(read(&[("capacity", "lots")]).1.errors(), 1, "no number at all is an error, as in Flume");
    }

    #[test]
    fn floors_and_ceilings_are_kept() {
        let options = |pairs: &[(&str, &str)]| {
            read(pairs).0.expect("good").log_options(Path::new("/d"), Keys::default())
        };
        assert_eq!(options(&[]).segment_bytes, 32 << 20);
        assert_eq!(options(&[("maxFileSize", "5000000")]).segment_bytes, 5_000_000);
        assert_eq!(options(&[("maxFileSize", "-3")]).segment_bytes, 1 << 20);
        assert_eq!(options(&[("minimumRequiredSpace", "0")]).free_bytes_min, 1 << 20);
        assert_eq!(options(&[]).free_bytes_min, 524_288_000);
        assert_eq!(options(&[("checkpointInterval", "1")]).checkpoint_interval, Duration::from_secs(1));
        assert_eq!(options(&[("fsyncInterval", "7")]).durability, Durability::Synced);
        let later =
            |interval| Durability::Written { interval: Duration::from_secs(interval), bytes: 16 << 20 };
        assert_eq!(options(&[("fsyncPerTransaction", "false")]).durability, later(5));
        let keys = [("fsyncPerTransaction", "false"), ("fsyncInterval", "7")];
        assert_eq!(options(&keys).durability, later(7));
    }

    #[test]
    fn compression_is_none_unless_it_is_asked_for() {
        let compression = |pairs: &[(&str, &str)]| {
            read(pairs).0.map(|settings| settings.log_options(Path::new("/d"), Keys::default()).compression)
        };
        assert_eq!(compression(&[]), Some(flumen_wal::Compression::None));
        assert_eq!(compression(&[("compression", "LZ4")]), Some(flumen_wal::Compression::Lz4));
        assert_eq!(compression(&[("compression", "gzip")]), None);
    }

    #[test]
    fn keys_without_effect_are_answered() {
        let keys = [
            ("useDualCheckpoints", "true"),
            ("backupCheckpointDir", "/b"),
            ("compressBackupCheckpoint", "true"),
            ("use-log-replay-v1", "true"),
            ("use-fast-replay", "true"),
        ];
        for key in keys {
            let (settings, problems) = read(&[key]);
            assert!(settings.is_some());
            assert_eq!((problems.0.len(), problems.errors()), (1, 0), "{key:?}");
        }
        assert!(read(&[("dataDirs", " , ")]).0.is_none());
        let (settings, problems) = read(&[("dataDirs", "/a, /b")]);
        assert_eq!((settings.expect("two").data_dirs.0.len(), problems.0.len()), (2, 0));
    }
}
