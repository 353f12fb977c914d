//! Where the owner of a queue sleeps: completions and wakes, under one condition variable.

use std::time::Duration;

use super::{Completion, Wake};
use crate::sync::{Condvar, Instant, Mutex};

/// Completions not yet collected, and whether somebody called [`Wake::wake`].
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    content: Mutex<Content>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Content {
    done: Vec<Completion>,
    woken: bool,
}

impl Mailbox {
    /// Hands over a completion.
    pub(crate) fn post(&self, completion: Completion) {
        self.content.lock().done.push(completion);
        self.changed.notify_one();
    }

    /// Waits as [`super::WriteQueue::wait`] does; returns how many completions were appended to `done`.
    pub(crate) fn collect(&self, timeout: Option<Duration>, done: &mut Vec<Completion>) -> usize {
        // A timeout beyond the clock's range is as good as none.
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut content = self.content.lock();
        while content.done.is_empty() && !content.woken {
            match deadline {
                Some(deadline) => {
                    if self.changed.wait_until(&mut content, deadline).timed_out() {
                        break;
                    }
                }
                None => self.changed.wait(&mut content),
            }
        }
        content.woken = false;
        let collected = content.done.len();
        done.append(&mut content.done);
        collected
    }

    /// Whether there was a wake, which is over now.
    pub(crate) fn take_wake(&self) -> bool {
        std::mem::take(&mut self.content.lock().woken)
    }
}

impl Wake for Mailbox {
    fn wake(&self) {
        let mut content = self.content.lock();
        if !content.woken {
            content.woken = true;
            drop(content);
            self.changed.notify_one();
        }
    }
}
