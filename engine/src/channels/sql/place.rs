//! Where a server's database is: `jdbc:mysql://host[:port]/database[?name=value&...]`, the same as `jdbc:mariadb:` and `jdbc:postgresql:`,
//! and the properties that a file has for its driver.

use flumen_api::settings::{ComponentConfig, Problems};

use super::settings::SqlSettings;
use crate::config::properties;

/// Characters of a channel's name, so that the names of its tables are no longer than the servers have them.
const NAME_MAX: usize = 40;
/// A properties file is no longer.
const PROPERTIES_BYTES_MAX: u64 = 1 << 20;

/// The kinds of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Mysql,
    Postgres,
}

impl Kind {
    /// As `db.type` has it.
    pub fn db_type(self) -> &'static str {
        match self {
            Self::Mysql => "MYSQL",
            Self::Postgres => "POSTGRESQL",
        }
    }

    fn port(self) -> u16 {
        match self {
            Self::Mysql => 3306,
            Self::Postgres => 5432,
        }
    }

    fn is_built_in(self) -> bool {
        match self {
            Self::Mysql => cfg!(feature = "sql-mysql"),
            Self::Postgres => cfg!(feature = "sql-postgres"),
        }
    }
}

/// A database of a server's, and who connects. It is not printed: it holds the password.
#[derive(Clone)]
#[cfg_attr(
    not(any(feature = "sql-mysql", feature = "sql-postgres")),
    allow(dead_code, reason = "a build without servers only refuses them")
)]
pub(super) struct Place {
    pub kind: Kind,
    pub host: String,
    pub port: u16,
    pub database: String,
    pub user: String,
    pub password: String,
    /// In SQL's words.
    pub isolation: &'static str,
    /// What the tables' names begin with.
    pub prefix: String,
}

impl Place {
    /// For messages.
    pub fn name(&self) -> String {
        let (kind, prefix) = (self.kind.db_type().to_lowercase(), &self.prefix);
        format!("{kind}://{}:{}/{}/{prefix}", self.host, self.port, self.database)
    }

    /// Reads what the keys say; `None` if the URL is no server's, or something is wrong with it.
    pub fn read(config: &ComponentConfig, settings: &SqlSettings, problems: &mut Problems) -> Option<Self> {
        let (kind, rest) = server_of(settings.url()?)?;
        if !kind.is_built_in() {
            let why =
                "this program was built without it: use `file`, which needs no server, or jdbc:sqlite:<path>";
            problems.error(config, "driver.url", why);
            return None;
        }
        if !settings.db_type.eq_ignore_ascii_case(kind.db_type()) {
            let why = format!("driver.url is of another kind of database: set db.type = {}", kind.db_type());
            problems.error(config, "db.type", why);
            return None;
        }
        let (address, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (host, port, database) = match address_of(address, kind) {
            Ok(address) => address,
            Err(why) => {
                problems.error(config, "driver.url", why);
                return None;
            }
        };
        let before = problems.errors();
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name.to_ascii_lowercase().as_str() {
                "user" | "password" => {
                    let why = "user and password belong into db.username and db.password, which no log shows";
                    problems.error(config, "driver.url", why);
                }
                _ => driver_property(config, "driver.url", name, value, problems),
            }
        }
        let mut place = Self {
            kind,
            host,
            port,
            database,
            user: settings.user.clone().unwrap_or_default(),
            password: settings.password.clone().unwrap_or_default(),
            isolation: isolation(&settings.isolation),
            prefix: prefix(config, problems),
        };
        if let Some(file) = settings.properties_file.as_deref().filter(|file| !file.trim().is_empty()) {
            place.add_properties(config, file.trim(), problems);
        }
        if place.user.is_empty() && problems.errors() == before {
            problems.error(config, "db.username", "a server has to be told who connects");
        }
        (problems.errors() == before).then_some(place)
    }

