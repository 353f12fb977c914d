//! What `hdfs.path` names: a file system, and in it a path with escapes.
//!
//! ```text
//!   hdfs://host:8020/logs/%Y     a NameNode            hdfs://cluster/logs    a name service of hdfs-site.xml
//!   hdfs:///logs   /logs         fs.defaultFS          logs/%Y                the same, below the user's home
//!   viewfs://table/logs          a mount table         file:/logs  file:///logs
//!   oss://bucket/logs            an object store       s3:// s3a:// gs:// abfs://
//! ```

use std::fmt;

use super::conf::HadoopConf;

/// The file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// `fs.defaultFS`.
    Default,
    /// `hdfs://` or `viewfs://` with its host.
    Cluster(String),
    /// `hdfs:///`: that of `fs.defaultFS`, which must be of this scheme.
    DefaultOf(String),
    /// `file:`.
    Local,
    /// `oss:` and its like.
    ObjectStore(StoreUri),
    /// `jfs:`: known, and not reached.
    Jindo,
}

/// An object store: the scheme, and what stands between it and the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoreUri {
    pub scheme: String,
    pub authority: String,
}

/// A place and a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub place: Place,
    /// With escapes.
    pub path: String,
}

/// What reaches a location's files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    Cluster(String),
    Local,
    ObjectStore(StoreUri),
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(url) => f.write_str(url.trim_end_matches('/')),
            Self::Local => f.write_str("file://"),
            Self::ObjectStore(StoreUri { scheme, authority }) => write!(f, "{scheme}://{authority}"),
        }
    }
}

impl Location {
    /// From the key's value.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = scheme(text) else {
            return match text.is_empty() {
                true => Err("is empty".into()),
                false => Ok(Self { place: Place::Default, path: text.to_string() }),
            };
        };
        let (authority, path) = match rest.strip_prefix("//") {
            None => ("", rest),
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        };
        if authority.contains('%') {
            return Err(format!(
                "`{authority}`: an escape cannot stand for a host, only in the path behind it"
            ));
        }
        let scheme = scheme.to_ascii_lowercase();
        let place = match (scheme.as_str(), authority) {
            ("file", "" | "localhost") => Place::Local,
            ("file", host) => {
                return Err(format!("`file://{host}` is a path of another host; write `file:/…`"));
            }
            ("hdfs" | "viewfs", "") => Place::DefaultOf(scheme),
            ("hdfs" | "viewfs", _) => Place::Cluster(format!("{scheme}://{authority}")),
            ("jfs", _) => Place::Jindo,
            (other, _) if super::store::is_built_in(other) => {
                Place::ObjectStore(StoreUri { scheme, authority: authority.to_string() })
            }
            _ => return Err(not_reached(&scheme)),
        };
        if !path.starts_with('/') {
            return Err(format!("`{text}` has a scheme and no absolute path behind it"));
        }
        Ok(Self { place, path: path.to_string() })
    }

    /// The file system, once Hadoop's configuration is known.
    pub fn reached(&self, conf: &HadoopConf) -> Result<Reached, String> {
        let default = conf.get("fs.defaultFS").unwrap_or("file:///");
        let wanted = match &self.place {
            Place::Local => return Ok(Reached::Local),
            Place::Cluster(url) => return Ok(Reached::Cluster(url.clone())),
            Place::ObjectStore(uri) => return Ok(Reached::ObjectStore(uri.clone())),
            Place::Jindo => return Err(format!("hdfs.path: {}", not_reached("jfs"))),
            Place::Default => None,
            Place::DefaultOf(scheme) => Some(scheme),
        };
        // `fs.default.name` was once written without a scheme.
        let default = if default.contains(':') || default == "local" {
            default.trim_end_matches('/').to_string()
        } else {
            format!("hdfs://{}", default.trim_end_matches('/'))
        };
        let (scheme, rest) = scheme(&default).unwrap_or(("hdfs", default.as_str()));
        if default == "local" || scheme.eq_ignore_ascii_case("file") {
            return match wanted {
                None => Ok(Reached::Local),
                Some(wanted) => Err(format!(
                    "hdfs.path names no host, and fs.defaultFS, which would, is {default}: write {wanted}://host:port/…, or set \
                     HADOOP_CONF_DIR"
                )),
            };
        }
        if scheme.contains('.') || rest.bytes().all(|byte| byte.is_ascii_digit()) {
            // `host:8020`.
            return Ok(Reached::Cluster(format!("hdfs://{default}")));
        }
        if wanted.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(scheme)) {
            return Err(format!("hdfs.path names no host, and fs.defaultFS is of another kind: {default}"));
        }
        match scheme.to_ascii_lowercase().as_str() {
            "hdfs" | "viewfs" => Ok(Reached::Cluster(default)),
            other if super::store::is_built_in(other) => {
                let authority =
                    rest.trim_start_matches('/').split('/').next().unwrap_or_default().to_string();
                Ok(Reached::ObjectStore(StoreUri { scheme: other.to_string(), authority }))
            }
            other => Err(format!("fs.defaultFS: {}", not_reached(other))),
        }
    }
}

