//! Keys by which the log is encrypted, from Flume's `encryption.*`.
//!
//! Each key is in a file of its own: `encryption.keyProvider = KEYFILE`. Flume's `JCEKSFILE` is refused with the command that writes
//! a key of such a store into a file. `encryption.keyProvider.keys` names all keys by which anything in the channel may be
//! encrypted, and `encryption.activeKey` the one of them for what is put from now on; without it that is stored as it is.

use std::path::PathBuf;

use flumen_api::settings::{ComponentConfig, Family, Key, Problems, Setting, Value};
use flumen_wal::{Key as LogKey, Keys, read_key_file};

use super::settings::FileSettings;

/// Where keys come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyProvider {
    /// A file for each.
    KeyFile,
}

impl Setting for KeyProvider {
    const SHAPE: &'static str = "KEYFILE";

    fn read(_key: &Key, text: Option<&str>) -> Result<Self, String> {
        match text.unwrap_or_default() {
            file if file.eq_ignore_ascii_case("KEYFILE") => Ok(Self::KeyFile),
            jceks if jceks.eq_ignore_ascii_case("JCEKSFILE") => Err(JCEKS.to_string()),
            other => Err(format!(
                "`{other}` is not KEYFILE; of other providers write the keys into files of their own, and name them in \
                 encryption.keyProvider.keys.<alias>.file"
            )),
        }
    }
}

/// What to do instead. `getEncoded` is what keytool has no command for.
const JCEKS: &str = "Java's key stores are not read. Write each key into a file of its own, with any JDK from 9 on: \
    `echo 'var s = java.security.KeyStore.getInstance(\"JCEKS\"); var p = \"PASSWORD\".toCharArray(); \
    s.load(new java.io.FileInputStream(\"KEYSTORE\"), p); \
    System.out.println(java.util.Base64.getEncoder().encodeToString(s.getKey(\"ALIAS\", p).getEncoded()));' \
    | jshell -s - > ALIAS.key; chmod 0400 ALIAS.key` (`keytool -list -storetype JCEKS -keystore KEYSTORE` shows the aliases). Then \
    set encryption.keyProvider = KEYFILE and encryption.keyProvider.keys.ALIAS.file = ALIAS.key";

/// Keys as the file names them, not yet read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encryption {
    keys: Vec<(String, PathBuf)>,
    active: Option<String>,
}

impl Encryption {
    /// Checks the keys against each other.
    pub(super) fn of(
        settings: &FileSettings,
        config: &ComponentConfig,
        problems: &mut Problems,
    ) -> Option<Self> {
        let before = problems.errors();
        let files = &settings.encryption_key_files;
        let names = &settings.encryption_keys.0;
        for rest in files.0.keys() {
            let known = names.iter().any(|name| rest.strip_suffix(".file") == Some(name));
            if !known {
                let key = format!("{KEYS}.{rest}");
                problems.error(config, &key, unknown(rest, names));
            }
        }
        let mut keys: Vec<(String, PathBuf)> = Vec::new();
        for name in names {
            if keys.iter().any(|(known, _)| known == name) {
                problems.error(config, KEYS, format!("it names `{name}` twice"));
                continue;
            }
            match file_of(files, name) {
                Some(file) => keys.push((name.clone(), file.resolved.clone().into())),
                None => problems.error(
                    config,
                    KEYS,
                    format!(
                        "required key is missing: {KEYS}.{name}.file, the file that holds the key `{name}`"
                    ),
                ),
            }
        }
        let active = settings.encryption_active_key.clone().filter(|name| !name.is_empty());
        if let Some(active) = &active
            && !names.contains(active)
        {
            let message = format!("`{active}` is not among {KEYS}: {}", names.join(" "));
            problems.error(config, "encryption.activeKey", message);
        }
        let used = active.is_some() || !names.is_empty();
        if used && settings.encryption_key_provider.is_none() {
            let key = if active.is_some() { "encryption.activeKey" } else { KEYS };
            problems.error(config, key, "encryption.keyProvider is missing: set it to KEYFILE".to_string());
        }
        (problems.errors() == before).then_some(Self { keys, active })
    }

    /// Reads the keys' files.
    pub(super) fn keys(&self) -> Result<Keys, String> {
        if self.keys.is_empty() {
            return Ok(Keys::default());
        }
        let read = |(name, path): &(String, PathBuf)| {
            let secret = read_key_file(path).map_err(|error| error.to_string())?;
            LogKey::new(name, &secret).map_err(|error| error.to_string())
        };
        let keys = self.keys.iter().map(read).collect::<Result<_, String>>()?;
        Keys::new(keys, self.active.as_deref()).map_err(|error| error.to_string())
    }
}

const KEYS: &str = "encryption.keyProvider.keys";

fn file_of<'a>(files: &'a Family, name: &str) -> Option<&'a Value> {
    files.0.get(&format!("{name}.file")).filter(|value| !value.resolved.is_empty())
}

