//! Hadoop's configuration: `core-site.xml` and `hdfs-site.xml`.
//!
//! ```text
//!   directories   --conf, then $HADOOP_CONF_DIR, then $HADOOP_HOME/etc/hadoop; each file comes from the first that has it
//!   file          <configuration> <property> <name>…</name> <value>…</value> </property> … </configuration>
//!   values        ${other.key}, ${user.name}, ${env.NAME}, ${env.NAME:-default} are filled in, 20 deep at most
//!   old names     fs.default.name is fs.defaultFS, dfs.block.size is dfs.blocksize, dfs.umaskmode is fs.permissions.umask-mode
//! ```
//!
//! Without any file the file system is that of this machine, as Hadoop has it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use flumen_api::settings::Process;

/// The setting under which the program says what `--conf` named.
const CONF: &str = "flume.conf.dir";
/// Far above any such file; what is larger is none.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// As Hadoop: deeper is taken for a circle.
const DEPTH_MAX: usize = 20;

const OLD_NAMES: &[(&str, &str)] = &[
    ("fs.default.name", "fs.defaultFS"),
    ("dfs.block.size", "dfs.blocksize"),
    ("dfs.umaskmode", "fs.permissions.umask-mode"),
    ("dfs.umask", "fs.permissions.umask-mode"),
];

/// What the files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct HadoopConf {
    pairs: BTreeMap<String, String>,
    /// The files that were read, for a log line.
    pub read: Vec<PathBuf>,
}

impl HadoopConf {
    /// Reads the files. The error names file and line.
    pub fn load(process: &Process) -> Result<Self, String> {
        let variable = |name: &str| process.variables.get(name).filter(|text| !text.is_empty());
        let directories: Vec<PathBuf> = [
            process.system.get(CONF).map(PathBuf::from),
            variable("HADOOP_CONF_DIR").map(PathBuf::from),
            variable("HADOOP_HOME").map(|home| Path::new(home).join("etc/hadoop")),
        ]
        .into_iter()
        .flatten()
        .collect();
        let mut conf = Self::default();
        for name in ["core-site.xml", "hdfs-site.xml"] {
            let mut paths = directories.iter().map(|directory| directory.join(name));
            if let Some(path) = paths.find(|path| path.is_file()) {
                let pairs = read(&path).map_err(|why| format!("{}: {why}", path.display()))?;
                conf.pairs.extend(pairs);
                conf.read.push(path);
            }
        }
        conf.rename_old();
        conf.fill_in(process);
        Ok(conf)
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs.get(key).map(String::as_str)
    }

    /// All of it.
    pub fn pairs(&self) -> &BTreeMap<String, String> {
        &self.pairs
    }

    /// The bits that new files do not get: `fs.permissions.umask-mode` in octal, 022 where it is something else.
    pub fn umask(&self) -> u32 {
        let text = self.get("fs.permissions.umask-mode").unwrap_or("022");
        u32::from_str_radix(text, 8).ok().filter(|mask| *mask <= 0o777).unwrap_or(0o022)
    }

    fn rename_old(&mut self) {
        for (old, new) in OLD_NAMES {
            if let Some(value) = self.pairs.remove(*old) {
                self.pairs.entry((*new).to_string()).or_insert(value);
            }
        }
    }

    fn fill_in(&mut self, process: &Process) {
        let raw = self.pairs.clone();
        for value in self.pairs.values_mut() {
            for _ in 0..DEPTH_MAX {
                let Some(filled) = filled_once(value, &raw, process) else { break };
                *value = filled;
            }
        }
    }
}

/// `text` with its first variable that is known filled in.
fn filled_once(text: &str, raw: &BTreeMap<String, String>, process: &Process) -> Option<String> {
    let mut from = 0;
    while let Some(start) = text[from..].find("${").map(|at| from + at) {
        let end = start + text[start..].find('}')?;
        let name = &text[start + 2..end];
        if let Some(value) = variable(name, raw, process) {
            return Some(format!("{}{value}{}", &text[..start], &text[end + 1..]));
        }
        from = end;
    }
    None
}

fn variable(name: &str, raw: &BTreeMap<String, String>, process: &Process) -> Option<String> {
    if let Some(name) = name.strip_prefix("env.") {
        let (name, default) = match name.split_once(":-").or_else(|| name.split_once('-')) {
            Some((name, default)) => (name, Some(default)),
            None => (name, None),
        };
        return process.variables.get(name).cloned().or(default.map(str::to_string));
    }
    let user = || match name {
        "user.name" => process.variables.get("USER").or(process.variables.get("LOGNAME")).cloned(),
        "user.home" => process.variables.get("HOME").cloned(),
        _ => None,
    };
    process.system.get(name).or(raw.get(name)).cloned().or_else(user)
}

fn read(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let length = path.metadata().map_err(|error| error.to_string())?.len();
    if length > FILE_BYTES_MAX {
        return Err(format!("{length} bytes are no configuration"));
    }
    parse(&fs::read_to_string(path).map_err(|error| error.to_string())?)
}

