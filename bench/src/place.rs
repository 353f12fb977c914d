//! Where a measurement was made: without it, a figure says nothing.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::failure::{Context, Failure};

/// The machine, the medium and the revision. Neither host nor directory: kept results are read by others.
#[derive(Clone, Debug, Serialize)]
pub struct Place {
    /// Seconds since 1970.
    pub unix_time: u64,
    /// Git revision, with `-dirty` if the tree differs from it.
    pub revision: String,
    /// Kernel release.
    pub kernel: String,
    /// First CPU's model.
    pub cpu: String,
    /// CPUs that this process may use.
    pub cpus: usize,
    /// Memory of the machine in MiB.
    pub memory_mib: u64,
    /// Its mount's source.
    pub device: String,
    /// Its file system with mount options.
    pub file_system: String,
    /// What the kernel says of the device's cache: `write back` (a flush is needed) or `write through`.
    pub write_cache: String,
    /// Whether the device has FUA (a durable write without a flush of everything).
    pub fua: String,
}

impl Place {
    /// Looks around from `directory`, which exists.
    pub fn of(directory: &Path) -> Result<Self, Failure> {
        let directory = directory.canonicalize().context(|| format!("look at {}", directory.display()))?;
        let mount = Mount::of(&directory)?;
        let queue = |name: &str| {
            let device = Path::new(&mount.source).file_name().unwrap_or_default();
            let path = Path::new("/sys/class/block").join(device);
            // A partition's queue is its parent's.
            [path.join("queue").join(name), path.join("..").join("queue").join(name)]
                .iter()
                .find_map(|path| std::fs::read_to_string(path).ok())
                .map_or_else(|| "unknown".into(), |text| text.trim().to_string())
        };
        Ok(Self {
            unix_time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_secs()),
            revision: revision(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            cpu: field("/proc/cpuinfo", "model name"),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: kib("/proc/meminfo", "MemTotal") / 1024,
            write_cache: queue("write_cache"),
            fua: queue("fua"),
            device: mount.source,
            file_system: mount.kind,
        })
    }

    /// Two lines above a table.
    pub fn headline(&self) -> String {
        format!(
            "{} CPUs ({}), {} MiB, Linux {}; {} on {}\nwrite cache: {}, FUA: {}; revision {}",
            self.cpus,
            self.cpu,
            self.memory_mib,
            self.kernel,
            self.file_system,
            self.device,
            self.write_cache,
            self.fua,
            self.revision
        )
    }
}

struct Mount {
    source: String,
    kind: String,
}

impl Mount {
    /// The mount with the longest path above `directory`.
    fn of(directory: &Path) -> Result<Self, Failure> {
        let mounts =
            std::fs::read_to_string("/proc/self/mounts").context(|| "read /proc/self/mounts".into())?;
        let mut best: Option<(usize, Self)> = None;
        for line in mounts.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let [source, target, kind, options, ..] = words[..] else { continue };
            let longer = best.as_ref().is_none_or(|(len, _)| target.len() >= *len);
            if longer && directory.starts_with(target) {
                let found = Self { source: source.into(), kind: format!("{kind} ({options})") };
                best = Some((target.len(), found));
            }
        }
        Ok(best.map_or_else(|| Self { source: "unknown".into(), kind: "unknown".into() }, |(_, mount)| mount))
    }
}

fn revision() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let Some(revision) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".into() };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => revision,
        _ => format!("{revision}-dirty"),
    }
}

/// The text behind `name:` in one of the kernel's tables.
fn field(path: &str, name: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'))
        .map_or_else(|| "unknown".into(), |value| value.trim().to_string())
}

/// The same, a number of KiB; 0 if it is not there.
pub(crate) fn kib(path: &str, name: &str) -> u64 {
    field(path, name).trim_end_matches("kB").trim().parse().unwrap_or(0)
}
