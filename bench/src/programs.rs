//! Who can do the agent's job, and how each is set up for it.
//!
//! ```text
//!   Flumen    bench/agent.conf, changed a little for each variant
//!   Flume     the same file, as it is, or with a memory channel
//!   rsyslog   bench/rsyslog.conf
//! ```

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Context, Failure};
use crate::flume::{self, Flume};
use crate::options::Options;

/// The configuration: the main job with a batch size of 1000.
pub const CONF: &str = include_str!("../agent.conf");
const RSYSLOG_CONF: &str = include_str!("../rsyslog.conf");

/// Options for the programs.
pub const OPTIONS: [&str; 4] = ["flumen", "rsyslogd", flume::OPTIONS[0], flume::OPTIONS[1]];

/// A way to do the job.
pub struct Variant {
    pub name: &'static str,
    pub program: Program,
    /// What of the job's lines it gets: one in so many. Above 1 for what would take minutes.
    pub one_in: u64,
    /// What has to hold before a line counts as delivered.
    pub durability: &'static str,
}

#[derive(Clone, Copy)]
pub enum Program {
    Flumen {
        edit: Edit,
        /// What `-Dflumen.storage` asks for; the agent's log must say that it got it, else the row would be another's.
        storage: Option<&'static str>,
    },
    Flume(Edit),
    /// The queue's keys.
    Rsyslog(&'static str),
}

/// What is changed in the configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Edit {
    None,
    /// Flume's default batch size, 100, for source and sink.
    DefaultBatch,
    /// A second file channel with a sink of its own; the source's default selector puts every event into both.
    TwoChannels,
    /// A timestamp and a host header on every event.
    Interceptors,
    MemoryChannel,
    /// The channel's frames compressed.
    Lz4,
    /// The channel's frames encrypted with AES-256.
    Encrypted,
}

const SYNCED: &str = "synced in the channel before it is acked, synced in the output before it is released";
const FLUME_SYNCED: &str = "synced in the channel before it is acked; the output is flushed to the kernel";
const NONE: &str = "none";

const fn flumen(name: &'static str, edit: Edit, storage: Option<&'static str>) -> Variant {
    let durability = match edit {
        Edit::MemoryChannel => NONE,
        _ => SYNCED,
    };
    Variant { name, program: Program::Flumen { edit, storage }, one_in: 1, durability }
}

/// All of them; ours first, for the first one is what the others are compared with.
pub const VARIANTS: &[Variant] = &[
    flumen("batchSize 1000", Edit::None, None),
    flumen("batchSize unset", Edit::DefaultBatch, None),
    flumen("batchSize 1000, std", Edit::None, Some("std")),
    flumen("batchSize unset, std", Edit::DefaultBatch, Some("std")),
    flumen("two file channels", Edit::TwoChannels, None),
    flumen("timestamp and host", Edit::Interceptors, None),
    flumen("lz4", Edit::Lz4, None),
    flumen("encrypted", Edit::Encrypted, None),
    flumen("memory channel", Edit::MemoryChannel, None),
    Variant {
        name: "Flume, memory channel",
        program: Program::Flume(Edit::MemoryChannel),
        one_in: 1,
        durability: NONE,
    },
    Variant {
        name: "Flume, file channel",
        program: Program::Flume(Edit::None),
        one_in: 1,
        durability: FLUME_SYNCED,
    },
    Variant {
        name: "rsyslog, memory queue",
        program: Program::Rsyslog(r#"queue.type="LinkedList""#),
        one_in: 1,
        durability: NONE,
    },
    Variant {
        name: "rsyslog, disk queue",
        program: Program::Rsyslog(
            r#"queue.type="Disk" queue.filename="bench" queue.syncQueueFiles="on" queue.checkpointInterval="1000""#,
        ),
        one_in: 20,
        durability: "queue files synced at every 1000th message",
    },
];

/// The programs that are here.
pub struct Programs {
    flumen: PathBuf,
    flume: Result<Flume, String>,
    rsyslogd: PathBuf,
}

impl Programs {
    /// Looks for those that `variants` want; Flume is built.
    pub fn find(variants: &[&Variant], options: &Options) -> Result<Self, Failure> {
        let wants_flume = variants.iter().any(|variant| matches!(variant.program, Program::Flume(_)));
        Ok(Self {
            flumen: options.get("flumen", PathBuf::from("target/release/flumen"))?,
            flume: if wants_flume { Flume::build(options)? } else { Err("not asked for".into()) },
            rsyslogd: options.get("rsyslogd", PathBuf::from("rsyslogd"))?,
        })
    }

    /// Why the variant cannot run here, if it cannot.
    pub fn lacks(&self, variant: &Variant, home: &Path) -> Result<Option<String>, Failure> {
        match variant.program {
            Program::Flume(_) => Ok(self.flume.as_ref().err().cloned()),
            Program::Rsyslog(_) => {
                let there = flume::runs(&self.rsyslogd, "-v");
                Ok((!there).then(|| format!("no {} in PATH", self.rsyslogd.display())))
            }
            Program::Flumen { edit, .. } => {
                let conf = home.join("check.conf");
                write_conf(&conf, &edited(edit), home)?;
                let checked = Command::new(&self.flumen)
                    .args(["check", "-n", "a1", "-f"])
                    .arg(&conf)
                    .output()
                    .context(|| format!("start {}", self.flumen.display()))?;
                let said = String::from_utf8_lossy(&checked.stdout);
                let why = said.lines().find_map(|line| line.split_once("error: "));
                Ok((!checked.status.success())
                    .then(|| why.map_or("its configuration is refused", |(_, why)| why).to_string()))
            }
        }
    }

    /// How to start it on what `directory` holds; the configuration is written there.
    pub fn command(&self, variant: &Variant, directory: &Path) -> Result<Command, Failure> {
        let conf = directory.join("agent.conf");
        let text = match variant.program {
            Program::Flumen { edit, .. } | Program::Flume(edit) => edited(edit),
            Program::Rsyslog(queue) => RSYSLOG_CONF.replace("@QUEUE@", queue),
        };
        write_conf(&conf, &text, directory)?;
        Ok(match (variant.program, &self.flume) {
            (Program::Flumen { storage, .. }, _) => {
                let mut command = Command::new(&self.flumen);
                command.args(["agent", "-n", "a1", "-f"]).arg(&conf);
                command.args(storage.map(|storage| format!("-Dflumen.storage={storage}")));
                command
            }
            (Program::Flume(_), Ok(flume)) => flume.agent(&conf),
            (Program::Flume(_), Err(why)) => return Err(Failure(why.clone())),
            (Program::Rsyslog(_), _) => {
                let work = directory.join("work");
                std::fs::create_dir(&work).context(|| format!("create {}", work.display()))?;
                let mut command = Command::new(&self.rsyslogd);
                command.arg("-n").arg("-f").arg(&conf).arg("-i").arg(directory.join("pid"));
                command
            }
        })
    }
}

/// Writes a configuration for `directory`, and the key that it may name.
fn write_conf(conf: &Path, text: &str, directory: &Path) -> Result<(), Failure> {
    let text = text.replace("@DIR@", &directory.to_string_lossy());
    std::fs::write(conf, text).context(|| format!("write {}", conf.display()))?;
    let key = directory.join("key");
    let write = |mut file: std::fs::File| file.write_all("5e".repeat(32).as_bytes());
    let made = std::fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&key);
    made.and_then(write).context(|| format!("write {}", key.display()))
}

