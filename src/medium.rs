//! What the file system below a channel keeps less than a local disk does, found in `/proc/self/mountinfo`:
//!
//! ```text
//! 36 35 98:0 /root /mount\040point rw,noatime shared:1 - nfs4 server:/export rw,vers=4.2,local_lock=none
//!                  4: below which  5: options            type source         the file system's own options
//! ```
//!
//! Nothing is refused: there are servers that keep what they acknowledge, and channels that need not survive a power cut.
//! But nobody shall learn it from a loss.

use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use flumen_api::registry::Factory;
use flumen_engine::plan::Plan;

/// What to say of the directories of the plan's channels, each with the channel's name.
pub fn warnings(plan: &Plan) -> Vec<(String, String)> {
    // Without it (a jail without /proc) nothing is known.
    let Ok(mounts) = std::fs::read("/proc/self/mountinfo") else { return Vec::new() };
    let mounts = parse(&mounts);
    let mut found = Vec::new();
    for channel in &plan.channels {
        let Factory::Channel { directories, .. } = channel.spec.factory else { continue };
        for directory in directories(&channel.config) {
            let Some(path) = existing(&directory) else { continue };
            let Some(weakness) = below(&mounts, &path).and_then(Mount::weakness) else { continue };
            found.push((channel.config.name.to_string(), format!("{}: {weakness}", directory.display())));
        }
    }
    found
}

/// The nearest directory that is there, without symbolic links.
fn existing(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    path.ancestors().find_map(|ancestor| ancestor.canonicalize().ok())
}

#[derive(Debug, PartialEq, Eq)]
struct Mount {
    point: PathBuf,
    kind: String,
    /// Of the mount and of the file system.
    options: Vec<String>,
}

fn parse(mountinfo: &[u8]) -> Vec<Mount> {
    mountinfo.split(|byte| *byte == b'\n').filter_map(Mount::parse).collect()
}

/// The mount that `path` is on.
fn below<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    // Of two at the same place the later one hides the earlier one, and of equals the last is the maximum.
    mounts
        .iter()
        .filter(|mount| path.starts_with(&mount.point))
        .max_by_key(|mount| mount.point.as_os_str().len())
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let point = PathBuf::from(std::ffi::OsString::from_vec(unescape(fields.nth(4)?)));
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        let mount_options = text(fields.next()?);
        fields.find(|field| field == b"-")?;
        let kind = text(fields.next()?);
        let options = format!("{mount_options},{}", fields.nth(1).map(text).unwrap_or_default());
        Some(Self { point, kind, options: options.split(',').map(str::to_string).collect() })
    }

    fn has(&self, option: &str) -> bool {
        self.options.iter().any(|one| one == option)
    }

    /// What a channel loses here that it would keep on a local disk.
    fn weakness(&self) -> Option<String> {
        let kind = &self.kind;
        let lost = if self.has("volatile") || self.has("fsync=volatile") {
            // Older kernels show the first.
            "it is mounted with `volatile`, which ignores every sync: a power cut loses what was acknowledged"
                .into()
        } else if self.has("nobarrier") || self.has("barrier=0") {
            "it is mounted without barriers: a power cut may lose what was acknowledged".into()
        } else {
            match kind.as_str() {
                "tmpfs" | "ramfs" | "devtmpfs" => {
                    "in memory: what was acknowledged survives the process, not the machine".into()
                }
                "overlay" | "aufs" => {
                    "a container's own layer: what was acknowledged goes with the container; mount a volume there".into()
                }
                "nfs" | "nfs4" | "cifs" | "smb3" | "ceph" | "lustre" | "afs" | "9p" | "gfs2" | "ocfs2" => {
                    let mut text = "a network file system: a server that acknowledges a write before it is on disk \
                                    loses acknowledged events"
                        .to_string();
                    if ["nolock", "local_lock=flock", "local_lock=all"].iter().any(|option| self.has(option)) {
                        text.push_str("; its locks are local: an agent on another host is not kept out");
                    }
                    text
                }
                other if other == "fuse" || other.starts_with("fuse.") => {
                    "a program serves it (FUSE): what survives a power cut is for that program to say".into()
                }
                _ => return None,
            }
        };
        Some(format!("is on {kind}: {lost}"))
    }
}

/// The kernel writes blanks and backslashes of a path as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let digits =
            after.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            out.push(byte);
            rest = &after[3..];
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:40 / /shared rw,relatime shared:5 - nfs4 host:/export rw,vers=4.2,hard,local_lock=none
31 22 0:41 / /old rw - nfs host:/old rw,nolock,vers=3
32 22 0:42 / /run/my\\040place rw,nosuid - tmpfs tmpfs rw,size=48k
33 22 0:43 / /c rw - overlay overlay rw,lowerdir=/a,upperdir=/b,workdir=/w
34 22 0:44 / /c/fast rw - overlay overlay rw,lowerdir=/a,upperdir=/b,workdir=/w,volatile
38 22 0:46 / /c/faster rw - overlay overlay rw,lowerdir=/a,upperdir=/b,workdir=/w,uuid=on,fsync=volatile
35 22 8:1 / /reckless rw - ext4 /dev/sda1 rw,barrier=0
36 22 8:2 / /shared rw - xfs /dev/sda2 rw
37 22 0:45 / /s rw - fuse.sshfs host: rw
half a line
";

    fn weakness(path: &str) -> Option<String> {
        below(&parse(MOUNTS.as_bytes()), Path::new(path)).and_then(Mount::weakness)
    }

    #[test]
    fn network_memory_and_container_file_systems_are_named_with_what_they_lose() {
        assert_eq!(weakness("/var/lib/flumen"), None);
        assert_eq!(weakness("/runaway"), None);
        for (path, parts) in [
            ("/old/data", &["nfs", "acknowledges", "another host"][..]),
            ("/run/my place/data", &["tmpfs", "memory"]),
            ("/c/x", &["overlay", "container"]),
            ("/c/fast/x", &["overlay", "volatile"]),
            ("/c/faster", &["overlay", "volatile"]),
            ("/reckless", &["ext4", "barriers"]),
            ("/s", &["fuse.sshfs", "FUSE"]),
        ] {
            let said = weakness(path).unwrap_or_default();
            assert!(parts.iter().all(|part| said.contains(part)), "{path}: {said}");
        }
    }

    #[test]
    fn a_later_mount_at_the_same_place_counts() {
        let mounts = parse(MOUNTS.as_bytes());
        assert_eq!(below(&mounts, Path::new("/shared/x")).map(|mount| mount.kind.as_str()), Some("xfs"));
        assert!(!mounts[1].weakness().unwrap().contains("another host"));
    }
}