fn parse(text: &str) -> Result<BTreeMap<String, String>, String> {
    let options = roxmltree::ParsingOptions { allow_dtd: true, ..Default::default() };
    let document =
        roxmltree::Document::parse_with_options(text, options).map_err(|error| error.to_string())?;
    let root = document.root_element();
    if root.tag_name().name() != "configuration" {
        return Err(format!("begins with <{}> instead of <configuration>", root.tag_name().name()));
    }
    let mut pairs = BTreeMap::new();
    for property in root.children().filter(roxmltree::Node::is_element) {
        match property.tag_name().name() {
            "property" => {}
            "include" => {
                let line = document.text_pos_at(property.range().start).row;
                return Err(format!("line {line}: <include> is not followed: put its properties here"));
            }
            _ => continue,
        }
        let text = |name: &str| {
            let child = property.children().find(|child| child.tag_name().name() == name)?;
            Some(child.text().unwrap_or_default().trim().to_string())
        };
        // Hadoop takes them as attributes as well.
        let name = text("name").or_else(|| property.attribute("name").map(str::to_string));
        let value = text("value").or_else(|| property.attribute("value").map(str::to_string));
        if let (Some(name), Some(value)) = (name, value) {
            pairs.insert(name, value);
        }
    }
    Ok(pairs)
}

/// A number of bytes as Hadoop writes them: `134217728`, `128m`.
pub(super) fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, shift) = match text.char_indices().next_back()? {
        (at, unit) if unit.is_ascii_alphabetic() => {
            let shift = match unit.to_ascii_lowercase() {
                'k' => 10,
                'm' => 20,
                'g' => 30,
                't' => 40,
                'p' => 50,
                _ => return None,
            };
            (&text[..at], shift)
        }
        _ => (text, 0),
    };
    number.trim().parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn process(system: &[(&str, &Path)], variables: &[(&str, &str)]) -> Process {
        Process {
            system: Arc::new(
                system.iter().map(|(key, path)| (key.to_string(), path.display().to_string())).collect(),
            ),
            variables: Arc::new(
                variables.iter().map(|(key, text)| (key.to_string(), text.to_string())).collect(),
            ),
        }
    }

    fn site(properties: &[(&str, &str)]) -> String {
        let inner: String = properties
            .iter()
            .map(|(name, value)| {
                format!("<property>\n <name>{name}</name>\n <value> {value}\n</value></property>")
            })
            .collect();
        format!("<?xml version=\"1.0\"?>\n<!-- site -->\n<configuration>{inner}</configuration>\n")
    }

    #[test]
    fn each_file_comes_from_the_first_directory_that_has_it() {
        let (one, two) = (tempfile::tempdir().expect("one"), tempfile::tempdir().expect("two"));
        fs::write(one.path().join("core-site.xml"), site(&[("fs.default.name", "hdfs://old:1")]))
            .expect("written");
        fs::write(two.path().join("core-site.xml"), site(&[("fs.defaultFS", "hdfs://other:1")]))
            .expect("written");
        fs::write(two.path().join("hdfs-site.xml"), site(&[("dfs.block.size", "1m")])).expect("written");
        let hadoop = two.path().display().to_string();
        let conf =
            HadoopConf::load(&process(&[(CONF, one.path())], &[("HADOOP_CONF_DIR", &hadoop)])).expect("read");
        assert_eq!(conf.get("fs.defaultFS"), Some("hdfs://old:1"), "the old name is understood");
        assert_eq!(conf.get("dfs.blocksize"), Some("1m"));
        assert_eq!(conf.read, [one.path().join("core-site.xml"), two.path().join("hdfs-site.xml")]);
        assert_eq!(HadoopConf::load(&process(&[], &[])).expect("nothing").pairs().len(), 0);
    }

    #[test]
    fn variables_are_filled_in_and_circles_left() {
        let directory = tempfile::tempdir().expect("a directory");
        let text = site(&[
            ("host", "${env.NN:-nn1}.example.org"),
            ("fs.defaultFS", "hdfs://${host}:${port}"),
            ("port", "9000"),
            ("a", "${b}"),
            ("b", "${a}"),
            ("c", "${not.there}/${user.name}"),
        ]);
        fs::write(directory.path().join("core-site.xml"), text).expect("written");
        let conf = HadoopConf::load(&process(&[(CONF, directory.path())], &[("USER", "u")])).expect("read");
        assert_eq!(conf.get("fs.defaultFS"), Some("hdfs://nn1.example.org:9000"));
        assert_eq!(conf.get("c"), Some("${not.there}/u"));
        assert!(conf.get("a").is_some_and(|text| text.starts_with("${")));
    }

    #[test]
    fn what_is_no_configuration_is_said_with_its_place() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("core-site.xml");
        for (text, part) in [
            ("<configuration>\n<property></configuration>", "2:"),
            ("<settings/>", "<settings>"),
            ("<configuration>\n<include href='x'/></configuration>", "line 2"),
        ] {
            fs::write(&path, text).expect("written");
            let why = HadoopConf::load(&process(&[(CONF, directory.path())], &[])).expect_err(text);
            assert!(why.contains("core-site.xml") && why.contains(part), "{why}");
        }
    }

    #[test]
    fn sizes_and_masks_are_hadoops() {
        assert_eq!(
            ["134217728", "128m", "1 K", "2g", "x", "1z", ""].map(bytes),
            [Some(134_217_728), Some(134_217_728), Some(1024), Some(2 << 30), None, None, None]
        );
        let umask = |text: &str| {
            HadoopConf {
                pairs: [("fs.permissions.umask-mode".to_string(), text.to_string())].into(),
                read: Vec::new(),
            }
            .umask()
        };
        assert_eq!(["027", "u=rwx,g=r,o=", "7777"].map(umask), [0o027, 0o022, 0o022]);
    }
}
