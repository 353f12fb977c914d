//! `flumen-bench-rivals [--option value]...`: durable append, ours and rivals side by side in one run.

use std::process::ExitCode;

use flumen_bench::append;
use flumen_bench::options::Options;
use flumen_bench::ours::Ours;

mod okaywal;

use okaywal::OkayWal;

fn main() -> ExitCode {
    let rival = OkayWal { segment_bytes: 1 << 20, name: "okaywal 0.3" };
    let rival_large = OkayWal { segment_bytes: 32 << 20, name: "okaywal 0.3, 32 MiB segments" };
    let done = Options::parse(std::env::args().skip(1), append::OPTIONS)
        .and_then(|options| append::run(&[&Ours::URING, &Ours::STD, &rival, &rival_large], &options));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("flumen-bench-rivals: {failure}");
            ExitCode::FAILURE
        }
    }
}
