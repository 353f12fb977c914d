use super::*;

fn watched(directory: &tempfile::TempDir, text: &str) -> (PathBuf, Watch) {
    let path = directory.path().join("flume.conf");
    std::fs::write(&path, text).unwrap();
    let file = ConfigFile::from_argument(path.to_str().unwrap()).unwrap();
    (path, Watch::new(vec![file]))
}

fn changed(watch: &mut Watch) -> Option<Vec<u8>> {
    match watch.poll().unwrap() {
        Change::None => None,
        Change::Changed(mut contents) => Some(contents.remove(0).bytes),
    }
}

#[test]
fn the_first_poll_reads_and_the_next_finds_nothing_new() {
    let directory = tempfile::tempdir().unwrap();
    let (_, mut watch) = watched(&directory, "a=1");
    assert_eq!(changed(&mut watch).unwrap(), b"a=1");
    assert_eq!(changed(&mut watch), None);
}

#[test]
fn a_file_put_back_with_an_older_time_is_a_change() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut watch) = watched(&directory, "a=1");
    assert!(changed(&mut watch).is_some());
    let other = directory.path().join("other");
    std::fs::write(&other, "a=2").unwrap();
    let past = SystemTime::now() - std::time::Duration::from_secs(86_400);
    std::fs::File::options().write(true).open(&other).unwrap().set_modified(past).unwrap();
    std::fs::rename(&other, &path).unwrap();
    assert_eq!(changed(&mut watch).unwrap(), b"a=2");
}

#[test]
fn a_file_that_was_only_touched_is_no_change() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut watch) = watched(&directory, "a=1");
    assert!(changed(&mut watch).is_some());
    let later = SystemTime::now() + std::time::Duration::from_secs(60);
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    assert_eq!(changed(&mut watch), None);
}

#[test]
fn a_file_that_is_gone_is_an_error_until_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let (path, mut watch) = watched(&directory, "a=1");
    assert!(changed(&mut watch).is_some());
    std::fs::remove_file(&path).unwrap();
    let error = watch.poll().unwrap_err();
    assert!(error.to_string().contains("flume.conf"), "{error}");
    assert!(watch.poll().is_err());
    std::fs::write(&path, "a=2").unwrap();
    assert_eq!(changed(&mut watch).unwrap(), b"a=2");
}

#[test]
fn arguments_are_paths_or_file_uris() {
    let path = |argument: &str| ConfigFile::from_argument(argument).unwrap().path;
    assert_eq!(path("conf/flume.conf"), PathBuf::from("conf/flume.conf"));
    assert_eq!(path("file:///etc/flume.conf"), PathBuf::from("/etc/flume.conf"));
    assert_eq!(path("file:/etc/my%20flume.conf"), PathBuf::from("/etc/my flume.conf"));
    assert_eq!(path("file://localhost/etc/flume.conf"), PathBuf::from("/etc/flume.conf"));
}

#[test]
fn what_is_not_read_is_refused_with_advice() {
    let error = |argument: &str| ConfigFile::from_argument(argument).unwrap_err();
    assert!(error("http://host/flume.conf").contains("fetch it"));
    assert!(error("https://host/flume.conf").contains("fetch it"));
    assert!(error("classpath:flume.conf").contains("-f"));
    assert!(error("flume.yaml").contains("properties"));
    assert!(error("file://host/flume.conf").contains("this machine"));
    assert!(error("file:/a%zz").contains("hexadecimal"));
}

fn refusal(path: &str) -> String {
    ConfigFile::from_argument(path).unwrap().read().unwrap_err().to_string()
}

#[test]
fn what_has_no_end_is_refused_and_not_read_into_memory() {
    let directory = tempfile::tempdir().unwrap();
    assert!(refusal("/dev/zero").contains("/dev/zero: it is a device"), "{}", refusal("/dev/zero"));
    assert!(refusal(directory.path().to_str().unwrap()).contains("it is a directory"));
    let socket = directory.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(refusal(socket.to_str().unwrap()).contains("it is a socket"));
}

/// A named pipe into which `bytes` are written again and again until nobody reads any more.
fn pipe(
    directory: &tempfile::TempDir,
    bytes: &'static [u8],
    times: usize,
) -> (PathBuf, std::thread::JoinHandle<()>) {
    use std::io::Write;

    let path = directory.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let to = path.clone();
    let writer = std::thread::spawn(move || {
        let mut pipe = File::options().write(true).open(to).unwrap();
        (0..times).try_for_each(|_| pipe.write_all(bytes)).ok();
    });
    (path, writer)
}

#[test]
fn a_pipe_without_end_is_read_to_the_limit_only() {
    let directory = tempfile::tempdir().unwrap();
    let (path, writer) = pipe(&directory, &[b'#'; 1 << 20], usize::MAX);
    let said = refusal(path.to_str().unwrap());
    assert!(said.contains("no configuration"), "{said}");
    writer.join().unwrap();
}

#[test]
fn what_came_out_of_a_pipe_stays_the_configuration_when_it_is_asked_for_again() {
    let directory = tempfile::tempdir().unwrap();
    let (path, writer) = pipe(&directory, b"a=1", 1);
    let mut watch = Watch::new(vec![ConfigFile::from_argument(path.to_str().unwrap()).unwrap()]);
    assert_eq!(changed(&mut watch).unwrap(), b"a=1");
    writer.join().unwrap();
    // As if the writer had still been at it when the pipe was first looked at.
    watch.stamps = vec![None];
    assert_eq!(changed(&mut watch), None);
    assert_eq!(watch.reread().unwrap()[0].bytes, b"a=1");
}
