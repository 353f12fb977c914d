//! One open file's hand: a task that writes, syncs and closes it in the order in which it is told to, while the sink goes
//! on with the next events.
//!
//! Nothing is written before the journal has it that the file was created: what is in a file that the journal does not know as
//! created is another's.
//!
//! After the first call that fails, or takes too long, the hand lets go of the file. Whatever it is asked then, it answers
//! with that failure.

use bytes::Bytes;
use flumen_api::channel::Ticket;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use super::client::{Cause, Fault, OpenFile};

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
    while let Some(order) = orders.recv().await {
        let done = match &mut file {
            Err(fault) => Err(Fault::clone(fault)),
            Ok(file) => match order {
                Order::Write(ref bytes) => file.write(bytes.clone()).await,
                Order::Sync(_) => file.sync().await,
                Order::Close(_) => file.close().await,
            },
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
