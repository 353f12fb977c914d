//! `flumen-bench agent|channel|drain|restart|wire|loghub|hdfs|kafka|object-store|append|latency|growth [--option value]...`, from the repository's root. `bench/run` builds what is needed.

use std::process::ExitCode;

use flumen_bench::failure::Failure;
use flumen_bench::options::Options;
use flumen_bench::ours::Ours;
use flumen_bench::raw::Raw;
use flumen_bench::{agent, append, channel, drain, growth, latency, loghub, restart, table, wire};

const USAGE: &str = "usage: flumen-bench agent|channel|drain|restart|wire|loghub|hdfs|kafka|object-store|append|latency|growth [--option value]...";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let done = match command.as_str() {
        "agent" => Options::parse(words, agent::OPTIONS).and_then(|options| agent::run(&options)),
        "channel" => Options::parse(words, channel::OPTIONS).and_then(|options| channel::run(&options)),
        "drain" => Options::parse(words, drain::OPTIONS).and_then(|options| drain::run(&options)),
        "restart" => Options::parse(words, restart::OPTIONS).and_then(|options| restart::run(&options)),
        "wire" => Options::parse(words, wire::OPTIONS).and_then(|options| wire::run(&options)),
        "loghub" => Options::parse(words, loghub::OPTIONS).and_then(|options| loghub::run(&options)),
        #[cfg(feature = "hdfs")]
        "hdfs" => Options::parse(words, flumen_bench::hdfs::OPTIONS)
            .and_then(|options| flumen_bench::hdfs::run(&options)),
        #[cfg(feature = "kafka")]
        "kafka" => Options::parse(words, flumen_bench::kafka::OPTIONS)
            .and_then(|options| flumen_bench::kafka::run(&options)),
        #[cfg(feature = "object-store")]
        "object-store" => Options::parse(words, flumen_bench::object_store::OPTIONS)
            .and_then(|options| flumen_bench::object_store::run(&options)),
        "append" => Options::parse(words, append::OPTIONS)
            .and_then(|options| append::run(&[&Ours::URING, &Ours::STD], &options)),
        "growth" => Options::parse(words, growth::OPTIONS).and_then(|options| growth::run(&options)),
        growth::point::COMMAND => {
            Options::parse(words, growth::point::OPTIONS).and_then(|options| growth::point::run(&options))
        }
        "table" => Options::parse(words, table::OPTIONS).and_then(|options| table::run(&options)),
        #[cfg(feature = "plots")]
        "plots" => Options::parse(words, flumen_bench::plots::OPTIONS)
            .and_then(|options| flumen_bench::plots::run(&options)),
        "latency" => Options::parse(words, latency::OPTIONS)
            .and_then(|options| latency::run(&[&Ours::URING, &Ours::STD, &Raw], &options)),
        _ => Err(Failure(USAGE.into())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("flumen-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}
