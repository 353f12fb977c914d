//! One open file's hand: a task that writes, syncs and closes it in the order in which it is told to, while the sink goes
//! on with the next events.
//!
//! Nothing is written before the journal has it that the file was created: what is in a file that the journal does not know as
//! created is another's.
//!
//! A sync that goes on by itself, as in an object store, holds up nothing that is written behind it. One that is better left for a moment
//! waits until then, or until enough bytes stand behind it: under load nothing rests.
//!
//! After the first call that fails, or takes too long, the hand lets go of the file. Whatever it is asked then, it answers
//! with that failure.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use flumen_api::channel::Ticket;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::client::{Cause, Fault, OpenFile, Rest};

/// What all hands of a sink have before them: bytes that were ordered to be written, and were not yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Backlog(Arc<watch::Sender<usize>>);

impl Backlog {
    /// Waits until it is no more than so many bytes.
    pub async fn is_below(&self, bytes: usize) {
        let mut ordered = self.0.subscribe();
        // The sender is here.
        let _never_gone = ordered.wait_for(|ordered| *ordered <= bytes).await;
    }

    fn add(&self, bytes: Bytes) -> Ordered {
        self.0.send_if_modified(|ordered| {
            *ordered += bytes.len();
            // Nobody waits for more.
            false
        });
        Ordered { bytes, backlog: self.clone() }
    }
}

/// Bytes of the [`Backlog`] until this is dropped: written, or given up.
struct Ordered {
    bytes: Bytes,
    backlog: Backlog,
}

impl Drop for Ordered {
    fn drop(&mut self) {
        self.backlog.0.send_modify(|ordered| *ordered -= self.bytes.len());
    }
}

enum Order {
    Write(Ordered),
    Sync(watch::Sender<Option<Done>>),
    Close(watch::Sender<Option<Done>>),
}

type Done = Result<(), Fault>;

/// Tells the hand what to do.
pub(super) struct Hand {
    orders: mpsc::UnboundedSender<Order>,
    task: JoinHandle<()>,
    path: String,
    backlog: Backlog,
    fault: Arc<OnceLock<Fault>>,
}

/// How a file was let go of by its writer.
pub(super) enum Ended {
    /// By its close, whose answer this is.
    Closed(Answer),
    /// As it was; nothing is written to it once this task has ended.
    Dropped(JoinHandle<()>),
    /// With the process, or before it was known to be there.
    Gone,
}

/// What became of a sync or a close; every clone gets it.
#[derive(Clone)]
pub(super) struct Answer {
    done: watch::Receiver<Option<Done>>,
    path: String,
}

impl Answer {
    /// Waits for it.
    pub async fn wait(mut self) -> Done {
        match self.done.wait_for(Option::is_some).await {
            Ok(done) => done.clone().unwrap_or(Ok(())),
            Err(_gone) => Err(ended(&self.path)),
        }
    }
}

fn ended(path: &str) -> Fault {
    Fault::new(Cause::Unknown, "write", path, "its writer has ended")
}

impl Hand {
    /// For an open file, once `made` says that it is noted; the task runs on `runtime`.
    pub fn new(file: OpenFile, made: Ticket, backlog: Backlog, runtime: &Handle) -> Self {
        let path = file.path().to_string();
        let (orders, received) = mpsc::unbounded_channel();
        let fault = Arc::new(OnceLock::new());
        let task = runtime.spawn(work(file, made, received, fault.clone()));
        Self { orders, task, path, backlog, fault }
    }

    /// Appends to the file, sooner or later. What is on its way is bounded by what the runner lets be unreleased, and by whoever waits
    /// for the [`Backlog`].
    pub fn write(&self, bytes: Vec<u8>) {
        // If the hand has ended, the next sync says so.
        let _told_later = self.orders.send(Order::Write(self.backlog.add(bytes.into())));
    }

    /// What failed, if anything has: whatever the hand is asked from then on is answered with it.
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.get()
    }

    /// Syncs what was written.
    pub fn sync(&self) -> Answer {
        self.ask(Order::Sync)
    }

    /// Syncs what was written and closes the file.
    pub fn close(&self) -> Answer {
        self.ask(Order::Close)
    }

    /// Lets go of the file as it is.
    pub fn drop_file(self) -> Ended {
        self.task.abort();
        Ended::Dropped(self.task)
    }

    fn ask(&self, order: fn(watch::Sender<Option<Done>>) -> Order) -> Answer {
        let (sender, done) = watch::channel(None);
        // If the hand has ended, the sender is dropped, and the answer is that.
        let _told_later = self.orders.send(order(sender));
        Answer { done, path: self.path.clone() }
    }
}

