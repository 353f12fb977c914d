//! The input of the agent's benches: access-log lines of 178 bytes, newline included, the same on every machine.
//!
//! Each line holds its number, so that a lost, repeated or misplaced line changes the output.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use crate::failure::{Context, Failure};

/// Bytes of a line with its newline.
pub const LINE_BYTES: u64 = 178;

/// Writes and syncs `lines` lines.
pub fn generate(path: &Path, lines: u64) -> Result<(), Failure> {
    let what = || format!("write {}", path.display());
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).context(what)?);
    for number in 0..lines {
        out.write_all(&line(number)).context(what)?;
    }
    out.into_inner().context(what)?.sync_all().context(what)
}

fn line(number: u64) -> [u8; LINE_BYTES as usize] {
    let mix = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let text = format!(
        "10.{}.{}.{} - - [15/Oct/2024:{:02}:{:02}:{:02} +0000] \"GET /shop/item/{number:010} HTTP/1.1\" 200 {:05} \
         \"https://www.example.com/\" \"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101\"",
        mix >> 56,
        mix >> 48 & 255,
        mix >> 40 & 255,
        number / 3_600_000 % 24,
        number / 60_000 % 60,
        number / 1000 % 60,
        mix >> 16 & 0xffff,
    );
    let mut line = [b' '; LINE_BYTES as usize];
    let len = text.len().min(line.len() - 1);
    line[..len].copy_from_slice(&text.as_bytes()[..len]);
    line[LINE_BYTES as usize - 1] = b'\n';
    line
}

/// Bytes in the files of a directory, 0 if it is not there yet.
pub fn bytes_in(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|meta| meta.len()).sum()
}

/// Fails unless the files of `out`, in the order of their numbers, hold exactly the bytes of `input`.
pub fn check_equal(input: &Path, out: &Path) -> Result<(), Failure> {
    let (at, all) = compare(input, out)?;
    match at == all {
        true => Ok(()),
        false => {
            Err(Failure(format!("{}: lines from {} on are missing", out.display(), at / LINE_BYTES + 1)))
        }
    }
}

/// Fails unless they hold whole lines with which `input` begins.
pub fn check_begins(input: &Path, out: &Path) -> Result<(), Failure> {
    let (at, _) = compare(input, out)?;
    match at > 0 && at % LINE_BYTES == 0 {
        true => Ok(()),
        false => Err(Failure(format!("{}: {at} bytes are not whole lines", out.display()))),
    }
}

/// Compares the output with the beginning of the input; the lengths of both.
fn compare(input: &Path, out: &Path) -> Result<(u64, u64), Failure> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(out)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .context(|| format!("list {}", out.display()))?;
    files.sort_by_key(|path| roll_number(path));

    let mut expected = File::open(input).context(|| format!("open {}", input.display()))?;
    let (mut got, mut want) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0u64;
    for path in &files {
        let mut file = File::open(path).context(|| format!("open {}", path.display()))?;
        loop {
            let read = file.read(&mut got).context(|| format!("read {}", path.display()))?;
            if read == 0 {
                break;
            }
            expected.read_exact(&mut want[..read]).context(|| {
                format!("{} holds more than was sent (line {})", path.display(), at / LINE_BYTES + 1)
            })?;
            if let Some(differs) = (0..read).find(|i| got[*i] != want[*i]) {
                let line = (at + differs as u64) / LINE_BYTES + 1;
                return Err(Failure(format!("{}: output differs from line {line} on", path.display())));
            }
            at += read as u64;
        }
    }
    let all = expected.metadata().context(|| format!("look at {}", input.display()))?.len();
    Ok((at, all))
}

/// `<epoch ms>-<n>` as file_roll names its files: order of creation.
fn roll_number(path: &Path) -> (u64, u64) {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mut numbers = name.split('-').map(|word| word.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(parts: &[&[u8]]) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (input, out) = (dir.path().join("input"), dir.path().join("out"));
        generate(&input, 3).unwrap();
        std::fs::create_dir(&out).unwrap();
        for (n, part) in parts.iter().enumerate() {
            std::fs::write(out.join(format!("1700000000000-{}", n + 9)), part).unwrap();
        }
        (dir, input, out)
    }

    #[test]
    fn output_split_over_files_equals_the_input() {
        let all: Vec<u8> = (0..3).flat_map(line).collect();
        let (_dir, input, out) = files(&[&all[..200], &all[200..]]);
        check_equal(&input, &out).unwrap();
    }

    #[test]
    fn a_lost_a_repeated_and_a_changed_line_are_found() {
        let all: Vec<u8> = (0..3).flat_map(line).collect();
        let repeated = [&all[..], &all[356..]].concat();
        let mut changed = all.clone();
        changed[400] ^= 1;
        for bad in [&all[..356], &repeated, &changed] {
            let (_dir, input, out) = files(&[bad]);
            check_equal(&input, &out).unwrap_err();
        }
    }

    #[test]
    fn output_that_stops_early_begins_as_the_input_does() {
        let all: Vec<u8> = (0..3).flat_map(line).collect();
        for (part, good) in
            [(&all[..356], true), (&all[..300], false), (&all[178..356], false), (&[][..], false)]
        {
            let (_dir, input, out) = files(&[part]);
            assert_eq!(check_begins(&input, &out).is_ok(), good);
        }
    }

    #[test]
    fn no_two_lines_are_alike_and_each_keeps_its_number() {
        assert_ne!(line(1), line(2));
        assert!(String::from_utf8(line(1_999_999).to_vec()).unwrap().contains("/0001999999 HTTP"));
    }
}