    /// User and password of the file stand where the keys have none; all else is the Java driver's.
    fn add_properties(&mut self, config: &ComponentConfig, file: &str, problems: &mut Problems) {
        const KEY: &str = "connection.properties.file";
        let read = std::fs::metadata(file).and_then(|found| match found.len() <= PROPERTIES_BYTES_MAX {
            true => std::fs::read(file),
            false => Err(std::io::Error::other(format!("it has more than {PROPERTIES_BYTES_MAX} bytes"))),
        });
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => return problems.error(config, KEY, format!("cannot read {file}: {error}")),
        };
        let parsed = properties::parse(&bytes);
        for malformed in parsed.malformed {
            problems.error(config, KEY, format!("{file}:{}: {}", malformed.line, malformed.message));
        }
        for entry in parsed.entries {
            match entry.key.as_str() {
                "user" if !is_set(config, "db.username") => self.user = entry.value,
                "password" if !is_set(config, "db.password") => self.password = entry.value,
                "user" | "password" => {}
                name => driver_property(config, KEY, name, &entry.value, problems),
            }
        }
    }
}

/// The server's kind, and what follows `//`.
pub(super) fn server_of(url: &str) -> Option<(Kind, &str)> {
    let rest = |scheme| url.strip_prefix(scheme);
    if let Some(rest) = rest("jdbc:mysql://").or_else(|| rest("jdbc:mariadb://")) {
        return Some((Kind::Mysql, rest));
    }
    rest("jdbc:postgresql://").map(|rest| (Kind::Postgres, rest))
}

fn address_of(address: &str, kind: Kind) -> Result<(String, u16, String), String> {
    const FORM: &str = "it is no jdbc:mysql://host:port/database or jdbc:postgresql://host:port/database";
    let (authority, database) = address.split_once('/').ok_or(FORM)?;
    if authority.contains('@') {
        return Err("user and password belong into db.username and db.password, which no log shows".into());
    }
    if authority.contains(',') {
        return Err("more than one host: name the one to connect to".into());
    }
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').ok_or(FORM)?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let port = match port.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or("its port is none")?,
        None if port.is_empty() => kind.port(),
        None => return Err(FORM.into()),
    };
    if database.is_empty() || database.contains('/') {
        return Err(FORM.into());
    }
    let host = if host.is_empty() { "localhost" } else { host };
    Ok((host.to_string(), port, database.to_string()))
}

/// What asks for TLS is refused, as it would not be had; other properties mean nothing here.
fn driver_property(config: &ComponentConfig, key: &str, name: &str, value: &str, problems: &mut Problems) {
    let value = value.trim().to_ascii_lowercase();
    let demands = match name.to_ascii_lowercase().as_str() {
        "usessl" | "ssl" | "requiressl" => !matches!(value.as_str(), "false" | "disable" | "0"),
        "sslmode" => !matches!(value.as_str(), "disable" | "disabled" | "allow" | "prefer" | "preferred"),
        _ => {
            let why = format!("its {name} changes nothing: it is of Java's driver");
            return problems.warn(config, key, why);
        }
    };
    if demands {
        let why = format!("its {name} asks for TLS, which connections to databases have not here");
        problems.error(config, key, why);
    }
}

fn is_set(config: &ComponentConfig, key: &str) -> bool {
    let old = format!("org.apache.flume.channel.jdbc.{key}");
    [key, &old].into_iter().any(|key| config.get(key).is_some_and(|value| !value.is_empty()))
}

fn isolation(name: &str) -> &'static str {
    match name.to_ascii_uppercase().as_str() {
        "READ_UNCOMMITTED" => "READ UNCOMMITTED",
        "REPEATABLE_READ" => "REPEATABLE READ",
        "SERIALIZABLE" => "SERIALIZABLE",
        _ => "READ COMMITTED",
    }
}

