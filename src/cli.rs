//! The command line: Flume's commands and options under their own names, and ours beside them.
//!
//! Flume's launcher and its option parser are more lenient than ours; what is written for them is brought into shape by
//! [`rewritten`] first. One command is one file of `commands`, and one line each in [`Command`] and [`main`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use flumen_api::registry::Registry;

use crate::commands;
use crate::exit::Exit;

/// A durable event collector that reads Apache Flume's configuration files.
#[derive(Debug, Parser)]
#[command(name = "flumen", version, disable_version_flag = true, infer_long_args = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an agent.
    #[command(alias = "node", args_override_self = false)]
    Agent(AgentArguments),
    /// Report all problems of a configuration, change nothing, and exit with 78 if one is an error.
    Check(CheckArguments),
    /// Look at a file channel's log, which may be in use, or repair it, which may not.
    Wal(commands::wal::WalArguments),
    /// Look at where the consumer group of a LogHub source stands, or set it elsewhere.
    #[command(name = "loghub")]
    LogHub(commands::loghub::LogHubArguments),
    /// Look after files in an object store.
    #[cfg(feature = "object-store")]
    Oss(commands::oss::OssArguments),
    /// Print the version.
    Version,
    /// Send the lines of a file, of a directory's files or of stdin to an avro source.
    AvroClient(commands::avro_client::AvroClientArguments),
    /// Flume's file channel integrity tool (this program's channels do not need it).
    #[command(disable_help_flag = true)]
    Tool(Anything),
}

/// What says which configuration is meant.
#[derive(Debug, Args)]
pub struct ConfigArguments {
    /// Properties file, or `file:` URI; of several, a later one overrides an earlier one key by key.
    #[arg(
        short = 'f',
        long = "conf-file",
        short_alias = 'u',
        visible_alias = "conf-uri",
        value_name = "FILE"
    )]
    pub files: Vec<String>,
    /// Setting for the process, or for `${sys:key}` in the configuration.
    #[arg(short = 'D', value_name = "KEY=VALUE", value_parser = definition)]
    definitions: Vec<(String, String)>,
    /// Directory of flume-env.sh, which the script bin/flume-ng reads.
    #[arg(short = 'c', long = "conf", value_name = "DIR")]
    conf: Option<PathBuf>,
    #[arg(short = 'z', long = "zkConnString", hide = true)]
    zookeeper: Option<String>,
    #[arg(short = 'p', long = "zkBasePath", hide = true)]
    zookeeper_path: Option<String>,
    #[arg(short = 'a', long = "auth-provider", hide = true)]
    auth_provider: Option<String>,
    #[arg(long = "conf-provider", hide = true)]
    provider: Option<String>,
    #[arg(long = "conf-user", hide = true)]
    user: Option<String>,
    #[arg(long = "conf-password", hide = true)]
    password: Option<String>,
    #[arg(short = 'C', long = "classpath", hide = true)]
    classpath: Option<String>,
    #[arg(long = "plugins-path", hide = true)]
    plugins: Option<String>,
}

/// `flumen agent`
#[derive(Debug, Args)]
pub struct AgentArguments {
    /// Name of the agent to run, as its keys in the configuration begin.
    #[arg(short = 'n', long = "name", value_name = "NAME")]
    pub name: String,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArguments,
    /// Do not watch the configuration for changes (SIGHUP still reads it again).
    #[arg(long)]
    pub no_reload_conf: bool,
    /// Seconds between looks at the configuration.
    #[arg(short = 'i', long = "poll-interval", value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub poll_interval: u64,
    /// Keep the last configuration there, and start from it when the files cannot be read.
    #[arg(short = 'b', long = "backup-directory", value_name = "DIR")]
    pub backup_directory: Option<PathBuf>,
    /// Start beside files of Flume's own in a channel's directories; the events in them are not read.
    #[arg(long)]
    pub ignore_flume_data: bool,
}

/// `flumen check`
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Check this agent only; without it, all agents of the configuration.
    #[arg(short = 'n', long = "name", value_name = "NAME")]
    pub name: Option<String>,
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigArguments,
    #[arg(long, hide = true)]
    no_reload_conf: bool,
    #[arg(short = 'i', long = "poll-interval", hide = true)]
    poll_interval: Option<u64>,
    #[arg(short = 'b', long = "backup-directory", hide = true)]
    backup_directory: Option<PathBuf>,
    #[arg(long, hide = true)]
    ignore_flume_data: bool,
}

