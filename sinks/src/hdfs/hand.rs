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

use bytes::Bytes;
use flumen_api::channel::Ticket;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::client::{Cause, Fault, OpenFile, Rest};

enum Order {
    Write(Bytes),
    Sync(watch::Sender<Option<Done>>),
    Close(watch::Sender<Option<Done>>),
}

type Done = Result<(), Fault>;

/// Tells the hand what to do.
pub(super) struct Hand {
    orders: mpsc::UnboundedSender<Order>,
    task: AbortHandle,
    path: String,
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
    pub fn new(file: OpenFile, made: Ticket, runtime: &Handle) -> Self {
        let path = file.path().to_string();
        let (orders, received) = mpsc::unbounded_channel();
        let task = runtime.spawn(work(file, made, received)).abort_handle();
        Self { orders, task, path }
    }

    /// Appends to the file, sooner or later. What is on its way is bounded by what the runner lets be unreleased.
    pub fn write(&self, bytes: Vec<u8>) {
        // If the hand has ended, the next sync says so.
        let _told_later = self.orders.send(Order::Write(bytes.into()));
    }

    /// Syncs what was written.
    pub fn sync(&self) -> Answer {
        self.ask(Order::Sync)
    }

    /// Syncs what was written and closes the file.
    pub fn close(self) -> Answer {
        self.ask(Order::Close)
    }

    /// Lets go of the file as it is.
    pub fn drop_file(self) {
        self.task.abort();
    }

    fn ask(&self, order: fn(watch::Sender<Option<Done>>) -> Order) -> Answer {
        let (sender, done) = watch::channel(None);
        // If the hand has ended, the sender is dropped, and the answer is that.
        let _told_later = self.orders.send(order(sender));
        Answer { done, path: self.path.clone() }
    }
}

async fn work(file: OpenFile, made: Ticket, mut orders: mpsc::UnboundedReceiver<Order>) {
    let mut file = match made.await {
        Ok(()) => Ok(file),
        Err(error) => Err(Fault::new(Cause::Refused, "note", file.path(), error.to_string())),
    };
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
                file = Err(fault);
            }
        }
        let done = match (&mut file, &order) {
            (Err(fault), _) => Err(fault.clone()),
            (Ok(file), Order::Write(bytes)) => file.write(bytes.clone()).await,
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
        Order::Write(bytes) => bytes.len() as u64,
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
        let write = |bytes: usize| Order::Write(vec![0; bytes].into());
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
