//! A real Kafka, each broker in a directory of its own. A shell that runs beside it kills it when the
//! test's process, or who started it, lets go of the shell's input: a broker never outlives its test. Java and the jars are those
//! of [`maven`](super::maven).

#![allow(dead_code, reason = "each test binary uses its own part of this")]

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::maven;
use super::ports::free_port;

/// Less to compile, and no threads for it, on a machine that is busy.
const JAVA: &[&str] = &["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];

/// The version that `pom.xml` names, and one of the days when every Kafka had a ZooKeeper.
const KAFKA: &str = "3.9.1";
const OLD: &str = "2.8.2";

/// The user whom a broker knows, and the password.
pub const LOGIN: (&str, &str) = ("alice", "a long way round");

/// What opens the stores of a broker's and its clients' keys, and the key in the client's own store.
pub const STORE_PASSWORD: &str = "changeit";
pub const KEY_PASSWORD: &str = "another one";

/// A broker.
pub struct Broker {
    node: u8,
    port: u16,
    /// For clients with a login.
    guarded: u16,
    /// The same with TLS, and for clients with a certificate.
    secure: [u16; 2],
    folder: PathBuf,
    libraries: PathBuf,
    child: Option<Child>,
    zookeeper: Option<(u16, Child)>,
}

/// Who knows which brokers there are.
#[derive(Clone, Copy)]
enum Quorum {
    /// The first broker itself, at this port.
    Controller(u16),
    /// ZooKeeper, as in Kafka's old days.
    ZooKeeper(u16),
}

/// The broker that the tests of a process share; `None`, with the reason said, if none can be had here.
pub fn shared() -> Option<&'static Broker> {
    static BROKER: OnceLock<Option<Broker>> = OnceLock::new();
    BROKER.get_or_init(Broker::start).as_ref()
}

/// The same with ZooKeeper.
pub fn shared_old() -> Option<&'static Broker> {
    static BROKER: OnceLock<Option<Broker>> = OnceLock::new();
    BROKER.get_or_init(Broker::start_with_zookeeper).as_ref()
}

/// The jars of a version; `None`, with the reason said, if they cannot be had here.
fn libraries(version: &str) -> Option<PathBuf> {
    // Two tests must not have Maven write the same files.
    static ONE: Mutex<()> = Mutex::new(());
    let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/kafka/pom.xml");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("kafka-{version}"));
    let text = fs::read_to_string(&pom).expect("it is in the repository");
    fs::create_dir_all(&target).expect("a directory");
    let pom = target.join("wanted.xml");
    fs::write(&pom, text.replace(&format!(">{KAFKA}<"), &format!(">{version}<"))).expect("written");
    match maven::libraries(&pom, &target) {
        Ok(libraries) => Some(libraries),
        Err(why) => {
            let required = std::env::var_os("FLUMEN_REQUIRE_PEERS").is_some_and(|value| value == "1");
            assert!(!required, "FLUMEN_REQUIRE_PEERS=1, and {why}");
            println!("skipped: {why}");
            None
        }
    }
}

fn java(folder: &Path, libraries: &Path, class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(JAVA).arg("-Dzookeeper.admin.enableServer=false");
    command.arg(format!("-Dlog4j.configuration=file:{}", folder.join("log4j.properties").display()));
    command.arg("-cp").arg(format!("{}/*", libraries.display())).arg(class).stdin(Stdio::null());
    command
}

/// Runs `java` beside a shell that kills it when its input ends, and then removes `folder` unless it shall be kept.
fn guarded(java: &Command, folder: &Path, log: &str) -> Child {
    let log = fs::File::create(folder.join(log)).expect("a log");
    let words: Vec<_> =
        std::iter::once(java.get_program()).chain(java.get_args()).map(ToOwned::to_owned).collect();
    let watch = "folder=$0; \"$@\" & pid=$!; read _; kill -9 $pid; wait; [ -e \"$folder/keep\" ] || rm -rf \"$folder\"";
    let mut command = Command::new("sh");
    command.args(["-c", watch]).arg(folder).args(words).stdin(Stdio::piped());
    command.stdout(log.try_clone().expect("a log")).stderr(log).spawn().expect("a shell")
}

impl Broker {
    /// Formats a new one and starts it.
    pub fn start() -> Option<Self> {
        let mut broker = Self::new(1)?;
        broker.configure(Quorum::Controller(free_port()), "");
        broker.format();
        broker.run();
        Some(broker)
    }