fn not_reached(scheme: &str) -> String {
    format!("there is no client for `{scheme}:`; {} are built in", super::store::BUILT_IN)
}

/// The scheme of a URI and what follows its colon.
fn scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    is_scheme.then_some((scheme, rest))
}

/// A resolved path as Hadoop has it: single slashes, none at the end.
pub(super) fn tidy(path: &str, out: &mut String) {
    out.clear();
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    if out.len() > 1 && out.ends_with('/') {
        out.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Place, String) {
        let Location { place, path } = Location::parse(text).expect(text);
        (place, path)
    }

    #[test]
    fn every_form_of_a_path_finds_its_file_system() {
        let cluster = |url: &str| Place::Cluster(url.into());
        assert_eq!(parsed("hdfs://nn:8020/a/%Y"), (cluster("hdfs://nn:8020"), "/a/%Y".into()));
        assert_eq!(parsed("HDFS://ns1/a"), (cluster("hdfs://ns1"), "/a".into()));
        assert_eq!(parsed("viewfs://t/a"), (cluster("viewfs://t"), "/a".into()));
        assert_eq!(parsed("hdfs:///a"), (Place::DefaultOf("hdfs".into()), "/a".into()));
        assert_eq!(parsed("hdfs:/a"), (Place::DefaultOf("hdfs".into()), "/a".into()));
        assert_eq!(parsed("/a/%H:%M"), (Place::Default, "/a/%H:%M".into()));
        assert_eq!(parsed("logs/%{a:b}"), (Place::Default, "logs/%{a:b}".into()));
        assert_eq!(parsed("file:/a"), (Place::Local, "/a".into()));
        assert_eq!(parsed("file:///a"), (Place::Local, "/a".into()));
    }

    #[test]
    fn what_cannot_be_reached_is_refused_by_name() {
        for (text, part) in [
            ("ftp://b/x", "`ftp:`"),
            ("hdfs://%{host}/x", "`%{host}`"),
            ("file://other/x", "other"),
            ("hdfs://nn", "no absolute path"),
            ("", "empty"),
        ] {
            let why = Location::parse(text).expect_err(text);
            assert!(why.contains(part), "{text}: {why}");
        }
        let jindo = Location::parse("jfs://b/x").expect("known");
        let why = jindo.reached(&HadoopConf::default()).expect_err("not reached");
        assert!(why.contains("`jfs:`"), "{why}");
    }

    #[test]
    fn a_path_without_host_goes_where_the_configuration_says() {
        let directory = tempfile::tempdir().expect("a directory");
        let reached = |text: &str, default: Option<&str>| {
            let xml = default.map_or(String::new(), |value| {
                format!("<property><name>fs.defaultFS</name><value>{value}</value></property>")
            });
            let xml = format!("<configuration>{xml}</configuration>");
            std::fs::write(directory.path().join("core-site.xml"), xml).expect("written");
            let system = [("flume.conf.dir".to_string(), directory.path().display().to_string())];
            let process = flumen_api::settings::Process {
                system: std::sync::Arc::new(system.into()),
                ..Default::default()
            };
            let conf = HadoopConf::load(&process).expect("read");
            Location::parse(text).expect(text).reached(&conf)
        };
        let cluster = |url: &str| Ok(Reached::Cluster(url.into()));
        assert_eq!(reached("/a", Some("hdfs://nn:8020/")), cluster("hdfs://nn:8020"));
        assert_eq!(reached("a", Some("nn:8020")), cluster("hdfs://nn:8020"));
        assert_eq!(reached("a", Some("nn.example.org:8020")), cluster("hdfs://nn.example.org:8020"));
        assert_eq!(reached("hdfs:///a", Some("hdfs://ns1")), cluster("hdfs://ns1"));
        assert_eq!(reached("/a", None), Ok(Reached::Local), "as Hadoop without a configuration");
        assert!(reached("hdfs:///a", None).is_err_and(|why| why.contains("HADOOP_CONF_DIR")));
        assert!(reached("viewfs:///a", Some("hdfs://ns1")).is_err());
        assert!(reached("/a", Some("ftp://b")).is_err_and(|why| why.contains("ftp")));
        #[cfg(feature = "object-store")]
        for (text, default) in [("/a", "oss://b/"), ("oss://b/a", "hdfs://ns1")] {
            let uri = StoreUri { scheme: "oss".into(), authority: "b".into() };
            assert_eq!(reached(text, Some(default)), Ok(Reached::ObjectStore(uri)), "{text}");
        }
        assert_eq!(reached("file:/a", Some("hdfs://ns1")), Ok(Reached::Local));
    }

    #[test]
    fn empty_steps_of_a_path_go() {
        let mut out = String::new();
        for (path, expected) in [("/a//b/", "/a/b"), ("/", "/"), ("a//", "a"), ("//", "/")] {
            tidy(path, &mut out);
            assert_eq!(out, expected, "{path}");
        }
    }
}
