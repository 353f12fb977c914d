//! `flumen oss recover`: completes what a killed agent left in an object store, with the flags of `jindo jfs -recover`.
//!
//! ```text
//! flumen oss recover [-R] [-flushStagingPath P] [-accessKeyId ID] [-accessKeySecret S] [--dry-run] oss://bucket/path
//! ```
//!
//! A sink does this by itself when it starts; this is for an agent that will not start again. Secrets are taken from
//! core-site.xml and the environment, and `-accessKeySecret -` reads one from stdin: what stands in a command line everybody on
//! the machine can read. The code is 1 if anything could not be recovered.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use flumen_api::settings::Process;
use flumen_sinks::objects::recover::{Kind, Options, Recovered, recover};

use super::progress::Progress;
use crate::exit::Exit;

/// `flumen oss`
#[derive(Debug, Args)]
pub struct OssArguments {
    #[command(subcommand)]
    command: OssCommand,
}

#[derive(Debug, Subcommand)]
enum OssCommand {
    /// Complete the files that a killed agent left staged in an object store. Stop the agent first.
    Recover(RecoverArguments),
}

#[derive(Debug, Args)]
struct RecoverArguments {
    /// The file, or with -R the folder: oss://bucket/path, or s3://, gs://, abfs://.
    path: String,
    /// All files below the path.
    #[arg(short = 'R', long = "recursive")]
    recursive: bool,
    /// Where flushed data is staged; default as of the sink: core-site.xml's, else /tmp.
    #[arg(long = "flushStagingPath", value_name = "P")]
    staging: Option<String>,
    /// Id of the access key; default: core-site.xml, the environment (ALIBABA_CLOUD_ACCESS_KEY_ID), the machine's role.
    #[arg(long = "accessKeyId", value_name = "ID")]
    id: Option<String>,
    /// Its secret; `-` reads it from stdin.
    #[arg(long = "accessKeySecret", value_name = "S", allow_hyphen_values = true, requires = "id")]
    secret: Option<String>,
    /// Host of the store; default: core-site.xml (fs.oss.endpoint), the environment (OSS_ENDPOINT).
    #[arg(long)]
    endpoint: Option<String>,
    /// Its region, where the endpoint does not say it.
    #[arg(long)]
    region: Option<String>,
    /// Throw away all uploads that nobody completes, those of other programs to the path too.
    #[arg(long)]
    abort_uploads: bool,
    /// Say what would be done, and change nothing.
    #[arg(long)]
    dry_run: bool,
    /// Directory of core-site.xml.
    #[arg(short = 'c', long = "conf", value_name = "DIR")]
    conf: Option<PathBuf>,
}

/// Does what the arguments say.
pub fn run(arguments: &OssArguments) -> Exit {
    let OssCommand::Recover(arguments) = &arguments.command;
    match recover_all(arguments) {
        Ok(true) => Exit::Clean,
        Ok(false) => Exit::Fatal,
        Err(why) => {
            eprintln!("flumen oss recover: {why}");
            Exit::Fatal
        }
    }
}

/// Whether everything that was found is recovered.
fn recover_all(arguments: &RecoverArguments) -> Result<bool, String> {
    let options = Options {
        is_folder: arguments.recursive,
        is_dry: arguments.dry_run,
        aborts_uploads: arguments.abort_uploads,
        staging: arguments.staging.clone(),
        access_key_id: arguments.id.clone(),
        access_key_secret: secret(arguments.secret.as_deref())?.map(|text| text.as_str().into()),
        endpoint: arguments.endpoint.clone(),
        region: arguments.region.clone(),
        process: process(arguments)?,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot start threads: {error}"))?;
    let mut progress = Progress::new(io::stderr().is_terminal(), "files");
    let mut files = 0;
    let mut tell = |_: &Recovered, all: usize| {
        if files == 0 {
            progress.expect(all as u64);
        }
        files += 1;
        progress.read(1);
        progress.show(files);
    };
    let done = runtime.block_on(recover(&arguments.path, &options, &mut tell))?;
    if files > 0 {
        progress.end(files);
    }
    for one in &done {
        println!("{}", line(one, arguments.dry_run));
    }
    if done.is_empty() {
        println!("nothing is staged below {}", arguments.path);
    }
    Ok(done.iter().all(|one| one.failed.is_none()))
}

fn line(one: &Recovered, is_dry: bool) -> String {
    let Recovered { key, kind, failed } = one;
    match (kind, failed, is_dry) {
        (Kind::File(_), Some(why), _) => format!("{key}: not recovered: {why}"),
        (Kind::File(0), None, true) => format!("{key}: nothing was flushed; would be thrown away"),
        (Kind::File(bytes), None, true) => format!("{key}: {bytes} bytes would be recovered"),
        (Kind::File(0), None, false) => format!("{key}: nothing was flushed; thrown away"),
        (Kind::File(bytes), None, false) => format!("{key}: {bytes} bytes recovered"),
        (Kind::Upload { .. }, Some(why), _) => {
            format!("{key}: an upload that nobody completes is not thrown away: {why}")
        }
        (Kind::Upload { is_left: true }, None, _) => {
            format!("{key}: an upload that nobody completes is left; `--abort-uploads` throws it away")
        }
        (Kind::Upload { .. }, None, true) => {
            format!("{key}: an upload that nobody completes would be thrown away")
        }
        (Kind::Upload { .. }, None, false) => {
            format!("{key}: an upload that nobody completes is thrown away")
        }
    }
}

fn secret(said: Option<&str>) -> Result<Option<String>, String> {
    match said {
        Some("-") => {
            let mut line = String::new();
            io::stdin().lock().read_line(&mut line).map_err(|error| format!("cannot read stdin: {error}"))?;
            match line.trim() {
                "" => Err("there is no secret on stdin".into()),
                line => Ok(Some(line.to_string())),
            }
        }
        Some(text) => {
            eprintln!(
                "flumen oss recover: others on this machine can read a secret in a command line; `-accessKeySecret -` takes it \
                 from stdin"
            );
            Ok(Some(text.to_string()))
        }
        None => Ok(None),
    }
}

fn process(arguments: &RecoverArguments) -> Result<Process, String> {
    let mut process = Process {
        variables: Arc::new(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        ),
        ..Process::default()
    };
    if let Some(conf) = &arguments.conf {
        let conf = conf.to_str().ok_or_else(|| format!("{}: is not UTF-8", conf.display()))?;
        process.system = Arc::new([("flume.conf.dir".to_string(), conf.to_string())].into());
    }
    Ok(process)
}
