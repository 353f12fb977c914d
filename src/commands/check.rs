//! `flumen check`: all problems of a configuration at once, nothing opened and nothing written.
//!
//! Types that are announced and not built yet are checked as if they were, with a warning: the file is right, and a later
//! version runs it.
//!
//! ```text
//! flume.conf:12: error: a1.sinks.k1.batchSize: 0 is below the smallest allowed, 1
//! 1 error, 0 warnings
//! ```

use std::sync::Arc;

use flumen_api::registry::Registry;
use flumen_api::settings::{Problem, Severity};
use flumen_engine::config::{self, ConfigFile, Environment, Properties};

use crate::cli::CheckArguments;
use crate::exit::Exit;

/// Checks what the arguments name and prints what is wrong.
pub fn run(arguments: &CheckArguments, registry: &Registry) -> Exit {
    if let Some(refusal) = arguments.config.refusal() {
        eprintln!("flumen check: {refusal}");
        return Exit::Usage;
    }
    let mut contents = Vec::new();
    let mut problems = Vec::new();
    for argument in &arguments.config.files {
        let read = ConfigFile::from_argument(argument)
            .map_err(|message| (argument.clone(), message))
            .and_then(|file| file.read().map_err(|error| (argument.clone(), error.to_string())));
        match read {
            Ok(content) => contents.push(content),
            Err((key, message)) => {
                problems.push(Problem { severity: Severity::Error, key, place: None, message });
            }
        }
    }
    let properties = Properties::merge(&contents, &Environment::of_process(arguments.config.definitions()));
    let mut agents: Vec<&str> = properties.agents();
    if let Some(name) = &arguments.name {
        agents = vec![name];
    } else if agents.is_empty() {
        // The plan of any name says that there is none.
        agents = vec!["(no agent)"];
    }
    // With a file missing, what the others lack says nothing.
    if problems.is_empty() {
        for agent in &agents {
            for problem in config::check(&properties, agent, registry).0 {
                // What is wrong with the file as a whole is in every agent's plan.
                if !problems.contains(&problem) {
                    problems.push(problem);
                }
            }
        }
    }
    let order: Vec<Arc<str>> = contents.iter().map(|content| content.name.clone()).collect();
    problems.sort_by_key(|problem| {
        let place = problem.place.as_ref();
        let file = place.and_then(|(file, _)| order.iter().position(|name| name == file));
        (file.unwrap_or(usize::MAX), place.map_or(u32::MAX, |(_, line)| *line), problem.key.clone())
    });
    for problem in &problems {
        println!("{problem}");
    }
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error).count();
    println!("{}, {}", counted(errors, "error"), counted(problems.len() - errors, "warning"));
    if errors == 0 { Exit::Clean } else { Exit::Configuration }
}

fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
