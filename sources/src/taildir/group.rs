//! A file group: one directory, a regular expression for names in it, and headers.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use flumen_api::Headers;
use flumen_api::settings::{ComponentConfig, Problems};
use flumen_java::JavaRegex;

use super::settings::TaildirSettings;

/// One `filegroups.<name>`.
#[derive(Clone, Debug)]
pub struct Group {
    /// The literal directory.
    pub directory: PathBuf,
    /// `headers.<name>.*`.
    pub headers: Headers,
    names: JavaRegex,
}

impl Group {
    /// Splits `pattern` at its last `/`: a directory that is taken literally, and an expression for names.
    pub fn new(pattern: &str, headers: Headers) -> Result<Self, String> {
        let Some((directory, names)) = pattern.rsplit_once('/') else {
            return Err(format!("`{pattern}` has no directory; write an absolute path"));
        };
        if !pattern.starts_with('/') {
            return Err(format!("`{pattern}` is not an absolute path"));
        }
        if names.is_empty() {
            return Err(format!(
                "`{pattern}` ends in `/`; for all files of the directory write `{pattern}.*`"
            ));
        }
        let regex = JavaRegex::whole(names).map_err(|error| {
            let hint = match names.strip_prefix('*') {
                Some(rest) => format!("; for a shell's `{names}` write `.*{}`", rest.replace('.', "\\.")),
                None => String::new(),
            };
            format!("{error}{hint}")
        })?;
        let directory = PathBuf::from(if directory.is_empty() { "/" } else { directory });
        Ok(Self { directory, headers, names: regex })
    }

    /// The groups that the settings name; `None` if a pattern is wrong or there is no group at all.
    pub fn all(
        settings: &TaildirSettings,
        config: &ComponentConfig,
        problems: &mut Problems,
    ) -> Option<Vec<Self>> {
        let mut groups = Vec::new();
        let mut wrong = false;
        for name in &settings.filegroups.0 {
            let key = format!("filegroups.{name}");
            let Some(pattern) = settings.patterns.0.get(name) else {
                problems.warn(config, "filegroups", format!("group {name} is left out: {key} is missing"));
                continue;
            };
            let prefix = format!("{name}.");
            let headers = settings
                .headers
                .0
                .iter()
                .filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?, value.resolved.clone())));
            match Self::new(&pattern.resolved, headers.collect()) {
                Ok(group) => groups.push(group),
                Err(why) => {
                    problems.error(config, &key, why);
                    wrong = true;
                }
            }
        }
        if groups.is_empty() && !wrong {
            problems.error(
                config,
                "filegroups",
                "no group has a path: write filegroups.<group> = /directory/regex",
            );
        }
        (!wrong && !groups.is_empty()).then_some(groups)
    }

    /// Whether the file `name` of the group's directory is the group's.
    ///
    /// A name that is not UTF-8 is matched with its bad bytes replaced; an expression that gives up does not match.
    pub fn has(&self, name: &OsStr) -> bool {
        self.names.is_match(&name.to_string_lossy()).unwrap_or(false)
    }

    /// The headers of the group's file at `path`.
    pub fn headers_of(&self, path: &Path, file_header_key: Option<&str>) -> Headers {
        let mut headers = self.headers.clone();
        if let Some(key) = file_header_key {
            headers.set(key, path.to_string_lossy());
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_element_is_an_expression_for_the_whole_name() {
        let group = Group::new("/var/log/.*log", Headers::new()).unwrap();
        assert_eq!(group.directory, Path::new("/var/log"));
        assert!(group.has(OsStr::new("app.log")));
        assert!(!group.has(OsStr::new("app.log.1")));
        assert!(!Group::new("/a/b|c", Headers::new()).unwrap().has(OsStr::new("cc")));
    }

    #[test]
    fn javas_look_ahead_is_understood() {
        let group = Group::new(r"/log/(?!.*\.gz$).*", Headers::new()).unwrap();
        assert!(group.has(OsStr::new("a.log")));
        assert!(!group.has(OsStr::new("a.log.gz")));
    }

    #[test]
    fn what_java_reads_in_its_own_way_is_read_so() {
        let has = |pattern: &str, name: &str| {
            Group::new(&format!("/log/{pattern}"), Headers::new()).unwrap().has(OsStr::new(name))
        };
        // A digit is one of ASCII's ten, and a class may be met with another.
        assert!(has(r"app-\d+\.log", "app-12.log") && !has(r"app-\d+\.log", "app-١٢.log"));
        assert!(has(r"[a-z&&[^x]]+", "abc") && !has(r"[a-z&&[^x]]+", "axc"));
        assert!(has(r"\Qa+b\E.*", "a+b.log") && has(r"\p{Upper}\w*+", "Access_log"));
        // A name that ends with a line end is not matched by an expression that ends before it.
        assert!(!has(r"a\.log", "a.log\n"));
    }

    #[test]
    fn a_shell_pattern_is_refused_with_what_to_write() {
        let why = Group::new("/log/*.log", Headers::new()).unwrap_err();
        assert!(why.contains(r"`.*\.log`"), "{why}");
        assert!(Group::new("log/a", Headers::new()).is_err());
        assert!(Group::new("/log/", Headers::new()).is_err());
    }
}