/// Arguments of a command that only answers with advice.
#[derive(Debug, Args)]
struct Anything {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _arguments: Vec<OsString>,
}

impl ConfigArguments {
    /// What `-D` set; of two equal keys the later wins, as in Java. What `--conf` named is `flume.conf.dir`: Flume has that
    /// directory on its class path, where Hadoop finds its files.
    pub fn definitions(&self) -> BTreeMap<String, String> {
        let mut definitions: BTreeMap<String, String> = self.definitions.iter().cloned().collect();
        if let Some(conf) = self.conf.as_ref().and_then(|conf| conf.to_str()) {
            definitions.entry("flume.conf.dir".into()).or_insert_with(|| conf.into());
        }
        definitions
    }

    /// Why the options cannot be followed, if they cannot.
    pub fn refusal(&self) -> Option<String> {
        let zookeeper = self.zookeeper.as_ref().or(self.zookeeper_path.as_ref());
        if zookeeper.is_some() {
            return Some(
                "-z/-p: configurations are not read from ZooKeeper; write the node's data to a file (zkCli.sh get) and \
                 name that with -f"
                    .into(),
            );
        }
        if self.provider.is_some() {
            return Some("--conf-provider: a Java class cannot be run; name a file with -f".into());
        }
        if self.auth_provider.is_some() || self.user.is_some() || self.password.is_some() {
            return Some(
                "--auth-provider, --conf-user, --conf-password: configurations are not fetched over HTTP; fetch it to a \
                 file and name that with -f"
                    .into(),
            );
        }
        self.files.is_empty().then(|| "no configuration: name one with -f FILE".into())
    }

    /// Options that are accepted and change nothing, each with why.
    pub fn ignored(&self) -> Vec<&'static str> {
        let mut ignored = Vec::new();
        if self.classpath.is_some() {
            ignored.push("--classpath is ignored: there are no Java classes to find");
        }
        if self.plugins.is_some() {
            ignored.push("--plugins-path is ignored: Java plug-ins cannot be run");
        }
        if self.definitions.iter().any(|(key, _)| key == "lookups") {
            ignored.push(
                "-Dlookups is ignored: ${env:…}, ${sys:…} and ${date:…} are always there, others never",
            );
        }
        ignored
    }
}

/// Runs the command line of this process.
pub fn main(registry: Registry) -> Exit {
    let cli = match Cli::try_parse_from(rewritten(std::env::args_os().collect())) {
        Ok(cli) => cli,
        Err(error) => {
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Where neither stdout nor stderr can be written there is nobody to tell.
            let _nobody = error.print();
            return if asked_for { Exit::Clean } else { Exit::Usage };
        }
    };
    match cli.command {
        Command::Agent(arguments) => commands::agent::run(&arguments, registry),
        Command::Check(arguments) => commands::check::run(&arguments, &registry),
        Command::Wal(arguments) => commands::wal::run(&arguments),
        Command::LogHub(arguments) => commands::loghub::run(&arguments, &registry),
        #[cfg(feature = "object-store")]
        Command::Oss(arguments) => commands::oss::run(&arguments),
        Command::Version => commands::version::run(),
        Command::AvroClient(arguments) => commands::avro_client::run(&arguments),
        Command::Tool(_) => commands::advice::tool(),
    }
}

/// `key=value`, or `key` alone, which Java sets to the empty text.
pub fn definition(text: &str) -> Result<(String, String), String> {
    match text.split_once('=').unwrap_or((text, "")) {
        ("", _) => Err("a key is missing before the =".into()),
        (key, value) => Ok((key.into(), value.into())),
    }
}

