//! How much memory this process may use: the smallest limit of its control groups, else what the machine has.

use std::path::Path;

/// Where nothing can be learned: small enough for any machine that this runs on.
const FALLBACK_BYTES: u64 = 1 << 30;

/// The limit in bytes.
pub fn limit() -> u64 {
    let machine = read("/proc/meminfo").and_then(|text| mem_total(&text)).unwrap_or(FALLBACK_BYTES);
    let groups = read("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().filter_map(|line| group_limit(line, Path::new("/sys/fs/cgroup")));
    limits.fold(machine, u64::min)
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// `MemTotal:       16318780 kB`
fn mem_total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

/// The smallest limit on the way from the group to the root, for a line of `/proc/self/cgroup`:
/// `0::/system.slice/x` (version 2) or `9:memory:/x` (version 1).
fn group_limit(line: &str, root: &Path) -> Option<u64> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (controllers, group) = (fields.next()?, fields.next()?);
    let (root, file) = match controllers {
        "" => (root.to_path_buf(), "memory.max"),
        _ if controllers.split(',').any(|name| name == "memory") => {
            (root.join("memory"), "memory.limit_in_bytes")
        }
        _ => return None,
    };
    let group = root.join(group.trim_start_matches('/'));
    let ancestors = group.ancestors().take_while(|ancestor| ancestor.starts_with(&root));
    // `max` means no limit and does not parse; version 1 writes a number beyond any machine for it.
    ancestors.filter_map(|ancestor| read(ancestor.join(file))?.trim().parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_limit_on_the_way_to_the_root_counts() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("a/b");
        std::fs::create_dir_all(&group).unwrap();
        std::fs::write(group.join("memory.max"), "max\n").unwrap();
        std::fs::write(root.path().join("a/memory.max"), "1000\n").unwrap();
        std::fs::write(root.path().join("memory.max"), "2000\n").unwrap();
        assert_eq!(group_limit("0::/a/b", root.path()), Some(1000));
        assert_eq!(group_limit("0::/", root.path()), Some(2000));
        assert_eq!(group_limit("3:cpu,cpuacct:/a", root.path()), None);
    }

    #[test]
    fn version_one_groups_have_their_own_file() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("memory/x")).unwrap();
        std::fs::write(root.path().join("memory/x/memory.limit_in_bytes"), "4096").unwrap();
        assert_eq!(group_limit("9:memory:/x", root.path()), Some(4096));
    }

    #[test]
    fn the_machine_has_memory() {
        assert_eq!(mem_total("MemFree: 1 kB\nMemTotal:       2048 kB\n"), Some(2 << 20));
        assert!(limit() > 0);
    }
}