/// The configuration with `edit` made. A later key wins over an earlier one.
fn edited(edit: Edit) -> String {
    match edit {
        Edit::None => CONF.to_string(),
        Edit::DefaultBatch => without(CONF, ".batchSize"),
        Edit::MemoryChannel => format!("{CONF}a1.channels.c1.type = memory\n"),
        Edit::Lz4 => format!("{CONF}a1.channels.c1.compression = lz4\n"),
        Edit::Encrypted => format!(
            "{CONF}a1.channels.c1.encryption.keyProvider = KEYFILE\na1.channels.c1.encryption.keyProvider.keys = k\n\
             a1.channels.c1.encryption.keyProvider.keys.k.file = @DIR@/key\na1.channels.c1.encryption.activeKey = k\n"
        ),
        Edit::Interceptors => format!(
            "{CONF}a1.sources.r1.interceptors = i1 i2\na1.sources.r1.interceptors.i1.type = timestamp\n\
             a1.sources.r1.interceptors.i2.type = host\n"
        ),
        Edit::TwoChannels => {
            let second = |line: &str| {
                let line = line.replace("channels.c1.", "channels.c2.").replace("sinks.k1.", "sinks.k2.");
                let line = line.replace("channel = c1", "channel = c2").replace("@DIR@/out", "@DIR@/second");
                line.replace("@DIR@/checkpoint", "@DIR@/checkpoint2").replace("@DIR@/data", "@DIR@/data2")
                    + "\n"
            };
            let theirs =
                |line: &&str| line.starts_with("a1.channels.c1.") || line.starts_with("a1.sinks.k1.");
            let copied: String = CONF.lines().filter(theirs).map(second).collect();
            format!("{CONF}{copied}a1.channels = c1 c2\na1.sinks = k1 k2\na1.sources.r1.channels = c1 c2\n")
        }
    }
}

fn without(conf: &str, key: &str) -> String {
    conf.lines().filter(|line| !line.contains(key)).flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_has_what_the_variants_take_away_and_fill_in() {
        assert_eq!(CONF.lines().filter(|line| line.contains(".batchSize")).count(), 2);
        assert!(!edited(Edit::DefaultBatch).contains(".batchSize"));
        assert!(CONF.contains("@DIR@"));
    }

    #[test]
    fn a_second_channel_shares_no_directory_with_the_first() {
        let conf = edited(Edit::TwoChannels);
        let mut paths: Vec<&str> =
            conf.lines().filter_map(|line| line.split_once("@DIR@/")).map(|(_, path)| path).collect();
        let all = paths.len();
        paths.sort_unstable();
        paths.dedup();
        assert_eq!((paths.len(), all), (8, 8), "{paths:?}");
        assert!(conf.contains("a1.sinks.k2.channel = c2"));
    }
}
