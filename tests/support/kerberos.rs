//! A KDC of MIT's Kerberos for one test: a realm of its own, on a free port and in a temporary directory. It ends with the value,
//! also in a panic. Without its programs the test is skipped with a word; with `FLUMEN_REQUIRE_PEERS=1` it fails.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::fs::{self, File};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::ports::free_port;

/// Far above what any step takes on a busy machine; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

const REALM: &str = "LAB";

/// The server, and its files.
pub struct Kdc {
    directory: tempfile::TempDir,
    server: Option<Child>,
}

impl Kdc {
    /// Makes the realm and starts the server; `None`: skipped.
    pub fn start() -> Option<Self> {
        let programs = ["krb5kdc", "kdb5_util", "kadmin.local", "kinit"];
        let is_there = |program: &&str| {
            let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
            std::env::split_paths(&path).any(|folder| folder.join(program).exists())
        };
        if let Some(lacking) = programs.iter().find(|program| !is_there(program)) {
            let required = std::env::var_os("FLUMEN_REQUIRE_PEERS").is_some_and(|value| value == "1");
            assert!(!required, "FLUMEN_REQUIRE_PEERS=1, and there is no {lacking} in PATH");
            println!("skipped: there is no {lacking} in PATH");
            return None;
        }
        let port = free_port();
        let mut kdc = Self { directory: tempfile::tempdir().unwrap(), server: None };
        let root = kdc.directory.path().display().to_string();
        // Over TCP alone.
        let client = format!(
            "[libdefaults]\n default_realm = {REALM}\n dns_lookup_kdc = false\n dns_lookup_realm = false\n \
             dns_canonicalize_hostname = false\n rdns = false\n udp_preference_limit = 1\n\
             [realms]\n {REALM} = {{\n  kdc = 127.0.0.1:{port}\n }}\n[domain_realm]\n localhost = {REALM}\n"
        );
        let server = format!(
            "[kdcdefaults]\n kdc_listen = \"\"\n kdc_tcp_listen = 127.0.0.1:{port}\n[realms]\n {REALM} = {{\n  \
             database_name = {root}/db\n  key_stash_file = {root}/stash\n  acl_file = {root}/acl\n  max_life = 1h\n }}\n"
        );
        fs::write(kdc.conf(), client).unwrap();
        fs::write(kdc.path("kdc.conf"), server).unwrap();
        kdc.run(kdc.command("kdb5_util").args(["-r", REALM, "create", "-s", "-P", "of no use elsewhere"]));
        let log = File::create(kdc.path("kdc.log")).unwrap();
        let mut command = kdc.command("krb5kdc");
        command.args(["-n", "-r", REALM]).stdout(log.try_clone().unwrap()).stderr(log);
        kdc.server = Some(command.spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let said = fs::read_to_string(kdc.path("kdc.log")).unwrap_or_default();
            assert!(Instant::now() < deadline, "the KDC does not listen: {said}");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(kdc)
    }

    /// Adds a principal, whose key goes to the keytab.
    pub fn add(&self, name: &str) {
        let keytab = self.keytab().display().to_string();
        for query in [format!("addprinc -randkey {name}"), format!("ktadd -k {keytab} {name}")] {
            self.run(self.command("kadmin.local").args(["-r", REALM, "-q", &query]));
        }
    }

    /// Lets the tickets that a principal gets from now on last so many seconds.
    pub fn shorten(&self, name: &str, seconds: u64) {
        let query = format!("modprinc -maxlife {seconds}s {name}");
        self.run(self.command("kadmin.local").args(["-r", REALM, "-q", &query]));
    }

    /// The name with the realm.
    pub fn principal(&self, name: &str) -> String {
        format!("{name}@{REALM}")
    }

    /// A file with the keys of all principals.
    pub fn keytab(&self) -> PathBuf {
        self.path("keytab")
    }

    /// What `KRB5_CONFIG` is to name.
    pub fn conf(&self) -> PathBuf {
        self.path("krb5.conf")
    }

    /// What `KRB5CCNAME` is to name, with a ticket of this principal.
    pub fn ticket(&self, name: &str) -> String {
        let cache = format!("FILE:{}", self.path("ticket").display());
        let keytab = self.keytab().display().to_string();
        self.run(self.command("kinit").args(["-k", "-t", &keytab, "-c", &cache, name]));
        cache
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/usr/local/sbin";
        let mut command = Command::new(program);
        command.env("PATH", path).env("KRB5_CONFIG", self.conf());
        command.env("KRB5_KDC_PROFILE", self.path("kdc.conf")).stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn run(&self, command: &mut Command) {
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{command:?}: {said}");
    }
}

impl Drop for Kdc {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // It may have ended by itself.
            let _ended = server.kill();
            let _reaped = server.wait();
        }
    }
}
