//! Keys of the `jdbc` channel. Each has Flume's name, and the older one behind `org.apache.flume.channel.jdbc.`.

use std::path::PathBuf;

use flumen_api::settings::{ComponentConfig, Family, Problems, Unit, settings};

use super::place::{self, Place};

settings! {
    /// Keys of the `jdbc` channel.
    pub struct SqlSettings {
        /// Kind of the database. `DERBY`, Flume's embedded one, is SQLite here: a file that the agent has for itself. `MYSQL` is MariaDB as well;
        /// `POSTGRESQL` is Flumen's own.
        pub db_type: String = key("db.type") {
            aliases: &["org.apache.flume.channel.jdbc.db.type"], default: Some("DERBY"),
            one_of: &["DERBY", "SQLITE", "MYSQL", "POSTGRESQL"]
        },
        /// Where the database is: `jdbc:sqlite:<path>` of a file, or `jdbc:mysql://host:port/database`, `jdbc:mariadb://...`,
        /// `jdbc:postgresql://...` of a server. Default: `.flume/jdbc-channel/flumen-<channel>.sqlite` in the user's home.
        pub driver_url: Option<String> = key("driver.url") { aliases: &["org.apache.flume.channel.jdbc.driver.url"] },
        /// The driver's Java class.
        pub driver_class: Option<String> = key("driver.class") {
            aliases: &["org.apache.flume.channel.jdbc.driver.class"],
            inert: Some("there is no Java class to load: what speaks to the databases is built in")
        },
        /// Who connects to the server.
        pub user: Option<String> = key("db.username") { aliases: &["org.apache.flume.channel.jdbc.db.username"] },
        /// The password.
        pub password: Option<String> = key("db.password") {
            aliases: &["org.apache.flume.channel.jdbc.db.password"], secret: true
        },
        /// A file with properties of connections to a server: `user` and `password` count where the keys have none; one that asks for TLS is an
        /// error, as there is none; others are those of Java's drivers, and change nothing.
        pub properties_file: Option<String> = key("connection.properties.file") {
            aliases: &["org.apache.flume.channel.jdbc.connection.properties.file"]
        },
        /// Whether the tables are made where they are missing. If not, the start is refused there.
        pub create_schema: bool = key("create.schema") {
            aliases: &["org.apache.flume.channel.jdbc.create.schema"], default: Some("true")
        },
        /// Whether indexes are made.
        pub create_index: bool = key("create.index") {
            aliases: &["org.apache.flume.channel.jdbc.create.index"],
            inert: Some("the tables need none beside their keys")
        },
        /// Whether foreign keys are made.
        pub create_foreign_key: bool = key("create.foreignkey") {
            aliases: &["org.apache.flume.channel.jdbc.create.foreignkey"],
            inert: Some("no table refers to another")
        },
        /// How a server keeps transactions apart. There is one connection, whose transactions come one after the other.
        pub isolation: String = key("transaction.isolation") {
            aliases: &["org.apache.flume.channel.jdbc.transaction.isolation"], default: Some("READ_COMMITTED"),
            one_of: &["READ_UNCOMMITTED", "READ_COMMITTED", "REPEATABLE_READ", "SERIALIZABLE"]
        },
        /// Connections to the database.
        pub connections: Option<String> = key("maximum.connections") {
            aliases: &["org.apache.flume.channel.jdbc.maximum.connections"],
            inert: Some("one is enough: puts that come while the disk is busy share the next transaction")
        },
        /// Most events in the channel; 0 is no limit.
        pub capacity: u64 = key("maximum.capacity") {
            aliases: &["org.apache.flume.channel.jdbc.maximum.capacity"], default: Some("0"), min: Some(0), unit: Unit::Events,
            live: true
        },
        /// Most events of one put or take. Flume has no limit.
        pub transaction_capacity: usize = key("transactionCapacity") {
            default: Some("10000"), min: Some(1), max: Some(i32::MAX as i64), unit: Unit::Events, live: true,
            since: "Flumen 0.1"
        },
        /// How long a put waits for room. Flume's does not wait.
        pub keep_alive: i64 = key("keep-alive") {
            default: Some("3"), max: Some(i32::MAX as i64), unit: Unit::Seconds, live: true, since: "Flumen 0.1"
        },
        /// System properties of Java. Of them `sysprop.user.home` means something: the home in which the default database lies.
        pub system_properties: Family = key("sysprop.") { },
        /// The same, by the older name.
        pub old_system_properties: Family = key("org.apache.flume.channel.jdbc.sysprop.") { },
    }
}

/// Where Flume's embedded database is.
pub(super) const DERBY: &str = "db";

