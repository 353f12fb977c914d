//! Servers of databases, in directories of their own. A shell that runs beside each kills it when the test's process, or who started it,
//! lets go of the shell's input: a server never outlives its test.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub const USER: &str = "flumen";
pub const PASSWORD: &str = "not to be seen";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    MariaDb,
    PostgreSql,
}

impl Kind {
    pub fn db_type(self) -> &'static str {
        match self {
            Self::MariaDb => "MYSQL",
            Self::PostgreSql => "POSTGRESQL",
        }
    }
}

pub struct Server {
    pub sort: Kind,
    pub port: u16,
    folder: PathBuf,
    /// Further arguments of its program.
    arguments: Vec<String>,
    child: Option<Child>,
}

/// The server that the tests of a process share.
pub fn shared(sort: Kind) -> Option<&'static Server> {
    static MARIADB: OnceLock<Option<Server>> = OnceLock::new();
    static POSTGRESQL: OnceLock<Option<Server>> = OnceLock::new();
    let server = match sort {
        Kind::MariaDb => MARIADB.get_or_init(|| Server::start(sort)),
        Kind::PostgreSql => POSTGRESQL.get_or_init(|| Server::start(sort)),
    };
    if server.is_none() {
        skipped(&format!("{sort:?} cannot be started"));
    }
    server.as_ref()
}

fn skipped(why: &str) {
    let required = std::env::var_os("FLUMEN_REQUIRE_PEERS").is_some_and(|value| value == "1");
    assert!(!required, "FLUMEN_REQUIRE_PEERS=1, and {why}");
    println!("skipped: {why}");
}

impl Server {
    /// Makes the files of one and starts it; `None`, with the reason said, if there is none on this machine.
    pub fn start(sort: Kind) -> Option<Self> {
        Self::start_with(sort, &[])
    }

    /// The same, its program with further arguments.
    pub fn start_with(sort: Kind, arguments: &[&str]) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("flumen-sql-").tempdir().expect("a directory").keep();
        let made = match sort {
            Kind::MariaDb => make_mariadb(&folder),
            Kind::PostgreSql => make_postgresql(&folder),
        };
        if let Err(why) = made {
            fs::remove_dir_all(&folder).expect("removed");
            skipped(&format!("{sort:?}: {why}"));
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let mut server = Self { sort, port, folder, arguments, child: None };
        server.run();
        Some(server)
    }

    pub fn url(&self, port: u16) -> String {
        match self.sort {
            Kind::MariaDb => format!("jdbc:mysql://127.0.0.1:{port}/flumen?useSSL=false"),
            Kind::PostgreSql => format!("jdbc:postgresql://127.0.0.1:{port}/postgres"),
        }
    }

    /// Starts it on its files, as they are.
    pub fn run(&mut self) {
        // A killed server's processes may have its port or its memory for a little longer.
        for _ in 0..20 {
            self.kill();
            if self.try_run() {
                return;
            }
        }
        panic!("{:?}: {}", self.sort, fs::read_to_string(self.folder.join("log")).unwrap_or_default());
    }

    fn try_run(&mut self) -> bool {
        let path = |name: &str| self.folder.join(name).display().to_string();
        let words = match self.sort {
            Kind::MariaDb => [
                vec![
                    "mariadbd".into(),
                    "--no-defaults".into(),
                    "--user=root".into(),
                    "--skip-name-resolve".into(),
                ],
                vec![format!("--datadir={}", path("data")), format!("--socket={}", path("socket"))],
                vec![format!("--port={}", self.port), "--bind-address=127.0.0.1".into()],
                vec![format!("--init-file={}", path("init.sql")), format!("--pid-file={}", path("pid"))],
            ]
            .concat(),
            Kind::PostgreSql => [
                as_postgres(),
                vec![
                    postgres_program("postgres").expect("there").display().to_string(),
                    "-D".into(),
                    path("data"),
                ],
                vec!["-p".into(), self.port.to_string(), "-k".into(), self.folder.display().to_string()],
                vec!["-c".into(), "listen_addresses=127.0.0.1".into()],
            ]
            .concat(),
        };
        let log = fs::File::create(self.folder.join("log")).expect("a log");
        let watch = "folder=$0; \"$@\" & pid=$!; read _; kill -9 $pid; wait; [ -e \"$folder/keep\" ] || rm -rf \"$folder\"";
        let mut command = Command::new("sh");
        command.args(["-c", watch]).arg(&self.folder).args(words).args(&self.arguments).stdin(Stdio::piped());
        let child = command.stdout(log.try_clone().expect("a log")).stderr(log).spawn();
        self.child = Some(child.expect("a shell"));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(40) {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            if log.contains("ready for connections") || log.contains("ready to accept connections") {
                return true;
            }
            if log.contains("FATAL:  lock file")
                || log.contains("FATAL:  could not")
                || log.contains("Aborting")
            {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }

    /// Kills it; its files stay.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            fs::write(self.folder.join("keep"), "").expect("written");
            drop(child.stdin.take());
            child.wait().expect("waited for");
            fs::remove_file(self.folder.join("keep")).expect("removed");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            let _ended = child.wait();
        }
    }
}

