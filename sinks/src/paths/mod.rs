//! Path managers: how a rolling sink names its files.
//!
//! ```text
//!   DEFAULT    <prefix><start, epoch milliseconds>-<n>[.<extension>]      n from 1, never starts over
//!   ROLLTIME   <prefix><yyyyMMddHHmmss, local time>-<n>[.<extension>]     n from 1 within each second
//! ```
//!
//! A manager only names; whether a name is taken is for its user to find out (by creating the file so that an existing
//! one is an error) and to ask for the next.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use flumen_api::settings::{ComponentConfig, Problems};
use jiff::Zoned;

/// Which part of the name tells the time.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stamp {
    /// When the manager was made.
    Start(u128),
    /// When the file was named; holds the last one.
    Roll(String),
}

/// How files are named; yields a [`PathManager`] when the sink starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// `ROLLTIME` instead of `DEFAULT`.
    by_roll_time: bool,
    /// In front of the time.
    pub prefix: String,
    /// After the last dot; no dot if empty.
    pub extension: String,
}

impl Naming {
    /// The naming that `name` asks for: an alias in any case, or Flume's class name. Problems are reported on `key`.
    pub fn of(
        name: &str,
        prefix: String,
        extension: String,
        key: &str,
        config: &ComponentConfig,
        problems: &mut Problems,
    ) -> Option<Self> {
        let is = |alias: &str, class_name: &str| name.eq_ignore_ascii_case(alias) || name == class_name;
        let by_roll_time = if is("DEFAULT", "org.apache.flume.formatter.output.DefaultPathManager$Builder") {
            false
        } else if is("ROLLTIME", "org.apache.flume.formatter.output.RollTimePathManager$Builder") {
            true
        } else {
            let advice = "write DEFAULT or ROLLTIME; a path manager class of one's own needs a JVM";
            problems.error(config, key, format!("unknown path manager `{name}`: {advice}"));
            return None;
        };
        for (part, text) in [("prefix", &prefix), ("extension", &extension)] {
            if text.contains(['/', '\0']) {
                problems.error(
                    config,
                    &format!("{key}.{part}"),
                    format!("`{text}` cannot be part of a file name"),
                );
                return None;
            }
        }
        Some(Self { by_roll_time, prefix, extension })
    }

    /// A manager that names files in `directory`, from number 1.
    pub fn manager(&self, directory: &Path) -> PathManager {
        let stamp = if self.by_roll_time {
            Stamp::Roll(String::new())
        } else {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Stamp::Start(now.as_millis())
        };
        PathManager { naming: self.clone(), directory: directory.into(), stamp, index: 0 }
    }
}

/// Names one file after another.
#[derive(Clone, Debug)]
pub struct PathManager {
    naming: Naming,
    directory: PathBuf,
    stamp: Stamp,
    index: u64,
}

impl PathManager {
    /// The next name.
    pub fn next_path(&mut self) -> PathBuf {
        self.next_path_at(&Zoned::now())
    }

    /// The last name was not used for want of room or rights: the next call may return it again, so that an hour of a
    /// full disk does not use up numbers.
    pub fn give_back(&mut self) {
        self.index = self.index.saturating_sub(1);
    }

    fn next_path_at(&mut self, now: &Zoned) -> PathBuf {
        let time = match &mut self.stamp {
            Stamp::Start(millis) => millis.to_string(),
            Stamp::Roll(last) => {
                let time = now.strftime("%Y%m%d%H%M%S").to_string();
                if *last != time {
                    self.index = 0;
                    last.clone_from(&time);
                }
                time
            }
        };
        self.index += 1;
        let Naming { prefix, extension, .. } = &self.naming;
        let dot = if extension.is_empty() { "" } else { "." };
        self.directory.join(format!("{prefix}{time}-{}{dot}{extension}", self.index))
    }
}

#[cfg(test)]
mod tests {
    use flumen_api::settings::Kind;

    use super::*;

    fn naming(name: &str, prefix: &str, extension: &str) -> Result<Naming, Problems> {
        let config = ComponentConfig::of(Kind::Sink, "k1", &[]);
        let mut problems = Problems::default();
        Naming::of(name, prefix.into(), extension.into(), "sink.pathManager", &config, &mut problems)
            .ok_or(problems)
    }

    fn at(text: &str) -> Zoned {
        text.parse().expect("a time")
    }

    #[test]
    fn default_names_carry_the_start_and_a_number_that_never_starts_over() {
        let mut paths = naming("default", "", "").expect("known").manager(Path::new("/d"));
        paths.stamp = Stamp::Start(1_795_238_037_699);
        assert_eq!(paths.next_path(), Path::new("/d/1795238037699-1"));
        assert_eq!(paths.next_path(), Path::new("/d/1795238037699-2"));
    }

    #[test]
    fn prefix_and_extension_surround_the_name() {
        let class = "org.apache.flume.formatter.output.DefaultPathManager$Builder";
        let mut paths = naming(class, "web-", "log").expect("known").manager(Path::new("/d"));
        paths.stamp = Stamp::Start(5);
        assert_eq!(paths.next_path(), Path::new("/d/web-5-1.log"));
    }

    #[test]
    fn rolltime_names_carry_local_time_and_a_number_within_the_second() {
        let mut paths = naming("ROLLTIME", "p", "").expect("known").manager(Path::new("/d"));
        let noon = at("2026-11-21T12:00:01[Asia/Shanghai]");
        assert_eq!(paths.next_path_at(&noon), Path::new("/d/p20261121120001-1"));
        assert_eq!(paths.next_path_at(&noon), Path::new("/d/p20261121120001-2"));
        let later = at("2026-11-21T12:00:02[Asia/Shanghai]");
        assert_eq!(paths.next_path_at(&later), Path::new("/d/p20261121120002-1"));
    }

    #[test]
    fn a_name_given_back_is_used_again() {
        let mut paths = naming("DEFAULT", "", "").expect("known").manager(Path::new("/d"));
        let first = paths.next_path();
        paths.give_back();
        assert_eq!(paths.next_path(), first);
    }

    #[test]
    fn unknown_managers_and_parts_with_slashes_are_refused() {
        let problems = naming("com.example.Paths$Builder", "", "").expect_err("unknown");
        assert!(problems.0[0].message.contains("ROLLTIME"));
        assert!(naming("DEFAULT", "../x", "").is_err());
    }
}
