//! `flumen loghub`: where the consumer group of a LogHub source stands, and setting it elsewhere.
//!
//! ```text
//! flumen loghub status -n a1 -f flume.conf                  a line a shard: checkpoint, its time, how far behind, whose
//! flumen loghub reset -n a1 -f flume.conf --to begin        every shard, or those that --shard names
//! ```
//!
//! Whom to ask and as whom stands in the agent's configuration: no secret is on the command line. `reset` changes the service's
//! checkpoints alone, while no member of the group runs: a running one sets its own again.

use std::future::Future;
use std::sync::Arc;

use clap::{Args, Subcommand};
use flumen_api::registry::Registry;
use flumen_api::settings::Problems;
use flumen_engine::config::{self, ConfigFile, Environment, Properties};
use flumen_sls::{Client, Error, Start};
use flumen_sources::loghub::{self, Plan};
use jiff::Timestamp;

use crate::cli::ConfigArguments;
use crate::exit::Exit;

/// `flumen loghub`
#[derive(Debug, Args)]
pub struct LogHubArguments {
    #[command(subcommand)]
    command: LogHubCommand,
}

#[derive(Debug, Subcommand)]
enum LogHubCommand {
    /// Show where the source's consumer group stands in each shard.
    Status {
        #[command(flatten)]
        which: Which,
    },
    /// Set where the group goes on. No agent of the group may be running.
    Reset {
        #[command(flatten)]
        which: Which,
        /// Where to: `begin`, `end`, seconds since 1970, or a time such as 2026-01-31T08:00:00+08:00.
        #[arg(long, value_name = "PLACE", value_parser = place)]
        to: Start,
        /// These shards only.
        #[arg(long = "shard", value_name = "NUMBER")]
        shards: Vec<u32>,
        /// Say what would be done, and change nothing.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Args)]
struct Which {
    /// The agent.
    #[arg(short = 'n', long = "name", value_name = "NAME")]
    agent: String,
    /// The LogHub source, if the agent has several.
    #[arg(short = 's', long = "source", value_name = "NAME")]
    source: Option<String>,
    #[command(flatten)]
    config: ConfigArguments,
}

type Failure = (Exit, String);

/// Does what the arguments say.
pub fn run(arguments: &LogHubArguments, registry: &Registry) -> Exit {
    let done = match &arguments.command {
        LogHubCommand::Status { which } => with_plan(which, registry, status),
        LogHubCommand::Reset { which, to, shards, dry_run } => {
            with_plan(which, registry, |plan| reset(plan, *to, shards, *dry_run))
        }
    };
    match done {
        Ok(()) => Exit::Clean,
        Err((exit, why)) => {
            eprintln!("flumen loghub: {why}");
            exit
        }
    }
}

fn with_plan<F>(which: &Which, registry: &Registry, run: impl FnOnce(Arc<Plan>) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let plan = Arc::new(plan(which, registry)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|error| (Exit::Fatal, error.to_string()))?;
    runtime.block_on(run(plan))
}

/// The source that is meant, out of the configuration.
fn plan(which: &Which, registry: &Registry) -> Result<Plan, Failure> {
    if let Some(refusal) = which.config.refusal() {
        return Err((Exit::Usage, refusal));
    }
    let wrong = |why: String| (Exit::Configuration, why);
    let mut contents = Vec::new();
    for argument in &which.config.files {
        let file = ConfigFile::from_argument(argument).map_err(wrong)?;
        contents.push(file.read().map_err(|error| wrong(error.to_string()))?);
    }
    let properties = Properties::merge(&contents, &Environment::of_process(which.config.definitions()));
    let agent = config::plan(&properties, &which.agent, registry);
    let ours = loghub::spec().class_names;
    let is_meant = |name: &str| which.source.as_deref().is_none_or(|source| source == name);
    let mut sources: Vec<_> = agent
        .sources
        .iter()
        .filter(|source| source.spec.class_names == ours && is_meant(&source.config.name))
        .collect();
    match (sources.pop(), sources.is_empty()) {
        (Some(source), true) => {
            let mut problems = Problems::default();
            let words = |problems: &Problems| {
                problems.0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            };
            Plan::from_config(&source.config, &mut problems).ok_or_else(|| wrong(words(&problems)))
        }
        (Some(_), false) => {
            Err((Exit::Usage, "the agent has several LogHub sources: name one with --source".into()))
        }
        (None, _) => {
            let words: Vec<String> = agent.problems.0.iter().map(ToString::to_string).collect();
            let why = if words.is_empty() { String::new() } else { format!(": {}", words.join("; ")) };
            Err(wrong(format!("agent {} has no such LogHub source{why}", which.agent)))
        }
    }
}

fn place(text: &str) -> Result<Start, String> {
    match text {
        "begin" => Ok(Start::Begin),
        "end" => Ok(Start::End),
        _ => match text.parse::<i64>() {
            Ok(seconds) if seconds >= 0 => Ok(Start::Time(seconds)),
            _ => {
                let time: Timestamp = text.parse().map_err(|_no_time| {
                    "begin, end, seconds since 1970, or a time with its zone".to_string()
                })?;
                Ok(Start::Time(time.as_second()))
            }
        },
    }
}

fn failed(error: Error) -> Failure {
    (Exit::Fatal, error.to_string())
}

async fn status(plan: Arc<Plan>) -> Result<(), Failure> {
    let client = Client::new(plan.options.clone());
    let group = &plan.settings.consumer_group;
    let groups = client.groups().await.map_err(failed)?;
    let Some(known) = groups.iter().find(|known| known.name == *group) else {
        println!("consumer group {group}: not there yet");
        return Ok(());
    };
    let order = if known.order { ", in order" } else { "" };
    println!("consumer group {group}: timeout {} s{order}", known.timeout);
    let checkpoints = client.checkpoints(group).await.map_err(failed)?;
    for shard in client.shards().await.map_err(failed)? {
        let known = checkpoints.iter().find(|known| known.shard == shard.id && !known.cursor.is_empty());
        let Some(known) = known else {
            println!("shard {} {}: no checkpoint", shard.id, shard.status);
            continue;
        };
        let end = client.cursor(shard.id, Start::End).await.map_err(failed)?;
        let behind = if end == known.cursor {
            "at the end".to_string()
        } else {
            match client.cursor_time(shard.id, &known.cursor).await {
                Ok(time) => format!(
                    "at {}, {} s behind now",
                    shown(time),
                    (Timestamp::now().as_second() - time).max(0)
                ),
                Err(error) if error.is_cursor_gone() => "its records have expired".to_string(),
                Err(error) => return Err(failed(error)),
            }
        };
        let whose = if known.consumer.is_empty() { "nobody" } else { &known.consumer };
        println!("shard {} {}: {} ({behind}), {whose}", shard.id, shard.status, known.cursor);
    }
    Ok(())
}

fn shown(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(|_far| seconds.to_string(), |time| time.to_string())
}

async fn reset(plan: Arc<Plan>, to: Start, only: &[u32], dry_run: bool) -> Result<(), Failure> {
    let client = Client::new(plan.options.clone());
    let group = &plan.settings.consumer_group;
    let shards = client.shards().await.map_err(failed)?;
    if let Some(unknown) = only.iter().find(|id| !shards.iter().any(|shard| shard.id == **id)) {
        return Err((Exit::Usage, format!("the logstore has no shard {unknown}")));
    }
    let groups = client.groups().await.map_err(failed)?;
    if !groups.iter().any(|known| known.name == *group) {
        return Err((
            Exit::Fatal,
            format!("there is no consumer group {group} yet: consumerPosition says where it begins"),
        ));
    }
    let before = client.checkpoints(group).await.map_err(failed)?;
    for shard in shards.iter().filter(|shard| only.is_empty() || only.contains(&shard.id)) {
        let cursor = client.cursor(shard.id, to).await.map_err(failed)?;
        let old =
            before.iter().find(|known| known.shard == shard.id).map_or("", |known| known.cursor.as_str());
        let old = if old.is_empty() { "nowhere" } else { old };
        let word = if dry_run { " (not done)" } else { "" };
        if !dry_run {
            client.set_checkpoint(group, "flumen-reset", (shard.id, &cursor), true).await.map_err(failed)?;
        }
        println!("shard {}: {old} -> {cursor}{word}", shard.id);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_word_or_a_time() {
        assert_eq!(place("begin"), Ok(Start::Begin));
        assert_eq!(place("1700000000"), Ok(Start::Time(1_700_000_000)));
        assert_eq!(place("2023-11-15T06:13:20+08:00"), Ok(Start::Time(1_700_000_000)));
        for text in ["", "middle", "-5", "2023-11-15"] {
            assert!(place(text).is_err(), "{text}");
        }
    }
}
