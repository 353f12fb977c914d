//! The suite on real files, and what only they can show: which storage is chosen, and what a killed process leaves.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::uring::{Refusal, UringQueue};
use super::*;
use crate::storage::Write;
use crate::storage::suite::{Fixture, skipped, suite};

/// A directory on the disk beneath the temporary directory, if that backend can run here with direct I/O.
fn on_disk(backend: Backend) -> Option<Fixture> {
    let guard = tempfile::tempdir().expect("directory");
    match open(guard.path(), backend) {
        Ok((_directory, line)) if line.contains("buffered") => {
            skipped(&line);
            None
        }
        Ok((directory, _line)) => Some(Fixture { directory, _guard: Some(guard) }),
        Err(error) if error.kind() == io::ErrorKind::Unsupported => {
            skipped(&error);
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// As on a file system that refuses direct I/O.
fn buffered() -> Option<Fixture> {
    let guard = tempfile::tempdir().expect("directory");
    let path = guard.path().to_owned();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(&path, flags, Mode::empty()).expect("open");
    let engine = Engine::Threads;
    let directory = DiskDirectory { path, directory, direct: false, alignment: ALIGNMENT, engine };
    Some(Fixture { directory: Arc::new(directory), _guard: Some(guard) })
}

/// The queue as it works on kernels before 5.11.
#[derive(Debug)]
struct OldKernel(Arc<dyn Directory>);

impl Directory for OldKernel {
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn describe(&self) -> String {
        self.0.describe()
    }
    fn alignment(&self) -> usize {
        self.0.alignment()
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.0.create(name)
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        self.0.open(name)
    }
    fn list(&self) -> io::Result<Vec<Entry>> {
        self.0.list()
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn free_bytes(&self) -> io::Result<u64> {
        self.0.free_bytes()
    }
    fn lock(&self) -> io::Result<Box<dyn Lock>> {
        self.0.lock()
    }
    fn write_queue(&self, lock: Box<dyn Lock>, depth: usize) -> io::Result<Box<dyn WriteQueue>> {
        Ok(Box::new(UringQueue::for_old_kernels(lock, depth, self.0.alignment())?))
    }
}

fn on_old_kernel() -> Option<Fixture> {
    let Fixture { directory, _guard } = on_disk(Backend::Uring)?;
    Some(Fixture { directory: Arc::new(OldKernel(directory)), _guard })
}

suite!(ring, on_disk(Backend::Uring));
suite!(ring_of_an_old_kernel, on_old_kernel());
suite!(threads_direct, on_disk(Backend::Std));
suite!(threads_buffered, buffered());

#[test]
fn the_line_at_start_says_what_runs() {
    let guard = tempfile::tempdir().expect("directory");
    let (directory, line) = open(guard.path(), Backend::Std).expect("open");
    assert_eq!(line, format!("storage of {}: {}", guard.path().display(), directory.describe()));
    assert_eq!(directory.list().expect("list"), [], "trying left nothing behind");
}

#[test]
fn a_missing_directory_is_named() {
    let error = open("/nowhere/at/all", Backend::Auto).expect_err("open");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
}

#[test]
fn a_refusal_comes_with_its_remedy() {
    let told = |errno, sysctl| Refusal::explain(&io::Error::from_raw_os_error(errno), sysctl).to_string();
    assert!(told(libc::EPERM, Some("2")).contains("kernel.io_uring_disabled is 2; remedy: set it to 0"));
    assert!(told(libc::EPERM, Some("1")).contains("kernel.io_uring_group"));
    assert!(told(libc::EPERM, Some("0")).contains("seccomp"));
    assert!(told(libc::EPERM, None).contains("seccomp"));
    assert!(told(libc::ENOSYS, None).contains("5.6"));
    assert!(told(libc::EINVAL, Some("0")).contains("5.6"));
    assert!(told(libc::ENOMEM, Some("0")).contains("RLIMIT_MEMLOCK"));
}

#[test]
fn files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let guard = tempfile::tempdir().expect("directory");
    let (directory, _line) = open(guard.path(), Backend::Std).expect("open");
    directory.create("file").expect("create");
    let _lock = directory.lock().expect("lock");
    for name in ["file", LOCK_FILE] {
        let mode = std::fs::metadata(guard.path().join(name)).expect("metadata").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
    }
}

#[test]
fn only_files_are_listed() {
    let guard = tempfile::tempdir().expect("directory");
    let (directory, _line) = open(guard.path(), Backend::Std).expect("open");
    std::fs::create_dir(guard.path().join("folder")).expect("folder");
    std::os::unix::fs::symlink("file", guard.path().join("link")).expect("link");
    directory.create("file").expect("create");
    assert_eq!(directory.list().expect("list"), [Entry { name: "file".to_owned(), len: 0 }]);
    directory.open("link").expect_err("a link is not followed");
}

#[test]
fn a_ring_dropped_by_another_thread_frees_the_lock_when_its_writes_have_landed() {
    let Some(fixture) = on_disk(Backend::Uring) else { return };
    let directory = &fixture.directory;
    let file = directory.create("file").expect("create");
    file.allocate(64 << 20).expect("allocate");
    let buffer = Arc::new(AlignedBuf::zeroed(4 << 20));
    let mut queue = directory.write_queue(directory.lock().expect("lock"), 8).expect("queue");
    let queue = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                for token in 0..8 {
                    let (file, buffer, len) = (file.clone(), buffer.clone(), buffer.len());
                    queue.submit(Write {
                        token,
                        file,
                        buffer,
                        from: 0,
                        len,
                        offset: token * len as u64,
                        durable: true,
                    });
                }
                queue.wait(Some(Duration::ZERO), &mut Vec::new());
                queue
            })
            .join()
            .expect("owner")
    });
    drop(queue);
    assert!(lock_in_time(&**directory).is_some());
}

