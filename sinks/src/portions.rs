//! How much goes in one call to a peer that does not take in what is sent, and what becomes of an event that it never does.
//!
//! ```text
//!   a call is not taken in       half as many events the next time, down to one        (calls are: after a while twice as many)
//!   one event, over and over     with a dead letter: it is sent again and again between events that come behind it ──
//!                                they are taken in, it is not: it is refused
//! ```
//!
//! A peer does not say why: FAILED is a channel that is full, a transaction that is too large for it or an event that is, and
//! whoever sends more than a frame may have is hung up on. So a smaller call is all that can be tried; what goes back to the
//! channel meanwhile has not been taken in, and comes in the old order. That a peer takes in others at the same moment is what
//! tells an event that it will never take in from a peer that takes in nothing now, which gets no event refused.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher as _;

use flumen_api::event::EventRef;
use flumen_api::sink::{SinkContext, SinkError};
use flumen_api::{Batch, Events, TakeLimit};

/// Calls that go well before more events than were not taken in are tried; after each attempt in vain twice as many.
const CALM_LEAST: u32 = 8;
const CALM_MAX: u32 = 4096;
/// Times that an event is sent alone before it is sent between others.
const ALONE_MAX: u32 = 5;
/// Events that are taken in around it when it is refused, as far as there are so many; and so many in a row that are not taken
/// in either, and the peer takes in nothing now.
const WITNESSES: usize = 3;
/// Events of a take in which they are looked for, the smallest ones first.
const TRIAL_EVENTS: usize = 100;

/// Why a call was not taken in.
pub(crate) struct NotTaken {
    /// It was made: the peer was there, and may even have taken it in.
    pub is_called: bool,
    pub error: SinkError,
}

impl NotTaken {
    /// By a call that was not made.
    pub fn uncalled(error: SinkError) -> Self {
        Self { is_called: false, error }
    }

    /// By a call that was made.
    pub fn called(error: SinkError) -> Self {
        Self { is_called: true, error }
    }
}

/// Who can be called.
pub(crate) trait Calls {
    /// Makes one call, with none beside it on its way.
    fn call(&mut self, events: &Events) -> impl Future<Output = Result<(), NotTaken>> + Send;
}

/// How much the next take has.
pub(crate) struct Portions {
    /// Most events of a call.
    most: usize,
    now: usize,
    /// Calls that went well since `now` changed, of so many that it takes.
    calm: u32,
    calm_wanted: u32,
    /// It was raised, and is not known to be taken in.
    is_raised: bool,
    /// Times in a row that one event alone was not taken in.
    alone: u32,
    has_dead_letter: bool,
    /// Events that were looked at for witnesses in vain.
    passed: usize,
    /// By its hash, an event that was found to be what is not taken in, and has yet to be refused.
    condemned: Option<u64>,
    hasher: RandomState,
}