fn ran(command: &mut Command) -> Result<(), String> {
    match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn make_mariadb(folder: &Path) -> Result<(), String> {
    let sql = format!(
        "CREATE DATABASE IF NOT EXISTS flumen;\nCREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{PASSWORD}';\n\
         GRANT ALL ON flumen.* TO '{USER}'@'%';\n"
    );
    fs::write(folder.join("init.sql"), sql).expect("written");
    let mut make = Command::new("mariadb-install-db");
    make.args(["--no-defaults", "--user=root", "--skip-test-db"]);
    ran(make.arg(format!("--datadir={}", folder.join("data").display())))
}

/// PostgreSQL does not run as root.
fn as_postgres() -> Vec<String> {
    let id = Command::new("id").arg("-u").output().map(|output| output.stdout).unwrap_or_default();
    match id.trim_ascii() == b"0" {
        true => {
            ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"].map(String::from).into()
        }
        false => Vec::new(),
    }
}

fn postgres_program(name: &str) -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let packaged = versions.map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let named: Vec<_> = std::env::split_paths(&path).collect();
    packaged.chain(named).map(|folder| folder.join(name)).find(|program| program.exists())
}

fn make_postgresql(folder: &Path) -> Result<(), String> {
    let initdb = postgres_program("initdb").ok_or("there is no initdb")?;
    fs::write(folder.join("password"), PASSWORD).expect("written");
    let prefix = as_postgres();
    if !prefix.is_empty() {
        ran(Command::new("chown").args(["-R", "postgres:postgres"]).arg(folder))?;
    }
    let words: Vec<_> = prefix.into_iter().chain([initdb.display().to_string()]).collect();
    let mut make = Command::new(&words[0]);
    make.args(&words[1..]).arg("-D").arg(folder.join("data")).current_dir(folder);
    make.args(["--username", USER, "--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"]);
    ran(make.arg(format!("--pwfile={}", folder.join("password").display())))
}

/// Stands before a MariaDB server, and cuts a connection between a COMMIT and its answer.
pub struct CutProxy {
    pub port: u16,
    armed: Arc<AtomicBool>,
}

impl CutProxy {
    pub fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let armed = Arc::new(AtomicBool::new(false));
        let cuts = armed.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(("127.0.0.1", server)).expect("the server");
                let cut = Arc::new(AtomicBool::new(false));
                let (from, to) = (client.try_clone().expect("cloned"), server.try_clone().expect("cloned"));
                let (armed, cutting) = (cuts.clone(), cut.clone());
                std::thread::spawn(move || {
                    pass(from, to, |bytes| {
                        if bytes.ends_with(b"COMMIT") && armed.swap(false, Ordering::SeqCst) {
                            cutting.store(true, Ordering::SeqCst);
                        }
                        true
                    })
                });
                std::thread::spawn(move || pass(server, client, |_answer| !cut.load(Ordering::SeqCst)));
            }
        });
        Self { port, armed }
    }

    /// The next COMMIT is not answered.
    pub fn cut_at_commit(&self) {
        self.armed.store(true, Ordering::SeqCst);
    }
}

/// Passes bytes on until one side ends, or `goes_on` says no.
fn pass(mut from: TcpStream, mut to: TcpStream, goes_on: impl Fn(&[u8]) -> bool) {
    let mut buffer = [0; 64 << 10];
    while let Ok(read) = from.read(&mut buffer) {
        if read == 0 || !goes_on(&buffer[..read]) || to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _both = (from.shutdown(std::net::Shutdown::Both), to.shutdown(std::net::Shutdown::Both));
}