/// Far above what it takes on a busy machine; only a failure waits this long.
const PATIENCE: Duration = Duration::from_secs(60);

fn lock_in_time(directory: &dyn Directory) -> Option<Box<dyn Lock>> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Ok(lock) = directory.lock() {
            return Some(lock);
        }
        std::thread::yield_now();
    }
    None
}

const CHILD_DIRECTORY: &str = "FLUMEN_WAL_TEST_DIRECTORY";
const CHILD_BACKEND: &str = "FLUMEN_WAL_TEST_BACKEND";
const CHILD_DEPTH: usize = 64;
const CHILD_WRITE: usize = 1 << 20;

/// Not a test: the process that the tests below start and kill. Writes for ever, each round with another content.
#[test]
#[ignore = "started by other tests, in a process of its own"]
fn child_that_writes_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD_DIRECTORY) else { return };
    let backend = if std::env::var_os(CHILD_BACKEND).is_some() { Backend::Uring } else { Backend::Std };
    let (directory, _line) = open(path, backend).expect("open");
    let file = directory.open("file").expect("file");
    let mut queue = directory.write_queue(directory.lock().expect("lock"), CHILD_DEPTH).expect("queue");
    let mut free: Vec<u64> = (0..CHILD_DEPTH as u64).collect();
    let mut done = Vec::new();
    for round in 0_u64.. {
        for token in free.drain(..) {
            let mut buffer = AlignedBuf::zeroed(CHILD_WRITE);
            for block in buffer.chunks_mut(512) {
                block[..8].copy_from_slice(&round.to_le_bytes());
            }
            let (file, len) = (file.clone(), CHILD_WRITE);
            queue.submit(Write {
                token,
                file,
                buffer: Arc::new(buffer),
                from: 0,
                len,
                offset: token * len as u64,
                durable: true,
            });
        }
        queue.wait(None, &mut done);
        free.extend(done.drain(..).map(|completion| completion.token));
        if round == 20 {
            println!("\nwriting");
        }
    }
}

fn start_child(path: &Path, backend: Backend) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let name = format!(
        "{}::child_that_writes_until_it_is_killed",
        module_path!().split_once("::").expect("crate").1
    );
    command.args(["--exact", &name, "--ignored", "--nocapture"]);
    command.env(CHILD_DIRECTORY, path).stdout(Stdio::piped()).stderr(Stdio::inherit());
    if backend == Backend::Uring {
        command.env(CHILD_BACKEND, "uring");
    }
    let mut child = command.spawn().expect("child");
    let output = BufReader::new(child.stdout.take().expect("output"));
    assert!(output.lines().any(|line| line.expect("line") == "writing"), "child ended early");
    child
}

/// Goal: a successor that has the lock owns the file. Method: kill a process that has many writes in flight, take the lock
/// as soon as it can be had, and read twice with time between: a write that landed later would make a difference.
fn nothing_lands_after_the_lock_is_free(backend: Backend) {
    let Some(fixture) = on_disk(backend) else { return };
    let directory = &fixture.directory;
    let file = directory.create("file").expect("create");
    file.write_at(&AlignedBuf::zeroed(CHILD_DEPTH * CHILD_WRITE), 0).expect("write");
    file.sync().expect("sync");
    directory.sync().expect("sync");
    // One block of each write, for the first reading must be over before the last write could land.
    let read = || {
        let mut block = AlignedBuf::zeroed(directory.alignment());
        let mut at = |offset| {
            file.read_at(&mut block, offset).expect("read");
            u64::from_le_bytes(block[..8].try_into().expect("eight bytes"))
        };
        (1..=CHILD_DEPTH as u64).map(|end| at(end * CHILD_WRITE as u64 - 4096)).collect::<Vec<_>>()
    };
    for round in 0..3 {
        let mut child = start_child(directory.path(), backend);
        assert!(directory.lock().is_err(), "the child has the lock");
        child.kill().expect("kill");
        let lock = lock_in_time(&**directory).expect("lock after the kill");
        let first = read();
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(first, read(), "a write landed after the lock was free, round {round}");
        drop(lock);
        child.wait().expect("child");
    }
}

#[test]
fn a_killed_processes_ring_holds_the_lock_until_its_writes_have_landed() {
    nothing_lands_after_the_lock_is_free(Backend::Uring);
}

#[test]
fn a_killed_processes_threads_hold_the_lock_until_their_writes_have_landed() {
    nothing_lands_after_the_lock_is_free(Backend::Std);
}

/// No simulated disk sees what the kernel is told, and no trace of system calls what stands in a ring. Method: the entry as the
/// kernel reads it has `rw_flags` in bytes 28 to 31.
#[test]
fn an_entry_of_the_ring_asks_for_durability_where_the_write_does() {
    let bytes = [0u8; 16];
    for (durable, flags) in [(true, libc::RWF_DSYNC), (false, 0)] {
        let entry = super::uring::write_entry(7, bytes.as_ptr(), (4096, 16), durable);
        // SAFETY: an entry is 64 bytes that the kernel reads as they are, with nothing but integers in them.
        let raw: [u8; 64] = unsafe { std::mem::transmute_copy(&entry) };
        assert_eq!(size_of_val(&entry), raw.len());
        let field = |at: usize| u32::from_ne_bytes(raw[at..at + 4].try_into().expect("four bytes"));
        assert_eq!((field(4), field(8), field(24)), (7, 4096, 16), "descriptor, offset, length");
        assert_eq!(field(28), flags as u32, "durable: {durable}");
    }
}