impl Portions {
    /// For calls of at most so many events.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            now: most,
            calm: 0,
            calm_wanted: CALM_LEAST,
            is_raised: false,
            alone: 0,
            has_dead_letter: false,
            passed: 0,
            condemned: None,
            hasher: RandomState::new(),
        }
    }

    /// What the next take may hold.
    pub fn take_limit(&self) -> TakeLimit {
        TakeLimit::events(if self.is_on_trial() { TRIAL_EVENTS } else { self.now })
    }

    /// The sink starts: it has a dead letter, or not.
    pub fn start(&mut self, context: &SinkContext) {
        self.has_dead_letter = !context.refuse("", vec![0]).refused.is_empty();
    }

    fn is_on_trial(&self) -> bool {
        self.has_dead_letter && self.alone >= ALONE_MAX && self.condemned.is_none()
    }

    /// A call went well, or is on its way.
    pub fn went(&mut self) {
        self.alone = 0;
        if self.now == self.most {
            (self.calm_wanted, self.is_raised) = (CALM_LEAST, false);
            return;
        }
        self.calm += 1;
        if self.calm >= self.calm_wanted {
            self.now = self.most.min(self.now * 2);
            (self.calm, self.is_raised) = (0, true);
        }
    }

    /// A call of so many events, which was made with none beside it on its way, was not taken in. Gives the error with what
    /// helps.
    pub fn not_taken(&mut self, events: usize, error: SinkError) -> SinkError {
        self.calm = 0;
        if events > 1 {
            self.now = events / 2;
            if std::mem::take(&mut self.is_raised) {
                self.calm_wanted = CALM_MAX.min(self.calm_wanted * 2);
            }
            return error;
        }
        self.now = 1;
        self.alone = self.alone.saturating_add(1);
        if self.alone < ALONE_MAX || self.has_dead_letter {
            return error;
        }
        let message = format!(
            "{error}; this one event was not taken in {} times: if it never can be, `deadLetter.type` says where it goes",
            self.alone
        );
        SinkError { message, ..error }
    }

    /// Delivers a take that is no matter of course; `None`: it is one.
    pub async fn deliver(
        &mut self,
        events: &Events,
        context: &SinkContext,
        peer: &mut impl Calls,
    ) -> Option<Result<(), SinkError>> {
        if self.condemned.is_none() && !self.is_on_trial() {
            return None;
        }
        let first = events.iter().next()?;
        if let Some(condemned) = self.condemned.take() {
            let is_it = events.len() == 1 && condemned == self.hash(first);
            return is_it.then(|| Err(refuse(context, first, "others beside it were taken in")));
        }
        if events.len() == 1 {
            // Nobody waits behind it.
            return None;
        }
        Some(self.try_among_others(events, context, peer).await)
    }

    async fn try_among_others(
        &mut self,
        events: &Events,
        context: &SinkContext,
        peer: &mut impl Calls,
    ) -> Result<(), SinkError> {
        let all: Vec<EventRef<'_>> = events.iter().collect();
        let first = those(&all[..1]);
        let mut others: Vec<usize> = (1..all.len()).collect();
        others.sort_by_key(|at| all[*at].body.len());
        // What was no witness the last time may be no better now.
        let passed = self.passed % others.len();
        others.rotate_left(passed);
        let (mut sent, mut in_vain) = (vec![0], 0);
        let mut why = match peer.call(&first).await {
            Ok(()) => None,
            Err(NotTaken { is_called: false, error }) => return Err(error),
            Err(NotTaken { error, .. }) => Some(error),
        };
        for at in others {
            if why.is_none() || sent.len() > WITNESSES {
                break;
            }
            match peer.call(&those(&all[at..=at])).await {
                Ok(()) => in_vain = 0,
                Err(NotTaken { is_called: false, error }) => return Err(error),
                Err(NotTaken { error, .. }) => {
                    // Not taken in either, which proves nothing by the first.
                    self.passed += 1;
                    in_vain += 1;
                    if in_vain == WITNESSES {
                        return Err(error);
                    }
                    continue;
                }
            }
            sent.push(at);
            why = match peer.call(&first).await {
                Ok(()) => None,
                Err(NotTaken { is_called: false, error }) => return Err(error),
                Err(NotTaken { error, .. }) => Some(error),
            };
        }
        if let (1, Some(why)) = (sent.len(), &why) {
            return Err(SinkError::plain(format!("no event of the take is taken in: {why}")));
        }
        self.alone = 0;
        let left = all.iter().enumerate().filter(|(at, _)| !sent.contains(at));
        let left: Vec<EventRef<'_>> = left.map(|(_, event)| *event).collect();
        let rest = match left.is_empty() {
            true => Ok(()),
            false => peer.call(&those(&left)).await,
        };
        match (rest, why) {
            (Ok(()), None) => Ok(()),
            (Ok(()), Some(why)) => Err(refuse(context, all[0], &why.message)),
            (Err(NotTaken { error, .. }), why) => {
                // All goes back; the first one is refused when it comes again, alone.
                self.condemned = why.is_some().then(|| self.hash(all[0]));
                Err(error)
            }
        }
    }

    fn hash(&self, event: EventRef<'_>) -> u64 {
        let headers: Vec<_> = event.headers.iter().collect();
        self.hasher.hash_one((headers, event.body))
    }
}

fn refuse(context: &SinkContext, event: EventRef<'_>, why: &str) -> SinkError {
    let bytes = event.body.len();
    context.refuse(format!("an event of {bytes} bytes is not taken in, while others are: {why}"), vec![0])
}