    /// One that listens with TLS too, and whose user may log in by SCRAM.
    pub fn start_with_tls() -> Option<Self> {
        let mut broker = Self::new(1)?;
        broker.make_stores();
        let [scram, certificate] = broker.secure;
        let listeners = format!("SCRAM://127.0.0.1:{scram},CERTIFICATE://127.0.0.1:{certificate}");
        let module = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
        let stores = format!(
            "ssl.keystore.location={}\nssl.keystore.password={STORE_PASSWORD}\nssl.key.password={STORE_PASSWORD}\n\
             ssl.truststore.location={}\nssl.truststore.type=PEM\n",
            broker.path("server.p12").display(),
            broker.path("client.pem").display()
        );
        let more = format!(
            "{stores}listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512\n\
             listener.name.scram.scram-sha-256.sasl.jaas.config={module}\n\
             listener.name.scram.scram-sha-512.sasl.jaas.config={module}\n\
             listener.name.certificate.ssl.client.auth=required\n"
        );
        broker.configure_with(Quorum::Controller(free_port()), &listeners, &more);
        broker.format();
        broker.run();
        Some(broker)
    }

    /// Keys of the server's and of a client's, each with a store of those whom they are for.
    fn make_stores(&self) {
        let keytool = |words: &[&str]| {
            let made =
                Command::new("keytool").current_dir(&self.folder).args(words).output().expect("keytool runs");
            let said = [made.stdout, made.stderr].concat();
            assert!(made.status.success(), "{words:?}: {}", String::from_utf8_lossy(&said));
        };
        let password = ["-storepass", STORE_PASSWORD];
        for (name, kind, algorithm, key_password) in
            [("server", "PKCS12", "EC", STORE_PASSWORD), ("client", "JKS", "RSA", KEY_PASSWORD)]
        {
            let store = match kind {
                "JKS" => format!("{name}.jks"),
                _ => format!("{name}.p12"),
            };
            let pem = format!("{name}.pem");
            let new = ["-genkeypair", "-alias", name, "-keyalg", algorithm, "-dname", &format!("CN={name}")];
            let more =
                ["-ext", "san=ip:127.0.0.1", "-validity", "3650", "-keystore", &store, "-storetype", kind];
            keytool(&[&new[..], &more, &password, &["-keypass", key_password]].concat());
            let export = ["-exportcert", "-rfc", "-alias", name, "-keystore", &store, "-file", &pem];
            keytool(&[&export[..], &password].concat());
        }
        let import = ["-importcert", "-noprompt", "-alias", "server", "-file", "server.pem"];
        keytool(&[&import[..], &["-keystore", "trust.jks", "-storetype", "JKS"], &password].concat());
    }

    /// Two brokers, each with a copy of the groups' offsets. The first is the controller: the second may be killed.
    pub fn start_two() -> Option<[Self; 2]> {
        let quorum = Quorum::Controller(free_port());
        let mut brokers = [Self::new(1)?, Self::new(2)?];
        for broker in &mut brokers {
            broker.configure(quorum, "offsets.topic.replication.factor=2\n");
            broker.format();
            broker.run();
        }
        Some(brokers)
    }