fn unknown(rest: &str, names: &[String]) -> String {
    if rest.ends_with(".passwordFile") {
        return format!(
            "a key file has no password; write {KEYS}.<alias>.file, and let only the agent's user read the file"
        );
    }
    match rest.strip_suffix(".file") {
        Some(name) => format!("`{name}` is not among {KEYS}: {}", names.join(" ")),
        None => format!("unknown key; {KEYS}.<alias>.file is the file that holds the key <alias>"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use flumen_api::settings::Kind;

    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (Option<Encryption>, String) {
        let mut problems = Problems::default();
        let pairs: Vec<_> =
            pairs.iter().copied().chain([("checkpointDir", "/c"), ("dataDirs", "/d")]).collect();
        let config = ComponentConfig::of(Kind::Channel, "c1", &pairs);
        let settings = FileSettings::read(&config, &mut problems);
        let encryption =
            settings.and_then(|settings| Encryption::of(&settings, &config, &mut Problems::default()));
        (encryption, problems.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
    }

    fn key_file(folder: &Path, name: &str, byte: u8) -> String {
        let path = folder.join(name);
        write(&path, [byte; 32]).expect("written");
        set_permissions(&path, Permissions::from_mode(0o400)).expect("ours");
        path.to_string_lossy().into_owned()
    }

    #[test]
    fn keys_are_read_from_files_and_one_of_them_is_active() {
        let folder = tempfile::tempdir().expect("a directory");
        let (one, two) = (key_file(folder.path(), "1", 1), key_file(folder.path(), "2", 2));
        let pairs = [
            ("encryption.keyProvider", "keyfile"),
            ("encryption.keyProvider.keys", "k1  k2"),
            ("encryption.keyProvider.keys.k1.file", &*one),
            ("encryption.keyProvider.keys.k2.file", &*two),
        ];
        let (encryption, problems) = read(&pairs);
        let keys = encryption.expect("good").keys().expect("read");
        assert_eq!((keys.iter().count(), keys.active().is_none(), &*problems), (2, true, ""));
        for cipher in ["AESCTRNOPADDING", "AESGCMNOPADDING"] {
            let more = [("encryption.activeKey", "k2"), ("encryption.cipherProvider", cipher)];
            let (encryption, problems) = read(&[&pairs[..], &more].concat());
            let keys = encryption.expect("good").keys().expect("read");
            assert_eq!((keys.active().map(LogKey::name), &*problems), (Some("k2"), ""));
        }
        set_permissions(&one, Permissions::from_mode(0o644)).expect("ours");
        let error = read(&pairs).0.expect("a check reads no key").keys().expect_err("others may read it");
        assert!(error.contains(&one) && error.contains("0644"), "{error}");
    }

    #[test]
    fn a_java_key_store_is_refused_with_the_command_that_reads_it() {
        let (encryption, problems) = read(&[
            ("encryption.activeKey", "k1"),
            ("encryption.cipherProvider", "AESCTRNOPADDING"),
            ("encryption.keyProvider", "JCEKSFILE"),
            ("encryption.keyProvider.keyStoreFile", "/etc/flume/ks"),
            ("encryption.keyProvider.keyStorePasswordFile", "/etc/flume/pw"),
            ("encryption.keyProvider.keys", "k1"),
            ("encryption.keyProvider.keys.k1.passwordFile", "/etc/flume/k1"),
        ]);
        assert!(encryption.is_none());
        for part in ["test.conf:3: error", "jshell", "KEYFILE", "keyStoreFile", "keys.ALIAS.file"] {
            assert!(problems.contains(part), "{part}: {problems}");
        }
    }

    #[test]
    fn what_does_not_fit_together_is_an_error_at_its_line() {
        let provider = ("encryption.keyProvider", "KEYFILE");
        let keys = ("encryption.keyProvider.keys", "k1");
        let file = ("encryption.keyProvider.keys.k1.file", "/k1");
        let active = ("encryption.activeKey", "k1");
        let wrong: [(&[(&str, &str)], &str); 8] = [
            (&[active], "not among"),
            (&[keys, file, active], "encryption.keyProvider is missing"),
            (&[provider, keys, active], "keys.k1.file"),
            (&[provider, keys, file, ("encryption.activeKey", "k2")], "`k2` is not among"),
            (&[provider, ("encryption.keyProvider.keys", "k1 k1"), file], "twice"),
            (&[provider, keys, file, ("encryption.keyProvider.keys.k3.file", "/k3")], "`k3` is not among"),
            (&[provider, keys, file, ("encryption.keyProvider.keys.k1.passwordFile", "/p")], "no password"),
            (&[("encryption.keyProvider", "org.example.Vault")], "is not KEYFILE"),
        ];
        for (pairs, part) in wrong {
            let (encryption, problems) = read(pairs);
            assert!(encryption.is_none() && problems.contains(part), "{part}: {problems}");
        }
        assert!(read(&[("encryption.cipherProvider", "DES")]).0.is_none());
        assert!(read(&[provider, keys, file, active]).0.is_some());
        assert!(read(&[]).0.is_some());
    }
}
