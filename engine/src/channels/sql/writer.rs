//! The thread that commits: everything that waits, in one transaction.

use std::time::Duration;

use flumen_api::channel::PutError;
use flumen_wal::Space as Owned;

use super::database::{Change, Content, Delivered, apply_in_memory};
use super::{Job, Shared};

/// Pauses between attempts after a failure.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Commits until the channel is closed and nothing waits.
pub(super) fn run(shared: &Shared) {
    // As of the last transaction.
    let mut delivered = shared.held.state.lock().delivered.clone();
    let mut pause = PAUSE_MIN;
    loop {
        let (jobs, closed) = {
            let mut state = shared.held.state.lock();
            while state.queue.is_empty() && !state.closed {
                shared.held.wanted.wait(&mut state);
            }
            (std::mem::take(&mut state.queue), state.closed)
        };
        if jobs.is_empty() {
            break;
        }
        let (jobs, change) = one_change(jobs.into(), &delivered, shared.held.state.lock().durable);
        // Bound before the match: the lock is free again when the outcome is looked at.
        let committed = shared.database.lock().as_mut().map_or(Ok(()), |database| database.commit(&change));
        match committed {
            Ok(()) => {
                pause = PAUSE_MIN;
                delivered = change.delivered.clone().unwrap_or(delivered);
                committed_all(shared, jobs, &change);
            }
            Err(error) => {
                let why = format!("cannot write {}: {error}", shared.place);
                let gives_up = closed && pause >= PAUSE_MAX;
                failed(shared, jobs, &why, gives_up);
                if gives_up {
                    break;
                }
                std::thread::sleep(pause);
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
    shared.database.lock().take();
    shared.held.state.lock().ended = true;
    shared.arrived.notify_waiters();
}

/// What is committed. Until it can be read nobody is told anything: by positions that a lost put has moved, what its source sends
/// again would pass for known. `None` if the channel is closed meanwhile.
fn content_again(shared: &Shared, why: &str) -> Option<Content> {
    let mut pause = PAUSE_MIN;
    loop {
        let content = shared.database.lock().as_mut().map(|database| database.content());
        let mut state = shared.held.state.lock();
        if state.failure.is_none() {
            tracing::error!(channel = &*shared.name, "{why}; it is tried again");
        }
        state.failure = Some(why.to_string());
        match content {
            Some(Ok(content)) => return Some(content),
            None => return None,
            Some(Err(_again)) if state.closed && pause >= PAUSE_MAX => return None,
            Some(Err(_again)) => {}
        }
        drop(state);
        std::thread::sleep(pause);
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn one_change(mut jobs: Vec<Job>, delivered: &Delivered, durable: u64) -> (Vec<Job>, Change) {
    let mut change = Change { next: durable, ..Change::default() };
    for job in &mut jobs {
        if let Some(row) = &mut job.row {
            change.next = change.next.max(row.first + row.events);
            change.rows.push(super::Row { first: row.first, events: row.events, chunk: row.chunk.clone() });
        }
        change.updates.extend(job.updates.iter().cloned());
        for &(first, end) in &job.released {
            change.delivered.get_or_insert_with(|| delivered.clone()).add(first, end);
        }
    }
    (jobs, change)
}

fn committed_all(shared: &Shared, jobs: Vec<Job>, change: &Change) {
    let mut state = shared.held.state.lock();
    state.failure = None;
    state.durable = state.durable.max(change.next);
    for row in &change.rows {
        state.waits(row.first, row.first + row.events);
        state.queue_bytes -= row.chunk.len() as u64;
    }
    drop(state);
    for job in jobs {
        // Who does not wait any more needs no answer.
        job.answer.into_iter().for_each(|answer| drop(answer.send(Ok(()))));
    }
    shared.gate.released();
    shared.arrived.notify_waiters();
}

/// The jobs count as not committed. Puts, and what sources say, fail, and all that wait behind them with them; what sinks say is kept
/// for the next attempt. Where a server had committed and only its answer was lost, the events are there: they go out, and of what the
/// source sends again the positions say what is known.
fn failed(shared: &Shared, jobs: Vec<Job>, why: &str, gives_up: bool) {
    let content = content_again(shared, why).unwrap_or_default();
    let mut state = shared.held.state.lock();
    state.owners = content.owners;
    if content.next > state.durable {
        let durable = state.durable;
        state.waits(durable, content.next);
        state.durable = content.next;
    }
    let mut lost = Vec::new();
    let mut kept = Vec::new();
    for mut job in jobs.into_iter().chain(std::mem::take(&mut state.queue)) {
        let of_source = job.row.is_some() || job.updates.iter().any(|update| update.space == Owned::Source);
        if of_source || gives_up {
            lost.extend(job.answer.take());
            state.queue_bytes -= job.row.as_ref().map_or(0, |row| row.chunk.len() as u64);
            for update in job.updates.into_iter().filter(|_| job.repeats) {
                if let flumen_wal::ProgressOp::Set { generation, .. } = update.op {
                    let known = state.owners.get(&(update.space, update.owner.clone()));
                    let stands = known.and_then(|keys| keys.get(&update.key));
                    let from =
                        stands.filter(|value| value.generation == generation).map_or(0, |value| value.to);
                    state.lost.insert((update.owner, update.key), (generation, from));
                }
            }
        } else {
            job.updates.iter().for_each(|update| apply_in_memory(&mut state.owners, update));
            kept.push(job);
        }
    }
    state.queue = kept.into();
    state.next = state.durable;
    drop(state);
    let channel = &shared.name;
    for answer in lost {
        drop(answer.send(Err(PutError::Failed { channel: channel.clone(), reason: why.to_string() })));
    }
    shared.gate.released();
    shared.arrived.notify_waiters();
}