    /// An old broker with its ZooKeeper.
    pub fn start_with_zookeeper() -> Option<Self> {
        let mut broker = Self::of(OLD, 1)?;
        let port = free_port();
        broker.configure(Quorum::ZooKeeper(port), "");
        let mut zookeeper =
            java(&broker.folder, &broker.libraries, "org.apache.zookeeper.server.ZooKeeperServerMain");
        zookeeper.arg(port.to_string()).arg(broker.path("zookeeper"));
        let child = guarded(&zookeeper, &broker.folder, "zookeeper.log");
        broker.zookeeper = Some((port, child));
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let said = fs::read_to_string(broker.path("zookeeper.log")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(120), "ZooKeeper did not start: {said}");
            std::thread::sleep(Duration::from_millis(50));
        }
        broker.run();
        Some(broker)
    }

    fn new(node: u8) -> Option<Self> {
        Self::of(KAFKA, node)
    }

    fn of(version: &str, node: u8) -> Option<Self> {
        let libraries = libraries(version)?;
        let folder = tempfile::Builder::new().prefix("flumen-kafka-").tempdir().expect("a directory").keep();
        let (port, guarded) = (free_port(), free_port());
        let secure = [free_port(), free_port()];
        Some(Self { node, port, guarded, secure, folder, libraries, child: None, zookeeper: None })
    }

    fn format(&self) {
        let formatted = java(&self.folder, &self.libraries, "kafka.tools.StorageTool")
            .args(["format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c"])
            .arg(self.path("server.properties"))
            .args(["SCRAM-SHA-256", "SCRAM-SHA-512"].iter().flat_map(|mechanism| {
                let (user, password) = LOGIN;
                ["--add-scram".to_string(), format!("{mechanism}=[name={user},password={password}]")]
            }))
            .output()
            .expect("java runs");
        assert!(formatted.status.success(), "{}", String::from_utf8_lossy(&formatted.stderr));
    }

    /// ZooKeeper's port.
    pub fn zookeeper(&self) -> u16 {
        self.zookeeper.as_ref().expect("it has one").0
    }

    /// `host:port`.
    pub fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// `host:port` where clients need the login of [`LOGIN`].
    pub fn guarded_servers(&self) -> String {
        format!("127.0.0.1:{}", self.guarded)
    }

    /// The port for clients with TLS and that login, by SCRAM, and that for clients with TLS and a certificate.
    pub fn secure_ports(&self) -> [u16; 2] {
        self.secure
    }

    /// A file of the broker's.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn configure(&self, quorum: Quorum, more: &str) {
        self.configure_with(quorum, "", more);
    }

    fn configure_with(&self, quorum: Quorum, listeners: &str, more: &str) {
        let Self { node, port, guarded, .. } = self;
        let (user, password) = LOGIN;
        let separated = if listeners.is_empty() { "" } else { "," };
        let listeners =
            format!("PLAINTEXT://127.0.0.1:{port},GUARDED://127.0.0.1:{guarded}{separated}{listeners}");
        let quorum = match quorum {
            Quorum::Controller(controller) => {
                let (roles, own) = match node {
                    1 => ("broker,controller", format!(",CONTROLLER://127.0.0.1:{controller}")),
                    _ => ("broker", String::new()),
                };
                format!(
                    "process.roles={roles}\nnode.id={node}\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
                     controller.listener.names=CONTROLLER\nlisteners={listeners}{own}\n\
                     broker.session.timeout.ms=3000\nbroker.heartbeat.interval.ms=500\n"
                )
            }
            Quorum::ZooKeeper(zookeeper) => {
                format!("broker.id={node}\nzookeeper.connect=127.0.0.1:{zookeeper}\nlisteners={listeners}\n")
            }
        };
        let properties = format!(
            "{quorum}advertised.listeners={listeners}\nlog.dirs={}\nnum.partitions=1\n\
             listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,GUARDED:SASL_PLAINTEXT,\
             SCRAM:SASL_SSL,CERTIFICATE:SSL\n\
             listener.name.guarded.sasl.enabled.mechanisms=PLAIN\nlistener.name.guarded.plain.sasl.jaas.config=\
             org.apache.kafka.common.security.plain.PlainLoginModule required user_{user}=\"{password}\";\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
             transaction.state.log.num.partitions=1\ngroup.initial.rebalance.delay.ms=0\ngroup.min.session.timeout.ms=1000\n\
             log.cleaner.enable=false\ncontrolled.shutdown.enable=false\n{more}",
            self.path("logs").display()
        );
        fs::write(self.path("server.properties"), properties).expect("written");
        let logging = "log4j.rootLogger=INFO, out\nlog4j.appender.out=org.apache.log4j.ConsoleAppender\n\
                       log4j.appender.out.layout=org.apache.log4j.PatternLayout\n\
                       log4j.appender.out.layout.ConversionPattern=%d %p %c: %m%n\n";
        fs::write(self.path("log4j.properties"), logging).expect("written");
    }

    /// Starts it on its files, as they are.
    pub fn run(&mut self) {
        self.kill();
        let mut java = java(&self.folder, &self.libraries, "kafka.Kafka");
        java.arg(self.path("server.properties"));
        self.child = Some(guarded(&java, &self.folder, "log"));
        let begun = Instant::now();
        // In words of each kind's own, but that ends both.
        while !self.log().contains("[KafkaServer id=1] started")
            && !self.log().contains("Kafka Server started")
        {
            assert!(begun.elapsed() < Duration::from_secs(120), "Kafka did not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Topics that are not there stay so, from its next start on.
    pub fn refuse_new_topics(&self) {
        let path = self.path("server.properties");
        let properties = fs::read_to_string(&path).expect("written before");
        fs::write(path, properties + "auto.create.topics.enable=false\n").expect("written");
    }

    /// What it says.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Kills it; its files stay.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            fs::write(self.path("keep"), "").expect("written");
            drop(child.stdin.take());
            child.wait().expect("waited for");
            fs::remove_file(self.path("keep")).expect("removed");
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let zookeeper = self.zookeeper.take().map(|(_, child)| child);
        for mut child in self.child.take().into_iter().chain(zookeeper) {
            drop(child.stdin.take());
            let _ended = child.wait();
        }
        // The shell of a broker that was killed before kept them.
        let _removed = fs::remove_dir_all(&self.folder);
    }
}
