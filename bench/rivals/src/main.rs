//! `flumen-bench-rivals append|latency [--option value]...`: ours and rivals side by side in one run.

use std::process::ExitCode;

use flumen_bench::contender::Contender;
use flumen_bench::failure::Failure;
use flumen_bench::options::Options;
use flumen_bench::ours::Ours;
use flumen_bench::raw::Raw;
use flumen_bench::{append, latency};

mod fjall_journal;
mod okaywal;
mod plain;
mod raft;
mod tokio_ring;

use fjall_journal::Fjall;
use okaywal::OkayWal;
use plain::Plain;
use raft::RaftEngine;
use tokio_ring::TokioUring;

const OKAYWAL: OkayWal = OkayWal { segment_bytes: 1 << 20, name: "okaywal 0.3" };
const OKAYWAL_LARGE: OkayWal = OkayWal { segment_bytes: 32 << 20, name: "okaywal 0.3, 32 MiB segments" };

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    let mut contenders: Vec<&dyn Contender> =
        vec![&Ours::URING, &Ours::STD, &OKAYWAL, &OKAYWAL_LARGE, &RaftEngine, &Fjall, &Plain, &TokioUring];
    let done = match command.as_str() {
        "append" => {
            Options::parse(words, append::OPTIONS).and_then(|options| append::run(&contenders, &options))
        }
        "latency" => {
            contenders.push(&Raw);
            Options::parse(words, latency::OPTIONS).and_then(|options| latency::run(&contenders, &options))
        }
        _ => Err(Failure("usage: flumen-bench-rivals append|latency [--option value]...".into())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("flumen-bench-rivals: {failure}");
            ExitCode::FAILURE
        }
    }
}