/// The arguments with long options after a single `-` (`-name a1`, `-conf-file f`, `-prov C`), which Flume's parser takes,
/// in the form that ours takes.
fn rewritten(arguments: Vec<OsString>) -> Vec<OsString> {
    const LONG: &[(&str, &str)] = &[
        ("name", "--name"),
        ("conf", "--conf"),
        ("conf-file", "--conf-file"),
        ("conf-uri", "--conf-uri"),
        ("conf-user", "--conf-user"),
        ("conf-password", "--conf-password"),
        ("conf-provider", "--conf-provider"),
        ("prov", "--conf-provider"),
        ("user", "--conf-user"),
        ("pwd", "--conf-password"),
        ("poll-interval", "--poll-interval"),
        ("backup-directory", "--backup-directory"),
        ("no-reload-conf", "--no-reload-conf"),
        ("zkConnString", "--zkConnString"),
        ("zkBasePath", "--zkBasePath"),
        ("auth-provider", "--auth-provider"),
        ("host", "--host"),
        ("port", "--port"),
        ("rpcProps", "--rpcProps"),
        ("filename", "--filename"),
        ("dirname", "--dirname"),
        ("headerFile", "--headerFile"),
        ("flushStagingPath", "--flushStagingPath"),
        ("accessKeyId", "--accessKeyId"),
        ("accessKeySecret", "--accessKeySecret"),
        ("help", "--help"),
    ];
    let rewrite = |argument: OsString| -> OsString {
        let Some(text) = argument.to_str().and_then(|text| text.strip_prefix('-')) else { return argument };
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        match (LONG.iter().find(|(long, _)| *long == name), value) {
            (Some((_, long)), Some(value)) => format!("{long}={value}").into(),
            (Some((_, long)), None) => (*long).into(),
            (None, _) => argument,
        }
    };
    arguments.into_iter().map(rewrite).collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(rewritten(line.split_whitespace().map(OsString::from).collect()))
    }

    fn agent(line: &str) -> AgentArguments {
        match parse(line).unwrap().command {
            Command::Agent(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_declaration_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flumes_command_lines_are_understood() {
        let short =
            agent("flumen agent -n a1 -c conf -f conf/x.conf -Dflume.root.logger=INFO,console -D k=v=w");
        assert_eq!(short.name, "a1");
        assert_eq!(short.config.files, ["conf/x.conf"]);
        let definitions = short.config.definitions();
        assert_eq!(definitions["flume.root.logger"], "INFO,console");
        assert_eq!(definitions["k"], "v=w");
        assert_eq!(definitions["flume.conf.dir"], "conf");

        let long = agent(
            "flumen node --name a1 --conf conf --conf-file x --conf-uri file:/y --no-reload-conf -i 5 -b /b",
        );
        assert_eq!(long.config.files, ["x", "file:/y"]);
        assert!(long.no_reload_conf);
        assert_eq!((long.poll_interval, long.backup_directory), (5, Some("/b".into())));

        let single_dash = agent("flumen agent -name a1 -conf-file x -conf conf");
        assert_eq!(
            (single_dash.name.as_str(), &single_dash.config.files[..]),
            ("a1", &["x".to_string()][..])
        );
    }

    #[test]
    fn what_cannot_be_followed_is_refused_with_advice() {
        let refusal = |line: &str| agent(line).config.refusal().unwrap();
        assert!(refusal("flumen agent -n a -z zk:2181 -p /flume").contains("ZooKeeper"));
        assert!(refusal("flumen agent -n a -prov com.example.P").contains("Java"));
        assert!(refusal("flumen agent -n a -user u -pwd p -u http://h/").contains("HTTP"));
        assert!(refusal("flumen agent -n a").contains("-f FILE"));
        assert_eq!(agent("flumen agent -n a -f x").config.refusal(), None);
    }

    #[test]
    fn avro_client_takes_flumes_options() {
        for line in [
            "flumen avro-client -H h -p 1",
            "flumen avro-client --host h --port 1 -F file -R headers --conf conf",
            "flumen avro-client -P rpc.properties --dirname in -Djavax.net.ssl.trustStore=x",
            "flumen avro-client -host h -port 1 -filename f -headerFile r",
        ] {
            assert!(matches!(parse(line).unwrap().command, Command::AvroClient(_)), "{line}");
        }
        for line in [
            "flumen avro-client -H h",
            "flumen avro-client -p 1",
            "flumen avro-client -H h -p 1 -F f --dirname d",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[cfg(feature = "object-store")]
    #[test]
    fn recovering_takes_jindos_options() {
        for line in [
            "flumen oss recover oss://b/f",
            "flumen oss recover -R -flushStagingPath /stage -accessKeyId id -accessKeySecret s oss://b/d",
            "flumen oss recover -accessKeyId id -accessKeySecret - --dry-run oss://b/f",
        ] {
            assert!(matches!(parse(line).unwrap().command, Command::Oss(_)), "{line}");
        }
        assert!(parse("flumen oss recover -accessKeySecret s oss://b/f").is_err(), "a secret of nobody");
    }

    #[test]
    fn usage_errors_are_errors() {
        for line in [
            "flumen",
            "flumen agent -f x",
            "flumen agent -n a -f x -i 0",
            "flumen agent -n a -f x --nonsense",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