fn prefix(config: &ComponentConfig, problems: &mut Problems) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    let name: String = config.name.chars().map(plain).collect();
    if name.len() > NAME_MAX {
        let why =
            format!("the channel's name is in those of its tables, and has more than {NAME_MAX} characters");
        problems.error(config, "driver.url", why);
    }
    format!("flumen_{name}_")
}

#[cfg(all(test, feature = "sql-mysql", feature = "sql-postgres"))]
mod tests {
    use flumen_api::settings::Kind as Component;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Option<Place>, Problems) {
        let config = ComponentConfig::of(Component::Channel, "C 1", pairs);
        let mut problems = Problems::default();
        let settings = SqlSettings::read(&config, &mut problems);
        let place = settings.and_then(|settings| Place::read(&config, &settings, &mut Problems::default()));
        (place, problems)
    }

    #[test]
    fn urls_of_servers_are_read() {
        for (kind, url, name) in [
            ("MYSQL", "jdbc:mysql://db/events", "mysql://db:3306/events/flumen_c_1_"),
            ("mysql", "jdbc:mariadb://[::1]:33/e?useSSL=false", "mysql://::1:33/e/flumen_c_1_"),
            (
                "POSTGRESQL",
                "jdbc:postgresql:///e?sslmode=disable",
                "postgresql://localhost:5432/e/flumen_c_1_",
            ),
        ] {
            let (place, problems) = read(&[("db.type", kind), ("driver.url", url), ("db.username", "u")]);
            assert_eq!(place.map(|place| place.name()).as_deref(), Some(name), "{problems:?}");
            assert!(problems.0.is_empty(), "{problems:?}");
        }
    }

    #[test]
    fn what_cannot_be_had_is_refused_and_no_password_is_said() {
        for (kind, url, part) in [
            ("DERBY", "jdbc:mysql://h/e", "db.type = MYSQL"),
            ("MYSQL", "jdbc:postgresql://h/e", "db.type = POSTGRESQL"),
            ("MYSQL", "jdbc:mysql://h", "host:port/database"),
            ("MYSQL", "jdbc:mysql://h:0/e", "port"),
            ("MYSQL", "jdbc:mysql://h,i/e", "more than one host"),
            ("MYSQL", "jdbc:mysql://u:geheim@h/e", "db.password"),
            ("MYSQL", "jdbc:mysql://h/e?user=u&password=geheim", "db.password"),
            ("MYSQL", "jdbc:mysql://h/e?sslMode=VERIFY_CA", "TLS"),
            ("POSTGRESQL", "jdbc:postgresql://h/e?ssl=true", "TLS"),
        ] {
            let (place, problems) = read(&[("db.type", kind), ("driver.url", url), ("db.username", "u")]);
            assert!(place.is_none() && problems.0[0].message.contains(part), "{url}: {problems:?}");
            assert!(!format!("{:?}", problems.0[0].message).contains("geheim"), "{problems:?}");
        }
        assert!(
            read(&[("db.type", "MYSQL"), ("driver.url", "jdbc:mysql://h/e")]).0.is_none(),
            "nobody connects"
        );
    }

    #[test]
    #[cfg(feature = "sql-mysql")]
    fn the_properties_file_says_who_connects_where_the_keys_do_not() {
        let folder = tempfile::tempdir().expect("a directory");
        let file = folder.path().join("p");
        std::fs::write(&file, "user = fu\npassword=fp\ncachePrepStmts=true\n").expect("written");
        let file = file.to_str().expect("text");
        let base = [
            ("db.type", "MYSQL"),
            ("driver.url", "jdbc:mysql://h/e"),
            ("connection.properties.file", file),
            ("db.username", "ku"),
        ];
        let (place, problems) = read(&base[..3]);
        let place = place.expect("good");
        assert_eq!((&*place.user, &*place.password), ("fu", "fp"));
        assert!(problems.0[0].message.contains("cachePrepStmts"), "{problems:?}");
        let place = read(&base).0.expect("good");
        assert_eq!((&*place.user, &*place.password), ("ku", "fp"));
    }
}