impl SqlSettings {
    /// Reads the keys and checks them against each other.
    pub(super) fn read(config: &ComponentConfig, problems: &mut Problems) -> Option<Self> {
        let settings = Self::load(config, problems)?;
        let before = problems.errors();
        let url = settings.url();
        let server = url.and_then(place::server_of);
        match url {
            Some(_) if server.is_some() => drop(Place::read(config, &settings, problems)),
            Some(url) if !url.starts_with("jdbc:sqlite:") => {
                problems.error(config, "driver.url", refused(url))
            }
            // Without a URL Flume takes its embedded database all the same, which is not what was meant.
            _ if ["MYSQL", "POSTGRESQL"].iter().any(|kind| settings.db_type.eq_ignore_ascii_case(kind)) => {
                problems.error(config, "db.type", "driver.url does not say where its server is");
            }
            _ => {}
        }
        if server.is_none() {
            for (key, set) in [
                ("db.username", settings.user.is_some()),
                ("db.password", settings.password.as_ref().is_some_and(|password| !password.is_empty())),
                ("connection.properties.file", settings.properties_file.is_some()),
            ] {
                if set {
                    problems.warn(
                        config,
                        key,
                        "changes nothing: who may read SQLite's file may read the events",
                    );
                }
            }
        }
        for (prefix, family) in [
            ("sysprop.", &settings.system_properties),
            ("org.apache.flume.channel.jdbc.sysprop.", &settings.old_system_properties),
        ] {
            for rest in family.0.keys().filter(|rest| *rest != "user.home") {
                let key = format!("{prefix}{rest}");
                problems.warn(config, &key, "changes nothing: there is no Java that would read it");
            }
        }
        (problems.errors() == before).then_some(settings)
    }

    pub(super) fn url(&self) -> Option<&str> {
        self.driver_url.as_deref().map(str::trim).filter(|url| !url.is_empty())
    }

    /// The folder in which Flume has its embedded database, where no URL is given.
    pub(super) fn folder(&self) -> Result<PathBuf, String> {
        let home = [&self.system_properties, &self.old_system_properties]
            .into_iter()
            .find_map(|family| family.0.get("user.home"))
            .map(|value| PathBuf::from(&value.resolved));
        let home = home.or_else(|| std::env::var_os("HOME").map(PathBuf::from));
        Ok(home
            .ok_or("HOME is not set: name the database by driver.url = jdbc:sqlite:<path>")?
            .join(".flume/jdbc-channel"))
    }

    /// The database's file.
    pub(super) fn path(&self, channel: &str) -> Result<PathBuf, String> {
        match self.url().and_then(|url| url.strip_prefix("jdbc:sqlite:")) {
            Some(path) => Ok(path.into()),
            None => {
                let name: String =
                    channel.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '_' }).collect();
                Ok(self.folder()?.join(format!("flumen-{name}.sqlite")))
            }
        }
    }

    /// Whether Flume would have its embedded database in [`folder`](Self::folder).
    pub(super) fn is_embedded(&self) -> bool {
        self.url().is_none()
    }
}

fn refused(url: &str) -> String {
    match url.strip_prefix("jdbc:").and_then(|rest| rest.split(':').next()) {
        Some("derby") => "Derby's files are read by Java alone. Let Flume deliver what is in them, then take the key out, or name an SQLite \
                          file: jdbc:sqlite:<path>"
            .into(),
        _ => "it is no jdbc:sqlite:<path>, jdbc:mysql://host:port/database or jdbc:postgresql://host:port/database".into(),
    }
}

#[cfg(test)]
mod tests {
    use flumen_api::settings::Kind;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Option<SqlSettings>, Problems) {
        let mut problems = Problems::default();
        let config = ComponentConfig::of(Kind::Channel, "c1", pairs);
        (SqlSettings::read(&config, &mut problems), problems)
    }

    #[test]
    fn flumes_keys_are_taken_by_both_of_their_names() {
        let old = "org.apache.flume.channel.jdbc.";
        let capacity = |key: &str| read(&[(key, "7")]).0.map(|settings| settings.capacity);
        assert_eq!(capacity("maximum.capacity"), Some(7));
        assert_eq!(capacity(&format!("{old}maximum.capacity")), Some(7));
        let all = [
            ("db.type", "DERBY"),
            ("driver.class", "org.apache.derby.jdbc.EmbeddedDriver"),
            ("db.username", "sa"),
            ("db.password", ""),
            ("connection.properties.file", "/p"),
            ("create.index", "true"),
            ("create.foreignkey", "true"),
            ("transaction.isolation", "READ_COMMITTED"),
            ("maximum.connections", "10"),
            ("sysprop.user.home", "/h"),
            ("sysprop.derby.stream.error.file", "/x"),
        ];
        let (settings, problems) = read(&all);
        assert_eq!(problems.errors(), 0, "{problems:?}");
        assert_eq!(problems.0.len(), 7, "what SQLite has no use for changes nothing: {problems:?}");
        let path = settings.expect("good").path("c 1").expect("a home");
        assert_eq!(path, PathBuf::from("/h/.flume/jdbc-channel/flumen-c_1.sqlite"));
        let old = format!("{old}sysprop.user.home");
        assert!(read(&[(&old, "/o")]).0.expect("good").path("c").expect("a home").starts_with("/o/.flume"));
    }

    #[test]
    fn databases_that_are_not_built_in_are_refused_by_name() {
        for (url, part) in
            [("jdbc:derby:/var/db;create=true", "Let Flume deliver"), ("nonsense", "jdbc:sqlite:<path>")]
        {
            let (settings, problems) = read(&[("driver.url", url)]);
            assert!(settings.is_none() && problems.0[0].message.contains(part), "{problems:?}");
        }
        assert!(read(&[("db.type", "MYSQL")]).0.is_none());
        assert!(read(&[("db.type", "POSTGRESQL")]).0.is_none());
        assert!(read(&[("db.type", "ORACLE")]).0.is_none());
        let sqlite = read(&[("driver.url", "jdbc:sqlite:/d/c1.db")]).0.expect("good");
        assert_eq!(sqlite.path("c1"), Ok(PathBuf::from("/d/c1.db")));
    }
}
