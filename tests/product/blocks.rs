//! Output files that come in blocks, Avro containers and compressed ones, under SIGKILL: every file is whole, and all files
//! together are the log, each line once.

use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use apache_avro::Reader;
use apache_avro::types::Value;

use crate::lines::{LINE, Random, assert_exact, lines};
use crate::world::{DURABLE_TAIL, World, eventually};

/// A file's lines, or `None` as long as it is not whole.
type Unpack = fn(&Path) -> Option<Vec<u8>>;

fn avro(path: &Path) -> Option<Vec<u8>> {
    let mut lines = Vec::new();
    for value in Reader::new(BufReader::new(File::open(path).unwrap())).ok()? {
        let Value::Record(fields) = value.ok()? else { panic!("no event") };
        let Some((_, Value::Bytes(body))) = fields.into_iter().find(|(name, _)| name == "body") else {
            panic!("no body")
        };
        lines.extend(body);
        lines.push(b'\n');
    }
    Some(lines)
}

fn gzip(path: &Path) -> Option<Vec<u8>> {
    let mut lines = Vec::new();
    flate2::read::MultiGzDecoder::new(File::open(path).unwrap()).read_to_end(&mut lines).ok()?;
    Some(lines)
}

/// The lines of all files, in the order in which the files were begun.
fn output(directory: &Path, unpack: Unpack) -> Option<Vec<u8>> {
    let mut files: Vec<((u64, u64), PathBuf)> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let (start, number) =
                name.split_once('.').map_or(name, |(name, _)| name).split_once('-').unwrap();
            ((start.parse().unwrap(), number.parse().unwrap()), path)
        })
        .collect();
    files.sort();
    let mut lines = Vec::new();
    for (_, path) in files {
        lines.extend(unpack(&path)?);
    }
    Some(lines)
}

/// Kills an agent again and again while a log grows.
fn killed_while_the_log_grows(keys: &str, unpack: Unpack) {
    let config = DURABLE_TAIL.replace("rollInterval = 0", "rollInterval = 1");
    let world = World::new(&format!("{config}{keys}"));
    let mut random = Random::new();
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (path, stop) = (world.path("in/a.log"), stop.clone());
        std::thread::spawn(move || {
            let mut file = File::options().append(true).create(true).open(path).unwrap();
            let mut number = 0;
            while !stop.load(Ordering::Acquire) {
                file.write_all(&lines(number, number + 200)).unwrap();
                number += 200;
                std::thread::sleep(Duration::from_millis(10));
            }
            number
        })
    };
    for _ in 0..8 {
        let agent = world.start();
        std::thread::sleep(Duration::from_millis(random.below(600)));
        agent.kill();
    }
    let agent = world.start();
    stop.store(true, Ordering::Release);
    let count = writer.join().unwrap();
    let delivered = || output(&world.path("out"), unpack).map_or(0, |lines| lines.len() as u64);
    eventually(|| delivered() >= count * LINE as u64, || format!("{} bytes of {count} lines", delivered()));
    agent.stop();
    assert_exact(&output(&world.path("out"), unpack).expect("whole files"), count);
}

#[test]
fn kills_leave_whole_avro_containers_with_every_line_once() {
    let keys = "a1.sinks.k1.sink.serializer = avro_event\n\
                a1.sinks.k1.sink.serializer.compressionCodec = deflate\n";
    killed_while_the_log_grows(keys, avro);
}

#[test]
fn kills_leave_whole_gzip_files_with_every_line_once() {
    killed_while_the_log_grows("a1.sinks.k1.sink.compression = gzip\n", gzip);
}
