//! tokio-uring: aligned writes like ours, through its runtime, and nothing of a log but the order of acks.
//!
//! ```text
//!   committer   copies its records into an aligned buffer ── queue ──> runtime thread ── writev, O_DIRECT + O_DSYNC
//!               waits for its ack                         <── in order ──┘ nothing in flight: what waits goes out
//!                                                                          else: only 256 KiB or more, at most 4 writes
//! ```
//!
//! The same rules for gathering and for depth as in our log, but no frames, no checksums, no segments: what stands between
//! this and our own ring is the runtime. Its first life goes into allocated blocks, 32 MiB at a time; from the consumer's
//! arrival on it writes round in what was written.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use flumen_bench::ceiling::Aligned;
use flumen_bench::contender::{Contender, DurableLog, RECORD_BYTES};
use flumen_bench::failure::{Context, Failure};
use tokio::sync::Notify;
use tokio_uring::buf::IoBuf;
use tokio_uring::fs::File;

/// Writes in flight.
const DEPTH: usize = 4;
/// A further write goes out while others are in flight only when this much waits.
const EAGER_BYTES: usize = 256 << 10;
/// Most bytes of a write, unless one commit has more; most buffers, for the kernel takes 1024.
const WRITE_BYTES: usize = 1 << 20;
const WRITE_PARTS: usize = 256;
/// Blocks are allocated in such steps.
const ALLOCATED_BYTES: u64 = 32 << 20;
const BLOCK: usize = 4096;

/// tokio-uring 0.5.
pub struct TokioUring;

impl Contender for TokioUring {
    fn name(&self) -> &str {
        "tokio-uring 0.5, writes alone"
    }

    fn open(&self, directory: &Path) -> Result<Box<dyn DurableLog>, Failure> {
        let path = directory.join("log");
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .custom_flags(libc::O_DIRECT | libc::O_DSYNC)
            .open(&path)
            .context(|| format!("create {}", path.display()))?;
        let shared = Arc::<Shared>::default();
        let runtime = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || tokio_uring::start(write_what_comes(shared, file))
        });
        Ok(Box::new(Open { shared, runtime }))
    }
}

struct Open {
    shared: Arc<Shared>,
    runtime: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Commits wait, a write has landed, or the end has come.
    work: Notify,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    goes_round: bool,
    closed: bool,
}

struct Waiting {
    buffer: Part,
    ack: Sender<Result<Part, String>>,
}

/// A commit's aligned bytes.
struct Part(Aligned);

// SAFETY: the allocation is owned and does not move with the value; all of it is initialised.
unsafe impl IoBuf for Part {
    fn stable_ptr(&self) -> *const u8 {
        self.0.pointer()
    }

    fn bytes_init(&self) -> usize {
        self.0.bytes().len()
    }

    fn bytes_total(&self) -> usize {
        self.0.bytes().len()
    }
}

thread_local! {
    /// The committer's buffer, which comes back with the ack.
    static BUFFER: RefCell<Option<Part>> = const { RefCell::new(None) };
}

impl DurableLog for Open {
    fn append(&self, records: &[[u8; RECORD_BYTES]]) -> Result<(), Failure> {
        let len = records.as_flattened().len().next_multiple_of(BLOCK);
        let kept = BUFFER.take().filter(|part| part.bytes_total() == len);
        let mut buffer = kept.unwrap_or_else(|| Part(Aligned::new(len)));
        buffer.0.fill(records.as_flattened());
        let (ack, acked): (_, Receiver<_>) = mpsc::channel();
        {
            let mut queue = self.shared.queue.lock().expect("nobody panics with it");
            queue.bytes += len;
            queue.waiting.push_back(Waiting { buffer, ack });
        }
        self.shared.work.notify_one();
        let buffer = acked.recv().context(|| "tokio-uring's thread".into())?.map_err(Failure)?;
        BUFFER.set(Some(buffer));
        Ok(())
    }

    fn consume(&self, _stop: &AtomicBool) -> Result<(), Failure> {
        self.shared.queue.lock().expect("nobody panics with it").goes_round = true;
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        self.shared.queue.lock().expect("nobody panics with it").closed = true;
        self.shared.work.notify_one();
        self.runtime.join().map_err(|_panic| Failure("tokio-uring's thread panicked".into()))
    }
}

/// A write, from its submission until all before it have landed too.
#[derive(Default)]
struct Submitted {
    landed: Option<Result<Vec<Part>, String>>,
    acks: Vec<Sender<Result<Part, String>>>,
}