/// These events by themselves.
fn those(events: &[EventRef<'_>]) -> Events {
    let mut batch = Batch::new();
    for EventRef { headers, body } in events {
        let set = batch.add_headers((*headers).clone());
        batch.push_with(body, set);
    }
    Events::from_batch(&batch)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;
    use crate::testing::{FakeChannel, context_over};

    /// A peer, by what it takes in.
    struct Peer<F> {
        takes: F,
        /// Bodies that it has taken in.
        taken: Vec<String>,
        calls: usize,
    }

    impl<F: FnMut(&[String]) -> bool + Send> Calls for Peer<F> {
        async fn call(&mut self, events: &Events) -> Result<(), NotTaken> {
            self.calls += 1;
            let bodies: Vec<_> =
                events.iter().map(|event| String::from_utf8_lossy(event.body).into_owned()).collect();
            match (self.takes)(&bodies) {
                true => self.taken.extend(bodies),
                false => return Err(NotTaken::called(SinkError::plain("FAILED"))),
            }
            Ok(())
        }
    }

    /// What became of events that were delivered as the runner and the sinks do it.
    struct Drained {
        taken: Vec<String>,
        refused: Vec<String>,
        left: usize,
        calls: usize,
        last: String,
    }

    async fn drain(
        most: usize,
        has_dead_letter: bool,
        events: &[String],
        takes: impl FnMut(&[String]) -> bool + Send,
    ) -> Drained {
        let context = context_over(&FakeChannel::new()).with_dead_letter(has_dead_letter);
        let mut portions = Portions::new(most);
        portions.start(&context);
        let mut peer = Peer { takes, taken: Vec::new(), calls: 0 };
        let (mut channel, mut refused, mut last) =
            (events.iter().collect::<VecDeque<_>>(), Vec::new(), String::new());
        for _ in 0..20 + events.len() * 4 {
            let limit = portions.take_limit().events.min(channel.len());
            let bodies: Vec<&str> = channel.iter().take(limit).map(|body| body.as_str()).collect();
            if bodies.is_empty() {
                break;
            }
            let take = crate::testing::events(&bodies);
            let delivered = match portions.deliver(&take, &context, &mut peer).await {
                Some(delivered) => delivered,
                None => match peer.call(&take).await {
                    Ok(()) => {
                        portions.went();
                        Ok(())
                    }
                    Err(NotTaken { error, .. }) => Err(portions.not_taken(take.len(), error)),
                },
            };
            match delivered {
                Ok(()) => drop(channel.drain(..limit)),
                Err(error) if error.refused.is_empty() => last = error.to_string(),
                Err(error) => {
                    refused.extend(error.refused.iter().map(|at| channel[*at as usize].clone()));
                    channel.drain(..limit);
                }
            }
        }
        Drained { taken: peer.taken, refused, left: channel.len(), calls: peer.calls, last }
    }

    fn numbers(count: usize) -> Vec<String> {
        (0..count).map(|number| number.to_string()).collect()
    }

    #[tokio::test]
    async fn a_batch_that_is_too_large_for_the_peer_comes_in_smaller_ones_once_and_in_order() {
        let events = numbers(10_000);
        let done = drain(1000, false, &events, |call| call.len() <= 100).await;
        assert!(done.taken == events, "{} taken in, {} left", done.taken.len(), done.left);
        // Calls of 62, and one that is tried with more now and then.
        assert!(done.calls < 10_000 / 62 + 20, "{}", done.calls);
    }

    #[tokio::test]
    async fn a_peer_that_takes_in_nothing_for_a_while_has_nothing_refused_and_full_batches_in_the_end() {
        let events = numbers(10_000);
        for has_dead_letter in [false, true] {
            let (mut tries, mut longest) = (0, 0);
            let done = drain(1000, has_dead_letter, &events, |call| {
                tries += 1;
                let takes = tries > 100;
                if takes {
                    longest = longest.max(call.len());
                }
                takes
            });
            let mut done = done.await;
            if has_dead_letter {
                // It may come back between two events of a trial.
                done.taken.sort_by_key(|body| body.parse::<usize>().unwrap());
            }
            assert!(done.taken == events && done.refused.is_empty(), "{} of them", done.taken.len());
            assert_eq!(longest, 1000);
        }
    }

    #[tokio::test]
    async fn events_that_are_never_taken_in_are_refused_where_others_are_and_those_flow() {
        let events = numbers(500);
        let poison = ["7", "8", "9", "150", "498"];
        for most in [1, 2, 100] {
            let done =
                drain(most, true, &events, |call| !call.iter().any(|body| poison.contains(&body.as_str())));
            let done = done.await;
            assert_eq!((&done.refused[..], done.left), (&poison.map(String::from)[..], 0), "of {most}");
            let mut taken = done.taken.clone();
            taken.sort_by_key(|body| body.parse::<usize>().unwrap());
            taken.dedup();
            assert_eq!(taken.len(), events.len() - poison.len());
            let twice = done.taken.len() - taken.len();
            assert!(twice <= WITNESSES * poison.len(), "{twice} came twice");
        }
    }

    #[tokio::test]
    async fn without_a_dead_letter_the_event_waits_and_the_error_says_what_helps() {
        let events = numbers(50);
        let done = drain(100, false, &events, |call| !call.contains(&"20".into())).await;
        assert_eq!((&done.taken[..], done.left), (&events[..20], 30));
        assert!(done.refused.is_empty() && done.last.contains("deadLetter.type"), "{}", done.last);
    }

    #[tokio::test]
    async fn an_event_that_nobody_waits_behind_is_tried_on() {
        let done = drain(100, true, &numbers(1), |_| false).await;
        assert_eq!((done.refused.len(), done.left, done.calls), (0, 1, 24));
    }

    #[tokio::test]
    async fn a_peer_that_takes_in_nothing_has_nothing_refused_and_is_asked_little_however_many_events_wait() {
        for count in [2, 3, WITNESSES + 1, 50] {
            let done = drain(100, true, &numbers(count), |_| false).await;
            assert_eq!((done.refused.len(), done.left), (0, count));
            assert!(done.calls <= (1 + WITNESSES) * (20 + 4 * count), "{} for {count}", done.calls);
        }
    }

    /// A peer that takes in, does not, or cannot be reached, as it is told.
    #[derive(Default)]
    struct Told {
        answers: VecDeque<Option<bool>>,
        asked: Vec<String>,
    }

    impl Calls for Told {
        async fn call(&mut self, events: &Events) -> Result<(), NotTaken> {
            let bodies = events.iter().map(|event| String::from_utf8_lossy(event.body).into_owned());
            self.asked.push(bodies.collect::<Vec<_>>().join(" "));
            match self.answers.pop_front().expect("an answer") {
                Some(true) => Ok(()),
                Some(false) => Err(NotTaken::called(SinkError::plain("FAILED"))),
                None => Err(NotTaken::uncalled(SinkError::plain("nobody there"))),
            }
        }
    }

    /// Portions that have not got rid of an event for so long that it is tried among others.
    fn on_trial() -> (Portions, SinkContext) {
        let context = context_over(&FakeChannel::new()).with_dead_letter(true);
        let mut portions = Portions::new(100);
        portions.start(&context);
        portions.alone = ALONE_MAX;
        (portions, context)
    }

    #[tokio::test]
    async fn an_event_is_refused_after_three_others_were_taken_in_around_it_by_a_peer_that_is_there() {
        let take = crate::testing::events(&["never", "ccc", "bb", "a", "dddd", "eeeee"]);
        let (yes, no) = (Some(true), Some(false));
        for (answers, refused, asked) in [
            (
                &[no, yes, no, yes, no, yes, no, yes][..],
                vec![0],
                "never|a|never|bb|never|ccc|never|dddd eeeee",
            ),
            (&[no, yes, None], vec![], "never|a|never"),
            (&[no, None], vec![], "never|a"),
            (&[None], vec![], "never"),
        ] {
            let (mut portions, context) = on_trial();
            let mut peer = Told { answers: answers.iter().copied().collect(), ..Told::default() };
            let error = portions.deliver(&take, &context, &mut peer).await.unwrap().unwrap_err();
            assert_eq!((error.refused, peer.asked.join("|")), (refused, asked.to_string()));
            assert_eq!(portions.condemned, None);
        }
    }

    #[tokio::test]
    async fn other_witnesses_are_asked_each_time_and_nobody_is_condemned_in_the_place_of_another() {
        let take = crate::testing::events(&["never", "ccc", "bb", "a", "dddd", "eeeee", "ffffff"]);
        let (mut portions, context) = on_trial();
        for asked in ["never|a|bb|ccc", "never|dddd|eeeee|ffffff"] {
            let mut peer = Told { answers: [Some(false); 1 + WITNESSES].into(), ..Told::default() };
            let error = portions.deliver(&take, &context, &mut peer).await.unwrap().unwrap_err();
            assert_eq!((error.refused.len(), peer.asked.join("|")), (0, asked.to_string()));
        }
        portions.condemned = take.iter().next().map(|never| portions.hash(never));
        let other = crate::testing::events(&["a"]);
        assert!(portions.deliver(&other, &context, &mut Told::default()).await.is_none());
    }
}