async fn work(
    file: OpenFile,
    made: Ticket,
    mut orders: mpsc::UnboundedReceiver<Order>,
    failed: Arc<OnceLock<Fault>>,
) {
    let mut file = match made.await {
        Ok(()) => Ok(file),
        Err(error) => Err(Fault::new(Cause::Refused, "note", file.path(), error.to_string())),
    };
    let note = |fault: &Fault| drop(failed.set(fault.clone()));
    if let Err(fault) = &file {
        note(fault);
    }
    let mut behind = VecDeque::new();
    let mut syncing: JoinSet<Done> = JoinSet::new();
    loop {
        let next = match behind.pop_front() {
            None => orders.recv().await,
            some => some,
        };
        let Some(order) = next else { return };
        while let Some(done) = syncing.try_join_next() {
            if let (Ok(Err(fault)), Ok(_)) = (done, &file) {
                note(&fault);
                file = Err(fault);
            }
        }
        let done = match (&mut file, &order) {
            (Err(fault), _) => Err(fault.clone()),
            (Ok(file), Order::Write(ordered)) => file.write(ordered.bytes.clone()).await,
            (Ok(file), Order::Sync(answer)) => {
                if let Some(rest) = file.rest() {
                    take_rest(rest, &mut orders, &mut behind).await;
                }
                match file.sync().await {
                    Ok(None) => Ok(()),
                    Ok(Some(sync)) => {
                        let answer = answer.clone();
                        syncing.spawn(async move {
                            let done = sync.await;
                            drop(answer.send(Some(done.clone())));
                            done
                        });
                        continue;
                    }
                    Err(fault) => Err(fault),
                }
            }
            (Ok(file), Order::Close(_)) => {
                let done = file.close().await;
                // They end with it, and have their own answers.
                while syncing.join_next().await.is_some() {}
                done
            }
        };
        if let Err(fault) = &done {
            note(fault);
            // Its writer goes with it.
            file = Err(fault.clone());
        }
        match order {
            Order::Write(_) => {}
            Order::Sync(answer) => drop(answer.send(Some(done))),
            Order::Close(answer) => {
                drop(answer.send(Some(done)));
                return;
            }
        }
    }
}

/// Waits until a sync is due, or enough is to be written behind it; what is ordered meanwhile stands behind it.
async fn take_rest(rest: Rest, orders: &mut mpsc::UnboundedReceiver<Order>, behind: &mut VecDeque<Order>) {
    let bytes = |order: &Order| match order {
        Order::Write(ordered) => ordered.bytes.len() as u64,
        Order::Sync(_) => 0,
        Order::Close(_) => u64::MAX,
    };
    let mut more = rest.unless_bytes;
    for order in &*behind {
        more = more.saturating_sub(bytes(order));
    }
    while more > 0 {
        let order = tokio::select! {
            () = tokio::time::sleep_until(rest.until) => return,
            order = orders.recv() => order,
        };
        let Some(order) = order else { return };
        more = more.saturating_sub(bytes(&order));
        behind.push_back(order);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_sync_rests_until_its_time_unless_there_is_enough_behind_it_or_the_end() {
        const PAUSE: Duration = Duration::from_secs(1);
        let backlog = Backlog::default();
        let write = |bytes: usize| Order::Write(backlog.add(vec![0; bytes].into()));
        let (close, _closed) = watch::channel(None);
        for (orders, rested) in [
            (vec![], PAUSE),
            (vec![write(9)], PAUSE),
            (vec![write(4), write(6)], Duration::ZERO),
            (vec![write(1), Order::Close(close)], Duration::ZERO),
        ] {
            let begun = Instant::now();
            let (sender, mut received) = mpsc::unbounded_channel();
            let count = orders.len();
            orders.into_iter().for_each(|order| drop(sender.send(order)));
            let rest = Rest { until: begun + PAUSE, unless_bytes: 10 };
            let mut behind = VecDeque::new();
            take_rest(rest, &mut received, &mut behind).await;
            assert_eq!((begun.elapsed(), behind.len()), (rested, count));
        }
    }
}