/// The file's end, and where the next write goes.
struct Place {
    offset: u64,
    allocated: u64,
    written: u64,
}

async fn write_what_comes(shared: Arc<Shared>, file: std::fs::File) {
    let allocator = file.try_clone().expect("a second descriptor of an open file");
    let file = Rc::new(File::from_std(file));
    let submitted = Rc::new(RefCell::new(VecDeque::<Rc<RefCell<Submitted>>>::new()));
    let mut place = Place { offset: 0, allocated: 0, written: 0 };
    loop {
        let in_flight = submitted.borrow().iter().filter(|write| write.borrow().landed.is_none()).count();
        let (parts, goes_round, closed) = {
            let mut queue = shared.queue.lock().expect("nobody panics with it");
            let goes = match in_flight {
                0 => !queue.waiting.is_empty(),
                n => n < DEPTH && queue.bytes >= EAGER_BYTES,
            };
            (if goes { gather(&mut queue) } else { Vec::new() }, queue.goes_round, queue.closed)
        };
        if parts.is_empty() {
            if closed && in_flight == 0 {
                return;
            }
            shared.work.notified().await;
            continue;
        }
        let (buffers, acks): (Vec<_>, Vec<_>) = parts.into_iter().map(|part| (part.buffer, part.ack)).unzip();
        let bytes: usize = buffers.iter().map(Part::bytes_total).sum();
        let offset = place.take(bytes as u64, goes_round, &allocator);
        let write = Rc::new(RefCell::new(Submitted { landed: None, acks }));
        submitted.borrow_mut().push_back(Rc::clone(&write));
        let (file, submitted, shared) = (Rc::clone(&file), Rc::clone(&submitted), Arc::clone(&shared));
        tokio_uring::spawn(async move {
            let (result, buffers) = file.writev_at(buffers, offset).await;
            write.borrow_mut().landed = Some(match result {
                Ok(written) if written == bytes => Ok(buffers),
                Ok(short) => Err(format!("{short} of {bytes} bytes were written")),
                Err(error) => Err(format!("tokio-uring: {error}")),
            });
            ack_in_order(&submitted);
            shared.work.notify_one();
        });
    }
}

/// The oldest commits that fit into one write.
fn gather(queue: &mut Queue) -> Vec<Waiting> {
    let (mut parts, mut bytes) = (Vec::new(), 0);
    while let Some(next) = queue.waiting.front() {
        let len = next.buffer.bytes_total();
        if !parts.is_empty() && (bytes + len > WRITE_BYTES || parts.len() == WRITE_PARTS) {
            break;
        }
        bytes += len;
        parts.extend(queue.waiting.pop_front());
    }
    queue.bytes -= bytes;
    parts
}

impl Place {
    /// Room for `bytes`: behind the last write, or round in what was written.
    fn take(&mut self, bytes: u64, goes_round: bool, file: &std::fs::File) -> u64 {
        if goes_round && self.offset + bytes > self.written.max(2 * ALLOCATED_BYTES) {
            self.offset = 0;
        }
        while self.offset + bytes > self.allocated {
            // SAFETY: no pointers; the descriptor is open.
            let refused = unsafe {
                libc::fallocate(
                    file.as_raw_fd(),
                    0,
                    self.allocated as libc::off_t,
                    ALLOCATED_BYTES as libc::off_t,
                )
            };
            assert_eq!(refused, 0, "fallocate: {}", std::io::Error::last_os_error());
            file.sync_all().expect("sync of the new length");
            self.allocated += ALLOCATED_BYTES;
        }
        let offset = self.offset;
        self.offset += bytes;
        self.written = self.written.max(self.offset);
        offset
    }
}

/// Acks the writes that have landed and have none before them that has not.
fn ack_in_order(submitted: &RefCell<VecDeque<Rc<RefCell<Submitted>>>>) {
    let mut submitted = submitted.borrow_mut();
    while submitted.front().is_some_and(|write| write.borrow().landed.is_some()) {
        let Some(write) = submitted.pop_front() else { return };
        let Submitted { landed, acks } = write.take();
        match landed {
            Some(Ok(buffers)) => {
                for (ack, buffer) in acks.into_iter().zip(buffers) {
                    ack.send(Ok(buffer)).ok();
                }
            }
            Some(Err(why)) => acks.into_iter().for_each(|ack| {
                ack.send(Err(why.clone())).ok();
            }),
            None => {}
        }
    }
}
