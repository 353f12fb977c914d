//! `fio`, where it is installed, doing the ceiling's writes: a check of our own loop by a program that others trust.
//!
//! ```text
//!   fio --rw=write --direct=1 --sync=dsync --ioengine=io_uring --bs=<bytes> --iodepth=<depth> into 256 MiB written before
//! ```

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::Ceiling;
use crate::failure::{Context, Failure};

/// Writes a second that fio makes of the ceiling's size and depth; `None` where there is no fio.
pub fn writes_per_s(directory: &Path, like: &Ceiling, time: Duration) -> Result<Option<f64>, Failure> {
    let output = Command::new("fio")
        .args(["--name=ceiling", "--rw=write", "--direct=1", "--sync=dsync", "--ioengine=io_uring"])
        .args(["--size=256m", "--overwrite=1", "--unlink=1", "--output-format=json", "--time_based=1"])
        .arg(format!("--runtime={}ms", time.as_millis().max(1)))
        .arg(format!("--bs={}", like.write_bytes))
        .arg(format!("--iodepth={}", like.depth))
        .arg(format!("--directory={}", directory.display()))
        .stdin(Stdio::null())
        .output();
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.context(|| "start fio".into())?,
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure(format!("fio ended with {}: {}", output.status, said.trim())));
    }
    iops(&output.stdout).map(Some)
}

fn iops(said: &[u8]) -> Result<f64, Failure> {
    // Warnings may stand before the JSON.
    let begin = said.iter().position(|byte| *byte == b'{').unwrap_or(0);
    let json: serde_json::Value =
        serde_json::from_slice(&said[begin..]).context(|| "what fio said".into())?;
    json["jobs"][0]["write"]["iops"].as_f64().ok_or_else(|| Failure("fio named no writes a second".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figure_is_found_behind_a_warning() {
        let said = br#"fio: this is a note
            { "fio version": "fio-3.33", "jobs": [{ "jobname": "ceiling", "write": { "iops": 8123.5 } }] }"#;
        assert_eq!(iops(said).unwrap(), 8123.5);
        iops(b"nothing").unwrap_err();
        iops(b"{}").unwrap_err();
    }
}
